//! How long after the broker took an event a query sees it, while events come at a share of the drain rate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use farebox::source::kafka::{Handle, Stretch, scan};
use rdkafka::ClientConfig;

use super::servers::{ClickHouse, Kafka};
use super::{Load, installed, produce};

/// For so long events come.
const SECONDS: u64 = 30;
/// Of the first of them the start is told, not the service.
const SKIPPED: f64 = 0.2;
/// Behind the last event for so long at most.
const LONGEST: Duration = Duration::from_secs(120);
const EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub struct Latency {
    pub share: f64,
    pub rate: u64,
    /// A second, as it came to be.
    pub sent: u64,
    pub p50_ms: i64,
    pub p99_ms: i64,
}

pub fn at(kafka: &Kafka, clickhouse: &ClickHouse, load: &Load, share: f64, drain_rate: f64) -> Latency {
    let farebox = installed(kafka, clickhouse, load, None);
    let rate = ((drain_rate * share) as u64).max(10);
    let mut instance = farebox.start();
    instance.wait_until_ready();
    let (done, took_ms) = (AtomicBool::new(false), AtomicU64::new(0));
    // (when it was seen, where `batches` ended then), by partition.
    let mut seen: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    let database = &farebox.database;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            produce(&farebox, load, rate * SECONDS, rate);
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
    assert!(instance.stop().success(), "{}", instance.process.log());
    let mut latencies = latencies(kafka, &farebox.topic, load, &seen);
    let skipped = (latencies.len() as f64 * SKIPPED) as usize;
    latencies.drain(..skipped);
    let mut sorted: Vec<i64> = latencies.into_iter().map(|(_, latency)| latency).collect();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    clickhouse.query(&format!("DROP DATABASE {database} SYNC"));
    let sent = rate * SECONDS * 1_000 / took_ms.load(Ordering::Relaxed).max(1);
    Latency { share, rate, sent, p50_ms: at(0.5), p99_ms: at(0.99) }
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
