//! The only room that speaks to ClickHouse: inserts that can be in doubt, questions, entries that are unique by key, and the schema.
//!
//! Holds: an insert is never repeated here without the caller's knowledge, except by the one rule for entries unique by key
//! ([`insert_unique`](store::Store::insert_unique)); every request ends in time; an error names the remedy and never the password; what the runtime decides by is
//! read in one query, so that it is of one moment.
//! Absent on purpose: clocks (moments are given), the layout of a batch's blocks (`sink`), decisions (`runtime`).

mod adjustments;
mod alerts;
mod balances;
mod client;
mod error;
mod evidence;
mod facts;
mod ledger;
mod log_ends;
mod log_rows;
mod migrate;
mod rows;
mod session_folds;
mod settings;
mod sources;
mod spikes;
mod stops;
mod stream;
/// Moments as ClickHouse writes them in JSON: for `#[serde(with = "store::time")]`.
pub mod time;
mod unique;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

pub use adjustments::{LoggedStream, Metered, Posting, Span};
pub use alerts::{
    AlertRow, BudgetStatus, Contact, HeldMail, MailStep, NewestBatch, OpenMail, Part, RejectedUsage, UNKNOWN, UnpricedUsage,
};
pub use balances::{ACCOUNTS_MAX, AccountBalance, AccountEntries, MarkedBalance};
pub use error::{Disposition, Error};
pub use evidence::{BatchRow, Proof, Range};
pub use facts::{BatchEnd, Facts, LogRows, RangeWitness};
pub use ledger::{LedgerRow, NEVER};
pub use log_ends::LogEnd;
pub use migrate::{Migrate, Migrated, SchemaStatus};
pub use rows::RowStream;
pub use session_folds::FoldMark;
pub use sources::Source;
pub use spikes::{Numbers, Risen, Spike};
pub use stops::Stop;
pub use stream::Stream;
pub use unique::Unique;
pub use verify::{
    Check, Conservation, Coverage, Difference, Duplicates, End, Ends, LedgerFindings, LogDay, RejectedPlace, ShortBatch, Totals,
    quoted,
};

/// Where ClickHouse is and who we are there: section `[clickhouse]` of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://host:8123` or `https://host:8443`.
    pub url: String,
    /// The database that holds everything.
    pub database: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Certificates to trust with https, as PEM; empty: the usual authorities.
    pub ca_file: PathBuf,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to an insert.
    pub insert_timeout: Duration,
    /// Longest wait for any other answer.
    pub query_timeout: Duration,
}

/// The settings that every insert brings along: a profile must let it.
pub const fn insert_settings() -> &'static [(&'static str, &'static str)] {
    &client::INSERT_SETTINGS
}

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What became of an insert.
#[derive(Debug)]
#[must_use]
pub enum Insert {
    /// The server said success, plainly. A burnt token says so too: look for the witness.
    Done,
    /// Anything else. Never "nothing happened".
    Doubt(Error),
}

/// The server's version and the database's own clock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Version {
    /// As `SELECT version()` says.
    pub version: String,
}

/// ClickHouse. Cheap to clone; connects when it is asked something.
#[derive(Clone)]
pub struct Store {
    client: Arc<client::Client>,
}

impl Store {
    /// Prepares the client; speaks to nobody yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        if settings.database.is_empty() || settings.database.contains('`') || settings.database.chars().any(char::is_control) {
            let reason = format!("`{}` is not a database's name", settings.database.escape_debug());
            return Err(Error::Setting { setting: "database", reason });
        }
        Ok(Self { client: Arc::new(client::Client::new(settings)?) })
    }

    /// Asks for the server's version: tells whether it is there and knows us. Needs no database.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ping(&self) -> Result<Version, Error> {
        let body = self.client.query("SELECT version() AS version", &[], false).await?;
        one(parse(&body)?)
    }

    /// A statement that answers nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.client.query(sql, &[], true).await.map(drop)
    }

    /// The rows that a question answers, read as JSON: 64-bit integers as numbers, decimals as strings, moments as [`time`] reads them. Parameters are
    /// written `{name:Type}` in the question.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rows<T: DeserializeOwned>(&self, sql: &str, params: &[(&str, &str)]) -> Result<Vec<T>, Error> {
        parse(&self.client.query(sql, params, true).await?)
    }

    /// An answer of any size in one of ClickHouse's formats, 64-bit integers as numbers, decimals quoted in JSON, moments as RFC 3339.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream(&self, sql: &str, params: &[(&str, &str)], format: &str) -> Result<Stream, Error> {
        self.client.stream(sql, params, format).await
    }

    /// Sends one block in Native format under a deduplication token, once.
    pub async fn insert(&self, table: &str, columns: &str, token: &str, body: Bytes) -> Insert {
        self.client.insert(table, columns, "Native", token, body).await
    }

    /// The one row that a question must answer.
    ///
    /// # Errors
    /// See [`Error`]; an answer with none or several.
    pub async fn row<T: DeserializeOwned>(&self, sql: &str, params: &[(&str, &str)]) -> Result<T, Error> {
        one(self.rows(sql, params).await?)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Error> {
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(parse_row).collect()
}

fn parse_row<T: DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|error| {
        Error::Answer(format!("{error} in `{}`", String::from_utf8_lossy(line).chars().take(200).collect::<String>()))
    })
}

fn one<T>(rows: Vec<T>) -> Result<T, Error> {
    let count = rows.len();
    let mut rows = rows.into_iter();
    match (rows.next(), count) {
        (Some(row), 1) => Ok(row),
        _ => Err(Error::Answer(format!("{count} rows instead of one"))),
    }
}
