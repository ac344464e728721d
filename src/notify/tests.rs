#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::outbox::{Outcome, Past, State, after, is_abandoned};
use super::*;
use crate::budget::Kind;
use crate::model::{Credits, Timestamp};

fn credits(text: &str) -> Credits {
    Credits::parse_sum(text).unwrap()
}

fn notice(kind: Kind) -> Notice {
    Notice {
        kind,
        account: "acme".into(),
        name: "ACME GmbH".into(),
        time_zone: "Europe/Berlin".into(),
        budget: "monthly".into(),
        narrowed: vec![("agent".into(), "support".into())],
        period: "month".into(),
        period_start: "2026-11-01".into(),
        period_end: "2026-11-30".into(),
        threshold: 80,
        limit: credits("1000"),
        spent: credits("833.335"),
        balance: credits("-0.5"),
        reasons: vec![],
        count: 0,
        pace: Some(Pace { projected: credits("1042"), exhausted_on: Some("2026-11-29".into()) }),
        days: vec![("2026-11-01".into(), credits("800")), ("2026-11-02".into(), credits("33.335"))],
        agents: vec![("support".into(), credits("833.335"))],
        models: vec![],
        as_of: Timestamp::parse("2026-11-25T13:03:00Z").unwrap(),
        caused_at: Timestamp::parse("2026-11-25T13:02:58Z").unwrap(),
        batch: "usage.events/0/0-10".into(),
    }
}

fn envelope<'a>() -> Envelope<'a> {
    Envelope { from: "farebox <billing@example.com>", reply_to: None, to: "f@example.com", message_id: "<1@x>", thread_id: "<2@x>" }
}

#[test]
fn a_threshold_says_the_true_figures_rounded_once() {
    let mail = render(&notice(Kind::Threshold), None);
    assert_eq!(mail.subject, "ACME GmbH: 83\u{a0}% of 1\u{a0}000 credits used for November");
    let expected = "ACME GmbH has spent 833.34 of the 1\u{a0}000.00 credits that the budget “monthly” allows for November 2026: 83.3\u{a0}%.\n\n\
                    Budget: monthly\nCounts: operations of agent support\n\
                    Period: November 2026, days of Europe/Berlin\nSpent: 833.34 of 1\u{a0}000.00 credits (83.3\u{a0}%)\nThreshold: 80\u{a0}%\n\
                    At this pace: 1\u{a0}042.00 credits at the end of the period\nLimit reached: about 29 November, at this pace\n\
                    As of: 25 November 2026, 14:03 (Europe/Berlin)\n\nAgents that cost most:\n  support: 833.34 credits\n\nWhat to do:\n";
    assert!(mail.text.starts_with(expected), "{}", mail.text);
    for said in [
        "833.34",
        "1\u{a0}000.00",
        "83.3\u{a0}%",
        "29 November",
        "14:03 (Europe/Berlin)",
        "alt=\"Spending added up by day: 833.34 of 1",
    ] {
        assert!(mail.html.contains(said), "{said}: {}", mail.html);
    }
}

#[test]
fn halves_are_rounded_to_even_and_shares_are_cut() {
    let shown = |text: &str| shown_credits(credits(text));
    assert_eq!([shown("0.005"), shown("0.015"), shown("0.015000001")], ["0.00", "0.02", "0.02"]);
    assert_eq!([shown("-0.5"), shown("1234567.891")], ["−0.50", "1\u{a0}234\u{a0}567.89"]);
    assert_eq!(percent_used(credits("999.999999999"), credits("1000")), "99.9\u{a0}%");
    assert_eq!(percent_used(credits("1"), credits("0")), "over 100\u{a0}%");
}

#[test]
fn every_kind_has_a_mail_below_100_kb_and_evidence_that_is_read_back() {
    for kind in Kind::ALL {
        let notice = notice(kind);
        let mail = render(&notice, Some("https://billing.example.com"));
        let raw = message(&mail, &envelope()).unwrap().formatted();
        assert!(raw.len() < 100_000 && !mail.subject.is_empty() && mail.text.contains("What to do"), "{kind}");
        let evidence = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&evidence).unwrap(), notice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_name_is_made_of_it_stays_a_name(name in "(?s).{0,300}", tail in prop::sample::select(vec!["", "\r\nBcc: x@y.z", "<script>", "\u{202e}abc", "\"'>"])) {
        let hostile = format!("{name}{tail}").repeat(if name.len() > 290 { 40 } else { 1 });
        let notice = Notice {
            name: hostile.clone(), budget: hostile.clone(), agents: vec![(hostile.clone(), credits("1"))], models: vec![(hostile.clone(), credits("1"))],
            narrowed: vec![("model".into(), hostile)], ..notice(Kind::Threshold)
        };
        let mail = render(&notice, None);
        prop_assert!(!mail.subject.contains(['\r', '\n']));
        prop_assert!(!mail.html.contains("<script"));
        let turns_round = mail.text.contains('\u{202e}');
        prop_assert!(!turns_round);
        let raw = String::from_utf8(message(&mail, &envelope()).unwrap().formatted()).unwrap();
        let head = raw.split("\r\n\r\n").next().unwrap();
        prop_assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc:")), "{head}");
        prop_assert!(raw.len() < 100_000);
    }
}

