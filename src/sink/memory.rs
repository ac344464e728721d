//! Tables in memory: what batches leave behind, readable, merged as ClickHouse merges.
//!
//! For stories that are read by people and for previews without a server. Holds: rows of a rollup are merged by key (sums add up, sets
//! unite); the same batch written twice changes nothing, as with a token. Absent on purpose: tokens that fail, moments of writing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Origin, Stamp, witness};
use crate::aggregate::{HourlyBlock, LogBlock, RejectedBlock, Rows, SessionBlock, Sums};
use crate::model::{Credits, Quantity, Timestamp};

/// The tables.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    written: BTreeSet<String>,
    usage_log: Vec<LogRow>,
    hourly: BTreeMap<HourlyKey, Sums>,
    sessions: BTreeMap<SessionKey, (BTreeSet<u64>, u64)>,
    rejected: Vec<RejectedRow>,
}

/// account, day, category, agent, model, platform, hour: the order of the table.
type HourlyKey = (String, String, String, String, String, String, Timestamp);
/// day, account, session start, platform: the order of the table.
type SessionKey = (String, String, Timestamp, String);

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the columns of `usage_log`
pub struct LogRow {
    pub account: String,
    pub source: String,
    pub id: String,
    pub event_time: String,
    pub received_at: String,
    pub day: String,
    pub platform: String,
    pub user_hash: u64,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub duration_ms: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub quantity: Quantity,
    pub credits: Credits,
    pub given: u8,
    pub cost: Credits,
    pub priced: bool,
    pub price_version: u64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Sums of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the columns of `usage_hourly`
pub struct HourlyRow {
    pub account: String,
    pub day: String,
    pub hour: String,
    pub platform: String,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub events: u64,
    pub cost: Credits,
    pub duration_ms: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub quantity: Quantity,
    pub unpriced_events: u64,
    pub unattributed_events: u64,
}

/// The users of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the columns of `session_users`
pub struct SessionRow {
    pub account: String,
    pub day: String,
    pub session_start: String,
    pub platform: String,
    /// The distinct hashes themselves, so the count is exact at any size.
    pub users: BTreeSet<u64>,
    pub events: u64,
}

/// A rejected record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the columns of `rejected_events`
pub struct RejectedRow {
    pub received_at: String,
    pub account: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: &'static str,
    pub detail: String,
    /// Bytes that are not UTF-8 are shown as `U+FFFD`.
    pub key: String,
    /// Bytes that are not UTF-8 are shown as `U+FFFD`.
    pub payload: String,
}

impl Memory {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a batch; one that was written already changes nothing.
    pub fn write(&mut self, rows: &Rows, origin: &Origin, stamp: &Stamp) {
        if !self.written.insert(witness(origin, stamp)) {
            return;
        }
        self.usage_log.extend(rows.usage_log.values().flat_map(LogBlock::rows).map(|row| LogRow {
            account: row.account.to_owned(),
            source: row.source.to_owned(),
            id: row.id.to_owned(),
            event_time: row.event_time.to_string(),
            received_at: row.received_at.to_string(),
            day: row.day.to_string(),
            platform: row.platform.to_owned(),
            user_hash: row.user_hash,
            agent: row.agent.to_owned(),
            category: row.category.to_owned(),
            model: row.model.to_owned(),
            duration_ms: row.duration_ms,
            input_tokens: row.input_tokens,
            cached_input_tokens: row.cached_input_tokens,
            output_tokens: row.output_tokens,
            quantity: row.quantity,
            credits: row.credits,
            given: row.given.bits(),
            cost: row.cost,
            priced: row.priced,
            price_version: stamp.price_version,
            topic: origin.topic.clone(),
            partition: origin.partition,
            offset: row.offset,
        }));
        for row in rows.usage_hourly.values().flat_map(HourlyBlock::rows) {
            let [account, category, agent, model, platform] =
                [row.account, row.category, row.agent, row.model, row.platform].map(str::to_owned);
            let key = (account, row.day.to_string(), category, agent, model, platform, row.hour);
            self.hourly.entry(key).or_default().add(&row.sums);
        }
        for row in rows.session_users.values().flat_map(SessionBlock::rows) {
            let key = (row.day.to_string(), row.account.to_owned(), row.session.start(), row.platform.to_owned());
            let (users, events) = self.sessions.entry(key).or_default();
            users.extend(row.users);
            *events = events.saturating_add(row.events);
        }
        self.rejected.extend(rows.rejected.values().flat_map(RejectedBlock::rows).map(|row| RejectedRow {
            received_at: row.received_at.to_string(),
            account: row.account.to_owned(),
            topic: origin.topic.clone(),
            partition: origin.partition,
            offset: row.offset,
            reason: row.reason.as_str(),
            detail: row.detail.to_owned(),
            key: String::from_utf8_lossy(row.key).into_owned(),
            payload: String::from_utf8_lossy(row.payload).into_owned(),
        }));
    }

    /// `usage_log`, batch by batch as written, sorted within each.
    pub fn usage_log(&self) -> &[LogRow] {
        &self.usage_log
    }

    /// `usage_hourly`, merged and sorted by its key.
    pub fn usage_hourly(&self) -> impl Iterator<Item = HourlyRow> {
        self.hourly.iter().map(|((account, day, category, agent, model, platform, hour), sums)| HourlyRow {
            account: account.clone(),
            day: day.clone(),
            hour: hour.to_string(),
            platform: platform.clone(),
            agent: agent.clone(),
            category: category.clone(),
            model: model.clone(),
            events: sums.events,
            cost: sums.cost,
            duration_ms: sums.duration_ms,
            input_tokens: sums.input_tokens,
            cached_input_tokens: sums.cached_input_tokens,
            output_tokens: sums.output_tokens,
            quantity: sums.quantity,
            unpriced_events: sums.unpriced_events,
            unattributed_events: sums.unattributed_events,
        })
    }

    /// `session_users`, merged and sorted by its key.
    pub fn session_users(&self) -> impl Iterator<Item = SessionRow> {
        self.sessions.iter().map(|((day, account, start, platform), (users, events))| SessionRow {
            account: account.clone(),
            day: day.clone(),
            session_start: start.to_string(),
            platform: platform.clone(),
            users: users.clone(),
            events: *events,
        })
    }

    /// `rejected_events`, batch by batch as written, sorted within each.
    pub fn rejected_events(&self) -> &[RejectedRow] {
        &self.rejected
    }
}
