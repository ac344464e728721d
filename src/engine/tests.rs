//! What holds for every log: however it is cut, whoever forms a range again, whatever bytes are in it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::aggregate::{Counts, LogRow, RejectedRow, Rows, Sums};
use crate::book::{self, Book};
use crate::model::{Header, SessionStart};

const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000); // 2026-03-01T12:00:00Z
const DAY_MS: i64 = 86_400_000;

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    offset: i64,
    timestamp: Timestamp,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Logged {
    fn record(&self) -> Record<'_> {
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            leader_epoch: 0,
            key: None,
            value: self.value.as_deref(),
            headers: self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect(),
        }
    }
}

fn prices() -> Arc<Prices> {
    let text = r#"
        [[account]]
        id = "delhi"
        time_zone = "Asia/Kolkata"
        session_anchor = "18:30"

        [[session_price]]
        account = "*"
        unit_session_cost = "0.5"

        [[rate]]
        account = "*"
        category = "llm"
        per_1k_input_tokens = "0.001"
        per_call = "0.000000001"
    "#;
    let file = book::parse(text, "book.toml").unwrap();
    let plan = book::plan(&Book::empty(), &file, NOON, "test", Timestamp::default(), false).unwrap();
    Arc::new(Prices::new(&Book::from_rows(plan.rows)))
}

fn rules(window: dedupe::Limits) -> Rules {
    let limits = decode::Limits { size_max: 2_048, age_max_ms: 40 * DAY_MS, ahead_max_ms: 600_000 };
    Rules { limits, window, key: HashKey::new([7; 16]) }
}

/// What a record may be: an event of a small world, so that ids and keys meet often, or bytes.
#[derive(Debug, Clone)]
enum Kind {
    Event { id: u8, account: &'static str, user: &'static str, platform: &'static str, tokens: u32, ago_ms: i64 },
    Bytes(Vec<u8>),
    Nothing,
}

impl Kind {
    fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Event { id, account, user, platform, tokens, ago_ms } => {
                let time = NOON.plus_millis(-ago_ms);
                Some(
                    format!(
                        r#"{{"id":"e{id}","time":"{time}","account":"{account}","user":"{user}","platform":"{platform}","agent":"a","category":"llm","input_tokens":{tokens}}}"#
                    )
                    .into_bytes(),
                )
            }
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Nothing => None,
        }
    }
}

fn event() -> impl Strategy<Value = Kind> {
    (
        0_u8..12,
        select(vec!["delhi", "nobody"]),
        select(vec!["", "ann", "bob", "cleo"]),
        select(vec!["", "web", "whatsapp"]),
        0_u32..3,
        // Some cross the midnights of both accounts, and the end of a month.
        prop_oneof![Just(0), 0..3 * DAY_MS],
    )
        .prop_map(|(id, account, user, platform, tokens, ago_ms)| Kind::Event { id, account, user, platform, tokens, ago_ms })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        12 => event(),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Kind::Bytes),
        1 => Just(Kind::Nothing),
    ]
}

/// A log, and the rules for its ids. The broker's timestamps never run backwards, producers' do.
fn log() -> impl Strategy<Value = (Vec<Logged>, dedupe::Limits)> {
    let records = proptest::collection::vec((kind(), 1_i64..3, 0_i64..400, -1_000_i64..1_000), 0..60);
    let limits = (select(vec![0, 300, 2_000, 1_000_000]), select(vec![0, 1, 3, 8, 1_000]), any::<bool>());
    (records, limits).prop_map(|(records, (window_ms, ids_max, is_append_time))| {
        let (mut offset, mut clock) = (-1, NOON);
        let log = records
            .into_iter()
            .map(|(kind, step, pause, jitter)| {
                offset += step;
                clock = clock.plus_millis(pause);
                let timestamp = if is_append_time { clock } else { clock.plus_millis(jitter) };
                Logged { offset, timestamp, value: kind.value(), headers: Vec::new() }
            })
            .collect();
        (log, dedupe::Limits { window_ms, ids_max, expire_by_time: is_append_time })
    })
}

