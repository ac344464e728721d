//! Do the tables agree with each other? The questions of `farebox verify`, and the ones that are asked on every assignment.
//!
//! Holds: a finding is a contradiction, named by its place. It may be asked while instances run: what is held against `batches` ends where
//! `batches` ended when it was read ([`Ends`]), and the rows of batches that are just being written are told by their digests. The memory
//! of a question is bounded here and in the server, however many events there are: it is asked by days, by ranges of offsets or by slices
//! of ids. Absent on purpose: Kafka, and what a finding means for the exit code.

mod batches;
mod conservation;
mod costs;
mod ends;
mod log;
mod money;
mod rejected;

pub use conservation::{Conservation, Totals};
pub use ends::{End, Ends, quoted};
pub use log::{Coverage, Difference, Duplicates, LogDay};
pub use money::LedgerFindings;
pub use rejected::{RejectedPlace, ShortBatch};

/// Findings of one question that are named; the others are counted.
pub const FINDINGS_MAX: usize = 20;

/// What a question may take of the server: it spills to disk before it takes more memory, and leaves processors to others.
const FRUGAL: &str = "max_memory_usage = 4294967296, max_bytes_before_external_group_by = 805306368, \
                      max_bytes_before_external_sort = 805306368, max_threads = 2, join_use_nulls = 0";

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// The source epoch.
    pub source_epoch: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Days that rows of `usage_log` stay; 0: the log is off and proves nothing.
    pub usage_log_keep_days: u32,
    /// Days that rows of `rejected_events` stay.
    pub rejected_keep_days: u32,
    /// The topic has `message.timestamp.type=LogAppendTime`.
    pub log_append_time: bool,
}
