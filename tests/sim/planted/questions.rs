//! What the product would do without a protection of its own, done around its questions to Kafka.

use async_trait::async_trait;
use farebox::engine::Intent;
use farebox::model::Timestamp;
use farebox::runtime::world::Questions;
use farebox::source::kafka::{Committed, Error};

/// Every topic of that name counts as the same.
pub struct WithoutTopicId<Q>(pub Q);

/// The window for duplicates begins where reading does, and a promised batch is formed with an empty one.
pub struct WithoutWindow<Q>(pub Q);

#[async_trait]
impl<Q: Questions> Questions for WithoutTopicId<Q> {
    async fn topic_id(&self) -> Result<String, Error> {
        self.0.topic_id().await.map(|_| "topic-1".to_owned())
    }

    async fn committed(&self, partition: i32) -> Result<Option<Committed>, Error> {
        self.0.committed(partition).await
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), Error> {
        self.0.bounds(partition).await
    }

    async fn offset_of_time(&self, partition: i32, time: Timestamp) -> Result<Option<i64>, Error> {
        self.0.offset_of_time(partition, time).await
    }
}

#[async_trait]
impl<Q: Questions> Questions for WithoutWindow<Q> {
    async fn topic_id(&self) -> Result<String, Error> {
        self.0.topic_id().await
    }

    async fn committed(&self, partition: i32) -> Result<Option<Committed>, Error> {
        let committed = self.0.committed(partition).await?;
        Ok(committed.map(|mut committed| {
            if let Ok(Some(mut intent)) = Intent::from_metadata(&committed.metadata) {
                intent.window_from = committed.offset;
                committed.metadata = intent.to_string().into_bytes();
            }
            committed
        }))
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), Error> {
        self.0.bounds(partition).await
    }

    async fn offset_of_time(&self, partition: i32, time: Timestamp) -> Result<Option<i64>, Error> {
        self.0.offset_of_time(partition, time).await.map(|_| None)
    }
}
