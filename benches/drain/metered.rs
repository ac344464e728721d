//! `farebox run` over a backlog, from its start until every record is in `batches`.

use std::time::{Duration, Instant};

use super::servers::{ClickHouse, Kafka};
use super::{Load, Measured, installed, usage};

const LONGEST: Duration = Duration::from_secs(3_600);

/// What is measured of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    RollupsAlone,
    Everything,
    /// And `/metrics` is asked once a second.
    Scraper,
}

pub fn drain(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, load: &Load, with: With) -> Measured {
    let mut farebox = installed(kafka, clickhouse, load, Some(topic));
    if with == With::RollupsAlone {
        farebox.set("usage_log.keep", "0");
    }
    let database = farebox.database.clone();
    let ask = |sql: &str| clickhouse.query(&sql.replace("{db}", &database)).trim().to_owned();
    let (servers, began) = (usage::Servers::watch(kafka, clickhouse), Instant::now());
    let mut instance = farebox.start();
    let (mut first, mut scraped) = (None, Instant::now());
    loop {
        assert!(instance.process.ended().is_none() && began.elapsed() < LONGEST, "{}", instance.process.log());
        let received: u64 = ask("SELECT sum(received) FROM {db}.batches").parse().unwrap_or(0);
        if received > 0 {
            first.get_or_insert((received, Instant::now()));
        }
        if received >= load.events {
            break;
        }
        if with == With::Scraper && scraped.elapsed() >= Duration::from_secs(1) {
            scraped = Instant::now();
            instance.metric("farebox_events_total", &[]);
        }
        std::thread::sleep(Duration::from_millis(100)); // asked ten times a second until it is there
    }
    let seconds = began.elapsed().as_secs_f64();
    let (cpu_seconds, peak_mb) = (usage::cpu_seconds(instance.process.pid()), usage::peak_mb(instance.process.pid()));
    let servers = servers.taken();
    let steady = first.map_or(0.0, |(seen, at)| (load.events - seen) as f64 / at.elapsed().as_secs_f64());
    let batches = ask("SELECT count() FROM {db}.batches");
    let parts = ask("SELECT count() FROM system.parts WHERE database = '{db}' AND active");
    assert!(instance.stop().success(), "{}", instance.process.log());
    let balanced = ask("SELECT min(c.balanced), sum(c.received) FROM {db}.conservation AS c");
    assert_eq!(balanced, format!("1\t{}", load.events));
    let note = format!("{steady:.0} a second once it reads; {batches} batches, {parts} parts at the end");
    let name = match with {
        With::RollupsAlone => "(c) farebox, `usage_log.keep = \"0\"`",
        With::Everything => "(d) farebox, everything",
        With::Scraper => "(d) once more, `/metrics` asked every second",
    };
    clickhouse.query(&format!("DROP DATABASE {database} SYNC"));
    Measured { name, events: load.events, seconds, cpu_seconds, peak_mb, servers, note }
}
