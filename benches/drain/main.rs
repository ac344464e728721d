//! How fast a backlog is metered, beside what it is compared with, in one run on one machine: Kafka's own consumer that merely reads, our
//! source that merely reads, farebox without and with `usage_log`, and ClickHouse's own Kafka engine with views that do the same. Then how
//! long an event takes to be seen by a query, at shares of that rate.
//!
//! `make bench` runs it and writes the table into docs/speed.md; without `WRITE=1` it is only printed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

mod engine_table;
mod growth;
mod latency;
mod metered;
mod page;
mod readers;
mod report;
#[path = "../../tests/support/servers/mod.rs"]
mod servers;
mod usage;

use std::env;
use std::str::FromStr;
use std::time::Duration;

use metered::With;
use servers::{ClickHouse, Farebox, Kafka};
use usage::Taken;

/// What is measured, and how much of it.
pub struct Load {
    pub events: u64,
    pub partitions: i32,
    pub accounts: u64,
    pub users: u64,
}

/// One row of the table.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub name: &'static str,
    pub events: u64,
    /// From the start of the process until all events are there.
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_mb: f64,
    pub servers: Taken,
    pub note: String,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

fn number<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn main() {
    if env::var_os("GROWTH").is_some() {
        return growth::tell(number("EVENTS", 2_000_000));
    }
    let load = Load {
        events: number("EVENTS", 2_000_000),
        partitions: number("PARTITIONS", 6),
        accounts: number("ACCOUNTS", 1_000),
        users: number("USERS", 1_000),
    };
    let only = env::var("ONLY").unwrap_or_default();
    assert!(only.is_empty() || env::var_os("WRITE").is_none(), "WRITE=1 writes the whole table: leave ONLY out");
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|one| one == part);
    let kafka = Kafka::start_fast();
    let mut clickhouse = ClickHouse::start();
    let farebox = filled(&kafka, &clickhouse, &load);
    let mut rows = Vec::new();
    if wanted("a") {
        rows.push(readers::consumer_performance(&kafka, &clickhouse, &farebox.topic, &load));
    }
    if wanted("b") {
        rows.push(readers::source_alone(&kafka, &clickhouse, &farebox.topic, &load));
    }
    if wanted("c") {
        rows.push(metered::drain(&kafka, &clickhouse, &farebox.topic, &load, With::RollupsAlone));
    }
    if wanted("d") {
        rows.push(metered::drain(&kafka, &clickhouse, &farebox.topic, &load, With::Everything));
    }
    if wanted("scraper") {
        rows.push(metered::drain(&kafka, &clickhouse, &farebox.topic, &load, With::Scraper));
    }
    if wanted("e") {
        rows.push(engine_table::drain(&kafka, &clickhouse, &farebox.topic, &load));
    }
    let measured = rows.iter().find(|row| row.name.starts_with("(d)")).map(Measured::rate);
    let all = measured.or_else(|| env::var_os("RATE").map(|_| number("RATE", 0.0)));
    let latencies = match all {
        Some(rate) if wanted("latency") => {
            [0.1, 0.5, 0.9].map(|share| latency::at(&kafka, &clickhouse, &load, share, rate)).to_vec()
        }
        _ => Vec::new(),
    };
    clickhouse.assert_alive();
    report::tell(&load, &rows, &latencies, &clickhouse);
}

/// A topic with the events, and a book that prices them.
pub fn filled(kafka: &Kafka, clickhouse: &ClickHouse, load: &Load) -> Farebox {
    let farebox = installed(kafka, clickhouse, load, None);
    produce(&farebox, load, load.events, 0, "7");
    farebox
}

/// A database, a group and, without `topic`, a topic of its own.
pub fn installed(kafka: &Kafka, clickhouse: &ClickHouse, load: &Load, topic: Option<&str>) -> Farebox {
    let mut farebox = Farebox::new(kafka.brokers(), &clickhouse.url());
    farebox.set("kafka.partitions", load.partitions);
    if let Some(topic) = topic {
        farebox.topic = topic.to_owned();
        farebox.set("kafka.topic", topic);
    }
    farebox.run(&["migrate"]).expect_success();
    let (accounts, users) = (load.accounts.to_string(), load.users.to_string());
    farebox.run(&["produce", "--events", "0", "--accounts", &accounts, "--users", &users, "--book", "book.toml"]).expect_success();
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox
}

/// Events of the last day, one in a hundred of them twice; `rate` 0: as fast as they are taken. The same seed makes the same events.
pub fn produce(farebox: &Farebox, load: &Load, events: u64, rate: u64, seed: &str) {
    let texts = [events, load.accounts, load.users, rate].map(|number| number.to_string());
    let [events, accounts, users, rate] = &texts;
    let mut line = vec!["produce", "--events", events, "--accounts", accounts, "--users", users, "--rate", rate];
    line.extend(["--duplicates", "0.01", "--seed", seed]);
    let start = farebox::runtime::clock::now().plus_millis(-23 * 3_600_000).to_string();
    if rate == "0" {
        line.extend(["--start", &start, "--spread", "22h"]);
    }
    let (stdout, log) = (farebox.path("produce.out"), farebox.path("produce.log"));
    let mut process = servers::Process::start_split(farebox.command(&line), &stdout, &log);
    assert!(process.wait(Duration::from_secs(1_800)).success(), "{}", process.log());
}
