use std::borrow::Cow;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::model::Quantity;

const SELECTION: &str = include_str!("../../tests/golden/prices/selection.toml");
const COSTS: &str = include_str!("../../tests/golden/prices/costs.toml");

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("RFC 3339")
}

fn event<'a>(account: &'a str, category: &'a str, model: &'a str, time: Timestamp) -> Event<'a> {
    Event {
        id: Cow::Borrowed("1"),
        source: Cow::Borrowed(""),
        time,
        account: account.into(),
        platform: Cow::Borrowed(""),
        user: Cow::Borrowed(""),
        agent: Cow::Borrowed("a"),
        category: category.into(),
        model: model.into(),
        duration_ms: None,
        input_tokens: None,
        cached_input_tokens: None,
        output_tokens: None,
        quantity: None,
        credits: None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    row: Vec<Row>,
    session: Vec<SessionQuestion>,
    operation: Vec<OperationQuestion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionQuestion {
    why: String,
    account: String,
    platform: String,
    session_start: String,
    priced: bool,
    unit_session_cost: Credits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationQuestion {
    why: String,
    account: String,
    category: String,
    #[serde(default)]
    model: String,
    time: String,
    priced: bool,
    cost: Credits,
}

#[test]
fn the_golden_table_of_price_selection_holds() {
    let golden: Selection = toml::from_str(SELECTION).expect("the golden table");
    let book = Book::from_rows(golden.row);
    assert_eq!(book.problems(), Vec::<String>::new());
    let prices = Prices::new(&book);
    for question in &golden.session {
        let start = at(&question.session_start);
        let session = prices.terms(&question.account, start).anchor.session_of(start);
        assert_eq!(session.start(), start, "{}: a session starts on the account's grid", question.why);
        let expected = question.priced.then_some(question.unit_session_cost);
        assert_eq!(prices.unit_session_cost(&question.account, &question.platform, session), expected, "{}", question.why);
    }
    for question in &golden.operation {
        let event = event(&question.account, &question.category, &question.model, at(&question.time));
        let cost = prices.cost(&event, &prices.terms(&event.account, event.time));
        assert_eq!(cost, Cost { credits: question.cost, priced: question.priced }, "{}", question.why);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Costs {
    case: Vec<CostCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostCase {
    why: String,
    rate: toml::Table,
    event: Used,
    priced: bool,
    cost: Credits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    duration_ms: Option<u64>,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    quantity: Option<Quantity>,
}

#[test]
fn the_golden_table_of_costs_holds() {
    let golden: Costs = toml::from_str(COSTS).expect("the golden table");
    for case in golden.case {
        let mut columns = case.rate;
        columns.insert("kind".to_owned(), "rate".into());
        let rate: Row = columns.try_into().expect("columns of price_book");
        let prices =
            Prices::new(&Book::from_rows(vec![account(), Row { account: "*".to_owned(), category: "llm".to_owned(), ..rate }]));
        let Used { duration_ms, input_tokens, cached_input_tokens, output_tokens, quantity } = case.event;
        let event = Event {
            duration_ms,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            quantity,
            ..event("acme", "llm", "m", Timestamp::MIN)
        };
        let cost = prices.cost(&event, &prices.terms("acme", event.time));
        assert_eq!(cost, Cost { credits: case.cost, priced: case.priced }, "{}", case.why);
    }
}

fn account() -> Row {
    Row {
        account: "acme".to_owned(),
        time_zone: "UTC".to_owned(),
        charge: vec!["operations".to_owned(), "sessions".to_owned()],
        operations: "rated".to_owned(),
        ..Row::default()
    }
}

#[test]
fn a_reported_account_pays_what_its_events_say() {
    let rate = Row {
        kind: Kind::Rate,
        account: "*".to_owned(),
        category: "llm".to_owned(),
        per_call: Credits::from_nanos(7),
        ..Row::default()
    };
    let prices = Prices::new(&Book::from_rows(vec![Row { operations: "reported".to_owned(), ..account() }, rate]));
    let silent = event("acme", "llm", "", Timestamp::MIN);
    let terms = prices.terms("acme", Timestamp::MIN);
    assert_eq!(prices.cost(&silent, &terms), Cost { credits: Credits::ZERO, priced: false });
    for nanos in [0, 1, 999_999_999_999_999_999_999] {
        let credits = Credits::from_nanos(nanos);
        assert_eq!(prices.cost(&Event { credits: Some(credits), ..silent.clone() }, &terms), Cost { credits, priced: true });
    }
}

#[test]
fn a_rated_account_does_not_pay_what_its_events_say() {
    let prices = Prices::new(&Book::from_rows(vec![account()]));
    let event = Event { credits: Some(Credits::from_nanos(5)), ..event("acme", "llm", "", Timestamp::MIN) };
    assert_eq!(prices.cost(&event, &prices.terms("acme", event.time)), Cost { credits: Credits::ZERO, priced: false });
}

#[test]
fn a_cost_of_a_trillion_credits_is_priced_and_a_nanocredit_more_is_not() {
    let trillion = 1_000_000_000_000 * crate::model::NANOS_PER_UNIT;
    for (nanos, priced) in [(trillion, true), (trillion + 1, false)] {
        let rate = Row {
            kind: Kind::Rate,
            account: "*".to_owned(),
            category: "llm".to_owned(),
            per_call: Credits::from_nanos(nanos),
            ..Row::default()
        };
        let prices = Prices::new(&Book::from_rows(vec![account(), rate]));
        let event = event("acme", "llm", "", Timestamp::MIN);
        let credits = Credits::from_nanos(if priced { nanos } else { 0 });
        assert_eq!(prices.cost(&event, &prices.terms("acme", event.time)), Cost { credits, priced });
    }
}

#[test]
fn a_change_of_zone_holds_from_its_moment_on() {
    let moved = Row { version: 2, valid_from: at("2026-06-01T00:00:00Z"), time_zone: "Asia/Kolkata".to_owned(), ..account() };
    let prices = Prices::new(&Book::from_rows(vec![moved, account()]));
    assert_eq!(prices.terms("acme", at("2026-05-31T23:59:59.999Z")).zone.name(), "UTC");
    assert_eq!(prices.terms("acme", at("2026-06-01T00:00:00Z")).zone.name(), "Asia/Kolkata");
    assert_eq!(prices.version(), 2);
}

#[test]
fn a_retired_account_is_unknown_but_its_days_and_sessions_stay() {
    let ended = Row { retired: true, valid_from: at("2026-06-01T00:00:00Z"), ..placed() };
    let prices = Prices::new(&Book::from_rows(vec![placed(), ended]));
    let (before, after) = (prices.terms("acme", at("2026-05-01T00:00:00Z")), prices.terms("acme", at("2026-07-01T00:00:00Z")));
    assert!(before.known && before.charges_sessions && before.operations == Operations::All);
    assert!(!after.known && !after.charges_sessions && after.operations == Operations::None);
    assert_eq!((before.zone, before.anchor), (after.zone, after.anchor));
}

fn placed() -> Row {
    Row { time_zone: "Asia/Kolkata".to_owned(), session_anchor: 66_600, ..account() }
}

#[test]
fn an_unknown_account_is_in_utc_with_sessions_from_midnight() {
    let known_later = Row { valid_from: at("2026-06-01T00:00:00Z"), ..placed() };
    let prices = Prices::new(&Book::from_rows(vec![known_later]));
    for (account, time) in [("nobody", "2026-07-01T00:00:00Z"), ("acme", "2026-05-31T23:59:59.999Z"), ("*", "2026-07-01T00:00:00Z")]
    {
        assert_eq!(prices.terms(account, at(time)), Terms::unknown(), "{account}");
    }
    assert_eq!(Prices::new(&Book::empty()).terms("acme", Timestamp::MAX), Terms::unknown());
}

#[test]
fn charges_combine() {
    for (charge, sessions, operations) in [
        (&[][..], false, Operations::None),
        (&["sessions"], true, Operations::None),
        (&["training"], false, Operations::TrainingOnly),
        (&["sessions", "training"], true, Operations::TrainingOnly),
        (&["operations", "training"], false, Operations::All),
        (&["operations", "sessions"], true, Operations::All),
    ] {
        let row = Row { charge: charge.iter().map(ToString::to_string).collect(), ..account() };
        let terms = Prices::new(&Book::from_rows(vec![row])).terms("acme", Timestamp::MIN);
        assert!(terms.known);
        assert_eq!((terms.charges_sessions, terms.operations), (sessions, operations), "{charge:?}");
    }
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let golden: Selection = toml::from_str(SELECTION).expect("the golden table");
    let mut rows = golden.row.clone();
    rows.reverse();
    let (one, other) = (Prices::new(&Book::from_rows(golden.row)), Prices::new(&Book::from_rows(rows)));
    for question in &golden.operation {
        let event = event(&question.account, &question.category, &question.model, at(&question.time));
        let cost = |prices: &Prices| prices.cost(&event, &prices.terms(&event.account, event.time));
        assert_eq!(cost(&one), cost(&other), "{}", question.why);
    }
}

proptest! {
    /// The same sum on paper, everything over one denominator.
    #[test]
    fn the_cost_is_the_exact_sum_rounded_half_to_even(
        per_call in 0_i128..2_000, per_token in 0_i128..2_000_000, per_unit in 0_i128..2_000_000, per_second in 0_i128..2_000_000,
        tokens in 0_u64..100_000, quantity in 0_i128..10_000_000_000, duration_ms in 0_u64..100_000,
    ) {
        let credits = Credits::from_nanos;
        let rate = Row {
            kind: Kind::Rate, account: "*".to_owned(), category: "llm".to_owned(),
            per_call: credits(per_call), per_1k_output_tokens: credits(per_token), per_unit: credits(per_unit), per_second: credits(per_second),
            ..Row::default()
        };
        let prices = Prices::new(&Book::from_rows(vec![account(), rate]));
        let event = Event {
            output_tokens: Some(tokens), quantity: Some(Quantity::from_nanos(quantity)), duration_ms: Some(duration_ms),
            ..event("acme", "llm", "", Timestamp::MIN)
        };
        let billion = 1_000_000_000_i128;
        let exact = per_call * billion + per_token * i128::from(tokens) * 1_000_000 + per_unit * quantity + per_second * i128::from(duration_ms) * 1_000_000;
        let cost = prices.cost(&event, &prices.terms("acme", event.time));
        prop_assert!(cost.priced);
        let twice_error = 2 * (cost.credits.nanos() * billion - exact);
        prop_assert!(twice_error.abs() < billion || (twice_error.abs() == billion && cost.credits.nanos() % 2 == 0));
    }

    #[test]
    fn no_price_and_no_usage_panics(price in any::<i128>(), quantity in any::<i128>(), tokens in any::<u64>()) {
        let price = Credits::from_nanos(price);
        let rate = Row {
            kind: Kind::Rate, account: "*".to_owned(), category: "llm".to_owned(), per_call: price, per_1k_input_tokens: price,
            per_1k_output_tokens: price, per_second: price, per_unit: price, ..Row::default()
        };
        let prices = Prices::new(&Book::from_rows(vec![account(), rate]));
        let event = Event {
            input_tokens: Some(tokens), cached_input_tokens: Some(tokens / 2), output_tokens: Some(tokens), duration_ms: Some(tokens),
            quantity: Some(Quantity::from_nanos(quantity)), ..event("acme", "llm", "", Timestamp::MIN)
        };
        let _ = prices.cost(&event, &prices.terms("acme", event.time));
    }
}
