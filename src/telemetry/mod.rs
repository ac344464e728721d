//! What farebox says about itself: a log for people or machines, metrics, health.
//!
//! The pure part counts nothing here: it returns tallies, and the runtime adds them once per batch.

pub mod health;
pub mod http;
pub mod log;
pub mod metrics;

pub use health::{Health, Heartbeat};
pub use metrics::{Alarm, Held, Job, Memory, Metrics, OTHER_PLATFORMS, Outcome};
