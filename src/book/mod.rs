//! The price book: accounts, prices, budgets and packages, as numbered versions.
//!
//! Promises: a file is read whole or refused with the line, the place and a hint; the difference between a file and what was
//! applied is a list of rows to add, and applying a file twice adds nothing. Holds: the book is a log. A row is never changed
//! or removed; another one takes its place from a moment on. Absent on purpose: reading files, clocks, the database.

mod change;
mod error;
mod export;
mod file;
mod key;
mod plan;
mod row;
mod section;
mod touched;

pub use change::{Change, Effect, Fact};
pub use error::{Error, Refusal};
pub use export::Version;
pub use file::{BookFile, parse};
pub use plan::{Plan, plan};
pub use row::{COLUMNS, Kind, Row};
pub use touched::Touched;

/// Everything applied up to a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    rows: Vec<Row>,
    version: u64,
}

impl Book {
    /// Nothing was applied yet: version 0.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The book that those rows make, in any order. Its version is the highest of theirs.
    pub fn from_rows(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|row| row.version); // stable: rows of one version keep their order
        let version = rows.last().map_or(0, |row| row.version);
        Self { rows, version }
    }

    /// The book as it was at a version.
    #[must_use]
    pub fn at_version(&self, version: u64) -> Self {
        Self::from_rows(self.rows.iter().filter(|row| row.version <= version).cloned().collect())
    }

    /// The rows, by version.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The number of the last apply; 0 before the first.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What this build cannot work with, for people: written by a newer farebox, or by hand. Empty as it should be.
    ///
    /// Whoever loads a book refuses one with problems; `price` would read an unknown zone as UTC.
    pub fn problems(&self) -> Vec<String> {
        self.rows.iter().filter_map(Row::problem).collect()
    }
}

impl Row {
    /// What this build cannot work with in this row, for people; see [`Book::problems`].
    pub fn problem(&self) -> Option<String> {
        problem(self).map(|what| format!("version {}, {} `{}`: {what}", self.version, self.kind.as_str(), self.account))
    }
}

fn problem(row: &Row) -> Option<String> {
    if row.kind != Kind::Account {
        return None;
    }
    if row.zone().is_none() {
        return Some(format!("unknown time zone `{}`", row.time_zone));
    }
    if row.anchor().is_none() {
        return Some(format!("session anchor of {} seconds", row.session_anchor));
    }
    if let Some(charge) = row.charge.iter().find(|charge| !CHARGES.contains(&charge.as_str())) {
        return Some(format!("unknown charge `{charge}`"));
    }
    (!OPERATIONS.contains(&row.operations.as_str())).then(|| format!("unknown operations `{}`", row.operations))
}

/// What an account can be charged for.
pub const CHARGES: [&str; 3] = ["operations", "sessions", "training"];
/// How the cost of an operation is found.
pub const OPERATIONS: [&str; 2] = ["rated", "reported"];
/// The periods of a budget.
pub const PERIODS: [&str; 3] = ["day", "week", "month"];
