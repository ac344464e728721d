//! What is sent: a document with an id and a time, the key of its account, and what the service will say of it.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::decode::{self, Limits};
use crate::model::{self, Record, Timestamp};

/// An event from the command line. Its values are checked as those of any other event.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The event")]
#[group(id = "event", multiple = true, conflicts_with = "file")]
pub(super) struct Flags {
    /// Who pays
    #[arg(long)]
    account: Option<String>,
    /// The agent that was used
    #[arg(long)]
    agent: Option<String>,
    /// What kind of work it was: llm, sql, reasoning, training, …
    #[arg(long)]
    category: Option<String>,
    /// The model that did it
    #[arg(long)]
    model: Option<String>,
    /// Where the user is: web, whatsapp, …
    #[arg(long)]
    platform: Option<String>,
    /// The end user
    #[arg(long)]
    user: Option<String>,
    /// Tokens read, cached ones included
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// The part of the input tokens that was cached
    #[arg(long, value_name = "N")]
    cached_input_tokens: Option<u64>,
    /// Tokens written
    #[arg(long, value_name = "N")]
    output_tokens: Option<u64>,
    /// Execution time
    #[arg(long, value_name = "N")]
    duration_ms: Option<u64>,
    /// What the rate card prices per unit
    #[arg(long, value_name = "DECIMAL")]
    quantity: Option<String>,
    /// The cost as the agent computed it, for accounts that are charged as reported
    #[arg(long, value_name = "DECIMAL")]
    credits: Option<String>,
    /// Unique per account and source; left out: a new one
    #[arg(long)]
    id: Option<String>,
    /// When it happened (RFC 3339); left out: now
    #[arg(long)]
    time: Option<String>,
    /// The producer
    #[arg(long)]
    source: Option<String>,
}

impl Flags {
    /// The event as a document.
    pub(super) fn json(&self) -> String {
        let texts = [
            ("account", &self.account),
            ("agent", &self.agent),
            ("category", &self.category),
            ("model", &self.model),
            ("platform", &self.platform),
            ("user", &self.user),
            ("quantity", &self.quantity),
            ("credits", &self.credits),
            ("id", &self.id),
            ("time", &self.time),
            ("source", &self.source),
        ];
        let numbers = [
            ("input_tokens", self.input_tokens),
            ("cached_input_tokens", self.cached_input_tokens),
            ("output_tokens", self.output_tokens),
            ("duration_ms", self.duration_ms),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text.clone()?))));
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), Value::from(number?))));
        Value::Object(texts.chain(numbers).collect::<Map<_, _>>()).to_string()
    }
}

/// An event that can be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Where it stands in its file, when that has an event in each line.
    pub(super) line: Option<usize>,
    pub(super) id: String,
    pub(super) account: String,
    pub(super) category: String,
    pub(super) model: String,
    pub(super) time: Timestamp,
    /// Where its session is; none without a user or a platform.
    pub(super) session_platform: Option<String>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) is_cloud_event: bool,
    /// Fields that the contract does not know, for people.
    pub(super) unknown: Vec<String>,
    /// Why the service would reject it.
    pub(super) refused: Option<String>,
}

impl Outgoing {
    /// From a document, to which an id and a time are added where they are absent.
    pub(super) fn new(document: &[u8], line: Option<usize>, now: Timestamp, limits: &Limits) -> anyhow::Result<Self> {
        let (value, is_cloud_event) = match std::str::from_utf8(document) {
            Ok(text) => {
                let (text, is_cloud_event) = completed(text, now, &new_id()?);
                (text.into_bytes(), is_cloud_event)
            }
            Err(_) => (document.to_vec(), false),
        };
        let mut outgoing = Self {
            line,
            id: String::new(),
            account: String::new(),
            category: String::new(),
            model: String::new(),
            time: now,
            session_platform: None,
            key: None,
            value: Vec::new(),
            is_cloud_event,
            unknown: Vec::new(),
            refused: None,
        };
        let content_type = model::Header { name: b"content-type", value: Some(b"application/cloudevents+json") };
        let headers = if is_cloud_event { vec![content_type] } else { Vec::new() };
        let record = Record { offset: 0, timestamp: now, leader_epoch: -1, key: None, value: Some(&value), headers };
        match decode::decode(&record, limits) {
            Ok(decoded) => {
                let event = decoded.event;
                outgoing.session_platform =
                    Some(event.platform.into_owned()).filter(|platform| !platform.is_empty() && !event.user.is_empty());
                outgoing.time = event.time;
                (outgoing.id, outgoing.account) = (event.id.into_owned(), event.account.into_owned());
                (outgoing.category, outgoing.model) = (event.category.into_owned(), event.model.into_owned());
                outgoing.unknown = decoded.unknown_fields.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
            }
            Err(reject) => {
                outgoing.refused = Some(format!("{}: {}", reject.reason.as_str(), reject.detail));
                outgoing.account = reject.account;
            }
        }
        outgoing.key = Some(outgoing.account.clone().into_bytes()).filter(|key| !key.is_empty());
        outgoing.value = value;
        Ok(outgoing)
    }
}

