//! How far each partition is read, where no record says so.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, Insert, Store};
use crate::model::Timestamp;

/// What the leader saw of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// The life of the topic.
    pub source_epoch: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Every record older than this is in `batches`; [`Timestamp::MIN`]: nothing is known.
    #[serde(with = "super::time")]
    pub read_to: Timestamp,
    /// When that was seen.
    #[serde(with = "super::time")]
    pub seen_at: Timestamp,
}

impl Store {
    /// Notes how far partitions are read. The newest note of a partition counts, so that a doubled one changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn note_log_ends(&self, ends: &[LogEnd]) -> Result<(), Error> {
        let mut body = Vec::new();
        for end in ends {
            serde_json::to_writer(&mut body, end).map_err(|error| Error::Answer(error.to_string()))?;
            body.push(b'\n');
        }
        let Some(first) = ends.first() else { return Ok(()) };
        let token = format!("log_ends/{}/{}/{}", first.topic, first.source_epoch, first.seen_at.millis());
        let columns = "source_epoch, topic, partition, read_to, seen_at";
        match self.client.insert("log_ends", columns, "JSONEachRow", &token, Bytes::from(body)).await {
            Insert::Done => Ok(()),
            Insert::Doubt(error) => Err(error),
        }
    }
}
