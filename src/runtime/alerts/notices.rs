//! What an alert says: the figures at the moment it is told, with what explains them.

use super::Alerts;
use crate::budget::{Account, Alert, Kind};
use crate::model::{Credits, Timestamp};
use crate::notify::{Notice, Pace};
use crate::store::{BudgetStatus, NewestBatch, Part};

/// So many agents and models are named.
const LARGEST: usize = 5;
const DAY_SECONDS: i128 = 86_400;

impl Alerts {
    /// Of a budget; whoever tells it puts kind, threshold and limit in.
    pub(super) async fn notice_of_budget(&self, status: &BudgetStatus, now: Timestamp) -> anyhow::Result<Notice> {
        let (parts, newest) = tokio::try_join!(self.store.cost_parts(status), self.store.newest_batch())?;
        let of = |what: &str| -> anyhow::Result<Vec<(String, Credits)>> {
            let rows = parts.iter().filter(|part| part.what == what);
            let most = if what == "day" { usize::MAX } else { LARGEST };
            rows.take(most).map(|Part { name, cost, .. }| Ok((name.clone(), status.amount(cost)?))).collect()
        };
        let (spent, limit) = (status.amount(&status.spent)?, status.amount(&status.limit)?);
        let pace = Pace { projected: status.amount(&status.projected)?, exhausted_on: exhausted_on(status, spent, limit) };
        Ok(Notice {
            kind: Kind::Threshold,
            account: status.account.clone(),
            name: status.name.clone(),
            time_zone: status.time_zone.clone(),
            budget: status.budget.clone(),
            narrowed: status.narrowed(),
            period: status.period.clone(),
            period_start: status.period_start.clone(),
            period_end: status.period_end.clone(),
            threshold: 0,
            limit,
            spent,
            balance: Credits::from_nanos(0),
            reasons: Vec::new(),
            count: 0,
            pace: Some(pace),
            days: of("day")?,
            agents: of("agent")?,
            models: of("model")?,
            as_of: now,
            caused_at: caused_at(newest.as_ref(), now),
            batch: newest.map_or_else(String::new, |batch| batch.name),
        })
    }

    /// Of a balance, and who is to hear of it. `spent` is all that was ever used: what arms the alert again depends on it.
    pub(super) async fn notice_of_balance(
        &self,
        account: &Account,
        alert: &Alert,
        now: Timestamp,
    ) -> anyhow::Result<(Notice, Vec<String>)> {
        let (contact, newest) = tokio::try_join!(self.store.contact(&account.account, now), self.store.newest_batch())?;
        let (name, emails, time_zone) = contact.map_or_else(Default::default, |known| (known.name, known.emails, known.time_zone));
        let notice = Notice {
            limit: alert.limit,
            spent: account.credited.checked_sub(account.balance).unwrap_or_default(),
            balance: account.balance,
            caused_at: caused_at(newest.as_ref(), now),
            batch: newest.map_or_else(String::new, |batch| batch.name),
            ..Notice::about(alert.kind, &account.account, &name, &time_zone, now)
        };
        Ok((notice, emails))
    }
}

fn caused_at(newest: Option<&NewestBatch>, now: Timestamp) -> Timestamp {
    newest.map_or(now, |batch| batch.record_time_max.min(now))
}

/// The day of the period on which the limit is reached at the pace so far; `None`: not in this period, or it is reached.
fn exhausted_on(status: &BudgetStatus, spent: Credits, limit: Credits) -> Option<String> {
    let (spent, limit) = (spent.nanos(), limit.nanos());
    if spent <= 0 || spent >= limit {
        return None;
    }
    let seconds = limit.checked_mul(i128::from(status.elapsed_seconds))? / spent;
    if seconds >= i128::from(status.period_seconds) {
        return None;
    }
    let start: chrono::NaiveDate = status.period_start.parse().ok()?;
    let days = u64::try_from(seconds / DAY_SECONDS).ok()?;
    start.checked_add_days(chrono::Days::new(days)).map(|day| day.to_string())
}
