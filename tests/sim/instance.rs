//! One farebox process: the real group and the real owners, over the world in memory.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use farebox::engine::{DeadLetter, Rules};
use farebox::model::Timestamp;
use farebox::publish::PublishError;
use farebox::runtime::world::{Clock, DeadLetters, Questions, Tables};
use farebox::runtime::{BatchLimits, Books, Group, Keep, Membership, PartitionLog, Progress, Room, Shared, own};
use farebox::telemetry::{Health, Metrics};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::broker::{Broker, Seat};
use super::gate::{Gate, Life};
use super::member::{SimConsumer, SimQuestions};
use super::planted::Planted;
use super::prices;

pub const TOPIC: &str = "t";
/// A drain that takes longer is given up, as `shutdown.drain` says.
const DRAIN: Duration = Duration::from_secs(5);

/// Counters decide nothing, so all runs share them.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new().unwrap()));
static HEALTH: LazyLock<Arc<Health>> = LazyLock::new(|| Arc::new(Health::new()));

/// What an instance is started with.
pub struct Setting {
    pub broker: Arc<Broker>,
    pub tables: Arc<dyn Tables>,
    pub planted: Planted,
    /// The newest version of the price book.
    pub version: u64,
    pub rules: Rules,
    pub batch: BatchLimits,
    pub letters: Arc<Letters>,
    /// What no process may say; read by whoever judges the run.
    pub problems: Arc<Mutex<Vec<String>>>,
}

/// One channel for each who waits: a channel wakes several in an order that no seed decides.
type Drains = Arc<Mutex<Vec<watch::Sender<bool>>>>;

/// A running process.
pub struct Instance {
    pub name: String,
    pub gate: Arc<Gate>,
    drains: Drains,
    prices: watch::Sender<u64>,
}

impl Instance {
    pub fn start(name: String, setting: &Setting) -> Self {
        let gate = Gate::open();
        let seat = Arc::new(Seat { name: name.clone(), gate: Arc::clone(&gate), news: Notify::new() });
        let drains = Drains::default();
        let draining = channel(&drains, false);
        let broker = Arc::clone(&setting.broker);
        let (prices, newest) = watch::channel(setting.version);
        let shared = Shared {
            tables: Arc::clone(&setting.tables),
            dead_letters: Arc::clone(&setting.letters) as Arc<dyn DeadLetters>,
            clock: Arc::new(SimClock(Arc::clone(&broker))),
            metrics: Arc::clone(&METRICS),
            health: Arc::clone(&HEALTH),
            books: follow_prices(&broker, newest, &gate),
            hash_key_id: setting.rules.key.id(),
            rules: setting.rules.clone(),
            topic: TOPIC.into(),
            batch: setting.batch,
            room: Room::new(setting.batch.total_bytes),
            keep: Keep { usage_log_days: 400, rejected_days: 400 },
            owned: Arc::new(AtomicUsize::new(0)),
            progress: Arc::<Progress>::default(),
            touched: Arc::default(),
            spending: Arc::default(),
            live_users: Arc::default(),
            drain: draining,
        };
        let planted = setting.planted;
        let questions: Arc<dyn Questions> = Arc::new(SimQuestions { broker: Arc::clone(&broker), planted });
        let membership = Membership {
            owned: Arc::clone(&shared.owned),
            metrics: Arc::clone(&METRICS),
            drain: channel(&drains, false),
            heartbeat: HEALTH.heartbeat("poll"),
            progress: Arc::clone(&shared.progress),
            health: Arc::clone(&HEALTH),
        };
        let running = Arc::new(watch::Sender::new(0_usize));
        let spawn = {
            let (gate, running, drains) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&drains));
            Box::new(move |log: PartitionLog| {
                running.send_modify(|running| *running += 1);
                let drain = channel(&drains, *shared.drain.borrow());
                let shared = Arc::new(Shared { drain, ..shared.clone() });
                let counted = Counted(Arc::clone(&running));
                tokio::spawn(gate.task(async move {
                    let _counted = counted;
                    own(log, shared).await;
                }))
            })
        };
        let connect = |on_revoke| {
            let consumer = Arc::new(SimConsumer::new(&broker, &seat, planted, on_revoke));
            Ok((consumer, questions))
        };
        let group = Group::join(membership, spawn, connect).unwrap();
        let drain = channel(&drains, false);
        let turning = turn(group, seat, Arc::clone(&broker), drain, running, Arc::clone(&setting.problems));
        tokio::spawn(gate.task(turning));
        Self { name, gate, drains, prices }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        for drain in &*self.drains.lock().unwrap_or_else(PoisonError::into_inner) {
            drain.send_replace(true);
        }
    }

    /// A price book was applied.
    pub fn hear_of_prices(&self, version: u64) {
        self.prices.send_replace(version);
    }

    pub fn is(&self, life: Life) -> bool {
        self.gate.life() == life
    }
}

/// One more who is told when the process is to end.
fn channel(drains: &Drains, is_draining: bool) -> watch::Receiver<bool> {
    let (drain, draining) = watch::channel(is_draining);
    drains.lock().unwrap_or_else(PoisonError::into_inner).push(drain);
    draining
}

/// Counts owners that live, as `runtime::run` does.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// The polling thread, and the end of the process.
async fn turn(
    mut group: Group<SimConsumer>,
    seat: Arc<Seat>,
    broker: Arc<Broker>,
    drain: watch::Receiver<bool>,
    running: Arc<watch::Sender<usize>>,
    problems: Arc<Mutex<Vec<String>>>,
) {
    let drained = async {
        let (mut drain, mut running) = (drain.clone(), running.subscribe());
        let _ = drain.wait_for(|drain| *drain).await;
        let _ = timeout(DRAIN, running.wait_for(|running| *running == 0)).await;
    };
    let mut drained = std::pin::pin!(drained);
    loop {
        if let Err(error) = group.turn() {
            problems.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{}: {error}", seat.name));
            break;
        }
        tokio::select! {
            biased;
            () = &mut drained => break,
            () = seat.news.notified() => {}
            () = sleep(Duration::from_millis(200 + broker.dice.below(800))) => {}
        }
        broker.dice.wait(30).await;
    }
    group.end();
    seat.gate.set(Life::Gone);
}

/// The newest version is seen a while after it is applied.
fn follow_prices(broker: &Arc<Broker>, mut newest: watch::Receiver<u64>, gate: &Arc<Gate>) -> Books {
    let (seen, books) = watch::channel(prices::at(*newest.borrow_and_update()));
    let dice = broker.dice.clone();
    tokio::spawn(gate.task(async move {
        while newest.changed().await.is_ok() {
            dice.wait(4000).await;
            let version = *newest.borrow_and_update();
            seen.send_replace(prices::at(version));
        }
    }));
    Books::of(books)
}

struct SimClock(Arc<Broker>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// The dead-letter topic.
pub struct Letters {
    pub broker: Arc<Broker>,
    pub kept: Mutex<std::collections::BTreeSet<(i32, i64)>>,
}

#[async_trait]
impl DeadLetters for Letters {
    async fn dead_letters(&self, partition: i32, letters: &[DeadLetter]) -> Result<(), PublishError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.broker.dice.wait(20).await;
        while self.broker.rates.fires(&self.broker.dice, |rates| rates.letters_fail) {
            self.broker.dice.wait(2000).await;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(letters.iter().map(|letter| (partition, letter.offset)));
        Ok(())
    }
}
