//! `farebox rerate`: what operations would cost by the price book as it stands, and what is charged for them; `--post` charges the difference.
//!
//! Holds: what is posted for an account's day is posted whole and once, however often this runs, wherever it is killed, and whoever runs it
//! at the same time; posting changes nothing that was stored. Absent on purpose: sessions, which are priced when they are read.

pub(super) mod scan;

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::args::{Format, Rerate};
use super::run::marked;
use super::stream::{Column, Stream};
use super::usage::ensure_known;
use crate::config::Config;
use crate::model::{Credits, Day};
use crate::price::{Again, Compared, Line};
use crate::runtime::{self, clock};
use crate::store::{Posting, Store};
use scan::{Found, Scan};

/// How often others may post for a day before ours is given up.
const RACES_MAX: usize = 10;

const COLUMNS: &[Column] = &[
    ("account", 16),
    ("day", 10),
    ("kind", 9),
    ("category", 9),
    ("model", 16),
    ("agent", 16),
    ("platform", 9),
    ("events", 8),
    ("old", 14),
    ("new", 14),
    ("difference", 14),
    ("unpriced_before", 15),
    ("unpriced_after", 14),
];

pub(super) async fn rerate(config: Config, options: Rerate, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(failed)?;
    let book = store.book().await.map_err(failed)?;
    runtime::refuse_problems(&book).map_err(marked)?;
    if let Some(account) = &options.account {
        ensure_known(&store, &book, account).await?;
    }
    let mut again = Again::new(book);
    let version = again.version();
    let (from, to) = (Day::from_date(options.from), Day::from_date(options.to));
    let mut scan = Scan::begin(&store, &mut again, options.account.as_deref(), from, to).await?;
    let (mut out, mut told) = (Stream::new(format, COLUMNS), Told::default());
    while let Some(mut found) = scan.next().await.with_context(|| told.incomplete(options.post))? {
        if options.post {
            found = post(&store, &mut scan, found, version, &mut told).await.with_context(|| told.incomplete(true))?;
        }
        let changes = found.changes()?;
        told.take(&found, changes.values())?;
        if !changes.is_empty() {
            scan.hide_progress();
            out.print(changes.iter().map(|(line, compared)| row(&found, line, compared)))?;
        }
    }
    scan.hide_progress();
    told.tell(version, options.post, options.from == options.to);
    Ok(())
}

/// Posts what is different of a day. Whoever posted for the day in between is read, and what is left is posted. Never by a book that is not
/// the newest any more: it would take back what somebody else posted by the newer one.
async fn post(store: &Store, scan: &mut Scan<'_>, found: Found, version: u64, told: &mut Told) -> anyhow::Result<Found> {
    let failed = |error| marked(runtime::Error::from(error));
    let person = super::person();
    let mut found = found;
    for _ in 0..RACES_MAX {
        let Some(lines) = &found.lines else { return Ok(found) };
        let mut adjustments = Vec::new();
        for (line, compared) in lines {
            adjustments.extend(compared.adjustment()?.map(|adjustment| (line.clone(), adjustment)));
        }
        if adjustments.is_empty() {
            return Ok(found);
        }
        let newest = store.price_book_version().await.map_err(failed)?;
        if newest != version {
            bail!("the price book is at version {newest} by now, and this rates by version {version}");
        }
        let id = u32::try_from(found.posted).context("too many adjustments of a day")?;
        let (account, day) = (found.account.as_str(), found.day);
        let posting = Posting { account, day, id, price_version: version, posted_at: clock::now(), posted_by: &person };
        if store.post_adjustments(&posting, adjustments).await.map_err(failed)? {
            told.posted += 1;
            return Ok(found);
        }
        found = scan.look_again(account, day).await?.with_context(|| format!("the usage of `{account}` on {day} is gone"))?;
    }
    bail!("others posted for {} of `{}` {RACES_MAX} times while it was rated; try again", found.day, found.account)
}

fn row(found: &Found, line: &Line, compared: &Compared) -> Vec<Value> {
    let difference = compared.new.checked_sub(compared.old).map_or(Value::Null, |difference| json!(difference.to_string()));
    vec![
        json!(found.account),
        json!(found.day.to_string()),
        json!(line.kind()),
        json!(line.category),
        json!(line.model),
        json!(line.agent),
        json!(line.platform),
        json!(compared.events),
        json!(compared.old.to_string()),
        json!(compared.new.to_string()),
        difference,
        json!(compared.unpriced_old),
        json!(compared.unpriced_new),
    ]
}

/// What is said at the end.
#[derive(Default)]
struct Told {
    accounts: BTreeSet<String>,
    events: u64,
    difference: Credits,
    unpriced: i64,
    changed: bool,
    posted: u64,
    /// Events of days that the log does not have whole, and how many days.
    unlogged: u64,
    unlogged_days: u64,
}

impl Told {
    fn take<'a>(&mut self, found: &Found, changes: impl Iterator<Item = &'a Compared>) -> anyhow::Result<()> {
        if found.lines.is_none() {
            self.unlogged += found.events;
            self.unlogged_days += 1;
            return Ok(());
        }
        self.events += found.events;
        for compared in changes {
            let difference = compared.new.checked_sub(compared.old).and_then(|difference| self.difference.checked_add(difference));
            self.difference = difference.context("the sum of all differences does not fit into 128 bits")?;
            self.unpriced += compared.unpriced_new - compared.unpriced_old;
            if !self.accounts.contains(&found.account) {
                self.accounts.insert(found.account.clone());
            }
            self.changed = true;
        }
        Ok(())
    }

    fn incomplete(&self, post: bool) -> String {
        if post {
            format!("{} days of accounts were posted whole, and stay; run it again for the others", self.posted)
        } else {
            "not every day was compared".to_owned()
        }
    }

    fn tell(&self, version: u64, post: bool, is_one_day: bool) {
        let days = if is_one_day { "that day" } else { "those days" };
        if self.events + self.unlogged == 0 {
            eprintln!("farebox: no usage of {days} is stored");
            return;
        }
        let rated = format!("{} events were rated by version {version} of the price book", self.events);
        if self.changed {
            let sign = if self.difference >= Credits::ZERO { "+" } else { "" };
            eprintln!(
                "farebox: {rated}; for {} account{} the cost changes by {sign}{} credits, the events without a price by {:+}",
                self.accounts.len(),
                if self.accounts.len() == 1 { "" } else { "s" },
                self.difference,
                self.unpriced
            );
        } else {
            eprintln!("farebox: {rated}; nothing changes");
        }
        if self.unlogged > 0 {
            eprintln!(
                "farebox: {} events cannot be rated again and keep their cost: `usage_log` does not have every event of their days ({})",
                self.unlogged, self.unlogged_days
            );
        }
        match (post, self.changed, self.posted) {
            (false, true, _) => eprintln!("farebox: nothing was posted; --post charges the difference"),
            (true, _, posted) if posted > 0 => eprintln!("farebox: posted for {posted} days of accounts"),
            (true, _, _) => eprintln!("farebox: there was nothing to post"),
            (false, false, _) => {}
        }
    }
}
