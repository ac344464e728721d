//! The values of the configuration that are more than text and numbers.
//!
//! Lengths of time and sizes carry their unit in the text, so that a bare number cannot be misread. A [`Secret`] can be used
//! and never be printed. Absent text is `""` in the file and `None` here.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

/// A length of time, written `500ms`, `1s`, `15m`, `48h`, `35d`, or `0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(std::time::Duration);

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Duration {
    /// From whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// For the standard library.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whole milliseconds; a parsed length always fits.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// `"0"`: what this length of time limits is turned off.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Parses a whole number and its unit.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self::default());
        }
        let wrong = || {
            format!(
                "`{text}` is no length of time: write a whole number and a unit, like \"500ms\", \"1s\", \"15m\", \"48h\", \"35d\""
            )
        };
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        // A thousand years: far beyond any use, and no sum of two overflows.
        match number.checked_mul(factor) {
            Some(millis) if millis <= 365_000 * 86_400_000 => Ok(Self::from_millis(millis)),
            _ => Err(format!("`{text}` is too long")),
        }
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0");
        }
        let (unit, factor) =
            TIME_UNITS.iter().rev().find(|(_, factor)| millis.is_multiple_of(u128::from(*factor))).unwrap_or(&TIME_UNITS[0]);
        write!(f, "{}{unit}", millis / u128::from(*factor))
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A size in bytes, written `512 B`, `256 KiB`, `64 MiB`, `2 GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Bytes {
    /// From a number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, for comparing with what is in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Parses a whole number and its unit.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no size: write a whole number and a unit, like \"512 B\", \"256 KiB\", \"64 MiB\", \"2 GiB\"");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        match number.checked_mul(factor) {
            Some(bytes) if bytes <= 1 << 50 => Ok(Self(bytes)),
            _ => Err(format!("`{text}` is too large")),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            SIZE_UNITS.iter().rev().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)).unwrap_or(&SIZE_UNITS[0]);
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// `15m` → (15, `m`); `None` when there is no number, no unit, or a sign.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if unit.is_empty() { None } else { Some((number.parse().ok()?, unit)) }
}

/// Text that must not be seen: its Debug and Display are stars.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From the text itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// No secret was given.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "***" })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `""` is `None`.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(if text.is_empty() { None } else { Some(text) })
}

/// `""` is `None`.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(text(deserializer)?.map(PathBuf::from))
}

/// `""` is `None`; otherwise `address:port`.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<std::net::SocketAddr>, D::Error> {
    let wrong = |text: &str| {
        format!("`{text}` is no address to listen on: write an IP address and a port, like \"127.0.0.1:7401\" or \"[::]:7401\"")
    };
    text(deserializer)?.map(|text| text.parse().map_err(|_| de::Error::custom(wrong(&text)))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_needs_a_unit() {
        for (text, millis) in
            [("0", 0), ("500ms", 500), ("1s", 1_000), ("15m", 900_000), ("48h", 172_800_000), ("35d", 3_024_000_000)]
        {
            let parsed = Duration::parse(text).expect(text);
            assert_eq!(parsed.millis(), millis, "{text}");
        }
        for text in ["", "5", "-1s", "1.5h", "s", "1 fortnight", "99999999999999999999d", "400000d"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_and_sizes_print_as_they_are_written() {
        for text in ["0", "500ms", "90s", "15m", "35d"] {
            assert_eq!(Duration::parse(text).expect(text).to_string(), text);
        }
        for text in ["0 B", "512 B", "256 KiB", "64 MiB", "2 GiB"] {
            assert_eq!(Bytes::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_size_needs_a_unit_that_is_not_ambiguous() {
        assert_eq!(Bytes::parse("64MiB").map(Bytes::get), Ok(64 << 20));
        for text in ["64", "64 MB", "64 mib", "-1 B", "99999999999999999999 B", "9999999999 GiB"] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
