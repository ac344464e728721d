//! What the product would do without a protection of its own, done around its calls to ClickHouse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use farebox::book::Book;
use farebox::model::Timestamp;
use farebox::runtime::world::Tables;
use farebox::sink::{Block, Table};
use farebox::store::{BatchRow, Check, Error, Facts, Insert, Proof, Range, Source, Stop};
use tokio::time::sleep;

use super::super::tables::rows::Rows;

/// Which protection is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The look for witnesses after a success: an answer is believed.
    Witnesses,
    /// The order: the row in `batches` goes first, then the blocks.
    Order,
}

/// A process that lacks it.
pub struct Without {
    inner: Arc<dyn Tables>,
    missing: Missing,
    /// What is believed to be there, by the batch's token.
    believed: Mutex<BTreeMap<String, Vec<Proof>>>,
    /// Blocks that wait for their row in `batches`, by the batch's token.
    held: Mutex<BTreeMap<String, Vec<(Block, String)>>>,
}

impl Without {
    pub fn new(missing: Missing, inner: Arc<dyn Tables>) -> Self {
        Self { inner, missing, believed: Mutex::default(), held: Mutex::default() }
    }

    fn believe(&self, block: &Block) {
        let rows = Rows::of_block(block.table, &block.body).unwrap();
        let (digest, count) = match &rows {
            Rows::Log(rows) => (rows[0].digest, block.rows),
            Rows::Rejected(rows) => (rows[0].digest, block.rows),
            Rows::Sessions(rows) => (rows[0].digest, 1),
            Rows::Hourly(rows) => (rows[0].digest, 1),
            other => panic!("no witness is read of {other:?}"),
        };
        let proof = Proof { table: block.table.name().to_owned(), month: block.month.0, digest, digests: 1, count };
        let mut believed = lock(&self.believed);
        let proofs = believed.entry(batch_of(block)).or_default();
        proofs.retain(|other| (&other.table, other.month) != (&proof.table, proof.month));
        proofs.push(proof);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token of the whole batch: that of a block without its month.
fn batch_of(block: &Block) -> String {
    match block.table {
        Table::Batches => block.token.clone(),
        _ => block.token.rsplit_once('/').unwrap().0.to_owned(),
    }
}

#[async_trait]
impl Tables for Without {
    async fn insert(&self, block: &Block, token: &str) -> Insert {
        match (self.missing, block.table) {
            (Missing::Witnesses, Table::Batches) => self.inner.insert(block, token).await,
            (Missing::Witnesses, _) => {
                let insert = self.inner.insert(block, token).await;
                if matches!(insert, Insert::Done) {
                    self.believe(block);
                }
                insert
            }
            (Missing::Order, Table::Batches) => {
                let blocks = lock(&self.held).remove(&batch_of(block)).unwrap_or_default();
                for (block, token) in [(block.clone(), token.to_owned())].iter().chain(&blocks) {
                    while matches!(self.inner.insert(block, token).await, Insert::Doubt(_)) {
                        sleep(Duration::from_millis(500)).await;
                    }
                }
                Insert::Done
            }
            (Missing::Order, _) => {
                self.believe(block);
                lock(&self.held).entry(batch_of(block)).or_default().push((block.clone(), token.to_owned()));
                Insert::Done
            }
        }
    }

    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, Error> {
        let mut proofs = self.inner.witnesses(range).await?;
        let batch = format!("{}/{}/{}/{}-{}", range.source_epoch, range.topic, range.partition, range.from, range.to);
        for believed in lock(&self.believed).get(&batch).into_iter().flatten() {
            if proofs.iter().all(|proof| (&proof.table, proof.month) != (&believed.table, believed.month)) {
                proofs.push(believed.clone());
            }
        }
        Ok(proofs)
    }

    async fn source(&self, topic: &str) -> Result<Option<Source>, Error> {
        self.inner.source(topic).await
    }

    async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, Error> {
        self.inner.begin_source(topic, topic_id, now).await
    }

    async fn stops(&self, topic: &str) -> Result<Vec<Stop>, Error> {
        self.inner.stops(topic).await
    }

    async fn stop(&self, stop: &Stop) -> Result<(), Error> {
        self.inner.stop(stop).await
    }

    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, Error> {
        self.inner.facts(source_epoch, topic, partition).await
    }

    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, Error> {
        self.inner.row3_violations(check).await
    }

    async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, Error> {
        self.inner.end_of_batches(source_epoch, topic, partition).await
    }

    async fn running(&self, token: &str) -> Result<bool, Error> {
        self.inner.running(token).await
    }

    async fn batches_row(&self, source_epoch: &str, topic: &str, partition: i32, from: i64) -> Result<Option<BatchRow>, Error> {
        self.inner.batches_row(source_epoch, topic, partition, from).await
    }

    async fn book(&self) -> Result<Book, Error> {
        self.inner.book().await
    }
}
