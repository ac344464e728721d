//! The log of events against the rollups and the sets of users, day by day, and ids that are in it twice.
//!
//! The log holds no hour and no session: both are told again from the event's time. The hour's minute is the one that the account's
//! rollup has on that day; where the account's clock moved by part of an hour, hours are left out of the comparison. The session is
//! told from the price book at the version that the event was priced with.

use serde::Deserialize;

use super::ends::Ends;
use super::{FINDINGS_MAX, FRUGAL};
use crate::store::evidence::{HOURLY_KEY, USERS_KEY};
use crate::store::{Error, Store};

/// Ids that are counted in one question.
const IDS_MAX: u64 = 10_000_000;

/// A day of the accounts' calendars.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogDay {
    /// The day.
    pub day: chrono::NaiveDate,
    /// Events in `usage_log`.
    pub logged: u64,
    /// Events in `usage_hourly`.
    pub rolled_up: u64,
}

/// Which days the log can prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Every day that either has, in order.
    pub days: Vec<LogDay>,
    /// The first day of which no row can have left and which the log has from its beginning; `None`: none.
    pub first: Option<chrono::NaiveDate>,
    /// Whether the log has everything that was ever metered.
    pub is_whole: bool,
}

/// Where two tables differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The key.
    pub place: String,
    /// By how much.
    pub what: String,
}

/// Ids that are in the log more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// How many ids.
    pub ids: u64,
    /// Events that are too many.
    pub events: u64,
    /// The first few, as account, source, id and how often.
    pub named: Vec<(String, String, String, u64)>,
}

/// Users that a set holds before it becomes an estimate.
const EXACT_MAX: u64 = 4_096;
/// Events that are looked at in one question, when days allow it.
const SPAN_EVENTS_MAX: u64 = 2_000_000;
const SPAN_DAYS_MAX: i64 = 31;

/// What is summed of operations: the name, of an event in the log (`l`), of a row in the rollup (`h`).
const SUMS: [(&str, &str, &str); 9] = [
    ("events", "toInt256(1)", "toInt256(h.events)"),
    ("cost", "CAST(l.cost, 'Decimal(76, 9)')", "CAST(h.cost, 'Decimal(76, 9)')"),
    ("duration_ms", "toInt256(l.duration_ms)", "toInt256(h.duration_ms)"),
    ("input_tokens", "toInt256(l.input_tokens)", "toInt256(h.input_tokens)"),
    ("cached_input_tokens", "toInt256(l.cached_input_tokens)", "toInt256(h.cached_input_tokens)"),
    ("output_tokens", "toInt256(l.output_tokens)", "toInt256(h.output_tokens)"),
    ("quantity", "CAST(l.quantity, 'Decimal(76, 9)')", "CAST(h.quantity, 'Decimal(76, 9)')"),
    ("unpriced_events", "toInt256(l.priced = 0)", "toInt256(h.unpriced_events)"),
    ("unattributed_events", "toInt256(terms.4 AND (l.user_hash = 0 OR l.platform = ''))", "toInt256(h.unattributed_events)"),
];

/// The accounts' rows of the price book, the one that counts first: valid_from, version, anchor, whether sessions are charged.
const BOOK: &str = "book AS (
    SELECT account, arraySort(r -> (-toUnixTimestamp64Milli(r.1), -toInt64(r.2)),
      groupArray((valid_from, version, session_anchor, has(charge, 'sessions') AND retired = 0))) AS rows
    FROM price_book WHERE kind = 'account' GROUP BY account)";
/// What held for an event's account when it was priced.
const TERMS: &str = "arrayFirst(r -> r.1 <= l.event_time AND r.2 <= l.price_version, b.rows) AS terms";

/// Digests of batches that are in the log and not in `table` yet, when these ends are given.
fn unfinished(table: &str, key: &str, ends: Option<&Ends>) -> (String, &'static str) {
    let Some(ends) = ends else { return (String::new(), "") };
    let behind = ends.behind();
    let with = format!(
        "behind AS (SELECT DISTINCT digest FROM usage_log WHERE {behind}),
         witnessed AS (SELECT digest FROM {table} WHERE {key} AND digest IN (SELECT digest FROM behind)),
         unfinished AS (SELECT digest FROM behind WHERE digest NOT IN (SELECT digest FROM witnessed)),"
    );
    (with, " AND l.digest NOT IN (SELECT digest FROM unfinished)")
}

