//! The whole way, with real servers and real processes: what the views say is what a naive fold of the same log says, to the
//! last digit, however often an instance, Kafka or ClickHouse is killed on the way.
//!
//!
//! `SIM_SEED=n` replays the choices of a run (which instance, after how long); the moments of the machine cannot be replayed.

use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::odd::odd_records;
use super::oracle;
use super::scenario::{Scenario, outlive_the_session, seed, summarise, while_events_come};
use super::servers::{ClickHouse, Kafka};

#[test]
fn every_view_equals_a_naive_fold_of_the_log() {
    let scenario = Scenario::new(Kafka::shared().brokers(), ClickHouse::shared());
    let mut instances = scenario.two_instances();
    scenario.produce(50_000, 7, 0);
    scenario.kafka.produce(&scenario.farebox.topic, &odd_records());
    scenario.produce(50_000, 8, 0);
    let totals = scenario.check(ClickHouse::shared(), &mut instances);

    let sum = |of: fn(&oracle::Partition) -> u64| totals.partitions.values().map(of).sum::<u64>();
    assert!(sum(|partition| partition.received) > 100_000);
    assert!(sum(|partition| partition.duplicates) > 1_000);
    for reason in ["malformed", "too_large", "missing_field", "bad_value", "time_out_of_range", "id_conflict"] {
        assert!(totals.letters.values().any(|letter| letter.reason == reason), "no record was rejected as {reason}");
    }
    for mut instance in instances {
        assert!(instance.stop().success(), "{}", instance.process.log());
    }
    scenario.compare(ClickHouse::shared(), &totals, &[]);
}
#[test]
fn no_kill_of_an_instance_changes_a_digit() {
    let scenario = Scenario::new(Kafka::shared().brokers(), ClickHouse::shared());
    let mut instances = scenario.two_instances();
    let seed = seed();
    let mut random = Pcg64::seed_from_u64(seed);
    let mut said = String::new();
    while_events_come(&scenario, 25, seed * 1_000, || {
        for kill in 0..10 {
            scenario.wait_for_more(ClickHouse::shared(), 500);
            // A random moment is the point here; nothing relies on what has happened by then.
            thread::sleep(Duration::from_millis(random.random_range(0..700)));
            let victim = random.random_range(0..2);
            instances[victim].process.kill9();
            said += &instances[victim].process.log();
            instances[victim] = scenario.farebox.start();
            if kill == 5 {
                outlive_the_session(&mut instances, random.random_range(0..2));
            }
        }
    });
    let totals = scenario.check(ClickHouse::shared(), &mut instances);
    // Ids came again within the window and beyond it, so that a window that was not rebuilt as it stood would show.
    let repeated = totals.partitions.values().map(|partition| partition.duplicates).sum::<u64>();
    let mut ids: Vec<Vec<&str>> = totals.logged.values().map(|line| line.split('\t').skip(2).take(2).collect()).collect();
    let accepted = ids.len();
    ids.sort();
    ids.dedup();
    assert!(repeated > 0 && ids.len() < accepted, "{repeated} duplicates, {} ids in {accepted} events", ids.len());
    instances.iter().for_each(|instance| said += &instance.process.log());
    summarise(&said);
}
#[test]
fn no_kill_of_a_server_changes_a_digit() {
    let (mut kafka, mut clickhouse) = (Kafka::start(), ClickHouse::start());
    let scenario = Scenario::new(kafka.brokers(), &clickhouse);
    let mut instances = scenario.two_instances();
    let seed = seed();
    let mut random = Pcg64::seed_from_u64(seed);
    while_events_come(&scenario, 8, seed * 1_000, || {
        for _ in 0..2 {
            let mut moment = || thread::sleep(Duration::from_millis(random.random_range(0..1_500)));
            scenario.wait_for_more(&clickhouse, 500);
            moment();
            clickhouse.kill9();
            moment();
            clickhouse.restart();
            scenario.wait_for_more(&clickhouse, 500);
            moment();
            kafka.kill9();
            moment();
            kafka.restart();
        }
    });
    scenario.check(&clickhouse, &mut instances);
    summarise(&instances.iter().map(|instance| instance.process.log()).collect::<String>());
}
