//! Partitions that stopped, remembered until `recover` clears them: the evidence may go away by itself.

use serde::{Deserialize, Serialize};

use super::{Error, Store, Unique};
use crate::model::Timestamp;

/// A partition's stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The source epoch it happened in.
    pub source_epoch: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What kind of finding stopped it: a label of a closed list.
    pub kind: String,
    /// The finding, for a person.
    pub reason: String,
    /// When.
    #[serde(with = "super::time")]
    pub at: Timestamp,
    /// 1 in the row that `recover` writes.
    pub cleared: u8,
}

const COLUMNS: &str = "source_epoch, topic, partition, kind, reason, at, cleared";

impl Store {
    /// Remembers a stop, or that it was cleared.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stop(&self, stop: &Stop) -> Result<(), Error> {
        let key = format!("{}/{}/{}/{}/{}", stop.source_epoch, stop.topic, stop.partition, stop.at.millis(), stop.cleared);
        let key_sql = "concat(source_epoch, '/', topic, '/', toString(partition), '/', toString(toUnixTimestamp64Milli(at)), '/', toString(cleared))";
        match self.insert_unique("stops", COLUMNS, key_sql, &key, std::slice::from_ref(stop)).await? {
            Unique::Ours | Unique::Other(_) => Ok(()), // another finding of the same millisecond stops it as well
        }
    }

    /// The stops of a topic that stand, the newest of each partition.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stops(&self, topic: &str) -> Result<Vec<Stop>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT * FROM stops WHERE topic = {{topic:String}} ORDER BY at DESC, cleared DESC LIMIT 1 BY source_epoch, partition) \
             WHERE cleared = 0 ORDER BY partition, source_epoch"
        );
        self.rows(&sql, &[("topic", topic)]).await
    }
}
