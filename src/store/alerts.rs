//! Budgets as they stand, alerts that were told, and the steps of their mails.

use serde::{Deserialize, Serialize};

use super::time::text;
use super::{Error, Store, Unique, quoted};
use crate::model::{Credits, Timestamp};

/// A row of the view `budget_status_at`: a budget in its period.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)] // the columns of the view
pub struct BudgetStatus {
    pub account: String,
    pub budget: String,
    pub period: String,
    pub time_zone: String,
    pub name: String,
    pub period_start: String,
    pub period_end: String,
    pub limit: String,
    pub spent: String,
    pub projected: String,
    pub next_threshold: u16,
    pub thresholds: Vec<u16>,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub platform: String,
    pub emails: Vec<String>,
    pub elapsed_seconds: i64,
    pub period_seconds: i64,
    pub forecast: u8,
}

const STATUS: &str = "account, budget, period, time_zone, name, toString(period_start) AS period_start, toString(period_end) AS period_end, `limit`, spent, \
     projected, next_threshold, thresholds, agent, category, model, platform, emails, elapsed_seconds, period_seconds, forecast";

impl BudgetStatus {
    /// An amount of the row.
    ///
    /// # Errors
    /// One that does not fit.
    pub fn amount(&self, text: &str) -> Result<Credits, Error> {
        Credits::parse_sum(text).ok_or_else(|| Error::Answer(format!("`{text}` is no amount, in the budget `{}`", self.budget)))
    }

    /// What it is narrowed to, as field and value.
    pub fn narrowed(&self) -> Vec<(String, String)> {
        let fields = [("agent", &self.agent), ("category", &self.category), ("model", &self.model), ("platform", &self.platform)];
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(field, value)| (field.to_owned(), value.clone())).collect()
    }
}

/// A row of `alerts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRow {
    /// See [`crate::budget::id_of`].
    pub id: String,
    /// A name of [`crate::budget::Kind`].
    pub kind: String,
    /// Whose; `""` for the operators' own.
    pub account: String,
    /// The budget's id, or `""`.
    pub budget: String,
    /// The first day of the budget's period; `1970-01-01`: none.
    pub period_start: String,
    /// Percent of the limit; 0: none.
    pub threshold: u16,
    /// The limit or mark, as a decimal.
    pub limit: String,
    /// When it was seen first.
    #[serde(with = "super::time")]
    pub created_at: Timestamp,
    /// A [`crate::notify::Notice`] as JSON.
    pub evidence: String,
}

const ALERT: &str = "id, kind, account, budget, period_start, threshold, `limit`, created_at, evidence";

/// A row of `mail_outbox`: one step of one mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailStep {
    /// The mail: its Message-ID, which alert and recipient make.
    pub mail: String,
    /// From 0.
    pub step: u16,
    /// A name of [`crate::notify::outbox::State`].
    pub state: String,
    /// The alert's id.
    pub alert: String,
    /// Whose.
    pub account: String,
    /// One address.
    pub recipient: String,
    /// When this step was made.
    #[serde(with = "super::time")]
    pub at: Timestamp,
    /// When the next one is due.
    #[serde(with = "super::time")]
    pub next_at: Timestamp,
    /// What the mail refers to, so that a period's mails stand together.
    pub reply_to: String,
    /// A [`crate::notify::Notice`] as JSON; in step 0 alone.
    pub evidence: String,
    /// Why it is as it is, for people.
    pub detail: String,
    /// The process that made the step.
    pub by: String,
}

const STEP: &str = "mail, step, state, alert, account, recipient, at, next_at, reply_to, evidence, detail, by";

