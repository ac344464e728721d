//! Accepted events as columns, for `usage_log`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Accepted;
use super::names::{NameId, Names};
use super::narrow::Narrow;
use super::text::TextColumn;
use crate::model::{Credits, Day, Given, Month, Quantity, Timestamp};

/// The columns in order of arrival. Texts that repeat are numbers of a shared [`Names`].
#[derive(Debug, Clone, Default)]
pub(crate) struct LogColumns {
    pub account: Vec<NameId>,
    pub source: Vec<NameId>,
    pub id: TextColumn,
    pub event_time: Vec<Timestamp>,
    pub received_at: Vec<Timestamp>,
    pub day: Vec<Day>,
    pub platform: Vec<NameId>,
    pub user_hash: Vec<u64>,
    pub agent: Vec<NameId>,
    pub category: Vec<NameId>,
    pub model: Vec<NameId>,
    pub duration_ms: Narrow<u64>,
    pub input_tokens: Narrow<u64>,
    pub cached_input_tokens: Narrow<u64>,
    pub output_tokens: Narrow<u64>,
    /// In billionths, as all amounts.
    pub quantity: Narrow<i128>,
    pub credits: Narrow<i128>,
    pub given: Vec<Given>,
    pub cost: Narrow<i128>,
    pub priced: Vec<bool>,
    pub offset: Vec<i64>,
}

/// The numbers of an event's names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventNames {
    pub account: NameId,
    pub source: NameId,
    pub platform: NameId,
    pub agent: NameId,
    pub category: NameId,
    pub model: NameId,
}

impl LogColumns {
    pub fn push(&mut self, row: &Accepted<'_>, names: EventNames) {
        let event = row.event;
        self.account.push(names.account);
        self.source.push(names.source);
        self.id.push(event.id.as_bytes());
        self.event_time.push(event.time);
        self.received_at.push(row.received_at);
        self.day.push(row.day);
        self.platform.push(names.platform);
        self.user_hash.push(row.user_hash);
        self.agent.push(names.agent);
        self.category.push(names.category);
        self.model.push(names.model);
        self.duration_ms.push(event.duration_ms.unwrap_or(0));
        self.input_tokens.push(event.input_tokens.unwrap_or(0));
        self.cached_input_tokens.push(event.cached_input_tokens.unwrap_or(0));
        self.output_tokens.push(event.output_tokens.unwrap_or(0));
        self.quantity.push(event.quantity.unwrap_or(Quantity::ZERO).nanos());
        self.credits.push(event.credits.unwrap_or(Credits::ZERO).nanos());
        self.given.push(Given::by(event));
        self.cost.push(row.cost.nanos());
        self.priced.push(row.priced);
        self.offset.push(row.offset);
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        // Six names, four columns of 64 bits, the day, and two of a byte.
        const FIXED: usize = 6 * size_of::<NameId>() + 4 * size_of::<u64>() + size_of::<Day>() + 2;
        let numbers = [&self.duration_ms, &self.input_tokens, &self.cached_input_tokens, &self.output_tokens];
        let amounts = [&self.quantity, &self.credits, &self.cost];
        self.id.bytes()
            + self.offset.len() * FIXED
            + numbers.iter().map(|column| column.bytes()).sum::<usize>()
            + amounts.iter().map(|column| column.bytes()).sum::<usize>()
    }

    /// The rows in the order of the table's key (account, event_time, id), and by offset among equals.
    fn order(&self, ranks: &[u32]) -> Vec<u32> {
        // One integer holds rank, moment and row, so that almost every comparison is one of integers.
        let rank_and_time = |key: u128| key >> 32;
        let mut keys: Vec<u128> = (0_u32..)
            .zip(self.account.iter().zip(&self.event_time))
            .map(|(row, (&account, time))| {
                let time = (time.millis() as u64) ^ (1 << 63); // negative moments sort first
                u128::from(ranks[account as usize]) << 96 | u128::from(time) << 32 | u128::from(row)
            })
            .collect();
        keys.sort_unstable();
        let mut order: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
        let mut start = 0;
        for equal in keys.chunk_by(|&a, &b| rank_and_time(a) == rank_and_time(b)) {
            if equal.len() > 1 {
                order[start..start + equal.len()].sort_unstable_by(|&a, &b| {
                    let (a, b) = (a as usize, b as usize);
                    self.id.get(a).cmp(self.id.get(b)).then_with(|| self.offset[a].cmp(&self.offset[b]))
                });
            }
            start += equal.len();
        }
        order
    }

