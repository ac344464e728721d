//! An outage of ClickHouse under full load: memory stays flat, the group stays, and afterwards everything is there once.

use std::time::{Duration, Instant};

use super::odd::odd_records;
use super::oracle::{self, Rules};
use super::outcome::{self, Numbers};
use super::scenario::{PARTITIONS, Scenario, logs, seed};
use super::servers::process::{resident, resident_max};
use super::servers::{ClickHouse, Instance, Kafka, eventually};

/// What docs/memory.md promises for six partitions with the default settings.
const BOUND: u64 = 512 << 20;
const ROUND: u32 = 60_000;
const ROUNDS_MAX: u64 = 60;
const WINDOW_MS: i64 = 15 * 60 * 1000;

/// The default settings, but for a session that ends sooner: a heartbeat that is missed shows at once.
fn defaults(scenario: &mut Scenario) {
    let settings = [("batch.max_age", "1s"), ("dedupe.window", "15m"), ("clickhouse.insert_timeout", "60s")];
    for (key, value) in settings {
        scenario.farebox.set(key, value);
    }
    scenario.farebox.set("clickhouse.inserts_per_second_max", 8).set("clickhouse.query_timeout", "30s");
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// What is held of batches and of records that are in none yet, and how many records are known to wait in Kafka. While records come and
/// none of this moves, every partition is paused.
fn standing(instance: &Instance) -> [u64; 3] {
    let held = |what: &str| instance.metric("farebox_memory_bytes", &[&format!("held_for=\"{what}\"")]);
    [held("batches"), held("records"), instance.metric("farebox_consumer_lag_records", &[])].map(|value| value.unwrap() as u64)
}

/// How long the outage lasts beside what it takes to fill the buffers: nothing, or what `OUTAGE_SECONDS` says.
fn outage() -> Duration {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[test]
fn memory_stays_flat_while_clickhouse_is_away_and_everything_is_there_afterwards() {
    let (kafka, mut clickhouse) = (Kafka::start(), ClickHouse::start());
    let seed = seed();
    let mut scenario = Scenario::new(kafka.brokers(), &clickhouse);
    defaults(&mut scenario);
    let mut instance = scenario.farebox.start();
    instance.wait_until_ready();
    scenario.produce(ROUND, seed, 0);
    scenario.kafka.produce(&scenario.farebox.topic, &odd_records());
    // Some of it is written, so that windows and names are there; how much of it was written while it was produced does not matter.
    scenario.wait_for_written(&clickhouse, u64::from(ROUND) / 2);
    let pid = instance.process.pid();
    let before = resident(pid).unwrap();

    clickhouse.kill9();
    let (began, lasts) = (Instant::now(), outage());
    let (mut produced, mut full, mut last) = (ROUND, None, [0; 3]);
    for round in 1.. {
        // Once the buffers are full, a round more; and, for as long as the outage is to last, at a rate.
        let rate = if full.is_some() && !lasts.is_zero() { 5_000 } else { 0 };
        scenario.produce(ROUND, seed + round, rate);
        produced += ROUND;
        assert!(instance.process.ended().is_none(), "{}", instance.process.log());
        assert!(resident_max(pid).unwrap() < BOUND, "{} MiB after {produced} records", mebibytes(resident_max(pid).unwrap()));
        let now = standing(&instance);
        println!("{now:?}, resident {} MiB", mebibytes(resident(pid).unwrap()));
        if full.is_none() && now == last {
            full = Some(round);
        }
        last = now;
        match full {
            Some(full) if round > full && began.elapsed() >= lasts => break,
            None => assert!(round < ROUNDS_MAX, "the buffers do not fill\n{}", instance.process.log()),
            Some(_) => {}
        }
    }
    assert_eq!(standing(&instance), last, "something is taken from Kafka although nothing can be written");
    let during = resident_max(pid).unwrap();

    clickhouse.restart();
    let restarted = Instant::now();
    let ends: Vec<i64> = (0..PARTITIONS).map(|partition| scenario.kafka.offsets(&scenario.farebox.topic, partition).1).collect();
    let behind = ends.iter().sum::<i64>() - i64::from(ROUND);
    let mut instances = [instance];
    scenario.wait_within(Duration::from_secs(600), &clickhouse, &ends, &mut instances);
    let drained = restarted.elapsed();
    let after = resident_max(pid).unwrap();
    assert!(after < BOUND, "{} MiB while it drained", mebibytes(after));

    // The same member in the same generation, from the beginning on.
    let said = instances[0].process.log();
    assert_eq!(count(&said, "partitions assigned"), 1, "{said}");
    assert_eq!((count(&said, "partitions revoked"), count(&said, "joining it again")), (0, 0), "{said}");
    let rules = Rules { window_ms: WINDOW_MS, ..scenario.rules() };
    let totals = oracle::fold(&scenario.log(), &scenario.book, rules);
    scenario.compare(&clickhouse, &totals, &instances);
    scenario.compare_dead_letters(&totals);
    let held = eventually(Duration::from_secs(60), || {
        let held = |what: &str| instances[0].metric("farebox_memory_bytes", &[&format!("held_for=\"{what}\"")]).unwrap_or(1.0);
        match held("records") + held("batches") {
            0.0 => Ok(held("windows")),
            bytes => Err(format!("{bytes} bytes are still held\n{}", logs(&instances))),
        }
    });
    assert_eq!(instances[0].stop().code(), Some(0));

    let note = format!(
        "{PARTITIONS} partitions; resident {} MiB before, at most {} during and {} afterwards, {} MiB of it the windows; \
         {behind} records drained within {:.1} s",
        mebibytes(before),
        mebibytes(during),
        mebibytes(after),
        held as u64 >> 20,
        drained.as_secs_f64(),
    );
    println!("{note}");
    outcome::record(
        "ClickHouse away until all buffers are full",
        1,
        &Numbers { records: u64::from(produced), note, ..Numbers::default() },
    );
}
