//! A batch of events becomes log rows, rollup rows and sets of users.
//!
//! Takes what was decided about each record of a batch; gives blocks by month, sorted by their table's key, with the counts and the
//! digest of the whole. Holds: any order of arrival gives the same blocks and the same digest; any split into batches merges to the
//! same totals; keys of hourly rows are distinct within a block; one accepted event is one log row and one event of one hourly row.
//! Absent on purpose: clocks, prices, encodings of a protocol. The only bytes made here are those of a set of users.

mod digest;
mod fold;
mod hash;
mod hourly;
mod log;
mod names;
pub(crate) mod narrow;
mod rejected;
mod sessions;
mod text;
pub mod users;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use fold::Fold;
pub use hash::HashSeed;
pub use hourly::{HourlyBlock, HourlyRow, Sums};
pub use log::{LogBlock, LogRow};
pub use rejected::{RejectedBlock, RejectedRow};
pub use sessions::{SessionBlock, SessionRow};

use crate::model::{Credits, Day, Event, Month, Reject, SessionStart, Timestamp};

/// How many bytes of a rejected record's key, and of its payload, are kept.
pub const REJECTED_BYTES_MAX: usize = 16 * 1024;

/// An event that will be billed, with everything that was worked out about it.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// The event itself.
    pub event: &'a Event<'a>,
    /// A hash of all that the event says, and of what it leaves out: that of its fingerprint.
    pub content: u64,
    /// The record's place in the partition.
    pub offset: i64,
    /// The record's timestamp, between [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub received_at: Timestamp,
    /// The account's local date.
    pub day: Day,
    /// The start of the hour on the account's clock, as the UTC moment.
    pub hour: Timestamp,
    /// The session the event lies in.
    pub session: SessionStart,
    /// The account's local date at the session's start.
    pub session_day: Day,
    /// The keyed hash of account and user; 0 when the event names no user.
    pub user_hash: u64,
    /// What the event costs.
    pub cost: Credits,
    /// Whether a price (of zero, perhaps) was found.
    pub priced: bool,
    /// Whether the account is charged for sessions and the event lacks user or platform.
    pub unattributed: bool,
}

impl Accepted<'_> {
    /// Whether the event counts in a session: it names a user and a platform.
    pub fn is_in_session(&self) -> bool {
        !self.event.user.is_empty() && !self.event.platform.is_empty()
    }
}

/// A record that will not be billed.
#[derive(Debug, Clone, Copy)]
pub struct Rejected<'a> {
    /// The record's place in the partition.
    pub offset: i64,
    /// The record's timestamp, between [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub received_at: Timestamp,
    /// Why.
    pub reject: &'a Reject,
    /// The record's key, whole; the first [`REJECTED_BYTES_MAX`] bytes are kept as they are.
    pub key: &'a [u8],
    /// The record's value, whole; the first [`REJECTED_BYTES_MAX`] bytes are kept as they are.
    pub payload: &'a [u8],
}

/// What became of the records of a batch. `received = accepted + duplicates + rejected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them.
    pub received: u64,
    /// Those that are in the log.
    pub accepted: u64,
    /// Those that repeated an event.
    pub duplicates: u64,
    /// Those that were set aside with a reason.
    pub rejected: u64,
}

/// A finished batch: a pure function of the decisions, whatever order they came in.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// What became of the records.
    pub counts: Counts,
    /// A 64-bit sum over decisions, offsets and stored fields (moments of writing and price versions left out) and rollup rows.
    pub digest: u64,
    /// Accepted events, by the month of their day.
    pub usage_log: BTreeMap<Month, LogBlock>,
    /// Sums by account, day, hour, platform, agent, category and model, by the month of their day.
    pub usage_hourly: BTreeMap<Month, HourlyBlock>,
    /// Sets of users by account, platform and session, by the month of the session's day. Every month of `usage_log` is here too, if
    /// need be with an empty block: each rollup has a witness for each month that the log has.
    pub session_users: BTreeMap<Month, SessionBlock>,
    /// Rejected records, by the month in UTC of their timestamp.
    pub rejected: BTreeMap<Month, RejectedBlock>,
}

impl Rows {
    /// Whose events were accepted; an account of several months is named for each.
    pub fn accounts(&self) -> Vec<Box<str>> {
        let mut accounts: Vec<Box<str>> = Vec::new();
        for row in self.usage_hourly.values().flat_map(HourlyBlock::rows) {
            if accounts.last().is_none_or(|last| **last != *row.account) {
                accounts.push(row.account.into()); // rows are sorted by account
            }
        }
        accounts
    }
}
