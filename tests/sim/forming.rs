//! Batches of random events, formed by the real engine.

use std::sync::Arc;

use farebox::book::{self, Book};
use farebox::dedupe::{self, HashKey};
use farebox::engine::{Batch, Engine, Rules};
use farebox::model::{Record, Timestamp};
use farebox::price::Prices;
use farebox::{decode, sink};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const DAY_MS: i64 = 86_400_000;

/// A small price book, so that costs are of every kind: unpriced, zero, with nine decimals.
pub fn small_book() -> Book {
    let text = r#"
        [[account]]
        id = "delhi"
        time_zone = "Asia/Kolkata"
        session_anchor = "18:30"

        [[session_price]]
        account = "*"
        unit_session_cost = "0.5"

        [[rate]]
        account = "*"
        category = "llm"
        per_1k_input_tokens = "0.001"
        per_call = "0.000000001"
    "#;
    let file = book::parse(text, "book.toml").unwrap();
    let plan = book::plan(&Book::empty(), &file, Timestamp::from_millis(DAY_MS), "test", Timestamp::default(), false).unwrap();
    Book::from_rows(plan.rows)
}

pub fn rules() -> Rules {
    Rules {
        limits: decode::Limits { size_max: 2_048, age_max_ms: 70 * DAY_MS, ahead_max_ms: 600_000 },
        window: dedupe::Limits { window_ms: 60_000, ids_max: 50, expire_by_time: true },
        key: HashKey::new([7; 16]),
    }
}

/// A log that grows, and the batches it is cut into.
pub struct Forming {
    pub rng: Pcg64Mcg,
    engine: Engine,
    now: Timestamp,
}

impl Forming {
    /// Events happened up to two months before `now`.
    pub fn new(seed: u64, now: Timestamp, from: i64) -> Self {
        let mut engine = Engine::new(rules(), Arc::new(Prices::new(&small_book())), from);
        engine.begin(from);
        Self { rng: Pcg64Mcg::seed_from_u64(seed), engine, now }
    }

    /// The next batch: so many records, one in ten offsets without one.
    pub fn batch(&mut self, records: usize) -> Batch {
        let mut offset = self.engine.next();
        for _ in 0..records {
            offset += i64::from(self.rng.random_bool(0.1));
            self.now = self.now.plus_millis(self.rng.random_range(0..50));
            let value = self.value();
            let record = Record {
                offset,
                timestamp: self.now,
                leader_epoch: 3,
                key: Some(b"key"),
                value: Some(&value),
                headers: Vec::new(),
            };
            self.engine.apply(&record);
            offset += 1;
        }
        let to = offset.max(self.engine.from() + 1) + i64::from(self.rng.random_bool(0.2));
        self.engine.close(to)
    }

    fn value(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        if rng.random_bool(0.1) {
            return [b"{".as_slice(), &[0xff, 0, 10], b"not an event"][rng.random_range(0..3)].to_vec();
        }
        let ago = if rng.random_bool(0.3) { rng.random_range(0..60 * DAY_MS) } else { rng.random_range(0..5_000) };
        let pick = |rng: &mut Pcg64Mcg, of: &[&'static str]| of[rng.random_range(0..of.len())];
        format!(
            r#"{{"id":"e{}","source":"{}","time":"{}","account":"{}","user":"{}","platform":"{}","agent":"a","category":"{}","input_tokens":{},"quantity":"0.5"}}"#,
            rng.random_range(0..200),
            pick(rng, &["", "s"]),
            self.now.plus_millis(-ago),
            pick(rng, &["delhi", "nobody", "ünï'cø"]),
            pick(rng, &["", "ann", "bob", "cleo"]),
            pick(rng, &["", "web", "whatsapp"]),
            pick(rng, &["llm", "training"]),
            rng.random_range(0..3_000),
        )
        .into_bytes()
    }
}

/// Where such batches come from.
pub fn origin(partition: i32) -> sink::Origin {
    sink::Origin { source_epoch: "1".into(), topic: "usage.events".into(), partition, topic_id: "aB/+9".into() }
}
