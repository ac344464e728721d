//! The world of one run: servers, producers, processes, and what befalls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farebox::decode;
use farebox::dedupe::{self, HashKey};
use farebox::engine::Rules;
use farebox::model::Timestamp;
use farebox::runtime::BatchLimits;
use farebox::runtime::world::Clock;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::broker::Broker;
use super::class::Class;
use super::dice::Dice;
use super::gate::Life;
use super::instance::{Instance, Letters, Setting};
use super::log::Made;
use super::planted::Planted;
use super::prices;
use super::rates::Rates;
use super::tables::faults::{Plan, Rates as TableRates};
use super::tables::rows::BatchesRow;
use super::tables::state::Snapshot;
use super::tables::{Client, Server};
use super::traced::Traced;

/// The tables that batches go into.
pub const TABLES: [&str; 5] = ["usage_log", "session_users", "usage_hourly", "rejected_events", "batches"];
/// A world that has not come to rest after so long never will.
const RESTLESS: Duration = Duration::from_secs(900);

/// What became of a run before its tables are looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Course {
    /// At rest: everything is read, or stands still.
    Rest,
    /// An ordinary fault stopped a partition.
    FalseStop(String),
    /// It went on and on.
    Stuck(String),
}

pub struct World {
    pub class: Class,
    pub dice: Dice,
    pub broker: Arc<Broker>,
    pub server: Server,
    pub rules: Rules,
    pub letters: Arc<Letters>,
    pub problems: Arc<Mutex<Vec<String>>>,
    /// Extraordinary things that happened.
    pub extraordinary: Vec<&'static str>,
    /// Where logs were cut: the partition, and the first offset that was lost.
    pub cuts: Vec<(usize, i64)>,
    planted: Planted,
    window: dedupe::Limits,
    plan: Arc<Plan>,
    rates: Arc<Rates>,
    version: u64,
    batch: BatchLimits,
    instances: Vec<Instance>,
    started: u32,
    faults_left: u64,
    copies: Vec<Snapshot>,
    /// Partitions whose owners may still stand still, although nobody remembers why: the note was lost.
    stood_still: BTreeSet<i32>,
}

struct ClockOf(Arc<Broker>);

impl Clock for ClockOf {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl World {
    pub fn new(seed: u64, class: Class, planted: Planted) -> Self {
        let dice = Dice::new(seed);
        let rates = Arc::new(Rates::draw(&dice));
        let partitions = *dice.pick(&[1, 1, 1, 2, 3]);
        let broker = Broker::new(&dice, &rates, partitions);
        let server = Server::new();
        if planted == Planted::NoToken {
            server.set_tokens_max(0);
        }
        server.set_book(prices::book(1));
        let plan = Arc::new(Plan::new(dice.next(), table_rates(&dice)));
        let letters = Arc::new(Letters { broker: Arc::clone(&broker), kept: Mutex::default() });
        let rules = Rules {
            limits: decode::Limits { size_max: 4096, age_max_ms: 400 * 86_400_000, ahead_max_ms: 400 * 86_400_000 },
            window: dedupe::Limits {
                window_ms: *dice.pick(&[2_000, 6_000, 20_000]),
                ids_max: *dice.pick(&[3, 5, 100]),
                expire_by_time: class != Class::CreateTime,
            },
            key: HashKey::new([7; 16]),
        };
        let batch = BatchLimits {
            events_max: *dice.pick(&[2, 4, 8]),
            bytes_max: 1 << 20,
            // Room for everything, or for one record in a small batch and some in a large one.
            total_bytes: if seed.is_multiple_of(2) { 1 << 30 } else { 16 << 10 },
            age_max: Duration::from_millis(*dice.pick(&[50, 300, 1500])),
            inserts_per_second_max: 1000,
        };
        let faults_left = 2 + dice.below(8);
        Self {
            class,
            dice,
            broker,
            server,
            letters,
            problems: Arc::default(),
            extraordinary: Vec::new(),
            cuts: Vec::new(),
            planted,
            window: rules.window,
            rules,
            plan,
            rates,
            version: 1,
            batch,
            instances: Vec::new(),
            started: 0,
            faults_left,
            copies: Vec::new(),
            stood_still: BTreeSet::new(),
        }
    }

