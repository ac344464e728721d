//! The window over one partition.

use super::index::Index;
use super::ring::{Ring, Seen};
use super::{Decision, Fingerprint, Limits};
use crate::model::Timestamp;

/// Ids seen of late in one partition, in the order of the log.
///
/// An id costs 18 bytes in the ring, up to a sixteenth more for entries that moved, and 5.7 bytes in the index: never more than
/// [`Window::BYTES_PER_ID_MAX`] beside [`Window::BYTES_FREE`], and less again when ids leave. Every step is O(1) amortised: a
/// compaction is paid for by the moves before it.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    ring: Ring,
    index: Index,
    newest_ms: i64,
    /// The newest timestamp of an id that had to leave because there were too many.
    crowded_out_ms: Option<i64>,
}

impl Window {
    /// What an id costs at most.
    pub const BYTES_PER_ID_MAX: usize = 25;
    /// What a window may hold beside that, so that small ones are not compacted again and again.
    pub const BYTES_FREE: usize = 32 * 1024;

    /// An empty window.
    pub fn new(limits: Limits) -> Self {
        // Places are 32 bits wide and dead entries need some of them.
        let limits = Limits { ids_max: limits.ids_max.min(1 << 31), window_ms: limits.window_ms.max(0), ..limits };
        let index = Index::new(limits.ids_max);
        Self { limits, ring: Ring::default(), index, newest_ms: i64::MIN, crowded_out_ms: None }
    }

    /// What an event is to those before it. The event becomes the newest entry of its id, whatever the decision.
    pub fn observe(&mut self, fingerprint: Fingerprint, offset: i64, timestamp: Timestamp) -> Decision {
        let seen = Seen::new(fingerprint, timestamp);
        let decision = self.remember(&seen, offset);
        while self.ring.len() > self.limits.ids_max {
            if let Some(oldest) = self.forget_oldest() {
                self.crowded_out_ms = self.crowded_out_ms.max(Some(oldest.timestamp_ms));
            }
        }
        self.newest_ms = self.newest_ms.max(seen.timestamp_ms);
        if self.limits.expire_by_time {
            let horizon = seen.timestamp_ms.saturating_sub(self.limits.window_ms);
            while self.ring.oldest().is_some_and(|oldest| oldest.timestamp_ms < horizon) {
                self.forget_oldest();
            }
        }
        if self.ring.is_loose() {
            self.ring.compact();
            self.index.refresh(&self.ring);
        } else if self.index.is_loose() {
            self.index.refresh(&self.ring);
        }
        decision
    }

    /// Reading the log from here on builds this window again: the offset of the oldest entry, or one a little before it (never one from
    /// before this window began, whose record it does not know).
    pub fn oldest_offset(&self) -> Option<i64> {
        self.ring.oldest_offset()
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no id is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far back duplicates are found: the configured window, or less when so many ids came that some left early.
    pub fn span_ms(&self) -> i64 {
        let since_crowded_out = self.crowded_out_ms.map_or(i64::MAX, |left| self.newest_ms.saturating_sub(left));
        since_crowded_out.clamp(0, self.limits.window_ms)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.ring.bytes() + self.index.bytes()
    }

    fn remember(&mut self, seen: &Seen, offset: i64) -> Decision {
        let Fingerprint { key, payload } = seen.fingerprint;
        let Some((at, slot)) = self.index.find(key, &self.ring) else {
            let place = self.ring.push(seen, offset);
            self.index.insert(key, place, &self.ring);
            return Decision::New;
        };
        let previous = self.ring.get(slot);
        self.ring.kill(slot);
        let place = self.ring.push(seen, offset);
        self.index.set(at, key, place);
        if previous.timestamp_ms.abs_diff(seen.timestamp_ms) > self.limits.window_ms.unsigned_abs() {
            Decision::New
        } else if previous.fingerprint.payload == payload {
            Decision::Duplicate
        } else {
            Decision::Conflict
        }
    }

    fn forget_oldest(&mut self) -> Option<Seen> {
        let oldest = self.ring.oldest()?;
        if let Some((at, slot)) = self.index.find(oldest.fingerprint.key, &self.ring) {
            self.index.remove(at);
            self.ring.kill(slot);
        }
        Some(oldest)
    }
}
