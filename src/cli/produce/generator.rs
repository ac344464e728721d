//! Invented events that look like real ones.
//!
//! Holds: the same settings and the same times give the same records, byte for byte. Every record is of a [`Kind`] that says
//! what must become of it: a duplicate repeats, byte for byte, the last occurrence of its id; a conflict keeps the id and
//! changes the content; a malformed one breaks a rule that is checked before ids are. Absent on purpose: clocks and Kafka.

use std::collections::VecDeque;
use std::fmt::Write;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::model::Timestamp;

/// The `source` of every event made here.
pub(super) const SOURCE: &str = "farebox-produce";
/// Every fifth account is billed by what its agents report.
pub(super) const REPORTED_EVERY: u32 = 5;

pub(super) const PLATFORMS: [&str; 5] = ["web", "whatsapp", "slack", "ios", "android"];
const AGENTS: [&str; 8] = [
    "support-triage",
    "contract-reader",
    "sales-researcher",
    "sql-analyst",
    "meeting-notes",
    "campaign-studio",
    "onboarding-guide",
    "invoice-matcher",
];
/// Category, its share in percent, its models.
pub(super) const CATEGORIES: [(&str, u32, &[&str]); 9] = [
    ("llm", 58, &["gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "llama-3.3-70b"]),
    ("sql", 9, &[]),
    ("text", 8, &["text-embedding-3-large"]),
    ("document", 8, &["layout-reader-2"]),
    ("image", 6, &["flux-1.1-pro"]),
    ("video", 2, &["veo-3"]),
    ("sound", 3, &["whisper-large-v3"]),
    ("music", 1, &["lyria-2"]),
    ("training", 5, &["lora-8b"]),
];
const UNCHANGED: &str = "\"agent\":\"";
const CHANGED: &str = "\"agent\":\"retried-";
/// How far back a repeated id reaches, in records.
const RECENT: usize = 512;

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The same seed, the same events.
    pub seed: u64,
    /// `load-1` … `load-A`; at least 1.
    pub accounts: u32,
    /// Per account; at least 1.
    pub users: u32,
    /// Of a million records.
    pub duplicates_ppm: u32,
    /// Of a million records.
    pub conflicts_ppm: u32,
    /// Of a million records.
    pub malformed_ppm: u32,
}

/// What must become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accepted.
    Event,
    /// Counted as a duplicate.
    Duplicate,
    /// Rejected as `id_conflict`.
    Conflict,
    /// Rejected for any other reason.
    Malformed,
}

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The account.
    pub key: String,
    /// The event, or what pretends to be one.
    pub value: Vec<u8>,
    /// What must become of it.
    pub kind: Kind,
}

/// An event as it was made, to be repeated or changed.
#[derive(Debug, Clone)]
struct Recent {
    key: String,
    value: String,
}

/// Makes records, one after the other.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    rng: Pcg64,
    made: u64,
    recent: VecDeque<Recent>,
}

impl Generator {
    /// Begins with the first record of this seed.
    pub fn new(settings: Settings) -> Self {
        Self { rng: Pcg64::seed_from_u64(settings.seed), settings, made: 0, recent: VecDeque::with_capacity(RECENT) }
    }

    /// The next record, of an event that happens at `time`. Only events, conflicts and malformed ones happen then: a
    /// duplicate happened before.
    pub fn next(&mut self, time: Timestamp) -> Message {
        let Settings { duplicates_ppm, conflicts_ppm, malformed_ppm, .. } = self.settings;
        let draw = self.rng.random_range(0..1_000_000);
        let conflicts_end = duplicates_ppm.saturating_add(conflicts_ppm);
        if draw < conflicts_end && !self.recent.is_empty() {
            let at = self.rng.random_range(0..self.recent.len());
            return if draw < duplicates_ppm { self.duplicate(at) } else { self.conflict(at) };
        }
        if (conflicts_end..conflicts_end.saturating_add(malformed_ppm)).contains(&draw) {
            self.malformed(time)
        } else {
            self.event(time)
        }
    }

