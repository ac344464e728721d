//! On assignment: gather what is known, decide, rebuild the window, form a promised batch again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::gather::{Gathered, gather};
use super::log::Link;
use super::partition::End;
use super::patience::Patience;
use super::reader::Reader;
use super::shared::Shared;
use super::write;
use crate::aggregate::Counts;
use crate::engine::assignment::{self, Decision, Stop, StopKind, Written};
use crate::engine::{Engine, Intent};
use crate::model::Timestamp;
use crate::price::Prices;
use crate::sink::{self, BatchKind, BatchRow, Origin, Stamp};
use crate::store::{BatchEnd, Proof, Range};
use crate::telemetry::Alarm;

/// Where a life starts to consume.
pub struct Begun {
    /// With the window as it stands there.
    pub engine: Engine,
    /// Which life of which topic this is.
    pub origin: Origin,
    /// Where `batches` ends; `None` when it knows nothing of the partition.
    pub written_to: Option<i64>,
    /// The committed offset, when no intent stands on it.
    pub committed: Option<i64>,
}

/// Decides where to begin and gets there.
///
/// # Errors
/// A guard, or that something moved meanwhile.
pub async fn begin(reader: &mut Reader, shared: &Arc<Shared>) -> Result<Begun, End> {
    let partition = reader.link().partition();
    let mut patience = Patience::default();
    let mut is_second_look = false;
    let (read, decision) = loop {
        match gather(reader.link(), shared).await {
            Ok(read) => {
                let read = read?;
                let decision = assignment::decide(&read.facts);
                // The tables are not read at one moment, and an insert of a former owner may end in between: what they contradict
                // each other in then is gone when one looks again. A stop is for good, so look again.
                let is_contradiction = matches!(&decision, Decision::Stop(stop) if stop.kind == StopKind::Inconsistent);
                if !is_contradiction || std::mem::replace(&mut is_second_look, true) {
                    break (read, decision);
                }
                warn!(partition, ?decision, "a contradiction; looking again");
            }
            Err(error) => {
                if patience.is_worth_telling() {
                    warn!(partition, error = format!("{error:#}"), "waiting to learn where to begin");
                }
            }
        }
        patience.wait().await;
    };
    info!(partition, ?decision, "decided");
    match decision {
        Decision::Stop(stop) => Err(End::Stop(stop)),
        Decision::Gap { from, to } => declare_gap(reader.link(), shared, &read, from, to).await,
        Decision::Start { from, rewound } => {
            if rewound {
                shared.metrics.alarm(Alarm::Rewound).inc();
                error!(
                    partition,
                    from,
                    committed = read.facts.committed,
                    "the group's offset was moved back; `batches` says where to read on"
                );
            }
            start(reader, shared, read, from).await
        }
        Decision::Resolve { from, intent, gone } => {
            if intent.hash_key_id != shared.hash_key_id {
                let reason = format!(
                    "the batch [{from}, {}) was promised with users key {}, this is key {}",
                    intent.to, intent.hash_key_id, shared.hash_key_id
                );
                return Err(End::Stop(Stop::new(StopKind::HashKey, reason)));
            }
            if gone {
                resolve_gone(reader.link(), shared, read, from, &intent).await
            } else {
                resolve(reader, shared, read, from, intent).await
            }
        }
        Decision::ResolveWritten(written) => {
            shared.metrics.alarm(Alarm::IntentLost).inc();
            error!(partition, from = written.from, to = written.to, "a batch was written and its intent is lost; forming it again");
            resolve_written(reader, shared, read, written).await
        }
    }
}

async fn declare_gap(link: &Link, shared: &Shared, read: &Gathered, from: i64, to: i64) -> Result<Begun, End> {
    shared.metrics.alarm(Alarm::Gap).inc();
    error!(
        partition = read.origin.partition,
        from, to, "records left the log before they were read: the topic's retention is shorter than the outage"
    );
    let stamp = Stamp { from, to, price_version: shared.books.current().version(), written_at: shared.now() };
    let row = BatchRow {
        kind: BatchKind::Gap,
        counts: Counts::default(),
        digest: 0,
        prev: read.facts.end,
        leader_epoch: -1,
        hash_key_id: shared.hash_key_id.clone(),
        record_time_max: Timestamp::MIN,
    };
    write::insert_batches_row(shared, &read.origin, &stamp, &row).await?;
    // A promise whose records are gone in part reaches into what is still there: left standing, it would overlap the gap.
    link.commit(to, String::new()).await.map_err(|error| End::Rejoin(error.to_string()))?;
    Err(End::Restart(format!("offsets {from} to {to} are declared as a gap")))
}

