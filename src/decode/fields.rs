//! The fields of an event and the rule of each.
//!
//! Takes values that are there or not; gives the event, or the first rule that is broken, in the order missing, values, time.
//! Holds: names are measured in Unicode characters; an amount is a decimal string and never a JSON number, which has been
//! through a float; an integer is written as one.
//! Absent on purpose: rules between fields. Whether an account needs a user or a platform is known where prices are.

use std::borrow::Cow;
use std::fmt::Display;
use std::mem;
use std::str::FromStr;

use super::detail::{self, Quoted};
use super::json::{self, Unknown, Value};
use super::{Decoded, Limits, flat};
use crate::model::{AccountId, Credits, Event, NameError, Quantity, Reason, Reject, Timestamp};

/// The largest integer that every JSON reader holds without loss: 2^53 − 1.
const INTEGER_MAX: u64 = (1 << 53) - 1;

macro_rules! fields {
    ($($variant:ident $name:literal)*) => {
        /// A field, in the order in which values are checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field { $(#[doc = $name] $variant),* }

        impl Field {
            /// Every field.
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in JSON.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The field of that name.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

fields! {
    Id "id"
    Source "source"
    Time "time"
    Account "account"
    Platform "platform"
    User "user"
    Agent "agent"
    Category "category"
    Model "model"
    DurationMs "duration_ms"
    InputTokens "input_tokens"
    OutputTokens "output_tokens"
    CachedInputTokens "cached_input_tokens"
    Quantity "quantity"
    Credits "credits"
}

const REQUIRED: [Field; 5] = [Field::Id, Field::Time, Field::Account, Field::Agent, Field::Category];

/// The fields of one event, syntactically sound. An optional field with the empty text is absent.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Value<'a>; Field::ALL.len()],
    /// Whether all texts are known to be printable ASCII.
    is_printable: bool,
    /// Names that the contract does not know.
    pub(super) unknown: Vec<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    /// From the text of a JSON object. The error says what is malformed.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        if let Some(fields) = Self::parse_flat(text) {
            return Ok(fields);
        }
        let mut fields = Self::default();
        let mut seen = Seen::default();
        let mut unknown = Unknown::default();
        json::object(text, |name, raw| {
            let Some(field) = Field::named(&name) else {
                unknown.push(name);
                return Ok(());
            };
            if !seen.is_first(field) {
                return Err(json::repeated(field.name()));
            }
            fields.values[field as usize] = Value::read(raw)?;
            Ok(())
        })?;
        fields.unknown = unknown.into_unique()?;
        Ok(fields)
    }

    /// The same where the document is as plain as can be and every name is known; `None` for all others.
    fn parse_flat(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        let mut seen = Seen::default();
        let is_printable = flat::object(text, |name, value| {
            let field = Field::named(name).filter(|&field| seen.is_first(field))?;
            fields.values[field as usize] = value;
            Some(())
        })?;
        fields.is_printable = is_printable;
        Some(fields)
    }

    /// Puts the values that are there in the place of those that were read.
    pub(super) fn override_with(&mut self, attributes: impl IntoIterator<Item = (Field, Value<'a>)>) {
        for (field, value) in attributes {
            if !is_absent(&value) {
                self.values[field as usize] = value;
                self.is_printable = false;
            }
        }
    }

    /// The event, when every rule holds for a record with that timestamp.
    pub(super) fn into_event(mut self, recorded_at: Timestamp, limits: &Limits) -> Result<Decoded<'a>, Reject> {
        let checked = match self.check(recorded_at, limits) {
            Ok(checked) => checked,
            Err((reason, detail)) => return Err(detail::reject(reason, &detail, self.readable_account())),
        };
        let event = Event {
            id: self.take(Field::Id),
            source: self.take(Field::Source),
            time: checked.time,
            account: self.take(Field::Account),
            platform: self.take(Field::Platform),
            user: self.take(Field::User),
            agent: self.take(Field::Agent),
            category: self.take(Field::Category),
            model: self.take(Field::Model),
            duration_ms: checked.duration_ms,
            input_tokens: checked.input_tokens,
            cached_input_tokens: checked.cached_input_tokens,
            output_tokens: checked.output_tokens,
            quantity: checked.quantity,
            credits: checked.credits,
        };
        Ok(Decoded { event, unknown_fields: self.unknown })
    }

    fn check(&self, recorded_at: Timestamp, limits: &Limits) -> Result<Checked, (Reason, String)> {
        if REQUIRED.iter().any(|&field| is_absent(self.value(field))) {
            return Err((Reason::MissingField, self.missing()));
        }
        let checked = self.check_values().map_err(|detail| (Reason::BadValue, detail))?;
        check_time(checked.time, recorded_at, limits).map_err(|detail| (Reason::TimeOutOfRange, detail))?;
        Ok(checked)
    }

    /// Every required field that is not there, so that a producer mends them in one go.
    fn missing(&self) -> String {
        let absent = REQUIRED.iter().filter(|&&field| is_absent(self.value(field))).map(|&field| {
            let how = if matches!(self.value(field), Value::Absent) { "absent" } else { "empty" };
            format!("{}: {how}, is required", field.name())
        });
        absent.collect::<Vec<_>>().join("; ")
    }

    fn check_values(&self) -> Result<Checked, String> {
        self.check_name(Field::Id, 128, "")?;
        self.check_name(Field::Source, 128, "")?;
        let time = self.time()?;
        self.check_name(Field::Account, AccountId::CHARS_MAX, "*")?;
        self.check_name(Field::Platform, 64, "")?;
        self.check_name(Field::User, 256, "")?;
        self.check_name(Field::Agent, 128, "")?;
        self.check_name(Field::Category, 32, "session")?;
        self.check_name(Field::Model, 128, "")?;
        Ok(Checked {
            time,
            duration_ms: self.integer(Field::DurationMs)?,
            input_tokens: self.integer(Field::InputTokens)?,
            output_tokens: self.integer(Field::OutputTokens)?,
            cached_input_tokens: self.integer(Field::CachedInputTokens)?,
            quantity: self.amount::<Quantity>(Field::Quantity)?,
            credits: self.amount::<Credits>(Field::Credits)?,
        })
    }

    #[inline]
    fn check_name(&self, field: Field, chars_max: usize, reserved: &str) -> Result<(), String> {
        match self.value(field) {
            Value::Absent => Ok(()),
            // What nearly all are. Bytes bound characters from above.
            Value::Text(text) if self.is_printable && text.len() <= chars_max && text != reserved => Ok(()),
            _ => self.check_odd_name(field, chars_max, reserved),
        }
    }

    #[cold]
    fn check_odd_name(&self, field: Field, chars_max: usize, reserved: &str) -> Result<(), String> {
        let Value::Text(text) = self.value(field) else {
            return match self.value(field) {
                Value::Absent => Ok(()),
                other => Err(wrong_type(field, other, "a string")),
            };
        };
        if text.is_empty() {
            return Ok(()); // optional, or it would be missing
        }
        NameError::check(text, chars_max)
            .and_then(|()| if text == reserved { Err(NameError::Reserved) } else { Ok(()) })
            .map_err(|rule| broken(field, text, rule))
    }

    fn time(&self) -> Result<Timestamp, String> {
        const RULE: &str = "is not an RFC 3339 date and time with an offset, such as 2026-03-01T12:30:00Z";
        match self.value(Field::Time) {
            // The parser of times takes a typographic minus too.
            Value::Text(text) if text.is_ascii() => Timestamp::parse(text).ok_or_else(|| broken(Field::Time, text, RULE)),
            Value::Text(text) => Err(broken(Field::Time, text, RULE)),
            other => Err(wrong_type(Field::Time, other, "an RFC 3339 string")),
        }
    }

    #[inline]
    fn integer(&self, field: Field) -> Result<Option<u64>, String> {
        match self.value(field) {
            Value::Absent => Ok(None),
            Value::Other(raw) => match short_integer(raw) {
                Some(integer) => Ok(Some(integer)),
                None => self.odd_integer(field),
            },
            Value::Text(_) => self.odd_integer(field),
        }
    }

    #[cold]
    fn odd_integer(&self, field: Field) -> Result<Option<u64>, String> {
        let raw = match self.value(field) {
            value if is_absent(value) => return Ok(None),
            Value::Other(raw) if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => *raw,
            other => return Err(wrong_type(field, other, "an integer")),
        };
        let is_plain = raw.bytes().all(|byte| byte.is_ascii_digit());
        match raw.parse::<u64>() {
            Ok(integer) if is_plain && integer <= INTEGER_MAX => Ok(Some(integer)),
            _ => Err(format!(
                "{}: {} is not an integer from 0 to {INTEGER_MAX}, without fraction or exponent",
                field.name(),
                self.value(field)
            )),
        }
    }

    fn amount<T: FromStr>(&self, field: Field) -> Result<Option<T>, String> {
        match self.value(field) {
            value if is_absent(value) => Ok(None),
            Value::Text(text) => text.parse().map(Some).map_err(|_| {
                broken(field, text, "is not a decimal of at most 12 digits, optionally followed by a point and at most 9 more")
            }),
            other => Err(wrong_type(field, other, "a decimal string such as \"1.25\"")),
        }
    }

    /// The account, when it is there and valid, for a reject that has another cause.
    fn readable_account(&self) -> &str {
        match self.value(Field::Account) {
            Value::Text(text) if self.check_name(Field::Account, AccountId::CHARS_MAX, "*").is_ok() => text,
            _ => "",
        }
    }

    fn value(&self, field: Field) -> &Value<'a> {
        &self.values[field as usize]
    }

    fn take(&mut self, field: Field) -> Cow<'a, str> {
        match mem::take(&mut self.values[field as usize]) {
            Value::Text(text) => text,
            Value::Absent | Value::Other(_) => Cow::Borrowed(""),
        }
    }
}

