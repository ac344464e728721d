//! A golden story: what is published, which price books are applied, and what a billing person then reads.
//!
//! Takes a folder with `events.jsonl` and price books; gives the records in order, the batches that they become, and a [`Report`] of
//! tables of text. Whoever gets the same rows from elsewhere (a database) builds a report of its own and compares.
//! Holds: reading a story reads no clock; the same folder gives the same report. `README.md` beside it explains the files.
#![allow(dead_code)] // not every test uses everything

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farebox::aggregate::Sums;
use farebox::book::{self, Book};
use farebox::decode;
use farebox::dedupe::{self, HashKey};
use farebox::engine::{Batch, Engine, Rules};
use farebox::model::{Credits, Day, Header, Quantity, Record, SessionStart, Timestamp};
use farebox::price::Prices;
use serde::Deserialize;
use serde_json::value::RawValue;

/// When `book.toml` is applied: before everything that happens.
pub const FIRST_APPLY: &str = "2026-01-01T00:00:00Z";
/// The file that holds what a story must give.
pub const EXPECTED: &str = "expected.txt";

/// A record that owns its bytes.
#[derive(Debug, Clone)]
pub struct Published {
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Published {
    pub fn record(&self) -> Record<'_> {
        let headers = self.headers.iter().map(|(name, value)| Header { name: name.as_bytes(), value: Some(value.as_bytes()) });
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            leader_epoch: 0,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.collect(),
        }
    }
}

/// What happens, in order.
#[derive(Debug, Clone)]
pub enum Step {
    Publish(Published),
    /// The batch ends here.
    Close,
    /// The batch ends here, and what follows is priced with this file.
    Apply {
        file: PathBuf,
        now: Timestamp,
    },
}

#[derive(Debug, Clone)]
pub struct Story {
    pub name: String,
    pub folder: PathBuf,
    pub steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    record: WrappedRecord<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrappedRecord<'a> {
    at: Option<String>,
    offset: Option<i64>,
    key: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    text: Option<String>,
    hex: Option<String>,
    size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    apply: String,
    now: String,
}

impl Story {
    /// Every story below a folder, by name: the folders that have events.
    pub fn all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
        folders.retain(|folder| folder.join("events.jsonl").is_file());
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    pub fn read(folder: &Path) -> Self {
        let name = folder.file_name().expect("a story's name").to_string_lossy().into_owned();
        let mut steps = vec![Step::Apply { file: folder.join("book.toml"), now: moment(FIRST_APPLY) }];
        let mut next = 0;
        for (index, line) in read(&folder.join("events.jsonl")).lines().enumerate() {
            let place = || format!("{name}/events.jsonl:{}", index + 1);
            let step = if line.trim().is_empty() || line.starts_with('#') {
                continue;
            } else if line == r#"{"close": true}"# {
                Step::Close
            } else if line.starts_with(r#"{"apply""#) {
                let apply: Apply = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", place()));
                Step::Apply { file: folder.join(apply.apply), now: moment(&apply.now) }
            } else {
                let published = if line.starts_with(r#"{"record""#) {
                    let wrapped: Wrapped = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", place()));
                    wrapped.record.publish(next)
                } else {
                    WrappedRecord::bare(line).publish(next)
                };
                next = published.offset + 1;
                Step::Publish(published)
            };
            steps.push(step);
        }
        Self { name, folder: folder.to_owned(), steps }
    }

    pub fn expected(&self) -> PathBuf {
        self.folder.join(EXPECTED)
    }

    /// The batches that the story becomes, the book at its end and the users' names.
    pub fn form(&self) -> Formed {
        let rules = rules();
        let mut book = Book::empty();
        let mut engine = Engine::new(rules.clone(), Arc::new(Prices::new(&book)), 0);
        let mut formed = Formed { batches: Vec::new(), book: Book::empty(), users: BTreeMap::new(), unattributed: BTreeSet::new() };
        let mut prices = Arc::new(Prices::new(&book));
        for step in &self.steps {
            match step {
                Step::Publish(published) => {
                    formed.meet(&rules, &prices, published);
                    engine.apply(&published.record());
                }
                Step::Close => formed.close(&mut engine),
                Step::Apply { file, now } => {
                    formed.close(&mut engine);
                    book = apply(&book, file, *now);
                    prices = Arc::new(Prices::new(&book));
                    engine.set_prices(&prices);
                }
            }
        }
        formed.close(&mut engine);
        formed.book = book;
        formed
    }
}