/// A mail that is not done: its newest step, and what it has been through.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OpenMail {
    /// The mail.
    pub mail: String,
    /// Its newest step's number.
    pub step: u16,
    /// That step's state.
    pub state: String,
    /// The alert's id.
    pub alert: String,
    /// Whose.
    pub account: String,
    /// One address.
    pub recipient: String,
    /// When the newest step was made.
    #[serde(with = "super::time")]
    pub at: Timestamp,
    /// When the next one is due.
    #[serde(with = "super::time")]
    pub next_at: Timestamp,
    /// When it was due first.
    #[serde(with = "super::time")]
    pub created_at: Timestamp,
    /// What the mail refers to.
    pub reply_to: String,
    /// Attempts that failed without a delivery.
    pub failures: u32,
    /// Attempts of which nobody knows.
    pub unknowns: u32,
}

/// A mail that nobody got.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeldMail {
    /// Whose.
    pub account: String,
    /// Who was to get it.
    pub recipient: String,
    /// When.
    #[serde(with = "super::time")]
    pub at: Timestamp,
    /// A [`crate::notify::Notice`] as JSON.
    pub evidence: String,
}

/// How a detail begins that tells of an unknown outcome.
pub const UNKNOWN: &str = "unknown: ";

/// A cost by name or day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// `agent`, `model` or `day`.
    pub what: String,
    /// Its name, or `2026-11-25`.
    pub name: String,
    /// As a decimal.
    pub cost: String,
}

/// The newest batch, for evidence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NewestBatch {
    /// `topic/partition/from-to`.
    pub name: String,
    /// The time of its newest record.
    #[serde(with = "super::time")]
    pub record_time_max: Timestamp,
}

