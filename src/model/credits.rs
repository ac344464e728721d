//! Credits and quantities: fixed-point decimals with nine digits after the point, held as integers.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many nanocredits make a credit (and billionths make a unit of quantity).
pub const NANOS_PER_UNIT: i128 = 1_000_000_000;
const DIGITS_BEFORE_POINT_MAX: usize = 12;
const DIGITS_AFTER_POINT_MAX: usize = 9;

/// A decimal string that is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The string does not match `[0-9]{1,12}(\.[0-9]{1,9})?`.
    #[error("not a decimal of at most 12 digits, optionally followed by a point and at most 9 more")]
    Grammar,
    /// A decimal that has more than nine digits after the point or does not fit.
    #[error("not representable with 9 digits after the point")]
    Range,
}

/// An amount of credits in nanocredits: `Decimal(38, 9)` in ClickHouse, a decimal string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(i128);

/// An amount of what a rate card prices per unit (images, seconds, pages), in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(i128);

macro_rules! fixed_point {
    ($type:ident) => {
        impl $type {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// From an integer of billionths.
            pub const fn from_nanos(nanos: i128) -> Self {
                Self(nanos)
            }

            /// The integer of billionths.
            pub const fn nanos(self) -> i128 {
                self.0
            }

            /// A sum as the tables give it: any sign, any number of digits that fits. Never for what a person or an event says.
            pub fn parse_sum(text: &str) -> Option<Self> {
                let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
                let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if !is_digits(whole) || !is_digits(fraction) || fraction.len() > DIGITS_AFTER_POINT_MAX {
                    return None;
                }
                let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
                let whole: i128 = whole.parse().ok()?;
                whole.checked_mul(NANOS_PER_UNIT)?.checked_add(fraction)?.checked_mul(sign).map(Self)
            }

            /// The sum, or `None` when it does not fit.
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// The difference, or `None` when it does not fit.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }

            /// The product with a whole number, or `None` when it does not fit.
            pub fn checked_mul(self, times: u64) -> Option<Self> {
                self.0.checked_mul(i128::from(times)).map(Self)
            }

            /// The exact value as a `rust_decimal::Decimal`, or `None` beyond its 96 bits.
            pub fn to_decimal(self) -> Option<Decimal> {
                Decimal::try_from_i128_with_scale(self.0, 9).ok().map(|decimal| decimal.normalize())
            }

            /// From a decimal without loss.
            ///
            /// # Errors
            /// [`AmountError::Range`] when it has more than nine digits after the point.
            pub fn from_decimal(decimal: Decimal) -> Result<Self, AmountError> {
                let decimal = decimal.normalize();
                let shift = 9_u32.checked_sub(decimal.scale()).ok_or(AmountError::Range)?;
                decimal.mantissa().checked_mul(10_i128.pow(shift)).map(Self).ok_or(AmountError::Range)
            }
        }

        impl FromStr for $type {
            type Err = AmountError;

            /// Parses `[0-9]{1,12}(\.[0-9]{1,9})?`: no sign, exponent or underscore.
            fn from_str(text: &str) -> Result<Self, AmountError> {
                parse_nanos(text.as_bytes()).map(Self)
            }
        }

        impl fmt::Display for $type {
            /// All digits that are not trailing zeros, as ClickHouse prints a Decimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_nanos(self.0, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fixed_point!(Credits);
fixed_point!(Quantity);

fn parse_nanos(text: &[u8]) -> Result<i128, AmountError> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(point) => (&text[..point], Some(&text[point + 1..])),
        None => (text, None),
    };
    let fraction_is_wrong = fraction.is_some_and(|digits| digits.is_empty() || digits.len() > DIGITS_AFTER_POINT_MAX);
    if whole.is_empty() || whole.len() > DIGITS_BEFORE_POINT_MAX || fraction_is_wrong {
        return Err(AmountError::Grammar);
    }
    let fraction = fraction.unwrap_or_default();
    let mut nanos: i128 = 0;
    for &byte in whole.iter().chain(fraction) {
        if !byte.is_ascii_digit() {
            return Err(AmountError::Grammar);
        }
        nanos = nanos * 10 + i128::from(byte - b'0'); // at most 21 digits
    }
    Ok(nanos * 10_i128.pow((DIGITS_AFTER_POINT_MAX - fraction.len()) as u32))
}

fn write_nanos(nanos: i128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let magnitude = nanos.unsigned_abs();
    let (whole, fraction) = (magnitude / NANOS_PER_UNIT as u128, magnitude % NANOS_PER_UNIT as u128);
    let digits = if fraction == 0 { whole.to_string() } else { format!("{whole}.{fraction:09}").trim_end_matches('0').to_owned() };
    f.pad_integral(nanos >= 0, "", &digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_exact() {
        for (text, nanos) in [("0", 0), ("1", 1_000_000_000), ("0.000000001", 1), ("007.50", 7_500_000_000)] {
            assert_eq!(text.parse::<Credits>().map(Credits::nanos), Ok(nanos), "{text}");
        }
        assert_eq!("999999999999.999999999".parse::<Credits>().map(Credits::nanos), Ok(999_999_999_999_999_999_999));
        for text in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "1_000", " 1", "1 ", "1000000000000", "0.0000000001", "1.2.3", "١", "NaN"]
        {
            assert_eq!(text.parse::<Credits>(), Err(AmountError::Grammar), "{text}");
        }
    }

    #[test]
    fn a_sum_has_any_sign_and_size() {
        for (text, nanos) in [("-1.5", -1_500_000_000), ("-0.000000001", -1), ("1000000000000", 1_000_000_000_000_000_000_000)] {
            assert_eq!(Credits::parse_sum(text).map(Credits::nanos), Some(nanos), "{text}");
        }
        for text in ["", "-", "1.", ".5", "--1", "+1", "1e3", "0.0000000001", "99999999999999999999999999999999999999"] {
            assert_eq!(Credits::parse_sum(text), None, "{text}");
        }
    }

    #[test]
    fn a_negative_amount_prints_its_sign_once() {
        assert_eq!(Credits::from_nanos(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(Credits::from_nanos(-1).to_string(), "-0.000000001");
    }

    proptest! {
        #[test]
        fn decimals_round_trip(nanos in 0_i128..1_000_000_000_000_000_000_000) {
            let credits = Credits::from_nanos(nanos);
            prop_assert_eq!(credits.to_string().parse::<Credits>(), Ok(credits));
            let debt = Credits::from_nanos(-nanos);
            prop_assert_eq!(Credits::parse_sum(&debt.to_string()), Some(debt));
            let decimal = credits.to_decimal().expect("21 digits fit in 96 bits");
            prop_assert_eq!(decimal.to_string(), credits.to_string());
            prop_assert_eq!(Credits::from_decimal(decimal), Ok(credits));
            prop_assert_eq!(serde_json::from_str::<Credits>(&format!("\"{credits}\"")).ok(), Some(credits));
        }
    }
}
