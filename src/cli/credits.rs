//! `farebox credits`: entries of the ledger, and the balances that they make with usage.
//!
//! Holds: an entry is made once under its key, however often and from however many places it is asked for; whatever is refused changes
//! nothing.

use anyhow::bail;
use chrono::NaiveDate;
use serde_json::{Value, json};

use super::args::{CreditsVerbs, Format, NewEntry};
use super::output;
use super::run::marked;
use super::usage::ensure_known;
use crate::config::Config;
use crate::ledger::{self, Kind};
use crate::model::{Credits, Day, Timestamp, Zone};
use crate::price::Prices;
use crate::runtime::{self, clock};
use crate::store::{AccountBalance, LedgerRow, NEVER, Store};

pub(super) async fn credits(config: Config, verb: CreditsVerbs, format: Format) -> anyhow::Result<()> {
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(runtime::Error::from).map_err(marked)?;
    match verb {
        CreditsVerbs::Grant { entry, expires } => add(&store, &entry, Kind::Grant, entry.amount, expires, format).await,
        CreditsVerbs::Adjust { entry, take } => {
            let amount = if take { negative(entry.amount) } else { entry.amount };
            add(&store, &entry, Kind::Adjustment, amount, None, format).await
        }
        CreditsVerbs::Refund { entry } => add(&store, &entry, Kind::Refund, negative(entry.amount), None, format).await,
        CreditsVerbs::History { account } => history(&store, &account, format).await,
        CreditsVerbs::Balance { account } => balance(&store, account.as_deref(), format).await,
    }
}

fn negative(amount: Credits) -> Credits {
    Credits::from_nanos(-amount.nanos()) // at most 21 digits
}

async fn add(
    store: &Store,
    asked: &NewEntry,
    kind: Kind,
    amount: Credits,
    expires: Option<NaiveDate>,
    format: Format,
) -> anyhow::Result<()> {
    let zone = zone_of(store, &asked.account).await?;
    let (now, expires) = (clock::now(), expires.map(Day::from_date));
    let today = zone.local(now).day;
    if let Some(expires) = expires {
        if !zone.has_day(expires) {
            bail!("{expires} does not exist in {}, the time zone of `{}`", zone.name(), asked.account);
        }
        if expires < today {
            bail!("--expires {expires} has passed: for `{}` it is {today}", asked.account);
        }
    }
    let row = LedgerRow {
        account: asked.account.clone(),
        id: asked.key.clone(),
        kind: kind.to_string(),
        amount: amount.to_string(),
        day: today.to_string(),
        expires: expires.map_or_else(|| NEVER.to_owned(), |day| day.to_string()),
        reference: String::new(),
        note: asked.note.clone(),
        created_at: now,
        created_by: super::person(),
    };
    let stands = store.add_ledger_entry(&row).await.map_err(runtime::Error::from).map_err(marked)?;
    if !stands.says_the_same_as(&row) {
        let LedgerRow { account, id, kind, amount, created_at, .. } = stands;
        bail!(
            "the ledger of `{account}` has another entry under the key `{id}`: {kind} of {amount} credits, made at {created_at}; take another key for another entry"
        );
    }
    if stands != row {
        eprintln!("farebox: the ledger of `{}` has this entry since {}; nothing was added", stands.account, stands.created_at);
    }
    show(format, std::slice::from_ref(&stands))
}

async fn history(store: &Store, account: &str, format: Format) -> anyhow::Result<()> {
    zone_of(store, account).await?;
    let rows = store.ledger(account).await.map_err(runtime::Error::from).map_err(marked)?;
    if rows.is_empty() {
        eprintln!("farebox: the ledger of `{account}` has no entries");
        return Ok(());
    }
    show(format, &rows)
}

fn show(format: Format, rows: &[LedgerRow]) -> anyhow::Result<()> {
    let columns = ["day", "kind", "amount", "expires", "key", "note", "created_at", "created_by"];
    let row = |row: &LedgerRow| {
        let expires = if row.expires == NEVER { Value::from("") } else { json!(row.expires) };
        vec![
            json!(row.day),
            json!(row.kind),
            output::amount(format, &row.amount),
            expires,
            json!(row.id),
            json!(row.note),
            json!(row.created_at.to_string()),
            json!(row.created_by),
        ]
    };
    Ok(output::rows(format, &columns, rows.iter().map(row))?)
}

async fn balance(store: &Store, account: Option<&str>, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    if let Some(account) = account {
        zone_of(store, account).await?;
    }
    let balances = store.balances(account).await.map_err(failed)?;
    let columns = ["account", "credited", "used", "balance", "updated_at"];
    let shown = if format == Format::Table { 4 } else { 5 };
    let row = |balance: &AccountBalance| {
        let amounts = [&balance.credited, &balance.used, &balance.balance].map(|exact| output::amount(format, exact));
        let mut row = [vec![json!(balance.account)], amounts.to_vec(), vec![json!(balance.updated_at.to_string())]].concat();
        row.truncate(shown);
        row
    };
    if balances.is_empty() {
        eprintln!("farebox: no credits and no usage are stored");
        return Ok(());
    }
    output::rows(format, &columns[..shown], balances.iter().map(row))?;
    if let (Some(account), Format::Table) = (account, format) {
        tell_what_expires(store, account).await?;
    }
    Ok(())
}

/// What is left of credits that end, for people.
async fn tell_what_expires(store: &Store, account: &str) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let (rows, usage) = tokio::try_join!(store.ledger(account), store.daily_usage(account)).map_err(failed)?;
    let entries = rows.iter().map(LedgerRow::entry).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    for lot in ledger::balance(&entries, &usage, first_day_that_lasts(clock::now()))?.lots {
        eprintln!("farebox: {} credits of `{}` can be used up to {}", lot.left, lot.id, lot.expires);
    }
    Ok(())
}

/// The first day that is not over everywhere on earth: as the view `balances` has it.
pub(super) fn first_day_that_lasts(now: Timestamp) -> Day {
    Zone::UTC.local(now.plus_millis(-12 * 3_600_000)).day
}

/// The account's zone now.
///
/// # Errors
/// Nobody knows the account.
async fn zone_of(store: &Store, account: &str) -> anyhow::Result<Zone> {
    let book = store.book().await.map_err(runtime::Error::from).map_err(marked)?;
    ensure_known(store, &book, account).await?;
    Ok(Prices::new(&book).terms(account, clock::now()).zone)
}
