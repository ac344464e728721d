//! Every offset once: `batches` in itself, and its sum against the rollups.

use serde::Deserialize;

use super::ends::{End, Ends};
use super::{FINDINGS_MAX, FRUGAL};
use crate::store::evidence::HOURLY_KEY;
use crate::store::{Error, Store};

/// What the batches of a partition add up to.
#[derive(Debug, Clone, Deserialize)]
pub struct Conservation {
    /// Rows.
    pub batches: u64,
    /// Records.
    pub received: u64,
    /// Rows of kind `gap`.
    pub gaps: u64,
    /// Offsets that they admit.
    pub gap_offsets: i64,
    /// The first offset.
    pub offset_first: i64,
    /// The offset behind the last.
    pub offset_next: i64,
    /// What contradicts, in words, with the first place of each.
    pub findings: Vec<String>,
}

/// What is in the rollups, beside what `batches` accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Totals {
    /// Events in `usage_hourly`.
    pub rolled_up: u64,
    /// Of them, events of batches that are not in `batches` yet, as `usage_log` has them.
    pub unfinished: u64,
    /// Blocks in `usage_hourly` of batches that are not in `batches` yet.
    pub blocks: u64,
}

impl Store {
    /// Looks at the batches of one partition, in the order of their offsets.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn conservation(&self, end: &End) -> Result<Conservation, Error> {
        let place = |condition: &str| format!("toString(minIf(r.offset_from, {condition}))");
        let hole = "nth > 1 AND r.offset_from > reach";
        let overlap = "nth > 1 AND r.offset_from < reach";
        let unequal = "r.received != r.accepted + r.duplicates + r.rejected";
        let crowded = "r.received > toUInt64(greatest(0, r.offset_to - r.offset_from))";
        let broken = "nth > 1 AND r.offset_from = reach AND r.prev != before";
        let sql = format!(
            "SELECT count() AS batches, sum(r.received) AS received, countIf(kind = 'gap') AS gaps,
               sumIf(r.offset_to - r.offset_from, kind = 'gap') AS gap_offsets, min(r.offset_from) AS offset_first, max(r.offset_to) AS offset_next,
               arrayFilter(f -> f != '', [
                 if(countIf({hole}) = 0, '', concat('offsets ', toString(minIf(reach, {hole})), '-', {}, ': in no batch',
                   if(countIf({hole}) = 1, '', concat(', and ', toString(countIf({hole}) - 1), ' more holes')))),
                 if(countIf({overlap}) = 0, '', concat('offset ', {}, ': in two batches', ' (', toString(countIf({overlap})), ' overlaps)')),
                 if(countIf({unequal}) = 0, '', concat('the batch at offset ', {}, ': received is not accepted + duplicates + rejected (',
                   toString(countIf({unequal})), ' such)')),
                 if(countIf({crowded}) = 0, '', concat('the batch at offset ', {}, ': more records than offsets (', toString(countIf({crowded})), ' such)')),
                 if(countIf({broken}) = 0, '', concat('the batch at offset ', {}, ': does not name the end of the one before (',
                   toString(countIf({broken})), ' such)')),
                 if(argMin(r.prev, r.offset_from) < 0, '', concat('the batch at offset ', toString(min(r.offset_from)),
                   ': follows one that ended at ', toString(argMin(r.prev, r.offset_from)), ', which is gone'))
               ]) AS findings
             FROM (
               SELECT *, row_number() OVER w AS nth,
                 lagInFrame(offset_to) OVER (ORDER BY offset_from, offset_to ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before,
                 if(nth = 1, offset_from, max(offset_to) OVER (ORDER BY offset_from, offset_to ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS reach
               FROM batches WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}}
               WINDOW w AS (ORDER BY offset_from, offset_to)
             ) AS r SETTINGS {FRUGAL}",
            place(hole),
            place(overlap),
            place(unequal),
            place(crowded),
            place(broken),
        );
        let partition = end.in_partition.to_string();
        self.row(&sql, &[("epoch", &end.source_epoch), ("topic", &end.topic), ("partition", &partition)]).await
    }

    /// How many events the rollups hold, and how many of them belong to batches that had not ended then.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn totals(&self, ends: &Ends) -> Result<Totals, Error> {
        let behind = ends.behind();
        let sql = format!(
            "WITH unfinished AS (SELECT DISTINCT digest FROM usage_log WHERE {behind}),
               witnessed AS (SELECT digest FROM usage_hourly WHERE {HOURLY_KEY} AND digest IN (SELECT digest FROM unfinished))
             SELECT (SELECT sum(events) FROM usage_hourly WHERE account != '') AS rolled_up,
               (SELECT count() FROM usage_log WHERE {behind} AND digest IN (SELECT digest FROM witnessed)) AS unfinished,
               (SELECT count() FROM witnessed) AS blocks
             SETTINGS {FRUGAL}"
        );
        self.row(&sql, &[]).await
    }

    /// Rows of partitions that `batches` knows nothing of: their topics and partitions.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn strange_partitions(&self, ends: &Ends) -> Result<Vec<End>, Error> {
        let known: Vec<String> = ends
            .0
            .iter()
            .map(|end| {
                format!("({}, {}, {})", super::ends::quoted(&end.source_epoch), super::ends::quoted(&end.topic), end.in_partition)
            })
            .collect();
        let only = if known.is_empty() {
            String::new()
        } else {
            format!(" WHERE (source_epoch, topic, `partition`) NOT IN ({})", known.join(", "))
        };
        let sql = format!(
            "SELECT source_epoch, topic, in_partition, toInt64(0) AS offset_to, toUInt64(0) AS batches, toUInt64(0) AS accepted FROM (
               SELECT source_epoch, topic, `partition` AS in_partition FROM usage_log{only} GROUP BY source_epoch, topic, in_partition
               UNION DISTINCT
               SELECT source_epoch, topic, `partition` AS in_partition FROM rejected_events{only} GROUP BY source_epoch, topic, in_partition
             ) ORDER BY topic, source_epoch, in_partition LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        self.rows(&sql, &[]).await
    }
}