/// Nothing is promised: rebuild the window and read on.
async fn start(reader: &mut Reader, shared: &Arc<Shared>, read: Gathered, from: i64) -> Result<Begun, End> {
    let intent = read.facts.intent.as_ref().ok().and_then(Option::as_ref).filter(|intent| intent.to == from);
    let remembered = match intent {
        Some(intent) => intent.window_from,
        None => window_start(reader, shared, &read, from).await,
    };
    let engine = rebuild(reader, shared, &read, remembered, from, shared.books.current()).await?;
    let committed = read.facts.committed.filter(|_| intent.is_none() && matches!(read.facts.intent, Ok(None)));
    Ok(Begun { engine, written_to: read.facts.end, origin: read.origin, committed })
}

/// Where the window begins when no intent says so: a window's length before the newest record that is written.
async fn window_start(reader: &Reader, shared: &Shared, read: &Gathered, from: i64) -> i64 {
    let Some(last) = &read.last else { return from };
    let time = last.record_time_max.plus_millis(-shared.rules.window.window_ms);
    let found = shared.until_kafka_answers("look up where the window begins", || reader.link().offset_of_time(time)).await;
    found.unwrap_or(from).min(from)
}

/// Reads from `start` (or what is left of the log behind it) up to `from` into the window.
async fn rebuild(
    reader: &mut Reader,
    shared: &Arc<Shared>,
    read: &Gathered,
    start: i64,
    from: i64,
    prices: Arc<Prices>,
) -> Result<Engine, End> {
    let log_start = read.facts.log_start;
    // The last batch is read again in any case: its last record shows whether another leader wrote the log anew. A gap shows nothing: what
    // is still in the log below its end was metered in an earlier life of the topic.
    let last = read.last.as_ref().filter(|last| last.offset_to == from && last.gap_from.is_none());
    let wanted = last.map_or(start, |last| last.offset_from.min(start));
    let first = wanted.max(log_start).min(from);
    if start < log_start {
        shared.metrics.alarm(Alarm::WindowShortened).inc();
        warn!(
            partition = read.origin.partition,
            start, log_start, "the window for duplicates is shortened: the topic's retention ate its beginning"
        );
    }
    let mut engine = Engine::new(shared.rules.clone(), prices, start);
    engine.tell_time(shared.now());
    let (mut newest, mut in_last) = (None, 0);
    reader.start_at(first);
    if first < from {
        let taken = reader.take_up_to(from, |record| {
            engine.remember(record);
            newest = Some((record.offset, record.leader_epoch));
            in_last += u64::from(last.is_some_and(|last| record.offset >= last.offset_from));
        });
        taken.await.map_err(|error| End::Restart(error.to_string()))?;
    }
    engine.begin(from);
    match last.and_then(|last| rewritten(last, first, newest, in_last)) {
        Some(reason) => Err(End::Stop(Stop::new(StopKind::Truncated, reason))),
        None => Ok(engine),
    }
}

/// What shows that the log was truncated and written anew since the last batch, if anything. Read were the records from `first` up to
/// the batch's end: the `newest` of them by offset and leader epoch, and so many in the batch.
fn rewritten(last: &BatchEnd, first: i64, newest: Option<(i64, i32)>, in_batch: u64) -> Option<String> {
    let (from, to) = (last.offset_from, last.offset_to);
    if let Some((offset, epoch)) = newest.filter(|&(_, epoch)| last.leader_epoch >= 0 && epoch != last.leader_epoch) {
        let known = last.leader_epoch;
        return Some(format!(
            "offset {offset} was written under leader epoch {known}, the log now shows {epoch}: it was truncated and written anew"
        ));
    }
    // What was written anew need not be a record: markers and aborted ones are not shown. Retention may have taken some of the batch.
    (first <= from && in_batch != last.received).then(|| {
        format!("[{from}, {to}) held {} records, the log now shows {in_batch}: it was truncated and written anew", last.received)
    })
}

