//! Everything the runtime asks of the world: ClickHouse, Kafka, dead letters, the time.
//!
//! Traits, because each has two implementations: the servers, and the simulator's in memory (`tests/sim`), under which a run is a
//! pure function of its seed. Holds: behind these traits nothing of the runtime decides anything; records come in chunks, so that
//! only calls per batch are dynamic.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::clock;
use crate::book::Book;
use crate::engine::DeadLetter;
use crate::model::Timestamp;
use crate::publish::{PublishError, Publisher};
use crate::sink::Block;
use crate::source::kafka::{self, Committed, Error, Handle, Member, Place, Polled, Rebalance};
use crate::store::{self, BatchRow, Check, Facts, Insert, Proof, Range, Source, Stop, Store};

const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// ClickHouse, as the runtime needs it. What each question means stands at [`Store`]'s method of the same name.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// See [`Store::source`].
    async fn source(&self, topic: &str) -> Result<Option<Source>, store::Error>;
    /// See [`Store::begin_source`].
    async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, store::Error>;
    /// See [`Store::stops`].
    async fn stops(&self, topic: &str) -> Result<Vec<Stop>, store::Error>;
    /// See [`Store::stop`].
    async fn stop(&self, stop: &Stop) -> Result<(), store::Error>;
    /// See [`Store::facts`].
    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, store::Error>;
    /// See [`Store::row3_violations`].
    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, store::Error>;
    /// See [`Store::end_of_batches`].
    async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, store::Error>;
    /// See [`Store::witnesses`].
    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, store::Error>;
    /// See [`Store::running`].
    async fn running(&self, token: &str) -> Result<bool, store::Error>;
    /// See [`Store::batches_row`].
    async fn batches_row(
        &self,
        source_epoch: &str,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Option<BatchRow>, store::Error>;
    /// See [`Store::book`].
    async fn book(&self) -> Result<Book, store::Error>;
    /// See [`Store::insert`]; table, columns and body are the block's.
    async fn insert(&self, block: &Block, token: &str) -> Insert;
}

#[async_trait]
impl Tables for Store {
    async fn source(&self, topic: &str) -> Result<Option<Source>, store::Error> {
        Self::source(self, topic).await
    }

    async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, store::Error> {
        Self::begin_source(self, topic, topic_id, now).await
    }

    async fn stops(&self, topic: &str) -> Result<Vec<Stop>, store::Error> {
        Self::stops(self, topic).await
    }

    async fn stop(&self, stop: &Stop) -> Result<(), store::Error> {
        Self::stop(self, stop).await
    }

    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, store::Error> {
        Self::facts(self, source_epoch, topic, partition).await
    }

    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, store::Error> {
        Self::row3_violations(self, check).await
    }

    async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, store::Error> {
        Self::end_of_batches(self, source_epoch, topic, partition).await
    }

    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, store::Error> {
        Self::witnesses(self, range).await
    }

    async fn running(&self, token: &str) -> Result<bool, store::Error> {
        Self::running(self, token).await
    }

    async fn batches_row(
        &self,
        source_epoch: &str,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Option<BatchRow>, store::Error> {
        Self::batches_row(self, source_epoch, topic, partition, from).await
    }

    async fn book(&self) -> Result<Book, store::Error> {
        Self::book(self).await
    }

    async fn insert(&self, block: &Block, token: &str) -> Insert {
        Self::insert(self, block.table.name(), block.table.columns(), token, block.body.clone()).await
    }
}

/// What a partition's owner asks Kafka beside its records.
#[async_trait]
pub trait Questions: Send + Sync + 'static {
    /// The topic's id now.
    async fn topic_id(&self) -> Result<String, Error>;
    /// The committed offset with its metadata.
    async fn committed(&self, partition: i32) -> Result<Option<Committed>, Error>;
    /// The log's first offset and the one behind its last record.
    async fn bounds(&self, partition: i32) -> Result<(i64, i64), Error>;
    /// The first offset whose record is not older than `time`.
    async fn offset_of_time(&self, partition: i32, time: Timestamp) -> Result<Option<i64>, Error>;
}

/// Asks through the clients of librdkafka, off the runtime's threads: they block.
pub struct Asked {
    /// The group member, which knows its group's offsets.
    pub consumer: Arc<Handle>,
    /// Whose client asks for the rest.
    pub publisher: Arc<Publisher>,
    /// The events topic.
    pub topic: Arc<str>,
    /// The topic's id where the broker gives none (the embedded broker).
    pub fixed_topic_id: Option<Arc<str>>,
}

