//! Tells every call to ClickHouse, for a replay.

use std::sync::Arc;

use async_trait::async_trait;
use farebox::book::Book;
use farebox::model::Timestamp;
use farebox::runtime::world::Tables;
use farebox::sink::Block;
use farebox::store::{BatchRow, Check, Error, Facts, Insert, Proof, Range, Source, Stop};
use tracing::debug;

pub struct Traced {
    inner: Arc<dyn Tables>,
    name: String,
}

impl Traced {
    /// Wraps `inner`, when anybody listens.
    pub fn around(inner: Arc<dyn Tables>, name: String) -> Arc<dyn Tables> {
        if tracing::enabled!(tracing::Level::DEBUG) { Arc::new(Self { inner, name }) } else { inner }
    }

    fn tell<T: std::fmt::Debug>(&self, call: &str, answer: T) -> T {
        debug!(name = self.name, call, ?answer);
        answer
    }
}

#[async_trait]
impl Tables for Traced {
    async fn source(&self, topic: &str) -> Result<Option<Source>, Error> {
        self.inner.source(topic).await
    }

    async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, Error> {
        self.tell("begin_source", self.inner.begin_source(topic, topic_id, now).await)
    }

    async fn stops(&self, topic: &str) -> Result<Vec<Stop>, Error> {
        self.inner.stops(topic).await
    }

    async fn stop(&self, stop: &Stop) -> Result<(), Error> {
        debug!(name = self.name, ?stop, "stop");
        self.tell("stop", self.inner.stop(stop).await)
    }

    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, Error> {
        self.tell("facts", self.inner.facts(source_epoch, topic, partition).await)
    }

    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, Error> {
        self.tell("row3_violations", self.inner.row3_violations(check).await)
    }

    async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, Error> {
        self.tell("end_of_batches", self.inner.end_of_batches(source_epoch, topic, partition).await)
    }

    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, Error> {
        self.tell("witnesses", self.inner.witnesses(range).await)
    }

    async fn running(&self, token: &str) -> Result<bool, Error> {
        self.tell("running", self.inner.running(token).await)
    }

    async fn batches_row(&self, source_epoch: &str, topic: &str, partition: i32, from: i64) -> Result<Option<BatchRow>, Error> {
        self.tell("batches_row", self.inner.batches_row(source_epoch, topic, partition, from).await)
    }

    async fn book(&self) -> Result<Book, Error> {
        self.inner.book().await
    }

    async fn insert(&self, block: &Block, token: &str) -> Insert {
        debug!(name = self.name, table = block.table.name(), token, "insert");
        self.tell(token, self.inner.insert(block, token).await)
    }
}
