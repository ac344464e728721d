//! One struct per section, one field per key. What each means is written once, in `config/default.toml`.
//!
//! No field has a default here: the embedded file gives every one of them, and a test holds the two together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::{Bytes, Duration, Secret, listen, path, text};

/// The cluster, the topics, the group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Where events come from.
    pub topic: String,
    /// Where rejected records go.
    pub dead_letter_topic: String,
    /// Where balances go, when somewhere.
    #[serde(deserialize_with = "text")]
    pub balances_topic: Option<String>,
    /// Whether `migrate` makes missing topics.
    pub create_topics: bool,
    /// Of topics that `migrate` makes.
    pub partitions: i32,
    /// Of topics that `migrate` makes; -1 is the broker's default.
    pub replication_factor: i32,
    /// Silence after which the group takes our partitions.
    pub session_timeout: Duration,
    /// How to connect.
    pub security: Security,
    /// How to prove who we are.
    pub sasl_mechanism: SaslMechanism,
    /// For SASL.
    pub username: String,
    /// For SASL; after loading it holds what `password_file` holds.
    pub password: Secret,
    /// Where the password lies.
    #[serde(deserialize_with = "path")]
    pub password_file: Option<PathBuf>,
    /// Whom to trust.
    #[serde(deserialize_with = "path")]
    pub ca_file: Option<PathBuf>,
    /// Who we are.
    #[serde(deserialize_with = "path")]
    pub cert_file: Option<PathBuf>,
    /// The key to `cert_file`.
    #[serde(deserialize_with = "path")]
    pub key_file: Option<PathBuf>,
    /// librdkafka's own properties, as text.
    #[serde(deserialize_with = "properties")]
    pub properties: BTreeMap<String, String>,
}

/// How to connect to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// Encrypted.
    Tls,
    /// Authenticated.
    SaslPlaintext,
    /// Both.
    SaslTls,
}

impl Security {
    /// Whether a user name and a password are sent.
    pub const fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }

    /// Whether the connection is encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    /// librdkafka's name for it.
    pub const fn as_librdkafka(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_ssl",
        }
    }
}

/// How to prove to Kafka who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of it.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of it.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The server, the database, its patience.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clickhouse {
    /// The HTTP interface.
    pub url: String,
    /// Where our tables are.
    pub database: String,
    /// Who we are.
    pub user: String,
    /// After loading it holds what `password_file` holds.
    pub password: Secret,
    /// Where the password lies.
    #[serde(deserialize_with = "path")]
    pub password_file: Option<PathBuf>,
    /// Whom to trust.
    #[serde(deserialize_with = "path")]
    pub ca_file: Option<PathBuf>,
    /// Replicated and Distributed tables, when it is named.
    #[serde(deserialize_with = "text")]
    pub cluster: Option<String>,
    /// For a connection.
    pub connect_timeout: Duration,
    /// For an insert.
    pub insert_timeout: Duration,
    /// For a query.
    pub query_timeout: Duration,
    /// Per table and instance.
    pub inserts_per_second_max: u32,
}

/// Which events are taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Before the record's timestamp.
    pub max_age: Duration,
    /// After the record's timestamp.
    pub max_ahead: Duration,
    /// Of the record's value.
    pub max_size: Bytes,
}

/// When a batch is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// At the latest after so long.
    pub max_age: Duration,
    /// At the latest with so many records.
    pub max_events: u64,
    /// At the latest with so much memory held.
    pub max_bytes: Bytes,
    /// The memory of all batches of this instance together.
    pub total_bytes: Bytes,
}

/// What counts as a duplicate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedupe {
    /// How far back.
    pub window: Duration,
    /// At most so many ids per partition.
    pub max_ids: u64,
}

/// How users are hashed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Where the key lies.
    pub hash_key_file: PathBuf,
}

/// When a session is final.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// So long after its end.
    pub lateness: Duration,
}

/// The log of single events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageLog {
    /// So long; zero turns the log off.
    pub keep: Duration,
}

/// The rejected events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// So long.
    pub keep: Duration,
}

/// The price book as a running instance sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBook {
    /// How often to look for a new version.
    pub reload: Duration,
}

/// How mails leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The mail server.
    pub url: String,
    /// When it asks.
    pub username: String,
    /// After loading it holds what `password_file` holds.
    pub password: Secret,
    /// Where the password lies.
    #[serde(deserialize_with = "path")]
    pub password_file: Option<PathBuf>,
    /// Whom to trust.
    #[serde(deserialize_with = "path")]
    pub ca_file: Option<PathBuf>,
    /// Who writes.
    pub from: String,
    /// Who reads answers.
    #[serde(deserialize_with = "text")]
    pub reply_to: Option<String>,
    /// For a whole delivery.
    pub timeout: Duration,
}

/// Who is told, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// Who runs this installation.
    pub operator_emails: Vec<String>,
    /// Per account and day.
    pub mails_per_day_max: u32,
    /// How long to try again.
    pub retry_for: Duration,
    /// How often to show that mails arrive; zero: never.
    pub canary: Duration,
}

/// Console and API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
    /// As people reach it.
    #[serde(deserialize_with = "text")]
    pub public_url: Option<String>,
}

/// Metrics and health.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where to listen; `None`: nowhere.
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
}

/// Card payments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stripe {
    /// Where the secret key lies.
    #[serde(deserialize_with = "path")]
    pub secret_key_file: Option<PathBuf>,
    /// Where the webhook's secret lies.
    #[serde(deserialize_with = "path")]
    pub webhook_secret_file: Option<PathBuf>,
    /// A stand-in, for tests.
    #[serde(deserialize_with = "text")]
    pub api_url: Option<String>,
}

/// Scheduled work.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// How often to look.
    pub interval: Duration,
}

/// Stopping.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long finishing may take.
    pub drain: Duration,
}

/// ClickHouse without a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// Where libchdb lies.
    #[serde(deserialize_with = "path")]
    pub library: Option<PathBuf>,
}

/// What is said, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// How much.
    pub level: String,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// librdkafka takes every value as text; a number or a truth value is written as TOML writes it.
fn properties<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, toml::Value>::deserialize(deserializer)?;
    let text = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Float(_) => Ok((name, value.to_string())),
        _ => Err(serde::de::Error::custom("takes text, a number, true or false")),
    };
    values.into_iter().map(text).collect()
}
