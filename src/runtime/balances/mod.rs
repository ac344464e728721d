//! Balances on their way to the agents: what a batch, an entry of the ledger or a price changed is published a moment later.
//!
//! Holds: metering never waits for it; an account stays due until its balance is acknowledged; what is published is what ClickHouse says then.
//! Two instances may publish one account, and the older reading last. So whoever published looks a second time, and publishes again when the
//! balance is not what it published. Whoever begins to read a partition compares everything with what the topic says, and publishes what
//! differs and nothing else: its owner before may have died between a batch and its balances.

mod topic;
mod touched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::clock;
use super::shared::Shared;
use crate::ledger::Status;
use crate::model::{Credits, Day, Timestamp, Zone};
use crate::publish::{PublishedBalance, Publisher};
use crate::store::{self, ACCOUNTS_MAX, MarkedBalance, Store};
use topic::Known;
use touched::Due;
pub use touched::Touched;

/// How often what is due is published.
const EVERY: Duration = Duration::from_secs(1);
/// After this a balance that was published is looked at once more.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(2);
/// Comparing everything reads the topic and all balances: not more often than this.
const COMPARED_EVERY: Duration = Duration::from_secs(5);
/// A turn rests for so many times as long as the one before took, so that ClickHouse has time for others.
const RESTS: u32 = 3;
/// The day of `balances` begins when the one before is over everywhere on earth.
const DAY_BEGINS_LATE_MS: i64 = 12 * 3_600_000;

/// What publishing needs.
pub struct Balances {
    /// ClickHouse.
    pub store: Store,
    /// Writes to Kafka.
    pub publisher: Arc<Publisher>,
    /// To read the topic with.
    pub client: ClientConfig,
    /// The topic.
    pub topic: String,
    /// Which accounts are due, whether we lead, prices, metrics.
    pub shared: Arc<Shared>,
}

/// What it remembers from turn to turn.
#[derive(Default)]
struct Memory {
    compared: Option<Instant>,
    second_looks: VecDeque<(Instant, BTreeMap<Box<str>, Credits>)>,
    led: Option<Led>,
    failure: Option<String>,
}

/// What the leader has seen of what no batch says.
struct Led {
    entries: u64,
    by_account: Counts,
    price_version: u64,
    day: Day,
}

/// How many entries accounts have, by the hash of their name.
#[derive(Default)]
struct Counts {
    hashes: RandomState,
    entries: FxHashMap<u64, u64>,
}

impl Balances {
    /// Publishes what is due, for ever.
    pub async fn work(self) {
        let mut memory = Memory::default();
        loop {
            let began = Instant::now();
            let failure = self.turn(&mut memory).await.err().map(|error| format!("{error:#}"));
            // Once for each reason, not every second.
            if failure != memory.failure
                && let Some(error) = &failure
            {
                warn!(error, "balances are not published; what is due stays due, and metering goes on");
            }
            memory.failure = failure;
            self.shared.metrics.balances_waiting_seconds.set(self.shared.touched.waited().as_secs_f64());
            sleep(EVERY.max(began.elapsed() * RESTS)).await;
        }
    }

    async fn turn(&self, memory: &mut Memory) -> anyhow::Result<()> {
        self.lead(memory).await?;
        let touched = &self.shared.touched;
        let Due { all, accounts, since } = touched.take();
        let published = self.publish(&accounts, memory).await;
        if published.is_err() {
            touched.put_back(Due { all, accounts, since });
        } else if all {
            let is_early = memory.compared.is_some_and(|at| at.elapsed() < COMPARED_EVERY);
            let compared = if is_early { None } else { Some(self.compare(memory).await) };
            if !matches!(compared, Some(Ok(()))) {
                touched.put_back(Due { all, since, ..Due::default() });
            }
            return compared.unwrap_or(Ok(()));
        }
        published
    }

