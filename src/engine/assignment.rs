//! Where to begin: what is known of a partition when it is assigned, and what to do.
//!
//! One pure function over (committed offset, intent, end of `batches`, witnesses, log start and end, topic id). It is total: what
//! cannot be decided stops the partition, and nothing here turns a stop off. `docs/exactly-once.md` explains each row of the table.

use super::intent::{Intent, NotAnIntent};

/// All that is known of a partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The topic's id now.
    pub topic_id: String,
    /// The topic's id in the newest row of `batches`, or of `sources` when the partition has none.
    pub known_topic_id: Option<String>,
    /// Topic ids of witnesses of this source epoch that differ from `topic_id`.
    pub strange_topic_ids: Vec<String>,
    /// C: the group's committed offset.
    pub committed: Option<i64>,
    /// M: the intent in the committed offset's metadata, or why it is none.
    pub intent: Result<Option<Intent>, NotAnIntent>,
    /// E: the end of `batches`.
    pub end: Option<i64>,
    /// Where the gaps begin with which `batches` ends; `None`: it ends with a batch, or is empty.
    pub gap_from: Option<i64>,
    /// `prev` of the oldest row of `batches`.
    pub oldest_prev: Option<i64>,
    /// What `batches` and the tables contradict each other in, if anything.
    pub violation: Option<String>,
    /// W: ranges from E on that have a witness but no row in `batches`.
    pub written: Vec<Written>,
    /// The first and last offset of rows from E on in `usage_log` and `rejected_events`.
    pub rows: Option<(i64, i64)>,
    /// S: the log's first offset.
    pub log_start: i64,
    /// L: the offset behind the log's last record.
    pub log_end: i64,
}

/// A range that a witness says was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The range's first offset.
    pub from: i64,
    /// The first offset behind it.
    pub to: i64,
    /// The digest that the witnesses carry; `None` when they differ.
    pub digest: Option<u64>,
    /// The version of the price book that they carry.
    pub price_version: u64,
}

/// What to do with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Read on from here.
    Start {
        /// The offset to read from.
        from: i64,
        /// The group's offset lies behind what was written, and no intent says why.
        rewound: bool,
    },
    /// Records from `from` to `to` left the log before they were read: say so in `batches`, then begin at `to`.
    Gap {
        /// The first offset that is gone.
        from: i64,
        /// The log's start.
        to: i64,
    },
    /// A batch was promised; form it again and see what of it is written.
    Resolve {
        /// The range's first offset.
        from: i64,
        /// The promise.
        intent: Intent,
        /// Whether its records have left the log.
        gone: bool,
    },
    /// A batch was written and its promise is gone; form it again with what its witness says.
    ResolveWritten(Written),
    /// Do nothing until a person has looked.
    Stop(Stop),
}

/// Why a partition stands still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Stop {
    /// Which guard.
    pub kind: StopKind,
    /// What was seen, in a sentence.
    pub reason: String,
}

/// The guards: a closed list, the same in errors, tables and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopKind {
    /// The topic was deleted and created again.
    Recreated,
    /// `batches` and the tables contradict each other.
    Inconsistent,
    /// The log is shorter than what was read of it, or another leader wrote it.
    Truncated,
    /// ClickHouse has lost rows that were written.
    LostData,
    /// The group's offset was moved by somebody else.
    ForeignCommit,
    /// A promised range overlaps what is written.
    Overlap,
    /// A range formed again has other rows, and some were written.
    DigestDiffers,
    /// An insert succeeds and its rows do not appear.
    Doubt,
    /// The users key is another than the promised batch's.
    HashKey,
    /// The dead-letter topic cannot be written.
    DeadLetter,
}

impl StopKind {
    /// Every guard.
    pub const ALL: [Self; 10] = [
        Self::Recreated,
        Self::Inconsistent,
        Self::Truncated,
        Self::LostData,
        Self::ForeignCommit,
        Self::Overlap,
        Self::DigestDiffers,
        Self::Doubt,
        Self::HashKey,
        Self::DeadLetter,
    ];

