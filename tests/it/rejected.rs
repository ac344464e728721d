//! `farebox rejected`: what was rejected can be listed and read whole, and is charged once however often it is sent again.

use std::collections::BTreeMap;

use farebox::runtime::clock;
use serde_json::{Value, json};

use super::quick::{event, event_at, quick, wait_for_received};
use super::scenario::header;
use super::servers::{ClickHouse, Farebox, Kafka, Message, Output};

fn rows(output: &Output) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// What became of each, by its offset.
fn outcomes(output: &Output) -> BTreeMap<i64, String> {
    rows(output).iter().map(|row| (row["offset"].as_i64().unwrap(), row["outcome"].as_str().unwrap().to_owned())).collect()
}

fn expected(outcomes: &[(i64, &str)]) -> BTreeMap<i64, String> {
    outcomes.iter().map(|(offset, outcome)| (*offset, (*outcome).to_owned())).collect()
}

/// The six reasons, at offsets 1 to 8; 0 is accepted. Three of them will be accepted under other limits.
fn records() -> Vec<Message> {
    let ahead = clock::now().plus_millis(3_600_000);
    let own = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let mut conflict: Value = serde_json::from_slice(event("acme", "0").value.as_deref().unwrap()).unwrap();
    conflict["agent"] = json!("another");
    let mut long: Value = serde_json::from_slice(event_at("acme", "long", ahead).value.as_deref().unwrap()).unwrap();
    long["note"] = json!("x".repeat(20_000));
    // Only with its headers is it the event that it is.
    let binary = Message {
        headers: vec![
            own("ce_specversion", b"1.0"),
            own("ce_id", b"binary"),
            own("ce_source", b"urn:test"),
            own("trace", &[0, 255]),
            ("empty".to_owned(), None),
        ],
        ..event_at("acme", "inner", ahead)
    };
    vec![
        event("acme", "0"),
        Message::new("globex", "{"),
        Message::new("acme", json!({"id": "no-time", "account": "acme", "agent": "a", "category": "llm"}).to_string()),
        Message::new("acme", conflict.to_string()),
        binary,
        Message::new("acme", long.to_string()),
        event_at("acme", "ahead", ahead),
        Message { key: None, ..Message::new("", [0xff, 0, 1]) },
    ]
}

