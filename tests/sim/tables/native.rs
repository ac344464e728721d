//! A block in ClickHouse's Native format, read: the types that a batch's blocks are made of and no other.
//!
//! Holds: a block that is cut, or followed by anything, is an error, as it is for the server.

use std::collections::BTreeSet;

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// `String`: any bytes.
    Text(Vec<Vec<u8>>),
    /// `UInt8`.
    U8(Vec<u8>),
    /// `Date`: days.
    Day(Vec<u16>),
    /// `DateTime`: seconds.
    Second(Vec<u32>),
    /// `DateTime64(3)`: milliseconds.
    Moment(Vec<i64>),
    /// `UInt64`.
    U64(Vec<u64>),
    /// `Int32`.
    I32(Vec<i32>),
    /// `Int64`.
    I64(Vec<i64>),
    /// `Decimal(38, 9)`: the digits as an integer.
    Amount(Vec<i128>),
    /// The state of `uniqCombined64(17)` over `UInt64`: the users that were put in.
    Users(Vec<BTreeSet<u64>>),
}

/// A block: the name and the values of each column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the block.
    pub columns: Vec<(String, Column)>,
    /// How many values each has.
    pub rows: usize,
}

/// Reads a whole block.
///
/// # Errors
/// What is not one, and where.
pub fn parse(body: &[u8]) -> Result<Parsed, String> {
    let mut bytes = Bytes { whole: body, at: 0 };
    let (columns, rows) = (bytes.varint()?, bytes.varint()?);
    let mut parsed = Parsed { columns: Vec::with_capacity(columns.min(64)), rows };
    for _ in 0..columns {
        let (name, kind) = (bytes.name()?, bytes.name()?);
        let column = bytes.column(&kind, rows).map_err(|error| format!("column `{name}` of type `{kind}`: {error}"))?;
        parsed.columns.push((name, column));
    }
    if bytes.at < body.len() {
        return Err(format!("{} bytes follow the block", body.len() - bytes.at));
    }
    Ok(parsed)
}

struct Bytes<'a> {
    whole: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).ok_or("a length overflows")?;
        let taken = self.whole.get(self.at..end).ok_or_else(|| format!("the block is cut at {}", self.whole.len()))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N).map(|bytes| bytes.try_into().unwrap_or([0; N])) // as long as asked for
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has no end".into())
    }

    fn text(&mut self) -> Result<Vec<u8>, String> {
        let length = self.varint()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn name(&mut self) -> Result<String, String> {
        String::from_utf8(self.text()?).map_err(|error| error.to_string())
    }

    fn users(&mut self) -> Result<BTreeSet<u64>, String> {
        let ([form], count) = (self.array()?, self.varint()?);
        let most = match form {
            1 => 16,
            2 => 4096,
            other => return Err(format!("a set of users in form {other}")),
        };
        if count > most {
            return Err(format!("a set of {count} users in form {form}"));
        }
        let users: BTreeSet<u64> =
            (0..count).map(|_| self.array().map(|bytes| unmix(u64::from_le_bytes(bytes)))).collect::<Result<_, _>>()?;
        if users.len() == count { Ok(users) } else { Err("a user is there twice".into()) }
    }

    /// A dictionary that comes along, and a place in it for each row.
    fn few(&mut self, rows: usize) -> Result<Vec<Vec<u8>>, String> {
        let [version, marks, kinds] = [self.u64()?, self.u64()?, self.u64()?];
        let width = marks & 0xff;
        if version != 1 || marks >> 8 != 0b110 || width > 2 {
            return Err(format!("a dictionary of version {version} with marks {marks:#x}"));
        }
        let kinds = self.values(usize::try_from(kinds).map_err(|error| error.to_string())?, Self::text)?;
        if self.u64()? != rows as u64 {
            return Err("another count of rows".into());
        }
        self.values(rows, |bytes| {
            let place = match width {
                0 => bytes.array().map(u8::from_le_bytes)?.into(),
                1 => bytes.array().map(u16::from_le_bytes)?.into(),
                _ => bytes.array().map(u32::from_le_bytes)?,
            };
            kinds.get(place as usize).cloned().ok_or_else(|| format!("place {place} of {} kinds", kinds.len()))
        })
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn column(&mut self, kind: &str, rows: usize) -> Result<Column, String> {
        Ok(match kind {
            "String" => Column::Text(self.values(rows, Self::text)?),
            "LowCardinality(String)" => Column::Text(self.few(rows)?),
            "UInt8" => Column::U8(self.values(rows, |bytes| bytes.array().map(u8::from_le_bytes))?),
            "Date" => Column::Day(self.values(rows, |bytes| bytes.array().map(u16::from_le_bytes))?),
            "DateTime('UTC')" => Column::Second(self.values(rows, |bytes| bytes.array().map(u32::from_le_bytes))?),
            "DateTime64(3, 'UTC')" => Column::Moment(self.values(rows, |bytes| bytes.array().map(i64::from_le_bytes))?),
            "UInt64" => Column::U64(self.values(rows, Self::u64)?),
            "Int32" => Column::I32(self.values(rows, |bytes| bytes.array().map(i32::from_le_bytes))?),
            "Int64" => Column::I64(self.values(rows, |bytes| bytes.array().map(i64::from_le_bytes))?),
            "Decimal(38, 9)" => Column::Amount(self.values(rows, |bytes| bytes.array().map(i128::from_le_bytes))?),
            "AggregateFunction(uniqCombined64(17), UInt64)" => Column::Users(self.values(rows, Self::users)?),
            _ => return Err("unknown here".into()),
        })
    }

    fn values<T>(&mut self, rows: usize, mut read: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut values = Vec::with_capacity(rows.min(self.whole.len()));
        for _ in 0..rows {
            values.push(read(self)?);
        }
        Ok(values)
    }
}

/// Back from what a state holds to what was counted: the inverse of MurmurHash3's 64-bit finaliser.
fn unmix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0x9cb4_b2f8_1293_37db);
    let value = (value ^ (value >> 33)).wrapping_mul(0x4f74_430c_22a5_4005);
    value ^ (value >> 33)
}
