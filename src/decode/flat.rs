//! A quick way through the documents that nearly all are: one flat object on one line, nothing escaped.
//!
//! Takes strings without escapes, runs of digits, `true`, `false` and `null`, and gives up on anything else, right or wrong: the
//! reader of JSON then starts over and has the last word. Holds: what it takes is JSON, and is taken as that reader takes it.

use std::borrow::Cow;

use super::json::Value;
use super::quotes::Quotes;

/// Gives each name and value to `take`; then whether the document is printable ASCII. `None`: not for us, or `take` did not want to go on.
#[inline(always)]
pub(super) fn object<'a>(text: &'a str, mut take: impl FnMut(&'a str, Value<'a>) -> Option<()>) -> Option<bool> {
    let mut scanner = Scanner { text, quotes: Quotes::of(text.as_bytes()), at: 0 };
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
    // The search for quotes goes on to the end: what it has not seen may hold anything.
    (scanner.next().is_none() && scanner.quotes.next().is_none()).then(|| scanner.quotes.is_ascii())
}

struct Scanner<'a> {
    text: &'a str,
    quotes: Quotes<'a>,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is no space. Other white space is not for us.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at = self.at.wrapping_add(1);
            if byte != b' ' {
                return Some(byte);
            }
        }
    }

    #[inline(always)]
    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A string after its opening quote.
    #[inline(always)]
    fn string(&mut self) -> Option<&'a str> {
        // Quotes stand nowhere but around strings, so the next one is the one that opens this.
        self.quotes.next().filter(|opens| opens.wrapping_add(1) == self.at)?;
        let closes = self.quotes.next()?;
        let string = self.text.get(self.at..closes)?;
        self.at = closes.wrapping_add(1);
        Some(string)
    }

    #[inline(always)]
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next()?;
        if first == b'"' {
            return self.string().map(|text| Value::Text(Cow::Borrowed(text)));
        }
        let begin = self.at - 1;
        let rest = self.text.as_bytes().get(begin..)?;
        if first.is_ascii_digit() {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.at = begin + digits;
            let ends = matches!(rest.get(digits)?, b',' | b'}' | b' ');
            let number = self.text.get(begin..self.at)?;
            return (ends && (first != b'0' || digits == 1)).then_some(Value::Other(number));
        }
        let (word, value) = [("null", Value::Absent), ("true", Value::Other("true")), ("false", Value::Other("false"))]
            .into_iter()
            .find(|(word, _)| rest.starts_with(word.as_bytes()))?;
        self.at = begin + word.len();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn members(text: &str) -> Option<Vec<(&str, Value<'_>)>> {
        let mut members = Vec::new();
        let is_ascii = object(text, |name, value| {
            members.push((name, value));
            Some(())
        })?;
        assert_eq!(is_ascii, text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
        Some(members)
    }

    #[test]
    fn a_flat_object_is_taken_and_anything_else_given_up() {
        let taken = members(" {\"a\":\"é\", \"b\" : 10 ,\"c\":null,\"d\":true,\"e\":0} ").expect("flat");
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
            "{\"a\":1}\n",
            "{\"a\":1\"}",
            "{\"a\":1,b\":\"c\"}",
        ] {
            assert_eq!(members(other), None, "{other}");
        }
    }

    proptest! {
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
