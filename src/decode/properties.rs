//! What holds for any bytes, and for any way to write the same event.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::model::{Header, Timestamp};

const LIMITS: Limits = Limits { size_max: 2_048, age_max_ms: 86_400_000, ahead_max_ms: 600_000 };
const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000); // 2026-03-01T12:00:00Z

/// A member as it may be written: name and JSON value.
type Member = (String, String);

/// What holds whatever the record is.
fn check_bounds(record: &Record<'_>) -> Result<(), TestCaseError> {
    match decode(record, &LIMITS) {
        Ok(decoded) => {
            let event = decoded.event;
            for required in [&event.id, &event.account, &event.agent, &event.category] {
                prop_assert!(!required.is_empty());
            }
            for (text, chars_max) in [(&event.id, 128), (&event.source, 128), (&event.account, 64), (&event.user, 256)] {
                prop_assert!(text.chars().count() <= chars_max && !text.chars().any(char::is_control));
            }
            prop_assert!(event.account != "*" && event.category != "session");
            prop_assert!((record.timestamp.millis() - event.time.millis()) <= LIMITS.age_max_ms);
            prop_assert!((event.time.millis() - record.timestamp.millis()) <= LIMITS.ahead_max_ms);
        }
        Err(reject) => {
            prop_assert!(!reject.detail.is_empty());
            prop_assert!(reject.detail.chars().count() <= DETAIL_CHARS_MAX, "{}", reject.detail);
            prop_assert!(!reject.detail.chars().any(char::is_control), "{}", reject.detail);
            prop_assert!(reject.account.chars().count() <= 64 && !reject.account.chars().any(char::is_control));
        }
    }
    Ok(())
}

fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// The same text with some characters written as escapes.
fn escaped(value: &str, every: usize) -> String {
    let mut units = [0_u16; 2];
    let mut written = String::from("\"");
    for (n, c) in value.chars().enumerate() {
        if n % every == 0 || c == '"' || c == '\\' {
            c.encode_utf16(&mut units).iter().for_each(|unit| written += &format!("\\u{unit:04x}"));
        } else {
            written.push(c);
        }
    }
    written + "\""
}

fn name(chars_max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>().prop_filter("no control characters", |c| !c.is_control()), 1..=chars_max)
        .prop_map(|chars| chars.into_iter().collect::<String>())
        .prop_filter("not reserved", |name| name != "*" && name != "session")
}

/// The members of a valid event, most optional ones sometimes there.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let required = (name(128), 0_i64..86_400_000, name(64), name(128), name(32)).prop_map(|(id, ago, account, agent, category)| {
        let time = NOON.plus_millis(-ago).to_string();
        [("id", id), ("time", time), ("account", account), ("agent", agent), ("category", category)]
            .map(|(name, value)| (name.to_owned(), text(&value)))
            .to_vec()
    });
    let names = proptest::collection::btree_map(select(vec!["source", "platform", "user", "model"]), name(64), 0..=4);
    let integers = ["duration_ms", "input_tokens", "output_tokens", "cached_input_tokens"].to_vec();
    let integers = proptest::collection::btree_map(select(integers), 0_u64..1 << 53, 0..=4);
    let amounts = proptest::collection::btree_map(select(vec!["quantity", "credits"]), "[0-9]{1,12}(\\.[0-9]{1,9})?", 0..=2);
    (required, names, integers, amounts).prop_map(|(mut members, names, integers, amounts)| {
        members.extend(names.into_iter().chain(amounts).map(|(name, value)| (name.to_owned(), text(&value))));
        members.extend(integers.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())));
        members
    })
}

fn document(members: &[Member], space: &str) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}")).collect();
    format!("{space}{{{}}}{space}", members.join(","))
}

