//! Everything that needs real servers: Kafka from its jars, ClickHouse embedded. `make fetch` brings both.
#![allow(missing_docs, clippy::unwrap_used)]

mod bad_days;
mod cli;
mod commands;
mod demo;
mod direct;
mod docs;
mod doctor;
mod end_to_end;
mod export;
mod golden;
mod hostile;
mod money_views;
mod oracle;
mod preview;
mod readme;
mod send_tail;
mod servers;
mod sink;
mod source;
mod store;
#[path = "../golden/story.rs"]
mod story;
mod uniques;
mod usage;
