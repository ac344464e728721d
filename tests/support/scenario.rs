//! A whole installation with invented events, compared with a naive fold of the log to the last digit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::odd::odd_records;
use super::oracle::{self, Book, Rules, Totals, views};
use super::servers::{ClickHouse, Client, Farebox, Instance, KafkaRecord, SOON, eventually};

pub const PARTITIONS: i32 = 6;
pub const ACCOUNTS: u32 = 24;
pub const WINDOW: Duration = Duration::from_secs(5);

/// How large an installation is, and by which way it reaches ClickHouse.
#[derive(Clone, Debug)]
pub struct Size {
    pub partitions: i32,
    pub accounts: u32,
    /// Other than the server's own: a proxy's.
    pub clickhouse_url: Option<String>,
}

impl Default for Size {
    fn default() -> Self {
        Self { partitions: PARTITIONS, accounts: ACCOUNTS, clickhouse_url: None }
    }
}

/// An installation with tables, topics, a price book, and what is needed to look into it.
pub struct Scenario {
    pub farebox: Farebox,
    pub kafka: Client,
    pub book: Book,
    /// The time of the first event: some days ago, so that some sessions are closed and others are not.
    pub start: String,
    pub size: Size,
}

pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub fn seed() -> u64 {
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now_ms().unsigned_abs() % 1_000_000);
    println!("SIM_SEED={seed}");
    seed
}

impl Scenario {
    pub fn new(brokers: &str, clickhouse: &ClickHouse) -> Self {
        Self::of_size(brokers, clickhouse, Size::default())
    }

    pub fn of_size(brokers: &str, clickhouse: &ClickHouse, size: Size) -> Self {
        let url = size.clickhouse_url.clone().unwrap_or_else(|| clickhouse.url());
        let mut farebox = Farebox::new(brokers, &url);
        // Many small batches: many moments at which something can go wrong.
        farebox.set("batch.max_age", "200ms").set("clickhouse.inserts_per_second_max", 100);
        farebox.set("dedupe.window", format!("{}s", WINDOW.as_secs())).set("kafka.partitions", size.partitions);
        farebox.set("kafka.session_timeout", "2s");
        farebox.set("clickhouse.insert_timeout", "10s").set("clickhouse.query_timeout", "10s");
        farebox.run(&["migrate"]).expect_success();
        farebox
            .run(&["produce", "--events", "0", "--accounts", &size.accounts.to_string(), "--book", "book.toml"])
            .expect_success();
        farebox.run(&["apply", "book.toml"]).expect_success();
        let book = Book::parse(&std::fs::read_to_string(farebox.path("book.toml")).unwrap());
        let start = views::moment(now_ms() - 5 * 86_400_000);
        Self { farebox, kafka: Client::new(brokers), book, start, size }
    }

    pub fn rules(&self) -> Rules {
        Rules { window_ms: i64::try_from(WINDOW.as_millis()).unwrap(), lateness_seconds: 48 * 3600 }
    }

    /// Invented events; the same seed and number give the same records, so a repeated call repeats every id.
    pub fn produce(&self, events: u32, seed: u64, rate: u32) {
        let (events, seed, rate) = (events.to_string(), seed.to_string(), rate.to_string());
        let accounts = self.size.accounts.to_string();
        let arguments =
            ["produce", "--events", &events, "--rate", &rate, "--seed", &seed, "--accounts", &accounts, "--users", "300"];
        let shares =
            ["--duplicates", "0.02", "--conflicts", "0.01", "--malformed", "0.01", "--start", &self.start, "--spread", "100h"];
        self.farebox.run(&[&arguments[..], &shares[..]].concat()).expect_success();
    }

    /// Two instances that share the partitions evenly.
    pub fn two_instances(&self) -> [Instance; 2] {
        let mut instances = [self.farebox.start(), self.farebox.start()];
        for instance in &mut instances {
            instance.wait_until_ready();
        }
        eventually(SOON, || match instances.each_ref().map(assigned) {
            [a, b] if a + b == i64::from(self.size.partitions) && (a - b).abs() <= 1 => Ok(()),
            shares => Err(format!("partitions are shared as {shares:?}")),
        });
        instances
    }

    pub fn log(&self) -> BTreeMap<i32, Vec<KafkaRecord>> {
        (0..self.size.partitions).map(|partition| (partition, self.kafka.read(&self.farebox.topic, partition))).collect()
    }

