//! What is known of a partition when it is assigned: the newest row of `batches`, and what lies at or behind it.
//!
//! Holds: all of it is read in one query, so that it is of one moment.

use serde::Deserialize;

use super::evidence::{HOURLY_KEY, USERS_KEY};
use super::{Error, Store};
use crate::model::Timestamp;

/// The newest row in `batches`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEnd {
    /// E: the offset behind the last batch.
    pub offset_to: i64,
    /// Where that batch begins.
    pub offset_from: i64,
    /// Where the gaps begin with which the rows end; `None`: the newest is a batch.
    pub gap_from: Option<i64>,
    /// The topic's id then.
    pub topic_id: String,
    /// The leader epoch of its last record, or of the last one before when it has none; -1: unknown.
    pub leader_epoch: i32,
    /// How many records it holds.
    pub received: u64,
    /// The newest timestamp of a record up to its end.
    pub record_time_max: Timestamp,
    /// `prev` of the oldest row: not -1 when rows before it were lost.
    pub oldest_prev: i64,
    /// Where the oldest row begins.
    pub oldest_from: i64,
    /// Offsets between the rows of the last month that no row covers.
    pub hole_offsets: i64,
    /// Offsets that two of them cover.
    pub overlap_offsets: i64,
    /// Rows of them whose `prev` is not the end of the row before them.
    pub broken_prevs: u64,
}

/// A range at or behind the end of `batches` that some table has a witness of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeWitness {
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
    /// The topic's id it was written with.
    pub topic_id: String,
    /// The digests that its witnesses carry; more than one is a contradiction.
    pub digests: Vec<u64>,
    /// The price versions that its witnesses carry; more than one is a contradiction.
    pub price_versions: Vec<u64>,
    /// Table, month and how often the block is there.
    pub blocks: Vec<(String, u32, u64)>,
}

/// Rows of `usage_log` or `rejected_events` at or behind the end of `batches`, by the digest that they carry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogRows {
    /// The table.
    pub table: String,
    /// The digest of their batch.
    pub digest: u64,
    /// How many.
    pub rows: u64,
    /// The least offset.
    pub offset_min: i64,
    /// The greatest offset.
    pub offset_max: i64,
    /// The month of the rows, `yyyymm`, one entry each.
    pub months: Vec<u32>,
    /// The price versions in them (`usage_log`).
    pub price_versions: Vec<u64>,
}

/// What is known of a partition, read in one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The newest row of `batches`, or none.
    pub end: Option<BatchEnd>,
    /// W: what lies at or behind the end, by its start.
    pub witnesses: Vec<RangeWitness>,
    /// Rows at or behind the end.
    pub log: Vec<LogRows>,
}

#[derive(Deserialize)]
struct FactsRow {
    batches: u64,
    offset_to: i64,
    offset_from: i64,
    gap_from: i64,
    topic_id: String,
    leader_epoch: i32,
    received: u64,
    record_time_max_ms: i64,
    oldest_prev: i64,
    oldest_from: i64,
    hole_offsets: i64,
    overlap_offsets: i64,
    broken_prevs: u64,
    witnesses: Vec<WitnessRow>,
    log: Vec<LogRows>,
}

#[derive(Deserialize)]
struct WitnessRow {
    table: String,
    month: u32,
    batch: String,
    blocks: u64,
    digests: Vec<u64>,
    price_versions: Vec<u64>,
}