    pub fn into_blocks(self, names: &Arc<Names>, ranks: &[u32]) -> BTreeMap<Month, LogBlock> {
        let order = self.order(ranks);
        let columns = Arc::new(self);
        let block = || LogBlock { names: Arc::clone(names), columns: Arc::clone(&columns), order: Vec::new() };
        let mut blocks = BTreeMap::<Month, LogBlock>::new();
        let mut known: Option<(Day, Month)> = None;
        for row in order {
            let day = columns.day[row as usize];
            let month = match known {
                Some((known, month)) if known == day => month,
                _ => day.month(),
            };
            known = Some((day, month));
            blocks.entry(month).or_insert_with(block).order.push(row);
        }
        blocks
    }
}

/// The accepted events of one month, sorted by (account, event_time, id).
#[derive(Debug, Clone)]
pub struct LogBlock {
    pub(crate) names: Arc<Names>,
    pub(crate) columns: Arc<LogColumns>,
    pub(crate) order: Vec<u32>,
}

/// An accepted event as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRow<'a> {
    /// Who pays.
    pub account: &'a str,
    /// The producer.
    pub source: &'a str,
    /// Unique per account and source.
    pub id: &'a str,
    /// When the use happened.
    pub event_time: Timestamp,
    /// The record's timestamp.
    pub received_at: Timestamp,
    /// The account's local date.
    pub day: Day,
    /// Where the user is.
    pub platform: &'a str,
    /// The keyed hash of account and user; 0 without a user.
    pub user_hash: u64,
    /// The agent that was used.
    pub agent: &'a str,
    /// What kind of work it was.
    pub category: &'a str,
    /// The model that did it.
    pub model: &'a str,
    /// Execution time; 0 when absent, as all that follows.
    pub duration_ms: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// The part that was cached.
    pub cached_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What the rate card prices per unit.
    pub quantity: Quantity,
    /// The cost as the agent computed it.
    pub credits: Credits,
    /// Which of these numbers the event gave.
    pub given: Given,
    /// What the event costs.
    pub cost: Credits,
    /// Whether a price was found.
    pub priced: bool,
    /// The record's place in the partition.
    pub offset: i64,
}

impl LogBlock {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The rows in the order of the table's key.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = LogRow<'_>> {
        let (names, columns) = (&self.names, &self.columns);
        self.order.iter().map(move |&id| {
            let row = id as usize;
            LogRow {
                account: names.get(columns.account[row]),
                source: names.get(columns.source[row]),
                id: std::str::from_utf8(columns.id.get(row)).unwrap_or_default(), // only `str`s go in
                event_time: columns.event_time[row],
                received_at: columns.received_at[row],
                day: columns.day[row],
                platform: names.get(columns.platform[row]),
                user_hash: columns.user_hash[row],
                agent: names.get(columns.agent[row]),
                category: names.get(columns.category[row]),
                model: names.get(columns.model[row]),
                duration_ms: columns.duration_ms.get(id),
                input_tokens: columns.input_tokens.get(id),
                cached_input_tokens: columns.cached_input_tokens.get(id),
                output_tokens: columns.output_tokens.get(id),
                quantity: Quantity::from_nanos(columns.quantity.get(id)),
                credits: Credits::from_nanos(columns.credits.get(id)),
                given: columns.given[row],
                cost: Credits::from_nanos(columns.cost.get(id)),
                priced: columns.priced[row],
                offset: columns.offset[row],
            }
        })
    }
}
