//! What `rerate` needs: the events of `usage_log` account by account, what was posted before, and posting.
//!
//! Holds: what is posted for an account's day is one block, unique by account, day and number; memory is that of a few pieces of an answer,
//! however long the log is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stream::Stream;
use super::{Error, Store, Unique, log_rows};
use crate::model::{Credits, Day, Timestamp};
use crate::price::{Adjustment, Line, Logged};

const COLUMNS: &str =
    "account, day, id, hour, platform, agent, category, model, cost, unpriced_events, price_version, posted_at, posted_by";

/// Days of accounts, the first and the last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'a> {
    /// The first account, by its bytes.
    pub first: &'a str,
    /// The last one.
    pub last: &'a str,
    /// The first day.
    pub from: Day,
    /// The last one.
    pub to: Day,
}

impl Span<'_> {
    /// The text of all parameters of [`OF_SPAN`].
    fn params(&self) -> [String; 2] {
        [self.from.to_string(), self.to.to_string()]
    }
}

const OF_SPAN: &str = "account BETWEEN {first:String} AND {last:String} AND day BETWEEN {from:Date} AND {to:Date}";

/// As the table is sorted, so that the server too holds little, whatever the length of the log.
const IN_ORDER: &str = "optimize_read_in_order = 1, max_threads = 2, max_bytes_before_external_sort = 805306368";

/// An account with usage in some days.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metered {
    /// Its name.
    pub account: String,
    /// On how many days.
    pub days: u64,
    /// How many events.
    pub events: u64,
}

/// Who posts what, by which book.
#[derive(Debug, Clone, Copy)]
pub struct Posting<'a> {
    /// Whose.
    pub account: &'a str,
    /// Of which day.
    pub day: Day,
    /// How many were posted for that day before.
    pub id: u32,
    /// The version of the book that says so.
    pub price_version: u64,
    /// When.
    pub posted_at: Timestamp,
    /// By whom.
    pub posted_by: &'a str,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    account: String,
    day: String,
    id: u32,
    hour: String,
    platform: String,
    agent: String,
    category: String,
    model: String,
    cost: String,
    unpriced_events: i64,
    price_version: u64,
    #[serde(with = "super::time")]
    posted_at: Timestamp,
    posted_by: String,
}

