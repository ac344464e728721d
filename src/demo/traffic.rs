//! What the agents publish while somebody watches, with the small accidents of such a time.
//!
//! Absent on purpose: clocks and Kafka.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use super::day::Record;
use super::event::{self, with};
use crate::model::Timestamp;

/// The customers whom acme knows well, and all that it has.
const REGULARS: u32 = 300;
const CUSTOMERS: u32 = 20_000;
const PUPILS: u32 = 900;

/// An endless row of records.
pub struct Traffic {
    rng: Pcg64,
    /// Tells this run's ids from those of any other.
    run: i64,
    made: u64,
    last: Option<Value>,
}

impl Traffic {
    /// Traffic that begins now.
    pub fn new(now: Timestamp) -> Self {
        let run = now.millis();
        Self { rng: Pcg64::seed_from_u64(run.unsigned_abs()), run, made: 0, last: None }
    }

    /// The next record, which happens now.
    pub fn next(&mut self, now: Timestamp) -> Record {
        self.made += 1;
        let value = match self.made % 200 {
            // The answer got lost, so it is sent again.
            40 | 140 => self.last.clone().map_or_else(|| self.event(now), |event| event.to_string().into_bytes()),
            75 => {
                let event = event::unpriced(&mut self.rng);
                self.published(event, now)
            }
            120 => self.mishap(now),
            // Once a second, 5 credits each: its budget of 100 is used up within half a minute.
            at if at % 20 == 5 => self.published(event::crawler(2), now),
            _ => self.event(now),
        };
        let key = self.last.as_ref().and_then(|event| event["account"].as_str()).unwrap_or_default().to_owned();
        Record { at: now, key, value }
    }

    fn event(&mut self, now: Timestamp) -> Vec<u8> {
        let event = match self.rng.random_range(0..20) {
            0..=8 => {
                let customers = if self.rng.random_range(0..4) == 0 { CUSTOMERS } else { REGULARS };
                event::acme(&mut self.rng, customers)
            }
            9..=13 => event::globex(&mut self.rng),
            14..=15 => event::initech(&mut self.rng),
            _ => event::sunrise(&mut self.rng, PUPILS),
        };
        self.published(event, now)
    }

    /// What no rule accepts, each time in another way.
    fn mishap(&mut self, now: Timestamp) -> Vec<u8> {
        let event = event::globex(&mut self.rng);
        let bytes = self.published(event, now);
        let last = self.last.clone().unwrap_or_default();
        let broken = match self.made / 200 % 4 {
            0 => with(last, &[("agent", Value::Null)]),
            1 => with(last, &[("credits", json!(1.25))]),
            2 => with(last, &[("time", json!(now.plus_millis(86_400_000).to_string()))]),
            _ => return bytes[..bytes.len() / 2].to_vec(),
        };
        broken.to_string().into_bytes()
    }

    fn published(&mut self, event: Value, now: Timestamp) -> Vec<u8> {
        let id = format!("{}-{}", self.run, self.made);
        let event = with(event, &[("id", json!(id)), ("source", json!(event::SOURCE)), ("time", json!(now.to_string()))]);
        let bytes = event.to_string().into_bytes();
        self.last = Some(event);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, decode};
    use crate::model;

    #[test]
    fn one_record_in_two_hundred_is_rejected_and_two_are_retries() {
        let mut traffic = Traffic::new(Timestamp::from_millis(1_767_225_600_000));
        let limits = Limits { size_max: 256 << 10, age_max_ms: 86_400_000, ahead_max_ms: 600_000 };
        let (mut ids, mut rejected) = (Vec::new(), 0);
        for at in 0..2_000 {
            let record = traffic.next(Timestamp::from_millis(1_767_225_600_000 + at * 50));
            let read = model::Record {
                offset: at,
                timestamp: record.at,
                leader_epoch: 0,
                key: Some(record.key.as_bytes()),
                value: Some(&record.value),
                headers: Vec::new(),
            };
            match decode(&read, &limits) {
                Ok(decoded) => ids.push(decoded.event.id.to_string()),
                Err(_) => rejected += 1,
            }
        }
        let accepted = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((rejected, accepted - ids.len()), (10, 20));
    }
}