    /// Lives through the whole run.
    pub async fn live(&mut self) -> Course {
        let most = *self.dice.pick(&[1, 2, 2, 3]);
        let records = 4 + self.dice.below(30);
        let producing = tokio::spawn(produce(Arc::clone(&self.broker), records, self.class));
        self.start();
        let until = Instant::now() + Duration::from_millis(3_000 + self.dice.below(40_000));
        while Instant::now() < until {
            sleep(Duration::from_millis(20 + self.dice.below(700))).await;
            self.broker.tick();
            self.stood_still.extend(self.stopped().into_keys());
            self.something_happens(most);
            if let Some(stop) = self.false_stop() {
                return stop;
            }
        }
        self.calm_down();
        producing.await.unwrap();
        if let Some(course) = self.rest().await {
            return course;
        }
        info!("everybody is started anew");
        self.instances.iter().for_each(|instance| instance.gate.set(Life::Gone));
        self.stood_still.clear();
        for _ in 0..self.dice.below(3) {
            let partition = self.dice.below(self.broker.state().logs.len() as u64);
            self.append(usize::try_from(partition).unwrap_or(0));
        }
        self.rest().await.unwrap_or(Course::Rest)
    }

    pub fn append(&self, partition: usize) {
        self.broker.append(partition, made(&self.dice));
    }

    fn start(&mut self) {
        self.started += 1;
        let name = format!("i{}", self.started);
        info!(name, "started");
        let clock = Arc::new(ClockOf(Arc::clone(&self.broker)));
        let client: Client = self.server.client(Arc::clone(&self.plan) as _, clock);
        let tables = Traced::around(self.planted.tables(Arc::new(client)), name.clone());
        let setting = Setting {
            broker: Arc::clone(&self.broker),
            tables,
            planted: self.planted,
            version: self.version,
            rules: self.rules.clone(),
            batch: self.batch,
            letters: Arc::clone(&self.letters),
            problems: Arc::clone(&self.problems),
        };
        self.instances.push(Instance::start(name, &setting));
    }

    /// One thing that happens by itself or goes wrong.
    fn something_happens(&mut self, most: usize) {
        self.instances.retain(|instance| !instance.is(Life::Gone));
        match self.dice.below(100) {
            0..12 if self.instances.len() < most || self.instances.is_empty() => self.start(),
            12..24 => {
                self.server.set_down(false);
                self.resume_one();
            }
            24..28 if self.class.wants_copies() && self.copies.len() < 4 => {
                info!("a copy of the tables is made");
                self.copies.push(self.server.snapshot());
            }
            28..36 => self.keep(),
            36..40 => {
                let version = self.version + 1;
                info!(version, "a price book is applied");
                self.server.set_book(prices::book(version));
                self.version = version;
                self.instances.iter().for_each(|instance| instance.hear_of_prices(version));
            }
            40..62 if self.faults_left > 0 && self.ordinary_fault() => self.faults_left -= 1,
            62..70 if self.extraordinary.len() < self.class.most() => {
                if let Some(kind) = self.extraordinary_fault() {
                    self.extraordinary.push(kind);
                }
            }
            _ => {}
        }
    }

    fn resume_one(&self) {
        if let Some(paused) = self.instances.iter().find(|instance| instance.is(Life::Paused)) {
            info!(name = paused.name, "goes on");
            paused.gate.set(Life::Running);
        }
    }

    fn running(&self) -> Option<&Instance> {
        let running: Vec<&Instance> = self.instances.iter().filter(|instance| instance.is(Life::Running)).collect();
        (!running.is_empty()).then(|| *self.dice.pick(&running))
    }

