//! What is charged for the operations of an account's day, compared with what another book says.
//!
//! Charged is what was stored when the events were metered and every adjustment since. Holds: what a comparison says, once posted, leaves
//! nothing to say, whatever was posted before; every sum is exact. Memory is that of the day's lines, not of its events.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::again::{Logged, Rated};
use super::{Cost, TRAINING};
use crate::model::{Credits, Timestamp};

/// A sum that does not fit into 128 bits: never from events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum of costs does not fit into 128 bits")]
pub struct Overflow;

/// What `usage_hourly` sums by, inside a day of an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// As in the event.
    pub category: Box<str>,
    /// As in the event.
    pub model: Box<str>,
    /// As in the event.
    pub agent: Box<str>,
    /// As in the event.
    pub platform: Box<str>,
    /// Start of the account's hour. The epoch in a line of a whole day.
    pub hour: Timestamp,
}

impl Line {
    /// `training` or `operation`.
    pub fn kind(&self) -> &'static str {
        if &*self.category == TRAINING { TRAINING } else { "operation" }
    }
}

/// What was posted for a line before, or is to be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjustment {
    /// Signed.
    pub cost: Credits,
    /// Signed.
    pub unpriced_events: i64,
}

/// A line as it is charged, and as the other book has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Events of the line.
    pub events: u64,
    /// What is charged.
    pub old: Credits,
    /// What the other book says.
    pub new: Credits,
    /// Events without a price, as charged.
    pub unpriced_old: i64,
    /// Events without a price, by the other book.
    pub unpriced_new: i64,
}

impl Compared {
    /// What is to be posted; `None`: nothing.
    ///
    /// # Errors
    /// [`Overflow`].
    pub fn adjustment(&self) -> Result<Option<Adjustment>, Overflow> {
        let cost = self.new.checked_sub(self.old).ok_or(Overflow)?;
        let adjustment = Adjustment { cost, unpriced_events: self.unpriced_new - self.unpriced_old };
        Ok((adjustment != Adjustment::default()).then_some(adjustment))
    }

    fn add(&mut self, other: &Self) -> Result<(), Overflow> {
        self.events += other.events;
        self.old = self.old.checked_add(other.old).ok_or(Overflow)?;
        self.new = self.new.checked_add(other.new).ok_or(Overflow)?;
        self.unpriced_old += other.unpriced_old;
        self.unpriced_new += other.unpriced_new;
        Ok(())
    }
}

/// The events of a day, folded.
#[derive(Debug, Default)]
pub struct DayFold {
    index: HashTable<usize>,
    lines: Vec<(Line, Compared)>,
    /// How many there were.
    pub events: u64,
}

impl DayFold {
    /// Takes an event.
    ///
    /// # Errors
    /// [`Overflow`].
    pub fn add(&mut self, logged: &Logged<'_>, rated: &Rated) -> Result<(), Overflow> {
        self.events += 1;
        let Cost { credits, priced } = rated.cost;
        let event = Compared {
            events: 1,
            old: logged.cost,
            new: credits,
            unpriced_old: i64::from(!logged.priced),
            unpriced_new: i64::from(!priced),
        };
        let Self { index, lines, .. } = self;
        let words = (logged.category, logged.model, logged.agent, logged.platform, rated.hour);
        let hash = hash(words);
        if let Some(&at) = index.find(hash, |&at| words_of(&lines[at].0) == words) {
            return lines[at].1.add(&event);
        }
        let at = lines.len();
        let (category, model) = (logged.category.into(), logged.model.into());
        let line = Line { category, model, agent: logged.agent.into(), platform: logged.platform.into(), hour: rated.hour };
        lines.push((line, event));
        index.insert_unique(hash, at, |&at| self::hash(words_of(&lines[at].0)));
        Ok(())
    }

    /// Every line by hour, those of which only adjustments are known included, in a fixed order.
    ///
    /// # Errors
    /// [`Overflow`].
    pub fn compare(self, posted: impl IntoIterator<Item = (Line, Adjustment)>) -> Result<BTreeMap<Line, Compared>, Overflow> {
        let mut lines: BTreeMap<Line, Compared> = self.lines.into_iter().collect();
        for (line, adjustment) in posted {
            let charged = Compared { old: adjustment.cost, unpriced_old: adjustment.unpriced_events, ..Compared::default() };
            lines.entry(line).or_default().add(&charged)?;
        }
        Ok(lines)
    }
}

