//! The fold: day by day, first what is credited, then what is used, then what expires.
//!
//! Usage takes from the credits that expire earliest, then from those that stay; what is missing is a debt, which the next credits pay.
//! So a day is the finest moment there is, and neither the order of entries nor that of usage within a day matters. `views/05_balances.sql`
//! computes the same in SQL.

use std::collections::BTreeMap;

use super::{Entry, Kind};
use crate::model::{Credits, Day};

/// What an account has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// The sum of all entries but expiries.
    pub credited: Credits,
    /// What expired, whether the ledger has an entry for it yet or not.
    pub expired: Credits,
    /// The sum of all usage.
    pub used: Credits,
    /// `credited − expired − used`; negative: a debt.
    pub balance: Credits,
    /// What is left of credits that will expire, by their last day.
    pub lots: Vec<Lot>,
    /// What was left of credits that expired, and of which no entry tells; nothing, too.
    pub unposted: Vec<Lot>,
}

/// Credits that expire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lot {
    /// The last day on which they can be used.
    pub expires: Day,
    /// The id of the entry that gave them.
    pub id: String,
    /// What is left.
    pub left: Credits,
}

/// A sum that no ledger can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sum of the ledger's amounts is too large")]
pub struct Overflow;

/// The balance on the day `today`: whatever could last be used on a day before it has expired.
///
/// Entries and usage of later days count as well: the balance is not that of a day, `today` only decides whether what is left of a lot counts
/// as expired.
///
/// # Errors
/// [`Overflow`]: amounts that do not fit together.
pub fn balance(entries: &[Entry], usage: &BTreeMap<Day, Credits>, today: Day) -> Result<Balance, Overflow> {
    let mut days: BTreeMap<Day, Vec<&Entry>> = usage.keys().map(|&day| (day, Vec::new())).collect();
    let mut posted: BTreeMap<&str, Credits> = BTreeMap::new();
    let mut credited = Credits::ZERO;
    for entry in entries {
        if entry.kind == Kind::Expiry {
            let sum = posted.entry(&entry.reference).or_default();
            *sum = sub(*sum, entry.amount)?;
            continue;
        }
        days.entry(entry.day).or_default().push(entry);
        if let Some(expires) = entry.expires {
            days.entry(expires.max(entry.day)).or_default();
        }
        credited = add(credited, entry.amount)?;
    }
    let mut purse = Purse::default();
    let (mut expired, mut lots, mut unposted) = (Credits::ZERO, Vec::new(), Vec::new());
    for (&day, entries) in &days {
        for entry in entries {
            purse.credit(entry)?;
        }
        purse.take(usage.get(&day).copied().unwrap_or_default())?;
        for lot in purse.ended(day) {
            if day >= today {
                lots.push(lot);
                continue;
            }
            // An entry counts as it stands: where usage came late, the difference is owed, or stays.
            match posted.get(lot.id.as_str()) {
                Some(&amount) => {
                    purse.rest = add(purse.rest, sub(lot.left, amount)?)?;
                    expired = add(expired, amount)?;
                }
                None => {
                    expired = add(expired, lot.left)?;
                    unposted.push(lot);
                }
            }
        }
    }
    let mut used = Credits::ZERO;
    for &cost in usage.values() {
        used = add(used, cost)?;
    }
    let balance = sub(sub(credited, expired)?, used)?;
    lots.retain(|lot| lot.left > Credits::ZERO);
    Ok(Balance { credited, expired, used, balance, lots, unposted })
}

/// What an account holds on a day: lots that expire, by their last day, and the rest, which is negative when it owes.
#[derive(Default)]
struct Purse {
    lots: Vec<Lot>,
    rest: Credits,
}

impl Purse {
    fn credit(&mut self, entry: &Entry) -> Result<(), Overflow> {
        match entry.expires {
            Some(expires) if entry.amount > Credits::ZERO => {
                let lot = Lot { expires: expires.max(entry.day), id: entry.id.clone(), left: entry.amount };
                let at = self.lots.partition_point(|other| *other <= lot);
                self.lots.insert(at, lot);
            }
            _ => self.rest = add(self.rest, entry.amount)?,
        }
        Ok(())
    }

    /// Takes an amount, and pays what is owed as far as there are lots.
    fn take(&mut self, amount: Credits) -> Result<(), Overflow> {
        let debt = sub(Credits::ZERO, self.rest.min(Credits::ZERO))?;
        let mut open = add(amount, debt)?;
        for lot in &mut self.lots {
            let part = lot.left.min(open);
            lot.left = sub(lot.left, part)?;
            open = sub(open, part)?;
        }
        self.rest = sub(self.rest.max(Credits::ZERO), open)?;
        Ok(())
    }

    /// Takes out the lots that cannot be used after this day.
    fn ended(&mut self, day: Day) -> Vec<Lot> {
        self.lots.extract_if(.., |lot| lot.expires <= day).collect()
    }
}

fn add(a: Credits, b: Credits) -> Result<Credits, Overflow> {
    a.checked_add(b).ok_or(Overflow)
}

fn sub(a: Credits, b: Credits) -> Result<Credits, Overflow> {
    a.checked_sub(b).ok_or(Overflow)
}
