//! The intent: what the committed offset says about the batch that is about to be written.
//!
//! Kafka keeps it as the offset's metadata: `v1 to prev w price_version hash_key_id topic_id leader_epoch received accepted
//! duplicates rejected digest time`, ASCII, separated by spaces. With it, whoever owns the partition next can form the same range
//! again and knows whether it got the same rows.

use std::fmt;
use std::str::FromStr;

use super::Batch;
use crate::aggregate::Counts;
use crate::model::Timestamp;

/// The promise to write `[from, to)`; `from` is the committed offset itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The first offset behind the range.
    pub to: i64,
    /// Where the batch before it ended; `None` when it is the first.
    pub prev: Option<i64>,
    /// The oldest offset in the dedupe window as it stood at the range's start.
    pub window_from: i64,
    /// The version of the price book.
    pub price_version: u64,
    /// The id of the key of user hashes.
    pub hash_key_id: String,
    /// The topic's id.
    pub topic_id: String,
    /// The leader epoch of the last record; −1 when unknown.
    pub leader_epoch: i32,
    /// What became of the records.
    pub counts: Counts,
    /// The digest of all rows.
    pub digest: u64,
    /// The moment that the rows carry as `written_at`.
    pub time: Timestamp,
}

/// Metadata that is not an intent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata `{0}` is not an intent of this program")]
pub struct NotAnIntent(pub String);

impl Intent {
    /// The intent to write a batch.
    pub fn new(batch: &Batch, prev: Option<i64>, hash_key_id: &str, topic_id: &str, time: Timestamp) -> Self {
        Self {
            to: batch.to,
            prev,
            window_from: batch.window_from,
            price_version: batch.price_version,
            hash_key_id: hash_key_id.to_owned(),
            topic_id: topic_id.to_owned(),
            leader_epoch: batch.leader_epoch,
            counts: batch.rows.counts,
            digest: batch.rows.digest,
            time,
        }
    }

    /// Parses a committed offset's metadata; empty metadata is no intent.
    ///
    /// # Errors
    /// Anything else that [`Intent`]'s `Display` does not write.
    pub fn from_metadata(metadata: &[u8]) -> Result<Option<Self>, NotAnIntent> {
        if metadata.is_empty() {
            return Ok(None);
        }
        let shown = || NotAnIntent(String::from_utf8_lossy(metadata).chars().filter(|c| !c.is_control()).take(60).collect());
        let text = std::str::from_utf8(metadata).map_err(|_| shown())?;
        text.parse().map(Some).map_err(|()| shown())
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prev = self.prev.map_or_else(|| "none".to_owned(), |prev| prev.to_string());
        let Counts { received, accepted, duplicates, rejected } = self.counts;
        write!(
            f,
            "v1 {} {prev} {} {} {} {} {} {received} {accepted} {duplicates} {rejected} {:016x} {}",
            self.to,
            self.window_from,
            self.price_version,
            self.hash_key_id,
            self.topic_id,
            self.leader_epoch,
            self.digest,
            self.time.millis()
        )
    }
}

impl FromStr for Intent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn number<T: FromStr>(text: &str) -> Result<T, ()> {
            text.parse().map_err(|_| ())
        }
        let parts: Vec<&str> = text.split(' ').collect();
        let [version, to, prev, w, price_version, key, topic, epoch, received, accepted, duplicates, rejected, digest, time] =
            parts[..]
        else {
            return Err(());
        };
        if version != "v1" || key.is_empty() || topic.is_empty() {
            return Err(());
        }
        Ok(Self {
            to: number(to)?,
            prev: if prev == "none" { None } else { Some(number(prev)?) },
            window_from: number(w)?,
            price_version: number(price_version)?,
            hash_key_id: key.to_owned(),
            topic_id: topic.to_owned(),
            leader_epoch: number(epoch)?,
            counts: Counts {
                received: number(received)?,
                accepted: number(accepted)?,
                duplicates: number(duplicates)?,
                rejected: number(rejected)?,
            },
            digest: u64::from_str_radix(digest, 16).map_err(|_| ())?,
            time: Timestamp::from_millis(number(time)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_read_as_it_was_written_and_fits_in_512_bytes() {
        let intent = Intent {
            to: i64::MAX,
            prev: Some(i64::MAX - 1),
            window_from: i64::MAX - 2,
            price_version: u64::MAX,
            hash_key_id: "0123456789abcdef".into(),
            topic_id: "rXbK1cVYQfSgC0rk3oQ0Xw".into(),
            leader_epoch: i32::MAX,
            counts: Counts { received: u64::MAX, accepted: u64::MAX, duplicates: u64::MAX, rejected: u64::MAX },
            digest: 1,
            time: Timestamp::MAX,
        };
        let written = intent.to_string();
        assert!(written.len() <= 512 && written.is_ascii(), "{written}");
        assert_eq!(Intent::from_metadata(written.as_bytes()), Ok(Some(intent.clone())));
        let first = Intent { prev: None, ..intent };
        assert_eq!(Intent::from_metadata(first.to_string().as_bytes()), Ok(Some(first)));
    }

    #[test]
    fn nothing_is_no_intent_and_anything_else_is_refused() {
        assert_eq!(Intent::from_metadata(b""), Ok(None));
        for foreign in
            [&b"v2 1 2"[..], b"hello", b"\xff", b"v1 1 none 1 1 k t 0 0 0 0 0 zz 1", b"v1 1 none 1 1 k t 0 0 0 0 0 0 1 extra"]
        {
            assert!(Intent::from_metadata(foreign).is_err(), "{foreign:?}");
        }
    }
}
