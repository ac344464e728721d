//! Short texts as two integers.

/// The first and the last eight bytes, or fewer. Of a text of at most 16 bytes they tell everything, together with its length.
#[inline]
pub(crate) fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)), 0)
    } else {
        match *bytes {
            [] => (0, 0),
            [a] => (a.into(), 0),
            [a, b] => (a.into(), b.into()),
            [a, b, ..] => (a.into(), u64::from(b) << 8 | u64::from(bytes[bytes.len() - 1])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_16_bytes_length_and_ends_tell_every_byte() {
        for length in 0..=16 {
            let text = vec![0_u8; length];
            for at in 0..length {
                for bit in 0..8 {
                    let mut other = text.clone();
                    other[at] ^= 1 << bit;
                    assert_ne!(ends(&text), ends(&other), "byte {at} of {length}");
                }
            }
        }
    }
}
