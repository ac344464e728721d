use super::*;
use crate::engine::assignment::{Written, decide};

fn facts() -> Facts {
    Facts {
        topic_id: "t".into(),
        known_topic_id: Some("t".into()),
        strange_topic_ids: Vec::new(),
        committed: Some(10),
        intent: Ok(None),
        end: Some(10),
        gap_from: None,
        oldest_prev: None,
        violation: None,
        written: Vec::new(),
        rows: None,
        log_start: 0,
        log_end: 20,
    }
}

fn written(from: i64, to: i64) -> Written {
    Written { from, to, digest: Some(1), price_version: 1 }
}

#[track_caller]
fn check(stopped: StopKind, facts: &Facts, new_epoch: bool, expected: &Remedy) {
    assert_eq!(&remedy(stopped, facts, &decide(facts), new_epoch), expected);
}

#[test]
fn where_the_evidence_is_gone_the_stop_is_taken_back() {
    check(StopKind::Inconsistent, &facts(), false, &Remedy::Clear("reading goes on at 10".into()));
}

#[test]
fn an_offset_beyond_the_tables_goes_back_to_where_they_end() {
    check(StopKind::ForeignCommit, &Facts { committed: Some(15), ..facts() }, false, &Remedy::CommitEnd(10));
}

#[test]
fn an_offset_where_the_tables_are_empty_is_forgotten() {
    check(StopKind::ForeignCommit, &Facts { end: None, ..facts() }, false, &Remedy::ForgetOffset);
}

#[test]
fn rows_that_nothing_names_are_never_written_a_second_time() {
    for end in [Some(10), None] {
        let facts = Facts { committed: Some(15), end, rows: Some((11, 12)), ..facts() };
        let now = Decision::Stop(Stop::new(StopKind::ForeignCommit, "the group's offset is 15"));
        assert!(matches!(remedy(StopKind::ForeignCommit, &facts, &now, false), Remedy::Mend(_)));
    }
}

#[test]
fn rows_of_a_written_range_are_finished_from_the_end_on() {
    let facts = Facts { committed: Some(15), written: vec![written(10, 14)], rows: Some((10, 13)), ..facts() };
    check(StopKind::ForeignCommit, &facts, false, &Remedy::CommitEnd(10));
}

#[test]
fn another_life_of_the_topic_needs_a_word() {
    let facts = Facts { topic_id: "other".into(), ..facts() };
    check(StopKind::Recreated, &facts, true, &Remedy::NewEpoch);
    assert!(matches!(remedy(StopKind::Recreated, &facts, &decide(&facts), false), Remedy::Mend(_)));
}

#[test]
fn a_group_alone_that_is_beyond_the_log_goes_back_to_where_the_tables_end() {
    check(StopKind::Truncated, &Facts { committed: Some(5_000), ..facts() }, false, &Remedy::CommitEnd(10));
    check(StopKind::Truncated, &Facts { committed: Some(5_000), end: None, ..facts() }, false, &Remedy::ForgetOffset);
}

#[test]
fn a_log_that_was_written_anew_shows_only_when_it_is_read() {
    check(StopKind::Truncated, &facts(), true, &Remedy::NewEpoch);
    let now = remedy(StopKind::Truncated, &facts(), &decide(&facts()), false);
    assert!(matches!(&now, Remedy::Clear(what) if what.contains("--new-epoch")), "{now:?}");
}

#[test]
fn a_new_life_does_not_begin_upon_an_unfinished_batch() {
    let facts = Facts { log_end: 8, rows: Some((10, 11)), written: vec![written(10, 12)], ..facts() };
    assert!(matches!(remedy(StopKind::Truncated, &facts, &decide(&facts), true), Remedy::Mend(_)));
}

#[test]
fn a_log_that_lost_records_needs_a_word() {
    let facts = Facts { log_end: 8, ..facts() };
    check(StopKind::Truncated, &facts, true, &Remedy::NewEpoch);
    assert!(matches!(remedy(StopKind::Truncated, &facts, &decide(&facts), false), Remedy::Mend(_)));
}
