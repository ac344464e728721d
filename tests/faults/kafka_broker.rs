//! The broker down, restarted, slow, silent; and one broker of three killed.

use std::thread;
use std::time::Duration;

use super::bench::Bench;
use super::outcome;
use super::proxy::{Proxy, Wire};
use super::servers::{ClickHouse, Kafka, SOON, eventually, free_port};

const SESSION: &str = "2s";
/// Longer than that.
const OUTAGE: Duration = Duration::from_millis(3_000);

#[test]
fn a_broker_that_is_down_for_longer_than_the_session_or_restarted_loses_and_doubles_nothing() {
    let (mut kafka, clickhouse) = (Kafka::start(), ClickHouse::shared());
    let mut bench = Bench::new(kafka.brokers(), clickhouse, 3);
    bench.scenario.farebox.set("kafka.session_timeout", SESSION);
    let mut instances = [bench.start(), bench.start()];
    bench.under_load(|| {
        bench.scenario.wait_for_more(clickhouse, 200);
        kafka.kill9();
        thread::sleep(OUTAGE);
        kafka.restart();
        bench.scenario.wait_for_more(clickhouse, 200);
        kafka.stop();
        kafka.restart();
        bench.scenario.wait_for_more(clickhouse, 200);
        // Not dead, and not there: its connections stand.
        kafka.process().sigstop();
        thread::sleep(OUTAGE);
        kafka.process().sigcont();
        bench.scenario.wait_for_more(clickhouse, 200);
    });
    let totals = bench.finish(clickhouse, &mut instances);
    outcome::record("broker down longer than the session, restarted, stopped", 3, &totals);
}

#[test]
fn a_slow_or_silent_way_to_the_broker_loses_and_doubles_nothing() {
    let way = free_port();
    let proxy = Proxy::raw(way);
    let (kafka, clickhouse) = (Kafka::start_with_second_way(way, proxy.port()), ClickHouse::shared());
    let mut bench = Bench::new(kafka.brokers(), clickhouse, 3);
    bench.scenario.farebox.set("kafka.session_timeout", SESSION);
    let slow = || bench.scenario.farebox.start_verb(&["run", "--set", &format!("kafka.brokers={}", proxy.address())]);
    let mut instances = [slow(), bench.start()];
    instances[0].wait_until_ready();
    bench.under_load(|| {
        let late = |millis| Wire { delay: Duration::from_millis(millis), ..Wire::default() };
        let stalled = Wire { stalled: true, ..Wire::default() };
        // Requests arrive, commits of promises among them, and nobody hears of it.
        let deaf = Wire { swallow_answers: true, ..Wire::default() };
        for (wire, length) in
            [(late(150), 1_500), (stalled, 1_000), (late(400), 1_500), (deaf, 700), (stalled, 3_000), (deaf, 3_000)]
        {
            proxy.wire(wire);
            thread::sleep(Duration::from_millis(length));
            proxy.wire(Wire::default());
            if wire.swallow_answers {
                proxy.cut(); // a stream with a hole in it is of no use to anybody
            }
            bench.scenario.wait_for_more(clickhouse, 100);
        }
    });
    let totals = bench.finish(clickhouse, &mut instances);
    outcome::record("slow, stalled or deaf way to the broker", 6, &totals);
}

#[test]
fn any_one_broker_of_three_may_die_and_come_back() {
    let (mut cluster, clickhouse) = (Kafka::start_cluster(3), ClickHouse::shared());
    let mut bench = Bench::new(&cluster.client.brokers, clickhouse, 3);
    bench.scenario.farebox.set("kafka.session_timeout", SESSION);
    let mut instances = [bench.start(), bench.start()];
    bench.under_load(|| {
        for victim in 0..3 {
            bench.scenario.wait_for_more(clickhouse, 200);
            cluster.nodes[victim].kill9();
            bench.scenario.wait_for_more(clickhouse, 200);
            cluster.nodes[victim].restart();
            cluster.client.wait_for_brokers(3);
            // Until it has all copies again, another death would be one too many.
            eventually(SOON, || in_sync(&cluster.client, &bench.scenario.farebox.topic));
        }
    });
    let totals = bench.finish(clickhouse, &mut instances);
    outcome::record("one broker of three killed", 3, &totals);
}

/// Whether every partition of every topic has all its copies.
fn in_sync(client: &super::servers::Client, topic: &str) -> Result<(), String> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = super::kafka::config(client).create().map_err(|error| error.to_string())?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).map_err(|error| error.to_string())?;
    assert!(metadata.topics().iter().any(|own| own.name() == topic), "{topic} is not there");
    let behind: Vec<&str> = metadata
        .topics()
        .iter()
        .filter(|own| own.partitions().iter().any(|partition| partition.isr().len() < partition.replicas().len()))
        .map(|own| own.name())
        .collect();
    if behind.is_empty() { Ok(()) } else { Err(format!("{behind:?} have copies behind")) }
}