#[test]
fn rejected_events_are_listed_shown_whole_and_charged_once_when_they_are_sent_again() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    // The long one does not fit into the dead-letter topic: only its key is kept there.
    kafka.client.create_topic(&farebox.dead_letter_topic, 2, &[("max.message.bytes", "10000")]);
    farebox.set("dedupe.window", "2s");
    farebox.run(&["migrate"]).expect_success();
    let (topic, database) = (farebox.topic.clone(), farebox.database.clone());
    let mut instance = farebox.start();
    instance.wait_until_ready();
    let sent = records();
    kafka.client.produce(&topic, &sent);
    let seen = wait_for_received(clickhouse, &mut instance, &database, 8);
    assert_eq!((seen.accepted, seen.rejected), (1, 7));

    let json = |farebox: &Farebox, arguments: &[&str]| farebox.run(&[&["rejected"], arguments, &["--format", "json"]].concat());
    let listed = rows(&json(&farebox, &["list"]).expect_success());
    let reasons: Vec<&str> = listed.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    let ahead = "time_out_of_range";
    assert_eq!(reasons, ["malformed", "missing_field", "id_conflict", ahead, ahead, ahead, "malformed"]);
    assert_eq!(listed[4]["payload"].as_str().unwrap().len(), 16 * 1024);
    let count = |arguments: &[&str]| rows(&json(&farebox, &[&["list"], arguments].concat()).expect_success()).len();
    assert_eq!(count(&["--reason", ahead, "--account", "acme"]), 3);
    assert_eq!((count(&["--account", "globex"]), count(&["--since", "1h"]), count(&["--limit", "2"])), (0, 7, 2));
    assert_eq!((count(&["--from", "2020-01-01", "--to", "2020-01-02"]), count(&["--reason", "malformed"])), (0, 2));
    let counts = rows(&json(&farebox, &["list", "--counts"]).expect_success());
    assert_eq!(counts[0]["events"], 3);
    assert_eq!(json(&farebox, &["list", "--reason", "bad"]).status.code(), Some(2));
    assert!(farebox.run(&["rejected", "list"]).expect_success().stdout.contains("0/3"));

    // Each as it was sent: from the dead letters, and the long one from where it lay.
    for (offset, message) in sent.iter().enumerate().take(8).skip(1) {
        let shown = rows(&json(&farebox, &["show", &format!("0/{offset}")]).expect_success()).remove(0);
        assert_eq!(shown["value"], String::from_utf8_lossy(message.value.as_deref().unwrap()).into_owned(), "{offset}");
        let key = message.key.as_deref().map_or(Value::Null, |key| json!(String::from_utf8_lossy(key)));
        assert_eq!((&shown["key"], shown["headers"].as_array().unwrap().len()), (&key, message.headers.len()), "{offset}");
    }
    let raw = farebox.run(&["rejected", "show", "0/5", "--raw"]).expect_success();
    assert_eq!(raw.stdout.as_bytes(), sent[5].value.as_deref().unwrap());
    let unknown = farebox.run(&["rejected", "show", "0/0"]);
    assert!(unknown.status.code() == Some(1) && unknown.stderr.contains("no rejected event lay at 0/0"), "{unknown:?}");

    // Nothing is mended yet: nothing would be sent.
    assert_eq!(json(&farebox, &["replay"]).status.code(), Some(2));
    let dry = json(&farebox, &["replay", "--all"]).expect_success();
    let wrong = |offsets: &[i64]| offsets.iter().map(|offset| (*offset, "wrong")).collect::<Vec<_>>();
    assert_eq!(outcomes(&dry), expected(&[&wrong(&[1, 2, 4, 5, 6, 7])[..], &[(3, "charged")]].concat()));
    assert!(dry.stderr.contains("0 of 7 rejected events would be sent; nothing was sent"), "{}", dry.stderr);

    // Mended: the three that come too early may now. They are sent while nobody meters, twice.
    assert_eq!(instance.stop().code(), Some(0));
    farebox.set("events.max_ahead", "2h");
    let mended = [(4, "ready"), (5, "ready"), (6, "ready")];
    let rest = [&wrong(&[1, 2, 7])[..], &[(3, "charged")]].concat();
    assert_eq!(outcomes(&json(&farebox, &["replay", "--all"]).expect_success()), expected(&[&mended[..], &rest].concat()));
    let unproven = json(&farebox, &["replay", "0/6", "--set", "usage_log.keep=0"]).expect_success();
    assert_eq!(outcomes(&unproven), expected(&[(6, "unproven")]));
    let unchecked = json(&farebox, &["replay", "0/6", "--unchecked", "--set", "usage_log.keep=0"]).expect_success();
    assert_eq!(outcomes(&unchecked), expected(&[(6, "ready")]));
    assert_eq!(kafka.client.offsets(&topic, 0), (0, 8));
    let first = json(&farebox, &["replay", "--reason", ahead, "--yes"]).expect_success();
    assert_eq!(outcomes(&first), expected(&[(4, "sent"), (5, "sent"), (6, "sent")]));
    let again = json(&farebox, &["replay", "--reason", ahead, "--yes"]).expect_success();
    assert_eq!(outcomes(&again), expected(&[(4, "on_its_way"), (5, "on_its_way"), (6, "on_its_way")]));
    let log = kafka.client.read(&topic, 0);
    assert_eq!(log.len(), 11);
    for (record, offset) in log[8..].iter().zip([4, 5, 6]) {
        let message = &sent[offset];
        assert_eq!((&record.key, &record.value), (&message.key, &message.value));
        assert!(record.headers.starts_with(&message.headers) && record.headers.len() == message.headers.len() + 1);
        assert_eq!(header(record, "farebox.replayed"), format!("0/{offset}"));
    }

    // Metered once; long behind the window, sending them again is no charge.
    let mut instance = farebox.start();
    instance.wait_until_ready();
    let seen = wait_for_received(clickhouse, &mut instance, &database, 11);
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (4, 0, 7));
    let source = clickhouse.query(&format!("SELECT source FROM {database}.usage_log WHERE id = 'binary'"));
    assert_eq!(source, "urn:test\n");
    let later = json(&farebox, &["replay", "--all", "--yes"]).expect_success();
    assert_eq!(outcomes(&later), expected(&[&[(4, "charged"), (5, "charged"), (6, "charged")][..], &rest].concat()));
    // What is still wrong is sent when that is wanted, and rejected again.
    let anyway = json(&farebox, &["replay", "0/1", "--anyway", "--yes"]).expect_success();
    assert_eq!(outcomes(&anyway), expected(&[(1, "sent")]));
    let seen = wait_for_received(clickhouse, &mut instance, &database, 12);
    assert_eq!((seen.accepted, seen.rejected), (4, 8));
    farebox.run(&["verify", "--strict"]).expect_success();
}
