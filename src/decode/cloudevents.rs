//! CloudEvents 1.0 over Kafka: structured and binary mode.
//!
//! A header `ce_specversion` means binary; else content type `application/cloudevents+json` structured; else the record is
//! plain, whatever its body looks like. The envelope's `id`, `source` and `time` win over fields of those names in the
//! data; one that is absent, null or empty leaves the data's word.
//! Holds: what could be read in two ways is malformed: batches, `data_base64`, another specversion, an attribute
//! given twice. Of several content types the last counts, as Kafka's own clients look headers up.
//! Absent on purpose: the attributes `type`, `subject`, `dataschema` and `datacontenttype`, and extensions. They
//! mean nothing to a meter and are not even required; only a name of ours that stands in the envelope by mistake is named as unknown.

use std::borrow::Cow;

use super::fields::{Field, Fields};
use super::json::{self, Unknown, Value};
use crate::model::Header;

const SPECVERSION: &str = "1.0";

/// `id`, `source` and `time` of an envelope.
pub(super) type Attributes<'a> = [(Field, Value<'a>); 3];

/// How the event lies in the record.
#[derive(Debug)]
pub(super) enum Mode<'a> {
    /// The value is the event.
    Plain,
    /// The value is an envelope with the event under `data`.
    Structured,
    /// The headers are the envelope, the value is the data.
    Binary(Attributes<'a>),
}

impl<'a> Mode<'a> {
    /// What the headers say. The error says what is malformed.
    pub(super) fn of(headers: &[Header<'a>]) -> Result<Self, String> {
        if headers.iter().any(|header| header.name == b"ce_specversion") {
            let version = attribute(headers, "ce_specversion")?;
            check_specversion(&version)?;
            return Ok(Self::Binary([
                (Field::Id, attribute(headers, "ce_id")?),
                (Field::Source, attribute(headers, "ce_source")?),
                (Field::Time, attribute(headers, "ce_time")?),
            ]));
        }
        let content_type = headers.iter().rfind(|header| header.name == b"content-type").and_then(|header| header.value);
        match content_type.map(media_type) {
            Some(media_type) if media_type.eq_ignore_ascii_case(b"application/cloudevents+json") => Ok(Self::Structured),
            Some(media_type) if media_type.eq_ignore_ascii_case(b"application/cloudevents-batch+json") => {
                Err("content-type: a batch of CloudEvents, expected one event per message".to_owned())
            }
            _ => Ok(Self::Plain),
        }
    }
}

/// The fields of a CloudEvent in structured mode. The error says what is malformed.
pub(super) fn structured(text: &str) -> Result<Fields<'_>, String> {
    let mut envelope = Envelope::default();
    let mut others = Unknown::default();
    json::object(text, |name, raw| {
        let slot = match name.as_ref() {
            "id" => &mut envelope.id,
            "source" => &mut envelope.source,
            "time" => &mut envelope.time,
            "specversion" => &mut envelope.specversion,
            "data" => &mut envelope.data,
            "data_base64" => &mut envelope.data_base64,
            _ => {
                others.push(name);
                return Ok(());
            }
        };
        if slot.is_some() {
            return Err(json::repeated(&name));
        }
        *slot = Some(Value::read(raw)?);
        Ok(())
    })?;
    let others = others.into_unique()?;
    check_specversion(&envelope.specversion.unwrap_or_default())?;
    if !matches!(envelope.data_base64, None | Some(Value::Absent)) {
        return Err("data_base64: binary data, expected a JSON object under data".to_owned());
    }
    let mut fields = match envelope.data.unwrap_or_default() {
        Value::Absent => Fields::default(),
        Value::Other(object) if object.starts_with('{') => Fields::parse(object).map_err(|problem| format!("data: {problem}"))?,
        other => return Err(format!("data: {other}, expected an object")),
    };
    fields.override_with([
        (Field::Id, envelope.id.unwrap_or_default()),
        (Field::Source, envelope.source.unwrap_or_default()),
        (Field::Time, envelope.time.unwrap_or_default()),
    ]);
    fields.unknown.extend(others.into_iter().filter(|name| Field::named(name).is_some()));
    Ok(fields)
}

/// The attributes we read. `None` until the name was seen: a null counts as seen.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<Value<'a>>,
    source: Option<Value<'a>>,
    time: Option<Value<'a>>,
    specversion: Option<Value<'a>>,
    data: Option<Value<'a>>,
    data_base64: Option<Value<'a>>,
}

fn check_specversion(version: &Value<'_>) -> Result<(), String> {
    match version {
        Value::Text(text) if text == SPECVERSION => Ok(()),
        other => Err(format!("specversion: {other}, expected \"{SPECVERSION}\"")),
    }
}

/// An attribute from its header: plain UTF-8, at most one header of that name.
fn attribute<'a>(headers: &[Header<'a>], name: &str) -> Result<Value<'a>, String> {
    let mut found = headers.iter().filter(|header| header.name == name.as_bytes());
    let value = found.next().and_then(|header| header.value);
    if found.next().is_some() {
        return Err(format!("{name}: the header stands more than once"));
    }
    match value.map(std::str::from_utf8) {
        None => Ok(Value::Absent),
        Some(Ok(text)) => Ok(Value::Text(Cow::Borrowed(text))),
        Some(Err(error)) => Err(format!("{name}: the header is not UTF-8 from byte {} on", error.valid_up_to())),
    }
}

/// A content type without its parameters.
fn media_type(content_type: &[u8]) -> &[u8] {
    content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}
