//! Do the tables hold what `batches` says? Asked once per assignment over the last month, and by `farebox verify` over everything.
//!
//! Holds: a finding is a contradiction, never something that age explains. Witnesses leave after 30 days and rows by their own age, so that
//! missing rows count only where no row of the batch can have left: witnesses tell the months of its events, whatever clocks the producers
//! had. Rows of `rejected_events` are placed by their records' timestamps, which nothing bounds on a topic with `CreateTime`: there only
//! rows too many are a finding.
//!
//! Batches that were written while the log was off have no row in it, which is no loss either: instances write down whether it is on, in
//! `settings`. Until a day after it was turned on they may still be restarted one after the other.
//!
//! Of `usage_log` the check asks only what the projection `by_batch` keeps: with a filter on another column it would read every event of a
//! month whenever a partition is assigned.

use serde::Deserialize;

use super::{Check, FINDINGS_MAX, FRUGAL};
use crate::store::evidence::{HOURLY_KEY, USERS_KEY};
use crate::store::{Error, Store};

/// Batches that are looked at together.
const CHUNK: u64 = 100_000;

#[derive(Deserialize)]
struct Finding {
    finding: String,
}

/// Which batches are held against the tables, in SQL.
struct Span {
    /// A condition on `batches`.
    these: &'static str,
    /// The offsets whose rows must be explained by them.
    first: &'static str,
    next: &'static str,
    findings_max: usize,
    /// Settings of the question.
    settings: &'static str,
}

/// Those of which witnesses are kept, and what lies behind the first of them: clocks differ, so that a batch may look older than the one
/// before it.
const LAST_MONTH: Span = Span {
    these: "offset_from >= (SELECT if(count() = 0, toInt64(9223372036854775807), min(offset_from)) FROM batches \
            WHERE source_epoch = {epoch:String} AND topic = {topic:String} AND partition = {partition:Int32} \
            AND written_at >= now() - INTERVAL 29 DAY)",
    first: "(SELECT if(count() = 0, toInt64(0), min(offset_from)) FROM part_batches)",
    next: "(SELECT if(count() = 0, toInt64(0), max(offset_to)) FROM part_batches)",
    findings_max: 1,
    settings: "join_use_nulls = 0",
};

/// Those of a range of offsets.
const OF_RANGE: Span = Span {
    these: "offset_from >= {first:Int64} AND offset_from < {next:Int64}",
    first: "{first:Int64}",
    next: "{next:Int64}",
    findings_max: FINDINGS_MAX,
    settings: FRUGAL,
};