/// Batches of a log, closed behind each record whose place is in `cuts`.
fn batches(log: &[Logged], rules: &Rules, cuts: &[bool]) -> Vec<Batch> {
    let mut engine = Engine::new(rules.clone(), prices(), 0);
    let mut batches = Vec::new();
    for (place, logged) in log.iter().enumerate() {
        engine.apply(&logged.record());
        if cuts.get(place).copied().unwrap_or(false) {
            batches.push(engine.close(engine.next()));
        }
    }
    batches.push(engine.close(engine.next()));
    batches
}

#[test]
fn ten_thousand_names_take_a_few_megabytes_while_their_batch_is_open_and_nothing_after() {
    let limits = dedupe::Limits { window_ms: 0, ids_max: 0, expire_by_time: true };
    let mut engine = Engine::new(rules(limits), prices(), 0);
    let empty = engine.bytes();
    for offset in 0..20_000 {
        let value = format!(
            r#"{{"id":"{offset}","time":"{NOON}","account":"delhi","agent":"agent with a long name, number {}","category":"llm"}}"#,
            offset % 10_000
        );
        engine.apply(&Logged { offset, timestamp: NOON, value: Some(value.into_bytes()), headers: Vec::new() }.record());
    }
    assert!(engine.bytes() > empty + 10_000 * 30 && engine.bytes() < 12 << 20, "{}", engine.bytes());
    let batch = engine.close(20_000);
    assert_eq!((batch.rows.counts.accepted, engine.bytes()), (20_000, empty));
}

type HourKey = (String, u16, i64, String, String, String, String);
type SessionKey = (String, SessionStart, String);

/// All that batches say together, as ClickHouse would merge it.
#[derive(Debug, PartialEq, Eq, Default)]
struct Totals {
    counts: (u64, u64, u64, u64),
    log: Vec<String>,
    rejected: Vec<String>,
    rollups: Rollups,
}

#[derive(Debug, PartialEq, Eq, Default)]
struct Rollups {
    hourly: BTreeMap<HourKey, Sums>,
    sessions: BTreeMap<SessionKey, (BTreeSet<u64>, u64)>,
}

impl Totals {
    fn of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut totals = Self::default();
        for Batch { rows, .. } in batches {
            let Counts { received, accepted, duplicates, rejected } = rows.counts;
            let counts = &mut totals.counts;
            *counts = (counts.0 + received, counts.1 + accepted, counts.2 + duplicates, counts.3 + rejected);
            totals.log.extend(rows.usage_log.values().flat_map(|block| block.rows()).map(|row: LogRow| format!("{row:?}")));
            totals
                .rejected
                .extend(rows.rejected.values().flat_map(|block| block.rows()).map(|row: RejectedRow| format!("{row:?}")));
            totals.rollups.add(rows);
        }
        totals.log.sort();
        totals.rejected.sort();
        totals
    }
}

impl Rollups {
    fn add(&mut self, rows: &Rows) {
        for row in rows.usage_hourly.values().flat_map(|block| block.rows()) {
            let names = [row.platform, row.agent, row.category, row.model].map(ToOwned::to_owned);
            let [platform, agent, category, model] = names;
            let key = (row.account.to_owned(), row.day.epoch_days(), row.hour.millis(), platform, agent, category, model);
            self.hourly.entry(key).or_default().add(&row.sums);
        }
        for row in rows.session_users.values().flat_map(|block| block.rows()) {
            let (users, events) = self.sessions.entry((row.account.to_owned(), row.session, row.platform.to_owned())).or_default();
            users.extend(row.users);
            *events += row.events;
        }
    }
}

