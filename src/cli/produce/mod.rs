//! `farebox produce`: invented events into the topic, every one acknowledged or reported as failed.

pub(super) mod book;
pub(super) mod generator;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use serde_json::Value;

use self::generator::{Generator, Kind, Message, Settings};
use super::args::{Format, Produce};
use super::progress::Progress;
use super::{Mend, output};
use crate::config::{Config, Kafka};
use crate::model::Timestamp;

/// Errors that no waiting mends.
const REFUSED: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::Authentication,
    RDKafkaErrorCode::SaslAuthenticationFailed,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
    RDKafkaErrorCode::SSL,
];

pub(super) fn produce(config: &Config, options: &Produce, format: Format) -> anyhow::Result<()> {
    let shares = u64::from(options.duplicates) + u64::from(options.conflicts) + u64::from(options.malformed);
    if shares > 1_000_000 {
        bail!("duplicates, conflicts and malformed records are together more than all records: lower one of the shares");
    }
    if let Some(file) = &options.book {
        write_book(file, &book::price_book(options.accounts))?;
    }
    if options.events == 0 {
        return Ok(());
    }
    let seed = match options.seed {
        Some(seed) => seed,
        None => new_seed()?,
    };
    let settings = Settings {
        seed,
        accounts: options.accounts,
        users: options.users,
        duplicates_ppm: options.duplicates,
        conflicts_ppm: options.conflicts,
        malformed_ppm: options.malformed,
    };
    let sent = publish(&config.kafka, options, settings)?;
    output::record(format, &sent.fields(seed))?;
    match sent.failure {
        None => Ok(()),
        Some(error) => Err(error).with_context(|| format!("Kafka did not take {} of {} records", sent.failed, options.events)),
    }
}

/// Sends everything and waits until each record is acknowledged or has failed.
fn publish(kafka: &Kafka, options: &Produce, settings: Settings) -> anyhow::Result<Sent> {
    let producer = connect(kafka, Deliveries::default(), None)?;
    let mut generator = Generator::new(settings);
    let mut sent = Sent::default();
    let mut progress = Progress::new();
    let started = Instant::now();
    for at in 0..options.events {
        wait_for_turn(&producer, started, at, options.rate);
        let message = generator.next(time_of(options, at));
        sent.count(&message);
        send(&producer, BaseRecord::with_opaque_to(&kafka.topic, 0).key(&message.key).payload(&message.value))?;
        if at % 1_024 == 0 {
            producer.poll(Duration::ZERO);
            progress.show(|| how_far(producer.context(), options.events));
        }
    }
    while producer.in_flight_count() > 0 {
        // An unfinished flush is no failure: what failed is counted, record by record.
        let _ = producer.flush(Duration::from_millis(200));
        progress.show(|| how_far(producer.context(), options.events));
    }
    progress.end();
    sent.took = started.elapsed();
    sent.failed = producer.context().failed.load(Ordering::Relaxed);
    sent.failure = producer.context().take_failure();
    Ok(sent)
}

/// What went out, by what must become of it.
#[derive(Debug, Default)]
struct Sent {
    events: u64,
    duplicates: u64,
    conflicts: u64,
    malformed: u64,
    bytes: u64,
    took: Duration,
    failed: u64,
    failure: Option<KafkaError>,
}

impl Sent {
    fn count(&mut self, message: &Message) {
        self.bytes += message.value.len() as u64;
        let counter = match message.kind {
            Kind::Event => &mut self.events,
            Kind::Duplicate => &mut self.duplicates,
            Kind::Conflict => &mut self.conflicts,
            Kind::Malformed => &mut self.malformed,
        };
        *counter += 1;
    }

