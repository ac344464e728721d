//! The log: one line an event, on standard error.
//!
//! Colours only on a terminal, and never when NO_COLOR is set. A log that nobody can read any more (a closed pipe) stops nothing.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log of this process.
///
/// # Errors
/// A log was started before.
pub fn start(settings: &Log) -> Result<(), TryInitError> {
    // Checked when the configuration was read; a level that does not parse means the usual one.
    let filter = Targets::from_str(&settings.level).unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let filter = quiet(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = match settings.format {
        LogFormat::Text => lines.with_ansi(colours).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
}

/// Libraries speak only when something is wrong, unless they were named: `debug` means farebox's own.
fn quiet(filter: Targets) -> Targets {
    let Some(level) = filter.default_level() else { return filter };
    let named: Vec<_> = filter.iter().map(|(target, level)| (target.to_owned(), level)).collect();
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("farebox", level).with_targets(named)
}

/// Whether this is a level, or a level for each named part.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn check_level(text: &str) -> Result<(), String> {
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            return Err(format!("knows no level `{level}`: write {}, or \"info,farebox::runtime=debug\"", LEVELS[1..].join(", ")));
        }
    }
    Targets::from_str(text).map(drop).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_part() {
        for good in ["info", "WARN", "off", "info,farebox::runtime=debug"] {
            assert_eq!(check_level(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,farebox", "farebox=loud"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        let filter = quiet(Targets::from_str("debug,hyper=trace").expect("parses"));
        assert!(filter.would_enable("farebox::runtime", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("rdkafka::client", &tracing::Level::INFO));
        assert!(filter.would_enable("rdkafka::client", &tracing::Level::WARN));
        assert!(filter.would_enable("hyper", &tracing::Level::TRACE));
    }
}
