//! The rows of each table, as a block brings them.

use std::collections::BTreeSet;

use farebox::sink::Table;
use farebox::store::{Source, Stop};

use super::native::{Column, parse};

/// A row of `usage_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    pub account: String,
    pub source: String,
    pub id: String,
    pub event_time: i64,
    pub received_at: i64,
    pub day: u16,
    pub platform: String,
    pub user_hash: u64,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub duration_ms: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub quantity: i128,
    pub credits: i128,
    pub given: u8,
    pub cost: i128,
    pub priced: bool,
    pub price_version: u64,
    pub source_epoch: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub digest: u64,
}

/// A row of `session_users`, or a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub account: String,
    pub day: u16,
    pub session_start: u32,
    pub platform: String,
    pub batch: String,
    pub users: BTreeSet<u64>,
    pub events: u64,
    pub blocks: u64,
    pub digest: u64,
    pub price_version: u64,
    pub written_at: u32,
}

/// A row of `usage_hourly`, or a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourlyRow {
    pub account: String,
    pub day: u16,
    pub hour: u32,
    pub platform: String,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub batch: String,
    pub sums: Sums,
    pub blocks: u64,
    pub digest: u64,
    pub price_version: u64,
    pub written_at: u32,
}

/// What `usage_hourly` adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub events: u64,
    pub cost: i128,
    pub duration_ms: u64,
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub quantity: i128,
    pub unpriced_events: u64,
    pub unattributed_events: u64,
}

/// A row of `rejected_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    pub received_at: i64,
    pub account: String,
    pub source_epoch: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    pub detail: String,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    pub digest: u64,
}

/// A row of `batches`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchesRow {
    pub source_epoch: String,
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    pub offset_from: i64,
    pub offset_to: i64,
    pub received: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub kind: String,
    pub prev: i64,
    pub leader_epoch: i32,
    pub price_version: u64,
    pub hash_key_id: String,
    pub digest: u64,
    pub record_time_max: i64,
    pub written_at: i64,
}

/// The rows of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    Log(Vec<LogRow>),
    Sessions(Vec<SessionRow>),
    Hourly(Vec<HourlyRow>),
    Rejected(Vec<RejectedRow>),
    Batches(Vec<BatchesRow>),
    Stops(Vec<Stop>),
    Sources(Vec<Source>),
}

impl Rows {
    /// Reads a block of a table.
    ///
    /// # Errors
    /// Whatever the server would not take as that.
    pub fn of_block(table: Table, body: &[u8]) -> Result<Self, String> {
        let parsed = parse(body)?;
        let names: Vec<&str> = parsed.columns.iter().map(|(name, _)| name.as_str()).collect();
        if names != table.columns().split(", ").collect::<Vec<_>>() {
            return Err(format!("the columns of a block of {table} are {names:?}"));
        }
        let columns: Vec<Column> = parsed.columns.into_iter().map(|(_, column)| column).collect();
        let rows = (0..parsed.rows).map(|at| Row { columns: &columns, at, next: 0 });
        Ok(match table {
            Table::UsageLog => Self::Log(rows.map(Row::log).collect()),
            Table::SessionUsers => Self::Sessions(rows.map(Row::session).collect()),
            Table::UsageHourly => Self::Hourly(rows.map(Row::hourly).collect()),
            Table::RejectedEvents => Self::Rejected(rows.map(Row::rejected).collect()),
            Table::Batches => Self::Batches(rows.map(Row::batches).collect()),
        })
    }

    /// The partitions of the table that the rows lie in, as `PARTITION BY` says; 0 where it says nothing.
    pub fn months(&self) -> BTreeSet<u32> {
        match self {
            Self::Log(rows) => rows.iter().map(|row| month_of_day(row.day)).collect(),
            Self::Sessions(rows) => rows.iter().map(|row| month_of_day(row.day)).collect(),
            Self::Hourly(rows) => rows.iter().map(|row| month_of_day(row.day)).collect(),
            Self::Rejected(rows) => rows.iter().map(|row| month_of_moment(row.received_at)).collect(),
            Self::Batches(_) | Self::Stops(_) | Self::Sources(_) => BTreeSet::from([0]),
        }
    }
}

/// `toYYYYMM` of a date.
pub fn month_of_day(day: u16) -> u32 {
    farebox::model::Day::from_epoch_days(i64::from(day)).month().0
}

