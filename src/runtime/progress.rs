//! Where each owned partition stands, for the gauges that show the worst of them or their sum.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::telemetry::{Memory, Metrics};

/// One partition's state after its last step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// When the oldest record that is not yet in ClickHouse was taken.
    pub oldest_unwritten: Option<Instant>,
    /// Ids in the window for duplicates.
    pub window_ids: usize,
    /// Milliseconds that the window reaches back.
    pub window_ms: i64,
    /// Memory of the window.
    pub window_bytes: usize,
    /// Memory of the open batch and of the one that is being written.
    pub batch_bytes: usize,
}

/// The standing of all owned partitions.
#[derive(Debug, Default)]
pub struct Progress {
    partitions: Mutex<BTreeMap<i32, Standing>>,
    leads: AtomicBool,
}

impl Progress {
    /// Notes where a partition stands.
    pub fn report(&self, partition: i32, standing: Standing) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, standing);
    }

    /// Forgets all partitions: none is ours any more.
    pub fn forget(&self) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes whether partition 0 is ours: its owner does the scheduled work.
    pub fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// Whether the scheduled work is ours to do.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Shows it.
    pub fn show(&self, metrics: &Metrics) {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let shortest = partitions.values().map(|standing| standing.window_ms).min().unwrap_or(0);
        let ids: usize = partitions.values().map(|standing| standing.window_ids).sum();
        let oldest = partitions.values().filter_map(|standing| standing.oldest_unwritten).min();
        let sum = |of: fn(&Standing) -> usize| partitions.values().map(of).sum::<usize>();
        metrics.set_memory(Memory::Batches, sum(|standing| standing.batch_bytes));
        metrics.set_memory(Memory::Windows, sum(|standing| standing.window_bytes));
        metrics.dedupe_window_seconds.set(seconds(shortest));
        metrics.dedupe_ids.set(i64::try_from(ids).unwrap_or(i64::MAX));
        metrics.oldest_uncommitted_seconds.set(oldest.map_or(0.0, |oldest| oldest.elapsed().as_secs_f64()));
    }
}

#[expect(clippy::float_arithmetic, reason = "a gauge in seconds")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