impl<'a> WrappedRecord<'a> {
    fn bare(line: &str) -> Self {
        Self { at: None, offset: None, key: None, headers: None, value: None, text: Some(line.to_owned()), hex: None, size: None }
    }

    fn publish(self, next: i64) -> Published {
        let bytes = match (self.value, self.text, self.hex) {
            (Some(value), None, None) => Some(value.get().as_bytes().to_vec()),
            (None, Some(text), None) => Some(text.into_bytes()),
            (None, None, Some(hex)) => Some(unhex(&hex)),
            (None, None, None) => None,
            _ => panic!("a record has one of value, text and hex"),
        };
        let value = bytes.map(|mut bytes| {
            bytes.resize(self.size.unwrap_or(bytes.len()), b' ');
            bytes
        });
        let timestamp = match &self.at {
            Some(at) => moment(at),
            None => value.as_deref().and_then(time_of).expect("a record without `at` has a `time`"),
        };
        Published {
            offset: self.offset.unwrap_or(next),
            timestamp,
            key: self.key.map(String::into_bytes),
            value,
            headers: self.headers.unwrap_or_default().into_iter().collect(),
        }
    }
}

fn time_of(value: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Timed {
        time: String,
    }
    serde_json::from_slice::<Timed>(value).ok().and_then(|timed| Timestamp::parse(&timed.time))
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn moment(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|| panic!("`{text}` is not RFC 3339"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules as a new installation has them.
pub fn rules() -> Rules {
    Rules {
        limits: decode::Limits { size_max: 256 * 1024, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 },
        window: dedupe::Limits { window_ms: 900_000, ids_max: 2_000_000, expire_by_time: true },
        key: HashKey::new(*b"a key for tests!"),
    }
}

/// The book after a file was applied.
pub fn apply(book: &Book, file: &Path, now: Timestamp) -> Book {
    let parsed = book::parse(&read(file), &file.display().to_string()).unwrap_or_else(|error| panic!("{error}"));
    let plan = book::plan(book, &parsed, now, "test", Timestamp::default(), false).unwrap_or_else(|error| panic!("{error}"));
    assert!(!plan.is_empty(), "{} changes nothing", file.display());
    Book::from_rows(book.rows().iter().cloned().chain(plan.rows).collect())
}

/// A story as batches.
pub struct Formed {
    pub batches: Vec<Batch>,
    /// As it is when somebody reads: sessions are priced then.
    pub book: Book,
    /// From the keyed hash to the name.
    pub users: BTreeMap<u64, String>,
    /// Offsets of events of accounts charged for sessions that lack user or platform. The log has no column for it.
    pub unattributed: BTreeSet<i64>,
}

impl Formed {
    fn close(&mut self, engine: &mut Engine) {
        if !engine.is_empty() {
            self.batches.push(engine.close(engine.next()));
        }
    }

    fn meet(&mut self, rules: &Rules, prices: &Prices, published: &Published) {
        let record = published.record();
        let Ok(decoded) = decode::decode(&record, &rules.limits) else { return };
        let event = decoded.event;
        if !event.user.is_empty() {
            self.users.insert(rules.key.user_hash(&event.account, &event.user), event.user.clone().into_owned());
        }
        let charged = prices.terms(&event.account, event.time).charges_sessions;
        if charged && (event.user.is_empty() || event.platform.is_empty()) {
            self.unattributed.insert(published.offset);
        }
    }

    pub fn user(&self, hash: u64) -> String {
        if hash == 0 { String::new() } else { self.users.get(&hash).cloned().unwrap_or_else(|| format!("unknown hash {hash}")) }
    }

    /// What the views show of these batches.
    pub fn report(&self) -> Report {
        let mut rows = Facts::default();
        for batch in &self.batches {
            rows.add(self, batch);
        }
        let prices = Prices::new(&self.book);
        let sessions = rows.sessions.into_iter().map(|((account, day, session, platform), (users, events))| {
            let unit = prices.unit_session_cost(&account, &platform, session);
            Session {
                account,
                day,
                session,
                platform,
                unique_users: users.len() as u64,
                events,
                unit: unit.unwrap_or_default(),
                priced: unit.is_some(),
            }
        });
        Report::new(rows.counts, rows.log, rows.hourly.into_iter().collect(), sessions.collect(), rows.rejected)
    }
}

/// Account, day, hour, platform, agent, category, model.
pub type HourKey = (String, Day, Timestamp, [String; 4]);
type SessionKey = (String, Day, SessionStart, String);

#[derive(Default)]
struct Facts {
    counts: [u64; 4],
    log: Vec<LogLine>,
    hourly: BTreeMap<HourKey, Sums>,
    sessions: BTreeMap<SessionKey, (BTreeSet<u64>, u64)>,
    rejected: Vec<RejectedLine>,
}

impl Facts {
    fn add(&mut self, formed: &Formed, batch: &Batch) {
        let rows = &batch.rows;
        let counts = [rows.counts.received, rows.counts.accepted, rows.counts.duplicates, rows.counts.rejected];
        self.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        for row in rows.usage_log.values().flat_map(|block| block.rows()) {
            self.log.push(LogLine {
                offset: row.offset,
                texts: [row.account, row.source, row.id, row.platform, row.agent, row.category, row.model].map(ToOwned::to_owned),
                event_time: row.event_time,
                day: row.day,
                user: formed.user(row.user_hash),
                used: [row.duration_ms, row.input_tokens, row.cached_input_tokens, row.output_tokens],
                quantity: row.quantity,
                cost: row.cost,
                priced: row.priced,
                unattributed: formed.unattributed.contains(&row.offset),
            });
        }
        for row in rows.usage_hourly.values().flat_map(|block| block.rows()) {
            let names = [row.platform, row.agent, row.category, row.model].map(ToOwned::to_owned);
            self.hourly.entry((row.account.to_owned(), row.day, row.hour, names)).or_default().add(&row.sums);
        }
        for row in rows.session_users.values().flat_map(|block| block.rows()) {
            let key = (row.account.to_owned(), row.day, row.session, row.platform.to_owned());
            let (users, events) = self.sessions.entry(key).or_default();
            users.extend(row.users);
            *events += row.events;
        }
        for row in rows.rejected.values().flat_map(|block| block.rows()) {
            self.rejected.push(RejectedLine {
                offset: row.offset,
                received_at: row.received_at,
                texts: [row.account, row.reason.as_str(), row.detail].map(ToOwned::to_owned),
                payload_bytes: row.payload.len() as u64,
            });
        }
    }
}

/// An accepted event.
#[derive(Debug, Clone)]
pub struct LogLine {
    pub offset: i64,
    /// Account, source, id, platform, agent, category, model.
    pub texts: [String; 7],
    pub event_time: Timestamp,
    pub day: Day,
    pub user: String,
    /// Milliseconds, input tokens, cached ones, output tokens.
    pub used: [u64; 4],
    pub quantity: Quantity,
    pub cost: Credits,
    pub priced: bool,
    pub unattributed: bool,
}

/// A session of an account on a platform, priced.
#[derive(Debug, Clone)]
pub struct Session {
    pub account: String,
    pub day: Day,
    pub session: SessionStart,
    pub platform: String,
    pub unique_users: u64,
    pub events: u64,
    pub unit: Credits,
    pub priced: bool,
}

impl Session {
    pub fn cost(&self) -> Credits {
        self.unit.checked_mul(self.unique_users).expect("a session's cost")
    }
}

/// A rejected record.
#[derive(Debug, Clone)]
pub struct RejectedLine {
    pub offset: i64,
    pub received_at: Timestamp,
    /// Account, reason, detail.
    pub texts: [String; 3],
    pub payload_bytes: u64,
}

/// Everything that a story comes to.
pub struct Report {
    /// Received, accepted, duplicates, rejected.
    pub counts: [u64; 4],
    pub log: Vec<LogLine>,
    pub hourly: Vec<(HourKey, Sums)>,
    pub sessions: Vec<Session>,
    pub rejected: Vec<RejectedLine>,
    /// By account and day: sessions, training, other operations.
    pub daily: BTreeMap<(String, Day), [Credits; 3]>,
}

impl Report {
    /// Sorts what is read, and adds up the days.
    pub fn new(
        counts: [u64; 4],
        mut log: Vec<LogLine>,
        mut hourly: Vec<(HourKey, Sums)>,
        mut sessions: Vec<Session>,
        mut rejected: Vec<RejectedLine>,
    ) -> Self {
        log.sort_by_key(|line| line.offset);
        hourly.sort_by(|a, b| a.0.cmp(&b.0));
        sessions.sort_by_key(|session| (session.account.clone(), session.session, session.platform.clone()));
        rejected.sort_by_key(|line| line.offset);
        let mut daily: BTreeMap<(String, Day), [Credits; 3]> = BTreeMap::new();
        let mut add = |account: &str, day, part: usize, cost| {
            let sum = &mut daily.entry((account.to_owned(), day)).or_default()[part];
            *sum = sum.checked_add(cost).expect("a day's cost");
        };
        for ((account, day, _, [_, _, category, _]), sums) in &hourly {
            add(account, *day, if category == "training" { 1 } else { 2 }, sums.cost);
        }
        for session in &sessions {
            add(&session.account, session.day, 0, session.cost());
        }
        Self { counts, log, hourly, sessions, rejected, daily }
    }

    /// The report as a page of text.
    pub fn page(&self) -> String {
        let [received, accepted, duplicates, rejected] = self.counts;
        let mut page = format!("received {received} = accepted {accepted} + duplicates {duplicates} + rejected {rejected}\n");
        let tables = [self.daily_table(), self.session_table(), self.hourly_table(), self.log_table(), self.rejected_table()];
        for table in tables {
            table.write(&mut page);
        }
        page
    }

    fn daily_table(&self) -> Table {
        let mut table = Table::new("what each day costs", &["account", "day", "#sessions", "#training", "#operations", "#cost"]);
        for ((account, day), parts) in &self.daily {
            let total = parts.iter().fold(Credits::ZERO, |sum, part| sum.checked_add(*part).expect("a day's cost"));
            let [sessions, training, operations] = parts.map(|part| part.to_string());
            table.row([account.clone(), day.to_string(), sessions, training, operations, total.to_string()]);
        }
        table
    }

    fn session_table(&self) -> Table {
        let header = ["account", "platform", "session start", "day", "#users", "#events", "#unit cost", "#cost", "mark"];
        let mut table = Table::new("sessions", &header);
        for session in &self.sessions {
            table.row([
                session.account.clone(),
                session.platform.clone(),
                session.session.start().to_string(),
                session.day.to_string(),
                session.unique_users.to_string(),
                session.events.to_string(),
                session.unit.to_string(),
                session.cost().to_string(),
                mark(&[(!session.priced, "unpriced")]),
            ]);
        }
        table
    }

    fn hourly_table(&self) -> Table {
        let header = [
            "account",
            "day",
            "hour",
            "platform",
            "agent",
            "category",
            "model",
            "#events",
            "#ms",
            "#input",
            "#cached",
            "#output",
            "#quantity",
            "#cost",
            "#unpriced",
            "#unattributed",
        ];
        let mut table = Table::new("operations by hour", &header);
        for ((account, day, hour, names), sums) in &self.hourly {
            let [platform, agent, category, model] = names.clone();
            table.row([
                account.clone(),
                day.to_string(),
                hour.to_string(),
                platform,
                agent,
                category,
                model,
                sums.events.to_string(),
                number(sums.duration_ms),
                number(sums.input_tokens),
                number(sums.cached_input_tokens),
                number(sums.output_tokens),
                amount(sums.quantity),
                sums.cost.to_string(),
                number(sums.unpriced_events),
                number(sums.unattributed_events),
            ]);
        }
        table
    }

    fn log_table(&self) -> Table {
        let header = [
            "#offset",
            "event time",
            "account",
            "source",
            "id",
            "day",
            "platform",
            "user",
            "agent",
            "category",
            "model",
            "#ms",
            "#input",
            "#cached",
            "#output",
            "#quantity",
            "#cost",
            "mark",
        ];
        let mut table = Table::new("usage log", &header);
        for line in &self.log {
            let [account, source, id, platform, agent, category, model] = line.texts.clone();
            let [duration, input, cached, output] = line.used.map(number);
            table.row([
                line.offset.to_string(),
                line.event_time.to_string(),
                account,
                source,
                id,
                line.day.to_string(),
                platform,
                line.user.clone(),
                agent,
                category,
                model,
                duration,
                input,
                cached,
                output,
                amount(line.quantity),
                line.cost.to_string(),
                mark(&[(!line.priced, "unpriced"), (line.unattributed, "unattributed")]),
            ]);
        }
        table
    }

    fn rejected_table(&self) -> Table {
        let mut table = Table::new("rejected", &["#offset", "received at", "account", "#bytes", "reason", "detail"]);
        for line in &self.rejected {
            let [account, reason, detail] = line.texts.clone();
            let bytes = line.payload_bytes.to_string();
            table.row([line.offset.to_string(), line.received_at.to_string(), account, bytes, reason, detail]);
        }
        table
    }
}

fn mark(marks: &[(bool, &str)]) -> String {
    marks.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn number(value: u64) -> String {
    if value == 0 { String::new() } else { value.to_string() }
}

fn amount(value: Quantity) -> String {
    if value == Quantity::ZERO { String::new() } else { value.to_string() }
}

/// Lines of cells below a header; a `#` before a name aligns its column to the right. Columns without any text are left out.
struct Table {
    title: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: &'static str, header: &[&'static str]) -> Self {
        Self { title, header: header.to_vec(), rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.header.len());
        self.rows.push(cells.to_vec());
    }

    fn write(&self, page: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let _ = writeln!(page, "\n{}\n", self.title);
        let shown: Vec<usize> = (0..self.header.len()).filter(|&at| self.rows.iter().any(|row| !row[at].is_empty())).collect();
        let name = |at: usize| self.header[at].trim_start_matches('#');
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            cells.chain([name(at).chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = shown.iter().map(|&at| width(at)).collect();
        let mut line = |cell: &dyn Fn(usize) -> String| {
            let mut text = String::new();
            for (&at, &width) in shown.iter().zip(&widths) {
                let cell = cell(at);
                let pad = " ".repeat(width - cell.chars().count());
                let is_number = self.header[at].starts_with('#');
                text += "  ";
                text += &if is_number { pad.clone() + &cell } else { cell + &pad };
            }
            let _ = writeln!(page, "{}", text.trim_end());
        };
        line(&|at| name(at).to_owned());
        self.rows.iter().for_each(|row| line(&|at| row[at].clone()));
    }
}
