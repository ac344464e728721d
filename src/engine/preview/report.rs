//! What a preview says, as values with names that stay: they are the keys of its JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Credits;

/// What a file of events would become.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// What became of the lines.
    pub records: Records,
    /// The time of the first accepted event; absent when none was.
    pub first_event: Option<String>,
    /// The time of the last one.
    pub last_event: Option<String>,
    /// Accepted events that cost nothing for want of a price.
    pub unpriced_events: u64,
    /// Sessions that cost nothing for want of a price.
    pub unpriced_sessions: u64,
    /// Accepted events of accounts that are charged for sessions, without user or platform.
    pub unattributed_events: u64,
    /// Rejected lines by reason; every reason is there.
    pub rejected_by_reason: BTreeMap<&'static str, u64>,
    /// The first rejected lines.
    pub rejected: Vec<RejectedLine>,
    /// Fields that the contract does not know, the most frequent first.
    pub unknown_fields: Vec<UnknownField>,
    /// What everything costs.
    pub total: Money,
    /// The same by account.
    pub accounts: Vec<AccountCost>,
    /// Training and operations by account, category and model.
    pub operations: Vec<OperationCost>,
    /// Every session with a user.
    pub sessions: Vec<SessionCost>,
    /// Sessions by account and platform: both readings of the formula, and who counts on both sides of a boundary.
    pub platforms: Vec<PlatformSessions>,
}

/// What became of the lines: received = accepted + duplicates + rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Records {
    /// All lines.
    pub received: u64,
    /// Those that would be billed.
    pub accepted: u64,
    /// Those that repeat an event.
    pub duplicates: u64,
    /// Those that break a rule.
    pub rejected: u64,
}

/// A line that would not be billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Its number in the file, from 1.
    pub line: i64,
    /// Why, for machines.
    pub reason: &'static str,
    /// The account, when it could be read.
    pub account: String,
    /// Why, for people.
    pub detail: String,
}

/// A field that the contract does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownField {
    /// Its name as sent, shortened.
    pub name: String,
    /// How many events have it.
    pub events: u64,
}

/// Costs by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Money {
    /// Of sessions.
    pub sessions_cost: Credits,
    /// How far off that may be: 0 when every session was counted exactly.
    pub sessions_cost_error: Credits,
    /// Of training.
    pub training_cost: Credits,
    /// Of all other operations.
    pub operations_cost: Credits,
    /// Of all.
    pub cost: Credits,
}

/// What an account pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountCost {
    /// Who pays.
    pub account: String,
    /// How many events.
    pub events: u64,
    /// What for.
    #[serde(flatten)]
    pub money: Money,
}

/// What operations of one kind cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationCost {
    /// Who pays.
    pub account: String,
    /// `training` or `operation`.
    pub kind: &'static str,
    /// What kind of work it was.
    pub category: String,
    /// The model that did it.
    pub model: String,
    /// How many events.
    pub events: u64,
    /// Those without a price.
    pub unpriced_events: u64,
    /// Those of an account charged for sessions that lack user or platform.
    pub unattributed_events: u64,
    /// What they cost.
    pub cost: Credits,
}

/// What a session costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionCost {
    /// Who pays.
    pub account: String,
    /// Where the users are.
    pub platform: String,
    /// Its first moment.
    pub session_start: String,
    /// The first moment after it.
    pub session_end: String,
    /// The account's local date at its start.
    pub day: String,
    /// Distinct users.
    pub unique_users: u64,
    /// How far off that may be: 0 when it is exact.
    pub unique_users_error: u64,
    /// How many events.
    pub events: u64,
    /// The price of one user; 0 where sessions are not charged.
    pub unit_session_cost: Credits,
    /// Users times that price.
    pub cost: Credits,
    /// Whether a price was found.
    pub priced: bool,
}

/// The sessions of an account's platform, read in two ways.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PlatformSessions {
    /// Who pays.
    pub account: String,
    /// Where the users are.
    pub platform: String,
    /// How many sessions have a user.
    pub sessions: u64,
    /// Distinct users of all sessions together.
    pub range_users: u64,
    /// How far off that may be: 0 when it is exact.
    pub range_users_error: u64,
    /// What is billed: the users of each session times its price.
    pub cost: Credits,
    /// The literal reading: the users of all sessions together times the price of each session.
    pub literal_cost: Credits,
    /// Users who are in a session and in the one that ends where it starts, summed over sessions.
    pub boundary_users: u64,
    /// How far off that may be: 0 when it is exact.
    pub boundary_users_error: u64,
    /// The part of `cost` that these users' second session makes.
    pub boundary_cost: Credits,
}
