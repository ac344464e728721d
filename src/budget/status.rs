//! How budgets and balances stand, and which alerts are due for them.

use std::collections::BTreeSet;

use super::alert::{Alert, Kind, id_of};
use crate::model::{Credits, Day};

/// A budget in its period, as the view `budget_status_at` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub account: String,
    /// Its id.
    pub budget: String,
    /// The first day of the period.
    pub period_start: Day,
    /// What may be spent.
    pub limit: Credits,
    /// What is spent.
    pub spent: Credits,
    /// What will be spent at the pace of the period so far.
    pub projected: Credits,
    /// Percent of the limit, in any order.
    pub thresholds: Vec<u16>,
    /// Whether to tell that the limit will be exceeded.
    pub forecast: bool,
    /// Seconds of the period that have passed, and all of them.
    pub elapsed_seconds: i64,
    /// See `elapsed_seconds`.
    pub period_seconds: i64,
}

/// An account's balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose.
    pub account: String,
    /// All entries, less what expired.
    pub credited: Credits,
    /// What is left.
    pub balance: Credits,
    /// The mark below which it is low.
    pub low_balance: Option<Credits>,
}

/// What was told of a balance last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What about: low or exhausted.
    pub kind: Kind,
    /// The mark then.
    pub limit: Credits,
    /// All usage then: what was credited less what was left.
    pub used: Credits,
}

/// A forecast is worth telling when so many percent of the period have passed: before, it says little.
const FORECAST_AFTER_PERCENT: i64 = 10;

/// The alerts of a budget that are not among those `told`, the lowest threshold first.
pub fn due_of_budget(budget: &Budget, told: &BTreeSet<String>) -> Vec<Alert> {
    let (start, limit) = (budget.period_start.to_string(), budget.limit.to_string());
    let mut due: Vec<Alert> = reached(budget)
        .map(|threshold| Alert {
            id: id_of(Kind::Threshold, &[&budget.account, &budget.budget, &start, &threshold.to_string(), &limit]),
            kind: Kind::Threshold,
            threshold,
            limit: budget.limit,
            is_mailed: false,
        })
        .filter(|alert| !told.contains(&alert.id))
        .collect();
    if let Some(highest) = due.last_mut() {
        highest.is_mailed = true;
    }
    let is_early = budget.elapsed_seconds.saturating_mul(100) < budget.period_seconds.saturating_mul(FORECAST_AFTER_PERCENT);
    if budget.forecast && !is_early && budget.projected > budget.limit && budget.spent < budget.limit {
        let id = id_of(Kind::Forecast, &[&budget.account, &budget.budget, &start, &limit]);
        if !told.contains(&id) {
            due.push(Alert { id, kind: Kind::Forecast, threshold: 0, limit: budget.limit, is_mailed: true });
        }
    }
    due
}

/// The thresholds that are reached, each once, in order: spent ≥ limit × threshold / 100, without rounding.
fn reached(budget: &Budget) -> impl Iterator<Item = u16> {
    // At most 21 digits times 1 000 %: far below 38.
    let spent = budget.spent.nanos().saturating_mul(100);
    let limit = budget.limit.nanos();
    let thresholds: BTreeSet<u16> = budget.thresholds.iter().copied().collect();
    thresholds.into_iter().filter(move |&threshold| spent > 0 && spent >= limit.saturating_mul(i128::from(threshold)))
}

/// The alerts of a balance: low, or exhausted, which says more. `last`: what was told of this account before, the newest of each kind.
///
/// An account that nobody ever credited has no balance to fall. Once told, it is told again only when credits came that lifted the balance to
/// the mark, whatever was used since: the id holds what was credited, so each level of credits is told once.
pub fn due_of_account(account: &Account, last: &[Known], told: &BTreeSet<String>) -> Option<Alert> {
    if account.credited.nanos() <= 0 {
        return None;
    }
    let nothing = Credits::from_nanos(0);
    let (kind, mark) = match account.low_balance {
        _ if account.balance <= nothing => (Kind::Exhausted, nothing),
        Some(mark) if account.balance < mark => (Kind::LowBalance, mark),
        _ => return None,
    };
    let id = id_of(kind, &[&account.account, &account.credited.to_string(), &mark.to_string()]);
    if told.contains(&id) {
        return None;
    }
    let is_armed = last.iter().filter(|known| known.kind == kind).all(|known| {
        // What the balance came to at most, when the newest credits came.
        let lifted = account.credited.checked_sub(known.used).unwrap_or(nothing);
        if kind == Kind::Exhausted { lifted > nothing } else { lifted >= mark || mark > known.limit }
    });
    is_armed.then_some(Alert { id, kind, threshold: 0, limit: mark, is_mailed: true })
}
