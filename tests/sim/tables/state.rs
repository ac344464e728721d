//! The server: parts, tokens, requests that are under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use farebox::sink::Table;
use tokio::time::Instant;

use super::faults::Becomes;
use super::rows::Rows;

/// The table of stops.
pub const STOPS: &str = "stops";
/// The table of sources.
pub const SOURCES: &str = "sources";

/// What a block became: there whole or not at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The token it came under.
    pub token: String,
    /// Its rows.
    pub rows: Rows,
}

/// The parts of a table at one moment.
pub type Parts = Vec<Arc<Part>>;

/// A table: its parts, and the tokens that it remembers.
#[derive(Debug, Clone, Default)]
pub struct TableState {
    pub parts: Parts,
    pub tokens: Tokens,
}

/// The newest tokens of a table, each with the partition it was used in.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    order: VecDeque<(u32, String)>,
    known: BTreeSet<(u32, String)>,
}

impl Tokens {
    /// Whether the token is new; it is remembered, and the oldest forgotten when there are more than `most`.
    fn note(&mut self, month: u32, token: &str, most: usize) -> bool {
        let entry = (month, token.to_owned());
        if self.known.contains(&entry) {
            return false;
        }
        self.known.insert(entry.clone());
        self.order.push_back(entry);
        self.shrink(most);
        true
    }

    fn shrink(&mut self, most: usize) {
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.order.retain(|(_, token)| keep(token));
        self.known = self.order.iter().cloned().collect();
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

/// A copy of all tables with their tokens.
#[derive(Debug, Clone)]
pub struct Snapshot(BTreeMap<&'static str, TableState>);

/// An insert that did not act yet.
#[derive(Debug)]
struct Flight {
    id: u64,
    table: &'static str,
    month: u32,
    token: String,
    rows: Rows,
    becomes: Becomes,
    arrives: Instant,
    acts: Instant,
}

/// An insert that is sent.
pub struct Sent {
    pub table: &'static str,
    pub token: String,
    pub rows: Rows,
    pub becomes: Becomes,
    pub arrives: Instant,
    pub acts: Instant,
}

/// Everything the server knows.
pub struct State {
    tables: BTreeMap<&'static str, TableState>,
    flights: Vec<Flight>,
    killed: BTreeSet<u64>,
    next_flight: u64,
    down: bool,
    tokens_max: usize,
}

impl State {
    pub fn new() -> Self {
        let names = Table::ALL.iter().map(|table| table.name()).chain([STOPS, SOURCES]);
        Self {
            tables: names.map(|name| (name, TableState::default())).collect(),
            flights: Vec::new(),
            killed: BTreeSet::new(),
            next_flight: 0,
            down: false,
            tokens_max: 100_000,
        }
    }

    pub fn parts(&self, table: &str) -> Parts {
        self.tables[table].parts.clone()
    }

    pub fn tokens(&self, table: &str) -> &Tokens {
        &self.tables[table].tokens
    }

    pub fn is_down(&self) -> bool {
        self.down
    }

    pub fn set_tokens_max(&mut self, most: usize) {
        self.tokens_max = most;
        self.tables.values_mut().for_each(|table| table.tokens.shrink(most));
    }

    /// Lets every insert act whose moment has come, in the order of these moments. Nothing acts while the server is away.
    pub fn advance(&mut self, now: Instant) {
        while !self.down
            && let Some(next) = self.next_due()
            && self.flights[next].acts <= now
        {
            let flight = self.flights.remove(next);
            self.act(flight);
        }
    }

    /// Lets every insert act that is under way.
    pub fn land_all(&mut self) {
        while let Some(next) = self.next_due() {
            let flight = self.flights.remove(next);
            self.act(flight);
        }
    }

    fn next_due(&self) -> Option<usize> {
        (0..self.flights.len()).min_by_key(|&at| (self.flights[at].acts, self.flights[at].id))
    }

    fn act(&mut self, flight: Flight) {
        let Flight { table, month, token, rows, becomes, .. } = flight;
        let most = self.tokens_max;
        let table = self.tables.get_mut(table).expect("a table that is there");
        if becomes == Becomes::Nothing || !table.tokens.note(month, &token, most) || becomes == Becomes::Burnt {
            return;
        }
        table.parts.push(Arc::new(Part { token, rows }));
    }

    /// Sends an insert on its way; gives its number.
    ///
    /// # Panics
    /// A block of no row, or of rows of several partitions: the server would make several parts of it.
    pub fn send(&mut self, sent: Sent) -> u64 {
        let Sent { table, token, rows, becomes, arrives, acts } = sent;
        let months = rows.months();
        assert!(months.len() == 1, "a block of {table} lies in the partitions {months:?}");
        let month = months.into_iter().next().unwrap_or_default();
        let id = self.next_flight;
        self.next_flight += 1;
        self.flights.push(Flight { id, table, month, token, rows, becomes, arrives, acts });
        id
    }

    /// Whether an insert acted.
    pub fn has_acted(&self, id: u64) -> bool {
        !self.killed.contains(&id) && self.flights.iter().all(|flight| flight.id != id)
    }

    /// Whether an insert was ended by [`State::kill`].
    pub fn was_killed(&self, id: u64) -> bool {
        self.killed.contains(&id)
    }

    /// Takes an insert back: its sender is gone before it was whole.
    pub fn cut(&mut self, id: u64) {
        self.flights.retain(|flight| flight.id != id);
    }

    /// Whether the server works on an insert of the token, or of one that follows it, now.
    pub fn is_running(&self, token: &str, now: Instant) -> bool {
        self.flights.iter().any(|flight| {
            let rest = flight.token.strip_prefix(token);
            flight.arrives <= now && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// How many inserts are under way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn set_down(&mut self, down: bool, now: Instant) {
        self.advance(now);
        self.down = down;
        self.advance(now);
    }

    /// The server dies and is there again: what it was working on is not inserted; `burn` says whose token is remembered all the same.
    pub fn kill(&mut self, now: Instant, mut burn: impl FnMut(&str) -> bool) {
        self.advance(now);
        let (working, under_way) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.arrives <= now);
        self.flights = under_way;
        for mut flight in working {
            self.killed.insert(flight.id);
            flight.becomes = if burn(&flight.token) { Becomes::Burnt } else { Becomes::Nothing };
            self.act(flight);
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.tables.clone())
    }

    /// Puts tables back as they were in the copy, with the copy's tokens or with those of today.
    pub fn restore(&mut self, copy: &Snapshot, tables: &[&str], keep_tokens: bool) {
        for (name, table) in &mut self.tables {
            if tables.contains(name) {
                let from = &copy.0[name];
                table.parts.clone_from(&from.parts);
                if !keep_tokens {
                    table.tokens.clone_from(&from.tokens);
                }
            }
        }
    }

    /// Forgets the tokens that `keep` does not want: table and token.
    pub fn forget_tokens(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        for (name, table) in &mut self.tables {
            table.tokens.retain(|token| keep(name, token));
        }
    }

    /// Removes parts that `keep` does not want: table and part.
    pub fn lose_parts(&mut self, mut keep: impl FnMut(&str, &Part) -> bool) {
        for (name, table) in &mut self.tables {
            table.parts.retain(|part| keep(name, part));
        }
    }
}
