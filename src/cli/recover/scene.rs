//! The servers, to look at a partition as its owner would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::super::run::marked;
use crate::config::Config;
use crate::engine::assignment::Decision;
use crate::publish::{Publisher, has_append_time};
use crate::runtime::world::{Asked, Questions};
use crate::runtime::{self, Gathered, Keep, clock, key};
use crate::sink::Origin;
use crate::source::kafka::{self, Handle, Stretch, scan};
use crate::store::{Source, Stop, Store};

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Both servers, and which life of the topic counts.
pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) topic_id: String,
    pub(super) group: String,
    publisher: Arc<Publisher>,
    handle: Arc<Handle>,
    questions: Asked,
    keep: Keep,
    append_time: bool,
    /// The id of the users key that the configuration names, or why there is none.
    key: Result<String, String>,
}

impl Scene {
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let store = Store::new(&runtime::settings_of_store(config)).map_err(runtime::Error::from).map_err(marked)?;
        let topic = config.kafka.topic.clone();
        let known = store.source(&topic).await.map_err(runtime::Error::from).map_err(marked)?;
        let publisher = Publisher::new(&config.kafka.client_config(), &topic, &config.kafka.dead_letter_topic);
        let publisher = Arc::new(publisher.context("[kafka] cannot be used")?);
        let handle = Arc::new(Handle::apart(&runtime::onlooker(config), &topic).map_err(runtime::Error::from).map_err(marked)?);
        let questions = Asked {
            consumer: Arc::clone(&handle),
            publisher: Arc::clone(&publisher),
            topic: topic.as_str().into(),
            fixed_topic_id: None,
        };
        let topic_id = questions.topic_id().await.map_err(runtime::Error::from).map_err(marked)?;
        let append_time = has_append_time(&config.kafka.client_config(), &topic).await.unwrap_or(false);
        // A topic that was never metered has no stops either.
        let source = known.unwrap_or_else(|| Source {
            topic,
            topic_id: topic_id.clone(),
            source_epoch: "1".to_owned(),
            since: clock::now(),
        });
        let (group, keep) = (config.kafka.group.clone(), runtime::keep(config));
        let key = key::examine(&config.users.hash_key_file, &store).await.map_err(|error| error.to_string());
        Ok(Self { store, source, topic_id, group, publisher, handle, questions, keep, append_time, key })
    }

    pub(super) async fn stops(&self) -> anyhow::Result<Vec<Stop>> {
        Ok(self.store.stops(&self.source.topic).await?)
    }

    /// Everything that is known of a partition now.
    pub(super) async fn look(&self, partition: i32) -> anyhow::Result<Gathered> {
        let origin = self.origin(&self.source.source_epoch, partition);
        let known = self.source.topic_id.clone();
        runtime::look(&self.store, &self.questions, origin, known, self.keep, self.append_time).await
    }

    /// What is to be done about the users key before a promise can be kept.
    pub(super) fn key_is_missing(&self, decision: &Decision) -> Option<String> {
        let Decision::Resolve { from, intent, .. } = decision else { return None };
        match &self.key {
            Ok(id) if *id == intent.hash_key_id => None,
            Ok(id) => Some(format!(
                "the batch [{from}, {}) was promised with users key {}, the configuration names key {id}: put the right file back",
                intent.to, intent.hash_key_id
            )),
            Err(error) => Some(error.clone()),
        }
    }

    pub(super) fn origin(&self, source_epoch: &str, partition: i32) -> Origin {
        Origin {
            source_epoch: source_epoch.to_owned(),
            topic: self.source.topic.clone(),
            partition,
            topic_id: self.topic_id.clone(),
        }
    }

    pub(super) async fn partitions(&self) -> anyhow::Result<Vec<i32>> {
        let (publisher, topic) = (Arc::clone(&self.publisher), self.source.topic.clone());
        let metadata = blocking(move || Ok(publisher.client().fetch_metadata(Some(&topic), PATIENCE)?)).await?;
        Ok(metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
    }

    /// Refuses a group that somebody is in: what is committed now would be overwritten, or overwrite.
    pub(super) async fn ensure_empty_group(&self) -> anyhow::Result<()> {
        let (publisher, group) = (Arc::clone(&self.publisher), self.group.clone());
        match blocking(move || Ok(kafka::members(publisher.client(), &group, PATIENCE)?)).await? {
            0 => Ok(()),
            members => bail!(
                "the group `{}` has {members} members: stop every `farebox run` first, wait for kafka.session_timeout, then run this again",
                self.group
            ),
        }
    }

    pub(super) async fn commit(&self, partition: i32, offset: i64) -> anyhow::Result<()> {
        let handle = Arc::clone(&self.handle);
        blocking(move || Ok(handle.commit(partition, offset, "")?)).await.context("cannot commit into the group")
    }

    /// Forgets the group's offsets of these partitions, where it has any.
    pub(super) async fn forget(&self, partitions: &[i32]) -> anyhow::Result<()> {
        let mut committed = Vec::new();
        for &partition in partitions {
            if self.questions.committed(partition).await?.is_some() {
                committed.push(partition);
            }
        }
        if committed.is_empty() {
            return Ok(());
        }
        let (publisher, group, topic) = (Arc::clone(&self.publisher), self.group.clone(), self.source.topic.clone());
        blocking(move || Ok(kafka::forget_offsets(publisher.client(), &group, &topic, &committed, PATIENCE)?)).await
    }

    pub(super) async fn bounds(&self, partition: i32) -> anyhow::Result<(i64, i64)> {
        Ok(self.questions.bounds(partition).await?)
    }

    /// The first offset from `from` on whose record was written under a later leader epoch than `epoch`; `to` when there is none before it.
    pub(super) async fn first_after_epoch(&self, partition: i32, from: i64, to: i64, epoch: i32) -> anyhow::Result<i64> {
        let handle = Arc::clone(&self.handle);
        let read = move || {
            let mut found = to;
            scan(&handle, &[Stretch { partition, from, to }], PATIENCE, |_, record| {
                if record.leader_epoch > epoch {
                    found = record.offset;
                }
                record.leader_epoch <= epoch
            })?;
            Ok(found)
        };
        blocking(read).await
    }
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(call).await?
}
