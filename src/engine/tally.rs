//! What a batch counts beside its rows, for the metrics.

use crate::model::{Reason, Record};

/// Counts of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records taken.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Fields that the contract does not know.
    pub unknown_fields: u64,
    /// Accepted events without a price.
    pub unpriced: u64,
    /// Accepted events of an account charged for sessions that lack user or platform.
    pub unattributed: u64,
    rejected: [u64; Reason::ALL.len()],
}

impl Tally {
    pub(super) fn take(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.bytes += record.value.map_or(0, <[u8]>::len) as u64;
    }

    pub(super) fn reject(&mut self, reason: Reason) {
        for (count, known) in self.rejected.iter_mut().zip(Reason::ALL) {
            *count += u64::from(known == reason);
        }
    }

    /// Rejected records by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.rejected)
    }
}
