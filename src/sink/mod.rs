//! A batch becomes bytes that can be sent again.
//!
//! One block per table and month, in ClickHouse's Native format, sorted by the table's key, under a token that any process forming the
//! same range would use. Blocks of the rollups carry a witness row: a token is a hint, the witness is the proof that the block is there.
//! Holds: the same rows, origin and stamp give the same bytes. Absent on purpose: connections, retries, clocks. `store` sends.

mod batches;
pub mod memory;
mod native;
mod tables;

pub use batches::{BatchKind, BatchRow, batches_row};
use bytes::Bytes;
use chrono::NaiveDate;
pub use tables::Table;

use crate::aggregate::narrow::Narrow;
use crate::aggregate::users::State;
use crate::aggregate::{HourlyBlock, LogBlock, RejectedBlock, Rows, SessionBlock, SessionRow, Sums};
use crate::model::{Credits, Day, Month, Quantity, Timestamp};
use native::{Encoded, Kinds, Native};

/// Which partition of which life of a topic a batch was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic's life.
    pub source_epoch: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The broker's id of the topic.
    pub topic_id: String,
}

/// What the intent says about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
    /// The version of the price book.
    pub price_version: u64,
    /// When the intent was made.
    pub written_at: Timestamp,
}

/// The bytes of one insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it goes.
    pub table: Table,
    /// The one partition of the table it lies in (of `batches`, which has none: the month it was written in).
    pub month: Month,
    /// The deduplication token.
    pub token: String,
    /// One block in Native format.
    pub body: Bytes,
    /// How many rows the body has, witness included.
    pub rows: u64,
}

/// What the witness rows of a batch's rollup blocks have in the column `batch`.
pub fn witness(origin: &Origin, stamp: &Stamp) -> String {
    let Origin { source_epoch, topic, partition, topic_id } = origin;
    format!("{source_epoch}/{topic}/{partition}/{topic_id}/{}-{}", stamp.from, stamp.to)
}

/// The deduplication token of a batch's block of one month.
pub fn token(origin: &Origin, stamp: &Stamp, month: Month) -> String {
    format!("{}/{month}", batch_token(origin, stamp))
}

/// What the tokens of all blocks of a batch begin with; the token of its row in `batches`.
pub fn batch_token(origin: &Origin, stamp: &Stamp) -> String {
    let Origin { source_epoch, topic, partition, topic_id: _ } = origin;
    format!("{source_epoch}/{topic}/{partition}/{}-{}", stamp.from, stamp.to)
}

/// The blocks of a batch without its row in `batches`: one per table and month, in the order in which they are inserted.
pub fn blocks(rows: &Rows, origin: &Origin, stamp: &Stamp) -> Vec<Block> {
    let batch = Batch { origin, stamp, digest: rows.digest, witness: witness(origin, stamp) };
    let logs = rows.usage_log.iter().map(|(&month, block)| batch.log(month, block));
    let sessions = rows.session_users.iter().map(|(&month, block)| batch.sessions(month, block));
    let hours = rows.usage_hourly.iter().map(|(&month, block)| batch.hourly(month, block));
    let rejects = rows.rejected.iter().map(|(&month, block)| batch.rejected(month, block));
    logs.chain(sessions).chain(hours).chain(rejects).collect()
}

/// What every block of a batch has in common.
struct Batch<'a> {
    origin: &'a Origin,
    stamp: &'a Stamp,
    digest: u64,
    witness: String,
}

