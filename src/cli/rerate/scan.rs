//! What is charged for operations, compared with a book: day by day of each account, from `usage_log`.
//!
//! Holds: what was posted before is read before the events are, so that whoever posts under the next number has seen every event that an
//! earlier posting has; a day counts only when `usage_log` has all of its events; memory is that of the open days of one account.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Day, Timestamp};
use crate::price::{Again, Compared, DayFold, Line, Logged, of_the_day};
use crate::runtime;
use crate::store::{LoggedStream, Metered, Span, Store};

use super::super::progress::Progress;
use super::super::run::marked;

/// Accounts are asked for together up to so many days of them.
const DAYS_MAX: u64 = 20_000;
/// No day lasts longer anywhere on earth, counted from its midnight in UTC.
const DAY_ENDS_MS: i64 = 36 * 3_600_000;

/// What was found of an account's day.
pub(in super::super) struct Found {
    pub(in super::super) account: String,
    pub(in super::super) day: Day,
    /// How many adjustments had been posted for it.
    pub(in super::super) posted: u64,
    /// Its events.
    pub(in super::super) events: u64,
    /// Every line by hour; `None`: `usage_log` does not have all of the day's events.
    pub(in super::super) lines: Option<BTreeMap<Line, Compared>>,
}

impl Found {
    /// The lines of the whole day that would change.
    pub(in super::super) fn changes(&self) -> anyhow::Result<BTreeMap<Line, Compared>> {
        let Some(lines) = &self.lines else { return Ok(BTreeMap::new()) };
        let mut of_day = of_the_day(lines)?;
        let mut failed = None;
        of_day.retain(|_, compared| compared.adjustment().map_err(|error| failed = Some(error)).is_ok_and(|found| found.is_some()));
        failed.map_or(Ok(of_day), |error| Err(error.into()))
    }
}

/// A comparison that goes on day by day.
pub(in super::super) struct Scan<'a> {
    store: &'a Store,
    again: &'a mut Again,
    from: Day,
    to: Day,
    accounts: VecDeque<Metered>,
    open: Option<Open>,
    /// Events that these days have, and those of them that were read.
    total: u64,
    read: u64,
    progress: Progress,
}

/// Some accounts, as they are being read.
struct Open {
    events: BTreeMap<(String, Day), u64>,
    posted: BTreeMap<(String, Day), u64>,
    log: LoggedStream,
    account: String,
    days: BTreeMap<Day, DayFold>,
    /// From this moment on no event can belong to the earliest open day.
    until: Timestamp,
    ended: VecDeque<(String, Day, DayFold)>,
}

impl<'a> Scan<'a> {
    /// Compares these days, the first and the last included, of one account or of all.
    pub(in super::super) async fn begin(
        store: &'a Store,
        again: &'a mut Again,
        account: Option<&str>,
        from: Day,
        to: Day,
    ) -> anyhow::Result<Self> {
        let accounts = store.metered(account, from, to).await.map_err(failed)?;
        let total = accounts.iter().map(|account| account.events).sum();
        Ok(Self { store, again, from, to, accounts: accounts.into(), open: None, total, read: 0, progress: Progress::new() })
    }

    /// The next day of an account that has usage; `None`: that was all.
    pub(in super::super) async fn next(&mut self) -> anyhow::Result<Option<Found>> {
        loop {
            let Some(open) = &mut self.open else {
                if !self.open_more().await? {
                    return Ok(None);
                }
                continue;
            };
            if let Some((account, day, fold)) = open.ended.pop_front() {
                return self.compare(account, day, fold).await.map(Some);
            }
            let before = self.read;
            while open.ended.is_empty()
                && let Some(logged) = open.log.take().map_err(failed)?
            {
                self.read += 1;
                if *open.account != *logged.account || logged.time >= open.until {
                    end(&mut open.account, &mut open.days, &mut open.until, &mut open.ended, &logged);
                }
                let rated = self.again.rate(&logged);
                open.days.entry(logged.day).or_default().add(&logged, &rated)?;
            }
            if !open.ended.is_empty() || self.read > before {
                continue;
            }
            let (read, total) = (self.read, self.total);
            self.progress.show(|| format!("{} {read} of {total} events", Progress::bar(read, total)));
            if !open.log.fill().await.map_err(failed)? {
                open.end_of_log();
                if open.ended.is_empty() {
                    self.open = None;
                }
            }
        }
    }

