//! The only one that writes to Kafka: dead letters, those that are sent again, balances, and topics where they are missing.
//!
//! Holds: a dead letter is acknowledged by all replicas before the caller goes on, so at least once. Absent on purpose: deciding
//! what is rejected.

mod balances;
mod dead_letters;
mod headers;
mod replay;
mod topics;

pub use balances::PublishedBalance;
pub use dead_letters::{PublishError, Publisher, TopicSeen};
pub use replay::{REPLAYED, ReplayError, Replayed};
pub use topics::{TopicPlan, TopicsError, ensure_topics, has_append_time};
