//! The client library in memory: one member of the group, as `source::kafka::Handle` behaves.
//!
//! Holds: partitions are taken away only while it is polled; records of a call in which the group moved are dropped; an offset that the
//! log does not have is an error, after which the partition is not read until it is assigned anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use farebox::model::{Record, Timestamp};
use farebox::runtime::world::{Consumer, Questions};
use farebox::source::kafka::{Committed, Error, Member, OnRevoke, Place, Polled, Rebalance};
use rdkafka::types::RDKafkaErrorCode;

use super::broker::{Answer, Broker, Seat};
use super::planted::Planted;

pub struct SimConsumer {
    broker: Arc<Broker>,
    seat: Arc<Seat>,
    planted: Planted,
    client: Mutex<Client>,
    on_revoke: Mutex<OnRevoke>,
}

struct Client {
    subscribed: bool,
    leaving: bool,
    member: Member,
    /// Who we were when the partitions became ours.
    assigned: Option<Member>,
    fetches: BTreeMap<i32, Fetch>,
    paused: Vec<i32>,
}

struct Fetch {
    position: i64,
    end_told: Option<i64>,
    /// The leader epoch of the last record handed out.
    epoch: Option<i32>,
}

fn nobody() -> Member {
    Member { generation: -1, id: String::new() }
}

fn failed(action: &'static str, code: RDKafkaErrorCode) -> Error {
    Error { action, code, text: format!("{code}") }
}