    /// A day once more, as it is now; `None`: it has no usage.
    pub(in super::super) async fn look_again(&mut self, account: &str, day: Day) -> anyhow::Result<Option<Found>> {
        Scan::begin(self.store, self.again, Some(account), day, day).await?.next().await
    }

    /// Before anything else is printed.
    pub(in super::super) fn hide_progress(&self) {
        self.progress.end();
    }

    async fn open_more(&mut self) -> anyhow::Result<bool> {
        let (mut days, mut some) = (0, Vec::new());
        while days < DAYS_MAX
            && let Some(account) = self.accounts.pop_front()
        {
            days += account.days;
            some.push(account.account);
        }
        let ([first, ..], Some(last)) = (some.as_slice(), some.last()) else { return Ok(false) };
        let span = Span { first, last, from: self.from, to: self.to };
        // In this order: an event that `usage_hourly` counts is in the log, and what is posted later is not among `posted`.
        let events = self.store.events_by_day(&span).await.map_err(failed)?;
        let posted = self.store.posted_by_day(&span).await.map_err(failed)?;
        let log = self.store.logged(&span).await.map_err(failed)?;
        let until = Timestamp::from_millis(i64::MAX);
        self.open =
            Some(Open { events, posted, log, account: String::new(), days: BTreeMap::new(), until, ended: VecDeque::new() });
        Ok(true)
    }

    async fn compare(&mut self, account: String, day: Day, fold: DayFold) -> anyhow::Result<Found> {
        let key = (account, day);
        let (counted, posted) = self
            .open
            .as_mut()
            .map(|open| (open.events.remove(&key).unwrap_or_default(), open.posted.get(&key).copied().unwrap_or_default()))
            .unwrap_or_default();
        let (account, day) = key;
        let events = fold.events.max(counted);
        if fold.events < counted {
            return Ok(Found { account, day, posted, events, lines: None });
        }
        let before = match posted {
            0 => Vec::new(),
            _ => self.store.adjustments(&account, day, posted).await.map_err(failed)?,
        };
        let lines = Some(fold.compare(before)?);
        Ok(Found { account, day, posted, events, lines })
    }
}

impl Open {
    /// Nothing comes any more. Days without any event in the log are told too.
    fn end_of_log(&mut self) {
        let account = std::mem::take(&mut self.account);
        let days = std::mem::take(&mut self.days);
        self.ended.extend(days.into_iter().map(|(day, fold)| (account.clone(), day, fold)));
        let read: std::collections::BTreeSet<(String, Day)> =
            self.ended.iter().map(|(account, day, _)| (account.clone(), *day)).collect();
        let unread = self.events.keys().filter(|key| !read.contains(key));
        let unread: Vec<_> = unread.map(|(account, day)| (account.clone(), *day, DayFold::default())).collect();
        self.ended.extend(unread);
    }
}

/// Ends the days that this event shows to be over: those of another account, or those that lie far enough before it.
fn end(
    account: &mut String,
    days: &mut BTreeMap<Day, DayFold>,
    until: &mut Timestamp,
    ended: &mut VecDeque<(String, Day, DayFold)>,
    logged: &Logged<'_>,
) {
    let is_other = *account != *logged.account;
    let is_over = |day: Day| is_other || logged.time >= end_of(day);
    while let Some(first) = days.first_entry()
        && is_over(*first.key())
    {
        let (day, fold) = first.remove_entry();
        ended.push_back((account.clone(), day, fold));
    }
    if is_other {
        logged.account.clone_into(account);
    }
    *until = days.keys().next().copied().map_or(end_of(logged.day), end_of);
}

fn end_of(day: Day) -> Timestamp {
    Timestamp::from_millis(i64::from(day.epoch_days()) * 86_400_000 + DAY_ENDS_MS)
}

fn failed(error: crate::store::Error) -> anyhow::Error {
    marked(runtime::Error::from(error))
}
