//! The difference between what was applied and a file: the rows to add.
//!
//! Promises: applying a file twice adds nothing the second time, whenever that is. Rows are added, never changed or removed;
//! what the book has and the file has not is listed. A row without `valid_from` that changes something holds from the moment
//! of apply; only a thing that nothing priced or described before may begin for all time. Holds: the past stays as it was.
//! A price for closed sessions needs `backdate`, the session anchor never changes, a zone never changes for moments that have
//! passed. Absent on purpose: the clock and the database; `now` and `closed_to` arrive.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::change::Change;
use super::error::{Error, did_you_mean};
use super::file::{BookFile, EVERY, Entry};
use super::key::Key;
use super::{Book, Kind, Row};
use crate::model::{SessionAnchor, Timestamp};

/// What an apply will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The version of the book afterwards: the next one, or the present one when nothing changes.
    pub version: u64,
    /// The rows to add; all have `version`.
    pub rows: Vec<Row>,
    /// The same for people, in the same order.
    pub changes: Vec<Change>,
    /// What the book has and the file has not. It stays.
    pub absent: Vec<String>,
    /// The earliest moment before `closed_to` from which a price, an account or its end is new, when `backdate` allowed it.
    pub backdated_to: Option<Timestamp>,
    /// Accounts that were unknown at moments that have passed, and become known then with a zone or a session anchor that
    /// unknown accounts do not have. If usage of them is stored already, its days and sessions lie on another grid than those of
    /// late events would: such a plan is refused by whoever can look.
    pub regridded: Vec<String>,
}

impl Plan {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The rows that bring the book to what the file says. `now` is the moment of apply, `closed_to` the end of the newest closed
/// session (0: none is closed). `backdate` allows rows that hold from before `closed_to`.
///
/// # Errors
/// A row of the file that would change the past, or that belongs to an account nobody named.
pub fn plan(
    current: &Book,
    file: &BookFile,
    now: Timestamp,
    applied_by: &str,
    closed_to: Timestamp,
    backdate: bool,
) -> Result<Plan, Error> {
    Planner::new(current, file, now, closed_to, backdate).plan(applied_by)
}

/// Rows of one thing, as they follow one another in time; of two for one moment the later version.
pub(super) type History<'a> = BTreeMap<Timestamp, &'a Row>;

struct Planner<'a> {
    current: &'a Book,
    file: &'a BookFile,
    now: Timestamp,
    closed_to: Timestamp,
    backdate: bool,
    /// What the book has, each in the order of versions.
    applied: BTreeMap<Key, Vec<&'a Row>>,
    /// What the file has.
    filed: BTreeMap<Key, Vec<&'a Entry>>,
}

impl<'a> Planner<'a> {
    fn new(current: &'a Book, file: &'a BookFile, now: Timestamp, closed_to: Timestamp, backdate: bool) -> Self {
        let mut applied: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
        for row in current.rows() {
            applied.entry(Key::of(row)).or_default().push(row);
        }
        let mut filed: BTreeMap<Key, Vec<&Entry>> = BTreeMap::new();
        for entry in &file.entries {
            filed.entry(Key::of(&entry.row)).or_default().push(entry);
        }
        // Of two applies the later one counts, also when the clock was set back in between.
        let now = current.rows().iter().map(|row| row.applied_at).fold(now, Timestamp::max);
        Self { current, file, now, closed_to, backdate, applied, filed }
    }

    fn plan(self, applied_by: &str) -> Result<Plan, Error> {
        let version = self.current.version() + 1;
        let anchors = self.anchors()?;
        let prices = Priced::of(self.current);
        let (mut rows, mut changes, mut backdated_to) = (Vec::new(), Vec::new(), None);
        for entry in &self.file.entries {
            self.check_account(entry)?;
            let key = Key::of(&entry.row);
            let mut row = Row { version, applied_at: self.now, applied_by: applied_by.to_owned(), ..entry.row.clone() };
            if row.kind == Kind::Account {
                row.session_anchor = anchors.get(&*row.account).copied().unwrap_or_default().seconds();
            }
            let Some(valid_from) = self.valid_from(entry, &key, &row, &prices)? else { continue };
            row.valid_from = valid_from;
            let old = self.applied.get(&key).and_then(|rows| in_force(&history(rows), valid_from));
            let is_the_same = old.is_some_and(|old| old.says_the_same_as(&row));
            if entry.valid_from.is_some_and(|from| from < self.closed_to) && !is_the_same {
                self.check_backdate(entry, valid_from)?;
                backdated_to = Some(backdated_to.map_or(valid_from, |earliest: Timestamp| earliest.min(valid_from)));
            }
            self.check_budget(entry, old, &row)?;
            changes.push(Change::between(old, &row));
            rows.push(row);
        }
        let regridded = self.check_zones(&rows)?;
        let absent = self.absent();
        let version = if rows.is_empty() { self.current.version() } else { version };
        Ok(Plan { version, rows, changes, absent, backdated_to, regridded })
    }

