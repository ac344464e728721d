//! Which requests a rule concerns, what becomes of them, and the answers that ClickHouse gives when it says no.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::Request;
use super::{SOON, State, eventually};

/// Which requests a rule concerns: those that match, without the first `skip`, and not more than `times` of them.
pub struct When {
    matches: Box<dyn Fn(&Request) -> bool + Send + Sync>,
    skip: u64,
    times: u64,
}

impl When {
    pub fn request(matches: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self { matches: Box::new(matches), skip: 0, times: u64::MAX }
    }

    /// Inserts into a table.
    pub fn insert(table: &str) -> Self {
        let table = table.to_owned();
        Self::request(move |request| request.inserts_into(&table))
    }

    /// Inserts into any table.
    pub fn any_insert() -> Self {
        Self::request(|request| request.table().is_some())
    }

    /// Questions whose text holds these words.
    pub fn question(words: &str) -> Self {
        let words = words.to_owned();
        Self::request(move |request| request.table().is_none() && request.sql.contains(&words))
    }

    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub enum Do {
    /// Nothing: the rule counts.
    Pass,
    /// So many thousandths of the body reach the server, then the connection breaks on both sides.
    CutRequest(usize),
    /// The server answers, and so many bytes of it reach the client before the connection breaks: with 0 the reply is lost.
    CutAnswer(usize),
    /// Waits before the server is asked, until the rule is let go.
    HoldRequest,
    /// The same, and then the server is asked something else.
    HoldAndChange(fn(&mut Request)),
    /// The server has answered; the answer waits until the rule is let go.
    HoldAnswer,
    Delay(Duration),
    /// These bytes come in place of the server's answer, and the server is not asked.
    Answer(Vec<u8>),
    /// The server is asked, and these bytes come in place of its answer.
    Replace(Vec<u8>),
    /// The server is asked something else.
    Change(fn(&mut Request)),
}

/// ClickHouse's way to say no.
pub fn exception(status: u16, code: u32, name: &str) -> Vec<u8> {
    let body = format!("Code: {code}. DB::Exception: made by a test. ({name}) (version 26.7.1.1)\n");
    let head = format!("HTTP/1.1 {status} -\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

/// A 200 that carries its exception in the body only, as a server that fails while it answers.
pub fn exception_in_body(code: u32) -> Vec<u8> {
    let body = format!("__exception__\r\nabcdefghijklmnop\r\nCode: {code}. DB::Exception: made by a test\r\n");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A rule that was added.
pub struct Rule {
    pub(super) state: Arc<State>,
    pub(super) rule: Arc<Stated>,
}

impl Rule {
    /// How often it was applied.
    pub fn hits(&self) -> u64 {
        let When { skip, times, .. } = self.rule.when;
        self.rule.matched.load(Ordering::SeqCst).saturating_sub(skip).min(times)
    }

    #[track_caller]
    pub fn wait_for_hits(&self, hits: u64) {
        eventually(SOON, || if self.hits() >= hits { Ok(()) } else { Err(format!("{} of {hits} hits", self.hits())) });
    }

    /// Waits until a request or an answer is held.
    #[track_caller]
    pub fn wait_until_held(&self) {
        eventually(SOON, || if self.rule.held().waiting > 0 { Ok(()) } else { Err("nothing is held") });
    }

    /// Waits until the server has answered so many of the requests that it concerned.
    #[track_caller]
    pub fn wait_for_answers(&self, answers: u64) {
        eventually(SOON, || match self.rule.answered.load(Ordering::SeqCst) {
            answered if answered >= answers => Ok(()),
            answered => Err(format!("{answered} of {answers} were answered")),
        });
    }

    /// What is held goes on, and what would be held goes through.
    pub fn let_go(&self) {
        self.end_hold(Fate::Go);
    }

    /// The connections of what is held break.
    pub fn cut(&self) {
        self.end_hold(Fate::Cut);
    }

    fn end_hold(&self, fate: Fate) {
        self.rule.held().fate = Some(fate);
        // Under its lock, so that nobody misses it between looking and waiting.
        drop(self.state.lock());
        self.state.changed.notify_all();
    }

    /// The rule concerns nothing any more.
    pub fn remove(&self) {
        self.state.lock().rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Go,
    Cut,
}

#[derive(Default)]
pub struct Held {
    pub waiting: u64,
    pub fate: Option<Fate>,
}

pub struct Stated {
    pub when: When,
    pub what: Do,
    matched: AtomicU64,
    pub answered: AtomicU64,
    held: Mutex<Held>,
}

impl Stated {
    pub fn new(when: When, what: Do) -> Self {
        Self { when, what, matched: AtomicU64::new(0), answered: AtomicU64::new(0), held: Mutex::default() }
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn concerns(&self, request: &Request) -> bool {
        if !(self.when.matches)(request) {
            return false;
        }
        let before = self.matched.fetch_add(1, Ordering::SeqCst);
        before >= self.when.skip && before - self.when.skip < self.when.times
    }
}
