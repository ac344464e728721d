//! The credit ledger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, Store, Unique};
use crate::ledger::Entry;
use crate::model::{Credits, Day, Timestamp};

/// An entry as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Whose.
    pub account: String,
    /// Unique in the account's ledger.
    pub id: String,
    /// A name of [`Kind`](crate::ledger::Kind).
    pub kind: String,
    /// What it adds, as a decimal; negative: what it takes.
    pub amount: String,
    /// The account's day from which it counts.
    pub day: String,
    /// The last day on which the credits can be used; `1970-01-01`: they stay.
    pub expires: String,
    /// Of an expiry: the id of the entry whose rest it takes.
    pub reference: String,
    /// For people.
    pub note: String,
    /// When it was made.
    #[serde(with = "super::time")]
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// Credits that stay.
pub const NEVER: &str = "1970-01-01";

const COLUMNS: &str = "account, id, kind, amount, day, expires, reference, note, created_at, created_by";
/// Neither account nor id can be told from the other by a separator that both may hold.
const KEY: &str = "concat(toString(length(account)), ':', account, '/', id)";

impl LedgerRow {
    /// Whether it says the same, whenever and by whomever it was made.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let said = |row: &Self| {
            [&row.account, &row.id, &row.kind, &row.amount, &row.expires, &row.reference, &row.note].map(ToOwned::to_owned)
        };
        said(self) == said(other)
    }

    /// What the fold needs of it.
    ///
    /// # Errors
    /// A value that this build does not know.
    pub fn entry(&self) -> Result<Entry, Error> {
        let unknown = |what: &str| Error::Answer(format!("entry `{}` of `{}` has {what}", self.id, self.account));
        let day = |text: &str| text.parse().map(Day::from_date).map_err(|_| unknown("no day"));
        Ok(Entry {
            id: self.id.clone(),
            kind: self.kind.parse().map_err(|()| unknown("another kind"))?,
            amount: Credits::parse_sum(&self.amount).ok_or_else(|| unknown("no amount"))?,
            day: day(&self.day)?,
            expires: Some(day(&self.expires)?).filter(|_| self.expires != NEVER),
            reference: self.reference.clone(),
        })
    }
}

impl Store {
    /// Adds an entry once, and returns the one that counts: the first that was made under this id, whatever it
    /// [says](LedgerRow::says_the_same_as).
    ///
    /// # Errors
    /// See [`Error`]. After any error the entry may be there: call again with the same id.
    pub async fn add_ledger_entry(&self, row: &LedgerRow) -> Result<LedgerRow, Error> {
        let key = format!("{}:{}/{}", row.account.len(), row.account, row.id);
        let found = self.insert_unique("credit_ledger", COLUMNS, KEY, &key, std::slice::from_ref(row)).await?;
        Ok(match found {
            Unique::Ours => row.clone(),
            Unique::Other(rows) => rows.into_iter().min_by_key(|there| there.created_at).unwrap_or_else(|| row.clone()),
        })
    }

    /// An account's entries, the oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ledger(&self, account: &str) -> Result<Vec<LedgerRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM ledger WHERE account = {{account:String}} ORDER BY created_at, id");
        self.rows(&sql, &[("account", account)]).await
    }

    /// What an account used, by its days.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn daily_usage(&self, account: &str) -> Result<BTreeMap<Day, Credits>, Error> {
        #[derive(Deserialize)]
        struct Row {
            day: String,
            used: String,
        }
        let sql = "SELECT day, sum(c.cost) AS used FROM costs AS c WHERE account = {account:String} GROUP BY day";
        let rows: Vec<Row> = self.rows(sql, &[("account", account)]).await?;
        let parsed = rows.into_iter().map(|row| Some((Day::from_date(row.day.parse().ok()?), Credits::parse_sum(&row.used)?)));
        parsed.collect::<Option<_>>().ok_or_else(|| Error::Answer("`costs` has a day or an amount that cannot be read".to_owned()))
    }

    /// Accounts with credits whose last day lies before `open`, and of which the ledger has no expiry yet.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn accounts_with_credits_that_ended(&self, open: Day) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
        }
        let sql = "SELECT DISTINCT account FROM ledger WHERE expires != toDate(0) AND greatest(expires, day) < {open:Date} \
                   AND (account, id) NOT IN (SELECT account, reference FROM ledger WHERE kind = 'expiry') ORDER BY account";
        let rows: Vec<Row> = self.rows(sql, &[("open", &open.to_string())]).await?;
        Ok(rows.into_iter().map(|row| row.account).collect())
    }
}
