//! What each part of the way from a record to bytes costs an event, apart: instructions, time and allocations.
//!
//! `tools/bench-parts` runs it. Everything is made up in memory by a seed. Instructions are counted by valgrind (the bench starts
//! itself under it, part by part), so they are the same on a busy machine and on a quiet one; the time is the best of some rounds.
//! What a part makes is dropped outside of what is measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_arithmetic, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox::aggregate::users::State;
use farebox::aggregate::{Accepted, Fold, HashSeed, Rows};
use farebox::decode;
use farebox::dedupe::{Fingerprint, Window};
use farebox::model::{Clocks, Event, Record, Timestamp};
use farebox::price::Prices;
use made::{Dice, LIMITS, NOON, WINDOW, engine, event, key, prices, record};

mod counted;
mod made;

/// As many as a batch has on one of six partitions.
const EVENTS: u64 = 20_000;
/// Ids that the window holds before anything is measured.
const REMEMBERED: u64 = 400_000;
const ROUNDS: usize = 9;

type Part = (&'static str, fn(&Log, &mut Meter));

const PARTS: &[Part] = &[
    ("decode", decoding),
    ("fingerprint", fingerprinting),
    ("window", window),
    ("price", pricing),
    ("fold", folding),
    ("finish", finishing),
    ("states", states),
    #[cfg(feature = "service")]
    ("blocks", service::blocks),
    #[cfg(feature = "service")]
    ("chunk", service::chunk),
    ("engine", whole),
];

struct Log {
    values: Vec<Vec<u8>>,
    prices: Arc<Prices>,
}

impl Log {
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (0..).zip(&self.values).map(|(offset, value)| record(offset, value))
    }

    fn events(&self) -> Vec<Event<'_>> {
        self.records().map(|record| decode::decode(&record, &LIMITS).unwrap().event).collect()
    }

    fn accepted<'a>(&self, events: &'a [Event<'a>]) -> Vec<Accepted<'a>> {
        let (key, mut clocks) = (key(), Clocks::default());
        (0..).zip(events).map(|(offset, event)| accepted(&self.prices, &mut clocks, &key, offset, event)).collect()
    }

    fn rows(&self) -> Rows {
        let events = self.events();
        let mut fold = Fold::seeded(HashSeed::default());
        self.accepted(&events).iter().for_each(|row| fold.accept(row));
        fold.finish()
    }
}

fn accepted<'a>(
    prices: &Prices,
    clocks: &mut Clocks,
    key: &farebox::dedupe::HashKey,
    offset: i64,
    event: &'a Event<'a>,
) -> Accepted<'a> {
    let terms = prices.terms(&event.account, event.time);
    let cost = prices.cost(event, &terms);
    let local = clocks.local(terms.zone, event.time);
    let session = terms.anchor.session_of(event.time);
    Accepted {
        event,
        content: 0,
        offset,
        received_at: Timestamp::from_millis(NOON),
        day: local.day,
        hour: local.hour,
        session,
        session_day: clocks.local(terms.zone, session.start()).day,
        user_hash: key.user_hash(&event.account, &event.user),
        cost: cost.credits,
        priced: cost.priced,
        unattributed: false,
    }
}

/// Runs a part, and keeps what it cost.
struct Meter {
    rounds: usize,
    time: Duration,
    allocations: u64,
}

impl Meter {
    fn run<T, R>(&mut self, mut prepare: impl FnMut() -> T, mut work: impl FnMut(T) -> R) {
        for _ in 0..self.rounds {
            let input = prepare();
            let (allocated, began) = (counted::allocations(), Instant::now());
            let made = measured(|| work(input));
            self.time = self.time.min(began.elapsed());
            self.allocations = counted::allocations() - allocated;
            made_use_of(made);
        }
    }
}

/// What is run in here is counted.
#[inline(never)]
fn measured<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// As far as the compiler can know.
fn made_use_of<T>(made: T) {
    drop(black_box(made));
}

fn decoding(log: &Log, meter: &mut Meter) {
    meter.run(|| (), |()| log.records().filter(|record| black_box(decode::decode(record, &LIMITS)).is_ok()).count());
}

fn fingerprinting(log: &Log, meter: &mut Meter) {
    let (events, key) = (log.events(), key());
    meter.run(|| (), |()| events.iter().for_each(|event| made_use_of(key.fingerprint(event))));
}

/// New ids, each of which makes an old one leave.
fn window(_: &Log, meter: &mut Meter) {
    let mut dice = Dice(1);
    let mut fingerprint = || Fingerprint { key: dice.roll(u64::MAX), payload: dice.roll(u64::MAX) };
    let mut window = Window::new(farebox::dedupe::Limits { window_ms: REMEMBERED as i64, ..WINDOW });
    let mut next = 0;
    let mut observe = |window: &mut Window, fingerprint| {
        next += 1;
        window.observe(fingerprint, next, Timestamp::from_millis(NOON + next))
    };
    for _ in 0..REMEMBERED {
        let _ = observe(&mut window, fingerprint());
    }
    meter.run(
        || (0..EVENTS).map(|_| fingerprint()).collect::<Vec<_>>(),
        |fingerprints| fingerprints.into_iter().for_each(|fingerprint| made_use_of(observe(&mut window, fingerprint))),
    );
}

