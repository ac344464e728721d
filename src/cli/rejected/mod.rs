//! `farebox rejected`: what was rejected and why, one of them whole, and those whose cause is mended sent again.
//!
//! Holds: `list` and `show` change nothing, `replay` without `--yes` neither. What is printed of a record is what it held.

mod letters;
mod replay;

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use chrono::NaiveDate;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use self::letters::{Letter, Letters, Wanted};
use super::args::{Days, Format};
use super::kafka::Kafka;
use super::output;
use super::run::marked;
use super::send::interrupted;
use super::stream::{Column, Stream};
use super::tail::{Since, since};
use crate::config::Config;
use crate::model::Timestamp;
use crate::runtime;
use crate::store::{self, Store};

const NEWEST_EPOCH: &str =
    "source_epoch = (SELECT argMax(source_epoch, (toUInt64OrZero(source_epoch), since)) FROM sources WHERE topic = {topic:String})";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verbs,
}

#[derive(Debug, Subcommand)]
enum Verbs {
    /// Lists them, the newest last
    #[command(
        after_help = "Example:\n  farebox rejected list --account acme --since 1d\n  farebox rejected list --counts --format csv"
    )]
    List(List),
    /// Shows one of them: why, key, headers and the whole value
    #[command(after_help = "Example:\n  farebox rejected show 3/1017\n  farebox rejected show 3/1017 --raw > event.json")]
    Show(Show),
    /// Sends them to the topic again, as they first came, once their cause is mended
    #[command(
        arg_required_else_help = true,
        after_help = "Example:\n  farebox rejected replay --reason time_out_of_range --since 1d\n  farebox rejected replay 3/1017 --yes\n\n\
                      Without --yes it only says what it would do. What was charged meanwhile, or is on its way already, is left out: running it \
                      twice charges nothing twice. What is still wrong is left out too, unless --anyway."
    )]
    Replay(replay::Replay),
}

/// Which rejected events.
#[derive(Debug, Clone, clap::Args)]
struct Filters {
    /// Of this reason: malformed, too_large, missing_field, bad_value, time_out_of_range, id_conflict
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Of this account, as far as it could be read
    #[arg(long)]
    account: Option<String>,
    /// Received since so long ago (10m), or since that time (RFC 3339)
    #[arg(long, value_name = "WHEN", value_parser = since, conflicts_with = "from")]
    since: Option<Since>,
    /// Received on these days in UTC
    #[command(flatten)]
    days: Days,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filters: Filters,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// How many there are of each account and reason, instead of each
    #[arg(long, conflicts_with = "limit")]
    counts: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Where it lay in the events topic, as `list` names it: PARTITION/OFFSET
    #[arg(value_name = "PLACE")]
    place: Place,
    /// Writes the value alone, byte for byte
    #[arg(long)]
    raw: bool,
}

