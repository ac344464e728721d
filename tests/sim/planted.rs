//! The protection taken out, piece by piece: what the simulator must notice. The product has no switch for any of it; the world lies to
//! it, or a wrapper alters what it asks.

mod questions;
mod tables;

use std::sync::Arc;

use farebox::runtime::world::{Questions, Tables};

use super::broker::Broker;
use super::class::Class;
use super::member::SimQuestions;
use super::run::{Outcome, run};

use questions::{WithoutTopicId, WithoutWindow};
use tables::{Missing, Without};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Nothing: the product as it is.
    Nothing,
    /// ClickHouse knows no tokens.
    NoToken,
    /// Whoever asks for a witness hears that it is there, once an insert was answered with success.
    NoWitness,
    /// Kafka forgets the metadata of committed offsets.
    NoIntent,
    /// Kafka always names the same topic id.
    NoTopicId,
    /// `batches` is written before the other tables.
    BatchesFirst,
    /// The window for duplicates begins where reading does.
    NoWindow,
}

impl Planted {
    pub fn tables(self, inner: Arc<dyn Tables>) -> Arc<dyn Tables> {
        match self {
            Self::NoWitness => Arc::new(Without::new(Missing::Witnesses, inner)),
            Self::BatchesFirst => Arc::new(Without::new(Missing::Order, inner)),
            _ => inner,
        }
    }

    pub fn questions(self, broker: &Arc<Broker>) -> Option<Arc<dyn Questions>> {
        let asked = SimQuestions { broker: Arc::clone(broker) };
        match self {
            Self::NoTopicId => Some(Arc::new(WithoutTopicId(asked))),
            Self::NoWindow => Some(Arc::new(WithoutWindow(asked))),
            _ => None,
        }
    }
}

/// Runs schedules until one fails, at most so many; tells which and why.
fn found(planted: Planted, class: Class, runs_max: u64) {
    let failure = (0..runs_max).find_map(|seed| match run(class, seed, planted) {
        Outcome::Failed(why) => Some((seed, why)),
        _ => None,
    });
    let (seed, why) = failure.unwrap_or_else(|| panic!("{planted:?} went unnoticed in {runs_max} runs"));
    println!("{planted:?}: after {} runs, {why}", seed + 1);
}

#[test]
fn without_tokens_a_late_twin_doubles_a_block() {
    found(Planted::NoToken, Class::Ordinary, 500);
}

#[test]
fn without_witnesses_a_burnt_token_loses_a_block() {
    found(Planted::NoWitness, Class::Ordinary, 500);
}

#[test]
fn without_intents_a_range_is_cut_otherwise_than_it_was_written() {
    found(Planted::NoIntent, Class::Ordinary, 500);
}

#[test]
fn without_topic_ids_another_topic_is_read_on() {
    found(Planted::NoTopicId, Class::Recreate, 500);
}

#[test]
fn with_batches_written_first_a_crash_loses_the_rest() {
    found(Planted::BatchesFirst, Class::Ordinary, 500);
}

#[test]
fn without_the_rebuilt_window_a_repeated_event_is_taken_for_new() {
    found(Planted::NoWindow, Class::Ordinary, 500);
}