    /// From when on a row of the file holds that has to be added; `None` when the book says so already.
    fn valid_from(&self, entry: &Entry, key: &Key, row: &Row, prices: &Priced<'_>) -> Result<Option<Timestamp>, Error> {
        let rows = self.applied.get(key).map(Vec::as_slice).unwrap_or_default();
        if let Some(valid_from) = entry.valid_from {
            let is_there = history(rows).get(&valid_from).is_some_and(|old| old.says_the_same_as(row));
            return Ok((!is_there).then_some(valid_from));
        }
        // Compared with the last one of its sort, whatever else is in force: else the answer would change as dated rows come into
        // force, and the same file would not stay applied.
        if rows.iter().rfind(|row| is_undated(row)).is_some_and(|old| old.says_the_same_as(row)) {
            return Ok(None);
        }
        if rows.is_empty() && !prices.covers(row) {
            return Ok(Some(Timestamp::default()));
        }
        let dated = self.filed.get(key).into_iter().flatten().filter_map(|entry| entry.valid_from);
        if let Some(replaced) = dated.filter(|from| *from <= self.now).max() {
            let message = format!("without `valid_from` it would hold from now on, in place of the row that holds from {replaced}");
            return Err(self.file.error(entry, message, "give it a `valid_from`, or change the other row"));
        }
        Ok(Some(self.now))
    }

    /// The session anchor of every account that the file names.
    fn anchors(&self) -> Result<FxHashMap<&'a str, SessionAnchor>, Error> {
        let mut anchors: FxHashMap<&str, SessionAnchor> = FxHashMap::default();
        for row in self.current.rows().iter().filter(|row| row.kind == Kind::Account) {
            anchors.entry(&row.account).or_insert(row.anchor().unwrap_or_default());
        }
        for entry in self.file.entries.iter().filter(|entry| entry.row.kind == Kind::Account) {
            let Some(anchor) = entry.anchor else { continue };
            let first = *anchors.entry(&entry.row.account).or_insert(anchor);
            if first != anchor {
                let message = format!(
                    "the session anchor of `{}` is {first} and cannot become {anchor}: its sessions would overlap",
                    entry.row.account
                );
                return Err(self.file.error(entry, message, format!("write `session_anchor = \"{first}\"`, or leave it out")));
            }
        }
        Ok(anchors)
    }

    fn check_account(&self, entry: &Entry) -> Result<(), Error> {
        let account = &*entry.row.account;
        let is_known = |account: &str| {
            let key = Key { kind: Kind::Account, account: account.to_owned(), first: String::new(), second: String::new() };
            self.applied.contains_key(&key) || self.filed.contains_key(&key)
        };
        if account.is_empty() || account == EVERY || is_known(account) {
            return Ok(());
        }
        let accounts =
            self.applied.keys().chain(self.filed.keys()).filter(|key| key.kind == Kind::Account).map(|key| &*key.account);
        let hint = did_you_mean(account, accounts);
        let hint = if hint.is_empty() { format!("add `[[account]]` with `id = \"{account}\"`") } else { hint };
        Err(self.file.error(entry, format!("neither the file nor the book has an account `{account}`"), hint))
    }

    fn check_backdate(&self, entry: &Entry, valid_from: Timestamp) -> Result<(), Error> {
        if self.backdate {
            return Ok(());
        }
        let message = format!("{valid_from} is before {}: sessions are closed up to there", self.closed_to);
        let path = format!("{}.valid_from", entry.path);
        Err(self.file.source.error(
            &entry.valid_from_span,
            &path,
            message,
            "choose a later moment, or say --backdate and see what changes",
        ))
    }

    fn check_budget(&self, entry: &Entry, old: Option<&Row>, row: &Row) -> Result<(), Error> {
        match old {
            Some(old) if row.kind == Kind::Budget && old.account != row.account => Err(self.file.error(
                entry,
                format!("budget `{}` belongs to account `{}` and cannot move to `{}`", row.id, old.account, row.account),
                "give it another id",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses another zone for moments that have passed: their days are stored. Gives the accounts that get a grid of their own
    /// for moments at which they were unknown.
    fn check_zones(&self, new: &[Row]) -> Result<Vec<String>, Error> {
        let mut rows: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
        for row in new.iter().filter(|row| row.kind == Kind::Account) {
            rows.entry(Key::of(row)).or_default().push(row);
        }
        let mut regridded = Vec::new();
        for (key, new) in rows {
            let old = self.applied.get(&key).cloned().unwrap_or_default();
            let (before, after) = (history(&old), history(&[old.as_slice(), &new].concat()));
            let mut is_regridded = false;
            for moment in after.keys().filter(|moment| **moment < self.now) {
                match (in_force(&before, *moment), in_force(&after, *moment)) {
                    (Some(old), Some(new)) if old.time_zone != new.time_zone => {
                        return Err(self.zone_error(&key, old, new, *moment));
                    }
                    (None, Some(new)) => is_regridded |= new.time_zone != "UTC" || new.session_anchor != 0,
                    _ => {}
                }
            }
            if is_regridded {
                regridded.push(key.account);
            }
        }
        Ok(regridded)
    }

    fn zone_error(&self, key: &Key, old: &Row, new: &Row, moment: Timestamp) -> Error {
        let message = format!(
            "the zone of `{}` is {} from {moment} on and cannot become {} in the past",
            key.account, old.time_zone, new.time_zone
        );
        let hint = "days that have passed are stored: give it a `valid_from` to come, or none";
        let entries = self.filed.get(key).map(Vec::as_slice).unwrap_or_default();
        match entries.iter().find(|entry| entry.row.time_zone == new.time_zone) {
            Some(entry) => self.file.error(entry, message, hint),
            None => self.file.source.error(&(0..0), "", message, hint),
        }
    }

    /// What the book has and the file has not: things that are not retired, and dated rows of the others.
    fn absent(&self) -> Vec<String> {
        let mut absent = Vec::new();
        for (key, rows) in &self.applied {
            let history = history(rows);
            let Some(entries) = self.filed.get(key) else {
                if history.last_key_value().is_some_and(|(_, last)| !last.retired) {
                    absent.push(key.to_string());
                }
                continue;
            };
            for (from, row) in &history {
                let is_filed = entries.iter().any(|entry| entry.valid_from == Some(*from));
                if !is_undated(row) && !is_filed {
                    absent.push(format!("{key} from {from}"));
                }
            }
        }
        absent
    }
}

/// Whether a row came from a section without `valid_from`: it holds for all time or from the moment it was applied.
pub(super) fn is_undated(row: &Row) -> bool {
    row.valid_from.millis() == 0 || row.valid_from == row.applied_at
}

pub(super) fn history<'a>(rows: &[&'a Row]) -> History<'a> {
    rows.iter().map(|row| (row.valid_from, *row)).collect() // a later version takes the place of an earlier one
}

