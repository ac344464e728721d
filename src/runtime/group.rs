//! The thread that polls: one member of the consumer group.
//!
//! Runs the rebalance callback, hands records to the partitions' owners, and commits for them. Holds: only this thread polls,
//! assigns and commits; a commit is made only for an owned partition, in the generation in which it was assigned.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::clock;
use super::log::{Command, CommitFailed, Delivery, Held, Link, PartitionLog, Tagged};
use super::progress::Progress;
use super::world::{Consumer, Questions};
use crate::model::Timestamp;
use crate::source::Chunk;
use crate::source::kafka::{Error, Member, OnRevoke, Place, Polled, Rebalance};
use crate::telemetry::{Health, Heartbeat, Memory, Metrics};

const POLL_TIMEOUT: Duration = Duration::from_millis(20);
const POLL_RECORDS_MAX: usize = 4096;
/// While the owners hold this many bytes of undigested records together, no more are fetched; the partitions share it evenly.
const HELD_BYTES_TOTAL: usize = 24 << 20;
const HELD_BYTES_MAX: usize = 8 << 20;
/// An owner that waits is read again when so much of its share is left.
const HELD_LOW: usize = 4;
/// How long polling rests while an owner that takes what comes is behind.
const REST: Duration = Duration::from_millis(1);

/// Whoever owns this one does the scheduled work.
const LEADING_PARTITION: i32 = 0;

/// Starts the owner of a partition.
pub type SpawnOwner = Box<dyn Fn(PartitionLog) -> JoinHandle<()> + Send>;

/// What the group needs to know.
pub struct Membership {
    /// How many partitions are ours, for everyone to see.
    pub owned: Arc<AtomicUsize>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Becomes true when the service is to end.
    pub drain: watch::Receiver<bool>,
    /// Ticks with every poll.
    pub heartbeat: Heartbeat,
    /// Where each of our partitions stands.
    pub progress: Arc<Progress>,
    /// Whether the group gave us our share.
    pub health: Arc<Health>,
}

/// The polling thread's memory.
pub struct Group<C> {
    membership: Membership,
    handle: Arc<C>,
    questions: Arc<dyn Questions>,
    spawn: SpawnOwner,
    commands: Receiver<Command>,
    sender: Sender<Command>,
    assignment: u64,
    member: Member,
    owned: BTreeMap<i32, Owned>,
    settled: Arc<Mutex<BTreeMap<i32, i64>>>,
}

struct Owned {
    deliveries: mpsc::UnboundedSender<Tagged>,
    held: Arc<Held>,
    start: u64,
    position: Option<i64>,
    /// When the newest record that was handed over came.
    newest: Option<Timestamp>,
    /// Of the last record that was handed over since the start; −1: none was.
    leader_epoch: i32,
    paused: bool,
    task: JoinHandle<()>,
    chunk: Chunk,
}

