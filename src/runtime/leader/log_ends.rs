//! Which partitions are read to their end. Without this a partition that gets no records would hold back what is closed: its newest
//! record is all that `batches` knows of it.

use std::sync::Arc;
use std::time::Duration;

use super::{Leader, clock};
use crate::model::Timestamp;
use crate::source::kafka;
use crate::store::LogEnd;

const PATIENCE: Duration = Duration::from_secs(10);
/// A record that is not seen yet may be older than this moment by the clocks' difference, or by the length of the transaction that it
/// waits in: brokers allow 15 minutes.
const MARGIN_MS: i64 = 3_600_000;

pub(super) async fn note(leader: &Leader) -> anyhow::Result<()> {
    let Some(source) = leader.store.source(&leader.topic).await? else { return Ok(()) };
    let now = clock::now();
    let mut ends = Vec::new();
    for (partition, log_start, log_end) in bounds(leader).await? {
        // The log's end first: what is written by then is read up to it.
        let written = leader.store.end_of_batches(&source.source_epoch, &leader.topic, partition).await?;
        let is_read = log_start == log_end && written.is_none() || written.is_some_and(|end| end >= log_end);
        ends.push(LogEnd {
            source_epoch: source.source_epoch.clone(),
            topic: leader.topic.to_string(),
            partition,
            read_to: if is_read { now.plus_millis(-MARGIN_MS) } else { Timestamp::MIN },
            seen_at: now,
        });
    }
    Ok(leader.store.note_log_ends(&ends).await?)
}

/// Every partition with its first offset and the one behind its last record.
async fn bounds(leader: &Leader) -> anyhow::Result<Vec<(i32, i64, i64)>> {
    let (publisher, topic) = (Arc::clone(&leader.publisher), Arc::clone(&leader.topic));
    let ask = move || -> anyhow::Result<Vec<(i32, i64, i64)>> {
        let metadata = publisher.client().fetch_metadata(Some(&topic), PATIENCE)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let mut bounds = Vec::new();
        for partition in partitions {
            let (start, end) = kafka::bounds(publisher.client(), &topic, partition, PATIENCE)?;
            bounds.push((partition, start, end));
        }
        Ok(bounds)
    };
    tokio::task::spawn_blocking(ask).await?
}