    fn ordinary_fault(&self) -> bool {
        let choice = self.dice.below(7);
        if choice < 4 {
            let Some(instance) = self.running() else { return false };
            let name = &instance.name;
            match choice {
                0 => {
                    info!(name, "killed");
                    instance.gate.set(Life::Gone);
                }
                1 => {
                    info!(name, "stopped like a zombie");
                    instance.gate.set(Life::Paused);
                }
                2 => {
                    info!(name, "is to end");
                    instance.terminate();
                }
                _ => {
                    let members = self.broker.state().members();
                    if members.is_empty() {
                        return false;
                    }
                    let id = self.dice.pick(&members);
                    info!(id, "thrown out");
                    self.broker.state().throw_out(id);
                }
            }
            return true;
        }
        match choice {
            4 => {
                info!("ClickHouse is away");
                self.server.set_down(true);
            }
            5 => {
                info!("ClickHouse is killed and there again");
                let dice = self.dice.clone();
                self.server.kill(|_| dice.chance(500));
            }
            _ => {
                info!("the group meets again");
                self.broker.state().rebalance();
            }
        }
        true
    }

    /// Retention as it should be: behind what is written, and behind the window.
    fn keep(&self) {
        let window = self.rules.window.window_ms;
        let mut state = self.broker.state();
        for (partition, end) in self.ends() {
            let log = &mut state.logs[usize::try_from(partition).unwrap_or(0)];
            let Some(end) = end.filter(|&end| end <= log.end()) else { continue };
            let first = (end..log.end()).find_map(|offset| log.get(offset).filter(|entry| entry.made.is_some()));
            let time = first.map_or_else(|| self.broker.now(), |entry| entry.at).plus_millis(-window);
            let most = log.offset_of_time(time).unwrap_or(end).min(end);
            if most > log.start {
                log.start = self.dice.between(log.start, most);
                info!(partition, start = log.start, "retention");
            }
        }
    }

    /// E of every partition.
    pub fn ends(&self) -> BTreeMap<i32, Option<i64>> {
        let count = i32::try_from(self.broker.partitions()).unwrap_or(0);
        let mut ends: BTreeMap<i32, Option<i64>> = (0..count).map(|partition| (partition, None)).collect();
        for row in self.server.batches() {
            let end = ends.entry(row.partition).or_default();
            *end = (*end).max(Some(row.offset_to));
        }
        ends
    }

    fn extraordinary_fault(&mut self) -> Option<&'static str> {
        let kind = *self.dice.pick(self.class.kinds());
        let partition = i32::try_from(self.dice.below(self.broker.partitions() as u64)).unwrap_or(0);
        let happened = super::extraordinary::happen(self, kind, partition);
        if happened {
            info!(kind, partition, "EXTRAORDINARY");
        }
        happened.then_some(kind)
    }

    /// The rules that the first process had.
    pub fn rules_at_first(&self) -> dedupe::Limits {
        self.window
    }

    pub fn copies(&self) -> &[Snapshot] {
        &self.copies
    }

    /// Ends or stops every process, so that the group is empty.
    pub fn empty_the_group(&self, zombies: bool) {
        for instance in &self.instances {
            let life = if zombies && self.dice.chance(400) { Life::Paused } else { Life::Gone };
            if !instance.is(Life::Paused) || !zombies {
                instance.gate.set(life);
            }
        }
        if !zombies {
            self.server.set_down(false);
            self.server.land_all();
        }
        self.broker.state().throw_everyone_out();
    }

    fn calm_down(&self) {
        info!("nothing goes wrong any more");
        self.rates.calm_down();
        self.plan.set(TableRates::NONE);
        self.server.set_down(false);
    }

    /// Partitions that stand still, and why.
    pub fn stopped(&self) -> BTreeMap<i32, String> {
        self.server
            .standing_stops(super::instance::TOPIC)
            .into_iter()
            .map(|stop| (stop.partition, format!("{}: {}", stop.kind, stop.reason)))
            .collect()
    }

    fn false_stop(&self) -> Option<Course> {
        if !self.extraordinary.is_empty() || self.class.may_stop_alone() {
            return None;
        }
        self.stopped().pop_first().map(|(partition, reason)| Course::FalseStop(format!("partition {partition}: {reason}")))
    }

