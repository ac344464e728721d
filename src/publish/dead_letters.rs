//! Rejected records go to the dead-letter topic as they came, with the reason in headers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_t;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use rdkafka::{ClientConfig, ClientContext};

use crate::engine::DeadLetter;

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// A dead letter that was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("write to the dead-letter topic `{topic}`")]
pub struct PublishError {
    topic: String,
    source: KafkaError,
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicSeen {
    /// It is there.
    There,
    /// The brokers know no such topic.
    Missing,
    /// The brokers refuse us, in their words.
    Refused(String),
    /// No broker answers, and why.
    Away(String),
}

/// Keeps the last errors that librdkafka tells in the background: the only place where it says why nobody answers.
#[derive(Default)]
struct Heard {
    refused: Mutex<Option<String>>,
    away: Mutex<Option<String>>,
}

struct Listening(Arc<Heard>);

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, reason: &str) {
        let kept = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL) => {
                &self.0.refused
            }
            _ => &self.0.away,
        };
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }
}

/// The producer of this process: idempotent, acknowledged by all replicas.
pub struct Publisher {
    producer: FutureProducer<Listening>,
    heard: Arc<Heard>,
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
        let heard = Arc::<Heard>::default();
        let producer = client.create_with_context(Listening(Arc::clone(&heard)))?;
        Ok(Self { producer, heard, topic: topic.to_owned(), dead_letter_topic: dead_letter_topic.to_owned() })
    }

    /// librdkafka's handle, for questions that rust-rdkafka cannot ask. Lives as long as this value.
    pub fn native_ptr(&self) -> *mut rd_kafka_t {
        self.producer.client().native_ptr()
    }

    /// Whether a topic is there. Blocks for some seconds when no broker answers.
    pub fn see_topic(&self, topic: &str) -> TopicSeen {
        let client = self.producer.client();
        let last = |kept: &Mutex<Option<String>>| kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match client.fetch_metadata(Some(topic), METADATA_TIMEOUT) {
            Ok(metadata) => match metadata.topics().iter().find(|found| found.name() == topic) {
                Some(found) if found.error().is_none() && !found.partitions().is_empty() => TopicSeen::There,
                Some(found)
                    if found
                        .error()
                        .is_some_and(|error| RDKafkaErrorCode::from(error) == RDKafkaErrorCode::TopicAuthorizationFailed) =>
                {
                    TopicSeen::Refused(format!("not authorized for topic `{topic}`"))
                }
                _ => TopicSeen::Missing,
            },
            Err(error) => match last(&self.heard.refused) {
                Some(reason) => TopicSeen::Refused(reason),
                None => TopicSeen::Away(last(&self.heard.away).unwrap_or_else(|| error.to_string())),
            },
        }
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
            Ok(Err((
                KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize),
                _,
            ))) => self.without_value(partition, letter).await,
            Ok(Err((source, _))) => Err(self.failed(source)),
            Err(_) => Err(self.failed(KafkaError::Canceled)),
        }
    }

    async fn without_value(&self, partition: i32, letter: &DeadLetter) -> Result<(), PublishError> {
        let delivery =
            self.producer.send_result(self.record(partition, letter, false)).map_err(|(source, _)| self.failed(source))?;
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
            headers = headers
                .insert(Header { key: "farebox.value", value: Some("left out for its size; read it at the offset named here") });
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
