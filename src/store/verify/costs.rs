//! The money views against each other: each is a grouping of `costs`.

use chrono::NaiveDate;
use serde::Deserialize;

use super::{Difference, FINDINGS_MAX, FRUGAL};
use crate::store::{Error, Store};

impl Store {
    /// Where the money views do not add up to what `costs` has, from one day to another of the same month. `is_whole`: these are all days of
    /// the month, so that `monthly_usage` is compared too.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cost_differences(&self, days: (NaiveDate, NaiveDate), is_whole: bool) -> Result<Vec<Difference>, Error> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            at: String,
            view: String,
            part: String,
            expected: String,
            found: String,
        }
        let these = "day BETWEEN {from:Date} AND {to:Date}";
        let groupings: String = ["agent_costs", "model_costs", "category_costs"]
            .iter()
            .map(|view| {
                format!(
                    "UNION ALL SELECT account, toString(day) AS at, arrayJoin([('{view}', 'cost', CAST(sum(c.cost), 'Decimal(76, 9)')), \
                     ('{view}', 'events', CAST(sum(c.events), 'Decimal(76, 9)'))]) AS x, 0 AS is_expected FROM {view} AS c WHERE {these} GROUP BY account, day "
                )
            })
            .collect();
        let months = "UNION ALL SELECT account, toString(m.month) AS at, arrayJoin([('monthly_usage', 'cost', CAST(sum(m.cost), 'Decimal(76, 9)')),
               ('monthly_usage', 'events', CAST(sum(m.events), 'Decimal(76, 9)'))]) AS x, 0 AS is_expected
             FROM monthly_usage AS m WHERE m.month = toStartOfMonth({from:Date}) GROUP BY account, m.month
             UNION ALL SELECT account, toString(toStartOfMonth({from:Date})) AS at, arrayJoin([('monthly_usage', 'cost', CAST(sum(c.cost), 'Decimal(76, 9)')),
               ('monthly_usage', 'events', CAST(sum(c.events), 'Decimal(76, 9)'))]) AS x, 1 AS is_expected
             FROM costs AS c WHERE day BETWEEN {from:Date} AND {to:Date} GROUP BY account ";
        let of = |view: &str, part: &str, sum: &str| format!("('{view}', '{part}', CAST({sum}, 'Decimal(76, 9)'))");
        let operations = "sumIf(c.cost, kind != 'session')";
        let expected = [
            of("daily_costs", "sessions_cost", "sumIf(c.cost, kind = 'session')"),
            of("daily_costs", "training_cost", "sumIf(c.cost, kind = 'training')"),
            of("daily_costs", "operations_cost", "sumIf(c.cost, kind = 'operation')"),
            of("daily_costs", "cost", "sum(c.cost)"),
            of("agent_costs", "cost", operations),
            of("agent_costs", "events", "sum(c.events)"),
            of("model_costs", "cost", operations),
            of("model_costs", "events", "sum(c.events)"),
            of("category_costs", "cost", operations),
            of("category_costs", "events", "sum(c.events)"),
        ];
        let daily = ["sessions_cost", "training_cost", "operations_cost", "cost"]
            .map(|part| of("daily_costs", part, &format!("c.{part}")))
            .join(", ");
        let sql = format!(
            "SELECT account, at, x.1 AS view, x.2 AS part, toString(sumIf(x.3, is_expected = 1)) AS expected, toString(sumIf(x.3, is_expected = 0)) AS found
             FROM (
               SELECT account, toString(day) AS at, arrayJoin([{}]) AS x, 1 AS is_expected FROM costs AS c WHERE {these} GROUP BY account, day
               UNION ALL SELECT account, toString(day) AS at, arrayJoin([{daily}]) AS x, 0 AS is_expected FROM daily_costs AS c WHERE {these}
               {groupings}{}
             ) GROUP BY account, at, view, part HAVING expected != found ORDER BY at, account, view, part LIMIT {FINDINGS_MAX} SETTINGS {FRUGAL}",
            expected.join(", "),
            if is_whole { months } else { "" },
        );
        let (from, to) = (days.0.to_string(), days.1.to_string());
        let rows: Vec<Row> = self.rows(&sql, &[("from", &from), ("to", &to)]).await?;
        let difference = |row: Row| Difference {
            place: format!("account {}, {}", row.account, row.at),
            what: format!("{} has {} {}, costs adds up to {}", row.view, row.part, row.found, row.expected),
        };
        Ok(rows.into_iter().map(difference).collect())
    }
}
