//! How long after the broker took an event a query sees it, while events come at a share of the drain rate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use farebox::source::kafka::{Handle, Stretch, scan};
use rdkafka::ClientConfig;

use super::servers::{ClickHouse, Farebox, Kafka, Mails, eventually};
use super::{Load, installed, produce};

/// For so long events come.
const SECONDS: u64 = 30;
/// Of the first of them the start is told, not the service.
const SKIPPED: f64 = 0.2;
/// Behind the last event for so long at most.
const LONGEST: Duration = Duration::from_secs(120);
/// So many budgets are used up meanwhile, one after the other.
const BUDGETS: usize = 20;
/// So many events tell what one costs.
const PROBED: u64 = 100_000;
/// After the last event.
const MAILS_WITHIN: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub struct Latency {
    pub share: f64,
    pub rate: u64,
    /// A second, as it came to be.
    pub sent: u64,
    pub p50_ms: i64,
    pub p99_ms: i64,
    /// From the event that used up a budget to the mail server's acceptance.
    pub mails: Mailed,
}

/// Of mails.
#[derive(Debug, Clone)]
pub struct Mailed {
    pub mails: usize,
    pub p50_ms: i64,
    pub p99_ms: i64,
}

pub fn at(kafka: &Kafka, clickhouse: &ClickHouse, load: &Load, share: f64, drain_rate: f64) -> Latency {
    let mails = Mails::start(&[]);
    let mut farebox = installed(kafka, clickhouse, load, None);
    farebox.set("smtp.url", mails.url());
    let rate = ((drain_rate * share) as u64).max(10);
    let mut instance = farebox.start();
    instance.wait_until_ready();
    budgets(clickhouse, &farebox, load, rate);
    let (done, took_ms) = (AtomicBool::new(false), AtomicU64::new(0));
    // (when it was seen, where `batches` ended then), by partition.
    let mut seen: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    let database = &farebox.database;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            produce(&farebox, load, rate * SECONDS, rate, "7");
            took_ms.store(began.elapsed().as_millis() as u64, Ordering::Relaxed);
            done.store(true, Ordering::Relaxed);
        });
        let mut last = Instant::now();
        let is_seen = |seen: &BTreeMap<i32, Vec<(i64, i64)>>| {
            (0..load.partitions).all(|partition| {
                let end = kafka.client.offsets(&farebox.topic, partition).1;
                end == 0 || seen.get(&partition).and_then(|ends| ends.last()).is_some_and(|(_, seen)| *seen >= end)
            })
        };
        loop {
            let is_over = done.load(Ordering::Relaxed);
            let answer = clickhouse.query(&format!("SELECT partition, max(offset_to) FROM {database}.batches GROUP BY partition"));
            let now = now_ms();
            for line in answer.lines() {
                let (partition, end) = line.split_once('\t').unwrap();
                let (partition, end): (i32, i64) = (partition.parse().unwrap(), end.parse().unwrap());
                let ends = seen.entry(partition).or_default();
                if ends.last().is_none_or(|(_, known)| *known < end) {
                    ends.push((now, end));
                    last = Instant::now();
                }
            }
            if is_over && is_seen(&seen) {
                break;
            }
            assert!(!is_over || last.elapsed() < LONGEST, "not everything that was sent is in `batches`");
            std::thread::sleep(EVERY);
        }
    });
    // The largest spenders of a part are not quite those of the whole: some may not use theirs up. The rest is late, or told of in the table.
    let since = Instant::now();
    while mails.arrived().len() < BUDGETS && since.elapsed() < MAILS_WITHIN {
        std::thread::sleep(EVERY);
    }
    assert!(instance.stop().success(), "{}", instance.process.log());
    let mailed = mailed(clickhouse, database);
    let mut latencies = latencies(kafka, &farebox.topic, load, &seen);
    let skipped = (latencies.len() as f64 * SKIPPED) as usize;
    latencies.drain(..skipped);
    let mut sorted: Vec<i64> = latencies.into_iter().map(|(_, latency)| latency).collect();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    clickhouse.query(&format!("DROP DATABASE {database} SYNC"));
    let sent = rate * SECONDS * 1_000 / took_ms.load(Ordering::Relaxed).max(1);
    Latency { share, rate, sent, p50_ms: at(0.5), p99_ms: at(0.99), mails: mailed }
}

