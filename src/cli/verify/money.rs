//! Costs, counted sessions, ledger and balances.

use chrono::NaiveDate;

use super::Verdict;
use super::checks::{Found, LOOK_AGAIN, LOOKS, Verify, months, settled, spelled, told};
use crate::ledger;
use crate::runtime::clock;
use crate::store::{Coverage, Error, LedgerRow, Store};

impl Verify {
    /// Everything that may be said of money without the log.
    pub(super) async fn money(&mut self, coverage: &Coverage) -> Result<(), Error> {
        if let Some(days) = self.priced_days(coverage) {
            self.costs(days).await?;
            self.folds(days).await?;
        }
        self.ledger().await?;
        self.balances().await
    }

    async fn costs(&mut self, days: (NaiveDate, NaiveDate)) -> Result<(), Error> {
        let mut found = Found::default();
        let spans = months(days);
        for (from, to, is_whole) in &spans {
            let store = &self.store;
            let differences = settled(store, async |_| store.cost_differences((*from, *to), *is_whole).await).await?;
            found.add(differences.iter().map(told));
            self.steps.step(&format!("costs {from}"));
        }
        self.rows.push(found.row("costs", spelled(days), format!("{} months, 5 views", spans.len())));
        Ok(())
    }

    /// Sessions that were counted once, against their sets.
    async fn folds(&mut self, days: (NaiveDate, NaiveDate)) -> Result<(), Error> {
        let mut found = Found::default();
        let spans = months(days);
        for (from, to, _) in &spans {
            let store = &self.store;
            let differences = settled(store, async |_| store.fold_differences((*from, *to)).await).await?;
            found.add(differences.iter().map(told));
            self.steps.step(&format!("session_folds {from}"));
        }
        self.rows.push(found.row("session_folds", spelled(days), format!("{} months", spans.len())));
        Ok(())
    }

    async fn ledger(&mut self) -> Result<(), Error> {
        let seen = self.store.ledger_findings().await?;
        self.steps.step("ledger");
        let looked_at = format!("{} entries", seen.entries);
        let (mut wrong, mut repeated) = (Found::default(), Found::default());
        wrong.add(seen.wrong.iter().map(told));
        repeated.add(seen.repeated.iter().map(told));
        self.rows.push(wrong.row("ledger", "ever", looked_at.clone()));
        let mut row = repeated.row("ledger_keys", "ever", looked_at);
        if row.verdict == Verdict::Fail {
            row.verdict = Verdict::Warn; // the first counts, so that the balance is right
        }
        self.rows.push(row);
        Ok(())
    }

    /// The view against the ledger and `costs`; of accounts with credits that expire, against the fold.
    async fn balances(&mut self) -> Result<(), Error> {
        let mut found = Found::default();
        let store = &self.store;
        let differences = settled(store, async |_| store.balance_differences().await).await?;
        found.add(differences.iter().map(told));
        self.steps.step("balances");
        let expiring = self.store.accounts_with_credits_that_expire().await?;
        for account in &expiring {
            found.add(folded(&self.store, account).await?);
        }
        self.steps.step("balances of credits that expire");
        let looked_at = format!("every account, {} with credits that expire", expiring.len());
        self.rows.push(found.row("balances", "ever", looked_at));
        Ok(())
    }
}

/// Where the view differs from the fold of the account's entries and days, also when it is asked again.
async fn folded(store: &Store, account: &str) -> Result<Option<String>, Error> {
    let mut difference = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let today = super::super::credits::first_day_that_lasts(clock::now());
        let (rows, usage) = tokio::try_join!(store.ledger(account), store.daily_usage(account))?;
        let view = store.balances(Some(account)).await?.pop();
        let entries = rows.iter().map(LedgerRow::entry).collect::<Result<Vec<_>, _>>()?;
        let said = view.map_or_else(|| "nothing".to_owned(), |view| format!("{} credited, {} left", view.credited, view.balance));
        let is = match ledger::balance(&entries, &usage, today) {
            Ok(fold) => match fold.credited.checked_sub(fold.expired) {
                Some(credited) => format!("{credited} credited, {} left", fold.balance),
                None => "a sum that is too large".to_owned(),
            },
            Err(overflow) => overflow.to_string(),
        };
        if said == is {
            return Ok(None);
        }
        difference = Some(format!("account {account}: balances says {said}, the fold of ledger and usage {is}"));
    }
    Ok(difference)
}
