//! A day of four accounts and their agents, with what goes wrong on such a day.
//!
//! Holds: the same day gives the same records, byte for byte, in the order of their times. Absent on purpose: clocks and Kafka.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Map, Value, json};

use crate::model::Timestamp;

const SEED: u64 = 24;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When Kafka gets it.
    pub at: Timestamp,
    /// The account.
    pub key: String,
    /// The event, or what pretends to be one.
    pub value: Vec<u8>,
}

/// All that happens on the day that begins at `midnight`, in UTC.
pub fn records(midnight: Timestamp) -> Vec<Record> {
    let mut day = Day { midnight, rng: Pcg64::seed_from_u64(SEED), made: 0, records: Vec::new() };
    day.acme();
    day.globex();
    day.initech();
    day.sunrise();
    day.mishaps();
    let mut records = day.records;
    records.sort_by_key(|record| record.at);
    records
}

struct Day {
    midnight: Timestamp,
    rng: Pcg64,
    made: u32,
    records: Vec<Record>,
}

type Fields = Map<String, Value>;

impl Day {
    /// Customers write to a support agent, on the web and on WhatsApp.
    fn acme(&mut self) {
        for _ in 0..420 {
            let time = self.time(6, 20);
            let platform = if self.rng.random_range(0..3) == 0 { "whatsapp" } else { "web" };
            let user = format!("customer-{}", self.rng.random_range(1..=90));
            let input = self.rng.random_range(200..3_000);
            let output = self.rng.random_range(50..600);
            let event = json!({ "account": "acme", "platform": platform, "user": user, "agent": "support-triage", "category": "llm",
                "model": "gpt-4o-mini", "duration_ms": self.rng.random_range(400..6_000), "input_tokens": input, "output_tokens": output });
            self.publish(time, event);
        }
        // A connector that forgot to say who its user is.
        for _ in 0..3 {
            let time = self.time(9, 17);
            self.publish(
                time,
                json!({ "account": "acme", "platform": "web", "agent": "order-status", "category": "sql", "duration_ms": 80 }),
            );
        }
    }

    /// Analysts let agents read, query and reason.
    fn globex(&mut self) {
        for _ in 0..380 {
            let time = self.time(7, 19);
            let event = match self.rng.random_range(0..10) {
                0..=3 => {
                    let input = self.rng.random_range(1_000..12_000);
                    json!({ "agent": "market-researcher", "category": "llm", "model": "gpt-4o", "input_tokens": input,
                        "cached_input_tokens": self.rng.random_range(0..=input), "output_tokens": self.rng.random_range(200..2_000) })
                }
                4..=5 => json!({ "agent": "meeting-notes", "category": "llm", "model": "gpt-4o-mini",
                    "input_tokens": self.rng.random_range(2_000..15_000), "output_tokens": self.rng.random_range(200..1_500) }),
                6..=7 => json!({ "agent": "sql-analyst", "category": "sql" }),
                _ => json!({ "agent": "contract-reader", "category": "document", "model": "layout-reader-2",
                    "quantity": self.rng.random_range(1..40).to_string() }),
            };
            let duration = self.rng.random_range(40..25_000);
            self.publish(time, with(event, &[("account", json!("globex")), ("duration_ms", json!(duration))]));
        }
        // Somebody tries a model before it has a price.
        for _ in 0..7 {
            let time = self.time(13, 16);
            let event = json!({ "account": "globex", "agent": "market-researcher", "category": "llm", "model": "gpt-next-preview",
                "duration_ms": 9_000, "input_tokens": self.rng.random_range(1_000..9_000), "output_tokens": 700 });
            self.publish(time, event);
        }
    }

    /// Its agents buy elsewhere and report what they paid.
    fn initech(&mut self) {
        for _ in 0..110 {
            let time = self.time(13, 21);
            let (agent, category, model) = match self.rng.random_range(0..3) {
                0 => ("campaign-studio", "image", "flux-1.1-pro"),
                1 => ("campaign-studio", "video", "veo-3"),
                _ => ("call-summaries", "sound", "whisper-large-v3"),
            };
            let credits = format!("{}.{:04}", self.rng.random_range(0..3), self.rng.random_range(0..10_000));
            let event = json!({ "account": "initech", "agent": agent, "category": category, "model": model,
                "duration_ms": self.rng.random_range(1_000..60_000), "credits": credits });
            self.publish(time, event);
        }
    }

