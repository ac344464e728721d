//! A topic's records, read once from here to there, outside of any group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::{Error, Handle, Place, Polled};
use crate::model::Record;

const POLL: Duration = Duration::from_millis(100);
const RECORDS: usize = 1_000;

/// Offsets `[from, to)` of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
}

/// Hands over every record of these stretches, each partition's in order; at most one stretch of a partition. Blocks. `take` answers
/// whether to go on.
///
/// # Errors
/// Kafka's, and no news for `silence_max`.
pub fn scan(
    handle: &Handle,
    stretches: &[Stretch],
    silence_max: Duration,
    mut take: impl FnMut(i32, &Record<'_>) -> bool,
) -> Result<(), Error> {
    let mut open: BTreeMap<i32, Stretch> =
        stretches.iter().filter(|stretch| stretch.from < stretch.to).map(|stretch| (stretch.partition, *stretch)).collect();
    let starts: Vec<Place> = stretches
        .iter()
        .filter(|stretch| open.contains_key(&stretch.partition))
        .map(|stretch| Place::at(stretch.partition, stretch.from))
        .collect();
    handle.assign(&starts)?;
    let (mut heard, mut failed, mut goes_on) = (Instant::now(), None, true);
    while !open.is_empty() && goes_on {
        let mut is_news = false;
        handle.poll(RECORDS, POLL, |polled| match polled {
            Polled::Record(partition, record) => {
                is_news = true;
                let Some(Stretch { from, to, .. }) = open.get(&partition).copied() else { return };
                if (from..to).contains(&record.offset) && goes_on {
                    goes_on = take(partition, &record);
                }
                if record.offset + 1 >= to {
                    open.remove(&partition);
                }
            }
            Polled::End(partition, offset) => {
                is_news = true;
                if open.get(&partition).is_some_and(|stretch| offset >= stretch.to) {
                    open.remove(&partition);
                }
            }
            Polled::Failed(Some(_), error) => failed = Some(error),
            Polled::Failed(None, error) => {
                if error.is_configuration() {
                    failed = Some(error);
                }
            }
        });
        if let Some(error) = failed.take() {
            return Err(error);
        }
        if is_news {
            heard = Instant::now();
        } else if heard.elapsed() >= silence_max {
            let text = format!("no record and no end within {} s", silence_max.as_secs());
            return Err(Error { action: "read a topic", code: RDKafkaErrorCode::OperationTimedOut, text });
        }
    }
    // The assignment stays until the next scan, or the handle's end, takes it away: taken away twice in quick succession, librdkafka waits for one
    // stop of a partition twice and aborts the process (confluentinc/librdkafka#5573).
    Ok(())
}
