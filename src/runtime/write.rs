//! Writing a batch: the intent, the dead letters, the inserts with their witnesses, and last the row in `batches`.
//!
//! Holds: nothing is inserted before the intent is committed by the partition's owner; a token is a hint and the witness the proof;
//! any answer but success is doubt, never "nothing happened"; the row in `batches` says that all tables have the range.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, warn};

use super::log::Link;
use super::partition::End;
use super::patience::Patience;
use super::shared::Shared;
use crate::aggregate::Rows;
use crate::engine::assignment::{Stop, StopKind};
use crate::engine::{Batch, DeadLetter, Intent};
use crate::model::{Month, Timestamp};
use crate::sink::{self, BatchKind, BatchRow, Block, Origin, Stamp, Table};
use crate::store::{Insert, Proof, Range};

/// The token itself and `/r1` to `/r9`, for tokens whose rows never appeared.
const TOKENS_MAX: u8 = 10;
/// How long the first burnt token makes us wait; each further one twice as long. With the most of it, ten tokens last for four minutes.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(60);

/// Promises a batch and writes it; gives where it ends. `prev` is where the batch before it ended, as far as we know.
///
/// # Errors
/// Whatever means that the partition's life must end: see [`End`].
pub async fn promise_and_write(link: &Link, shared: &Shared, origin: &Origin, batch: Batch, prev: Option<i64>) -> Result<i64, End> {
    same_topic(link, shared, origin).await?;
    let ask = || shared.tables.end_of_batches(&origin.source_epoch, &origin.topic, origin.partition);
    let end = shared.until_answered("read the end of `batches`", ask).await;
    if end != prev || prev.is_some_and(|prev| prev != batch.from) {
        return Err(End::Restart(format!("`batches` ends at {end:?}, this batch begins at {}", batch.from)));
    }
    let intent = Intent::new(&batch, prev, &shared.hash_key_id, &origin.topic_id, shared.now());
    link.commit(batch.from, intent.to_string()).await.map_err(|error| End::Rejoin(error.to_string()))?;
    write_promised(link, shared, origin, batch, &intent, false).await
}

/// The blocks, which are what is kept while ClickHouse is away. One batch of the process at a time: only one is held in both forms.
fn converted(rows: Rows, origin: &Origin, stamp: &Stamp) -> Vec<Block> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner); // some milliseconds of computing; nothing waits in here
    sink::blocks(&rows, origin, stamp)
}

/// Writes a batch whose intent stands. `in_doubt`: some of it may be written already.
///
/// # Errors
/// A guard that tripped.
pub async fn write_promised(
    link: &Link,
    shared: &Shared,
    origin: &Origin,
    batch: Batch,
    intent: &Intent,
    in_doubt: bool,
) -> Result<i64, End> {
    publish_dead_letters(link, shared, &batch.dead_letters).await;
    let stamp = Stamp { from: batch.from, to: batch.to, price_version: intent.price_version, written_at: intent.time };
    let Batch { rows, tally, received, record_time_max, .. } = batch;
    let (counts, digest) = (rows.counts, rows.digest);
    let accounts = [&shared.touched, &shared.spending].iter().any(|touched| touched.is_collecting()).then(|| rows.accounts());
    shared.live_users.note(&rows, &shared.books.current(), shared.now());
    let mut blocks = converted(rows, origin, &stamp);
    if shared.keep.usage_log_days == 0 {
        blocks.retain(|block| block.table != Table::UsageLog);
    }
    let written = Written { origin, stamp: &stamp, digest, blocks: &blocks, received };
    written.insert_all(shared, in_doubt).await?;
    insert_batches_row(shared, origin, &stamp, &batch_row(intent, record_time_max)).await?;
    shared.metrics.count_batch(counts, &tally);
    for touched in [&shared.touched, &shared.spending] {
        touched.accounts(accounts.iter().flatten().map(|account| &**account));
    }
    Ok(stamp.to)
}

