//! A test for each row of the decision table, and that no state lies outside of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::aggregate::Counts;
use crate::model::Timestamp;

const ID: &str = "topic-1";

/// Nothing known of a log of 100 records.
fn fresh() -> Facts {
    Facts {
        topic_id: ID.into(),
        known_topic_id: None,
        strange_topic_ids: Vec::new(),
        committed: None,
        intent: Ok(None),
        end: None,
        gap_from: None,
        oldest_prev: None,
        violation: None,
        written: Vec::new(),
        rows: None,
        log_start: 0,
        log_end: 100,
    }
}

/// The log read and written up to 40, and committed.
fn at_40() -> Facts {
    Facts { known_topic_id: Some(ID.into()), committed: Some(40), end: Some(40), ..fresh() }
}

fn intent(to: i64, prev: Option<i64>) -> Intent {
    Intent {
        to,
        prev,
        window_from: 0,
        price_version: 1,
        hash_key_id: "0123456789abcdef".into(),
        topic_id: ID.into(),
        leader_epoch: 0,
        counts: Counts { received: 1, accepted: 1, duplicates: 0, rejected: 0 },
        digest: 7,
        time: Timestamp::MIN,
    }
}

fn promise(to: i64, prev: Option<i64>) -> Result<Option<Intent>, NotAnIntent> {
    Ok(Some(intent(to, prev)))
}

fn written(from: i64, to: i64) -> Written {
    Written { from, to, digest: Some(7), price_version: 1 }
}

#[track_caller]
fn stops(facts: &Facts, kind: StopKind) -> String {
    match decide(facts) {
        Decision::Stop(stop) if stop.kind == kind => stop.reason,
        other => panic!("expected a stop for {kind:?}: {other:?}"),
    }
}

fn start(from: i64) -> Decision {
    Decision::Start { from, rewound: false }
}

#[test]
fn row_2_another_life_of_the_topic_stops() {
    stops(&Facts { known_topic_id: Some("topic-0".into()), ..fresh() }, StopKind::Recreated);
    stops(&Facts { strange_topic_ids: vec!["topic-0".into()], ..at_40() }, StopKind::Recreated);
    let foreign = Intent { topic_id: "topic-0".into(), ..intent(50, Some(40)) };
    let reason = stops(&Facts { intent: Ok(Some(foreign)), ..at_40() }, StopKind::Recreated);
    assert!(reason.contains("topic-0") && reason.contains(ID), "{reason}");
}

#[test]
fn row_2_comes_before_all_that_concludes_from_offsets() {
    let facts = Facts { topic_id: "topic-2".into(), violation: Some("a gap".into()), log_end: 3, ..at_40() };
    stops(&facts, StopKind::Recreated);
}

#[test]
fn row_3_tables_that_contradict_each_other_stop() {
    let reason =
        stops(&Facts { violation: Some("offsets 3 to 5 are twice in `batches`".into()), ..at_40() }, StopKind::Inconsistent);
    assert!(reason.contains("3 to 5"), "{reason}");
    stops(&Facts { oldest_prev: Some(10), ..at_40() }, StopKind::LostData);
    stops(&Facts { written: vec![written(40, 50), written(50, 60)], ..at_40() }, StopKind::Inconsistent);
    stops(&Facts { rows: Some((40, 41)), ..at_40() }, StopKind::Inconsistent);
    let partly = Facts { rows: Some((45, 50)), intent: promise(50, Some(40)), ..at_40() };
    stops(&partly, StopKind::Inconsistent);
    stops(&Facts { rows: Some((49, 55)), written: vec![written(40, 50)], ..at_40() }, StopKind::Inconsistent);
}

#[test]
fn row_3_metadata_of_somebody_else_stops() {
    let reason = stops(&Facts { intent: Err(NotAnIntent("hello".into())), ..at_40() }, StopKind::ForeignCommit);
    assert!(reason.contains("hello"), "{reason}");
    // An intent of no offset at all is nobody's promise of ours.
    stops(&Facts { intent: promise(40, Some(40)), ..at_40() }, StopKind::ForeignCommit);
    stops(&Facts { intent: promise(30, Some(40)), ..at_40() }, StopKind::ForeignCommit);
}

