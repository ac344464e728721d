//! An event rated once more, as it stands in `usage_log`, by another book than the one that rated it first.
//!
//! Promises: the same arithmetic as at metering; the same book gives what is stored. Holds: day and hour stay those of metering.
//! Absent on purpose: sessions, which are priced when they are read.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::{Cost, Prices};
use crate::book::Book;
use crate::model::{Credits, Day, Event, Given, Quantity, Timestamp};

/// Compiled books of versions past; more are not held at a time.
const PAST_MAX: usize = 16;

/// An event as `usage_log` has it: what its cost depends on, and what it cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged<'a> {
    /// Who pays.
    pub account: &'a str,
    /// The account's date, fixed when it was metered.
    pub day: Day,
    /// When the use happened.
    pub time: Timestamp,
    /// Where the user is.
    pub platform: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// What kind of work it was.
    pub category: &'a str,
    /// The model.
    pub model: &'a str,
    /// Execution time; 0 when none was given, as all numbers below.
    pub duration_ms: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// The part of them that was cached.
    pub cached_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What is priced per unit.
    pub quantity: Quantity,
    /// The cost as the agent computed it.
    pub credits: Credits,
    /// Which of these numbers were given.
    pub given: Given,
    /// What it cost when it was metered.
    pub cost: Credits,
    /// Whether that was a price.
    pub priced: bool,
    /// The version of the book that said so.
    pub price_version: u64,
}

impl<'a> Logged<'a> {
    fn event(&self) -> Event<'a> {
        let given = self.given;
        Event {
            id: Cow::Borrowed(""),
            source: Cow::Borrowed(""),
            time: self.time,
            account: Cow::Borrowed(self.account),
            platform: Cow::Borrowed(self.platform),
            user: Cow::Borrowed(""),
            agent: Cow::Borrowed(self.agent),
            category: Cow::Borrowed(self.category),
            model: Cow::Borrowed(self.model),
            duration_ms: given.value(Given::DURATION_MS, self.duration_ms),
            input_tokens: given.value(Given::INPUT_TOKENS, self.input_tokens),
            cached_input_tokens: given.value(Given::CACHED_INPUT_TOKENS, self.cached_input_tokens),
            output_tokens: given.value(Given::OUTPUT_TOKENS, self.output_tokens),
            quantity: given.value(Given::QUANTITY, self.quantity),
            credits: given.value(Given::CREDITS, self.credits),
        }
    }
}

/// What an event costs by another book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rated {
    /// The start of the hour to which it was metered.
    pub hour: Timestamp,
    /// What it costs now.
    pub cost: Cost,
}

/// A book to rate by, with the books that rated before.
#[derive(Debug)]
pub struct Again {
    book: Book,
    prices: Prices,
    past: FxHashMap<u64, Prices>,
}

impl Again {
    /// Rates by all of this book. What it was at an earlier version tells on whose clock an event was metered.
    pub fn new(book: Book) -> Self {
        Self { prices: Prices::new(&book), book, past: FxHashMap::default() }
    }

    /// The version that is rated by.
    pub const fn version(&self) -> u64 {
        self.prices.version()
    }

    /// What an event costs now.
    pub fn rate(&mut self, logged: &Logged<'_>) -> Rated {
        let cost = self.prices.cost(&logged.event(), &self.prices.terms(logged.account, logged.time));
        let then = self.past(logged.price_version).terms(logged.account, logged.time);
        Rated { hour: then.zone.local(logged.time).hour, cost }
    }

