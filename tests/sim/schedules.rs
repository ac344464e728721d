//! The tests: schedules by the thousand.
//!
//! `SIM_SEED=ordinary:17` replays one, with everything that happens told; `SIM_RUNS` and `SIM_SECONDS` say how many schedules of each
//! class, and how long.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::class::Class;
use super::planted::Planted;
use super::run::{Outcome, run, whole_run};

/// How long to go on.
struct Length {
    runs: u64,
    time: Duration,
}

impl Length {
    /// So many runs and no longer than that, unless the environment says otherwise.
    fn of(runs: u64, seconds: u64) -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let wanted = (number("SIM_RUNS"), number("SIM_SECONDS"));
        let (runs, seconds) = match wanted {
            (None, None) => (runs, seconds),
            (runs, seconds) => (runs.unwrap_or(u64::MAX), seconds.unwrap_or(u64::MAX)),
        };
        Self { runs, time: Duration::from_secs(seconds) }
    }
}

/// Runs schedules of a class until one fails.
fn campaign(class: Class, length: &Length) {
    let began = Instant::now();
    let first = env::var("SIM_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in (first..).take(usize::try_from(length.runs).unwrap_or(usize::MAX)) {
        if began.elapsed() > length.time {
            break;
        }
        let outcome = run(class, seed, Planted::Nothing);
        *outcomes.entry(word(&outcome)).or_default() += 1;
        if matches!(outcome, Outcome::Failed(_)) {
            if env::var_os("SIM_GO_ON").is_some() {
                println!("{}:{seed} {outcome}", class.name());
                continue;
            }
            panic!("{outcome}\nreplay: SIM_SEED={}:{seed} cargo test --test sim replay -- --nocapture", class.name());
        }
    }
    println!("{}: {outcomes:?} in {:?}", class.name(), began.elapsed());
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Right => "right",
        Outcome::Stopped(_) => "stopped",
        Outcome::StoppedDamaged(_) => "stopped, damaged",
        Outcome::Otherwise(_) => "otherwise",
        Outcome::Unnoticed(_) => "unnoticed",
        Outcome::Failed(_) => "failed",
    }
}

#[test]
fn no_ordinary_fault_loses_doubles_or_stops_anything() {
    campaign(Class::Ordinary, &Length::of(10_000, 25));
}

#[test]
fn no_extraordinary_fault_is_silently_wrong() {
    for class in Class::ALL.into_iter().filter(|class| *class != Class::Ordinary) {
        campaign(class, &Length::of(500, 2));
    }
}

/// With this piece taken out, some run of the class must fail.
fn must_be_noticed(planted: Planted, class: Class) {
    const ENOUGH: u64 = 10_000;
    let began = Instant::now();
    let noticed = (0..ENOUGH).find_map(|seed| match run(class, seed, planted) {
        Outcome::Failed(what) => Some((seed, what)),
        _ => None,
    });
    let (seed, what) = noticed.unwrap_or_else(|| panic!("{planted:?} was not noticed in {ENOUGH} runs"));
    println!("{planted:?}: run {seed} of class {} in {:?}: {what}", class.name(), began.elapsed());
}

#[test]
fn tokens_are_needed() {
    must_be_noticed(Planted::NoToken, Class::Ordinary);
}

#[test]
fn witnesses_are_needed() {
    must_be_noticed(Planted::NoWitness, Class::Ordinary);
}

#[test]
fn intents_are_needed() {
    must_be_noticed(Planted::NoIntent, Class::Ordinary);
}

#[test]
fn the_topics_id_is_needed() {
    must_be_noticed(Planted::NoTopicId, Class::Recreate);
}

#[test]
fn batches_must_be_written_last() {
    must_be_noticed(Planted::BatchesFirst, Class::Ordinary);
}

#[test]
fn the_rebuilt_window_is_needed() {
    must_be_noticed(Planted::NoWindow, Class::Ordinary);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..20 {
        assert_eq!(whole_run(Class::Mixed, seed, Planted::Nothing), whole_run(Class::Mixed, seed, Planted::Nothing));
    }
}

/// The moment inside of a run.
struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        // Before the run's clock begins there is none.
        let now = tokio::runtime::Handle::try_current().ok().map(|_| tokio::time::Instant::now());
        let passed = now.map(|now| now.duration_since(*super::run::BEGAN.get().unwrap_or(&now)));
        write!(writer, "{:>9.3}", passed.unwrap_or_default().as_secs_f64())
    }
}

#[test]
fn replay() {
    let Ok(wanted) = env::var("SIM_SEED") else { return };
    let (class, seed) = wanted.split_once(':').unwrap_or(("ordinary", &wanted));
    let class = Class::parse(class).expect("a class");
    let seed = seed.parse().expect("a number");
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_timer(Virtual).with_ansi(false).init();
    let planted = env::var("SIM_PLANTED").map_or(Planted::Nothing, |name| Planted::parse(&name).expect("a planted fault"));
    let outcome = run(class, seed, planted);
    println!("{wanted}: {outcome}");
    assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome}");
}
