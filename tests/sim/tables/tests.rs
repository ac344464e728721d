//! The ClickHouse in memory: blocks are read as they were meant, tokens and requests under way behave as the server's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farebox::aggregate::{HourlyBlock, LogBlock, RejectedBlock, SessionBlock};
use farebox::engine::{Batch, Intent};
use farebox::model::{Month, Timestamp};
use farebox::runtime::world::{Clock, Tables};
use farebox::sink::{self, BatchKind, BatchRow, Block, Stamp, Table, batches_row, blocks};
use farebox::store::{Check, Insert, Range, Stop};
use tokio::time::{Instant, timeout};

use super::forming::{Forming, origin};
use super::tables::faults::{Answer, Asked, Becomes, Course, Faults, Plan, Rates};
use super::tables::native::parse;
use super::tables::rows::Rows;
use super::tables::{Client, Server};

const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000); // 2026-03-01T12:00:00Z
const MS: Duration = Duration::from_millis(1);

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Inserts take these courses one after the other, then smooth ones; questions take no time.
struct Script(Mutex<Vec<Course>>);

impl Faults for Script {
    fn insert(&self, _table: &str, _token: &str) -> Course {
        let mut left = self.0.lock().unwrap();
        if left.is_empty() { smooth() } else { left.remove(0) }
    }

    fn question(&self, _name: &'static str) -> Asked {
        Asked::default()
    }
}

fn smooth() -> Course {
    Course::smooth(MS, MS, MS)
}

fn client(server: &Server, courses: Vec<Course>) -> Client {
    server.client(Arc::new(Script(Mutex::new(courses))), Arc::new(Noon))
}

fn stamp(batch: &Batch) -> Stamp {
    Stamp { from: batch.from, to: batch.to, price_version: batch.price_version, written_at: NOW }
}

fn row_of(batch: &Batch, prev: Option<i64>) -> Block {
    let row = BatchRow {
        kind: BatchKind::Batch,
        counts: batch.rows.counts,
        digest: batch.rows.digest,
        prev,
        leader_epoch: batch.leader_epoch,
        hash_key_id: "k".into(),
        record_time_max: batch.record_time_max,
    };
    batches_row(&row, &origin(0), &stamp(batch))
}

/// A block of `usage_hourly`.
fn a_block() -> Block {
    let batch = Forming::new(1, NOW, 0).batch(5);
    blocks(&batch.rows, &origin(0), &stamp(&batch)).into_iter().find(|block| block.table == Table::UsageHourly).unwrap()
}

