//! What `store`'s questions answer, over the parts: the same as their SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use farebox::model::Timestamp;
use farebox::store::{BatchEnd, BatchRow, Check, Facts, LogRows, Proof, Range, RangeWitness};

use super::rows::{BatchesRow, HourlyRow, LogRow, RejectedRow, Rows, SessionRow, month_of_day, month_of_moment};
use super::state::{Part, Parts};

const DAY_S: i64 = 86_400;

/// The tables that a question reads, each at the moment when it was read.
#[derive(Default)]
pub struct View {
    /// `batches`, read first for where it ends.
    pub ends: Parts,
    pub batches: Parts,
    pub hourly: Parts,
    pub sessions: Parts,
    pub log: Parts,
    pub rejected: Parts,
}

/// A partition of one life of a topic.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub source_epoch: &'a str,
    pub topic: &'a str,
    pub partition: i32,
}

impl Of<'_> {
    fn has(&self, source_epoch: &str, topic: &str, partition: i32) -> bool {
        (source_epoch, topic, partition) == (self.source_epoch, self.topic, self.partition)
    }

    fn prefix(&self) -> String {
        format!("{}/{}/{}/", self.source_epoch, self.topic, self.partition)
    }
}

macro_rules! rows {
    ($name:ident, $kind:ident, $row:ty) => {
        /// All rows of such parts.
        pub fn $name(parts: &[Arc<Part>]) -> impl Iterator<Item = &$row> {
            parts.iter().flat_map(|part| match &part.rows {
                Rows::$kind(rows) => rows.as_slice(),
                _ => &[],
            })
        }
    };
}
rows!(log_rows, Log, LogRow);
rows!(session_rows, Sessions, SessionRow);
rows!(hourly_rows, Hourly, HourlyRow);
rows!(rejected_rows, Rejected, RejectedRow);
rows!(batches_rows, Batches, BatchesRow);

/// A witness row of a rollup.
struct Witness<'a> {
    table: &'static str,
    day: u16,
    batch: &'a str,
    blocks: u64,
    digest: u64,
    price_version: u64,
}

fn hourly_witnesses(parts: &[Arc<Part>]) -> impl Iterator<Item = Witness<'_>> {
    let is_witness = |row: &&HourlyRow| {
        let named = [&row.account, &row.category, &row.agent, &row.model, &row.platform];
        row.hour == 0 && named.iter().all(|name| name.is_empty())
    };
    hourly_rows(parts).filter(is_witness).map(|row| Witness {
        table: "usage_hourly",
        day: row.day,
        batch: &row.batch,
        blocks: row.blocks,
        digest: row.digest,
        price_version: row.price_version,
    })
}

fn session_witnesses(parts: &[Arc<Part>]) -> impl Iterator<Item = Witness<'_>> {
    let is_witness = |row: &&SessionRow| row.session_start == 0 && row.account.is_empty() && row.platform.is_empty();
    session_rows(parts).filter(is_witness).map(|row| Witness {
        table: "session_users",
        day: row.day,
        batch: &row.batch,
        blocks: row.blocks,
        digest: row.digest,
        price_version: row.price_version,
    })
}

/// The start of the range that a witness names; 0 when it names none.
fn from_of(batch: &str) -> i64 {
    let range = batch.rsplit('/').next().unwrap_or_default();
    range.split('-').next().and_then(|from| from.parse().ok()).unwrap_or(0)
}

fn of_partition<'a>(parts: &'a [Arc<Part>], of: Of<'a>) -> impl Iterator<Item = &'a BatchesRow> {
    batches_rows(parts).filter(move |row| of.has(&row.source_epoch, &row.topic, row.partition))
}

