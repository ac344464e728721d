//! Rejected records go to the dead-letter topic as they came, with the reason in headers.
//!
//! Holds: key, value and headers are kept byte for byte, header names that are not text included. One limit is known: librdkafka
//! ends a header's name at its first zero byte, and so do we. A letter that its topic refuses for its size is sent by itself, so
//! that none suffers for its neighbours, and then with less of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::time::sleep;

use super::headers;
use crate::engine::DeadLetter;

/// After so long without an acknowledgement the caller hears of it, so that a partition that stands still says so.
const UNACKNOWLEDGED_MAX: &str = "10000";
pub(super) const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

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
    /// No broker answers, and why, as far as it is known.
    Away(Option<String>),
}

/// How much of a rejected record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Key, value and headers.
    Whole,
    /// The key.
    Key,
    /// Where it lies, and why it was rejected.
    Place,
}

/// Keeps the last errors that librdkafka tells in the background: the only place where it says why nobody answers.
#[derive(Default)]
struct Heard {
    refused: Mutex<Option<String>>,
    away: Mutex<Option<String>>,
}

pub(super) struct Listening(Arc<Heard>);

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, reason: &str) {
        let kept = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL) => {
                &self.0.refused
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => return, // what was told of each broker says more
            _ => &self.0.away,
        };
        // Behind the reason librdkafka counts milliseconds and repetitions.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }
}

/// The producer of this process: idempotent, acknowledged by all replicas.
pub struct Publisher {
    pub(super) producer: FutureProducer<Listening>,
    /// For records that may be too large: a batch of one, so that none is refused for the size of its neighbours.
    single: OnceLock<FutureProducer<Listening>>,
    client: ClientConfig,
    heard: Arc<Heard>,
    pub(super) topic: String,
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
            .set("message.timeout.ms", UNACKNOWLEDGED_MAX);
        let heard = Arc::<Heard>::default();
        let producer = client.create_with_context(Listening(Arc::clone(&heard)))?;
        Ok(Self {
            producer,
            single: OnceLock::new(),
            client,
            heard,
            topic: topic.to_owned(),
            dead_letter_topic: dead_letter_topic.to_owned(),
        })
    }

    /// The client, to ask the brokers with.
    pub fn client(&self) -> &Client<impl ClientContext + use<>> {
        self.producer.client()
    }

    /// Whether a topic is there. Blocks for as long as no broker answers, at most for `timeout`.
    pub fn see_topic(&self, topic: &str, timeout: Duration) -> TopicSeen {
        let client = self.producer.client();
        let last = |kept: &Mutex<Option<String>>| kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match client.fetch_metadata(Some(topic), timeout) {
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
            Err(_) => match last(&self.heard.refused) {
                Some(reason) => TopicSeen::Refused(reason),
                None => TopicSeen::Away(last(&self.heard.away)),
            },
        }
    }

    /// Writes dead letters of one partition and waits until all are acknowledged. One that the topic refuses for its size is sent
    /// without value and headers, then without key, and says where the original lies.
    ///
    /// # Errors
    /// The first that was not acknowledged; those before it may be written.
    pub async fn dead_letters(&self, partition: i32, letters: &[DeadLetter]) -> Result<(), PublishError> {
        let mut waiting: VecDeque<(&DeadLetter, DeliveryFuture)> = VecDeque::new();
        for letter in letters {
            let mut record = self.record(partition, letter, Kept::Whole);
            loop {
                match self.producer.send_result(record) {
                    Ok(delivery) => break waiting.push_back((letter, delivery)),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        record = refused;
                        match waiting.pop_front() {
                            Some((letter, delivery)) => self.acknowledged(partition, letter, delivery).await?,
                            None => sleep(QUEUE_FULL_WAIT).await, // other partitions fill it
                        }
                    }
                    Err((error, _)) if is_too_large(&error) => break self.in_parts(partition, letter).await?,
                    Err((source, _)) => return Err(self.failed(source)),
                }
            }
        }
        for (letter, delivery) in waiting {
            self.acknowledged(partition, letter, delivery).await?;
        }
        Ok(())
    }

    async fn acknowledged(&self, partition: i32, letter: &DeadLetter, delivery: DeliveryFuture) -> Result<(), PublishError> {
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) if is_too_large(&error) => self.in_parts(partition, letter).await,
            Ok(Err((source, _))) => Err(self.failed(source)),
            Err(_) => Err(self.failed(KafkaError::Canceled)),
        }
    }

    /// Sends one by itself, and as much of it as the topic takes.
    async fn in_parts(&self, partition: i32, letter: &DeadLetter) -> Result<(), PublishError> {
        let single = self.single().map_err(|source| self.failed(source))?;
        let mut refused = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        for kept in [Kept::Whole, Kept::Key, Kept::Place] {
            let answer = match single.send_result(self.record(partition, letter, kept)) {
                Ok(delivery) => delivery.await.map_err(|_| self.failed(KafkaError::Canceled))?.map_err(|(error, _)| error),
                Err((error, _)) => Err(error),
            };
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if is_too_large(&error) => refused = error,
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(self.failed(refused))
    }

    fn single(&self) -> Result<&FutureProducer<Listening>, KafkaError> {
        if let Some(single) = self.single.get() {
            return Ok(single);
        }
        let mut client = self.client.clone();
        client.set("batch.num.messages", "1").set("linger.ms", "0");
        let single = client.create_with_context(Listening(Arc::clone(&self.heard)))?;
        Ok(self.single.get_or_init(|| single))
    }

    fn record<'a>(&'a self, partition: i32, letter: &'a DeadLetter, kept: Kept) -> FutureRecord<'a, [u8], [u8]> {
        let mut list = OwnedHeaders::new();
        let mut add = |name: &[u8], value: Option<&[u8]>| headers::add(&mut list, name, value);
        if kept == Kept::Whole {
            for (name, value) in &letter.headers {
                add(name, value.as_deref());
            }
        } else {
            add(b"farebox.value", Some(b"left out for its size; read it at the offset named here"));
        }
        if kept == Kept::Place && letter.key.is_some() {
            add(b"farebox.key", Some(b"left out for its size; read it at the offset named here"));
        }
        add(b"farebox.reason", Some(letter.reason.as_str().as_bytes()));
        add(b"farebox.detail", Some(letter.detail.as_bytes()));
        add(b"farebox.topic", Some(self.topic.as_bytes()));
        add(b"farebox.partition", Some(partition.to_string().as_bytes()));
        add(b"farebox.offset", Some(letter.offset.to_string().as_bytes()));
        let mut record = FutureRecord::to(&self.dead_letter_topic).headers(list);
        record.key = if kept == Kept::Place { None } else { letter.key.as_deref() };
        record.payload = if kept == Kept::Whole { letter.value.as_deref() } else { None };
        record
    }

    fn failed(&self, source: KafkaError) -> PublishError {
        PublishError { topic: self.dead_letter_topic.clone(), source }
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, MessageSizeTooLarge};
    matches!(error, KafkaError::MessageProduction(MessageSizeTooLarge | InvalidMessageSize))
}
