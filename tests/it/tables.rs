//! The simulator's ClickHouse answers what the real one answers: the same random inserts go to both, and every question that the
//! runtime asks is asked of both. This is what makes the simulator believable.

use std::sync::Arc;
use std::time::Duration;

use farebox::engine::Batch;
use farebox::model::{Month, Timestamp};
use farebox::runtime::world::{SystemClock, Tables};
use farebox::sink::{BatchKind, BatchRow, Block, Stamp, Table, batches_row, blocks};
use farebox::store::{Check, Facts, Insert, Migrate, Range, Settings, Stop, Store};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::forming::{Forming, origin};
use crate::memory::faults::{Asked, Course, Faults};
use crate::memory::rows::Rows;
use crate::memory::{Client, Server, answers};
use crate::servers::{ClickHouse, unique};

const TOPIC: &str = "usage.events";

/// Nothing goes wrong, and nothing takes time.
struct Smooth;

impl Faults for Smooth {
    fn insert(&self, _table: &str, _token: &str) -> Course {
        Course::smooth(Duration::ZERO, Duration::ZERO, Duration::ZERO)
    }

    fn question(&self, _name: &'static str) -> Asked {
        Asked::default()
    }
}

fn settings(database: &str) -> Settings {
    Settings {
        url: ClickHouse::shared().url(),
        database: database.to_owned(),
        user: "default".to_owned(),
        password: "".into(),
        ca_file: "".into(),
        connect_timeout: Duration::from_secs(5),
        insert_timeout: Duration::from_secs(60),
        query_timeout: Duration::from_secs(60),
    }
}

/// Both servers, and what has been sent to them.
struct Both {
    real: Store,
    server: Server,
    memory: Client,
    sent: Vec<(Block, String)>,
    ranges: Vec<(Stamp, Vec<Month>, Option<(Timestamp, Timestamp)>)>,
}

impl Both {
    async fn new() -> Self {
        let database = unique("tables");
        let real = Store::new(&settings(&database)).unwrap();
        let migrate = Migrate {
            cluster: String::new(),
            usage_log_keep_days: 400,
            rejected_keep_days: 90,
            lateness_seconds: 172_800,
            now: farebox::runtime::clock::now(),
            dry_run: false,
        };
        real.migrate(&migrate).await.unwrap();
        // Twins with other digests are told apart until they are merged.
        real.execute(&format!("SYSTEM STOP MERGES {database}.usage_hourly")).await.unwrap();
        real.execute(&format!("SYSTEM STOP MERGES {database}.session_users")).await.unwrap();
        let server = Server::new();
        let memory = server.client(Arc::new(Smooth), Arc::new(SystemClock));
        Self { real, server, memory, sent: Vec::new(), ranges: Vec::new() }
    }

    async fn insert(&mut self, block: &Block, token: &str) {
        let real = Tables::insert(&self.real, block, token).await;
        let memory = self.memory.insert(block, token).await;
        assert!(matches!((&real, &memory), (Insert::Done, Insert::Done)), "{real:?} {memory:?}");
        self.sent.push((block.clone(), token.to_owned()));
    }

