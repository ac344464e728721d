//! What a file of events would cost, before it is published.
//!
//! Takes the lines of a file as records in order, and a price book; gives a [`Report`]. Every record goes through the same
//! [`Engine`] as in production, and what is reported is read from the rows that would be stored.
//! Holds: costs of operations are exact; unique users are exact up to [`EXACT_USERS_MAX`] of a session and an estimate with its error
//! beyond; memory grows with what is reported (sessions, names), not with the number of lines.
//! Absent on purpose: a users key of a deployment. Only counts are shown, and they are the same under every key.

mod report;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use report::{AccountCost, Money, OperationCost, PlatformSessions, Records, RejectedLine, Report, SessionCost, UnknownField};
pub use users::{Count, EXACT_USERS_MAX, Users};

use super::{Batch, Engine, Rules};
use crate::aggregate::{HourlyBlock, LogBlock, RejectedBlock, Rows, SessionBlock, Sums};
use crate::decode;
use crate::model::{Credits, Day, Reason, Record, SessionStart, Timestamp};
use crate::price::{Prices, TRAINING};

/// How many rejected lines are shown; all are counted.
pub const REJECTED_MAX: usize = 20;
/// The most distinct names of unknown fields that are kept.
const UNKNOWN_NAMES_MAX: usize = 1_000;
/// The most characters that are kept of one.
const UNKNOWN_CHARS_MAX: usize = 64;
const BATCH_EVENTS_MAX: u64 = 65_536;
const BATCH_BYTES_MAX: usize = 32 << 20;

/// A preview in the making.
pub struct Preview {
    engine: Engine,
    limits: decode::Limits,
    prices: Arc<Prices>,
    report: Report,
    times: Option<(Timestamp, Timestamp)>,
    unknown_fields: BTreeMap<String, u64>,
    operations: BTreeMap<(String, String, String), Sums>,
    sessions: BTreeMap<SessionKey, Session>,
}

/// Account, platform, start, and the account's day then, which differs for one start only when its time zone changed.
type SessionKey = (String, String, SessionStart, Day);

#[derive(Default)]
struct Session {
    users: Users,
    events: u64,
}

impl Preview {
    /// A preview of a file whose first record has the offset 1.
    pub fn new(rules: Rules, prices: Arc<Prices>) -> Self {
        Self {
            limits: rules.limits,
            engine: Engine::new(rules, Arc::clone(&prices), 1),
            prices,
            report: Report {
                rejected_by_reason: Reason::ALL.into_iter().map(|reason| (reason.as_str(), 0)).collect(),
                ..Report::default()
            },
            times: None,
            unknown_fields: BTreeMap::new(),
            operations: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// Takes the next line.
    pub fn apply(&mut self, record: &Record<'_>) {
        let unknown_before = self.engine.unknown_fields();
        self.engine.apply(record);
        if self.engine.unknown_fields() != unknown_before {
            self.name_unknown_fields(record);
        }
        if self.engine.events() >= BATCH_EVENTS_MAX || self.engine.bytes() >= BATCH_BYTES_MAX {
            self.close();
        }
    }

    /// The engine counts them; their names are worth a second look only here.
    fn name_unknown_fields(&mut self, record: &Record<'_>) {
        let Ok(decoded) = decode::decode(record, &self.limits) else { return };
        for name in decoded.unknown_fields {
            let name: String = name.chars().take(UNKNOWN_CHARS_MAX).collect();
            if self.unknown_fields.len() < UNKNOWN_NAMES_MAX || self.unknown_fields.contains_key(&name) {
                *self.unknown_fields.entry(name).or_default() += 1;
            }
        }
    }

    fn close(&mut self) {
        let batch = self.engine.close(self.engine.next());
        self.count(&batch);
        self.fold(&batch.rows);
    }

    fn count(&mut self, batch: &Batch) {
        let (records, counts) = (&mut self.report.records, batch.rows.counts);
        records.received += counts.received;
        records.accepted += counts.accepted;
        records.duplicates += counts.duplicates;
        records.rejected += counts.rejected;
        self.report.unpriced_events += batch.tally.unpriced;
        self.report.unattributed_events += batch.tally.unattributed;
        for (reason, count) in batch.tally.rejected() {
            *self.report.rejected_by_reason.entry(reason.as_str()).or_default() += count;
        }
    }

    fn fold(&mut self, rows: &Rows) {
        for row in rows.usage_log.values().flat_map(LogBlock::rows) {
            let (first, last) = self.times.unwrap_or((row.event_time, row.event_time));
            self.times = Some((first.min(row.event_time), last.max(row.event_time)));
        }
        for row in rows.usage_hourly.values().flat_map(HourlyBlock::rows) {
            let key = (row.account.to_owned(), row.category.to_owned(), row.model.to_owned());
            self.operations.entry(key).or_default().add(&row.sums);
        }
        for row in rows.session_users.values().flat_map(SessionBlock::rows) {
            let key = (row.account.to_owned(), row.platform.to_owned(), row.session, row.day);
            let session = self.sessions.entry(key).or_default();
            session.users.add(row.users.iter().copied());
            session.events = session.events.saturating_add(row.events);
        }
        let room = REJECTED_MAX.saturating_sub(self.report.rejected.len());
        self.report.rejected.extend(rows.rejected.values().flat_map(RejectedBlock::rows).take(room).map(|row| RejectedLine {
            line: row.offset,
            reason: row.reason.as_str(),
            account: row.account.to_owned(),
            detail: row.detail.to_owned(),
        }));
    }

    /// What was seen.
    pub fn finish(mut self) -> Report {
        self.close();
        let mut report = self.report;
        let (first, last) = self.times.unzip();
        report.first_event = first.map(|time| time.to_string());
        report.last_event = last.map(|time| time.to_string());
        report.unknown_fields = self.unknown_fields.into_iter().map(|(name, events)| UnknownField { name, events }).collect();
        report.unknown_fields.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.name.cmp(&b.name)));

        let mut accounts: BTreeMap<String, AccountCost> = BTreeMap::new();
        for ((account, category, model), sums) in self.operations {
            let is_training = category == TRAINING;
            let of_account = account_of(&mut accounts, &account);
            of_account.events = of_account.events.saturating_add(sums.events);
            let money = &mut of_account.money;
            let part = if is_training { &mut money.training_cost } else { &mut money.operations_cost };
            *part = plus(*part, sums.cost);
            report.operations.push(OperationCost {
                account,
                kind: if is_training { "training" } else { "operation" },
                category,
                model,
                events: sums.events,
                unpriced_events: sums.unpriced_events,
                unattributed_events: sums.unattributed_events,
                cost: sums.cost,
            });
        }
        let sessions: Vec<_> = self.sessions.into_iter().collect();
        for platform in sessions.chunk_by(|(a, _), (b, _)| (&a.0, &a.1) == (&b.0, &b.1)) {
            let priced: Vec<SessionCost> = platform.iter().map(|session| price(&self.prices, session)).collect();
            for session in &priced {
                let money = &mut account_of(&mut accounts, &session.account).money;
                money.sessions_cost = plus(money.sessions_cost, session.cost);
                money.sessions_cost_error =
                    plus(money.sessions_cost_error, times(session.unit_session_cost, session.unique_users_error));
                report.unpriced_sessions += u64::from(!session.priced);
            }
            report.platforms.push(both_readings(platform, &priced));
            report.sessions.extend(priced);
        }
        for account in accounts.values_mut() {
            let (money, total) = (&mut account.money, &mut report.total);
            money.cost = plus(money.sessions_cost, plus(money.training_cost, money.operations_cost));
            total.sessions_cost = plus(total.sessions_cost, money.sessions_cost);
            total.sessions_cost_error = plus(total.sessions_cost_error, money.sessions_cost_error);
            total.training_cost = plus(total.training_cost, money.training_cost);
            total.operations_cost = plus(total.operations_cost, money.operations_cost);
            total.cost = plus(total.cost, money.cost);
        }
        report.accounts = accounts.into_values().collect();
        report
    }
}

