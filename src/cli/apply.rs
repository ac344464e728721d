//! `farebox apply FILE`: a new version of the price book.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::args::{Apply, Format};
use super::exit::Mend;
use super::output;
use super::run::marked;
use crate::book::{self, BookFile, Plan};
use crate::config::Config;
use crate::runtime::{self, clock};
use crate::store::{Store, Unique};

/// Somebody else may apply at the same moment; who loses the race plans anew.
const RACES_MAX: usize = 10;

pub(super) async fn apply(config: Config, options: Apply, format: Format) -> anyhow::Result<()> {
    let Some(file) = &options.file else { return show_book(&config, &options, format).await };
    let file = read(file)?;
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(runtime::Error::from).map_err(marked)?;
    let failed = |error| marked(runtime::Error::from(error));
    for _ in 0..RACES_MAX {
        let current = store.book().await.map_err(failed)?;
        runtime::refuse_problems(&current).map_err(marked)?;
        let closed_to = store.closed_to().await.map_err(failed)?;
        let plan = book::plan(&current, &file, clock::now(), &super::person(), closed_to, options.backdate).map_err(mend)?;
        refuse_regridding(&store, &plan).await?;
        if options.backdate && plan.backdated_to.is_some() {
            eprintln!("farebox: prices of closed time change; what was stored keeps its cost until it is rated again");
        }
        if plan.is_empty() || options.dry_run {
            return show(format, &plan, options.dry_run);
        }
        match store.apply_price_book(plan.version, book::COLUMNS, &plan.rows).await.map_err(failed)? {
            Unique::Ours => return show(format, &plan, false),
            Unique::Other(_) => {} // this version is taken
        }
    }
    anyhow::bail!("others applied price books {RACES_MAX} times while this one was planned; try again")
}

/// What the database has: as a file, or version by version.
async fn show_book(config: &Config, options: &Apply, format: Format) -> anyhow::Result<()> {
    let store = Store::new(&runtime::settings_of_store(config)).map_err(runtime::Error::from).map_err(marked)?;
    let book = store.book().await.map_err(runtime::Error::from).map_err(marked)?;
    runtime::refuse_problems(&book).map_err(marked)?;
    if options.export {
        return Ok(output::text(&book.to_file())?);
    }
    if book.version() == 0 {
        eprintln!("farebox: no price book was applied yet");
    }
    for version in book.versions() {
        if format == Format::Json {
            output::line(&json!(version).to_string())?;
            continue;
        }
        output::line(&format!("version {}, applied at {} by {}", version.version, version.applied_at, version.applied_by))?;
        for change in &version.changes {
            output::line(&format!("  {change}"))?;
        }
    }
    Ok(())
}

/// Usage of an account that was unknown lies on the days and sessions of unknown accounts; another grid for the same time would
/// put late events beside it, and charge twice for a user who is in both.
async fn refuse_regridding(store: &Store, plan: &Plan) -> anyhow::Result<()> {
    for account in &plan.regridded {
        if store.has_usage(account).await.map_err(runtime::Error::from).map_err(marked)? {
            let message = format!(
                "usage of account `{account}` is stored already, with days in UTC and sessions from 00:00; leave `time_zone` and `session_anchor` out, or give the account a `valid_from` that is not before now"
            );
            return Err(Mend(message.into()).into());
        }
    }
    Ok(())
}

/// A price book file, read and parsed.
pub(super) fn read(path: &Path) -> anyhow::Result<BookFile> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the price book {name}"))?;
    book::parse(&text, &name).map_err(mend)
}

fn mend(error: book::Error) -> anyhow::Error {
    Mend(Box::new(error)).into()
}

fn show(format: Format, plan: &Plan, dry_run: bool) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let result = json!({ "version": plan.version, "applied": !dry_run && !plan.is_empty(), "changes": plan.changes, "absent": plan.absent });
            output::line(&result.to_string())?;
        }
        Format::Table | Format::Csv => {
            for change in &plan.changes {
                output::line(&change.to_string())?;
            }
            for absent in &plan.absent {
                output::line(&format!("stays, though the file does not have it: {absent}"))?;
            }
            let version = plan.version;
            output::line(&match (plan.is_empty(), dry_run) {
                (true, _) => format!("nothing changes; the price book is at version {version}"),
                (false, true) => format!("nothing was applied; this would be version {version}"),
                (false, false) => format!("applied as version {version}"),
            })?;
        }
    }
    Ok(())
}
