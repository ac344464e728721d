//! One owned partition's log, as its owner sees it: reading, committing, asking.
//!
//! The thread that polls is the only one that touches the group; this side sends it commands and waits for answers.
//! Holds: a delivery of an earlier start is never handed over; a commit of an earlier assignment is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use tokio::sync::{mpsc, oneshot};

use super::world::Questions;
use crate::model::Timestamp;
use crate::source::Chunk;
use crate::source::kafka::Error;

/// What the polling thread hands over.
#[derive(Debug)]
pub enum Delivery {
    /// Records in order.
    Records(Chunk),
    /// All records up to this offset were handed over.
    End(i64),
    /// Reading failed; nothing more comes before the next start.
    Failed(Error),
}

/// A delivery, with the start it belongs to.
pub(super) struct Tagged {
    pub(super) start: u64,
    pub(super) delivery: Delivery,
}

/// What an owner asks of the polling thread.
pub(super) enum Command {
    /// Read from `offset` on; deliveries carry `start`.
    StartAt { partition: i32, assignment: u64, start: u64, offset: i64 },
    /// Commit, and say whether we were the owner throughout.
    Commit { partition: i32, assignment: u64, offset: i64, metadata: String, answer: oneshot::Sender<Result<(), CommitFailed>> },
    /// Everything up to `offset` is written and no intent stands: may be committed when the partition is taken away.
    Settled { partition: i32, assignment: u64, offset: i64 },
    /// Leave the group and join again.
    Rejoin { assignment: u64 },
}

/// A commit that cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum CommitFailed {
    /// The partition is not ours any more, or may not be.
    #[error("the partition was taken away")]
    Fenced,
    /// The broker's answer, or none.
    #[error(transparent)]
    Kafka(#[from] Error),
}

/// What the polling thread knows of an owner's appetite.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Records that were handed over and not taken yet.
    pub(super) bytes: AtomicUsize,
    /// The owner takes what comes; otherwise it may be long before it does.
    pub(super) is_taking: AtomicBool,
    /// Records of the log that were not handed over yet, as far as fetching has told.
    pub(super) lag: AtomicI64,
}

/// Makes the polling thread look at its commands at once.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// One partition while we own it: its deliveries, and the link to ask and to commit through.
pub struct PartitionLog {
    pub(super) link: Link,
    pub(super) start: u64,
    pub(super) deliveries: mpsc::UnboundedReceiver<Tagged>,
    pub(super) held: Arc<Held>,
}

/// How an owner reaches the group and the log. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    pub(super) partition: i32,
    pub(super) assignment: u64,
    pub(super) commands: Sender<Command>,
    pub(super) wake: Wake,
    pub(super) questions: Arc<dyn Questions>,
}

impl PartitionLog {
    /// The way to ask and to commit.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Reads from this offset on. What was on its way from before is forgotten.
    pub fn start_at(&mut self, offset: i64) {
        self.start += 1;
        let (partition, assignment) = (self.link.partition, self.link.assignment);
        self.link.send(Command::StartAt { partition, assignment, start: self.start, offset });
    }

    /// The next delivery. Safe to drop while waiting.
    pub async fn next(&mut self) -> Delivery {
        loop {
            match self.deliveries.recv().await {
                Some(Tagged { start, delivery }) if start == self.start => return delivery,
                Some(Tagged { delivery: Delivery::Records(chunk), .. }) => self.release(&chunk),
                Some(_) => {}
                None => std::future::pending().await, // the polling thread ended; so will we
            }
        }
    }

    /// Says whether the owner takes what comes from now on.
    pub fn set_taking(&self, is_taking: bool) {
        self.held.is_taking.store(is_taking, Ordering::Relaxed);
    }

    /// Records of the log that were not handed over yet, as far as fetching has told.
    pub fn lag(&self) -> i64 {
        self.held.lag.load(Ordering::Relaxed)
    }

    /// Says that a chunk's records were taken, so that more may be fetched.
    pub fn release(&self, chunk: &Chunk) {
        self.held.bytes.fetch_sub(chunk.size(), Ordering::Relaxed);
    }
}

impl Link {
    /// Which partition it is.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Whom to ask about the log.
    pub fn questions(&self) -> &dyn Questions {
        &*self.questions
    }

    /// Commits an offset with an intent (or `""` for none).
    ///
    /// # Errors
    /// Whenever it is not certain that the commit was made while the partition was ours.
    pub async fn commit(&self, offset: i64, metadata: String) -> Result<(), CommitFailed> {
        let (answer, answered) = oneshot::channel();
        let (partition, assignment) = (self.partition, self.assignment);
        self.send(Command::Commit { partition, assignment, offset, metadata, answer });
        answered.await.unwrap_or(Err(CommitFailed::Fenced))
    }

    /// Everything up to `offset` is written.
    pub fn settled(&self, offset: i64) {
        self.send(Command::Settled { partition: self.partition, assignment: self.assignment, offset });
    }

    /// Leaves the group: only a new generation fences a commit that is still under way.
    pub fn rejoin(&self) {
        self.send(Command::Rejoin { assignment: self.assignment });
    }

    /// The first offset whose record is not older than `time`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn offset_of_time(&self, time: Timestamp) -> Result<Option<i64>, Error> {
        self.questions.offset_of_time(self.partition, time).await
    }

    /// The topic's id now.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn topic_id(&self) -> Result<String, Error> {
        self.questions.topic_id().await
    }

    fn send(&self, command: Command) {
        // A polling thread that ended revoked us first; nobody is left to mind.
        if self.commands.send(command).is_ok() {
            (self.wake)();
        }
    }
}