    /// Publishes these accounts, whatever the topic says of them: they have just changed. And, of those that were published a moment ago, what is
    /// not any more what was published: somebody else may have published an older reading behind ours, or we behind theirs.
    async fn publish(&self, changed: &BTreeSet<Box<str>>, memory: &mut Memory) -> anyhow::Result<()> {
        let now = Instant::now();
        let looked_at: Vec<_> =
            memory.second_looks.iter().take_while(|(at, _)| *at <= now).map(|(_, published)| published).collect();
        let names: BTreeSet<&str> =
            changed.iter().chain(looked_at.iter().flat_map(|published| published.keys())).map(|name| &**name).collect();
        let wanted = |balance: &PublishedBalance| {
            let account = balance.account.as_str();
            let last = looked_at.iter().rev().find_map(|published| published.get(account));
            changed.contains(account) || last.is_some_and(|last| *last != balance.balance)
        };
        let mut published = BTreeMap::new();
        let sent = |balance: PublishedBalance| {
            published.insert(balance.account.into(), balance.balance);
        };
        if names.len() > ACCOUNTS_MAX {
            // One look at everything is cheaper than many at a few.
            self.send_all(|balance| names.contains(balance.account.as_str()) && wanted(balance), sent).await?;
        } else if !names.is_empty() {
            let as_of = clock::now();
            let rows = self.store.marked_balances(&names.into_iter().collect::<Vec<_>>()).await?;
            let mut balances = rows.into_iter().map(|row| marked(row, as_of)).collect::<anyhow::Result<Vec<_>>>()?;
            balances.retain(wanted);
            self.send(&balances).await?;
            balances.into_iter().for_each(sent);
        }
        let done = looked_at.len();
        memory.second_looks.drain(..done);
        if !published.is_empty() {
            memory.second_looks.push_back((Instant::now() + SECOND_LOOK_AFTER, published));
        }
        Ok(())
    }

    /// Publishes what the topic does not say, of all accounts.
    async fn compare(&self, memory: &mut Memory) -> anyhow::Result<()> {
        let (publisher, client, topic) = (Arc::clone(&self.publisher), self.client.clone(), self.topic.clone());
        let known = tokio::task::spawn_blocking(move || Known::read(&publisher, &client, &topic)).await??;
        self.send_all(|balance| known.is_stale(balance), drop).await?;
        memory.compared = Some(Instant::now());
        Ok(())
    }

    /// Looks at every account and publishes those that are `wanted`; `sent` hears of each.
    async fn send_all(
        &self,
        wanted: impl Fn(&PublishedBalance) -> bool,
        mut sent: impl FnMut(PublishedBalance),
    ) -> anyhow::Result<()> {
        let as_of = clock::now();
        let mut all = self.store.all_marked_balances().await?;
        let mut some = Vec::new();
        loop {
            let next = all.next().await?.map(|row| marked(row, as_of)).transpose()?;
            let is_last = next.is_none();
            some.extend(next.filter(&wanted));
            if is_last || some.len() >= ACCOUNTS_MAX {
                self.send(&some).await?;
                some.drain(..).for_each(&mut sent);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// As the leader: what changed a balance and is no batch. Entries and adjustments of an account; a price book, which prices sessions
    /// when they are read; the day on which credits expire.
    async fn lead(&self, memory: &mut Memory) -> anyhow::Result<()> {
        if !self.shared.progress.leads() {
            memory.led = None;
            return Ok(());
        }
        let price_version = self.shared.books.current().version();
        let day = Zone::UTC.local(clock::now().plus_millis(-DAY_BEGINS_LATE_MS)).day;
        let entries = self.store.entries().await?;
        let touched = &self.shared.touched;
        let Some(led) = &mut memory.led else {
            // Whoever begins to lead compares everything, once it knows how many entries there are.
            let mut by_account = Counts::default();
            self.count_entries(&mut by_account, |_| {}).await?;
            memory.led = Some(Led { entries, by_account, price_version, day });
            touched.all();
            return Ok(());
        };
        if (led.price_version, led.day) != (price_version, day) {
            touched.all();
            (led.price_version, led.day) = (price_version, day);
        }
        if led.entries != entries {
            self.count_entries(&mut led.by_account, |account| touched.accounts([account])).await?;
            led.entries = entries;
        }
        Ok(())
    }

    /// Names the accounts that have more entries than were counted before.
    async fn count_entries(&self, counts: &mut Counts, more: impl Fn(&str)) -> Result<(), store::Error> {
        let mut rows = self.store.entries_by_account().await?;
        while let Some(row) = rows.next().await? {
            let hash = counts.hashes.hash_one(&row.account);
            if counts.entries.insert(hash, row.entries) != Some(row.entries) {
                more(&row.account);
            }
        }
        Ok(())
    }

    async fn send(&self, balances: &[PublishedBalance]) -> anyhow::Result<()> {
        self.publisher.balances(&self.topic, balances).await?;
        self.shared.metrics.balances_published.inc_by(balances.len() as u64);
        Ok(())
    }
}

fn marked(row: MarkedBalance, as_of: Timestamp) -> anyhow::Result<PublishedBalance> {
    let balance = row.balance()?;
    let status = Status::of(balance, row.low_balance()?);
    Ok(PublishedBalance { account: row.account, balance, status, as_of })
}
