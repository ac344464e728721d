//! What SQL says of the day, as tables for people.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::cli::aligned::table;
use crate::store::{Error, Store};

/// A table of the demo: the view it is read from, what it tells, and the question.
struct Question {
    view: &'static str,
    tells: &'static str,
    sql: &'static str,
    columns: &'static [&'static str],
}

const QUESTIONS: [Question; 6] = [
    Question {
        view: "daily_costs",
        tells: "what each account pays for the day, in credits",
        sql: "SELECT account, day, sessions_cost, training_cost, operations_cost, cost FROM daily_costs ORDER BY account",
        columns: &["account", "day", "sessions_cost", "training_cost", "operations_cost", "cost"],
    },
    Question {
        view: "session_costs",
        tells: "the unique users of a platform in 24 hours, times the price of one",
        sql: "SELECT account, platform, session_start, unique_users, events, unit_session_cost, cost FROM session_costs WHERE cost > 0 \
              ORDER BY account, platform, session_start",
        columns: &["account", "platform", "session_start", "unique_users", "events", "unit_session_cost", "cost"],
    },
    Question {
        view: "costs",
        tells: "every credit once; here operations and training, by rate or as the agent reported",
        sql: "SELECT account, kind, category, model, sum(c.events) AS events, sum(c.cost) AS cost FROM costs AS c WHERE kind != 'session' \
              GROUP BY account, kind, category, model HAVING cost > 0 ORDER BY account, kind, category, model",
        columns: &["account", "kind", "category", "model", "events", "cost"],
    },
    Question {
        view: "rejected_events",
        tells: "what no rule accepts is kept with its reason, here and in the topic usage.events.dead",
        sql: "SELECT reason, account, detail FROM rejected_events ORDER BY received_at, offset",
        columns: &["reason", "account", "detail"],
    },
    Question {
        view: "unpriced_usage",
        tells: "what cost nothing for want of a price, or belongs to no user or platform",
        sql: "SELECT account, kind, category, model, events FROM unpriced_usage ORDER BY account, kind, category, model",
        columns: &["account", "kind", "category", "model", "events"],
    },
    Question {
        view: "conservation",
        tells: "every record of the topic, once: received = accepted + duplicates + rejected",
        sql: "SELECT partition, offset_first, offset_next, received, accepted, duplicates, rejected, logged, balanced FROM conservation \
              ORDER BY partition",
        columns: &[
            "partition",
            "offset_first",
            "offset_next",
            "received",
            "accepted",
            "duplicates",
            "rejected",
            "logged",
            "balanced",
        ],
    },
];

/// Every table, with its name and a line of explanation.
pub async fn report(store: &Store) -> Result<String, Error> {
    let mut text = String::new();
    for Question { view, tells, sql, columns } in &QUESTIONS {
        let rows: Vec<Map<String, Value>> = store.rows(sql, &[]).await?;
        let cells = rows.iter().map(|row| columns.iter().map(|column| cell(row.get(*column))).collect()).collect();
        // Writing into a String never fails.
        let _ = write!(text, "\n{view}: {tells}\n\n{}", table(columns, cells));
    }
    Ok(text)
}

/// How many records the tables account for.
pub async fn accounted_for(store: &Store) -> Result<u64, Error> {
    #[derive(serde::Deserialize)]
    struct Row {
        received: u64,
    }
    let rows: Vec<Row> = store.rows("SELECT sum(received) AS received FROM conservation", &[]).await?;
    Ok(rows.first().map_or(0, |row| row.received))
}

fn cell(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