impl<C: Consumer> Group<C> {
    /// Joins the group with the consumer that `connect` makes; gives it what is to be called when partitions are taken away.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn join(
        membership: Membership,
        spawn: SpawnOwner,
        connect: impl FnOnce(OnRevoke) -> Result<(Arc<C>, Arc<dyn Questions>), Error>,
    ) -> Result<Self, Error> {
        let settled = Arc::<Mutex<BTreeMap<i32, i64>>>::default();
        let for_callback = Arc::clone(&settled);
        let on_revoke = move || std::mem::take(&mut *lock(&for_callback)).into_iter().collect();
        let (handle, questions) = connect(Box::new(on_revoke))?;
        let (sender, commands) = std::sync::mpsc::channel();
        let member = handle.member();
        Ok(Self { membership, handle, questions, spawn, commands, sender, assignment: 0, member, owned: BTreeMap::new(), settled })
    }

    /// Polls until `stop` is set, then leaves the group.
    ///
    /// # Errors
    /// What can only be mended outside: refused credentials, a fatal error of the client library.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), Error> {
        let outcome = loop {
            if stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            self.membership.heartbeat.tick();
            if let Err(error) = self.turn() {
                break Err(error);
            }
        };
        self.end();
        outcome
    }

    /// Leaves the group.
    pub fn end(&mut self) {
        self.forget();
        self.handle.close();
        self.membership.heartbeat.finish();
    }

    /// Does what the owners ask for, then polls once.
    ///
    /// # Errors
    /// As [`Group::run`].
    pub fn turn(&mut self) -> Result<(), Error> {
        let ended: Vec<(u64, i32)> = self.ended().collect();
        self.obey();
        // An owner ends by itself only after it asked to leave the group, or when the service ends.
        if let Some((_, partition)) = ended.into_iter().find(|ended| self.ended().any(|still| still == *ended)) {
            let text = format!("the owner of partition {partition} ended unexpectedly");
            return Err(Error { action: "own partitions", code: RDKafkaErrorCode::Fail, text });
        }
        let is_behind = self.pause_and_resume();
        self.show_lag();
        if is_behind {
            std::thread::sleep(REST);
            return Ok(());
        }
        self.poll()
    }

    /// Partitions whose owner has ended although the service has not.
    fn ended(&self) -> impl Iterator<Item = (u64, i32)> {
        let draining = *self.membership.drain.borrow();
        let ended = self.owned.iter().filter(move |(_, owned)| !draining && owned.task.is_finished());
        ended.map(|(&partition, _)| (self.assignment, partition))
    }

    fn poll(&mut self) -> Result<(), Error> {
        let mut failures = Vec::new();
        let handle = Arc::clone(&self.handle);
        let rebalances = handle.poll(POLL_RECORDS_MAX, POLL_TIMEOUT, |polled| match polled {
            Polled::Record(partition, record) => {
                if let Some(owned) = self.owned.get_mut(&partition)
                    && owned.position.is_some_and(|position| record.offset >= position)
                {
                    (owned.position, owned.leader_epoch) = (Some(record.offset + 1), record.leader_epoch);
                    owned.newest = Some(record.timestamp);
                    owned.chunk.push(&record);
                }
            }
            Polled::End(partition, offset) => {
                if let Some(owned) = self.owned.get_mut(&partition) {
                    owned.hand_over();
                    owned.deliver(Delivery::End(offset));
                }
            }
            Polled::Failed(partition, error) => failures.push((partition, error)),
        });
        if rebalances.is_empty() {
            self.owned.values_mut().for_each(Owned::hand_over);
        }
        for rebalance in rebalances {
            self.rebalance(rebalance);
        }
        failures.into_iter().try_for_each(|(partition, error)| self.failed(partition, error))
    }

    fn failed(&mut self, partition: Option<i32>, error: Error) -> Result<(), Error> {
        // What the brokers refuse for good. A login or a handshake that fails now may be a broker that restarts: it worked before.
        let denied = matches!(error.code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed);
        if denied || error.code == RDKafkaErrorCode::Fatal {
            return Err(error);
        }
        match partition.and_then(|partition| self.owned.get_mut(&partition)) {
            Some(owned) => {
                owned.chunk = Chunk::default();
                owned.position = None;
                owned.deliver(Delivery::Failed(error));
            }
            // Connections come and go; librdkafka mends them by itself.
            None if error.is_configuration() => warn!(%error, "Kafka refuses a connection"),
            None => debug!(%error, "Kafka connection"),
        }
        Ok(())
    }

    fn rebalance(&mut self, rebalance: Rebalance) {
        self.forget();
        let Rebalance::Assigned(partitions) = rebalance else {
            info!("partitions revoked");
            return;
        };
        self.assignment += 1;
        self.member = self.handle.member();
        info!(?partitions, generation = self.member.generation, "partitions assigned");
        self.show(partitions.len(), true);
        self.membership.progress.set_leads(partitions.contains(&LEADING_PARTITION));
        for partition in partitions {
            let (deliveries, receiver) = mpsc::unbounded_channel();
            let held = Arc::<Held>::default();
            let link = Link {
                partition,
                assignment: self.assignment,
                commands: self.sender.clone(),
                wake: {
                    let handle = Arc::clone(&self.handle);
                    Arc::new(move || handle.wake())
                },
                questions: Arc::clone(&self.questions),
            };
            let log = PartitionLog { link, start: 0, deliveries: receiver, held: Arc::clone(&held) };
            let task = (self.spawn)(log);
            let owned = Owned {
                deliveries,
                held,
                start: 0,
                position: None,
                newest: None,
                leader_epoch: -1,
                paused: false,
                task,
                chunk: Chunk::default(),
            };
            self.owned.insert(partition, owned);
        }
    }

    /// Forgets everything that belongs to the assignment. What is being inserted may still arrive; the protocol expects that.
    fn forget(&mut self) {
        self.assignment += 1;
        self.show(0, false);
        self.membership.progress.forget();
        self.membership.progress.set_leads(false);
        lock(&self.settled).clear();
        for owned in std::mem::take(&mut self.owned).into_values() {
            owned.task.abort();
        }
    }

    fn show(&self, owned: usize, assigned: bool) {
        self.membership.owned.store(owned, Ordering::Relaxed);
        self.membership.metrics.partitions_assigned.set(i64::try_from(owned).unwrap_or(i64::MAX));
        self.membership.health.set_assigned(assigned);
    }

    /// How many records of our partitions nobody has taken yet, as far as fetching has told, and for how long the first of them waits: it came no later
    /// than the newest one that was taken.
    fn show_lag(&self) {
        let (mut records, mut seconds) = (0, 0);
        for (&partition, owned) in &self.owned {
            let (Some(end), Some(position)) = (self.handle.seen_end(partition), owned.position) else { continue };
            let lag = end.saturating_sub(position).max(0);
            owned.held.lag.store(lag, Ordering::Relaxed);
            records += lag;
            if let (1.., Some(newest)) = (lag, owned.newest) {
                seconds = seconds.max(clock::now().seconds().saturating_sub(newest.seconds()));
            }
        }
        self.membership.metrics.consumer_lag_records.set(records);
        self.membership.metrics.consumer_lag_seconds.set(seconds);
    }

    fn obey(&mut self) {
        let mut starts = false;
        loop {
            match self.commands.try_recv() {
                Ok(Command::StartAt { partition, assignment, start, offset }) if assignment == self.assignment => {
                    if let Some(owned) = self.owned.get_mut(&partition) {
                        (owned.start, owned.position, owned.leader_epoch, owned.paused) = (start, Some(offset), -1, false);
                        owned.chunk = Chunk::default();
                        starts = true;
                    }
                }
                Ok(Command::Commit { partition, assignment, offset, metadata, answer }) => {
                    self.commit(partition, assignment, offset, &metadata, answer);
                }
                Ok(Command::Settled { partition, assignment, offset }) if assignment == self.assignment => {
                    lock(&self.settled).insert(partition, offset);
                }
                Ok(Command::Rejoin { assignment }) if assignment == self.assignment => self.rejoin(),
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        if starts {
            self.assign();
        }
    }

    /// Assigns every started partition the offset that its owner has reached.
    fn assign(&mut self) {
        let place = |(&partition, owned): (&i32, &Owned)| {
            Some(Place { partition, offset: owned.position?, leader_epoch: owned.leader_epoch })
        };
        let places: Vec<Place> = self.owned.iter().filter_map(place).collect();
        // A pause outlives assignments, revoked ones too: without this, nobody would read a partition that was paused then.
        let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
        let assigned = self.handle.resume(&partitions).and_then(|()| self.handle.assign(&places));
        if let Err(error) = assigned {
            warn!(%error, "could not start reading");
            self.owned.values_mut().for_each(|owned| owned.deliver(Delivery::Failed(error.clone())));
        }
        self.owned.values_mut().for_each(|owned| owned.paused = false);
    }

    fn commit(
        &mut self,
        partition: i32,
        assignment: u64,
        offset: i64,
        metadata: &str,
        answer: oneshot::Sender<Result<(), CommitFailed>>,
    ) {
        let outcome = if self.is_ours(partition, assignment) {
            lock(&self.settled).remove(&partition);
            let committed = self.handle.commit(partition, offset, metadata).map_err(CommitFailed::from);
            if committed.is_ok() && !self.is_ours(partition, assignment) { Err(CommitFailed::Fenced) } else { committed }
        } else {
            Err(CommitFailed::Fenced)
        };
        // An owner that was dropped meanwhile does not want to know.
        let _ = answer.send(outcome);
    }

    fn is_ours(&self, partition: i32, assignment: u64) -> bool {
        assignment == self.assignment
            && self.owned.contains_key(&partition)
            && !self.handle.is_assignment_lost()
            && self.handle.member() == self.member
    }

    fn rejoin(&mut self) {
        warn!("leaving the group and joining it again");
        self.forget();
        if let Err(error) = self.handle.leave().and_then(|()| self.handle.subscribe()) {
            warn!(%error, "could not join the group again");
        }
    }

    /// Keeps what the owners hold within their shares. Whether an owner that takes what comes is behind: then polling rests for a moment, since a
    /// pause would throw away what was fetched. An owner that waits is paused, so that it keeps no other waiting.
    fn pause_and_resume(&mut self) -> bool {
        let (mut in_doubt, mut is_behind) = (false, false);
        let held_max = HELD_BYTES_MAX.min(HELD_BYTES_TOTAL / self.owned.len().max(1));
        let mut total = 0;
        for (&partition, owned) in &mut self.owned {
            let held = owned.held.bytes.load(Ordering::Relaxed);
            total += held;
            let Some(position) = owned.position else { continue };
            let is_taking = owned.held.is_taking.load(Ordering::Relaxed);
            let change = match owned.paused {
                false if held > held_max && is_taking => {
                    is_behind = true;
                    continue;
                }
                false if held > held_max => self.handle.pause(partition, position),
                true if is_taking || held < held_max / HELD_LOW => self.handle.resume(&[partition]),
                _ => continue,
            };
            match change {
                Ok(()) => owned.paused = !owned.paused,
                Err(error) => {
                    debug!(%error, partition, "could not pause or resume"); // it had not begun to read yet
                    in_doubt = true;
                }
            }
        }
        self.membership.metrics.set_memory(Memory::Records, total);
        if in_doubt {
            self.assign(); // numeric offsets are beyond doubt
        }
        is_behind
    }
}

impl Owned {
    fn hand_over(&mut self) {
        if !self.chunk.is_empty() {
            let chunk = std::mem::take(&mut self.chunk);
            self.held.bytes.fetch_add(chunk.size(), Ordering::Relaxed);
            self.deliver(Delivery::Records(chunk));
        }
    }

    fn deliver(&self, delivery: Delivery) {
        // An owner that ended by itself is being revoked; what it did not take is read again.
        let _ = self.deliveries.send(Tagged { start: self.start, delivery });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