    fn fields(&self, seed: u64) -> Vec<(&'static str, Value)> {
        let seconds = format!("{}.{:03}", self.took.as_secs(), self.took.subsec_millis());
        let sent = self.events + self.duplicates + self.conflicts + self.malformed;
        vec![
            ("sent", Value::from(sent)),
            ("events", Value::from(self.events)),
            ("duplicates", Value::from(self.duplicates)),
            ("conflicts", Value::from(self.conflicts)),
            ("malformed", Value::from(self.malformed)),
            ("bytes", Value::from(self.bytes)),
            ("seconds", seconds.parse().map_or(Value::Null, |seconds: f64| Value::from(seconds))),
            ("failed", Value::from(self.failed)),
            ("seed", Value::from(seed)),
        ]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a record lies: its partition and offset.
pub(super) type Place = (i32, i64);

/// What Kafka answered.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<KafkaError>>,
    refused: Mutex<Option<String>>,
    /// The place of each record that was delivered, by its number, for those who want to know.
    places: Option<Mutex<BTreeMap<usize, Place>>>,
    /// Set by whoever wants to wait no longer.
    stopped: Arc<AtomicBool>,
}

impl Deliveries {
    /// Remembers the place of every record, and gives up when `stopped` is set.
    pub(super) fn with_places(stopped: Arc<AtomicBool>) -> Self {
        Self { places: Some(Mutex::default()), stopped, ..Self::default() }
    }

    /// The places so far.
    pub(super) fn places(&self) -> BTreeMap<usize, Place> {
        self.places.as_ref().map(|places| lock(places).clone()).unwrap_or_default()
    }

    /// Why the first that failed did.
    pub(super) fn take_failure(&self) -> Option<KafkaError> {
        lock(&self.first_failure).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(?level, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| REFUSED.contains(&code)) {
            *lock(&self.refused) = Some(reason.to_owned());
        }
        tracing::debug!(%error, reason, "librdkafka reports an error");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(record) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
                if let Some(places) = &self.places {
                    lock(places).insert(number, (record.partition(), record.offset()));
                }
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                lock(&self.first_failure).get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// A producer that has seen the topic; waits while Kafka is away, with `patience` no longer than that.
pub(super) fn connect(
    kafka: &Kafka,
    deliveries: Deliveries,
    patience: Option<Duration>,
) -> anyhow::Result<BaseProducer<Deliveries>> {
    let started = Instant::now();
    let mut client = kafka.client_config();
    client.set("enable.idempotence", "true").set("acks", "all").set("allow.auto.create.topics", "false");
    for (name, value) in [("compression.type", "lz4"), ("linger.ms", "20"), ("queue.buffering.max.kbytes", "65536")] {
        if client.get(name).is_none() {
            client.set(name, value);
        }
    }
    let producer: BaseProducer<Deliveries> = client
        .create_with_context(deliveries)
        .map_err(|error| Mend(Box::new(error)))
        .with_context(|| format!("cannot make a producer for {}", kafka.brokers))?;
    let mut said = false;
    loop {
        match producer.client().fetch_metadata(Some(&kafka.topic), Duration::from_secs(2)) {
            Ok(metadata) => {
                let error = metadata.topics().first().and_then(rdkafka::metadata::MetadataTopic::error);
                match error {
                    None => return Ok(producer),
                    Some(
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
                    ) => {
                        let message =
                            format!("the topic `{}` does not exist at {}: `farebox migrate` makes it", kafka.topic, kafka.brokers);
                        return Err(Mend(message.into()).into());
                    }
                    // A topic that was just made has no leader for a moment.
                    Some(error) => tracing::debug!(?error, "the topic is not ready"),
                }
            }
            Err(error) => tracing::debug!(%error, "no answer from Kafka"),
        }
        producer.poll(Duration::from_millis(200));
        if let Some(reason) = lock(&producer.context().refused).take() {
            let message = format!(
                "Kafka at {} refuses us ({reason}): look at `security`, `username` and `password_file` in [kafka]",
                kafka.brokers
            );
            return Err(Mend(message.into()).into());
        }
        if producer.context().stopped.load(Ordering::Relaxed) {
            bail!("stopped before Kafka at {} answered: nothing was sent", kafka.brokers);
        }
        if patience.is_some_and(|patience| started.elapsed() >= patience) {
            bail!(
                "Kafka at {} does not answer for the topic `{}`: nothing was sent; start it, or look at `kafka.brokers`",
                kafka.brokers,
                kafka.topic
            );
        }
        if !said {
            eprintln!("farebox: Kafka at {} does not answer for the topic `{}` yet; waiting", kafka.brokers, kafka.topic);
            said = true;
        }
    }
}

/// Hands a record to librdkafka, waiting while its queue is full.
pub(super) fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
    producer: &BaseProducer<Deliveries>,
    mut record: BaseRecord<'_, K, V, usize>,
) -> anyhow::Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(Duration::from_millis(20));
                record = refused;
            }
            Err((error, _)) => return Err(error).context("cannot hand a record to librdkafka"),
        }
    }
}

