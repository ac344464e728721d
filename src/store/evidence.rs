//! What ClickHouse knows of one batch: where `batches` ends, witnesses, rows. What is asked before and after every flush.
//!
//! Holds: what belongs together is read in one query. A witness is the proof that a block was written; it carries the batch's digest, and a
//! sum that a twin of the block would raise above 1. Rows of `usage_log` and `rejected_events` are their own witness.

use serde::Deserialize;

use super::time::text;
use super::{Error, Store};
use crate::model::{Month, Timestamp};

/// A batch, to look for its witnesses.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    /// The source epoch.
    pub source_epoch: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The topic's id.
    pub topic_id: &'a str,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
    /// Months of the blocks; empty: any month, which is slower.
    pub months: &'a [Month],
    /// The least and the greatest `received_at` of the rows, when they are known: reads less.
    pub received: Option<(Timestamp, Timestamp)>,
    /// Of `usage_log`, only what carries this digest, when all of it lies in one month: reads next to nothing. Rows of the range with another digest
    /// are not seen.
    pub digest: Option<u64>,
}

/// What is written of one table and month of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Proof {
    /// The table.
    pub table: String,
    /// The month of the block, `yyyymm`.
    pub month: u32,
    /// The digest of the batch that wrote it.
    pub digest: u64,
    /// How many digests are there: more than 1 is a contradiction.
    pub digests: u64,
    /// How often the block is there (rollups; 2: a twin landed), or how many rows (`usage_log`, `rejected_events`).
    pub count: u64,
}

/// The row in `batches` that begins at an offset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BatchRow {
    /// The offset behind the last.
    pub offset_to: i64,
    /// The digest.
    pub digest: u64,
    /// `batch` or `gap`.
    pub kind: String,
    /// How many rows begin there: more than 1 is an overlap.
    pub count: u64,
}

/// The key columns of a witness row that come before `batch`: with them the primary key finds the rows of one partition.
pub(super) const HOURLY_KEY: &str =
    "account = '' AND category = '' AND agent = '' AND model = '' AND platform = '' AND hour = toDateTime(0, 'UTC')";
pub(super) const USERS_KEY: &str = "account = '' AND session_start = toDateTime(0, 'UTC') AND platform = ''";

