//! What can be done about a stop, given what is known now. Pure: one function, as the decision on assignment is.

use crate::engine::assignment::{Decision, Facts, Stop, StopKind};

/// What `recover` would do about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The evidence is gone, or what failed may be tried again: take the stop back.
    Clear(String),
    /// Put the group's offset, of which no intent is kept, to where `batches` ends.
    CommitEnd(i64),
    /// Forget the group's offset: the tables know nothing of the partition, so it is read from its start.
    ForgetOffset,
    /// Begin a new source epoch of the topic.
    NewEpoch,
    /// Nothing, before a person has mended this.
    Mend(String),
}

impl Remedy {
    /// Whether it needs a group without members.
    pub(super) fn touches_the_group(&self) -> bool {
        !matches!(self, Self::Clear(_) | Self::Mend(_))
    }

    /// Whether the partition can go on afterwards.
    pub(super) fn mends(&self) -> bool {
        !matches!(self, Self::Mend(_))
    }

    /// A sentence about what it does.
    pub(super) fn sentence(&self, facts: &Facts) -> String {
        let committed = facts.committed.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
        match self {
            Self::Clear(what) => format!("takes the stop back: {what}"),
            Self::CommitEnd(end) => format!(
                "sets the group's offset from {committed} to {end}, where `batches` ends, and takes the stop back: the records from {} on are read",
                facts.log_start.max(*end)
            ),
            Self::ForgetOffset => format!(
                "forgets the group's offset {committed} and takes the stop back: the tables have nothing of this partition, so it is read from its start, {}",
                facts.log_start
            ),
            Self::NewEpoch if is_recreated(facts) => format!(
                "begins a new source epoch of the topic, for all its partitions; what the tables have stays, and this one is read from {} on",
                facts.log_start
            ),
            Self::NewEpoch => {
                "begins a new source epoch of the topic, for all its partitions; what the tables have stays, and records that were written since are read"
                    .to_owned()
            }
            Self::Mend(what) => format!("cannot mend this: {what}"),
        }
    }
}

/// What to do about a partition that stopped with a guard of this kind, and for which `now` would be decided today.
pub(super) fn remedy(stopped: StopKind, facts: &Facts, now: &Decision, new_epoch: bool) -> Remedy {
    let Decision::Stop(now) = now else {
        // That a log was written anew shows when its last batch is read again, which only an owner does.
        let is_told = stopped == StopKind::Truncated && new_epoch;
        return if is_told && is_finished(facts) { Remedy::NewEpoch } else { Remedy::Clear(begun_anew(stopped, now)) };
    };
    let mend = |what: &str| Remedy::Mend(what.to_owned());
    match now.kind {
        StopKind::Recreated if new_epoch => Remedy::NewEpoch,
        StopKind::Truncated if facts.end.unwrap_or(0) <= facts.log_end && is_finished(facts) && !new_epoch => {
            offset_is_wrong(facts, now)
        }
        StopKind::Truncated if new_epoch && is_finished(facts) => Remedy::NewEpoch,
        StopKind::Truncated if new_epoch => mend(
            "a batch was being written when the log lost its records: restore the tables from before it, with no instance running",
        ),
        StopKind::Recreated => mend(
            "if the topic was created again on purpose, `farebox recover --new-epoch` meters it from its start; what the old one still held is lost",
        ),
        StopKind::Truncated => {
            mend("find out what Kafka lost; `farebox recover --new-epoch` then goes on with the records that were written since")
        }
        StopKind::ForeignCommit | StopKind::Overlap => offset_is_wrong(facts, now),
        StopKind::LostData if facts.end.is_none() => offset_is_wrong(facts, now),
        StopKind::LostData => mend("restore the rows that are missing from a backup, with no instance running"),
        StopKind::Inconsistent => {
            mend("find out who changed tables by hand, and restore them from a backup, with no instance running")
        }
        StopKind::DigestDiffers | StopKind::Doubt | StopKind::HashKey | StopKind::DeadLetter => {
            mend("docs/recovery.md tells what to do")
        }
    }
}

/// The group's offset does not fit the tables. The tables are what counts, where they say all there is to say.
fn offset_is_wrong(facts: &Facts, now: &Stop) -> Remedy {
    let is_explained =
        facts.rows.is_none_or(|(first, last)| facts.written.iter().any(|written| written.from <= first && last < written.to));
    if !is_explained || facts.violation.is_some() {
        return Remedy::Mend(format!(
            "the tables hold rows that `batches` does not name ({}); restore them from a backup",
            now.reason
        ));
    }
    match facts.end {
        Some(end) => Remedy::CommitEnd(end),
        None if facts.written.is_empty() && facts.rows.is_none() => Remedy::ForgetOffset,
        None => Remedy::Mend("the tables hold rows of this partition and `batches` none; restore it from a backup".to_owned()),
    }
}

/// What happens once the stop is taken back.
fn begun_anew(stopped: StopKind, now: &Decision) -> String {
    let goes_on = match now {
        Decision::Start { from, .. } => format!("reading goes on at {from}"),
        Decision::Gap { from, to } => format!("the records from {from} to {to} have left Kafka, which is written down as a gap"),
        Decision::Resolve { from, intent, .. } => format!("the promised batch [{from}, {}) is tried again", intent.to),
        Decision::ResolveWritten(written) => format!("the batch [{}, {}), written in part, is finished", written.from, written.to),
        Decision::Stop(stop) => stop.reason.clone(),
    };
    match stopped {
        StopKind::DigestDiffers => {
            format!("{goes_on}; it stops again unless the version and the settings that wrote the first part are back")
        }
        StopKind::HashKey => format!("{goes_on}; it stops again unless the users key of the promise is back"),
        StopKind::LostData => format!("{goes_on}; it stops again unless the tables were restored"),
        StopKind::Doubt => format!("{goes_on}; it stops again if ClickHouse still shows no rows after a success"),
        StopKind::Truncated => {
            format!("{goes_on}; it stops again if the log was written anew, and then `farebox recover --new-epoch` is what helps")
        }
        _ => goes_on,
    }
}

/// Whether nothing is written behind the end of `batches`.
fn is_finished(facts: &Facts) -> bool {
    facts.written.is_empty() && facts.rows.is_none()
}

fn is_recreated(facts: &Facts) -> bool {
    facts.known_topic_id.as_ref().is_some_and(|known| *known != facts.topic_id)
}

#[cfg(test)]
mod tests;
