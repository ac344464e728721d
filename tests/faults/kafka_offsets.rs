//! The group's offsets in other hands: moved back, moved on, deleted, committed by strangers. The tables know where to read on;
//! what they contradict stops a partition, and only that one.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;

use super::kafka::{
    Sent, alarms, commit_once, delete_group, recover, small, small_with_a_slash, stranger, wait_for_stop, wait_until_empty,
};
use super::outcome;
use super::proxy::{Do, Proxy, When};
use super::servers::{ClickHouse, Kafka, SOON, eventually};

#[test]
fn an_offset_that_was_moved_back_by_hand_is_alarmed_and_read_on_where_the_tables_end() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 3);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));

    kafka.commit(&farebox.group, &farebox.topic, 0, 0, "");
    kafka.commit(&farebox.group, &farebox.topic, 1, 99, "");
    (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 50));
    let mut instance = farebox.start();
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(alarms(&instance, "rewound"), Some(2.0), "{}", instance.process.log());
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("group offset set back by hand", 2, &numbers);
}

#[test]
fn an_offset_that_was_moved_on_by_hand_stops_its_partition_alone_until_it_is_mended() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 3);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));

    (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 50));
    kafka.commit(&farebox.group, &farebox.topic, 0, 120, "");
    kafka.commit(&farebox.group, &farebox.topic, 1, 5_000, "");
    let mut instance = farebox.start();
    wait_for_stop(clickhouse, &farebox, &mut instance, 0, "foreign_commit");
    // An offset that no record has can also mean that the log was shorter once: what is seen is that it ends too early.
    wait_for_stop(clickhouse, &farebox, &mut instance, 1, "truncated");
    super::kafka::wait_for_received(clickhouse, &farebox, &mut [&mut instance], 350);
    assert_eq!(instance.stop().code(), Some(0));
    // It stands although the evidence of one has gone: a stop is a person's to take back.
    kafka.commit(&farebox.group, &farebox.topic, 1, 100, "");
    let mut instance = farebox.start();
    eventually(SOON, || match instance.metric("farebox_partitions_stopped", &[]) {
        Some(2.0) => Ok(()),
        seen => Err(format!("{seen:?}\n{}", instance.process.log())),
    });
    assert_eq!(instance.stop().code(), Some(0));
    recover(kafka, &farebox);
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("group offset set forward by hand", 2, &numbers);
}

#[test]
fn a_group_whose_offsets_were_deleted_reads_on_where_the_tables_end() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let farebox = small_with_a_slash(kafka, &proxy.url());
    let mut sent = Sent::default();
    // With nothing promised, with a promise of which nothing is written, and with one that is written in part.
    for (round, held) in [(0, None), (1, Some("usage_log")), (2, Some("usage_hourly")), (3, Some("batches"))] {
        let mut instance = farebox.start();
        sent.send(kafka, &farebox.topic, 0, 100);
        sent.wait(clickhouse, &farebox, &mut [&mut instance]);
        match held {
            None => assert_eq!(instance.stop().code(), Some(0)),
            Some(table) => {
                let rule = proxy.on(When::insert(table), Do::HoldRequest);
                sent.send(kafka, &farebox.topic, 0, 100);
                rule.wait_until_held();
                instance.process.kill9();
                rule.cut();
                proxy.clear();
            }
        }
        wait_until_empty(kafka, &farebox.group);
        delete_group(kafka, &farebox.group);
        assert_eq!(kafka.committed(&farebox.group, &farebox.topic, 0), None);
        let mut instance = farebox.start();
        sent.send(kafka, &farebox.topic, 0, 100);
        sent.wait(clickhouse, &farebox, &mut [&mut instance]);
        let lost_intents = if round >= 2 { 1.0 } else { 0.0 };
        assert_eq!(alarms(&instance, "intent_lost"), Some(lost_intents), "{held:?}\n{}", instance.process.log());
        assert_eq!(instance.stop().code(), Some(0));
        wait_until_empty(kafka, &farebox.group);
    }
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("group offsets deleted", 4, &numbers);
}

#[test]
fn a_stranger_in_the_group_is_refused_or_stops_the_partition_that_it_moved() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 2);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100));
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);

    // A process that never joined: the broker takes its commits into an empty group only.
    let outsider = stranger(kafka, &farebox.group);
    let refused = eventually(SOON, || match commit_once(&outsider, &farebox.topic, 0, 7) {
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownMemberId) => Ok(error),
        // The coordinator was not found yet.
        other => Err(format!("{other:?}")),
    });
    assert!(refused.to_string().contains("Unknown member"), "{refused}");

    // Another program in our group, with our topic: it gets a partition, skips ahead in it and goes.
    let insider = stranger(kafka, &farebox.group);
    insider.subscribe(&[&farebox.topic]).unwrap();
    let taken = eventually(SOON, || {
        let _ = insider.poll(Duration::from_millis(50));
        let assignment = insider.assignment().unwrap();
        let elements = assignment.elements();
        if elements.len() == 1 { Ok(elements[0].partition()) } else { Err(format!("it has {} partitions", elements.len())) }
    });
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100));
    commit_once(&insider, &farebox.topic, taken, 150).unwrap();
    insider.unsubscribe();
    drop(insider);
    wait_for_stop(clickhouse, &farebox, &mut instance, taken, "foreign_commit");
    super::kafka::wait_for_received(clickhouse, &farebox, &mut [&mut instance], 300);
    assert_eq!(instance.stop().code(), Some(0));

    // Into the empty group, with words of its own beside the offset.
    recover(kafka, &farebox);
    kafka.commit(&farebox.group, &farebox.topic, 1 - taken, 200, "somebody else's bookmark");
    let mut instance = farebox.start();
    let reason = wait_for_stop(clickhouse, &farebox, &mut instance, 1 - taken, "foreign_commit");
    assert!(reason.contains("bookmark"), "{reason}");
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("commits by a stranger", 3, &numbers);
}
