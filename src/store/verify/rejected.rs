//! What Kafka can confirm: where rejected records lay, and batches with fewer records than offsets.

use serde::Deserialize;

use super::ends::End;
use super::{Check, FRUGAL};
use crate::model::Timestamp;
use crate::store::{Error, Store};

/// Where a rejected record lay in the events topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RejectedPlace {
    /// The partition.
    pub in_partition: i32,
    /// The offset.
    pub at: i64,
    /// Its timestamp.
    pub received_ms: i64,
}

/// A batch with fewer records than offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ShortBatch {
    /// The first offset.
    pub offset_from: i64,
    /// The offset behind the last.
    pub offset_to: i64,
    /// Records.
    pub received: u64,
}

impl Store {
    /// The newest rejected records of a partition that were received since a moment, up to an end of `batches`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rejected_places(&self, end: &End, since: Timestamp, places_max: u64) -> Result<Vec<RejectedPlace>, Error> {
        let sql = format!(
            "SELECT `partition` AS in_partition, `offset` AS at, toUnixTimestamp64Milli(received_at) AS received_ms FROM rejected_events
             WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND `partition` = {{partition:Int32}} AND `offset` < {{end:Int64}}
               AND received_at >= toDateTime64({{since:String}}, 3, 'UTC')
             ORDER BY at DESC LIMIT {places_max} SETTINGS {FRUGAL}"
        );
        let (partition, offset) = (end.in_partition.to_string(), end.offset_to.to_string());
        let since = crate::store::time::text(since.clamped());
        let params = [
            ("epoch", end.source_epoch.as_str()),
            ("topic", &end.topic),
            ("partition", &partition),
            ("end", &offset),
            ("since", &since),
        ];
        self.rows(&sql, &params).await
    }

    /// Batches of a partition with fewer records than offsets, from an offset on, the first few: and how many there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn short_batches(
        &self,
        check: &Check<'_>,
        from: i64,
        end: i64,
        batches_max: usize,
    ) -> Result<(u64, Vec<ShortBatch>), Error> {
        #[derive(Deserialize)]
        struct Row {
            count: u64,
            first: Vec<(i64, i64, u64)>,
        }
        let sql = format!(
            "SELECT count() AS count, groupArray({batches_max})((offset_from, offset_to, received)) AS first FROM (
               SELECT offset_from, offset_to, received FROM batches
               WHERE source_epoch = {{epoch:String}} AND topic = {{topic:String}} AND partition = {{partition:Int32}} AND kind = 'batch'
                 AND offset_from >= {{from:Int64}} AND offset_to <= {{end:Int64}} AND toInt64(received) < offset_to - offset_from
               ORDER BY offset_from DESC
             ) SETTINGS {FRUGAL}"
        );
        let (partition, from, end) = (check.partition.to_string(), from.to_string(), end.to_string());
        let params =
            [("epoch", check.source_epoch), ("topic", check.topic), ("partition", &partition), ("from", &from), ("end", &end)];
        let row: Row = self.row(&sql, &params).await?;
        let batch = |(offset_from, offset_to, received)| ShortBatch { offset_from, offset_to, received };
        Ok((row.count, row.first.into_iter().map(batch).collect()))
    }
}
