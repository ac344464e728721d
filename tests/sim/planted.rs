//! The protection taken out, piece by piece: what the simulator must notice.
//!
//! The product has no switch for any of it. The world lies to it, or what it asks is altered on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use farebox::book::Book;
use farebox::engine::Intent;
use farebox::model::Timestamp;
use farebox::runtime::world::Tables;
use farebox::sink::{Block, Table};
use farebox::store::{BatchRow, Check, Error, Facts, Insert, Proof, Range, Source, Stop};

use super::tables::rows::Rows;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Nothing: the product as it is.
    Nothing,
    /// ClickHouse knows no tokens.
    NoToken,
    /// Whoever asks for a witness of what was answered with success hears that it is there, and nobody looks for others.
    NoWitness,
    /// Kafka forgets the metadata of committed offsets.
    NoIntent,
    /// Kafka always names the same topic id.
    NoTopicId,
    /// `batches` is written before the other tables.
    BatchesFirst,
    /// The window for duplicates begins where reading does.
    NoWindow,
}

impl Planted {
    const ALL: [Self; 7] =
        [Self::Nothing, Self::NoToken, Self::NoWitness, Self::NoIntent, Self::NoTopicId, Self::BatchesFirst, Self::NoWindow];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| format!("{planted:?}") == name)
    }

    /// ClickHouse as the runtime sees it.
    pub fn tables(self, inner: Arc<dyn Tables>) -> Arc<dyn Tables> {
        match self {
            Self::NoWitness | Self::BatchesFirst => Arc::new(Altered { inner, planted: self, known: Mutex::default() }),
            _ => inner,
        }
    }

    /// The metadata that a commit carries.
    pub fn metadata(self, offset: i64, metadata: &str) -> String {
        let intent = Intent::from_metadata(metadata.as_bytes()).ok().flatten();
        match (self, intent) {
            (Self::NoIntent, _) => String::new(),
            (Self::NoWindow, Some(intent)) => Intent { window_from: offset, ..intent }.to_string(),
            _ => metadata.to_owned(),
        }
    }
}

/// What it believes to be written, by the tokens of the blocks.
type Known = BTreeMap<String, (Proof, Option<Block>)>;

struct Altered {
    inner: Arc<dyn Tables>,
    planted: Planted,
    known: Mutex<Known>,
}

impl Altered {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was held back, now that `batches` has its row.
    async fn send_held(&self, batch: &str) {
        let prefix = format!("{batch}/");
        loop {
            let of_batch = |token: &String, held: &Option<Block>| token.starts_with(&prefix) && held.is_some();
            let next = self.known().iter_mut().find(|(token, (_, held))| of_batch(token, held)).map(|(_, (_, held))| held.take());
            let Some(Some(block)) = next else { return };
            while !matches!(self.inner.insert(&block, &block.token).await, Insert::Done) {}
        }
    }
}

/// The proof that a block would be.
fn proof(block: &Block) -> Proof {
    let (digest, is_log) = match Rows::of_block(block.table, &block.body).unwrap() {
        Rows::Log(rows) => (rows[0].digest, true),
        Rows::Rejected(rows) => (rows[0].digest, true),
        Rows::Hourly(rows) => (rows[0].digest, false),
        Rows::Sessions(rows) => (rows[0].digest, false),
        _ => (0, false),
    };
    Proof {
        table: block.table.name().to_owned(),
        month: block.month.0,
        digest,
        digests: 1,
        count: if is_log { block.rows } else { 1 },
    }
}

#[async_trait]
impl Tables for Altered {
    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, Error> {
        let mut proofs = if self.planted == Planted::BatchesFirst { self.inner.witnesses(range).await? } else { Vec::new() };
        let prefix = format!("{}/{}/{}/{}-{}/", range.source_epoch, range.topic, range.partition, range.from, range.to);
        for (_, (proof, _)) in self.known().iter().filter(|(token, _)| token.starts_with(&prefix)) {
            if !proofs.iter().any(|seen| (&seen.table, seen.month) == (&proof.table, proof.month)) {
                proofs.push(proof.clone());
            }
        }
        Ok(proofs)
    }

    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, Error> {
        let mut facts = self.inner.facts(source_epoch, topic, partition).await?;
        if self.planted == Planted::NoWitness {
            facts.witnesses.clear();
            facts.log.clear();
        }
        Ok(facts)
    }

    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, Error> {
        if self.planted == Planted::NoWitness { Ok(None) } else { self.inner.row3_violations(check).await }
    }

    async fn insert(&self, block: &Block, token: &str) -> Insert {
        // Two tables of a month have one token.
        let name = format!("{}/{}", block.token, block.table.name());
        match (self.planted, block.table) {
            (Planted::BatchesFirst, Table::Batches) => {
                let insert = self.inner.insert(block, token).await;
                if matches!(insert, Insert::Done) {
                    self.send_held(&block.token).await;
                }
                insert
            }
            (Planted::BatchesFirst, _) => {
                self.known().insert(name, (proof(block), Some(block.clone())));
                Insert::Done
            }
            _ => {
                let insert = self.inner.insert(block, token).await;
                if matches!(insert, Insert::Done) && block.table != Table::Batches {
                    self.known().insert(name, (proof(block), None));
                }
                insert
            }
        }
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
