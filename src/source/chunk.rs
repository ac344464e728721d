//! Records of one partition, with all their bytes in one piece of memory.

use std::ops::Range;

use crate::model::{Header, Record, Timestamp};

/// Records of one partition in the order of their offsets. One allocation for all their bytes.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    records: Vec<Slot>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    timestamp: Timestamp,
    leader_epoch: i32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

impl Chunk {
    /// Copies a record to the end.
    pub fn push(&mut self, record: &Record<'_>) {
        let key = record.key.map(|bytes| self.keep(bytes));
        let value = record.value.map(|bytes| self.keep(bytes));
        let first_header = self.headers.len();
        for header in &record.headers {
            let name = self.keep(header.name);
            let value = header.value.map(|bytes| self.keep(bytes));
            self.headers.push((name, value));
        }
        self.records.push(Slot {
            offset: record.offset,
            timestamp: record.timestamp,
            leader_epoch: record.leader_epoch,
            key,
            value,
            headers: first_header..self.headers.len(),
        });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The memory that it holds, about.
    pub fn size(&self) -> usize {
        self.bytes.len()
            + self.records.len() * size_of::<Slot>()
            + self.headers.len() * size_of::<(Range<usize>, Option<Range<usize>>)>()
    }

    /// The record at a place in the chunk, if there is one.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let slot = self.records.get(index)?;
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        Some(Record {
            offset: slot.offset,
            timestamp: slot.timestamp,
            leader_epoch: slot.leader_epoch,
            key: slot.key.as_ref().map(bytes),
            value: slot.value.as_ref().map(bytes),
            headers: self.headers[slot.headers.clone()]
                .iter()
                .map(|(name, value)| Header { name: bytes(name), value: value.as_ref().map(bytes) })
                .collect(),
        })
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.records.len()).filter_map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let records = [
            Record { offset: 7, timestamp: Timestamp::from_millis(1), leader_epoch: 0, key: None, value: None, headers: vec![] },
            Record {
                offset: 9,
                timestamp: Timestamp::from_millis(2),
                leader_epoch: 3,
                key: Some(b""),
                value: Some(b"value"),
                headers: vec![Header { name: b"a", value: None }, Header { name: b"", value: Some(b"\xff") }],
            },
        ];
        let mut chunk = Chunk::default();
        records.iter().for_each(|record| chunk.push(record));
        assert_eq!(chunk.iter().collect::<Vec<_>>(), records);
    }
}