/// `toYYYYMM` of a moment in UTC.
pub fn month_of_moment(millis: i64) -> u32 {
    farebox::model::Timestamp::from_millis(millis).month_utc().0
}

/// One row of a block, read column after column in the block's order; a column of another type is a mistake of ours.
struct Row<'a> {
    columns: &'a [Column],
    at: usize,
    next: usize,
}

macro_rules! next {
    ($row:ident, $kind:ident) => {{
        let column = &$row.columns[$row.next];
        $row.next += 1;
        match column {
            Column::$kind(values) => values[$row.at].clone(),
            other => panic!("column {} is not {}: {other:?}", $row.next, stringify!($kind)),
        }
    }};
}

impl Row<'_> {
    fn bytes(&mut self) -> Vec<u8> {
        next!(self, Text)
    }
    fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).expect("a text")
    }
    fn number(&mut self) -> u64 {
        next!(self, U64)
    }
    fn offset(&mut self) -> i64 {
        next!(self, I64)
    }
    fn small(&mut self) -> i32 {
        next!(self, I32)
    }
    fn day(&mut self) -> u16 {
        next!(self, Day)
    }
    fn second(&mut self) -> u32 {
        next!(self, Second)
    }
    fn moment(&mut self) -> i64 {
        next!(self, Moment)
    }
    fn amount(&mut self) -> i128 {
        next!(self, Amount)
    }
    fn byte(&mut self) -> u8 {
        next!(self, U8)
    }
    fn flag(&mut self) -> bool {
        self.byte() != 0
    }
    fn users(&mut self) -> BTreeSet<u64> {
        next!(self, Users)
    }

    fn log(mut self) -> LogRow {
        LogRow {
            account: self.text(),
            source: self.text(),
            id: self.text(),
            event_time: self.moment(),
            received_at: self.moment(),
            day: self.day(),
            platform: self.text(),
            user_hash: self.number(),
            agent: self.text(),
            category: self.text(),
            model: self.text(),
            duration_ms: self.number(),
            input_tokens: self.number(),
            cached_input_tokens: self.number(),
            output_tokens: self.number(),
            quantity: self.amount(),
            credits: self.amount(),
            given: self.byte(),
            cost: self.amount(),
            priced: self.flag(),
            price_version: self.number(),
            source_epoch: self.text(),
            topic: self.text(),
            partition: self.small(),
            offset: self.offset(),
            digest: self.number(),
        }
    }

    fn session(mut self) -> SessionRow {
        SessionRow {
            account: self.text(),
            day: self.day(),
            session_start: self.second(),
            platform: self.text(),
            batch: self.text(),
            users: self.users(),
            events: self.number(),
            blocks: self.number(),
            digest: self.number(),
            price_version: self.number(),
            written_at: self.second(),
        }
    }

    fn hourly(mut self) -> HourlyRow {
        HourlyRow {
            account: self.text(),
            day: self.day(),
            hour: self.second(),
            platform: self.text(),
            agent: self.text(),
            category: self.text(),
            model: self.text(),
            batch: self.text(),
            sums: Sums {
                events: self.number(),
                cost: self.amount(),
                duration_ms: self.number(),
                input_tokens: self.number(),
                cached_input_tokens: self.number(),
                output_tokens: self.number(),
                quantity: self.amount(),
                unpriced_events: self.number(),
                unattributed_events: self.number(),
            },
            blocks: self.number(),
            digest: self.number(),
            price_version: self.number(),
            written_at: self.second(),
        }
    }

    fn rejected(mut self) -> RejectedRow {
        RejectedRow {
            received_at: self.moment(),
            account: self.text(),
            source_epoch: self.text(),
            topic: self.text(),
            partition: self.small(),
            offset: self.offset(),
            reason: self.text(),
            detail: self.text(),
            key: self.bytes(),
            payload: self.bytes(),
            digest: self.number(),
        }
    }

    fn batches(mut self) -> BatchesRow {
        BatchesRow {
            source_epoch: self.text(),
            topic: self.text(),
            topic_id: self.text(),
            partition: self.small(),
            offset_from: self.offset(),
            offset_to: self.offset(),
            received: self.number(),
            accepted: self.number(),
            duplicates: self.number(),
            rejected: self.number(),
            kind: self.text(),
            prev: self.offset(),
            leader_epoch: self.small(),
            price_version: self.number(),
            hash_key_id: self.text(),
            digest: self.number(),
            record_time_max: self.moment(),
            written_at: self.moment(),
        }
    }
}
