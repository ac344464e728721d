//! Sets of users by account, platform and session, for `session_users`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Accepted;
use super::digest::{Digest, Term};
use super::hash::HashSeed;
use super::log::EventNames;
use super::names::{NameId, Names};
use crate::model::{Day, Month, SessionStart};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub account: NameId,
    pub platform: NameId,
    pub start: SessionStart,
    pub day: Day,
}

/// Sessions while a batch is folded. Users are noted event by event and made distinct by one sort at the end, which costs less than a set
/// for each session and gives them in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    table: HashTable<u32>,
    events: Vec<(SessionKey, u64)>,
    users: Vec<(u32, u64)>,
    seed: HashSeed,
}

/// Finished sessions: each has a range of `users`.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionColumns {
    pub rows: Vec<(SessionKey, u64, Range<usize>)>,
    pub users: Vec<u64>,
}

impl Sessions {
    pub fn new(seed: HashSeed) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn add(&mut self, row: &Accepted<'_>, names: EventNames) {
        let key = SessionKey { account: names.account, platform: names.platform, start: row.session, day: row.session_day };
        let (events, seed) = (&mut self.events, self.seed);
        let hash = hash(&key, &seed);
        let session = match self.table.find(hash, |&index| events[index as usize].0 == key) {
            Some(&session) => session,
            None => {
                let session = events.len() as u32; // at most one for each event of a bounded batch
                events.push((key, 0));
                self.table.insert_unique(hash, session, |&index| self::hash(&events[index as usize].0, &seed));
                session
            }
        };
        events[session as usize].1 += 1;
        self.users.push((session, row.user_hash));
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.events.len() * size_of::<(SessionKey, u64)>()
            + self.users.len() * size_of::<(u32, u64)>()
            + self.table.capacity() * (size_of::<u32>() + 1)
    }

    fn finish(mut self) -> SessionColumns {
        self.users.sort_unstable();
        self.users.dedup();
        let mut rows = Vec::with_capacity(self.events.len());
        let mut start = 0;
        // Every session has a user, and sessions are numbered as they lie in `events`.
        for (users, (key, events)) in self.users.chunk_by(|a, b| a.0 == b.0).zip(self.events) {
            rows.push((key, events, start..start + users.len()));
            start += users.len();
        }
        SessionColumns { rows, users: self.users.into_iter().map(|(_, user)| user).collect() }
    }

    /// Blocks by month; a month of `months` without a session has an empty one.
    pub fn into_blocks(
        self,
        names: &Arc<Names>,
        ranks: &[u32],
        months: impl Iterator<Item = Month>,
        digest: &mut Digest,
    ) -> BTreeMap<Month, SessionBlock> {
        let columns = Arc::new(self.finish());
        let mut order: Vec<_> = (0_u32..)
            .zip(&columns.rows)
            .map(|(row, (key, ..))| (key.day, ranks[key.account as usize], key.start, ranks[key.platform as usize], row))
            .collect();
        order.sort_unstable();
        let block = || SessionBlock { names: Arc::clone(names), columns: Arc::clone(&columns), order: Vec::new() };
        let mut blocks: BTreeMap<Month, SessionBlock> = months.map(|month| (month, block())).collect();
        for (.., row) in order {
            let (key, events, users) = &columns.rows[row as usize];
            let term = digest.begin(Term::Session);
            term.text(names.bytes_of(key.account)).text(names.bytes_of(key.platform));
            term.number(key.day.epoch_days().into()).int(key.start.start().seconds()).number(*events);
            for &user in &columns.users[users.clone()] {
                term.number(user);
            }
            term.end();
            blocks.entry(key.day.month()).or_insert_with(block).order.push(row);
        }
        blocks
    }
}

fn hash(key: &SessionKey, seed: &HashSeed) -> u64 {
    let start = key.start.start().millis().cast_unsigned();
    seed.numbers([key.account, key.platform, start as u32, (start >> 32) as u32, key.day.epoch_days().into()])
}

/// The sessions of one month, keys distinct, sorted by (day, account, session_start, platform).
#[derive(Debug, Clone)]
pub struct SessionBlock {
    pub(crate) names: Arc<Names>,
    pub(crate) columns: Arc<SessionColumns>,
    pub(crate) order: Vec<u32>,
}

/// A session's users in this batch. It is stored as one row, or as several when it has very many users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRow<'a> {
    /// Who pays.
    pub account: &'a str,
    /// The account's local date at the session's start.
    pub day: Day,
    /// The session.
    pub session: SessionStart,
    /// Where the users are.
    pub platform: &'a str,
    /// The distinct user hashes, ascending. Never empty.
    pub users: &'a [u64],
    /// How many events.
    pub events: u64,
}

impl SessionBlock {
    /// How many sessions.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none: then only the witness is sent.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The sessions in the order of the table's key.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = SessionRow<'_>> {
        self.order.iter().map(move |&row| {
            let (key, events, users) = &self.columns.rows[row as usize];
            SessionRow {
                account: self.names.get(key.account),
                day: key.day,
                session: key.start,
                platform: self.names.get(key.platform),
                users: &self.columns.users[users.clone()],
                events: *events,
            }
        })
    }
}
