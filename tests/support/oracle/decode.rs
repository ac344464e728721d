//! From a record to an event, the slow way: a JSON value, then rule after rule.

use std::collections::HashMap;
use std::fmt;

use chrono::DateTime;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::super::servers::KafkaRecord;

const SIZE_MAX: usize = 256 * 1024;
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;
const AGE_MAX_MS: i64 = 35 * 86_400 * 1000;

/// Why not, as the closed list has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected(pub &'static str);

/// An event; absent text is empty, an absent number `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub source: String,
    /// Milliseconds.
    pub time: i64,
    pub account: String,
    pub platform: String,
    pub user: String,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub duration_ms: Option<u64>,
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub quantity: Option<Decimal>,
    pub credits: Option<Decimal>,
}

type Fields = HashMap<String, Value>;

/// A JSON object whose names stand once.
struct Object(Fields);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Fields::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

/// The event in a record, or the first rule that is broken.
pub fn event(record: &KafkaRecord) -> Result<Event, Rejected> {
    let value = record.value.as_deref().unwrap_or_default();
    if value.len() > SIZE_MAX {
        return Err(Rejected("too_large"));
    }
    let fields = fields(record, value).ok_or(Rejected("malformed"))?;
    for name in ["id", "time", "account", "agent", "category"] {
        if matches!(fields.get(name), None | Some(Value::Null)) || fields[name] == "" {
            return Err(Rejected("missing_field"));
        }
    }
    let event = values(&fields).ok_or(Rejected("bad_value"))?;
    let age = record.timestamp - event.time;
    if (-AHEAD_MAX_MS..=AGE_MAX_MS).contains(&age) { Ok(event) } else { Err(Rejected("time_out_of_range")) }
}

fn object(value: &[u8]) -> Option<Fields> {
    std::str::from_utf8(value).ok()?;
    serde_json::from_slice(value).ok().map(|Object(fields)| fields)
}

fn fields(record: &KafkaRecord, value: &[u8]) -> Option<Fields> {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(own, _)| own == name);
        found.and_then(|(_, value)| value.as_deref()).and_then(|value| std::str::from_utf8(value).ok())
    };
    if record.headers.iter().any(|(name, _)| name == "ce_specversion") {
        let mut fields = object(value)?;
        for (name, field) in [("ce_id", "id"), ("ce_source", "source"), ("ce_time", "time")] {
            if let Some(text) = header(name) {
                fields.insert(field.to_owned(), text.into());
            }
        }
        return (header("ce_specversion") == Some("1.0")).then_some(fields);
    }
    if header("content-type") != Some("application/cloudevents+json") {
        return object(value);
    }
    let envelope = object(value)?;
    let mut fields = match envelope.get("data") {
        Some(Value::Object(data)) => data.clone().into_iter().collect::<Fields>(),
        None => Fields::new(),
        Some(_) => return None,
    };
    for name in ["id", "source", "time"] {
        if let Some(own) = envelope.get(name) {
            fields.insert(name.to_owned(), own.clone());
        }
    }
    (envelope.get("specversion")? == "1.0").then_some(fields)
}

fn values(fields: &Fields) -> Option<Event> {
    let text = |name: &str, max: usize| match fields.get(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) if text.chars().count() <= max && !text.chars().any(char::is_control) => Some(text.clone()),
        Some(_) => None,
    };
    let integer = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if text.is_empty() => Some(None),
        Some(value) => value.as_u64().filter(|&integer| integer < 1 << 53).map(Some),
    };
    let amount = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if text.is_empty() => Some(None),
        Some(Value::String(text)) => decimal(text).map(Some),
        Some(_) => None,
    };
    let time = fields.get("time").and_then(Value::as_str)?;
    let event = Event {
        id: text("id", 128)?,
        source: text("source", 128)?,
        time: DateTime::parse_from_rfc3339(time).ok()?.timestamp_millis(),
        account: text("account", 64)?,
        platform: text("platform", 64)?,
        user: text("user", 256)?,
        agent: text("agent", 128)?,
        category: text("category", 32)?,
        model: text("model", 128)?,
        duration_ms: integer("duration_ms")?,
        input_tokens: integer("input_tokens")?,
        cached_input_tokens: integer("cached_input_tokens")?,
        output_tokens: integer("output_tokens")?,
        quantity: amount("quantity")?,
        credits: amount("credits")?,
    };
    (event.account != "*" && event.category != "session").then_some(event)
}

/// `[0-9]{1,12}(\.[0-9]{1,9})?`
fn decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole, 12) && digits(fraction, 9)).then(|| text.parse().expect("digits"))
}
