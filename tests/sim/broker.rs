//! Kafka in memory: a topic, its consumer group, and what both do wrong.
//!
//! Holds: what the coordinator holds. It checks a commit's generation and member, never who owns the partition; a rebalance is eager; a
//! member that is silent for its session is thrown out; committed offsets outlive their group's members.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farebox::model::Timestamp;
use farebox::source::kafka::{Committed, Member};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dice::Dice;
use super::gate::{Gate, Life};
use super::log::{BEGINNING_MS, Log, Made};
use super::rates::Rates;

/// A process at the broker's door.
pub struct Seat {
    pub name: String,
    pub gate: Arc<Gate>,
    /// Something may have come for it.
    pub news: Notify,
}

/// A member as the coordinator knows it.
struct Joined {
    seat: Arc<Seat>,
    has_joined: bool,
    partitions: Vec<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Empty,
    /// Members are to join again.
    Preparing(Instant),
    Stable,
}

struct LateCommit {
    member: Member,
    partition: i32,
    committed: Committed,
}

/// Everything the brokers keep.
pub struct State {
    pub topic_id: u32,
    pub logs: Vec<Log>,
    pub committed: BTreeMap<i32, Committed>,
    past: BTreeMap<u32, Vec<Log>>,
    members: BTreeMap<String, Joined>,
    generation: i32,
    phase: Phase,
    named: u32,
    late: Vec<LateCommit>,
}

pub struct Broker {
    state: Mutex<State>,
    pub dice: Dice,
    pub rates: Arc<Rates>,
    began: Instant,
    session: Duration,
    partitions: usize,
}

/// What became of a commit's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Made,
    Refused,
    Nothing,
}

