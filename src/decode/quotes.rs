//! Where the quotes of a document are, 64 bytes at a time.
//!
//! Holds: every quote is found in order, as long as no backslash and no control character stands before it in the same 64 bytes or
//! those before them: then the search ends, and the document is for the reader of JSON.

/// A search for quotes.
pub(super) struct Quotes<'a> {
    bytes: &'a [u8],
    /// What comes behind the 64 bytes that are searched.
    next: usize,
    /// The quotes among them that were not given yet.
    quotes: u64,
    is_ascii: bool,
}

/// What 64 bytes hold, a bit for each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    quotes: u64,
    /// Backslashes and control characters, all but the one above the space.
    stops: u64,
    /// What is not ASCII, and the control character above the space.
    odd: u64,
}

const BLOCK: usize = 64;

impl<'a> Quotes<'a> {
    #[inline]
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, quotes: 0, is_ascii: true }
    }

    /// Where the next quote is. `None`: there is none, or something stands before it that ends the search.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<usize> {
        while self.quotes == 0 {
            self.search()?;
        }
        let at = self.quotes.trailing_zeros();
        self.quotes &= self.quotes.wrapping_sub(1);
        Some(self.next.wrapping_sub(BLOCK).wrapping_add(at as usize))
    }

    /// Whether everything that was searched is printable ASCII, line ends aside.
    #[inline]
    pub(super) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    #[inline(never)]
    fn search(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
        let found = match rest.first_chunk::<BLOCK>() {
            Some(block) => find(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                find(&block)
            }
        };
        if found.stops != 0 {
            return None;
        }
        self.is_ascii &= found.odd == 0;
        self.quotes = found.quotes;
        self.next += BLOCK;
        Some(())
    }
}

#[cfg(target_arch = "x86_64")]
use vectors::find;
#[cfg(not(target_arch = "x86_64"))]
use words::find;

/// With what every processor of this architecture has: 16 bytes in one step.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // vouches that the processor has SSE2, and nothing else: no pointer, no memory
mod vectors {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    use super::{BLOCK, Found};

    #[inline]
    pub(super) fn find(block: &[u8; BLOCK]) -> Found {
        // SAFETY: SSE2 is part of x86_64.
        unsafe { sse2(block) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn sse2(block: &[u8; BLOCK]) -> Found {
        let mut found = Found::default();
        for (n, sixteen) in block.as_chunks::<16>().0.iter().enumerate() {
            let [low, high] = [0, 8].map(|at| i64::from_le_bytes(std::array::from_fn(|n| sixteen[at + n])));
            let bytes = _mm_set_epi64x(high, low);
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            // At most 0x1f, unsigned.
            let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            // Negative: from 0x80 on.
            let odd = _mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0)), is(0x7f));
            let mask = |bytes: __m128i| u64::from(_mm_movemask_epi8(bytes).cast_unsigned()) << (16 * n);
            found.quotes |= mask(is(b'"'));
            found.stops |= mask(_mm_or_si128(controls, is(b'\\')));
            found.odd |= mask(odd);
        }
        found
    }
}

/// With any processor: eight bytes in one integer.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{BLOCK, Found};

    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const LOWS: u64 = u64::from_ne_bytes([0x7f; 8]);

    #[inline]
    pub(super) fn find(block: &[u8; BLOCK]) -> Found {
        let mut found = Found::default();
        for (n, eight) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*eight);
            // The high bit of each byte that is not zero; no carry leaves a byte.
            let nonzero = |word: u64| ((word & LOWS).wrapping_add(LOWS) | word) & !LOWS;
            let is = |byte: u8| !nonzero(word ^ (ONES.wrapping_mul(byte.into()))) & !LOWS;
            let is_from_0x20 = ((word & LOWS).wrapping_add(ONES.wrapping_mul(0x60)) | word) & !LOWS;
            // The high bits side by side.
            let mask = |bits: u64| (bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56 << (8 * n);
            found.quotes |= mask(is(b'"'));
            found.stops |= mask(!is_from_0x20 & !LOWS | is(b'\\'));
            found.odd |= mask(word & !LOWS | is(0x7f));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![any::<u8>(), b'a'..=b'z', select(vec![b'"', b'\\', 0, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0xa2, 0xdc, 0xff])]
    }

    proptest! {
        #[test]
        fn both_ways_find_what_a_slow_search_finds(bytes in proptest::collection::vec(byte(), BLOCK)) {
            let block: &[u8; BLOCK] = bytes.first_chunk().expect("64 bytes");
            let bits = |is: &dyn Fn(u8) -> bool| (0..BLOCK).fold(0, |bits, n| bits | u64::from(is(block[n])) << n);
            let slow = Found {
                quotes: bits(&|byte| byte == b'"'),
                stops: bits(&|byte| byte == b'\\' || byte < 0x20),
                odd: bits(&|byte| byte >= 0x7f),
            };
            prop_assert_eq!(find(block), slow);
            prop_assert_eq!(words::find(block), slow);
        }

        #[test]
        fn every_quote_is_found_in_order(bytes in proptest::collection::vec(select(vec![b'"', b'a', b' ', 0x80]), 0..300)) {
            let mut quotes = Quotes::of(&bytes);
            let found: Vec<usize> = std::iter::from_fn(|| quotes.next()).collect();
            let slow: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'"').collect();
            prop_assert_eq!(found, slow);
            prop_assert_eq!(quotes.is_ascii(), bytes.is_ascii());
        }
    }

    #[test]
    fn a_backslash_and_a_line_end_end_the_search() {
        for stop in ["\\", "\n"] {
            let text = format!("\"{}\"{stop}\"", " ".repeat(100));
            let mut quotes = Quotes::of(text.as_bytes());
            assert_eq!((quotes.next(), quotes.next()), (Some(0), None));
        }
    }
}
