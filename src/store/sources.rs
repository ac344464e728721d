//! The life of each topic.

use serde::{Deserialize, Serialize};

use super::{Error, Store, Unique};
use crate::model::Timestamp;

/// One life of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// Its id in Kafka; a recreated topic has another.
    pub topic_id: String,
    /// `1`, and one more with every new epoch.
    pub source_epoch: String,
    /// When it began.
    #[serde(with = "super::time")]
    pub since: Timestamp,
}

impl Store {
    /// The newest life of a topic, or none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn source(&self, topic: &str) -> Result<Option<Source>, Error> {
        let sql = "SELECT topic, topic_id, source_epoch, since FROM sources WHERE topic = {topic:String} \
                   ORDER BY toUInt64OrZero(source_epoch) DESC, since DESC LIMIT 1";
        Ok(self.rows(sql, &[("topic", topic)]).await?.pop())
    }

    /// Begins epoch `1` of a topic that has none, and returns the epoch that counts: another instance may have been first, with another id.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn begin_source(&self, topic: &str, topic_id: &str, now: Timestamp) -> Result<Source, Error> {
        self.begin_epoch(topic, topic_id, "1", now).await
    }

    /// Begins the named epoch of a topic, and returns the row that counts for it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn begin_epoch(&self, topic: &str, topic_id: &str, source_epoch: &str, now: Timestamp) -> Result<Source, Error> {
        let source =
            Source { topic: topic.to_owned(), topic_id: topic_id.to_owned(), source_epoch: source_epoch.to_owned(), since: now };
        let (columns, key) = ("topic, topic_id, source_epoch, since", format!("{topic}/{source_epoch}"));
        let found =
            self.insert_unique("sources", columns, "concat(topic, '/', source_epoch)", &key, std::slice::from_ref(&source)).await?;
        Ok(match found {
            Unique::Ours => source,
            Unique::Other(mut rows) => rows.pop().unwrap_or(source),
        })
    }
}
