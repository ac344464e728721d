//! The price book: each version raises the price of a call by a credit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use farebox::book::{Book, Kind, Row};
use farebox::model::Credits;
use farebox::price::Prices;

use super::log::Made;

const CREDIT: i128 = 1_000_000_000;

/// Everything applied up to a version.
pub fn book(version: u64) -> Book {
    let account = Row {
        version: 1,
        kind: Kind::Account,
        account: "a0".into(),
        name: "a0".into(),
        time_zone: "UTC".into(),
        charge: vec!["operations".into(), "sessions".into()],
        operations: "rated".into(),
        ..Row::default()
    };
    let rate = |version: u64| Row {
        version,
        kind: Kind::Rate,
        account: "*".into(),
        category: "llm".into(),
        per_call: Credits::from_nanos(i128::from(version) * CREDIT),
        per_1k_input_tokens: Credits::from_nanos(CREDIT),
        ..Row::default()
    };
    Book::from_rows(std::iter::once(account).chain((1..=version).map(rate)).collect())
}

/// Compiled once for all runs.
pub fn at(version: u64) -> Arc<Prices> {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<u64, Arc<Prices>>> = const { RefCell::new(BTreeMap::new()) };
    }
    KNOWN.with_borrow_mut(|known| Arc::clone(known.entry(version).or_insert_with(|| Arc::new(Prices::new(&book(version))))))
}

/// What an accepted event costs, in nanocredits: only `a0` is a known account.
pub fn cost(made: Made, version: u64) -> i128 {
    if made.account() == "a0" { (i128::from(version) + i128::from(made.variant) + 1) * CREDIT } else { 0 }
}
