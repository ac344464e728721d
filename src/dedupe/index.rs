//! From an id's key to its place in the ring: five bytes a slot, up to seven eighths full.
//!
//! Linear probing in the order of homes (Robin Hood), with the distance from home beside each place: an entry can be taken out without
//! asking the ring where its neighbours belong. What bits a place does not need hold bits of the key, so that the ring is hardly
//! asked in vain. Keys are keyed hashes already, so they are their own hash, and nobody can choose them to collide.
//! Holds: memory is bounded by the number of ids that the window may hold. Growing needs no second table: all keys are in the ring.

use super::ring::{Place, Ring};

/// The furthest from home, counted from 1; 0 is an empty slot.
const DISTANCE_MAX: u8 = u8::MAX;
const SLOTS_LEAST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// A place in the low bits, bits of the key in those above.
    slots: Vec<u32>,
    distances: Vec<u8>,
    len: usize,
    slots_max: usize,
    /// The bits of a place.
    mask: Place,
}

impl Index {
    /// Of a window that holds at most so many ids.
    pub(super) fn new(ids_max: usize) -> Self {
        let places = Ring::slots_max(ids_max).next_power_of_two() as u64; // at most 2^32
        // One more than the limit, for a moment.
        Self { mask: (places - 1) as Place, slots_max: (ids_max + 1) / 7 * 8 + SLOTS_LEAST, ..Self::default() }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>() + self.distances.capacity()
    }

    /// Where the key is in here, and the ring's slot of its entry.
    pub(super) fn find(&self, key: u64, ring: &Ring) -> Option<(usize, usize)> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        for distance in 1..=DISTANCE_MAX {
            if self.distances[at] < distance {
                return None; // whoever lives here lives nearer to its home than the key would
            }
            if self.distances[at] == distance && (self.slots[at] ^ key as u32) & !self.mask == 0 {
                let slot = ring.slot(self.slots[at], self.mask);
                if ring.key(slot) == key {
                    return Some((at, slot));
                }
            }
            at = self.next(at);
        }
        None
    }

    /// Gives an entry that was found its new place.
    pub(super) fn set(&mut self, at: usize, key: u64, place: Place) {
        self.slots[at] = self.slot(key, place);
    }

    /// Adds the key of the ring's newest entry.
    pub(super) fn insert(&mut self, key: u64, place: Place, ring: &Ring) {
        if self.len >= self.slots.len() / 8 * 7 {
            self.rebuild(ring, self.slots.len() / 2 * 3);
        } else if !self.put(key, place) {
            self.rebuild(ring, self.slots.len() / 8 * 9);
        }
    }

    /// Takes out what was found there.
    pub(super) fn remove(&mut self, mut at: usize) {
        self.len -= 1;
        loop {
            let next = self.next(at);
            if self.distances[next] <= 1 {
                self.distances[at] = 0;
                return;
            }
            (self.slots[at], self.distances[at]) = (self.slots[next], self.distances[next] - 1);
            at = next;
        }
    }

    /// Whether most of it stands empty, because ids have left.
    pub(super) fn is_loose(&self) -> bool {
        self.slots.len() > 16 * SLOTS_LEAST && self.len < self.slots.len() / 4
    }

    /// Makes it anew from the ring's entries, with the least room that is comfortable.
    pub(super) fn refresh(&mut self, ring: &Ring) {
        let enough = if self.is_loose() { self.slots.len() / 2 } else { self.slots.len() };
        self.rebuild(ring, enough);
    }

    /// Makes it anew from the ring's entries, with so many slots if they suffice and are allowed.
    fn rebuild(&mut self, ring: &Ring, slots: usize) {
        let mut slots = slots.min(self.slots_max).max(ring.len() / 7 * 8 + SLOTS_LEAST);
        loop {
            // The old one goes first: two would be too much memory.
            (self.slots, self.distances, self.len) = (Vec::new(), Vec::new(), 0);
            (self.slots, self.distances) = (vec![0; slots], vec![0; slots]);
            if ring.iter().all(|(key, place)| self.put(key, place)) {
                return;
            }
            slots += slots / 8; // never seen: some home is 254 slots away from its entry
        }
    }

    /// Whether there was room within reach. If not, an entry is lost.
    fn put(&mut self, key: u64, place: Place) -> bool {
        let (mut at, mut slot, mut distance) = (self.home(key), self.slot(key, place), 1);
        loop {
            let there = self.distances[at];
            if there == 0 {
                (self.slots[at], self.distances[at]) = (slot, distance);
                self.len += 1;
                return true;
            }
            if there < distance {
                std::mem::swap(&mut self.slots[at], &mut slot);
                std::mem::swap(&mut self.distances[at], &mut distance);
            }
            if distance == DISTANCE_MAX {
                return false;
            }
            (at, distance) = (self.next(at), distance + 1);
        }
    }

    fn slot(&self, key: u64, place: Place) -> u32 {
        place & self.mask | key as u32 & !self.mask
    }

    fn home(&self, key: u64) -> usize {
        ((u128::from(key) * self.slots.len() as u128) >> 64) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}
