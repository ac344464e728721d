//! What the tests of Kafka's faults share: small installations of some partitions, events with known ids, and what of them is metered.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::outcome::Numbers;
use super::quick::event;
use super::servers::{ClickHouse, Client, Farebox, Instance, Message, SOON, eventually};

/// A small installation whose batches are many and quick, ready to run.
pub fn small(brokers: &str, clickhouse_url: &str, partitions: i32) -> Farebox {
    let farebox = settled(Farebox::new(brokers, clickhouse_url), partitions);
    farebox.run(&["migrate"]).expect_success();
    farebox
}

/// The same, on a topic whose id has a slash in it, as one in four has: names of batches have slashes too.
pub fn small_with_a_slash(kafka: &Client, clickhouse_url: &str) -> Farebox {
    let mut farebox = settled(Farebox::new(&kafka.brokers, clickhouse_url), 1);
    let consumer: BaseConsumer = config(kafka).create().unwrap();
    farebox.topic = (0..1_000)
        .map(|n| format!("{}.{n}", farebox.topic))
        .find(|topic| {
            kafka.create_topic(topic, 1, &[("message.timestamp.type", "LogAppendTime")]);
            eventually(SOON, || farebox::source::kafka::topic_id(consumer.client(), topic, SOON)).contains('/')
        })
        .unwrap();
    let topic = farebox.topic.clone();
    farebox.set("kafka.topic", topic).run(&["migrate"]).expect_success();
    farebox
}

fn settled(mut farebox: Farebox, partitions: i32) -> Farebox {
    farebox.set("kafka.partitions", partitions).set("kafka.session_timeout", "2s");
    farebox.set("batch.max_age", "50ms").set("clickhouse.inserts_per_second_max", 100);
    farebox.set("clickhouse.insert_timeout", "10s").set("clickhouse.query_timeout", "10s");
    farebox
}

/// What was sent: ids that nobody sends twice, and in which partition.
#[derive(Debug, Default)]
pub struct Sent {
    ids: BTreeMap<String, i32>,
    next: usize,
    bad: u64,
}

impl Sent {
    /// So many events to one partition.
    pub fn send(&mut self, kafka: &Client, topic: &str, partition: i32, count: usize) {
        kafka.produce(topic, &self.messages(partition, count));
    }

    /// The same, for who produces by other means.
    pub fn messages(&mut self, partition: i32, count: usize) -> Vec<Message> {
        let from = self.next;
        self.next += count;
        let message = |n: usize| {
            let id = format!("{n}");
            let message = Message { partition: Some(partition), ..event("acme", &id) };
            self.ids.insert(id, partition);
            message
        };
        (from..from + count).map(message).collect()
    }

    /// For what is sent while nothing is to be metered; its ids are others than those from here.
    pub fn next_life(&self) -> Self {
        Self { next: 1_000_000, ..Self::default() }
    }

    /// From now on that is to be metered too.
    pub fn join(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.bad += other.bad;
    }

    /// Records that nobody can read as events.
    pub fn bad(&mut self, partition: i32, count: usize) -> Vec<Message> {
        self.bad += count as u64;
        (0..count).map(|n| Message::to(partition, "bad", format!("{{{n}"))).collect()
    }

    /// These left the log before they were read.
    pub fn forget(&mut self, lost: impl Fn(usize) -> bool) {
        self.ids.retain(|id, _| !lost(id.parse().unwrap()));
    }

    pub fn received(&self) -> u64 {
        self.ids.len() as u64 + self.bad
    }

    /// How many were sent to a partition.
    pub fn to(&self, partition: i32) -> u64 {
        self.ids.values().filter(|own| **own == partition).count() as u64
    }

    /// Waits until everything is in `batches`.
    #[track_caller]
    pub fn wait(&self, clickhouse: &ClickHouse, farebox: &Farebox, instances: &mut [&mut Instance]) {
        wait_for_received(clickhouse, farebox, instances, self.received());
    }

    /// Lets an instance meter everything, what `more` sends while it runs too, and ends it in order.
    #[track_caller]
    pub fn meter(&mut self, clickhouse: &ClickHouse, farebox: &Farebox, more: impl FnOnce(&mut Self)) {
        let mut instance = farebox.start();
        more(self);
        self.wait(clickhouse, farebox, &mut [&mut instance]);
        assert_eq!(instance.stop().code(), Some(0));
    }

