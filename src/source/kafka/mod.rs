//! Kafka as librdkafka speaks it.
//!
//! [`Handle`] is the group member: polling, assigning, committing. [`topic_id`], [`bounds`] and
//! [`offset_of_time`] ask about the topic; [`scan`] reads it outside of any group; [`members`] and
//! [`forget_offsets`] look at the group and mend it from outside.
//! Holds: a partition is only ever assigned with a numeric offset; a commit is refused once the generation moved.

mod error;
mod group;
mod handle;
mod offsets;
mod scan;
mod topic;

pub use error::Error;
pub use group::{forget_offsets, members};
pub use handle::{Committed, Handle, Member, OnRevoke, Place, Polled, Rebalance};
pub use offsets::{bounds, offset_of_time};
pub use scan::{Stretch, scan};
pub use topic::topic_id;
