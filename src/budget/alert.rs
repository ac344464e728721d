//! One thing that somebody is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Credits;

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A budget reached a share of its limit.
    Threshold,
    /// A budget will exceed its limit at the pace of its period so far.
    Forecast,
    /// A balance fell below the account's mark.
    LowBalance,
    /// Nothing is left of a balance.
    Exhausted,
    /// An account spends far more today than on the same weekday before.
    Spike,
    /// Events of an account are rejected: told to the operators.
    Rejected,
    /// Events of an account cost nothing for want of a price: told to the operators.
    Unpriced,
    /// A partition stands still: told to the operators.
    Guard,
    /// Mails arrive: told to the operators now and then.
    Canary,
    /// What was held back on a day on which an account had more mails than it may.
    Digest,
    /// Somebody asked for it, to see one.
    Test,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Threshold,
        Self::Forecast,
        Self::LowBalance,
        Self::Exhausted,
        Self::Spike,
        Self::Rejected,
        Self::Unpriced,
        Self::Guard,
        Self::Canary,
        Self::Digest,
        Self::Test,
    ];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Forecast => "forecast",
            Self::LowBalance => "low_balance",
            Self::Exhausted => "exhausted",
            Self::Spike => "spike",
            Self::Rejected => "rejected",
            Self::Unpriced => "unpriced",
            Self::Guard => "guard",
            Self::Canary => "canary",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An alert that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Unique; see [`id_of`].
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// Percent of the limit; 0 where there is none.
    pub threshold: u16,
    /// The limit, or the mark below which a balance is low.
    pub limit: Credits,
    /// Whether it is mailed: of several thresholds reached at once only the highest.
    pub is_mailed: bool,
}

/// The id of an alert: its kind, and what it is about. Names may hold any character, so each is told with its length.
pub fn id_of(kind: Kind, about: &[&str]) -> String {
    let mut id = kind.as_str().to_owned();
    for part in about {
        id += &format!("/{}:{part}", part.len());
    }
    id
}