pub(super) fn in_force<'a>(history: &History<'a>, at: Timestamp) -> Option<&'a Row> {
    history.range(..=at).next_back().map(|(_, row)| *row)
}

/// Which prices the book has, to see whether a new and more specific one would take the place of another in the past.
struct Priced<'a> {
    /// (kind, account, platform or category, model): of each price itself.
    exactly: FxHashSet<(Kind, &'a str, &'a str, &'a str)>,
    /// The same without what everyone's price may leave open: platform, or model.
    broadly: FxHashSet<(Kind, &'a str, &'a str)>,
}

impl<'a> Priced<'a> {
    fn of(book: &'a Book) -> Self {
        let (mut exactly, mut broadly) = (FxHashSet::default(), FxHashSet::default());
        for row in book.rows() {
            let (first, second) = match row.kind {
                Kind::SessionPrice => (&*row.platform, ""),
                Kind::Rate => (&*row.category, &*row.model),
                _ => continue,
            };
            exactly.insert((row.kind, &*row.account, first, second));
            broadly.insert((row.kind, &*row.account, if row.kind == Kind::Rate { first } else { "" }));
        }
        Self { exactly, broadly }
    }

    /// Whether something less specific than a price is in the book: what would be charged if the price were not there.
    fn covers(&self, row: &Row) -> bool {
        let is_own = row.account != EVERY;
        match row.kind {
            Kind::SessionPrice => {
                let exactly = |account, platform| self.exactly.contains(&(Kind::SessionPrice, account, platform, ""));
                let is_default = row.platform == EVERY;
                (!is_default && exactly(&*row.account, EVERY))
                    || (is_own && is_default && self.broadly.contains(&(Kind::SessionPrice, EVERY, "")))
                    || (is_own && !is_default && (exactly(EVERY, &*row.platform) || exactly(EVERY, EVERY)))
            }
            Kind::Rate => {
                let exactly = |account, model| self.exactly.contains(&(Kind::Rate, account, &*row.category, model));
                let is_default = row.model.is_empty();
                (!is_default && exactly(&*row.account, ""))
                    || (is_own && is_default && self.broadly.contains(&(Kind::Rate, EVERY, &*row.category)))
                    || (is_own && !is_default && (exactly(EVERY, &*row.model) || exactly(EVERY, "")))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