    /// Everything that can be asked is asked of both.
    async fn compare(&self, seed: u64) {
        for partition in 0..2 {
            let real = sorted(self.real.facts("1", TOPIC, partition).await.unwrap());
            let memory = sorted(self.memory.facts("1", TOPIC, partition).await.unwrap());
            assert_eq!(real, memory, "seed {seed}");
            let real = self.real.end_of_batches("1", TOPIC, partition).await.unwrap();
            assert_eq!(real, self.memory.end_of_batches("1", TOPIC, partition).await.unwrap(), "seed {seed}");
            for usage_log_keep_days in [400, 0, 20] {
                let log_append_time = usage_log_keep_days != 0;
                let check = Check {
                    source_epoch: "1",
                    topic: TOPIC,
                    partition,
                    usage_log_keep_days,
                    rejected_keep_days: 90,
                    log_append_time,
                };
                let real = self.real.row3_violations(&check).await.unwrap();
                let memory = self.memory.row3_violations(&check).await.unwrap();
                assert_eq!(real.is_some(), memory.is_some(), "seed {seed}: {real:?} {memory:?}");
                if real != memory {
                    // Several begin at the same offset: which one is told is open.
                    let all = self.findings(&check);
                    let first = all[0].0;
                    assert!(
                        all.iter().any(|(at, text)| *at == first && Some(text) == real.as_ref()),
                        "seed {seed}: {real:?} {all:?}"
                    );
                }
            }
        }
        for (stamp, months, received) in &self.ranges {
            let origin = origin(0);
            let range = |months, received| Range {
                source_epoch: "1",
                topic: TOPIC,
                topic_id: &origin.topic_id,
                partition: 0,
                from: stamp.from,
                to: stamp.to,
                months,
                received,
            };
            for range in [range(months, *received), range(&[], None), range(&months[..months.len().min(1)], None)] {
                let mut real = self.real.witnesses(&range).await.unwrap();
                real.sort_by(|a, b| (&a.table, a.month).cmp(&(&b.table, b.month)));
                assert_eq!(real, self.memory.witnesses(&range).await.unwrap(), "seed {seed}: {range:?}");
            }
            let real = self.real.batches_row("1", TOPIC, 0, stamp.from).await.unwrap();
            assert_eq!(real, self.memory.batches_row("1", TOPIC, 0, stamp.from).await.unwrap(), "seed {seed}");
        }
    }

    fn findings(&self, check: &Check<'_>) -> Vec<(i64, String)> {
        let copy = |table: &str| self.server.copy_of_parts(table);
        let view = answers::View {
            ends: copy("batches"),
            batches: copy("batches"),
            hourly: copy("usage_hourly"),
            sessions: copy("session_users"),
            log: copy("usage_log"),
            rejected: copy("rejected_events"),
        };
        answers::findings(&view, check, farebox::runtime::clock::now())
    }
}

/// Sets come in any order.
fn sorted(mut facts: Facts) -> Facts {
    for rows in &mut facts.log {
        rows.months.sort_unstable();
        rows.price_versions.sort_unstable();
    }
    facts.log.sort_by(|a, b| (a.offset_min, a.digest, &a.table).cmp(&(b.offset_min, b.digest, &b.table)));
    facts
}

fn stamp(batch: &Batch, price_version: u64) -> Stamp {
    Stamp { from: batch.from, to: batch.to, price_version, written_at: farebox::runtime::clock::now() }
}

fn row(batch: &Batch, prev: Option<i64>) -> BatchRow {
    BatchRow {
        kind: BatchKind::Batch,
        counts: batch.rows.counts,
        digest: batch.rows.digest,
        prev,
        leader_epoch: batch.leader_epoch,
        hash_key_id: "k".into(),
        record_time_max: batch.record_time_max,
    }
}

