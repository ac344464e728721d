//! Told everything, answers with values.
//!
//! Takes the records of one partition in order, and a price book; gives batches: ranges of offsets whose rows are a pure function
//! of the log, the version of the price book and the rules. Whoever forms the same range again gets the same rows.
//! Holds: every offset read is in exactly one batch, and received = accepted + duplicates + rejected.
//! Absent on purpose: clocks, Kafka, ClickHouse. The runtime performs what is said here, and `assignment` says where to begin.

pub mod assignment;
mod batch;
pub mod intent;
pub mod preview;
mod tally;

use std::sync::Arc;

pub use batch::{Batch, DeadLetter};
pub use intent::Intent;
pub use tally::Tally;

use crate::aggregate::{Accepted, Fold, HashSeed, Rejected};
use crate::decode::{self, Decoded};
use crate::dedupe::{self, Decision, HashKey, Window};
use crate::model::{Clocks, Event, Reason, Record, Reject, Timestamp};
use crate::price::Prices;

/// What does not change while an engine lives. A change of these changes what a range becomes.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which events are taken.
    pub limits: decode::Limits,
    /// How far back a repeated id is recognised.
    pub window: dedupe::Limits,
    /// The key of this deployment's user hashes.
    pub key: HashKey,
}

/// The fold of one partition's log.
pub struct Engine {
    rules: Rules,
    window: Window,
    prices: Arc<Prices>,
    clocks: Clocks,
    seed: HashSeed,
    latest: Timestamp,
    open: Open,
}

/// The batch that is being formed.
struct Open {
    from: i64,
    next: i64,
    window_from: i64,
    leader_epoch: i32,
    record_time_max: Timestamp,
    received: Option<(Timestamp, Timestamp)>,
    fold: Fold,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    tally: Tally,
}

impl Engine {
    /// An engine whose window begins at offset `from` and knows no record yet.
    pub fn new(rules: Rules, prices: Arc<Prices>, from: i64) -> Self {
        let window = Window::new(rules.window);
        let seed = HashSeed::new(rules.key.table_seed());
        let open = Open::new(from, from, -1, Timestamp::MIN, seed);
        Self { rules, window, prices, clocks: Clocks::default(), seed, latest: Timestamp::MAX, open }
    }

    /// Tells the time. A producer may stamp its records itself, and one stamped further ahead than an event may be says nothing of how
    /// far the log was read: it must close no session and begin no window. Until told, every stamp is believed.
    pub fn tell_time(&mut self, now: Timestamp) {
        self.latest = now.plus_millis(self.rules.limits.ahead_max_ms);
    }

    /// Remembers a record from before the first batch: only the window learns of it, and only when the record does not lie before
    /// the window's beginning. A window that knows more than the one it rebuilds would decide differently.
    pub fn remember(&mut self, record: &Record<'_>) {
        let is_in_window = record.offset >= self.open.from;
        if let Some(Decoded { event, .. }) = is_in_window.then(|| decode::decode(record, &self.rules.limits).ok()).flatten() {
            self.window.observe(self.rules.key.fingerprint(&event), record.offset, record.timestamp);
        }
        self.open.leader_epoch = record.leader_epoch;
        self.open.read_until(record, self.latest);
    }

    /// Ends remembering: the next batch begins at `from`.
    pub fn begin(&mut self, from: i64) {
        let window_from = self.window.oldest_offset().unwrap_or(from);
        self.open = Open::new(from, window_from, self.open.leader_epoch, self.open.record_time_max, self.seed);
    }

    /// Prices by this book from the next batch on. Only between batches: a batch has one version.
    pub fn set_prices(&mut self, prices: &Arc<Prices>) {
        if self.is_empty() && self.prices.version() != prices.version() {
            self.prices = Arc::clone(prices);
        }
    }

    /// Whether the open batch may take this record: no batch spans two leader epochs.
    pub fn fits(&self, record: &Record<'_>) -> bool {
        self.is_empty() || self.open.leader_epoch == record.leader_epoch
    }

    /// Whether the open batch holds no record.
    pub fn is_empty(&self) -> bool {
        self.open.next == self.open.from
    }

    /// Where the open batch begins.
    pub fn from(&self) -> i64 {
        self.open.from
    }

    /// The offset behind the last record.
    pub fn next(&self) -> i64 {
        self.open.next
    }

    /// How many records the open batch holds.
    pub fn events(&self) -> u64 {
        self.open.tally.records
    }

    /// How many fields that the contract does not know stood in the events of the open batch.
    pub fn unknown_fields(&self) -> u64 {
        self.open.tally.unknown_fields
    }

    /// The memory that the open batch holds, about.
    pub fn bytes(&self) -> usize {
        self.open.fold.bytes() + self.open.dead_letter_bytes
    }