fn check_laws(batch: &Batch) {
    let Counts { received, accepted, duplicates, rejected } = batch.rows.counts;
    assert_eq!(received, accepted + duplicates + rejected);
    assert_eq!(batch.tally.records, received);
    assert_eq!(batch.tally.rejected().map(|(_, count)| count).sum::<u64>(), rejected);
    assert_eq!(batch.dead_letters.len() as u64, rejected);
    let logged = || batch.rows.usage_log.values().flat_map(|block| block.rows());
    let hours = || batch.rows.usage_hourly.values().flat_map(|block| block.rows());
    let sessions = || batch.rows.session_users.values().flat_map(|block| block.rows());
    assert_eq!(logged().count() as u64, accepted);
    assert_eq!(hours().map(|row| row.sums.events).sum::<u64>(), accepted);
    let cost = |nanos: &mut dyn Iterator<Item = i128>| nanos.sum::<i128>();
    assert_eq!(cost(&mut hours().map(|row| row.sums.cost.nanos())), cost(&mut logged().map(|row| row.cost.nanos())));
    assert_eq!(hours().map(|row| row.sums.unpriced_events).sum::<u64>(), batch.tally.unpriced);
    assert_eq!(hours().map(|row| row.sums.unattributed_events).sum::<u64>(), batch.tally.unattributed);
    assert!(sessions().all(|row| !row.users.is_empty() && row.users.len() as u64 <= row.events));
    assert!(batch.from <= batch.to && batch.window_from <= batch.from);
}

#[test]
fn the_small_world_has_all_three_decisions() {
    let kinds =
        [0_u32, 0, 1].map(|tokens| Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens, ago_ms: 0 });
    let log: Vec<Logged> = (0..)
        .zip(&kinds)
        .map(|(offset, kind)| Logged { offset, timestamp: NOON, value: kind.value(), headers: Vec::new() })
        .collect();
    let window = dedupe::Limits { window_ms: 1_000, ids_max: 8, expire_by_time: true };
    let totals = Totals::of(&batches(&log, &rules(window), &[]));
    assert_eq!(totals.counts, (3, 1, 1, 1));
    assert!(totals.rejected[0].contains("IdConflict"), "{totals:?}");
}

#[test]
fn a_record_that_is_delivered_twice_is_taken_once() {
    let kind = Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens: 1, ago_ms: 0 };
    let logged = Logged { offset: 5, timestamp: NOON, value: kind.value(), headers: Vec::new() };
    let mut engine = Engine::new(rules(dedupe::Limits { window_ms: 0, ids_max: 0, expire_by_time: false }), prices(), 5);
    engine.apply(&logged.record());
    engine.apply(&logged.record());
    assert_eq!(engine.close(6).rows.counts.received, 1);
    engine.apply(&logged.record());
    assert_eq!(engine.close(6).rows.counts.received, 0);
}

#[test]
fn offsets_without_a_record_belong_to_the_range_they_lie_in() {
    let mut engine = Engine::new(rules(dedupe::Limits { window_ms: 0, ids_max: 0, expire_by_time: false }), prices(), 3);
    let batch = engine.close(9);
    assert_eq!((batch.from, batch.to, batch.rows.counts), (3, 9, Counts::default()));
    // Never before what was taken.
    let logged = Logged { offset: 20, timestamp: NOON, value: None, headers: Vec::new() };
    engine.apply(&logged.record());
    let batch = engine.close(10);
    assert_eq!((batch.from, batch.to, batch.rows.counts.rejected), (9, 21, 1));
}

#[test]
fn a_batch_keeps_one_price_version_and_one_leader_epoch() {
    let kind = Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens: 1, ago_ms: 0 };
    let logged = Logged { offset: 0, timestamp: NOON, value: kind.value(), headers: Vec::new() };
    let mut engine = Engine::new(rules(dedupe::Limits { window_ms: 0, ids_max: 0, expire_by_time: false }), prices(), 0);
    let other = Arc::new(Prices::new(&Book::empty()));
    engine.apply(&logged.record());
    engine.set_prices(&other);
    assert!(engine.fits(&logged.record()) && !engine.fits(&Record { leader_epoch: 1, ..logged.record() }));
    assert_eq!(engine.close(1).price_version, 1);
    engine.set_prices(&other);
    assert!(engine.fits(&Record { leader_epoch: 1, ..logged.record() }));
    assert_eq!(engine.close(1).price_version, 0);
}