/// A history of batches in which most go well, and then some: blocks that are absent, twins, tokens used twice, rows of `batches` that
/// are absent, overlap or leave holes, gaps, blocks of the same range with other rows.
async fn history(seed: u64) {
    let mut both = Both::new().await;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let now = farebox::runtime::clock::now().plus_millis(-3_600_000);
    let mut forming = Forming::new(seed, now, rng.random_range(0..50));
    let bad = rng.random_bool(0.8);
    let mut prev = None;
    both.compare(seed).await;
    for _ in 0..rng.random_range(1..7) {
        let is_bad = bad && rng.random_bool(0.4);
        let records = rng.random_range(0..25);
        let batch = forming.batch(records);
        let (partition, version) = (i32::from(rng.random_bool(0.1)), rng.random_range(1..3));
        let mut origin = origin(partition);
        if is_bad && rng.random_bool(0.1) {
            origin.topic_id = "another".into();
        }
        let stamp = stamp(&batch, version);
        for mut block in blocks(&batch.rows, &origin, &stamp) {
            if is_bad && rng.random_bool(0.2) {
                continue;
            }
            let token = block.token.clone();
            both.insert(&block, &token).await;
            if rng.random_bool(0.3) {
                both.insert(&block, &token).await;
            }
            if is_bad && rng.random_bool(0.2) {
                if rng.random_bool(0.5) {
                    block = twin(&block, &batch, &origin, &stamp);
                }
                both.insert(&block, &format!("{token}/r1")).await;
            }
        }
        if rng.random_bool(0.2) {
            let (block, token) = both.sent.get(rng.random_range(0..both.sent.len().max(1))).cloned().unzip();
            if let (Some(block), Some(token)) = (block, token) {
                both.insert(&block, &token).await;
            }
        }
        let months: Vec<Month> = batch.rows.usage_log.keys().copied().collect();
        both.ranges.push((stamp, months, batch.received));
        let (mut row, mut stamp) = (row(&batch, prev), stamp);
        if is_bad {
            match rng.random_range(0..8) {
                0 => stamp.to += 3,
                1 => stamp.from -= 2,
                2 => row.prev = Some(stamp.from + 1),
                3 => row.counts.accepted += 1,
                4 => row.counts.rejected += 1,
                5 => stamp.written_at = stamp.written_at.plus_millis(-30 * 86_400_000),
                6 => (row.kind, row.digest) = (BatchKind::Gap, 0),
                _ => {}
            }
        }
        if !is_bad || rng.random_bool(0.7) {
            let block = batches_row(&row, &origin, &stamp);
            both.insert(&block, &block.token).await;
            prev = Some(batch.to);
        }
        both.compare(seed).await;
    }
    for block in both.sent.iter().filter(|(block, _)| block.table != Table::Batches) {
        assert!(Rows::of_block(block.0.table, &block.0.body).is_ok());
    }
}

/// The block of the same table and month, of rows with another digest.
fn twin(block: &Block, batch: &Batch, origin: &farebox::sink::Origin, stamp: &Stamp) -> Block {
    let mut rows = batch.rows.clone();
    rows.digest ^= 0xffff;
    blocks(&rows, origin, stamp).into_iter().find(|other| other.table == block.table && other.month == block.month).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_clickhouse_in_memory_answers_what_the_real_one_answers() {
    let seeds = std::env::var("TABLES_SEED").map_or(1..26, |seed| {
        let seed = seed.parse().unwrap();
        seed..seed + 1
    });
    for seed in seeds {
        history(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sources_and_stops_in_memory_are_those_of_the_real_one() {
    let both = Both::new().await;
    let now = farebox::runtime::clock::now();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    for topic in [TOPIC, "other", TOPIC] {
        assert_eq!(both.real.source(topic).await.unwrap(), both.memory.source(topic).await.unwrap());
        let id = format!("id-{}", rng.random::<u32>());
        let real = both.real.begin_source(topic, &id, now).await.unwrap();
        assert_eq!(real, both.memory.begin_source(topic, &id, now).await.unwrap());
        assert_eq!(both.real.source(topic).await.unwrap(), both.memory.source(topic).await.unwrap());
    }
    for _ in 0..25 {
        let stop = Stop {
            source_epoch: rng.random_range(1..3).to_string(),
            topic: TOPIC.into(),
            partition: rng.random_range(0..3),
            kind: "inconsistent".into(),
            reason: format!("reason {}", rng.random_range(0..3)),
            at: now.plus_millis(rng.random_range(0..6)),
            cleared: rng.random_range(0..2),
        };
        both.real.stop(&stop).await.unwrap();
        both.memory.stop(&stop).await.unwrap();
        assert_eq!(both.real.stops(TOPIC).await.unwrap(), both.memory.stops(TOPIC).await.unwrap(), "after {stop:?}");
    }
}