/// Forms `[from, to)` again, with the window as it stood at `from`.
async fn form(reader: &mut Reader, engine: &mut Engine, to: i64) -> Result<(), End> {
    reader.take_up_to(to, |record| engine.apply(record)).await.map_err(|error| End::Restart(error.to_string()))
}

/// A promised batch whose records are still there: form it again and write what is missing.
async fn resolve(reader: &mut Reader, shared: &Arc<Shared>, read: Gathered, from: i64, intent: Intent) -> Result<Begun, End> {
    let prices = shared.prices_at(intent.price_version).await?;
    let mut engine = rebuild(reader, shared, &read, intent.window_from, from, prices).await?;
    form(reader, &mut engine, intent.to).await?;
    let batch = engine.close(intent.to);
    let link = reader.link().clone();
    let to = if batch.rows.digest == intent.digest {
        write::write_promised(&link, shared, &read.origin, batch, &intent, true).await?
    } else {
        let digest = batch.rows.digest;
        let stamp = Stamp { from, to: intent.to, price_version: intent.price_version, written_at: intent.time };
        if is_started(shared, &read.origin, &stamp).await {
            let reason = format!(
                "[{from}, {}) was promised with digest {:016x} and now gives {digest:016x}, and some of it is written",
                intent.to, intent.digest
            );
            return Err(End::Stop(Stop::new(StopKind::DigestDiffers, reason)));
        }
        warn!(
            partition = read.origin.partition,
            from,
            to = intent.to,
            "a promised batch gives other rows now, none was written: promising it anew"
        );
        write::promise_and_write(&link, shared, &read.origin, batch, read.facts.end).await?
    };
    link.settled(to);
    Ok(Begun { engine, origin: read.origin, written_to: Some(to), committed: Some(from) })
}

/// A batch that is written at least in part, and whose intent is lost: the witness says its digest and prices.
async fn resolve_written(reader: &mut Reader, shared: &Arc<Shared>, read: Gathered, written: Written) -> Result<Begun, End> {
    let Some(digest) = written.digest else {
        let reason = format!("[{}, {}) has witnesses that differ, and its intent is lost", written.from, written.to);
        return Err(End::Stop(Stop::new(StopKind::DigestDiffers, reason)));
    };
    let prices = shared.prices_at(written.price_version).await?;
    let start = window_start(reader, shared, &read, written.from).await;
    let mut engine = rebuild(reader, shared, &read, start, written.from, prices).await?;
    form(reader, &mut engine, written.to).await?;
    let batch = engine.close(written.to);
    if batch.rows.digest != digest {
        let reason = format!(
            "[{}, {}) is written with digest {digest:016x} and now gives {:016x}, and its intent is lost",
            written.from, written.to, batch.rows.digest
        );
        return Err(End::Stop(Stop::new(StopKind::DigestDiffers, reason)));
    }
    let intent = Intent::new(&batch, read.facts.end, &shared.hash_key_id, &read.origin.topic_id, shared.now());
    let link = reader.link().clone();
    let to = write::write_promised(&link, shared, &read.origin, batch, &intent, true).await?;
    link.settled(to);
    Ok(Begun { engine, origin: read.origin, written_to: Some(to), committed: None })
}