#[test]
fn row_3_what_is_written_begins_where_batches_end() {
    stops(&Facts { written: vec![written(45, 50)], ..at_40() }, StopKind::Inconsistent);
    stops(&Facts { written: vec![written(45, 50)], committed: None, ..at_40() }, StopKind::Inconsistent);
    // Without `batches` the first batch began where the log did; the log's start only moves on.
    stops(&Facts { written: vec![written(5, 10)], ..fresh() }, StopKind::Inconsistent);
}

#[test]
fn row_4_a_log_that_ends_before_what_was_read_stops() {
    stops(&Facts { log_end: 39, ..at_40() }, StopKind::Truncated);
    stops(&Facts { committed: Some(10), log_end: 39, ..at_40() }, StopKind::Truncated);
    stops(&Facts { intent: promise(50, Some(40)), log_end: 49, ..at_40() }, StopKind::Truncated);
    stops(&Facts { written: vec![written(40, 50)], log_end: 49, ..at_40() }, StopKind::Truncated);
    assert_eq!(decide(&Facts { log_end: 40, ..at_40() }), start(40));
}

#[test]
fn row_5_a_promise_that_follows_a_batch_which_is_gone_stops() {
    let facts = Facts { committed: Some(40), intent: promise(50, Some(40)), ..fresh() };
    let reason = stops(&facts, StopKind::LostData);
    assert!(reason.contains("[40, 50)"), "{reason}");
}

#[test]
fn row_6_a_group_that_is_ahead_of_what_is_written_stops() {
    stops(&Facts { committed: Some(41), ..at_40() }, StopKind::ForeignCommit);
    stops(&Facts { committed: Some(41), intent: promise(50, Some(40)), ..at_40() }, StopKind::ForeignCommit);
    stops(&Facts { committed: Some(40), ..fresh() }, StopKind::ForeignCommit);
    stops(&Facts { committed: Some(0), ..fresh() }, StopKind::ForeignCommit);
}

#[test]
fn row_7_a_promise_is_resolved_whether_any_of_it_is_written_or_not() {
    let resolve = |gone| Decision::Resolve { from: 40, intent: intent(50, Some(40)), gone };
    let facts = Facts { intent: promise(50, Some(40)), ..at_40() };
    assert_eq!(decide(&facts), resolve(false));
    assert_eq!(decide(&Facts { rows: Some((40, 49)), ..facts.clone() }), resolve(false));
    assert_eq!(decide(&Facts { written: vec![written(40, 50)], rows: Some((41, 41)), ..facts.clone() }), resolve(false));
    assert_eq!(decide(&Facts { log_start: 40, ..facts.clone() }), resolve(false));
    assert_eq!(decide(&Facts { log_start: 41, ..facts }), resolve(true));
}

#[test]
fn row_7_the_very_first_promise_is_resolved_too() {
    let facts = Facts { committed: Some(0), intent: promise(10, None), ..fresh() };
    assert_eq!(decide(&facts), Decision::Resolve { from: 0, intent: intent(10, None), gone: false });
    assert_eq!(decide(&Facts { log_start: 5, ..facts }), Decision::Resolve { from: 0, intent: intent(10, None), gone: true });
}

#[test]
fn row_8_a_promise_of_another_range_than_the_one_written_stops() {
    let facts = Facts { intent: promise(50, Some(40)), ..at_40() };
    let reason = stops(&Facts { written: vec![written(40, 45)], ..facts }, StopKind::Inconsistent);
    assert!(reason.contains("[40, 50)") && reason.contains("[40, 45)"), "{reason}");
    let first = Facts { committed: Some(0), intent: promise(10, None), written: vec![written(0, 9)], ..fresh() };
    stops(&first, StopKind::Inconsistent);
}

#[test]
fn row_9_a_promise_that_overlaps_what_is_written_stops() {
    stops(&Facts { committed: Some(30), intent: promise(50, Some(30)), ..at_40() }, StopKind::Overlap);
    stops(
        &Facts { committed: Some(30), intent: promise(41, Some(30)), written: vec![written(40, 50)], ..at_40() },
        StopKind::Overlap,
    );
}

/// The log's first record is 50 now; the row of the gap `[40, 50)` is written, and the commit behind it was not made.
fn behind_a_gap() -> Facts {
    Facts { end: Some(50), gap_from: Some(40), log_start: 50, ..at_40() }
}