impl SimConsumer {
    pub fn new(broker: &Arc<Broker>, seat: &Arc<Seat>, planted: Planted, on_revoke: OnRevoke) -> Self {
        let client = Client {
            subscribed: true,
            leaving: false,
            member: nobody(),
            assigned: None,
            fetches: BTreeMap::new(),
            paused: Vec::new(),
        };
        let (client, on_revoke) = (Mutex::new(client), Mutex::new(on_revoke));
        Self { broker: Arc::clone(broker), seat: Arc::clone(seat), planted, client, on_revoke }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_lost(&self, client: &Client) -> bool {
        client.assigned.as_ref().is_some_and(|assigned| *assigned != client.member || !self.broker.state().is_member(&assigned.id))
    }

    /// The rebalance callback for partitions that go.
    fn revoke(&self, client: &mut Client) -> Option<Rebalance> {
        client.fetches.clear();
        let lost = self.is_lost(client);
        client.assigned.take()?;
        let commits = (self.on_revoke.lock().unwrap_or_else(PoisonError::into_inner))();
        if !lost {
            for (partition, offset) in commits {
                let committed = Committed { offset, metadata: Vec::new() };
                let _ = self.broker.commit(&client.member, partition, committed); // as the callback: what becomes of it is nobody's business
            }
        }
        Some(Rebalance::Revoked { lost })
    }

    /// What the group's protocol wants from us now.
    fn meet(&self, client: &mut Client) -> Vec<Rebalance> {
        let mut rebalances = Vec::new();
        if std::mem::take(&mut client.leaving) || !client.subscribed {
            rebalances.extend(self.revoke(client));
            self.broker.state().throw_out(&client.member.id);
            client.member = nobody();
        }
        // What the coordinator decided is heard of with a heartbeat, not at once.
        if !client.subscribed || client.assigned.is_some() && self.broker.dice.chance(300) {
            return rebalances;
        }
        if !self.broker.state().is_member(&client.member.id) {
            rebalances.extend(self.revoke(client)); // thrown out; we learn it now
            client.member = Member { generation: -1, id: self.broker.state().join(&self.seat) };
        } else if self.broker.state().must_join_again(&client.member.id) {
            rebalances.extend(self.revoke(client));
            self.broker.state().join_again(&client.member.id);
        }
        let share = self.broker.state().share(&client.member.id);
        if let Some((generation, partitions)) = share
            && client.assigned.as_ref().is_none_or(|assigned| assigned.generation != generation)
        {
            client.member.generation = generation;
            client.assigned = Some(client.member.clone());
            client.fetches.clear();
            rebalances.push(Rebalance::Assigned(partitions));
        }
        rebalances
    }

    fn fetch(&self, client: &mut Client, max: usize, take: &mut impl FnMut(Polled<'_>)) {
        let state = self.broker.state();
        let mut broken = Vec::new();
        for (&partition, fetch) in &mut client.fetches {
            if client.paused.contains(&partition) {
                continue;
            }
            let log = &state.logs[usize::try_from(partition).unwrap_or(0)];
            let rewritten = fetch.epoch.zip(log.epoch_before(fetch.position)).is_some_and(|(ours, theirs)| ours != theirs);
            if fetch.position < log.start || fetch.position > log.end() || rewritten {
                broken.push(partition);
                continue;
            }
            // What one fetch brings is the network's choice.
            let count = usize::try_from(self.broker.dice.between(0, 6)).unwrap_or(0).min(max);
            let mut taken = 0;
            while taken < count && fetch.position < log.end() {
                let (offset, entry) = (fetch.position, &log.entries[usize::try_from(fetch.position).unwrap_or(0)]);
                fetch.position += 1;
                fetch.epoch = Some(entry.epoch);
                if entry.made.is_some() {
                    taken += 1;
                    let record = Record {
                        offset,
                        timestamp: entry.at,
                        leader_epoch: entry.epoch,
                        key: None,
                        value: Some(&entry.value),
                        headers: Vec::new(),
                    };
                    take(Polled::Record(partition, record));
                }
            }
            if fetch.position < log.end() {
                self.seat.news.notify_one();
            } else if fetch.end_told != Some(fetch.position) {
                fetch.end_told = Some(fetch.position);
                take(Polled::End(partition, fetch.position));
            }
        }
        for partition in broken {
            client.fetches.remove(&partition);
            take(Polled::Failed(Some(partition), failed("read the events topic", RDKafkaErrorCode::AutoOffsetReset)));
        }
    }
}

impl Consumer for SimConsumer {
    fn poll(&self, max: usize, _: Duration, mut take: impl FnMut(Polled<'_>)) -> Vec<Rebalance> {
        let mut client = self.client();
        let rebalances = self.meet(&mut client);
        if rebalances.is_empty() {
            self.fetch(&mut client, max, &mut take);
        }
        rebalances
    }

    fn wake(&self) {
        self.seat.news.notify_one();
    }

    fn assign(&self, places: &[Place]) -> Result<(), Error> {
        let fetch = |place: &Place| {
            let epoch = Some(place.leader_epoch).filter(|&epoch| epoch >= 0);
            (place.partition, Fetch { position: place.offset, end_told: None, epoch })
        };
        self.client().fetches = places.iter().map(fetch).collect();
        self.wake();
        Ok(())
    }

    fn pause(&self, partition: i32, position: i64) -> Result<(), Error> {
        let mut client = self.client();
        client.paused.push(partition);
        if let Some(fetch) = client.fetches.get_mut(&partition) {
            (fetch.position, fetch.epoch) = (position, None); // it is sought without an epoch
        }
        Ok(())
    }

    fn resume(&self, partitions: &[i32]) -> Result<(), Error> {
        self.client().paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Result<(), Error> {
        let member = self.client().member.clone();
        let metadata = self.planted.metadata(offset, metadata);
        let answer = self.broker.commit(&member, partition, Committed { offset, metadata: metadata.clone().into_bytes() });
        tracing::debug!(seat = self.seat.name, partition, offset, metadata, ?answer, generation = member.generation, "commit");
        match answer {
            Answer::Made => Ok(()),
            Answer::Refused => Err(failed("commit", RDKafkaErrorCode::IllegalGeneration)),
            Answer::Nothing => Err(failed("commit", RDKafkaErrorCode::OperationTimedOut)),
        }
    }

    fn member(&self) -> Member {
        self.client().member.clone()
    }

    fn is_assignment_lost(&self) -> bool {
        let client = self.client();
        // The library's own thread may have heard of it, or not yet.
        self.is_lost(&client) && self.broker.dice.chance(500)
    }

    fn seen_end(&self, partition: i32) -> Option<i64> {
        let state = self.broker.state();
        usize::try_from(partition).ok().and_then(|partition| state.logs.get(partition)).map(super::log::Log::end)
    }

    fn subscribe(&self) -> Result<(), Error> {
        self.client().subscribed = true;
        Ok(())
    }

    fn leave(&self) -> Result<(), Error> {
        let mut client = self.client();
        (client.subscribed, client.leaving) = (false, true);
        Ok(())
    }

    fn close(&self) {
        let mut client = self.client();
        client.subscribed = false;
        self.meet(&mut client);
    }
}

/// What an owner asks, through any client of the process.
pub struct SimQuestions {
    pub broker: Arc<Broker>,
    pub planted: Planted,
}

impl SimQuestions {
    /// Lets the request travel; then it is answered, or not.
    async fn travels(&self, action: &'static str) -> Result<(), Error> {
        self.broker.dice.wait(20).await;
        if self.broker.rates.fires(&self.broker.dice, |rates| rates.question_fails) {
            self.broker.dice.wait(3000).await;
            return Err(failed(action, RDKafkaErrorCode::OperationTimedOut));
        }
        Ok(())
    }

    async fn ask<T>(&self, action: &'static str, look: impl FnOnce(&super::broker::State) -> T) -> Result<T, Error> {
        self.travels(action).await?;
        let seen = look(&self.broker.state());
        self.broker.dice.wait(20).await;
        Ok(seen)
    }
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(0)
}

#[async_trait]
impl Questions for SimQuestions {
    async fn topic_id(&self) -> Result<String, Error> {
        let is_always_the_same = self.planted == Planted::NoTopicId;
        self.ask("describe the topic", |state| format!("topic/{}", if is_always_the_same { 1 } else { state.topic_id })).await
    }

    async fn committed(&self, partition: i32) -> Result<Option<Committed>, Error> {
        self.ask("read the committed offset", |state| state.committed.get(&partition).cloned()).await
    }

    async fn bounds(&self, partition: i32) -> Result<(i64, i64), Error> {
        self.ask("read the log's bounds", |state| {
            let log = &state.logs[index(partition)];
            (log.start, log.end())
        })
        .await
    }

    async fn offset_of_time(&self, partition: i32, time: Timestamp) -> Result<Option<i64>, Error> {
        let found = self.ask("look up an offset by time", |state| state.logs[index(partition)].offset_of_time(time)).await?;
        Ok(found.filter(|_| self.planted != Planted::NoWindow))
    }
}
