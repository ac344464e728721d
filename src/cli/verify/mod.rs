//! `farebox verify`: what is promised, held against what the tables and Kafka have.
//!
//! Holds: it changes nothing; it may run while instances write; a check that cannot prove anything says so and is not counted as passed.
//! Every finding names its place. Memory does not grow with the number of events, here or in ClickHouse.

mod checks;
mod kafka;
mod money;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::checks::Verify;
use super::args::{Days, Format};
use super::kafka::Kafka;
use super::output;
use super::progress::Progress;
use super::run::marked;
use super::send::interrupted;
use crate::config::Config;
use crate::runtime;
use crate::store::{SchemaStatus, Settings, Store};

/// Questions over a whole day of events take longer than those of the service.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Findings of one check that are named.
const NAMED_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) days: Days,
    /// Ends with 1 for warnings too: events that were charged twice because their ids came again behind the window
    #[arg(long)]
    strict: bool,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// To be known; nothing is wrong with the tables.
    Info,
    /// There is nothing left, or nobody, to prove it by.
    Unproven,
    /// Wrong, and not by what was promised here.
    Warn,
    Fail,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Unproven => "unproven",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Debug)]
struct Row {
    check: &'static str,
    /// Which days, or which offsets.
    range: String,
    looked_at: String,
    /// Of what is wrong, the first place.
    found: String,
    verdict: Verdict,
    /// Every place that is named.
    places: Vec<String>,
}

impl Row {
    /// A check that is passed when nothing was found. `more`: findings beside the named ones.
    fn new(check: &'static str, range: impl Into<String>, looked_at: impl Into<String>, places: Vec<String>, more: u64) -> Self {
        let others = u64::try_from(places.len()).unwrap_or(u64::MAX).saturating_sub(1).saturating_add(more);
        let found = match places.first() {
            None => "nothing".to_owned(),
            Some(first) if others == 0 => first.clone(),
            Some(first) => format!("{first}; and {others} more"),
        };
        let verdict = if places.is_empty() { Verdict::Ok } else { Verdict::Fail };
        Self { check, range: range.into(), looked_at: looked_at.into(), found, verdict, places }
    }

    /// Something to be told.
    fn told(
        check: &'static str,
        range: impl Into<String>,
        looked_at: impl Into<String>,
        found: impl Into<String>,
        verdict: Verdict,
    ) -> Self {
        Self { check, range: range.into(), looked_at: looked_at.into(), found: found.into(), verdict, places: Vec::new() }
    }
}

/// How far it is.
struct Steps {
    progress: Progress,
    done: u64,
    total: u64,
}

impl Steps {
    fn step(&mut self, what: &str) {
        self.done += 1;
        let (done, total) = (self.done, self.total.max(self.done));
        self.progress.show(|| format!("{}  {what}", Progress::bar(done, total)));
    }
}

pub(super) async fn verify(config: Config, options: Options, format: Format) -> anyhow::Result<()> {
    let rows = tokio::select! {
        rows = rows(config, &options) => rows?,
        interrupted = interrupted() => {
            interrupted?;
            anyhow::bail!("stopped before everything was looked at");
        }
    };
    let cells =
        |row: &Row| vec![json!(row.check), json!(row.range), json!(row.looked_at), json!(row.found), json!(row.verdict.name())];
    output::rows(format, &["check", "range", "looked_at", "found", "verdict"], rows.iter().map(cells))?;
    for row in &rows {
        for place in row.places.iter().skip(1).take(NAMED_MAX) {
            eprintln!("farebox: {}: {place}", row.check);
        }
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed; docs/guarantees.md says what each means", rows.len());
    anyhow::ensure!(warned == 0 || !options.strict, "{warned} of {} checks warn, and --strict is given", rows.len());
    Ok(())
}

async fn rows(config: Config, options: &Options) -> anyhow::Result<Vec<Row>> {
    let failed = |error| marked(runtime::Error::from(error));
    let settings = runtime::settings_of_store(&config);
    let settings = Settings { query_timeout: settings.query_timeout.max(QUERY_TIMEOUT), ..settings };
    let store = Store::new(&settings).map_err(failed)?;
    if let SchemaStatus::Behind { missing } = store.schema_status().await.map_err(failed)? {
        let reason = format!("database `{}` lacks {}; run `farebox migrate`", config.clickhouse.database, missing.join(", "));
        return Err(marked(runtime::Error::Configuration(reason)));
    }
    let epoch = store.source(&config.kafka.topic).await.map_err(failed)?.map(|source| source.source_epoch).unwrap_or_default();
    let config = Arc::new(config);
    let kafka = {
        let config = Arc::clone(&config);
        tokio::task::spawn_blocking(move || Kafka::reach(&config)).await?
    };
    let steps = Steps { progress: Progress::new(), done: 0, total: 1 };
    let mut verify = Verify { store, config, kafka, steps, days: options.days, epoch, rows: Vec::new() };
    let outcome = verify.all().await;
    verify.steps.progress.end();
    outcome.map_err(failed)?;
    Ok(verify.rows)
}
