//! What must hold for any bytes: bodies of properties, for `cargo test` (tests/corpus.rs) and for the targets in fuzz/.
//!
//! Each takes bytes as an attacker would send them and panics when a promise is broken. What became of them is the answer.

use std::sync::{Arc, LazyLock};

use farebox::book::{self, Book};
use farebox::decode::{self, DETAIL_CHARS_MAX};
use farebox::dedupe;
use farebox::engine::{Engine, Rules};
use farebox::model::{Event, Header, Reason, Record, Timestamp};
use farebox::price::Prices;

const NOON: Timestamp = Timestamp::from_millis(1_772_884_800_000); // 2026-03-07T12:00:00Z
const LIMITS: decode::Limits = decode::Limits { size_max: 256 << 10, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 };

fn rules() -> Rules {
    let window = dedupe::Limits { window_ms: 900_000, ids_max: 100, expire_by_time: true };
    Rules { limits: LIMITS, window, key: dedupe::HashKey::new([7; 16]) }
}

fn prices() -> Arc<Prices> {
    static PRICES: LazyLock<Arc<Prices>> = LazyLock::new(|| Arc::new(Prices::new(&Book::empty())));
    Arc::clone(&PRICES)
}

/// Bytes as the value of a plain record: accepted, or the reason why not.
pub fn event(value: &[u8]) -> Result<(), Reason> {
    record(&[], value)
}

/// Headers as lines of `name: value`, an empty line, the record's value.
pub fn cloud_event(bytes: &[u8]) -> Result<(), Reason> {
    let mut headers = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        headers.push(match line.windows(2).position(|pair| pair == b": ") {
            Some(colon) => Header { name: &line[..colon], value: Some(&line[colon + 2..]) },
            None => Header { name: line, value: None },
        });
    }
    record(&headers, rest)
}

/// A line end before a document changes nothing but how it is read: in the slow way, which takes all of JSON.
fn one_meaning(record: &Record<'_>, decoded: Result<&decode::Decoded<'_>, (Reason, &String)>) {
    let value = record.value.unwrap_or_default();
    let slowly = [b"\n", value].concat();
    if value.is_empty() || slowly.len() > LIMITS.size_max {
        return;
    }
    let slow = decode::decode(&Record { value: Some(&slowly), ..record.clone() }, &LIMITS);
    assert_eq!(decoded, slow.as_ref().map_err(|reject| (reject.reason, &reject.account)), "the quick way and the slow one differ");
}

