//! The window against a naive one, and against itself built again.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;

const LIMITS: Limits = Limits { window_ms: 900_000, ids_max: 1_000, expire_by_time: false };

/// When the logs of these tests begin.
const BEGIN: i64 = 1_772_366_400_000;

/// A record: key, payload, milliseconds since the log began.
type Occurrence = (u64, u64, i64);

/// A key for tests, spread as a hash would be.
fn fingerprint(key: u64, payload: u64) -> Fingerprint {
    Fingerprint { key: key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15), payload }
}

fn observe(window: &mut Window, offset: usize, (key, payload, at): Occurrence) -> Decision {
    window.observe(fingerprint(key, payload), offset as i64, Timestamp::from_millis(at.saturating_add(BEGIN)))
}

fn decisions(limits: Limits, log: &[Occurrence]) -> Vec<Decision> {
    let mut window = Window::new(limits);
    log.iter().enumerate().map(|(offset, &occurrence)| observe(&mut window, offset, occurrence)).collect()
}

/// The rules, word for word and slowly.
fn naive(limits: Limits, log: &[Occurrence]) -> Vec<(Decision, Option<i64>, usize)> {
    let mut previous: HashMap<u64, (u64, i64)> = HashMap::new();
    let mut order: Vec<(u64, usize)> = Vec::new();
    let mut answers = Vec::new();
    for (offset, &(key, payload, at)) in log.iter().enumerate() {
        let decision = match previous.get(&key) {
            Some(&(before, then)) if (at - then).abs() <= limits.window_ms => {
                if before == payload {
                    Decision::Duplicate
                } else {
                    Decision::Conflict
                }
            }
            _ => Decision::New,
        };
        previous.insert(key, (payload, at));
        order.retain(|&(other, _)| other != key);
        order.push((key, offset));
        while order.len() > limits.ids_max {
            previous.remove(&order.remove(0).0);
        }
        while limits.expire_by_time && order.first().is_some_and(|(key, _)| previous[key].1 < at - limits.window_ms) {
            previous.remove(&order.remove(0).0);
        }
        answers.push((decision, order.first().map(|&(_, offset)| offset as i64), order.len()));
    }
    answers
}

#[test]
fn a_repeated_event_is_a_duplicate_and_a_changed_one_a_conflict() {
    use Decision::{Conflict, Duplicate, New};
    let log = [(1, 1, 0), (1, 1, 5), (1, 2, 6), (1, 2, 7), (1, 1, 8), (2, 1, 8)];
    assert_eq!(decisions(LIMITS, &log), [New, Duplicate, Conflict, Duplicate, Conflict, New]);
}

#[test]
fn the_window_includes_its_end_and_reaches_both_ways() {
    use Decision::{Duplicate, New};
    assert_eq!(decisions(LIMITS, &[(1, 1, 0), (1, 1, 900_000), (1, 1, 0)]), [New, Duplicate, Duplicate]);
    assert_eq!(decisions(LIMITS, &[(1, 1, 0), (1, 1, 900_001), (1, 1, 0)]), [New, New, New]);
}

#[test]
fn the_previous_occurrence_counts_and_not_the_first() {
    use Decision::{Duplicate, New};
    let log = [(1, 1, 0), (1, 1, 600_000), (1, 1, 1_200_000), (1, 1, 2_200_000)];
    assert_eq!(decisions(LIMITS, &log), [New, Duplicate, Duplicate, New]);
}

#[test]
fn the_id_seen_longest_ago_leaves_when_there_are_too_many() {
    use Decision::{Duplicate, New};
    let limits = Limits { ids_max: 2, ..LIMITS };
    // 1 is seen again, so that 2 is the oldest when 3 comes.
    let log = [(1, 1, 0), (2, 1, 0), (1, 1, 0), (3, 1, 0), (1, 1, 0), (2, 1, 0)];
    assert_eq!(decisions(limits, &log), [New, New, Duplicate, New, Duplicate, New]);
    assert_eq!(decisions(Limits { ids_max: 0, ..LIMITS }, &[(1, 1, 0), (1, 1, 0)]), [New, New]);
}

#[test]
fn ids_leave_by_time_only_where_told_so() {
    for (expire_by_time, len, oldest) in [(true, 1, 2), (false, 3, 0)] {
        let mut window = Window::new(Limits { expire_by_time, ..LIMITS });
        assert_eq!(window.oldest_offset(), None);
        for (offset, at) in [0, 1, 900_002].into_iter().enumerate() {
            observe(&mut window, offset, (offset as u64, 1, at));
        }
        assert_eq!(window.len(), len);
        assert!(window.oldest_offset().is_some_and(|offset| offset <= oldest));
        assert!(!window.is_empty());
    }
}