/// Which names stood in the document, those of nulls included.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn is_first(&mut self, field: Field) -> bool {
        let before = self.0;
        self.0 |= 1 << field as u32;
        self.0 != before
    }
}

/// What was computed while the values were checked.
struct Checked {
    time: Timestamp,
    duration_ms: Option<u64>,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    quantity: Option<Quantity>,
    credits: Option<Credits>,
}

fn is_absent(value: &Value<'_>) -> bool {
    match value {
        Value::Absent => true,
        Value::Text(text) => text.is_empty(),
        Value::Other(_) => false,
    }
}

/// Of at most 15 digits, which are always below the largest integer.
#[inline]
fn short_integer(raw: &str) -> Option<u64> {
    if raw.is_empty() || raw.len() > 15 {
        return None;
    }
    raw.bytes().try_fold(0_u64, |integer, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| integer.wrapping_mul(10).wrapping_add(digit.into()))
    })
}

fn check_time(time: Timestamp, recorded_at: Timestamp, limits: &Limits) -> Result<(), String> {
    let (oldest, newest) =
        (recorded_at.plus_millis(limits.age_max_ms.saturating_neg()), recorded_at.plus_millis(limits.ahead_max_ms));
    if time > newest {
        let ahead = format!("more than {} ms after the record's timestamp {recorded_at}", limits.ahead_max_ms);
        return Err(format!("time: {time} is {ahead}"));
    }
    if time < oldest {
        let age = format!("more than {} ms before the record's timestamp {recorded_at}", limits.age_max_ms);
        return Err(format!("time: {time} is {age}"));
    }
    if time < Timestamp::MIN || time > Timestamp::MAX {
        return Err(format!("time: {time} is not between {} and {}", Timestamp::MIN, Timestamp::MAX));
    }
    Ok(())
}

fn broken(field: Field, value: &str, rule: impl Display) -> String {
    format!("{}: {} {rule}", field.name(), Quoted(value))
}

fn wrong_type(field: Field, value: &Value<'_>, expected: &str) -> String {
    format!("{}: {value}, expected {expected}", field.name())
}
