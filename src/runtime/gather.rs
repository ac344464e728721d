//! Everything that is known of a partition at one moment.

use super::log::Link;
use super::partition::End;
use super::shared::{Keep, Shared};
use super::world::{Questions, Tables};
use crate::engine::Intent;
use crate::engine::assignment::{Facts, Stop, StopKind, Written};
use crate::sink::Origin;
use crate::store::{self, BatchEnd};

/// The facts, and what beginning needs beside them.
pub struct Gathered {
    /// For the decision.
    pub facts: Facts,
    /// Which life of which topic.
    pub origin: Origin,
    /// The newest row of `batches`.
    pub last: Option<BatchEnd>,
}

/// Which life of the topic this partition's rows belong to.
///
/// # Errors
/// Kafka or ClickHouse cannot be asked.
pub async fn origin(link: &Link, shared: &Shared) -> anyhow::Result<(Origin, String)> {
    let topic_id = link.topic_id().await?;
    let source = shared.source(&topic_id).await?;
    let origin =
        Origin { source_epoch: source.source_epoch, topic: shared.topic.to_string(), partition: link.partition(), topic_id };
    Ok((origin, source.topic_id))
}

/// Reads all facts, in the order in which they cannot deceive: what is committed is read first and last.
///
/// # Errors
/// The outer one: something cannot be read, so nothing is owned yet. The inner one: a stop from before stands.
pub async fn gather(link: &Link, shared: &Shared) -> anyhow::Result<Result<Gathered, End>> {
    let (origin, source_topic_id) = origin(link, shared).await?;
    if let Some(stop) = remembered_stop(shared, &origin).await? {
        return Ok(Err(End::StillStopped(stop)));
    }
    let questions = link.questions();
    look(&*shared.tables, questions, origin, source_topic_id, shared.keep, shared.rules.window.expire_by_time).await.map(Ok)
}

/// Everything that is known of a partition now, whether it stands still or not. `source_topic_id`: the topic's id when its life began.
///
/// # Errors
/// Something cannot be read, or moved meanwhile.
pub async fn look(
    tables: &dyn Tables,
    questions: &dyn Questions,
    origin: Origin,
    source_topic_id: String,
    keep: Keep,
    log_append_time: bool,
) -> anyhow::Result<Gathered> {
    let committed = questions.committed(origin.partition).await?;
    let known = tables.facts(&origin.source_epoch, &origin.topic, origin.partition).await?;
    let (log_start, log_end) = questions.bounds(origin.partition).await?;
    if questions.committed(origin.partition).await? != committed || questions.topic_id().await? != origin.topic_id {
        anyhow::bail!("the group's offset moved while it was read");
    }
    let violation = match contradiction(&known) {
        Some(contradiction) => Some(contradiction),
        None => tables.row3_violations(&keep.check(&origin, log_append_time)).await?,
    };
    // A batch that was finished while this was asked is in `batches` and may show among what is not: it is not behind the end.
    let end = known.end.as_ref().map(|end| end.offset_to);
    let behind = |offset: i64| end.is_none_or(|end| offset >= end);
    let intent = Intent::from_metadata(committed.as_ref().map_or(&[][..], |committed| &committed.metadata));
    let facts = Facts {
        topic_id: origin.topic_id.clone(),
        known_topic_id: Some(known.end.as_ref().map_or(source_topic_id, |end| end.topic_id.clone())),
        strange_topic_ids: known.witnesses.iter().map(|range| range.topic_id.clone()).filter(|id| *id != origin.topic_id).collect(),
        committed: committed.map(|committed| committed.offset),
        intent,
        end,
        gap_from: known.end.as_ref().and_then(|end| end.gap_from),
        oldest_prev: known.end.as_ref().map(|end| end.oldest_prev).filter(|&prev| prev >= 0),
        violation,
        written: known.witnesses.iter().filter(|range| behind(range.from)).map(written).collect(),
        rows: known
            .log
            .iter()
            .filter(|rows| behind(rows.offset_max))
            .map(|rows| (rows.offset_min, rows.offset_max))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
        log_start,
        log_end,
    };
    Ok(Gathered { facts, origin, last: known.end })
}

async fn remembered_stop(shared: &Shared, origin: &Origin) -> Result<Option<Stop>, store::Error> {
    let stops = shared.tables.stops(&origin.topic).await?;
    Ok(stops.into_iter().find(|stop| stop.partition == origin.partition && stop.source_epoch == origin.source_epoch).map(|stop| {
        let kind = StopKind::named(&stop.kind);
        Stop::new(kind, format!("stopped at {} and not recovered since: {}", stop.at, stop.reason))
    }))
}

/// What `batches` contradicts in itself, or two witnesses of one block.
fn contradiction(known: &store::Facts) -> Option<String> {
    if let Some(end) = &known.end
        && (end.hole_offsets > 0 || end.overlap_offsets > 0 || end.broken_prevs > 0)
    {
        let BatchEnd { hole_offsets, overlap_offsets, broken_prevs, .. } = end;
        return Some(format!(
            "`batches` has {hole_offsets} offsets that no row covers, {overlap_offsets} that two rows cover, and {broken_prevs} rows that do not follow the one before"
        ));
    }
    let twin = known
        .witnesses
        .iter()
        .flat_map(|range| range.blocks.iter().map(move |block| (range, block)))
        .find(|(_, block)| block.2 > 1);
    twin.map(|(range, (table, month, count))| {
        format!("`{table}` holds the block [{}, {}) of {month} {count} times", range.from, range.to)
    })
}

fn written(range: &store::RangeWitness) -> Written {
    let one = |values: &[u64]| match values {
        &[value] => Some(value),
        _ => None,
    };
    Written { from: range.from, to: range.to, digest: one(&range.digests), price_version: one(&range.price_versions).unwrap_or(0) }
}
