//! Closed sessions, counted once and kept: what the leader writes and the view `session_sets` reads.

use serde::Deserialize;

use super::time::text;
use super::{Error, Store};
use crate::model::Timestamp;

/// How far sessions are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct FoldMark {
    /// Sessions that began before this are folded.
    #[serde(with = "super::time")]
    pub folded_to: Timestamp,
    /// Their folds have everything that carries an earlier `written_at`.
    #[serde(with = "super::time")]
    pub cut: Timestamp,
    /// When the fold began.
    #[serde(with = "super::time")]
    pub folded_at: Timestamp,
}

/// The clocks of two instances may differ by so many minutes.
const CLOCKS_MINUTES: u32 = 10;

const COUNTED: &str = "SELECT account, day, session_start, toString(platform), least(uniqCombined64Merge(17)(users), sum(s.events)), sum(s.events), \
                       toDateTime64({at:String}, 3, 'UTC') FROM session_users AS s WHERE account != ''";
const IN_ORDER: &str = "GROUP BY account, day, session_start, platform SETTINGS optimize_aggregation_in_order = 1, max_partitions_per_insert_block = 0";

impl Store {
    /// The newest mark.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fold_mark(&self) -> Result<Option<FoldMark>, Error> {
        let sql = "SELECT toDateTime64(folded_to, 3, 'UTC') AS folded_to, toDateTime64(cut, 3, 'UTC') AS cut, folded_at FROM session_fold_marks \
                   ORDER BY session_fold_marks.folded_at DESC LIMIT 1";
        Ok(self.rows(sql, &[]).await?.pop())
    }

    /// A moment before every `written_at` of what has not landed yet, whenever it lands; `None`: there is none that is known.
    ///
    /// A batch is promised after the one before it is in `batches`, and carries that moment; one of a partition that was read to its end, after that
    /// was seen. The least of these moments over all partitions is it, less what clocks may differ by.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fold_cut(&self) -> Result<Option<Timestamp>, Error> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(with = "super::time")]
            cut: Timestamp,
        }
        let sql = format!(
            "SELECT least(min(p.since), (SELECT ifNull(max(seen_at), toDateTime64(0, 3, 'UTC')) FROM log_ends)) - INTERVAL {CLOCKS_MINUTES} MINUTE AS cut
             FROM (
               SELECT max(since) AS since FROM (
                 SELECT source_epoch, topic, partition, max(written_at) AS since FROM batches GROUP BY source_epoch, topic, partition
                 UNION ALL
                 SELECT source_epoch, topic, partition,
                   if(argMax(e.read_to, e.seen_at) > toDateTime64('1970-01-02 00:00:00', 3, 'UTC'), max(e.seen_at), toDateTime64(0, 3, 'UTC')) AS since
                 FROM log_ends AS e GROUP BY source_epoch, topic, partition
               )
               WHERE (topic, source_epoch) IN (SELECT topic, argMax(source_epoch, (toUInt64OrZero(source_epoch), since)) FROM sources GROUP BY topic)
               GROUP BY source_epoch, topic, partition
             ) AS p HAVING count() > 0"
        );
        let row: Option<Row> = self.rows(&sql, &[]).await?.pop();
        Ok(row.map(|row| row.cut).filter(|&cut| cut > Timestamp::MIN))
    }

    /// When the first session began that did not begin before `from`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn first_session(&self, from: Timestamp) -> Result<Option<Timestamp>, Error> {
        #[derive(Deserialize)]
        struct Row {
            sessions: u64,
            #[serde(with = "super::time")]
            first: Timestamp,
        }
        let sql = "SELECT count() AS sessions, toDateTime64(min(session_start), 3, 'UTC') AS first FROM session_users \
                   WHERE account != '' AND session_start >= toDateTime({from:String}, 'UTC')";
        let row: Row = self.row(sql, &[("from", seconds(from).as_str())]).await?;
        Ok((row.sessions > 0).then_some(row.first))
    }

    /// Counts the sessions that began in `[from, to)`. What was counted before is counted anew.
    ///
    /// # Errors
    /// See [`Error`]. After any error some of them may be counted: nothing reads them before the mark is set.
    pub async fn fold_sessions(&self, from: Timestamp, to: Timestamp, at: Timestamp) -> Result<(), Error> {
        // An account's day begins within a day of the same date's in UTC, on either side.
        let sql = format!(
            "INSERT INTO session_folds {COUNTED} AND session_start >= toDateTime({{from:String}}, 'UTC') AND session_start < toDateTime({{to:String}}, 'UTC') \
             AND day BETWEEN toDate(toDateTime({{from:String}}, 'UTC')) - 1 AND toDate(toDateTime({{to:String}}, 'UTC')) + 1 {IN_ORDER}"
        );
        self.rows::<()>(&sql, &[("from", &seconds(from)), ("to", &seconds(to)), ("at", &text(at))]).await.map(drop)
    }

    /// How many sessions before the mark were written to since.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sessions_written_since(&self, mark: &FoldMark) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Row {
            sessions: u64,
        }
        let sql = "SELECT uniqExact(account, day, session_start, platform) AS sessions FROM session_users WHERE account != '' \
                   AND session_start < toDateTime({to:String}, 'UTC') AND written_at >= toDateTime({cut:String}, 'UTC')";
        let row: Row = self.row(sql, &[("to", seconds(mark.folded_to).as_str()), ("cut", &seconds(mark.cut))]).await?;
        Ok(row.sessions)
    }

    /// Counts anew the sessions before the mark that were written to since.
    ///
    /// # Errors
    /// As of [`Store::fold_sessions`].
    pub async fn refold_sessions(&self, mark: &FoldMark, at: Timestamp) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO session_folds {COUNTED} AND session_start < toDateTime({{to:String}}, 'UTC') AND (account, day, session_start, platform) IN (\
             SELECT account, day, session_start, platform FROM session_users WHERE account != '' AND session_start < toDateTime({{to:String}}, 'UTC') \
             AND written_at >= toDateTime({{cut:String}}, 'UTC')) {IN_ORDER}"
        );
        self.rows::<()>(&sql, &[("to", &seconds(mark.folded_to)), ("cut", &seconds(mark.cut)), ("at", &text(at))]).await.map(drop)
    }

    /// Sets a mark. The newest counts, so that a doubled one changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_fold_mark(&self, mark: &FoldMark) -> Result<(), Error> {
        let sql = "INSERT INTO session_fold_marks SELECT toDateTime({to:String}, 'UTC'), toDateTime({cut:String}, 'UTC'), toDateTime64({at:String}, 3, 'UTC')";
        let (to, cut, at) = (seconds(mark.folded_to), seconds(mark.cut), text(mark.folded_at));
        self.rows::<()>(sql, &[("to", &to), ("cut", &cut), ("at", &at)]).await.map(drop)
    }
}

/// A moment to the second, later parts cut off.
fn seconds(moment: Timestamp) -> String {
    text(Timestamp::from_seconds(moment.seconds()))[..19].to_owned()
}