impl Store {
    /// Which days the log has, and from which on it proves something. `keep_days`: how long its rows stay.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn log_coverage(&self, keep_days: u32) -> Result<Coverage, Error> {
        #[derive(Deserialize)]
        struct Today {
            expired_to: chrono::NaiveDate,
        }
        let sql = format!(
            "SELECT day, sum(l) AS logged, sum(r) AS rolled_up FROM (
               SELECT day, count() AS l, toUInt64(0) AS r FROM usage_log GROUP BY day
               UNION ALL
               SELECT day, toUInt64(0) AS l, sum(h.events) AS r FROM usage_hourly AS h WHERE account != '' GROUP BY day
             ) GROUP BY day ORDER BY day SETTINGS {FRUGAL}"
        );
        let days: Vec<LogDay> = self.rows(&sql, &[]).await?;
        // A row may leave when its day lies `keep_days` back; by then a merge has dropped its part, or has not.
        let sql = "SELECT toDate32(today() - toIntervalDay({days:UInt32})) AS expired_to";
        let today: Today = self.row(sql, &[("days", &keep_days.min(40_000).to_string())]).await?;
        let logged: Vec<&LogDay> = days.iter().filter(|day| day.logged > 0).collect();
        let is_whole = match (days.first(), logged.first()) {
            (Some(first), Some(logged)) => logged.day == first.day && first.day > today.expired_to,
            _ => false,
        };
        let after = |day: chrono::NaiveDate| day.succ_opt().unwrap_or(day);
        let first = logged.first().map(|first| if is_whole { first.day } else { after(first.day).max(after(today.expired_to)) });
        Ok(Coverage { days, first, is_whole })
    }

    /// Where the sums of `usage_hourly` are not those of the log, on days of the accounts. With `ends`, batches that had not ended then
    /// count as far as the rollup has them; without, a difference may be such a batch.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn hourly_differences(
        &self,
        days: (chrono::NaiveDate, chrono::NaiveDate),
        ends: Option<&Ends>,
    ) -> Result<Vec<Difference>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            of_day: String,
            hour: String,
            platform: String,
            agent: String,
            category: String,
            model: String,
            differences: Vec<String>,
        }
        let (with, only) = unfinished("usage_hourly", HOURLY_KEY, ends);
        let each = |side: usize| {
            let value = |(name, log, rollup): &(&str, &str, &str)| {
                if side == 0 { format!("-({log}) AS d_{name}") } else { format!("{rollup} AS d_{name}") }
            };
            SUMS.iter().map(value).collect::<Vec<_>>().join(", ")
        };
        let sums: Vec<String> = SUMS.iter().map(|(name, ..)| format!("sum(d_{name})")).collect();
        let texts: Vec<String> = sums.iter().map(|sum| format!("toString({sum})")).collect();
        let differs: Vec<String> = sums.iter().map(|sum| format!("{sum} != 0")).collect();
        let these = "day BETWEEN {from:Date} AND {to:Date}";
        let sql = format!(
            "WITH {with} {BOOK},
               minutes AS (
                 SELECT account, day, if(min(toUnixTimestamp(hour) % 3600) = max(toUnixTimestamp(hour) % 3600), toInt64(any(toUnixTimestamp(hour) % 3600)), -1) AS begins
                 FROM usage_hourly WHERE {these} AND account != '' GROUP BY account, day)
             SELECT account, toString(day) AS of_day, if(at < 0, '', formatDateTime(toDateTime(at, 'UTC'), '%F %R', 'UTC')) AS hour, platform, agent, category, model,
               [{}] AS differences
             FROM (
               SELECT l.account AS account, l.day AS day, if(m.begins < 0, toInt64(-1), intDiv(toUnixTimestamp64Milli(l.event_time) - m.begins * 1000, 3600000) * 3600 + m.begins) AS at,
                 toString(l.platform) AS platform, toString(l.agent) AS agent, toString(l.category) AS category, toString(l.model) AS model, {}
               FROM (SELECT l.*, {TERMS} FROM usage_log AS l LEFT JOIN book AS b ON l.account = b.account WHERE l.{these}{only}) AS l
               LEFT JOIN minutes AS m ON l.account = m.account AND l.day = m.day
               UNION ALL
               SELECT h.account AS account, h.day AS day, if(m.begins < 0, toInt64(-1), toInt64(toUnixTimestamp(h.hour))) AS at,
                 toString(h.platform) AS platform, toString(h.agent) AS agent, toString(h.category) AS category, toString(h.model) AS model, {}
               FROM usage_hourly AS h LEFT JOIN minutes AS m ON h.account = m.account AND h.day = m.day WHERE h.{these} AND h.account != ''
             ) GROUP BY account, day, at, platform, agent, category, model
             HAVING {} ORDER BY day, account, at, platform, agent, category, model LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}",
            texts.join(", "),
            each(0),
            each(1),
            differs.join(" OR "),
        );
        let rows: Vec<Row> = self.rows(&sql, &[("from", &days.0.to_string()), ("to", &days.1.to_string())]).await?;
        let difference = |row: Row| {
            let names = [
                ("hour", &row.hour),
                ("platform", &row.platform),
                ("agent", &row.agent),
                ("category", &row.category),
                ("model", &row.model),
            ];
            let named = names.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name} {value}"));
            let key: Vec<String> =
                [format!("account {}", row.account), format!("day {}", row.of_day)].into_iter().chain(named).collect();
            let sums = SUMS.iter().zip(&row.differences).filter(|(_, difference)| *difference != "0");
            let what: Vec<String> = sums.map(|((name, ..), difference)| format!("{name} {}", signed(difference))).collect();
            Difference { place: key.join(", "), what: format!("usage_hourly has {} than usage_log", what.join(", ")) }
        };
        Ok(rows.into_iter().map(difference).collect())
    }

    /// Where `session_users` holds other users or another number of events than the log, of sessions that start on these days in UTC. `ends`
    /// as with [`Store::hourly_differences`]. First of the users, then of the events.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn session_differences(
        &self,
        days: (chrono::NaiveDate, chrono::NaiveDate),
        ends: Option<&Ends>,
    ) -> Result<(Vec<Difference>, Vec<Difference>), Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            start: String,
            platform: String,
            log_users: u64,
            users: u64,
            log_events: u64,
            events: u64,
        }
        let (with, only) = unfinished("session_users", USERS_KEY, ends);
        let sql = format!(
            "WITH {with} {BOOK},
               toInt64(toUnixTimestamp(toDateTime({{from:String}}, 'UTC'))) AS begins,
               toInt64(toUnixTimestamp(toDateTime({{to:String}}, 'UTC'))) + 86400 AS ends
             SELECT account, formatDateTime(toDateTime(at, 'UTC'), '%F %R', 'UTC') AS start, platform,
               sum(lu) AS log_users, sum(ru) AS users, sum(le) AS log_events, sum(re) AS events
             FROM (
               SELECT l.account AS account, intDiv(toUnixTimestamp64Milli(l.event_time) - l.terms.3 * 1000, 86400000) * 86400 + l.terms.3 AS at,
                 toString(l.platform) AS platform, uniqCombined64(17)(l.user_hash) AS lu, toUInt64(0) AS ru, count() AS le, toUInt64(0) AS re
               FROM (SELECT l.*, {TERMS} FROM usage_log AS l LEFT JOIN book AS b ON l.account = b.account
                     WHERE l.day BETWEEN toDate({{from:String}}) - 2 AND toDate({{to:String}}) + 3 AND l.event_time >= toDateTime64(begins, 3, 'UTC')
                       AND l.event_time < toDateTime64(ends + 86400, 3, 'UTC') AND l.user_hash != 0 AND l.platform != ''{only}) AS l
               GROUP BY account, at, platform HAVING at >= begins AND at < ends
               UNION ALL
               SELECT u.account AS account, toInt64(toUnixTimestamp(u.session_start)) AS at, toString(u.platform) AS platform,
                 toUInt64(0) AS lu, uniqCombined64Merge(17)(u.users) AS ru, toUInt64(0) AS le, sum(u.events) AS re
               FROM session_users AS u WHERE u.account != '' AND u.day BETWEEN toDate({{from:String}}) - 2 AND toDate({{to:String}}) + 2
                 AND u.session_start >= toDateTime(begins, 'UTC') AND u.session_start < toDateTime(ends, 'UTC')
               GROUP BY account, at, platform
             ) GROUP BY account, at, platform HAVING log_users != users OR log_events != events
             ORDER BY account, at, platform LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        let rows: Vec<Row> = self.rows(&sql, &[("from", &days.0.to_string()), ("to", &days.1.to_string())]).await?;
        let difference = |row: &Row, what: &str, there: u64, logged: u64| Difference {
            place: format!("account {}, platform {}, session of {} UTC", row.account, row.platform, row.start),
            what: format!("session_users has {there} {what}, usage_log {logged}"),
        };
        let users = rows.iter().filter(|row| counts_differ(row.users, row.log_users));
        let events = rows.iter().filter(|row| row.events != row.log_events);
        Ok((
            users.map(|row| difference(row, "unique users", row.users, row.log_users)).collect(),
            events.map(|row| difference(row, "events", row.events, row.log_events)).collect(),
        ))
    }

    /// Days that are looked at together: as many as hold few events, and at most a month.
    pub fn day_spans(
        coverage: &Coverage,
        days: (chrono::NaiveDate, chrono::NaiveDate),
    ) -> Vec<(chrono::NaiveDate, chrono::NaiveDate)> {
        let events =
            |day: chrono::NaiveDate| coverage.days.iter().find(|of| of.day == day).map_or(0, |of| of.logged.max(of.rolled_up));
        let mut spans: Vec<(chrono::NaiveDate, chrono::NaiveDate)> = Vec::new();
        let mut held = 0;
        for day in days.0.iter_days().take_while(|day| *day <= days.1) {
            let more = events(day);
            match spans.last_mut() {
                Some((from, to)) if held + more <= SPAN_EVENTS_MAX && (day - *from).num_days() < SPAN_DAYS_MAX => {
                    *to = day;
                    held += more;
                }
                _ => {
                    spans.push((day, day));
                    held = more;
                }
            }
        }
        spans
    }

    /// In how many slices the ids of so many events are looked at.
    pub fn duplicate_slices(events: u64) -> u64 {
        events.div_ceil(IDS_MAX).max(1)
    }

    /// Ids that the log has more than once on these days, of one slice of all ids.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn duplicates(
        &self,
        days: (chrono::NaiveDate, chrono::NaiveDate),
        slice: u64,
        slices: u64,
    ) -> Result<Duplicates, Error> {
        #[derive(Deserialize)]
        struct Row {
            ids: u64,
            events: u64,
            named: Vec<(String, String, String, u64)>,
        }
        let these = "day BETWEEN {from:Date} AND {to:Date}";
        let hash = "sipHash64(account, toString(source), id)";
        let sql = format!(
            "SELECT count() AS ids, sum(times - 1) AS events, groupArray({FINDINGS_MAX})((account, source, id, times)) AS named FROM (
               SELECT account, toString(source) AS source, id, count() AS times FROM usage_log
               WHERE {these} AND {hash} IN (
                 SELECT hash FROM (SELECT {hash} AS hash FROM usage_log WHERE {these} AND {hash} % {{slices:UInt64}} = {{slice:UInt64}})
                 GROUP BY hash HAVING count() > 1 LIMIT 1000000)
               GROUP BY account, source, id HAVING times > 1 ORDER BY account, source, id
             ) SETTINGS {FRUGAL}"
        );
        let (from, to) = (days.0.to_string(), days.1.to_string());
        let params = [("from", from.as_str()), ("to", to.as_str()), ("slice", &slice.to_string()), ("slices", &slices.to_string())];
        let row: Row = self.row(&sql, &params).await?;
        Ok(Duplicates { ids: row.ids, events: row.events, named: row.named })
    }
}

