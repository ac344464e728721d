//! The topic itself in other hands: deleted and created again, or given more partitions.

use super::kafka::{Sent, grow_topic, noted, small, wait_for_stop, wait_until_empty};
use super::outcome;
use super::quick::{event, wait_for_log};
use super::servers::{ClickHouse, Client, Farebox, Kafka, Message};

fn recreate(kafka: &Client, farebox: &Farebox, partitions: i32) {
    kafka.delete_topic(&farebox.topic);
    kafka.create_topic(&farebox.topic, partitions, &[("message.timestamp.type", "LogAppendTime")]);
}

const WENT_ON: &str = "stop `recreated`; went on after `recover --new-epoch`";

fn begin_again(kafka: &Client, farebox: &Farebox) {
    wait_until_empty(kafka, &farebox.group);
    farebox.run(&["recover", "--new-epoch", "--yes"]).expect_success();
}

#[test]
fn a_topic_recreated_under_a_running_consumer_stops_every_partition_and_mixes_nothing() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 3);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100));
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);

    recreate(kafka, &farebox, 3);
    // Longer than the first life, so that the old position is a good one; shorter; and just as long.
    let mut later = sent.next_life();
    later.send(kafka, &farebox.topic, 0, 250);
    later.send(kafka, &farebox.topic, 1, 20);
    later.send(kafka, &farebox.topic, 2, 100);
    for partition in 0..2 {
        wait_for_stop(clickhouse, &farebox, &mut instance, partition, "recreated");
    }
    later.send(kafka, &farebox.topic, 2, 1);
    wait_for_stop(clickhouse, &farebox, &mut instance, 2, "recreated");
    assert_eq!(instance.stop().code(), Some(0));
    let mut instance = farebox.start();
    wait_for_log(&mut instance, "not recovered since");
    assert_eq!(instance.stop().code(), Some(0));
    sent.assert_metered(clickhouse, &farebox, 0);
    begin_again(kafka, &farebox);
    sent.join(later);
    sent.meter(clickhouse, &farebox, |sent| (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 10)));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("topic recreated under a running consumer", 3, &noted(numbers, WENT_ON));
}

#[test]
fn a_topic_recreated_while_farebox_was_down_or_in_a_promise_stops_every_partition() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = super::proxy::Proxy::http(clickhouse.port());
    let farebox = small(&kafka.brokers, &proxy.url(), 3);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    // Partition 2 was never written to in the first life.
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100));
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    // A promise stands in partition 0 and nothing of it is written.
    let rule = proxy.on(super::proxy::When::insert("usage_log"), super::proxy::Do::HoldRequest);
    kafka.produce(&farebox.topic, &[Message { partition: Some(0), ..event("acme", "never-metered") }]);
    rule.wait_until_held();
    instance.process.kill9();
    rule.cut();
    proxy.clear();

    recreate(kafka, &farebox, 3);
    let mut later = sent.next_life();
    (0..3).for_each(|partition| later.send(kafka, &farebox.topic, partition, 150));
    let mut instance = farebox.start();
    for partition in 0..3 {
        wait_for_stop(clickhouse, &farebox, &mut instance, partition, "recreated");
    }
    assert_eq!(instance.stop().code(), Some(0));
    sent.assert_metered(clickhouse, &farebox, 0);
    begin_again(kafka, &farebox);
    sent.join(later);
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("topic recreated while farebox was down", 3, &noted(numbers, WENT_ON));
}

#[test]
fn partitions_added_under_a_running_group_are_read_from_their_start() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let mut farebox = small(&kafka.brokers, &clickhouse.url(), 1);
    // By default a client looks every five minutes whether there are more partitions.
    farebox.set("kafka.properties", toml::Table::from_iter([("topic.metadata.refresh.interval.ms".to_owned(), "1000".into())]));
    let mut sent = Sent::default();
    let mut instances = [farebox.start(), farebox.start()];
    let [first, second] = &mut instances;
    sent.send(kafka, &farebox.topic, 0, 200);
    sent.wait(clickhouse, &farebox, &mut [first, second]);
    for partitions in [3, 5] {
        grow_topic(kafka, &farebox.topic, partitions);
        let partitions = i32::try_from(partitions).unwrap();
        kafka.create_topic(&farebox.topic, partitions, &[]); // it is there: this waits for the leaders
        // Most of it before anybody reads there.
        (0..partitions).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 200));
        sent.wait(clickhouse, &farebox, &mut [first, second]);
    }
    // Both ends of a life of a new partition: killed while it is read, and stopped in order.
    (0..5).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 200));
    first.process.kill9();
    sent.wait(clickhouse, &farebox, &mut [second]);
    assert_eq!(second.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("topic given more partitions", 2, &numbers);
}
