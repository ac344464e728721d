//! What a row is about: rows with the same key follow one another in time.

use std::fmt;

use super::{Kind, Row};

/// The thing that a row describes: an account, a price, a budget, a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub kind: Kind,
    /// Of accounts and prices. A budget's account is not part of its key: its id is.
    pub account: String,
    /// Platform, category, id or currency.
    pub first: String,
    /// Model.
    pub second: String,
}

impl Key {
    pub fn of(row: &Row) -> Self {
        let (account, first, second) = match row.kind {
            Kind::Account => (&*row.account, "", ""),
            Kind::SessionPrice => (&*row.account, &*row.platform, ""),
            Kind::Rate => (&*row.account, &*row.category, &*row.model),
            Kind::Budget | Kind::Package => ("", &*row.id, ""),
            Kind::CreditPrice => ("", &*row.currency, ""),
        };
        Self { kind: row.kind, account: account.to_owned(), first: first.to_owned(), second: second.to_owned() }
    }
}

impl fmt::Display for Key {
    /// Such as `rate * llm gpt-4o`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        for part in [&self.account, &self.first, &self.second] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}
