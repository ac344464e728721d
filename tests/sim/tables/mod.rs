//! ClickHouse in memory: the tables that batches go into, with tokens, parts, and everything that may go wrong on the way.
//!
//! A [`Server`] holds what was inserted: every block is parsed and kept as one part. A [`Client`] is one process's way to it and the
//! runtime's [`Tables`]: it answers what `store`'s SQL answers over the same parts (`tests/it/tables.rs` holds the two together).
//! Holds: no clock but tokio's (paused, in a simulation) and the one it is handed, no randomness but that of [`Faults`]; a request
//! that was sent whole acts at its moment although its sender is gone. Absent on purpose: merges and TTL, which change no answer that
//! the protocol looks at within 29 days; columns that nothing writes.

pub mod answers;
pub mod faults;
pub mod native;
pub mod oracle;
pub mod rows;
pub mod state;
mod unique;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use farebox::book::Book;
use farebox::model::Timestamp;
use farebox::runtime::world::{Clock, Tables};
use farebox::sink::Block;
use farebox::store::{BatchRow, Check, Error, Facts, Insert, Proof, Range, Source, Stop};
use tokio::time::{Instant, sleep, sleep_until};

use answers::{Of, View};
use faults::{Answer, Faults};
use rows::Rows;
use state::{Part, SOURCES, STOPS, Sent, Snapshot, State};

/// How long a sender waits for the answer to an insert.
const INSERT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it takes to learn that nobody is there.
const REFUSED_AFTER: Duration = Duration::from_millis(2);

/// The server. Cheap to clone: the clones are the same one.
#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    book: Arc<Mutex<Book>>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Migrated, and empty.
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::new())), book: Arc::default() }
    }

    /// One process's way to the server. `clock` is what `now()` answers in SQL.
    pub fn client(&self, faults: Arc<dyn Faults>, clock: Arc<dyn Clock>) -> Client {
        Client { server: self.clone(), faults, clock }
    }

    /// Applies a price book: what [`Tables::book`] answers from now on.
    pub fn set_book(&self, book: Book) {
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = book;
    }

    /// Away or there again. While it is away every call fails at once, and what is under way waits; it acts when the server is back.
    pub fn set_down(&self, down: bool) {
        self.state().set_down(down, Instant::now());
    }

    /// Killed and started again: what it was working on is not inserted. `burn` is asked for the token of each such insert whether it
    /// is remembered all the same.
    pub fn kill(&self, burn: impl FnMut(&str) -> bool) {
        self.state().kill(Instant::now(), burn);
    }

    /// How many tokens each table remembers; 0: it deduplicates nothing.
    pub fn set_tokens_max(&self, most: usize) {
        self.state().set_tokens_max(most);
    }

    /// A copy of all tables, tokens included.
    pub fn snapshot(&self) -> Snapshot {
        let mut state = self.state();
        state.advance(Instant::now());
        state.snapshot()
    }

    /// Puts these tables back as they were in the copy, with the copy's tokens or with those of today.
    pub fn restore(&self, copy: &Snapshot, tables: &[&str], keep_tokens: bool) {
        let mut state = self.state();
        state.advance(Instant::now());
        state.restore(copy, tables, keep_tokens);
    }

    /// Forgets the tokens that `keep` does not want: table and token.
    pub fn forget_tokens(&self, keep: impl FnMut(&str, &str) -> bool) {
        self.state().forget_tokens(keep);
    }

    /// Loses the parts that `keep` does not want: table and part.
    pub fn lose_parts(&self, keep: impl FnMut(&str, &Part) -> bool) {
        self.state().lose_parts(keep);
    }

    /// How many inserts are under way: acted on neither yet nor ever lost.
    pub fn in_flight(&self) -> usize {
        let mut state = self.state();
        state.advance(Instant::now());
        state.in_flight()
    }

    /// Lets everything act that is under way, for the end of a run.
    pub fn land_all(&self) {
        self.state().land_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's way to a [`Server`].
#[derive(Clone)]
pub struct Client {
    server: Server,
    faults: Arc<dyn Faults>,
    clock: Arc<dyn Clock>,
}

/// Takes an insert back when its sender is dropped before the request was whole.
struct Cut<'a> {
    server: &'a Server,
    id: u64,
    armed: bool,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.server.state().cut(self.id);
        }
    }
}