#[test]
fn row_9_a_promise_whose_first_records_a_gap_admits_is_void() {
    let facts = Facts { intent: promise(60, Some(40)), ..behind_a_gap() };
    assert_eq!(decide(&facts), start(50));
    // Retention went on while nobody came: the next gap is admitted as well, and its own commit may be lost again.
    assert_eq!(decide(&Facts { log_start: 55, ..facts.clone() }), Decision::Gap { from: 50, to: 55 });
    assert_eq!(decide(&Facts { end: Some(55), log_start: 55, ..facts.clone() }), start(55));
    // The gap is admitted when nothing of the promise is written. What is there all the same came later.
    stops(&Facts { rows: Some((50, 51)), ..facts.clone() }, StopKind::Overlap);
    stops(&Facts { written: vec![written(50, 60)], ..facts.clone() }, StopKind::Overlap);
    // It is not the gap that such a promise meets: it crosses a batch, or the gap is not the newest row.
    stops(&Facts { committed: Some(30), ..facts.clone() }, StopKind::Overlap);
    stops(&Facts { gap_from: None, ..facts }, StopKind::Overlap);
}

#[test]
fn row_11_a_group_that_stands_where_the_last_gap_began_was_not_moved() {
    assert_eq!(decide(&behind_a_gap()), start(50));
    assert_eq!(decide(&Facts { intent: promise(45, Some(40)), ..behind_a_gap() }), start(50));
    let rewound = Decision::Start { from: 50, rewound: true };
    assert_eq!(decide(&Facts { committed: Some(30), ..behind_a_gap() }), rewound);
    assert_eq!(decide(&Facts { gap_from: None, ..behind_a_gap() }), rewound);
}

#[test]
fn row_10_a_written_range_whose_promise_is_lost_is_formed_again() {
    let facts = Facts { written: vec![written(40, 50)], rows: Some((40, 49)), ..at_40() };
    for committed in [None, Some(30), Some(40)] {
        assert_eq!(decide(&Facts { committed, ..facts.clone() }), Decision::ResolveWritten(written(40, 50)), "{committed:?}");
    }
    // The promise that stands is the one before.
    let before = Facts { committed: Some(30), intent: promise(40, Some(30)), ..facts.clone() };
    assert_eq!(decide(&before), Decision::ResolveWritten(written(40, 50)));
    assert_eq!(decide(&Facts { written: vec![written(0, 9)], ..fresh() }), Decision::ResolveWritten(written(0, 9)));
    stops(&Facts { log_start: 41, ..facts }, StopKind::LostData);
}

#[test]
fn row_11_reading_goes_on_where_batches_end() {
    assert_eq!(decide(&at_40()), start(40));
    assert_eq!(decide(&Facts { committed: None, ..at_40() }), start(40));
    // The commit of 40 rides on the next promise; until then the last one stands.
    assert_eq!(decide(&Facts { committed: Some(30), intent: promise(40, Some(30)), ..at_40() }), start(40));
}

#[test]
fn row_11_a_group_that_was_moved_back_is_told_and_not_followed() {
    let rewound = Decision::Start { from: 40, rewound: true };
    assert_eq!(decide(&Facts { committed: Some(30), ..at_40() }), rewound);
    assert_eq!(decide(&Facts { committed: Some(10), intent: promise(20, Some(10)), ..at_40() }), rewound);
}

#[test]
fn row_11_records_that_left_the_log_unread_are_a_gap() {
    assert_eq!(decide(&Facts { log_start: 40, ..at_40() }), start(40));
    assert_eq!(decide(&Facts { log_start: 41, ..at_40() }), Decision::Gap { from: 40, to: 41 });
}

#[test]
fn row_12_a_partition_of_which_nothing_is_known_begins_at_the_logs_start() {
    assert_eq!(decide(&fresh()), start(0));
    assert_eq!(decide(&Facts { log_start: 7, ..fresh() }), start(7));
    assert_eq!(decide(&Facts { log_start: 100, ..fresh() }), start(100));
}

const OFFSETS: i64 = 5;

fn maybe_offsets() -> impl Iterator<Item = Option<i64>> + Clone {
    std::iter::once(None).chain((0..OFFSETS).map(Some))
}

