//! The words of a reject: field, shortened value, rule.
//!
//! Holds: whatever the producer sent, a detail is bounded and safe to print, log and mail: control characters and
//! everything invisible are escaped, and a character is never split.

use std::fmt;

use crate::model::{Reason, Reject};

/// The most characters that the detail of a reject has.
pub const DETAIL_CHARS_MAX: usize = 768;
const VALUE_CHARS_MAX: usize = 48;

/// A text in quotes, escaped, cut after [`VALUE_CHARS_MAX`] of its characters.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An escape is at most ten characters, so the printed form is bounded too.
        match self.0.char_indices().nth(VALUE_CHARS_MAX) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// A reject whose detail keeps its bounds even if a caller forgot to shorten.
pub(super) fn reject(reason: Reason, detail: &str, account: &str) -> Reject {
    let detail = detail.chars().take(DETAIL_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Reject { reason, detail, account: account.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(Quoted("short").to_string(), "\"short\"");
        assert_eq!(Quoted(&"é".repeat(48)).to_string(), format!("\"{}\"", "é".repeat(48)));
        assert_eq!(Quoted(&"é".repeat(49)).to_string(), format!("\"{}\"…", "é".repeat(48)));
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(Quoted("a\n\u{0}\u{85}\u{202e}\"b").to_string(), r#""a\n\0\u{85}\u{202e}\"b""#);
    }

    #[test]
    fn a_detail_is_bounded_and_holds_no_control_character() {
        let reject = reject(Reason::Malformed, &"\u{7}x".repeat(5_000), "acme");
        assert_eq!(reject.detail.chars().count(), DETAIL_CHARS_MAX);
        assert!(!reject.detail.chars().any(char::is_control));
    }
}
