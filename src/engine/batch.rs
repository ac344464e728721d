//! A batch: a range of one partition's offsets with all that becomes of it.

use super::Tally;
use crate::aggregate::Rows;
use crate::model::{Reason, Record, Reject, Timestamp};

/// A half-open range of offsets `[from, to)` and what is to be written for it.
#[derive(Debug)]
pub struct Batch {
    /// The first offset.
    pub from: i64,
    /// The first offset behind it.
    pub to: i64,
    /// The oldest offset in the window as it stood at `from`: where forming this range again must start to remember.
    pub window_from: i64,
    /// The leader epoch of its last record, or of the last one before when it has none; −1 when unknown.
    pub leader_epoch: i32,
    /// The version of the price book that it is priced by.
    pub price_version: u64,
    /// The newest timestamp of a record so far in this partition, of those that can be believed.
    pub record_time_max: Timestamp,
    /// The least and the greatest timestamp of its own records, as the tables hold them.
    pub received: Option<(Timestamp, Timestamp)>,
    /// The rows of all tables, with counts and digest.
    pub rows: Rows,
    /// The rejected records, whole.
    pub dead_letters: Vec<DeadLetter>,
    /// What to count.
    pub tally: Tally,
}

/// A rejected record for the dead-letter topic: key, value and headers as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it was.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub detail: String,
}

impl DeadLetter {
    pub(super) fn new(record: &Record<'_>, reject: &Reject) -> Self {
        Self {
            offset: record.offset,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
            reason: reject.reason,
            detail: reject.detail.clone(),
        }
    }

    /// The memory that it holds, about.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        size_of::<Self>()
            + self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers
            + self.detail.len()
    }
}