/// The row in `batches` that an intent promises.
pub fn batch_row(intent: &Intent, record_time_max: Timestamp) -> BatchRow {
    BatchRow {
        kind: BatchKind::Batch,
        counts: intent.counts,
        digest: intent.digest,
        prev: intent.prev,
        leader_epoch: intent.leader_epoch,
        hash_key_id: intent.hash_key_id.clone(),
        record_time_max,
    }
}

/// Writes the last row of a range, and sees it there.
///
/// # Errors
/// A guard that tripped.
pub async fn insert_batches_row(shared: &Shared, origin: &Origin, stamp: &Stamp, row: &BatchRow) -> Result<(), End> {
    let block = sink::batches_row(row, origin, stamp);
    let ask = || shared.tables.batches_row(&origin.source_epoch, &origin.topic, origin.partition, stamp.from);
    let mut attempt = Attempt::default();
    let mut insert = attempt.send(shared, &block).await?;
    loop {
        match shared.until_answered("read `batches` back", ask).await {
            Some(seen)
                if seen.offset_to == stamp.to && seen.digest == row.digest && seen.kind == row.kind.as_str() && seen.count == 1 =>
            {
                return Ok(());
            }
            Some(seen) => {
                let (from, to, count) = (stamp.from, seen.offset_to, seen.count);
                let reason =
                    format!("`batches` has {count} rows from {from}, the furthest to {to}, where one to {} belongs", stamp.to);
                return Err(End::Stop(Stop::new(StopKind::Overlap, reason)));
            }
            None => {
                attempt.wait_if_doubtful(&insert).await;
                if !attempt.rest_if_burnt(&block).await {
                    insert = attempt.send(shared, &block).await?;
                }
            }
        }
    }
}

/// The blocks of one batch on their way.
struct Written<'a> {
    origin: &'a Origin,
    stamp: &'a Stamp,
    digest: u64,
    blocks: &'a [Block],
    received: Option<(Timestamp, Timestamp)>,
}

impl Written<'_> {
    /// Inserts every block and sees every witness.
    async fn insert_all(&self, shared: &Shared, in_doubt: bool) -> Result<(), End> {
        let mut attempts: Vec<Attempt> = self.blocks.iter().map(|_| Attempt::default()).collect();
        let mut doubtful = in_doubt;
        if !in_doubt {
            for (block, attempt) in self.blocks.iter().zip(&mut attempts) {
                doubtful |= matches!(attempt.send(shared, block).await?, Insert::Doubt(_));
            }
        }
        let _doubt = doubtful.then(|| shared.metrics.in_doubt());
        // What was answered with success is there: then it is enough to see that. In doubt, everything of the range is looked at.
        let mut digest = Some(self.digest).filter(|_| !doubtful);
        loop {
            let proofs = self.proofs(shared, digest).await;
            digest = None;
            let mut absent = false;
            for (block, attempt) in self.blocks.iter().zip(&mut attempts) {
                match judge(block, self.digest, &proofs) {
                    Seen::There => {}
                    Seen::Absent => {
                        absent = true;
                        if attempt.rest_if_burnt(block).await {
                            continue; // its rows are looked for once more
                        }
                        let insert = attempt.send(shared, block).await?;
                        attempt.wait_if_doubtful(&insert).await;
                    }
                    Seen::Wrong(reason) => return Err(End::Stop(Stop::new(StopKind::DigestDiffers, reason))),
                }
            }
            if !absent {
                return Ok(());
            }
        }
    }

    async fn proofs(&self, shared: &Shared, digest: Option<u64>) -> Vec<Proof> {
        if self.blocks.is_empty() {
            return Vec::new();
        }
        // A session may begin in another month than its events.
        let by_day = self.blocks.iter().filter(|block| block.table != Table::RejectedEvents);
        let months: Vec<Month> = by_day.map(|block| block.month).collect::<BTreeSet<_>>().into_iter().collect();
        let range = Range {
            source_epoch: &self.origin.source_epoch,
            topic: &self.origin.topic,
            topic_id: &self.origin.topic_id,
            partition: self.origin.partition,
            from: self.stamp.from,
            to: self.stamp.to,
            months: &months,
            received: self.received,
            digest,
        };
        shared.until_answered("read the witnesses", || shared.tables.witnesses(&range)).await
    }
}

