//! The event: one use of an agent, as published.

use std::borrow::Cow;

use super::{Credits, Quantity, Timestamp};

/// One use of an agent, decoded and checked. Absent text is `""`, as in the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Unique per account and source; kept in retries.
    pub id: Cow<'a, str>,
    /// The producer.
    pub source: Cow<'a, str>,
    /// When the use happened.
    pub time: Timestamp,
    /// Who pays.
    pub account: Cow<'a, str>,
    /// Where the user is.
    pub platform: Cow<'a, str>,
    /// The end user; means something only inside its account.
    pub user: Cow<'a, str>,
    /// The agent that was used.
    pub agent: Cow<'a, str>,
    /// What kind of work it was.
    pub category: Cow<'a, str>,
    /// The model that did it.
    pub model: Cow<'a, str>,
    /// Execution time in milliseconds.
    pub duration_ms: Option<u64>,
    /// Tokens read, cached ones included.
    pub input_tokens: Option<u64>,
    /// The part of `input_tokens` that was cached.
    pub cached_input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// What the rate card prices per unit.
    pub quantity: Option<Quantity>,
    /// The cost as the agent computed it; used when the account is billed `reported`.
    pub credits: Option<Credits>,
}

/// Which of an event's optional numbers were given. In tables an absent one is 0, as one that is given as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given(u8);

impl Given {
    /// Bit 0.
    pub const DURATION_MS: Self = Self(1);
    /// Bit 1.
    pub const INPUT_TOKENS: Self = Self(2);
    /// Bit 2.
    pub const CACHED_INPUT_TOKENS: Self = Self(4);
    /// Bit 3.
    pub const OUTPUT_TOKENS: Self = Self(8);
    /// Bit 4.
    pub const QUANTITY: Self = Self(16);
    /// Bit 5.
    pub const CREDITS: Self = Self(32);

    /// What an event gives.
    pub fn by(event: &Event<'_>) -> Self {
        let given = [
            (Self::DURATION_MS, event.duration_ms.is_some()),
            (Self::INPUT_TOKENS, event.input_tokens.is_some()),
            (Self::CACHED_INPUT_TOKENS, event.cached_input_tokens.is_some()),
            (Self::OUTPUT_TOKENS, event.output_tokens.is_some()),
            (Self::QUANTITY, event.quantity.is_some()),
            (Self::CREDITS, event.credits.is_some()),
        ];
        Self(given.iter().fold(0, |bits, &(field, is_given)| if is_given { bits | field.0 } else { bits }))
    }

    /// As a table has it.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As a table has it.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// `number`, if it was given.
    pub fn value<T>(self, field: Self, number: T) -> Option<T> {
        (self.0 & field.0 != 0).then_some(number)
    }
}

/// Why a record was rejected: a closed list, the same in Rust, SQL, headers and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not JSON, not UTF-8, a repeated key, an empty value, an envelope we do not take.
    Malformed,
    /// More bytes than `events.max_size`.
    TooLarge,
    /// A required field is absent or empty.
    MissingField,
    /// A field's value breaks its rule.
    BadValue,
    /// The event's time is too far from the record's timestamp.
    TimeOutOfRange,
    /// The id was used a moment ago with other content.
    IdConflict,
}

impl Reason {
    /// Every reason, in the order in which they are checked.
    pub const ALL: [Self; 6] =
        [Self::TooLarge, Self::Malformed, Self::MissingField, Self::BadValue, Self::TimeOutOfRange, Self::IdConflict];

    /// The name in tables, headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::MissingField => "missing_field",
            Self::BadValue => "bad_value",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::IdConflict => "id_conflict",
        }
    }
}

/// A record that will not be billed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason, for machines.
    pub reason: Reason,
    /// Field, shortened value and rule, for people.
    pub detail: String,
    /// The account, when it could be read; `""` otherwise.
    pub account: String,
}