fn account_of<'a>(accounts: &'a mut BTreeMap<String, AccountCost>, account: &str) -> &'a mut AccountCost {
    let new = || AccountCost { account: account.to_owned(), events: 0, money: Money::default() };
    accounts.entry(account.to_owned()).or_insert_with(new)
}

fn price(prices: &Prices, ((account, platform, start, day), session): &(SessionKey, Session)) -> SessionCost {
    let unit = prices.unit_session_cost(account, platform, *start);
    let users = session.users.count().at_most(session.events);
    let unit_session_cost = unit.unwrap_or_default();
    SessionCost {
        account: account.clone(),
        platform: platform.clone(),
        session_start: start.start().to_string(),
        session_end: start.end().to_string(),
        day: day.to_string(),
        unique_users: users.users,
        unique_users_error: users.error,
        events: session.events,
        unit_session_cost,
        cost: times(unit_session_cost, users.users),
        priced: unit.is_some(),
    }
}

/// The sessions of one platform in the order of time, with their prices.
fn both_readings(sessions: &[(SessionKey, Session)], priced: &[SessionCost]) -> PlatformSessions {
    let mut all = Users::default();
    let mut read = PlatformSessions { sessions: sessions.len() as u64, ..PlatformSessions::default() };
    let mut events = 0_u64;
    for (((account, platform, ..), session), cost) in sessions.iter().zip(priced) {
        read.account.clone_from(account);
        read.platform.clone_from(platform);
        all.unite(&session.users);
        events = events.saturating_add(session.events);
        read.cost = plus(read.cost, cost.cost);
    }
    let range = all.count().at_most(events);
    (read.range_users, read.range_users_error) = (range.users, range.error);
    for cost in priced {
        read.literal_cost = plus(read.literal_cost, times(cost.unit_session_cost, range.users));
    }
    for (pair, cost) in sessions.windows(2).zip(&priced[1..]) {
        let [((_, _, before, _), earlier), ((_, _, start, _), later)] = pair else { continue };
        if before.end() != start.start() {
            continue; // nobody is on both sides of a boundary that no session touches
        }
        let shared = earlier.users.shared(&later.users);
        read.boundary_users += shared.users;
        read.boundary_users_error += shared.error;
        read.boundary_cost = plus(read.boundary_cost, times(cost.unit_session_cost, shared.users));
    }
    read
}

/// Stays at the largest amount instead of wrapping, as the sums of batches do.
fn plus(a: Credits, b: Credits) -> Credits {
    Credits::from_nanos(a.nanos().saturating_add(b.nanos()))
}

fn times(unit: Credits, users: u64) -> Credits {
    Credits::from_nanos(unit.nanos().saturating_mul(i128::from(users)))
}

#[cfg(test)]
mod tests;
