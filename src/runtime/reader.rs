//! A partition's deliveries as a stream of records that can be looked at before they are taken.

use rdkafka::types::RDKafkaErrorCode;

use super::log::{Delivery, Link, PartitionLog};
use crate::model::Record;
use crate::source::Chunk;
use crate::source::kafka::Error;

/// What came next.
#[derive(Debug)]
pub enum Step {
    /// At least one record can be looked at.
    Records,
    /// All records up to this offset were taken.
    End(i64),
    /// Reading failed; nothing comes before the next start.
    Failed(Error),
}

/// Records of one partition, one after the other.
pub struct Reader {
    log: PartitionLog,
    chunk: Chunk,
    index: usize,
    end: Option<i64>,
}

impl Reader {
    /// Over a partition that was just assigned.
    pub fn new(log: PartitionLog) -> Self {
        Self { log, chunk: Chunk::default(), index: 0, end: None }
    }

    /// The way to ask and to commit.
    pub fn link(&self) -> &Link {
        self.log.link()
    }

    /// Reads from this offset on; forgets what was not taken.
    pub fn start_at(&mut self, offset: i64) {
        self.replace(Chunk::default());
        self.end = None;
        self.set_taking(false);
        self.log.start_at(offset);
    }

    /// Says whether what comes is taken from now on: then nothing is held for long.
    pub fn set_taking(&self, is_taking: bool) {
        self.log.set_taking(is_taking);
    }

    /// Records that wait in the log, as far as fetching has told.
    pub fn lag(&self) -> i64 {
        self.log.lag()
    }

    /// Gives an end back that concerns whoever reads on: it is told once only.
    fn untake_end(&mut self, offset: i64) {
        self.end = Some(offset);
    }

    /// The next record, when one is there.
    pub fn peek(&self) -> Option<Record<'_>> {
        self.chunk.get(self.index)
    }

    /// Goes on behind the record that [`Reader::peek`] showed.
    pub fn advance(&mut self) {
        self.index += 1;
    }

    /// Takes every record before `to`, where the log reached when that was decided; ends when one at or behind it, or the log's end
    /// there, is met.
    ///
    /// # Errors
    /// Reading failed, or the log ends before `to` now: waiting for it to grow again would hide that it was cut.
    pub async fn take_up_to(&mut self, to: i64, mut take: impl FnMut(&Record<'_>)) -> Result<(), Error> {
        loop {
            match self.fill().await {
                Step::Records => {
                    while let Some(record) = self.peek() {
                        if record.offset >= to {
                            return Ok(());
                        }
                        take(&record);
                        let is_last = record.offset + 1 == to;
                        self.advance();
                        if is_last {
                            return Ok(());
                        }
                    }
                }
                Step::End(offset) if offset >= to => {
                    self.untake_end(offset);
                    return Ok(());
                }
                Step::End(offset) => {
                    let text = format!("the log ends at {offset}, before {to}, up to which it was read or promised");
                    return Err(Error { action: "read a range again", code: RDKafkaErrorCode::PartitionEOF, text });
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// Waits until a record can be looked at, or something else happens. Safe to drop while waiting.
    pub async fn fill(&mut self) -> Step {
        if self.index < self.chunk.len() {
            return Step::Records;
        }
        // Before waiting: what was taken must not count as held, or a partition that is paused for it is never resumed.
        self.replace(Chunk::default());
        if let Some(offset) = self.end.take() {
            return Step::End(offset);
        }
        match self.log.next().await {
            Delivery::Records(chunk) => {
                self.replace(chunk);
                Step::Records
            }
            Delivery::End(offset) => Step::End(offset),
            Delivery::Failed(error) => Step::Failed(error),
        }
    }

    fn replace(&mut self, chunk: Chunk) {
        self.log.release(&self.chunk);
        (self.chunk, self.index) = (chunk, 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::model::Timestamp;
    use crate::runtime::log::{Held, Tagged};
    use crate::runtime::world::Questions;
    use crate::source::kafka::Committed;

    /// Answers no question.
    struct Nobody;

    #[async_trait]
    impl Questions for Nobody {
        async fn topic_id(&self) -> Result<String, Error> {
            std::future::pending().await
        }

        async fn committed(&self, _: i32) -> Result<Option<Committed>, Error> {
            std::future::pending().await
        }

        async fn bounds(&self, _: i32) -> Result<(i64, i64), Error> {
            std::future::pending().await
        }

        async fn offset_of_time(&self, _: i32, _: Timestamp) -> Result<Option<i64>, Error> {
            std::future::pending().await
        }
    }

    /// A reader that no broker feeds, what feeds it instead, and the bytes that count as held.
    fn reader() -> (Reader, mpsc::UnboundedSender<Tagged>, Arc<Held>) {
        let link = Link {
            partition: 0,
            assignment: 1,
            commands: std::sync::mpsc::channel().0,
            wake: Arc::new(|| {}),
            questions: Arc::new(Nobody),
        };
        let (sender, deliveries) = mpsc::unbounded_channel();
        let held = Arc::<Held>::default();
        (Reader::new(PartitionLog { link, start: 0, deliveries, held: Arc::clone(&held) }), sender, held)
    }

    fn deliver(sender: &mpsc::UnboundedSender<Tagged>, held: &Held, offset: i64) {
        let record = Record {
            offset,
            timestamp: Timestamp::from_millis(1),
            leader_epoch: 0,
            key: None,
            value: Some(b"value"),
            headers: vec![],
        };
        let mut chunk = Chunk::default();
        chunk.push(&record);
        held.bytes.fetch_add(chunk.size(), Ordering::Relaxed);
        sender.send(Tagged { start: 0, delivery: Delivery::Records(chunk) }).unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_waits_holds_nothing() {
        let (mut reader, sender, held) = reader();
        deliver(&sender, &held, 1);
        assert!(matches!(reader.fill().await, Step::Records));
        assert!(held.bytes.load(Ordering::Relaxed) > 0);
        reader.advance();
        assert!(timeout(Duration::from_millis(1), reader.fill()).await.is_err(), "nothing more was delivered");
        assert_eq!(held.bytes.load(Ordering::Relaxed), 0);
        assert!(reader.peek().is_none());
    }

    #[tokio::test]
    async fn a_log_that_ends_early_fails_the_range_instead_of_keeping_it_waiting() {
        let (mut reader, sender, held) = reader();
        deliver(&sender, &held, 1);
        sender.send(Tagged { start: 0, delivery: Delivery::End(2) }).unwrap();
        let mut taken = 0;
        assert!(reader.take_up_to(4, |_| taken += 1).await.is_err());
        assert_eq!(taken, 1);
    }

    #[tokio::test]
    async fn an_end_that_was_given_back_comes_again_behind_the_records() {
        let (mut reader, sender, held) = reader();
        sender.send(Tagged { start: 0, delivery: Delivery::End(7) }).unwrap();
        assert!(matches!(reader.fill().await, Step::End(7)));
        reader.untake_end(7);
        assert!(matches!(reader.fill().await, Step::End(7)));
        deliver(&sender, &held, 7);
        assert!(matches!(reader.fill().await, Step::Records));
    }
}