impl Store {
    /// The end of `batches`, for an intent's `prev`: cheap, along the key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_of_batches(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Option<i64>, Error> {
        #[derive(Deserialize)]
        struct Row {
            offset_to: i64,
        }
        let sql = "SELECT offset_to FROM batches WHERE source_epoch = {epoch:String} AND topic = {topic:String} AND partition = {partition:Int32} \
                   ORDER BY source_epoch DESC, topic DESC, partition DESC, offset_from DESC, offset_to DESC LIMIT 1";
        let params = [("epoch", source_epoch), ("topic", topic), ("partition", &partition.to_string())];
        Ok(self.rows(sql, &params).await?.pop().map(|row: Row| row.offset_to))
    }

    /// The ends of all partitions of a topic, in one query.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ends(&self, source_epoch: &str, topic: &str) -> Result<Vec<(i32, i64)>, Error> {
        #[derive(Deserialize)]
        struct Row {
            partition: i32,
            end: i64,
        }
        let sql = "SELECT partition, max(offset_to) AS end FROM batches \
                   WHERE source_epoch = {epoch:String} AND topic = {topic:String} GROUP BY partition ORDER BY partition";
        let rows: Vec<Row> = self.rows(sql, &[("epoch", source_epoch), ("topic", topic)]).await?;
        Ok(rows.into_iter().map(|row| (row.partition, row.end)).collect())
    }

    /// Every proof of a batch in the four tables that come before `batches`, in one query. Asked after every flush.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn witnesses(&self, range: &Range<'_>) -> Result<Vec<Proof>, Error> {
        let part = "source_epoch = {epoch:String} AND topic = {topic:String} AND partition = {partition:Int32} \
                    AND offset >= {from:Int64} AND offset < {to:Int64}";
        let (days, months) = spelled(range.months);
        let (in_days, in_months) = match range.months {
            [] => ("", ""),
            _ => (" AND day IN {days:Array(Date)}", " AND toYYYYMM(day) IN {months:Array(UInt32)}"),
        };
        let received = if range.received.is_some() {
            " AND received_at >= toDateTime64({received_min:String}, 3, 'UTC') AND received_at <= toDateTime64({received_max:String}, 3, 'UTC')"
        } else {
            ""
        };
        // Every part begins with witnesses, so every part is looked into: PREWHERE, so that only `batch` is read of those that lack this one.
        // The first is answered by the projection `by_batch`. Rows outside of the range are a contradiction.
        let by_digest = "SELECT 'usage_log' AS table, arrayJoin(groupUniqArray(toYYYYMM(day))) AS month, digest, \
             if(min(l.offset) >= {from:Int64} AND max(l.offset) < {to:Int64}, 1, 2) AS digests, count() AS count FROM usage_log AS l \
             WHERE source_epoch = {epoch:String} AND topic = {topic:String} AND partition = {partition:Int32} AND digest = {digest:UInt64} \
             GROUP BY source_epoch, topic, partition, digest";
        let by_range = format!(
            "SELECT 'usage_log' AS table, toYYYYMM(day) AS month, max(l.digest) AS digest, uniqExact(l.digest) AS digests, count() AS count
             FROM usage_log AS l WHERE {part}{in_months}{received} GROUP BY month"
        );
        let digest = range.digest.filter(|_| range.months.len() == 1);
        let sql = format!(
            "{}
             UNION ALL
             SELECT 'session_users' AS table, toYYYYMM(day) AS month, max(w.digest) AS digest, uniqExact(w.digest) AS digests, sum(w.blocks) AS count
             FROM session_users AS w PREWHERE batch = {{witness:String}} WHERE {USERS_KEY}{in_days} GROUP BY month
             UNION ALL
             SELECT 'usage_hourly' AS table, toYYYYMM(day) AS month, max(w.digest) AS digest, uniqExact(w.digest) AS digests, sum(w.blocks) AS count
             FROM usage_hourly AS w PREWHERE batch = {{witness:String}} WHERE {HOURLY_KEY}{in_days} GROUP BY month
             UNION ALL
             SELECT 'rejected_events' AS table, toYYYYMM(received_at) AS month, max(l.digest) AS digest, uniqExact(l.digest) AS digests, count() AS count
             FROM rejected_events AS l WHERE {part}{received} GROUP BY month",
            if digest.is_some() { by_digest } else { &by_range },
        );
        let witness =
            format!("{}/{}/{}/{}/{}-{}", range.source_epoch, range.topic, range.partition, range.topic_id, range.from, range.to);
        let (partition, from, to) = (range.partition.to_string(), range.from.to_string(), range.to.to_string());
        let (least, greatest) = range.received.unwrap_or((Timestamp::MIN, Timestamp::MAX));
        let (least, greatest) = (text(least.clamped()), text(greatest.clamped()));
        let digest = digest.unwrap_or_default().to_string();
        let params = [
            ("digest", digest.as_str()),
            ("epoch", range.source_epoch),
            ("topic", range.topic),
            ("partition", &partition),
            ("from", &from),
            ("to", &to),
            ("witness", &witness),
            ("days", &days),
            ("months", &months),
            ("received_min", &least),
            ("received_max", &greatest),
        ];
        self.rows(&sql, &params).await
    }

    /// The row of `batches` that begins at an offset, read back after it was written.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn batches_row(&self, source_epoch: &str, topic: &str, partition: i32, from: i64) -> Result<Option<BatchRow>, Error> {
        let sql = "SELECT max(b.offset_to) AS offset_to, argMax(b.digest, b.offset_to) AS digest, argMax(toString(b.kind), b.offset_to) AS kind, \
                   count() AS count FROM batches AS b WHERE source_epoch = {epoch:String} AND topic = {topic:String} \
                   AND partition = {partition:Int32} AND offset_from = {from:Int64} HAVING count > 0";
        let params =
            [("epoch", source_epoch), ("topic", topic), ("partition", &partition.to_string()), ("from", &from.to_string())];
        Ok(self.rows(sql, &params).await?.pop())
    }

    /// Whether an insert still runs whose token is `token`, or begins with it and a slash.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn running(&self, token: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Row {
            running: u64,
        }
        let sql = "SELECT count() AS running FROM system.processes \
                   WHERE startsWith(query_id, concat({token:String}, '/')) OR startsWith(query_id, concat({token:String}, '#'))";
        self.row(sql, &[("token", token)]).await.map(|row: Row| row.running > 0)
    }
}

/// Months as an array of their first days, and as an array of numbers.
fn spelled(months: &[Month]) -> (String, String) {
    let days: Vec<String> = months.iter().map(|month| format!("'{:04}-{:02}-01'", month.0 / 100, month.0 % 100)).collect();
    let numbers: Vec<String> = months.iter().map(ToString::to_string).collect();
    (format!("[{}]", days.join(",")), format!("[{}]", numbers.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_become_first_days() {
        assert_eq!(spelled(&[Month(202_603), Month(202_612)]), ("['2026-03-01','2026-12-01']".into(), "[202603,202612]".into()));
    }
}
