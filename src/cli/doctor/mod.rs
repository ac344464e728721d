//! `farebox doctor`: connects to everything, changes nothing, and says what it found.
//!
//! Holds: whatever is not in order names its remedy; a server that is away costs seconds and does not hide what the other one says.

mod clickhouse;
mod group;
mod instance;
mod kafka;
mod mail;
mod tls;

use std::time::Duration;

use serde_json::json;

use super::args::Format;
use super::output;
use crate::config::Config;

/// A server that says nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Debug)]
struct Finding {
    state: State,
    check: String,
    found: String,
    /// Empty when all is well.
    remedy: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { state: State::Ok, check: check.into(), found: found.into(), remedy: String::new() }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warn, check: check.into(), found: found.into(), remedy: remedy.into() }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Fail, check: check.into(), found: found.into(), remedy: remedy.into() }
    }
}

pub(super) async fn doctor(config: Config, format: Format) -> anyhow::Result<()> {
    let mut findings = vec![Finding::ok(
        "farebox",
        format!("version {}, with librdkafka {}", env!("CARGO_PKG_VERSION"), rdkafka::util::get_rdkafka_version().1),
    )];
    let (kafka, clickhouse, instance, mail, certificates) = tokio::join!(
        kafka::examine(&config),
        clickhouse::examine(&config),
        instance::examine(&config),
        mail::examine(&config),
        tls::examine(&config)
    );
    findings.extend(kafka);
    findings.extend(clickhouse);
    if findings.iter().all(|finding| !matches!(finding.check.as_str(), "Kafka" | "ClickHouse") || finding.state != State::Fail) {
        findings.extend(group::examine(&config).await);
    }
    findings.extend(instance);
    findings.extend(mail);
    findings.extend(certificates);
    match format {
        Format::Table => {
            let line = |finding: &Finding| {
                let Finding { state, check, found, remedy } = finding;
                let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
                format!("{:<4}  {check}: {found}{remedy}\n", state.name())
            };
            output::text(&findings.iter().map(line).collect::<String>())?;
        }
        Format::Json | Format::Csv => {
            let row = |finding: &Finding| {
                vec![json!(finding.state.name()), json!(finding.check), json!(finding.found), json!(finding.remedy)]
            };
            output::rows(format, &["state", "check", "found", "remedy"], findings.iter().map(row))?;
        }
    }
    let failed = findings.iter().filter(|finding| finding.state == State::Fail).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed; their lines say what to do", findings.len());
    Ok(())
}
