#![doc = include_str!("README.md")]

/// The words: credits, moments, sessions, events, records.
pub mod model;

/// Where records come from: Kafka, or a file.
#[cfg(feature = "service")]
pub mod source;

/// A record's bytes become an event, or a reason why not.
pub mod decode;

/// The window in which a repeated id is a duplicate or a conflict.
pub mod dedupe;

/// A batch of events becomes log rows, rollup rows and sets of users.
pub mod aggregate;

/// The price book: its file, its versions, what changed.
pub mod book;

/// What an event or a session costs.
pub mod price;

/// Told everything, answers with values.
pub mod engine;

/// A batch becomes bytes that can be sent again.
#[cfg(feature = "service")]
pub mod sink;

/// The only one that speaks to ClickHouse.
#[cfg(feature = "service")]
pub mod store;

/// The only one that writes to Kafka.
#[cfg(feature = "service")]
pub mod publish;

/// Performs what the engine answers, in order.
#[cfg(feature = "service")]
pub mod runtime;

/// Credits: entries that add or take, and the balance as a fold of them and of usage.
pub mod ledger;

/// Who is to be told that credits come to an end, once.
pub mod budget;

/// What they are told, and the mail that tells it.
#[cfg(feature = "service")]
pub mod notify;

/// Metrics, logs, health.
#[cfg(feature = "service")]
pub mod telemetry;

/// The whole product without servers.
#[cfg(feature = "service")]
pub mod demo;

/// One file, every default explained.
#[cfg(feature = "service")]
pub mod config;

/// The verbs.
#[cfg(feature = "service")]
pub mod cli;
