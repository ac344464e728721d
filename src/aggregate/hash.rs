//! Hashes of a batch's tables, under a secret: nobody who writes events can choose names that collide and make a table slow.
//!
//! No result depends on them: everything that leaves a batch is sorted.

use std::hash::Hasher as _;

use siphasher::sip::{SipHasher13, SipHasher24};

/// The most numbers of a key.
const NUMBERS_MAX: usize = 10;

/// What a batch hashes its names and keys under.
#[derive(Debug, Clone, Copy)]
pub struct HashSeed {
    texts: [u8; 16],
    numbers: [u64; NUMBERS_MAX],
}

impl HashSeed {
    /// From secret bytes. The tables do not show them.
    pub fn new(secret: [u8; 16]) -> Self {
        let derived = |label: u64| {
            let mut hasher = SipHasher24::new_with_key(&secret);
            hasher.write_u64(label);
            hasher.finish()
        };
        let mut numbers = [0; NUMBERS_MAX];
        (2..).zip(&mut numbers).for_each(|(label, number)| *number = derived(label));
        Self { texts: (u128::from(derived(0)) << 64 | u128::from(derived(1))).to_le_bytes(), numbers }
    }

    pub(super) fn text(&self, text: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.texts);
        hasher.write(text);
        hasher.finish()
    }

    /// Multilinear hashing: the upper half of a sum of products with secret numbers collides for two keys once in 2^32, whoever chose
    /// them. Spread over 64 bits, because a table looks at both ends.
    pub(super) fn numbers<const N: usize>(&self, numbers: [u32; N]) -> u64 {
        const { assert!(N < NUMBERS_MAX) };
        let products = numbers.iter().zip(&self.numbers[1..]).map(|(&number, secret)| secret.wrapping_mul(number.into()));
        let sum = products.fold(self.numbers[0], u64::wrapping_add);
        (sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Default for HashSeed {
    /// For those who fold what they made up themselves.
    fn default() -> Self {
        Self::new([0; 16])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// How many of a table's 4 096 first places they take.
    fn places(hashes: impl Iterator<Item = u64>) -> usize {
        hashes.map(|hash| hash & 0xfff).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn names_chosen_to_collide_under_one_secret_do_not_under_another() {
        let (known, secret) = (HashSeed::new([1; 16]), HashSeed::new([2; 16]));
        let chosen: Vec<String> =
            (0..600_000).map(|n| format!("agent-{n}")).filter(|name| known.text(name.as_bytes()) & 0xfff == 7).collect();
        assert!(chosen.len() > 100 && places(chosen.iter().map(|name| known.text(name.as_bytes()))) == 1);
        let spread = places(chosen.iter().map(|name| secret.text(name.as_bytes())));
        assert!(spread * 10 > chosen.len() * 9, "{spread} places for {}", chosen.len());
    }

    #[test]
    fn keys_chosen_to_collide_under_one_secret_do_not_under_another() {
        let (known, secret) = (HashSeed::new([1; 16]), HashSeed::new([2; 16]));
        let chosen: Vec<[u32; 4]> =
            (0..600_000).map(|n| [n % 7, n / 7, n % 24 * 3_600, 3]).filter(|&key| known.numbers(key) & 0xfff == 7).collect();
        assert!(chosen.len() > 100);
        let spread = places(chosen.iter().map(|&key| secret.numbers(key)));
        assert!(spread * 10 > chosen.len() * 9, "{spread} places for {}", chosen.len());
    }
}
