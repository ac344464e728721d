//! `farebox tail`: accepted and rejected events, as they are metered.
//!
//! Holds: every record of the topic that is metered while it watches is shown once, whatever its timestamp: what was shown is remembered
//! as the next offset of each partition, and `batches` says how far each is written. A page is in the order in which Kafka received its
//! records. Absent on purpose: Kafka. What is shown is what is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::args::Format;
use super::run::marked;
use super::send::interrupted;
use super::stream::{Column, Stream};
use crate::config::{self, Config};
use crate::model::Timestamp;
use crate::runtime::{self, clock};
use crate::store::{self, Disposition, Store};

const POLL_EVERY: Duration = Duration::from_millis(500);
/// Offsets of one partition that are looked at in one question.
const PAGE: i64 = 5_000;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Of this account
    #[arg(long)]
    account: Option<String>,
    /// Of this agent; rejected events have none
    #[arg(long)]
    agent: Option<String>,
    /// Of this category; rejected events have none
    #[arg(long)]
    category: Option<String>,
    /// Of this model; rejected events have none
    #[arg(long)]
    model: Option<String>,
    /// Only rejected events
    #[arg(long, conflicts_with_all = ["agent", "category", "model"])]
    rejected: bool,
    /// Only accepted events
    #[arg(long, conflicts_with = "rejected")]
    accepted: bool,
    /// Begins with what was received so long ago (10m), or at that time (RFC 3339)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// Ends after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Since {
    Ago(config::Duration),
    At(Timestamp),
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    let ago = || config::Duration::parse(text).map(Since::Ago);
    Timestamp::parse(text)
        .map(Since::At)
        .map_or_else(ago, Ok)
        .map_err(|_| format!("`{text}` is neither a duration nor a time: write it like 10m or 2026-01-31T12:00:00Z"))
}

impl Since {
    pub(super) fn moment(self) -> Timestamp {
        match self {
            Self::Ago(duration) => clock::now().plus_millis(duration.millis().saturating_neg()),
            Self::At(time) => time,
        }
        .clamped()
    }
}

/// For people.
const TABLE: &[Column] = &[
    ("received_at", 24),
    ("fate", 8),
    ("account", 12),
    ("agent", 18),
    ("category", 9),
    ("model", 14),
    ("platform", 8),
    ("cost", 12),
    ("note", 0),
];

/// For programs: everything.
const ALL: &[Column] = &[
    ("received_at", 0),
    ("fate", 0),
    ("account", 0),
    ("agent", 0),
    ("category", 0),
    ("model", 0),
    ("platform", 0),
    ("cost", 0),
    ("priced", 0),
    ("reason", 0),
    ("detail", 0),
    ("id", 0),
    ("source", 0),
    ("time", 0),
    ("partition", 0),
    ("offset", 0),
];

pub(super) async fn tail(config: Config, options: Options, format: Format) -> anyhow::Result<()> {
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(failed)?;
    let is_logged = config.usage_log.keep.millis() > 0;
    let of_accepted_only = options.accepted || [&options.agent, &options.category, &options.model].into_iter().any(Option::is_some);
    let since = options.since.map(Since::moment);
    let mut watch = Watch {
        store,
        topic: config.kafka.topic.clone(),
        accepted: !options.rejected,
        rejected: !of_accepted_only,
        limit: options.limit.unwrap_or(u64::MAX),
        since: since.unwrap_or(Timestamp::MIN),
        next: BTreeMap::new(),
        filters: Vec::new(),
        stream: Stream::new(format, if format == Format::Table { TABLE } else { ALL }),
        format,
    };
    let filters =
        [("account", options.account), ("agent", options.agent), ("category", options.category), ("model", options.model)];
    watch.filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    eprintln!(
        "farebox: events of the topic `{}` as they are metered, from the database `{}` of ClickHouse at {}; Ctrl-C ends",
        config.kafka.topic, config.clickhouse.database, config.clickhouse.url
    );
    if watch.accepted && !is_logged {
        eprintln!("farebox: the log of accepted events is off (`usage_log.keep`): only rejected ones can be shown");
    }
    tokio::select! {
        watched = watch.run(since.unwrap_or(Timestamp::MAX)) => watched,
        interrupted = interrupted() => interrupted,
    }
}