#[test]
fn timestamps_at_the_ends_of_their_range_do_no_harm() {
    let log = [i64::MIN, i64::MAX, i64::MIN, -1 - BEGIN, i64::MAX, i64::MAX].map(|at| (1, 1, at));
    for window_ms in [i64::MIN, -1, 0, i64::MAX] {
        for expire_by_time in [false, true] {
            let last = decisions(Limits { window_ms, ids_max: 3, expire_by_time }, &log).last().copied();
            assert_eq!(last, Some(Decision::Duplicate));
        }
    }
}

#[test]
fn the_span_is_what_the_limit_on_ids_leaves_of_the_window() {
    let mut window = Window::new(Limits { ids_max: 10, ..LIMITS });
    assert_eq!(window.span_ms(), 900_000);
    for n in 0..10 {
        observe(&mut window, n, (n as u64, 1, n as i64 * 1_000));
    }
    assert_eq!(window.span_ms(), 900_000, "nobody had to leave");
    for n in 10..20 {
        observe(&mut window, n, (n as u64, 1, n as i64 * 1_000));
    }
    assert_eq!(window.span_ms(), 10_000);
    observe(&mut window, 20, (20, 1, 2_000_000));
    assert_eq!(window.span_ms(), 900_000, "who left is out of the window by now");
}

#[test]
fn memory_is_bounded_by_the_number_of_ids() {
    let ids_max = 20_000;
    let bound = ids_max * Window::BYTES_PER_ID_MAX + Window::BYTES_FREE;
    // Only new ids, then a hot id that moves all the time, ids in the same round again, and a mix of all.
    let rounds: [fn(u64) -> u64; 4] = [|n| n, |_| 7, |n| n % 20_000, |n| if n % 2 == 0 { n } else { n / 7 % 30_000 }];
    let mut window = Window::new(Limits { ids_max, ..LIMITS });
    let mut offset = 0;
    for round in rounds {
        for n in 0..200_000 {
            observe(&mut window, offset, (round(n), 1, 0));
            offset += 1;
            assert!(window.bytes() <= bound, "{} bytes at {offset} for {} ids, at most {bound}", window.bytes(), window.len());
            assert!(window.len() <= ids_max);
        }
    }
}

#[test]
fn a_hot_id_alone_costs_no_memory() {
    let mut window = Window::new(LIMITS);
    for n in 0..100_000 {
        observe(&mut window, n, (7, 1, 0));
    }
    assert!(window.bytes() < Window::BYTES_FREE, "{}", window.bytes());
    assert_eq!((window.len(), window.oldest_offset()), (1, Some(99_999)));
}

fn log() -> impl Strategy<Value = Vec<Occurrence>> {
    proptest::collection::vec((0_u64..40, 0_u64..2, 0_i64..400), 0..300)
}

/// The same log as a broker that stamps records itself would have it.
fn monotone(log: &[Occurrence]) -> Vec<Occurrence> {
    let mut now = 0;
    log.iter()
        .map(|&(key, payload, step)| {
            now += step / 20;
            (key, payload, now)
        })
        .collect()
}

fn limits() -> impl Strategy<Value = Limits> {
    (0_i64..200, prop_oneof![0_usize..50, Just(usize::MAX)]).prop_map(|(window_ms, ids_max)| Limits {
        window_ms,
        ids_max,
        expire_by_time: false,
    })
}

