#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::model::{Credits, Day};

fn credits(text: &str) -> Credits {
    Credits::parse_sum(text).unwrap()
}

fn budget(spent: &str) -> Budget {
    Budget {
        account: "acme".into(),
        budget: "monthly".into(),
        period_start: Day::from_epoch_days(20_000),
        limit: credits("1000"),
        spent: credits(spent),
        projected: credits(spent),
        thresholds: vec![100, 50, 80, 50],
        forecast: false,
        elapsed_seconds: 50,
        period_seconds: 100,
    }
}

fn thresholds(alerts: &[Alert]) -> Vec<(u16, bool)> {
    alerts.iter().map(|alert| (alert.threshold, alert.is_mailed)).collect()
}

fn ids(alerts: &[Alert]) -> BTreeSet<String> {
    alerts.iter().map(|alert| alert.id.clone()).collect()
}

#[test]
fn a_threshold_is_reached_to_the_nanocredit() {
    let none = BTreeSet::new();
    assert_eq!(thresholds(&due_of_budget(&budget("499.999999999"), &none)), []);
    assert_eq!(thresholds(&due_of_budget(&budget("500"), &none)), [(50, true)]);
}

#[test]
fn a_jump_over_several_thresholds_mails_the_highest_and_keeps_all() {
    assert_eq!(thresholds(&due_of_budget(&budget("1500"), &BTreeSet::new())), [(50, false), (80, false), (100, true)]);
}

#[test]
fn what_was_told_is_not_told_again_also_when_spend_falls_and_rises() {
    let mut told = ids(&due_of_budget(&budget("500"), &BTreeSet::new()));
    assert_eq!(due_of_budget(&budget("499"), &told), []);
    assert_eq!(due_of_budget(&budget("501"), &told), []);
    let next = due_of_budget(&budget("900"), &told);
    assert_eq!(thresholds(&next), [(80, true)]);
    told.extend(ids(&next));
    assert_eq!(due_of_budget(&budget("999"), &told), []);
}

#[test]
fn another_limit_and_another_period_arm_the_thresholds_again() {
    let told = ids(&due_of_budget(&budget("1000"), &BTreeSet::new()));
    let raised = Budget { limit: credits("1900"), ..budget("1000") };
    assert_eq!(thresholds(&due_of_budget(&raised, &told)), [(50, true)]);
    let next_month = Budget { period_start: Day::from_epoch_days(20_031), ..budget("600") };
    assert_eq!(thresholds(&due_of_budget(&next_month, &told)), [(50, true)]);
}

#[test]
fn nothing_spent_reaches_nothing_of_a_limit_of_zero() {
    let zero = Budget { limit: credits("0"), ..budget("0") };
    assert_eq!(due_of_budget(&zero, &BTreeSet::new()), []);
    let spent = Budget { limit: credits("0"), ..budget("0.000000001") };
    assert_eq!(thresholds(&due_of_budget(&spent, &BTreeSet::new())), [(50, false), (80, false), (100, true)]);
}

#[test]
fn a_forecast_is_told_once_when_the_period_is_old_enough_and_the_limit_is_not_reached() {
    let base = Budget { forecast: true, projected: credits("1001"), thresholds: vec![], ..budget("400") };
    let due = due_of_budget(&base, &BTreeSet::new());
    assert_eq!(due.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [Kind::Forecast]);
    assert_eq!(due_of_budget(&base, &ids(&due)), []);
    assert_eq!(due_of_budget(&Budget { elapsed_seconds: 9, ..base.clone() }, &BTreeSet::new()), []);
    assert_eq!(due_of_budget(&Budget { projected: credits("1000"), ..base.clone() }, &BTreeSet::new()), []);
    assert_eq!(due_of_budget(&Budget { spent: credits("1000"), ..base }, &BTreeSet::new()), []);
}

fn account(credited: &str, balance: &str) -> Account {
    Account { account: "acme".into(), credited: credits(credited), balance: credits(balance), low_balance: Some(credits("100")) }
}

fn known(kind: Kind, used: &str) -> Known {
    Known { kind, limit: credits("100"), used: credits(used) }
}

#[test]
fn a_balance_below_its_mark_is_told_once_until_credits_lift_it_to_the_mark() {
    let none = BTreeSet::new();
    assert_eq!(due_of_account(&account("1000", "100"), &[], &none), None);
    let first = due_of_account(&account("1000", "99.999999999"), &[], &none).unwrap();
    assert_eq!(first.kind, Kind::LowBalance);
    let told = BTreeSet::from([first.id]);
    // Told with 80 left. 10 more credits could not lift it to 100, whatever was used meanwhile; 500 could.
    let last = [known(Kind::LowBalance, "920")];
    assert_eq!(due_of_account(&account("1000", "50"), &last, &told), None);
    assert_eq!(due_of_account(&account("1010", "60"), &last, &told), None);
    assert!(due_of_account(&account("1500", "60"), &last, &told).is_some());
    assert_eq!(due_of_account(&account("1500", "300"), &last, &told), None);
}

#[test]
fn nothing_left_says_more_than_little_left() {
    let none = BTreeSet::new();
    for balance in ["0", "-3"] {
        assert_eq!(due_of_account(&account("1000", balance), &[], &none).unwrap().kind, Kind::Exhausted);
    }
    let last = [known(Kind::Exhausted, "1000")];
    let told = BTreeSet::from([due_of_account(&account("1000", "0"), &[], &none).unwrap().id]);
    assert_eq!(due_of_account(&account("1000", "-8"), &last, &told), None);
    assert!(due_of_account(&account("1001", "-7"), &last, &told).is_some());
    assert_eq!(due_of_account(&Account { low_balance: None, ..account("0", "-7") }, &[], &none), None, "never credited");
}

#[test]
fn names_cannot_be_told_for_one_another() {
    assert_ne!(id_of(Kind::Threshold, &["a/1:b", "c"]), id_of(Kind::Threshold, &["a", "b", "c"]));
    assert_eq!(id_of(Kind::Forecast, &["a", "ü"]), "forecast/1:a/2:ü");
}
