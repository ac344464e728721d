//! Sums of operations by account, day, hour, platform, agent, category and model, for `usage_hourly`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Accepted;
use super::digest::{Digest, Term};
use super::hash::HashSeed;
use super::log::EventNames;
use super::names::{NameId, Names};
use crate::model::{Credits, Day, Month, Quantity, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HourlyKey {
    pub account: NameId,
    pub agent: NameId,
    pub category: NameId,
    pub model: NameId,
    pub platform: NameId,
    pub day: Day,
    pub hour: Timestamp,
}

/// What is added up for one key.
///
/// Addition never wraps. Money and quantities are below 2^100 for 2^30 events of the largest amounts. Tokens and durations reach 2^53 in one
/// event and their columns hold 64 bits: a sum that would pass `u64::MAX` stays there (the least of the true sum and the largest
/// number, so still independent of order). It takes more than 2 000 events of the largest value in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// How many events.
    pub events: u64,
    /// What they cost.
    pub cost: Credits,
    /// Execution time.
    pub duration_ms: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// The part that was cached.
    pub cached_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What the rate card prices per unit.
    pub quantity: Quantity,
    /// Events without a price.
    pub unpriced_events: u64,
    /// Events of an account charged for sessions that lack user or platform.
    pub unattributed_events: u64,
}

impl Sums {
    fn of(row: &Accepted<'_>) -> Self {
        let event = row.event;
        Self {
            events: 1,
            cost: row.cost,
            duration_ms: event.duration_ms.unwrap_or(0),
            input_tokens: event.input_tokens.unwrap_or(0),
            cached_input_tokens: event.cached_input_tokens.unwrap_or(0),
            output_tokens: event.output_tokens.unwrap_or(0),
            quantity: event.quantity.unwrap_or(Quantity::ZERO),
            unpriced_events: u64::from(!row.priced),
            unattributed_events: u64::from(row.unattributed),
        }
    }

    /// Adds other sums of the same key.
    pub fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.cost = Credits::from_nanos(self.cost.nanos().saturating_add(other.cost.nanos()));
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.quantity = Quantity::from_nanos(self.quantity.nanos().saturating_add(other.quantity.nanos()));
        self.unpriced_events = self.unpriced_events.saturating_add(other.unpriced_events);
        self.unattributed_events = self.unattributed_events.saturating_add(other.unattributed_events);
    }
}

/// Sums while a batch is folded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hourly {
    table: HashTable<u32>,
    rows: Vec<(HourlyKey, Sums)>,
    seed: HashSeed,
}

impl Hourly {
    pub fn new(seed: HashSeed) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn add(&mut self, row: &Accepted<'_>, names: EventNames) {
        let EventNames { account, source: _, platform, agent, category, model } = names;
        let key = HourlyKey { account, agent, category, model, platform, day: row.day, hour: row.hour };
        let (rows, seed) = (&mut self.rows, self.seed);
        let hash = hash(&key, &seed);
        let sums = Sums::of(row);
        if let Some(&index) = self.table.find(hash, |&index| rows[index as usize].0 == key) {
            rows[index as usize].1.add(&sums);
        } else {
            let index = rows.len() as u32; // at most one row for each event of a bounded batch
            rows.push((key, sums));
            self.table.insert_unique(hash, index, |&index| self::hash(&rows[index as usize].0, &seed));
        }
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.rows.len() * size_of::<(HourlyKey, Sums)>() + self.table.capacity() * (size_of::<u32>() + 1)
    }

    pub fn into_blocks(self, names: &Arc<Names>, ranks: &[u32], digest: &mut Digest) -> BTreeMap<Month, HourlyBlock> {
        let rank = |id: NameId| ranks[id as usize];
        let mut order: Vec<_> = (0_u32..)
            .zip(&self.rows)
            .map(|(row, (key, _))| {
                let &HourlyKey { account, agent, category, model, platform, day, hour } = key;
                (rank(account), day, rank(category), rank(agent), rank(model), rank(platform), hour, row)
            })
            .collect();
        order.sort_unstable();
        let rows = Arc::new(self.rows);
        let block = || HourlyBlock { names: Arc::clone(names), rows: Arc::clone(&rows), order: Vec::new() };
        let mut blocks = BTreeMap::<Month, HourlyBlock>::new();
        for (.., row) in order {
            let (key, sums) = &rows[row as usize];
            add_to_digest(digest, names, key, sums);
            blocks.entry(key.day.month()).or_insert_with(block).order.push(row);
        }
        blocks
    }
}

fn hash(key: &HourlyKey, seed: &HashSeed) -> u64 {
    let &HourlyKey { account, agent, category, model, platform, day, hour } = key;
    let hour = hour.millis().cast_unsigned();
    seed.numbers([account, agent, category, model, platform, day.epoch_days().into(), hour as u32, (hour >> 32) as u32])
}

fn add_to_digest(digest: &mut Digest, names: &Names, key: &HourlyKey, sums: &Sums) {
    let term = digest.begin(Term::Hourly);
    for name in [key.account, key.platform, key.agent, key.category, key.model] {
        term.text(names.bytes_of(name));
    }
    term.number(key.day.epoch_days().into()).int(key.hour.seconds()).number(sums.events).amount(sums.cost.nanos());
    term.number(sums.duration_ms).number(sums.input_tokens).number(sums.cached_input_tokens).number(sums.output_tokens);
    term.amount(sums.quantity.nanos()).number(sums.unpriced_events).number(sums.unattributed_events).end();
}

/// The sums of one month, keys distinct, sorted by (account, day, category, agent, model, platform, hour).
#[derive(Debug, Clone)]
pub struct HourlyBlock {
    pub(crate) names: Arc<Names>,
    pub(crate) rows: Arc<Vec<(HourlyKey, Sums)>>,
    pub(crate) order: Vec<u32>,
}

/// A row of sums as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyRow<'a> {
    /// Who pays.
    pub account: &'a str,
    /// The account's local date.
    pub day: Day,
    /// The start of the hour on the account's clock, as the UTC moment.
    pub hour: Timestamp,
    /// Where the users are.
    pub platform: &'a str,
    /// The agent that was used.
    pub agent: &'a str,
    /// What kind of work it was.
    pub category: &'a str,
    /// The model that did it.
    pub model: &'a str,
    /// What was added up.
    pub sums: Sums,
}

impl HourlyBlock {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The rows in the order of the table's key.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = HourlyRow<'_>> {
        let names = &self.names;
        self.order.iter().map(move |&row| {
            let (key, sums) = &self.rows[row as usize];
            HourlyRow {
                account: names.get(key.account),
                day: key.day,
                hour: key.hour,
                platform: names.get(key.platform),
                agent: names.get(key.agent),
                category: names.get(key.category),
                model: names.get(key.model),
                sums: *sums,
            }
        })
    }
}