/// Whether a window built again from the offset that the first one names decides the rest as the first one does.
fn rebuilds(limits: Limits, log: &[Occurrence], cut: usize) -> Result<(), TestCaseError> {
    let mut window = Window::new(limits);
    for (offset, &occurrence) in log[..cut].iter().enumerate() {
        observe(&mut window, offset, occurrence);
    }
    let mut rebuilt = Window::new(limits);
    let from = window.oldest_offset().map_or(cut, |offset| offset as usize);
    for (offset, &occurrence) in log[..cut].iter().enumerate().skip(from) {
        observe(&mut rebuilt, offset, occurrence);
    }
    prop_assert!(rebuilt.oldest_offset() >= window.oldest_offset());
    prop_assert_eq!(rebuilt.len(), window.len());
    for (offset, &occurrence) in log.iter().enumerate().skip(cut) {
        prop_assert_eq!(observe(&mut rebuilt, offset, occurrence), observe(&mut window, offset, occurrence), "at {}", offset);
        prop_assert_eq!((rebuilt.len(), rebuilt.span_ms() <= limits.window_ms), (window.len(), true));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_window_decides_as_a_naive_one(limits in limits(), log in log(), expire_by_time in any::<bool>()) {
        let limits = Limits { expire_by_time, ..limits };
        let mut window = Window::new(limits);
        for ((offset, &occurrence), (expected, oldest, len)) in log.iter().enumerate().zip(naive(limits, &log)) {
            let decision = observe(&mut window, offset, occurrence);
            prop_assert_eq!((decision, window.len()), (expected, len), "at {}", offset);
            // Never behind the oldest entry: who reads from here knows them all.
            prop_assert_eq!(window.oldest_offset().is_some(), oldest.is_some());
            prop_assert!(window.oldest_offset() <= oldest, "at {}", offset);
        }
    }

    #[test]
    fn expiry_by_time_changes_no_decision_where_time_never_runs_backwards(limits in limits(), log in log()) {
        let log = monotone(&log);
        prop_assert_eq!(decisions(limits, &log), decisions(Limits { expire_by_time: true, ..limits }, &log));
    }

    #[test]
    fn a_window_built_again_from_its_oldest_offset_decides_the_same(limits in limits(), log in log(), cut in 0_usize..300) {
        let cut = cut.min(log.len());
        rebuilds(limits, &log, cut)?;
        rebuilds(Limits { expire_by_time: true, ..limits }, &monotone(&log), cut)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_large_window_decides_as_a_naive_one_through_its_compactions(seed in any::<u64>(), ids in 50_u64..3_000, ids_max in 40_usize..2_000) {
        let limits = Limits { window_ms: 5_000, ids_max, expire_by_time: false };
        let mut state = seed | 1;
        let log: Vec<Occurrence> = (0..12_000)
            .map(|offset| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) % ids, state >> 62, offset + (state >> 50) as i64 % 100)
            })
            .collect();
        let expected = fast_naive(limits, &log);
        prop_assert_eq!(decisions(limits, &log), expected);
    }
}

/// [`naive`] for long logs: an id is remembered while fewer than `ids_max` others came after it.
fn fast_naive(limits: Limits, log: &[Occurrence]) -> Vec<Decision> {
    let mut previous: HashMap<u64, (u64, i64, usize)> = HashMap::new();
    let mut order: std::collections::BTreeMap<usize, u64> = std::collections::BTreeMap::new();
    let mut answers = Vec::new();
    for (offset, &(key, payload, at)) in log.iter().enumerate() {
        let before = previous.insert(key, (payload, at, offset));
        answers.push(match before {
            Some((before, then, _)) if (at - then).abs() <= limits.window_ms => {
                if before == payload {
                    Decision::Duplicate
                } else {
                    Decision::Conflict
                }
            }
            _ => Decision::New,
        });
        if let Some((_, _, place)) = before {
            order.remove(&place);
        }
        order.insert(offset, key);
        while order.len() > limits.ids_max {
            if let Some((_, key)) = order.pop_first() {
                previous.remove(&key);
            }
        }
    }
    answers
}

/// The offset that a broker names for a time: of the first record that is not older.
fn offset_of_time(log: &[Occurrence], time: i64) -> usize {
    log.iter().position(|&(_, _, at)| at >= time).unwrap_or(log.len())
}

/// Decides a log as owners would that follow each other at `cuts`: each begins with nothing and reads again from where the last one's
/// window begins (`by_time`: from where a broker finds the window's length before the newest record), some of it more than once.
fn decided_by_owners(limits: Limits, log: &[Occurrence], cuts: &[(usize, bool)], by_time: bool) -> Vec<Decision> {
    let mut window = Window::new(limits);
    let (mut decided, mut since) = (Vec::new(), 0);
    let mut newest = 0;
    let mut cuts: Vec<_> = cuts.iter().map(|&(cut, crashed)| (cut.min(log.len()), crashed)).collect();
    cuts.sort_unstable();
    for (to, crashed) in cuts.into_iter().chain([(log.len(), false)]) {
        // The promise of the batch [since, to) names where the window began at `since`.
        let promised = window.oldest_offset().map_or(since, |offset| offset as usize);
        let batch = |window: &mut Window| -> Vec<Decision> { (since..to).map(|at| observe(window, at, log[at])).collect() };
        let mut decisions = batch(&mut window);
        let begin = |from: usize, to: usize| {
            let mut window = Window::new(limits);
            (from..to).for_each(|at| {
                observe(&mut window, at, log[at]);
            });
            window
        };
        if crashed {
            // The next owner forms the promised batch again.
            window = begin(promised, since);
            let again = batch(&mut window);
            assert_eq!(again, decisions, "[{since}, {to}) formed again from {promised}");
            decisions = again;
        } else {
            newest = log[since..to].iter().fold(newest, |newest, &(_, _, at)| newest.max(at));
            let from = if by_time { offset_of_time(log, newest - limits.window_ms).min(to) } else { promised };
            window = begin(from, to);
        }
        decided.extend(decisions);
        since = to;
    }
    decided
}

