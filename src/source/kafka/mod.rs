//! Kafka as librdkafka speaks it.
//!
//! [`Handle`] is the group member: polling, assigning, committing. [`topic_id`] asks which life of a topic this is.
//! Holds: a partition is only ever assigned with a numeric offset; a commit is refused once the generation moved.

mod error;
mod handle;
mod topic;

pub use error::Error;
pub use handle::{Committed, Handle, Member, Polled, Rebalance};
pub use topic::topic_id;