fn pricing(log: &Log, meter: &mut Meter) {
    let (events, key, mut clocks) = (log.events(), key(), Clocks::default());
    meter.run(|| (), |()| events.iter().for_each(|event| made_use_of(accepted(&log.prices, &mut clocks, &key, 0, event))));
}

fn folding(log: &Log, meter: &mut Meter) {
    let events = log.events();
    let rows = log.accepted(&events);
    meter.run(
        || Fold::seeded(HashSeed::default()),
        |mut fold| {
            rows.iter().for_each(|row| fold.accept(row));
            fold
        },
    );
}

fn finishing(log: &Log, meter: &mut Meter) {
    let events = log.events();
    let rows = log.accepted(&events);
    let prepare = || {
        let mut fold = Fold::seeded(HashSeed::default());
        rows.iter().for_each(|row| fold.accept(row));
        fold
    };
    meter.run(prepare, Fold::finish);
}

fn states(log: &Log, meter: &mut Meter) {
    let rows = log.rows();
    meter.run(
        || Vec::with_capacity(1 << 20),
        |mut out| {
            let sessions = rows.session_users.values().flat_map(|block| block.rows());
            sessions.for_each(|row| State::of(row.users).for_each(|state| state.write(&mut out)));
            out
        },
    );
}

fn whole(log: &Log, meter: &mut Meter) {
    let mut engine = engine(&log.prices);
    let mut next = 0;
    meter.run(
        || (),
        |()| {
            // Offsets and time go on; an id comes again when the window has forgotten it.
            for record in log.records() {
                let timestamp = Timestamp::from_millis(NOON + next * 50);
                engine.apply(&Record { offset: next, timestamp, ..record });
                next += 1;
            }
            engine.close(engine.next())
        },
    );
}

#[cfg(feature = "service")]
mod service {
    use farebox::sink::{self, Origin, Stamp};
    use farebox::source::Chunk;

    use super::*;

    pub fn blocks(log: &Log, meter: &mut Meter) {
        let rows = log.rows();
        let origin = Origin {
            source_epoch: "1772366400000".into(),
            topic: "usage.events".into(),
            partition: 3,
            topic_id: "d4aWVvLlTFiAmNWkRI5YBQ".into(),
        };
        let stamp = Stamp { from: 0, to: EVENTS as i64, price_version: 1, written_at: Timestamp::from_millis(NOON) };
        meter.run(|| (), |()| sink::blocks(&rows, &origin, &stamp));
    }

    pub fn chunk(log: &Log, meter: &mut Meter) {
        meter.run(Chunk::default, |mut chunk| {
            log.records().for_each(|record| chunk.push(&record));
            chunk.iter().for_each(made_use_of);
            chunk
        });
    }
}

/// What valgrind counts while a part runs once.
fn instructions(part: &str) -> Option<u64> {
    let bench = std::env::current_exe().unwrap();
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=parts::measured*"])
        .arg(bench)
        .args(["--part", part])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&valgrind.stderr);
    said.lines().find_map(|line| line.split_once("Collected : ")).and_then(|(_, count)| count.trim().parse().ok())
}

fn main() {
    let mut dice = Dice(0);
    let log = Log { values: (0..EVENTS).map(|id| event(id, &mut dice)).collect(), prices: prices() };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    if named("--part") {
        let rounds = 1;
        let (_, run) = PARTS.iter().find(|(name, _)| named(name)).unwrap();
        return run(&log, &mut Meter { rounds, time: Duration::MAX, allocations: 0 });
    }
    let bytes: usize = log.values.iter().map(Vec::len).sum();
    println!("{EVENTS} events of {} bytes on average, one batch; figures are for one event", bytes as u64 / EVENTS);
    println!("{:<12} {:>12} {:>8} {:>12}", "part", "instructions", "ns", "allocations");
    for (name, run) in PARTS {
        let mut meter = Meter { rounds: ROUNDS, time: Duration::MAX, allocations: 0 };
        run(&log, &mut meter);
        let per_event = |count: f64| count / EVENTS as f64;
        let instructions = instructions(name).map_or("-".to_owned(), |count| format!("{:.0}", per_event(count as f64)));
        let (ns, allocations) = (per_event(meter.time.as_secs_f64() * 1e9), per_event(meter.allocations as f64));
        println!("{name:<12} {instructions:>12} {ns:>8.0} {allocations:>12.4}");
    }
}
