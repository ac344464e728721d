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
    let seen = look(leader).await?;
    // Of a topic that was made anew, or a log that was cut, offsets say nothing: those partitions stand still.
    let is_ours = seen.topic_id == source.topic_id;
    let stops = leader.store.stops(&leader.topic).await?;
    let stands = |partition: i32| stops.iter().any(|stop| stop.partition == partition && stop.source_epoch == source.source_epoch);
    let mut ends = Vec::new();
    for (partition, bounds) in seen.partitions {
        // The log's end first: what is written by then is read up to it.
        let written = leader.store.end_of_batches(&source.source_epoch, &leader.topic, partition).await?;
        let is_read = bounds.is_some_and(|(start, end)| written.map_or(start == end, |written| written >= end));
        let is_known = is_read && is_ours && !stands(partition);
        ends.push(LogEnd {
            source_epoch: source.source_epoch.clone(),
            topic: leader.topic.to_string(),
            partition,
            read_to: if is_known { now.plus_millis(-MARGIN_MS) } else { Timestamp::MIN },
            seen_at: now,
        });
    }
    Ok(leader.store.note_log_ends(&ends).await?)
}

struct Seen {
    topic_id: String,
    /// Each with its first offset and the one behind its last record; `None`: nobody leads it now.
    partitions: Vec<(i32, Option<(i64, i64)>)>,
}

async fn look(leader: &Leader) -> anyhow::Result<Seen> {
    let (publisher, topic, fixed) = (Arc::clone(&leader.publisher), Arc::clone(&leader.topic), leader.fixed_topic_id.clone());
    let ask = move || -> anyhow::Result<Seen> {
        let client = publisher.client();
        let metadata = client.fetch_metadata(Some(&topic), PATIENCE)?;
        let ids = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let partitions = ids.map(|id| (id, kafka::bounds(client, &topic, id, PATIENCE).ok())).collect();
        let topic_id = match fixed {
            Some(id) => id.to_string(),
            None => kafka::topic_id(client, &topic, PATIENCE)?,
        };
        Ok(Seen { topic_id, partitions })
    };
    tokio::task::spawn_blocking(ask).await?
}
