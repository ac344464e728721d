//! The end of an instance: in order, so that the next one has nothing to do again; and crashed in the middle of it.

use std::os::unix::process::ExitStatusExt as _;
use std::thread;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::bench::Bench;
use super::outcome;
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually};

const PARTITIONS: i32 = 4;

#[test]
fn a_stop_under_load_is_quick_and_leaves_nothing_to_do_again() {
    const STOPS: u64 = 3;
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let bench = Bench::new(kafka.brokers(), clickhouse, PARTITIONS);
    let farebox = &bench.scenario.farebox;
    let mut instances = [bench.start()];
    let mut slowest = Duration::ZERO;
    bench.under_load(|| {
        for _ in 0..STOPS {
            bench.scenario.wait_for_more(clickhouse, 200);
            let began = Instant::now();
            assert_eq!(instances[0].stop().code(), Some(0), "{}", instances[0].process.log());
            slowest = slowest.max(began.elapsed());
            for partition in 0..PARTITIONS {
                let sql = format!("SELECT max(offset_to) FROM {}.batches WHERE partition = {partition}", farebox.database);
                let end: i64 = clickhouse.query(&sql).trim().parse().unwrap();
                let committed = kafka
                    .client
                    .committed(&farebox.group, &farebox.topic, partition)
                    .map(|committed| (committed.offset, committed.metadata));
                // No promise stands, and the group's offset is where the tables end.
                assert_eq!(committed, Some((end, String::new())), "{partition}: {}", instances[0].process.log());
            }
            instances[0] = bench.start();
            bench.scenario.wait_for_more(clickhouse, 200);
            // Some partitions may be metered before the others are decided.
            let log = eventually(SOON, || {
                let log = instances[0].process.log();
                if log.matches("decision=").count() >= 4 { Ok(log) } else { Err(log) }
            });
            let mut decisions = log.lines().filter_map(|line| line.split_once("decision=")).map(|(_, said)| said);
            assert!(decisions.all(|said| said.starts_with("Start {") && said.contains("rewound: false")), "{log}");
        }
    });
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    let totals = bench.finish(clickhouse, &mut instances);
    let note = format!("slowest exit {:.1} s; the next owner had nothing to form again", slowest.as_secs_f64());
    outcome::record("SIGTERM under load", STOPS, &(&totals, note.as_str()));
}

#[test]
fn a_crash_in_the_middle_of_a_stop_loses_and_doubles_nothing() {
    const CRASHES: u64 = 6;
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, PARTITIONS);
    let mut random = Pcg64::seed_from_u64(bench.seed);
    let mut instances = [bench.start()];
    let mut crashed = 0;
    bench.under_load(|| {
        for crash in 0..CRASHES {
            bench.scenario.wait_for_more(clickhouse, 100);
            instances[0].process.sigterm();
            thread::sleep(Duration::from_millis(random.random_range(0..150)));
            let signal = ["SEGV", "KILL", "ABRT"][crash as usize % 3];
            crashed += u64::from(die(&mut instances[0], signal));
            instances[0] = bench.scenario.farebox.start();
        }
    });
    assert!(crashed >= CRASHES / 2, "only {crashed} of {CRASHES} died before they had ended");
    let totals = bench.finish(clickhouse, &mut instances);
    let note = format!("SIGTERM, then SIGSEGV, SIGKILL or SIGABRT within 0.15 s; {crashed} died of it");
    outcome::record("crash in the middle of a stop", CRASHES, &(&totals, note.as_str()));
}

/// Whether it died of the signal; it may have ended in order before.
fn die(instance: &mut Instance, signal: &str) -> bool {
    instance.process.signal(signal);
    // Rust's handler takes the first fault for a stack that may have overflown, and gives the second to the system.
    instance.process.signal(signal);
    instance.process.wait(SOON).signal().is_some()
}
