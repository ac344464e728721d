//! One run from a seed, and what is said of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use super::class::Class;
use super::planted::Planted;
use super::tables::rows::BatchesRow;
use super::truth;
use super::world::{Course, World};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is read, once, and right.
    Right,
    /// Some partition stands still, and what `batches` says is in the tables exactly.
    Stopped(String),
    /// Some partition stands still, and the tables are not what `batches` says: that is why.
    StoppedDamaged(String),
    /// Right but for repeated events that nothing could tell any more.
    Otherwise(String),
    /// Wrong as `docs/exactly-once.md` says that it may be: a log was cut and written anew, and retention ate what would have told.
    Unnoticed(String),
    /// What must not be.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => f.write_str("right"),
            Self::Stopped(why) => write!(f, "stopped: {why}"),
            Self::StoppedDamaged(why) => write!(f, "stopped, damaged: {why}"),
            Self::Otherwise(what) => write!(f, "otherwise: {what}"),
            Self::Unnoticed(what) => write!(f, "unnoticed: {what}"),
            Self::Failed(what) => write!(f, "FAILED: {what}"),
        }
    }
}

/// When the first run of this process began: a replay tells its moments from there.
pub static BEGAN: OnceLock<tokio::time::Instant> = OnceLock::new();

/// Lives through the run that a seed describes.
pub fn run(class: Class, seed: u64, planted: Planted) -> Outcome {
    whole_run(class, seed, planted).0
}

/// The same; gives also what `batches` held at the end, and the number that chance would have drawn next.
pub fn whole_run(class: Class, seed: u64, planted: Planted) -> (Outcome, Vec<BatchesRow>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        BEGAN.get_or_init(tokio::time::Instant::now);
        let mut world = World::new(seed, class, planted);
        let course = world.live().await;
        (judge(&world, course), world.server.batches(), world.dice.next())
    })
}

fn judge(world: &World, course: Course) -> Outcome {
    if let Some(problem) = world.problem() {
        return Outcome::Failed(format!("a process ended: {problem}"));
    }
    match course {
        Course::FalseStop(why) => return Outcome::Failed(format!("a stop without a reason: {why}")),
        Course::Stuck(why) => return Outcome::Failed(format!("no end: {why}")),
        Course::Rest => {}
    }
    let stopped = world.stopped();
    let findings = truth::compare(world, &stopped.keys().copied().collect::<BTreeSet<_>>());
    let why = stopped.first_key_value().map(|(partition, why)| format!("partition {partition}: {why}"));
    match (why, findings.wrong.first(), findings.otherwise.first()) {
        (Some(why), Some(_), _) if !world.extraordinary.is_empty() => Outcome::StoppedDamaged(why),
        (None, Some(wrong), _) if world.may_go_unnoticed() => Outcome::Unnoticed(wrong.clone()),
        (why, Some(wrong), _) => Outcome::Failed(match why {
            Some(why) => format!("{wrong} (stopped: {why})"),
            None => wrong.clone(),
        }),
        (_, None, Some(otherwise)) if !world.class.may_decide_otherwise() => Outcome::Failed(otherwise.clone()),
        (Some(why), None, _) => Outcome::Stopped(why),
        (None, None, Some(otherwise)) => Outcome::Otherwise(otherwise.clone()),
        (None, None, None) => Outcome::Right,
    }
}
