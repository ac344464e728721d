//! The whole product without servers.
//!
//! Promises: real protocols on loopback ports, the real engine, and nothing left behind when it ends, Ctrl-C included: what is made is
//! owned by values of `run`, and their drop takes it away; after `kill -9` the engine's process, which then ends, removes the folder.
//! On a terminal it is `live`; elsewhere it tells of one day and ends. While it runs, other verbs find it by what `handoff` left.
//! Relies on: `kafka` and `embedded` in the place of servers; all that meters is what meters everywhere else. Absent on purpose: a
//! configuration of its own; what is set for real servers is left alone.

mod day;
/// ClickHouse embedded: the real engine as a library, in a process of its own.
pub mod embedded;
mod event;
mod figures;
mod frame;
mod handoff;
mod kafka;
mod live;
mod mails;
mod screen;
mod servers;
mod tables;
mod traffic;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::config::Config;
use crate::model::Timestamp;
use crate::notify::{self, Notice};
use crate::runtime::{self, clock};
use crate::store::Store;
use servers::{Servers, Start};

const DAY_MS: i64 = 86_400_000;
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// How the demo is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Tells the story once, as where there is no terminal.
    pub once: bool,
    /// Keeps the data.
    pub keep: bool,
    /// Whether the binary has the verb `send`.
    pub can_send: bool,
}

/// How it ended, if it did not fail.
enum End {
    Told,
    Stopped,
    /// Somebody has seen so many records.
    Watched(u64),
}

/// Meters invented events and shows what they cost: on a terminal live, until a signal; elsewhere one day, once.
///
/// # Errors
/// No ClickHouse library, and whatever keeps events from being written; being stopped by a signal before there was something to see.
pub async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    // Before anything is made that must be taken away.
    let mut signals = Signals::listen()?;
    let library = servers::library(config)?;
    let live = !options.once && screen::is_possible();
    let span = if live { "a week" } else { "a day" };
    tell(&format!("{span} of four accounts: their agents' events go through Kafka into ClickHouse, and become costs"));
    let folder = tempfile::Builder::new()
        .prefix("farebox-demo-")
        .disable_cleanup(options.keep)
        .tempdir()
        .context("make a folder for the demo")?;
    let start =
        Start { library: &library, folder: folder.path(), keep: options.keep, batch_age: if live { "600ms" } else { "200ms" } };
    let end = if live {
        live::run(&start, options, &mut signals).await
    } else {
        tokio::select! {
            done = once(&start) => done.map(|()| End::Told),
            () = signals.any() => Ok(End::Stopped),
        }
    };
    // By now the processes are gone.
    let left = if options.keep {
        format!("its data stay in `{}`", folder.path().display())
    } else {
        folder.close().context("remove the demo's folder")?;
        "nothing of it is left".to_owned()
    };
    match end {
        Ok(End::Told) if !options.keep => {}
        Ok(End::Told) => tell(&format!("the demo is over; {left}")),
        Ok(End::Stopped) => bail!("the demo was stopped before its end; {left}"),
        Ok(End::Watched(records)) => {
            tell(&format!("the demo is over: {records} records came, each is accounted for; {left}"));
        }
        Err(error) if options.keep => return Err(error.context(format!("the demo failed; {left}"))),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What asks us to end.
struct Signals(Vec<Signal>);

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self(kinds.into_iter().map(signal).collect::<io::Result<_>>().context("listen for signals")?))
    }

    /// Done when one has come.
    async fn any(&mut self) {
        std::future::poll_fn(|context| {
            let come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if come { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

async fn once(start: &Start<'_>) -> anyhow::Result<()> {
    let started = Instant::now();
    let servers = Servers::start(start).await?;
    let (config, store) = (&servers.config, &servers.store);

    let records = day::records(Timestamp::from_millis((clock::now().millis() / DAY_MS - 1) * DAY_MS));
    servers.broker.publish(&config.kafka.topic, &records)?;
    servers.broker.publish(&config.kafka.topic, &[day::runaway(clock::now())])?;
    tell(&format!(
        "published yesterday's {} events, retries, a changed retry and broken ones among them, and one of today that uses up a budget",
        records.len()
    ));
    let published = records.len() as u64 + 1;

    let (stop, stopping) = oneshot::channel::<()>();
    let mut metering = std::pin::pin!(metering(config, stopping));
    tokio::select! {
        ended = &mut metering => {
            ended?;
            bail!("metering ended by itself");
        }
        written = until_written(store, published, |_| ()) => written?,
    }
    tell(&format!("all of them are metered, {} s after the start", seconds(started)));
    let report = tables::report(store).await?;
    show(&report)?;
    let mail = tokio::select! {
        ended = &mut metering => {
            ended?;
            bail!("metering ended by itself");
        }
        mail = until_mailed(&servers) => mail?,
    };
    show(&mail)?;
    // Nobody listens only when metering ended meanwhile; its outcome tells why.
    let _ = stop.send(());
    metering.await?;
    Ok(())
}

/// What `farebox run` does, until the other end of the channel says so or is gone.
async fn metering(config: &Config, stopping: oneshot::Receiver<()>) -> Result<(), runtime::Error> {
    let options = runtime::Options { fixed_topic_id: Some(kafka::TOPIC_ID.to_owned()) };
    let stop = async move {
        // A sender that is gone means the same.
        let _ = stopping.await;
    };
    runtime::run(config, options, stop).await
}

fn seconds(since: Instant) -> String {
    format!("{}.{}", since.elapsed().as_secs(), since.elapsed().subsec_millis() / 100)
}

async fn until_written(store: &Store, records: u64, mut so_far: impl FnMut(u64)) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let written = tables::accounted_for(store).await.context("ask for what is written")?;
        if written == records {
            return Ok(());
        }
        so_far(written);
        if written > records || started.elapsed() > WRITTEN_WITHIN {
            bail!("{written} records are accounted for after {} s, {records} were published", started.elapsed().as_secs());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The mail about the budget, as a mail program without pictures shows it.
async fn until_mailed(servers: &Servers) -> anyhow::Result<String> {
    let started = Instant::now();
    loop {
        if let Some(caught) = servers.mails.newest() {
            let evidence = servers.store.evidence_of_mail(&caught.message_id).await.context("ask for what is mailed")?;
            let mail = notify::render(&serde_json::from_str::<Notice>(&evidence)?, None);
            let text: String = mail.text.lines().map(|line| format!("  {line}\n").replace("  \n", "\n")).collect();
            return Ok(format!(
                "\nmail: what finance gets when a budget is nearly used up\n\n  To: {}\n  Subject: {}\n\n{text}",
                caught.to, mail.subject
            ));
        }
        if started.elapsed() > WRITTEN_WITHIN {
            bail!("no mail came within {} s: `farebox alerts list` would tell more", started.elapsed().as_secs());
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
