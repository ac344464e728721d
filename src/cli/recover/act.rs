//! Doing it: each step may be done twice, and the row that takes a stop back comes last.

use anyhow::bail;

use super::Case;
use super::remedy::Remedy;
use super::scene::Scene;
use crate::aggregate::Counts;
use crate::model::Timestamp;
use crate::runtime::clock;
use crate::sink::{self, BatchKind, BatchRow, Stamp};
use crate::store::{Insert, Stop};

/// How often a row of `batches` is sent before this gives up; nothing is lost by running it again.
const SENDS_MAX: usize = 5;

/// Does what every case asks for, the group's offsets first.
pub(super) async fn perform(scene: &Scene, cases: &[Case]) -> anyhow::Result<()> {
    if cases.iter().any(|case| case.remedy.touches_the_group()) {
        scene.ensure_empty_group().await?;
    }
    if cases.iter().any(|case| case.remedy == Remedy::NewEpoch) {
        // Stops are those of an epoch: a new one lets every partition go on.
        if let Some(case) = cases.iter().find(|case| matches!(case.remedy, Remedy::Mend(_))) {
            bail!(
                "a new source epoch would let partition {} go on too, which is not mended yet; see what is said of it above",
                case.stop.partition
            );
        }
        begin_new_epoch(scene).await?;
    }
    for case in cases {
        let partition = case.stop.partition;
        match &case.remedy {
            Remedy::CommitEnd(end) => scene.commit(partition, *end).await?,
            Remedy::ForgetOffset => scene.forget(&[partition]).await?,
            Remedy::Clear(_) | Remedy::NewEpoch => {}
            Remedy::Mend(_) => continue,
        }
        clear(scene, &case.stop).await?;
        eprintln!("farebox: partition {partition} may go on");
    }
    Ok(())
}

/// At the moment of the stop itself: a later one stands, wherever the clocks are.
async fn clear(scene: &Scene, stop: &Stop) -> anyhow::Result<()> {
    Ok(scene.store.stop(&Stop { cleared: 1, ..stop.clone() }).await?)
}

/// A new life of the topic for all of its partitions. Where it is the same topic, which lost records, the offsets that the old life has
/// metered and that are still there are a gap in the new one: they are metered once.
async fn begin_new_epoch(scene: &Scene) -> anyhow::Result<()> {
    let old = &scene.source;
    let Ok(number) = old.source_epoch.parse::<u64>() else { bail!("source epoch `{}` is no number", old.source_epoch) };
    let next = number.saturating_add(1).to_string();
    let partitions = scene.partitions().await?;
    if old.topic_id == scene.topic_id {
        for &partition in &partitions {
            keep_what_is_metered(scene, partition, &next).await?;
        }
    }
    scene.forget(&partitions).await?;
    let begun = scene.store.begin_epoch(&old.topic, &scene.topic_id, &next, clock::now()).await?;
    if begun.topic_id != scene.topic_id {
        bail!("source epoch {next} was begun for another topic id, {}; run this again", begun.topic_id);
    }
    eprintln!("farebox: source epoch {next} of `{}` begins", old.topic);
    Ok(())
}

async fn keep_what_is_metered(scene: &Scene, partition: i32, next: &str) -> anyhow::Result<()> {
    let (old, topic) = (&scene.source.source_epoch, &scene.source.topic);
    // An empty group does not say that ClickHouse has ended what a killed instance asked of it.
    if scene.store.running(&format!("{old}/{topic}/{partition}")).await? {
        bail!("an insert of partition {partition} still runs in ClickHouse: run this again when it has ended");
    }
    let known = scene.store.facts(old, topic, partition).await?;
    if known.witnesses.iter().any(|range| known.end.as_ref().is_none_or(|end| range.from >= end.offset_to)) || !known.log.is_empty()
    {
        // Nobody would finish it in the new life, and its records would be metered a second time.
        bail!(
            "partition {partition} has a batch that is written in part: start `farebox run` until it is finished, then run this again"
        );
    }
    let Some(last) = known.end else { return Ok(()) };
    // A run before this one may have come so far; instances may have gone on in the old life since.
    let before = scene.store.facts(next, topic, partition).await?.end.map(|end| end.offset_to);
    let (log_start, log_end) = scene.bounds(partition).await?;
    let behind = last.offset_to.min(log_end);
    // A gap names no leader: then whatever lies before its end counts as metered.
    let metered = if last.leader_epoch < 0 || behind <= log_start {
        behind
    } else {
        scene.first_after_epoch(partition, log_start, behind, last.leader_epoch).await?
    };
    let from = before.unwrap_or(log_start);
    if metered <= from {
        return Ok(());
    }
    let origin = scene.origin(next, partition);
    let price_version = scene.store.price_book_version().await?;
    let stamp = Stamp { from, to: metered, price_version, written_at: clock::now() };
    let row = BatchRow {
        kind: BatchKind::Gap,
        counts: Counts::default(),
        digest: 0,
        prev: before,
        leader_epoch: -1,
        hash_key_id: String::new(),
        record_time_max: last.record_time_max.max(Timestamp::MIN),
    };
    let block = sink::batches_row(&row, &origin, &stamp);
    for _ in 0..SENDS_MAX {
        let sent = scene.store.insert(block.table.name(), block.table.columns(), &block.token, block.body.clone()).await;
        match scene.store.batches_row(next, topic, partition, from).await? {
            Some(seen) if seen.offset_to == metered && seen.count == 1 => return Ok(()),
            Some(seen) => bail!("`batches` has another row from {from} to {} in source epoch {next}", seen.offset_to),
            None => match sent {
                Insert::Done => bail!("ClickHouse answers success and shows no row in `batches`; run this again"),
                Insert::Doubt(error) => eprintln!("farebox: {error}; trying again"),
            },
        }
    }
    bail!("cannot write into `batches`; run this again")
}
