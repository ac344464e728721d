#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dedupe::HashKey;
use crate::model::{Quantity, Reason, SessionAnchor, Zone};

/// What one record became, with everything it owns.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few records of a test")]
enum Decided {
    Accepted { event: Event<'static>, user_hash: u64, cost: i128, priced: bool, unattributed: bool },
    Duplicate,
    Rejected { reject: Reject, key: Vec<u8>, payload: Vec<u8> },
}

fn feed(fold: &mut Fold, offset: i64, decided: &Decided) {
    let received_at = Timestamp::from_millis(1_769_900_000_000 + offset * 40_000_000); // two months within some ten offsets
    match decided {
        Decided::Accepted { event, user_hash, cost, priced, unattributed } => {
            let local = Zone::UTC.local(event.time);
            let session = SessionAnchor::from_seconds(64_800).unwrap().session_of(event.time);
            fold.accept(&Accepted {
                event,
                content: HashKey::new([0; 16]).fingerprint(event).payload,
                offset,
                received_at,
                day: local.day,
                hour: local.hour,
                session,
                session_day: Zone::UTC.local(session.start()).day,
                user_hash: *user_hash,
                cost: Credits::from_nanos(*cost),
                priced: *priced,
                unattributed: *unattributed,
            });
        }
        Decided::Duplicate => fold.duplicate(offset),
        Decided::Rejected { reject, key, payload } => fold.reject(&Rejected { offset, received_at, reject, key, payload }),
    }
}

fn finish<'a>(records: impl IntoIterator<Item = &'a (i64, Decided)>) -> Rows {
    let mut fold = Fold::new();
    for (offset, decided) in records {
        feed(&mut fold, *offset, decided);
    }
    fold.finish()
}

/// Everything a batch stores, as text and in the order of the blocks.
fn contents(rows: &Rows) -> Vec<String> {
    let mut lines = vec![format!("{:?} {:016x}", rows.counts, rows.digest)];
    lines.extend(rows.usage_log.iter().flat_map(|(month, block)| block.rows().map(move |row| format!("{month} {row:?}"))));
    lines.extend(rows.usage_hourly.iter().flat_map(|(month, block)| block.rows().map(move |row| format!("{month} {row:?}"))));
    lines.extend(rows.session_users.iter().flat_map(|(month, block)| block.rows().map(move |row| format!("{month} {row:?}"))));
    lines.extend(rows.rejected.iter().flat_map(|(month, block)| block.rows().map(move |row| format!("{month} {row:?}"))));
    lines
}

type Hourly = BTreeMap<(String, Day, Timestamp, [String; 4]), Sums>;
type Sessions = BTreeMap<(String, String, SessionStart), (BTreeSet<u64>, u64)>;

/// The totals as the tables merge them: sums add up, sets unite.
fn merge(batches: &[Rows]) -> (Counts, Hourly, Sessions) {
    let (mut counts, mut hourly, mut sessions) = (Counts::default(), Hourly::new(), Sessions::new());
    for rows in batches {
        counts.received += rows.counts.received;
        counts.accepted += rows.counts.accepted;
        counts.duplicates += rows.counts.duplicates;
        counts.rejected += rows.counts.rejected;
        for row in rows.usage_hourly.values().flat_map(HourlyBlock::rows) {
            let names = [row.platform, row.agent, row.category, row.model].map(str::to_owned);
            hourly.entry((row.account.to_owned(), row.day, row.hour, names)).or_default().add(&row.sums);
        }
        for row in rows.session_users.values().flat_map(SessionBlock::rows) {
            let session = sessions.entry((row.account.to_owned(), row.platform.to_owned(), row.session)).or_default();
            session.0.extend(row.users);
            session.1 += row.events;
        }
    }
    (counts, hourly, sessions)
}

