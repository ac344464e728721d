//! What becomes of a mail: its steps, and when the next one is due.
//!
//! Pure: steps are rows of `mail_outbox`, numbered; whoever adds step n + 1 first does it, so two instances never send one mail at a time.
//! Holds: a mail is tried until `retry_for` has passed since it was due; what the server refuses for good is not tried again; a mail whose delivery
//! is unknown (the connection was lost after its content) is sent once more and never a third time, under the same Message-ID.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// How long after which failure it is tried again, in seconds; then every hour.
const RETRY_AFTER_SECONDS: [i64; 4] = [60, 300, 900, 3_600];

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be sent, or tried again, at `next_at`.
    Pending,
    /// Somebody is sending it.
    Sending,
    /// The server took it.
    Sent,
    /// Nobody knows whether the server took it.
    Unknown,
    /// It is not tried again.
    Failed,
    /// Nobody wanted it by mail: muted, or too many a day.
    Held,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Pending, Self::Sending, Self::Sent, Self::Unknown, Self::Failed, Self::Held];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted.
    Accepted,
    /// The server could not be reached, or did not let us in: nothing was delivered, and nothing else would be.
    Unreachable(String),
    /// Refused for now: nothing was delivered.
    Later(String),
    /// Refused for good.
    Never(String),
    /// The connection was lost when the content was on its way, or the attempt was never ended.
    Unknown(String),
}

/// How a mail has fared: its steps so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// When it was due first.
    pub created_at: Timestamp,
    /// Attempts that ended with [`Outcome::Later`] or [`Outcome::Unreachable`].
    pub failures: u32,
    /// Attempts that ended with [`Outcome::Unknown`].
    pub unknowns: u32,
}

/// The state after an attempt, and when the next one is due.
pub fn after(outcome: &Outcome, past: Past, now: Timestamp, retry_for_ms: i64) -> (State, Timestamp) {
    let again = |seconds: i64| {
        let at = now.plus_millis(seconds * 1_000);
        if at.millis().saturating_sub(past.created_at.millis()) > retry_for_ms {
            (State::Failed, now)
        } else {
            (State::Pending, at)
        }
    };
    match outcome {
        Outcome::Accepted => (State::Sent, now),
        Outcome::Never(_) => (State::Failed, now),
        Outcome::Later(_) | Outcome::Unreachable(_) => {
            let last = RETRY_AFTER_SECONDS.len() - 1;
            again(RETRY_AFTER_SECONDS[(past.failures as usize).min(last)])
        }
        Outcome::Unknown(_) if past.unknowns == 0 => again(RETRY_AFTER_SECONDS[0]),
        Outcome::Unknown(_) => (State::Unknown, now),
    }
}

/// Whether somebody who began to send has not said for so long how it ended that nobody will.
pub fn is_abandoned(sending_since: Timestamp, now: Timestamp, timeout_ms: i64) -> bool {
    // Twice: the attempt's own timeout, and the time to write down how it ended.
    now.millis().saturating_sub(sending_since.millis()) > timeout_ms.saturating_mul(2).saturating_add(60_000)
}
