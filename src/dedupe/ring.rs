//! The remembered ids in the order of the log, packed.
//!
//! Holds: an entry is 18 bytes and has a stable place until [`Ring::compact`]; the oldest entry is live. A moved entry leaves
//! a dead one behind; dead ones are at most a sixteenth of the live ones and [`DEAD_FREE`] more when [`Ring::is_loose`]
//! is obeyed. Entries lie in pages that come and go with them, so memory is bounded by the number of ids and returns when they leave.
//! An offset is kept for each page alone: reading the log from a little before an entry builds the same window.

use std::collections::VecDeque;
use std::fmt;

use super::Fingerprint;
use crate::model::Timestamp;

/// Entries of a page.
const PAGE: usize = 256;
/// Dead entries that never call for compaction, so that small windows are left alone.
const DEAD_FREE: usize = 1_024;
/// The dead entries that are allowed, as a part of the live ones.
const SLACK: usize = 16;

/// A place in the ring, as far as the caller keeps its bits: counts entries ever pushed since the last compaction, and wraps.
pub(super) type Place = u32;

/// What is remembered of an id's last occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the payload, [`PAYLOAD_BITS`] are remembered.
    pub fingerprint: Fingerprint,
    pub timestamp_ms: i64,
}

/// Enough to tell a changed event from a repeated one: two of 275 billion contents look alike.
const PAYLOAD_BITS: u32 = 38;
/// Holds every moment up to 2109, one more than [`Timestamp::clamped`] gives.
const TIME_BITS: u32 = 42;
/// The time of a dead entry.
const DEAD: u64 = (1 << TIME_BITS) - 1;
const _: () = assert!(Timestamp::MIN.millis() >= 0 && (Timestamp::MAX.millis() as u64) < DEAD);

impl Seen {
    /// Moments count as the tables hold them: what lies before 1970 or behind 2105 lies at the end of that time.
    pub(super) fn new(fingerprint: Fingerprint, timestamp: Timestamp) -> Self {
        let payload = fingerprint.payload & ((1 << PAYLOAD_BITS) - 1);
        Self { fingerprint: Fingerprint { payload, ..fingerprint }, timestamp_ms: timestamp.clamped().millis() }
    }
}

/// [`Seen`] in bytes, so that nothing is lost to alignment: the key, then 42 bits of time and 38 of payload, little-endian.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u8; 8],
    /// The time, and the lower bits of the payload.
    low: [u8; 8],
    high: [u8; 2],
}

impl Entry {
    const EMPTY: Self = Self { key: [0; 8], low: [0; 8], high: [0; 2] };

    fn pack(seen: &Seen) -> Self {
        let payload = seen.fingerprint.payload;
        Self {
            key: seen.fingerprint.key.to_le_bytes(),
            low: (seen.timestamp_ms.cast_unsigned() | payload << TIME_BITS).to_le_bytes(),
            high: ((payload >> (64 - TIME_BITS)) as u16).to_le_bytes(),
        }
    }

    fn unpack(&self) -> Seen {
        let low = u64::from_le_bytes(self.low);
        let payload = low >> TIME_BITS | u64::from(u16::from_le_bytes(self.high)) << (64 - TIME_BITS);
        Seen { fingerprint: Fingerprint { key: self.key(), payload }, timestamp_ms: (low & DEAD).cast_signed() }
    }

    fn key(&self) -> u64 {
        u64::from_le_bytes(self.key)
    }

    fn is_dead(&self) -> bool {
        u64::from_le_bytes(self.low) & DEAD == DEAD
    }

    fn kill(&mut self) {
        self.low = (u64::from_le_bytes(self.low) | DEAD).to_le_bytes();
    }
}

struct Page {
    /// The offset of the first entry that was put here, or one a little before it.
    from: i64,
    entries: Box<[Entry; PAGE]>,
}

#[derive(Default)]
pub(super) struct Ring {
    pages: VecDeque<Page>,
    /// The place of the front page's first slot.
    first: Place,
    /// Slots of the front page whose entries have left.
    left: usize,
    /// Slots from the front page's first on that are taken.
    taken: usize,
    live: usize,
}

impl Ring {
    /// The most slots between the oldest and the newest entry of so many live ones, when [`Ring::is_loose`] is obeyed.
    pub(super) fn slots_max(live: usize) -> usize {
        live + live / SLACK + DEAD_FREE + 2 * PAGE
    }

