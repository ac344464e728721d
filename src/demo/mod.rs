//! The whole product without servers.
//!
//! Promises: real protocols on loopback ports, the real engine, and nothing left behind when the process ends, however it ends.

/// ClickHouse embedded: the real engine as a library, in a process of its own.
pub mod embedded;
