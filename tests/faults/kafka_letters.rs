//! A dead-letter topic that cannot be written: its partition stands still, loudly, and goes on by itself when the topic is mended.

use super::kafka::{Sent, noted, set_topic, small, wait_for_received};
use super::outcome;
use super::quick::wait_for_log;
use super::servers::{ClickHouse, Farebox, Instance, Kafka, SOON, eventually};

#[allow(clippy::float_cmp)] // whole numbers
fn wait_for_stopped(instance: &mut Instance, partitions: f64) {
    eventually(SOON, || {
        assert!(instance.process.ended().is_none(), "{}", instance.process.log());
        match instance.metric("farebox_partitions_stopped", &[]) {
            Some(seen) if seen == partitions => Ok(()),
            seen => Err(format!("{seen:?}\n{}", instance.process.log())),
        }
    });
}

fn letters(kafka: &Kafka, farebox: &Farebox) -> usize {
    let places = (0..2).flat_map(|partition| kafka.client.read(&farebox.dead_letter_topic, partition)).map(|letter| {
        let header = |name| super::scenario::header(&letter, name);
        (header("farebox.partition"), header("farebox.offset"))
    });
    places.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_dead_letter_topic_that_takes_not_even_a_place_is_waited_for_by_whoever_owns_the_partition() {
    const PROPERTY: &str = "max.message.bytes";
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = small(kafka.brokers(), &clickhouse.url(), 2);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    kafka.client.produce(&farebox.topic, &[sent.messages(0, 50), sent.bad(0, 2), sent.messages(1, 50)].concat());
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);

    set_topic(&kafka.client, &farebox.dead_letter_topic, PROPERTY, "100");
    let before = sent.received();
    kafka.client.produce(&farebox.topic, &[sent.messages(0, 50), sent.bad(0, 2), sent.messages(0, 50)].concat());
    wait_for_stopped(&mut instance, 1.0);
    wait_for_log(&mut instance, "partition stopped until its rejected events can be kept");
    assert_eq!(instance.metric("farebox_guards_tripped_total", &["kind=\"dead_letter\""]), Some(1.0));
    // The other partition does not stand still for it.
    sent.send(&kafka.client, &farebox.topic, 1, 50);
    wait_for_received(clickhouse, &farebox, &mut [&mut instance], before + 50);
    instance.process.kill9();
    let mut instance = farebox.start();
    wait_for_stopped(&mut instance, 1.0);

    set_topic(&kafka.client, &farebox.dead_letter_topic, PROPERTY, "1048588");
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    wait_for_stopped(&mut instance, 0.0);
    assert_eq!(letters(kafka, &farebox), 4);
    assert_eq!(clickhouse.query(&format!("SELECT count() FROM {}.stops", farebox.database)), "0\n", "it is not remembered");
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("dead-letter topic takes nothing, kill -9 meanwhile", 2, &noted(numbers, "went on by itself"));
}
