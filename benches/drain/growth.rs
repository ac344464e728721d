//! How the cost of an event and the memory grow with what there is: accounts, users, names, partitions.

use std::fmt::Write as _;

use super::metered::{With, drain};
use super::report::{grouped, versions};
use super::servers::{ClickHouse, Kafka};
use super::{Load, filled, page};

/// (accounts, users of each, partitions)
const LOADS: [(u64, u64, i32); 6] =
    [(100, 1_000, 6), (1_000, 1_000, 6), (1_000, 1_000, 64), (100_000, 20, 6), (1_000_000, 1, 6), (1, 1_000_000, 6)];

/// Each load with a topic and a database of its own.
pub fn tell(events: u64) {
    let mut text = String::new();
    for (accounts, users, partitions) in LOADS {
        let (kafka, clickhouse) = (Kafka::start_fast(), ClickHouse::start());
        let load = Load { events, partitions, accounts, users };
        let farebox = filled(&kafka, &clickhouse, &load);
        let row = drain(&kafka, &clickhouse, &farebox.topic, &load, With::Everything);
        if text.is_empty() {
            text = format!(
                "{}\n\n{}\n\n{} events for each row, in runs of their own, from the start of the process to the last event.\n\n\
                 | accounts | users of each | partitions | events a second | our CPU, µs an event | ClickHouse's CPU, µs an event | peak memory, MB | |\n\
                 |--:|--:|--:|--:|--:|--:|--:|---|\n",
                page::machine(),
                versions(&clickhouse),
                grouped(events)
            );
        }
        let each = |seconds: f64| seconds * 1e6 / row.events as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {partitions} | {} | {:.2} | {:.2} | {:.0} | {} |",
            grouped(accounts),
            grouped(users),
            grouped(row.rate() as u64),
            each(row.cpu_seconds),
            each(row.servers.clickhouse_cpu_seconds),
            row.peak_mb,
            row.note
        );
    }
    page::show("growth", &text);
}
