//! Random schedules of faults over the real runtime and servers in memory: see `docs/simulator.md`.
#![allow(missing_docs, clippy::unwrap_used)]
#![allow(dead_code)] // not everything of a server in memory is used by every test

mod forming;
mod tables;
#[path = "tables/tests.rs"]
mod tables_tests;
