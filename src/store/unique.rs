//! Entries that are unique by key: read, insert under the key as token, read back.
//!
//! A success without a row means that the token is burnt (the server remembers it, the part is lost): then the next token is used, and only
//! then. An insert in doubt is sent again under the same token.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Insert, Store};

/// The names `/r1` … `/r9` follow on a burnt token.
const BURNT_MAX: usize = 9;
/// How often an insert in doubt is sent before the caller hears of it.
const SENDS_MAX: usize = 3;

/// What the table holds under the key now.
#[derive(Debug, PartialEq, Eq)]
pub enum Unique<T> {
    /// What we asked for, written now or before.
    Ours,
    /// Something else was there first.
    Other(Vec<T>),
}

impl Store {
    /// Stores `rows` as one block under `key`, unless the table holds rows of that key: then nothing is written.
    ///
    /// `key_sql` is the column or expression that is compared with `key`; `columns` names the fields of `T`, in any order. The table must not
    /// be partitioned. `token` is the deduplication token: `<table>/<key>`, so that a token tells where it belongs.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Burnt`] when ten tokens answered success and stored nothing. After any error the entry may be there: call again.
    pub async fn insert_unique<T>(
        &self,
        table: &str,
        columns: &str,
        key_sql: &str,
        key: &str,
        rows: &[T],
    ) -> Result<Unique<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let filter = format!("toString({key_sql}) = {{key:String}}");
        self.insert_unique_where(table, columns, &filter, &[("key", key)], key, rows).await
    }

    /// The same with a filter that finds the rows of `key`, for tables too large to be read whole: it should name the first columns of
    /// their primary key.
    pub(super) async fn insert_unique_where<T>(
        &self,
        table: &str,
        columns: &str,
        filter: &str,
        params: &[(&str, &str)],
        key: &str,
        rows: &[T],
    ) -> Result<Unique<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let mut wanted = Vec::with_capacity(rows.len());
        for row in rows {
            wanted.push(serde_json::to_value(row).map_err(|error| Error::Answer(error.to_string()))?);
        }
        if let Some(found) = self.under_key(table, columns, filter, params, &wanted).await? {
            return Ok(found);
        }
        let body = Bytes::from(wanted.iter().map(|row| format!("{row}\n")).collect::<String>());
        for burnt in 0..=BURNT_MAX {
            let token = if burnt == 0 { format!("{table}/{key}") } else { format!("{table}/{key}/r{burnt}") };
            let mut sends = 1;
            while let Insert::Doubt(error) = self.client.insert(table, columns, "JSONEachRow", &token, body.clone()).await {
                if sends == SENDS_MAX || matches!(error, Error::Refused { .. } | Error::Denied { .. } | Error::Schema { .. }) {
                    return Err(error);
                }
                sends += 1;
            }
            if let Some(found) = self.under_key(table, columns, filter, params, &wanted).await? {
                return Ok(found);
            }
        }
        Err(Error::Burnt { table: table.to_owned(), key: key.to_owned() })
    }

    async fn under_key<T>(
        &self,
        table: &str,
        columns: &str,
        filter: &str,
        params: &[(&str, &str)],
        wanted: &[serde_json::Value],
    ) -> Result<Option<Unique<T>>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let found: Vec<T> = self.rows(&format!("SELECT {columns} FROM {table} WHERE {filter}"), params).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let mut there = Vec::with_capacity(found.len());
        for row in &found {
            there.push(serde_json::to_value(row).map_err(|error| Error::Answer(error.to_string()))?);
        }
        Ok(Some(if same(there, wanted) { Unique::Ours } else { Unique::Other(found) }))
    }
}

/// The same rows, in whatever order.
fn same(there: Vec<serde_json::Value>, wanted: &[serde_json::Value]) -> bool {
    let sorted = |rows: &[serde_json::Value]| {
        let mut texts: Vec<String> = rows.iter().map(ToString::to_string).collect();
        texts.sort_unstable();
        texts
    };
    sorted(&there) == sorted(wanted)
}
