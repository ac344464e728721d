//! A week of history, then traffic and its numbers, until somebody stops it.

use std::cell::Cell;
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::figures::{Fates, Figures};
use super::frame::{self, Setting};
use super::screen::Screen;
use super::servers::{Servers, Start};
use super::traffic::Traffic;
use super::{End, Options, Signals, day, metering, seconds, tell, until_written};
use crate::runtime::clock;

const BETWEEN_EVENTS: Duration = Duration::from_millis(50);
const BETWEEN_DRAWINGS: Duration = Duration::from_secs(1);

pub async fn run(start: &Start<'_>, options: Options, signals: &mut Signals) -> anyhow::Result<End> {
    let started = Instant::now();
    let servers = tokio::select! {
        servers = Servers::start(start) => servers?,
        () = signals.any() => return Ok(End::Stopped),
    };
    let history = day::history(clock::now());
    servers.broker.publish(&servers.config.kafka.topic, &history)?;
    tell(&format!("published the {} events of seven days and of today: retries and broken ones among them", history.len()));

    let (stop, stopping) = oneshot::channel::<()>();
    let mut metering = std::pin::pin!(metering(&servers.config, stopping));
    let seen = Cell::new(None);
    let watch = async {
        let mut shown = None;
        until_written(&servers.store, history.len() as u64, |written| {
            if shown.replace(written) != Some(written) {
                passing(&format!("{written} of {} are metered", history.len()));
            }
        })
        .await?;
        tell(&format!("all of them are metered, {} s after the start\x1b[K", seconds(started)));
        watch(&servers, options, &seen).await
    };
    tokio::select! {
        ended = &mut metering => {
            ended?;
            bail!("metering ended by itself");
        }
        failed = watch => failed?,
        () = signals.any() => passing("ending"),
    }
    // Nobody listens only when metering ended meanwhile; its outcome tells why.
    let _ = stop.send(());
    tokio::select! {
        ended = &mut metering => ended?,
        () = signals.any() => {} // in a hurry: what is written is to be thrown away anyhow
    }
    Ok(seen.get().map_or(End::Stopped, |fates: Fates| End::Watched(fates.received)))
}

/// Drawn over by the next line.
fn passing(text: &str) {
    // Talk that nobody hears stops nothing.
    let _ = write!(io::stderr(), "\rfarebox: {text}\x1b[K\r");
}

/// Publishes and draws; ends only by failing.
async fn watch(servers: &Servers, options: Options, seen: &Cell<Option<Fates>>) -> anyhow::Result<()> {
    tokio::try_join!(publish(servers), draw(servers, options, seen))?;
    Ok(())
}

async fn publish(servers: &Servers) -> anyhow::Result<()> {
    let mut traffic = Traffic::new(clock::now());
    let mut turns = interval(BETWEEN_EVENTS);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        turns.tick().await;
        servers.broker.send(&servers.config.kafka.topic, &traffic.next(clock::now()))?;
    }
}

async fn draw(servers: &Servers, options: Options, seen: &Cell<Option<Fates>>) -> anyhow::Result<()> {
    let clickhouse = &servers.config.clickhouse;
    let mut setting = Setting {
        send: options.can_send.then(own_name),
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        before: Vec::new(),
    };
    let ask = || async { Figures::ask(&servers.store, &servers.mails).await.context("ask ClickHouse for the numbers") };
    setting.before = ask().await?.sessions;
    let started = Instant::now();
    let mut screen = Screen::open().context("draw on the terminal")?;
    let mut turns = interval(BETWEEN_DRAWINGS);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let figures = ask().await?;
        screen.draw(|size| frame::lines(&figures, &setting, started.elapsed(), size)).context("draw on the terminal")?;
        seen.set(Some(figures.fates));
    }
}

/// How this binary is called from a shell in this folder.
fn own_name() -> String {
    let Ok(binary) = env::current_exe() else { return "farebox".to_owned() };
    let on_path = env::var_os("PATH").is_some_and(|path| {
        let first = env::split_paths(&path).map(|folder| folder.join("farebox")).find(|file| file.is_file());
        first.and_then(|file| file.canonicalize().ok()).is_some_and(|file| Some(file) == binary.canonicalize().ok())
    });
    if on_path {
        return "farebox".to_owned();
    }
    let here = env::current_dir().unwrap_or_default();
    called(&binary, &here)
}

fn called(binary: &Path, here: &Path) -> String {
    let short = match binary.strip_prefix(here) {
        Ok(below) if below.components().count() > 1 => below.to_owned(),
        Ok(below) => PathBuf::from(".").join(below),
        Err(_) => binary.to_owned(),
    };
    let text = short.display().to_string();
    let is_plain = text.chars().all(|sign| sign.is_ascii_alphanumeric() || "/._-+".contains(sign));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_called_as_a_shell_in_this_folder_calls_it() {
        let called = |binary, here| called(Path::new(binary), Path::new(here));
        assert_eq!(called("/a/target/release/farebox", "/a"), "target/release/farebox");
        assert_eq!(called("/a/farebox", "/a"), "./farebox");
        assert_eq!(called("/a/farebox", "/b"), "/a/farebox");
        assert_eq!(called("/a b/it's/farebox", "/"), r"'a b/it'\''s/farebox'");
    }
}
