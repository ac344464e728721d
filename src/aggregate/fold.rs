//! The fold itself: decisions in, one finished batch out.

use std::sync::Arc;

use super::digest::{Digest, Term};
use super::hash::HashSeed;
use super::hourly::Hourly;
use super::log::{EventNames, LogColumns};
use super::names::Names;
use super::rejected::{RejectedColumns, kept};
use super::sessions::Sessions;
use super::{Accepted, Counts, Rejected, Rows};

/// A batch in the making.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    counts: Counts,
    digest: Digest,
    names: Names,
    log: LogColumns,
    hourly: Hourly,
    sessions: Sessions,
    rejected: RejectedColumns,
}

impl Fold {
    /// A batch without a record.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with tables that nobody who writes events can slow down.
    pub fn seeded(seed: HashSeed) -> Self {
        Self { names: Names::new(seed), hourly: Hourly::new(seed), sessions: Sessions::new(seed), ..Self::default() }
    }

    /// Takes an event that will be billed.
    pub fn accept(&mut self, row: &Accepted<'_>) {
        self.counts.received += 1;
        self.counts.accepted += 1;
        let event = row.event;
        let names = EventNames {
            account: self.names.intern(&event.account),
            source: self.names.intern(&event.source),
            platform: self.names.intern(&event.platform),
            agent: self.names.intern(&event.agent),
            category: self.names.intern(&event.category),
            model: self.names.intern(&event.model),
        };
        self.log.push(row, names);
        self.hourly.add(row, names);
        if row.is_in_session() {
            self.sessions.add(row, names);
        }
        self.digest_accepted(row);
    }

    fn digest_accepted(&mut self, row: &Accepted<'_>) {
        // What the event says is hashed already; the rest is what was worked out about it.
        let term = self.digest.begin(Term::Accepted);
        term.int(row.offset).number(row.content).int(row.received_at.millis()).number(row.day.epoch_days().into());
        term.number(row.user_hash).amount(row.cost.nanos()).number(row.priced.into()).end();
    }

    /// Takes the offset of a record that repeats an event.
    pub fn duplicate(&mut self, offset: i64) {
        self.counts.received += 1;
        self.counts.duplicates += 1;
        self.digest.begin(Term::Duplicate).int(offset).end();
    }

    /// Takes a record that will not be billed.
    pub fn reject(&mut self, row: &Rejected<'_>) {
        self.counts.received += 1;
        self.counts.rejected += 1;
        self.rejected.push(row);
        let reject = row.reject;
        let term = self.digest.begin(Term::Rejected);
        term.int(row.offset).int(row.received_at.millis()).text(reject.account.as_bytes());
        term.text(reject.reason.as_str().as_bytes())
            .text(reject.detail.as_bytes())
            .text(kept(row.key))
            .text(kept(row.payload))
            .end();
    }

    /// What became of the records so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.names.bytes() + self.log.bytes() + self.hourly.bytes() + self.sessions.bytes() + self.rejected.bytes()
    }

    /// The finished batch.
    pub fn finish(self) -> Rows {
        let Self { counts, mut digest, names, log, hourly, sessions, rejected } = self;
        let ranks = names.ranks();
        let names = Arc::new(names);
        let usage_log = log.into_blocks(&names, &ranks);
        let usage_hourly = hourly.into_blocks(&names, &ranks, &mut digest);
        let session_users = sessions.into_blocks(&names, &ranks, usage_log.keys().copied(), &mut digest);
        Rows { counts, digest: digest.sum(), usage_log, usage_hourly, session_users, rejected: rejected.into_blocks() }
    }
}