impl Store {
    /// How the budgets of these accounts stand at a moment; of all accounts when none is named.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn budget_status(&self, accounts: &[&str], now: Timestamp) -> Result<Vec<BudgetStatus>, Error> {
        let sql = format!(
            "SELECT {STATUS} FROM budget_status_at(now = toDateTime64('{}', 3, 'UTC'), accounts = {}) ORDER BY account, budget",
            text(now),
            list(accounts)
        );
        self.rows(&sql, &[]).await
    }

    /// Accounts that the price book gives a budget or a mark for their balance, and those with entries in the ledger.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn watched_accounts(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
        }
        let sql = "SELECT DISTINCT account FROM (SELECT account FROM budgets UNION ALL SELECT account FROM credit_ledger)";
        Ok(self.rows(sql, &[]).await?.into_iter().map(|row: Row| row.account).collect())
    }

    /// Those of these accounts that the ledger has entries of.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn credited_accounts(&self, accounts: &[&str]) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
        }
        let sql = format!("SELECT DISTINCT account FROM credit_ledger WHERE account IN {}", list(accounts));
        Ok(self.rows(&sql, &[]).await?.into_iter().map(|row: Row| row.account).collect())
    }

    /// What was told of these accounts: of periods that begin on this day or later, and of balances.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn alerts_of(&self, accounts: &[&str], since: &str) -> Result<Vec<AlertRow>, Error> {
        let sql = format!(
            "SELECT {ALERT} FROM alerts WHERE account IN {} AND (period_start >= {{since:Date}} OR kind IN ('low_balance', 'exhausted')) ORDER BY created_at",
            list(accounts)
        );
        self.rows(&sql, &[("since", since)]).await
    }

    /// The newest alerts, of one account or of all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn newest_alerts(&self, account: Option<&str>, limit: u32) -> Result<Vec<AlertRow>, Error> {
        let which = if account.is_some() { "WHERE account = {account:String}" } else { "" };
        let sql = format!("SELECT {ALERT} FROM alerts {which} ORDER BY created_at DESC, id LIMIT {{limit:UInt32}}");
        self.rows(&sql, &[("account", account.unwrap_or_default()), ("limit", &limit.to_string())]).await
    }

    /// The alert of this id and account.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn alert(&self, account: &str, id: &str) -> Result<Option<AlertRow>, Error> {
        let sql = format!("SELECT {ALERT} FROM alerts WHERE account = {{account:String}} AND id = {{id:String}} LIMIT 1");
        Ok(self.rows(&sql, &[("account", account), ("id", id)]).await?.pop())
    }

    /// The alert of this id, whosever it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_alert(&self, id: &str) -> Result<Option<AlertRow>, Error> {
        Ok(self.rows(&format!("SELECT {ALERT} FROM alerts WHERE id = {{id:String}} LIMIT 1"), &[("id", id)]).await?.pop())
    }

    /// Stores an alert once; whether this row is the one that stands.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn add_alert(&self, row: &AlertRow) -> Result<bool, Error> {
        let params = [("account", row.account.as_str()), ("id", &row.id)];
        let filter = "account = {account:String} AND id = {id:String}";
        let stands = self.insert_unique_where("alerts", ALERT, filter, &params, &row.id, std::slice::from_ref(row)).await?;
        Ok(stands == Unique::Ours)
    }

    /// Makes a step of a mail, once; whether it was ours to make.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn add_mail_step(&self, row: &MailStep) -> Result<bool, Error> {
        let step = row.step.to_string();
        let params = [("mail", row.mail.as_str()), ("step", &step)];
        let filter = "mail = {mail:String} AND step = {step:UInt16}";
        let key = format!("{}/{step}", row.mail);
        let stands = self.insert_unique_where("mail_outbox", STEP, filter, &params, &key, std::slice::from_ref(row)).await?;
        Ok(stands == Unique::Ours)
    }

    /// Mails that are being sent, or are pending and due at a moment, those first that have waited longest; not more than `limit`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn due_mails(&self, now: Timestamp, limit: u32) -> Result<Vec<OpenMail>, Error> {
        let sql = format!(
            "SELECT mail, max(o.step) AS step, argMax(o.state, o.step) AS state, any(o.alert) AS alert, any(o.account) AS account, \
             any(o.recipient) AS recipient, argMax(o.at, o.step) AS at, argMax(o.next_at, o.step) AS next_at, min(o.at) AS created_at, any(o.reply_to) AS reply_to, \
             toUInt32(countIf(o.state = 'pending' AND o.step > 0 AND NOT startsWith(o.detail, '{UNKNOWN}'))) AS failures, \
             toUInt32(countIf(startsWith(o.detail, '{UNKNOWN}'))) AS unknowns \
             FROM mail_outbox AS o GROUP BY mail \
             HAVING state = 'sending' OR (state = 'pending' AND next_at <= toDateTime64({{now:String}}, 3, 'UTC')) ORDER BY next_at, mail LIMIT {{limit:UInt32}}"
        );
        self.rows(&sql, &[("now", &text(now)), ("limit", &limit.to_string())]).await
    }

    /// How many mails are pending or being sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open_mails(&self) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Row {
            open: u64,
        }
        let sql = "SELECT count() AS open FROM (SELECT argMax(o.state, o.step) AS state FROM mail_outbox AS o GROUP BY mail) \
                   WHERE state IN ('pending', 'sending')";
        self.row(sql, &[]).await.map(|row: Row| row.open)
    }

    /// What a mail says, as JSON; asked when it is sent, since it is longer than all the rest of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn evidence_of_mail(&self, mail: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Row {
            evidence: String,
        }
        let sql = "SELECT evidence FROM mail_outbox WHERE mail = {mail:String} AND step = 0 LIMIT 1";
        self.row(sql, &[("mail", mail)]).await.map(|row: Row| row.evidence)
    }

    /// The steps of the mails of an alert, in order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mail_steps(&self, alert: &str) -> Result<Vec<MailStep>, Error> {
        let sql = format!("SELECT {STEP} FROM mail_outbox WHERE alert = {{alert:String}} ORDER BY recipient, step");
        self.rows(&sql, &[("alert", alert)]).await
    }

    /// How many mails of an account were due since a moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mails_since(&self, account: &str, since: Timestamp) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Row {
            mails: u64,
        }
        let sql = "SELECT count() AS mails FROM mail_outbox WHERE step = 0 AND state = 'pending' AND account = {account:String} \
                   AND at >= toDateTime64({since:String}, 3, 'UTC')";
        self.row(sql, &[("account", account), ("since", &text(since))]).await.map(|row: Row| row.mails)
    }

    /// Mails that were held back for this reason, of a stretch of time; by account, recipient and time.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn held_mails(&self, reason: &str, from: Timestamp, until: Timestamp) -> Result<Vec<HeldMail>, Error> {
        let sql = "SELECT account, recipient, at, evidence FROM mail_outbox WHERE step = 0 AND state = 'held' AND detail = {reason:String} \
                   AND at >= toDateTime64({from:String}, 3, 'UTC') AND at < toDateTime64({until:String}, 3, 'UTC') ORDER BY account, recipient, at, mail";
        self.rows(sql, &[("reason", reason), ("from", &text(from)), ("until", &text(until))]).await
    }

    /// Whether mails of this account or budget are muted at a moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn is_muted(&self, account: &str, budget: &str, now: Timestamp) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Row {
            mutes: u64,
        }
        let sql = "SELECT count() AS mutes FROM (SELECT argMax(m.until, m.at) AS until FROM alert_mutes AS m WHERE account = {account:String} \
                   AND budget IN ('', {budget:String}) GROUP BY budget) WHERE until > toDateTime64({now:String}, 3, 'UTC')";
        let params = [("account", account), ("budget", budget), ("now", &text(now))];
        self.row(sql, &params).await.map(|row: Row| row.mutes > 0)
    }

    /// Mutes an account, or one of its budgets, until a moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mute(&self, account: &str, budget: &str, until: Timestamp, now: Timestamp, by: &str) -> Result<(), Error> {
        #[derive(Serialize, Deserialize)]
        struct Mute {
            account: String,
            budget: String,
            #[serde(with = "super::time")]
            until: Timestamp,
            #[serde(with = "super::time")]
            at: Timestamp,
            by: String,
        }
        let row = Mute { account: account.to_owned(), budget: budget.to_owned(), until, at: now, by: by.to_owned() };
        let params = [("account", account), ("budget", budget), ("at", &text(now))];
        let filter = "account = {account:String} AND budget = {budget:String} AND at = toDateTime64({at:String}, 3, 'UTC')";
        let key = format!("{}:{account}/{}:{budget}/{}", account.len(), budget.len(), now.millis());
        self.insert_unique_where("alert_mutes", "account, budget, until, at, by", filter, &params, &key, &[row]).await.map(drop)
    }

    /// What made the cost of a budget's period: the agents and models that cost most, and each day.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cost_parts(&self, of: &BudgetStatus) -> Result<Vec<Part>, Error> {
        let narrowed: String = of.narrowed().iter().map(|(field, value)| format!(" AND {field} = {}", quoted(value))).collect();
        // One reading of the view for all three: planning it takes longer than reading it.
        let sql = format!(
            "SELECT what, name, cost FROM (
               SELECT multiIf(grouping(agent) = 0, 'agent', grouping(model) = 0, 'model', 'day') AS what,
                 multiIf(what = 'agent', agent, what = 'model', model, toString(day)) AS name, sum(c.cost) AS cost
               FROM costs AS c WHERE account = {{account:String}} AND day BETWEEN {{start:Date}} AND {{end:Date}}{narrowed}
               GROUP BY GROUPING SETS ((agent), (model), (day))
             ) WHERE what = 'day' OR (name != '' AND cost > 0)
             ORDER BY what, if(what = 'day', name, ''), cost DESC, name LIMIT 40 BY what"
        );
        self.rows(&sql, &[("account", of.account.as_str()), ("start", &of.period_start), ("end", &of.period_end)]).await
    }

    /// The batch that was written last, if any was.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn newest_batch(&self) -> Result<Option<NewestBatch>, Error> {
        let sql = "SELECT concat(topic, '/', toString(partition), '/', toString(offset_from), '-', toString(offset_to)) AS name, record_time_max \
                   FROM batches ORDER BY written_at DESC LIMIT 1";
        Ok(self.rows(sql, &[]).await?.pop())
    }

    /// Accounts of which more than 100 events, or more than one in a hundred, were rejected in the hour that begins at a moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rejected_in_hour(&self, hour: Timestamp) -> Result<Vec<RejectedUsage>, Error> {
        let sql = "WITH toDateTime64({hour:String}, 3, 'UTC') AS began
             SELECT account, sum(p.rejected) AS rejected, sum(p.accepted) AS accepted,
               arrayStringConcat(arrayMap(r -> concat(r.1, ' ', toString(r.2)), arrayReverseSort(r -> r.2, groupArrayIf((p.reason, p.rejected), p.rejected > 0))), ', ') AS reasons,
               CAST(if(accepted = 0, toDecimal128(0, 9), sum(p.cost) * rejected / accepted) AS Decimal(38, 9)) AS would_cost
             FROM (
               SELECT account, toString(reason) AS reason, count() AS rejected, toUInt64(0) AS accepted, toDecimal128(0, 9) AS cost
               FROM rejected_events WHERE received_at >= began AND received_at < began + INTERVAL 1 HOUR GROUP BY account, reason
               UNION ALL
               SELECT account, '' AS reason, toUInt64(0) AS rejected, sum(h.events) AS accepted, sum(h.cost) AS cost
               FROM usage_hourly AS h WHERE account != '' AND h.hour >= began - INTERVAL 1 HOUR AND h.hour < began + INTERVAL 1 HOUR
                 AND account IN (SELECT account FROM rejected_events WHERE received_at >= began AND received_at < began + INTERVAL 1 HOUR)
               GROUP BY account
             ) AS p GROUP BY account HAVING rejected > 100 OR (rejected * 100 > accepted AND rejected > 0) ORDER BY account";
        self.rows(sql, &[("hour", &text(hour))]).await
    }

    /// Accounts of which something cost nothing for want of a price since a day, with what it was.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn unpriced_since(&self, day: &str) -> Result<Vec<UnpricedUsage>, Error> {
        let sql = "SELECT account, toString(u.day) AS on_day, sum(u.events) AS events,
               arrayStringConcat(arrayDistinct(groupArray(10)(trim(concat(kind, ' ', category, ' ', model, ' ', platform)))), ', ') AS what
             FROM unpriced_usage AS u WHERE u.day >= {day:Date} AND kind != 'unattributed' GROUP BY account, u.day ORDER BY account, u.day";
        self.rows(sql, &[("day", day)]).await
    }

    /// Who is to hear of an account, what people call it, and its zone: its row that holds at a moment.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn contact(&self, account: &str, now: Timestamp) -> Result<Option<Contact>, Error> {
        let sql = "SELECT name, emails, time_zone FROM accounts WHERE account = {account:String} AND valid_from <= toDateTime64({now:String}, 3, 'UTC') \
                   ORDER BY valid_from DESC, version DESC LIMIT 1";
        Ok(self.rows(sql, &[("account", account), ("now", &text(now))]).await?.pop())
    }
}

/// How an account is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Contact {
    /// What people call it; `""`: its id.
    pub name: String,
    /// Who hears of it.
    pub emails: Vec<String>,
    /// IANA zone; `""`: UTC.
    pub time_zone: String,
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", quoted.join(","))
}

/// What was rejected of an account in an hour.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RejectedUsage {
    /// Whose, as far as its events say; `""`: they do not.
    pub account: String,
    /// How many.
    pub rejected: u64,
    /// Events that were accepted meanwhile.
    pub accepted: u64,
    /// Each reason with its number.
    pub reasons: String,
    /// What they would have cost, had they cost what the accepted ones do.
    pub would_cost: String,
}

/// What cost nothing on a day for want of a price.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UnpricedUsage {
    /// Whose.
    pub account: String,
    /// The account's day.
    #[serde(rename = "on_day")]
    pub day: String,
    /// How many events.
    pub events: u64,
    /// Kinds, categories, models and platforms.
    pub what: String,
}
