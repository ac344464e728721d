//! The ledger, the balances and the counted sessions against what they are made of.

use chrono::NaiveDate;
use serde::Deserialize;

use super::{Difference, FINDINGS_MAX, FRUGAL};
use crate::store::{Error, Store};

/// What was found in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerFindings {
    /// How many entries were looked at.
    pub entries: u64,
    /// What no entry may say.
    pub wrong: Vec<Difference>,
    /// Keys that are there more than once: the first entry counts.
    pub repeated: Vec<Difference>,
}

impl Store {
    /// Entries with the wrong sign, and expiries that take the rest of nothing, of too much or for the second time.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ledger_findings(&self) -> Result<LedgerFindings, Error> {
        #[derive(Deserialize)]
        struct Count {
            entries: u64,
        }
        #[derive(Deserialize)]
        struct Row {
            account: String,
            id: String,
            what: String,
        }
        let Count { entries } = self.row("SELECT count() AS entries FROM ledger", &[]).await?;
        let wrong = format!(
            "SELECT account, id, what FROM (
               SELECT e.account AS account, e.id AS id, multiIf(
                 e.kind IN ('top_up', 'grant') AND e.amount <= 0, concat('a ', toString(e.kind), ' of ', toString(e.amount), ', which must add'),
                 e.kind IN ('refund', 'expiry') AND e.amount > 0, concat('a ', toString(e.kind), ' of ', toString(e.amount), ', which must take'),
                 e.kind = 'expiry' AND g.given = 0, concat('takes the rest of `', e.reference, '`, which is no entry that expires'),
                 e.kind = 'expiry' AND -e.amount > g.given, concat('takes ', toString(-e.amount), ' of `', e.reference, '`, which gave ', toString(g.given)),
                 e.kind = 'expiry' AND e.nth > 1, concat('takes the rest of `', e.reference, '` a second time'),
                 '') AS what
               FROM (SELECT *, row_number() OVER (PARTITION BY account, kind, reference ORDER BY created_at, id) AS nth FROM ledger) AS e
               LEFT JOIN (SELECT account, id, amount AS given FROM ledger WHERE expires != toDate(0) AND kind != 'expiry') AS g
               ON e.account = g.account AND e.reference = g.id
             ) WHERE what != '' ORDER BY account, id LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        let repeated = format!(
            "SELECT account, id, concat('is there ', toString(count()), ' times; the first counts') AS what FROM credit_ledger
             GROUP BY account, id HAVING count() > 1 ORDER BY account, id LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        let differences = |rows: Vec<Row>| {
            let difference = |row: Row| Difference { place: format!("account {}, entry {}", row.account, row.id), what: row.what };
            rows.into_iter().map(difference).collect()
        };
        Ok(LedgerFindings {
            entries,
            wrong: differences(self.rows(&wrong, &[]).await?),
            repeated: differences(self.rows(&repeated, &[]).await?),
        })
    }

    /// Where `balances` is not the ledger less `costs`; what is credited only of accounts without credits that expire.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn balance_differences(&self) -> Result<Vec<Difference>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            found: [String; 3],
            expected: [String; 3],
        }
        let sql = format!(
            "SELECT account, [toString(sum(x.credited)), toString(sum(x.used)), toString(sum(x.balance))] AS found,
               [if(max(x.expires), found[1], toString(sum(x.entries))), toString(sum(x.costs)),
                toString(if(max(x.expires), sum(x.credited), sum(x.entries)) - sum(x.costs))] AS expected
             FROM (
               SELECT account, credited, used, balance, toDecimal128(0, 9) AS entries, toDecimal128(0, 9) AS costs, 0 AS expires FROM balances
               UNION ALL
               SELECT account, toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9), sum(l.amount), toDecimal128(0, 9), max(l.expires != toDate(0))
               FROM ledger AS l WHERE kind != 'expiry' GROUP BY account
               UNION ALL
               SELECT account, toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9), toDecimal128(0, 9), sum(c.cost), 0 FROM costs AS c GROUP BY account
             ) AS x GROUP BY account HAVING found != expected ORDER BY account LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        let rows: Vec<Row> = self.rows(&sql, &[]).await?;
        let difference = |row: Row| {
            let names = ["credited", "used", "balance"];
            let parts: Vec<String> = (0..3)
                .filter(|&at| row.found[at] != row.expected[at])
                .map(|at| format!("{} is {}, ledger and costs say {}", names[at], row.found[at], row.expected[at]))
                .collect();
            Difference { place: format!("account {}", row.account), what: parts.join("; ") }
        };
        Ok(rows.into_iter().map(difference).collect())
    }

    /// Accounts with credits that expire.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn accounts_with_credits_that_expire(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
        }
        let sql = "SELECT DISTINCT account FROM ledger WHERE expires != toDate(0) ORDER BY account";
        let rows: Vec<Row> = self.rows(sql, &[]).await?;
        Ok(rows.into_iter().map(|row| row.account).collect())
    }

    /// Sessions of these days that are not read as their sets say.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fold_differences(&self, days: (NaiveDate, NaiveDate)) -> Result<Vec<Difference>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            at: String,
            platform: String,
            found: [u64; 2],
            expected: [u64; 2],
        }
        let sql = format!(
            "SELECT account, toString(session_start) AS at, platform, [sumIf(x.users, x.is_view), sumIf(x.events, x.is_view)] AS found,
               [sumIf(x.users, NOT x.is_view), sumIf(x.events, NOT x.is_view)] AS expected
             FROM (
               SELECT account, day, session_start, platform, unique_users AS users, events, 1 AS is_view
               FROM session_sets WHERE day BETWEEN {{from:Date}} AND {{to:Date}}
               UNION ALL
               SELECT account, day, session_start, toString(platform) AS platform, least(uniqCombined64Merge(17)(s.users), sum(s.events)) AS users,
                 sum(s.events) AS events, 0 AS is_view
               FROM session_users AS s WHERE account != '' AND day BETWEEN {{from:Date}} AND {{to:Date}} GROUP BY account, day, session_start, platform
             ) AS x GROUP BY account, day, session_start, platform HAVING found != expected
             ORDER BY session_start, account, platform LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}"
        );
        let rows: Vec<Row> = self.rows(&sql, &[("from", &days.0.to_string()), ("to", &days.1.to_string())]).await?;
        let difference = |row: Row| Difference {
            place: format!("account {}, session {}, platform {}", row.account, row.at, row.platform),
            what: format!(
                "{} users in {} events were counted, the sets have {} in {}",
                row.found[0], row.found[1], row.expected[0], row.expected[1]
            ),
        };
        Ok(rows.into_iter().map(difference).collect())
    }
}