#[test]
fn a_stamp_from_the_future_says_nothing_of_how_far_the_log_was_read() {
    let kind = Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens: 1, ago_ms: 0 };
    let at = |offset, timestamp| Logged { offset, timestamp, value: kind.value(), headers: Vec::new() };
    let year_2099 = Timestamp::from_millis(4_070_908_800_000);
    let mut engine = Engine::new(rules(dedupe::Limits { window_ms: 0, ids_max: 0, expire_by_time: false }), prices(), 1);
    engine.tell_time(NOON);
    engine.remember(&at(0, year_2099).record());
    engine.begin(1);
    engine.apply(&at(1, NOON).record());
    engine.apply(&at(2, year_2099).record());
    engine.apply(&at(3, NOON.plus_millis(600_000)).record());
    assert_eq!(engine.close(4).record_time_max, NOON.plus_millis(600_000));
    engine.apply(&at(4, NOON.plus_millis(600_001)).record());
    assert_eq!(engine.close(5).record_time_max, NOON.plus_millis(600_000));
    engine.tell_time(year_2099);
    engine.apply(&at(5, year_2099).record());
    assert_eq!(engine.close(6).record_time_max, year_2099);
}

#[test]
fn what_lies_before_the_window_does_not_enter_it() {
    // Whoever formed the range first knew nothing of offset 0: read again for another purpose, it must change nothing.
    let kind = Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens: 1, ago_ms: 0 };
    let log = [0, 1].map(|offset| Logged { offset, timestamp: NOON, value: kind.value(), headers: Vec::new() });
    let rules = rules(dedupe::Limits { window_ms: 1_000, ids_max: 8, expire_by_time: false });
    let mut engine = Engine::new(rules, prices(), 1);
    engine.remember(&Record { leader_epoch: 4, ..log[0].record() });
    engine.begin(1);
    assert!(engine.is_empty() && engine.window().0 == 0);
    engine.apply(&Record { leader_epoch: 4, ..log[1].record() });
    let batch = engine.close(2);
    assert_eq!((batch.rows.counts.accepted, batch.window_from, batch.leader_epoch), (1, 1, 4));
}

