//! Rows of an answer that is larger than memory, one after the other.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::{Error, Store, Stream, parse_row};

/// Rows that are still coming.
#[derive(Debug)]
pub struct RowStream<T> {
    stream: Stream,
    /// What came and was not handed on: whole lines, and the beginning of one.
    held: Vec<u8>,
    at: usize,
    row: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> RowStream<T> {
    pub(super) async fn open(store: &Store, sql: &str, params: &[(&str, &str)]) -> Result<Self, Error> {
        let stream = store.stream(sql, params, "JSONEachRow").await?;
        Ok(Self { stream, held: Vec::new(), at: 0, row: PhantomData })
    }

    /// The next row; `None`: that was all.
    ///
    /// # Errors
    /// The answer broke off, or holds what cannot be read.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(length) = self.held[self.at..].iter().position(|&byte| byte == b'\n') {
                let line = &self.held[self.at..self.at + length];
                self.at += length + 1;
                return parse_row(line).map(Some);
            }
            self.held.drain(..self.at);
            self.at = 0;
            match self.stream.next().await? {
                Some(bytes) => self.held.extend_from_slice(&bytes),
                None if self.held.is_empty() => return Ok(None),
                None => return Err(Error::Answer("the last row has no end".to_owned())),
            }
        }
    }
}
