//! What all partitions of this process share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::balances::Touched;
use super::books::Books;
use super::live_users::LiveUsers;
use super::partition::End;
use super::patience::Patience;
use super::progress::Progress;
use super::room::Room;
use super::world::{Clock, DeadLetters, Tables};
use crate::book::Book;
use crate::engine::Rules;
use crate::engine::assignment::Stop;
use crate::model::Timestamp;
use crate::price::Prices;
use crate::sink::{Block, Origin};
use crate::source::kafka;
use crate::store::{self, Check, Insert, Source};
use crate::telemetry::{Health, Metrics, Outcome};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records.
    pub events_max: u64,
    /// Bytes of memory.
    pub bytes_max: usize,
    /// Bytes of memory of all batches of this process together.
    pub total_bytes: usize,
    /// Since its first record.
    pub age_max: Duration,
    /// Inserts a second and table that one instance makes at most, however many partitions it owns.
    pub inserts_per_second_max: u32,
}

/// How long rows stay: what the check of old batches must know.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Days of `usage_log`; 0: it is off.
    pub usage_log_days: u32,
    /// Days of `rejected_events`.
    pub rejected_days: u32,
}

impl Keep {
    /// What the check of old batches is to look at.
    pub fn check(self, origin: &Origin, log_append_time: bool) -> Check<'_> {
        Check {
            source_epoch: &origin.source_epoch,
            topic: &origin.topic,
            partition: origin.partition,
            usage_log_keep_days: self.usage_log_days,
            rejected_keep_days: self.rejected_days,
            log_append_time,
        }
    }
}

/// Everything a partition's owner needs beside its log.
#[derive(Clone)]
pub struct Shared {
    /// ClickHouse.
    pub tables: Arc<dyn Tables>,
    /// Where rejected records are kept.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether we can write.
    pub health: Arc<Health>,
    /// The price book.
    pub books: Books,
    /// What decides about events.
    pub rules: Rules,
    /// The id of the users key.
    pub hash_key_id: String,
    /// The events topic.
    pub topic: Arc<str>,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// What all batches share.
    pub room: Room,
    /// How long rows stay.
    pub keep: Keep,
    /// How many partitions are ours.
    pub owned: Arc<AtomicUsize>,
    /// Where each of them stands.
    pub progress: Arc<Progress>,
    /// Whose balance may have changed.
    pub touched: Arc<Touched>,
    /// Whose budgets may have changed.
    pub spending: Arc<Touched>,
    /// Unique users of open sessions, for a gauge.
    pub live_users: Arc<LiveUsers>,
    /// Becomes true when the service is to end.
    pub drain: watch::Receiver<bool>,
}

impl Shared {
    /// How old a batch becomes: older with many partitions, so that ClickHouse gets few, large inserts.
    pub fn batch_age(&self) -> Duration {
        let owned = u32::try_from(self.owned.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.batch.age_max.max(Duration::from_secs(1) * owned / self.batch.inserts_per_second_max.max(1))
    }

    /// The moment it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much memory a batch may take, with large room or without.
    pub fn batch_bytes(&self, is_large: bool) -> usize {
        let owned = self.owned.load(Ordering::Relaxed);
        let bytes = if is_large { self.room.large_bytes(owned) } else { self.room.small_bytes(owned) };
        self.batch.bytes_max.min(bytes)
    }

    /// Inserts a block once.
    pub async fn insert(&self, block: &Block, token: &str) -> Insert {
        let (table, began) = (block.table.name(), Instant::now());
        let insert = self.tables.insert(block, token).await;
        let outcome = if matches!(insert, Insert::Done) { Outcome::Done } else { Outcome::Doubt };
        self.metrics.insert(table, outcome, began.elapsed());
        self.health.set_store_writable(matches!(insert, Insert::Done));
        insert
    }

    /// Asks ClickHouse until it answers. It may be away for hours: nothing is lost meanwhile, so nothing else is done.
    pub async fn until_answered<T, F: Future<Output = Result<T, store::Error>>>(
        &self,
        what: &'static str,
        ask: impl Fn() -> F,
    ) -> T {
        until_answered(what, ask).await
    }

    /// Asks Kafka until it answers.
    pub async fn until_kafka_answers<T, F: Future<Output = Result<T, kafka::Error>>>(
        &self,
        what: &'static str,
        ask: impl Fn() -> F,
    ) -> T {
        until_answered(what, ask).await
    }

    /// Which life of the topic this is; begins the first when nothing is known.
    ///
    /// # Errors
    /// ClickHouse cannot be asked.
    pub async fn source(&self, topic_id: &str) -> Result<Source, store::Error> {
        match self.tables.source(&self.topic).await? {
            Some(source) => Ok(source),
            None => self.tables.begin_source(&self.topic, topic_id, self.now()).await,
        }
    }

    /// Prices as they were at a version: a batch that is formed again costs what it cost.
    pub async fn prices_at(&self, version: u64) -> Result<Arc<Prices>, End> {
        let current = self.books.current();
        if current.version() == version {
            return Ok(current);
        }
        let book = self.until_answered("read the price book", || self.tables.book()).await;
        if book.version() < version {
            return Err(End::Restart(format!("version {version} of the price book is not there yet")));
        }
        Ok(Arc::new(Prices::new(&Book::at_version(&book, version))))
    }

    /// Remembers a stop, so that it stands until a person has looked.
    ///
    /// # Errors
    /// ClickHouse cannot be asked.
    pub async fn remember_stop(&self, origin: &Origin, stop: &Stop) -> Result<(), store::Error> {
        let stop = store::Stop {
            source_epoch: origin.source_epoch.clone(),
            topic: origin.topic.clone(),
            partition: origin.partition,
            kind: stop.kind.as_str().to_owned(),
            reason: stop.reason.clone(),
            at: self.now(),
            cleared: 0,
        };
        self.tables.stop(&stop).await
    }

    /// Waits until the service is to end.
    pub async fn drained(&self) {
        let mut drain = self.drain.clone();
        // A sender that is gone says the same.
        let _ = drain.wait_for(|drain| *drain).await;
    }
}

async fn until_answered<T, E: std::error::Error, F: Future<Output = Result<T, E>>>(what: &'static str, ask: impl Fn() -> F) -> T {
    let mut patience = Patience::default();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                if patience.is_worth_telling() {
                    warn!(what, %error, "waiting; it goes on by itself");
                }
                patience.wait().await;
            }
        }
    }
}