/// Ids that somebody chose to break a window: every one new, one hammered, some that come back just before and just behind the
/// window's end, and all of them mixed; at times that no order keeps, between 1970 and 2099, unless `monotone`.
fn attack(shape: u8, seed: u64, len: usize, window_ms: i64, monotone: bool) -> Vec<Occurrence> {
    const YEAR_2099: i64 = 4_070_908_800_000 - BEGIN;
    let mut state = seed | 1;
    let mut dice = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let mut now = 0;
    (0..len as u64)
        .map(|n| {
            let key = match shape {
                0 => n,
                1 => 7,
                2 => n % 97,
                3 => n / 2 * (n % 2),
                _ => {
                    let bits = dice(12);
                    dice(1 << bits)
                }
            };
            now += dice(window_ms.unsigned_abs() / 40 + 2) as i64;
            let at = match dice(4) {
                _ if monotone => now,
                0 => YEAR_2099 - dice(1_000) as i64,
                1 => 86_400_000 - BEGIN + dice(1_000) as i64,
                _ => now,
            };
            (key, dice(8) / 7, at)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn owners_who_follow_each_other_decide_as_one_who_stayed(
        (limits, shape, seed) in (limits(), 0_u8..5, any::<u64>()),
        cuts in proptest::collection::vec((0_usize..400, any::<bool>()), 0..12),
        monotone in any::<bool>(),
    ) {
        let limits = Limits { expire_by_time: monotone, ..limits };
        let log = attack(shape, seed, 400, limits.window_ms, monotone);
        let stayed: Vec<Decision> = naive(limits, &log).into_iter().map(|(decision, ..)| decision).collect();
        prop_assert_eq!(&decided_by_owners(limits, &log, &cuts, false), &stayed);
        // Where the broker stamps the records, its search by time finds the window as well.
        if monotone {
            prop_assert_eq!(&decided_by_owners(limits, &log, &cuts, true), &stayed);
        }
    }

    #[test]
    fn no_choice_of_ids_and_times_passes_the_limits(
        (shape, seed, ids_max) in (0_u8..5, any::<u64>(), 1_usize..3_000), window_ms in 0_i64..100_000, monotone in any::<bool>(),
    ) {
        let limits = Limits { window_ms, ids_max, expire_by_time: monotone };
        let mut window = Window::new(limits);
        let log = attack(shape, seed, 10_000, window_ms, monotone);
        let expected = fast_naive(limits, &log);
        for ((offset, &occurrence), expected) in log.iter().enumerate().zip(expected) {
            let decision = observe(&mut window, offset, occurrence);
            prop_assert_eq!(decision, expected, "at {}", offset);
            prop_assert!(window.len() <= ids_max);
            prop_assert!(window.bytes() <= ids_max * Window::BYTES_PER_ID_MAX + Window::BYTES_FREE);
            prop_assert!((0..=window_ms).contains(&window.span_ms()));
        }
    }
}

#[test]
fn memory_returns_when_ids_leave() {
    let mut window = Window::new(Limits { ids_max: 100_000, expire_by_time: true, ..LIMITS });
    (0..100_000).for_each(|n| {
        observe(&mut window, n, (n as u64, 1, 0));
    });
    let full = window.bytes();
    assert!(full > 2_000_000 && full <= 100_000 * Window::BYTES_PER_ID_MAX + Window::BYTES_FREE, "{full}");
    // The night: a few ids in a window's time, for two windows.
    for n in 0..2_000 {
        observe(&mut window, 100_000 + n, (n as u64 % 50, 2, 1_000 * n as i64));
    }
    assert_eq!(window.len(), 50);
    assert!(window.bytes() <= 50 * Window::BYTES_PER_ID_MAX + Window::BYTES_FREE, "{}", window.bytes());
}
