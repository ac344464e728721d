//! Performs what the engine answers, in order.
//!
//! [`run`](runtime::run) opens everything and hands it over: one thread polls Kafka and commits (`group`), one task owns each partition
//! (`partition`): it decides where to begin (`begin`), forms batches with the engine and has them written (`write`).
//! Holds: every step of `docs/exactly-once.md`, in its order. Absent on purpose: what an event means, what it costs, SQL.

/// Who is told that credits come to an end.
pub mod alerts;
mod allocator;
mod balances;
mod begin;
mod books;
pub mod clock;
mod gather;
mod group;
pub mod key;
pub mod leader;
mod live_users;
mod log;
mod partition;
mod patience;
mod progress;
mod reader;
mod room;
mod shared;
mod startup;
pub mod world;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

pub use balances::Touched;
pub use books::{Books, refuse_problems};
pub use gather::{Gathered, look};
pub use group::{Group, Membership, SpawnOwner};
pub use log::PartitionLog;
pub use partition::own;
pub use progress::Progress;
pub use room::Room;
pub use shared::{BatchLimits, Keep, Shared};
pub use startup::{Error, FETCHING, Options, keep, limits, onlooker, refused, rules, settings_of_store};

use crate::config::Config;
use crate::source::kafka::Handle;
use crate::store::Store;
use crate::telemetry::Metrics;
use alerts::Alerts;
use balances::Balances;
use leader::Leader;
use startup::Opened;
use world::{Asked, Questions};

const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Meters until `stop` is done, then writes what was read and leaves.
///
/// # Errors
/// What keeps the service from starting, and what only a person can mend.
pub async fn run(config: &Config, options: Options, stop: impl Future<Output = ()>) -> Result<(), Error> {
    allocator::give_back();
    let mut stop = std::pin::pin!(stop);
    let opened = tokio::select! {
        opened = startup::open(config, &options) => opened?,
        () = &mut stop => return Ok(()),
    };
    let Opened { shared, client, store, publisher, metrics, health } = opened;
    let (drain, draining) = watch::channel(false);
    let shared = Arc::new(Shared { drain: draining, ..shared });
    let running = Arc::new(watch::Sender::new(0_usize));
    let membership = Membership {
        owned: Arc::clone(&shared.owned),
        metrics: Arc::clone(&metrics),
        progress: Arc::clone(&shared.progress),
        drain: shared.drain.clone(),
        heartbeat: health.heartbeat("poll"),
        health: Arc::clone(&health),
    };
    let fixed_topic_id: Option<Arc<str>> = options.fixed_topic_id.map(Into::into);
    let leader = Leader {
        store: store.clone(),
        publisher: Arc::clone(&publisher),
        topic: Arc::clone(&shared.topic),
        fixed_topic_id: fixed_topic_id.clone(),
        progress: Arc::clone(&shared.progress),
        metrics: Arc::clone(&metrics),
    };
    let balances = config.kafka.balances_topic.clone().map(|topic| Balances {
        store: store.clone(),
        publisher: Arc::clone(&publisher),
        client: client.clone(),
        topic,
        shared: Arc::clone(&shared),
    });
    let mailer = startup::mailer(config, &store, &shared)?;
    let alerts = Alerts {
        store: store.clone(),
        touched: Arc::clone(&shared.spending),
        progress: Arc::clone(&shared.progress),
        metrics: Arc::clone(&metrics),
        telling: startup::telling(config),
        mail_waits: Arc::clone(&mailer.mail_waits),
    };
    let connect = |on_revoke| {
        let consumer = Arc::new(Handle::new(&client, &shared.topic, on_revoke)?);
        let asked = Asked { consumer: Arc::clone(&consumer), publisher, topic: Arc::clone(&shared.topic), fixed_topic_id };
        let questions: Arc<dyn Questions> = Arc::new(asked);
        Ok((consumer, questions))
    };
    let group = Group::join(membership, owner(&shared, &running), connect).map_err(Error::from)?;
    let stopping = Arc::new(AtomicBool::new(false));
    let (ended, mut end) = watch::channel(None);
    let thread = {
        let stopping = Arc::clone(&stopping);
        std::thread::Builder::new()
            .name("poll".into())
            .spawn(move || ended.send_replace(Some(group.run(&stopping))))
            .map_err(|error| Error::Failed(format!("cannot start the polling thread: {error}")))?
    };
    let gauges = tokio::spawn(show_gauges(Arc::clone(&shared), Arc::clone(&metrics)));
    let leader = tokio::spawn(leader.work(config.leader.interval.get()));
    let balances = balances.map(|balances| tokio::spawn(balances.work()));
    let (alerts, mailer) = (tokio::spawn(alerts.work()), tokio::spawn(mailer.work()));
    let watch = tokio::spawn(watch_store(store, Arc::clone(&shared)));
    tokio::select! {
        () = stop => {
            info!("stopping: writing what was read");
            drain.send_replace(true);
            drained(&running, config.shutdown.drain.get()).await;
        }
        _ = end.changed() => {} // the group ended by itself
    }
    stopping.store(true, Ordering::Relaxed);
    // The thread leaves the group and ends; its outcome is what counts.
    let outcome = tokio::task::spawn_blocking(move || thread.join()).await;
    gauges.abort();
    leader.abort();
    if let Some(balances) = balances {
        balances.abort();
    }
    alerts.abort();
    mailer.abort();
    watch.abort();
    let failed = end.borrow().as_ref().and_then(|outcome| outcome.as_ref().err().cloned());
    match (failed, outcome) {
        (Some(error), _) => Err(Error::from(error)),
        (None, Ok(Ok(_))) => Ok(()),
        (None, _) => Err(Error::Failed("the polling thread ended unexpectedly".into())),
    }
}

