//! A preview on standard output. `docs/preview.md` documents the keys of its JSON and the columns of its CSV.

use std::fmt::Write;
use std::io::{self, Write as _};

use serde::Serialize;

use super::super::aligned::table;
use super::super::args::Format;
use super::super::output::Failed;
use super::text::{csv, plain};
use crate::engine::preview::Report;

/// So many rows of a table are for people; all of them are in JSON and CSV.
const ROWS_MAX: usize = 40;
const CSV_COLUMNS: [&str; 12] = [
    "account",
    "kind",
    "platform",
    "session_start",
    "category",
    "model",
    "events",
    "unpriced_events",
    "unique_users",
    "unique_users_error",
    "unit_session_cost",
    "cost",
];

/// What is shown.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) file: &'a str,
    /// Where the prices come from, for people.
    pub(super) price_book: &'a str,
    #[serde(flatten)]
    pub(super) report: &'a Report,
}

pub(super) fn show(format: Format, shown: &Shown<'_>) -> Result<(), Failed> {
    let text = match format {
        Format::Table => page(shown),
        Format::Json => serde_json::to_string(shown).map_err(|error| Failed(error.into()))? + "\n",
        Format::Csv => costs(shown.report),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed)
}

/// Every credit once.
fn costs(report: &Report) -> String {
    let mut text = csv(&CSV_COLUMNS.map(str::to_owned));
    for row in &report.sessions {
        let unpriced = if row.priced { 0 } else { row.events };
        text += &csv(&[
            row.account.clone(),
            "session".to_owned(),
            row.platform.clone(),
            row.session_start.clone(),
            String::new(),
            String::new(),
            row.events.to_string(),
            unpriced.to_string(),
            row.unique_users.to_string(),
            row.unique_users_error.to_string(),
            row.unit_session_cost.to_string(),
            row.cost.to_string(),
        ]);
    }
    for row in &report.operations {
        text += &csv(&[
            row.account.clone(),
            row.kind.to_owned(),
            String::new(),
            String::new(),
            row.category.clone(),
            row.model.clone(),
            row.events.to_string(),
            row.unpriced_events.to_string(),
            String::new(),
            String::new(),
            String::new(),
            row.cost.to_string(),
        ]);
    }
    text
}

fn page(shown: &Shown<'_>) -> String {
    let Shown { file, price_book, report } = shown;
    let mut page = Page(String::new());
    let range = match (&report.first_event, &report.last_event) {
        (Some(first), Some(last)) => format!(", events from {first} to {last}"),
        _ => String::new(),
    };
    page.say(&format!("{}: {} lines{range}", plain(file), report.records.received));
    page.say(&format!("priced by {}; nothing was published", plain(price_book)));
    let mut lines = vec![
        ("accepted", report.records.accepted, "would be billed"),
        ("duplicates", report.records.duplicates, "repeat an event: retries are free"),
        ("rejected", report.records.rejected, "break a rule: see below"),
        ("unpriced", report.unpriced_events, "accepted, cost nothing for want of a price or of their account"),
        ("unpriced sessions", report.unpriced_sessions, "cost nothing for want of a price or of their account"),
        ("unattributed", report.unattributed_events, "accepted, of an account charged for sessions, without user or platform"),
    ];
    lines.retain(|(name, count, _)| *count > 0 || ["accepted", "duplicates", "rejected"].contains(name));
    page.say("");
    let width = report.records.received.to_string().len();
    for (name, count, what) in lines {
        page.say(&format!("  {name:<17}  {count:>width$}  {what}"));
    }
    rejected_and_unknown(&mut page, report);
    money(&mut page, report);
    sessions(&mut page, report);
    page.0
}

