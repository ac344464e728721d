//! Instances that come and go faster than the group settles.

use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::bench::Bench;
use super::outcome;
use super::servers::{ClickHouse, Instance, Kafka, SOON};

#[test]
fn instances_that_join_and_leave_in_quick_succession_change_no_digit() {
    const CHANGES: u64 = 12;
    const INSTANCES_MAX: usize = 3;
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 4);
    let mut random = Pcg64::seed_from_u64(bench.seed);
    let mut instances = vec![bench.start()];
    let mut leaving: Vec<Instance> = Vec::new();
    let (mut joined, mut left, mut killed) = (0, 0, 0);
    bench.under_load(|| {
        for change in 1..=CHANGES {
            let grows = instances.len() < INSTANCES_MAX && (instances.len() == 1 || random.random_bool(0.4));
            if grows {
                instances.push(bench.scenario.farebox.start());
                joined += 1;
            } else {
                let mut gone = instances.swap_remove(random.random_range(0..instances.len()));
                if random.random_bool(0.5) {
                    gone.process.sigterm();
                    leaving.push(gone);
                    left += 1;
                } else {
                    gone.process.kill9();
                    killed += 1;
                }
            }
            // A random moment of whatever rebalance is under way.
            thread::sleep(Duration::from_millis(random.random_range(0..500)));
            if change % 6 == 0 {
                bench.scenario.wait_for_more(clickhouse, 100);
            }
        }
    });
    for mut instance in leaving {
        let (status, log) = (instance.process.wait(SOON), instance.process.log());
        // One that was told to go before it had said a word did not know signals yet.
        assert!(status.success() || log.is_empty(), "{status}: {log}");
    }
    let totals = bench.finish(clickhouse, &mut instances);
    let note = format!("{joined} joined, {left} left by SIGTERM, {killed} by kill -9");
    outcome::record("instances joining and leaving", CHANGES, &(&totals, note.as_str()));
}
