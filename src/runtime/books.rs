//! The newest price book, looked for every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Error;
use crate::book::Book;
use crate::price::Prices;
use crate::store::Store;
use crate::telemetry::Metrics;

/// The newest prices that we have seen.
#[derive(Clone)]
pub struct Books {
    newest: watch::Receiver<Arc<Prices>>,
}

impl Books {
    /// Begins with these prices, and takes a newer version whenever one appears, looked for every `reload`.
    pub fn follow(store: Store, first: Prices, reload: Duration, metrics: Arc<Metrics>) -> Self {
        let first = Arc::new(first);
        metrics.price_book_version.set(i64::try_from(first.version()).unwrap_or(i64::MAX));
        let (sender, newest) = watch::channel(first);
        tokio::spawn(async move {
            let mut failed = None;
            while !sender.is_closed() {
                sleep(reload).await;
                let known = sender.borrow().version();
                let failure = match look(&store, known).await {
                    Ok(Some(prices)) => {
                        info!(version = prices.version(), "a new price book holds from the next batch on");
                        metrics.price_book_version.set(i64::try_from(prices.version()).unwrap_or(i64::MAX));
                        sender.send_replace(Arc::new(prices));
                        None
                    }
                    Ok(None) => None,
                    Err(error) => Some(error.to_string()),
                };
                // Once for each reason, not every few seconds.
                if failure != failed
                    && let Some(error) = &failure
                {
                    warn!(error, version = known, "could not take a new price book; the one in use stays");
                }
                failed = failure;
            }
        });
        Self::of(newest)
    }

    /// Whatever `newest` holds.
    pub fn of(newest: watch::Receiver<Arc<Prices>>) -> Self {
        Self { newest }
    }

    /// The newest prices.
    pub fn current(&self) -> Arc<Prices> {
        Arc::clone(&self.newest.borrow())
    }
}

async fn look(store: &Store, known: u64) -> Result<Option<Prices>, Error> {
    if store.price_book_version().await? == known {
        return Ok(None);
    }
    let (prices, problems) = store.prices().await?;
    refuse(&problems)?;
    Ok(Some(prices))
}

/// Refuses a book that this build would read wrongly.
///
/// # Errors
/// What is wrong with it, and the way out.
pub fn refuse_problems(book: &Book) -> Result<(), Error> {
    refuse(&book.problems())
}

/// The same of problems that are known.
///
/// # Errors
/// As there.
pub(super) fn refuse(problems: &[String]) -> Result<(), Error> {
    match problems {
        [] => Ok(()),
        [problem, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Err(Error::Configuration(format!(
                "the price book in the database holds what this farebox cannot work with ({problem}{more}); use the farebox that applied it"
            )))
        }
    }
}
