//! Everything that needs real servers: Kafka from its jars, ClickHouse embedded. `make fetch` brings both.
#![allow(missing_docs, clippy::unwrap_used)]

mod bad_days;
mod cli;
mod hostile;
mod servers;
mod store;
