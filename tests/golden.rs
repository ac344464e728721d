//! The golden stories, without servers: what is published, and what a billing person then reads. `tests/golden/README.md` says how.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "golden/story.rs"]
mod story;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use farebox::engine::Batch;
use farebox::model::{Credits, Reason};
use story::{Report, Story};

/// Set to `1` to write `expected.txt` anew.
const UPDATE: &str = "UPDATE_GOLDEN";

fn stories() -> Vec<Story> {
    Story::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"))
}

fn sum(costs: impl Iterator<Item = Credits>) -> Credits {
    costs.fold(Credits::ZERO, |sum, cost| sum.checked_add(cost).unwrap())
}

#[test]
fn every_story_ends_as_it_is_written() {
    let update = env::var_os(UPDATE).is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for story in stories() {
        let page = story.form().report().page();
        if update {
            fs::write(story.expected(), &page).unwrap();
        }
        let expected = fs::read_to_string(story.expected()).unwrap_or_default();
        if page != expected {
            let first = page.lines().zip(expected.lines()).position(|(a, b)| a != b);
            let line = first.unwrap_or(page.lines().count().min(expected.lines().count()));
            let [is, was] = [&page, &expected].map(|text| text.lines().nth(line).unwrap_or("(nothing)"));
            wrong.push(format!("{}, line {}:\n  expected {was}\n  is       {is}", story.expected().display(), line + 1));
        }
    }
    assert!(wrong.is_empty(), "{}\nIf this is meant: {UPDATE}=1, and look at every line of the difference.", wrong.join("\n"));
}

#[test]
fn what_every_story_must_obey() {
    for story in stories() {
        let formed = story.form();
        let report = formed.report();
        check_laws(&story.name, &report, &formed.batches);
    }
}

fn check_laws(name: &str, report: &Report, batches: &[Batch]) {
    let [received, accepted, duplicates, rejected] = report.counts;
    assert_eq!(received, accepted + duplicates + rejected, "{name}");
    assert_eq!((accepted, rejected), (report.log.len() as u64, report.rejected.len() as u64), "{name}");
    assert_eq!(batches.iter().map(|batch| batch.dead_letters.len() as u64).sum::<u64>(), rejected, "{name}");
    assert!(batches.windows(2).all(|pair| pair[0].to == pair[1].from), "{name}");

    let hours = sum(report.hourly.iter().map(|(_, sums)| sums.cost));
    assert_eq!(hours, sum(report.log.iter().map(|line| line.cost)), "{name}");
    assert_eq!(report.hourly.iter().map(|(_, sums)| sums.events).sum::<u64>(), accepted, "{name}");
    let sessions = sum(report.sessions.iter().map(story::Session::cost));
    let days = sum(report.daily.values().flatten().copied());
    assert_eq!(Some(days), hours.checked_add(sessions), "{name}");

    let in_sessions = report.log.iter().filter(|line| !line.user.is_empty() && !line.texts[3].is_empty()).count() as u64;
    assert_eq!(report.sessions.iter().map(|session| session.events).sum::<u64>(), in_sessions, "{name}");
    assert!(report.sessions.iter().all(|session| 1 <= session.unique_users && session.unique_users <= session.events), "{name}");
    let marked = |is_marked: fn(&story::LogLine) -> bool| report.log.iter().filter(|line| is_marked(line)).count() as u64;
    assert_eq!(report.hourly.iter().map(|(_, sums)| sums.unpriced_events).sum::<u64>(), marked(|line| !line.priced), "{name}");
    let unattributed = report.hourly.iter().map(|(_, sums)| sums.unattributed_events).sum::<u64>();
    assert_eq!(unattributed, marked(|line| line.unattributed), "{name}");
    // What is unpriced costs nothing.
    assert!(report.log.iter().all(|line| line.priced || line.cost == Credits::ZERO), "{name}");
    assert!(report.sessions.iter().all(|session| session.priced || session.cost() == Credits::ZERO), "{name}");
}

#[test]
fn the_stories_show_every_reason_and_every_mark() {
    let reports: Vec<Report> = stories().iter().map(|story| story.form().report()).collect();
    let lines = || reports.iter().flat_map(|report| &report.log);
    let reasons: BTreeSet<&str> = reports.iter().flat_map(|report| &report.rejected).map(|line| line.texts[1].as_str()).collect();
    assert_eq!(reasons, Reason::ALL.into_iter().map(Reason::as_str).collect());
    assert!(lines().any(|line| !line.priced) && lines().any(|line| line.unattributed));
    assert!(reports.iter().any(|report| report.counts[2] > 0));
    assert!(reports.iter().flat_map(|report| &report.sessions).any(|session| !session.priced));
}

#[test]
fn a_story_told_one_record_at_a_time_ends_the_same() {
    for mut story in stories() {
        let whole = story.form().report().page();
        let steps = std::mem::take(&mut story.steps);
        story.steps = steps.into_iter().flat_map(|step| [step, story::Step::Close]).collect();
        assert_eq!(story.form().report().page(), whole, "{}", story.name);
    }
}