    /// Waits until every record is in `batches`, then holds every view and the dead letters against the oracle.
    pub fn check(&self, clickhouse: &ClickHouse, instances: &mut [Instance]) -> Totals {
        let log = self.log();
        let totals = oracle::fold(&log, &self.book, self.rules());
        let ends: Vec<i64> = log.values().map(|records| records.last().map_or(0, |record| record.offset + 1)).collect();
        self.wait_for(clickhouse, &ends, instances);
        self.compare(clickhouse, &totals, instances);
        self.compare_dead_letters(&totals);
        totals
    }

    pub fn wait_for(&self, clickhouse: &ClickHouse, ends: &[i64], instances: &mut [Instance]) {
        self.wait_within(Duration::from_secs(120), clickhouse, ends, instances);
    }

    /// The same, where very much is to be read.
    pub fn wait_within(&self, within: Duration, clickhouse: &ClickHouse, ends: &[i64], instances: &mut [Instance]) {
        let database = &self.farebox.database;
        eventually(within, || {
            let stops = clickhouse.query(&format!("SELECT partition, kind, reason FROM {database}.stops"));
            assert!(stops.is_empty(), "a partition stopped: {stops}\n{}", logs(instances));
            for instance in &mut *instances {
                let ended = instance.process.ended();
                assert!(ended.is_none(), "an instance ended ({ended:?}):\n{}", instance.process.log());
            }
            let sql =
                format!("SELECT partition, offset_next FROM {database}.conservation ORDER BY partition FORMAT JSONCompactEachRow");
            let reached = clickhouse.query(&sql);
            let wanted: String =
                (0..).zip(ends).filter(|(_, end)| **end > 0).map(|(n, end): (i32, &i64)| format!("[{n}, {end}]\n")).collect();
            let same = reached.replace(['"', ' '], "") == wanted.replace(' ', "");
            if same { Ok(()) } else { Err(format!("read up to\n{reached}of\n{wanted}{}", logs(instances))) }
        });
    }

    /// Waits until so many more records are written.
    pub fn wait_for_more(&self, clickhouse: &ClickHouse, records: u64) {
        self.wait_for_written(clickhouse, self.written(clickhouse) + records);
    }

    /// Waits until so many records are written in all.
    pub fn wait_for_written(&self, clickhouse: &ClickHouse, records: u64) {
        // A session of a second is lost again and again while a machine is very busy.
        eventually(SOON * 3, || match self.written(clickhouse) {
            now if now >= records => Ok(()),
            now => Err(format!("{now} of {records} records")),
        });
    }

    fn written(&self, clickhouse: &ClickHouse) -> u64 {
        let sql = format!("SELECT sum(received) FROM {}.batches", self.farebox.database);
        clickhouse.query(&sql).trim().parse().unwrap()
    }

    pub fn compare(&self, clickhouse: &ClickHouse, totals: &Totals, instances: &[Instance]) {
        let database = &self.farebox.database;
        let mut differences = String::new();
        for view in views::all(totals) {
            let actual = view.actual(clickhouse, database);
            assert!(!view.expected.is_empty(), "the oracle expects nothing in {}", view.name);
            let (missing, extra) = difference(&view.expected, &actual);
            if !missing.is_empty() || !extra.is_empty() {
                let show = |lines: &[&String]| lines.iter().take(5).map(|line| format!("  {line}\n")).collect::<String>();
                let (name, absent, more) = (view.name, missing.len(), extra.len());
                differences +=
                    &format!("{name}: {absent} lines are missing\n{}{more} are too many\n{}", show(&missing), show(&extra));
            }
        }
        assert!(differences.is_empty(), "{differences}\n{}", logs(instances));
        self.compare_shares(clickhouse, totals);
    }

    #[allow(clippy::float_arithmetic)] // shares are floats
    pub fn compare_shares(&self, clickhouse: &ClickHouse, totals: &Totals) {
        let sql = format!("SELECT account, month, category, share FROM {}.monthly_usage", self.farebox.database);
        let answer = clickhouse.query(&sql);
        let expected = views::shares(totals);
        assert_eq!(answer.lines().count(), expected.len());
        for line in answer.lines() {
            let (key, share) = line.rsplit_once('\t').unwrap();
            let share: f64 = share.parse().unwrap();
            assert!((share - expected[key]).abs() < 1e-12, "{line}, expected {}", expected[key]);
        }
    }

