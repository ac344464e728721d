//! `farebox apply FILE`: a new version of the price book.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{Apply, Format};
use super::backdate::{self, Differences};
use super::exit::Mend;
use super::output;
use super::run::marked;
use crate::book::{self, Book, BookFile, Change, Plan, Row, Touched};
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
        let planned = Book::from_rows([current.rows(), &plan.rows].concat());
        let metered = match plan.backdated_to {
            Some(since) => Some(backdate::differences(&store, &planned, &plan, since, clock::now()).await?),
            None => None,
        };
        let shown = Shown { plan: &plan, touched: Touched::new(&planned), metered };
        if plan.is_empty() || options.dry_run {
            return shown.print(format, options.dry_run);
        }
        match store.apply_price_book(plan.version, book::COLUMNS, &plan.rows).await.map_err(failed)? {
            Unique::Ours => return shown.print(format, false),
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
    let regridded: Vec<&str> = plan.regridded.iter().map(|account| &**account).collect();
    match store.first_with_usage(&regridded).await.map_err(runtime::Error::from).map_err(marked)? {
        None => Ok(()),
        Some(account) => Err(Mend(format!(
            "usage of account `{account}` is stored already, with days in UTC and sessions from 00:00; leave `time_zone` and `session_anchor` out, or give the account a `valid_from` that is not before now"
        ).into())
        .into()),
    }
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

/// So many accounts are named, of those that a row touches.
const NAMED_MAX: usize = 5;
/// So many differences of days are printed for people.
const LINES_MAX: usize = 40;

/// A plan with what it means.
struct Shown<'a> {
    plan: &'a Plan,
    touched: Touched<'a>,
    /// What changes for time that is metered; `None`: the plan does not reach back.
    metered: Option<Differences>,
}

impl Shown<'_> {
    fn print(&self, format: Format, dry_run: bool) -> anyhow::Result<()> {
        let &Self { plan, ref metered, .. } = self;
        match format {
            Format::Json => output::line(&self.value(dry_run).to_string())?,
            Format::Table | Format::Csv => {
                for (row, change) in plan.rows.iter().zip(&plan.changes) {
                    output::line(&change.to_string())?;
                    if row.account == "*" {
                        let accounts: Vec<&str> = self.touched.by(row).collect();
                        output::line(&format!("  touches {}", named(&accounts)))?;
                    }
                }
                for absent in &plan.absent {
                    output::line(&format!("stays, though the file does not have it: {absent}"))?;
                }
                if let Some(differences) = metered {
                    let are = if differences.is_empty() { "nothing changes for them" } else { "by account and day" };
                    output::line(&format!("days that are metered already: {are}"))?;
                    for line in backdate::lines(differences, LINES_MAX) {
                        output::line(&line)?;
                    }
                }
                let version = plan.version;
                output::line(&match (plan.is_empty(), dry_run) {
                    (true, _) => format!("nothing changes; the price book is at version {version}"),
                    (false, true) => format!("nothing was applied; this would be version {version}"),
                    (false, false) => format!("applied as version {version}"),
                })?;
            }
        }
        if metered.as_ref().is_some_and(|differences| !differences.is_empty()) {
            eprintln!(
                "farebox: sessions cost that as soon as the book is applied; operations keep their stored cost until `farebox rerate --post`"
            );
        }
        Ok(())
    }

    fn value(&self, dry_run: bool) -> Value {
        let plan = self.plan;
        let change = |(row, change): (&Row, &Change)| {
            let accounts: Vec<&str> = self.touched.by(row).collect();
            let mut value = json!(change);
            value["touches"] = json!({ "accounts": accounts.len(), "some": &accounts[..accounts.len().min(NAMED_MAX)] });
            value
        };
        let changes: Vec<Value> = plan.rows.iter().zip(&plan.changes).map(change).collect();
        let mut result =
            json!({ "version": plan.version, "applied": !dry_run && !plan.is_empty(), "changes": changes, "absent": plan.absent });
        if let Some(differences) = &self.metered {
            result["metered"] = json!(backdate::values(differences));
        }
        result
    }
}

/// How many, and the first ones by name.
fn named(accounts: &[&str]) -> String {
    let some = accounts[..accounts.len().min(NAMED_MAX)].join(", ");
    match accounts.len() {
        0 => "no account".to_owned(),
        1 => format!("1 account: {some}"),
        count if count <= NAMED_MAX => format!("{count} accounts: {some}"),
        count => format!("{count} accounts: {some}, …"),
    }
}