    /// Live entries.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn get(&self, slot: usize) -> Seen {
        self.entry(slot).unpack()
    }

    pub(super) fn key(&self, slot: usize) -> u64 {
        self.entry(slot).key()
    }

    /// The slot of a place of which the caller kept the bits of this mask.
    pub(super) fn slot(&self, place: Place, mask: Place) -> usize {
        (place.wrapping_sub(self.first) & mask) as usize
    }

    fn place(&self, slot: usize) -> Place {
        self.first.wrapping_add(slot as Place)
    }

    /// The live entry longest ago in the log.
    pub(super) fn oldest(&self) -> Option<Seen> {
        (self.live > 0).then(|| self.get(self.left))
    }

    /// The offset of the oldest entry, or one a little before it, but never one from before the ring began.
    pub(super) fn oldest_offset(&self) -> Option<i64> {
        self.pages.front().filter(|_| self.live > 0).map(|page| page.from)
    }

    pub(super) fn push(&mut self, seen: &Seen, offset: i64) -> Place {
        if self.taken == self.pages.len() * PAGE {
            self.pages.push_back(Page { from: offset, entries: Box::new([Entry::EMPTY; PAGE]) });
        } else if self.live == 0
            && let Some(page) = self.pages.front_mut()
        {
            page.from = offset; // those before have all left
        }
        let slot = self.taken;
        *self.entry_mut(slot) = Entry::pack(seen);
        self.taken += 1;
        self.live += 1;
        self.place(slot)
    }

    /// Takes the live entry in that slot out.
    pub(super) fn kill(&mut self, slot: usize) {
        self.entry_mut(slot).kill();
        self.live -= 1;
        while self.left < self.taken && self.entry(self.left).is_dead() {
            self.left += 1;
            if self.left == PAGE {
                self.pages.pop_front();
                self.first = self.first.wrapping_add(PAGE as Place);
                self.taken -= PAGE;
                self.left = 0;
            }
        }
    }

    /// Whether so many entries are dead that compacting is paid for by the moves that made them so.
    pub(super) fn is_loose(&self) -> bool {
        self.taken - self.left - self.live > self.live / SLACK + DEAD_FREE
    }

    /// Drops the dead entries. Places change.
    pub(super) fn compact(&mut self) {
        let mut kept = 0;
        for slot in self.left..self.taken {
            let entry = *self.entry(slot);
            if entry.is_dead() {
                continue;
            }
            if kept % PAGE == 0 {
                self.pages[kept / PAGE].from = self.pages[slot / PAGE].from;
            }
            *self.entry_mut(kept) = entry;
            kept += 1;
        }
        self.pages.truncate(kept.div_ceil(PAGE));
        (self.first, self.left, self.taken) = (0, 0, kept);
    }

    /// Key and place of every live entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        (self.left..self.taken)
            .map(|slot| (self.entry(slot), slot))
            .filter(|(entry, _)| !entry.is_dead())
            .map(|(entry, slot)| (entry.key(), self.place(slot)))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * size_of::<[Entry; PAGE]>() + self.pages.capacity() * size_of::<Page>()
    }

    fn entry(&self, slot: usize) -> &Entry {
        &self.pages[slot / PAGE].entries[slot % PAGE]
    }

    fn entry_mut(&mut self, slot: usize) -> &mut Entry {
        &mut self.pages[slot / PAGE].entries[slot % PAGE]
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} live of {})", self.live, self.taken - self.left) // millions, never listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key: u64) -> Seen {
        Seen::new(Fingerprint { key, payload: 1 }, Timestamp::MIN)
    }

    #[test]
    fn an_entry_is_18_bytes_and_loses_nothing() {
        assert_eq!(size_of::<Entry>(), 18);
        for timestamp in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_millis(1_772_366_400_123)] {
            for payload in [0, 1, (1 << PAYLOAD_BITS) - 1, 0x2a_aaaa_aaaa] {
                let seen = Seen::new(Fingerprint { key: u64::MAX - 1, payload }, timestamp);
                let mut entry = Entry::pack(&seen);
                assert_eq!((entry.unpack(), entry.is_dead()), (seen, false));
                assert_eq!((seen.fingerprint.payload, seen.timestamp_ms), (payload, timestamp.millis()));
                entry.kill();
                assert!(entry.is_dead() && entry.key() == u64::MAX - 1);
            }
        }
    }

    #[test]
    fn moments_that_no_table_holds_lie_at_the_end_of_those_that_one_does() {
        for (at, kept) in [(i64::MIN, Timestamp::MIN), (-1, Timestamp::MIN), (i64::MAX, Timestamp::MAX)] {
            let seen = Seen::new(Fingerprint { key: 1, payload: u64::MAX }, Timestamp::from_millis(at));
            assert_eq!((Entry::pack(&seen).unpack(), seen.timestamp_ms), (seen, kept.millis()));
        }
    }

    #[test]
    fn the_oldest_offset_lies_at_most_a_page_before_the_oldest_entry() {
        let mut ring = Ring::default();
        assert_eq!(ring.oldest_offset(), None);
        for offset in 0..1_000 {
            ring.push(&seen(offset), offset.cast_signed());
        }
        for slot in 0..300 {
            assert_eq!(ring.oldest_offset(), Some(if slot < 256 { 0 } else { 256 }));
            ring.kill(slot % 256);
        }
        assert_eq!(ring.oldest().map(|seen| seen.fingerprint.key), Some(300));
        ring.compact();
        assert_eq!((ring.oldest_offset(), ring.len()), (Some(256), 700));
        (0..700).for_each(|slot| ring.kill(if slot < 512 { slot % 256 } else { slot - 512 }));
        assert_eq!((ring.oldest_offset(), ring.len()), (None, 0));
        ring.push(&seen(7), 5_000);
        assert_eq!(ring.oldest_offset(), Some(5_000), "a ring that was empty begins anew");
    }
}