    fn event(&mut self, time: Timestamp) -> Message {
        let (key, value) = self.make(time);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { key: key.clone(), value: value.clone() });
        Message { key, value: value.into_bytes(), kind: Kind::Event }
    }

    fn duplicate(&self, at: usize) -> Message {
        let Recent { key, value } = self.recent[at].clone();
        Message { key, value: value.into_bytes(), kind: Kind::Duplicate }
    }

    fn conflict(&mut self, at: usize) -> Message {
        let recent = &mut self.recent[at];
        // Another agent each time: no occurrence is like the one before. What follows repeats this one.
        let (from, to) = if recent.value.contains(CHANGED) { (CHANGED, UNCHANGED) } else { (UNCHANGED, CHANGED) };
        recent.value = recent.value.replacen(from, to, 1);
        let Recent { key, value } = recent.clone();
        Message { key, value: value.into_bytes(), kind: Kind::Conflict }
    }

    fn malformed(&mut self, time: Timestamp) -> Message {
        let (key, good) = self.make(time);
        let value = match self.rng.random_range(0..7) {
            0 => good.as_bytes()[..good.len() / 2].to_vec(),
            1 => good.replacen("\"agent\"", "\"agnt\"", 1).into_bytes(),
            2 => good.replacen("\"duration_ms\":", "\"duration_ms\":-", 1).into_bytes(),
            3 => good.replacen("\"category\":\"", "\"category\":\"\\u0000", 1).into_bytes(),
            4 => good.replacen(&time.to_string(), "yesterday", 1).into_bytes(),
            5 => Vec::new(),
            _ => [good.as_bytes(), b"\xff"].concat(),
        };
        Message { key, value, kind: Kind::Malformed }
    }

    /// An account's key and an event of it. Nothing in it needs escaping.
    fn make(&mut self, time: Timestamp) -> (String, String) {
        let rng = &mut self.rng;
        let number = rng.random_range(1..=self.settings.accounts);
        let account = format!("load-{number}");
        let user = rng.random_range(1..=self.settings.users);
        let mut share = rng.random_range(0..100);
        let (category, models) = CATEGORIES
            .iter()
            .find_map(|(category, percent, models)| {
                let found = share < *percent;
                share = share.saturating_sub(*percent);
                found.then_some((*category, *models))
            })
            .unwrap_or(("llm", CATEGORIES[0].2));
        let mut text = String::with_capacity(400);
        // Writing into a String never fails.
        let _ = write!(
            text,
            "{{\"id\":\"{:016x}-{:010}\",\"source\":\"{SOURCE}\",\"time\":\"{time}\",\"account\":\"{account}\",\"platform\":\"{}\",\"user\":\"{}\",\"agent\":\"{}-eu-v2\",\"category\":\"{category}\"",
            self.settings.seed,
            self.made,
            pick(rng, &PLATFORMS),
            user_id(user),
            pick(rng, &AGENTS),
        );
        self.made += 1;
        if !models.is_empty() {
            let _ = write!(text, ",\"model\":\"{}\"", pick(rng, models));
        }
        let _ = write!(text, ",\"duration_ms\":{}", rng.random_range(40..30_000));
        match category {
            "llm" | "text" | "document" => {
                let input = rng.random_range(50..16_000);
                let _ = write!(text, ",\"input_tokens\":{input}");
                if rng.random_range(0..3) == 0 {
                    let _ = write!(text, ",\"cached_input_tokens\":{}", rng.random_range(0..=input));
                }
                let _ = write!(text, ",\"output_tokens\":{}", rng.random_range(1..4_000));
            }
            "image" => {
                let _ = write!(text, ",\"quantity\":\"{}\"", rng.random_range(1..5));
            }
            "video" | "sound" | "music" => {
                let _ = write!(text, ",\"quantity\":\"{}.{}\"", rng.random_range(1..600), rng.random_range(0..10));
            }
            _ => {}
        }
        if number % REPORTED_EVERY == 0 {
            let _ = write!(text, ",\"credits\":\"{}.{:06}\"", rng.random_range(0..3), rng.random_range(0..1_000_000));
        }
        text.push('}');
        (account, text)
    }
}

/// The id of a user: as long and as odd as those that real systems hand out.
fn user_id(number: u32) -> String {
    let odd = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-5{:03x}-8{:03x}-{number:012x}", odd >> 32, (odd >> 16) & 0xffff, (odd >> 4) & 0xfff, odd & 0xfff)
}

fn pick<'a>(rng: &mut Pcg64, from: &[&'a str]) -> &'a str {
    from[rng.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use super::*;

    fn settings() -> Settings {
        Settings { seed: 7, accounts: 12, users: 500, duplicates_ppm: 20_000, conflicts_ppm: 5_000, malformed_ppm: 5_000 }
    }

    fn times() -> impl Iterator<Item = Timestamp> {
        (0..20_000).map(|step| Timestamp::from_millis(1_767_225_600_000 + step * 7))
    }

    #[test]
    fn the_same_seed_makes_the_same_records() {
        let make = || {
            let mut generator = Generator::new(settings());
            times().map(|time| generator.next(time)).collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
        let mut other = Generator::new(Settings { seed: 8, ..settings() });
        assert_ne!(other.next(Timestamp::MIN), Generator::new(settings()).next(Timestamp::MIN));
    }

    #[test]
    fn every_record_is_of_the_kind_it_says() {
        let mut generator = Generator::new(settings());
        let mut last: HashMap<String, Vec<u8>> = HashMap::new();
        let mut counts: HashMap<&str, u32> = HashMap::new();
        let (mut bytes, mut events) = (0, 0);
        for time in times() {
            let message = generator.next(time);
            let parsed: Option<serde_json::Value> = serde_json::from_slice(&message.value).ok();
            let id = parsed.as_ref().and_then(|event| event["id"].as_str()).map(str::to_owned);
            match message.kind {
                Kind::Event => {
                    assert_eq!(parsed.unwrap()["account"], message.key.as_str());
                    assert_eq!(last.insert(id.unwrap(), message.value.clone()), None);
                    (bytes, events) = (bytes + message.value.len(), events + 1);
                    *counts.entry("event").or_default() += 1;
                }
                Kind::Duplicate => {
                    assert_eq!(last[&id.unwrap()], message.value);
                    *counts.entry("duplicate").or_default() += 1;
                }
                Kind::Conflict => {
                    let before = last.insert(id.unwrap(), message.value.clone()).unwrap();
                    assert_ne!(before, message.value);
                    *counts.entry("conflict").or_default() += 1;
                }
                Kind::Malformed => *counts.entry("malformed").or_default() += 1,
            }
        }
        let near = |kind: &str, expected: u32| assert!(counts[kind].abs_diff(expected) < expected / 2, "{counts:?}");
        near("duplicate", 400);
        near("conflict", 100);
        near("malformed", 100);
        assert!((300..360).contains(&(bytes / events)), "{} bytes per event", bytes / events);
    }
}
