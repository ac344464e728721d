//! A producer's retry is a duplicate, whatever became of farebox between the two.

use super::outcome::{self, Numbers};
use super::quick::{event_at, quick, wait_for_received};
use super::scenario::now_ms;
use super::servers::{ClickHouse, Kafka, Message};
use farebox::model::Timestamp;

const EVENTS: u64 = 400;

#[test]
fn a_retry_is_a_duplicate_though_farebox_was_killed_meanwhile() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let time = Timestamp::from_millis(now_ms());
    let events = |from: u64| -> Vec<Message> { (from..from + EVENTS).map(|n| event_at("acme", &format!("e{n}"), time)).collect() };
    // The same id with another content: set aside, also when its first occurrence was read by an instance that is dead.
    let changed = |n: u64| event_at("acme", &format!("e{n}"), time.plus_millis(-1));
    let (topic, database) = (&farebox.topic, &farebox.database);
    let produce = |messages: &[Message]| kafka.client.produce(topic, messages);
    let mut received = 0;
    let mut expect = |records: u64| {
        received += records;
        received
    };

    let mut instance = farebox.start();
    produce(&events(0));
    wait_for_received(clickhouse, &mut instance, database, expect(EVENTS));
    // Killed behind a batch: the promise is kept, and says where the window begins.
    instance.process.kill9();
    produce(&events(0));
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, database, expect(EVENTS));
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (EVENTS, EVENTS, 0));

    // Killed while new events come in, at a moment of its own choosing: some are written, some promised, some neither.
    produce(&events(EVENTS));
    instance.process.kill9();
    produce(&events(EVENTS));
    produce(&[changed(0), changed(EVENTS)]);
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, database, expect(2 * EVENTS + 2));
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (2 * EVENTS, 2 * EVENTS, 2));

    // Ended in order: no promise stands, so the broker is asked where the window begins.
    assert_eq!(instance.stop().code(), Some(0));
    produce(&events(0));
    produce(&[changed(1)]);
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, database, expect(EVENTS + 1));
    // The first event's last occurrence is the changed one.
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (2 * EVENTS, 3 * EVENTS - 1, 4));

    // Killed once more, with retries of the second half under way.
    produce(&events(EVENTS)[1..]);
    instance.process.kill9();
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, database, expect(EVENTS - 1));
    assert_eq!((seen.accepted, seen.rejected), (2 * EVENTS, 4));
    assert_eq!(instance.stop().code(), Some(0));
    let note = format!("{} retries recognised, 4 changed ones set aside", seen.duplicates);
    outcome::record("kill -9 between an event and its retry", 3, &Numbers { records: seen.received, note, ..Numbers::default() });
}
