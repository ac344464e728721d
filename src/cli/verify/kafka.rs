//! What Kafka confirms: how far the log goes and what the group committed, how many records a range has, and that rejected ones are kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::checks::{Verify, name};
use super::{Row, Verdict};
use crate::cli::kafka::{Kafka, Promised, SILENCE_MAX, place};
use crate::model::Timestamp;
use crate::source::kafka::{self, Handle, Stretch, scan};
use crate::store::{Check, End, Ends, Error, Facts};

/// Batches of a partition whose records are counted again.
const RECOUNTED_MAX: usize = 20;
/// Rejected records that are looked for among the dead letters: about 30 bytes of memory each.
const PLACES_MAX: u64 = 500_000;
/// A dead letter is written after its record; clocks may differ by so much.
const CLOCKS_MS: i64 = 3_600_000;

/// Whether rows behind the end of `batches` are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Explained {
    /// By the promise in Kafka.
    Promised,
    /// By no promise there.
    Not,
    /// Kafka could not be asked.
    Unknown,
}

/// Rows behind the end of `batches`, of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) place: String,
    pub(super) explained: Explained,
    digest: u64,
}

impl Unfinished {
    pub(super) fn of(facts: &Facts, promised: Option<&Promised>) -> Vec<Self> {
        let end = facts.end.as_ref().map(|end| end.offset_to);
        let mut places: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        let rows = facts.log.iter().map(|rows| (rows.digest, rows.offset_min, rows.offset_max + 1));
        let blocks = facts.witnesses.iter().flat_map(|range| range.digests.iter().map(|digest| (*digest, range.from, range.to)));
        for (digest, from, to) in rows.chain(blocks) {
            let place = places.entry(digest).or_insert((from, to));
            *place = (place.0.min(from), place.1.max(to));
        }
        let explained = |digest: u64, (from, to): (i64, i64)| match promised {
            None => Explained::Unknown,
            Some(Promised { offset: Some(offset), intent: Some(intent) })
                if intent.digest == digest && from >= *offset && to <= intent.to && end.is_none_or(|end| end == *offset) =>
            {
                Explained::Promised
            }
            Some(_) => Explained::Not,
        };
        let row = |(digest, place): (u64, (i64, i64))| Self {
            place: format!("offsets {}-{}", place.0, place.1),
            explained: explained(digest, place),
            digest,
        };
        places.into_iter().map(row).collect()
    }
}

impl Kafka {
    /// Reads the dead letters up to where they end now, and takes the places that they name out of `missing`. Answers how many were read,
    /// and since when every dead letter is still there; `None`: since ever.
    fn seek(&self, handle: &Handle, missing: &mut HashSet<(i32, i64)>) -> Result<(u64, Option<Timestamp>), String> {
        let said = |error: kafka::Error| error.to_string();
        let (mut stretches, mut trimmed) = (Vec::new(), BTreeSet::new());
        for partition in self.partitions(&self.dead_letter_topic)? {
            let (from, to) = self.bounds(&self.dead_letter_topic, partition).map_err(said)?;
            stretches.push(Stretch { partition, from, to });
            if from > 0 {
                trimmed.insert(partition);
                if from == to {
                    return Ok((0, Some(Timestamp::MAX))); // all have left
                }
            }
        }
        let (mut read, mut since, mut begun) = (0, None, BTreeSet::new());
        scan(handle, &stretches, SILENCE_MAX, |partition, record| {
            read += 1;
            if trimmed.contains(&partition) && begun.insert(partition) {
                since = since.max(Some(record.timestamp));
            }
            if let Some(place) = place(record, &self.topic) {
                missing.remove(&place);
            }
            true
        })
        .map_err(said)?;
        Ok((read, since))
    }
}

impl Verify {
    /// Everything that Kafka can say of the newest epoch of the topic.
    pub(super) async fn confirm(&mut self, kafka: &Arc<Kafka>, ends: &Ends) -> Result<(), Error> {
        let here: Vec<&End> = ends.0.iter().filter(|end| end.topic == kafka.topic && end.source_epoch == self.epoch).collect();
        self.offsets(kafka, &here).await?;
        self.records(kafka, &here).await?;
        self.dead_letters(kafka, &here).await
    }

    async fn offsets(&mut self, kafka: &Arc<Kafka>, here: &[&End]) -> Result<(), Error> {
        let (mut places, mut lag, mut failed) = (Vec::new(), 0_i64, None);
        for end in here {
            let name = name(end);
            // What is committed is read first: it may only lie before the end that is read afterwards, or at it.
            let (asked, partition) = (Arc::clone(kafka), end.in_partition);
            let Ok(promised) = tokio::task::spawn_blocking(move || asked.promised(partition)).await else { continue };
            let facts = self.store.facts(&end.source_epoch, &end.topic, end.in_partition).await?;
            let Some(known) = facts.end else { continue };
            let asked = Arc::clone(kafka);
            let bounds = tokio::task::spawn_blocking(move || asked.bounds(&asked.topic, partition)).await;
            match (promised, bounds) {
                (Ok(promised), Ok(Ok((_, log_end)))) => {
                    if known.topic_id != kafka.topic_id {
                        places.push(format!("{name}: the topic was deleted and made again"));
                    }
                    if log_end < known.offset_to {
                        places.push(format!("{name}: the log ends at {log_end}, the batches at {}", known.offset_to));
                    }
                    if let Some(offset) = promised.offset.filter(|offset| *offset > known.offset_to) {
                        places.push(format!("{name}: the group committed {offset}, the batches end at {}", known.offset_to));
                    }
                    lag += (log_end - known.offset_to).max(0);
                }
                (Err(error), _) | (_, Ok(Err(error))) => failed = Some(error.to_string()),
                (Ok(_), Err(error)) => failed = Some(error.to_string()),
            }
        }
        let looked_at = format!("{} partitions, lag {lag}", here.len());
        self.rows.push(match failed {
            Some(reason) if places.is_empty() => Row::told("offsets", "now", looked_at, reason, Verdict::Unproven),
            _ => Row::new("offsets", "now", looked_at, places, 0),
        });
        Ok(())
    }

