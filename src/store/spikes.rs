//! Days that cost far more than their weekday did, and what explains it.

use serde::Deserialize;

use super::time::text;
use super::{Error, Store};
use crate::model::Timestamp;

/// A day that costs far more than its weekday.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Spike {
    /// Whose.
    pub account: String,
    /// Which of its agents; `""`: the account as a whole.
    pub agent: String,
    /// What people call the account; `""`: its id.
    pub name: String,
    /// Who hears of it.
    pub emails: Vec<String>,
    /// IANA zone.
    pub time_zone: String,
    /// The day.
    pub day: String,
    /// What it costs so far.
    pub cost: String,
    /// What that weekday cost in the mean.
    pub mean: String,
    /// Of how many weeks.
    pub weeks: u8,
}

/// What has risen on a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Risen {
    /// `agent`, `model` or `platform`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// What it costs so far.
    pub cost: String,
    /// What it cost on that weekday in the mean of eight weeks.
    pub mean: String,
}

/// What there was of an account on a day, and on that weekday in the mean of eight weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Numbers {
    /// Unique users, of all sessions.
    pub users: u64,
    /// The mean of it.
    pub users_mean: u64,
    /// Sessions.
    pub sessions: u64,
    /// The mean of it.
    pub sessions_mean: u64,
    /// Operations.
    pub events: u64,
    /// The mean of it.
    pub events_mean: u64,
    /// Entries of the price book for this account or for everyone that hold since that weekday a week ago.
    pub prices: u64,
}

impl Store {
    /// Accounts with `spikes`, and agents of theirs, whose day costs far more than that weekday did: more than twice the most, and more than the mean and four
    /// standard deviations, of at least three of the eight weeks before. An agent counts when a tenth of its account's day or more lies above its mean.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn spikes(&self, now: Timestamp) -> Result<Vec<Spike>, Error> {
        let sql = "WITH toDateTime64({now:String}, 3, 'UTC') AS now
             SELECT account, agent, name, emails, time_zone, toString(today) AS day, cost, mean, weeks FROM (
             SELECT account, agent, any(name) AS name, any(emails) AS emails, any(time_zone) AS time_zone, any(a.today) AS today,
               sumIf(c.cost, c.day = a.today) AS cost,
               arrayFilter(x -> x.1 != a.today AND toDayOfWeek(x.1) = toDayOfWeek(a.today), groupArray((c.day, c.cost))) AS before,
               toUInt8(length(before)) AS weeks,
               CAST(arraySum(x -> x.2, before) / greatest(1, length(before)) AS Decimal(38, 9)) AS mean,
               sumIf(cost, agent = '') OVER (PARTITION BY account) AS whole
             FROM (
               SELECT account, '' AS agent, day, sum(d.cost) AS cost FROM daily_costs AS d WHERE day >= toDate(now) - 57
                 AND account IN (SELECT account FROM accounts WHERE spikes != 0) GROUP BY account, day
               UNION ALL
               SELECT account, toString(d.agent) AS agent, day, sum(d.cost) AS cost FROM costs AS d WHERE day >= toDate(now) - 57 AND d.agent != ''
                 AND account IN (SELECT account FROM accounts WHERE spikes != 0) GROUP BY account, agent, day
             ) AS c
             INNER JOIN (
               SELECT account, terms.1 AS name, terms.2 AS emails, if(terms.3 = '', 'UTC', terms.3) AS time_zone,
                 toDate(substring(toString(now, time_zone), 1, 10)) AS today
               FROM (
                 SELECT account, argMax((name, emails, r.time_zone, spikes, retired), (valid_from, version)) AS terms
                 FROM accounts AS r WHERE valid_from <= now GROUP BY account
               ) WHERE terms.4 != 0 AND terms.5 = 0
             ) AS a ON c.account = a.account
             WHERE c.day > a.today - 57 AND c.day <= a.today
             GROUP BY account, agent, a.today
             )
             WHERE length(before) >= 3 AND cost > 2 * arrayMax(x -> x.2, before)
               AND toFloat64(cost) > toFloat64(mean) + 4 * sqrt(arrayAvg(x -> pow(toFloat64(x.2) - toFloat64(mean), 2), before))
               AND (agent = '' OR (cost - mean) * 10 >= whole)
             ORDER BY account, agent";
        self.rows(sql, &[("now", &text(now))]).await
    }

    /// What of an account's day differs most from the same weekday in the eight weeks before: agents, models, platforms and categories, by cost; of one agent
    /// when it is named.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn risen(&self, account: &str, agent: &str, day: &str) -> Result<Vec<Risen>, Error> {
        let one = |field: &str| {
            format!(
                "SELECT '{field}' AS what, toString({field}) AS name, sumIf(c.cost, c.day = {{day:Date}}) AS cost, \
                 CAST(sumIf(c.cost, c.day < {{day:Date}}) / 8 AS Decimal(38, 9)) AS mean FROM costs AS c WHERE account = {{account:String}} AND {field} != '' \
                 AND ({{agent:String}} = '' OR c.agent = {{agent:String}}) AND day <= {{day:Date}} AND day > {{day:Date}} - 57 \
                 AND toDayOfWeek(day) = toDayOfWeek({{day:Date}}) GROUP BY name ORDER BY cost - mean DESC LIMIT 1"
            )
        };
        let sql =
            format!("SELECT * FROM ({} UNION ALL {} UNION ALL {}) WHERE cost > mean", one("agent"), one("model"), one("platform"));
        self.rows(&sql, &[("account", account), ("agent", agent), ("day", day)]).await
    }

    /// Users, sessions, events and prices of an account's day; events of one agent when it is named.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn numbers(&self, account: &str, agent: &str, day: &str) -> Result<Numbers, Error> {
        let sql = "SELECT sumIf(n.users, n.day = {day:Date}) AS users, intDiv(sumIf(n.users, n.day < {day:Date}), 8) AS users_mean,
               sumIf(n.sessions, n.day = {day:Date}) AS sessions, intDiv(sumIf(n.sessions, n.day < {day:Date}), 8) AS sessions_mean,
               sumIf(n.events, n.day = {day:Date}) AS events, intDiv(sumIf(n.events, n.day < {day:Date}), 8) AS events_mean,
               (SELECT count() FROM price_book WHERE kind IN ('rate', 'session_price', 'account') AND account IN ('*', {account:String})
                 AND valid_from > {day:Date} - 7 AND valid_from < {day:Date} + 1) AS prices
             FROM (
               SELECT day, sum(s.unique_users) AS users, count() AS sessions, 0 AS events FROM session_costs AS s WHERE account = {account:String}
                 AND day <= {day:Date} AND day > {day:Date} - 57 AND toDayOfWeek(day) = toDayOfWeek({day:Date}) GROUP BY day
               UNION ALL
               SELECT day, 0 AS users, 0 AS sessions, sum(h.events) AS events FROM usage_hourly AS h WHERE account = {account:String}
                 AND ({agent:String} = '' OR h.agent = {agent:String})
                 AND day <= {day:Date} AND day > {day:Date} - 57 AND toDayOfWeek(day) = toDayOfWeek({day:Date}) GROUP BY day
             ) AS n";
        self.row(sql, &[("account", account), ("agent", agent), ("day", day)]).await
    }
}
