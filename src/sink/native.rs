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

    pub fn same_text(&mut self, value: &str) {
        self.texts(std::iter::repeat_n(value.as_bytes(), self.rows));
    }

    pub fn u64s(&mut self, values: impl Iterator<Item = u64>) {
        self.column("UInt64", values, |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn same_u64(&mut self, value: u64) {
        self.u64s(std::iter::repeat_n(value, self.rows));
    }

    pub fn i64s(&mut self, values: impl Iterator<Item = i64>) {
        self.column("Int64", values, |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn same_i32(&mut self, value: i32) {
        self.column("Int32", std::iter::repeat_n(value, self.rows), |body, value| body.extend_from_slice(&value.to_le_bytes()));
    }

    pub fn flags(&mut self, values: impl Iterator<Item = bool>) {
        self.column("UInt8", values, |body, value| body.push(value.into()));
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

    fn column<T>(&mut self, kind: &'static str, values: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
        let (name, expected) = (self.names.next().unwrap_or_default(), self.types.next());
        debug_assert!(expected == Some(&kind), "{}.{name} is {expected:?}, not {kind}", self.table);
        for text in [name, kind] {
            varint(&mut self.body, text.len());
            self.body.extend_from_slice(text.as_bytes());
        }
        let mut count = 0_usize;
        for value in values {
            write(&mut self.body, value);
            count += 1;
        }
        debug_assert!(count == self.rows, "{}.{name} has {count} values in {} rows", self.table, self.rows);
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
