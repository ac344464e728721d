//! The row in `batches`: written last, it says that every table has the batch.

use super::native::Native;
use super::{Block, Origin, Stamp, Table, batch_token};
use crate::aggregate::Counts;
use crate::model::Timestamp;

/// What a row in `batches` speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// Records that were read and written.
    Batch,
    /// Offsets that were gone before they were read.
    Gap,
}

impl BatchKind {
    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Gap => "gap",
        }
    }
}

/// What `batches` holds beside origin and stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// A batch or a gap.
    pub kind: BatchKind,
    /// What became of its records; all zero in a gap.
    pub counts: Counts,
    /// The digest of its rows; 0 in a gap.
    pub digest: u64,
    /// Where the batch before it ended; `None` for the first.
    pub prev: Option<i64>,
    /// The leader epoch of its last record; −1 when the broker named none.
    pub leader_epoch: i32,
    /// The id of the key that users were hashed with.
    pub hash_key_id: String,
    /// The latest timestamp of a record up to its end.
    pub record_time_max: Timestamp,
}

/// The block of one row in `batches`.
pub fn batches_row(row: &BatchRow, origin: &Origin, stamp: &Stamp) -> Block {
    let mut out = Native::new(Table::Batches, 1, 512);
    let Counts { received, accepted, duplicates, rejected } = row.counts;
    out.same_text(&origin.source_epoch);
    out.same_text(&origin.topic);
    out.same_text(&origin.topic_id);
    out.same_i32(origin.partition);
    out.i64s([stamp.from].into_iter());
    out.i64s([stamp.to].into_iter());
    for count in [received, accepted, duplicates, rejected] {
        out.same_u64(count);
    }
    out.same_text(row.kind.as_str());
    out.i64s([row.prev.unwrap_or(-1)].into_iter());
    out.same_i32(row.leader_epoch);
    out.same_u64(stamp.price_version);
    out.same_text(&row.hash_key_id);
    out.same_u64(row.digest);
    out.times_ms([row.record_time_max].into_iter());
    out.times_ms([stamp.written_at].into_iter());
    Block {
        table: Table::Batches,
        month: stamp.written_at.month_utc(),
        token: batch_token(origin, stamp),
        body: out.finish(),
        rows: 1,
    }
}
