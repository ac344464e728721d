//! Everything that must hold before the first record is read: servers that answer, a schema, a key, a topic.
//!
//! A server that is away is waited for, with one line; what only a person can mend ends the start with one sentence.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rdkafka::ClientConfig;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::alerts::{Mailer, Telling};
use super::balances::Touched;
use super::books::{Books, refuse};
use super::clock;
use super::key::{self, KeyError};
use super::room::Room;
use super::shared::{BatchLimits, Keep, Shared};
use super::world::SystemClock;
use crate::config::{self, Config};
use crate::notify::Smtp;
use crate::publish::{Publisher, TopicSeen, has_append_time};
use crate::source::kafka;
use crate::store::{self, Disposition, SchemaStatus, Store};
use crate::telemetry::http::Listener;
use crate::telemetry::{Health, Metrics};
use crate::{decode, dedupe, engine};

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Short, so that a signal is obeyed at once also while no broker answers.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(1);
/// A broker that says nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How this run differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The topic's id where the broker gives none: the embedded broker.
    pub fixed_topic_id: Option<String>,
}

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mended by editing the configuration, or by a command that the message names.
    #[error("{0}")]
    Configuration(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error.disposition() {
            Disposition::Configuration => Self::Configuration(error.to_string()),
            Disposition::Retry | Disposition::Halt => Self::Failed(error.to_string()),
        }
    }
}

impl From<kafka::Error> for Error {
    fn from(error: kafka::Error) -> Self {
        if error.is_configuration() {
            // Behind the reason librdkafka counts milliseconds.
            let reason = error.text.split(" (after ").next().unwrap_or(&error.text);
            Self::Configuration(format!("Kafka refuses: {reason}; see [kafka] in the configuration"))
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::from(error),
            KeyError::Write { .. } => Self::Failed(error.to_string()),
            KeyError::Read { .. } | KeyError::Malformed { .. } | KeyError::Mismatch { .. } => {
                Self::Configuration(error.to_string())
            }
        }
    }
}

/// What is open once everything holds.
pub struct Opened {
    /// For the partitions' owners; its `drain` never comes.
    pub shared: Shared,
    /// librdkafka's configuration of the consumer.
    pub client: ClientConfig,
    /// ClickHouse, to see whether it is there.
    pub store: Store,
    /// Whose client asks about the topic.
    pub publisher: Arc<Publisher>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Health.
    pub health: Arc<Health>,
}

/// Opens everything, waiting for servers that are away.
///
/// # Errors
/// What waiting does not mend.
pub async fn open(config: &Config, options: &Options) -> Result<Opened, Error> {
    let metrics = Arc::new(Metrics::new().map_err(|error| Error::Failed(error.to_string()))?);
    let health = Arc::new(Health::new());
    listen(config, &metrics, &health).await?;
    let store = Store::new(&settings_of_store(config))?;
    let version = patiently("ClickHouse", || store.ping()).await?;
    check_schema(&store, &health).await?;
    check_tokens(&store, &config.clickhouse.user).await?;
    info!(version = version.version, database = config.clickhouse.database, "ClickHouse answers");
    let lateness = (config.sessions.lateness.millis() / 1000).to_string();
    patiently("ClickHouse", || store.set_setting("lateness_seconds", &lateness, clock::now())).await?;
    let log_days = keep(config).usage_log_days.to_string();
    patiently("ClickHouse", || store.set_setting("usage_log_days", &log_days, clock::now())).await?;
    let load_key = || async {
        match key::load(&config.users.hash_key_file, &store, clock::now()).await {
            Err(KeyError::Store(error)) => Err(error),
            loaded => Ok(loaded),
        }
    };
    let key = patiently("ClickHouse", load_key).await??;
    let client = config.kafka.client_config();
    let publisher = Publisher::new(&client, &config.kafka.topic, &config.kafka.dead_letter_topic)
        .map_err(|error| Error::Configuration(format!("[kafka] cannot be used: {error}")))?;
    let publisher = Arc::new(publisher);
    for topic in [&config.kafka.topic, &config.kafka.dead_letter_topic] {
        wait_for_topic(&publisher, topic, &config.kafka).await?;
    }
    let expire_by_time = options.fixed_topic_id.is_none() && append_time(&client, &config.kafka.topic).await;
    let (prices, problems) = patiently("ClickHouse", || store.prices()).await?;
    refuse(&problems)?;
    let books = Books::follow(store.clone(), prices, config.price_book.reload.get(), Arc::clone(&metrics));
    let rules = rules(config, key, expire_by_time);
    let shared = Shared {
        tables: Arc::new(store.clone()),
        dead_letters: publisher.clone(),
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        books,
        hash_key_id: rules.key.id(),
        rules,
        topic: config.kafka.topic.as_str().into(),
        batch: BatchLimits {
            events_max: config.batch.max_events,
            bytes_max: config.batch.max_bytes.as_usize(),
            total_bytes: config.batch.total_bytes.as_usize(),
            age_max: config.batch.max_age.get(),
            inserts_per_second_max: config.clickhouse.inserts_per_second_max,
        },
        room: Room::new(config.batch.total_bytes.as_usize()),
        keep: keep(config),
        owned: Arc::new(AtomicUsize::new(0)),
        progress: Arc::default(),
        touched: Arc::new(config.kafka.balances_topic.as_ref().map_or_else(Touched::default, |_| Touched::collecting())),
        spending: Arc::new(Touched::collecting()),
        live_users: Arc::default(),
        drain: watch::channel(false).1,
    };
    Ok(Opened { shared, client: consumer(&client, config), store, publisher, metrics, health })
}

