//! Rejected records go to the dead-letter topic as they came, with the reason in headers.

use std::collections::VecDeque;

use rdkafka::ClientConfig;
use rdkafka::bindings::rd_kafka_t;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use crate::engine::DeadLetter;

/// A dead letter that was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("write to the dead-letter topic `{topic}`")]
pub struct PublishError {
    topic: String,
    source: KafkaError,
}

/// The producer of this process: idempotent, acknowledged by all replicas.
pub struct Publisher {
    producer: FutureProducer,
    topic: String,
    dead_letter_topic: String,
}

impl Publisher {
    /// A producer with this configuration. Connects in the background.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn new(client: &ClientConfig, topic: &str, dead_letter_topic: &str) -> Result<Self, KafkaError> {
        let mut client = client.clone();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("message.max.bytes", "10485760")
            .set("message.timeout.ms", "60000");
        Ok(Self { producer: client.create()?, topic: topic.to_owned(), dead_letter_topic: dead_letter_topic.to_owned() })
    }

    /// librdkafka's handle, for questions that rust-rdkafka cannot ask. Lives as long as this value.
    pub fn native_ptr(&self) -> *mut rd_kafka_t {
        self.producer.client().native_ptr()
    }

    /// The client, for metadata.
    pub fn client(&self) -> &rdkafka::client::Client<impl rdkafka::client::ClientContext + use<>> {
        self.producer.client()
    }

    /// Writes dead letters of one partition and waits until all are acknowledged. One that the topic refuses for its size is sent
    /// without its value and says where the original lies.
    ///
    /// # Errors
    /// The first that was not acknowledged; those before it may be written.
    pub async fn dead_letters(&self, partition: i32, letters: &[DeadLetter]) -> Result<(), PublishError> {
        let mut waiting: VecDeque<(&DeadLetter, DeliveryFuture)> = VecDeque::new();
        for letter in letters {
            let mut record = self.record(partition, letter, true);
            loop {
                match self.producer.send_result(record) {
                    Ok(delivery) => break waiting.push_back((letter, delivery)),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) if !waiting.is_empty() => {
                        record = refused;
                        self.acknowledged(partition, waiting.pop_front()).await?;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                        break self.without_value(partition, letter).await?;
                    }
                    Err((source, _)) => return Err(self.failed(source)),
                }
            }
        }
        while !waiting.is_empty() {
            self.acknowledged(partition, waiting.pop_front()).await?;
        }
        Ok(())
    }

    async fn acknowledged(&self, partition: i32, waiting: Option<(&DeadLetter, DeliveryFuture)>) -> Result<(), PublishError> {
        let Some((letter, delivery)) = waiting else { return Ok(()) };
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize), _))) => {
                self.without_value(partition, letter).await
            }
            Ok(Err((source, _))) => Err(self.failed(source)),
            Err(_) => Err(self.failed(KafkaError::Canceled)),
        }
    }

    async fn without_value(&self, partition: i32, letter: &DeadLetter) -> Result<(), PublishError> {
        let delivery = self.producer.send_result(self.record(partition, letter, false)).map_err(|(source, _)| self.failed(source))?;
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((source, _))) => Err(self.failed(source)),
            Err(_) => Err(self.failed(KafkaError::Canceled)),
        }
    }

    fn record<'a>(&'a self, partition: i32, letter: &'a DeadLetter, with_value: bool) -> FutureRecord<'a, [u8], [u8]> {
        let mut headers = OwnedHeaders::new();
        if with_value {
            for (name, value) in &letter.headers {
                // Kafka's own clients write header names as UTF-8; of others the text is kept as far as it is text.
                headers = headers.insert(Header { key: &String::from_utf8_lossy(name), value: value.as_deref() });
            }
        } else {
            headers = headers.insert(Header { key: "farebox.value", value: Some("left out for its size; read it at the offset named here") });
        }
        let (partition, offset) = (partition.to_string(), letter.offset.to_string());
        headers = headers
            .insert(Header { key: "farebox.reason", value: Some(letter.reason.as_str()) })
            .insert(Header { key: "farebox.detail", value: Some(letter.detail.as_str()) })
            .insert(Header { key: "farebox.topic", value: Some(self.topic.as_str()) })
            .insert(Header { key: "farebox.partition", value: Some(partition.as_str()) })
            .insert(Header { key: "farebox.offset", value: Some(offset.as_str()) });
        let mut record = FutureRecord::to(&self.dead_letter_topic).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = if with_value { letter.value.as_deref() } else { None };
        record
    }

    fn failed(&self, source: KafkaError) -> PublishError {
        PublishError { topic: self.dead_letter_topic.clone(), source }
    }
}