/// The same totals, folded event by event without any of the code above.
fn naive(records: &[(i64, Decided)]) -> (Hourly, Sessions) {
    let (mut hourly, mut sessions) = (Hourly::new(), Sessions::new());
    for (_, decided) in records {
        let Decided::Accepted { event, user_hash, cost, priced, unattributed } = decided else { continue };
        let local = Zone::UTC.local(event.time);
        let names = [&event.platform, &event.agent, &event.category, &event.model].map(|name| name.to_string());
        let sums = hourly.entry((event.account.to_string(), local.day, local.hour, names)).or_default();
        sums.events += 1;
        sums.cost = sums.cost.checked_add(Credits::from_nanos(*cost)).unwrap();
        sums.duration_ms += event.duration_ms.unwrap_or(0);
        sums.input_tokens += event.input_tokens.unwrap_or(0);
        sums.cached_input_tokens += event.cached_input_tokens.unwrap_or(0);
        sums.output_tokens += event.output_tokens.unwrap_or(0);
        sums.quantity = sums.quantity.checked_add(event.quantity.unwrap_or_default()).unwrap();
        sums.unpriced_events += u64::from(!priced);
        sums.unattributed_events += u64::from(*unattributed);
        if !event.user.is_empty() && !event.platform.is_empty() {
            let start = SessionAnchor::from_seconds(64_800).unwrap().session_of(event.time);
            let session = sessions.entry((event.account.to_string(), event.platform.to_string(), start)).or_default();
            session.0.insert(*user_hash);
            session.1 += 1;
        }
    }
    (hourly, sessions)
}

fn event() -> Event<'static> {
    Event {
        id: "e1".into(),
        source: "".into(),
        time: Timestamp::parse("2026-01-31T17:59:59.999Z").unwrap(),
        account: "acme".into(),
        platform: "web".into(),
        user: "u".into(),
        agent: "a".into(),
        category: "llm".into(),
        model: "".into(),
        duration_ms: None,
        input_tokens: None,
        cached_input_tokens: None,
        output_tokens: None,
        quantity: None,
        credits: None,
    }
}

fn accepted(event: Event<'static>) -> Decided {
    Decided::Accepted { event, user_hash: 7, cost: 1, priced: true, unattributed: false }
}

fn name(values: &'static [&'static str]) -> impl Strategy<Value = Cow<'static, str>> {
    prop::sample::select(values).prop_map(Cow::Borrowed)
}

fn decided() -> impl Strategy<Value = Decided> {
    let tokens = || prop::option::of(prop_oneof![0_u64..1000, Just((1 << 53) - 1)]);
    let names = (
        name(&["acme", "ünïcode", "b"]),
        name(&["", "s"]),
        name(&["", "web", "whatsapp"]),
        name(&["", "u1", "u2"]),
        name(&["bot", "bot2"]),
        name(&["llm", "training"]),
        name(&["", "m"]),
    );
    let event = (names, 0_u32..50, 0_i64..40, (tokens(), tokens(), tokens(), tokens()), prop::option::of(0_i128..1 << 69))
        .prop_map(|((account, source, platform, user, agent, category, model), id, at, tokens, quantity)| Event {
            id: format!("id-{id}").into(),
            source,
            time: Timestamp::from_millis(1_769_860_000_000 + at * 1_000_003),
            account,
            platform,
            user,
            agent,
            category,
            model,
            duration_ms: tokens.0,
            input_tokens: tokens.1,
            cached_input_tokens: tokens.2,
            output_tokens: tokens.3,
            quantity: quantity.map(Quantity::from_nanos),
            credits: None,
        });
    let accepted =
        (event, 0_u64..4, 0_i128..1 << 69, any::<bool>(), any::<bool>()).prop_map(|(event, hash, cost, priced, unattributed)| {
            let user_hash = if event.user.is_empty() { 0 } else { hash };
            Decided::Accepted { event, user_hash, cost, priced, unattributed }
        });
    let rejected =
        (prop::sample::select(&Reason::ALL[..]), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(reason, payload)| {
            Decided::Rejected { reject: Reject { reason, detail: "why".into(), account: "acme".into() }, key: b"k".into(), payload }
        });
    prop_oneof![8 => accepted, 1 => Just(Decided::Duplicate), 1 => rejected]
}

