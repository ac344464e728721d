//! What a record costs the engine, alone on one core: good ones, one in ten malformed, and building the window for duplicates again.
//!
//! `tools/bench-engine` runs it. Everything is made up in memory by a seed, so there is nothing to measure but the engine: decode,
//! dedupe, price, fold and sort. Each pair that is compared runs alternately in one process; the best of the rounds counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_arithmetic, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox::price::Prices;
use made::{Dice, IDS_MAX, engine, event, prices, record};

mod made;

const RECORDS: u64 = 300_000;
const BATCH: u64 = 30_000;
const ROUNDS: usize = 5;
const CHUNK: u64 = 100_000;

/// What goes wrong in practice: cut in the middle, not JSON at all, a field missing, a value of the wrong kind, too old.
fn malformed(id: u64, dice: &mut Dice) -> Vec<u8> {
    let mut good = event(id, dice);
    let replaced = |good: &[u8], old: &str, new: &str| String::from_utf8_lossy(good).replacen(old, new, 1).into_bytes();
    match id % 5 {
        0 => {
            good.truncate(good.len() / 2);
            good
        }
        1 => format!("user-{id} used an agent").into_bytes(),
        2 => replaced(&good, r#""account":"#, r#""customer":"#),
        3 => replaced(&good, r#""input_tokens":"#, r#""input_tokens":-"#),
        _ => replaced(&good, r#""time":"2026"#, r#""time":"2024"#),
    }
}

fn records(first: u64, count: u64, malformed_of_ten: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(first);
    (first..first + count)
        .map(|id| if id % 10 < malformed_of_ten { malformed(id / 10, &mut dice) } else { event(id, &mut dice) })
        .collect()
}

/// Batches of all records, closed; how many were rejected.
fn fold(prices: &Arc<Prices>, values: &[Vec<u8>]) -> (Duration, u64) {
    let (mut engine, mut rejected) = (engine(prices), 0);
    let began = Instant::now();
    for (offset, value) in (0..).zip(values) {
        engine.apply(&record(offset, value));
        if engine.events() == BATCH {
            rejected += engine.close(engine.next()).rows.counts.rejected;
        }
    }
    rejected += engine.close(engine.next()).rows.counts.rejected;
    (began.elapsed(), rejected)
}

fn per_record(took: Duration, records: u64) -> f64 {
    took.as_secs_f64() * 1e9 / records as f64
}

fn main() {
    let prices = prices();
    let logs = [0, 1].map(|malformed_of_ten| records(0, RECORDS, malformed_of_ten));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (best, (log, expected)) in best.iter_mut().zip(logs.iter().zip([0, RECORDS / 10])) {
            let (took, rejected) = fold(&prices, log);
            assert_eq!(rejected, expected);
            *best = took.min(*best);
        }
    }
    let [good, mixed] = best.map(|took| per_record(took, RECORDS));
    println!("all good            {good:6.0} ns a record");
    println!("one in ten malformed {mixed:5.0} ns a record, {:.2} of the cost of good ones", mixed / good);
    drop(logs);

    let (mut engine, mut took) = (engine(&prices), Duration::ZERO);
    let (mut first, mut shown) = (0, 1);
    while first < IDS_MAX as u64 {
        let values = records(first, CHUNK, 0);
        let began = Instant::now();
        for (offset, value) in (first..).zip(&values) {
            engine.remember(&record(offset, value));
        }
        took += began.elapsed();
        first += CHUNK;
        if first == shown * 500_000 {
            println!("window of {first:7} ids built in {:.2} s, {:.0} ns a record", took.as_secs_f64(), per_record(took, first));
            shown *= 2;
        }
    }
    let (ids, bytes) = (engine.window().0, engine.window_bytes());
    println!("window of {ids:7} ids takes {} MiB, {:.1} bytes an id", bytes >> 20, bytes as f64 / ids as f64);
}
