//! Accounts whose balance may have changed and is not published yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// More names than this are not kept: all balances are compared instead.
const ACCOUNTS_MAX: usize = 100_000;

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Every account that the topic has otherwise, or not.
    pub all: bool,
    /// These accounts, which have just changed.
    pub accounts: BTreeSet<Box<str>>,
    /// Since when the oldest of them waits.
    pub since: Option<Instant>,
}

impl Due {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        !self.all && self.accounts.is_empty()
    }
}

/// Collects them from all partitions of this process. Noting one waits for nobody.
#[derive(Debug, Default)]
pub struct Touched(Option<Mutex<Due>>);

impl Touched {
    /// For a process that publishes balances; the default is for one that does not, and keeps nothing.
    pub fn collecting() -> Self {
        Self(Some(Mutex::default()))
    }

    /// Batches that hold events of these accounts are written.
    pub fn accounts<'a>(&self, accounts: impl IntoIterator<Item = &'a str>) {
        self.with(|due| {
            for account in accounts {
                if due.accounts.contains(account) {
                    continue;
                }
                if due.accounts.len() >= ACCOUNTS_MAX {
                    due.all = true;
                    return;
                }
                due.accounts.insert(account.into());
            }
        });
    }

    /// Whatever was published may be stale.
    pub fn all(&self) {
        self.with(|due| due.all = true);
    }

    /// What is to be looked at now, once.
    pub fn take(&self) -> Due {
        let mut taken = Due::default();
        self.with(|due| taken = std::mem::take(due));
        taken
    }

    /// Puts back what could not be published.
    pub fn put_back(&self, untaken: Due) {
        self.accounts(untaken.accounts.iter().map(|account| &**account));
        self.with(|due| {
            due.all |= untaken.all;
            due.since = untaken.since.into_iter().chain(due.since).min();
        });
    }

    /// For how long the oldest of them has waited.
    pub fn waited(&self) -> Duration {
        let mut since = None;
        self.with(|due| since = due.since);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether anybody asks.
    pub fn is_collecting(&self) -> bool {
        self.0.is_some()
    }

    fn with(&self, change: impl FnOnce(&mut Due)) {
        let Some(due) = &self.0 else { return };
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut due);
        if !due.is_empty() {
            due.since.get_or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_named_once_and_all_of_them_when_they_are_too_many() {
        let touched = Touched::collecting();
        touched.accounts(["b", "a", "b"]);
        let due = touched.take();
        assert_eq!((due.all, due.accounts.iter().map(|account| &**account).collect::<Vec<_>>()), (false, vec!["a", "b"]));
        assert!(touched.take().is_empty());
        let names: Vec<String> = (0..=ACCOUNTS_MAX).map(|number| number.to_string()).collect();
        touched.accounts(names.iter().map(String::as_str));
        touched.accounts(["more"]);
        let due = touched.take();
        assert_eq!((due.all, due.accounts.len()), (true, ACCOUNTS_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_published_has_waited_since_it_was_touched() {
        let touched = Touched::collecting();
        assert_eq!(touched.waited(), Duration::ZERO);
        touched.accounts(["a"]);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(touched.waited(), Duration::from_secs(3));
        let due = touched.take();
        assert_eq!(touched.waited(), Duration::ZERO);
        touched.put_back(due);
        touched.accounts(["b"]);
        assert_eq!(touched.waited(), Duration::from_secs(3));
        assert_eq!(touched.take().accounts.len(), 2);
        Touched::default().all();
        assert!(Touched::default().take().is_empty());
    }
}