    /// A batch with fewer records than offsets has markers of transactions in it, or records that were never read: the log tells.
    async fn records(&mut self, kafka: &Arc<Kafka>, here: &[&End]) -> Result<(), Error> {
        let (mut places, mut short, mut recounted, mut failed) = (Vec::new(), 0, 0, None);
        for end in here {
            let (asked, partition) = (Arc::clone(kafka), end.in_partition);
            let bounds = tokio::task::spawn_blocking(move || asked.bounds(&asked.topic, partition)).await;
            let Ok(Ok((log_start, _))) = bounds else {
                failed = Some("the log's bounds cannot be read".to_owned());
                continue;
            };
            let check: Check<'_> = self.check(end);
            let (count, batches) = self.store.short_batches(&check, log_start, end.offset_to, RECOUNTED_MAX).await?;
            short += count;
            for batch in batches {
                let asked = Arc::clone(kafka);
                let counted = tokio::task::spawn_blocking(move || {
                    let mut counted = 0_u64;
                    let stretch = Stretch { partition, from: batch.offset_from, to: batch.offset_to };
                    scan(&asked.handle, &[stretch], SILENCE_MAX, |_, _| {
                        counted += 1;
                        true
                    })
                    .map(|()| counted)
                });
                match counted.await {
                    Ok(Ok(counted)) if counted != batch.received => places.push(format!(
                        "{}, offsets {}-{}: Kafka has {counted} records, the batch received {}",
                        name(end),
                        batch.offset_from,
                        batch.offset_to,
                        batch.received
                    )),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => failed = Some(error.to_string()),
                    Err(error) => failed = Some(error.to_string()),
                }
                recounted += 1;
                self.steps.step("records");
            }
        }
        let looked_at = match short {
            0 => "every offset is a record".to_owned(),
            _ => format!("{recounted} of {short} batches with fewer records than offsets, counted again"),
        };
        self.rows.push(match failed {
            Some(reason) if places.is_empty() => Row::told("records", "what Kafka still has", looked_at, reason, Verdict::Unproven),
            _ => Row::new("records", "what Kafka still has", looked_at, places, 0),
        });
        Ok(())
    }

    async fn dead_letters(&mut self, kafka: &Arc<Kafka>, here: &[&End]) -> Result<(), Error> {
        const CHECK: &str = "dead_letters";
        let since = self.days.from.and_then(|day| day.and_hms_opt(0, 0, 0));
        let since = since.map_or(Timestamp::MIN, |day| Timestamp::from_millis(day.and_utc().timestamp_millis()));
        let each = PLACES_MAX / u64::try_from(here.len().max(1)).unwrap_or(1);
        let mut missing: HashSet<(i32, i64)> = HashSet::new();
        let mut received: BTreeMap<(i32, i64), i64> = BTreeMap::new();
        for end in here {
            for rejected in self.store.rejected_places(end, since, each).await? {
                missing.insert((rejected.in_partition, rejected.at));
                received.insert((rejected.in_partition, rejected.at), rejected.received_ms);
            }
        }
        let range = self.days.from.map_or_else(|| "all that are kept".to_owned(), |day| format!("received since {day}"));
        let count = missing.len();
        if kafka.dead_letters.is_none() {
            let found = format!("there is no topic {}", kafka.dead_letter_topic);
            self.rows.push(Row::told(CHECK, range, format!("{count} rejected events"), found, Verdict::Unproven));
            return Ok(());
        }
        let asked = Arc::clone(kafka);
        let sought = tokio::task::spawn_blocking(move || {
            let mut missing = missing;
            match &asked.dead_letters {
                Some(handle) if !missing.is_empty() => asked.seek(handle, &mut missing).map(|seen| (missing, seen)),
                _ => Ok((missing, (0, None))),
            }
        });
        let row = match sought.await {
            Ok(Ok((missing, (read, kept_since)))) => {
                let looked_at = format!("{count} rejected events, {read} dead letters");
                let must_be = |place: &(i32, i64)| match kept_since {
                    None => true,
                    Some(since) => {
                        kafka.append_time
                            && received.get(place).is_some_and(|received| *received > since.millis().saturating_add(CLOCKS_MS))
                    }
                };
                let mut absent: Vec<(i32, i64)> = missing.iter().copied().filter(must_be).collect();
                absent.sort_unstable();
                let left = missing.len() - absent.len();
                let place = |(partition, offset): &(i32, i64)| {
                    format!(
                        "{} partition {partition}, offset {offset}: rejected, and not in {}",
                        kafka.topic, kafka.dead_letter_topic
                    )
                };
                let named: Vec<String> = absent.iter().take(20).map(place).collect();
                let more = u64::try_from(absent.len() - named.len()).unwrap_or(0);
                if absent.is_empty() && left > 0 {
                    let found = format!("of {left} the dead letters may have left their topic by its retention");
                    Row::told(CHECK, range, looked_at, found, Verdict::Unproven)
                } else {
                    Row::new(CHECK, range, looked_at, named, more)
                }
            }
            Ok(Err(reason)) => Row::told(CHECK, range, format!("{count} rejected events"), reason, Verdict::Unproven),
            Err(error) => Row::told(CHECK, range, format!("{count} rejected events"), error.to_string(), Verdict::Unproven),
        };
        self.steps.step("dead letters");
        self.rows.push(row);
        Ok(())
    }
}
