//! The digest of a batch: a 64-bit sum that does not depend on the order of its terms.
//!
//! Each record, and each row of a rollup, is written field by field, texts with their length, and hashed; the hashes are added with
//! wrap-around. Of an accepted event, what it says is one number: the content of its fingerprint. The key is public: the digest tells whether two foldings of one range agree, it does not resist an opponent.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

const KEY: (u64, u64) = (0x6661_7265_626f_7831, 0x6469_6765_7374_2076);

/// What a term speaks of. The numbers are part of the digest: never reused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Term {
    Accepted = 1,
    Duplicate = 2,
    Rejected = 3,
    Hourly = 4,
    Session = 5,
}

/// The sum so far, and a buffer for the next term.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digest {
    sum: u64,
    term: Vec<u8>,
}

impl Digest {
    pub fn begin(&mut self, term: Term) -> &mut Self {
        self.term.clear();
        self.term.push(term as u8);
        self
    }

    pub fn text(&mut self, value: &[u8]) -> &mut Self {
        self.term.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.term.extend_from_slice(value);
        self
    }

    pub fn int(&mut self, value: i64) -> &mut Self {
        self.term.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn number(&mut self, value: u64) -> &mut Self {
        self.term.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn amount(&mut self, nanos: i128) -> &mut Self {
        self.term.extend_from_slice(&nanos.to_le_bytes());
        self
    }

    pub fn end(&mut self) {
        let mut hasher = SipHasher13::new_with_keys(KEY.0, KEY.1);
        hasher.write(&self.term);
        self.sum = self.sum.wrapping_add(hasher.finish());
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }
}
