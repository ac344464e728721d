//! What may befall a request to ClickHouse, and a seeded source of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Says what becomes of each request. Asked once for each, before anything happens.
pub trait Faults: Send + Sync + 'static {
    /// The course of an insert.
    fn insert(&self, table: &str, token: &str) -> Course;
    /// The course of a question: which one, by its name in `Tables`.
    fn question(&self, name: &'static str) -> Asked;
}

/// The course of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// How long the request is on its way; `None`: it is lost there. An insert on its way is not yet seen as running.
    pub way: Option<Duration>,
    /// How long the server works on it. It is seen as running meanwhile, and its part is not there.
    pub work: Duration,
    /// What the server makes of it.
    pub becomes: Becomes,
    /// What the server answers.
    pub answer: Answer,
    /// How long the answer is on its way.
    pub back: Duration,
    /// Whether the request goes on when its sender dies or loses the server; otherwise the server sees a cut body and does nothing.
    pub outlives_sender: bool,
}

/// What the server makes of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// A part, or nothing when the token is known.
    Part,
    /// A token that is remembered, and no part: killed between the two.
    Burnt,
    /// Nothing.
    Nothing,
}

/// What the server answers to an insert that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Success.
    Success,
    /// The answer is lost: the connection breaks.
    Lost,
    /// An error of this code, whatever became of the insert.
    Error(u32),
}

impl Course {
    /// Nothing goes wrong.
    pub fn smooth(way: Duration, work: Duration, back: Duration) -> Self {
        Self { way: Some(way), work, becomes: Becomes::Part, answer: Answer::Success, back, outlives_sender: true }
    }
}

/// The course of a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// How long it is on its way.
    pub way: Duration,
    /// Whether it fails then.
    pub fails: bool,
    /// A question over several tables reads each of them at a moment of its own, so long after the one before. Zero: at one moment.
    pub between_tables: Duration,
    /// Which table is read first, second, …: a permutation is drawn from it.
    pub order: u64,
    /// How long the answer is on its way.
    pub back: Duration,
}

/// How often what goes wrong: of 1 000 requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// An insert is lost on its way.
    pub lost: u32,
    /// An insert is done, its answer lost.
    pub answer_lost: u32,
    /// An insert is done, and answered with an error.
    pub error_inserted: u32,
    /// An insert is answered with an error, nothing is done.
    pub error: u32,
    /// A token is burnt.
    pub burnt: u32,
    /// An insert arrives or is worked on long after its sender gave up.
    pub late: u32,
    /// A question fails.
    pub question: u32,
    /// A question reads its tables one after the other.
    pub torn: u32,
}

impl Rates {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { lost: 0, answer_lost: 0, error_inserted: 0, error: 0, burnt: 0, late: 0, question: 0, torn: 0 };

    /// Rates of a run of their own: most are often 0, so that some runs see much of one fault.
    pub fn drawn(rng: &mut impl Rng) -> Self {
        let mut rate = || [0, 0, 20, 60, 150][rng.random_range(0..5)];
        Self {
            lost: rate(),
            answer_lost: rate(),
            error_inserted: rate(),
            error: rate(),
            burnt: rate(),
            late: rate(),
            question: rate() / 3,
            torn: 3 * rate(),
        }
    }
}

/// A seeded plan: every request takes some milliseconds, and goes wrong as often as the rates say.
pub struct Plan(Mutex<(Pcg64Mcg, Rates)>);

impl Plan {
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self(Mutex::new((Pcg64Mcg::seed_from_u64(seed), rates)))
    }

    /// Other rates from now on.
    pub fn set(&self, rates: Rates) {
        self.with(|(_, current)| *current = rates);
    }

    fn with<T>(&self, what: impl FnOnce(&mut (Pcg64Mcg, Rates)) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn millis(rng: &mut Pcg64Mcg, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

impl Faults for Plan {
    fn insert(&self, _table: &str, _token: &str) -> Course {
        self.with(|(rng, rates)| {
            let mut course = Course::smooth(millis(rng, 0..20), millis(rng, 1..20), millis(rng, 0..10));
            course.outlives_sender = rng.random_bool(0.7);
            let Rates { lost, answer_lost, error_inserted, error, burnt, late, .. } = *rates;
            let mut dice = rng.random_range(0..1000);
            let mut falls = |rate: u32| {
                let hit = dice < rate;
                dice = dice.saturating_sub(rate) + if hit { 1000 } else { 0 };
                hit
            };
            if falls(lost) {
                course.way = None;
            } else if falls(answer_lost) {
                course.answer = Answer::Lost;
            } else if falls(error_inserted) {
                course.answer = Answer::Error(241);
            } else if falls(error) {
                (course.becomes, course.answer) = (Becomes::Nothing, Answer::Error(252));
            } else if falls(burnt) {
                (course.becomes, course.answer) = (Becomes::Burnt, Answer::Lost);
            } else if falls(late) {
                // Around the sender's patience, so that some are answered in time and most not.
                let long = millis(rng, 100..240_000);
                if rng.random_bool(0.5) {
                    course.way = Some(long);
                } else {
                    course.work = long;
                }
                course.outlives_sender = true;
            }
            course
        })
    }

    fn question(&self, _name: &'static str) -> Asked {
        self.with(|(rng, rates)| Asked {
            way: millis(rng, 0..10),
            fails: rng.random_range(0..1000) < rates.question,
            between_tables: if rng.random_range(0..1000) < rates.torn { millis(rng, 1..300) } else { Duration::ZERO },
            order: rng.random(),
            back: millis(rng, 0..10),
        })
    }
}