/// Gives the accounts that spend most budgets that are used up one after the other while the events come.
fn budgets(clickhouse: &ClickHouse, farebox: &Farebox, load: &Load, rate: u64) {
    // What each of them spends, from some of the events.
    produce(farebox, load, PROBED, 0, "8");
    let database = &farebox.database;
    eventually(LONGEST, || match clickhouse.query(&format!("SELECT sum(received) FROM {database}.batches")).trim() {
        received if received == PROBED.to_string() => Ok(()),
        received => Err(received.to_owned()),
    });
    let spent = clickhouse.query(&format!(
        "SELECT account, toFloat64(sum(cost)) AS spent FROM {database}.usage_hourly GROUP BY account ORDER BY spent DESC LIMIT {BUDGETS}"
    ));
    let mut book = std::fs::read_to_string(farebox.path("book.toml")).unwrap();
    for (number, line) in spent.lines().enumerate() {
        let (account, probed) = line.split_once('\t').unwrap();
        let whole = probed.parse::<f64>().unwrap() * (rate * SECONDS) as f64 / PROBED as f64;
        let limit = probed.parse::<f64>().unwrap() + whole * (0.2 + 0.4 * number as f64 / BUDGETS as f64);
        book += &format!(
            "\n[[budget]]\nid = \"{account}\"\naccount = \"{account}\"\nperiod = \"month\"\nlimit = \"{limit:.6}\"\nthresholds = [100]\nemails = [\"finance@example.com\"]\n"
        );
    }
    farebox.write("book.toml", &book);
    farebox.run(&["apply", "book.toml"]).expect_success();
    // Who has a budget is asked for every ten seconds.
    std::thread::sleep(Duration::from_secs(12));
}

/// How long after its event each mail was accepted, by the log and the outbox.
fn mailed(clickhouse: &ClickHouse, database: &str) -> Mailed {
    let sql = format!(
        "SELECT dateDiff('millisecond', caused, accepted) AS took FROM (
           SELECT account, minIf(g.received_at, g.running >= l.`limit`) AS caused FROM (
             SELECT account, received_at, sum(cost) OVER (PARTITION BY account ORDER BY received_at, offset) AS running
             FROM {database}.usage_log WHERE account IN (SELECT account FROM {database}.budgets)
           ) AS g INNER JOIN {database}.budgets AS l ON l.account = g.account GROUP BY account
         ) AS c INNER JOIN (SELECT account, min(at) AS accepted FROM {database}.mail_outbox WHERE state = 'sent' GROUP BY account) AS m ON c.account = m.account
         ORDER BY took"
    );
    let sorted: Vec<i64> = clickhouse.query(&sql).lines().map(|line| line.parse().unwrap()).collect();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    Mailed { mails: sorted.len(), p50_ms: at(0.5), p99_ms: at(0.99) }
}

/// Of each event, when the broker took it and how much later it was seen, the oldest first.
fn latencies(kafka: &Kafka, topic: &str, load: &Load, seen: &BTreeMap<i32, Vec<(i64, i64)>>) -> Vec<(i64, i64)> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", kafka.brokers()).set("group.id", "latency").set("enable.partition.eof", "true");
    let handle = Handle::apart(&client, topic).unwrap();
    let stretches: Vec<Stretch> = (0..load.partitions)
        .map(|partition| Stretch { partition, from: 0, to: kafka.client.offsets(topic, partition).1 })
        .collect();
    let mut latencies = Vec::new();
    scan(&handle, &stretches, Duration::from_secs(30), |partition, record| {
        let ends = &seen[&partition];
        let at = ends.partition_point(|(_, end)| *end <= record.offset);
        let came = record.timestamp.millis();
        latencies.push((came, ends[at].0 - came));
        true
    })
    .unwrap();
    latencies.sort_unstable();
    latencies
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
