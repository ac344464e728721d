//! Names that must not be mistaken for one another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The empty text.
    #[error("is empty")]
    Empty,
    /// More Unicode characters than the contract allows.
    #[error("has more than {0} characters")]
    TooLong(usize),
    /// A control character.
    #[error("holds a control character")]
    Control,
    /// A value that farebox keeps for itself: account `*`, category `session`.
    #[error("is reserved")]
    Reserved,
}

impl NameError {
    /// Checks what holds for every id and name: not empty, at most `chars_max` characters, none a control character.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(text: &str, chars_max: usize) -> Result<(), Self> {
        if text.is_empty() {
            return Err(Self::Empty);
        }
        // Bytes bound characters from above, so that short names are never counted.
        if text.len() > chars_max && text.chars().count() > chars_max {
            return Err(Self::TooLong(chars_max));
        }
        if text.chars().any(char::is_control) {
            return Err(Self::Control);
        }
        Ok(())
    }
}

/// Who pays. At most 64 characters; `*` is reserved for rows that hold for everyone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The most characters an account may have.
    pub const CHARS_MAX: usize = 64;

    /// Parses an account's id.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        NameError::check(text, Self::CHARS_MAX)?;
        if text == "*" { Err(NameError::Reserved) } else { Ok(Self(text.into())) }
    }

    /// The id as published.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for AccountId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