fn records() -> impl Strategy<Value = Vec<(i64, Decided)>> {
    prop::collection::vec(decided(), 0..60).prop_map(|decided| (100..).zip(decided).collect())
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_blocks_and_digest(records in records(), shuffled in any::<prop::sample::Index>()) {
        let expected = contents(&finish(&records));
        let mut other = records.clone();
        other.reverse();
        prop_assert_eq!(&contents(&finish(&other)), &expected);
        if !other.is_empty() {
            let middle = shuffled.index(other.len());
            other.rotate_left(middle);
            prop_assert_eq!(&contents(&finish(&other)), &expected);
        }
    }

    #[test]
    fn any_split_merges_to_the_naive_totals(records in records(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(records.len() + 1)).chain([0, records.len()]).collect();
        cuts.sort_unstable();
        let batches: Vec<Rows> = cuts.windows(2).map(|cut| finish(&records[cut[0]..cut[1]])).collect();
        let (counts, hourly, sessions) = merge(&batches);
        let (naive_hourly, naive_sessions) = naive(&records);
        prop_assert_eq!(hourly, naive_hourly);
        prop_assert_eq!(&sessions, &naive_sessions);
        prop_assert_eq!(counts.received, records.len() as u64);
        prop_assert_eq!(counts.received, counts.accepted + counts.duplicates + counts.rejected);
        let logged: usize = batches.iter().flat_map(|rows| rows.usage_log.values()).map(LogBlock::len).sum();
        prop_assert_eq!(logged as u64, counts.accepted);

        // A replay of every batch changes no set.
        let twice: Vec<Rows> = batches.iter().chain(&batches).cloned().collect();
        for (key, (users, _)) in merge(&twice).2 {
            prop_assert_eq!(&users, &naive_sessions[&key].0);
        }
    }

    #[test]
    fn blocks_are_sorted_by_their_tables_keys(records in records()) {
        let rows = finish(&records);
        for block in rows.usage_log.values() {
            prop_assert!(block.rows().is_sorted_by_key(|row| (row.account, row.event_time, row.id, row.offset)));
        }
        for (month, block) in &rows.usage_hourly {
            let keys: Vec<_> = block.rows().map(|r| (r.account, r.day, r.category, r.agent, r.model, r.platform, r.hour)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b), "sorted and distinct");
            prop_assert!(block.rows().all(|row| row.day.month() == *month));
        }
        for (month, block) in &rows.session_users {
            let keys: Vec<_> = block.rows().map(|row| (row.day, row.account, row.session, row.platform)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b), "sorted and distinct");
            prop_assert!(block.rows().all(|row| row.day.month() == *month && row.users.is_sorted_by(|a, b| a < b)));
        }
        for (month, block) in &rows.rejected {
            prop_assert!(block.rows().is_sorted_by_key(|row| (row.received_at, row.offset)));
            prop_assert!(block.rows().all(|row| row.received_at.month_utc() == *month));
        }
        prop_assert!(rows.usage_log.keys().eq(rows.usage_hourly.keys()));
        prop_assert!(rows.usage_log.keys().all(|month| rows.session_users.contains_key(month)), "each rollup has the log's months");
    }
}

#[test]
fn every_stored_field_moves_the_digest() {
    let digest = |records: &[(i64, Decided)]| finish(records).digest;
    let base = digest(&[(5, accepted(event()))]);
    let number = |value| Some(value);
    let changes: Vec<Decided> = vec![
        accepted(Event { id: "e2".into(), ..event() }),
        accepted(Event { source: "s".into(), ..event() }),
        accepted(Event { time: event().time.plus_millis(-1), ..event() }),
        accepted(Event { account: "acm".into(), ..event() }),
        accepted(Event { platform: "".into(), ..event() }),
        accepted(Event { agent: "b".into(), ..event() }),
        accepted(Event { category: "sql".into(), ..event() }),
        accepted(Event { model: "m".into(), ..event() }),
        // A text that moves from one field to its neighbour.
        accepted(Event { agent: "".into(), category: "allm".into(), ..event() }),
        accepted(Event { duration_ms: number(1), ..event() }),
        accepted(Event { input_tokens: number(1), ..event() }),
        accepted(Event { cached_input_tokens: number(1), ..event() }),
        accepted(Event { output_tokens: number(1), ..event() }),
        accepted(Event { quantity: Some(Quantity::from_nanos(1)), ..event() }),
        accepted(Event { credits: Some(Credits::from_nanos(1)), ..event() }),
        accepted(Event { duration_ms: number(0), ..event() }), // absent is another content than 0
        Decided::Accepted { event: event(), user_hash: 8, cost: 1, priced: true, unattributed: false },
        Decided::Accepted { event: event(), user_hash: 7, cost: 2, priced: true, unattributed: false },
        Decided::Accepted { event: event(), user_hash: 7, cost: 1, priced: false, unattributed: false },
        Decided::Accepted { event: event(), user_hash: 7, cost: 1, priced: true, unattributed: true },
        Decided::Duplicate,
    ];
    let mut digests: BTreeSet<u64> = changes.iter().map(|change| digest(&[(5, change.clone())])).collect();
    digests.extend([base, digest(&[(6, accepted(event()))]), digest(&[])]);
    assert_eq!(digests.len(), changes.len() + 3);

    let reject = |reason, detail: &str, account: &str, key: &[u8], payload: &[u8]| Decided::Rejected {
        reject: Reject { reason, detail: detail.into(), account: account.into() },
        key: key.into(),
        payload: payload.into(),
    };
    let rejects = [
        reject(Reason::Malformed, "d", "a", b"k", b"p"),
        reject(Reason::TooLarge, "d", "a", b"k", b"p"),
        reject(Reason::Malformed, "e", "a", b"k", b"p"),
        reject(Reason::Malformed, "d", "b", b"k", b"p"),
        reject(Reason::Malformed, "d", "a", b"kp", b""),
        reject(Reason::Malformed, "d", "a", b"k", b"q"),
    ];
    assert_eq!(rejects.iter().map(|change| digest(&[(5, change.clone())])).collect::<BTreeSet<_>>().len(), rejects.len());
}