impl Batch<'_> {
    fn block(&self, month: Month, native: Native) -> Block {
        let (table, rows) = (native.table(), native.rows());
        Block { table, month, token: token(self.origin, self.stamp, month), body: native.finish(), rows: rows as u64 }
    }

    fn log(&self, month: Month, block: &LogBlock) -> Block {
        let (names, columns, order) = (&block.names, &block.columns, &block.order);
        let (encoded, mut kinds) = (Encoded::new(names.iter()), Kinds::of(names.len()));
        // Fixed columns, ids, and room for usual accounts; the vector grows when they are longer.
        let mut out = Native::new(Table::UsageLog, order.len(), columns.id.bytes() + order.len() * (146 + 24));
        let mut few = |column: &'_ [u32], out: &mut Native| {
            out.few(&mut kinds, |id| names.bytes_of(id), order.iter().map(|&row| column[row as usize]));
        };
        let numbers = |column: &Narrow<u64>, out: &mut Native| out.u64s(order.iter().map(|&row| column.get(row)));
        let amounts = |column: &Narrow<i128>, out: &mut Native| out.decimals(order.iter().map(|&row| column.get(row)));
        out.names(&encoded, order.iter().map(|&row| columns.account[row as usize]));
        few(&columns.source, &mut out);
        out.texts(order.iter().map(|&row| columns.id.get(row as usize)));
        out.times_ms(order.iter().map(|&row| columns.event_time[row as usize]));
        out.times_ms(order.iter().map(|&row| columns.received_at[row as usize]));
        out.days(order.iter().map(|&row| columns.day[row as usize]));
        few(&columns.platform, &mut out);
        out.u64s(order.iter().map(|&row| columns.user_hash[row as usize]));
        few(&columns.agent, &mut out);
        few(&columns.category, &mut out);
        few(&columns.model, &mut out);
        numbers(&columns.duration_ms, &mut out);
        numbers(&columns.input_tokens, &mut out);
        numbers(&columns.cached_input_tokens, &mut out);
        numbers(&columns.output_tokens, &mut out);
        amounts(&columns.quantity, &mut out);
        amounts(&columns.credits, &mut out);
        out.u8s(order.iter().map(|&row| columns.given[row as usize].bits()));
        amounts(&columns.cost, &mut out);
        out.u8s(order.iter().map(|&row| columns.priced[row as usize].into()));
        out.same_u64(self.stamp.price_version);
        out.same_few(&self.origin.source_epoch);
        out.same_few(&self.origin.topic);
        out.same_i32(self.origin.partition);
        out.i64s(order.iter().map(|&row| columns.offset[row as usize]));
        out.same_u64(self.digest);
        self.block(month, out)
    }

    fn rejected(&self, month: Month, block: &RejectedBlock) -> Block {
        let (columns, order) = (&block.columns, &block.order);
        let mut out = Native::new(Table::RejectedEvents, order.len(), columns.bytes() + order.len() * 60);
        out.times_ms(order.iter().map(|&row| columns.received_at[row as usize]));
        out.texts(order.iter().map(|&row| columns.account.get(row as usize)));
        out.same_text(&self.origin.source_epoch);
        out.same_text(&self.origin.topic);
        out.same_i32(self.origin.partition);
        out.i64s(order.iter().map(|&row| columns.offset[row as usize]));
        out.texts(order.iter().map(|&row| columns.reason[row as usize].as_str().as_bytes()));
        out.texts(order.iter().map(|&row| columns.detail.get(row as usize)));
        out.texts(order.iter().map(|&row| columns.key.get(row as usize)));
        out.texts(order.iter().map(|&row| columns.payload.get(row as usize)));
        out.same_u64(self.digest);
        self.block(month, out)
    }

    /// The witness row comes first: its account is empty and its day the first of the month.
    fn hourly(&self, month: Month, block: &HourlyBlock) -> Block {
        let (names, rows, order) = (&block.names, &block.rows, &block.order);
        let mut out = Native::new(Table::UsageHourly, order.len() + 1, (order.len() + 1) * 190);
        let keys = || order.iter().map(|&row| &rows[row as usize].0);
        let sums = || order.iter().map(|&row| &rows[row as usize].1);
        let number = |of: fn(&Sums) -> u64, out: &mut Native| out.u64s([0].into_iter().chain(sums().map(of)));
        out.texts([&b""[..]].into_iter().chain(keys().map(|key| names.bytes_of(key.account))));
        out.days([first_day(month)].into_iter().chain(keys().map(|key| key.day)));
        out.times_s([EPOCH].into_iter().chain(keys().map(|key| key.hour)));
        out.texts([&b""[..]].into_iter().chain(keys().map(|key| names.bytes_of(key.platform))));
        out.texts([&b""[..]].into_iter().chain(keys().map(|key| names.bytes_of(key.agent))));
        out.texts([&b""[..]].into_iter().chain(keys().map(|key| names.bytes_of(key.category))));
        out.texts([&b""[..]].into_iter().chain(keys().map(|key| names.bytes_of(key.model))));
        self.batch_of_witness(&mut out);
        number(|sums| sums.events, &mut out);
        out.decimals([Credits::ZERO.nanos()].into_iter().chain(sums().map(|sums| sums.cost.nanos())));
        number(|sums| sums.duration_ms, &mut out);
        number(|sums| sums.input_tokens, &mut out);
        number(|sums| sums.cached_input_tokens, &mut out);
        number(|sums| sums.output_tokens, &mut out);
        out.decimals([Quantity::ZERO.nanos()].into_iter().chain(sums().map(|sums| sums.quantity.nanos())));
        number(|sums| sums.unpriced_events, &mut out);
        number(|sums| sums.unattributed_events, &mut out);
        self.proof(&mut out);
        self.block(month, out)
    }

    /// The witness row comes first: its day is the first of the month and its account empty. A session with more users than one state
    /// holds becomes several rows; its events are counted in the first.
    fn sessions(&self, month: Month, block: &SessionBlock) -> Block {
        let rows: Vec<(SessionRow<'_>, State<'_>)> = block
            .rows()
            .flat_map(|row| {
                State::of(row.users)
                    .enumerate()
                    .map(move |(index, state)| (SessionRow { events: if index == 0 { row.events } else { 0 }, ..row }, state))
            })
            .collect();
        let users: usize = rows.iter().map(|(_, state)| state.len()).sum();
        let mut out = Native::new(Table::SessionUsers, rows.len() + 1, users * 8 + (rows.len() + 1) * 80);
        out.texts([&b""[..]].into_iter().chain(rows.iter().map(|(row, _)| row.account.as_bytes())));
        out.days([first_day(month)].into_iter().chain(rows.iter().map(|(row, _)| row.day)));
        out.times_s([EPOCH].into_iter().chain(rows.iter().map(|(row, _)| row.session.start())));
        out.texts([&b""[..]].into_iter().chain(rows.iter().map(|(row, _)| row.platform.as_bytes())));
        self.batch_of_witness(&mut out);
        out.users([State::EMPTY].into_iter().chain(rows.iter().map(|&(_, state)| state)));
        out.u64s([0].into_iter().chain(rows.iter().map(|(row, _)| row.events)));
        self.proof(&mut out);
        self.block(month, out)
    }

    fn batch_of_witness(&self, out: &mut Native) {
        let others = out.rows() - 1;
        out.texts([self.witness.as_bytes()].into_iter().chain(std::iter::repeat_n(&b""[..], others)));
    }

    /// The columns `blocks`, `digest`, `price_version` and `written_at`.
    fn proof(&self, out: &mut Native) {
        let others = out.rows() - 1;
        out.u64s([1].into_iter().chain(std::iter::repeat_n(0, others)));
        out.same_u64(self.digest);
        out.same_u64(self.stamp.price_version);
        out.times_s(std::iter::repeat_n(self.stamp.written_at, others + 1));
    }
}

const EPOCH: Timestamp = Timestamp::from_millis(0);

fn first_day(month: Month) -> Day {
    let date = NaiveDate::from_ymd_opt((month.0 / 100) as i32, month.0 % 100, 1).unwrap_or_default(); // a month is that of a day
    Day::from_epoch_days(i64::from(date.to_epoch_days()))
}