/// Where a record lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    partition: i32,
    offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (partition, offset) = text.split_once('/')?;
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        };
        let is_place = |place: &Self| place.partition >= 0 && place.offset >= 0;
        parse().filter(is_place).ok_or_else(|| format!("`{text}` is no place: write partition and offset like 3/1017"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

fn reason(text: &str) -> Result<String, String> {
    let known = crate::model::Reason::ALL.map(crate::model::Reason::as_str);
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no reason: there are {}", known.join(", ")))
}

impl Options {
    /// What cannot be asked: why, for a person.
    pub(super) fn refusal(&self) -> Option<String> {
        match &self.verb {
            Verbs::List(list) => list.filters.days.refusal(),
            Verbs::Replay(replay) => replay.refusal(),
            Verbs::Show(_) => None,
        }
    }
}

impl Filters {
    fn is_empty(&self) -> bool {
        self.reason.is_none()
            && self.account.is_none()
            && self.since.is_none()
            && self.days.from.is_none()
            && self.days.to.is_none()
    }

    /// The condition, and its parameters.
    fn condition(&self) -> (String, Vec<(&'static str, String)>) {
        let mut conditions = vec!["topic = {topic:String}".to_owned()];
        let mut params = Vec::new();
        let mut add = |condition: &str, name: &'static str, value: Option<String>| {
            if let Some(value) = value {
                conditions.push(condition.to_owned());
                params.push((name, value));
            }
        };
        let day = |day: Option<NaiveDate>| day.map(|day| day.to_string());
        add("reason = {reason:String}", "reason", self.reason.clone());
        add("account = {account:String}", "account", self.account.clone());
        let since = self.since.map(|since| store::time::text(since.moment()));
        add("received_at >= toDateTime64({since:String}, 3, 'UTC')", "since", since);
        add("toDate(received_at) >= {from:Date}", "from", day(self.days.from));
        add("toDate(received_at) <= {to:Date}", "to", day(self.days.to));
        (conditions.join(" AND "), params)
    }
}

pub(super) async fn rejected(config: Config, options: Options, format: Format) -> anyhow::Result<()> {
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(failed)?;
    let work = async {
        match options.verb {
            Verbs::List(options) => list(&store, &config.kafka.topic, &options, format).await,
            Verbs::Show(options) => show(&store, config, &options, format).await,
            Verbs::Replay(options) => replay::replay(&store, config, options, format).await,
        }
    };
    tokio::select! {
        done = work => done,
        interrupted = interrupted() => {
            interrupted?;
            anyhow::bail!("stopped; what was acknowledged stays sent, and is left out when this is run again")
        }
    }
}

fn failed(error: store::Error) -> anyhow::Error {
    marked(runtime::Error::from(error))
}

/// A row of `rejected_events`. Key and payload may be any bytes.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    #[serde(with = "store::time")]
    received_at: Timestamp,
    account: String,
    source_epoch: String,
    in_partition: i32,
    at: i64,
    reason: String,
    detail: String,
    key_hex: String,
    payload_hex: String,
}

const ROW: &str = "received_at, account, source_epoch, `partition` AS in_partition, `offset` AS at, reason, detail, hex(key) AS key_hex, \
                   hex(payload) AS payload_hex";

const TABLE: &[Column] = &[("received_at", 24), ("place", 12), ("account", 14), ("reason", 18), ("detail", 0)];
const ALL: &[Column] = &[
    ("received_at", 0),
    ("partition", 0),
    ("offset", 0),
    ("source_epoch", 0),
    ("account", 0),
    ("reason", 0),
    ("detail", 0),
    ("key", 0),
    ("payload", 0),
];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes().chunks_exact(2).filter_map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

/// For a person, or a JSON string: what is not text is shown as such.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Row {
    fn place(&self) -> Place {
        Place { partition: self.in_partition, offset: self.at }
    }

    fn cells(&self, format: Format) -> Vec<Value> {
        if format == Format::Table {
            let at = store::time::text(self.received_at);
            return vec![json!(at), json!(self.place().to_string()), json!(self.account), json!(self.reason), json!(self.detail)];
        }
        vec![
            json!(self.received_at.to_string()),
            json!(self.in_partition),
            json!(self.at),
            json!(self.source_epoch),
            json!(self.account),
            json!(self.reason),
            json!(self.detail),
            json!(text(&bytes_of(&self.key_hex))),
            json!(text(&bytes_of(&self.payload_hex))),
        ]
    }
}

async fn list(store: &Store, topic: &str, options: &List, format: Format) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Count {
        account: String,
        reason: String,
        events: u64,
        #[serde(with = "store::time")]
        first: Timestamp,
        #[serde(with = "store::time")]
        last: Timestamp,
    }
    let (condition, filters) = options.filters.condition();
    let params: Vec<(&str, &str)> =
        [("topic", topic)].into_iter().chain(filters.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    if options.counts {
        let sql = format!(
            "SELECT account, reason, count() AS events, min(received_at) AS first, max(received_at) AS last FROM rejected_events \
             WHERE {condition} GROUP BY account, reason ORDER BY events DESC, account, reason LIMIT 10000"
        );
        let counts: Vec<Count> = store.rows(&sql, &params).await.map_err(failed)?;
        let row = |count: &Count| {
            let (first, last) = (count.first.to_string(), count.last.to_string());
            vec![json!(count.account), json!(count.reason), json!(count.events), json!(first), json!(last)]
        };
        return Ok(output::rows(format, &["account", "reason", "events", "first", "last"], counts.iter().map(row))?);
    }
    let limit = options.limit;
    let sql = format!(
        "SELECT * FROM (SELECT {ROW} FROM rejected_events WHERE {condition} \
         ORDER BY received_at DESC, in_partition DESC, at DESC LIMIT {limit}) ORDER BY received_at, in_partition, at"
    );
    let rows: Vec<Row> = store.rows(&sql, &params).await.map_err(failed)?;
    Stream::new(format, if format == Format::Table { TABLE } else { ALL }).print(rows.iter().map(|row| row.cells(format)))?;
    if u64::try_from(rows.len()).is_ok_and(|shown| shown == limit) {
        eprintln!("farebox: the newest {limit}; --limit shows more, --counts how many there are");
    }
    Ok(())
}

