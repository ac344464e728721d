//! One section of a price book's file, read key by key: every value has its type checked, every error its place.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::error::{Error, Source, did_you_mean};
use crate::model::{Credits, NameError, Timestamp};

const EMAIL_CHARS_MAX: usize = 254;

/// A table of the file, such as the third `[[rate]]`.
pub(super) struct Section<'a> {
    pub source: &'a Source,
    /// Its place by names: `rate[3]`.
    pub path: String,
    pub span: Range<usize>,
    pub table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Refuses keys that are not in the list.
    pub fn check_keys(&self, keys: &[&str]) -> Result<(), Error> {
        let Some(unknown) = self.table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) else { return Ok(()) };
        let name = unknown.get_ref();
        let hint = match name.as_ref() {
            "retired" => {
                "only an account, a budget or a package can be retired; a price ends when another takes its place".to_owned()
            }
            "valid_from" => "budgets, packages and credit prices hold from the moment they are applied".to_owned(),
            name => did_you_mean(name, keys.iter().copied()),
        };
        Err(self.source.error(&unknown.span(), &format!("{}.{name}", self.path), "unknown key", hint))
    }

    /// An error about a key's value, or about the whole section when the key is absent.
    pub fn error(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) -> Error {
        let span = self.value(key).map_or_else(|| self.span.clone(), Spanned::span);
        let path = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        self.source.error(&span, &path, message, hint)
    }

    /// Where a key's value stands, or the section's head.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// A text.
    pub fn text(&self, key: &str, chars_max: usize) -> Result<Option<String>, Error> {
        let Some(text) = self.string(key, "a text in quotes")? else { return Ok(None) };
        NameError::check(text, chars_max).map_err(|error| self.error(key, format!("`{}` {error}", text.escape_debug()), ""))?;
        Ok(Some(text.to_owned()))
    }

    /// A text that must be there.
    pub fn required_text(&self, key: &str, chars_max: usize) -> Result<String, Error> {
        self.text(key, chars_max)?.ok_or_else(|| self.missing(key))
    }

    /// A text that is one of a few words.
    pub fn word(&self, key: &str, words: &[&str]) -> Result<Option<String>, Error> {
        let Some(word) = self.string(key, "a word in quotes")? else { return Ok(None) };
        self.check_word(key, word, words)?;
        Ok(Some(word.to_owned()))
    }

    /// An amount: a decimal string.
    pub fn amount(&self, key: &str) -> Result<Option<Credits>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => {
                text.parse().map(Some).map_err(|error| self.error(key, format!("{error}"), "write a decimal such as \"2.5\""))
            }
            DeValue::Float(number) => Err(self.error(
                key,
                "an amount is a decimal in quotes: a TOML float is binary and cannot hold most decimals exactly",
                format!("write \"{}\"", number.as_str()),
            )),
            DeValue::Integer(number) => {
                Err(self.error(key, "an amount is a decimal in quotes", format!("write \"{}\"", number.as_str())))
            }
            other => Err(self.wrong_type(key, "a decimal in quotes", other)),
        }
    }

    /// An amount that must be there.
    pub fn required_amount(&self, key: &str) -> Result<Credits, Error> {
        self.amount(key)?.ok_or_else(|| self.missing(key))
    }

    /// An amount that must be there and be more than nothing.
    pub fn positive_amount(&self, key: &str) -> Result<Credits, Error> {
        match self.required_amount(key)? {
            Credits::ZERO => Err(self.error(key, "is 0", "write more than 0")),
            amount => Ok(amount),
        }
    }

    /// `true` or `false`; false when absent.
    pub fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(false),
            Some(DeValue::Boolean(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong_type(key, "true or false", other)),
        }
    }

    /// A moment with an offset, between 1970-01-02 and 2105-12-31.
    pub fn moment(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        const EXAMPLE: &str = "write it as 2026-01-31T09:00:00Z, without quotes";
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Datetime(time @ Datetime { date: Some(_), time: Some(_), offset: Some(_) })) => {
                match Timestamp::parse(&time.to_string()) {
                    Some(time) if (Timestamp::MIN..=Timestamp::MAX).contains(&time) => Ok(Some(time)),
                    Some(time) => {
                        let message = format!("{time} is not between {} and {}", Timestamp::MIN, Timestamp::MAX);
                        Err(self.error(key, message, "leave it out: the first row holds for all time"))
                    }
                    None => Err(self.error(key, "no such moment", EXAMPLE)),
                }
            }
            Some(DeValue::Datetime(_)) => Err(self.error(
                key,
                "a moment needs date, time and offset: without an offset it is another moment everywhere",
                EXAMPLE,
            )),
            Some(other) => Err(self.error(key, format!("expected a moment, found {}", with_article(other)), EXAMPLE)),
        }
    }

    /// A list of words of which each may stand once; sorted.
    pub fn words(&self, key: &str, words: &[&str]) -> Result<Option<Vec<String>>, Error> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let mut found = Vec::with_capacity(list.len());
        for item in list {
            let word = self.item_text(key, item)?;
            self.check_word_at(&item.span(), key, word, words)?;
            found.push(word.to_owned());
        }
        self.sorted_distinct(key, found).map(Some)
    }

    /// A list of mail addresses, each once, in the order of the file.
    pub fn emails(&self, key: &str) -> Result<Vec<String>, Error> {
        let mut found: Vec<String> = Vec::new();
        for item in self.list(key)?.unwrap_or_default() {
            let address = self.item_text(key, item)?;
            if !is_email(address) {
                return Err(self.item_error(
                    key,
                    item,
                    format!("`{}` is not a mail address", address.escape_debug()),
                    "write name@host",
                ));
            }
            if found.iter().any(|other| other == address) {
                return Err(self.item_error(key, item, format!("`{address}` stands twice"), ""));
            }
            found.push(address.to_owned());
        }
        Ok(found)
    }

    /// A list of percents from 1 to 1000, each once; sorted.
    pub fn percents(&self, key: &str) -> Result<Option<Vec<u16>>, Error> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let mut found = Vec::with_capacity(list.len());
        for item in list {
            let number = match item.get_ref() {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<u16>().ok(),
                _ => None,
            };
            match number {
                Some(percent @ 1..=1000) => found.push(percent),
                _ => return Err(self.item_error(key, item, "a threshold is a whole number of percent from 1 to 1000", "")),
            }
        }
        self.sorted_distinct(key, found).map(Some)
    }

    /// The error for a key that must be there.
    pub fn missing(&self, key: &str) -> Error {
        self.source.error(&self.span, &self.path, format!("`{key}` is missing"), format!("add `{key} = …`"))
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn string(&self, key: &str, expected: &str) -> Result<Option<&'a str>, Error> {
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, expected, other)),
        }
    }

    fn list(&self, key: &str) -> Result<Option<&'a [Spanned<DeValue<'a>>]>, Error> {
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Array(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong_type(key, "a list in brackets", other)),
        }
    }

    fn item_text(&self, key: &str, item: &'a Spanned<DeValue<'a>>) -> Result<&'a str, Error> {
        match item.get_ref() {
            DeValue::String(text) => Ok(text),
            other => Err(self.item_error(key, item, format!("expected a text in quotes, found {}", with_article(other)), "")),
        }
    }

    fn item_error(&self, key: &str, item: &Spanned<DeValue<'_>>, message: impl Into<String>, hint: &str) -> Error {
        self.source.error(&item.span(), &format!("{}.{key}", self.path), message, hint)
    }

    fn check_word(&self, key: &str, word: &str, words: &[&str]) -> Result<(), Error> {
        self.check_word_at(&self.span_of(key), key, word, words)
    }

    fn check_word_at(&self, span: &Range<usize>, key: &str, word: &str, words: &[&str]) -> Result<(), Error> {
        if words.contains(&word) {
            return Ok(());
        }
        let message = format!("`{}` is none of {}", word.escape_debug(), words.join(", "));
        Err(self.source.error(span, &format!("{}.{key}", self.path), message, did_you_mean(word, words.iter().copied())))
    }

    fn sorted_distinct<T: Ord + std::fmt::Display>(&self, key: &str, mut found: Vec<T>) -> Result<Vec<T>, Error> {
        found.sort();
        match found.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(self.error(key, format!("`{}` stands twice", pair[0]), "")),
            None => Ok(found),
        }
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &DeValue<'_>) -> Error {
        self.error(key, format!("expected {expected}, found {}", with_article(found)), "")
    }
}

fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a moment",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether a text looks like `name@host`: what a mail server would not even parse is refused here, the rest is its business.
fn is_email(text: &str) -> bool {
    let is_odd =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '@');
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let host_is_fine = host.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    !name.is_empty() && !name.contains(is_odd) && !host.contains(is_odd) && host_is_fine && text.chars().count() <= EMAIL_CHARS_MAX
}