fn failed(error: store::Error) -> anyhow::Error {
    marked(runtime::Error::from(error))
}

struct Watch {
    store: Store,
    topic: String,
    accepted: bool,
    rejected: bool,
    /// How many may still be shown.
    limit: u64,
    /// What was received before is not shown.
    since: Timestamp,
    /// By source epoch and partition.
    next: BTreeMap<(String, i32), i64>,
    /// Column and value.
    filters: Vec<(&'static str, String)>,
    stream: Stream,
    format: Format,
}

impl Watch {
    /// Shows what comes, until the limit is reached.
    async fn run(&mut self, begin: Timestamp) -> anyhow::Result<()> {
        for written in self.written(begin).await.map_err(failed)? {
            self.next.insert((written.source_epoch, written.in_partition), written.begins);
        }
        let mut polls = interval(POLL_EVERY);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            polls.tick().await;
            match self.poll().await {
                Ok(true) => return Ok(()),
                Ok(false) if is_away => {
                    is_away = false;
                    eprintln!("farebox: ClickHouse is back; nothing was missed");
                }
                Ok(false) => {}
                Err(Failed::Store(error)) if error.disposition() == Disposition::Retry => {
                    if !std::mem::replace(&mut is_away, true) {
                        eprintln!("farebox: {error}; trying again");
                    }
                }
                Err(Failed::Store(error)) => return Err(failed(error)),
                Err(Failed::Output(error)) => return Err(error.into()),
            }
        }
    }

    /// Shows all that is new; whether the limit is reached.
    async fn poll(&mut self) -> Result<bool, Failed> {
        let written = self.written(Timestamp::MAX).await?;
        loop {
            let mut pages: BTreeMap<&str, Vec<Page>> = BTreeMap::new();
            for of in &written {
                let next = self.next.get(&(of.source_epoch.clone(), of.in_partition)).copied().unwrap_or(of.first);
                if next < of.reached {
                    let page = Page { partition: of.in_partition, from: next, to: of.reached.min(next.saturating_add(PAGE)) };
                    pages.entry(&of.source_epoch).or_default().push(page);
                }
            }
            if pages.is_empty() {
                return Ok(false);
            }
            for (epoch, pages) in pages {
                let rows = self.rows(epoch, &pages).await?;
                for page in pages {
                    self.next.insert((epoch.to_owned(), page.partition), page.to);
                }
                if self.show(rows)? {
                    return Ok(true);
                }
            }
        }
    }

    fn show(&mut self, rows: Vec<Row>) -> Result<bool, Failed> {
        let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX).min(self.limit);
        let format = self.format;
        self.stream.print(rows.into_iter().take(usize::try_from(shown).unwrap_or(usize::MAX)).map(|row| row.cells(format)))?;
        self.limit -= shown;
        Ok(self.limit == 0)
    }

    /// How far each partition is written, and the first offset of what was received from a moment on.
    async fn written(&self, begin: Timestamp) -> Result<Vec<Written>, store::Error> {
        let sql = "SELECT source_epoch, `partition` AS in_partition, min(offset_from) AS first, max(offset_to) AS reached, \
                   if(countIf(record_time_max >= {begin:DateTime64(3, 'UTC')}) = 0, max(offset_to), \
                      minIf(offset_from, record_time_max >= {begin:DateTime64(3, 'UTC')})) AS begins \
                   FROM batches WHERE topic = {topic:String} GROUP BY source_epoch, `partition`";
        self.store.rows(sql, &[("topic", &self.topic), ("begin", &store::time::text(begin))]).await
    }

    /// The rows of these pages, in the order of their receipt.
    async fn rows(&self, epoch: &str, pages: &[Page]) -> Result<Vec<Row>, store::Error> {
        let spots: Vec<_> = pages
            .iter()
            .map(|page| format!("(`partition` = {} AND `offset` >= {} AND `offset` < {})", page.partition, page.from, page.to))
            .collect();
        let mut which = format!(
            "topic = {{topic:String}} AND source_epoch = {{epoch:String}} AND received_at >= {{since:DateTime64(3, 'UTC')}} AND ({})",
            spots.join(" OR ")
        );
        let since = store::time::text(self.since);
        let mut params = vec![("topic", self.topic.as_str()), ("epoch", epoch), ("since", &since)];
        for (name, value) in &self.filters {
            which += &format!(" AND {name} = {{{name}:String}}");
            params.push((name, value));
        }
        let mut rows: Vec<Row> = Vec::new();
        if self.accepted {
            let sql = format!(
                "SELECT received_at, account, agent, category, model, platform, cost, priced, id, source, event_time, `partition`, `offset` \
                 FROM usage_log WHERE {which}"
            );
            rows.extend(self.store.rows::<Row>(&sql, &params).await?);
        }
        if self.rejected {
            let sql =
                format!("SELECT received_at, account, reason, detail, `partition`, `offset` FROM rejected_events WHERE {which}");
            rows.extend(self.store.rows::<Row>(&sql, &params).await?);
        }
        rows.sort_by_key(|row| (row.received_at, row.partition, row.offset));
        Ok(rows)
    }
}

