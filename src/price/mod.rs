//! What an event or a session costs.
//!
//! Promises: the answer is a function of (book, account, moment, event) and of nothing else, so a replay under the same version
//! of the book gives the same cost. The most specific row that is valid at the moment wins: the account's own before `*`; then
//! platform before `*`, or category with model before the category's default; then the newest `valid_from`; then the highest
//! version. Holds: integers only, every step checked, rounded once; what cannot be priced is unpriced, never lost and never
//! wrapped. Absent on purpose: clocks, allocation per event, the database. SQL selects by the same rules where sessions are
//! read; `tests/golden/prices` is run through both.

mod again;
mod compare;
mod cost;
mod timeline;

pub use again::{Again, Logged, Rated};
pub use compare::{Adjustment, Compared, DayFold, Line, Overflow, of_the_day};

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::book::{Book, Kind, Row};
use crate::model::{Credits, Event, SessionAnchor, SessionStart, Timestamp, Zone};
use cost::Rate;
use timeline::Timeline;

/// The category that `charge = ["training"]` charges alone.
pub const TRAINING: &str = "training";
const EVERYONE: &str = "*";

/// Which operations an account pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operations {
    /// None.
    #[default]
    None,
    /// Those of the category `training`.
    TrainingOnly,
    /// All, training included.
    All,
}

/// What is agreed with an account at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether the book has a row for the account that is valid then and not retired.
    pub known: bool,
    /// The zone of its days and months.
    pub zone: Zone,
    /// Where its sessions start.
    pub anchor: SessionAnchor,
    /// Whether sessions are charged.
    pub charges_sessions: bool,
    /// Which operations are charged.
    pub operations: Operations,
    /// Whether an operation costs what its event says, and not what the rate card says.
    pub reported: bool,
}

impl Terms {
    /// An account that the book does not know: nothing is priced, days are those of UTC, sessions start at 00:00.
    pub fn unknown() -> Self {
        Self {
            known: false,
            zone: Zone::UTC,
            anchor: SessionAnchor::default(),
            charges_sessions: false,
            operations: Operations::None,
            reported: false,
        }
    }

    /// Whether an operation of this category costs anything.
    pub fn charges(&self, category: &str) -> bool {
        match self.operations {
            Operations::All => true,
            Operations::TrainingOnly => category == TRAINING,
            Operations::None => false,
        }
    }

    /// A retired account is no longer known, so that its usage shows as unpriced; its days and sessions stay where they were.
    fn of(row: &Row) -> Self {
        let charges = |what: &str| !row.retired && row.charge.iter().any(|charge| charge == what);
        let operations = match (charges("operations"), charges(TRAINING)) {
            (true, _) => Operations::All,
            (false, true) => Operations::TrainingOnly,
            (false, false) => Operations::None,
        };
        Self {
            known: !row.retired,
            zone: row.zone().unwrap_or(Zone::UTC),
            anchor: row.anchor().unwrap_or_default(),
            charges_sessions: charges("sessions"),
            operations,
            reported: row.operations == "reported",
        }
    }
}

/// What an operation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The cost; zero when it is not charged or not priced.
    pub credits: Credits,
    /// Whether that is the price. A price of zero is a price; what is not charged is priced at zero.
    pub priced: bool,
}

impl Cost {
    const UNPRICED: Self = Self { credits: Credits::ZERO, priced: false };
    const NOT_CHARGED: Self = Self { credits: Credits::ZERO, priced: true };

    const fn of(credits: Credits) -> Self {
        Self { credits, priced: true }
    }
}

/// The book, compiled for looking up. A lookup hashes borrowed text and allocates nothing.
#[derive(Debug, Default)]
pub struct Prices {
    version: u64,
    accounts: FxHashMap<Box<str>, Timeline<Terms>>,
    /// Rates by account; `*` is kept apart, since every event may end there.
    own_rates: FxHashMap<Box<str>, RateCard>,
    rates: RateCard,
    own_sessions: FxHashMap<Box<str>, SessionPrices>,
    sessions: SessionPrices,
}

#[derive(Debug, Default)]
struct RateCard(FxHashMap<Box<str>, CategoryRates>);

#[derive(Debug, Default)]
struct CategoryRates {
    default: Timeline<Rate>,
    models: FxHashMap<Box<str>, Timeline<Rate>>,
}

