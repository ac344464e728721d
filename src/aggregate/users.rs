//! Sets of users as bytes that ClickHouse merges: the state of `uniqCombined64(17)` over `UInt64`.
//!
//! A set of at most 16 is `0x01`, the count as a varint, the elements as little-endian 64-bit integers; up to 4 096 it is `0x02` and the
//! same. The engine hashes an integer before it counts it, and its states hold the hashed value, so an element is [`fmix64`] of
//! the user's hash. Larger sets are written as several states: merging is a union. Exact up to 4 095 users, and at 4 096 as long as no user
//! is merged twice (a full exact set becomes an estimate when any user comes, known or not); about 0.3 % beyond.
//! Absent on purpose: the dense form (registers), which only the engine makes.

/// The most users of one state; a larger set becomes several.
pub const STATE_USERS_MAX: usize = 4096;
const ARRAY_USERS_MAX: usize = 16;

/// The 64-bit finaliser of MurmurHash3, a bijection with `fmix64(0) = 0`.
pub const fn fmix64(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// A set of at most [`STATE_USERS_MAX`] distinct user hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a>(&'a [u64]);

impl<'a> State<'a> {
    /// The state of no user.
    pub const EMPTY: State<'static> = State(&[]);

    /// The states of a set of distinct hashes: none when it is empty, one up to [`STATE_USERS_MAX`], several beyond.
    pub fn of(hashes: &'a [u64]) -> impl ExactSizeIterator<Item = Self> + Clone {
        hashes.chunks(STATE_USERS_MAX).map(State)
    }

    /// How many users.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Appends the engine's bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        out.push(if self.len() <= ARRAY_USERS_MAX { 1 } else { 2 });
        let mut rest = self.len();
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        for &hash in self.0 {
            out.extend_from_slice(&fmix64(hash).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hashes: &[u64]) -> Vec<Vec<u8>> {
        State::of(hashes)
            .map(|state| {
                let mut out = Vec::new();
                state.write(&mut out);
                out
            })
            .collect()
    }

    #[test]
    fn the_finaliser_is_murmurs() {
        // The published finaliser; the engine's state of one user holds the same bytes.
        assert_eq!(fmix64(0), 0);
        assert_eq!(fmix64(1), 0xb456_bcfc_34c2_cb2c);
        assert_eq!(fmix64(u64::MAX), 0x64b5_720b_4b82_5f21);
    }

    #[test]
    fn seventeen_users_change_the_form_and_4_097_the_number_of_states() {
        let hashes: Vec<u64> = (0..4097).collect();
        let mut empty = Vec::new();
        State::EMPTY.write(&mut empty);
        assert_eq!(empty, [1, 0]);
        assert_eq!(bytes(&hashes[..1])[0], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&hashes[..16])[0][..2], [1, 16]);
        assert_eq!(bytes(&hashes[..17])[0][..2], [2, 17]);
        assert_eq!(bytes(&hashes[..300])[0][..3], [2, 0xac, 0x02]);
        assert_eq!(bytes(&hashes[..4096]).len(), 1);
        let two = bytes(&hashes);
        assert_eq!((two.len(), two[0].len(), two[1].len()), (2, 3 + 4096 * 8, 2 + 8));
        assert!(bytes(&[]).is_empty());
    }
}
