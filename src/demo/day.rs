//! A day of four accounts and their agents, with what goes wrong on such a day.
//!
//! Holds: the same day gives the same records, byte for byte, in the order of their times. Absent on purpose: clocks and Kafka.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use super::event::{self, with};
use crate::model::Timestamp;

const SEED: u64 = 24;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How many whole days of the past there are, and how full a day of the week is, from Thursday on, in percent.
const DAYS: i64 = 7;
const FULL: [u32; 7] = [100, 90, 55, 45, 85, 95, 110];

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
    of_day(midnight, SEED, 100)
}

/// What an agent uses of its budget for the day, at once: 84 of 100 credits.
pub fn runaway(now: Timestamp) -> Record {
    let more = [
        ("id", json!("runaway")),
        ("source", json!(event::SOURCE)),
        ("time", json!(now.to_string())),
        ("input_tokens", json!(33_600)),
    ];
    Record { at: now, key: "globex".to_owned(), value: with(event::crawler(0), &more).to_string().into_bytes() }
}

/// Seven days and what there is of today, in the order of their times.
pub fn history(now: Timestamp) -> Vec<Record> {
    let today = now.millis().div_euclid(DAY);
    let days = (today - DAYS..=today).flat_map(|day| {
        let weekday = usize::try_from(day.rem_euclid(7)).unwrap_or(0); // the epoch was a Thursday
        let seed = SEED.wrapping_add(u64::try_from(today - day).unwrap_or(0));
        of_day(Timestamp::from_millis(day * DAY), seed, FULL[weekday])
    });
    days.filter(|record| record.at <= now).collect()
}

fn of_day(midnight: Timestamp, seed: u64, percent: u32) -> Vec<Record> {
    let mut day = Day { midnight, percent, rng: Pcg64::seed_from_u64(seed), made: 0, records: Vec::new() };
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
    percent: u32,
    rng: Pcg64,
    made: u32,
    records: Vec<Record>,
}

impl Day {
    /// Customers write to a support agent, on the web and on WhatsApp.
    fn acme(&mut self) {
        for _ in 0..self.full(420) {
            let time = self.time(6, 20);
            let event = event::acme(&mut self.rng, 90);
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
        for _ in 0..self.full(380) {
            let time = self.time(7, 19);
            let event = event::globex(&mut self.rng);
            self.publish(time, event);
        }
        for _ in 0..7 {
            let time = self.time(13, 16);
            let event = event::unpriced(&mut self.rng);
            self.publish(time, event);
        }
    }

    /// Its agents buy elsewhere and report what they paid.
    fn initech(&mut self) {
        for _ in 0..self.full(110) {
            let time = self.time(13, 21);
            let event = event::initech(&mut self.rng);
            self.publish(time, event);
        }
    }

    /// Pupils ask a tutor by day; at noon the school trains a model of its own.
    fn sunrise(&mut self) {
        for _ in 0..self.full(190) {
            let time = self.time(4, 12);
            let event = event::sunrise(&mut self.rng, 60);
            self.publish(time, event);
        }
        for (hour, hours) in [(7, "1.5"), (9, "0.75")] {
            let time = self.midnight.plus_millis(hour * HOUR);
            let event =
                json!({ "account": "sunrise", "agent": "trainer", "category": "training", "model": "lora-8b", "quantity": hours });
            self.publish(time, event);
        }
    }

    fn full(&self, events: u32) -> u32 {
        events * self.percent / 100
    }

    /// A retry, a changed retry, and what no rule accepts.
    fn mishaps(&mut self) {
        let at = |minutes: i64| self.midnight.plus_millis(10 * HOUR + minutes * MINUTE);
        // Each day its own, so that no day repeats an id of another.
        let source = format!("night-{}", self.midnight.millis().div_euclid(DAY) % 10);
        let order = json!({ "id": "report-7", "source": source, "time": at(0).to_string(), "account": "globex",
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
        let day = u32::try_from(self.midnight.millis().div_euclid(DAY)).unwrap_or(0);
        let id = format!("{:08x}", (day << 12 | self.made).wrapping_mul(0x9e37_79b1));
        let event = with(event, &[("id", json!(id)), ("source", json!(event::SOURCE)), ("time", json!(time.to_string()))]);
        let key = event["account"].as_str().unwrap_or_default().to_owned();
        let at = time.plus_millis(self.rng.random_range(20..900));
        self.records.push(Record { at, key, value: event.to_string().into_bytes() });
    }
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

    #[test]
    fn no_day_of_the_history_repeats_an_id_but_for_its_own_retries() {
        let now = Timestamp::from_millis(1_767_225_600_000 + 20 * HOUR);
        let history = history(now);
        assert!(history.is_sorted_by_key(|record| record.at) && history.iter().all(|record| record.at <= now));
        assert!((5_000..20_000).contains(&history.len()), "{}", history.len());
        let mut ids: Vec<_> = history.iter().filter_map(|record| serde_json::from_slice::<Value>(&record.value).ok()).collect();
        let events = ids.len();
        ids.sort_by_key(|event| (event["source"].to_string(), event["id"].to_string()));
        ids.dedup_by_key(|event| (event["source"].clone(), event["id"].clone()));
        assert_eq!(events - ids.len(), 3 * 8, "two retries and a changed one on each of eight days");
    }
}