impl Broker {
    pub fn new(dice: &Dice, rates: &Arc<Rates>, partitions: usize) -> Arc<Self> {
        let state = State {
            topic_id: 1,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            committed: BTreeMap::new(),
            past: BTreeMap::new(),
            members: BTreeMap::new(),
            generation: 0,
            phase: Phase::Empty,
            named: 0,
            late: Vec::new(),
        };
        let session = Duration::from_millis(*dice.pick(&[1500, 4000, 8000]));
        Arc::new(Self {
            state: Mutex::new(state),
            dice: dice.clone(),
            rates: Arc::clone(rates),
            began: Instant::now(),
            session,
            partitions,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(BEGINNING_MS + passed)
    }

    pub fn append(&self, partition: usize, made: Option<Made>) {
        let now = self.now();
        let mut state = self.state();
        state.logs[partition].append(now, made);
        state.tell_everyone();
    }

    /// A request to commit. What a broker checks, and all that can become of request and answer.
    pub fn commit(&self, member: &Member, partition: i32, committed: Committed) -> Answer {
        let (dice, rates) = (&self.dice, &self.rates);
        if rates.fires(dice, |rates| rates.commit_kicks) {
            self.state().throw_out(&member.id);
        }
        let trouble = rates.fires(dice, |rates| rates.commit_fails);
        match (trouble, dice.below(4)) {
            (true, 0) => return Answer::Nothing,
            (true, 1 | 2) => {
                // It lies in a buffer on its way, and arrives when it likes.
                self.state().late.push(LateCommit { member: member.clone(), partition, committed });
                return Answer::Nothing;
            }
            _ => {}
        }
        let made = self.state().take(member, partition, committed);
        if rates.fires(dice, |rates| rates.commit_kicks) {
            self.state().throw_out(&member.id);
        }
        if trouble {
            Answer::Nothing
        } else if made {
            Answer::Made
        } else {
            Answer::Refused
        }
    }

    /// What the coordinator does by itself, and what was on its way to it.
    pub fn tick(&self) {
        let mut state = self.state();
        let silent = |joined: &Joined| joined.seat.gate.silent_since().is_some_and(|since| since.elapsed() >= self.session);
        let expired: Vec<String> = state.members.iter().filter(|(_, joined)| silent(joined)).map(|(id, _)| id.clone()).collect();
        expired.iter().for_each(|id| state.throw_out(id));
        if let Phase::Preparing(since) = state.phase {
            let all = state.members.values().all(|joined| joined.has_joined);
            if state.members.is_empty() {
                state.empty();
            } else if all || since.elapsed() >= self.session * 2 {
                state.complete(&self.dice);
            }
        }
        if self.dice.chance(300) {
            state.land();
        }
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    pub fn is_late_commit_under_way(&self) -> bool {
        !self.state().late.is_empty()
    }
}

impl State {
    /// Takes a commit of a member of this generation, whoever owns the partition.
    fn take(&mut self, member: &Member, partition: i32, committed: Committed) -> bool {
        let valid = self.phase != Phase::Empty && member.generation == self.generation && self.members.contains_key(&member.id);
        if valid {
            self.committed.insert(partition, committed);
        }
        valid
    }

    fn land(&mut self) {
        if !self.late.is_empty() {
            let late = self.late.remove(0);
            self.take(&late.member, late.partition, late.committed);
        }
    }

    pub fn rebalance(&mut self) {
        if self.phase == Phase::Stable || self.phase == Phase::Empty {
            self.phase = Phase::Preparing(Instant::now());
            self.members.values_mut().for_each(|joined| joined.has_joined = false);
            self.tell_everyone();
        }
    }

    fn complete(&mut self, dice: &Dice) {
        self.members.retain(|_, joined| joined.has_joined);
        if self.members.is_empty() {
            return self.empty();
        }
        self.generation += 1;
        self.phase = Phase::Stable;
        let mut ids: Vec<String> = self.members.keys().cloned().collect();
        let turned = usize::try_from(dice.below(ids.len() as u64)).unwrap_or(0);
        ids.rotate_left(turned);
        self.members.values_mut().for_each(|joined| joined.partitions.clear());
        for partition in 0..self.logs.len() {
            // As the assignor `range` does: neighbours go to one member.
            let id = &ids[partition * ids.len() / self.logs.len().max(ids.len())];
            if let Some(joined) = self.members.get_mut(id) {
                joined.partitions.push(i32::try_from(partition).unwrap_or(0));
            }
        }
        self.tell_everyone();
    }

    fn empty(&mut self) {
        self.phase = Phase::Empty;
        self.generation += 1;
    }

    /// A new member; the group meets again.
    pub fn join(&mut self, seat: &Arc<Seat>) -> String {
        self.named += 1;
        let id = format!("{}-{:04}", seat.name, self.named);
        self.rebalance();
        self.members.insert(id.clone(), Joined { seat: Arc::clone(seat), has_joined: true, partitions: Vec::new() });
        id
    }

    /// A member that was told to join again does.
    pub fn join_again(&mut self, id: &str) {
        if let Some(joined) = self.members.get_mut(id) {
            joined.has_joined = true;
        }
    }

    /// It left, or its session ended.
    pub fn throw_out(&mut self, id: &str) {
        if self.members.remove(id).is_none() {
            return;
        }
        if self.members.is_empty() {
            self.empty();
        } else {
            self.rebalance();
        }
        self.tell_everyone();
    }

    pub fn throw_everyone_out(&mut self) {
        self.tell_everyone();
        self.members.clear();
        self.empty();
    }

    pub fn is_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    pub fn must_join_again(&self, id: &str) -> bool {
        matches!(self.phase, Phase::Preparing(_)) && self.members.get(id).is_some_and(|joined| !joined.has_joined)
    }

    /// Generation and partitions, once the group has met.
    pub fn share(&self, id: &str) -> Option<(i32, Vec<i32>)> {
        let joined = self.members.get(id).filter(|joined| joined.has_joined && self.phase == Phase::Stable)?;
        Some((self.generation, joined.partitions.clone()))
    }

    pub fn is_stable(&self) -> bool {
        self.phase == Phase::Stable && self.members.values().all(|joined| joined.seat.gate.life() == Life::Running)
    }

    pub fn members(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Deleted and created again; offsets restart, and the group's are gone with the old one.
    pub fn recreate(&mut self) {
        let fresh = self.logs.iter().map(|_| Log::default()).collect();
        self.past.insert(self.topic_id, std::mem::replace(&mut self.logs, fresh));
        self.topic_id += 1;
        self.committed.clear();
        self.tell_everyone();
    }

    /// A partition's log in the life of the topic that has this id.
    pub fn log_of(&self, topic_id: &str, partition: usize) -> Option<&Log> {
        let number: u32 = topic_id.strip_prefix("topic/")?.parse().ok()?;
        if number == self.topic_id { self.logs.get(partition) } else { self.past.get(&number)?.get(partition) }
    }

    fn tell_everyone(&self) {
        self.members.values().for_each(|joined| joined.seat.news.notify_one());
    }
}
