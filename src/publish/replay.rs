//! Rejected records go to the events topic again, as they first came.
//!
//! Holds: each goes to the partition that it came from, where the window for duplicates knows its id; key, value and headers are what the
//! caller gives, and one header more says where the record lay.

use std::collections::VecDeque;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{DeliveryFuture, FutureRecord};
use tokio::time::sleep;

use super::Publisher;
use super::dead_letters::QUEUE_FULL_WAIT;
use super::headers;

/// The header that says where a record that is sent again lay: `partition/offset`.
pub const REPLAYED: &str = "farebox.replayed";

/// A record to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The partition it came from.
    pub partition: i32,
    /// Where it lay.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A record that was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("write to the topic `{topic}`")]
pub struct ReplayError {
    topic: String,
    source: KafkaError,
}

impl Publisher {
    /// Sends records to the events topic and waits until all are acknowledged: where each lies now, in their order.
    ///
    /// # Errors
    /// The first that was not acknowledged; any other may be written.
    pub async fn replay(&self, records: &[Replayed]) -> Result<Vec<(i32, i64)>, ReplayError> {
        let failed = |source| ReplayError { topic: self.topic.clone(), source };
        let mut places = Vec::with_capacity(records.len());
        let mut waiting: VecDeque<DeliveryFuture> = VecDeque::new();
        let acknowledged = async |delivery: DeliveryFuture| match delivery.await {
            Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
            Ok(Err((source, _))) => Err(failed(source)),
            Err(_) => Err(failed(KafkaError::Canceled)),
        };
        for replayed in records {
            let mut list = OwnedHeaders::new();
            for (name, value) in &replayed.headers {
                headers::add(&mut list, name, value.as_deref());
            }
            let place = format!("{}/{}", replayed.partition, replayed.offset);
            headers::add(&mut list, REPLAYED.as_bytes(), Some(place.as_bytes()));
            let mut record: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(&self.topic).partition(replayed.partition).headers(list);
            record.key = replayed.key.as_deref();
            record.payload = replayed.value.as_deref();
            loop {
                match self.producer.send_result(record) {
                    Ok(delivery) => break waiting.push_back(delivery),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        record = refused;
                        match waiting.pop_front() {
                            Some(delivery) => places.push(acknowledged(delivery).await?),
                            None => sleep(QUEUE_FULL_WAIT).await,
                        }
                    }
                    Err((source, _)) => return Err(failed(source)),
                }
            }
        }
        for delivery in waiting {
            places.push(acknowledged(delivery).await?);
        }
        Ok(places)
    }
}
