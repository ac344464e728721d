//! The remembered ids in the order of the log, packed.
//!
//! Holds: an entry is 28 bytes and has a stable place until [`Ring::compact`]; the oldest entry is live. A moved entry leaves
//! a dead one behind; dead ones are at most an eighth of the live ones and [`DEAD_FREE`] more when [`Ring::is_loose`]
//! is obeyed, and capacity grows by an eighth at a time, so memory is bounded by the number of ids.

use std::collections::VecDeque;
use std::fmt;

use super::Fingerprint;

/// Dead entries that never call for compaction, so that small windows are left alone.
const DEAD_FREE: usize = 1_024;
/// The slack that is allowed, as a part of what is live: for dead entries, and for capacity.
const SLACK: usize = 8;

/// A place in the ring: counts entries ever pushed since the last compaction, and wraps.
pub(super) type Place = u32;

/// What is remembered of an id's last occurrence. Numbers keep to 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub fingerprint: Fingerprint,
    pub offset: i64,
    pub timestamp_ms: i64,
}

impl Seen {
    /// Saturates where no partition and no clock arrives: at 2^47 records, and in the year 6429.
    pub(super) fn new(fingerprint: Fingerprint, offset: i64, timestamp_ms: i64) -> Self {
        const MAX: i64 = (1 << 47) - 1;
        Self { fingerprint, offset: offset.clamp(0, MAX - 1), timestamp_ms: timestamp_ms.clamp(-MAX, MAX) }
    }
}

/// [`Seen`] in halves of words, so that nothing is lost to alignment.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u32; 2],
    payload: [u32; 2],
    offset: [u16; 3],
    timestamp_ms: [u16; 3],
}

/// The offset of a dead entry: one that [`Seen`] does not hold.
const DEAD: [u16; 3] = [u16::MAX, u16::MAX, 0x7fff];

#[derive(Default)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The place of the front entry.
    first: Place,
    live: usize,
}

impl Ring {
    /// Live entries.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn get(&self, place: Place) -> Seen {
        unpack(&self.entries[self.index(place)])
    }

    pub(super) fn key(&self, place: Place) -> u64 {
        word(self.entries[self.index(place)].key)
    }

    /// The live entry longest ago in the log, and its place.
    pub(super) fn oldest(&self) -> Option<(Place, Seen)> {
        self.entries.front().map(|entry| (self.first, unpack(entry)))
    }

    pub(super) fn push(&mut self, seen: Seen) -> Place {
        if self.entries.len() == self.entries.capacity() {
            // Not by doubling: a window of two million ids would hold room for four.
            self.entries.reserve_exact((self.entries.len() / SLACK).max(DEAD_FREE));
        }
        let place = self.first.wrapping_add(self.entries.len() as Place);
        self.entries.push_back(pack(&seen));
        self.live += 1;
        place
    }

    /// Takes the live entry at that place out.
    pub(super) fn kill(&mut self, place: Place) {
        let index = self.index(place);
        self.entries[index].offset = DEAD;
        self.live -= 1;
        while self.entries.front().is_some_and(|entry| entry.offset == DEAD) {
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Whether so many entries are dead that compacting is paid for by the moves that made them so.
    pub(super) fn is_loose(&self) -> bool {
        self.entries.len() - self.live > self.live / SLACK + DEAD_FREE
    }

    /// Drops the dead entries. Places change: gives the key and the new place of every entry.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(u64, Place)) {
        self.entries.retain(|entry| entry.offset != DEAD);
        self.first = 0;
        for (place, entry) in (0..).zip(&self.entries) {
            moved(word(entry.key), place);
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    fn index(&self, place: Place) -> usize {
        place.wrapping_sub(self.first) as usize
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} live of {})", self.live, self.entries.len()) // millions, never listed
    }
}

fn pack(seen: &Seen) -> Entry {
    let halves = |word: u64| [word as u32, (word >> 32) as u32];
    Entry {
        key: halves(seen.fingerprint.key),
        payload: halves(seen.fingerprint.payload),
        offset: thirds(seen.offset),
        timestamp_ms: thirds(seen.timestamp_ms),
    }
}

fn unpack(entry: &Entry) -> Seen {
    Seen {
        fingerprint: Fingerprint { key: word(entry.key), payload: word(entry.payload) },
        offset: number(entry.offset),
        timestamp_ms: number(entry.timestamp_ms),
    }
}

fn thirds(number: i64) -> [u16; 3] {
    [number as u16, (number >> 16) as u16, (number >> 32) as u16]
}

fn number([low, middle, high]: [u16; 3]) -> i64 {
    i64::from(high.cast_signed()) << 32 | i64::from(middle) << 16 | i64::from(low)
}

fn word([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_28_bytes_and_loses_nothing() {
        assert_eq!(size_of::<Entry>(), 28);
        for (offset, timestamp_ms) in [(0, 0), (1 << 46, -1), (65_535, 4_291_660_800_000), (7 << 32, 1 - (1 << 47))] {
            let fingerprint = Fingerprint { key: u64::MAX - 1, payload: 1 << 33 };
            let seen = Seen { fingerprint, offset, timestamp_ms };
            assert_eq!(unpack(&pack(&seen)), seen);
        }
    }

    #[test]
    fn what_is_beyond_48_bits_saturates_before_it_is_compared() {
        let fingerprint = Fingerprint { key: 1, payload: 2 };
        for number in [i64::MIN, -1, 0, i64::MAX] {
            let seen = Seen::new(fingerprint, number, number);
            assert_eq!(unpack(&pack(&seen)), seen);
            assert_ne!(pack(&seen).offset, DEAD);
        }
    }
}