#[test]
fn sums_of_tokens_stop_at_the_largest_number_and_never_wrap() {
    let largest = (1 << 53) - 1;
    let big = accepted(Event { input_tokens: Some(largest), ..event() });
    let records: Vec<(i64, Decided)> = (0..2050).map(|offset| (offset, big.clone())).collect();
    let sums_of = |records: &[(i64, Decided)]| finish(records).usage_hourly.values().next().unwrap().rows().next().unwrap().sums;
    assert_eq!(sums_of(&records[..2048]).input_tokens, 2048 * largest);
    assert_eq!(sums_of(&records).input_tokens, u64::MAX);
    assert_eq!(sums_of(&records).events, 2050);
}

#[test]
fn money_adds_exactly_at_the_largest_amounts() {
    let most = 1_000_000_000_000_000_000_000; // 10^12 credits
    let big = Decided::Accepted { event: event(), user_hash: 7, cost: most, priced: true, unattributed: false };
    let records: Vec<(i64, Decided)> = (0..1000).map(|offset| (offset, big.clone())).collect();
    let rows = finish(&records);
    let row = rows.usage_hourly.values().next().unwrap().rows().next().unwrap();
    assert_eq!(row.sums.cost.nanos(), most * 1000);
}

#[test]
fn a_key_and_a_payload_are_kept_up_to_16_kib_as_they_are() {
    let bytes: Vec<u8> = (0..=255).cycle().take(REJECTED_BYTES_MAX + 1).collect();
    let reject = Reject { reason: Reason::TooLarge, detail: "long".into(), account: String::new() };
    let rows = finish(&[(1, Decided::Rejected { reject, key: bytes.clone(), payload: bytes.clone() })]);
    let row = rows.rejected.values().next().unwrap().rows().next().unwrap();
    assert_eq!((row.key, row.payload), (&bytes[..REJECTED_BYTES_MAX], &bytes[..REJECTED_BYTES_MAX]));
    assert_eq!((rows.counts.rejected, rows.usage_log.len(), rows.session_users.len()), (1, 0, 0));
}

#[test]
fn a_session_that_began_in_the_month_before_lies_there_and_the_logs_month_gets_an_empty_block() {
    let rows = finish(&[(1, accepted(Event { time: Timestamp::parse("2026-02-01T01:00:00Z").unwrap(), ..event() }))]);
    let sessions: Vec<_> = rows.session_users.iter().map(|(month, block)| (month.0, block.len())).collect();
    assert_eq!(sessions, [(202_601, 1), (202_602, 0)]);
    assert_eq!(rows.usage_log.keys().map(|month| month.0).collect::<Vec<_>>(), [202_602]);
}

#[test]
fn only_an_event_with_user_and_platform_counts_in_a_session() {
    let events = [event(), Event { user: "".into(), ..event() }, Event { platform: "".into(), ..event() }];
    let records: Vec<(i64, Decided)> = (0..).zip(events.map(accepted)).collect();
    let rows = finish(&records);
    let sessions: Vec<_> = rows.session_users.values().flat_map(SessionBlock::rows).map(|row| (row.platform, row.events)).collect();
    assert_eq!(sessions, [("web", 1)]);
}

#[test]
fn memory_grows_with_what_is_held() {
    let mut fold = Fold::new();
    let empty = fold.bytes();
    feed(&mut fold, 1, &accepted(event()));
    let one = fold.bytes();
    let payload = vec![0; 10_000];
    feed(
        &mut fold,
        2,
        &Decided::Rejected {
            reject: Reject { reason: Reason::Malformed, detail: String::new(), account: String::new() },
            key: vec![],
            payload,
        },
    );
    assert!(empty < one && one + 10_000 <= fold.bytes());
}
