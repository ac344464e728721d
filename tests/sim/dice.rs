//! Chance, from a seed: whatever is drawn in a run comes from here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// One stream of random numbers (SplitMix64), shared by whoever holds a clone.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`; 0 when there is none.
    pub fn below(&self, count: u64) -> u64 {
        if count == 0 { 0 } else { self.next() % count }
    }

    /// One of `least..=most`.
    pub fn between(&self, least: i64, most: i64) -> i64 {
        let count = u64::try_from(most - least + 1).unwrap_or(1);
        least + i64::try_from(self.below(count)).unwrap_or(0)
    }

    /// Happens so many times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }

    /// Lets a random time pass, up to so many milliseconds.
    pub async fn wait(&self, millis_max: u64) {
        sleep(Duration::from_millis(self.below(millis_max + 1))).await;
    }
}
