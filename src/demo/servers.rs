//! Everything that runs beside the metering: broker, engine, tables, price book. Dropped, it is gone.

use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::embedded::Embedded;
use super::handoff::HandOff;
use super::kafka::Broker;
use super::mails::Mails;
use super::tell;
use crate::book::{self, Book};
use crate::config::{Config, Inputs};
use crate::model::Timestamp;
use crate::runtime::{self, clock};
use crate::store::{self, Store, Unique};

const BOOK: &str = include_str!("book.toml");
/// Where `make demo` puts the library, seen from the project's folder.
const LIBRARY: &str = ".deps/clickhouse/libchdb.so";

/// What a demo needs, ready. The fields are dropped in their order: nobody finds servers that are gone.
pub struct Servers {
    _handoff: Option<HandOff>,
    /// What the demo's processes are told.
    pub config: Config,
    /// ClickHouse.
    pub store: Store,
    /// Kafka.
    pub broker: Broker,
    /// Who keeps the mails.
    pub mails: Mails,
    _clickhouse: Embedded,
}

/// How the servers are started.
pub struct Start<'a> {
    /// ClickHouse's library.
    pub library: &'a Path,
    /// The folder of everything on disk.
    pub folder: &'a Path,
    /// Whether the folder stays, however the demo ends.
    pub keep: bool,
    /// The age at which a batch is written.
    pub batch_age: &'a str,
}

impl Servers {
    /// Starts them, makes the tables, applies the prices, and tells so.
    pub async fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let clickhouse = start_clickhouse(start);
        let topics = ["usage.events", "usage.events.dead"];
        let broker = Broker::start(&topics)?;
        let mails = Mails::start(start.folder).await?;
        let clickhouse = clickhouse.await?;
        let config = configuration(&broker.address()?, &clickhouse.url(), &mails.address, start)?;
        tell(&format!("Kafka listens on {}, in this process; ClickHouse on {}", config.kafka.brokers, config.clickhouse.url));
        tell(&format!("a mail server listens on {}, and keeps mails in {}", mails.address, mails.folder.display()));

        let store = Store::new(&runtime::settings_of_store(&config))?;
        migrate(&config, &store).await?;
        take_it_easy(&store).await?;
        let prices = apply(&store).await?;
        tell(&format!("made the tables, and applied a price book of {prices} entries"));
        let handoff = HandOff::leave(&config)
            .inspect_err(|error| tell(&format!("other terminals will not find this demo by themselves: {error:#}")))
            .ok();
        Ok(Self { _handoff: handoff, config, store, broker, mails, _clickhouse: clickhouse })
    }
}

/// Where the engine's library is: where the configuration says, or where `make demo` puts it.
pub fn library(config: &Config) -> anyhow::Result<PathBuf> {
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
fn start_clickhouse(start: &Start<'_>) -> impl Future<Output = anyhow::Result<Embedded>> + use<> {
    let data = start.folder.join("clickhouse");
    let remove = (!start.keep).then_some(start.folder);
    let launched = free_port().and_then(|port| Embedded::launch(start.library, &data, port, remove));
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
fn configuration(brokers: &str, url: &str, mails: &str, start: &Start<'_>) -> anyhow::Result<Config> {
    // What is to be thrown away needs no care.
    let drain = if start.keep { "10s" } else { "100ms" };
    let key_file = start.folder.join("farebox.key");
    let key_file = key_file.to_str().context("the folder for temporary files has a name that is not UTF-8")?;
    let values = [
        ("kafka.brokers", brokers),
        ("clickhouse.url", url),
        ("smtp.url", &format!("smtp://{mails}")),
        ("users.hash_key_file", key_file),
        ("metrics.listen", ""),
        ("batch.max_age", start.batch_age),
        ("shutdown.drain", drain),
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

/// Nobody needs the demo's data after a loss of power: nothing waits for the disk, and what is merged goes within seconds. There are
/// thousands of small files less to remove in the end.
async fn take_it_easy(store: &Store) -> anyhow::Result<()> {
    for table in ["usage_log", "usage_hourly", "session_users", "rejected_events", "batches"] {
        let sql = format!(
            "ALTER TABLE {table} MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0, old_parts_lifetime = 2, \
             cleanup_delay_period = 2, max_cleanup_delay_period = 5"
        );
        store.execute(&sql).await.with_context(|| format!("set up the table `{table}`"))?;
    }
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
