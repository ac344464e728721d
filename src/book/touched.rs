//! Whose costs a row can change: the account it names, or for a row of everyone (`*`) all accounts that have nothing more specific.
//!
//! Accounts are taken as their newest rows have them: those that are not retired and are charged for what the row prices. A price that an
//! account has only for some time counts as more specific all the same.

use rustc_hash::FxHashSet;

use super::file::EVERY;
use super::plan::history;
use super::{Book, Kind, Row};

/// The accounts of a book and the prices of their own.
pub struct Touched<'a> {
    /// By name.
    accounts: Vec<&'a Row>,
    /// (kind, account, platform or category, model)
    own: FxHashSet<(Kind, &'a str, &'a str, &'a str)>,
}

impl<'a> Touched<'a> {
    /// Of a book: the one that has the rows to ask for.
    pub fn new(book: &'a Book) -> Self {
        let mut by_account: std::collections::BTreeMap<&str, Vec<&Row>> = std::collections::BTreeMap::new();
        let mut own = FxHashSet::default();
        for row in book.rows() {
            match row.kind {
                Kind::Account => by_account.entry(&row.account).or_default().push(row),
                Kind::Rate if row.account != EVERY => drop(own.insert((row.kind, &*row.account, &*row.category, &*row.model))),
                Kind::SessionPrice if row.account != EVERY => drop(own.insert((row.kind, &*row.account, &*row.platform, ""))),
                _ => {}
            }
        }
        let newest = by_account.values().filter_map(|rows| history(rows).into_values().next_back());
        Self { accounts: newest.filter(|row| !row.retired).collect(), own }
    }

    /// The accounts that a row of that book touches, by name.
    pub fn by<'r>(&'r self, row: &'r Row) -> impl Iterator<Item = &'r str> {
        let named = (row.account != EVERY && !row.account.is_empty()).then_some(&*row.account);
        let everyone = if row.account == EVERY { self.accounts.as_slice() } else { &[] };
        named.into_iter().chain(everyone.iter().filter(|account| self.falls_back(account, row)).map(|account| &*account.account))
    }

    fn falls_back(&self, account: &Row, row: &Row) -> bool {
        let charges = |what: &str| account.charge.iter().any(|charge| charge == what);
        let has = |kind, first: &str, second: &str| self.own.contains(&(kind, &*account.account, first, second));
        match row.kind {
            Kind::SessionPrice => {
                charges("sessions") && !has(row.kind, EVERY, "") && (row.platform == EVERY || !has(row.kind, &row.platform, ""))
            }
            Kind::Rate => {
                let is_charged = charges("operations") || (charges("training") && row.category == "training");
                is_charged
                    && account.operations == "rated"
                    && !has(row.kind, &row.category, "")
                    && (row.model.is_empty() || !has(row.kind, &row.category, &row.model))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book;
    use crate::model::Timestamp;

    const BOOK: &str = r#"
[[account]]
id = "plain"
[[account]]
id = "trains"
charge = ["training"]
[[account]]
id = "reports"
operations = "reported"
[[account]]
id = "own-model"
[[account]]
id = "own-category"
charge = ["operations"]
[[account]]
id = "own-sessions"
[[account]]
id = "gone"
retired = true
[[rate]]
account = "own-model"
category = "llm"
model = "m"
per_call = "1"
[[rate]]
account = "own-category"
category = "llm"
per_call = "1"
[[session_price]]
account = "own-sessions"
platform = "web"
unit_session_cost = "1"
"#;

    #[test]
    fn a_row_of_everyone_touches_those_who_have_nothing_more_specific() {
        let file = book::parse(BOOK, "book.toml").expect("a book");
        let plan =
            book::plan(&Book::empty(), &file, Timestamp::from_seconds(1), "t", Timestamp::from_millis(0), true).expect("a plan");
        let book = Book::from_rows(plan.rows);
        let touched = Touched::new(&book);
        let rate = |account: &str, category: &str, model: &str| Row {
            kind: Kind::Rate,
            account: account.to_owned(),
            category: category.to_owned(),
            model: model.to_owned(),
            ..Row::default()
        };
        let session = |platform: &str| Row {
            kind: Kind::SessionPrice,
            account: EVERY.to_owned(),
            platform: platform.to_owned(),
            ..Row::default()
        };
        for (row, accounts) in [
            (rate("*", "llm", "m"), vec!["own-sessions", "plain"]),
            (rate("*", "llm", "n"), vec!["own-model", "own-sessions", "plain"]),
            (rate("*", "llm", ""), vec!["own-model", "own-sessions", "plain"]),
            (rate("*", "training", ""), vec!["own-category", "own-model", "own-sessions", "plain", "trains"]),
            (rate("gone", "llm", ""), vec!["gone"]),
            (session("web"), vec!["own-model", "plain", "reports"]),
            (session("*"), vec!["own-model", "own-sessions", "plain", "reports"]),
            (Row { kind: Kind::Package, ..Row::default() }, vec![]),
        ] {
            assert_eq!(touched.by(&row).collect::<Vec<_>>(), accounts, "{row:?}");
        }
    }
}
