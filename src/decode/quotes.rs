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

/// What 64 bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// A bit for each quote.
    quotes: u64,
    /// Whether there are backslashes or control characters, the one above the space aside.
    has_stops: bool,
    /// Whether there is anything that is not ASCII, or the control character above the space.
    is_odd: bool,
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
        if found.has_stops {
            return None;
        }
        self.is_ascii &= !found.is_odd;
        self.quotes = found.quotes;
        self.next += BLOCK;
        Some(())
    }
}

#[inline]
fn find(block: &[u8; BLOCK]) -> Found {
    // Without branches, so that the compiler takes many bytes in one step.
    let stops = block.iter().fold(0, |stops, &byte| stops | u8::from(byte < b' ') | u8::from(byte == b'\\'));
    let odd = block.iter().fold(0, |odd, &byte| odd | u8::from(byte >= 0x7f));
    Found { quotes: quotes(block), has_stops: stops != 0, is_odd: odd != 0 }
}

/// A bit for each quote, found eight bytes at a time.
#[inline]
fn quotes(block: &[u8; BLOCK]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const LOWS: u64 = u64::from_ne_bytes([0x7f; 8]);
    block.as_chunks::<8>().0.iter().rev().fold(0, |bits, eight| {
        let word = u64::from_le_bytes(*eight) ^ ONES.wrapping_mul(b'"'.into());
        // The high bit of each byte that is zero; no carry leaves a byte.
        let zeros = !((word & LOWS).wrapping_add(LOWS) | word | LOWS);
        // The high bits side by side.
        bits << 8 | (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
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
        fn a_block_is_searched_as_a_slow_search_does(bytes in proptest::collection::vec(byte(), BLOCK)) {
            let block: &[u8; BLOCK] = bytes.first_chunk().expect("64 bytes");
            let slow = Found {
                quotes: (0..BLOCK).fold(0, |bits, n| bits | u64::from(block[n] == b'"') << n),
                has_stops: block.iter().any(|&byte| byte == b'\\' || byte < 0x20),
                is_odd: block.iter().any(|&byte| byte >= 0x7f),
            };
            prop_assert_eq!(find(block), slow);
        }

        #[test]
        fn a_block_of_quiet_bytes_is_searched_as_a_slow_search_does(bytes in proptest::collection::vec(b' '..=b'z', BLOCK)) {
            let block: &[u8; BLOCK] = bytes.first_chunk().expect("64 bytes");
            let slow = (block.contains(&b'\\'), (0..BLOCK).filter(|&n| block[n] == b'"').fold(0, |bits, n| bits | 1_u64 << n));
            prop_assert_eq!((find(block).has_stops, find(block).quotes), slow);
            prop_assert!(!find(block).is_odd);
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
