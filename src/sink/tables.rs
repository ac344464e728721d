//! The tables a batch goes into: their columns and types, as they are sent.

use std::fmt;

/// A table that batches are written to, in the order of insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row per accepted event.
    UsageLog,
    /// Sets of users by session.
    SessionUsers,
    /// Sums by hour.
    UsageHourly,
    /// One row per rejected record.
    RejectedEvents,
    /// One row per batch: written last, it says that all tables have it.
    Batches,
}

const TEXT: &str = "String";
const FEW: &str = "LowCardinality(String)";
const MOMENT: &str = "DateTime64(3, 'UTC')";
const SECOND: &str = "DateTime('UTC')";
const AMOUNT: &str = "Decimal(38, 9)";
const USERS: &str = "AggregateFunction(uniqCombined64(17), UInt64)";

impl Table {
    /// Every table, in the order of insertion.
    pub const ALL: [Self; 5] = [Self::UsageLog, Self::SessionUsers, Self::UsageHourly, Self::RejectedEvents, Self::Batches];

    /// The table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsageLog => "usage_log",
            Self::SessionUsers => "session_users",
            Self::UsageHourly => "usage_hourly",
            Self::RejectedEvents => "rejected_events",
            Self::Batches => "batches",
        }
    }

    /// The list of columns for `INSERT INTO name (columns) FORMAT Native`, in the order in which a block has them.
    pub const fn columns(self) -> &'static str {
        match self {
            Self::UsageLog => {
                "account, source, id, event_time, received_at, day, platform, user_hash, agent, category, model, duration_ms, \
                 input_tokens, cached_input_tokens, output_tokens, quantity, credits, given, cost, priced, price_version, \
                 source_epoch, topic, partition, offset, digest"
            }
            Self::SessionUsers => {
                "account, day, session_start, platform, batch, users, events, blocks, digest, price_version, written_at"
            }
            Self::UsageHourly => {
                "account, day, hour, platform, agent, category, model, batch, events, cost, duration_ms, input_tokens, \
                 cached_input_tokens, output_tokens, quantity, unpriced_events, unattributed_events, blocks, digest, price_version, \
                 written_at"
            }
            Self::RejectedEvents => {
                "received_at, account, source_epoch, topic, partition, offset, reason, detail, key, payload, digest"
            }
            Self::Batches => {
                "source_epoch, topic, topic_id, partition, offset_from, offset_to, received, accepted, duplicates, rejected, kind, \
                 prev, leader_epoch, price_version, hash_key_id, digest, record_time_max, written_at"
            }
        }
    }

    /// The type of each column as it is sent: inner types of simple aggregate functions. The log's columns of few kinds are sent as such,
    /// which spares the server from finding the kinds; other blocks are small and have plain text there.
    pub(super) const fn types(self) -> &'static [&'static str] {
        const N: &str = "UInt64";
        match self {
            Self::UsageLog => &[
                TEXT, FEW, TEXT, MOMENT, MOMENT, "Date", FEW, N, FEW, FEW, FEW, N, N, N, N, AMOUNT, AMOUNT, "UInt8", AMOUNT,
                "UInt8", N, FEW, FEW, "Int32", "Int64", N,
            ],
            Self::SessionUsers => &[TEXT, "Date", SECOND, TEXT, TEXT, USERS, N, N, N, N, SECOND],
            Self::UsageHourly => {
                &[TEXT, "Date", SECOND, TEXT, TEXT, TEXT, TEXT, TEXT, N, AMOUNT, N, N, N, N, AMOUNT, N, N, N, N, N, SECOND]
            }
            Self::RejectedEvents => &[MOMENT, TEXT, TEXT, TEXT, "Int32", "Int64", TEXT, TEXT, TEXT, TEXT, N],
            Self::Batches => {
                &[TEXT, TEXT, TEXT, "Int32", "Int64", "Int64", N, N, N, N, TEXT, "Int64", "Int32", N, TEXT, N, MOMENT, MOMENT]
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_type() {
        for table in Table::ALL {
            assert_eq!(table.columns().split(", ").count(), table.types().len(), "{table}");
        }
    }
}
