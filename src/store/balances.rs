//! What accounts have left.

use serde::Deserialize;

use super::rows::RowStream;
use super::{Error, Store};
use crate::model::{Credits, Timestamp};

/// A row of the view `balances`; amounts as decimals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AccountBalance {
    /// Whose.
    pub account: String,
    /// All entries, less what expired.
    pub credited: String,
    /// The cost of all usage.
    pub used: String,
    /// What is left; negative: a debt.
    pub balance: String,
    /// When a batch or an entry was last written.
    #[serde(with = "super::time")]
    pub updated_at: Timestamp,
}

/// An account's balance beside the mark below which it is low.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MarkedBalance {
    /// Whose.
    pub account: String,
    credited: String,
    balance: String,
    low_balance: String,
    has_low_balance: u8,
}

impl MarkedBalance {
    /// What is left; negative: a debt.
    ///
    /// # Errors
    /// An amount that does not fit.
    pub fn balance(&self) -> Result<Credits, Error> {
        self.amount(&self.balance)
    }

    /// All entries, less what expired.
    ///
    /// # Errors
    /// An amount that does not fit.
    pub fn credited(&self) -> Result<Credits, Error> {
        self.amount(&self.credited)
    }

    /// The account's `low_balance`, if it has one.
    ///
    /// # Errors
    /// An amount that does not fit.
    pub fn low_balance(&self) -> Result<Option<Credits>, Error> {
        (self.has_low_balance != 0).then(|| self.amount(&self.low_balance)).transpose()
    }

    fn amount(&self, text: &str) -> Result<Credits, Error> {
        Credits::parse_sum(text)
            .ok_or_else(|| Error::Answer(format!("`{text}` is no amount, in the balance of `{}`", self.account)))
    }
}

/// How many accounts are asked for at a time: their names are part of a question, which has at most 256 KiB.
pub const ACCOUNTS_MAX: usize = 500;

fn marked(view: &str, which: &str) -> String {
    format!(
        "SELECT b.account AS account, b.credited AS credited, b.balance AS balance, a.low AS low_balance, a.has_low AS has_low_balance FROM {view} AS b
         LEFT JOIN (
           SELECT account, argMax(r.low_balance, (valid_from, version)) AS low, argMax(r.has_low_balance, (valid_from, version)) AS has_low
           FROM accounts AS r WHERE valid_from <= now64(3) GROUP BY account
         ) AS a ON b.account = a.account {which}"
    )
}

impl Store {
    /// The balance of one account, or of all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn balances(&self, account: Option<&str>) -> Result<Vec<AccountBalance>, Error> {
        let view = self.balances_view().await?;
        let which = if account.is_some() { " WHERE account = {account:String}" } else { "" };
        let sql = format!("SELECT account, credited, used, balance, updated_at FROM {view}{which} ORDER BY account");
        self.rows(&sql, &[("account", account.unwrap_or_default())]).await
    }

    /// Where balances are read: a view that answers in half the time as long as no credit expires, or else the one that knows what expired.
    async fn balances_view(&self) -> Result<&'static str, Error> {
        #[derive(Deserialize)]
        struct Row {
            expiring: u64,
        }
        let sql = "SELECT count() AS expiring FROM credit_ledger WHERE expires != toDate(0)";
        let Row { expiring } = self.row(sql, &[]).await?;
        Ok(if expiring == 0 { "unexpired_balances" } else { "balances" })
    }

    /// The balances of at most [`ACCOUNTS_MAX`] accounts; those without any usage or entry have none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn marked_balances(&self, accounts: &[&str]) -> Result<Vec<MarkedBalance>, Error> {
        let quoted: Vec<String> = accounts.iter().map(|account| super::quoted(account)).collect();
        self.rows(&marked(self.balances_view().await?, &format!("WHERE b.account IN [{}]", quoted.join(","))), &[]).await
    }

    /// The balances of all accounts, as they come.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn all_marked_balances(&self) -> Result<RowStream<MarkedBalance>, Error> {
        RowStream::open(self, &marked(self.balances_view().await?, ""), &[]).await
    }

    /// How many rows say of accounts what no event says: entries of the ledger and adjustments of costs. They are never taken away.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entries(&self) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Row {
            entries: u64,
        }
        let sql = "SELECT (SELECT count() FROM credit_ledger) + (SELECT count() FROM cost_adjustments) AS entries";
        self.row(sql, &[]).await.map(|row: Row| row.entries)
    }

    /// The same by account, as they come.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entries_by_account(&self) -> Result<RowStream<AccountEntries>, Error> {
        let sql = "SELECT account, count() AS entries FROM (SELECT account FROM credit_ledger UNION ALL SELECT account FROM cost_adjustments) \
                   GROUP BY account";
        RowStream::open(self, sql, &[]).await
    }
}

/// How many entries and adjustments an account has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AccountEntries {
    /// Whose.
    pub account: String,
    /// How many.
    pub entries: u64,
}
