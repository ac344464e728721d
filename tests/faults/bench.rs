//! What the tests of ClickHouse's faults share: an installation behind a proxy, events that keep coming, the final account.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::oracle::Totals;
use super::proxy::Proxy;
use super::quick::event;
use super::scenario::{Scenario, Size, seed};
use super::servers::{ClickHouse, Instance};

/// Tables in the order of insertion.
pub const TABLES: [&str; 5] = ["usage_log", "session_users", "usage_hourly", "rejected_events", "batches"];

/// A small installation whose instances reach ClickHouse through a proxy.
pub struct Bench {
    pub proxy: Proxy,
    pub scenario: Scenario,
    pub seed: u64,
}

impl Bench {
    pub fn new(brokers: &str, clickhouse: &ClickHouse, partitions: i32) -> Self {
        Self::with_seed(brokers, clickhouse, partitions, seed())
    }

    pub fn with_seed(brokers: &str, clickhouse: &ClickHouse, partitions: i32, seed: u64) -> Self {
        let proxy = Proxy::http(clickhouse.port());
        let size = Size { partitions, accounts: 6, clickhouse_url: Some(proxy.url()) };
        let mut scenario = Scenario::of_size(brokers, clickhouse, size);
        scenario.farebox.set("batch.max_age", "100ms").set("kafka.session_timeout", "1s");
        // What no generator makes, and every view shows.
        scenario.kafka.produce(&scenario.farebox.topic, &[event("stranger", "s1"), event("stranger", "s1"), event("", "s2")]);
        Self { proxy, scenario, seed }
    }

    pub fn start(&self) -> Instance {
        let mut instance = self.scenario.farebox.start();
        instance.wait_until_ready();
        instance
    }

    /// Events keep coming while `disturb` runs, and some more behind it; now and then the same ones again.
    pub fn under_load(&self, disturb: impl FnOnce()) {
        /// Ends the load also when a check fails meanwhile.
        struct Ending<'a>(&'a AtomicBool);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    let again = u64::from(round % 4 == 3);
                    self.scenario.produce(400, self.seed * 1_000 + round - again, 1_000);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let _ending = Ending(&done);
            disturb();
        });
    }

    /// Everything is as in the naive fold, and no block is there twice.
    #[track_caller]
    pub fn finish(&self, clickhouse: &ClickHouse, instances: &mut [Instance]) -> Totals {
        let totals = self.scenario.check(clickhouse, instances);
        let database = &self.scenario.farebox.database;
        for table in ["usage_hourly", "session_users"] {
            let twins = format!(
                "SELECT batch, toYYYYMM(day) AS month, sum(w.blocks) AS blocks FROM {database}.{table} AS w WHERE account = '' \
                 GROUP BY batch, month HAVING blocks != 1"
            );
            assert_eq!(clickhouse.query(&twins), "", "{table}: blocks that are not there once");
        }
        totals
    }
}

/// What a metric of all instances counts together.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn counted(instances: &[Instance], name: &str, labels: &[&str]) -> u64 {
    instances.iter().filter_map(|instance| instance.metric(name, labels)).map(|count| count as u64).sum()
}
