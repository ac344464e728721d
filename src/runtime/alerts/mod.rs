//! Who is told that credits come to an end: after each batch for its accounts, and by the leader for all of them.
//!
//! What is due is decided by [`budget`](crate::budget) from what ClickHouse says; what was told is a row there, so nobody tells it twice, whoever
//! evaluates. Holds: metering never waits for it; an account stays due until it was looked at; a mail is in the outbox before its alert is a row, so
//! that a crash in between is told again under the same name, and not forgotten.

mod canary;
mod digest;
mod mailer;
mod notices;
mod scheduled;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::balances::Touched;
use super::clock;
use super::progress::Progress;
use crate::budget::{self, Account, Alert, Budget, Kind, Known};
use crate::model::{Credits, Day, Timestamp};
use crate::notify::outbox::State;
use crate::notify::{Notice, message_id, thread_id};
use crate::store::{self, AlertRow, BudgetStatus, MailStep, MarkedBalance, Store};
use crate::telemetry::Metrics;
pub use mailer::Mailer;

/// How often what is due is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How many are told at a time: each needs several answers of ClickHouse, which takes long for one when it has much to do.
const AT_A_TIME: usize = 8;
/// How often it is asked who has budgets or credits.
const WATCHED_EVERY: Duration = Duration::from_secs(10);
/// How many accounts are asked for at a time.
const ACCOUNTS_AT_A_TIME: usize = 200;
/// Alerts of periods that began before so many days are not asked for: no period is longer.
const PERIOD_DAYS_MAX: i64 = 40;
const DAY_MS: i64 = 86_400_000;

/// What telling needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct Telling {
    /// Who writes.
    pub from: String,
    /// Who runs the installation.
    pub operators: Vec<String>,
    /// Mails of an account and day.
    pub mails_per_day_max: u32,
    /// The events topic.
    pub topic: String,
    /// How often the leader looks at all accounts: a period that begins, prices, entries, what was rated again; and for what no batch tells.
    pub every: Duration,
    /// How often the operators get a mail that says that mails arrive.
    pub canary: Duration,
}

/// What evaluating needs.
#[derive(Clone)]
pub struct Alerts {
    /// ClickHouse.
    pub store: Store,
    /// Accounts of which something changed.
    pub touched: Arc<Touched>,
    /// Whether we lead.
    pub progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// To whom, from whom, how often.
    pub telling: Telling,
    /// Wakes who sends, when a mail is there to be sent.
    pub mail_waits: Arc<Notify>,
}

/// What it remembers from turn to turn.
#[derive(Default)]
struct Memory {
    watched: BTreeSet<String>,
    watched_at: Option<Instant>,
    all_at: Option<Instant>,
    said: Said,
}

/// Says a failure once for each reason, not every second.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    fn say(&mut self, outcome: anyhow::Result<()>) {
        let failure = outcome.err().map(|error| format!("{error:#}"));
        if failure != self.0
            && let Some(error) = &failure
        {
            warn!(error, "budgets are not looked at; what is due stays due, and metering goes on");
        }
        self.0 = failure;
    }
}

impl Alerts {
    /// Looks at what is due, for ever.
    pub async fn work(self) {
        tokio::join!(self.follow(), self.lead());
    }

    /// What batches touched.
    async fn follow(&self) {
        let mut memory = Memory::default();
        loop {
            let mut looked_for = Duration::ZERO;
            let turn = self.turn(&mut memory, &mut looked_for).await;
            memory.said.say(turn);
            // As long as it took to look, so that ClickHouse has time for others.
            sleep(EVERY.max(looked_for)).await;
        }
    }

    /// What no batch tells, when we lead: beside the other, which must not wait for it.
    async fn lead(&self) {
        let mut said = Said::default();
        loop {
            if self.progress.leads() {
                said.say(self.scheduled(clock::now()).await);
            }
            sleep(self.telling.every).await;
        }
    }

