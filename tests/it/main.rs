//! Everything that needs real servers: Kafka from its jars, ClickHouse embedded. `make fetch` brings both.
#![allow(missing_docs, clippy::unwrap_used)]

mod alerts;
mod bad_days;
mod balances;
mod cli;
mod commands;
mod credits;
mod demo;
#[path = "../support/desk.rs"]
mod desk;
mod direct;
mod docs;
mod doctor;
mod end_to_end;
mod export;
#[allow(dead_code)]
#[path = "../sim/forming.rs"]
mod forming;
mod golden;
mod harness;
mod hostile;
mod leader;
#[allow(dead_code)]
#[path = "../sim/tables/mod.rs"]
mod memory;
mod money_views;
mod observed;
#[path = "../support/odd.rs"]
mod odd;
mod odd_days;
#[path = "../support/oracle/mod.rs"]
mod oracle;
mod pages;
mod preview;
#[path = "../support/quick.rs"]
mod quick;
mod readme;
mod rejected;
mod rerate;
#[path = "../support/scenario.rs"]
mod scenario;
mod secure;
mod send_tail;
#[path = "../support/servers/mod.rs"]
mod servers;
mod session_folds;
mod sink;
mod source;
mod store;
#[path = "../golden/story.rs"]
mod story;
mod tables;
mod uniques;
mod usage;
mod verify;
