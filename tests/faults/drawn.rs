//! Faults drawn by seed, one upon the other, each round with a whole account at its end.
//!
//! `SIM_SEED=n` draws the same faults again; the moments of the machine cannot be drawn. `TORTURE_SECONDS` says for how long.

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::bench::{Bench, TABLES};
use super::disk::{Disk, EIO, ENOSPC, Moment};
use super::outcome::{self, Numbers};
use super::proxy::{Do, Proxy, Rule, When, Wire, exception, exception_in_body};
use super::scenario::{assigned, seed};
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually, free_port};

const PARTITIONS: i32 = 3;
const FAULTS_OF_A_ROUND: u32 = 8;

/// The servers, which outlive a round.
struct World {
    disk: Disk,
    clickhouse: ClickHouse,
    kafka: Kafka,
    /// The instances' way to Kafka; events and the account have another.
    to_kafka: Proxy,
}

impl World {
    fn new() -> Self {
        let (disk, clickhouse) = Disk::new();
        let way = free_port();
        let to_kafka = Proxy::raw(way);
        let kafka = Kafka::start_with_second_way(way, to_kafka.port());
        Self { disk, clickhouse, kafka, to_kafka }
    }
}

struct Round<'a> {
    random: Pcg64,
    bench: &'a Bench,
    world: &'a mut World,
    instances: [Instance; 2],
    /// Requests that hang: they reach the server in the end.
    held: Vec<Rule>,
}

impl Round<'_> {
    fn fault(&mut self) -> &'static str {
        let table = TABLES[self.random.random_range(0..TABLES.len())];
        let times = self.random.random_range(1..4);
        let on = When::insert(table).skip(self.random.random_range(0..3)).times(times);
        let victim = self.random.random_range(0..2);
        let place = self.random.random_range(0..1000);
        match self.random.random_range(0..16) {
            0 => self.rule(on, Do::CutAnswer(place % 60), "reply lost"),
            1 => self.rule(on, Do::CutRequest(place), "request cut"),
            2 => {
                let (code, name) = [(241, "MEMORY"), (252, "PARTS"), (159, "TIMEOUT"), (202, "QUERIES"), (242, "READ_ONLY")]
                    [self.random.random_range(0..5)];
                self.rule(on, Do::Answer(exception(500, code, name)), "refused")
            }
            3 => self.rule(on, Do::Replace(exception_in_body(241)), "exception although inserted"),
            4 => {
                let what = if self.random.random() { Do::HoldRequest } else { Do::HoldAnswer };
                self.held.push(self.bench.proxy.on(on, what));
                "stalled"
            }
            5 => {
                self.instances[victim].process.kill9();
                self.instances[victim] = start(self.bench, &self.world.to_kafka);
                "instance killed"
            }
            6 => {
                let held = self.bench.proxy.on(When::insert(table).times(1), Do::HoldRequest);
                held.wait_until_held();
                for instance in &mut self.instances {
                    instance.process.kill9();
                    *instance = start(self.bench, &self.world.to_kafka);
                }
                self.held.push(held);
                "both instances killed between two inserts"
            }
            7 => {
                self.instances.iter_mut().for_each(Instance::wait_until_ready);
                self.instances[victim].process.sigstop();
                let other = &self.instances[1 - victim];
                eventually(SOON, || match assigned(other) {
                    3 => Ok(()),
                    count => Err(format!("the other has {count} partitions\n{}", other.process.log())),
                });
                self.instances[victim].process.sigcont();
                "SIGSTOP for longer than the session"
            }
            8 => {
                self.world.clickhouse.kill9();
                self.world.clickhouse.restart();
                "ClickHouse killed"
            }
            9 => {
                let error = if self.random.random() { EIO } else { ENOSPC };
                self.world.disk.refuse(error, self.random.random_range(1..4));
                "disk refuses"
            }
            10 => {
                let moment = if self.random.random() { Moment::BeforeRename } else { Moment::AfterRename };
                // Whatever held it up is past, so that there is something to put in place.
                self.let_go();
                self.world.disk.die(&mut self.world.clickhouse, &self.bench.scenario.farebox.database, table, moment);
                "ClickHouse dies at the rename of a part"
            }
            11 => {
                self.world.to_kafka.cut();
                "connections to Kafka cut"
            }
            12 => {
                self.world.to_kafka.wire(Wire { cut_request_after: Some(place), ..Wire::default() });
                "request to Kafka cut"
            }
            13 => {
                let (stalled, swallow_answers) = if self.random.random() { (true, false) } else { (false, true) };
                self.world.to_kafka.wire(Wire { stalled, swallow_answers, ..Wire::default() });
                // Shorter than the session or longer.
                thread::sleep(Duration::from_millis(self.random.random_range(100..2500)));
                self.world.to_kafka.wire(Wire::default());
                self.world.to_kafka.cut();
                if stalled { "Kafka stands still" } else { "Kafka's answers lost" }
            }
            14 => {
                self.world.kafka.kill9();
                self.world.kafka.restart();
                "Kafka killed"
            }
            _ => {
                self.bench.proxy.refuse(true);
                thread::sleep(Duration::from_millis(self.random.random_range(0..1500)));
                self.bench.proxy.refuse(false);
                "network to ClickHouse cut"
            }
        }
    }

    fn rule(&self, when: When, what: Do, name: &'static str) -> &'static str {
        let _ = self.bench.proxy.on(when, what);
        name
    }

    fn let_go(&mut self) {
        self.held.drain(..).for_each(|held| held.let_go());
    }
}

fn start(bench: &Bench, to_kafka: &Proxy) -> Instance {
    bench.scenario.farebox.start_verb(&["run", "--set", &format!("kafka.brokers={}", to_kafka.address())])
}

#[test]
fn faults_drawn_by_seed_change_nothing() {
    let seconds = env::var("TORTURE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let mut world = World::new();
    let (mut faults, mut records): (BTreeMap<&str, u64>, u64) = (BTreeMap::new(), 0);
    let first = seed();
    for seed in first.. {
        println!("SIM_SEED={seed}");
        let mut bench = Bench::with_seed(world.kafka.brokers(), &world.clickhouse, PARTITIONS, seed);
        bench.scenario.farebox.set("clickhouse.insert_timeout", "1s").set("clickhouse.query_timeout", "5s");
        let instances = [start(&bench, &world.to_kafka), start(&bench, &world.to_kafka)];
        let random = Pcg64::seed_from_u64(seed);
        let mut round = Round { random, bench: &bench, world: &mut world, instances, held: Vec::new() };
        bench.under_load(|| {
            for _ in 0..FAULTS_OF_A_ROUND {
                let began = Instant::now();
                let fault = round.fault();
                println!("{fault} ({} ms)", began.elapsed().as_millis());
                *faults.entry(fault).or_default() += 1;
                // A random moment later, or after some progress: upon the last fault, or after it.
                if round.random.random() {
                    round.bench.scenario.wait_for_more(&round.world.clickhouse, 20);
                    round.let_go();
                } else {
                    thread::sleep(Duration::from_millis(round.random.random_range(0..500)));
                }
            }
            round.let_go();
            round.bench.proxy.clear();
        });
        let mut instances = round.instances;
        let totals = bench.finish(&world.clickhouse, &mut instances);
        records += totals.partitions.values().map(|partition| partition.received).sum::<u64>();
        if Instant::now() >= until {
            break;
        }
    }
    let met: Vec<(String, u64)> = faults.into_iter().map(|(fault, times)| (format!("drawn: {fault}"), times)).collect();
    outcome::record_shared(&met, &Numbers { records, ..Numbers::default() });
}
