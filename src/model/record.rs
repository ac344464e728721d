//! A Kafka record, as the engine sees it.

use super::Timestamp;

/// One record of a partition. Borrows its bytes from whoever fetched it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// The record's own timestamp: the broker's on a topic with `LogAppendTime`.
    pub timestamp: Timestamp,
    /// The leader epoch of the record's batch; −1 when the broker names none.
    pub leader_epoch: i32,
    /// The key's bytes, when there is one. Never checked.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in their order.
    pub headers: Vec<Header<'a>>,
}

/// A header of a record: a name, which may be any bytes, and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as sent.
    pub name: &'a [u8],
    /// The value, when there is one.
    pub value: Option<&'a [u8]>,
}