async fn show(store: &Store, config: Config, options: &Show, format: Format) -> anyhow::Result<()> {
    let (topic, place) = (config.kafka.topic.clone(), options.place);
    let sql = format!(
        "SELECT {ROW} FROM rejected_events WHERE topic = {{topic:String}} AND `partition` = {{partition:Int32}} AND `offset` = {{offset:Int64}} \
         AND {NEWEST_EPOCH}"
    );
    let (partition, offset) = (place.partition.to_string(), place.offset.to_string());
    let params = [("topic", topic.as_str()), ("partition", &partition), ("offset", &offset)];
    let row: Option<Row> = store.rows(&sql, &params).await.map_err(failed)?.pop();
    let Some(row) = row else {
        anyhow::bail!("no rejected event lay at {place} of the topic `{topic}`; `farebox rejected list` shows those that are kept")
    };
    let (letter, why) = match letter(config, &row).await {
        Ok(Some(letter)) => (Some(letter), String::new()),
        Ok(None) => (None, "it has left Kafka".to_owned()),
        Err(reason) => (None, reason),
    };
    let stored = bytes_of(&row.payload_hex);
    let value = letter.as_ref().map_or(Some(stored.as_slice()), |letter| letter.value.as_deref());
    if letter.is_none() {
        let cut = crate::aggregate::REJECTED_BYTES_MAX;
        let what = if stored.len() == cut { format!("the first {cut} bytes of the value and") } else { "the value and".to_owned() };
        eprintln!("farebox: {why}: these are {what} the key, as ClickHouse keeps them, without headers");
    }
    if options.raw {
        std::io::stdout().lock().write_all(value.unwrap_or_default()).map_err(output::Failed)?;
        return Ok(());
    }
    let key = letter.as_ref().map_or_else(|| Some(bytes_of(&row.key_hex)), |letter| letter.key.clone());
    let headers: Vec<(String, Value)> = letter.iter().flat_map(|letter| &letter.headers).map(named).collect();
    let mut fields = vec![
        ("received_at", json!(row.received_at.to_string())),
        ("partition", json!(row.in_partition)),
        ("offset", json!(row.at)),
        ("source_epoch", json!(row.source_epoch)),
        ("account", json!(row.account)),
        ("reason", json!(row.reason)),
        ("detail", json!(row.detail)),
        ("key", key.as_deref().map_or(Value::Null, |key| json!(text(key)))),
    ];
    if format == Format::Table {
        fields.extend(
            headers.iter().map(|(name, value)| ("header", json!(format!("{name}: {}", value.as_str().unwrap_or_default())))),
        );
    } else {
        fields.push(("headers", headers.into_iter().map(|(name, value)| json!([name, value])).collect()));
    }
    fields.push(("value", value.map_or(Value::Null, |value| json!(text(value)))));
    Ok(output::record(format, &fields)?)
}

fn named((name, value): &(Vec<u8>, Option<Vec<u8>>)) -> (String, Value) {
    (text(name), value.as_deref().map_or(Value::Null, |value| json!(text(value))))
}

/// The record itself, from wherever it is still whole; or why Kafka cannot be asked.
async fn letter(config: Config, row: &Row) -> Result<Option<Letter>, String> {
    let wanted = Wanted::of(row);
    tokio::task::spawn_blocking(move || {
        let letters = Letters::new(Kafka::reach(&config)?);
        let mut found = None;
        letters.find(&[wanted], u64::MAX, |letter| found = Some(letter))?;
        Ok(found)
    })
    .await
    .unwrap_or_else(|error| Err(error.to_string()))
}

/// For the verbs that need more than one.
fn reach(config: &Arc<Config>) -> impl Future<Output = anyhow::Result<Arc<Kafka>>> + use<> {
    let config = Arc::clone(config);
    async move {
        let brokers = config.kafka.brokers.clone();
        let reached = tokio::task::spawn_blocking(move || Kafka::reach(&config)).await?;
        reached.map_err(|reason| anyhow::anyhow!("Kafka at {brokers} cannot be asked: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!("3/1017".parse(), Ok(Place { partition: 3, offset: 1017 }));
        for wrong in ["", "3", "3/", "/1", "-1/2", "1/-2", "a/b", "1/2/3", "99999999999/1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        assert_eq!(Place { partition: 3, offset: 1017 }.to_string(), "3/1017");
    }

    #[test]
    fn any_bytes_come_back_from_their_digits() {
        assert_eq!(bytes_of("00FF7b"), [0, 255, 123]);
        assert!(bytes_of("").is_empty());
    }
}
