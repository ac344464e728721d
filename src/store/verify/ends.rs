//! How far `batches` went when it was read, so that what is being written meanwhile is told apart from what is wrong.

use serde::Deserialize;

use crate::store::{Error, Store};

/// Where the batches of a partition end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct End {
    /// The source epoch.
    pub source_epoch: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub in_partition: i32,
    /// The offset behind the last.
    pub offset_to: i64,
    /// Batches up to there.
    pub batches: u64,
    /// Events that they accepted.
    pub accepted: u64,
}

/// The ends of all partitions, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends(pub Vec<End>);

impl Ends {
    /// A condition on rows of `usage_log` or `rejected_events`: they belong to no batch that had ended then.
    pub(super) fn behind(&self) -> String {
        if self.0.is_empty() {
            return "1".to_owned();
        }
        let name = |end: &End| format!("{}, {}, {}", quoted(&end.source_epoch), quoted(&end.topic), end.in_partition);
        let each = self.0.iter().map(|end| {
            let (epoch, topic) = (quoted(&end.source_epoch), quoted(&end.topic));
            format!(
                "(source_epoch = {epoch} AND topic = {topic} AND `partition` = {} AND `offset` >= {})",
                end.in_partition, end.offset_to
            )
        });
        let names: Vec<String> = self.0.iter().map(|end| format!("({})", name(end))).collect();
        let strangers = format!("(source_epoch, topic, `partition`) NOT IN ({})", names.join(", "));
        format!("({} OR {strangers})", each.collect::<Vec<_>>().join(" OR "))
    }

    /// Events that the batches accepted.
    pub fn accepted(&self) -> u64 {
        self.0.iter().map(|end| end.accepted).sum()
    }

    /// How many batches.
    pub fn batches(&self) -> u64 {
        self.0.iter().map(|end| end.batches).sum()
    }
}

/// A text as ClickHouse reads it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl Store {
    /// The ends of all partitions of all topics and epochs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn all_ends(&self) -> Result<Ends, Error> {
        let sql = "SELECT source_epoch, topic, `partition` AS in_partition, max(offset_to) AS offset_to, count() AS batches, \
                   sum(b.accepted) AS accepted FROM batches AS b GROUP BY source_epoch, topic, in_partition \
                   ORDER BY topic, toUInt64OrZero(source_epoch), in_partition";
        self.rows(sql, &[]).await.map(Ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_the_ends_and_rows_of_unknown_partitions_are_not_finished() {
        let end = End { source_epoch: "1".into(), topic: "it's\\".into(), in_partition: 3, offset_to: 7, batches: 1, accepted: 2 };
        let behind = Ends(vec![end]).behind();
        assert!(behind.contains(r"topic = 'it\'s\\' AND `partition` = 3 AND `offset` >= 7"), "{behind}");
        assert!(behind.ends_with(r"NOT IN (('1', 'it\'s\\', 3)))"), "{behind}");
        assert_eq!(Ends(Vec::new()).behind(), "1");
    }
}
