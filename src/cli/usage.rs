//! `farebox usage ACCOUNT`: what an account used and pays, day by day.
//!
//! Holds: amounts are exact but in the table, where each is rounded once; unique users are merged from their states, never added up. Absent on
//! purpose: days without usage.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::args::{Format, Usage};
use super::output;
use super::run::marked;
use crate::book::{Book, Kind};
use crate::config::Config;
use crate::model::Credits;
use crate::price::Prices;
use crate::runtime::{self, clock};
use crate::store::{self, Store};

/// Without `--from`, so many days before the last one.
const DAYS_BEFORE: u64 = 6;

pub(super) async fn usage(config: Config, options: Usage, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(failed)?;
    let account = &options.account;
    let book = store.book().await.map_err(failed)?;
    ensure_known(&store, &book, account).await?;
    let zone = Prices::new(&book).terms(account, clock::now()).zone;
    let today = zone.local(clock::now()).day.to_date();
    let to = options.days.to.unwrap_or_else(|| options.days.from.map_or(today, |from| from.max(today)));
    let from = options.days.from.unwrap_or_else(|| to.checked_sub_days(Days::new(DAYS_BEFORE)).unwrap_or(to));
    let asked = Asked { account, from: from.max(NaiveDate::default()).to_string(), to: to.to_string() };
    let days = days(&store, &asked).await.map_err(failed)?;
    if days.is_empty() {
        eprintln!("farebox: no usage of `{account}` from {} to {} is stored", asked.from, asked.to);
    }
    show(format, &days)?;
    if format == Format::Table {
        tell(&days, zone.name());
        tell_balance(&store, account).await.map_err(failed)?;
    }
    Ok(())
}

/// An account that neither the price book names nor any usage.
pub(super) async fn ensure_known(store: &Store, book: &Book, account: &str) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let mut names: BTreeSet<String> =
        book.rows().iter().filter(|row| row.kind == Kind::Account).map(|row| row.account.clone()).collect();
    if names.contains(account) || store.first_with_usage(&[account]).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    #[derive(Deserialize)]
    struct Row {
        account: String,
    }
    let used: Vec<Row> =
        store.rows("SELECT DISTINCT account FROM usage_hourly WHERE account != '' LIMIT 100000", &[]).await.map_err(failed)?;
    names.extend(used.into_iter().map(|row| row.account));
    let near = names.into_iter().map(|name| (strsim::damerau_levenshtein(account, &name), name)).min();
    let hint = match near {
        Some((distance, name)) if distance <= (account.chars().count() / 3).max(1) => format!("did you mean `{name}`?"),
        _ => "write it as the events do".to_owned(),
    };
    anyhow::bail!(
        "account `{}` is unknown: the price book does not name it and no usage of it is stored; {hint}",
        account.escape_debug()
    )
}

struct Asked<'a> {
    account: &'a str,
    from: String,
    to: String,
}