/// With a rate, the n-th record goes out n / rate seconds after the first.
fn wait_for_turn(producer: &BaseProducer<Deliveries>, started: Instant, at: u64, rate: u64) {
    if rate == 0 {
        return;
    }
    let due = Duration::from_nanos(u64::try_from(u128::from(at) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX));
    while let Some(left) = due.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        producer.poll(left.min(Duration::from_millis(50)));
        if left < Duration::from_millis(1) {
            std::thread::sleep(left); // a poll cannot wait for less than a millisecond
        }
    }
}

fn time_of(options: &Produce, at: u64) -> Timestamp {
    match options.start {
        None => now(),
        Some(start) => {
            let spread = i128::from(options.spread.unwrap_or_default().millis());
            start.plus_millis(i64::try_from(spread * i128::from(at) / i128::from(options.events)).unwrap_or(i64::MAX))
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Fits the integers that JSON readers keep exact.
fn new_seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the system gives no random numbers; give a --seed")?;
    Ok(u64::from_le_bytes(bytes) >> 11)
}

/// Never over a file that says something else: it may be somebody's price book.
fn write_book(file: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read(file).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(());
    }
    let written = std::fs::File::create_new(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write the price book `{}`; name a file that does not exist yet", file.display()))
}

/// How many of the records Kafka has answered for.
pub(super) fn how_far(deliveries: &Deliveries, total: u64) -> String {
    let done = deliveries.delivered.load(Ordering::Relaxed) + deliveries.failed.load(Ordering::Relaxed);
    format!("{}, {done} of {total} records acknowledged", Progress::bar(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_book_of_somebody_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("book.toml");
        write_book(&file, "ours").expect("new");
        write_book(&file, "ours").expect("the same");
        let refused = write_book(&file, "other").expect_err("another").to_string();
        assert!(refused.contains("book.toml"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), Some("ours"));
    }

    #[test]
    fn every_record_is_acknowledged_and_lies_in_the_topic() {
        use rdkafka::consumer::{BaseConsumer, Consumer};

        let cluster = rdkafka::mocking::MockCluster::new(1).expect("a cluster in this process");
        cluster.create_topic("usage.events", 3, 1).expect("a topic");
        let mut kafka = Config::defaults().expect("defaults").kafka;
        kafka.brokers = cluster.bootstrap_servers();
        let line = "farebox produce --events 3000 --duplicates 0.02 --conflicts 0.01 --malformed 0.01 --seed 7";
        let args = <super::super::args::Args as clap::Parser>::try_parse_from(line.split(' ')).expect("parses");
        let super::super::args::Verb::Produce(options) = args.verb else { panic!("another verb") };
        let settings =
            Settings { seed: 7, accounts: 10, users: 100, duplicates_ppm: 20_000, conflicts_ppm: 10_000, malformed_ppm: 10_000 };

        let sent = publish(&kafka, &options, settings).expect("sent");
        assert_eq!(sent.events + sent.duplicates + sent.conflicts + sent.malformed, 3_000);
        assert!(sent.duplicates > 0 && sent.conflicts > 0 && sent.malformed > 0, "{sent:?}");
        assert_eq!(sent.failed, 0);
        let consumer: BaseConsumer = kafka.client_config().create().expect("a client");
        let ends =
            (0..3).map(|partition| consumer.fetch_watermarks("usage.events", partition, Duration::from_secs(5)).expect("known").1);
        assert_eq!(ends.sum::<i64>(), 3_000);
    }
}