fn record(headers: &[Header<'_>], value: &[u8]) -> Result<(), Reason> {
    let at = |offset| Record { offset, timestamp: NOON, leader_epoch: 0, key: None, value: Some(value), headers: headers.to_vec() };
    let decoded = decode::decode(&at(0), &LIMITS);
    assert_eq!(decoded, decode::decode(&at(7), &LIMITS), "the same bytes are read in two ways");
    one_meaning(&at(0), decoded.as_ref().map_err(|reject| (reject.reason, &reject.account)));
    match &decoded {
        Ok(decoded) => lawful(&decoded.event),
        Err(reject) => {
            let tame = |text: &str, chars: usize| text.chars().count() <= chars && !text.chars().any(char::is_control);
            assert!(!reject.detail.is_empty() && tame(&reject.detail, DETAIL_CHARS_MAX), "{:?}", reject.detail);
            assert!(tame(&reject.account, 64), "{:?}", reject.account);
        }
    }
    // Twice, between good ones: nothing of theirs changes.
    let good = |n| format!(r#"{{"id":"g{n}","time":"{NOON}","account":"good","agent":"a","category":"llm"}}"#).into_bytes();
    let (before, behind) = (good(0), good(1));
    let mut engine = Engine::new(rules(), prices(), 0);
    for (offset, record) in [
        Record { value: Some(&before), headers: Vec::new(), ..at(0) },
        at(1),
        at(2),
        Record { value: Some(&behind), headers: Vec::new(), ..at(3) },
    ]
    .iter()
    .enumerate()
    {
        engine.apply(record);
        assert_eq!(engine.events(), offset as u64 + 1);
    }
    let batch = engine.close(4);
    let counts = batch.rows.counts;
    let is_good = u64::from(decoded.is_ok());
    assert_eq!((counts.received, counts.accepted, counts.duplicates), (4, 2 + is_good, is_good));
    assert_eq!(counts.rejected, 2 * (1 - is_good));
    assert_eq!(batch.dead_letters.len() as u64, counts.rejected);
    assert!(
        batch.dead_letters.iter().all(|letter| letter.value.as_deref() == Some(value)),
        "a dead letter is the record as it came"
    );
    let logged: Vec<i64> = batch.rows.usage_log.values().flat_map(|block| block.rows()).map(|row| row.offset).collect();
    assert!(logged.contains(&0) && logged.contains(&3) && logged.len() as u64 == counts.accepted);
    decoded.map(|_| ()).map_err(|reject| reject.reason)
}

/// What an accepted event keeps to, whatever it was written as.
fn lawful(event: &Event<'_>) {
    let lengths = [
        (&event.id, 128),
        (&event.source, 128),
        (&event.account, 64),
        (&event.platform, 64),
        (&event.user, 256),
        (&event.agent, 128),
        (&event.category, 32),
        (&event.model, 128),
    ];
    for (text, chars) in lengths {
        assert!(text.chars().count() <= chars && !text.chars().any(char::is_control), "{text:?}");
    }
    assert!([&event.id, &event.account, &event.agent, &event.category].iter().all(|text| !text.is_empty()));
    assert!(event.account != "*" && event.category != "session");
    let ahead = event.time.millis() - NOON.millis();
    assert!((-LIMITS.age_max_ms..=LIMITS.ahead_max_ms).contains(&ahead));
    let numbers = [event.duration_ms, event.input_tokens, event.cached_input_tokens, event.output_tokens];
    assert!(numbers.into_iter().flatten().all(|number| number < 1 << 53));
    let amounts = [event.quantity.map(|amount| amount.nanos()), event.credits.map(|amount| amount.nanos())];
    assert!(amounts.into_iter().flatten().all(|nanos| (0..10_i128.pow(21)).contains(&nanos)));
}

/// Bytes as a price book: whether it was taken. One that was taken changes nothing the second time.
pub fn price_book(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let planned = |current: &Book| {
        let file = book::parse(text, "book.toml")?;
        book::plan(current, &file, NOON, "test", Timestamp::default(), false)
    };
    let plan = planned(&Book::empty()).map_err(|error| {
        let (shown, refusal) = (error.to_string(), error.refusal());
        assert!(refusal.line >= 1 && refusal.column >= 1 && !refusal.message.is_empty(), "{shown}");
        assert!(shown.contains(&format!("book.toml:{}", refusal.line)), "{shown}");
        assert!(shown.len() < 2_000 + 4 * text.len(), "{} bytes of complaint", shown.len());
        shown
    })?;
    let applied = Book::from_rows(plan.rows);
    let prices = Prices::new(&applied);
    prices.terms("acme", NOON);
    let again = planned(&applied).unwrap_or_else(|error| panic!("taken once, refused the second time: {error}"));
    assert!(
        again.is_empty(),
        "applied twice, it changes something: {:?}",
        again.changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    Ok(())
}

#[cfg(feature = "service")]
const SECRET: &str = "do-not-show-me";

/// Lines of the corpus in which a secret stands where people put one. Elsewhere, after a change, it is a name or a path like any other.
#[cfg(feature = "service")]
const SECRET_LINES: [&str; 4] = [
    "password = [\"do-not-show-me\"]",
    "pasword = \"do-not-show-me\"",
    "password = \"do-not-show-me",
    "url = \"http://me:do-not-show-me@127.0.0.1:8123\"",
];

/// Bytes as a configuration file: whether it was taken. No complaint shows a secret.
#[cfg(feature = "service")]
pub fn configuration(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let is_secret = text.split('\n').filter(|line| line.contains(SECRET)).all(|line| SECRET_LINES.contains(&line));
    let shows_it = |shown: &str| is_secret && shown.contains(SECRET);
    let config = farebox::config::Config::from_toml("farebox.toml", text).map_err(|error| {
        let shown = error.to_string();
        assert!(!shown.is_empty() && shown.len() < 2_000 + 4 * text.len(), "{} bytes of complaint", shown.len());
        assert!(!shows_it(&shown), "{shown}");
        shown
    })?;
    assert!(config.shown().count() > 50);
    assert!(!config.shown().any(|shown| shows_it(shown.value)));
    assert!(!shows_it(&format!("{config:?}")));
    Ok(())
}