proptest! {
    #[test]
    fn any_split_into_batches_gives_the_same_decisions_and_totals(
        (log, window) in log(), cuts in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let rules = rules(window);
        let (whole, split) = (batches(&log, &rules, &[]), batches(&log, &rules, &cuts));
        whole.iter().chain(&split).for_each(check_laws);
        prop_assert_eq!(Totals::of(&whole), Totals::of(&split));
        let touch = split.windows(2).all(|pair| pair[0].to == pair[1].from);
        prop_assert!(touch && split[0].from == 0 && split.last().map(|batch| batch.to) == whole.last().map(|batch| batch.to));
    }

    #[test]
    fn events_of_different_ids_may_come_in_any_order(
        (kinds, order) in proptest::collection::vec(event(), 0..40).prop_flat_map(|kinds| {
            let order = Just((0..kinds.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(kinds), order)
        }),
        cuts in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let own_id = |(id, kind): (u8, Kind)| match kind {
            Kind::Event { account, user, platform, tokens, ago_ms, .. } => Kind::Event { id, account, user, platform, tokens, ago_ms },
            other => other,
        };
        let kinds: Vec<Kind> = (0..).zip(kinds).map(own_id).collect();
        let log_of = |order: &mut dyn Iterator<Item = usize>| -> Vec<Logged> {
            (0..).zip(order).map(|(offset, place)| Logged {
                offset,
                timestamp: NOON.plus_millis(offset),
                value: kinds[place].value(),
                headers: Vec::new(),
            }).collect()
        };
        let rules = rules(dedupe::Limits { window_ms: 900_000, ids_max: 1_000, expire_by_time: true });
        let straight = batches(&log_of(&mut (0..kinds.len())), &rules, &[]);
        let shuffled = batches(&log_of(&mut order.into_iter()), &rules, &cuts);
        prop_assert_eq!(straight[0].rows.counts.accepted, kinds.len() as u64);
        prop_assert_eq!(Totals::of(&straight).rollups, Totals::of(&shuffled).rollups);
    }

    #[test]
    fn a_range_formed_again_from_its_window_is_the_same(
        (log, window) in log(),
        cuts in proptest::collection::vec(any::<bool>(), 60),
        (known, start) in (0_i64..60, 0_i64..60),
        earlier in 0_i64..30,
    ) {
        // Whoever formed them first may have begun in the middle of the log, with a window that retention had shortened.
        let rules = rules(window);
        let between = |from: i64, to: i64| log.iter().filter(move |logged| (from..to).contains(&logged.offset));
        let mut first = Engine::new(rules.clone(), prices(), known.min(start));
        between(known.min(start), start).for_each(|logged| first.remember(&logged.record()));
        first.begin(start);
        let mut batches = Vec::new();
        for (logged, cut) in between(start, i64::MAX).zip(cuts) {
            first.apply(&logged.record());
            if cut {
                batches.push(first.close(first.next()));
            }
        }
        batches.push(first.close(first.next()));
        for batch in batches {
            let mut engine = Engine::new(rules.clone(), prices(), batch.window_from);
            // Reading may begin before the window: it learns nothing of that.
            between(batch.window_from - earlier, batch.from).for_each(|logged| engine.remember(&logged.record()));
            engine.begin(batch.from);
            between(batch.from, batch.to).for_each(|logged| engine.apply(&logged.record()));
            let again = engine.close(batch.to);
            prop_assert_eq!(again.rows.digest, batch.rows.digest);
            prop_assert_eq!((again.from, again.to), (batch.from, batch.to));
            prop_assert!(batch.window_from <= again.window_from && again.window_from <= batch.from);
            prop_assert_eq!(&again.tally, &batch.tally);
            prop_assert_eq!(&again.dead_letters, &batch.dead_letters);
            prop_assert_eq!(Totals::of([&again]), Totals::of([&batch]));
        }
    }

    #[test]
    fn hostile_bytes_are_counted_and_never_stop_the_neighbours(
        hostile in proptest::collection::vec(hostile(), 0..20), start in select(vec![0, 1 << 40, i64::MAX - 30]),
    ) {
        let mut engine = Engine::new(
            rules(dedupe::Limits { window_ms: i64::MAX, ids_max: 3, expire_by_time: true }), prices(), start);
        let good = Kind::Event { id: 1, account: "delhi", user: "ann", platform: "web", tokens: 1, ago_ms: 0 };
        let mut records = 0;
        for (offset, logged) in (start..).zip(&hostile) {
            engine.apply(&Record { offset, ..logged.record() });
            records += 1;
        }
        let good = Logged { offset: start + records, timestamp: NOON, value: good.value(), headers: Vec::new() };
        engine.apply(&good.record());
        let batch = engine.close(engine.next());
        check_laws(&batch);
        prop_assert_eq!(batch.rows.counts.received, records as u64 + 1);
        prop_assert!(batch.rows.usage_log.values().flat_map(|block| block.rows()).any(|row| row.offset == good.offset));
        prop_assert_eq!(Intent::from_metadata(
            Intent::new(&batch, None, "k", "t", NOON).to_string().as_bytes()).map(|intent| intent.is_some()), Ok(true));
    }
}

/// Bytes of any kind, with headers of any kind, at any moment.
fn hostile() -> impl Strategy<Value = Logged> {
    let bytes = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            proptest::collection::vec(select(br#"{}[]",:\u0d8 1e.-nulltrefasi"#.to_vec()), 0..60),
            Just(vec![b'['; 3_000]),
            Just(br#"{"id":"x","time":"0000-01-01T00:00:00Z","account":"a","agent":"a","category":"llm"}"#.to_vec()),
        ]
    };
    let name = prop_oneof![bytes(), select(vec![b"ce_specversion".to_vec(), b"ce_id".to_vec(), b"content-type".to_vec()])];
    let headers = proptest::collection::vec((name, proptest::option::of(bytes())), 0..3);
    let timestamp = prop_oneof![any::<i64>(), select(vec![i64::MIN, i64::MAX, 0]), Just(NOON.millis())];
    (proptest::option::of(bytes()), headers, timestamp).prop_map(|(value, headers, timestamp)| Logged {
        offset: 0,
        timestamp: Timestamp::from_millis(timestamp),
        value,
        headers,
    })
}
