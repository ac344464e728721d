//! One JSON object, taken apart into names and values.
//!
//! Relies on `serde_json` for the grammar; values are kept as the text they were written in, so that `1.0` can be told
//! from `1` and no number ever becomes a float. Holds: names are unique in the object, a text borrows from the
//! input unless it was escaped, nothing recurses with the depth of a document.
//! Absent on purpose: a look inside the values of names that nobody asks for. They must keep the JSON grammar; repeated
//! names and lone surrogates in there are not searched for.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::detail::Quoted;

const NUMBER_CHARS_MAX: usize = 32;

/// A value as far as a field needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Anything else, as written.
    Other(&'a str),
}

impl<'a> Value<'a> {
    /// From the text of a JSON value.
    pub(super) fn read(raw: &'a str) -> Result<Self, String> {
        let Some(quoted) = raw.strip_prefix('"') else {
            return Ok(if raw == "null" { Self::Absent } else { Self::Other(raw) });
        };
        if raw.as_bytes().contains(&b'\\') {
            let text = serde_json::from_str(raw).map_err(|_| "a string with an escape that is no character".to_owned())?;
            return Ok(Self::Text(Cow::Owned(text)));
        }
        Ok(Self::Text(Cow::Borrowed(quoted.strip_suffix('"').unwrap_or(quoted))))
    }
}

impl fmt::Display for Value<'_> {
    /// For people: kind and shortened value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Text(text) => write!(f, "the string {}", Quoted(text)),
            Self::Other(raw) => match raw.as_bytes().first() {
                Some(b'{') => f.write_str("an object"),
                Some(b'[') => f.write_str("an array"),
                Some(b't' | b'f') => f.write_str(raw),
                // A number is ASCII, so that any byte is a place to cut.
                _ => match raw.get(..NUMBER_CHARS_MAX) {
                    Some(cut) => write!(f, "the number {cut}…"),
                    None => write!(f, "the number {raw}"),
                },
            },
        }
    }
}

/// Gives each name of the object, with its value's text, to `take`. The error says what is malformed.
pub(super) fn object<'a>(text: &'a str, take: impl FnMut(Cow<'a, str>, &'a str) -> Result<(), String>) -> Result<(), String> {
    let begins = text.bytes().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    if begins != Some(b'{') {
        return Err("not a JSON object".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Object(take)).and_then(|()| deserializer.end()).map_err(|error| error.to_string())
}

/// The error of a name that stands twice in one object.
pub(super) fn repeated(name: &str) -> String {
    format!("{}: the name stands more than once in one object", Quoted(name))
}

struct Object<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, &'a str) -> Result<(), String>> Visitor<'a> for Object<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            (self.0)(name, map.next_value::<&'a RawValue>()?.get()).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// A name that borrows from the document where it can; `Cow`'s own `Deserialize` never does.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Names that the contract does not know, and whether one came twice.
#[derive(Debug, Default)]
pub(super) struct Unknown<'a>(Vec<Cow<'a, str>>);

impl<'a> Unknown<'a> {
    pub(super) fn push(&mut self, name: Cow<'a, str>) {
        self.0.push(name);
    }

    /// The names, unless one of them came twice.
    pub(super) fn into_unique(self) -> Result<Vec<Cow<'a, str>>, String> {
        // Sorted, because a hostile document can hold tens of thousands of names.
        let mut sorted: Vec<&str> = Vec::new();
        if self.0.len() > 1 {
            sorted.extend(self.0.iter().map(AsRef::as_ref));
            sorted.sort_unstable();
        }
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(repeated(pair[0])),
            None => Ok(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_text_borrows_unless_it_was_escaped() {
        assert!(matches!(Value::read(r#""é""#), Ok(Value::Text(Cow::Borrowed("é")))));
        assert!(matches!(Value::read(r#""\u00e9""#), Ok(Value::Text(Cow::Owned(text))) if text == "é"));
        assert_eq!(Value::read("null"), Ok(Value::Absent));
        assert_eq!(Value::read("1.0"), Ok(Value::Other("1.0")));
        assert!(Value::read(r#""\ud800""#).is_err());
    }

    #[test]
    fn every_name_is_given_with_its_values_text() {
        let mut seen = Vec::new();
        object(" {\"a\" : [1, {\"b\":2}] ,\"\\u0062\":1.50}\n", |name, raw| {
            seen.push((name.into_owned(), raw.to_owned()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [("a".to_owned(), "[1, {\"b\":2}]".to_owned()), ("b".to_owned(), "1.50".to_owned())]);
    }

    #[test]
    fn a_hundred_thousand_unknown_names_are_checked_quickly() {
        let mut unknown = Unknown::default();
        (0..100_000).for_each(|n| unknown.push(Cow::Owned(format!("name{n}"))));
        unknown.push(Cow::Borrowed("name5"));
        assert_eq!(unknown.into_unique(), Err(repeated("name5")));
    }
}
