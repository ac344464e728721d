//! Waiting for a server that is away: often enough to go on at once, quiet enough to be read.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const RETRY_AFTER: Duration = Duration::from_millis(500);
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Tries again twice a second, and complains at first and then once a minute.
#[derive(Debug, Default)]
pub struct Patience {
    told: Option<Instant>,
}

impl Patience {
    /// Whether it is time to complain.
    pub fn is_worth_telling(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN_AFTER);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }

    /// Waits for the next try.
    pub async fn wait(&self) {
        sleep(RETRY_AFTER).await;
    }
}