/// With exactly as many users as are counted exactly, the order of merges decides whether the count is estimated already.
fn counts_differ(merged: u64, logged: u64) -> bool {
    let is_border = (merged == EXACT_MAX || logged == EXACT_MAX) && merged.abs_diff(logged) <= EXACT_MAX / 50;
    merged != logged && !is_border
}

/// `0.5 more`, `3 less`.
fn signed(difference: &str) -> String {
    difference.strip_prefix('-').map_or_else(|| format!("{difference} more"), |size| format!("{size} less"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_border_of_exactness_an_estimate_is_no_difference() {
        assert!(counts_differ(2, 1) && counts_differ(4_095, 4_105) && counts_differ(4_096, 5_000));
        assert!(!counts_differ(4_096, 4_105) && !counts_differ(4_090, 4_096) && !counts_differ(7, 7));
    }

    #[test]
    fn a_difference_is_more_or_less() {
        assert_eq!((signed("0.000000001"), signed("-3")), ("0.000000001 more".to_owned(), "3 less".to_owned()));
    }

    #[test]
    fn few_events_are_looked_at_together_and_no_day_is_left_out() {
        let day = |text: &str| text.parse::<chrono::NaiveDate>().expect("a day");
        let of = |text: &str, logged| LogDay { day: day(text), logged, rolled_up: 0 };
        let days = vec![of("2026-01-01", 5), of("2026-01-04", 2_000_000), of("2026-01-05", 9_000_000)];
        let coverage = Coverage { days, first: None, is_whole: true };
        let spans = Store::day_spans(&coverage, (day("2026-01-01"), day("2026-02-20")));
        let expected = [
            ("2026-01-01", "2026-01-03"),
            ("2026-01-04", "2026-01-04"),
            ("2026-01-05", "2026-01-05"),
            ("2026-01-06", "2026-02-05"),
            ("2026-02-06", "2026-02-20"),
        ];
        assert_eq!(spans, expected.map(|(from, to)| (day(from), day(to))));
    }

    #[test]
    fn ids_are_counted_in_slices_that_fit() {
        let slices = [0, 1, 10_000_000, 10_000_001, 100_000_000].map(Store::duplicate_slices);
        assert_eq!(slices, [1, 1, 1, 2, 10]);
    }
}