/// `Store::facts`.
pub fn facts(view: &View, of: Of<'_>) -> Facts {
    let end = of_partition(&view.ends, of).map(|row| row.offset_to).max().unwrap_or(0);
    let prefix = of.prefix();
    let mut ranges: BTreeMap<(i64, i64, String), Vec<Witness<'_>>> = BTreeMap::new();
    let witnesses = hourly_witnesses(&view.hourly).chain(session_witnesses(&view.sessions));
    for witness in witnesses.filter(|row| row.batch.starts_with(&prefix) && from_of(row.batch) >= end) {
        // A topic's id may hold slashes of its own.
        let (origin, range) = witness.batch.rsplit_once('/').expect("a batch's name");
        let (from, to) = range.split_once('-').expect("a range");
        let (from, to) = (from.parse().expect("an offset"), to.parse().expect("an offset"));
        let topic_id = origin.splitn(4, '/').nth(3).expect("a topic's id").to_owned();
        ranges.entry((from, to, topic_id)).or_default().push(witness);
    }
    let witnesses = ranges.into_iter().map(|((from, to, topic_id), rows)| {
        let set = |of: fn(&Witness<'_>) -> u64| rows.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect();
        let mut blocks: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for row in &rows {
            *blocks.entry((row.table.to_owned(), month_of_day(row.day))).or_default() += row.blocks;
        }
        let blocks = blocks.into_iter().map(|((table, month), count)| (table, month, count)).collect();
        RangeWitness { from, to, topic_id, digests: set(|row| row.digest), price_versions: set(|row| row.price_version), blocks }
    });
    let witnesses = witnesses.collect();
    let logged = log_rows(&view.log)
        .filter(|row| of.has(&row.source_epoch, &row.topic, row.partition) && row.offset >= end)
        .map(|row| ("usage_log", row.digest, row.offset, month_of_day(row.day), Some(row.price_version)));
    let refused = rejected_rows(&view.rejected)
        .filter(|row| of.has(&row.source_epoch, &row.topic, row.partition) && row.offset >= end)
        .map(|row| ("rejected_events", row.digest, row.offset, month_of_moment(row.received_at), None));
    type Row = (i64, u32, Option<u64>);
    let mut log: BTreeMap<(&str, u64), Vec<Row>> = BTreeMap::new();
    for (table, digest, offset, month, version) in logged.chain(refused) {
        log.entry((table, digest)).or_default().push((offset, month, version));
    }
    let mut log: Vec<LogRows> = log
        .into_iter()
        .map(|((table, digest), rows)| LogRows {
            table: table.to_owned(),
            digest,
            rows: rows.len() as u64,
            offset_min: rows.iter().map(|row| row.0).min().unwrap_or_default(),
            offset_max: rows.iter().map(|row| row.0).max().unwrap_or_default(),
            months: rows.iter().map(|row| row.1).collect::<BTreeSet<_>>().into_iter().collect(),
            price_versions: rows.iter().filter_map(|row| row.2).collect::<BTreeSet<_>>().into_iter().collect(),
        })
        .collect();
    log.sort_by_key(|rows| (rows.offset_min, rows.digest));
    Facts { end: batch_end(&view.batches, of), witnesses, log }
}

fn batch_end(batches: &[Arc<Part>], of: Of<'_>) -> Option<BatchEnd> {
    let mut rows: Vec<&BatchesRow> = of_partition(batches, of).collect();
    rows.sort_by_key(|row| (row.offset_from, row.offset_to));
    let oldest = rows.first()?;
    let newest = rows.iter().max_by_key(|row| row.offset_to)?;
    let (mut holes, mut overlaps, mut broken) = (0, 0, 0);
    let (mut reach, mut before) = (oldest.offset_from, None);
    for row in &rows {
        holes += (row.offset_from - reach).max(0);
        overlaps += (reach.min(row.offset_to) - row.offset_from).max(0);
        broken += u64::from(before.is_some_and(|before| row.prev != before));
        reach = if before.is_none() { row.offset_to } else { reach.max(row.offset_to) };
        before = Some(row.offset_to);
    }
    Some(BatchEnd {
        offset_to: newest.offset_to,
        offset_from: newest.offset_from,
        gap_from: gap_from(&rows),
        topic_id: newest.topic_id.clone(),
        leader_epoch: newest.leader_epoch,
        received: newest.received,
        record_time_max: Timestamp::from_millis(rows.iter().map(|row| row.record_time_max).max().unwrap_or_default()),
        oldest_prev: oldest.prev,
        oldest_from: oldest.offset_from,
        hole_offsets: holes,
        overlap_offsets: overlaps,
        broken_prevs: broken,
    })
}

/// Where the gaps begin with which the rows end.
fn gap_from(rows: &[&BatchesRow]) -> Option<i64> {
    rows.iter().rev().take_while(|row| row.kind == "gap").last().map(|row| row.offset_from)
}

/// `Store::end_of_batches`.
pub fn end_of_batches(view: &View, of: Of<'_>) -> Option<i64> {
    of_partition(&view.batches, of).map(|row| (row.offset_from, row.offset_to)).max().map(|(_, to)| to)
}

/// `Store::batches_row`.
pub fn batches_row(view: &View, of: Of<'_>, from: i64) -> Option<BatchRow> {
    let rows: Vec<&BatchesRow> = of_partition(&view.batches, of).filter(|row| row.offset_from == from).collect();
    let furthest = rows.iter().max_by_key(|row| row.offset_to)?;
    Some(BatchRow { offset_to: furthest.offset_to, digest: furthest.digest, kind: furthest.kind.clone(), count: rows.len() as u64 })
}

/// `Store::witnesses`.
pub fn witnesses(view: &View, range: &Range<'_>) -> Vec<Proof> {
    let of = Of { source_epoch: range.source_epoch, topic: range.topic, partition: range.partition };
    let batch = format!("{}{}/{}-{}", of.prefix(), range.topic_id, range.from, range.to);
    let months: Vec<u32> = range.months.iter().map(|month| month.0).collect();
    let is_asked = |month: u32| months.is_empty() || months.contains(&month);
    let bounds = range.received.map(|(least, greatest)| least.clamped().millis()..=greatest.clamped().millis());
    let is_inside = |offset: i64, received_at: i64| {
        (range.from..range.to).contains(&offset) && bounds.as_ref().is_none_or(|bounds| bounds.contains(&received_at))
    };
    let mut found: BTreeMap<(&str, u32), Vec<(u64, u64)>> = BTreeMap::new();
    let digest = range.digest.filter(|_| months.len() == 1);
    let logged = log_rows(&view.log)
        .filter(|row| {
            digest.is_none() && of.has(&row.source_epoch, &row.topic, row.partition) && is_inside(row.offset, row.received_at)
        })
        .map(|row| ("usage_log", month_of_day(row.day), row.digest, 1))
        .filter(|row| is_asked(row.1));
    let refused = rejected_rows(&view.rejected)
        .filter(|row| of.has(&row.source_epoch, &row.topic, row.partition) && is_inside(row.offset, row.received_at))
        .map(|row| ("rejected_events", month_of_moment(row.received_at), row.digest, 1));
    let rollups = hourly_witnesses(&view.hourly)
        .chain(session_witnesses(&view.sessions))
        .filter(|row| row.batch == batch && (months.is_empty() || is_first(row.day) && is_asked(month_of_day(row.day))))
        .map(|row| (row.table, month_of_day(row.day), row.digest, row.blocks));
    for (table, month, digest, count) in logged.chain(refused).chain(rollups) {
        found.entry((table, month)).or_default().push((digest, count));
    }
    let by_digest = digest.and_then(|digest| {
        let of_digest =
            || log_rows(&view.log).filter(|row| of.has(&row.source_epoch, &row.topic, row.partition) && row.digest == digest);
        let is_inside = of_digest().all(|row| (range.from..range.to).contains(&row.offset));
        let (count, digests) = (of_digest().count() as u64, if is_inside { 1 } else { 2 });
        let months: BTreeSet<u32> = of_digest().map(|row| month_of_day(row.day)).collect();
        let proof = move |month| Proof { table: "usage_log".to_owned(), month, digest, digests, count };
        (count > 0).then(|| months.into_iter().map(proof).collect::<Vec<_>>())
    });
    found
        .into_iter()
        .map(|((table, month), rows)| Proof {
            table: table.to_owned(),
            month,
            digest: rows.iter().map(|row| row.0).max().unwrap_or_default(),
            digests: rows.iter().map(|row| row.0).collect::<BTreeSet<_>>().len() as u64,
            count: rows.iter().map(|row| row.1).sum(),
        })
        .chain(by_digest.into_iter().flatten())
        .collect()
}

fn is_first(day: u16) -> bool {
    day == 0 || month_of_day(day - 1) != month_of_day(day)
}

#[derive(Default)]
struct Found {
    rows: u64,
    least: i64,
    greatest: i64,
    months: BTreeSet<u32>,
    with_user: u64,
}

impl Found {
    fn add(&mut self, offset: i64) {
        self.least = if self.rows == 0 { offset } else { self.least.min(offset) };
        self.greatest = if self.rows == 0 { offset } else { self.greatest.max(offset) };
        self.rows += 1;
    }
}

#[derive(Default)]
struct Seen {
    by_month: BTreeMap<u32, u64>,
    first_day: u16,
    digests: BTreeSet<u64>,
}

fn seen<'a>(witnesses: impl Iterator<Item = Witness<'a>>, prefix: &str) -> BTreeMap<&'a str, Seen> {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for row in witnesses.filter(|row| row.batch.starts_with(prefix)) {
        let entry = seen.entry(row.batch).or_insert_with(|| Seen { first_day: row.day, ..Seen::default() });
        entry.first_day = entry.first_day.min(row.day);
        entry.digests.insert(row.digest);
        *entry.by_month.entry(month_of_day(row.day)).or_default() += row.blocks;
    }
    seen
}