    /// Pupils ask a tutor by day; at noon the school trains a model of its own.
    fn sunrise(&mut self) {
        for _ in 0..190 {
            let time = self.time(4, 12);
            let user = format!("pupil-{}", self.rng.random_range(1..=60));
            let event = json!({ "account": "sunrise", "platform": "web", "user": user, "agent": "tutor", "category": "llm",
                "model": "gpt-4o-mini", "duration_ms": self.rng.random_range(300..4_000), "input_tokens": 900, "output_tokens": 300 });
            self.publish(time, event);
        }
        for (hour, hours) in [(7, "1.5"), (9, "0.75")] {
            let time = self.midnight.plus_millis(hour * HOUR);
            let event =
                json!({ "account": "sunrise", "agent": "trainer", "category": "training", "model": "lora-8b", "quantity": hours });
            self.publish(time, event);
        }
    }

    /// A retry, a changed retry, and what no rule accepts.
    fn mishaps(&mut self) {
        let at = |minutes: i64| self.midnight.plus_millis(10 * HOUR + minutes * MINUTE);
        let order = json!({ "id": "report-7", "source": "nightly", "time": at(0).to_string(), "account": "globex",
            "agent": "sql-analyst", "category": "sql", "duration_ms": 2_000 });
        let record = |at: Timestamp, key: &str, value: Vec<u8>| Record { at, key: key.to_owned(), value };
        let bytes = order.to_string().into_bytes();
        let changed = with(order.clone(), &[("duration_ms", json!(9_000))]).to_string().into_bytes();
        let other = |id: &str, fields: &[(&str, Value)]| {
            with(order.clone(), &[&[("id", json!(id))], fields].concat()).to_string().into_bytes()
        };
        let ahead = at(0).plus_millis(24 * HOUR).to_string();
        let new = [
            record(at(0), "globex", bytes.clone()),
            record(at(1), "globex", bytes.clone()), // the answer got lost, so it is sent again
            record(at(2), "globex", bytes.clone()),
            record(at(5), "globex", changed), // the same id, and another content
            record(at(6), "globex", bytes[..bytes.len() / 2].to_vec()),
            record(at(7), "globex", other("report-8", &[("agent", Value::Null)])),
            record(at(8), "initech", other("report-9", &[("account", json!("initech")), ("credits", json!(1.25))])),
            record(at(9), "globex", other("report-10", &[("time", json!(ahead))])),
            record(at(10), "umbrella", other("report-11", &[("account", json!("umbrella"))])), // an account that nobody priced
        ];
        self.records.extend(new);
    }

    /// Some moment between two hours.
    fn time(&mut self, from: i64, to: i64) -> Timestamp {
        self.midnight.plus_millis(self.rng.random_range(from * HOUR..to * HOUR))
    }

    /// Takes a moment to arrive.
    fn publish(&mut self, time: Timestamp, event: Value) {
        self.made += 1;
        let id = format!("{:08x}", self.made.wrapping_mul(0x9e37_79b1));
        let event = with(event, &[("id", json!(id)), ("time", json!(time.to_string()))]);
        let key = event["account"].as_str().unwrap_or_default().to_owned();
        let at = time.plus_millis(self.rng.random_range(20..900));
        self.records.push(Record { at, key, value: event.to_string().into_bytes() });
    }
}

/// The event with these fields over its own.
fn with(event: Value, fields: &[(&str, Value)]) -> Value {
    let mut all: Fields = match event {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    };
    all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_day_gives_the_same_records_in_the_order_of_their_times() {
        let midnight = Timestamp::from_millis(1_767_225_600_000);
        let day = records(midnight);
        assert_eq!(day, records(midnight));
        assert!(day.is_sorted_by_key(|record| record.at));
        assert!(day.iter().all(|record| (0..86_400_000).contains(&(record.at.millis() - midnight.millis()))));
        assert_eq!(day.len(), 1_121);
    }
}
