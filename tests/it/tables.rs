//! The simulator's ClickHouse answers what the real one answers: the same random inserts go to both, and every question that the
//! runtime asks is asked of both. This is what makes the simulator believable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farebox::engine::Batch;
use farebox::model::{Month, Timestamp};
use farebox::runtime::world::{SystemClock, Tables};
use farebox::sink::{BatchKind, BatchRow, Block, Origin, Stamp, Table, batches_row, blocks};
use farebox::store::{Check, Facts, Insert, Migrate, Range, Settings, Stop, Store};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::forming::{Forming, origin};
use crate::memory::faults::{Asked, Course, Faults};
use crate::memory::{Client, Server, answers};
use crate::servers::{ClickHouse, unique};

/// Of sources and stops.
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

/// A range, its months, and the times of its records.
type Written = (Stamp, Vec<Month>, Option<(Timestamp, Timestamp)>);

/// Both servers, and the ranges that were written.
struct Both {
    real: Store,
    server: Server,
    memory: Client,
    ranges: Vec<Written>,
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
        Self { real, server, memory, ranges: Vec::new() }
    }

    async fn insert(&mut self, block: &Block, token: &str) {
        let real = Tables::insert(&self.real, block, token).await;
        let memory = self.memory.insert(block, token).await;
        assert!(matches!((&real, &memory), (Insert::Done, Insert::Done)), "{real:?} {memory:?}");
    }

    /// Everything that can be asked is asked of both.
    async fn compare(&self, topic: &str, seed: u64, kinds: &mut BTreeSet<String>) {
        let others = [("1", 1), ("2", 0)].into_iter().filter(|_| seed == 0);
        for (epoch, partition) in others.chain([("1", 0)]) {
            let real = sorted(self.real.facts(epoch, topic, partition).await.unwrap());
            let memory = sorted(self.memory.facts(epoch, topic, partition).await.unwrap());
            assert_eq!(real, memory, "seed {seed}");
            let real = self.real.end_of_batches(epoch, topic, partition).await.unwrap();
            assert_eq!(real, self.memory.end_of_batches(epoch, topic, partition).await.unwrap(), "seed {seed}");
            if (epoch, partition) != ("1", 0) {
                continue;
            }
            for (usage_log_keep_days, log_append_time) in [(400, true), (0, false)] {
                let check =
                    Check { source_epoch: "1", topic, partition, usage_log_keep_days, rejected_keep_days: 90, log_append_time };
                let real = self.real.row3_violations(&check).await.unwrap();
                let memory = self.memory.row3_violations(&check).await.unwrap();
                assert_eq!(real.is_some(), memory.is_some(), "seed {seed}: {real:?} {memory:?}");
                if let Some(finding) = &real {
                    kinds.insert(finding.chars().filter(|c| !c.is_ascii_digit()).collect());
                }
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
            let range = |months, received, digest| Range {
                source_epoch: "1",
                topic,
                topic_id: &origin.topic_id,
                partition: 0,
                from: stamp.from,
                to: stamp.to,
                months,
                received,
                digest,
            };
            let first = &months[..months.len().min(1)];
            let log = self.real.witnesses(&range(months, *received, None)).await.unwrap();
            let digest = log.iter().find(|proof| proof.table == "usage_log").map(|proof| proof.digest);
            let wide = if seed.is_multiple_of(2) { range(&[], None, None) } else { range(first, None, None) };
            for range in [range(months, *received, None), wide, range(first, *received, digest)] {
                let mut real = self.real.witnesses(&range).await.unwrap();
                real.sort_by(|a, b| (&a.table, a.month).cmp(&(&b.table, b.month)));
                assert_eq!(real, self.memory.witnesses(&range).await.unwrap(), "seed {seed}: {range:?}");
            }
            let real = self.real.batches_row("1", topic, 0, stamp.from).await.unwrap();
            assert_eq!(real, self.memory.batches_row("1", topic, 0, stamp.from).await.unwrap(), "seed {seed}");
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

/// What is wrong with one batch of a history.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Nothing,
    /// A block of this table is absent.
    Absent(Table),
    /// A block of this table is there twice.
    Twice(Table),
    /// A block of this table is there a second time, of rows with another digest.
    Another(Table),
    /// Nothing is there but the row in `batches`.
    Everything,
    /// The row in `batches` is absent.
    NoRow,
    /// The row begins or ends elsewhere.
    Ends(i64, i64),
    /// The row counts so many more as accepted, and as rejected.
    Counts(i64, i64),
    /// The row does not follow the one before.
    Prev,
    /// The row says that this is a gap.
    Gap,
    /// The row was written a month ago.
    Old,
    /// The batch came from another life of the topic.
    TopicId,
    /// A block of this table came late, of a range that was never finished.
    Stray(Table),
}

const WRONG: [Wrong; 27] = [
    Wrong::Nothing,
    Wrong::Absent(Table::UsageLog),
    Wrong::Absent(Table::SessionUsers),
    Wrong::Absent(Table::UsageHourly),
    Wrong::Absent(Table::RejectedEvents),
    Wrong::Twice(Table::UsageLog),
    Wrong::Twice(Table::SessionUsers),
    Wrong::Twice(Table::UsageHourly),
    Wrong::Twice(Table::RejectedEvents),
    Wrong::Another(Table::UsageLog),
    Wrong::Another(Table::SessionUsers),
    Wrong::Another(Table::UsageHourly),
    Wrong::Another(Table::RejectedEvents),
    Wrong::Everything,
    Wrong::NoRow,
    Wrong::Ends(0, 3),
    Wrong::Ends(-2, 0),
    Wrong::Ends(1, -1),
    Wrong::Counts(1, -1),
    Wrong::Counts(-1, 1),
    Wrong::Prev,
    Wrong::Gap,
    Wrong::Old,
    Wrong::TopicId,
    Wrong::Stray(Table::UsageLog),
    Wrong::Stray(Table::SessionUsers),
    Wrong::Stray(Table::UsageHourly),
];

/// A few batches, all but one as they should be; tokens are used again throughout, and the last may have no row in `batches`.
async fn history(both: &mut Both, seed: u64, kinds: &mut BTreeSet<String>) {
    let topic = format!("topic-{seed}");
    both.ranges.clear();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let now = farebox::runtime::clock::now().plus_millis(-3_600_000);
    let mut forming = Forming::new(seed, now, rng.random_range(0..50));
    let wrong = WRONG[usize::try_from(seed).unwrap() % WRONG.len()];
    let count = rng.random_range(2..4);
    let which = rng.random_range(0..count);
    let mut prev = None;
    for number in 0..count {
        let batch = forming.batch(if number == which { 30 } else { rng.random_range(0..6) });
        let wrong = if number == which { wrong } else { Wrong::Nothing };
        let mut origin = Origin { topic: topic.clone(), ..origin(0) };
        if matches!(wrong, Wrong::TopicId) {
            origin.topic_id = "an/other".into();
        }
        let stamp = stamp(&batch, rng.random_range(1..3));
        for block in blocks(&batch.rows, &origin, &stamp) {
            let is_absent = match wrong {
                Wrong::Absent(table) => block.table == table && (table == Table::UsageLog || seed > 23 || rng.random_bool(0.5)),
                Wrong::Everything => true,
                _ => false,
            };
            if is_absent {
                continue;
            }
            both.insert(&block, &block.token).await;
            if rng.random_bool(0.15) {
                both.insert(&block, &block.token).await;
            }
            if matches!(wrong, Wrong::Stray(table) if table == block.table) {
                let shorter = Stamp { to: stamp.to - 1, ..stamp };
                let late = another(&block, &batch, &origin, &shorter);
                both.insert(&late, &late.token).await;
            }
            let twin = match wrong {
                Wrong::Twice(table) if block.table == table => block.clone(),
                Wrong::Another(table) if block.table == table => another(&block, &batch, &origin, &stamp),
                _ => continue,
            };
            both.insert(&twin, &format!("{}/r1", block.token)).await;
        }
        let months: Vec<Month> = batch.rows.usage_log.keys().copied().collect();
        if number == which {
            both.ranges.push((stamp, months, batch.received));
        }
        let (mut row, mut row_stamp) = (row(&batch, prev), stamp);
        match wrong {
            Wrong::Ends(from, to) => (row_stamp.from, row_stamp.to) = (stamp.from + from, stamp.to + to),
            Wrong::Counts(accepted, rejected) => {
                row.counts.accepted = row.counts.accepted.saturating_add_signed(accepted);
                row.counts.rejected = row.counts.rejected.saturating_add_signed(rejected);
            }
            Wrong::Prev => row.prev = Some(stamp.from + 1),
            Wrong::Gap => (row.kind, row.digest) = (BatchKind::Gap, 0),
            Wrong::Old => row_stamp.written_at = stamp.written_at.plus_millis(-30 * 86_400_000),
            _ => {}
        }
        if !matches!(wrong, Wrong::NoRow) && (number == which || number + 1 < count || rng.random_bool(0.5)) {
            let block = batches_row(&row, &origin, &row_stamp);
            both.insert(&block, &block.token).await;
            prev = Some(batch.to);
        }
    }
    both.compare(&topic, seed, kinds).await;
}

/// The block of the same table and month, of rows with another digest.
fn another(block: &Block, batch: &Batch, origin: &Origin, stamp: &Stamp) -> Block {
    let mut rows = batch.rows.clone();
    rows.digest ^= 0xffff;
    blocks(&rows, origin, stamp).into_iter().find(|other| other.table == block.table && other.month == block.month).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_clickhouse_in_memory_answers_what_the_real_one_answers() {
    let (mut both, mut kinds) = (Both::new().await, BTreeSet::new());
    if let Ok(seed) = std::env::var("TABLES_SEED") {
        return history(&mut both, seed.parse().unwrap(), &mut kinds).await;
    }
    for seed in 0..27 {
        history(&mut both, seed, &mut kinds).await;
    }
    assert!(kinds.len() >= 12, "few kinds of findings were met: {kinds:#?}");
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
