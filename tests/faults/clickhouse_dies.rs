//! ClickHouse is killed with -9 again and again while batches are written.

use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::bench::Bench;
use super::outcome;
use super::proxy::{Do, When};
use super::servers::{ClickHouse, Kafka};

const KILLS: u64 = 10;

#[test]
fn clickhouse_killed_ten_times_under_load_loses_and_doubles_nothing() {
    let mut clickhouse = ClickHouse::start();
    let bench = Bench::new(Kafka::shared().brokers(), &clickhouse, 3);
    let mut instances = [bench.start()];
    let repaired = bench.proxy.on(When::request(|request| request.token.ends_with("/r1")), Do::Pass);
    let mut random = Pcg64::seed_from_u64(bench.seed);
    bench.under_load(|| {
        for _ in 0..KILLS {
            bench.scenario.wait_for_more(&clickhouse, 50);
            // A random moment is the point here; nothing relies on what has happened by then.
            thread::sleep(Duration::from_millis(random.random_range(0..400)));
            clickhouse.kill9();
            clickhouse.restart();
        }
    });
    let totals = bench.finish(&clickhouse, &mut instances);
    let note = format!("{} tokens were burnt", repaired.hits());
    outcome::record("ClickHouse killed with -9 and restarted", KILLS, &(&totals, note.as_str()));
}