#[test]
fn an_address_that_is_none_is_said_and_names_nobody_else() {
    for to in ["nobody", "a@b\r\nBcc: c@d", ""] {
        assert!(
            message(&render(&notice(Kind::Test), None), &Envelope { to, ..envelope() }).unwrap_err().contains("no mail address"),
            "{to}"
        );
    }
}

#[test]
fn one_mail_has_one_id_and_one_thread_for_each_period() {
    let id = |alert: &str, to: &str| message_id(alert, to, "farebox <billing@example.com>");
    assert_eq!(id("a", "b"), id("a", "b"));
    assert_ne!(id("a", "b"), id("ab", ""));
    assert!(id("a", "b").ends_with("@example.com>"));
    let thread = |start: &str| thread_id("acme", "m", start, "f@x", "b@example.com");
    assert_ne!(thread("2026-11-01"), thread("2026-12-01"));
}

const DAY_MS: i64 = 86_400_000;

#[test]
fn a_mail_is_tried_again_later_and_later_until_its_time_is_over() {
    let begin = Timestamp::from_millis(1_000_000_000_000);
    let later = Outcome::Later("busy".into());
    let (mut now, mut waits) = (begin, Vec::new());
    for failures in 0..100 {
        let (state, next) = after(&later, Past { created_at: begin, failures, unknowns: 0 }, now, DAY_MS);
        if state == State::Failed {
            break;
        }
        waits.push((next.millis() - now.millis()) / 60_000);
        now = next;
    }
    assert_eq!(waits[..6], [1, 5, 15, 60, 60, 60]);
    assert!(now.millis() - begin.millis() <= DAY_MS && waits.len() == 26, "{}", waits.len());
}

#[test]
fn what_nobody_knows_is_sent_once_more_and_what_is_refused_never() {
    let begin = Timestamp::from_millis(1_000_000_000_000);
    let past = |unknowns| Past { created_at: begin, failures: 3, unknowns };
    let unknown = Outcome::Unknown("lost".into());
    assert_eq!(after(&unknown, past(0), begin, DAY_MS), (State::Pending, begin.plus_millis(60_000)));
    assert_eq!(after(&unknown, past(1), begin, DAY_MS).0, State::Unknown);
    assert_eq!(after(&Outcome::Never("no".into()), past(0), begin, DAY_MS).0, State::Failed);
    assert_eq!(after(&Outcome::Accepted, past(1), begin, DAY_MS).0, State::Sent);
    assert!(!is_abandoned(begin, begin.plus_millis(119_000), 30_000) && is_abandoned(begin, begin.plus_millis(121_000), 30_000));
    // A clock that was set back gives nobody up.
    assert!(!is_abandoned(begin, begin.plus_millis(-DAY_MS), 30_000));
}

/// Each kind as it goes out, beside what the other tests say of its figures: `UPDATE_GOLDEN=1` writes them anew, and a person reads the difference.
#[test]
fn every_kind_of_mail_is_as_it_was_read_last() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/snapshots");
    for kind in Kind::ALL {
        let mut notice = notice(kind);
        if !matches!(kind, Kind::Threshold | Kind::Forecast) {
            notice = Notice {
                budget: String::new(),
                narrowed: vec![],
                period: "day".into(),
                period_start: "2026-11-24".into(),
                period_end: "2026-11-24".into(),
                pace: None,
                days: vec![],
                agents: vec![],
                reasons: vec![("Why".into(), "because <of> it".into())],
                count: 1,
                ..notice
            };
        }
        let mail = render(&notice, Some("https://farebox.example/acme"));
        let chart = mail.chart.as_ref().map_or(0, Vec::len);
        let texts = [("txt", format!("Subject: {}\n\n{}", mail.subject, mail.text)), ("html", mail.html)];
        for (ending, text) in texts {
            assert!(text.len() + chart < 100_000);
            let file = folder.join(format!("{kind}.{ending}"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let expected = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(text == expected, "{} differs; it is now:\n{text}", file.display());
        }
    }
}