fn record<'a>(value: &'a [u8], headers: Vec<Header<'a>>) -> Record<'a> {
    Record { offset: 0, timestamp: NOON, leader_epoch: 0, key: None, value: Some(value), headers }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(select(br#"{}[]",:\u0d8 1e.-nulltrefasi"#.to_vec()), 0..120),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let names = ["ce_specversion", "ce_id", "ce_source", "ce_time", "content-type"].map(|name| name.as_bytes().to_vec()).to_vec();
    let values = ["1.0", "2026-03-01T12:00:00Z", "application/cloudevents+json", "application/cloudevents-batch+json;x"];
    let values = values.map(|value| value.as_bytes().to_vec()).to_vec();
    let name = prop_oneof![select(names), bytes()];
    let value = proptest::option::of(prop_oneof![select(values), bytes()]);
    proptest::collection::vec((name, value), 0..5)
}

fn borrowed(headers: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_event_or_a_bounded_reject(
        value in proptest::option::of(bytes()), key in proptest::option::of(bytes()), headers in headers(), timestamp in any::<i64>(),
    ) {
        let headers = borrowed(&headers);
        let timestamp = Timestamp::from_millis(timestamp);
        check_bounds(&Record { offset: 0, timestamp, leader_epoch: 0, key: key.as_deref(), value: value.as_deref(), headers })?;
    }

    #[test]
    fn a_mutated_event_ends_in_an_event_or_a_bounded_reject(
        members in members(), edits in proptest::collection::vec((any::<Index>(), any::<u8>(), 0..3), 0..4),
        envelope in any::<bool>(), headers in headers(),
    ) {
        let mut value = document(&members, "").into_bytes();
        if envelope {
            value = [br#"{"specversion":"1.0","data":"#, value.as_slice(), b"}"].concat();
        }
        for (place, byte, kind) in edits {
            let place = place.index(value.len());
            match kind {
                0 => value[place] = byte,
                1 => value.insert(place, byte),
                _ => value.truncate(place + 1),
            }
        }
        check_bounds(&record(&value, borrowed(&headers)))?;
    }

    #[test]
    fn an_event_is_the_same_in_any_order_spacing_and_escaping(
        (members, shuffled) in members().prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        space in select(vec!["", " ", "\n", "\t \r\n"]), every in 1_usize..4,
    ) {
        let plain = document(&members, "");
        let rewritten: Vec<Member> = shuffled
            .into_iter()
            .map(|(name, value)| match serde_json::from_str::<String>(&value) {
                Ok(text) => (name, escaped(&text, every)),
                Err(_) => (name, value),
            })
            .collect();
        let other = document(&rewritten, space);
        let limits = Limits { size_max: usize::MAX, ..LIMITS };
        let (plain, other) = (record(plain.as_bytes(), Vec::new()), record(other.as_bytes(), Vec::new()));
        let decoded = decode(&plain, &limits);
        prop_assert!(decoded.is_ok(), "{decoded:?}");
        prop_assert_eq!(decoded, decode(&other, &limits));
    }

    #[test]
    fn what_is_decoded_is_what_was_written(members in members()) {
        let value = document(&members, "");
        let record = record(value.as_bytes(), Vec::new());
        let event = decode(&record, &Limits { size_max: usize::MAX, ..LIMITS }).expect("a valid event").event;
        let written: serde_json::Value = serde_json::from_str(&value).expect("JSON");
        let text = |name: &str| written[name].as_str().unwrap_or_default().to_owned();
        for (name, value) in [("id", &event.id), ("account", &event.account), ("user", &event.user), ("model", &event.model),
            ("source", &event.source), ("platform", &event.platform), ("agent", &event.agent), ("category", &event.category)]
        {
            prop_assert_eq!(value, &text(name), "{}", name);
        }
        prop_assert_eq!(event.time.to_string(), text("time"));
        prop_assert_eq!(event.input_tokens, written["input_tokens"].as_u64());
        prop_assert_eq!(event.cached_input_tokens, written["cached_input_tokens"].as_u64());
        prop_assert_eq!(event.output_tokens, written["output_tokens"].as_u64());
        prop_assert_eq!(event.duration_ms, written["duration_ms"].as_u64());
        prop_assert_eq!(event.quantity, text("quantity").parse().ok());
        prop_assert_eq!(event.credits, text("credits").parse().ok());
    }

    #[test]
    fn the_quick_way_and_the_thorough_one_agree(
        members in members(), place in any::<Index>(), byte in any::<u8>(), change in any::<bool>(),
    ) {
        let mut value = document(&members, "").into_bytes();
        if change {
            let place = 1 + place.index(value.len() - 1);
            value[place] = byte;
        }
        // A nested value is more than the quick way takes.
        let thorough = [b"{\"nested\":{},", &value[1..]].concat();
        let limits = Limits { size_max: usize::MAX, ..LIMITS };
        let (value, thorough) = (record(&value, Vec::new()), record(&thorough, Vec::new()));
        match (decode(&value, &limits), decode(&thorough, &limits)) {
            (Ok(quick), Ok(thorough)) => {
                prop_assert_eq!(quick.event, thorough.event);
                prop_assert_eq!(quick.unknown_fields.len() + 1, thorough.unknown_fields.len());
            }
            (Err(quick), Err(thorough)) => prop_assert_eq!((quick.reason, quick.account), (thorough.reason, thorough.account)),
            (quick, thorough) => prop_assert!(false, "{:?} but {:?}", quick, thorough),
        }
    }

    #[test]
    fn what_serde_json_does_not_read_is_malformed(value in bytes()) {
        let is_object = serde_json::from_slice::<serde_json::Value>(&value).is_ok_and(|value| value.is_object());
        let is_malformed = decode(&record(&value, Vec::new()), &LIMITS).is_err_and(|reject| reject.reason == Reason::Malformed);
        prop_assert!(is_object || is_malformed);
    }
}