/// A day of an account.
struct Day {
    day: String,
    sessions: u64,
    /// Of the day's sessions, by platform.
    unique_users: BTreeMap<String, u64>,
    costs: Costs,
    /// Events that cost nothing for want of a price, or are not attributed, by kind.
    unpriced: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Costs {
    day: String,
    sessions_cost: String,
    training_cost: String,
    operations_cost: String,
    cost: String,
    provisional: u8,
}

impl Costs {
    fn amounts(&self) -> [&str; 4] {
        [&self.sessions_cost, &self.training_cost, &self.operations_cost, &self.cost]
    }
}

async fn days(store: &Store, asked: &Asked<'_>) -> Result<Vec<Day>, store::Error> {
    #[derive(Deserialize)]
    struct Sessions {
        day: String,
        platform: String,
        sessions: u64,
        unique_users: u64,
    }
    #[derive(Deserialize)]
    struct Unpriced {
        day: String,
        kind: String,
        events: u64,
    }
    const THESE: &str = "account = {account:String} AND day BETWEEN {from:Date} AND {to:Date}";
    let params = [("account", asked.account), ("from", asked.from.as_str()), ("to", asked.to.as_str())];
    let costs = format!(
        "SELECT day, sessions_cost, training_cost, operations_cost, cost, provisional FROM daily_costs WHERE {THESE} ORDER BY day"
    );
    // Billed uniques never exceed the number of events.
    let sessions = format!(
        "SELECT day, toString(platform) AS platform, uniqExact(session_start) AS sessions, \
         least(uniqCombined64Merge(17)(users), sum(s.events)) AS unique_users \
         FROM session_users AS s WHERE {THESE} GROUP BY day, platform"
    );
    let unpriced = format!("SELECT day, kind, sum(u.events) AS events FROM unpriced_usage AS u WHERE {THESE} GROUP BY day, kind");
    let (costs, sessions, unpriced) = tokio::try_join!(
        store.rows::<Costs>(&costs, &params),
        store.rows::<Sessions>(&sessions, &params),
        store.rows::<Unpriced>(&unpriced, &params)
    )?;
    let of_day = |costs: Costs| {
        let here = || sessions.iter().filter(|row| row.day == costs.day);
        Day {
            day: costs.day.clone(),
            sessions: here().map(|row| row.sessions).sum(),
            unique_users: here().map(|row| (row.platform.clone(), row.unique_users)).collect(),
            unpriced: unpriced.iter().filter(|row| row.day == costs.day).map(|row| (row.kind.clone(), row.events)).collect(),
            costs,
        }
    };
    Ok(costs.into_iter().map(of_day).collect())
}

fn show(format: Format, days: &[Day]) -> Result<(), output::Failed> {
    const COSTS: [&str; 4] = ["sessions_cost", "training_cost", "operations_cost", "cost"];
    let amounts = |day: &Day| day.costs.amounts().map(|exact| output::amount(format, exact));
    let is_provisional = |day: &Day| day.costs.provisional != 0;
    match format {
        Format::Table => {
            let mark = |is: bool| Value::from(if is { "provisional" } else { "" });
            let row = |day: &Day| {
                [vec![json!(day.day), json!(day.sessions)], amounts(day).to_vec(), vec![mark(is_provisional(day))]].concat()
            };
            let rows: Vec<Vec<Value>> = days.iter().map(row).collect();
            let total = |at: usize| {
                let sum =
                    days.iter().try_fold(Credits::ZERO, |sum, day| sum.checked_add(Credits::parse_sum(day.costs.amounts()[at])?));
                sum.map_or(Value::Null, |sum| output::amount(format, &sum.to_string()))
            };
            let mut last = vec![json!("total"), json!(days.iter().map(|day| day.sessions).sum::<u64>())];
            last.extend((0..COSTS.len()).map(total));
            last.push(mark(days.iter().any(is_provisional)));
            let columns = ["day", "sessions", COSTS[0], COSTS[1], COSTS[2], COSTS[3], ""];
            if days.is_empty() { Ok(()) } else { output::text(&output::table(&columns, &rows, Some(&last))) }
        }
        Format::Json => {
            let users = |day: &Day| {
                Value::Object(day.unique_users.iter().map(|(name, users)| (name.clone(), json!(users))).collect::<Map<_, _>>())
            };
            let row = |day: &Day| {
                let flags = vec![json!(is_provisional(day)), json!(day.unpriced)];
                [vec![json!(day.day), json!(day.sessions), users(day)], amounts(day).to_vec(), flags].concat()
            };
            let columns =
                ["day", "sessions", "unique_users", COSTS[0], COSTS[1], COSTS[2], COSTS[3], "provisional", "unpriced_events"];
            output::rows(format, &columns, days.iter().map(row))
        }
        Format::Csv => {
            let platforms: BTreeSet<&String> = days.iter().flat_map(|day| day.unique_users.keys()).collect();
            let names: Vec<String> = platforms.iter().map(|platform| format!("unique_users_{platform}")).collect();
            let columns =
                [vec!["day", "sessions"], names.iter().map(String::as_str).collect(), COSTS.to_vec(), vec!["provisional"]].concat();
            let row = |day: &Day| {
                let users = platforms.iter().map(|platform| json!(day.unique_users.get(*platform).unwrap_or(&0))).collect();
                [vec![json!(day.day), json!(day.sessions)], users, amounts(day).to_vec(), vec![json!(is_provisional(day))]].concat()
            };
            output::rows(format, &columns, days.iter().map(row))
        }
    }
}

/// What is left, of an account that has credits.
async fn tell_balance(store: &Store, account: &str) -> Result<(), store::Error> {
    if store.ledger(account).await?.is_empty() {
        return Ok(());
    }
    for balance in store.balances(Some(account)).await? {
        eprintln!(
            "farebox: the balance is {} credits",
            output::amount(Format::Table, &balance.balance).as_str().unwrap_or_default()
        );
    }
    Ok(())
}

/// What the table leaves out.
fn tell(days: &[Day], zone: &str) {
    if days.is_empty() {
        return;
    }
    eprintln!("farebox: credits, rounded to two digits; days begin at midnight in {zone}");
    if days.iter().any(|day| day.costs.provisional != 0) {
        eprintln!("farebox: provisional days may still get events that are in time");
    }
    let mut unpriced = BTreeMap::<&str, u64>::new();
    for (kind, events) in days.iter().flat_map(|day| &day.unpriced) {
        *unpriced.entry(kind).or_default() += events;
    }
    for (kind, events) in unpriced {
        let why = match kind {
            "unattributed" => "events that name no user or no platform, so that no session is charged for them",
            "session" => "events of sessions for which the price book has no session price, so that they cost nothing",
            "training" => "events of training for which the price book has no rate, so that it costs nothing",
            _ => "events of operations for which the price book has no rate, so that they cost nothing",
        };
        eprintln!("farebox: {why}: {events}; the view unpriced_usage tells which");
    }
}
