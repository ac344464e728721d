//! Small installations: one partition, quick batches, events by hand.

use farebox::model::Timestamp;
use farebox::runtime::clock;

use super::servers::{ClickHouse, Farebox, Instance, Kafka, Message, SOON, eventually};

/// An event of an account that happened now.
pub fn event(account: &str, id: &str) -> Message {
    event_at(account, id, clock::now())
}

pub fn event_at(account: &str, id: &str, time: Timestamp) -> Message {
    let value = serde_json::json!({
        "id": id, "time": time.to_string(), "account": account, "agent": "a", "category": "llm", "platform": "web", "user": "u"
    });
    Message::new(account, value.to_string())
}

/// An installation with one partition whose batches are small and quick.
pub fn quick(kafka: &Kafka, clickhouse: &ClickHouse) -> Farebox {
    let mut farebox = Farebox::new(kafka.brokers(), &clickhouse.url());
    farebox.set("kafka.partitions", 1).set("batch.max_age", "100ms").set("price_book.reload", "200ms");
    // Instances listen on ports of their own all the same.
    farebox.set("metrics.listen", "");
    farebox
}

/// What `conservation` says of all partitions together.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Conservation {
    pub received: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub gap_offsets: i64,
    pub balanced: u8,
}

pub fn conservation(clickhouse: &ClickHouse, database: &str) -> Conservation {
    let sql = format!(
        "SELECT sum(c.received) AS received, sum(c.accepted) AS accepted, sum(c.duplicates) AS duplicates, \
         sum(c.rejected) AS rejected, toInt64(sum(c.gap_offsets)) AS gap_offsets, min(c.balanced) AS balanced FROM {database}.conservation AS c"
    );
    clickhouse.rows(&sql).pop().unwrap()
}

/// Waits until so many records are in `batches`, and checks that they add up.
#[track_caller]
pub fn wait_for_received(clickhouse: &ClickHouse, instance: &mut Instance, database: &str, received: u64) -> Conservation {
    let seen = eventually(SOON, || {
        assert!(instance.process.ended().is_none(), "{}", instance.process.log());
        let seen = conservation(clickhouse, database);
        if seen.received >= received { Ok(seen) } else { Err(format!("{seen:?}\n{}", instance.process.log())) }
    });
    assert!(seen.received == received && seen.balanced == 1 && seen.gap_offsets == 0, "{seen:?}");
    seen
}

pub fn wait_for_log(instance: &mut Instance, text: &str) {
    eventually(SOON, || {
        let log = instance.process.log();
        assert!(instance.process.ended().is_none(), "{log}");
        if log.contains(text) { Ok(()) } else { Err(format!("`{text}` was not said:\n{log}")) }
    });
}