    fn past(&mut self, version: u64) -> &Prices {
        if version == self.prices.version() {
            return &self.prices;
        }
        if self.past.len() >= PAST_MAX && !self.past.contains_key(&version) {
            self.past.clear();
        }
        let book = &self.book;
        self.past.entry(version).or_insert_with(|| Prices::new(&book.at_version(version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{self, Book};

    const FIRST: &str = r#"
[[account]]
id = "acme"
time_zone = "Asia/Kolkata"

[[account]]
id = "own"
operations = "reported"

[[rate]]
account = "*"
category = "llm"
per_1k_output_tokens = "0.000000001"

[[rate]]
account = "*"
category = "cache"
per_1k_input_tokens = "1000"
"#;

    fn applied(current: &Book, text: &str, backdate: bool) -> Book {
        let file = book::parse(text, "book.toml").expect("a book");
        let now = Timestamp::parse("2026-04-01T00:00:00Z").expect("RFC 3339");
        let plan = book::plan(current, &file, now, "test", Timestamp::from_millis(0), backdate).expect("a plan");
        Book::from_rows([current.rows(), &plan.rows].concat())
    }

    fn logged<'a>(account: &'a str, category: &'a str) -> Logged<'a> {
        Logged {
            account,
            day: Day::from_epoch_days(20_500),
            time: Timestamp::parse("2026-03-10T20:10:00Z").expect("RFC 3339"),
            platform: "web",
            agent: "bot",
            category,
            model: "",
            duration_ms: 0,
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            quantity: Quantity::ZERO,
            credits: Credits::ZERO,
            given: Given::default(),
            cost: Credits::ZERO,
            priced: false,
            price_version: 1,
        }
    }

    const UNPRICED: Cost = Cost { credits: Credits::ZERO, priced: false };

    const fn priced(nanos: i128) -> Cost {
        Cost { credits: Credits::from_nanos(nanos), priced: true }
    }

    #[test]
    fn a_nanocredit_is_rounded_as_at_metering_and_the_hour_is_the_accounts() {
        let mut again = Again::new(applied(&Book::empty(), FIRST, true));
        assert_eq!(again.version(), 1);
        for (tokens, nanos) in [(499, 0), (500, 0), (501, 1), (1_500, 2), (2_500, 2), (2_501, 3)] {
            let rated = again.rate(&Logged { output_tokens: tokens, given: Given::OUTPUT_TOKENS, ..logged("acme", "llm") });
            assert_eq!(rated.cost, priced(nanos), "{tokens}");
            assert_eq!(rated.hour.to_string(), "2026-03-10T19:30:00Z");
        }
    }

    #[test]
    fn a_number_of_zero_is_a_number_and_one_that_was_not_given_is_none() {
        let mut again = Again::new(applied(&Book::empty(), FIRST, true));
        assert_eq!(again.rate(&logged("acme", "llm")).cost, UNPRICED);
        assert_eq!(again.rate(&Logged { given: Given::OUTPUT_TOKENS, ..logged("acme", "llm") }).cost, priced(0));
        // Cached tokens beside no input are all of it; beside an input of 0 they are none.
        let cached = Logged { cached_input_tokens: 7, given: Given::CACHED_INPUT_TOKENS, ..logged("acme", "cache") };
        assert_eq!(again.rate(&cached).cost, priced(7_000_000_000));
        let given = Given::from_bits(Given::CACHED_INPUT_TOKENS.bits() | Given::INPUT_TOKENS.bits());
        assert_eq!(again.rate(&Logged { given, ..cached }).cost, priced(0));
    }

    #[test]
    fn what_an_event_reported_is_what_it_costs_where_that_is_charged_however_it_was_charged_first() {
        let first = applied(&Book::empty(), FIRST, true);
        let said = Logged {
            output_tokens: 3_000,
            given: Given::from_bits(8 + 32),
            credits: Credits::from_nanos(5),
            ..logged("acme", "llm")
        };
        assert_eq!(Again::new(first.clone()).rate(&said).cost, priced(3));
        let second = applied(
            &first,
            "[[account]]\nid = \"acme\"\ntime_zone = \"Asia/Kolkata\"\noperations = \"reported\"\nvalid_from = 2026-03-01T00:00:00Z",
            true,
        );
        let mut again = Again::new(second);
        assert_eq!(again.rate(&said).cost, priced(5));
        assert_eq!(again.rate(&Logged { given: Given::OUTPUT_TOKENS, ..said }).cost, UNPRICED);
        assert_eq!(again.rate(&said).hour.to_string(), "2026-03-10T19:30:00Z");
    }

    #[test]
    fn an_account_that_became_known_is_rated_and_stays_in_its_hour() {
        let first = applied(&Book::empty(), FIRST, true);
        let second = applied(&first, "[[account]]\nid = \"late\"\ntime_zone = \"Asia/Kolkata\"", true);
        let mut again = Again::new(second);
        let rated = again.rate(&Logged { output_tokens: 2_000, given: Given::OUTPUT_TOKENS, ..logged("late", "llm") });
        assert_eq!(rated.cost, priced(2));
        assert_eq!(rated.hour.to_string(), "2026-03-10T20:00:00Z", "metered in UTC");
        assert_eq!(again.rate(&logged("nobody", "llm")).cost, UNPRICED);
    }
}