fn rejected_and_unknown(page: &mut Page, report: &Report) {
    if report.records.rejected > 0 {
        let shown = report.rejected.len();
        page.table(
            "rejected lines",
            &["line", "reason", "account", "detail"],
            report.rejected.iter().map(|row| cells(&[&row.line, &row.reason, &row.account, &row.detail])),
            Some(report.records.rejected.saturating_sub(shown as u64)),
        );
        if report.records.rejected > shown as u64 {
            let reasons = report.rejected_by_reason.iter().filter(|(_, count)| **count > 0);
            page.table("all of them", &["reason", "lines"], reasons.map(|(reason, count)| cells(&[reason, count])), None);
        }
    }
    if !report.unknown_fields.is_empty() {
        page.table(
            "unknown fields: ignored, perhaps misspelt",
            &["field", "events"],
            report.unknown_fields.iter().take(ROWS_MAX).map(|row| cells(&[&row.name, &row.events])),
            Some(report.unknown_fields.len().saturating_sub(ROWS_MAX) as u64),
        );
    }
}

fn money(page: &mut Page, report: &Report) {
    let total = &report.total;
    let accounts = report.accounts.iter().take(ROWS_MAX).map(|row| {
        let money = &row.money;
        cells(&[&row.account, &row.events, &money.sessions_cost, &money.training_cost, &money.operations_cost, &money.cost])
    });
    page.table(
        "accounts: what each pays, in credits",
        &["account", "events", "sessions_cost", "training_cost", "operations_cost", "cost"],
        accounts,
        Some(report.accounts.len().saturating_sub(ROWS_MAX) as u64),
    );
    let error = match total.sessions_cost_error.nanos() {
        0 => String::new(),
        _ => format!(", ± {} for the estimated users of sessions", total.sessions_cost_error),
    };
    page.say(&format!("  all together: {}{error}", total.cost));
    page.table(
        "operations and training, by category and model",
        &["account", "kind", "category", "model", "events", "unpriced", "cost"],
        report
            .operations
            .iter()
            .take(ROWS_MAX)
            .map(|row| cells(&[&row.account, &row.kind, &row.category, &row.model, &row.events, &row.unpriced_events, &row.cost])),
        Some(report.operations.len().saturating_sub(ROWS_MAX) as u64),
    );
}

fn sessions(page: &mut Page, report: &Report) {
    page.table(
        "sessions: the unique users of a platform in 24 hours, times the price of one",
        &["account", "platform", "session_start", "unique_users", "events", "unit_session_cost", "cost"],
        report.sessions.iter().take(ROWS_MAX).map(|row| {
            let unit: &dyn std::fmt::Display = if row.priced { &row.unit_session_cost } else { &"unpriced" };
            let users = with_error(row.unique_users, row.unique_users_error);
            cells(&[&row.account, &row.platform, &row.session_start, &users, &row.events, unit, &row.cost])
        }),
        Some(report.sessions.len().saturating_sub(ROWS_MAX) as u64),
    );
    page.table(
        "the formula in its two readings: cost is billed, users of each session times its price; literal_cost is the users of all\n\
         sessions together times every session's price. boundary_cost is the part of cost of users who were also in the session before",
        &["account", "platform", "sessions", "users", "cost", "literal_cost", "boundary_users", "boundary_cost"],
        report.platforms.iter().take(ROWS_MAX).map(|row| {
            let users = with_error(row.range_users, row.range_users_error);
            let boundary = with_error(row.boundary_users, row.boundary_users_error);
            cells(&[
                &row.account,
                &row.platform,
                &row.sessions,
                &users,
                &row.cost,
                &row.literal_cost,
                &boundary,
                &row.boundary_cost,
            ])
        }),
        Some(report.platforms.len().saturating_sub(ROWS_MAX) as u64),
    );
}

fn with_error(users: u64, error: u64) -> String {
    if error == 0 { users.to_string() } else { format!("{users} ± {error}") }
}

fn cells(values: &[&dyn std::fmt::Display]) -> Vec<String> {
    values.iter().map(|value| plain(&value.to_string())).collect()
}

struct Page(String);

impl Page {
    fn say(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    /// A table with its title; nothing when it has no rows.
    fn table(&mut self, title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>, more: Option<u64>) {
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return;
        }
        self.say("");
        self.say(title);
        self.say("");
        self.0 += &table(columns, rows);
        if let Some(more) = more.filter(|more| *more > 0) {
            // Writing into a String never fails.
            let _ = writeln!(self.0, "  … and {more} more");
        }
    }
}
