//! What a process took: CPU and memory, as the kernel counts them.

use std::fs;

use super::servers::{ClickHouse, Kafka};

/// Ticks of `/proc/PID/stat` a second.
const TICKS: f64 = 100.0;

/// Seconds of CPU that a process and its threads took; 0 when it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the first, user and system time the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// The most memory that a process had resident, in MB.
pub fn peak_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1_000.0
}

/// Begins anew to look for the most memory.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Where the servers stood when something began.
pub struct Servers<'a> {
    kafka: &'a Kafka,
    clickhouse: &'a ClickHouse,
    kafka_cpu_seconds: f64,
    clickhouse_cpu_seconds: f64,
    parts: u64,
}

/// What the servers took since then.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    pub kafka_cpu_seconds: f64,
    pub clickhouse_cpu_seconds: f64,
    pub clickhouse_peak_mb: f64,
    /// Parts that inserts wrote, whatever was merged since.
    pub parts: u64,
}

impl<'a> Servers<'a> {
    pub fn watch(kafka: &'a Kafka, clickhouse: &'a ClickHouse) -> Self {
        forget_peak(clickhouse.pid().unwrap());
        let mut servers = Self { kafka, clickhouse, kafka_cpu_seconds: 0.0, clickhouse_cpu_seconds: 0.0, parts: 0 };
        let now = servers.taken();
        servers.kafka_cpu_seconds = now.kafka_cpu_seconds;
        servers.clickhouse_cpu_seconds = now.clickhouse_cpu_seconds;
        servers.parts = now.parts;
        servers
    }

    pub fn taken(&self) -> Taken {
        let (kafka, clickhouse) = (self.kafka.pid().unwrap(), self.clickhouse.pid().unwrap());
        let parts = "SELECT sum(value) FROM system.events WHERE event IN ('InsertedWideParts', 'InsertedCompactParts')";
        Taken {
            kafka_cpu_seconds: cpu_seconds(kafka) - self.kafka_cpu_seconds,
            clickhouse_cpu_seconds: cpu_seconds(clickhouse) - self.clickhouse_cpu_seconds,
            clickhouse_peak_mb: peak_mb(clickhouse),
            parts: self.clickhouse.query(parts).trim().parse::<u64>().unwrap() - self.parts,
        }
    }
}
