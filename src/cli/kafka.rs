//! Kafka, to look at: outside of the group, writing nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::engine::Intent;
use crate::model::Record;
use crate::publish::{Publisher, TopicSeen, has_append_time};
use crate::runtime;
use crate::source::kafka::{self, Handle};

/// A broker that says nothing for so long is away.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What the group committed for a partition.
#[derive(Debug, Clone)]
pub(super) struct Promised {
    pub(super) offset: Option<i64>,
    /// None: no batch is promised, or it cannot be read.
    pub(super) intent: Option<Intent>,
}

/// Kafka, to look at.
pub(super) struct Kafka {
    pub(super) publisher: Publisher,
    pub(super) handle: Handle,
    /// None: there is no such topic.
    pub(super) dead_letters: Option<Handle>,
    pub(super) topic: String,
    pub(super) dead_letter_topic: String,
    pub(super) append_time: bool,
    pub(super) topic_id: String,
}

impl Kafka {
    /// Asks whether Kafka and the topic are there. Blocks.
    pub(super) fn reach(config: &Config) -> Result<Arc<Self>, String> {
        let kafka = &config.kafka;
        let publisher =
            Publisher::new(&kafka.client_config(), &kafka.topic, &kafka.dead_letter_topic).map_err(|error| error.to_string())?;
        match publisher.see_topic(&kafka.topic, SILENCE_MAX) {
            TopicSeen::There => {}
            TopicSeen::Missing => return Err(format!("there is no topic {}", kafka.topic)),
            TopicSeen::Refused(reason) => return Err(reason),
            TopicSeen::Away(reason) => return Err(reason.unwrap_or_else(|| format!("{} does not answer", kafka.brokers))),
        }
        let said = |error: kafka::Error| error.to_string();
        let topic_id = kafka::topic_id(publisher.client(), &kafka.topic, SILENCE_MAX).map_err(said)?;
        let onlooker = runtime::onlooker(config);
        let handle = Handle::apart(&onlooker, &kafka.topic).map_err(said)?;
        let dead_letters = match publisher.see_topic(&kafka.dead_letter_topic, SILENCE_MAX) {
            TopicSeen::There => Some(Handle::apart(&onlooker, &kafka.dead_letter_topic).map_err(said)?),
            _ => None,
        };
        let append_time = tokio::runtime::Handle::current()
            .block_on(has_append_time(&kafka.client_config(), &kafka.topic))
            .map_err(|error| error.to_string())?;
        let (topic, dead_letter_topic) = (kafka.topic.clone(), kafka.dead_letter_topic.clone());
        Ok(Arc::new(Self { publisher, handle, dead_letters, topic, dead_letter_topic, append_time, topic_id }))
    }

    /// What the group committed for a partition. Blocks.
    pub(super) fn promised(&self, partition: i32) -> Result<Promised, kafka::Error> {
        let committed = self.handle.committed(partition, SILENCE_MAX)?;
        let metadata = committed.as_ref().map_or(&[][..], |committed| &committed.metadata);
        let intent = Intent::from_metadata(metadata).unwrap_or_default();
        Ok(Promised { offset: committed.map(|committed| committed.offset), intent })
    }

    /// The log's start and end. Blocks.
    pub(super) fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), kafka::Error> {
        kafka::bounds(self.publisher.client(), topic, partition, SILENCE_MAX)
    }

    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<i32>, String> {
        let metadata = self.publisher.client().fetch_metadata(Some(topic), SILENCE_MAX).map_err(|error| error.to_string())?;
        Ok(metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
    }
}

/// Where the record of a dead letter lay, when it lay in this topic.
pub(super) fn place(record: &Record<'_>, topic: &str) -> Option<(i32, i64)> {
    // The last of a name is ours: a record may bring one along.
    let text = |name: &str| {
        let header = record.headers.iter().rev().find(|header| header.name == name.as_bytes());
        header.and_then(|header| std::str::from_utf8(header.value?).ok())
    };
    if text("farebox.topic")? != topic {
        return None;
    }
    Some((text("farebox.partition")?.parse().ok()?, text("farebox.offset")?.parse().ok()?))
}