    /// The guard of that name; of a name that a newer farebox gave, the one that says least.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Inconsistent)
    }

    /// The name in tables and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recreated => "recreated",
            Self::Inconsistent => "inconsistent",
            Self::Truncated => "truncated",
            Self::LostData => "lost_data",
            Self::ForeignCommit => "foreign_commit",
            Self::Overlap => "overlap",
            Self::DigestDiffers => "digest_differs",
            Self::Doubt => "doubt",
            Self::HashKey => "hash_key",
            Self::DeadLetter => "dead_letter",
        }
    }
}

impl Stop {
    /// A stop of this kind, with what was seen.
    pub fn new(kind: StopKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// The decision table. The first row that matches wins; rows are numbered as in `docs/exactly-once.md`.
pub fn decide(facts: &Facts) -> Decision {
    match refuse(facts) {
        Some(stop) => Decision::Stop(stop),
        None => begin(facts),
    }
}

/// Rows 2 to 4: what must hold before anything is concluded from offsets.
fn refuse(facts: &Facts) -> Option<Stop> {
    let stop = |kind, reason: String| Some(Stop::new(kind, reason));
    let intent = match &facts.intent {
        Ok(intent) => intent.as_ref(),
        Err(error) => return stop(StopKind::ForeignCommit, error.to_string()),
    };
    if let Some((from, to)) = facts.committed.zip(intent).map(|(from, intent)| (from, intent.to)).filter(|(from, to)| to <= from) {
        return stop(
            StopKind::ForeignCommit,
            format!("the intent [{from}, {to}) holds no offset: this program promises none such"),
        );
    }
    // 2: another life of the topic.
    let known = facts.known_topic_id.iter().chain(intent.map(|intent| &intent.topic_id)).chain(&facts.strange_topic_ids);
    if let Some(other) = known.into_iter().find(|id| **id != facts.topic_id) {
        let id = &facts.topic_id;
        return stop(
            StopKind::Recreated,
            format!("the topic was deleted and created again: its id is {id}, what is written came from {other}"),
        );
    }
    // 3: tables that contradict each other.
    if let Some(violation) = &facts.violation {
        return stop(StopKind::Inconsistent, violation.clone());
    }
    if let Some(prev) = facts.oldest_prev {
        return stop(StopKind::LostData, format!("the oldest row of `batches` follows one that ended at {prev}, which is gone"));
    }
    let end = facts.end.unwrap_or(0);
    if facts.written.len() > 1 {
        let ranges: Vec<String> = facts.written.iter().map(|written| format!("[{}, {})", written.from, written.to)).collect();
        return stop(
            StopKind::Inconsistent,
            format!("more than one range is written behind {end} without a row in `batches`: {}", ranges.join(" ")),
        );
    }
    // A batch begins where the one before ended, and the first where the log did, whose start only moves on.
    let begins_by = facts.end.unwrap_or(facts.log_start.max(facts.committed.unwrap_or(0)));
    if let Some(late) = facts.written.first().filter(|written| written.from > begins_by) {
        return stop(
            StopKind::Inconsistent,
            format!("[{}, {}) is written, but nothing says what became of the offsets from {begins_by} on", late.from, late.to),
        );
    }
    if let Some(rows) = facts.rows.filter(|&rows| !facts.covers(rows)) {
        let (first, last) = rows;
        return stop(
            StopKind::Inconsistent,
            format!("rows at offsets {first} to {last} belong to no range that `batches`, an intent or a witness names"),
        );
    }
    // 4: the log ends before what was read of it.
    let reached = [facts.committed, facts.end, intent.map(|intent| intent.to), facts.written.first().map(|written| written.to)];
    if let Some(reached) = reached.into_iter().flatten().max().filter(|&reached| facts.log_end < reached) {
        let end = facts.log_end;
        return stop(StopKind::Truncated, format!("the log ends at {end}, before {reached}, up to which it was read or promised"));
    }
    None
}

/// Rows 5 to 12: where to begin.
fn begin(facts: &Facts) -> Decision {
    let stop = |kind, reason: String| Decision::Stop(Stop::new(kind, reason));
    let intent = facts.intent.as_ref().ok().and_then(Option::as_ref);
    let (committed, end) = (facts.committed, facts.end);
    let written = facts.written();
    let promised = committed.zip(intent);
    if let (Some((from, intent)), None) = (promised, end)
        && let Some(prev) = intent.prev
    {
        return stop(
            StopKind::LostData,
            format!("the intent [{from}, {}) follows a batch that ended at {prev}, but `batches` is empty", intent.to),
        ); // 5
    }
    match (committed, end) {
        (Some(committed), Some(end)) if committed > end => {
            return stop(
                StopKind::ForeignCommit,
                format!(
                    "the group's offset is {committed}, `batches` ends at {end}: ClickHouse lost rows, or somebody else committed"
                ),
            ); // 6
        }
        (Some(committed), None) if intent.is_none() => {
            return stop(
                StopKind::ForeignCommit,
                format!("the group's offset is {committed}, `batches` is empty: ClickHouse lost rows, or somebody else committed"),
            ); // 6
        }
        _ => {}
    }
    if let Some((from, intent)) = promised
        && end.is_none_or(|end| end == from)
    {
        let other = written.as_ref().filter(|written| (written.from, written.to) != (from, intent.to));
        return match other {
            None => Decision::Resolve { from, intent: intent.clone(), gone: facts.log_start > from }, // 7
            Some(other) => stop(
                StopKind::Inconsistent,
                format!("[{from}, {}) is promised, but [{}, {}) is written", intent.to, other.from, other.to),
            ), // 8
        };
    }
    if let Some((from, intent)) = promised
        && let Some(end) = end.filter(|&end| from < end && intent.to > end)
        && !(facts.is_in_last_gap(from) && facts.rows.is_none() && written.is_none())
    {
        return stop(StopKind::Overlap, format!("the intent [{from}, {}) overlaps `batches`, which ends at {end}", intent.to)); // 9
    }
    if let Some(written) = written {
        return if facts.log_start > written.from {
            stop(
                StopKind::LostData,
                format!(
                    "[{}, {}) is partly written, its intent is lost and its records have left the log",
                    written.from, written.to
                ),
            )
        } else {
            Decision::ResolveWritten(written) // 10
        };
    }
    let rewound = match (committed, end) {
        (Some(committed), Some(end)) => {
            committed < end && intent.is_none_or(|intent| intent.to != end) && !facts.is_in_last_gap(committed)
        }
        _ => false,
    };
    let from = end.unwrap_or(facts.log_start); // 11, 12
    if facts.log_start > from { Decision::Gap { from, to: facts.log_start } } else { Decision::Start { from, rewound } }
}

impl Facts {
    /// The range that is written without a row in `batches`; rows of the log inside an intent count as such.
    fn written(&self) -> Option<Written> {
        self.written.first().cloned()
    }

    /// Whether an offset lies in what the newest rows of `batches` say is gone. A gap's row is written before the commit behind it: who
    /// dies in between leaves the group where the gap begins, and maybe a promise of which nothing was written and the first records
    /// are gone. Both are void.
    fn is_in_last_gap(&self, offset: i64) -> bool {
        self.gap_from.zip(self.end).is_some_and(|(from, end)| (from..end).contains(&offset))
    }

    fn covers(&self, (first, last): (i64, i64)) -> bool {
        let inside = |from: i64, to: i64| from <= first && last < to;
        let promised = match (&self.intent, self.committed) {
            (Ok(Some(intent)), Some(from)) => inside(from, intent.to),
            _ => false,
        };
        promised || self.written.iter().any(|written| inside(written.from, written.to))
    }
}

#[cfg(test)]
mod tests;