/// Every (C, M, E, W, rows, S, L) over a log of a few offsets, with the ids as they should be.
fn every_state(mut check: impl FnMut(&Facts)) {
    let ranges: Vec<(i64, i64)> = (0..OFFSETS).flat_map(|from| (0..OFFSETS).map(move |to| (from, to))).collect();
    let writes: Vec<Option<(i64, i64)>> =
        std::iter::once(None).chain(ranges.iter().copied().filter(|(a, b)| a < b).map(Some)).collect();
    let rows: Vec<Option<(i64, i64)>> =
        std::iter::once(None).chain(ranges.iter().copied().filter(|(a, b)| a <= b).map(Some)).collect();
    for committed in maybe_offsets() {
        let promises: Vec<Option<(i64, Option<i64>)>> = match committed {
            None => vec![None],
            Some(_) => {
                std::iter::once(None).chain((0..OFFSETS).flat_map(|to| [None, Some(0)].map(|prev| Some((to, prev))))).collect()
            }
        };
        for promise in promises {
            let intent = Ok(promise.map(|(to, prev)| intent(to, prev.and(committed))));
            for end in maybe_offsets() {
                for &write in writes.iter().filter(|write| write.is_none_or(|(from, _)| from >= end.unwrap_or(0))) {
                    for &rows in rows.iter().filter(|rows| rows.is_none_or(|(first, _)| first >= end.unwrap_or(0))) {
                        for log_start in 0..OFFSETS {
                            for log_end in log_start..OFFSETS {
                                check(&Facts {
                                    known_topic_id: end.map(|_| ID.into()),
                                    committed,
                                    intent: intent.clone(),
                                    end,
                                    written: write.map(|(from, to)| written(from, to)).into_iter().collect(),
                                    rows,
                                    log_start,
                                    log_end,
                                    ..fresh()
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What must hold of a decision, said without the table.
fn check_decision(facts: &Facts) -> &'static str {
    let promised = facts.intent.as_ref().unwrap().as_ref();
    let write = facts.written.first();
    let known_to = [facts.committed, facts.end, promised.map(|intent| intent.to), write.map(|write| write.to)];
    let known_to = known_to.into_iter().flatten().max().unwrap_or(0);
    let decision = decide(facts);
    if !matches!(decision, Decision::Stop(_)) {
        assert!(known_to <= facts.log_end, "goes on though the log lost records: {decision:?} {facts:?}");
        assert!(facts.committed.is_none_or(|committed| facts.end.is_none_or(|end| committed <= end)), "{decision:?} {facts:?}");
        // Whatever is written behind `batches` is resolved before anything else is read.
        let is_written = write.is_some() || facts.rows.is_some();
        assert!(
            !is_written || matches!(decision, Decision::Resolve { .. } | Decision::ResolveWritten(_)),
            "{decision:?} {facts:?}"
        );
    }
    match &decision {
        Decision::Start { from, rewound } => {
            assert_eq!(*from, facts.end.unwrap_or(facts.log_start), "reads again or skips: {facts:?}");
            assert!(facts.log_start <= *from && *from <= facts.log_end, "{facts:?}");
            assert!(facts.end.is_some() || facts.committed.is_none(), "{facts:?}");
            let is_behind = facts.committed.is_some_and(|committed| committed < *from);
            assert_eq!(*rewound, is_behind && promised.is_none_or(|intent| intent.to != *from), "{facts:?}");
            "start"
        }
        Decision::Gap { from, to } => {
            assert_eq!((Some(*from), *to), (facts.end, facts.log_start), "{facts:?}");
            assert!(from < to, "{facts:?}");
            "gap"
        }
        Decision::Resolve { from, intent, gone } => {
            assert_eq!(Some(*from), facts.committed, "{facts:?}");
            assert_eq!(Some(intent), promised, "{facts:?}");
            assert!(facts.end.is_none_or(|end| end == *from), "{facts:?}");
            assert!(facts.end.is_some() || intent.prev.is_none(), "{facts:?}");
            assert!(*from < intent.to && intent.to <= facts.log_end, "{facts:?}");
            assert_eq!(*gone, facts.log_start > *from, "{facts:?}");
            assert!(write.is_none_or(|write| (write.from, write.to) == (*from, intent.to)), "{facts:?}");
            "resolve"
        }
        Decision::ResolveWritten(range) => {
            assert_eq!(Some(range), write, "{facts:?}");
            assert!(facts.end.is_none_or(|end| end == range.from), "skips what lies before: {facts:?}");
            assert!(facts.log_start <= range.from && range.to <= facts.log_end, "{facts:?}");
            let stands = facts.committed == Some(range.from) && promised.is_some();
            assert!(!stands, "a promise stands and is not kept: {facts:?}");
            "resolve written"
        }
        Decision::Stop(stop) => {
            assert!(!stop.reason.is_empty());
            stop.kind.as_str()
        }
    }
}

#[test]
fn every_state_has_a_decision_that_neither_reads_twice_nor_skips() {
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    every_state(|facts| *seen.entry(check_decision(facts)).or_default() += 1);
    for kind in
        ["start", "gap", "resolve", "resolve written", "inconsistent", "truncated", "lost_data", "foreign_commit", "overlap"]
    {
        assert!(seen.contains_key(kind), "{kind} was never decided: {seen:?}");
    }
}

#[test]
fn a_state_as_it_comes_about_by_itself_never_stops() {
    // One partition, batches of two: whatever moment it dies at, what is known then decides to go on.
    for from in (0..10).step_by(2) {
        let to = from + 2;
        let (end, prev) = if from == 0 { (None, None) } else { (Some(from), Some(from)) };
        let before = Facts { known_topic_id: Some(ID.into()), end, ..fresh() };
        // Before the intent: the last one stands, or its `to` was committed alone.
        if from > 0 {
            let last = Facts { committed: Some(from - 2), intent: promise(from, (from > 2).then_some(from - 2)), ..before.clone() };
            assert_eq!(decide(&last), start(from));
            assert_eq!(decide(&Facts { committed: Some(from), ..before.clone() }), start(from));
        } else {
            assert_eq!(decide(&before), start(0));
        }
        // From the intent on until `batches`.
        let promised = Facts { committed: Some(from), intent: promise(to, prev), ..before };
        for (rows, write) in [(None, false), (Some((from, from)), false), (Some((from, from + 1)), true), (None, true)] {
            let written = if write { vec![written(from, to)] } else { Vec::new() };
            let facts = Facts { rows, written, ..promised.clone() };
            assert_eq!(decide(&facts), Decision::Resolve { from, intent: intent(to, prev), gone: false });
        }
        // Behind the row in `batches`.
        assert_eq!(decide(&Facts { end: Some(to), ..promised }), start(to));
    }
}

#[test]
fn every_guard_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<&str> = StopKind::ALL.into_iter().map(StopKind::as_str).collect();
    assert_eq!(names.len(), StopKind::ALL.len());
    assert_eq!(Stop::new(StopKind::Doubt, "why").to_string(), "why");
}

/// Which row of the table holds, written from its text and not from the code: conditions in the order of the rows, each on its own.
fn row_of(facts: &Facts) -> (&'static str, &'static str) {
    let (c, e, s, l) = (facts.committed, facts.end, facts.log_start, facts.log_end);
    let parsed = facts.intent.clone();
    let m = parsed.clone().ok().flatten().filter(|_| c.is_some()).map(|m| (c.unwrap(), m.to, m.prev));
    let ids = facts
        .known_topic_id
        .iter()
        .chain(&facts.strange_topic_ids)
        .cloned()
        .chain(parsed.clone().ok().flatten().map(|m| m.topic_id));
    let ranges: Vec<(i64, i64)> = facts.written.iter().map(|w| (w.from, w.to)).collect();
    let w = ranges.first().copied();
    let in_gap = |offset: i64| matches!((facts.gap_from, e), (Some(from), Some(end)) if from <= offset && offset < end);
    if parsed.is_err() || m.is_some_and(|(from, to, _)| to <= from) {
        return ("3 metadata", "foreign_commit");
    }
    if ids.into_iter().any(|id| id != facts.topic_id) {
        return ("2", "recreated");
    }
    if facts.violation.is_some() {
        return ("3 tables", "inconsistent");
    }
    if facts.oldest_prev.is_some() {
        return ("3 oldest row", "lost_data");
    }
    if ranges.len() > 1 {
        return ("3 many W", "inconsistent");
    }
    let begins_by = match (e, c) {
        (Some(e), _) => e,
        (None, Some(c)) if c > s => c,
        (None, _) => s,
    };
    if w.is_some_and(|(from, _)| from > begins_by) {
        return ("3 W behind E", "inconsistent");
    }
    let holds = |from: i64, to: i64| facts.rows.is_some_and(|(first, last)| first >= from && last < to);
    let is_explained = m.is_some_and(|(from, to, _)| holds(from, to)) || w.is_some_and(|(from, to)| holds(from, to));
    if facts.rows.is_some() && !is_explained {
        return ("3 rows", "inconsistent");
    }
    if [c, m.map(|m| m.1), e, w.map(|w| w.1)].into_iter().flatten().any(|reached| reached > l) {
        return ("4", "truncated");
    }
    if e.is_none() && m.is_some_and(|(_, _, prev)| prev.is_some()) {
        return ("5", "lost_data");
    }
    if matches!((c, e), (Some(c), Some(e)) if c > e) || (c.is_some() && e.is_none() && m.is_none()) {
        return ("6", "foreign_commit");
    }
    if let Some((from, to, _)) = m
        && (e.is_none() || e == Some(from))
    {
        return match w {
            Some(range) if range != (from, to) => ("8", "inconsistent"),
            _ if s > from => ("7 gone", "resolve"),
            _ => ("7", "resolve"),
        };
    }
    if let (Some((from, to, _)), Some(e)) = (m, e)
        && from < e
        && e < to
    {
        let is_void = in_gap(from) && w.is_none() && facts.rows.is_none();
        if !is_void {
            return ("9", "overlap");
        }
    }
    match w {
        Some((from, _)) if s > from => return ("10 gone", "lost_data"),
        Some(_) => return ("10", "resolve written"),
        None => {}
    }
    match (e, c) {
        (Some(e), _) if s > e => ("11 gap", "gap"),
        (Some(e), Some(c)) if c < e && m.is_none_or(|m| m.1 != e) && !in_gap(c) => ("11 rewound", "start"),
        (Some(_), _) => ("11", "start"),
        (None, _) => ("12", "start"),
    }
}

/// Every small state, and with it each thing that can be wrong beside offsets.
fn every_state_and_worse(mut check: impl FnMut(&Facts)) {
    let foreign = Err(NotAnIntent("a bookmark".into()));
    let mut seen = 0_u64;
    every_state(|facts| {
        check(facts);
        if let Some(end) = facts.end {
            (0..end).for_each(|from| check(&Facts { gap_from: Some(from), ..facts.clone() }));
        }
        // The rest hides the offsets: not for each of them.
        seen += 1;
        if !seen.is_multiple_of(11) {
            return;
        }
        let other = || Some("topic-0".to_owned());
        let intent = facts.intent.clone().map(|intent| intent.map(|intent| Intent { topic_id: "topic-0".into(), ..intent }));
        let twice = facts.written.iter().cloned().chain(facts.written.iter().map(|w| written(w.to, w.to + 1))).collect();
        for worse in [
            Facts { intent: foreign.clone(), ..facts.clone() },
            Facts { known_topic_id: other(), ..facts.clone() },
            Facts { strange_topic_ids: other().into_iter().collect(), ..facts.clone() },
            Facts { intent, ..facts.clone() },
            Facts { violation: Some("a hole".into()), ..facts.clone() },
            Facts { violation: Some("a hole".into()), known_topic_id: other(), ..facts.clone() },
            Facts { oldest_prev: facts.end, ..facts.clone() },
            Facts { written: twice, ..facts.clone() },
        ] {
            check(&worse);
        }
    });
}

#[test]
fn every_state_is_in_one_row_of_the_table_and_every_row_has_states() {
    let mut rows = std::collections::BTreeMap::<&str, u64>::new();
    every_state_and_worse(|facts| {
        let decided = match decide(facts) {
            Decision::Start { .. } => "start",
            Decision::Gap { .. } => "gap",
            Decision::Resolve { .. } => "resolve",
            Decision::ResolveWritten(_) => "resolve written",
            Decision::Stop(stop) => stop.kind.as_str(),
        };
        let (row, expected) = row_of(facts);
        assert_eq!(decided, expected, "row {row}: {facts:?}");
        if let Decision::Start { rewound, .. } = decide(facts) {
            assert_eq!(rewound, row == "11 rewound", "{facts:?}");
        }
        if let Decision::Resolve { gone, .. } = decide(facts) {
            assert_eq!(gone, row == "7 gone", "{facts:?}");
        }
        *rows.entry(row).or_default() += 1;
    });
    let all = [
        "2",
        "3 metadata",
        "3 tables",
        "3 oldest row",
        "3 many W",
        "3 W behind E",
        "3 rows",
        "4",
        "5",
        "6",
        "7",
        "7 gone",
        "8",
        "9",
        "10",
        "10 gone",
        "11",
        "11 gap",
        "11 rewound",
        "12",
    ];
    assert_eq!(
        rows.keys().copied().collect::<Vec<_>>(),
        {
            let mut all = all.to_vec();
            all.sort_unstable();
            all
        },
        "{rows:?}"
    );
}