impl Store {
    /// The first contradiction between `batches` of the last 29 days and the other tables, as a sentence; `None`: they agree.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn row3_violations(&self, check: &Check<'_>) -> Result<Option<String>, Error> {
        Ok(self.contradictions(check, &LAST_MONTH, (0, 0)).await?.into_iter().next())
    }

    /// Where to cut a partition's batches so that no piece is large: `[first, next)` in offsets, one behind the other up to `end`. Only
    /// batches that were written since a moment; none: all of them, and every offset before them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn batch_ranges(&self, check: &Check<'_>, end: i64, since: Option<&str>) -> Result<Vec<(i64, i64)>, Error> {
        #[derive(Deserialize)]
        struct Cut {
            cut: i64,
        }
        let sql = format!(
            "SELECT offset_from AS cut FROM (
               SELECT offset_from, row_number() OVER (ORDER BY offset_from) AS nth FROM batches
               WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}}
                 AND offset_from < {{end:Int64}} AND written_at >= toDateTime64({{since:String}}, 3, 'UTC')
             ) WHERE nth % {CHUNK} = 1 ORDER BY cut SETTINGS {FRUGAL}"
        );
        let (partition, end_text) = (check.partition.to_string(), end.to_string());
        let params = [
            ("epoch", check.source_epoch),
            ("topic", check.topic),
            ("partition", &partition),
            ("end", &end_text),
            ("since", since.unwrap_or("1970-01-01 00:00:00.000")),
        ];
        let mut cuts: Vec<i64> = self.rows::<Cut>(&sql, &params).await?.into_iter().map(|row| row.cut).collect();
        if since.is_none()
            && let Some(first) = cuts.first_mut()
        {
            *first = 0;
        }
        let ends: Vec<i64> = cuts.iter().skip(1).copied().chain([end]).collect();
        Ok(cuts.into_iter().zip(ends).collect())
    }

    /// Contradictions between the batches that begin in `[first, next)` and the other tables, the first few. A batch that may still be being
    /// written must not lie in it: `next` is an end of `batches` that was read before.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn batch_findings(&self, check: &Check<'_>, range: (i64, i64)) -> Result<Vec<String>, Error> {
        self.contradictions(check, &OF_RANGE, range).await
    }

    async fn contradictions(&self, check: &Check<'_>, span: &Span, range: (i64, i64)) -> Result<Vec<String>, Error> {
        let Span { these, first, next, findings_max, settings } = span;
        let sql = format!("
WITH
  (SELECT max(set_at) FROM settings WHERE name = 'usage_log_days' AND value = '0') AS log_off,
  (SELECT if(count() = 0, now64(3), min(set_at)) FROM settings WHERE name = 'usage_log_days' AND value != '0' AND set_at > log_off) AS log_on,
  part_batches AS (
    SELECT offset_from, offset_to, accepted, rejected, digest, toString(kind) AS kind, record_time_max,
      written_at >= now() - INTERVAL 29 DAY AS witnessed,
      written_at < log_on + INTERVAL 1 DAY AND log_off > toDateTime64(0, 3, 'UTC') AS without_log,
      concat(source_epoch, '/', topic, '/', toString(partition), '/', topic_id, '/', toString(offset_from), '-', toString(offset_to)) AS batch
    FROM batches WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}}
      AND {these}),
  {first} AS offset_first,
  {next} AS offset_next,
  logged AS (
    SELECT digest, count() AS rows, min(offset) AS least, max(offset) AS greatest, groupUniqArray(toYYYYMM(day)) AS months,
      countIf(user_hash != 0 AND platform != '') AS with_user
    FROM usage_log WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}}
    GROUP BY digest HAVING greatest >= offset_first AND least < offset_next),
  refused AS (
    SELECT digest, count() AS rows, min(offset) AS least, max(offset) AS greatest
    FROM rejected_events WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}}
      AND offset >= offset_first AND offset < offset_next GROUP BY digest),
  hourly AS (
    SELECT batch, groupUniqArray(month) AS months, min(first) AS first_day, max(blocks) AS blocks, min(least) AS digest_least, max(greatest) AS digest_greatest FROM (
      SELECT batch, toYYYYMM(day) AS month, min(h.day) AS first, sum(h.blocks) AS blocks, min(h.digest) AS least, max(h.digest) AS greatest FROM usage_hourly AS h
      WHERE {HOURLY_KEY} AND startsWith(batch, {{prefix:String}}) GROUP BY batch, month) GROUP BY batch),
  users AS (
    SELECT batch, groupUniqArray(month) AS months, max(blocks) AS blocks, min(least) AS digest_least, max(greatest) AS digest_greatest FROM (
      SELECT batch, toYYYYMM(day) AS month, sum(u.blocks) AS blocks, min(u.digest) AS least, max(u.digest) AS greatest FROM session_users AS u
      WHERE {USERS_KEY} AND startsWith(batch, {{prefix:String}}) GROUP BY batch, month) GROUP BY batch)
