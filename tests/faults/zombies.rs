//! An instance whose network is cut for longer than its session: another takes its partitions, and it comes back.

use super::bench::Bench;
use super::outcome;
use super::proxy::{Do, Proxy, When, Wire};
use super::scenario::assigned;
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually, free_port};

/// Two instances of two partitions: the first reaches the servers by a way of its own.
struct Ways {
    to_kafka: Proxy,
    to_clickhouse: Proxy,
    bench: Bench,
    instances: [Instance; 2],
    _kafka: Kafka,
}

impl Ways {
    fn new() -> Self {
        let (way, clickhouse) = (free_port(), ClickHouse::shared());
        let to_kafka = Proxy::raw(way);
        let kafka = Kafka::start_with_second_way(way, to_kafka.port());
        let bench = Bench::new(kafka.brokers(), clickhouse, 2);
        let to_clickhouse = Proxy::http(clickhouse.port());
        let (brokers, url) = (format!("kafka.brokers={}", to_kafka.address()), format!("clickhouse.url={}", to_clickhouse.url()));
        let mut cut_off = bench.scenario.farebox.start_verb(&["run", "--set", &brokers, "--set", &url]);
        cut_off.wait_until_ready();
        let instances = [cut_off, bench.start()];
        Self { to_kafka, to_clickhouse, bench, instances, _kafka: kafka }
    }

    fn wait_until_shared(&self) {
        eventually(SOON, || match self.instances.each_ref().map(assigned) {
            [1, 1] => Ok(()),
            shares => Err(format!("partitions are shared as {shares:?}")),
        });
    }

    fn wait_until_taken(&self) {
        eventually(SOON, || match assigned(&self.instances[1]) {
            2 => Ok(()),
            count => Err(format!("the other has {count} partitions\n{}", self.instances[1].process.log())),
        });
        self.bench.scenario.wait_for_more(ClickHouse::shared(), 200);
    }
}

#[test]
fn commits_that_arrive_late_or_whose_answers_are_lost_change_nothing() {
    const ROUNDS: u64 = 2;
    let mut ways = Ways::new();
    ways.bench.under_load(|| {
        for _ in 0..ROUNDS {
            // Everything between one instance and Kafka stands still, commits too, and arrives when another has its partition.
            ways.wait_until_shared();
            ways.to_kafka.wire(Wire { stalled: true, ..Wire::default() });
            ways.wait_until_taken();
            ways.to_kafka.wire(Wire::default());
            // Commits arrive, and nobody hears of it.
            ways.wait_until_shared();
            ways.to_kafka.wire(Wire { swallow_answers: true, ..Wire::default() });
            ways.wait_until_taken();
            ways.to_kafka.wire(Wire::default());
            ways.to_kafka.cut();
        }
        ways.wait_until_shared();
    });
    let totals = ways.bench.finish(ClickHouse::shared(), &mut ways.instances);
    outcome::record("requests to Kafka under way for longer than the session", ROUNDS, &totals);
    outcome::record("Kafka's answers lost for longer than the session", ROUNDS, &totals);
}

#[test]
fn an_instance_cut_off_for_longer_than_its_session_changes_nothing_when_it_comes_back() {
    const TABLES: [&str; 3] = ["usage_log", "usage_hourly", "batches"];
    let mut ways = Ways::new();
    ways.bench.under_load(|| {
        for (round, table) in TABLES.into_iter().enumerate() {
            ways.wait_until_shared();
            // Between two inserts; what was under way arrives at last, or never.
            let held = ways.to_clickhouse.on(When::insert(table).times(1), Do::HoldRequest);
            held.wait_until_held();
            ways.to_kafka.refuse(true);
            if round > 0 {
                ways.to_clickhouse.refuse(true);
            }
            ways.wait_until_taken();
            held.let_go();
            ways.to_clickhouse.refuse(false);
            ways.to_kafka.refuse(false);
        }
    });
    let totals = ways.bench.finish(ClickHouse::shared(), &mut ways.instances);
    outcome::record("network of an instance cut for longer than its session", TABLES.len() as u64, &totals);
}