/// The lines of a whole day, hours added up.
///
/// # Errors
/// [`Overflow`].
pub fn of_the_day(lines: &BTreeMap<Line, Compared>) -> Result<BTreeMap<Line, Compared>, Overflow> {
    let mut of_day: BTreeMap<Line, Compared> = BTreeMap::new();
    for (line, compared) in lines {
        of_day.entry(Line { hour: Timestamp::default(), ..line.clone() }).or_default().add(compared)?;
    }
    Ok(of_day)
}

type Words<'a> = (&'a str, &'a str, &'a str, &'a str, Timestamp);

fn words_of(line: &Line) -> Words<'_> {
    (&line.category, &line.model, &line.agent, &line.platform, line.hour)
}

fn hash(words: Words<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    words.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Day, Given, Quantity};

    fn logged(agent: &str, cost: i128, priced: bool) -> Logged<'_> {
        Logged {
            account: "acme",
            day: Day::from_epoch_days(20_500),
            time: Timestamp::from_seconds(1_771_200_000),
            platform: "web",
            agent,
            category: "training",
            model: "m",
            duration_ms: 0,
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            quantity: Quantity::ZERO,
            credits: Credits::ZERO,
            given: Given::default(),
            cost: Credits::from_nanos(cost),
            priced,
            price_version: 1,
        }
    }

    fn rated(hour: i64, cost: i128, priced: bool) -> Rated {
        Rated { hour: Timestamp::from_seconds(hour * 3_600), cost: Cost { credits: Credits::from_nanos(cost), priced } }
    }

    fn fold() -> DayFold {
        let mut fold = DayFold::default();
        for (event, now) in [
            (logged("a", 5, true), rated(1, 7, true)),
            (logged("a", 5, true), rated(1, 7, true)),
            (logged("a", 0, false), rated(2, 1, true)),
            (logged("b", 3, true), rated(1, 3, true)),
            (logged("c", 0, false), rated(1, 0, false)),
        ] {
            fold.add(&event, &now).expect("small");
        }
        fold
    }

    fn posted(lines: &BTreeMap<Line, Compared>) -> Vec<(Line, Adjustment)> {
        lines.iter().filter_map(|(line, compared)| Some((line.clone(), compared.adjustment().expect("small")?))).collect()
    }

    #[test]
    fn what_was_posted_leaves_nothing_to_post() {
        let first = fold().compare([]).expect("small");
        let adjustments = posted(&first);
        let expected = [(1, 4, 0), (2, 1, -1)];
        let seen: Vec<_> =
            adjustments.iter().map(|(line, a)| (line.hour.seconds() / 3_600, a.cost.nanos(), a.unpriced_events)).collect();
        assert_eq!(seen, expected, "agents b and c are as they were");
        let again = fold().compare(adjustments.clone()).expect("small");
        assert_eq!(posted(&again), []);
        let day = of_the_day(&again).expect("small");
        let a = day.iter().find(|(line, _)| &*line.agent == "a").expect("agent a").1;
        assert_eq!((a.events, a.old.nanos(), a.new.nanos(), a.unpriced_old, a.unpriced_new), (3, 15, 15, 0, 0));
        assert_eq!(fold().events, 5);
        assert!(day.keys().all(|line| line.kind() == "training"));
    }

    #[test]
    fn an_adjustment_of_a_line_without_events_is_taken_back() {
        let line = Line {
            category: "llm".into(),
            model: "".into(),
            agent: "gone".into(),
            platform: "".into(),
            hour: Timestamp::default(),
        };
        let lines =
            fold().compare([(line.clone(), Adjustment { cost: Credits::from_nanos(9), unpriced_events: 1 })]).expect("small");
        let taken = Adjustment { cost: Credits::from_nanos(-9), unpriced_events: -1 };
        assert!(posted(&lines).contains(&(line, taken)));
    }
}