    /// How many ids the window holds, and over how many milliseconds they reach.
    pub fn window(&self) -> (usize, i64) {
        (self.window.len(), self.window.span_ms())
    }

    /// The memory that the window holds.
    pub fn window_bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Takes the next record into the open batch. Records behind what was taken before are ignored: they were delivered twice.
    pub fn apply(&mut self, record: &Record<'_>) {
        if record.offset < self.open.next {
            return;
        }
        self.open.next = record.offset.saturating_add(1);
        self.open.leader_epoch = record.leader_epoch;
        self.open.read_until(record, self.latest);
        let received = record.timestamp.clamped();
        let (least, greatest) = self.open.received.unwrap_or((received, received));
        self.open.received = Some((least.min(received), greatest.max(received)));
        self.open.tally.take(record);
        match decode::decode(record, &self.rules.limits) {
            Err(reject) => self.open.reject(record, &reject),
            Ok(Decoded { event, unknown_fields }) => {
                self.open.tally.unknown_fields += unknown_fields.len() as u64;
                let fingerprint = self.rules.key.fingerprint(&event);
                match self.window.observe(fingerprint, record.offset, record.timestamp) {
                    Decision::New => self.accept(record, &event, fingerprint.payload),
                    Decision::Duplicate => self.open.fold.duplicate(record.offset),
                    Decision::Conflict => self.open.reject(record, &conflict(&event)),
                }
            }
        }
    }

    fn accept(&mut self, record: &Record<'_>, event: &Event<'_>, content: u64) {
        let terms = self.prices.terms(&event.account, event.time);
        let cost = self.prices.cost(event, &terms);
        let local = self.clocks.local(terms.zone, event.time);
        let session = terms.anchor.session_of(event.time);
        let unattributed = terms.charges_sessions && (event.user.is_empty() || event.platform.is_empty());
        let user_hash = if event.user.is_empty() { 0 } else { self.rules.key.user_hash(&event.account, &event.user) };
        self.open.tally.unpriced += u64::from(!cost.priced);
        self.open.tally.unattributed += u64::from(unattributed);
        self.open.fold.accept(&Accepted {
            event,
            content,
            offset: record.offset,
            received_at: record.timestamp.clamped(),
            day: local.day,
            hour: local.hour,
            session,
            session_day: self.clocks.local(terms.zone, session.start()).day,
            user_hash,
            cost: cost.credits,
            priced: cost.priced,
            unattributed,
        });
    }

    /// Ends the open batch at `to`, which is behind its last record, and begins the next there.
    ///
    /// Offsets without a record (transaction markers, aborted records) belong to the range they lie in.
    pub fn close(&mut self, to: i64) -> Batch {
        let to = to.max(self.open.next);
        let window_from = self.window.oldest_offset().unwrap_or(to);
        let next = Open::new(to, window_from, self.open.leader_epoch, self.open.record_time_max, self.seed);
        let open = std::mem::replace(&mut self.open, next);
        Batch {
            from: open.from,
            to,
            window_from: open.window_from,
            leader_epoch: open.leader_epoch,
            price_version: self.prices.version(),
            record_time_max: open.record_time_max,
            received: open.received,
            rows: open.fold.finish(),
            dead_letters: open.dead_letters,
            tally: open.tally,
        }
    }
}

impl Open {
    fn new(from: i64, window_from: i64, leader_epoch: i32, record_time_max: Timestamp, seed: HashSeed) -> Self {
        Self {
            from,
            next: from,
            window_from: window_from.min(from),
            leader_epoch,
            record_time_max,
            received: None,
            fold: Fold::seeded(seed),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            tally: Tally::default(),
        }
    }

    fn read_until(&mut self, record: &Record<'_>, latest: Timestamp) {
        if record.timestamp <= latest {
            self.record_time_max = self.record_time_max.max(record.timestamp.clamped());
        }
    }

    fn reject(&mut self, record: &Record<'_>, reject: &Reject) {
        self.tally.reject(reject.reason);
        let letter = DeadLetter::new(record, reject);
        self.dead_letter_bytes += letter.bytes();
        self.dead_letters.push(letter);
        self.fold.reject(&Rejected {
            offset: record.offset,
            received_at: record.timestamp.clamped(),
            reject,
            key: record.key.unwrap_or_default(),
            payload: record.value.unwrap_or_default(),
        });
    }
}

fn conflict(event: &Event<'_>) -> Reject {
    Reject {
        reason: Reason::IdConflict,
        detail: "id: used a moment ago by this source with other content; a changed event needs an id of its own".into(),
        account: event.account.clone().into_owned(),
    }
}

#[cfg(test)]
mod tests;
