#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{Credits, Day};

fn day(number: u16) -> Day {
    Day::from_epoch_days(20_000 + i64::from(number))
}

fn whole(credits: i64) -> Credits {
    Credits::from_nanos(i128::from(credits) * 1_000_000_000)
}

fn entry(id: &str, kind: Kind, amount: i64, on: u16, expires: Option<u16>) -> Entry {
    Entry { id: id.into(), kind, amount: whole(amount), day: day(on), expires: expires.map(day), reference: String::new() }
}

fn used(days: &[(u16, i64)]) -> BTreeMap<Day, Credits> {
    days.iter().map(|&(number, credits)| (day(number), whole(credits))).collect()
}

fn left(balance: &Balance) -> Vec<(&str, Credits)> {
    balance.lots.iter().map(|lot| (lot.id.as_str(), lot.left)).collect()
}

/// A top-up of 100 on day 1, a grant of 50 to be used by day 10, usage of 70 on day 3 and of 10 on day 12.
#[test]
fn what_expires_earliest_is_used_first() {
    let entries = [entry("bought", Kind::TopUp, 100, 1, None), entry("gift", Kind::Grant, 50, 1, Some(10))];
    let seen = balance(&entries, &used(&[(3, 70), (12, 10)]), day(20)).unwrap();
    assert_eq!((seen.expired, seen.balance), (whole(0), whole(70)));
    assert!(seen.lots.is_empty());
}

#[test]
fn the_rest_of_a_grant_ends_with_its_last_day_and_not_before() {
    let entries = [entry("bought", Kind::TopUp, 100, 1, None), entry("gift", Kind::Grant, 50, 1, Some(10))];
    let usage = used(&[(3, 20)]);
    let before = balance(&entries, &usage, day(10)).unwrap();
    assert_eq!((before.expired, before.balance, left(&before)), (whole(0), whole(130), vec![("gift", whole(30))]));
    let after = balance(&entries, &usage, day(11)).unwrap();
    assert_eq!((after.expired, after.balance, left(&after)), (whole(30), whole(100), vec![]));
}

#[test]
fn of_two_grants_the_one_that_ends_first_is_used_first_whichever_came_first() {
    let entries = [entry("late", Kind::Grant, 50, 1, Some(30)), entry("early", Kind::Grant, 50, 2, Some(20))];
    let seen = balance(&entries, &used(&[(3, 60)]), day(10)).unwrap();
    assert_eq!(left(&seen), [("late", whole(40))]);
}

#[test]
fn usage_of_the_last_day_still_takes_from_the_grant_and_that_of_the_next_does_not() {
    let entries = [entry("gift", Kind::Grant, 50, 1, Some(10))];
    assert_eq!(balance(&entries, &used(&[(10, 50)]), day(20)).unwrap().balance, whole(0));
    let seen = balance(&entries, &used(&[(11, 50)]), day(20)).unwrap();
    assert_eq!((seen.expired, seen.balance), (whole(50), whole(-50)));
}

#[test]
fn a_debt_is_paid_by_the_next_credits_also_by_those_that_expire() {
    let entries = [entry("gift", Kind::Grant, 100, 5, Some(10))];
    let seen = balance(&entries, &used(&[(3, 30)]), day(20)).unwrap();
    assert_eq!((seen.expired, seen.balance), (whole(70), whole(0)));
}

#[test]
fn a_posted_expiry_counts_as_it_stands_when_usage_comes_late() {
    let mut entries = vec![entry("bought", Kind::TopUp, 100, 1, None), entry("gift", Kind::Grant, 50, 1, Some(10))];
    let usage = used(&[(3, 20)]);
    let folded = balance(&entries, &usage, day(20)).unwrap();
    entries.push(Entry { reference: "gift".into(), ..entry("gift/expiry", Kind::Expiry, -30, 10, None) });
    assert_eq!(folded.unposted.iter().map(|lot| (lot.id.as_str(), lot.left)).collect::<Vec<_>>(), [("gift", whole(30))]);
    let seen = balance(&entries, &usage, day(20)).unwrap();
    assert_eq!(seen, Balance { unposted: vec![], ..folded });
    let late = balance(&entries, &used(&[(3, 20), (4, 5)]), day(20)).unwrap();
    assert_eq!((late.expired, late.balance), (whole(30), whole(95)));
}

