//! An event rated once more, as it stands in `usage_log`, by another book than the one that rated it first.
//!
//! Promises: the same arithmetic as at metering; the same book gives what is stored. Holds: day and hour stay those of metering.
//! The log keeps less than the event said, and what that means is decided here:
//! - A number that is 0 may have been absent, and a price may need one that is given. The book that rated the event first tells
//!   which it was, if it minded; else it was absent, so that what may be unpriced is shown.
//! - The credits that an event reported are its cost, if it was charged by them. Else they were not kept: such an event keeps its
//!   cost, and is counted.
//!
//! Absent on purpose: sessions, which are priced when they are read.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::{Cost, Prices, Terms};
use crate::book::Book;
use crate::model::{Credits, Day, Event, Quantity, Timestamp};

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
    /// Execution time; 0 may mean that none was given, here and below.
    pub duration_ms: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// The part of them that was cached.
    pub cached_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What is priced per unit.
    pub quantity: Quantity,
    /// What it cost when it was metered.
    pub cost: Credits,
    /// Whether that was a price.
    pub priced: bool,
    /// The version of the book that said so.
    pub price_version: u64,
}

impl<'a> Logged<'a> {
    /// The event with its zeros read in one of two ways: all of them absent, or all of them given.
    fn event(&self, zeros_are_given: bool) -> Event<'a> {
        let number = |number: u64| (number > 0 || zeros_are_given).then_some(number);
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
            duration_ms: number(self.duration_ms),
            input_tokens: number(self.input_tokens),
            cached_input_tokens: number(self.cached_input_tokens),
            output_tokens: number(self.output_tokens),
            quantity: (self.quantity > Quantity::ZERO || zeros_are_given).then_some(self.quantity),
            credits: None,
        }
    }

    fn stored(&self) -> Cost {
        Cost { credits: self.cost, priced: self.priced }
    }
}

/// What an event costs by another book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rated {
    /// The start of the hour to which it was metered.
    pub hour: Timestamp,
    /// What it costs now.
    pub cost: Cost,
    /// `false`: the log does not have what the book asks for; `cost` is what is stored.
    pub is_sure: bool,
}

/// A book to rate by, with the books that rated before.
#[derive(Debug)]
pub struct Again {
    book: Book,
    prices: Prices,
    past: FxHashMap<u64, Prices>,
}

impl Again {
    /// Rates by all of this book. What it was at an earlier version tells what was agreed when an event was metered.
    pub fn new(book: Book) -> Self {
        Self { prices: Prices::new(&book), book, past: FxHashMap::default() }
    }

    /// The version that is rated by.
    pub const fn version(&self) -> u64 {
        self.prices.version()
    }

    /// What an event costs now.
    pub fn rate(&mut self, logged: &Logged<'_>) -> Rated {
        let now = self.prices.terms(logged.account, logged.time);
        let [absent, given] = both(&self.prices, &now, logged);
        let past = self.past(logged.price_version);
        let then = past.terms(logged.account, logged.time);
        let hour = then.zone.local(logged.time).hour;
        if now.reported && now.known && now.charges(logged.category) {
            let is_kept = then.known && then.reported && then.charges(logged.category) && logged.priced;
            return Rated { hour, cost: logged.stored(), is_sure: is_kept };
        }
        let cost = if absent == given || !were_given(past, &then, logged) { absent } else { given };
        Rated { hour, cost, is_sure: true }
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

/// The cost with zeros read as absent, and as given.
fn both(prices: &Prices, terms: &Terms, logged: &Logged<'_>) -> [Cost; 2] {
    [false, true].map(|given| prices.cost(&logged.event(given), terms))
}

/// Whether the zeros of an event must have been given, for it to cost what it did.
fn were_given(past: &Prices, then: &Terms, logged: &Logged<'_>) -> bool {
    let [absent, given] = both(past, then, logged);
    absent != given && given == logged.stored()
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
            cost: Credits::ZERO,
            priced: false,
            price_version: 1,
        }
    }

    const fn priced(nanos: i128) -> Cost {
        Cost { credits: Credits::from_nanos(nanos), priced: true }
    }

