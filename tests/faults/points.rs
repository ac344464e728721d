//! An instance is killed, or stopped and let go on later, at every point of writing a batch.
//!
//! The proxy holds a request or an answer of the batch, so that the point is exact. What was held reaches ClickHouse at last, after
//! another instance has written the batch: a late twin.

use super::bench::Bench;
use super::oracle::Totals;
use super::outcome;
use super::proxy::{Do, Rule, When};
use super::scenario::assigned;
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually};

/// Questions of one batch, by words that only they hold.
const END_OF_BATCHES: &str = "ORDER BY source_epoch DESC, topic DESC";
const WITNESSES: &str = "uniqExact(l.digest) AS digests";
const READ_BACK: &str = "argMax(b.digest, b.offset_to)";

struct Point {
    name: String,
    when: fn(&str) -> When,
    on: String,
    what: Do,
}

impl Point {
    fn hold(&self, bench: &Bench) -> Rule {
        let rule = bench.proxy.on((self.when)(&self.on).times(1), self.what.clone());
        rule.wait_until_held();
        rule
    }
}

/// Every point between two steps of a batch.
fn points() -> Vec<Point> {
    let insert = |table: &str, what: Do| {
        let side = if matches!(what, Do::HoldRequest) { "before" } else { "after" };
        Point { name: format!("{side} the insert into {table}"), when: When::insert, on: table.to_owned(), what }
    };
    let question =
        |name: &str, words: &str, what: Do| Point { name: name.to_owned(), when: When::question, on: words.to_owned(), what };
    let mut points = vec![question("before the intent", END_OF_BATCHES, Do::HoldAnswer)];
    for table in ["usage_log", "session_users", "usage_hourly", "rejected_events"] {
        points.extend([insert(table, Do::HoldRequest), insert(table, Do::HoldAnswer)]);
    }
    points.extend([
        question("before the witnesses are read", WITNESSES, Do::HoldRequest),
        question("after the witnesses are read", WITNESSES, Do::HoldAnswer),
        insert("batches", Do::HoldRequest),
        insert("batches", Do::HoldAnswer),
        question("before the next commit", READ_BACK, Do::HoldAnswer),
    ]);
    points
}

#[test]
fn killed_at_any_point_of_a_batch_an_instance_leaves_nothing_to_lose_or_double() {
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 1);
    let mut instances = [bench.start()];
    let points = points();
    bench.under_load(|| {
        for point in &points {
            let held = point.hold(&bench);
            instances[0].process.kill9();
            instances[0] = bench.scenario.farebox.start();
            bench.scenario.wait_for_more(clickhouse, 1);
            held.let_go();
        }
    });
    let totals = bench.finish(clickhouse, &mut instances);
    record("kill -9 at a named point of a batch", &points, &totals);
}

#[test]
fn stopped_at_any_point_of_a_batch_and_let_go_on_later_an_instance_changes_nothing() {
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 1);
    let mut instances = [bench.start(), bench.start()];
    // After an insert and before the next one are the same place for the others.
    let is_told = |point: &Point| matches!(point.what, Do::HoldRequest) || point.on == "batches" || point.on == READ_BACK;
    let points: Vec<Point> = points().into_iter().filter(is_told).collect();
    bench.under_load(|| {
        for point in &points {
            let held = point.hold(&bench);
            let owner = owner(&instances);
            instances[owner].process.sigstop();
            bench.scenario.wait_for_more(clickhouse, 1);
            instances[owner].process.sigcont();
            held.let_go();
            // It has learnt that it is no longer the owner, or has become it again.
            bench.scenario.wait_for_more(clickhouse, 1);
        }
    });
    let totals = bench.finish(clickhouse, &mut instances);
    record("SIGSTOP at a named point of a batch, another takes over, SIGCONT", &points, &totals);
}

fn record(fault: &str, points: &[Point], totals: &Totals) {
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    outcome::record(fault, points.len() as u64, &(totals, names.join(", ").as_str()));
}

/// Who has the only partition.
fn owner(instances: &[Instance; 2]) -> usize {
    eventually(SOON, || match instances.each_ref().map(assigned) {
        [1, 0] => Ok(0),
        [0, 1] => Ok(1),
        shares => Err(format!("partitions are shared as {shares:?}")),
    })
}