SELECT concat('offsets ', toString(at), '-', toString(behind), ': ', what) AS finding FROM (
  SELECT b.offset_from AS at, b.offset_to AS behind, multiIf(
      h.blocks > 1, 'usage_hourly holds a block of the batch twice',
      u.blocks > 1, 'session_users holds a block of the batch twice',
      h.batch != '' AND (h.digest_least != b.digest OR h.digest_greatest != b.digest), 'usage_hourly holds a block of the batch with another digest',
      u.batch != '' AND (u.digest_least != b.digest OR u.digest_greatest != b.digest), 'session_users holds a block of the batch with another digest',
      l.rows > b.accepted, concat('usage_log holds ', toString(l.rows), ' rows, accepted were ', toString(b.accepted)),
      {{log_days:UInt32}} > 0 AND b.accepted > 0 AND l.rows < b.accepted AND NOT (b.without_log AND l.rows = 0) AND h.batch != '' AND h.first_day + {{log_days:UInt32}} > today() + 1,
        concat('usage_log holds ', toString(l.rows), ' rows, accepted were ', toString(b.accepted)),
      l.rows > 0 AND (l.least < b.offset_from OR l.greatest >= b.offset_to), 'usage_log holds rows of its digest outside of it',
      b.witnessed AND b.accepted > 0 AND h.batch = '', 'usage_hourly has no witness of the batch',
      b.witnessed AND NOT hasAll(h.months, l.months), 'usage_hourly has no witness of a month that usage_log has',
      b.witnessed AND l.with_user > 0 AND u.batch = '', 'session_users has no witness of the batch',
      b.witnessed AND NOT hasAll(u.months, l.months), 'session_users has no witness of a month that usage_log has',
      r.rows > b.rejected, concat('rejected_events holds ', toString(r.rows), ' rows, rejected were ', toString(b.rejected)),
      {{append_time:UInt8}} = 1 AND r.rows < b.rejected AND b.record_time_max > now() - toIntervalDay(intDiv({{rejected_days:UInt32}}, 2)),
        concat('rejected_events holds ', toString(r.rows), ' rows, rejected were ', toString(b.rejected)),
      r.rows > 0 AND (r.least < b.offset_from OR r.greatest >= b.offset_to), 'rejected_events holds rows of its digest outside of it',
      '') AS what
  FROM part_batches AS b
  LEFT JOIN logged AS l ON b.digest = l.digest
  LEFT JOIN refused AS r ON b.digest = r.digest
  LEFT JOIN hourly AS h ON b.batch = h.batch
  LEFT JOIN users AS u ON b.batch = u.batch
  WHERE b.kind = 'batch' AND b.offset_to <= offset_next
  UNION ALL
  SELECT least AS at, greatest + 1 AS behind, 'usage_log holds rows that no batch there has' AS what FROM logged
  WHERE digest NOT IN (SELECT digest FROM part_batches WHERE kind = 'batch')
  UNION ALL
  SELECT least AS at, greatest + 1 AS behind, 'rejected_events holds rows that no batch there has' AS what FROM refused
  WHERE digest NOT IN (SELECT digest FROM part_batches WHERE kind = 'batch')
  UNION ALL
  SELECT toInt64OrZero(range[1]) AS at, toInt64OrZero(range[2]) AS behind, concat(table, ' holds a block that no batch there has') AS what FROM (
    SELECT 'usage_hourly' AS table, batch, splitByChar('-', splitByChar('/', batch)[-1]) AS range FROM hourly
    UNION ALL
    SELECT 'session_users' AS table, batch, splitByChar('-', splitByChar('/', batch)[-1]) AS range FROM users
  ) WHERE at >= offset_first AND at < offset_next AND batch NOT IN (SELECT batch FROM part_batches WHERE kind = 'batch')
) WHERE what != '' ORDER BY at LIMIT {findings_max}
SETTINGS {settings}");
        let prefix = format!("{}/{}/{}/", check.source_epoch, check.topic, check.partition);
        let (partition, log_days, rejected_days) =
            (check.partition.to_string(), check.usage_log_keep_days.to_string(), check.rejected_keep_days.to_string());
        let (from, to) = (range.0.to_string(), range.1.to_string());
        let params = [
            ("epoch", check.source_epoch),
            ("topic", check.topic),
            ("partition", &partition),
            ("prefix", &prefix),
            ("log_days", &log_days),
            ("rejected_days", &rejected_days),
            ("append_time", if check.log_append_time { "1" } else { "0" }),
            ("first", &from),
            ("next", &to),
        ];
        Ok(self.rows(&sql, &params).await?.into_iter().map(|found: Finding| found.finding).collect())
    }
}
