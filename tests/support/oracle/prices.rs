//! Which price, and how much: every row looked at for every question.

use farebox::book::{self, Kind, Row};
use farebox::model::{Credits, Timestamp};
use rust_decimal::{Decimal, RoundingStrategy};

use super::decode::Event;

/// A price book as its rows.
#[derive(Debug)]
pub struct Book(Vec<Row>);

impl Book {
    /// From the text of a file that was applied to an empty database.
    pub fn parse(text: &str) -> Self {
        let file = book::parse(text, "book.toml").expect("a price book");
        let now = Timestamp::from_millis(1_700_000_000_000);
        let plan = book::plan(&book::Book::empty(), &file, now, "oracle", Timestamp::from_millis(0), true).expect("a plan");
        Self(plan.rows)
    }

    /// Everything that was applied to a database.
    pub fn of(book: &book::Book) -> Self {
        Self(book.rows().to_vec())
    }

    /// What is agreed with an account at a moment in milliseconds.
    pub fn account(&self, account: &str, at: i64) -> Option<&Row> {
        let rows = self.0.iter().filter(|row| row.kind == Kind::Account && row.account == account && row.valid_from.millis() <= at);
        rows.max_by_key(|row| (row.valid_from, row.version))
    }

    /// What an operation costs, and whether that is its price.
    pub fn operation(&self, event: &Event) -> (Decimal, bool) {
        let unpriced = (Decimal::ZERO, false);
        let Some(account) = self.account(&event.account, event.time).filter(|row| !row.retired) else { return unpriced };
        let charged = |what: &str| account.charge.iter().any(|charge| charge == what);
        let is_charged = charged("operations") || (charged("training") && event.category == "training");
        if !is_charged {
            return (Decimal::ZERO, true);
        }
        if account.operations == "reported" {
            return event.credits.map_or(unpriced, |credits| (credits, true));
        }
        let fits = |row: &&Row| {
            row.kind == Kind::Rate
                && (row.account == event.account || row.account == "*")
                && row.category == event.category
                && (row.model.is_empty() || row.model == event.model)
                && row.valid_from.millis() <= event.time
        };
        let order = |row: &&Row| (row.account != "*", !row.model.is_empty(), row.valid_from, row.version);
        let Some(rate) = self.0.iter().filter(fits).max_by_key(order) else { return unpriced };
        price(rate, event).map_or(unpriced, |cost| (cost, true))
    }

    /// What one user of a session costs, and whether that is its price; 0 where sessions are not charged.
    pub fn session(&self, account: &str, platform: &str, start: i64) -> (Decimal, bool) {
        let Some(terms) = self.account(account, start).filter(|row| !row.retired) else { return (Decimal::ZERO, false) };
        if !terms.charge.iter().any(|charge| charge == "sessions") {
            return (Decimal::ZERO, true);
        }
        let fits = |row: &&Row| {
            row.kind == Kind::SessionPrice
                && (row.account == account || row.account == "*")
                && (row.platform == platform || row.platform == "*")
                && row.valid_from.millis() <= start
        };
        let order = |row: &&Row| (row.account != "*", row.platform != "*", row.valid_from, row.version);
        self.0.iter().filter(fits).max_by_key(order).map_or((Decimal::ZERO, false), |row| (decimal(row.unit_session_cost), true))
    }
}

/// The components that the event can be charged for, added and rounded once.
fn price(rate: &Row, event: &Event) -> Option<Decimal> {
    let thousand = |number: u64| Decimal::from(number) / Decimal::ONE_THOUSAND;
    let input = event.input_tokens.or(event.cached_input_tokens);
    let cached = event.cached_input_tokens.map(|cached| cached.min(input.expect("at least the cached ones")));
    let fresh = input.map(|input| input - cached.unwrap_or(0));
    let cached_price = if rate.has_cached_price { rate.per_1k_cached_input_tokens } else { rate.per_1k_input_tokens };
    let components = [
        (decimal(rate.per_call), Some(Decimal::ONE)),
        (decimal(rate.per_1k_input_tokens), fresh.map(thousand)),
        (decimal(cached_price), cached.map(thousand)),
        (decimal(rate.per_1k_output_tokens), event.output_tokens.map(thousand)),
        (decimal(rate.per_second), event.duration_ms.map(thousand)),
        (decimal(rate.per_unit), event.quantity),
    ];
    let asked: Vec<(Decimal, Option<Decimal>)> = components.into_iter().filter(|(price, _)| !price.is_zero()).collect();
    if !asked.is_empty() && asked.iter().all(|(_, used)| used.is_none()) {
        return None;
    }
    let total: Decimal = asked.iter().filter_map(|(price, used)| used.map(|used| *price * used)).sum();
    let total = total.round_dp_with_strategy(9, RoundingStrategy::MidpointNearestEven);
    // A cost above 10^12 credits is unpriced.
    (total <= Decimal::from(1_000_000_000_000_u64)).then_some(total)
}

fn decimal(credits: Credits) -> Decimal {
    credits.to_string().parse().expect("a decimal")
}
