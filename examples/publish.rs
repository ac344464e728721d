//! Publishes a usage event and waits until Kafka has it: `cargo run --example publish -- 127.0.0.1:9092 usage.events`.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

/// A producer that sends each message once and in order, as long as it lives.
pub fn producer(brokers: &str) -> anyhow::Result<FutureProducer> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).set("enable.idempotence", "true").create()?)
}

/// An event with an id and a time of its own. It is made once: a retry sends the same event again.
pub fn usage(account: &str) -> anyhow::Result<Value> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    let time = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true);
    Ok(json!({
        "id": format!("{:032x}", u128::from_be_bytes(id)), "source": "shop-bot", "time": time,
        "account": account, "platform": "web", "user": "u-17",
        "agent": "support-triage", "category": "llm", "model": "gpt-4o",
        "duration_ms": 2150, "input_tokens": 1200, "output_tokens": 300,
    }))
}

/// Sends it, keyed by its account, and waits for Kafka's answer.
pub async fn publish(producer: &FutureProducer, topic: &str, event: &Value) -> anyhow::Result<()> {
    let (key, value) = (event["account"].as_str().unwrap_or_default(), event.to_string());
    let record = FutureRecord::to(topic).key(key).payload(&value);
    producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error)?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "usage.events".to_owned());
    let (producer, event) = (producer(&brokers)?, usage("acme")?);
    while let Err(error) = publish(&producer, &topic, &event).await {
        eprintln!("not acknowledged, sent again: {error}");
    }
    Ok(())
}
