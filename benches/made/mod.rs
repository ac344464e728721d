//! Events made up by a seed, the book that prices them, and the rules they are taken by.
#![allow(dead_code)] // each bench takes what it needs

use std::sync::Arc;

use farebox::book::{self, Book};
use farebox::engine::{Engine, Rules};
use farebox::model::{Record, Timestamp};
use farebox::price::Prices;
use farebox::{decode, dedupe};

pub const NOON: i64 = 1_772_366_400_000; // 2026-03-01T12:00:00Z
pub const IDS_MAX: usize = 2_000_000;
pub const LIMITS: decode::Limits = decode::Limits { size_max: 256 << 10, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 };
pub const WINDOW: dedupe::Limits = dedupe::Limits { window_ms: 900_000, ids_max: IDS_MAX, expire_by_time: true };

const BOOK: &str = r#"
[[account]]
id = "load-1"
time_zone = "Asia/Kolkata"

[[session_price]]
account = "*"
unit_session_cost = "0.2"

[[rate]]
account = "*"
category = "llm"
per_1k_input_tokens = "0.4"
per_1k_output_tokens = "1.6"
"#;

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

pub fn event(id: u64, dice: &mut Dice) -> Vec<u8> {
    let time = Timestamp::from_millis(NOON - i64::try_from(dice.roll(3_600_000)).unwrap());
    let (account, user, agent) = (dice.roll(20) + 1, dice.roll(2_000), dice.roll(8));
    let (tokens, words, took) = (dice.roll(8_000), dice.roll(2_000), dice.roll(60_000));
    let hash = dice.roll(u64::MAX);
    format!(
        r#"{{"id":"{hash:016x}-{id}","source":"farebox-produce","time":"{time}","account":"load-{account}","platform":"whatsapp","user":"user-{user}","agent":"support-triage-{agent}","category":"llm","model":"gpt-4o-mini","duration_ms":{took},"input_tokens":{tokens},"cached_input_tokens":{cached},"output_tokens":{words}}}"#,
        cached = tokens / 3
    )
    .into_bytes()
}

pub fn record(offset: u64, value: &[u8]) -> Record<'_> {
    let timestamp = Timestamp::from_millis(NOON + i64::try_from(offset / 2_000).unwrap());
    Record {
        offset: offset.try_into().unwrap(),
        timestamp,
        leader_epoch: 0,
        key: Some(b"load-1"),
        value: Some(value),
        headers: Vec::new(),
    }
}

pub fn key() -> dedupe::HashKey {
    dedupe::HashKey::new([7; 16])
}

pub fn engine(prices: &Arc<Prices>) -> Engine {
    Engine::new(Rules { limits: LIMITS, window: WINDOW, key: key() }, Arc::clone(prices), 0)
}

pub fn prices() -> Arc<Prices> {
    let file = book::parse(BOOK, "book.toml").unwrap();
    let plan = book::plan(&Book::empty(), &file, Timestamp::from_millis(NOON), "bench", Timestamp::default(), false).unwrap();
    Arc::new(Prices::new(&Book::from_rows(plan.rows)))
}