/// Starts owners, and counts those that live.
fn owner(shared: &Arc<Shared>, running: &Arc<watch::Sender<usize>>) -> SpawnOwner {
    /// Counted as long as it lives, however its task ends.
    struct Counted(Arc<watch::Sender<usize>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.send_modify(|running| *running -= 1);
        }
    }
    let (shared, running, runtime) = (Arc::clone(shared), Arc::clone(running), tokio::runtime::Handle::current());
    Box::new(move |log| {
        running.send_modify(|running| *running += 1);
        let (shared, counted) = (Arc::clone(&shared), Counted(Arc::clone(&running)));
        runtime.spawn(async move {
            let _counted = counted;
            own(log, shared).await;
        })
    })
}

async fn drained(running: &watch::Sender<usize>, at_most: Duration) {
    let mut running = running.subscribe();
    if timeout(at_most, running.wait_for(|running| *running == 0)).await.is_err() {
        warn!("not everything that was read is written; the next start forms it again");
    }
}

/// Uniting the sets takes longer than the other gauges: only every so many seconds.
const USERS_EVERY: u64 = 5;

async fn show_gauges(shared: Arc<Shared>, metrics: Arc<Metrics>) {
    let mut seconds = interval(Duration::from_secs(1));
    let mut shown = 0_u64;
    loop {
        seconds.tick().await;
        shared.progress.show(&metrics);
        shown += 1;
        if shown % USERS_EVERY == 1 {
            shared.live_users.show(&metrics, shared.now());
        }
    }
}

/// An idle instance inserts nothing, so it would not notice that ClickHouse is away. While a batch is in doubt its inserts tell more.
async fn watch_store(store: Store, shared: Arc<Shared>) {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pings.tick().await;
        let answers = matches!(timeout(PING_TIMEOUT, store.ping()).await, Ok(Ok(_)));
        if !answers || shared.metrics.batches_in_doubt.get() == 0 {
            shared.health.set_store_writable(answers);
        }
    }
}
