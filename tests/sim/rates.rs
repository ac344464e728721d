//! How often what goes wrong. Each run draws its own: a run that knows few faults shows what a mixture of all hides.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::dice::Dice;

/// Times in a thousand; all are 0 once the world has calmed down.
#[derive(Debug)]
pub struct Rates {
    /// A commit whose request or answer is lost or late.
    pub commit_fails: u64,
    /// The group moves under a commit.
    pub commit_kicks: u64,
    /// A question to Kafka that is not answered.
    pub question_fails: u64,
    /// Dead letters that are not acknowledged at first.
    pub letters_fail: u64,
    calm: AtomicBool,
    fired: AtomicU64,
}

impl Rates {
    pub fn draw(dice: &Dice) -> Self {
        Self {
            commit_fails: *dice.pick(&[0, 0, 50, 150]),
            commit_kicks: *dice.pick(&[0, 0, 0, 30]),
            question_fails: *dice.pick(&[0, 0, 20, 100]),
            letters_fail: *dice.pick(&[0, 0, 0, 200]),
            calm: AtomicBool::new(false),
            fired: AtomicU64::new(0),
        }
    }

    pub fn fires(&self, dice: &Dice, rate: impl Fn(&Self) -> u64) -> bool {
        let rate = rate(self);
        let fires = rate > 0 && !self.calm.load(Ordering::Relaxed) && dice.chance(rate);
        self.fired.fetch_add(u64::from(fires), Ordering::Relaxed);
        fires
    }

    /// How much went wrong so far.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }
}