/// Where ClickHouse is, for the store.
pub fn settings_of_store(config: &Config) -> store::Settings {
    let clickhouse = &config.clickhouse;
    store::Settings {
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password: clickhouse.password.reveal().into(),
        ca_file: clickhouse.ca_file.clone().unwrap_or_default(),
        connect_timeout: clickhouse.connect_timeout.get(),
        insert_timeout: clickhouse.insert_timeout.get(),
        query_timeout: clickhouse.query_timeout.get(),
    }
}

/// How long rows stay, in days.
pub fn keep(config: &Config) -> Keep {
    let days = |millis: i64| u32::try_from(millis.max(0) / 86_400_000).unwrap_or(u32::MAX);
    Keep { usage_log_days: days(config.usage_log.keep.millis()), rejected_days: days(config.rejected.keep.millis()) }
}

/// What an event may be.
pub fn limits(config: &Config) -> decode::Limits {
    decode::Limits {
        size_max: config.events.max_size.as_usize(),
        age_max_ms: config.events.max_age.millis(),
        ahead_max_ms: config.events.max_ahead.millis(),
    }
}

/// What an event must be, and how far back a repeated one is recognised.
pub fn rules(config: &Config, key: dedupe::HashKey, expire_by_time: bool) -> engine::Rules {
    engine::Rules {
        limits: limits(config),
        window: dedupe::Limits {
            window_ms: config.dedupe.window.millis(),
            ids_max: usize::try_from(config.dedupe.max_ids).unwrap_or(usize::MAX),
            expire_by_time,
        },
        key,
    }
}

/// What a consumer needs that reads as the group does and stays out of it: to look, not to meter.
pub fn onlooker(config: &Config) -> ClientConfig {
    consumer(&config.kafka.client_config(), config)
}

/// How records are fetched. A busy consumer with the default back-off of a second is four times slower. Prefetched records are memory: their
/// bytes, some 300 more for each, and whatever one answer of a broker unpacks to, which holds the least from every partition.
pub const FETCHING: [(&str, &str); 5] = [
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.message.max.bytes", "262144"),
    ("queued.max.messages.kbytes", "8192"),
    ("queued.min.messages", "20000"),
];

