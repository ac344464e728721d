//! Random schedules of faults over the real runtime and servers in memory: see `docs/simulator.md`.
//!
//! A run is a pure function of its seed: one thread, a clock that is advanced and never awaited, chance from one place.
#![allow(missing_docs, clippy::unwrap_used)]
#![allow(dead_code)] // the tables answer more than is asked here

mod broker;
mod class;
mod dice;
mod extraordinary;
mod forming;
mod gate;
mod instance;
mod log;
mod member;
mod planted;
mod prices;
mod rates;
mod run;
mod schedules;
mod tables;
#[path = "tables/tests.rs"]
mod tables_tests;
mod traced;
mod truth;
mod world;
