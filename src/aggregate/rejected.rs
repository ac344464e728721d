//! Rejected records as columns, for `rejected_events`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::text::TextColumn;
use super::{REJECTED_BYTES_MAX, Rejected};
use crate::model::{Month, Reason, Timestamp};

/// The columns in order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct RejectedColumns {
    pub received_at: Vec<Timestamp>,
    pub account: TextColumn,
    pub offset: Vec<i64>,
    pub reason: Vec<Reason>,
    pub detail: TextColumn,
    pub key: TextColumn,
    pub payload: TextColumn,
}

/// The bytes that are kept of a key or a payload.
pub(crate) fn kept(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(REJECTED_BYTES_MAX)]
}

impl RejectedColumns {
    pub fn push(&mut self, row: &Rejected<'_>) {
        self.received_at.push(row.received_at);
        self.account.push(row.reject.account.as_bytes());
        self.offset.push(row.offset);
        self.reason.push(row.reject.reason);
        self.detail.push(row.reject.detail.as_bytes());
        self.key.push(kept(row.key));
        self.payload.push(kept(row.payload));
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.account.bytes() + self.detail.bytes() + self.key.bytes() + self.payload.bytes() + self.offset.len() * 17
    }

    pub fn into_blocks(self) -> BTreeMap<Month, RejectedBlock> {
        let mut order: Vec<u32> = (0..self.offset.len() as u32).collect();
        order.sort_unstable_by_key(|&row| (self.received_at[row as usize], self.offset[row as usize]));
        let columns = Arc::new(self);
        let block = || RejectedBlock { columns: Arc::clone(&columns), order: Vec::new() };
        let mut blocks = BTreeMap::<Month, RejectedBlock>::new();
        for row in order {
            blocks.entry(columns.received_at[row as usize].month_utc()).or_insert_with(block).order.push(row);
        }
        blocks
    }
}

/// The rejected records of one month, sorted by (received_at, offset).
#[derive(Debug, Clone)]
pub struct RejectedBlock {
    pub(crate) columns: Arc<RejectedColumns>,
    pub(crate) order: Vec<u32>,
}

/// A rejected record as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedRow<'a> {
    /// The record's timestamp.
    pub received_at: Timestamp,
    /// The account, when it could be read.
    pub account: &'a str,
    /// The record's place in the partition.
    pub offset: i64,
    /// Why.
    pub reason: Reason,
    /// Field, shortened value and rule.
    pub detail: &'a str,
    /// The first bytes of the record's key.
    pub key: &'a [u8],
    /// The first bytes of the record's value.
    pub payload: &'a [u8],
}

impl RejectedBlock {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The rows in the order of the table's key.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RejectedRow<'_>> {
        let columns = &self.columns;
        self.order.iter().map(move |&row| {
            let row = row as usize;
            RejectedRow {
                received_at: columns.received_at[row],
                account: std::str::from_utf8(columns.account.get(row)).unwrap_or_default(), // only `str`s go in
                offset: columns.offset[row],
                reason: columns.reason[row],
                detail: std::str::from_utf8(columns.detail.get(row)).unwrap_or_default(),
                key: columns.key.get(row),
                payload: columns.payload.get(row),
            }
        })
    }
}
