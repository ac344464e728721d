//! A balance in one word, for whoever must decide whether to go on.

use crate::model::Credits;

/// How much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// More than what the account wants to be told of.
    Ok,
    /// Less than the account's `low_balance`.
    Low,
    /// Nothing, or a debt.
    Exhausted,
}

impl Status {
    /// Of a balance, with the account's `low_balance` if it has one.
    pub fn of(balance: Credits, low_balance: Option<Credits>) -> Self {
        match low_balance {
            _ if balance <= Credits::ZERO => Self::Exhausted,
            Some(low) if balance < low => Self::Low,
            _ => Self::Ok,
        }
    }

    /// As it is published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Low => "low",
            Self::Exhausted => "exhausted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_low_below_its_mark_and_exhausted_at_nothing() {
        let status = |balance, low: Option<i128>| Status::of(Credits::from_nanos(balance), low.map(Credits::from_nanos)).as_str();
        assert_eq!([10, 9, 1, 0, -1].map(|balance| status(balance, Some(10))), ["ok", "low", "low", "exhausted", "exhausted"]);
        assert_eq!([1, 0, -1].map(|balance| status(balance, None)), ["ok", "exhausted", "exhausted"]);
    }
}