impl Store {
    /// Everything that the decision on assignment needs, in one query. Of `batches` it reads the rows of the last 30 days, at least the
    /// newest thousand, and the oldest one: a year of them is some thirty million, and what is older was looked at before. `farebox
    /// verify` looks at all of them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn facts(&self, source_epoch: &str, topic: &str, partition: i32) -> Result<Facts, Error> {
        let part = "source_epoch = {epoch:String} AND topic = {topic:String} AND partition = {partition:Int32}";
        let witness = |table: &str, key: &str| {
            format!(
                "SELECT '{table}' AS table, toYYYYMM(day) AS month, batch, sum(w.blocks) AS blocks, groupUniqArray(w.digest) AS digests, \
                 groupUniqArray(w.price_version) AS price_versions FROM {table} AS w \
                 WHERE {key} AND startsWith(batch, {{prefix:String}}) \
                 AND toInt64OrZero(splitByChar('-', splitByChar('/', batch)[-1])[1]) >= end GROUP BY month, batch"
            )
        };
        let rows = |table: &str, month: &str, versions: &str| {
            format!(
                "SELECT '{table}' AS table, l.digest AS digest, count() AS rows, min(l.offset) AS offset_min, max(l.offset) AS offset_max, \
                 groupUniqArray(toYYYYMM({month})) AS months, {versions} AS price_versions FROM {table} AS l \
                 WHERE {part} AND l.offset >= end GROUP BY digest"
            )
        };
        let newest_first = "ORDER BY source_epoch DESC, topic DESC, partition DESC, offset_from DESC, offset_to DESC";
        let oldest_first = "ORDER BY source_epoch, topic, partition, offset_from, offset_to";
        // The row before the first of the month belongs to them: what lies between the two is of the month.
        let sql = format!(
            "WITH
               (SELECT min(offset_from) FROM (SELECT offset_from FROM batches WHERE {part} {newest_first} LIMIT 1000)) AS recent,
               (SELECT if(count() = 0, recent, least(recent, min(offset_from))) FROM batches
                WHERE {part} AND written_at >= now() - INTERVAL 30 DAY) AS of_month,
               (SELECT if(count() = 0, of_month, max(offset_from)) FROM (
                 SELECT offset_from FROM batches WHERE {part} AND offset_from < of_month {newest_first} LIMIT 1)) AS first,
               (SELECT max(offset_to) FROM batches WHERE {part} AND offset_from >= first) AS end
             SELECT b.*, o.*, w.witnesses AS witnesses, l.log AS log
             FROM (
               SELECT count() AS batches, max(r.offset_to) AS offset_to, argMax(r.offset_from, r.offset_to) AS offset_from,
                 argMax(toString(r.topic_id), r.offset_to) AS topic_id, argMax(r.leader_epoch, r.offset_to) AS leader_epoch,
                 argMax(r.received, r.offset_to) AS received, toUnixTimestamp64Milli(max(r.record_time_max)) AS record_time_max_ms,
                 if(countIf(r.is_last_gap) = 0, toInt64(-1), minIf(r.offset_from, r.is_last_gap)) AS gap_from,
                 sum(greatest(0, r.offset_from - r.reach)) AS hole_offsets,
                 sum(greatest(0, least(r.reach, r.offset_to) - r.offset_from)) AS overlap_offsets,
                 countIf(r.reach >= 0 AND r.nth > 1 AND r.prev != r.before) AS broken_prevs
               FROM (
                 SELECT offset_from, offset_to, topic_id, leader_epoch, received, record_time_max, prev, row_number() OVER w AS nth,
                   kind = 'gap' AND offset_from >= maxIf(offset_to, kind != 'gap') OVER () AS is_last_gap,
                   lagInFrame(offset_to) OVER (ORDER BY offset_from, offset_to ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before,
                   if(nth = 1, offset_from, max(offset_to) OVER (ORDER BY offset_from, offset_to ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS reach
                 FROM batches WHERE {part} AND offset_from >= first WINDOW w AS (ORDER BY offset_from, offset_to)
               ) AS r
             ) AS b
             CROSS JOIN (
               SELECT any(prev) AS oldest_prev, any(offset_from) AS oldest_from
               FROM (SELECT prev, offset_from FROM batches WHERE {part} {oldest_first} LIMIT 1)
             ) AS o
             CROSS JOIN (
               SELECT groupArray(CAST((table, month, batch, blocks, digests, price_versions),
                 'Tuple(table String, month UInt32, batch String, blocks UInt64, digests Array(UInt64), price_versions Array(UInt64))')) AS witnesses
               FROM ({} UNION ALL {})
             ) AS w
             CROSS JOIN (
               SELECT groupArray(CAST((table, digest, rows, offset_min, offset_max, months, price_versions),
                 'Tuple(table String, digest UInt64, rows UInt64, offset_min Int64, offset_max Int64, months Array(UInt32), price_versions Array(UInt64))')) AS log
               FROM ({} UNION ALL {})
             ) AS l
             SETTINGS output_format_json_named_tuples_as_objects = 1",
            witness("usage_hourly", HOURLY_KEY),
            witness("session_users", USERS_KEY),
            rows("usage_log", "day", "groupUniqArray(l.price_version)"),
            rows("rejected_events", "received_at", "CAST([], 'Array(UInt64)')"),
        );
        let prefix = format!("{source_epoch}/{topic}/{partition}/");
        let params =
            [("epoch", source_epoch), ("topic", topic), ("partition", &partition.to_string()), ("prefix", prefix.as_str())];
        facts(self.row(&sql, &params).await?)
    }
}

fn facts(row: FactsRow) -> Result<Facts, Error> {
    let end = (row.batches > 0).then_some(BatchEnd {
        offset_to: row.offset_to,
        offset_from: row.offset_from,
        gap_from: Some(row.gap_from).filter(|&from| from >= 0),
        topic_id: row.topic_id,
        leader_epoch: row.leader_epoch,
        received: row.received,
        record_time_max: Timestamp::from_millis(row.record_time_max_ms),
        oldest_prev: row.oldest_prev,
        oldest_from: row.oldest_from,
        hole_offsets: row.hole_offsets,
        overlap_offsets: row.overlap_offsets,
        broken_prevs: row.broken_prevs,
    });
    let mut witnesses: Vec<RangeWitness> = Vec::new();
    for found in row.witnesses {
        let (topic_id, from, to) =
            parse_witness(&found.batch).ok_or_else(|| Error::Answer(format!("`{}` is no batch's name", found.batch)))?;
        let known = witnesses.iter().position(|range| range.from == from && range.to == to && range.topic_id == topic_id);
        let index = known.unwrap_or(witnesses.len());
        if known.is_none() {
            let topic_id = topic_id.to_owned();
            witnesses.push(RangeWitness {
                from,
                to,
                topic_id,
                digests: Vec::new(),
                price_versions: Vec::new(),
                blocks: Vec::new(),
            });
        }
        let range = &mut witnesses[index];
        union(&mut range.digests, found.digests);
        union(&mut range.price_versions, found.price_versions);
        range.blocks.push((found.table, found.month, found.blocks));
    }
    witnesses.sort_by_key(|range| (range.from, range.to));
    for range in &mut witnesses {
        range.blocks.sort();
    }
    let mut log = row.log;
    log.sort_by_key(|rows| (rows.offset_min, rows.digest));
    Ok(Facts { end, witnesses, log })
}

fn union(set: &mut Vec<u64>, more: Vec<u64>) {
    set.extend(more);
    set.sort_unstable();
    set.dedup();
}

/// Topic id, start and end out of `<epoch>/<topic>/<partition>/<topic id>/<from>-<to>`. Kafka writes an id in letters and digits, and
/// librdkafka with slashes too.
fn parse_witness(batch: &str) -> Option<(&str, i64, i64)> {
    let (origin, range) = batch.rsplit_once('/')?;
    let (from, to) = range.split_once('-')?;
    let topic_id = origin.splitn(4, '/').nth(3)?;
    Some((topic_id, from.parse().ok()?, to.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_names_its_range() {
        assert_eq!(parse_witness("1/usage.events/3/a-b_c/10-20"), Some(("a-b_c", 10, 20)));
        assert_eq!(parse_witness("1/usage.events/3/eOOa5kL/RAyz+4nh9jUimw/10-20"), Some(("eOOa5kL/RAyz+4nh9jUimw", 10, 20)));
        for wrong in ["", "1/t/0/id/10", "1/t/0/id/x-20", "10-20"] {
            assert_eq!(parse_witness(wrong), None, "{wrong}");
        }
    }
}