impl Client {
    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { server: "memory".to_owned(), reason: reason.to_owned() }
    }

    /// Asks about some tables at one moment each.
    async fn question<T>(
        &self,
        name: &'static str,
        tables: &[&'static str],
        answer: impl FnOnce(&View) -> T + Send,
    ) -> Result<T, Error> {
        let asked = self.faults.question(name);
        sleep(asked.way).await;
        if asked.fails || self.server.state().is_down() {
            sleep(REFUSED_AFTER).await;
            return Err(self.unreachable("nobody answers"));
        }
        let mut view = View::default();
        if tables.contains(&"batches") {
            view.ends = self.read("batches");
        }
        let mut left = tables.to_vec();
        let mut order = asked.order;
        while !left.is_empty() {
            let next = (order % left.len() as u64) as usize;
            order /= left.len() as u64;
            let table = left.remove(next);
            if !asked.between_tables.is_zero() {
                sleep(asked.between_tables).await;
            }
            let parts = self.read(table);
            match table {
                "batches" => view.batches = parts,
                "usage_hourly" => view.hourly = parts,
                "session_users" => view.sessions = parts,
                "usage_log" => view.log = parts,
                "rejected_events" => view.rejected = parts,
                other => panic!("no question reads `{other}`"),
            }
        }
        let answer = answer(&view);
        sleep(asked.back).await;
        Ok(answer)
    }

    fn read(&self, table: &str) -> state::Parts {
        let mut state = self.server.state();
        state.advance(Instant::now());
        state.parts(table)
    }

    /// Sends rows of a table once.
    async fn send(&self, table: &'static str, token: &str, rows: Rows) -> Insert {
        let course = self.faults.insert(table, token);
        let now = Instant::now();
        let Some(way) = course.way.filter(|_| !self.server.state().is_down()) else {
            sleep(REFUSED_AFTER).await;
            return Insert::Doubt(self.unreachable("the request did not arrive"));
        };
        let (arrives, acts) = (now + way, now + way + course.work);
        let sent = Sent { table, token: token.to_owned(), rows, becomes: course.becomes, arrives, acts };
        let id = self.server.state().send(sent);
        let mut cut = Cut { server: &self.server, id, armed: !course.outlives_sender };
        let gives_up = now + INSERT_TIMEOUT;
        sleep_until(acts.min(gives_up)).await;
        let (has_acted, was_killed) = {
            let mut state = self.server.state();
            state.advance(Instant::now());
            (state.has_acted(id), state.was_killed(id))
        };
        if was_killed {
            cut.armed = false;
            return Insert::Doubt(self.unreachable("the connection broke"));
        }
        if !has_acted {
            // It waits for an answer, or the server is away and so is the connection; a cut body inserts nothing.
            let timeout = acts > gives_up;
            cut.armed &= !timeout;
            drop(cut);
            return Insert::Doubt(if timeout {
                Error::Timeout { server: "memory".to_owned(), after: INSERT_TIMEOUT }
            } else {
                self.unreachable("the connection broke")
            });
        }
        cut.armed = false;
        match course.answer {
            Answer::Lost => {
                sleep(course.back).await;
                Insert::Doubt(self.unreachable("the answer broke off"))
            }
            Answer::Error(code) => {
                sleep(course.back).await;
                Insert::Doubt(Error::Server { code, message: "as planned".to_owned() })
            }
            Answer::Success => {
                sleep(course.back).await;
                Insert::Done
            }
        }
    }
}

const ALL: [&str; 5] = ["batches", "usage_hourly", "session_users", "usage_log", "rejected_events"];

#[async_trait]
impl Tables for Client {
    async fn source(&self, topic: &str) -> Result<Option<Source>, Error> {
        let sources = self.entries("source", SOURCES, unique::sources).await?;
        let number = |source: &Source| source.source_epoch.parse::<u64>().unwrap_or(0);
        Ok(sources.into_iter().filter(|source| source.topic == topic).max_by_key(|source| (number(source), source.since)))
    }

    async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, Error> {
        let source = Source { topic: topic.to_owned(), topic_id: topic_id.to_owned(), source_epoch: "1".to_owned(), since: now };
        let mut there = self.insert_unique(SOURCES, &unique::key_of_source(&source), Rows::Sources(vec![source.clone()])).await?;
        Ok(match there.pop() {
            Some(Rows::Sources(mut rows)) => rows.pop().unwrap_or(source),
            _ => source,
        })
    }

    async fn stops(&self, topic: &str) -> Result<Vec<Stop>, Error> {
        let mut stops = self.entries("stops", STOPS, unique::stops).await?;
        stops.retain(|stop| stop.topic == topic);
        Ok(unique::standing(stops))
    }

    async fn stop(&self, stop: &Stop) -> Result<(), Error> {
        self.insert_unique(STOPS, &unique::key_of_stop(stop), Rows::Stops(vec![stop.clone()])).await.map(drop)
    }

    async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, Error> {
        self.question("facts", &ALL, |view| answers::facts(view, Of { source_epoch, topic, partition })).await
    }

    async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, Error> {
        let now = self.clock.now();
        let found = self.question("row3_violations", &ALL, |view| answers::findings(view, check, now)).await?;
        Ok(found.into_iter().next().map(|(_, finding)| finding))
    }

    async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, Error> {
        let of = Of { source_epoch, topic, partition };
        self.question("end_of_batches", &["batches"], |view| answers::end_of_batches(view, of)).await
    }

    async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, Error> {
        self.question("witnesses", &ALL[1..], |view| answers::witnesses(view, range)).await
    }

    async fn running(&self, token: &str) -> Result<bool, Error> {
        self.question("running", &[], |_| {
            let (now, mut state) = (Instant::now(), self.server.state());
            state.advance(now);
            state.is_running(token, now)
        })
        .await
    }

    async fn batches_row(&self, source_epoch: &str, topic: &str, partition: i32, from: i64) -> Result<Option<BatchRow>, Error> {
        let of = Of { source_epoch, topic, partition };
        self.question("batches_row", &["batches"], |view| answers::batches_row(view, of, from)).await
    }

    async fn book(&self) -> Result<Book, Error> {
        self.question("book", &[], |_| self.server.book.lock().unwrap_or_else(PoisonError::into_inner).clone()).await
    }

    async fn insert(&self, block: &Block, token: &str) -> Insert {
        let rows = Rows::of_block(block.table, &block.body).expect("a block that the server takes");
        self.send(block.table.name(), token, rows).await
    }
}
