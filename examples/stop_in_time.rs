//! An agent that stops in time: it knows the balance of its account, and starts no work when nothing is left.
//! `cargo run --example stop_in_time -- 127.0.0.1:9092 farebox.balances acme`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

/// What farebox says of one account.
pub struct Balance {
    consumer: BaseConsumer,
    account: String,
    status: Option<String>,
}

impl Balance {
    /// Reads the topic from its start: it is compacted, and holds the newest balance of each account.
    pub fn follow(brokers: &str, topic: &str, account: &str) -> anyhow::Result<Self> {
        // A consumer that commits nothing and balances nothing needs a group's name all the same.
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "unused").create()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let mut from = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            from.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&from)?;
        Ok(Self { consumer, account: account.to_owned(), status: None })
    }

    /// Takes what is new, for at most so long. Call it before each piece of work.
    pub fn update(&mut self, at_most: Duration) -> anyhow::Result<()> {
        let mut wait = at_most;
        while let Some(message) = self.consumer.poll(wait) {
            let message = message?;
            if message.key() == Some(self.account.as_bytes()) {
                let value: Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
                self.status = value["status"].as_str().map(str::to_owned);
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Whether to go on. An account of which nothing is known yet has used nothing.
    pub fn has_credits(&self) -> bool {
        self.status.as_deref() != Some("exhausted")
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (brokers, topic, account) = (next("127.0.0.1:9092"), next("farebox.balances"), next("acme"));
    let mut balance = Balance::follow(&brokers, &topic, &account)?;
    balance.update(Duration::from_secs(5))?;
    while balance.has_credits() {
        println!("working"); // one piece of work, and the event that says what it used
        balance.update(Duration::from_secs(1))?;
    }
    println!("`{account}` has no credits left");
    Ok(())
}
