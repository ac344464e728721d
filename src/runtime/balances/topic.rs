//! The topic of balances read to its end: what agents know now.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rustc_hash::FxHashMap;

use crate::publish::{PublishedBalance, Publisher};
use crate::source::kafka::{Handle, Stretch, bounds, scan};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The newest of what was published, by account; 16 bytes each, since only whether it differs is asked.
#[derive(Debug, Default)]
pub(super) struct Known {
    hashes: RandomState,
    values: FxHashMap<u64, u64>,
}

/// What of a value matters: a balance that was looked at later is no other balance.
#[derive(serde::Deserialize)]
struct Value {
    balance: String,
    status: String,
}

impl Known {
    /// Reads it. Blocks.
    pub fn read(publisher: &Publisher, client: &ClientConfig, topic: &str) -> anyhow::Result<Self> {
        let metadata = publisher.client().fetch_metadata(Some(topic), TIMEOUT).context("ask for the topic of balances")?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .filter(|found| found.name() == topic && found.error().is_none())
            .flat_map(|found| found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id))
            .collect();
        anyhow::ensure!(!partitions.is_empty(), "the topic `{topic}` does not exist; run `farebox migrate`");
        let mut stretches = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (from, to) = bounds(publisher.client(), topic, partition, TIMEOUT)?;
            stretches.push(Stretch { partition, from, to });
        }
        let mut known = Self::default();
        let handle = Handle::apart(client, topic)?;
        scan(&handle, &stretches, TIMEOUT, |_, record| {
            if let Some(key) = record.key {
                known.take(key, record.value);
            }
            true
        })?;
        Ok(known)
    }

    fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let key = self.hash(key);
        // What cannot be read, or was taken away, is known to nobody.
        match value.and_then(|value| serde_json::from_slice::<Value>(value).ok()) {
            Some(value) => self.values.insert(key, self.hash((value.balance, value.status))),
            None => self.values.remove(&key),
        };
    }

    /// Whether the topic says something else, or nothing.
    pub fn is_stale(&self, balance: &PublishedBalance) -> bool {
        let value = self.hash((balance.balance.to_string(), balance.status.as_str().to_owned()));
        self.values.get(&self.hash(balance.account.as_bytes())) != Some(&value)
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.hashes.hash_one(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Status;
    use crate::model::{Credits, Timestamp};

    #[test]
    fn another_balance_or_status_is_stale_and_another_moment_is_not() {
        let balance = PublishedBalance {
            account: "acme".to_owned(),
            balance: Credits::from_nanos(1_500_000_000),
            status: Status::Low,
            as_of: Timestamp::from_millis(0),
        };
        let mut known = Known::default();
        assert!(known.is_stale(&balance));
        known.take(b"acme", Some(balance.to_json().as_bytes()));
        known.take(b"bolt", Some(b"{\"balance\":\"9\",\"status\":\"ok\"}"));
        assert!(!known.is_stale(&PublishedBalance { as_of: Timestamp::from_millis(9), ..balance.clone() }));
        assert!(known.is_stale(&PublishedBalance { status: Status::Ok, ..balance.clone() }));
        assert!(known.is_stale(&PublishedBalance { balance: Credits::ZERO, ..balance.clone() }));
        for gone in [None, Some(&b"not JSON"[..])] {
            known.take(b"acme", Some(balance.to_json().as_bytes()));
            known.take(b"acme", gone);
            assert!(known.is_stale(&balance));
        }
    }
}
