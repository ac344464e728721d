//! What a planned price book changes for time that is metered already, per account and day.
//!
//! Operations: what `rerate` would say with the planned book, of the accounts that the plan touches, from the day on from which it reaches
//! back. Sessions: their cost as the planned book has it, since they are priced when they are read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::rerate::scan::Scan;
use super::run::marked;
use crate::book::{Book, Kind, Plan, Touched};
use crate::model::{Credits, Day, SESSION_SECONDS, SessionAnchor, Timestamp, Zone};
use crate::price::{Again, Overflow, Prices};
use crate::runtime;
use crate::store::Store;

/// Up to so many accounts are asked for one by one.
const FEW: usize = 20;

/// What is different for an account's day and a kind of cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Difference {
    pub(super) old: Credits,
    pub(super) new: Credits,
}

impl Difference {
    fn add(&mut self, old: Credits, new: Credits) -> Result<(), Overflow> {
        self.old = self.old.checked_add(old).ok_or(Overflow)?;
        self.new = self.new.checked_add(new).ok_or(Overflow)?;
        Ok(())
    }
}

/// By account, day and kind (`operation`, `session`, `training`).
pub(super) type Differences = BTreeMap<(String, Day, &'static str), Difference>;

/// What changes from `since` on.
pub(super) async fn differences(
    store: &Store,
    planned: &Book,
    plan: &Plan,
    since: Timestamp,
    now: Timestamp,
) -> anyhow::Result<Differences> {
    let touched = Touched::new(planned);
    let accounts: BTreeSet<&str> = plan.rows.iter().flat_map(|row| touched.by(row)).collect();
    // Wherever the account is, the moment lies on one of these days.
    let day = |at: Timestamp, hours: i64| Zone::UTC.local(at.plus_millis(hours * 3_600_000)).day;
    let (from, to) = (day(since, -12), day(now, 14));
    let mut differences = Differences::new();
    let is_for = |kind: Kind| plan.rows.iter().any(|row| row.kind == kind || row.kind == Kind::Account);
    if is_for(Kind::Rate) {
        let mut again = Again::new(planned.clone());
        let few: Vec<Option<&str>> =
            if accounts.len() <= FEW { accounts.iter().map(|account| Some(*account)).collect() } else { vec![None] };
        for account in few {
            operations(store, &mut again, account, (from, to), &accounts, &mut differences).await?;
        }
    }
    if is_for(Kind::SessionPrice) {
        sessions(store, &Prices::new(planned), since, (from, to), &accounts, &mut differences).await?;
    }
    differences.retain(|_, difference| difference.old != difference.new);
    Ok(differences)
}

async fn operations(
    store: &Store,
    again: &mut Again,
    account: Option<&str>,
    (from, to): (Day, Day),
    touched: &BTreeSet<&str>,
    differences: &mut Differences,
) -> anyhow::Result<()> {
    let mut scan = Scan::begin(store, again, account, from, to).await?;
    while let Some(found) = scan.next().await? {
        if touched.contains(&*found.account) {
            for (line, compared) in found.changes()? {
                let key = (found.account.clone(), found.day, line.kind());
                differences.entry(key).or_default().add(compared.old, compared.new)?;
            }
        }
    }
    scan.hide_progress();
    Ok(())
}

async fn sessions(
    store: &Store,
    prices: &Prices,
    since: Timestamp,
    (from, to): (Day, Day),
    touched: &BTreeSet<&str>,
    differences: &mut Differences,
) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Session {
        account: String,
        of_day: i64,
        platform: String,
        start: i64,
        unique_users: u64,
        cost: String,
    }
    let sql = "SELECT account, toUInt32(day) AS of_day, platform, toUnixTimestamp(session_start) AS start, unique_users, cost \
               FROM session_costs WHERE day BETWEEN {from:Date} AND {to:Date}";
    let (from, to) = (from.to_string(), to.to_string());
    let failed = |error| marked(runtime::Error::from(error));
    let rows: Vec<Session> = store.rows(sql, &[("from", &from), ("to", &to)]).await.map_err(failed)?;
    for row in rows.iter().filter(|row| touched.contains(&*row.account) && row.start >= since.seconds()) {
        let anchor = u32::try_from(row.start.rem_euclid(SESSION_SECONDS)).ok().and_then(SessionAnchor::from_seconds);
        let start = anchor.unwrap_or_default().session_of(Timestamp::from_seconds(row.start));
        let unit = prices.unit_session_cost(&row.account, &row.platform, start).unwrap_or_default();
        let (old, new) = (Credits::parse_sum(&row.cost).ok_or(Overflow)?, unit.checked_mul(row.unique_users).ok_or(Overflow)?);
        differences.entry((row.account.clone(), Day::from_epoch_days(row.of_day), "session")).or_default().add(old, new)?;
    }
    Ok(())
}

/// For programs.
pub(super) fn values(differences: &Differences) -> Vec<Value> {
    let value = |((account, day, kind), difference): (&(String, Day, &str), &Difference)| {
        json!({
            "account": account,
            "day": day.to_string(),
            "kind": kind,
            "old": difference.old.to_string(),
            "new": difference.new.to_string(),
        })
    };
    differences.iter().map(value).collect()
}

/// For people: at most `lines_max` lines.
pub(super) fn lines(differences: &Differences, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = differences
        .iter()
        .take(lines_max)
        .map(|((account, day, kind), Difference { old, new })| format!("  {account} {day} {kind}: {old} -> {new}"))
        .collect();
    if differences.len() > lines_max {
        lines.push(format!("  and {} more; --format json has them all", differences.len() - lines_max));
    }
    lines
}
