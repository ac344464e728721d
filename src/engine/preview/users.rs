//! Distinct users without a server: exact while they are few, an estimate with a known error beyond.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashSet;
use hyperloglogplus::{HyperLogLog, HyperLogLogPlus};

use crate::aggregate::users::fmix64;

/// Up to so many users a set is exact: as many as in the tables.
pub const EXACT_USERS_MAX: usize = 4_095;
/// 2^16 registers: a standard error of 1.04 / 256, which is 0.41 %, in 48 KiB.
const PRECISION: u8 = 16;
/// Three standard errors, in parts of a million: of a thousand estimates three lie further away.
const ERROR_PPM: u64 = 12_188;

type Sketch = HyperLogLogPlus<u64, BuildHasherDefault<Mixed>>;
type Exact = HashSet<u64, BuildHasherDefault<Mixed>>;

/// A fixed hasher: sketches can be merged only when all of them hash alike.
#[derive(Debug, Clone, Copy, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = fmix64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fmix64(value);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many users, and how far off that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many.
    pub users: u64,
    /// Three standard errors; 0 when the number is exact.
    pub error: u64,
}

impl Count {
    const fn exact(users: usize) -> Self {
        Self { users: users as u64, error: 0 }
    }

    const fn estimate(users: u64) -> Self {
        Self { users, error: users.saturating_mul(ERROR_PPM).div_ceil(1_000_000) }
    }

    /// Never more than this: nobody uses an agent without an event.
    pub fn at_most(self, events: u64) -> Self {
        Self { users: self.users.min(events), ..self }
    }
}

/// A set of user hashes.
#[derive(Debug, Clone)]
pub struct Users(Kept);

#[derive(Debug, Clone)]
enum Kept {
    /// Every hash.
    Few(Exact),
    /// What is left of them when there are many.
    Many(Box<Sketch>),
}

impl Default for Users {
    fn default() -> Self {
        Self(Kept::Few(Exact::default()))
    }
}

impl Users {
    /// Adds users; those that are there already change nothing.
    pub fn add(&mut self, hashes: impl IntoIterator<Item = u64>) {
        for hash in hashes {
            match &mut self.0 {
                Kept::Few(exact) => {
                    exact.insert(hash);
                    if exact.len() > EXACT_USERS_MAX {
                        self.0 = sketch_of(exact.iter().copied());
                    }
                }
                Kept::Many(sketch) => sketch.insert(&hash),
            }
        }
    }

    /// Adds the users of another set.
    pub fn unite(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, Kept::Few(others)) => self.add(others.iter().copied()),
            (Kept::Few(exact), Kept::Many(_)) => {
                let own = std::mem::take(exact);
                *self = other.clone();
                self.add(own);
            }
            // Refused only for another precision, and there is one.
            (Kept::Many(sketch), Kept::Many(others)) => drop(sketch.merge(others)),
        }
    }

    /// How many.
    pub fn count(&self) -> Count {
        match &self.0 {
            Kept::Few(exact) => Count::exact(exact.len()),
            // Counting tidies the sketch up, so it is done on a copy.
            Kept::Many(sketch) => Count::estimate(sketch.clone().count().round() as u64),
        }
    }

    /// How many are in both sets: the sum of both less their union, when one of them is an estimate.
    pub fn shared(&self, other: &Self) -> Count {
        if let (Kept::Few(a), Kept::Few(b)) = (&self.0, &other.0) {
            return Count::exact(a.intersection(b).count());
        }
        let mut union = self.clone();
        union.unite(other);
        let (a, b, union) = (self.count(), other.count(), union.count());
        let users = (a.users + b.users).saturating_sub(union.users).min(a.users).min(b.users);
        Count { users, error: a.error + b.error + union.error }
    }
}

fn sketch_of(hashes: impl Iterator<Item = u64>) -> Kept {
    match Sketch::new(PRECISION, BuildHasherDefault::default()) {
        Ok(mut sketch) => {
            hashes.for_each(|hash| sketch.insert(&hash));
            Kept::Many(Box::new(sketch))
        }
        Err(_) => Kept::Few(hashes.collect()), // never: the precision is one that the sketch takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedupe::HashKey;

    fn users(numbers: std::ops::Range<u64>) -> Users {
        let key = HashKey::new([0; 16]);
        let mut users = Users::default();
        users.add(numbers.map(|n| key.user_hash("acme", &format!("u-{n}"))));
        users
    }

    fn within(count: Count, truth: u64) -> bool {
        count.error > 0 && count.users.abs_diff(truth) <= count.error
    }

    #[test]
    fn few_users_are_counted_and_many_are_estimated_within_the_error() {
        let exact_max = EXACT_USERS_MAX as u64;
        assert_eq!(Users::default().count(), Count { users: 0, error: 0 });
        assert_eq!(users(0..exact_max).count(), Count { users: exact_max, error: 0 });
        for many in [exact_max + 1, 5_000, 20_000, 60_000, 150_000, 400_000] {
            let count = users(0..many).count();
            assert!(within(count, many), "{many}: {count:?}");
        }
    }

    #[test]
    fn a_user_counts_once_however_often_and_in_whichever_set() {
        let mut twice = users(0..50_000);
        let once = twice.count();
        twice.unite(&users(10_000..40_000));
        twice.unite(&users(0..100));
        assert_eq!(twice.count(), once);
    }

    #[test]
    fn a_union_is_the_same_from_either_side() {
        for (a, b, truth) in [(0..100, 50..150, 150), (0..100, 50..30_000, 30_000), (0..20_000, 10_000..30_000, 30_000)] {
            let (a, b) = (users(a), users(b));
            let (mut left, mut right) = (a.clone(), b.clone());
            left.unite(&b);
            right.unite(&a);
            assert_eq!(left.count(), right.count());
            assert!(left.count().users.abs_diff(truth) <= left.count().error, "{truth}: {:?}", left.count());
        }
    }

    #[test]
    fn what_two_sets_share_is_exact_when_both_are_few() {
        assert_eq!(users(0..100).shared(&users(60..200)), Count { users: 40, error: 0 });
        assert_eq!(users(0..100).shared(&users(100..200)), Count { users: 0, error: 0 });
        for (a, b, truth) in [(0..20_000, 15_000..40_000, 5_000), (0..3_000, 1_000..30_000, 2_000), (0..9_000, 9_000..20_000, 0)] {
            let shared = users(a).shared(&users(b));
            assert!(within(shared, truth), "{truth}: {shared:?}");
        }
    }
}
