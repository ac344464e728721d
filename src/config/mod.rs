//! The configuration: one file, every default explained, nothing misspelt in silence.
//!
//! Layers, the later one winning: the defaults inside the binary (`config/default.toml`), the file given with `--config`, the
//! environment (`FAREBOX_SECTION__KEY`), `--set section.key=value`. Every value remembers the layer it came from.
//!
//! Holds: an unknown key, a value of the wrong kind and a value out of range are refused where they were written, with a caret
//! and a remedy; a secret appears in no message. Absent on purpose: connecting to anything, and reading the environment by
//! itself ([`Inputs`](config::Inputs) brings it).

mod error;
mod kafka;
mod layers;
mod ranges;
mod sections;
mod show;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use error::{Error, Place};
pub use layers::{DEFAULTS, Inputs};
pub use sections::{
    Alerts, Batch, Clickhouse, Dedupe, Embedded, Events, Http, Kafka, Leader, Log, LogFormat, Metrics, PriceBook, Rejected,
    SaslMechanism, Security, Sessions, Shutdown, Smtp, Stripe, UsageLog, Users,
};
pub use show::Shown;
pub use values::{Bytes, Duration, Secret};

/// Everything that can be set, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[clickhouse]`
    pub clickhouse: Clickhouse,
    /// `[events]`
    pub events: Events,
    /// `[batch]`
    pub batch: Batch,
    /// `[dedupe]`
    pub dedupe: Dedupe,
    /// `[users]`
    pub users: Users,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[usage_log]`
    pub usage_log: UsageLog,
    /// `[rejected]`
    pub rejected: Rejected,
    /// `[price_book]`
    pub price_book: PriceBook,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[alerts]`
    pub alerts: Alerts,
    /// `[http]`
    pub http: Http,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[stripe]`
    pub stripe: Stripe,
    /// `[leader]`
    pub leader: Leader,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[embedded]`
    pub embedded: Embedded,
    /// `[log]`
    pub log: Log,
    #[serde(skip)]
    places: BTreeMap<String, Place>,
    /// Every key and its value, secrets as stars.
    #[serde(skip)]
    shown: Vec<(String, String)>,
}

impl Config {
    /// Reads all layers, checks every value, and reads the secrets that lie in files of their own.
    ///
    /// # Errors
    /// The first thing that must be mended, and where.
    pub fn load(inputs: &Inputs) -> Result<Self, Error> {
        layers::load(inputs)
    }

    /// The defaults alone.
    ///
    /// # Errors
    /// Never, as the tests show.
    pub fn defaults() -> Result<Self, Error> {
        Self::load(&Inputs::default())
    }

    /// The defaults with this text over them, as if it had been a file named `name`; relative paths are as they are written.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Error> {
        layers::load_text(Some((PathBuf::from(name), text)), &Inputs::default())
    }

    /// Where the value of a key (`kafka.brokers`) was set.
    pub fn place_of(&self, key: &str) -> &Place {
        self.places.get(key).unwrap_or(&Place::Default)
    }
}

#[cfg(test)]
mod tests;
