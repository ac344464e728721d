//! A partition's deliveries as a stream of records that can be looked at before they are taken.

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
}

impl Reader {
    /// Over a partition that was just assigned.
    pub fn new(log: PartitionLog) -> Self {
        Self { log, chunk: Chunk::default(), index: 0 }
    }

    /// The way to ask and to commit.
    pub fn link(&self) -> &Link {
        self.log.link()
    }

    /// Reads from this offset on; forgets what was not taken.
    pub fn start_at(&mut self, offset: i64) {
        self.log.release(&self.chunk);
        (self.chunk, self.index) = (Chunk::default(), 0);
        self.log.start_at(offset);
    }

    /// The next record, when one is there.
    pub fn peek(&self) -> Option<Record<'_>> {
        self.chunk.get(self.index)
    }

    /// Goes on behind the record that [`Reader::peek`] showed.
    pub fn advance(&mut self) {
        self.index += 1;
    }

    /// Waits until a record can be looked at, or something else happens. Safe to drop while waiting.
    pub async fn fill(&mut self) -> Step {
        if self.index < self.chunk.len() {
            return Step::Records;
        }
        match self.log.next().await {
            Delivery::Records(chunk) => {
                self.log.release(&self.chunk);
                (self.chunk, self.index) = (chunk, 0);
                Step::Records
            }
            Delivery::End(offset) => Step::End(offset),
            Delivery::Failed(error) => Step::Failed(error),
        }
    }
}