enum Failed {
    Store(store::Error),
    Output(super::output::Failed),
}

impl From<store::Error> for Failed {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<super::output::Failed> for Failed {
    fn from(error: super::output::Failed) -> Self {
        Self::Output(error)
    }
}

/// Offsets of a partition to look at next.
struct Page {
    partition: i32,
    from: i64,
    to: i64,
}

#[derive(Debug, Deserialize)]
struct Written {
    source_epoch: String,
    in_partition: i32,
    first: i64,
    reached: i64,
    begins: i64,
}

/// An accepted event, or a rejected one: that has a reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    #[serde(with = "store::time")]
    received_at: Timestamp,
    account: String,
    agent: String,
    category: String,
    model: String,
    platform: String,
    cost: String,
    priced: u8,
    reason: String,
    detail: String,
    id: String,
    source: String,
    #[serde(with = "store::time")]
    event_time: Timestamp,
    partition: i32,
    offset: i64,
}

impl Row {
    fn cells(self, format: Format) -> Vec<Value> {
        let is_accepted = self.reason.is_empty();
        let text = |text: String| if text.is_empty() { Value::Null } else { Value::from(text) };
        let priced = is_accepted.then_some(self.priced == 1);
        let fate = Value::from(if is_accepted { "accepted" } else { "rejected" });
        if format == Format::Table {
            let mut cells = vec![store::time::text(self.received_at).into(), fate, text(self.account)];
            if is_accepted {
                cells.extend([text(self.agent), text(self.category), text(self.model), text(self.platform), text(self.cost)]);
                cells.push(if priced == Some(false) { "no price".into() } else { Value::Null });
            } else {
                cells.push(format!("{}: {}", self.reason, self.detail).into()); // in the place of what it does not have
            }
            cells.resize(TABLE.len(), Value::Null);
            return cells;
        }
        let mut cells = vec![self.received_at.to_string().into(), fate, text(self.account), text(self.agent), text(self.category)];
        cells.extend([text(self.model), text(self.platform), text(self.cost)]);
        let time = is_accepted.then(|| self.event_time.to_string());
        cells.extend([priced.into(), text(self.reason), text(self.detail), text(self.id), text(self.source), time.into()]);
        cells.extend([self.partition.into(), self.offset.into()]);
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_duration_or_a_time() {
        assert!(matches!(since("10m"), Ok(Since::Ago(ago)) if ago.millis() == 600_000));
        assert!(matches!(since("2026-01-31T12:00:00Z"), Ok(Since::At(at)) if at.millis() == 1_769_860_800_000));
        for wrong in ["", "yesterday", "2026-02-30T00:00:00Z", "2026-01-31"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        for format in [Format::Table, Format::Json, Format::Csv] {
            let columns = if format == Format::Table { TABLE } else { ALL };
            for reason in ["", "bad_value"] {
                assert_eq!(Row { reason: reason.to_owned(), ..Row::default() }.cells(format).len(), columns.len());
            }
        }
    }
}
