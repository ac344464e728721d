//! Answers larger than memory: handed on piece by piece, as they come.
//!
//! Holds: an answer that ends early is an error, never a short answer; at most a few pieces are in memory. Absent on purpose: a limit for the
//! whole; only silence ends it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Error;
use super::error::of_answer;

/// What precedes an exception behind what was already sent.
const MARK: &str = "__exception__\r\n";
/// Of an exception's text, more is not read.
const EXCEPTION_MAX: usize = 16_384;

/// Where an answer comes from, for errors.
#[derive(Debug)]
pub(super) struct From {
    pub(super) server: String,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) silence_max: Duration,
}

/// An answer that is still coming.
#[derive(Debug)]
pub struct Stream {
    pub(super) body: Incoming,
    pub(super) from: From,
    mark: Vec<u8>,
    /// Not handed on yet: an exception's mark may begin in it.
    held: Vec<u8>,
}

impl Stream {
    /// `tag`: what the server puts behind the mark of this answer's exception, so that no value of a row can pass for one.
    pub(super) fn new(body: Incoming, from: From, tag: &str) -> Self {
        Self { body, from, mark: format!("{MARK}{tag}").into_bytes(), held: Vec::new() }
    }

    /// The next piece; `None`: that was all.
    ///
    /// # Errors
    /// The server failed, or was not heard for the longest wait for an answer: what came before is not complete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(data) = self.piece().await? {
            self.held.extend_from_slice(&data);
            if let Some(at) = position(&self.held, &self.mark) {
                return Err(self.exception(at).await);
            }
            let keep = self.held.len().min(self.mark.len());
            let rest = self.held.split_off(self.held.len() - keep);
            let whole = std::mem::replace(&mut self.held, rest);
            if !whole.is_empty() {
                return Ok(Some(whole.into()));
            }
        }
        let last = std::mem::take(&mut self.held);
        Ok((!last.is_empty()).then(|| last.into()))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let silence_max = self.from.silence_max;
        loop {
            match tokio::time::timeout(silence_max, self.body.frame()).await {
                Err(_) => return Err(Error::Timeout { server: self.from.server.clone(), after: silence_max }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(Error::Unreachable {
                        server: self.from.server.clone(),
                        reason: format!("the answer broke off: {error}"),
                    });
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue, // a trailer
                },
            }
        }
    }

    async fn exception(&mut self, at: usize) -> Error {
        let mut text = self.held.split_off(at);
        while text.len() < EXCEPTION_MAX
            && let Ok(Some(data)) = self.piece().await
        {
            text.extend_from_slice(&data);
        }
        of_answer(&self.from.server, &self.from.user, &self.from.database, 500, 0, &text)
    }
}

fn position(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}