    #[test]
    fn a_nanocredit_is_rounded_as_at_metering_and_the_hour_is_the_accounts() {
        let mut again = Again::new(applied(&Book::empty(), FIRST, true));
        assert_eq!(again.version(), 1);
        for (tokens, nanos) in [(499, 0), (500, 0), (501, 1), (1_500, 2), (2_500, 2), (2_501, 3)] {
            let rated = again.rate(&Logged { output_tokens: tokens, ..logged("acme", "llm") });
            assert_eq!((rated.cost, rated.is_sure), (priced(nanos), true), "{tokens}");
            assert_eq!(rated.hour.to_string(), "2026-03-10T19:30:00Z");
        }
    }

    #[test]
    fn the_same_book_changes_nothing_whether_a_zero_was_given_or_not() {
        let mut again = Again::new(applied(&Book::empty(), FIRST, true));
        for is_priced in [false, true] {
            let rated = again.rate(&Logged { priced: is_priced, ..logged("acme", "llm") });
            assert_eq!(rated.cost, Cost { credits: Credits::ZERO, priced: is_priced });
        }
        // Cached tokens beside no input are all of it; beside an input of 0 they are none.
        for nanos in [7_000_000_000, 0] {
            let stored =
                Logged { cached_input_tokens: 7, cost: Credits::from_nanos(nanos), priced: true, ..logged("acme", "cache") };
            assert_eq!(again.rate(&stored).cost, priced(nanos));
        }
    }

    #[test]
    fn a_zero_counts_as_given_only_where_its_first_book_says_so() {
        let first = applied(&Book::empty(), FIRST, true);
        let unit = "[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_unit = \"1\"\nvalid_from = 2026-03-01T00:00:00Z";
        let mut again = Again::new(applied(&first, unit, true));
        let unpriced = Cost { credits: Credits::ZERO, priced: false };
        let tokens = Logged { output_tokens: 2_000, cost: Credits::from_nanos(2), priced: true, ..logged("acme", "llm") };
        assert_eq!(again.rate(&tokens).cost, unpriced, "nothing says that a quantity of 0 was given");
        assert_eq!(again.rate(&Logged { priced: true, ..logged("acme", "llm") }).cost, priced(0), "tokens of 0 were given");
        assert_eq!(again.rate(&logged("acme", "llm")).cost, unpriced);
    }

    #[test]
    fn what_an_event_reported_is_kept_only_where_it_was_charged() {
        let first = applied(&Book::empty(), FIRST, true);
        let mut again = Again::new(first.clone());
        let reported = Logged { cost: Credits::from_nanos(5), priced: true, ..logged("own", "llm") };
        assert_eq!(again.rate(&reported), Rated { is_sure: true, cost: priced(5), ..again.rate(&reported) });
        assert!(!again.rate(&logged("own", "llm")).is_sure, "an unpriced one has none");
        let second = applied(
            &first,
            "[[account]]\nid = \"acme\"\ntime_zone = \"Asia/Kolkata\"\noperations = \"reported\"\nvalid_from = 2026-03-01T00:00:00Z",
            true,
        );
        let mut again = Again::new(second);
        let rated =
            again.rate(&Logged { output_tokens: 3_000, cost: Credits::from_nanos(3), priced: true, ..logged("acme", "llm") });
        assert_eq!((rated.cost, rated.is_sure), (priced(3), false), "what was rated says nothing of what was reported");
        assert_eq!(rated.hour.to_string(), "2026-03-10T19:30:00Z");
    }

    #[test]
    fn an_account_that_became_known_is_rated_and_stays_in_its_hour() {
        let first = applied(&Book::empty(), FIRST, true);
        let second = applied(&first, "[[account]]\nid = \"late\"\ntime_zone = \"Asia/Kolkata\"", true);
        let mut again = Again::new(second);
        let rated = again.rate(&Logged { output_tokens: 2_000, ..logged("late", "llm") });
        assert_eq!(rated.cost, priced(2));
        assert_eq!(rated.hour.to_string(), "2026-03-10T20:00:00Z", "metered in UTC");
        assert_eq!(again.rate(&logged("nobody", "llm")).cost, Cost { credits: Credits::ZERO, priced: false });
    }
}
