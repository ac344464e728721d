//! A record's bytes become an event, or a reason why not.
//!
//! Takes plain JSON and CloudEvents 1.0, structured or binary. Rules are checked in one order: size, syntax, missing
//! fields, values, time; the first that is broken names the reason, and the account is given with it when it could be read.
//! Holds: any bytes in value and headers end in an event or a [`Reject`](model::Reject), never in a panic; depth of nesting costs no
//! stack; the detail of a reject is at most [`DETAIL_CHARS_MAX`](decode::DETAIL_CHARS_MAX) characters and holds no control character; an event
//! without escapes and unknown fields allocates nothing.
//! Absent on purpose: the price book (any category is accepted), the message key (never checked), clocks (time is held
//! against the record's own timestamp).

mod cloudevents;
mod detail;
mod fields;
mod flat;
mod json;
mod quotes;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::model::{Event, Reason, Record, Reject};
use cloudevents::Mode;
pub use detail::DETAIL_CHARS_MAX;
use fields::Fields;

/// What the configuration says about events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that a record's value may have.
    pub size_max: usize,
    /// How far an event's time may lie before the record's timestamp.
    pub age_max_ms: i64,
    /// How far an event's time may lie after the record's timestamp.
    pub ahead_max_ms: i64,
}

/// An event, and what its producer wrote beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The event.
    pub event: Event<'a>,
    /// Names of fields that the contract does not know, as sent: they may hold any character.
    pub unknown_fields: Vec<Cow<'a, str>>,
}

/// Decodes a record by the rules of the event.
///
/// # Errors
/// The first rule that is broken.
pub fn decode<'a>(record: &Record<'a>, limits: &Limits) -> Result<Decoded<'a>, Reject> {
    let value = record.value.unwrap_or_default();
    if value.len() > limits.size_max {
        let detail = format!("value: {} bytes, at most {} are taken", value.len(), limits.size_max);
        return Err(detail::reject(Reason::TooLarge, &detail, ""));
    }
    let fields = read(value, record).map_err(|problem| detail::reject(Reason::Malformed, &problem, ""))?;
    fields.into_event(record.timestamp, limits)
}

/// The syntax: from bytes to fields that are there or not. The error says what is malformed.
fn read<'a>(value: &'a [u8], record: &Record<'a>) -> Result<Fields<'a>, String> {
    if value.is_empty() {
        return Err("value: empty, expected a JSON object".to_owned());
    }
    let text = std::str::from_utf8(value).map_err(|error| format!("value: not UTF-8 from byte {} on", error.valid_up_to()))?;
    match Mode::of(&record.headers)? {
        Mode::Plain => Fields::parse(text),
        Mode::Structured => cloudevents::structured(text),
        Mode::Binary(attributes) => {
            let mut fields = Fields::parse(text)?;
            fields.override_with(attributes);
            Ok(fields)
        }
    }
}
