//! ClickHouse's Native format, one block: the counts of columns and rows, then each column's name, type and values.
//!
//! This is the form that HTTP takes without a protocol version: no block info before it, no serialization kinds within it. Integers are
//! little-endian, a text is a varint length and its bytes, a decimal of 38 digits is a 128-bit integer.

use bytes::Bytes;

use super::Table;
use crate::aggregate::users::State;
use crate::model::{Day, Timestamp};

/// A block while it is written, column by column in the order of [`Table::columns`].
pub(super) struct Native {
    table: Table,
    rows: usize,
    names: std::str::Split<'static, &'static str>,
    types: std::slice::Iter<'static, &'static str>,
    body: Vec<u8>,
}

impl Native {
    /// A block of so many rows, with room for about so many bytes.
    pub fn new(table: Table, rows: usize, bytes: usize) -> Self {
        let mut body = Vec::with_capacity(bytes + 1024);
        varint(&mut body, table.types().len());
        varint(&mut body, rows);
        Self { table, rows, names: table.columns().split(", "), types: table.types().iter(), body }
    }

    pub fn table(&self) -> Table {
        self.table
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn finish(self) -> Bytes {
        debug_assert!(self.types.len() == 0, "a block of {} lacks columns", self.table);
        self.body.into()
    }

    pub fn texts<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        self.column("String", values, |body, value| {
            varint(body, value.len());
            body.extend_from_slice(value);
        });
    }

    /// Texts that are looked up in `encoded`, one number for each row.
    pub fn names(&mut self, encoded: &Encoded, ids: impl Iterator<Item = u32>) {
        self.column("String", ids, |body, id| encoded.write(id, body));
    }

    pub fn same_text(&mut self, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 5);
        varint(&mut bytes, value.len());
        bytes.extend_from_slice(value.as_bytes());
        self.same("String", &bytes);
    }

    pub fn u64s(&mut self, values: impl Iterator<Item = u64>) {
        self.column("UInt64", values, |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn same_u64(&mut self, value: u64) {
        self.same("UInt64", &value.to_le_bytes());
    }

    pub fn i64s(&mut self, values: impl Iterator<Item = i64>) {
        self.column("Int64", values, |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn same_i32(&mut self, value: i32) {
        self.same("Int32", &value.to_le_bytes());
    }

    pub fn u8s(&mut self, values: impl Iterator<Item = u8>) {
        self.column("UInt8", values, |body, value| body.push(value));
    }

    pub fn decimals(&mut self, nanos: impl Iterator<Item = i128>) {
        self.column("Decimal(38, 9)", nanos, |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn days(&mut self, values: impl Iterator<Item = Day>) {
        self.column("Date", values, |body, value| body.extend_from_slice(&value.epoch_days().to_le_bytes()));
    }

    /// Moments to the millisecond.
    pub fn times_ms(&mut self, values: impl Iterator<Item = Timestamp>) {
        self.column("DateTime64(3, 'UTC')", values, |body, value| body.extend_from_slice(&value.millis().to_le_bytes()));
    }

    /// Moments to the second, held between the first and the last that `DateTime` knows.
    pub fn times_s(&mut self, values: impl Iterator<Item = Timestamp>) {
        self.column("DateTime('UTC')", values, |body, value| {
            let seconds = value.seconds().clamp(0, i64::from(u32::MAX)) as u32;
            body.extend_from_slice(&seconds.to_le_bytes());
        });
    }

    pub fn users<'a>(&mut self, states: impl Iterator<Item = State<'a>>) {
        self.column("AggregateFunction(uniqCombined64(17), UInt64)", states, |body, state| state.write(body));
    }

    /// The same value in every row.
    fn same(&mut self, kind: &'static str, value: &[u8]) {
        self.head(kind);
        self.body.extend_from_slice(&value.repeat(self.rows));
    }

    fn column<T>(&mut self, kind: &'static str, values: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
        let name = self.head(kind);
        let mut count = 0_usize;
        for value in values {
            write(&mut self.body, value);
            count += 1;
        }
        debug_assert!(count == self.rows, "{}.{name} has {count} values in {} rows", self.table, self.rows);
    }

    fn head(&mut self, kind: &'static str) -> &'static str {
        let (name, expected) = (self.names.next().unwrap_or_default(), self.types.next());
        debug_assert!(expected == Some(&kind), "{}.{name} is {expected:?}, not {kind}", self.table);
        for text in [name, kind] {
            varint(&mut self.body, text.len());
            self.body.extend_from_slice(text.as_bytes());
        }
        name
    }
}

/// The names of a batch as they are sent, each in a slot of fixed size when it fits: copying a slot needs no call, copying a few bytes does.
pub(super) struct Encoded {
    slots: Vec<Slot>,
    long: Vec<Vec<u8>>,
}

const SLOT_BYTES: usize = 31;

#[derive(Clone, Copy)]
struct Slot {
    len: u8,
    bytes: [u8; SLOT_BYTES],
}

/// In `len` of a slot: the name is in `long`, its number in the slot's first bytes.
const LONG: u8 = u8::MAX;

impl Encoded {
    pub fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut encoded = Self { slots: Vec::new(), long: Vec::new() };
        for name in names {
            let mut text = Vec::with_capacity(name.len() + 5);
            varint(&mut text, name.len());
            text.extend_from_slice(name);
            let mut slot = Slot { len: LONG, bytes: [0; SLOT_BYTES] };
            if let Some(bytes) = slot.bytes.get_mut(..text.len()) {
                bytes.copy_from_slice(&text);
                slot.len = text.len() as u8;
            } else {
                slot.bytes[..4].copy_from_slice(&(encoded.long.len() as u32).to_le_bytes());
                encoded.long.push(text);
            }
            encoded.slots.push(slot);
        }
        encoded
    }

    fn write(&self, id: u32, out: &mut Vec<u8>) {
        let slot = &self.slots[id as usize];
        if slot.len == LONG {
            let [a, b, c, d, ..] = slot.bytes;
            out.extend_from_slice(&self.long[u32::from_le_bytes([a, b, c, d]) as usize]);
        } else {
            out.extend_from_slice(&slot.bytes);
            out.truncate(out.len() - (SLOT_BYTES - usize::from(slot.len)));
        }
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_short_and_long_are_written_with_their_lengths() {
        let names = ["", "web", &"x".repeat(30), &"y".repeat(31), &"z".repeat(300)].map(str::to_owned);
        let encoded = Encoded::new(names.iter().map(|name| name.as_bytes()));
        for (id, name) in (0..).zip(&names) {
            let (mut out, mut expected) = (b"before".to_vec(), b"before".to_vec());
            encoded.write(id, &mut out);
            varint(&mut expected, name.len());
            expected.extend_from_slice(name.as_bytes());
            assert_eq!(out, expected);
        }
    }
}