/// A promised batch whose records have left the log: it is written whole, or not at all, or a person must look.
async fn resolve_gone(link: &Link, shared: &Shared, read: Gathered, from: i64, intent: &Intent) -> Result<Begun, End> {
    let stamp = Stamp { from, to: intent.to, price_version: intent.price_version, written_at: intent.time };
    if is_complete(&proofs(shared, &read.origin, from, intent.to).await, intent) {
        write::insert_batches_row(shared, &read.origin, &stamp, &write::batch_row(intent, Timestamp::MIN)).await?;
        return Err(End::Restart(format!("[{from}, {}) was written whole", intent.to)));
    }
    if is_started(shared, &read.origin, &stamp).await {
        let reason = format!("[{from}, {}) is written in part, and its records have left the log", intent.to);
        return Err(End::Stop(Stop::new(StopKind::LostData, reason)));
    }
    // The promise may reach behind the gap: standing beside the gap's row, it would overlap `batches`. It is taken back first, so that
    // whoever is killed in between leaves a gap to be declared and nothing else. Without an end of `batches` an offset alone would be
    // taken for a stranger's, so the first promise of a partition stands until the gap does.
    if read.facts.end.is_some() {
        link.commit(from, String::new()).await.map_err(|error| End::Rejoin(error.to_string()))?;
    }
    declare_gap(link, shared, &read, from, read.facts.log_start).await
}

/// Whether any table has rows of the range, or may get them from an insert that still runs.
async fn is_started(shared: &Shared, origin: &Origin, stamp: &Stamp) -> bool {
    let token = sink::batch_token(origin, stamp);
    // First the inserts that run: one that ends in between shows its rows.
    shared.until_answered("see whether an insert still runs", || shared.tables.running(&token)).await
        || !proofs(shared, origin, stamp.from, stamp.to).await.is_empty()
}

async fn proofs(shared: &Shared, origin: &Origin, from: i64, to: i64) -> Vec<Proof> {
    let range = Range {
        digest: None,
        source_epoch: &origin.source_epoch,
        topic: &origin.topic,
        topic_id: &origin.topic_id,
        partition: origin.partition,
        from,
        to,
        months: &[],
        received: None,
    };
    shared.until_answered("read the witnesses", || shared.tables.witnesses(&range)).await
}

/// Whether a promised batch is written in all tables: as many rows as it counts, and both rollups in every month that the log has.
fn is_complete(proofs: &[Proof], intent: &Intent) -> bool {
    let rows = |table: &str| proofs.iter().filter(|proof| proof.table == table).map(|proof| proof.count).sum::<u64>();
    let months = |table: &str| proofs.iter().filter(|proof| proof.table == table).map(|proof| proof.month).collect::<BTreeSet<_>>();
    let ours = proofs.iter().all(|proof| proof.digest == intent.digest && proof.digests == 1);
    let logged = months("usage_log");
    ours && rows("usage_log") == intent.counts.accepted
        && rows("rejected_events") == intent.counts.rejected
        && logged == months("usage_hourly")
        && rows("usage_hourly") == logged.len() as u64
        && months("session_users").is_superset(&logged)
        && rows("session_users") == months("session_users").len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(received: u64) -> BatchEnd {
        BatchEnd {
            offset_to: 20,
            offset_from: 10,
            gap_from: None,
            topic_id: "id".into(),
            leader_epoch: 3,
            received,
            record_time_max: Timestamp::MIN,
            oldest_prev: -1,
            oldest_from: 0,
            hole_offsets: 0,
            overlap_offsets: 0,
            broken_prevs: 0,
        }
    }

    #[test]
    fn a_log_that_was_written_anew_is_told_by_its_last_records_epoch_or_by_how_many_there_are() {
        assert_eq!(rewritten(&last(5), 10, Some((19, 3)), 5), None);
        assert!(rewritten(&last(5), 10, Some((19, 4)), 5).is_some(), "another leader's record");
        assert!(rewritten(&last(5), 10, Some((18, 3)), 4).is_some(), "its last record is a marker now");
        assert!(rewritten(&last(5), 0, Some((9, 3)), 0).is_some(), "all of it is");
        assert_eq!(rewritten(&last(5), 12, Some((19, 3)), 4), None, "retention took its first records");
    }

    #[test]
    fn a_batch_without_records_is_held_against_the_record_before_it() {
        assert_eq!(rewritten(&last(0), 0, Some((9, 3)), 0), None);
        assert!(rewritten(&last(0), 0, Some((9, 4)), 0).is_some());
        assert_eq!(rewritten(&last(0), 10, None, 0), None, "nothing before it is left");
        assert_eq!(rewritten(&BatchEnd { leader_epoch: -1, ..last(0) }, 0, Some((9, 4)), 0), None, "a gap names no leader");
    }
}
