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

    /// Texts of few kinds, one number of a name for each row: the kinds once, then a place among them for each row.
    pub fn few<'a>(&mut self, kinds: &mut Kinds, text: impl Fn(u32) -> &'a [u8], ids: impl Iterator<Item = u32>) {
        self.head(FEW);
        kinds.find(ids);
        self.dictionary(kinds.kinds.iter().map(|&id| text(id)));
        let places = || kinds.places.iter();
        match kinds.kinds.len() {
            // The width of a place is the least that holds the last one.
            0..=0x100 => write_fixed(&mut self.body, self.rows, places().map(|&place| (place as u8).to_le_bytes())),
            0x101..=0x1_0000 => write_fixed(&mut self.body, self.rows, places().map(|&place| (place as u16).to_le_bytes())),
            _ => write_fixed(&mut self.body, self.rows, places().map(|place| place.to_le_bytes())),
        };
    }

    /// One text for all rows, where [`Native::few`] could be.
    pub fn same_few(&mut self, value: &str) {
        self.head(FEW);
        self.dictionary([value.as_bytes()].into_iter());
        self.body.resize(self.body.len() + self.rows, 0);
    }

    /// What `LowCardinality` has before its places: a version, the width of a place with the marks of a dictionary that comes along, the
    /// dictionary, the count of places.
    fn dictionary<'a>(&mut self, kinds: impl ExactSizeIterator<Item = &'a [u8]>) {
        const VERSION: u64 = 1;
        const COMES_ALONG: u64 = 1 << 9 | 1 << 10;
        let width = match kinds.len() {
            0..=0x100 => 0,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        for number in [VERSION, COMES_ALONG | width, kinds.len() as u64] {
            self.body.extend_from_slice(&number.to_le_bytes());
        }
        for kind in kinds {
            varint(&mut self.body, kind.len());
            self.body.extend_from_slice(kind);
        }
        self.body.extend_from_slice(&(self.rows as u64).to_le_bytes());
    }

    pub fn same_text(&mut self, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 5);
        varint(&mut bytes, value.len());
        bytes.extend_from_slice(value.as_bytes());
        self.same("String", &bytes);
    }

    pub fn u64s(&mut self, values: impl Iterator<Item = u64>) {
        self.fixed("UInt64", values.map(u64::to_le_bytes));
    }

    pub fn same_u64(&mut self, value: u64) {
        self.same("UInt64", &value.to_le_bytes());
    }

    pub fn i64s(&mut self, values: impl Iterator<Item = i64>) {
        self.fixed("Int64", values.map(i64::to_le_bytes));
    }

    pub fn same_i32(&mut self, value: i32) {
        self.same("Int32", &value.to_le_bytes());
    }

    pub fn u8s(&mut self, values: impl Iterator<Item = u8>) {
        self.fixed("UInt8", values.map(u8::to_le_bytes));
    }

    pub fn decimals(&mut self, nanos: impl Iterator<Item = i128>) {
        self.fixed("Decimal(38, 9)", nanos.map(i128::to_le_bytes));
    }

    pub fn days(&mut self, values: impl Iterator<Item = Day>) {
        self.fixed("Date", values.map(|value| value.epoch_days().to_le_bytes()));
    }

    /// Moments to the millisecond.
    pub fn times_ms(&mut self, values: impl Iterator<Item = Timestamp>) {
        self.fixed("DateTime64(3, 'UTC')", values.map(|value| value.millis().to_le_bytes()));
    }

    /// Moments to the second, held between the first and the last that `DateTime` knows.
    pub fn times_s(&mut self, values: impl Iterator<Item = Timestamp>) {
        let seconds = |value: Timestamp| value.seconds().clamp(0, i64::from(u32::MAX)) as u32;
        self.fixed("DateTime('UTC')", values.map(|value| seconds(value).to_le_bytes()));
    }

    pub fn users<'a>(&mut self, states: impl Iterator<Item = State<'a>>) {
        self.column("AggregateFunction(uniqCombined64(17), UInt64)", states, |body, state| state.write(body));
    }

    /// The same value in every row.
    fn same(&mut self, kind: &'static str, value: &[u8]) {
        self.head(kind);
        self.body.extend_from_slice(&value.repeat(self.rows));
    }

    /// Values of one width, written where they belong without a look at the room for each.
    fn fixed<const N: usize>(&mut self, kind: &'static str, values: impl Iterator<Item = [u8; N]>) {
        let name = self.head(kind);
        let written = write_fixed(&mut self.body, self.rows, values);
        debug_assert!(written == self.rows, "{}.{name} has {written} values in {} rows", self.table, self.rows);
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

const FEW: &str = "LowCardinality(String)";

/// How many values were written; one for each row.
fn write_fixed<const N: usize>(body: &mut Vec<u8>, rows: usize, values: impl Iterator<Item = [u8; N]>) -> usize {
    let begin = body.len();
    body.resize(begin + rows * N, 0);
    let (places, _) = body[begin..].as_chunks_mut::<N>();
    places.iter_mut().zip(values).map(|(place, value)| *place = value).count()
}

/// Which names a column holds, and where among them each row's is. Used for one column after the other.
#[derive(Default)]
pub(super) struct Kinds {
    /// By the number of a name: its place among the kinds, or [`Kinds::NONE`].
    known: Vec<u32>,
    kinds: Vec<u32>,
    places: Vec<u32>,
}

impl Kinds {
    const NONE: u32 = u32::MAX;

    /// For numbers of names below `names`.
    pub fn of(names: usize) -> Self {
        Self { known: vec![Self::NONE; names], ..Self::default() }
    }

    fn find(&mut self, ids: impl Iterator<Item = u32>) {
        let Self { known, kinds, places } = self;
        kinds.drain(..).for_each(|id| known[id as usize] = Self::NONE);
        places.clear();
        places.extend(ids.map(|id| {
            let place = &mut known[id as usize];
            if *place == Self::NONE {
                *place = kinds.len() as u32; // no more than there are names
                kinds.push(id);
            }
            *place
        }));
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
    fn kinds_are_numbered_as_they_come_column_by_column() {
        let mut kinds = Kinds::of(9);
        for (ids, expected, places) in
            [(vec![7, 2, 7, 7, 0], vec![7, 2, 0], vec![0, 1, 0, 0, 2]), (vec![2, 2], vec![2], vec![0, 0])]
        {
            kinds.find(ids.into_iter());
            assert_eq!((&kinds.kinds, &kinds.places), (&expected, &places));
        }
    }

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