impl Store {
    /// The accounts with usage in these days, all or one, by their bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metered(&self, account: Option<&str>, from: Day, to: Day) -> Result<Vec<Metered>, Error> {
        let sql = "SELECT account, uniqExact(day) AS days, sum(h.events) AS events FROM usage_hourly AS h \
                   WHERE account != '' AND ({all:UInt8} OR account = {account:String}) AND day BETWEEN {from:Date} AND {to:Date} \
                   GROUP BY account ORDER BY account";
        let (from, to) = (from.to_string(), to.to_string());
        let all = if account.is_none() { "1" } else { "0" };
        let params = [("all", all), ("account", account.unwrap_or_default()), ("from", &from), ("to", &to)];
        self.rows(sql, &params).await
    }

    /// How many events each day has.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events_by_day(&self, span: &Span<'_>) -> Result<BTreeMap<(String, Day), u64>, Error> {
        let sql = format!(
            "SELECT account, toUInt32(day) AS of_day, sum(h.events) AS number FROM usage_hourly AS h WHERE account != '' AND {OF_SPAN} \
             GROUP BY account, day"
        );
        self.by_day(&sql, span).await
    }

    /// How many adjustments were posted for each day that has any.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn posted_by_day(&self, span: &Span<'_>) -> Result<BTreeMap<(String, Day), u64>, Error> {
        let sql = format!(
            "SELECT account, toUInt32(day) AS of_day, toUInt64(max(id)) + 1 AS number FROM cost_adjustments WHERE {OF_SPAN} GROUP BY account, day"
        );
        self.by_day(&sql, span).await
    }

    async fn by_day(&self, sql: &str, span: &Span<'_>) -> Result<BTreeMap<(String, Day), u64>, Error> {
        #[derive(Deserialize)]
        struct Of {
            account: String,
            of_day: i64,
            number: u64,
        }
        let [from, to] = span.params();
        let params = [("first", span.first), ("last", span.last), ("from", &from), ("to", &to)];
        let rows: Vec<Of> = self.rows(sql, &params).await?;
        Ok(rows.into_iter().map(|row| ((row.account, Day::from_epoch_days(row.of_day)), row.number)).collect())
    }

    /// The events, by account and time.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn logged(&self, span: &Span<'_>) -> Result<LoggedStream, Error> {
        let sql =
            format!("SELECT {} FROM usage_log WHERE {OF_SPAN} ORDER BY account, event_time SETTINGS {IN_ORDER}", log_rows::COLUMNS);
        let [from, to] = span.params();
        let params = [("first", span.first), ("last", span.last), ("from", &from), ("to", &to)];
        let stream = self.stream(&sql, &params, "RowBinary").await?;
        Ok(LoggedStream { stream, buffer: Vec::new(), at: 0 })
    }

    /// The sum of the first `count` adjustments of an account's day, by line.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn adjustments(&self, account: &str, day: Day, count: u64) -> Result<Vec<(Line, Adjustment)>, Error> {
        #[derive(Deserialize)]
        struct Sum {
            category: String,
            model: String,
            agent: String,
            platform: String,
            of_hour: i64,
            cost: String,
            unpriced_events: i64,
        }
        let sql = "SELECT category, model, agent, platform, toUnixTimestamp(hour) AS of_hour, sum(a.cost) AS cost, \
                   sum(a.unpriced_events) AS unpriced_events FROM cost_adjustments AS a \
                   WHERE account = {account:String} AND day = {day:Date} AND id < {count:UInt64} \
                   GROUP BY category, model, agent, platform, hour";
        let (day, count) = (day.to_string(), count.to_string());
        let rows: Vec<Sum> = self.rows(sql, &[("account", account), ("day", &day), ("count", &count)]).await?;
        let line = |row: Sum| {
            let hour = Timestamp::from_seconds(row.of_hour);
            let (category, model) = (row.category.into(), row.model.into());
            let line = Line { category, model, agent: row.agent.into(), platform: row.platform.into(), hour };
            Some((line, Adjustment { cost: Credits::parse_sum(&row.cost)?, unpriced_events: row.unpriced_events }))
        };
        let lines: Option<Vec<_>> = rows.into_iter().map(line).collect();
        lines.ok_or_else(|| Error::Answer("`cost_adjustments` has an amount that cannot be read".to_owned()))
    }

    /// Posts adjustments for an account's day, once. `false`: somebody else has posted under this number; compare again.
    ///
    /// # Errors
    /// See [`Error`]. After any error they may be posted: compare again.
    pub async fn post_adjustments(
        &self,
        posting: &Posting<'_>,
        lines: impl IntoIterator<Item = (Line, Adjustment)>,
    ) -> Result<bool, Error> {
        let &Posting { account, day, id, price_version, posted_at, posted_by } = posting;
        let (day, number) = (day.to_string(), id.to_string());
        let row = |(line, adjustment): (Line, Adjustment)| Row {
            account: account.to_owned(),
            day: day.clone(),
            id,
            hour: super::time::text(line.hour)[..19].to_owned(),
            platform: line.platform.into(),
            agent: line.agent.into(),
            category: line.category.into(),
            model: line.model.into(),
            cost: adjustment.cost.to_string(),
            unpriced_events: adjustment.unpriced_events,
            price_version,
            posted_at,
            posted_by: posted_by.to_owned(),
        };
        let rows: Vec<Row> = lines.into_iter().map(row).collect();
        let filter = "account = {account:String} AND day = {day:Date} AND id = {id:UInt32}";
        let params = [("account", account), ("day", day.as_str()), ("id", number.as_str())];
        let key = format!("{}:{account}/{day}/{id}", account.len());
        let found = self.insert_unique_where("cost_adjustments", COLUMNS, filter, &params, &key, &rows).await?;
        Ok(matches!(found, Unique::Ours))
    }
}

/// Events of `usage_log` that are still coming.
#[derive(Debug)]
pub struct LoggedStream {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
}

impl LoggedStream {
    /// The next event that has come; `None`: ask for more.
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn take(&mut self) -> Result<Option<Logged<'_>>, Error> {
        let Self { buffer, at, .. } = self;
        match log_rows::parse(&buffer[*at..]) {
            Ok(Some((logged, length))) => {
                *at += length;
                Ok(Some(logged))
            }
            Ok(None) => Ok(None),
            Err(what) => Err(Error::Answer(format!("`usage_log` has a row with {what}"))),
        }
    }

    /// Waits for more; `false`: that was all.
    ///
    /// # Errors
    /// See [`Error`]: the server failed, or the answer ends inside a row.
    pub async fn fill(&mut self) -> Result<bool, Error> {
        let Some(piece) = self.stream.next().await? else {
            return if self.at == self.buffer.len() {
                Ok(false)
            } else {
                Err(Error::Answer("the events of `usage_log` end inside a row".to_owned()))
            };
        };
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(&piece);
        Ok(true)
    }
}
