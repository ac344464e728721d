//! A preview says what the engine's rows say, and reads the formula in both ways.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::book::{self, Book};
use crate::dedupe::{self, HashKey};

const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000); // 2026-03-01T12:00:00Z

fn preview(lines: &[String]) -> Report {
    let text = r#"
        [[account]]
        id = "acme"

        [[session_price]]
        account = "*"
        platform = "web"
        unit_session_cost = "0.2"

        [[session_price]]
        account = "*"
        platform = "web"
        unit_session_cost = "0.5"
        valid_from = 2026-03-03T00:00:00Z

        [[rate]]
        account = "*"
        category = "training"
        per_call = "3"

        [[rate]]
        account = "*"
        category = "llm"
        per_1k_input_tokens = "0.4"
    "#;
    let file = book::parse(text, "book.toml").unwrap();
    let plan = book::plan(&Book::empty(), &file, NOON, "test", Timestamp::default(), true).unwrap();
    let rules = Rules {
        limits: decode::Limits { size_max: 2_048, age_max_ms: i64::MAX, ahead_max_ms: i64::MAX },
        window: dedupe::Limits { window_ms: 900_000, ids_max: 1_000_000, expire_by_time: false },
        key: HashKey::new([0; 16]),
    };
    let mut preview = Preview::new(rules, Arc::new(Prices::new(&Book::from_rows(plan.rows))));
    for (offset, line) in (1..).zip(lines) {
        let value = Some(line.as_bytes());
        preview.apply(&Record { offset, timestamp: NOON, leader_epoch: -1, key: None, value, headers: Vec::new() });
    }
    preview.finish()
}

fn event(id: usize, time: &str, user: &str, more: &str) -> String {
    format!(r#"{{"id":"{id}","time":"{time}","account":"acme","platform":"web","user":"{user}","agent":"a"{more}}}"#)
}

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

#[test]
fn nothing_is_reported_of_nothing() {
    let report = preview(&[]);
    assert_eq!((report.records, report.first_event, report.total), (Records::default(), None, Money::default()));
    assert_eq!(report.rejected_by_reason.len(), Reason::ALL.len());
}

#[test]
fn both_readings_of_the_formula_and_the_users_of_both_sides_of_a_boundary() {
    // Three sessions of ann, ann and bob, bob and cid; a fourth one without a neighbour. The price changes with the third.
    let times = [("ann", 1), ("ann", 2), ("bob", 2), ("bob", 3), ("cid", 3), ("bob", 5)];
    let lines: Vec<String> = (0..)
        .zip(times)
        .map(|(id, (user, day))| event(id, &format!("2026-03-0{day}T10:00:00Z"), user, r#","category":"sql""#))
        .collect();
    let report = preview(&lines);
    let uniques: Vec<_> = report.sessions.iter().map(|session| (session.unique_users, session.cost)).collect();
    assert_eq!(uniques, [(1, credits("0.2")), (2, credits("0.4")), (2, credits("1")), (1, credits("0.5"))]);
    let expected = PlatformSessions {
        account: "acme".to_owned(),
        platform: "web".to_owned(),
        sessions: 4,
        range_users: 3,
        range_users_error: 0,
        cost: credits("2.1"),
        literal_cost: credits("4.2"), // 3 users × (0.2 + 0.2 + 0.5 + 0.5)
        boundary_users: 2,
        boundary_users_error: 0,
        boundary_cost: credits("0.7"), // ann's second session at 0.2, bob's at 0.5
    };
    assert_eq!(report.platforms, [expected]);
    assert_eq!((report.total.sessions_cost, report.total.cost), (credits("2.1"), credits("2.1")));
    assert_eq!(report.unpriced_events, 6); // no rate for sql
}

#[test]
fn lines_that_are_not_billed_are_named_by_line() {
    let time = "2026-03-01T10:00:00Z";
    let llm = r#","category":"llm","input_tokens":500,"colour":"red","tags":[1]"#;
    let lines = [
        event(1, time, "ann", llm),
        event(1, time, "ann", llm),
        "{".to_owned(),
        event(1, time, "bob", llm),
        event(2, time, "", r#","category":"training","colour":"blue""#),
    ];
    let report = preview(&lines);
    assert_eq!(report.records, Records { received: 5, accepted: 2, duplicates: 1, rejected: 2 });
    let rejected: Vec<_> = report.rejected.iter().map(|line| (line.line, line.reason, line.account.as_str())).collect();
    assert_eq!(rejected, [(3, "malformed", ""), (4, "id_conflict", "acme")]);
    assert_eq!((report.rejected_by_reason["malformed"], report.rejected_by_reason["id_conflict"]), (1, 1));
    let fields: Vec<_> = report.unknown_fields.iter().map(|field| (field.name.as_str(), field.events)).collect();
    assert_eq!(fields, [("colour", 4), ("tags", 3)]);
    assert_eq!((report.unattributed_events, report.unpriced_events), (1, 0));
    let operations: Vec<_> = report.operations.iter().map(|row| (row.kind, row.category.as_str(), row.cost)).collect();
    assert_eq!(operations, [("operation", "llm", credits("0.2")), ("training", "training", credits("3"))]);
    assert_eq!(report.total.cost, credits("3.4"));
}

#[test]
fn all_rejected_lines_are_counted_and_the_first_are_shown() {
    let report = preview(&vec!["no".to_owned(); 70_000]);
    assert_eq!((report.records.rejected, report.rejected.len()), (70_000, REJECTED_MAX));
    assert!(report.rejected.iter().zip(1..).all(|(rejected, line)| rejected.line == line));
}

#[test]
fn many_users_of_a_session_cost_what_they_are_within_the_error() {
    let user = |n: usize| event(n, "2026-03-01T10:00:00Z", &format!("u{n}"), r#","category":"llm","input_tokens":1"#);
    let report = preview(&(0..90_000).map(user).collect::<Vec<_>>());
    let session = &report.sessions[0];
    assert!(session.unique_users_error > 0 && session.unique_users.abs_diff(90_000) <= session.unique_users_error, "{session:?}");
    assert_eq!(report.total.operations_cost, credits("36")); // exact, 0.0004 each
    assert_eq!(report.total.sessions_cost_error, times(credits("0.2"), session.unique_users_error));
    assert!(session.unique_users <= session.events);
}