#[derive(Debug, Default)]
struct SessionPrices {
    platforms: FxHashMap<Box<str>, Timeline<Credits>>,
    default: Timeline<Credits>,
}

impl Prices {
    /// Compiles a book.
    pub fn new(book: &Book) -> Self {
        let mut prices = Self::default();
        book.rows().iter().for_each(|row| prices.add(row));
        prices
    }

    /// Takes one more row. They come by version, so that of two rows for one moment the later version stays.
    pub fn add(&mut self, row: &Row) {
        self.version = self.version.max(row.version);
        match row.kind {
            Kind::Account => entry(&mut self.accounts, &row.account).insert(row.valid_from, Terms::of(row)),
            Kind::Rate => self.insert_rate(row),
            Kind::SessionPrice => self.insert_session_price(row),
            Kind::Budget | Kind::Package | Kind::CreditPrice => {}
        }
    }

    /// The version of the book.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The platforms that session prices name, each once, by name.
    pub fn platforms(&self) -> BTreeSet<&str> {
        let all = self.own_sessions.values().chain([&self.sessions]);
        all.flat_map(|prices| prices.platforms.keys()).map(|platform| &**platform).collect()
    }

    /// What holds for an account at a moment. Before its first row, and when there is none, it is [`Terms::unknown`].
    pub fn terms(&self, account: &str, at: Timestamp) -> Terms {
        self.accounts.get(account).and_then(|rows| rows.at(at)).copied().unwrap_or_else(Terms::unknown)
    }

    /// What an event costs under the terms that its account has at its time.
    pub fn cost(&self, event: &Event, terms: &Terms) -> Cost {
        if !terms.known {
            return Cost::UNPRICED;
        }
        if !terms.charges(&event.category) {
            return Cost::NOT_CHARGED;
        }
        let credits = if terms.reported { event.credits } else { self.rate(event).and_then(|rate| rate.cost(event)) };
        credits.map_or(Cost::UNPRICED, Cost::of)
    }

    /// What one user costs in a session, by the prices at its start; `None` when there is no price or the account is unknown
    /// then. Zero when sessions are not charged.
    pub fn unit_session_cost(&self, account: &str, platform: &str, session: SessionStart) -> Option<Credits> {
        let start = session.start();
        let terms = self.terms(account, start);
        if !terms.known {
            return None;
        }
        if !terms.charges_sessions {
            return Some(Credits::ZERO);
        }
        let own = self.own_sessions.get(account).and_then(|prices| prices.at(platform, start));
        own.or_else(|| self.sessions.at(platform, start))
    }

    fn rate(&self, event: &Event) -> Option<&Rate> {
        let own = || self.own_rates.get(&*event.account).and_then(|card| card.at(event));
        let own = if self.own_rates.is_empty() { None } else { own() };
        own.or_else(|| self.rates.at(event))
    }

    fn insert_rate(&mut self, row: &Row) {
        let card = if row.account == EVERYONE { &mut self.rates } else { entry(&mut self.own_rates, &row.account) };
        let category = entry(&mut card.0, &row.category);
        let rates = if row.model.is_empty() { &mut category.default } else { entry(&mut category.models, &row.model) };
        rates.insert(row.valid_from, Rate::of(row));
    }

    fn insert_session_price(&mut self, row: &Row) {
        let prices = if row.account == EVERYONE { &mut self.sessions } else { entry(&mut self.own_sessions, &row.account) };
        let costs = if row.platform == EVERYONE { &mut prices.default } else { entry(&mut prices.platforms, &row.platform) };
        costs.insert(row.valid_from, row.unit_session_cost);
    }
}

impl RateCard {
    fn at(&self, event: &Event) -> Option<&Rate> {
        let category = self.0.get(&*event.category)?;
        let model = if event.model.is_empty() { None } else { category.models.get(&*event.model) };
        model.and_then(|rates| rates.at(event.time)).or_else(|| category.default.at(event.time))
    }
}

impl SessionPrices {
    fn at(&self, platform: &str, start: Timestamp) -> Option<Credits> {
        self.platforms.get(platform).and_then(|costs| costs.at(start)).or_else(|| self.default.at(start)).copied()
    }
}

fn entry<'a, T: Default>(map: &'a mut FxHashMap<Box<str>, T>, key: &str) -> &'a mut T {
    map.entry(key.into()).or_default()
}

#[cfg(test)]
mod tests;