    /// Every rejected record is kept, whole, with the reason; nothing else is.
    pub fn compare_dead_letters(&self, totals: &Totals) {
        let topic = &self.farebox.dead_letter_topic;
        let mut kept: BTreeMap<(i32, i64), KafkaRecord> = BTreeMap::new();
        for partition in 0..self.size.partitions {
            for record in self.kafka.read(topic, partition) {
                let number = |name: &str| header(&record, name).parse::<i64>().unwrap();
                kept.insert((i32::try_from(number("farebox.partition")).unwrap(), number("farebox.offset")), record);
            }
        }
        assert!(kept.keys().eq(totals.letters.keys()), "other records are dead letters than were rejected");
        for (place, letter) in &totals.letters {
            let (kept, sent) = (&kept[place], &letter.record);
            assert_eq!((&kept.key, &kept.value), (&sent.key, &sent.value), "{place:?}");
            assert!(kept.headers.starts_with(&sent.headers), "{place:?}: {:?}", kept.headers);
            assert_eq!(kept.headers.len(), sent.headers.len() + 5, "{place:?}: {:?}", kept.headers);
            assert_eq!(header(kept, "farebox.reason"), letter.reason, "{place:?}: {}", header(kept, "farebox.detail"));
            assert_eq!(header(kept, "farebox.topic"), self.farebox.topic);
            assert!(!header(kept, "farebox.detail").is_empty());
        }
    }
}

pub fn header(record: &KafkaRecord, name: &str) -> String {
    let found = record.headers.iter().find(|(own, _)| own == name);
    let value = found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {name} in {record:?}"));
    String::from_utf8(value).unwrap()
}

/// Lines that only the first has, and that only the second has; both are sorted.
pub fn difference<'a>(expected: &'a [String], actual: &'a [String]) -> (Vec<&'a String>, Vec<&'a String>) {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    expected.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    actual.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let with = |sign: i64| counts.iter().filter(|(_, count)| **count * sign > 0).map(|(line, _)| *line).collect();
    (with(1), with(-1))
}

pub fn assigned(instance: &Instance) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    instance.metric("farebox_partitions_assigned", &[]).map_or(-1, |count| count as i64)
}

/// The end of what each instance said.
pub fn logs(instances: &[Instance]) -> String {
    let last = |instance: &Instance| {
        let log = instance.process.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- instance {}\n{}\n", instance.process.pid(), lines[lines.len().saturating_sub(40)..].join("\n"))
    };
    instances.iter().map(last).collect()
}
/// Events keep coming while `disturb` runs, so many rounds at least; some of them again, within and beyond the window.
pub fn while_events_come(scenario: &Scenario, rounds: u64, first_seed: u64, disturb: impl FnOnce()) {
    const ROUND: u32 = 4_000;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if round >= rounds && done.load(Ordering::Relaxed) {
                    break;
                }
                // A round takes a second and a half: what repeats the last one is a duplicate, the fifth before is not.
                let again = match round % 4 {
                    1 => 1,
                    3 if round > 5 => 5,
                    2 if round > 3 => 3,
                    _ => 0,
                };
                scenario.produce(ROUND, first_seed + round - again, 3_000);
                if round == 3 {
                    scenario.kafka.produce(&scenario.farebox.topic, &odd_records());
                }
            }
        });
        disturb();
        done.store(true, Ordering::Relaxed);
    });
}
/// How often which decision was taken, and what was warned of: for people who look at a run.
pub fn summarise(log: &str) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for line in log.lines() {
        let decision = line.split_once("decision=").map(|(_, decision)| decision.split([' ', '(']).next().unwrap_or_default());
        let level = ["WARN", "ERROR"].into_iter().find(|level| line.contains(level));
        let warning = level.and_then(|level| line.split_once(level)).map(|(_, text)| text.split('=').next().unwrap_or_default());
        if let Some(what) = decision.or(warning) {
            *counts.entry(what.to_owned()).or_default() += 1;
        }
    }
    println!("{counts:#?}");
}
/// Stops an instance until the other has all partitions, then lets it go on as if nothing had happened.
pub fn outlive_the_session(instances: &mut [Instance; 2], stopped: usize) {
    for instance in &mut *instances {
        instance.wait_until_ready();
    }
    instances[stopped].process.sigstop();
    let other = &instances[1 - stopped];
    eventually(SOON, || match assigned(other) {
        6 => Ok(()),
        count => Err(format!("the other has {count} partitions\n{}", other.process.log())),
    });
    instances[stopped].process.sigcont();
}
