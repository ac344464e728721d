//! The window in which a repeated id is a duplicate or a conflict.
//!
//! Takes the fingerprints of decoded events of one partition in the order of the log; says of each whether it is new. What
//! counts is the previous occurrence of the same account, source and id, whatever became of it: within the window, by the
//! two records' timestamps (as the tables hold them: clamped), the same content is a duplicate and other content a conflict.
//! Holds: decisions depend on the log alone. A window built again from [`Window::oldest_offset`](dedupe::Window::oldest_offset) decides everything that
//! follows in the same way, with and without the limit on ids; memory is bounded by that limit.
//! Absent on purpose: clocks, rejected records (they leave no entry, so a corrected event may reuse the id), other
//! partitions.

mod content;
mod index;
mod key;
mod ring;
mod window;

#[cfg(test)]
mod tests;

pub use key::HashKey;
pub use window::Window;

/// What identifies an event and what it says, as two keyed hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Of account, source and id.
    pub key: u64,
    /// Of everything that was decoded.
    pub payload: u64,
}

/// How far the window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest distance between two records' timestamps at which the later one is a duplicate or a conflict.
    pub window_ms: i64,
    /// The most ids that are remembered; the one seen longest ago in the log leaves first. 0 turns the window off.
    pub ids_max: usize,
    /// Whether ids leave by time too. Only where the log's timestamps never run backwards (`LogAppendTime`).
    pub expire_by_time: bool,
}

/// What an event is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not seen within the window.
    New,
    /// Seen within the window with the same content.
    Duplicate,
    /// Seen within the window with other content.
    Conflict,
}
