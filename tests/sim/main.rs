//! Random schedules of faults over the real runtime and servers in memory: see `docs/simulator.md`.
#![allow(missing_docs, clippy::unwrap_used)]