#[async_trait]
impl Questions for Asked {
    async fn topic_id(&self) -> Result<String, Error> {
        if let Some(id) = &self.fixed_topic_id {
            return Ok(id.to_string());
        }
        let (publisher, topic) = (Arc::clone(&self.publisher), Arc::clone(&self.topic));
        blocking(move || kafka::topic_id(publisher.client(), &topic, QUESTION_TIMEOUT)).await
    }

    async fn committed(&self, partition: i32) -> Result<Option<Committed>, Error> {
        let consumer = Arc::clone(&self.consumer);
        blocking(move || consumer.committed(partition, QUESTION_TIMEOUT)).await
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), Error> {
        let (publisher, topic) = (Arc::clone(&self.publisher), Arc::clone(&self.topic));
        blocking(move || kafka::bounds(publisher.client(), &topic, partition, QUESTION_TIMEOUT)).await
    }

    async fn offset_of_time(&self, partition: i32, time: Timestamp) -> Result<Option<i64>, Error> {
        let (publisher, topic) = (Arc::clone(&self.publisher), Arc::clone(&self.topic));
        blocking(move || kafka::offset_of_time(publisher.client(), &topic, partition, time, QUESTION_TIMEOUT)).await
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await, // the runtime is shutting down
    }
}

/// The member of the consumer group that the polling thread drives. What each call means stands at [`Handle`]'s method of the same name.
pub trait Consumer: Send + Sync + 'static {
    /// See [`Handle::poll`].
    fn poll(&self, max: usize, timeout: Duration, take: impl FnMut(Polled<'_>)) -> Vec<Rebalance>;
    /// See [`Handle::wake`].
    fn wake(&self);
    /// See [`Handle::assign`].
    ///
    /// # Errors
    /// As there.
    fn assign(&self, places: &[Place]) -> Result<(), Error>;
    /// See [`Handle::pause`].
    ///
    /// # Errors
    /// As there.
    fn pause(&self, partition: i32, position: i64) -> Result<(), Error>;
    /// See [`Handle::resume`].
    ///
    /// # Errors
    /// As there.
    fn resume(&self, partitions: &[i32]) -> Result<(), Error>;
    /// See [`Handle::commit`].
    ///
    /// # Errors
    /// As there.
    fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Result<(), Error>;
    /// See [`Handle::member`].
    fn member(&self) -> Member;
    /// See [`Handle::is_assignment_lost`].
    fn is_assignment_lost(&self) -> bool;
    /// See [`Handle::seen_end`].
    fn seen_end(&self, partition: i32) -> Option<i64>;
    /// See [`Handle::subscribe`].
    ///
    /// # Errors
    /// As there.
    fn subscribe(&self) -> Result<(), Error>;
    /// See [`Handle::leave`].
    ///
    /// # Errors
    /// As there.
    fn leave(&self) -> Result<(), Error>;
    /// See [`Handle::close`].
    fn close(&self);
}

impl Consumer for Handle {
    fn poll(&self, max: usize, timeout: Duration, take: impl FnMut(Polled<'_>)) -> Vec<Rebalance> {
        Self::poll(self, max, timeout, take)
    }

    fn wake(&self) {
        Self::wake(self);
    }

    fn assign(&self, places: &[Place]) -> Result<(), Error> {
        Self::assign(self, places)
    }

    fn pause(&self, partition: i32, position: i64) -> Result<(), Error> {
        Self::pause(self, partition, position)
    }

    fn resume(&self, partitions: &[i32]) -> Result<(), Error> {
        Self::resume(self, partitions)
    }

    fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Result<(), Error> {
        Self::commit(self, partition, offset, metadata)
    }

    fn member(&self) -> Member {
        Self::member(self)
    }

    fn is_assignment_lost(&self) -> bool {
        Self::is_assignment_lost(self)
    }

    fn seen_end(&self, partition: i32) -> Option<i64> {
        Self::seen_end(self, partition)
    }

    fn subscribe(&self) -> Result<(), Error> {
        Self::subscribe(self)
    }

    fn leave(&self) -> Result<(), Error> {
        Self::leave(self)
    }

    fn close(&self) {
        Self::close(self);
    }
}

/// Where rejected records are kept.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// See [`Publisher::dead_letters`].
    async fn dead_letters(&self, partition: i32, letters: &[DeadLetter]) -> Result<(), PublishError>;
}

#[async_trait]
impl DeadLetters for Publisher {
    async fn dead_letters(&self, partition: i32, letters: &[DeadLetter]) -> Result<(), PublishError> {
        Self::dead_letters(self, partition, letters).await
    }
}

/// The moment it is, for what reaches a row or a decision.
pub trait Clock: Send + Sync + 'static {
    /// The moment it is.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        clock::now()
    }
}