    async fn turn(&self, memory: &mut Memory, looked_for: &mut Duration) -> anyhow::Result<()> {
        let is_over = |at: Option<Instant>, every: Duration| at.is_none_or(|at| at.elapsed() >= every);
        if is_over(memory.watched_at, WATCHED_EVERY) {
            memory.watched = self.store.watched_accounts().await?.into_iter().collect();
            memory.watched_at = Some(Instant::now());
        }
        let is_turn = self.progress.leads() && is_over(memory.all_at, self.telling.every);
        let due = self.touched.take();
        let is_all = due.all || is_turn;
        let accounts: Vec<&str> =
            memory.watched.iter().map(String::as_str).filter(|account| is_all || due.accounts.contains(*account)).collect();
        let looked = self.look_timed(&accounts, clock::now(), looked_for).await;
        if looked.is_err() {
            self.touched.put_back(due);
        }
        looked?;
        if is_turn {
            memory.all_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Evaluates these accounts at a moment.
    ///
    /// # Errors
    /// ClickHouse cannot be asked; what was not told stays due.
    pub async fn look(&self, accounts: &[&str], now: Timestamp) -> anyhow::Result<()> {
        self.look_timed(accounts, now, &mut Duration::default()).await
    }

    /// `looked_for`: how long ClickHouse took to say how they stand, without what telling took.
    async fn look_timed(&self, accounts: &[&str], now: Timestamp, looked_for: &mut Duration) -> anyhow::Result<()> {
        for some in accounts.chunks(ACCOUNTS_AT_A_TIME) {
            let since = Day::from_epoch_days(now.millis() / DAY_MS - PERIOD_DAYS_MAX).to_string();
            let began = Instant::now();
            let (statuses, told, balances) =
                tokio::try_join!(self.store.budget_status(some, now), self.store.alerts_of(some, &since), self.balances(some),)?;
            *looked_for += began.elapsed();
            let ids: BTreeSet<String> = told.iter().map(|row| row.id.clone()).collect();
            let mut telling = JoinSet::new();
            for status in statuses {
                let due = budget::due_of_budget(&of_status(&status)?, &ids);
                if due.is_empty() {
                    continue;
                }
                while telling.len() >= AT_A_TIME {
                    telling.join_next().await.transpose()?.transpose()?;
                }
                let alerts = self.clone();
                telling.spawn(async move {
                    let notice = alerts.notice_of_budget(&status, now).await?;
                    alerts.tell(&due, &notice, &status.emails, now).await
                });
            }
            while let Some(told) = telling.join_next().await {
                told??;
            }
            let last = last_of_balances(&told);
            for row in &balances {
                let account = Account {
                    account: row.account.clone(),
                    credited: row.credited()?,
                    balance: row.balance()?,
                    low_balance: row.low_balance()?,
                };
                let known = last.get(row.account.as_str()).map_or(&[][..], Vec::as_slice);
                if let Some(alert) = budget::due_of_account(&account, known, &ids) {
                    let (notice, emails) = self.notice_of_balance(&account, &alert, now).await?;
                    self.tell(&[alert], &notice, &emails, now).await?;
                }
            }
        }
        Ok(())
    }

    /// Of those that ever got credits: the others have no balance that could fall, and asking for it takes long.
    async fn balances(&self, accounts: &[&str]) -> Result<Vec<MarkedBalance>, store::Error> {
        let credited = self.store.credited_accounts(accounts).await?;
        if credited.is_empty() {
            return Ok(Vec::new());
        }
        self.store.marked_balances(&credited.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Puts the mails into the outbox, then the alerts into their table.
    async fn tell(&self, due: &[Alert], notice: &Notice, emails: &[String], now: Timestamp) -> anyhow::Result<()> {
        for alert in due.iter().filter(|alert| alert.is_mailed) {
            let notice = Notice { kind: alert.kind, threshold: alert.threshold, limit: alert.limit, ..notice.clone() };
            for recipient in emails {
                self.add_mail(&alert.id, recipient, emails.len(), &notice, now).await?;
            }
        }
        for alert in due {
            let evidence = Notice { kind: alert.kind, threshold: alert.threshold, limit: alert.limit, ..notice.clone() };
            let row = AlertRow {
                id: alert.id.clone(),
                kind: alert.kind.to_string(),
                account: notice.account.clone(),
                budget: notice.budget.clone(),
                period_start: if notice.period_start.is_empty() { "1970-01-01".to_owned() } else { notice.period_start.clone() },
                threshold: alert.threshold,
                limit: alert.limit.to_string(),
                created_at: now,
                evidence: serde_json::to_string(&evidence)?,
            };
            if self.store.add_alert(&row).await? {
                self.metrics.alert(alert.kind).inc();
                info!(kind = alert.kind.as_str(), threshold = alert.threshold, "an alert");
            }
        }
        Ok(())
    }

    /// `recipients`: how many are told of this alert.
    async fn add_mail(
        &self,
        alert: &str,
        recipient: &str,
        recipients: usize,
        notice: &Notice,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let Notice { account, budget, .. } = notice;
        let max = u64::from(self.telling.mails_per_day_max);
        let is_counted = !matches!(notice.kind, Kind::Canary | Kind::Digest);
        let (is_muted, today) =
            tokio::try_join!(self.store.is_muted(account, budget, now), self.store.mails_since(account, day_of(now)))?;
        let (state, detail) = if is_muted {
            (State::Held, "muted")
        } else if is_counted && today >= max {
            (State::Held, digest::TOO_MANY)
        } else {
            (State::Pending, "")
        };
        let mut notice = notice.clone();
        if is_counted && today + recipients as u64 >= max {
            let said = "the last mail for today, since an account may cause only so many in a day (UTC); what follows comes in one mail after midnight";
            notice.reasons.push(("More".to_owned(), said.to_owned()));
        }
        let Notice { account, budget, period_start, .. } = &notice;
        let step = MailStep {
            mail: message_id(alert, recipient, &self.telling.from),
            step: 0,
            state: state.as_str().to_owned(),
            alert: alert.to_owned(),
            account: account.clone(),
            recipient: recipient.to_owned(),
            at: now,
            next_at: now,
            reply_to: thread_id(account, budget, period_start, recipient, &self.telling.from),
            evidence: serde_json::to_string(&notice)?,
            detail: detail.to_owned(),
            by: String::new(),
        };
        self.store.add_mail_step(&step).await?;
        self.mail_waits.notify_one();
        Ok(())
    }
}

/// When the day began, in UTC.
fn day_of(now: Timestamp) -> Timestamp {
    now.plus_millis(-now.millis().rem_euclid(DAY_MS))
}

/// What the pure part needs of a row.
pub(crate) fn of_status(status: &BudgetStatus) -> anyhow::Result<Budget> {
    Ok(Budget {
        account: status.account.clone(),
        budget: status.budget.clone(),
        period_start: Day::from_date(status.period_start.parse()?),
        limit: status.amount(&status.limit)?,
        spent: status.amount(&status.spent)?,
        projected: status.amount(&status.projected)?,
        thresholds: status.thresholds.clone(),
        forecast: status.forecast != 0,
        elapsed_seconds: status.elapsed_seconds,
        period_seconds: status.period_seconds,
    })
}

/// What was told of each account's balance last; the rows come in the order of their making.
fn last_of_balances(told: &[AlertRow]) -> BTreeMap<&str, Vec<Known>> {
    let mut last: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
    for row in told {
        let Some(kind @ (Kind::LowBalance | Kind::Exhausted)) = Kind::named(&row.kind) else { continue };
        let Ok(notice) = serde_json::from_str::<Notice>(&row.evidence) else { continue };
        let known = last.entry(&row.account).or_default();
        known.retain(|other| other.kind != kind);
        known.push(Known { kind, limit: Credits::parse_sum(&row.limit).unwrap_or(notice.limit), used: notice.spent });
    }
    last
}
