//! How soon after `kill -9` new events are metered again, with the default settings.

use std::thread;
use std::time::{Duration, Instant};

use super::kafka::Sent;
use super::outcome::{self, Numbers};
use super::servers::{ClickHouse, Farebox, Instance, Kafka, SOON, eventually};

/// What the product promises is 12 s; a busy machine gets more.
const DEADLINE: Duration = Duration::from_secs(25);
const PARTITIONS: i32 = 3;

/// The time from the kill until an event that was sent after it is in the tables, in the slowest partition.
fn measure(with_another: bool) -> (Duration, Numbers) {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = Farebox::new(kafka.brokers(), &clickhouse.url());
    farebox.set("kafka.session_timeout", "10s").set("kafka.partitions", PARTITIONS);
    farebox.run(&["migrate"]).expect_success();
    let mut sent = Sent::default();
    let mut instances: Vec<Instance> = (0..=usize::from(with_another)).map(|_| farebox.start()).collect();
    instances.iter_mut().for_each(Instance::wait_until_ready);
    eventually(SOON, || {
        let shares: Vec<i64> = instances.iter().map(super::scenario::assigned).collect();
        if !shares.contains(&0) && shares.iter().sum::<i64>() == i64::from(PARTITIONS) {
            Ok(())
        } else {
            Err(format!("{shares:?}"))
        }
    });
    (0..PARTITIONS).for_each(|partition| sent.send(&kafka.client, &farebox.topic, partition, 500));
    sent.wait(clickhouse, &farebox, &mut instances.iter_mut().collect::<Vec<_>>());

    // Some are under way when it dies.
    (0..PARTITIONS).for_each(|partition| sent.send(&kafka.client, &farebox.topic, partition, 500));
    instances[0].process.kill9();
    let died = Instant::now();
    if !with_another {
        instances[0] = farebox.start();
    }
    (0..PARTITIONS).for_each(|partition| sent.send(&kafka.client, &farebox.topic, partition, 1));
    let mut living: Vec<&mut Instance> = instances.iter_mut().skip(usize::from(with_another)).collect();
    sent.wait(clickhouse, &farebox, &mut living);
    let took = died.elapsed();
    for instance in living {
        assert_eq!(instance.stop().code(), Some(0));
    }
    (took, sent.assert_metered(clickhouse, &farebox, 0))
}

#[test]
fn after_a_kill_new_events_are_metered_within_seconds() {
    let measured: Vec<(bool, Duration, Numbers)> = thread::scope(|scope| {
        let running: Vec<_> = [false, true, false, true]
            .into_iter()
            .map(|with_another| scope.spawn(move || (with_another, measure(with_another))))
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).map(|(with, (took, numbers))| (with, took, numbers)).collect()
    });
    for with_another in [false, true] {
        let times: Vec<f64> = measured.iter().filter(|one| one.0 == with_another).map(|one| one.1.as_secs_f64()).collect();
        let slowest = times.iter().copied().fold(0.0, f64::max);
        println!("with another instance: {with_another}, {times:.1?} s");
        assert!(slowest < DEADLINE.as_secs_f64(), "{times:?}");
        let records = measured.iter().filter(|one| one.0 == with_another).map(|one| one.2.records).sum();
        let who = if with_another { "another instance takes over" } else { "restarted at once" };
        let note = format!("next new event of every partition metered after {slowest:.1} s (default settings)");
        outcome::record(&format!("kill -9, {who}"), times.len() as u64, &Numbers { records, note, ..Numbers::default() });
    }
}
