//! An instance whose network is cut for longer than its session: another takes its partitions, and it comes back.

use super::bench::Bench;
use super::outcome;
use super::proxy::{Do, Proxy, When};
use super::scenario::assigned;
use super::servers::{ClickHouse, Kafka, SOON, eventually, free_port};

#[test]
fn an_instance_cut_off_for_longer_than_its_session_changes_nothing_when_it_comes_back() {
    const CUTS: u64 = 3;
    let way = free_port();
    let to_kafka = Proxy::raw(way);
    let (kafka, clickhouse) = (Kafka::start_with_second_way(way, to_kafka.port()), ClickHouse::shared());
    let bench = Bench::new(kafka.brokers(), clickhouse, 2);
    // A way of its own to either server.
    let to_clickhouse = Proxy::http(clickhouse.port());
    let (brokers, url) = (format!("kafka.brokers={}", to_kafka.address()), format!("clickhouse.url={}", to_clickhouse.url()));
    let mut cut_off = bench.scenario.farebox.start_verb(&["run", "--set", &brokers, "--set", &url]);
    cut_off.wait_until_ready();
    let mut instances = [cut_off, bench.start()];
    bench.under_load(|| {
        for round in 0..CUTS {
            eventually(SOON, || match instances.each_ref().map(assigned) {
                [1, 1] => Ok(()),
                shares => Err(format!("partitions are shared as {shares:?}")),
            });
            // Cut between two inserts; what was under way arrives at last, or never.
            let tables = ["usage_log", "usage_hourly", "batches"];
            let held = to_clickhouse.on(When::insert(tables[round as usize % 3]).times(1), Do::HoldRequest);
            held.wait_until_held();
            to_kafka.refuse(true);
            if round > 0 {
                to_clickhouse.refuse(true);
            }
            eventually(SOON, || match assigned(&instances[1]) {
                2 => Ok(()),
                count => Err(format!("the other has {count} partitions\n{}", instances[1].process.log())),
            });
            bench.scenario.wait_for_more(clickhouse, 200);
            held.let_go();
            to_clickhouse.refuse(false);
            to_kafka.refuse(false);
        }
    });
    let totals = bench.finish(clickhouse, &mut instances);
    assert!(to_kafka.accepted() > 0);
    outcome::record("network of an instance cut for longer than its session", CUTS, &totals);
}
