//! What is left of credits on their last day goes into the ledger as an entry of its own, once that day is closed. Until then the view
//! `balances` leaves it out by itself; afterwards the entry counts as it stands.

use super::clock;
use crate::ledger::{self, Kind};
use crate::model::{Credits, Timestamp, Zone};
use crate::store::{LedgerRow, NEVER, Store};

/// A day is closed when its last session is: a day ends nowhere on earth later than 36 hours after its midnight in UTC, and a session that
/// begins on it 24 hours after that.
const DAY_CLOSES_AFTER_MS: i64 = 60 * 3_600_000;

pub(super) async fn post(store: &Store) -> anyhow::Result<()> {
    // Most turns end here: it is the cheaper question.
    if store.accounts_with_credits_that_ended(Zone::UTC.local(clock::now()).day).await?.is_empty() {
        return Ok(());
    }
    let closed_to = store.closed_to().await?;
    if closed_to < Timestamp::MIN.plus_millis(DAY_CLOSES_AFTER_MS) {
        return Ok(()); // nothing is closed yet
    }
    let open = Zone::UTC.local(closed_to.plus_millis(-DAY_CLOSES_AFTER_MS)).day;
    for account in store.accounts_with_credits_that_ended(open).await? {
        let (rows, usage) = tokio::try_join!(store.ledger(&account), store.daily_usage(&account))?;
        let entries = rows.iter().map(LedgerRow::entry).collect::<Result<Vec<_>, _>>()?;
        for lot in ledger::balance(&entries, &usage, open)?.unposted {
            store
                .add_ledger_entry(&LedgerRow {
                    account: account.clone(),
                    id: format!("{EXPIRY_PREFIX}{}", lot.id),
                    kind: Kind::Expiry.to_string(),
                    amount: Credits::from_nanos(-lot.left.nanos()).to_string(),
                    day: lot.expires.to_string(),
                    expires: NEVER.to_owned(),
                    reference: lot.id,
                    note: String::new(),
                    created_at: clock::now(),
                    created_by: "farebox".to_owned(),
                })
                .await?;
        }
    }
    Ok(())
}

/// Keys of people do not begin like this.
pub const EXPIRY_PREFIX: &str = "expiry/";