/// Every contradiction that `Store::row3_violations` looks for, by the offset it begins at. That one tells the first.
pub fn findings(view: &View, check: &Check<'_>, now: Timestamp) -> Vec<(i64, String)> {
    let of = Of { source_epoch: check.source_epoch, topic: check.topic, partition: check.partition };
    let now_s = now.seconds();
    let is_young = |row: &BatchesRow| row.written_at >= (now_s - 29 * DAY_S) * 1000;
    let oldest = of_partition(&view.batches, of).filter(|row| is_young(row)).map(|row| row.offset_from).min().unwrap_or(i64::MAX);
    let batches: Vec<&BatchesRow> = of_partition(&view.batches, of).filter(|row| row.offset_from >= oldest).collect();
    let first = batches.iter().map(|row| row.offset_from).min().unwrap_or(0);
    let next = batches.iter().map(|row| row.offset_to).max().unwrap_or(0);
    let mut logged: BTreeMap<u64, Found> = BTreeMap::new();
    for row in log_rows(&view.log).filter(|row| of.has(&row.source_epoch, &row.topic, row.partition)) {
        let found = logged.entry(row.digest).or_default();
        found.add(row.offset);
        found.months.insert(month_of_day(row.day));
        found.with_user += u64::from(row.user_hash != 0 && !row.platform.is_empty());
    }
    logged.retain(|_, found| found.greatest >= first && found.least < next);
    let mut refused: BTreeMap<u64, Found> = BTreeMap::new();
    for row in rejected_rows(&view.rejected).filter(|row| of.has(&row.source_epoch, &row.topic, row.partition)) {
        if (first..next).contains(&row.offset) {
            refused.entry(row.digest).or_default().add(row.offset);
        }
    }
    let prefix = of.prefix();
    let hourly = seen(hourly_witnesses(&view.hourly), &prefix);
    let users = seen(session_witnesses(&view.sessions), &prefix);
    let nothing = Found::default();
    let mut findings = Vec::new();
    for row in batches.iter().filter(|row| row.kind == "batch") {
        let l = logged.get(&row.digest).unwrap_or(&nothing);
        let r = refused.get(&row.digest).unwrap_or(&nothing);
        let batch = format!("{prefix}{}/{}-{}", row.topic_id, row.offset_from, row.offset_to);
        let (h, u) = (hourly.get(batch.as_str()), users.get(batch.as_str()));
        let twice = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.by_month.values().any(|&blocks| blocks > 1));
        let differs = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.digests.iter().any(|&digest| digest != row.digest));
        let logs = || format!("usage_log holds {} rows, accepted were {}", l.rows, row.accepted);
        let refusals = || format!("rejected_events holds {} rows, rejected were {}", r.rows, row.rejected);
        let is_outside = |found: &Found| found.rows > 0 && (found.least < row.offset_from || found.greatest >= row.offset_to);
        let log_is_young = h.is_some_and(|h| {
            i64::from(h.first_day) + i64::from(check.usage_log_keep_days) > now_s.div_euclid(DAY_S) + 1
                && check.usage_log_keep_days > 0
        });
        let rejects_are_young =
            check.log_append_time && row.record_time_max > (now_s - i64::from(check.rejected_keep_days / 2) * DAY_S) * 1000;
        let lacks_month =
            |seen: Option<&Seen>| l.months.iter().any(|month| seen.is_none_or(|seen| !seen.by_month.contains_key(month)));
        let witnessed = is_young(row);
        let what = if twice(h) {
            "usage_hourly holds a block of the batch twice".to_owned()
        } else if twice(u) {
            "session_users holds a block of the batch twice".to_owned()
        } else if differs(h) {
            "usage_hourly holds a block of the batch with another digest".to_owned()
        } else if differs(u) {
            "session_users holds a block of the batch with another digest".to_owned()
        } else if l.rows > row.accepted || row.accepted > 0 && l.rows < row.accepted && log_is_young {
            logs()
        } else if is_outside(l) {
            "usage_log holds rows of its digest outside of it".to_owned()
        } else if witnessed && row.accepted > 0 && h.is_none() {
            "usage_hourly has no witness of the batch".to_owned()
        } else if witnessed && lacks_month(h) {
            "usage_hourly has no witness of a month that usage_log has".to_owned()
        } else if witnessed && l.with_user > 0 && u.is_none() {
            "session_users has no witness of the batch".to_owned()
        } else if witnessed && lacks_month(u) {
            "session_users has no witness of a month that usage_log has".to_owned()
        } else if r.rows > row.rejected || r.rows < row.rejected && rejects_are_young {
            refusals()
        } else if is_outside(r) {
            "rejected_events holds rows of its digest outside of it".to_owned()
        } else {
            continue;
        };
        findings.push((row.offset_from, row.offset_to, what));
    }
    let digests: BTreeSet<u64> = batches.iter().filter(|row| row.kind == "batch").map(|row| row.digest).collect();
    for (table, found) in [("usage_log", &logged), ("rejected_events", &refused)] {
        let strange = found.iter().filter(|(digest, _)| !digests.contains(digest));
        findings.extend(
            strange.map(|(_, found)| (found.least, found.greatest + 1, format!("{table} holds rows that no batch there has"))),
        );
    }
    let names: BTreeSet<String> = batches
        .iter()
        .filter(|row| row.kind == "batch")
        .map(|row| format!("{prefix}{}/{}-{}", row.topic_id, row.offset_from, row.offset_to))
        .collect();
    for (table, seen) in [("usage_hourly", &hourly), ("session_users", &users)] {
        for batch in seen.keys().filter(|batch| !names.contains(**batch)) {
            let range = batch.rsplit('/').next().and_then(|range| range.split_once('-'));
            let Some((from, to)) = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))) else { continue };
            if (first..next).contains(&from) {
                findings.push((from, to, format!("{table} holds a block that no batch there has")));
            }
        }
    }
    findings.sort();
    findings.into_iter().map(|(at, behind, what)| (at, format!("offsets {at}-{behind}: {what}"))).collect()
}
