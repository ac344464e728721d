//! Consumers that merely read.

use std::time::{Duration, Instant};

use farebox::runtime::FETCHING;
use farebox::source::kafka::{Handle, Stretch, scan};
use rdkafka::ClientConfig;

use super::servers::{ClickHouse, Folder, Kafka, Process, fast_java};
use super::{Load, Measured, usage};

const SILENCE: Duration = Duration::from_secs(30);

/// What comes with Kafka: its own consumer, which counts records and drops them.
pub fn consumer_performance(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, load: &Load) -> Measured {
    let folder = Folder::new("consumer-performance");
    let events = load.events.to_string();
    let mut java = fast_java();
    java.args(["org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", kafka.brokers(), "--topic", topic]);
    java.args(["--messages", &events, "--timeout", "60000", "--group", "consumer-performance"]);
    let (out, log) = (folder.path().join("out"), folder.path().join("log"));
    let (servers, began) = (usage::Servers::watch(kafka, clickhouse), Instant::now());
    let mut process = Process::start_split(java, &out, &log);
    let (mut cpu, mut peak) = (0.0_f64, 0.0_f64);
    while process.ended().is_none() {
        (cpu, peak) = (cpu.max(usage::cpu_seconds(process.pid())), peak.max(usage::peak_mb(process.pid())));
        std::thread::sleep(Duration::from_millis(20)); // the process's own counters are read until it ends
    }
    let seconds = began.elapsed().as_secs_f64();
    let answer = std::fs::read_to_string(&out).unwrap();
    // start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, …
    let line = answer.lines().rfind(|line| line.starts_with("20")).unwrap_or_else(|| panic!("{answer}{}", process.log()));
    let fields: Vec<f64> = line.split(", ").map(|field| field.parse().unwrap_or(0.0)).collect();
    let (read, own) = (fields[4], fields[5]);
    assert!(read >= load.events as f64 * 0.99, "{line}");
    let note = format!("{own:.0} a second by its own count, without the start of Java");
    Measured {
        name: "(a) Kafka's ConsumerPerformance",
        events: read as u64,
        seconds,
        cpu_seconds: cpu,
        peak_mb: peak,
        servers: only_the_broker(&servers),
        note,
    }
}

/// Our own source with the settings of `farebox run`, in this process: records are handed over and dropped.
pub fn source_alone(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, load: &Load) -> Measured {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", kafka.brokers()).set("group.id", "source-alone").set("enable.auto.commit", "false");
    client.set("enable.partition.eof", "true").set("check.crcs", "true").set("isolation.level", "read_committed");
    FETCHING.iter().for_each(|(name, value)| {
        client.set(*name, *value);
    });
    let ends: Vec<Stretch> = (0..load.partitions)
        .map(|partition| Stretch { partition, from: 0, to: kafka.client.offsets(topic, partition).1 })
        .collect();
    let own = std::process::id();
    usage::forget_peak(own);
    let (servers, before, began) = (usage::Servers::watch(kafka, clickhouse), usage::cpu_seconds(own), Instant::now());
    let handle = Handle::apart(&client, topic).unwrap();
    let (mut records, mut bytes) = (0_u64, 0_usize);
    scan(&handle, &ends, SILENCE, |_, record| {
        records += 1;
        bytes += record.value.map_or(0, <[u8]>::len);
        true
    })
    .unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let (cpu_seconds, peak_mb) = (usage::cpu_seconds(own) - before, usage::peak_mb(own));
    drop(handle);
    let note = format!("{:.0} bytes an event", bytes as f64 / records as f64);
    let servers = only_the_broker(&servers);
    Measured { name: "(b) our source, merely reading", events: records, seconds, cpu_seconds, peak_mb, servers, note }
}

/// Nothing is asked of ClickHouse meanwhile.
fn only_the_broker(servers: &usage::Servers<'_>) -> usage::Taken {
    usage::Taken { kafka_cpu_seconds: servers.taken().kafka_cpu_seconds, ..usage::Taken::default() }
}
