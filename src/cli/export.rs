//! `farebox export`: events, sessions or costs as they come from ClickHouse, straight to standard output.
//!
//! Holds: memory does not grow with the answer; an export that is not complete ends with an error, never silently.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;

use super::args::{Export, Exported, Format};
use super::output::Failed;
use super::progress::Progress;
use super::run::marked;
use super::usage::ensure_known;
use crate::config::Config;
use crate::runtime;
use crate::store::Store;

/// Columns, view or table, and order. A user's hash is larger than what most readers of JSON keep of a number, so it is text.
const fn source(what: Exported) -> (&'static str, &'static str, &'static str) {
    match what {
        Exported::UsageLog => (
            "account, source, id, event_time, received_at, day, platform, toString(user_hash) AS user_hash, agent, category, model, duration_ms, \
             input_tokens, cached_input_tokens, output_tokens, quantity, credits, given, cost, priced, price_version, source_epoch, topic, \
             partition, offset AS offset",
            "usage_log",
            "account, event_time, id",
        ),
        Exported::Sessions => (
            "account, platform, session_start, session_end, day, unique_users, events, unit_session_cost, cost, priced, closed",
            "session_costs",
            "account, session_start, platform",
        ),
        Exported::Costs => (
            "account, day, kind, platform, agent, category, model, events, cost",
            "costs",
            "account, day, kind, platform, agent, category, model",
        ),
    }
}

pub(super) async fn export(config: Config, options: Export, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(failed)?;
    if let Some(account) = &options.account {
        let book = store.book().await.map_err(failed)?;
        ensure_known(&store, &book, account).await?;
    }
    let (from, to) = (options.days.from.map(|day| day.to_string()), options.days.to.map(|day| day.to_string()));
    let filters = [
        ("account", "account = {account:String}", options.account),
        ("from", "day >= {from:Date}", from),
        ("to", "day <= {to:Date}", to),
        ("agent", "agent = {agent:String}", options.agent),
        ("category", "category = {category:String}", options.category),
        ("model", "model = {model:String}", options.model),
    ];
    let (columns, view, order) = source(options.what);
    let given = || filters.iter().filter_map(|(name, filter, value)| Some((*name, *filter, value.as_deref()?)));
    let conditions: Vec<&str> = given().map(|(_, filter, _)| filter).collect();
    let only = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let params: Vec<(&str, &str)> = given().map(|(name, _, value)| (name, value)).collect();
    let sql = format!("SELECT {columns} FROM {view}{only} ORDER BY {order}");
    let format = if format == Format::Json { "JSONEachRow" } else { "CSVWithNames" };
    let mut stream = store.stream(&sql, &params, format).await.map_err(failed)?;
    let mut written = 0_u64;
    let mut progress = Progress::new();
    let is_watched = !io::stdout().is_terminal(); // on a terminal, the rows themselves show how far it is
    let incomplete = |written: u64| format!("the export is not complete: it ends after {written} bytes; begin it anew");
    loop {
        let piece = tokio::select! {
            piece = stream.next() => piece,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped; {}", incomplete(written)),
        };
        let Some(piece) = piece.map_err(failed).with_context(|| incomplete(written))? else { break };
        io::stdout().lock().write_all(&piece).map_err(Failed)?;
        written = written.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if is_watched {
            progress.show(|| format!("{} MB written", written / 1_000_000));
        }
    }
    progress.end();
    io::stdout().lock().flush().map_err(Failed)?;
    Ok(())
}