    /// Waits until everything is read or stands still.
    async fn rest(&mut self) -> Option<Course> {
        let began = Instant::now();
        let mut calm_since = None;
        loop {
            sleep(Duration::from_millis(300 + self.dice.below(700))).await;
            self.broker.tick();
            if self.dice.chance(150) {
                self.resume_one();
            }
            self.instances.retain(|instance| !instance.is(Life::Gone));
            if self.instances.is_empty() {
                self.start();
            }
            if let Some(stop) = self.false_stop() {
                return Some(stop);
            }
            let unrest = self.unrest();
            match (unrest, calm_since) {
                (None, None) => calm_since = Some(Instant::now()),
                (None, Some(since)) if since.elapsed() >= Duration::from_secs(7) => return None,
                (None, Some(_)) => {}
                (Some(_), _) => calm_since = None,
            }
            if began.elapsed() >= RESTLESS {
                return Some(Course::Stuck(self.unrest().unwrap_or_default()));
            }
        }
    }

    /// Why it is not over yet.
    fn unrest(&self) -> Option<String> {
        if self.server.in_flight() > 0 {
            self.server.land_all();
            return Some("inserts are under way".into());
        }
        if self.broker.is_late_commit_under_way() || !self.broker.state().is_stable() {
            return Some("the group is moving".into());
        }
        let stopped: BTreeSet<i32> = self.stopped().into_keys().chain(self.stood_still.iter().copied()).collect();
        let state = self.broker.state();
        for (partition, end) in self.ends() {
            let log = &state.logs[usize::try_from(partition).unwrap_or(0)];
            // A table that is put back under an idle owner is noticed by the next one.
            let committed = state.committed.get(&partition).map(|committed| committed.offset);
            let is_read = [end, committed].contains(&Some(log.end())) || end.is_none() && log.start == log.end();
            if !is_read && !stopped.contains(&partition) {
                return Some(format!("partition {partition} is read up to {end:?} of [{}, {})", log.start, log.end()));
            }
        }
        None
    }

    /// Whether a log was cut and retention took what would tell of it: records that nobody had read, or the beginning of the very batch that
    /// was cut, whose records can be counted no more.
    pub fn may_go_unnoticed(&self) -> bool {
        let state = self.broker.state();
        let is_uncountable = |&(index, cut): &(usize, i64)| {
            let of_cut =
                |row: &BatchesRow| usize::try_from(row.partition) == Ok(index) && row.offset_from <= cut && cut < row.offset_to;
            self.server.batches().iter().any(|row| of_cut(row) && row.offset_from < state.logs[index].start)
        };
        ["truncate", "eat"].iter().all(|kind| self.extraordinary.contains(kind)) || self.cuts.iter().any(is_uncountable)
    }

    pub fn problem(&self) -> Option<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

/// What producers write.
async fn produce(broker: Arc<Broker>, records: u64, class: Class) {
    let dice = broker.dice.clone();
    let tempo = *dice.pick(&[30, 300, 2000]);
    for _ in 0..records {
        dice.wait(tempo).await;
        let partition = usize::try_from(dice.below(broker.partitions() as u64)).unwrap_or(0);
        broker.append(partition, made(&dice));
        if class == Class::CreateTime {
            let jitter = dice.between(-4000, 4000);
            broker.state().logs[partition].shift_last(jitter);
        }
    }
}

/// A record, or an offset without one.
fn made(dice: &Dice) -> Option<Made> {
    let broken = dice.chance(60);
    let made =
        Made { key: u8::try_from(dice.below(6)).unwrap_or(0), variant: u8::try_from(dice.below(10) / 7).unwrap_or(0), broken };
    (!dice.chance(180)).then_some(made)
}

fn table_rates(dice: &Dice) -> TableRates {
    let rate = || u32::try_from(*dice.pick(&[0, 0, 20, 60, 150])).unwrap_or(0);
    TableRates {
        lost: rate(),
        answer_lost: rate(),
        error_inserted: rate(),
        error: rate(),
        burnt: rate(),
        late: rate(),
        question: rate() / 3,
        torn: 3 * rate(),
    }
}
