//! The group member against a real broker.

use std::time::{Duration, Instant};

use farebox::source::kafka::{Handle, Place, Polled, Rebalance};
use rdkafka::ClientConfig;

use super::servers::{Client, Kafka, Message, SOON, unique};

/// A member of a group of its own that owns the only partition and has it assigned from the start.
fn member(client: &Client, topic: &str) -> Handle {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &client.brokers)
        .set("group.id", unique("group"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "10");
    let handle = Handle::new(&config, topic, Box::new(Vec::new)).unwrap();
    let deadline = Instant::now() + SOON;
    while handle.poll(1, Duration::from_millis(20), |_| {}) != [Rebalance::Assigned(vec![0])] {
        assert!(Instant::now() < deadline, "no assignment");
    }
    handle.assign(&[Place::at(0, 0)]).unwrap();
    handle
}

/// The offsets of the records up to the next end of the partition.
fn up_to_the_end(handle: &Handle) -> Vec<i64> {
    let (mut offsets, mut end) = (Vec::new(), None);
    let deadline = Instant::now() + SOON;
    while end.is_none() {
        assert!(Instant::now() < deadline, "no end after {offsets:?}");
        handle.poll(100, Duration::from_millis(20), |polled| match polled {
            Polled::Record(_, record) => offsets.push(record.offset),
            Polled::End(_, offset) => end = Some(offset),
            Polled::Failed(_, error) => panic!("{error}"),
        });
    }
    offsets
}

#[test]
fn a_partition_that_was_paused_at_its_end_goes_on_with_the_very_next_record() {
    let client = &Kafka::shared().client;
    let topic = unique("paused");
    client.create_topic(&topic, 1, &[]);
    let produce = |range: std::ops::Range<i32>| {
        client.produce(&topic, &range.map(|n| Message::new("k", n.to_string())).collect::<Vec<_>>());
    };
    produce(0..3);
    let handle = member(client, &topic);
    assert_eq!(up_to_the_end(&handle), [0, 1, 2]);

    handle.pause(0, 3).unwrap();
    produce(3..6);
    handle.resume(&[0]).unwrap();
    assert_eq!(up_to_the_end(&handle), [3, 4, 5]);
    handle.close();
}
