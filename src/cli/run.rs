//! `farebox run`: opens what the runtime needs and hands it over.

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Mend;
use crate::config::Config;
use crate::runtime::{self, Error, Options};

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    meter(&config, Options::default()).await
}

/// Meters until Ctrl-C or SIGTERM.
pub(super) async fn meter(config: &Config, options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    runtime::run(config, options, stop).await.map_err(marked)
}

/// Marks what is mended by editing the configuration, for the exit code.
pub(super) fn marked(error: Error) -> anyhow::Error {
    match error {
        Error::Configuration(_) => Mend(Box::new(error)).into(),
        Error::Failed(_) => error.into(),
    }
}
