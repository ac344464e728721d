//! The table, on the terminal and in docs/speed.md.

use std::fmt::Write as _;
use std::fs;

use super::latency::Latency;
use super::servers::ClickHouse;
use super::{Load, Measured, page};

pub fn tell(load: &Load, rows: &[Measured], latencies: &[Latency], clickhouse: &ClickHouse) {
    let table = table(load, rows, latencies, clickhouse);
    page::show("drain", &table);
}

fn table(load: &Load, rows: &[Measured], latencies: &[Latency], clickhouse: &ClickHouse) -> String {
    let mut text = format!(
        "{}\n\n{} events of {} accounts with {} users each, one in a hundred twice; {} partitions, lz4; on {}.\n\n",
        page::machine(),
        grouped(load.events),
        grouped(load.accounts),
        grouped(load.users),
        load.partitions,
        farebox::model::Zone::UTC.local(farebox::runtime::clock::now()).day
    );
    text += &format!("{}\n\n", versions(clickhouse));
    text += "| | events a second | share of (a) | own CPU, µs an event | the broker's | ClickHouse's | peak memory, MB | ClickHouse's | \
             parts written, a million events | |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n";
    let first = rows.iter().find(|row| row.name.starts_with("(a)")).map(Measured::rate);
    for row in rows {
        let megabytes = |mb: f64| if mb > 0.0 { format!("{mb:.0}") } else { String::new() };
        let each = |seconds: f64| if seconds > 0.0 { format!("{:.2}", seconds * 1e6 / row.events as f64) } else { String::new() };
        let parts = if row.servers.parts > 0 { (row.servers.parts * 1_000_000 / row.events).to_string() } else { String::new() };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            grouped(row.rate() as u64),
            first.map_or_else(String::new, |first| format!("{:.2}", row.rate() / first)),
            each(row.cpu_seconds),
            each(row.servers.kafka_cpu_seconds),
            each(row.servers.clickhouse_cpu_seconds),
            megabytes(row.peak_mb),
            megabytes(row.servers.clickhouse_peak_mb),
            parts,
            row.note
        );
    }
    if !latencies.is_empty() {
        text += "\n| load | events a second, asked for | sent | event to query, p50 | p99 | event to mail, p50 | p99 | mails |\n|---|--:|--:|--:|--:|--:|--:|--:|\n";
        for latency in latencies {
            let seconds = |ms: i64| format!("{:.2} s", ms as f64 / 1_000.0);
            let (rate, sent, p50, p99) =
                (grouped(latency.rate), grouped(latency.sent), seconds(latency.p50_ms), seconds(latency.p99_ms));
            let (mail_p50, mail_p99) = (seconds(latency.mails.p50_ms), seconds(latency.mails.p99_ms));
            let share = latency.share * 100.0;
            let _ = writeln!(
                text,
                "| {share:.0} % of (d) | {rate} | {sent} | {p50} | {p99} | {mail_p50} | {mail_p99} | {} |",
                latency.mails.mails
            );
        }
    }
    if !latencies.is_empty() {
        text += "\nEvent to mail: from the record that used up a budget to the mail server's acceptance, for 20 budgets that are used up one after the other.\n";
    }
    text
}

/// What was measured.
pub fn versions(clickhouse: &ClickHouse) -> String {
    format!(
        "Kafka {}, ClickHouse {}, librdkafka {}, farebox {}.",
        kafka_version(),
        clickhouse.query("SELECT version()").trim(),
        rdkafka::util::get_rdkafka_version().1,
        env!("CARGO_PKG_VERSION")
    )
}

/// The version in the name of the broker's jar.
fn kafka_version() -> String {
    let jars = fs::read_dir(super::servers::fetched("kafka/lib")).into_iter().flatten().flatten();
    let names = jars.map(|jar| jar.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_owned())).next().unwrap_or_default()
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
