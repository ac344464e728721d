//! A transactional producer: aborted records are nobody's usage, open ones not yet, and the offsets of both are accounted for.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::kafka::{Sent, alarms, config, noted, small, wait_until_empty};
use super::outcome;
use super::proxy::{Do, Proxy, When};
use super::quick::event;
use super::servers::{ClickHouse, Client, Farebox, Instance, Kafka, Message, SOON, eventually, unique};

struct Transactions {
    producer: BaseProducer,
    topic: String,
}

impl Transactions {
    fn new(kafka: &Client, topic: &str) -> Self {
        let mut config: ClientConfig = config(kafka);
        let producer: BaseProducer = config.set("transactional.id", unique("writer")).set("linger.ms", "0").create().unwrap();
        producer.init_transactions(SOON).unwrap();
        Self { producer, topic: topic.to_owned() }
    }

    /// Leaves it open.
    fn begin(&self, messages: &[Message]) {
        self.producer.begin_transaction().unwrap();
        for message in messages {
            let (key, value) = (message.key.as_ref().unwrap(), message.value.as_ref().unwrap());
            let record = BaseRecord::to(&self.topic).partition(message.partition.unwrap()).key(key).payload(value);
            self.producer.send(record).unwrap();
        }
        self.producer.flush(SOON).unwrap();
    }

    fn commit(&self, messages: &[Message]) {
        self.begin(messages);
        self.producer.commit_transaction(SOON).unwrap();
    }

    fn abort(&self, count: usize) {
        self.begin(&unwanted(count));
        self.producer.abort_transaction(SOON).unwrap();
    }
}

fn unwanted(count: usize) -> Vec<Message> {
    (0..count).map(|n| Message { partition: Some(0), ..event("acme", &format!("unwanted-{n}")) }).collect()
}

fn reached(clickhouse: &ClickHouse, farebox: &Farebox) -> i64 {
    clickhouse.query(&format!("SELECT max(offset_to) FROM {}.batches", farebox.database)).trim().parse().unwrap()
}

/// Waits until the tables reach the log's end, markers included.
fn wait_for_the_end(kafka: &Client, clickhouse: &ClickHouse, farebox: &Farebox, instance: &Instance) -> i64 {
    // The last marker may come a moment after its transaction's end.
    eventually(SOON, || match (reached(clickhouse, farebox), kafka.offsets(&farebox.topic, 0).1) {
        (seen, end) if seen == end => Ok(end),
        (seen, end) => Err(format!("{seen} of {end}\n{}", instance.process.log())),
    })
}

#[test]
fn aborted_records_and_markers_are_passed_and_counted_as_nothing() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let farebox = small(&kafka.brokers, &proxy.url(), 1);
    let mut sent = Sent::default();
    let transactions = Transactions::new(kafka, &farebox.topic);
    // The log begins with aborted records, and ends with them.
    transactions.abort(30);
    transactions.commit(&sent.messages(0, 50));
    transactions.abort(20);
    transactions.commit(&sent.messages(0, 50));
    transactions.abort(40);
    let mut instance = farebox.start();
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    wait_for_the_end(kafka, clickhouse, &farebox, &instance);

    // Aborted records between others in a batch that is formed twice: it must be the same batch.
    let rule = proxy.on(When::insert("session_users"), Do::HoldRequest);
    transactions.abort(10);
    transactions.commit(&sent.messages(0, 25));
    transactions.abort(10);
    transactions.commit(&sent.messages(0, 25));
    transactions.abort(10);
    rule.wait_until_held();
    instance.process.kill9();
    rule.cut();
    proxy.clear();
    let mut instance = farebox.start();
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    let end = wait_for_the_end(kafka, clickhouse, &farebox, &instance);
    assert_eq!(instance.stop().code(), Some(0));

    // Retention eats all of it, the aborted records at the end too: nobody missed anything.
    kafka.trim(&farebox.topic, 0, end);
    wait_until_empty(kafka, &farebox.group);
    let mut instance = farebox.start();
    transactions.commit(&sent.messages(0, 10));
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(alarms(&instance, "gap"), Some(0.0), "{}", instance.process.log());
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("aborted transactions and markers", 6, &noted(numbers, "120 aborted records metered nowhere"));
}

#[test]
fn an_open_transaction_is_not_passed_and_not_read_before_it_is_committed() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 1);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    let open = Transactions::new(kafka, &farebox.topic);
    let other = Transactions::new(kafka, &farebox.topic);
    other.commit(&sent.messages(0, 50));
    let before = 51;
    eventually(SOON, || match kafka.offsets(&farebox.topic, 0).1 {
        end if end == before => Ok(()), // with the marker
        end => Err(format!("the log ends at {end}")),
    });
    open.begin(&sent.messages(0, 30));
    // Committed behind the open one: it waits behind it. Long enough for whoever would take the log's silence for its end.
    other.commit(&sent.messages(0, 20));
    eventually(SOON, || match reached(clickhouse, &farebox) {
        seen if seen == before => Ok(()),
        seen => Err(format!("{seen} of {before}\n{}", instance.process.log())),
    });
    let committed = || kafka.committed(&farebox.group, &farebox.topic, 0).map(|committed| (committed.offset, committed.metadata));
    eventually(SOON, || match committed() {
        Some((offset, empty)) if offset == before && empty.is_empty() => Ok(()), // it took the silence for idleness
        seen => Err(format!("{seen:?}\n{}", instance.process.log())),
    });
    assert_eq!(reached(clickhouse, &farebox), before);
    open.producer.commit_transaction(SOON).unwrap();
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("a transaction that stays open", 1, &numbers);
}