#[test]
fn an_adjustment_and_a_refund_take_what_stays() {
    let entries = [
        entry("bought", Kind::TopUp, 100, 1, None),
        entry("gift", Kind::Grant, 50, 1, Some(10)),
        entry("wrong", Kind::Adjustment, -10, 2, None),
        entry("back", Kind::Refund, -40, 2, None),
    ];
    let seen = balance(&entries, &used(&[]), day(5)).unwrap();
    assert_eq!((seen.credited, seen.balance, left(&seen)), (whole(100), whole(100), vec![("gift", whole(50))]));
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_and_no_other_number() {
    let huge = Entry { amount: Credits::from_nanos(i128::MAX), ..entry("a", Kind::TopUp, 0, 1, None) };
    let more = Entry { id: "b".into(), ..huge.clone() };
    assert_eq!(balance(&[huge, more], &used(&[]), day(1)), Err(Overflow));
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0_u16..20, prop::option::of(0_u16..25), -30_i64..100, any::<bool>());
    prop::collection::vec(one, 0..12).prop_map(|drawn| {
        let entries = drawn.into_iter().enumerate().map(|(number, (on, last, amount, is_grant))| {
            let expires = last.filter(|_| is_grant && amount > 0).map(|days| day(on + days));
            Entry {
                expires,
                ..entry(
                    &format!("e{number:02}"),
                    if is_grant && amount > 0 { Kind::Grant } else { Kind::Adjustment },
                    amount,
                    on,
                    None,
                )
            }
        });
        entries.collect()
    })
}

/// Credit by credit, as one would with coins in jars that have a date on them.
fn with_coins(entries: &[Entry], usage: &BTreeMap<Day, Credits>, today: Day) -> (i64, i64) {
    let coins = |credits: Credits| i64::try_from(credits.nanos() / 1_000_000_000).unwrap();
    let (mut jars, mut purse, mut expired) = (BTreeMap::<Day, i64>::new(), 0_i64, 0_i64);
    for number in 0..80 {
        let date = day(number);
        for entry in entries.iter().filter(|entry| entry.day == date) {
            match entry.expires {
                Some(last) => *jars.entry(last).or_default() += coins(entry.amount),
                None => purse += coins(entry.amount),
            }
        }
        let mut open = usage.get(&date).copied().map_or(0, coins);
        loop {
            let jar = jars.values_mut().find(|jar| **jar > 0);
            match (open > 0 || purse < 0, jar) {
                (true, Some(jar)) => {
                    *jar -= 1;
                    if open > 0 { open -= 1 } else { purse += 1 }
                }
                (true, None) if open > 0 => {
                    open -= 1;
                    purse -= 1;
                }
                _ => break,
            }
        }
        if date < today {
            expired += jars.remove(&date).unwrap_or(0);
        }
    }
    (purse + jars.values().sum::<i64>(), expired)
}

proptest! {
    #[test]
    fn the_fold_is_what_one_would_do_with_coins(
        entries in entries(), usage in prop::collection::btree_map(0_u16..30, 0_i64..60, 0..10), today in 0_u16..60,
    ) {
        let usage: BTreeMap<Day, Credits> = usage.into_iter().map(|(number, credits)| (day(number), whole(credits))).collect();
        let seen = balance(&entries, &usage, day(today)).unwrap();
        let (left, expired) = with_coins(&entries, &usage, day(today));
        prop_assert_eq!((seen.balance, seen.expired), (whole(left), whole(expired)));
    }

    #[test]
    fn no_order_of_entries_changes_a_balance(
        (one, other) in entries().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
        usage in prop::collection::btree_map(0_u16..30, 0_i64..60, 0..10), today in 0_u16..60,
    ) {
        let usage: BTreeMap<Day, Credits> = usage.into_iter().map(|(number, credits)| (day(number), whole(credits))).collect();
        prop_assert_eq!(balance(&one, &usage, day(today)), balance(&other, &usage, day(today)));
    }
}
