//! The window over one partition.

use hashbrown::HashTable;

use super::ring::{Place, Ring, Seen};
use super::{Decision, Fingerprint, Limits};
use crate::model::Timestamp;

/// Ids seen of late in one partition, in the order of the log.
///
/// An id costs 28 bytes in the ring, up to an eighth more for entries that moved and an eighth more for spare capacity, and
/// 6 to 16 bytes in the index: about 40 bytes, and never more than [`Window::BYTES_PER_ID_MAX`] beside
/// [`Window::BYTES_FREE`] (while the index grows, the old one stands beside it for a moment). Every step is O(1) amortised:
/// a compaction is paid for by the moves before it.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    ring: Ring,
    /// From key to place in the ring. Keys are keyed hashes already, so they are their own hash.
    index: HashTable<Place>,
    newest_ms: i64,
    /// The newest timestamp of an id that had to leave because there were too many.
    crowded_out_ms: Option<i64>,
}

impl Window {
    /// What an id costs at most.
    pub const BYTES_PER_ID_MAX: usize = 52;
    /// What a window may hold beside that, so that small ones are not compacted again and again.
    pub const BYTES_FREE: usize = 80 * 1024;

    /// An empty window.
    pub fn new(limits: Limits) -> Self {
        // Places are 32 bits wide and dead entries need some of them.
        let limits = Limits { ids_max: limits.ids_max.min(1 << 31), window_ms: limits.window_ms.max(0), ..limits };
        Self { limits, ring: Ring::default(), index: HashTable::new(), newest_ms: i64::MIN, crowded_out_ms: None }
    }

    /// What an event is to those before it. The event becomes the newest entry of its id, whatever the decision.
    pub fn observe(&mut self, fingerprint: Fingerprint, offset: i64, timestamp: Timestamp) -> Decision {
        let seen = Seen::new(fingerprint, offset, timestamp.millis());
        let decision = self.remember(seen);
        while self.ring.len() > self.limits.ids_max {
            if let Some(oldest) = self.forget_oldest() {
                self.crowded_out_ms = self.crowded_out_ms.max(Some(oldest.timestamp_ms));
            }
        }
        self.newest_ms = self.newest_ms.max(seen.timestamp_ms);
        if self.limits.expire_by_time {
            let horizon = seen.timestamp_ms.saturating_sub(self.limits.window_ms);
            while self.ring.oldest().is_some_and(|(_, oldest)| oldest.timestamp_ms < horizon) {
                self.forget_oldest();
            }
        }
        if self.ring.is_loose() || self.index_is_loose() {
            self.compact();
        }
        decision
    }

    /// The offset of the oldest entry: reading the log from here on builds this window again.
    pub fn oldest_offset(&self) -> Option<i64> {
        self.ring.oldest().map(|(_, oldest)| oldest.offset)
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
        self.ring.bytes() + self.index.allocation_size()
    }

    fn remember(&mut self, seen: Seen) -> Decision {
        let Fingerprint { key, payload } = seen.fingerprint;
        let Some(place) = self.index.find_mut(key, |&place| self.ring.key(place) == key) else {
            let place = self.ring.push(seen);
            self.index.insert_unique(key, place, |&place| self.ring.key(place));
            return Decision::New;
        };
        let previous = self.ring.get(*place);
        self.ring.kill(*place);
        *place = self.ring.push(seen);
        if previous.timestamp_ms.abs_diff(seen.timestamp_ms) > self.limits.window_ms.unsigned_abs() {
            Decision::New
        } else if previous.fingerprint.payload == payload {
            Decision::Duplicate
        } else {
            Decision::Conflict
        }
    }

    fn forget_oldest(&mut self) -> Option<Seen> {
        let (place, oldest) = self.ring.oldest()?;
        if let Ok(entry) = self.index.find_entry(oldest.fingerprint.key, |&indexed| indexed == place) {
            entry.remove();
        }
        self.ring.kill(place);
        Some(oldest)
    }

    /// Whether the index is full of what was removed. It would double instead, again and again.
    fn index_is_loose(&self) -> bool {
        let room = self.index.num_buckets() / 8 * 7;
        self.index.capacity() == self.index.len() && self.index.len() <= room / 4 * 3 && room > 0
    }

    fn compact(&mut self) {
        let Self { ring, index, .. } = self;
        index.clear();
        // There is room for every entry, so nothing is hashed again.
        ring.compact(|key, place| {
            index.insert_unique(key, place, |_| key);
        });
    }
}
