//! Closed sessions are counted once and kept, so that sums over years read numbers and no sets of users.
//!
//! Holds: a session whose fold may lack something is read from its sets (docs/decisions/0020-folded-sessions.md); a turn does a bounded piece
//! of work; what two leaders do at once, or one does half, changes no answer.

use crate::model::Timestamp;
use crate::store::{FoldMark, Store};

const DAY_MS: i64 = 86_400_000;
/// Sessions that began within so long are counted by one question.
const STEP_MS: i64 = 7 * DAY_MS;
/// So many questions a turn.
const STEPS_MAX: usize = 4;
/// Sessions that were written to since are counted anew when the mark is so old: until then they are read from their sets.
const REFOLD_AFTER_MS: i64 = 600_000;

/// Counts what has closed since the last turn, and anew what was written to since.
///
/// # Errors
/// ClickHouse's; the next turn goes on.
pub async fn fold(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    // Before anything is counted: what lands while we count carries a later moment.
    let Some(cut) = store.fold_cut().await? else { return Ok(()) };
    let mark = store.fold_mark().await?;
    let closed = store.closed_to().await?.plus_millis(-DAY_MS);
    let from = mark.map_or(Timestamp::MIN, |mark| mark.folded_to);
    let mut to = from;
    for _ in 0..STEPS_MAX {
        let Some(first) = store.first_session(to).await?.filter(|&first| first < closed) else { break };
        let next = closed.min(first.plus_millis(STEP_MS));
        store.fold_sessions(first, next, now).await?;
        to = next;
    }
    let is_old = |mark: &FoldMark| now.millis() - mark.folded_at.millis() >= REFOLD_AFTER_MS;
    let written = match &mark {
        Some(mark) if to > from || is_old(mark) => store.sessions_written_since(mark).await?,
        _ => 0,
    };
    if let Some(mark) = mark.as_ref().filter(|_| written > 0) {
        store.refold_sessions(mark, now).await?;
    }
    if to > from || written > 0 {
        store.set_fold_mark(&FoldMark { folded_to: to, cut, folded_at: now }).await?;
    }
    Ok(())
}
