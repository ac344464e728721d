//! Every fault we can make, on real Kafka, real ClickHouse and real processes: after each, the tables are compared with a naive
//! fold of the log. `make torture` draws faults by seed for as long as one wants.
#![allow(missing_docs, clippy::unwrap_used)]
#![allow(dead_code)] // not every file uses everything of the support

mod alerts;
mod bench;
mod clickhouse;
mod clickhouse_dies;
#[path = "../support/desk.rs"]
mod desk;
mod disk;
mod drawn;
mod duplicates;
mod hostile;
mod kafka;
mod kafka_broker;
mod kafka_letters;
mod kafka_members;
mod kafka_month;
mod kafka_offsets;
mod kafka_recovery;
mod kafka_retention;
mod kafka_shutdown;
mod kafka_topic;
mod kafka_transactions;
mod memory;
#[path = "../support/odd.rs"]
mod odd;
#[path = "../support/oracle/mod.rs"]
mod oracle;
mod outcome;
mod points;
mod prices;
#[path = "../support/proxy/mod.rs"]
mod proxy;
#[path = "../support/quick.rs"]
mod quick;
mod recover;
#[path = "../support/scenario.rs"]
mod scenario;
#[path = "../support/servers/mod.rs"]
mod servers;
mod unprotected;
mod zombies;
