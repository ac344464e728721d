//! What the views must say: a second, naive reading of the same log, one record after the other, on one thread.
//!
//! Shares nothing with what it checks but the rows of the price book: its own JSON, its own rule for duplicates, its own decimals,
//! its own calendar, sets of users instead of sketches. Slow and plain on purpose.

mod decode;
mod prices;
pub mod views;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeZone, Utc};
use rust_decimal::Decimal;

use super::servers::KafkaRecord;
pub use decode::{Event, Rejected};
pub use prices::Book;

/// The settings that decide what becomes of an event.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub window_ms: i64,
    pub lateness_seconds: i64,
}

/// What became of one partition's records.
#[derive(Debug, Default)]
pub struct Partition {
    pub first: i64,
    pub next: i64,
    pub received: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// The newest timestamp of a record.
    pub time_max: i64,
}

/// Where an operation is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationKey {
    pub account: String,
    pub day: String,
    pub platform: String,
    pub agent: String,
    pub category: String,
    pub model: String,
}

#[derive(Clone, Debug, Default)]
pub struct Operation {
    pub events: u64,
    pub cost: Decimal,
    pub duration_ms: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub unpriced: u64,
    pub unattributed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    pub account: String,
    pub day: String,
    /// Seconds since 1970.
    pub start: i64,
    pub platform: String,
}

#[derive(Clone, Debug, Default)]
pub struct Session {
    pub users: HashSet<String>,
    pub events: u64,
    /// Filled in at the end.
    pub unit_cost: Decimal,
    pub cost: Decimal,
    pub priced: bool,
}

/// A rejected record: the reason, and the record as it lies in the log.
#[derive(Clone, Debug)]
pub struct Letter {
    pub reason: &'static str,
    pub record: KafkaRecord,
}

/// The whole log, folded.
#[derive(Debug, Default)]
pub struct Totals {
    pub partitions: BTreeMap<i32, Partition>,
    pub operations: BTreeMap<OperationKey, Operation>,
    pub sessions: BTreeMap<SessionKey, Session>,
    /// By partition and offset: what a row of the log must say of the event.
    pub logged: BTreeMap<(i32, i64), String>,
    pub letters: BTreeMap<(i32, i64), Letter>,
    /// Milliseconds; sessions and days that ended by then are closed.
    pub closed_to: i64,
}

/// Folds the log of every partition.
pub fn fold(log: &BTreeMap<i32, Vec<KafkaRecord>>, book: &Book, rules: Rules) -> Totals {
    let mut totals = Totals::default();
    for (&partition, records) in log {
        fold_partition(&mut totals, partition, records, book, rules);
    }
    for (key, session) in &mut totals.sessions {
        let (unit_cost, priced) = book.session(&key.account, &key.platform, key.start * 1000);
        session.unit_cost = unit_cost;
        session.cost = unit_cost * Decimal::from(session.users.len());
        session.priced = priced;
    }
    let read_to = totals.partitions.values().map(|partition| partition.time_max).min().unwrap_or_default();
    totals.closed_to = read_to - rules.lateness_seconds * 1000;
    totals
}

fn fold_partition(totals: &mut Totals, number: i32, records: &[KafkaRecord], book: &Book, rules: Rules) {
    let mut partition = Partition { first: records.first().map_or(0, |record| record.offset), ..Partition::default() };
    let mut seen: HashMap<(String, String, String), (i64, Event)> = HashMap::new();
    for record in records {
        partition.received += 1;
        partition.next = record.offset + 1;
        partition.time_max = partition.time_max.max(record.timestamp);
        let read = decode::event(record).and_then(|event| {
            let id = (event.account.clone(), event.source.clone(), event.id.clone());
            let before = seen.insert(id, (record.timestamp, event.clone()));
            match before.filter(|(time, _)| (record.timestamp - time).abs() <= rules.window_ms) {
                None => Ok(Some(event)),
                Some((_, same)) if same == event => Ok(None),
                Some(_) => Err(Rejected("id_conflict")),
            }
        });
        match read {
            Ok(Some(event)) => {
                partition.accepted += 1;
                accept(totals, number, record, &event, book);
            }
            Ok(None) => partition.duplicates += 1,
            Err(Rejected(reason)) => {
                partition.rejected += 1;
                totals.letters.insert((number, record.offset), Letter { reason, record: record.clone() });
            }
        }
    }
    totals.partitions.insert(number, partition);
}

fn accept(totals: &mut Totals, partition: i32, record: &KafkaRecord, event: &Event, book: &Book) {
    let account = book.account(&event.account, event.time);
    let zone = account.map_or(chrono_tz::UTC, |row| row.time_zone.parse().expect("a zone of the book"));
    let (cost, priced) = book.operation(event);
    let is_attributed = !event.user.is_empty() && !event.platform.is_empty();
    let charges_sessions = account.is_some_and(|row| !row.retired && row.charge.iter().any(|charge| charge == "sessions"));
    let key = OperationKey {
        account: event.account.clone(),
        day: day(event.time, zone),
        platform: event.platform.clone(),
        agent: event.agent.clone(),
        category: event.category.clone(),
        model: event.model.clone(),
    };
    totals.logged.insert(
        (partition, record.offset),
        format!(
            "{partition}\t{}\t{}\t{}\t{}\t{}\t{}\t{cost}\t{}",
            record.offset,
            event.id,
            event.account,
            event.time,
            record.timestamp,
            key.day,
            u8::from(priced),
            cost = cost.normalize(),
        ),
    );
    let operation = totals.operations.entry(key).or_default();
    operation.events += 1;
    operation.cost += cost;
    operation.duration_ms += event.duration_ms.unwrap_or_default();
    operation.input_tokens += event.input_tokens.unwrap_or_default();
    operation.output_tokens += event.output_tokens.unwrap_or_default();
    operation.unpriced += u64::from(!priced);
    operation.unattributed += u64::from(charges_sessions && !is_attributed);
    if is_attributed {
        let anchor = account.map_or(0, |row| i64::from(row.session_anchor));
        let seconds = event.time.div_euclid(1000);
        let start = (seconds - anchor).div_euclid(86_400) * 86_400 + anchor;
        let key =
            SessionKey { account: event.account.clone(), day: day(start * 1000, zone), start, platform: event.platform.clone() };
        let session = totals.sessions.entry(key).or_default();
        session.users.insert(event.user.clone());
        session.events += 1;
    }
}

/// The local date of a moment in milliseconds.
fn day(millis: i64, zone: chrono_tz::Tz) -> String {
    utc(millis).with_timezone(&zone).date_naive().to_string()
}

fn utc(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(millis).single().expect("a moment in range")
}