#[test]
fn every_value_of_a_block_is_read_as_the_engine_meant_it() {
    let batch = Forming::new(7, NOW, 40).batch(500);
    let rows = &batch.rows;
    let parsed: Vec<Rows> = blocks(rows, &origin(3), &stamp(&batch))
        .iter()
        .map(|block| {
            let rows = Rows::of_block(block.table, &block.body).unwrap();
            assert_eq!(rows.months(), BTreeSet::from([block.month.0]), "{}", block.table);
            rows
        })
        .collect();
    let log: Vec<_> = parsed.iter().flat_map(|rows| if let Rows::Log(rows) = rows { &rows[..] } else { &[] }).collect();
    let meant: Vec<_> = rows.usage_log.values().flat_map(LogBlock::rows).collect();
    assert_eq!((log.len(), meant.len() as u64), (meant.len(), rows.counts.accepted));
    for (read, meant) in log.iter().zip(meant) {
        let texts = [&read.account, &read.source, &read.id, &read.platform, &read.agent, &read.category, &read.model];
        assert_eq!(texts, [meant.account, meant.source, meant.id, meant.platform, meant.agent, meant.category, meant.model]);
        assert_eq!((read.event_time, read.received_at), (meant.event_time.millis(), meant.received_at.millis()));
        assert_eq!((read.day, read.user_hash, read.offset), (meant.day.epoch_days(), meant.user_hash, meant.offset));
        assert_eq!((read.quantity, read.cost, read.priced), (meant.quantity.nanos(), meant.cost.nanos(), meant.priced));
        assert_eq!((read.input_tokens, read.digest, read.price_version), (meant.input_tokens, rows.digest, batch.price_version));
        assert_eq!((read.source_epoch.as_str(), read.topic.as_str(), read.partition), ("1", "usage.events", 3));
    }
    let sessions: Vec<_> = parsed.iter().flat_map(|rows| if let Rows::Sessions(rows) = rows { &rows[..] } else { &[] }).collect();
    let meant: Vec<_> = rows.session_users.values().flat_map(SessionBlock::rows).collect();
    let users: Vec<_> = sessions.iter().filter(|row| !row.account.is_empty()).collect();
    assert!(users.len() == meant.len() && users.len() > 5);
    for (read, meant) in users.iter().zip(meant) {
        assert_eq!((&read.account[..], &read.platform[..], read.events), (meant.account, meant.platform, meant.events));
        assert_eq!(read.users, meant.users.iter().copied().collect());
        assert_eq!(i64::from(read.session_start), meant.session.start().seconds());
    }
    let hours: Vec<_> = parsed.iter().flat_map(|rows| if let Rows::Hourly(rows) = rows { &rows[..] } else { &[] }).collect();
    let (witnesses, hours): (Vec<_>, Vec<_>) = hours.into_iter().partition(|row| row.account.is_empty());
    let meant: Vec<_> = rows.usage_hourly.values().flat_map(HourlyBlock::rows).collect();
    assert_eq!((witnesses.len(), hours.len()), (rows.usage_hourly.len(), meant.len()));
    for witness in witnesses {
        assert_eq!((&witness.batch, witness.blocks), (&sink::witness(&origin(3), &stamp(&batch)), 1));
    }
    for (read, meant) in hours.iter().zip(meant) {
        assert_eq!((read.sums.cost, read.sums.events), (meant.sums.cost.nanos(), meant.sums.events));
        assert_eq!(read.sums.quantity, meant.sums.quantity.nanos());
        assert_eq!(
            (read.sums.unpriced_events, read.sums.unattributed_events),
            (meant.sums.unpriced_events, meant.sums.unattributed_events)
        );
    }
    let rejected: Vec<_> = parsed.iter().flat_map(|rows| if let Rows::Rejected(rows) = rows { &rows[..] } else { &[] }).collect();
    let meant: Vec<_> = rows.rejected.values().flat_map(RejectedBlock::rows).collect();
    assert!(rejected.len() == meant.len() && rejected.len() > 5);
    for (read, meant) in rejected.iter().zip(meant) {
        assert_eq!((&read.key[..], &read.payload[..], &read.reason[..]), (meant.key, meant.payload, meant.reason.as_str()));
    }
}

#[test]
fn a_block_that_is_cut_or_followed_by_something_is_none() {
    let block = a_block();
    for length in 0..block.body.len() {
        assert!(parse(&block.body[..length]).is_err(), "cut at {length}");
    }
    assert!(parse(&[&block.body[..], &[0]].concat()).unwrap_err().contains("1 bytes follow"));
    assert!(Rows::of_block(Table::UsageLog, &block.body).is_err(), "columns of another table");
}

#[tokio::test(start_paused = true)]
async fn a_known_token_succeeds_without_rows_until_it_leaves_the_window() {
    let (server, block) = (Server::new(), a_block());
    let client = client(&server, Vec::new());
    for token in ["a", "a", "b", "c", "a"] {
        assert!(matches!(client.insert(&block, token).await, Insert::Done));
    }
    assert_eq!((server.parts("usage_hourly"), server.tokens("usage_hourly")), (3, 3));
    server.set_tokens_max(2);
    for token in ["d", "c", "a"] {
        assert!(matches!(client.insert(&block, token).await, Insert::Done));
    }
    assert_eq!((server.parts("usage_hourly"), server.tokens("usage_hourly")), (5, 2), "`a` was forgotten, `c` not");
    server.set_tokens_max(0);
    assert!(matches!(client.insert(&block, "a").await, Insert::Done));
    assert!(matches!(client.insert(&block, "a").await, Insert::Done));
    assert_eq!(server.parts("usage_hourly"), 7, "nothing is remembered any more");
}