/// The settings on which the commit protocol rests; `docs/exactly-once.md` gives the reason for each.
fn consumer(client: &ClientConfig, config: &Config) -> ClientConfig {
    let session = config.kafka.session_timeout.get().as_millis();
    let mut client = client.clone();
    client
        .set("group.id", &config.kafka.group)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", session.to_string())
        // Who survives learns by its own heartbeat that another is missed: seldom ones would add to the time that a death costs.
        .set("heartbeat.interval.ms", (session / 20).max(100).to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed");
    for (name, value) in FETCHING {
        if !config.kafka.properties.contains_key(name) {
            client.set(name, value);
        }
    }
    client
}

async fn listen(config: &Config, metrics: &Arc<Metrics>, health: &Arc<Health>) -> Result<(), Error> {
    let Some(at) = config.metrics.listen else { return Ok(()) };
    let listener = Listener::bind(at).await.map_err(|error| Error::Configuration(error.to_string()))?;
    let (metrics, health) = (Arc::clone(metrics), Arc::clone(health));
    tokio::spawn(async move {
        if let Err(error) = listener.serve(metrics, health, std::future::pending()).await {
            warn!(%error, "the listener for metrics ended");
        }
    });
    Ok(())
}

/// What telling needs of the configuration.
pub fn telling(config: &Config) -> Telling {
    Telling {
        from: config.smtp.from.clone(),
        operators: config.alerts.operator_emails.clone(),
        mails_per_day_max: config.alerts.mails_per_day_max,
        topic: config.kafka.topic.clone(),
        every: config.leader.interval.get(),
        canary: config.alerts.canary.get(),
    }
}

/// Whoever sends what the outbox holds.
///
/// # Errors
/// A setting of [smtp] that no delivery can work with.
pub fn mailer(config: &Config, store: &Store, shared: &Shared) -> Result<Mailer, Error> {
    let smtp = Smtp::new(&config.smtp).map_err(|error| Error::Configuration(error.to_string()))?;
    let mut process = [0; 8];
    getrandom::fill(&mut process).map_err(|error| Error::Failed(format!("no randomness: {error}")))?;
    Ok(Mailer {
        store: store.clone(),
        smtp,
        progress: Arc::clone(&shared.progress),
        metrics: Arc::clone(&shared.metrics),
        from: config.smtp.from.clone(),
        reply_to: config.smtp.reply_to.clone(),
        console: config.http.public_url.clone(),
        timeout: config.smtp.timeout.get(),
        retry_for: config.alerts.retry_for.get(),
        process: format!("{:016x}", u64::from_le_bytes(process)),
        mail_waits: Arc::default(),
    })
}

/// Asks until there is an answer that waiting cannot mend: one line when it begins, one when it ends.
pub async fn patiently<T, F: Future<Output = Result<T, store::Error>>>(server: &str, ask: impl Fn() -> F) -> Result<T, Error> {
    let mut waited = false;
    loop {
        match ask().await {
            Ok(answer) => {
                if waited {
                    info!("{server} answers again");
                }
                return Ok(answer);
            }
            Err(error) if error.disposition() == Disposition::Retry => {
                if !std::mem::replace(&mut waited, true) {
                    warn!("{error}; waiting, it goes on by itself");
                }
                sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn check_schema(store: &Store, health: &Health) -> Result<(), Error> {
    match patiently("ClickHouse", || store.schema_status()).await? {
        SchemaStatus::Current => {}
        SchemaStatus::AheadCompatible { newest } => {
            warn!(newest, "the schema is newer than this farebox, and made to work with it")
        }
        SchemaStatus::AheadIncompatible { newest } => {
            return Err(Error::Configuration(format!(
                "the schema is at migration {newest}, which this farebox must not write to; use the newer farebox"
            )));
        }
        SchemaStatus::Behind { missing } => {
            return Err(Error::Configuration(format!("the schema lacks {}; run `farebox migrate`", missing.join(", "))));
        }
    }
    health.set_schema_current(true);
    health.set_store_writable(true);
    Ok(())
}

/// A profile can switch deduplication off over what an insert says: then a retry would double its rows.
async fn check_tokens(store: &Store, user: &str) -> Result<(), Error> {
    match patiently("ClickHouse", || store.server_setting("deduplicate_insert")).await? {
        Some(value) if value == "disable" => Err(Error::Configuration(format!(
            "the profile of ClickHouse's user `{user}` has `deduplicate_insert = 'disable'`: a retried insert would double its rows; set it to `enable`"
        ))),
        _ => Ok(()),
    }
}

async fn wait_for_topic(publisher: &Arc<Publisher>, topic: &str, kafka: &config::Kafka) -> Result<(), Error> {
    let (began, mut waited) = (Instant::now(), false);
    loop {
        let (asked, name) = (Arc::clone(publisher), topic.to_owned());
        let seen = tokio::task::spawn_blocking(move || asked.see_topic(&name, TOPIC_TIMEOUT))
            .await
            .map_err(|error| Error::Failed(error.to_string()))?;
        match seen {
            TopicSeen::There => {
                if waited {
                    info!("Kafka answers again");
                }
                return Ok(());
            }
            TopicSeen::Missing => {
                let remedy = if kafka.create_topics { "run `farebox migrate`" } else { "make it (`kafka.create_topics` is off)" };
                return Err(Error::Configuration(format!("the topic `{topic}` does not exist; {remedy}")));
            }
            TopicSeen::Refused(reason) => return Err(Error::Configuration(refused(&reason))),
            TopicSeen::Away(reason) => {
                if !waited && (reason.is_some() || began.elapsed() >= SILENCE_MAX) {
                    let reason = reason.unwrap_or_else(|| "no answer".to_owned());
                    warn!("Kafka at {} cannot be reached: {reason}; waiting, it goes on by itself", kafka.brokers);
                    waited = true;
                }
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// What to do about a broker that does not want us.
pub fn refused(reason: &str) -> String {
    format!("Kafka refuses us: {reason}; set `username`, `password` and `security` in [kafka]")
}

async fn append_time(client: &ClientConfig, topic: &str) -> bool {
    match has_append_time(client, topic).await {
        Ok(true) => true,
        Ok(false) => {
            warn!(
                "topic `{topic}` keeps the producers' timestamps (message.timestamp.type=CreateTime): limits on an event's age are only as good as the producers' clocks"
            );
            false
        }
        Err(error) => {
            warn!(%error, "could not read the settings of topic `{topic}`; taking its timestamps for the producers'");
            false
        }
    }
}
