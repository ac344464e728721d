//! The newest price book, looked for every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::price::Prices;
use crate::store::{Error, Store};
use crate::telemetry::Metrics;

/// The newest prices that we have seen.
#[derive(Clone)]
pub struct Books {
    newest: watch::Receiver<Arc<Prices>>,
}

impl Books {
    /// Reads the book once, then again whenever a newer version appears, every `reload`.
    ///
    /// # Errors
    /// The first reading fails.
    pub async fn follow(store: Store, reload: Duration, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let first = Arc::new(Prices::new(&store.book().await?));
        metrics.price_book_version.set(i64::try_from(first.version()).unwrap_or(i64::MAX));
        let (sender, newest) = watch::channel(first);
        tokio::spawn(async move {
            while !sender.is_closed() {
                sleep(reload).await;
                let known = sender.borrow().version();
                match look(&store, known).await {
                    Ok(Some(prices)) => {
                        info!(version = prices.version(), "a new price book holds from the next batch on");
                        metrics.price_book_version.set(i64::try_from(prices.version()).unwrap_or(i64::MAX));
                        sender.send_replace(Arc::new(prices));
                    }
                    Ok(None) => {}
                    Err(error) => warn!(%error, "could not look for a new price book"),
                }
            }
        });
        Ok(Self { newest })
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
    Ok(Some(Prices::new(&store.book().await?)))
}
