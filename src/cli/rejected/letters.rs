//! Rejected records as they came: from the dead-letter topic, or from the events topic when that has less of them.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use super::{Place, Row, bytes_of};
use crate::aggregate::REJECTED_BYTES_MAX;
use crate::cli::kafka::{Kafka, SILENCE_MAX, place};
use crate::model::{Record, Timestamp};
use crate::source::kafka::{self, Handle, Stretch, scan};

/// A dead letter is written after its record came; clocks may differ by so much.
const CLOCKS_MS: i64 = 3_600_000;

/// A rejected record to be found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) place: Place,
    received_at: Timestamp,
    /// Of the part of the value that ClickHouse keeps: another life of the topic may have had other records at the same places.
    payload: u64,
}

impl Wanted {
    pub(super) fn of(row: &Row) -> Self {
        Self { place: row.place(), received_at: row.received_at, payload: fingerprint(&bytes_of(&row.payload_hex)) }
    }

    pub(super) fn new(place: Place, received_at: Timestamp, payload: u64) -> Self {
        Self { place, received_at, payload }
    }
}

/// As ClickHouse's `sipHash64`.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(&bytes[..bytes.len().min(REJECTED_BYTES_MAX)]);
    hasher.finish()
}

/// A rejected record, without the headers that farebox put beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) place: Place,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Letter {
    fn of(place: Place, record: &Record<'_>) -> Self {
        let own = record.headers.iter().filter(|header| !header.name.starts_with(b"farebox."));
        Self {
            place,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: own.map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let size = size_of::<Self>() + self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers;
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

/// Where rejected records are looked for.
pub(super) struct Letters {
    kafka: Arc<Kafka>,
}

impl Letters {
    pub(super) fn new(kafka: Arc<Kafka>) -> Self {
        Self { kafka }
    }

    /// Hands over those that are found, until they take so many bytes; answers which were neither handed over nor looked for to the
    /// end. What is in no list has left Kafka. Blocks.
    pub(super) fn find(&self, wanted: &[Wanted], bytes_max: u64, mut take: impl FnMut(Letter)) -> Result<Vec<Wanted>, String> {
        let mut open: HashMap<Place, Wanted> = wanted.iter().map(|wanted| (wanted.place, *wanted)).collect();
        let mut held = 0;
        if let Some(handle) = &self.kafka.dead_letters {
            let since = wanted.iter().map(|wanted| wanted.received_at).min().unwrap_or(Timestamp::MIN);
            let stretches = self.dead_letters_since(since.plus_millis(-CLOCKS_MS))?;
            let mut is_full = false;
            scan(handle, &stretches, SILENCE_MAX, |_, record| {
                if let Some(letter) = self.letter(record, &open) {
                    open.remove(&letter.place);
                    held += letter.size();
                    take(letter);
                }
                is_full = held >= bytes_max && !open.is_empty();
                !is_full && !open.is_empty()
            })
            .map_err(said)?;
            if is_full {
                return Ok(open.into_values().collect());
            }
        }
        // What the dead-letter topic refused for its size, or has lost by its retention, may still lie where it came from.
        let mut rest: Vec<Wanted> = open.into_values().collect();
        rest.sort_by_key(|wanted| wanted.place);
        let mut left = rest.into_iter();
        while let Some(wanted) = left.next() {
            if held >= bytes_max {
                return Ok([wanted].into_iter().chain(left).collect());
            }
            if let Some(letter) = self.original(&self.kafka.handle, wanted)? {
                held += letter.size();
                take(letter);
            }
        }
        Ok(Vec::new())
    }

    /// The letter of a wanted record, whole.
    fn letter(&self, record: &Record<'_>, open: &HashMap<Place, Wanted>) -> Option<Letter> {
        let (partition, offset) = place(record, &self.kafka.topic)?;
        let wanted = open.get(&Place { partition, offset })?;
        let is_cut = record.headers.iter().any(|header| header.name == b"farebox.value");
        (!is_cut && fingerprint(record.value.unwrap_or_default()) == wanted.payload).then(|| Letter::of(wanted.place, record))
    }

    fn original(&self, handle: &Handle, wanted: Wanted) -> Result<Option<Letter>, String> {
        let Place { partition, offset } = wanted.place;
        let Ok((from, to)) = self.kafka.bounds(&self.kafka.topic, partition) else { return Ok(None) }; // no such partition any more
        if !(from..to).contains(&offset) {
            return Ok(None);
        }
        let mut found = None;
        scan(handle, &[Stretch { partition, from: offset, to: offset + 1 }], SILENCE_MAX, |_, record| {
            if record.offset == offset && fingerprint(record.value.unwrap_or_default()) == wanted.payload {
                found = Some(Letter::of(wanted.place, record));
            }
            true
        })
        .map_err(said)?;
        Ok(found)
    }

    fn dead_letters_since(&self, time: Timestamp) -> Result<Vec<Stretch>, String> {
        let topic = &self.kafka.dead_letter_topic;
        let mut stretches = Vec::new();
        for partition in self.kafka.partitions(topic)? {
            let (low, to) = self.kafka.bounds(topic, partition).map_err(said)?;
            let client = self.kafka.publisher.client();
            // None is as new as that by its own timestamp; a clock may have been wrong, so all are looked at.
            let from = kafka::offset_of_time(client, topic, partition, time, SILENCE_MAX).map_err(said)?.unwrap_or(low);
            stretches.push(Stretch { partition, from: from.clamp(low, to), to });
        }
        Ok(stretches)
    }
}

fn said(error: kafka::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_of_what_clickhouse_keeps() {
        let long = vec![b'x'; REJECTED_BYTES_MAX + 10];
        assert_eq!(fingerprint(&long), fingerprint(&long[..REJECTED_BYTES_MAX]));
        assert_ne!(fingerprint(b"a"), fingerprint(b"b"));
    }
}
