//! Names and values that SQL must know, and the price book's rows.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::rows::RowStream;
use super::{ACCOUNTS_MAX, Error, Store, Unique, quoted};
use crate::book::Book;
use crate::model::Timestamp;
use crate::price::Prices;

#[derive(Debug, Serialize, Deserialize)]
struct Setting {
    name: String,
    value: String,
    #[serde(with = "super::time")]
    set_at: Timestamp,
}

const COLUMNS: &str = "name, value, set_at";

impl Store {
    /// The newest value of a setting.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT name, value, set_at FROM settings WHERE name = {name:String} ORDER BY set_at DESC, value DESC LIMIT 1";
        let found: Option<Setting> = self.rows(sql, &[("name", name)]).await?.pop();
        Ok(found.map(|setting| setting.value))
    }

    /// Sets a value that may change; writes nothing when it is the newest already.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_setting(&self, name: &str, value: &str, now: Timestamp) -> Result<(), Error> {
        if self.setting(name).await?.as_deref() == Some(value) {
            return Ok(());
        }
        let row = Setting { name: name.to_owned(), value: value.to_owned(), set_at: now };
        let key = format!("{name}/{}", now.millis());
        self.insert_unique("settings", COLUMNS, "concat(name, '/', toString(toUnixTimestamp64Milli(set_at)))", &key, &[row])
            .await
            .map(drop)
    }

    /// Sets a value that is set once, and returns the one that counts: whoever was first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_setting_once(&self, name: &str, value: &str, now: Timestamp) -> Result<String, Error> {
        let row = Setting { name: name.to_owned(), value: value.to_owned(), set_at: now };
        match self.insert_unique("settings", COLUMNS, "name", name, &[row]).await? {
            Unique::Ours => Ok(value.to_owned()),
            Unique::Other(rows) => {
                Ok(rows.into_iter().max_by_key(|row| row.set_at).map_or_else(|| value.to_owned(), |row| row.value))
            }
        }
    }

    /// A setting as the server has it for our user; `None`: this server does not know it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn server_setting(&self, name: &str) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Found {
            value: String,
        }
        let sql = "SELECT value FROM system.settings WHERE name = {name:String}";
        Ok(self.rows(sql, &[("name", name)]).await?.pop().map(|found: Found| found.value))
    }

    /// Every row of the price book, oldest version first. `T` names the columns it wants in `columns`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn price_book<T: DeserializeOwned>(&self, columns: &str) -> Result<Vec<T>, Error> {
        self.rows(&format!("SELECT {columns} FROM price_book ORDER BY version, kind, account, id, valid_from"), &[]).await
    }

    /// The price book with all its versions.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn book(&self) -> Result<Book, Error> {
        Ok(Book::from_rows(self.price_book(crate::book::COLUMNS).await?))
    }

    /// What the price book makes of prices, row by row, so that a book of a million accounts is never held whole; and what this build cannot work
    /// with in it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn prices(&self) -> Result<(Prices, Vec<String>), Error> {
        let sql =
            format!("SELECT {} FROM price_book ORDER BY version SETTINGS date_time_output_format = 'simple'", crate::book::COLUMNS);
        let mut rows = RowStream::<crate::book::Row>::open(self, &sql, &[]).await?;
        let (mut prices, mut problems) = (Prices::default(), Vec::new());
        while let Some(row) = rows.next().await? {
            problems.extend(row.problem());
            prices.add(&row);
        }
        Ok((prices, problems))
    }

    /// The newest version of the price book; 0 when nothing was ever applied. Cheap: asked every few seconds.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn price_book_version(&self) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Newest {
            version: u64,
        }
        self.row("SELECT max(version) AS version FROM price_book", &[]).await.map(|newest: Newest| newest.version)
    }

    /// Stores the rows of one `apply` as one block. [`Unique::Other`]: someone else took this version; start over.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply_price_book<T>(&self, version: u64, columns: &str, rows: &[T]) -> Result<Unique<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        self.insert_unique("price_book", columns, "version", &version.to_string(), rows).await
    }

    /// One of these accounts of which usage is stored, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn first_with_usage(&self, accounts: &[&str]) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Found {
            account: String,
        }
        for some in accounts.chunks(ACCOUNTS_MAX) {
            let quoted: Vec<String> = some.iter().map(|account| quoted(account)).collect();
            let sql = format!("SELECT account FROM usage_hourly WHERE account IN [{}] LIMIT 1", quoted.join(","));
            if let Some(found) = self.rows(&sql, &[]).await?.pop() {
                let Found { account } = found;
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    /// The moment to which every partition has read, less the lateness: sessions that ended by then are closed. 1969 or earlier: nothing read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn closed_to(&self) -> Result<Timestamp, Error> {
        #[derive(Deserialize)]
        struct Progress {
            #[serde(with = "super::time")]
            closed_to: Timestamp,
        }
        self.row("SELECT closed_to FROM progress", &[]).await.map(|progress: Progress| progress.closed_to)
    }
}
