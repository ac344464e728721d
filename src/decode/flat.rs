//! A quick way through the documents that nearly all are: one flat object, nothing escaped.
//!
//! Takes strings without escapes, runs of digits, `true`, `false` and `null`, and gives up on anything else, right or wrong: the
//! reader of JSON then starts over and has the last word. Holds: what it takes is JSON, and is taken as that reader takes it.

use std::borrow::Cow;

use super::json::Value;

/// Gives each name and value to `take`. `None`: not for us, or `take` did not want to go on.
pub(super) fn object<'a>(text: &'a str, mut take: impl FnMut(&'a str, Value<'a>) -> Option<()>) -> Option<()> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.byte(b'{')?;
    loop {
        scanner.byte(b'"')?;
        let name = scanner.string()?;
        scanner.byte(b':')?;
        take(name, scanner.value()?)?;
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scanner.next().is_none().then_some(())
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
        }
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A string after its opening quote.
    fn string(&mut self) -> Option<&'a str> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = plain_length(rest);
        if *rest.get(length)? != b'"' {
            return None;
        }
        let string = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(string)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        let begin = self.at - 1;
        match first {
            b'"' => self.string().map(|text| Value::Text(Cow::Borrowed(text))),
            b'0'..=b'9' => {
                let digits = self.text.as_bytes()[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                self.at = begin + digits;
                let ends = matches!(self.text.as_bytes().get(self.at)?, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
                let is_number = ends && (first != b'0' || digits == 1);
                is_number.then(|| self.text.get(begin..self.at).map(Value::Other))?
            }
            _ => {
                let (word, value) = [("null", Value::Absent), ("true", Value::Other("true")), ("false", Value::Other("false"))]
                    .into_iter()
                    .find(|(word, _)| self.text.as_bytes()[begin..].starts_with(word.as_bytes()))?;
                self.at = begin + word.len();
                Some(value)
            }
        }
    }
}

/// How many bytes come before a quote, a backslash or a control character. Eight at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of the first byte that is zero (and perhaps of later ones) is set.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut length = 0;
    while let Some(eight) = bytes.get(length..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stops = controls | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if stops != 0 {
            return length + stops.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + bytes[length..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn members(text: &str) -> Option<Vec<(&str, Value<'_>)>> {
        let mut members = Vec::new();
        object(text, |name, value| {
            members.push((name, value));
            Some(())
        })?;
        Some(members)
    }

    #[test]
    fn a_flat_object_is_taken_and_anything_else_given_up() {
        let taken = members(" {\"a\":\"é\", \"b\" : 10 ,\"c\":null,\"d\":true,\"e\":0}\n").expect("flat");
        let values = [Value::Text("é".into()), Value::Other("10"), Value::Absent, Value::Other("true"), Value::Other("0")];
        assert_eq!(taken.iter().map(|(_, value)| value).collect::<Vec<_>>(), values.iter().collect::<Vec<_>>());
        for other in [
            "",
            "{",
            "{}",
            "[]",
            "{\"a\":1.0}",
            "{\"a\":-1}",
            "{\"a\":01}",
            "{\"a\":{}}",
            "{\"a\":\"\\n\"}",
            "{\"a\":1,}",
            "{\"a\":1}x",
        ] {
            assert_eq!(members(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_string_ends_where_a_slow_search_finds_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), slow);
        }

        #[test]
        fn what_is_taken_is_what_the_reader_of_json_takes(
            pieces in proptest::collection::vec(select(vec![
                "{", "}", "\"", "\"a\"", "\"b\"", ":", ",", "0", "1", "12", "null", "true", "false", " ", "é", "\\", "-", ".5", "\u{7f}", "\n", "[", "]",
                "{\"a\":", "\"x\":\"y\",", "\"z\":7}",
            ]), 0..12),
        ) {
            let text = pieces.concat();
            if let Some(members) = members(&text) {
                let mut slow = Vec::new();
                let result = super::super::json::object(&text, |name, raw| {
                    slow.push((name.into_owned(), Value::read(raw)?));
                    Ok(())
                });
                prop_assert!(result.is_ok(), "{text:?}: {result:?}");
                prop_assert_eq!(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>(), slow);
            }
        }
    }
}
