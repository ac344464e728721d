//! The whole product without servers.
//!
//! Promises: real protocols on loopback ports, the real engine, and nothing left behind when it ends, Ctrl-C included: what is made
//! is owned by values of `run`, and their drop takes it away. Relies on: `kafka` and `embedded` in the place of servers; all
//! that meters is what meters everywhere else. Absent on purpose: a configuration of its own; what is set for real servers is left alone.

mod day;
/// ClickHouse embedded: the real engine as a library, in a process of its own.
pub mod embedded;
mod kafka;
mod tables;

use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::book::{self, Book};
use crate::config::{Config, Inputs};
use crate::model::Timestamp;
use crate::runtime::{self, Options, clock};
use crate::store::{self, Store, Unique};
use embedded::Embedded;
use kafka::Broker;

const BOOK: &str = include_str!("book.toml");
const DAY_MS: i64 = 86_400_000;
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Where `make demo` puts the library, seen from the project's folder.
const LIBRARY: &str = ".deps/clickhouse/libchdb.so";

/// Meters a day of invented events and prints what it costs.
///
/// # Errors
/// No ClickHouse library, and whatever keeps the day from being written; being stopped by a signal before the end.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    // Before anything is made that must be taken away.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()
        .context("listen for signals")?;
    let [interrupt, terminate, hangup] = signals.as_mut_slice() else { bail!("listen for signals") };
    tokio::select! {
        done = day_of_usage(config) => done,
        _ = interrupt.recv() => stopped(),
        _ = terminate.recv() => stopped(),
        _ = hangup.recv() => stopped(),
    }
}

fn stopped() -> anyhow::Result<()> {
    bail!("the demo was stopped before its end; nothing of it is left")
}

async fn day_of_usage(config: &Config) -> anyhow::Result<()> {
    let started = Instant::now();
    let library = library(config)?;
    tell("a day of four accounts: their agents' events go through Kafka into ClickHouse, and become costs");
    // Dropped in the order opposite to that of their making: the folder last.
    let folder = tempfile::Builder::new().prefix("farebox-demo-").tempdir().context("make a folder for the demo")?;
    let clickhouse = start_clickhouse(&library, &folder.path().join("clickhouse"));
    let topics = ["usage.events", "usage.events.dead"];
    let broker = Broker::start(&topics)?;
    let clickhouse = clickhouse.await?;
    let config = configuration(&broker.address()?, &clickhouse.url(), &folder.path().join("farebox.key"))?;
    tell(&format!("Kafka listens on {}, in this process; ClickHouse on {}", config.kafka.brokers, config.clickhouse.url));

    let store = Store::new(&runtime::settings_of_store(&config))?;
    migrate(&config, &store).await?;
    let prices = apply(&store).await?;
    tell(&format!("made the tables, and applied a price book of {prices} entries"));

    let records = day::records(Timestamp::from_millis((clock::now().millis() / DAY_MS - 1) * DAY_MS));
    broker.publish(&config.kafka.topic, &records)?;
    tell(&format!("published yesterday's {} events: retries, a changed retry and broken ones among them", records.len()));

    let (stop, stopping) = oneshot::channel::<()>();
    let options = Options { fixed_topic_id: Some(kafka::TOPIC_ID.to_owned()) };
    let mut metering = std::pin::pin!(runtime::run(&config, options, async move {
        // A sender that is gone means the same.
        let _ = stopping.await;
    }));
    tokio::select! {
        ended = &mut metering => {
            ended?;
            bail!("metering ended by itself");
        }
        written = until_written(&store, records.len() as u64) => written?,
    }
    tell(&format!(
        "all of them are metered, {}.{} s after the start",
        started.elapsed().as_secs(),
        started.elapsed().subsec_millis() / 100
    ));
    let report = tables::report(&store).await?;
    show(&report)?;
    // Nobody listens only when metering ended meanwhile; its outcome tells why.
    let _ = stop.send(());
    metering.await?;
    Ok(())
}

/// Where the engine's library is: where the configuration says, or where `make demo` puts it.
fn library(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(library) = &config.embedded.library {
        if !library.is_file() {
            bail!("no ClickHouse library at `{}`: set `embedded.library`, or let `make demo` bring it", library.display());
        }
        return Ok(library.clone());
    }
    // target/release/farebox lies three below the project's folder.
    let binary = std::env::current_exe().unwrap_or_default();
    let folders = [Some(Path::new("")), binary.ancestors().nth(3)];
    let found = folders.into_iter().flatten().map(|folder| folder.join(LIBRARY)).find(|library| library.is_file());
    found.context("no ClickHouse to run without a server: `make demo` brings one, or set `embedded.library`")
}

/// Starts the engine at once; the future is done when it answers.
fn start_clickhouse(library: &Path, data: &Path) -> impl Future<Output = anyhow::Result<Embedded>> + use<> {
    let launched = free_port().and_then(|port| Embedded::launch(library, data, port));
    async move {
        let mut engine = launched?;
        while !engine.is_ready()? {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(engine)
    }
}

/// A port that nobody has now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// The defaults, on these servers.
fn configuration(brokers: &str, url: &str, key_file: &Path) -> anyhow::Result<Config> {
    let key_file = key_file.to_str().context("the folder for temporary files has a name that is not UTF-8")?;
    let values = [
        ("kafka.brokers", brokers),
        ("clickhouse.url", url),
        ("users.hash_key_file", key_file),
        ("metrics.listen", ""),
        ("batch.max_age", "200ms"),
        ("shutdown.drain", "2s"),
    ];
    let set = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(Config::load(&Inputs { set, ..Inputs::default() })?)
}

async fn migrate(config: &Config, store: &Store) -> anyhow::Result<()> {
    let keep = runtime::keep(config);
    let request = store::Migrate {
        cluster: String::new(),
        usage_log_keep_days: keep.usage_log_days,
        rejected_keep_days: keep.rejected_days,
        lateness_seconds: u32::try_from(config.sessions.lateness.millis() / 1000).unwrap_or(u32::MAX),
        now: clock::now(),
        dry_run: false,
    };
    store.migrate(&request).await.context("make the tables")?;
    runtime::key::ensure(&config.users.hash_key_file, store, clock::now()).await.context("make the users key")?;
    Ok(())
}

/// Applies the demo's price book; says how many entries it has.
async fn apply(store: &Store) -> anyhow::Result<usize> {
    let file = book::parse(BOOK, "book.toml").context("read the demo's price book")?;
    let plan = book::plan(&Book::empty(), &file, clock::now(), "demo", Timestamp::MIN, false)?;
    match store.apply_price_book(plan.version, book::COLUMNS, &plan.rows).await.context("apply the price book")? {
        Unique::Ours => Ok(plan.rows.len()),
        Unique::Other(_) => bail!("somebody else applied a price book to the demo"),
    }
}

async fn until_written(store: &Store, records: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let written = tables::accounted_for(store).await.context("ask for what is written")?;
        if written == records {
            return Ok(());
        }
        if written > records || started.elapsed() > WRITTEN_WITHIN {
            bail!("{written} records are accounted for after {} s, {records} were published", started.elapsed().as_secs());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn tell(text: &str) {
    // Talk that nobody can hear any more stops nothing.
    let _ = writeln!(io::stderr(), "farebox: {text}");
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