    /// Every event is metered once and nothing else is: in the log, in the rollups, in the ledger of batches. `gap`: offsets that
    /// the tables admit not to have.
    #[track_caller]
    pub fn assert_metered(&self, clickhouse: &ClickHouse, farebox: &Farebox, gap: i64) -> Numbers {
        let database = &farebox.database;
        let logged: Vec<String> =
            clickhouse.query(&format!("SELECT id, partition FROM {database}.usage_log")).lines().map(str::to_owned).collect();
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        logged.iter().for_each(|line| *seen.entry(line).or_default() += 1);
        let expected: Vec<String> = self.ids.iter().map(|(id, partition)| format!("{id}\t{partition}")).collect();
        let lost: Vec<&String> = expected.iter().filter(|line| !seen.contains_key(line.as_str())).collect();
        let doubled: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        let strange = seen.keys().filter(|line| !expected.iter().any(|own| own == *line)).count();
        assert!(lost.is_empty() && doubled.is_empty() && strange == 0, "lost {lost:?}, doubled {doubled:?}, {strange} never sent");

        let sums = format!(
            "SELECT (SELECT sum(events) FROM {database}.usage_hourly), (SELECT sum(events) FROM {database}.session_users), \
             (SELECT uniqExact(partition, offset) FROM {database}.rejected_events), (SELECT count() FROM {database}.rejected_events)"
        );
        let (events, bad) = (expected.len(), self.bad);
        assert_eq!(clickhouse.query(&sums), format!("{events}\t{events}\t{bad}\t{bad}\n"));
        let sql = format!(
            "SELECT sum(received), sum(accepted), sum(rejected), toInt64(sum(gap_offsets)), min(balanced) FROM {database}.conservation"
        );
        assert_eq!(clickhouse.query(&sql), format!("{}\t{events}\t{bad}\t{gap}\t1\n", self.received()));
        Numbers { records: self.received(), ..Numbers::default() }
    }
}

/// With a word about what was seen besides.
pub fn noted(numbers: Numbers, note: &str) -> Numbers {
    Numbers { note: note.to_owned(), ..numbers }
}

#[track_caller]
pub fn wait_for_received(clickhouse: &ClickHouse, farebox: &Farebox, instances: &mut [&mut Instance], received: u64) {
    eventually(SOON, || {
        let logs: String = instances.iter().map(|instance| instance.process.log()).collect();
        for instance in &mut *instances {
            assert!(instance.process.ended().is_none(), "{logs}");
        }
        let sql = format!("SELECT sum(received) FROM {}.batches", farebox.database);
        let seen: u64 = clickhouse.query(&sql).trim().parse().unwrap();
        if seen >= received { Ok(()) } else { Err(format!("{seen} of {received}\n{logs}")) }
    });
}

/// Waits until a guard has stopped a partition, and holds that it is loud: in the log, in the metrics, in the tables.
#[track_caller]
pub fn wait_for_stop(clickhouse: &ClickHouse, farebox: &Farebox, instance: &mut Instance, partition: i32, kind: &str) -> String {
    let sql =
        format!("SELECT reason FROM {}.stops WHERE partition = {partition} AND kind = '{kind}' AND NOT cleared", farebox.database);
    let reason = eventually(SOON, || {
        assert!(instance.process.ended().is_none(), "{}", instance.process.log());
        let reason = clickhouse.query(&sql);
        if reason.is_empty() { Err(instance.process.log()) } else { Ok(reason) }
    });
    let log = instance.process.log();
    let line = format!("partition={partition} guard=\"{kind}\"");
    assert!(log.lines().any(|said| said.contains(" ERROR ") && said.contains(&line)), "{log}");
    assert!(instance.metric("farebox_guards_tripped_total", &[&format!("kind=\"{kind}\"")]) >= Some(1.0), "{log}");
    reason.trim().to_owned()
}

/// Has what can be mended mended, as a person would who has looked.
pub fn recover(client: &Client, farebox: &Farebox) {
    wait_until_empty(client, &farebox.group);
    farebox.run(&["recover", "--yes"]).expect_success();
}

/// How often an alarm was raised.
pub fn alarms(instance: &Instance, kind: &str) -> Option<f64> {
    instance.metric("farebox_alarms_total", &[&format!("kind=\"{kind}\"")])
}

/// Waits until the group has no members.
pub fn wait_until_empty(client: &Client, group: &str) {
    let consumer: BaseConsumer = config(client).create().unwrap();
    eventually(SOON, || {
        let list = consumer.fetch_group_list(Some(group), Duration::from_secs(5)).map_err(|error| error.to_string())?;
        let members = list.groups().iter().map(|group| group.members().len()).sum::<usize>();
        if members == 0 { Ok(()) } else { Err(format!("{members} members")) }
    });
}

pub fn config(client: &Client) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &client.brokers).set("broker.address.family", "v4");
    config
}

/// A consumer that is nobody's friend: it commits what it likes.
pub fn stranger(client: &Client, group: &str) -> BaseConsumer {
    let mut config = config(client);
    config.set("group.id", group).set("enable.auto.commit", "false").set("session.timeout.ms", "3000");
    config.set("auto.offset.reset", "earliest").set("partition.assignment.strategy", "range").create().unwrap()
}

/// Commits once, and says what the broker said.
pub fn commit_once(consumer: &BaseConsumer, topic: &str, partition: i32, offset: i64) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync)
}

fn admin<T>(client: &Client, work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T) -> T {
    let admin: AdminClient<DefaultClientContext> = config(client).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(SOON)).operation_timeout(Some(SOON));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work(&admin, &options))
}

/// Sets one property of a topic.
pub fn set_topic(client: &Client, topic: &str, name: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let answers = admin(client, async |admin, options| admin.alter_configs([&change], options).await).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Gives a topic more partitions.
pub fn grow_topic(client: &Client, topic: &str, partitions: usize) {
    let more = NewPartitions::new(topic, partitions);
    let answers = admin(client, async |admin, options| admin.create_partitions([&more], options).await).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Deletes a group with all its offsets; it must be empty.
pub fn delete_group(client: &Client, group: &str) {
    let answers = admin(client, async |admin, options| admin.delete_groups(&[group], options).await).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}
