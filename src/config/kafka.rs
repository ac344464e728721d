//! `[kafka]` as librdkafka wants it.

use rdkafka::ClientConfig;
use toml::Value;

use super::error::{Error, Place};
use super::sections::Kafka;

/// Properties that have a key of their own.
const OURS: [(&str, &str); 14] = [
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("group.id", "kafka.group"),
    ("session.timeout.ms", "kafka.session_timeout"),
    ("security.protocol", "kafka.security"),
    ("sasl.mechanism", "kafka.sasl_mechanism"),
    ("sasl.mechanisms", "kafka.sasl_mechanism"),
    ("sasl.username", "kafka.username"),
    ("sasl.password", "kafka.password or kafka.password_file"),
    ("ssl.ca.location", "kafka.ca_file"),
    ("ssl.certificate.location", "kafka.cert_file"),
    ("ssl.key.location", "kafka.key_file"),
    ("message.max.bytes", "events.max_size"),
    ("client.id", "the name that farebox gives itself"),
];

/// Properties on which it depends that every event is counted once: farebox sets them itself.
const GUARDED: [&str; 26] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "isolation.level",
    "message.send.max.retries",
    "offset.store.method",
    "offset.store.path",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "retries",
    "test.mock.num.brokers",
    "transactional.id",
];

impl Kafka {
    /// What every client of the cluster needs, consumers and producers alike. Reads no file and connects to nothing.
    pub fn client_config(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "farebox")
            // A broker that makes topics by itself makes them with its own settings: what is missing must be seen.
            .set("allow.auto.create.topics", "false")
            .set("security.protocol", self.security.as_librdkafka());
        if self.security.is_sasl() {
            client.set("sasl.mechanism", self.sasl_mechanism.as_str()).set("sasl.username", &self.username);
            client.set("sasl.password", self.password.reveal());
        }
        if self.security.is_tls() {
            for (name, file) in [
                ("ssl.ca.location", &self.ca_file),
                ("ssl.certificate.location", &self.cert_file),
                ("ssl.key.location", &self.key_file),
            ] {
                if let Some(file) = file {
                    client.set(name, file.to_string_lossy());
                }
            }
        }
        client
    }
}

/// Refuses a property that has a key of its own, that guards a promise, that is a secret, or that librdkafka does not know.
pub(super) fn check_property(path: &str, property: Option<&str>, value: &Value, place: &Place) -> Result<(), Error> {
    let Some(name) = property else { return Ok(()) };
    let wrong = |message: &str| Error::new(place.clone(), format!("`{path}.{name}` {message}"));
    if let Some((_, key)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(wrong("has a key of its own").hint(format!("use {key}")));
    }
    if GUARDED.contains(&name) {
        return Err(wrong("is set by farebox itself: that every event is counted once depends on it").hint("leave it out"));
    }
    if ["password", "passphrase", "secret", "jaas", ".pem"].iter().any(|word| name.contains(word))
        || name == "sasl.oauthbearer.config"
    {
        return Err(wrong("is a secret, and properties are no place for secrets")
            .hint("use kafka.password_file or kafka.key_file, a key without a passphrase in a file that only farebox can read"));
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match ClientConfig::new().set(name, &text).create_native_config() {
        Ok(_) => Ok(()),
        Err(rdkafka::error::KafkaError::ClientConfig(_, description, ..)) => {
            Err(wrong(&format!("is refused by librdkafka: {description}")))
        }
        Err(error) => Err(wrong(&format!("is refused by librdkafka: {error}"))),
    }
}