enum Seen {
    There,
    Absent,
    Wrong(String),
}

fn judge(block: &Block, digest: u64, proofs: &[Proof]) -> Seen {
    let mut there = false;
    let name = block.table.name();
    for proof in proofs.iter().filter(|proof| proof.table == name && proof.month == block.month.0) {
        if proof.digest != digest || proof.digests != 1 {
            return Seen::Wrong(format!("`{name}` holds rows of this range with another digest"));
        }
        let once = if matches!(block.table, Table::UsageLog | Table::RejectedEvents) { block.rows } else { 1 };
        if proof.count != once {
            return Seen::Wrong(format!("`{name}` holds {} of {once} for this range and month {}", proof.count, block.month));
        }
        there = true;
    }
    if there { Seen::There } else { Seen::Absent }
}

/// How often a block was sent, and under which token it goes next.
#[derive(Default)]
struct Attempt {
    token: u8,
    /// The last token behind which we rested.
    rested: u8,
    patience: Patience,
}

impl Attempt {
    /// Sends the block once. Only success moves to the next token: absent after a success, a token is burnt.
    async fn send(&mut self, shared: &Shared, block: &Block) -> Result<Insert, End> {
        if self.token >= TOKENS_MAX {
            let reason = format!("`{}` answers success under ten tokens and shows no rows of {}", block.table.name(), block.token);
            return Err(End::Stop(Stop::new(StopKind::Doubt, reason)));
        }
        let token = if self.token == 0 { block.token.clone() } else { format!("{}/r{}", block.token, self.token) };
        let insert = shared.insert(block, &token).await;
        match &insert {
            Insert::Done => self.token += 1,
            Insert::Doubt(error) if self.patience.is_worth_telling() => {
                warn!(table = block.table.name(), token, %error, "an insert is in doubt; looking for its rows, then sending it again");
            }
            Insert::Doubt(_) => {}
        }
        Ok(insert)
    }

    /// After a success without rows: waits, longer each time, so that a disk that refuses for minutes does not use up all tokens. Whether it
    /// waited: then the rows are looked for again before they go under the next token.
    async fn rest_if_burnt(&mut self, block: &Block) -> bool {
        if self.rested == self.token {
            return false;
        }
        self.rested = self.token;
        let (table, token) = (block.table.name(), &block.token);
        let (burnt, rest) = (self.token, REST.saturating_mul(1 << (self.token - 1).min(7)).min(REST_MAX));
        warn!(table, token, burnt, "ClickHouse answered success and has no such rows: a token is burnt, the next one is used");
        sleep(rest).await;
        true
    }

    async fn wait_if_doubtful(&self, insert: &Insert) {
        if matches!(insert, Insert::Doubt(_)) {
            self.patience.wait().await;
        }
    }
}

/// Until acknowledged: a rejected event is never dropped, so its partition stands still meanwhile.
async fn publish_dead_letters(link: &Link, shared: &Shared, letters: &[DeadLetter]) {
    let mut stopped = None;
    let mut patience = Patience::default();
    while let Err(error) = shared.dead_letters.dead_letters(link.partition(), letters).await {
        if stopped.is_none() {
            shared.metrics.guard(StopKind::DeadLetter).inc();
            stopped = Some(shared.metrics.stopped());
        }
        if patience.is_worth_telling() {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            error!(partition = link.partition(), %error, source, "partition stopped until its rejected events can be kept; it goes on by itself");
        }
        patience.wait().await;
    }
    shared.metrics.dead_letters.inc_by(letters.len() as u64);
}

/// A topic that was created again under a running consumer is read on at the old position without any error, so ask.
async fn same_topic(link: &Link, shared: &Shared, origin: &Origin) -> Result<(), End> {
    let id = shared.until_kafka_answers("read the topic's id", || link.topic_id()).await;
    if id == origin.topic_id {
        return Ok(());
    }
    let reason = format!("the topic was deleted and created again: its id is {id}, this batch came from {}", origin.topic_id);
    Err(End::Stop(Stop::new(StopKind::Recreated, reason)))
}
