//! One entry of the ledger.

use std::fmt;
use std::str::FromStr;

use crate::model::{Credits, Day};

/// What an entry is for. The kind gives the sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bought: a payment that succeeded. Adds.
    TopUp,
    /// Given, with or without a last day. Adds.
    Grant,
    /// Puts something right. Adds or takes.
    Adjustment,
    /// Credits that were bought and are paid back. Takes.
    Refund,
    /// What was left of credits on their last day. Takes.
    Expiry,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::TopUp, Self::Grant, Self::Adjustment, Self::Refund, Self::Expiry];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(())
    }
}

/// An entry of one account's ledger, as far as the balance depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique in the account's ledger.
    pub id: String,
    /// What it is for.
    pub kind: Kind,
    /// What it adds; negative: what it takes.
    pub amount: Credits,
    /// The day, of the account, from which it counts.
    pub day: Day,
    /// The last day on which the credits can be used; `None`: they stay.
    pub expires: Option<Day>,
    /// Of an [`Kind::Expiry`]: the id of the entry whose rest it takes.
    pub reference: String,
}
