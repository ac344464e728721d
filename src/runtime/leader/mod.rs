//! Scheduled work, done by whoever owns partition 0 of the events topic, also while that partition stands still.
//!
//! Holds: every job may be done twice, by two leaders at once too, and changes nothing the second time; a job that fails is tried again at the
//! next turn and keeps no event waiting.

mod expiry;
/// Counting closed sessions once.
pub mod folds;
mod log_ends;

pub use expiry::EXPIRY_PREFIX;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::clock;
use super::progress::Progress;
use crate::publish::Publisher;
use crate::store::Store;
use crate::telemetry::{Job, Metrics};

/// What the jobs need.
pub struct Leader {
    /// ClickHouse.
    pub store: Store,
    /// Whose client asks about the topic.
    pub publisher: Arc<Publisher>,
    /// The events topic.
    pub topic: Arc<str>,
    /// The topic's id where the broker gives none: the embedded broker.
    pub fixed_topic_id: Option<Arc<str>>,
    /// Whether we lead.
    pub progress: Arc<Progress>,
    /// When each job was last done.
    pub metrics: Arc<Metrics>,
}

impl Leader {
    /// Does what is due, every `every`, for ever.
    pub async fn work(self, every: Duration) {
        let mut turns = interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if !self.progress.leads() {
                continue;
            }
            let noted = log_ends::note(&self).await;
            let is_noted = noted.is_ok();
            self.done(Job::LogEnds, noted);
            // What is posted stays: only where it is known how far everything was read.
            if is_noted {
                self.done(Job::Expiry, expiry::post(&self.store).await);
                self.done(Job::Sessions, folds::fold(&self.store, clock::now()).await);
            }
        }
    }

    fn done(&self, job: Job, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.metrics.job_done(job, clock::now()),
            Err(error) => warn!(job = job.as_str(), error = format!("{error:#}"), "scheduled work failed; it is tried again"),
        }
    }
}