/// The documents of a file, with their lines when it has one in each.
pub(super) fn documents(bytes: &[u8]) -> Vec<(Option<usize>, &[u8])> {
    let is_json = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    let lines = || {
        (1..)
            .zip(bytes.split(|&byte| byte == b'\n'))
            .map(|(line, text)| (line, text.trim_ascii()))
            .filter(|(_, text)| !text.is_empty())
    };
    let whole = bytes.trim_ascii();
    if whole.is_empty() {
        return Vec::new();
    }
    if lines().nth(1).is_some() && !is_json(whole) && lines().any(|(_, text)| text.starts_with(b"{") && is_json(text)) {
        return lines().map(|(line, text)| (Some(line), text)).collect();
    }
    vec![(None, whole)]
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The document with an id and a time, and whether it is a CloudEvent. All that was written stays as it was written: what is wrong with
/// it is for the decoder to say.
fn completed(text: &str, now: Timestamp, id: &str) -> (String, bool) {
    let Ok(members) = serde_json::from_str::<Members<'_>>(text) else { return (text.to_owned(), false) };
    let is_cloud_event = members.contains_key("specversion");
    // An envelope without them leaves the data's word.
    let data = members.get("data").filter(|_| is_cloud_event);
    let data = data.and_then(|data| serde_json::from_str::<Members<'_>>(data.get()).ok()).unwrap_or_default();
    let is_absent = |name: &str| !members.contains_key(name) && !data.contains_key(name);
    let mut added = String::new();
    for (name, value) in [("id", id.to_owned()), ("time", now.to_string())] {
        if is_absent(name) {
            added += &format!("\"{name}\":\"{value}\",");
        }
    }
    if members.is_empty() {
        added.truncate(added.trim_end_matches(',').len());
    }
    (text.replacen('{', &format!("{{{added}"), 1), is_cloud_event)
}

/// Random, in the form of a UUID of version 4.
fn new_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random numbers; give every event an id")?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    Ok([(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| &hex[from..to]).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { size_max: 1_000, age_max_ms: 86_400_000, ahead_max_ms: 60_000 };

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").expect("a time")
    }

    fn outgoing(document: &str) -> Outgoing {
        Outgoing::new(document.as_bytes(), None, now(), &LIMITS).expect("randomness")
    }

    fn value(outgoing: &Outgoing) -> &str {
        std::str::from_utf8(&outgoing.value).expect("text")
    }

    #[test]
    fn id_and_time_are_made_where_they_are_absent_and_nothing_else_changes() {
        let made = outgoing(r#"{"account":"acme","agent":"a","category":"llm","x":1.0}"#);
        assert_eq!(made.refused, None);
        let expected = format!(
            r#"{{"id":"{}","time":"2026-03-01T12:00:00Z","account":"acme","agent":"a","category":"llm","x":1.0}}"#,
            made.id
        );
        assert_eq!((value(&made), made.unknown.as_slice(), made.id.len()), (expected.as_str(), &["`x`".to_owned()][..], 36));
        assert_eq!((made.key.as_deref(), made.id.as_bytes()[14]), (Some(&b"acme"[..]), b'4'));
        let whole = r#" {"id":"7","time":"2026-03-01T11:00:00Z","account":"acme","agent":"a","category":"llm"}"#;
        assert_eq!((value(&outgoing(whole)), outgoing(whole).id.as_str()), (whole, "7"));
    }

    #[test]
    fn what_will_be_rejected_says_so_and_is_left_as_it_is() {
        for (document, reason) in [
            ("{}", "missing_field: account: absent, is required; agent: absent, is required; category: absent, is required"),
            ("nonsense", "malformed: not a JSON object"),
            (r#"{"id":"","account":"acme","agent":"a","category":"llm"}"#, "missing_field: id: empty, is required"),
            (r#"{"id":"1","id":"2"}"#, "malformed"),
        ] {
            let outgoing = outgoing(document);
            let refused = outgoing.refused.as_deref().unwrap_or_default();
            assert!(refused.starts_with(reason), "{document}: {refused}");
        }
        assert_eq!(value(&outgoing("nonsense")), "nonsense");
        let binary = Outgoing::new(&[0xff, 0], None, now(), &LIMITS).expect("randomness");
        assert_eq!((binary.value.as_slice(), binary.key), (&[0xff, 0][..], None));
    }

    #[test]
    fn an_envelope_of_cloudevents_is_known_by_its_specversion() {
        let data = r#"{"account":"acme","agent":"a","category":"llm","user":"u","platform":"web","id":"9"}"#;
        let event = outgoing(&format!(r#"{{"specversion":"1.0","data":{data}}}"#));
        assert_eq!((event.refused.as_deref(), event.is_cloud_event, event.id.as_str()), (None, true, "9"));
        assert_eq!(event.session_platform.as_deref(), Some("web"));
    }

    #[test]
    fn a_file_is_one_document_or_has_one_in_each_line() {
        let lines = |text: &'static str| documents(text.as_bytes()).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines(" \n"), []);
        assert_eq!(lines("{\n\"a\": 1\n}\n"), [None]);
        assert_eq!(lines("{\"a\":1}\n"), [None]);
        assert_eq!(lines("{\"a\":1}\r\n\r\n{\"a\":2}\r\n"), [Some(1), Some(3)]);
        assert_eq!(lines("broken\n{\"a\":2}"), [Some(1), Some(2)]);
        assert_eq!(lines("{\n\"a\": 1,\n"), [None]);
    }
}