#[tokio::test(start_paused = true)]
async fn every_course_of_an_insert_is_doubt_but_the_smooth_one() {
    let courses = [
        (Course { way: None, ..smooth() }, 0, 0),
        (Course { answer: Answer::Lost, ..smooth() }, 1, 1),
        (Course { answer: Answer::Error(241), ..smooth() }, 1, 1),
        (Course { becomes: Becomes::Nothing, answer: Answer::Error(252), ..smooth() }, 0, 0),
        (Course { becomes: Becomes::Burnt, answer: Answer::Lost, ..smooth() }, 0, 1),
    ];
    for (course, parts, tokens) in courses {
        let server = Server::new();
        let shown = format!("{course:?}");
        let client = client(&server, vec![course]);
        assert!(matches!(client.insert(&a_block(), "t").await, Insert::Doubt(_)), "{shown}");
        assert_eq!((server.parts("usage_hourly"), server.tokens("usage_hourly")), (parts, tokens), "{shown}");
        assert!(matches!(client.insert(&a_block(), "t").await, Insert::Done), "{shown}");
        let there = usize::from(!shown.contains("Burnt"));
        assert_eq!(server.parts("usage_hourly"), there, "again under the same token: {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_insert_is_seen_as_running_while_the_server_works_on_it_and_lands_without_its_sender() {
    let server = Server::new();
    let late = Course { way: Some(100 * MS), work: 90_000 * MS, ..smooth() };
    let client = client(&server, vec![late]);
    let (block, began) = (a_block(), Instant::now());
    let sender = timeout(50 * MS, client.insert(&block, "1/t/0/0-5/202603")).await;
    assert!(sender.is_err() && began.elapsed() == 50 * MS, "the sender died");
    assert!(!client.running("1/t/0/0-5").await.unwrap(), "it is still on its way");
    tokio::time::advance(100 * MS).await;
    assert!(client.running("1/t/0/0-5").await.unwrap());
    assert!(!client.running("1/t/0/0-50").await.unwrap(), "another range");
    assert!(!client.running("1/t/0/0").await.unwrap(), "half a range");
    assert_eq!((server.in_flight(), server.parts("usage_hourly")), (1, 0));
    assert!(matches!(client.insert(&block, "1/t/0/0-5/202603").await, Insert::Done), "its twin was faster");
    tokio::time::advance(90_000 * MS).await;
    assert_eq!((server.in_flight(), server.parts("usage_hourly")), (0, 1));
    assert!(!client.running("1/t/0/0-5").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_sender_gives_up_after_its_patience_and_a_cut_body_inserts_nothing() {
    let server = Server::new();
    let slow = Course { work: 61_000 * MS, ..smooth() };
    let cut = Course { outlives_sender: false, ..smooth() };
    let client = client(&server, vec![slow, cut]);
    let began = Instant::now();
    assert!(matches!(client.insert(&a_block(), "slow").await, Insert::Doubt(_)));
    assert_eq!((began.elapsed(), server.parts("usage_hourly")), (60_000 * MS, 0));
    assert!(timeout(MS, client.insert(&a_block(), "cut")).await.is_err());
    tokio::time::advance(5_000 * MS).await;
    assert_eq!((server.in_flight(), server.parts("usage_hourly"), server.tokens("usage_hourly")), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_away_everything_fails_and_what_was_sent_waits() {
    let server = Server::new();
    let client = client(&server, vec![Course { work: 10 * MS, ..smooth() }]);
    let block = a_block();
    let insert = client.insert(&block, "t");
    let outage = async {
        tokio::time::sleep(5 * MS).await;
        server.set_down(true);
    };
    let (insert, ()) = tokio::join!(insert, outage);
    assert!(matches!(insert, Insert::Doubt(_)));
    assert!(matches!(client.insert(&block, "u").await, Insert::Doubt(_)));
    assert!(client.facts("1", "usage.events", 0).await.is_err() && client.stops("usage.events").await.is_err());
    assert_eq!(server.parts("usage_hourly"), 0);
    server.set_down(false);
    assert_eq!((server.in_flight(), server.parts("usage_hourly")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_forgets_what_it_worked_on_but_perhaps_not_its_token() {
    for burns in [false, true] {
        let server = Server::new();
        let client = client(&server, vec![Course { work: 10 * MS, ..smooth() }]);
        let block = a_block();
        let kill = async {
            tokio::time::sleep(5 * MS).await;
            server.kill(|token| token == "t" && burns);
        };
        let (insert, ()) = tokio::join!(client.insert(&block, "t"), kill);
        assert!(matches!(insert, Insert::Doubt(_)));
        assert_eq!((server.parts("usage_hourly"), server.tokens("usage_hourly")), (0, usize::from(burns)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_table_is_as_it_was_and_tokens_are_what_one_says() {
    let server = Server::new();
    let client = client(&server, Vec::new());
    let block = a_block();
    assert!(matches!(client.insert(&block, "a").await, Insert::Done));
    let copy = server.snapshot();
    for (keeps, again) in [(true, 1), (false, 2)] {
        assert!(matches!(client.insert(&block, "b").await, Insert::Done));
        server.restore(&copy, &["batches"], false);
        assert_eq!(server.parts("usage_hourly"), 2, "another table");
        server.restore(&copy, &["usage_hourly"], keeps);
        assert_eq!(server.parts("usage_hourly"), 1);
        assert!(matches!(client.insert(&block, "b").await, Insert::Done));
        assert_eq!(server.parts("usage_hourly"), again);
        server.restore(&copy, &["usage_hourly"], false);
    }
    server.forget_tokens(|table, _| table != "usage_hourly");
    assert!(matches!(client.insert(&block, "a").await, Insert::Done));
    assert_eq!(server.parts("usage_hourly"), 2);
}

#[tokio::test(start_paused = true)]
async fn entries_are_unique_by_key_whatever_becomes_of_their_inserts() {
    let server = Server::new();
    let lost = Course { way: None, ..smooth() };
    let burnt = Course { becomes: Becomes::Burnt, answer: Answer::Lost, ..smooth() };
    let client = client(&server, vec![lost.clone(), burnt.clone(), lost.clone(), lost.clone(), burnt]);
    let first = client.begin_source("t", "id-1", NOW).await;
    assert!(first.is_err(), "three sends in doubt");
    let begun = client.begin_source("t", "id-1", NOW).await.unwrap();
    assert_eq!(client.begin_source("t", "id-2", NOW).await.unwrap(), begun, "who comes second gets the first");
    assert_eq!(client.source("t").await.unwrap(), Some(begun));
    assert_eq!(client.source("u").await.unwrap(), None);
    let stop = |partition, millis, cleared| Stop {
        source_epoch: "1".into(),
        topic: "t".into(),
        partition,
        kind: "gap".into(),
        reason: "r".into(),
        at: NOW.plus_millis(millis),
        cleared,
    };
    for each in [stop(1, 0, 0), stop(0, 0, 0), stop(0, 0, 0), stop(1, 5, 1), stop(0, 7, 0)] {
        client.stop(&each).await.unwrap();
    }
    assert_eq!(client.stops("t").await.unwrap(), [stop(0, 7, 0)]);
    assert_eq!((server.standing_stops("t"), server.parts("stops")), (vec![stop(0, 7, 0)], 4));
}

#[tokio::test(start_paused = true)]
async fn a_question_may_read_its_tables_one_after_the_other() {
    struct Torn;
    impl Faults for Torn {
        fn insert(&self, _table: &str, _token: &str) -> Course {
            Course::smooth(Duration::ZERO, Duration::ZERO, Duration::ZERO)
        }
        fn question(&self, _name: &'static str) -> Asked {
            Asked { between_tables: 10 * MS, ..Asked::default() }
        }
    }
    let server = Server::new();
    let client = server.client(Arc::new(Torn), Arc::new(Noon));
    let batch = Forming::new(3, NOW, 0).batch(4);
    let write = async {
        tokio::time::sleep(15 * MS).await;
        for block in blocks(&batch.rows, &origin(0), &stamp(&batch)).iter().chain([&row_of(&batch, None)]) {
            assert!(matches!(client.insert(block, &block.token).await, Insert::Done));
        }
    };
    let (facts, ()) = tokio::join!(client.facts("1", "usage.events", 0), write);
    let facts = facts.unwrap();
    assert!(facts.end.is_none() && facts.witnesses.len() == 1, "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    let run = |seed| async move {
        let server = Server::new();
        let rates =
            Rates { lost: 100, answer_lost: 100, error_inserted: 50, error: 50, burnt: 100, late: 100, question: 50, torn: 500 };
        let client = server.client(Arc::new(Plan::new(seed, rates)), Arc::new(Noon));
        let mut forming = Forming::new(seed, NOW, 0);
        let (mut prev, mut seen) = (None, Vec::new());
        for _ in 0..20 {
            let batch = forming.batch(6);
            for block in blocks(&batch.rows, &origin(0), &stamp(&batch)).iter().chain([&row_of(&batch, prev)]) {
                seen.push(matches!(client.insert(block, &block.token).await, Insert::Done));
            }
            prev = Some(batch.to);
            seen.push(client.facts("1", "usage.events", 0).await.is_ok());
        }
        server.land_all();
        (seen, format!("{:?} {:?}", server.usage_log(), server.batches()), Instant::now().into_std())
    };
    let (first, second, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    assert_ne!(first.0, other.0);
    assert!(first.0.contains(&false) && first.0.contains(&true));
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_read_back_as_witnesses_rows_and_sums() {
    let server = Server::new();
    let client = client(&server, Vec::new());
    let mut forming = Forming::new(5, NOW, 10);
    let batch = forming.batch(30);
    let intent = Intent::new(&batch, None, "k", "aB/+9", NOW);
    let all = blocks(&batch.rows, &origin(0), &stamp(&batch));
    for block in &all {
        assert!(matches!(client.insert(block, &block.token).await, Insert::Done));
    }
    let facts = client.facts("1", "usage.events", 0).await.unwrap();
    assert!(facts.end.is_none());
    let [range] = &facts.witnesses[..] else { panic!("{facts:?}") };
    assert_eq!((range.from, range.to, &range.digests[..]), (10, intent.to, &[intent.digest][..]));
    let months: Vec<Month> = batch.rows.usage_log.keys().copied().collect();
    for (months, received) in [(&months[..], batch.received), (&[][..], None)] {
        let range = Range {
            source_epoch: "1",
            topic: "usage.events",
            topic_id: "aB/+9",
            partition: 0,
            from: batch.from,
            to: batch.to,
            months,
            received,
            digest: received.map(|_| intent.digest),
        };
        let proofs = client.witnesses(&range).await.unwrap();
        assert_eq!(proofs.len(), all.len());
        let logged: u64 = proofs.iter().filter(|proof| proof.table == "usage_log").map(|proof| proof.count).sum();
        assert_eq!(logged, intent.counts.accepted);
    }
    assert!(matches!(client.insert(&row_of(&batch, None), "b").await, Insert::Done));
    let end = client.facts("1", "usage.events", 0).await.unwrap().end.unwrap();
    assert_eq!((end.offset_to, end.oldest_prev, end.broken_prevs), (batch.to, -1, 0));
    assert_eq!(client.end_of_batches("1", "usage.events", 0).await.unwrap(), Some(batch.to));
    let events: u64 = server.usage_hourly().values().map(|sums| sums.events).sum();
    assert_eq!((events, server.usage_log().len() as u64), (intent.counts.accepted, intent.counts.accepted));
    assert_eq!(server.rejected_events().len() as u64, intent.counts.rejected);
    assert!(server.session_users().values().all(|(users, events)| users.len() as u64 <= *events));
}

#[tokio::test(start_paused = true)]
async fn a_block_of_a_range_that_was_never_finished_is_a_finding() {
    for table in [Table::SessionUsers, Table::UsageHourly, Table::UsageLog] {
        let server = Server::new();
        let client = client(&server, Vec::new());
        let mut forming = Forming::new(9, NOW, 0);
        let promised = forming.batch(3);
        let mut forming = Forming::new(9, NOW, 0);
        let written = forming.batch(8);
        let next = forming.batch(8);
        for batch in [&written, &next] {
            let prev = (batch.from > 0).then_some(batch.from);
            for block in blocks(&batch.rows, &origin(0), &stamp(batch)).iter().chain([&row_of(batch, prev)]) {
                assert!(matches!(client.insert(block, &block.token).await, Insert::Done));
            }
        }
        let check = Check {
            source_epoch: "1",
            topic: "usage.events",
            partition: 0,
            usage_log_keep_days: 400,
            rejected_keep_days: 90,
            log_append_time: true,
        };
        assert_eq!(client.row3_violations(&check).await.unwrap(), None);
        // What a process sent before the group forgot its promise, and another wrote the range otherwise.
        let late = blocks(&promised.rows, &origin(0), &stamp(&promised)).into_iter().find(|block| block.table == table).unwrap();
        assert!(matches!(client.insert(&late, &late.token).await, Insert::Done));
        let finding = client.row3_violations(&check).await.unwrap();
        assert!(finding.as_ref().is_some_and(|finding| finding.contains(table.name())), "{table}: {finding:?}");
    }
}
