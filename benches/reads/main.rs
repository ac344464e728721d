//! How long the views take to answer with much behind them: 100 000 accounts, 90 days, events for 100 million by default, written straight
//! into the tables that `farebox run` fills.
//!
//! `make bench-reads` runs it and writes the table into docs/speed.md; without `WRITE=1` it is only printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_arithmetic, clippy::cast_precision_loss)]

#[path = "../drain/page.rs"]
mod page;
#[path = "../../tests/support/servers/mod.rs"]
mod servers;

use std::env;
use std::fmt::Write as _;
use std::time::Instant;

use serde::Deserialize;
use servers::{ClickHouse, Farebox};

const ROUNDS: usize = 7;
/// Of these one is asked for by name: a large account and a small one.
const LARGE: &str = "load-1";
const SMALL: &str = "load-77777";

/// What an answer in the format JSON says of itself.
#[derive(Deserialize)]
struct Answer {
    statistics: Statistics,
}

#[derive(Deserialize)]
struct Statistics {
    rows_read: u64,
    bytes_read: u64,
}

fn main() {
    let events: u64 = env::var("EVENTS").map_or(100_000_000, |text| text.parse().expect("EVENTS is a number"));
    let clickhouse = ClickHouse::start();
    let farebox = Farebox::new("127.0.0.1:1", &clickhouse.url());
    // Kafka is not needed: topics are not made.
    let mut farebox = farebox;
    farebox.set("kafka.create_topics", false);
    farebox.run(&["migrate"]).expect_success();
    let database = farebox.database.clone();
    let ask = |sql: &str| clickhouse.query(&sql.replace("{db}", &database));
    let began = Instant::now();
    fill(&ask, events);
    eprintln!("filled in {:.0} s", began.elapsed().as_secs_f64());

    let month = "day BETWEEN '2026-03-01' AND '2026-03-31'";
    let mut rows: Vec<(String, f64, Statistics)> = Vec::new();
    let mut measure = |what: &str, sql: &str| {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                let answer = ask(sql);
                assert!(!answer.is_empty(), "{sql}");
                began.elapsed().as_secs_f64() * 1_000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let read: Answer = serde_json::from_str(&ask(&format!("{sql} FORMAT JSON"))).unwrap();
        rows.push((what.to_owned(), times[ROUNDS / 2], read.statistics));
    };
    for (account, size) in [(LARGE, "a large account"), (SMALL, "a small account")] {
        for view in ["costs", "session_costs", "daily_costs", "agent_costs", "model_costs", "category_costs"] {
            measure(
                &format!("`{view}`, {size}, a month"),
                &format!("SELECT * FROM {{db}}.{view} WHERE account = '{account}' AND {month}"),
            );
        }
        measure(
            &format!("`monthly_usage`, {size}, a month"),
            &format!("SELECT * FROM {{db}}.monthly_usage WHERE account = '{account}' AND month = '2026-03-01'"),
        );
        let users = "SELECT platform, uniqCombined64Merge(17)(users) FROM {db}.user_sets";
        measure(
            &format!("unique users of a month, {size}"),
            &format!("{users} WHERE account = '{account}' AND {month} GROUP BY platform"),
        );
        for view in ["balances", "unexpired_balances"] {
            measure(&format!("`{view}`, {size}"), &format!("SELECT * FROM {{db}}.{view} WHERE account = '{account}'"));
        }
    }
    for view in ["balances", "unexpired_balances"] {
        measure(&format!("`{view}`, all accounts"), &format!("SELECT * FROM {{db}}.{view}"));
    }
    let thousand: Vec<String> = (1..=1_000).map(|number| format!("'load-{number}'")).collect();
    let of = format!("now = toDateTime64('2026-03-31 12:00:00', 3, 'UTC'), accounts = [{}]", thousand.join(","));
    measure("budgets of 1 000 accounts, the large ones", &format!("SELECT * FROM {{db}}.budget_status_at({of})"));
    let of = "now = toDateTime64('2026-03-31 12:00:00', 3, 'UTC'), accounts = ['load-77777']";
    measure("the budget of a small account", &format!("SELECT * FROM {{db}}.budget_status_at({of})"));
    measure(
        "`monthly_usage`, all accounts, a month",
        "SELECT category, sum(cost) FROM {db}.monthly_usage WHERE month = '2026-03-01' GROUP BY category",
    );
    measure("`session_costs`, all accounts, a month", &format!("SELECT sum(cost) FROM {{db}}.session_costs WHERE {month}"));

    let sizes = ask(
        "SELECT table, formatReadableQuantity(sum(rows)), formatReadableSize(sum(bytes_on_disk)) FROM system.parts WHERE database = '{db}' AND active \
         AND table IN ('usage_hourly', 'session_users', 'session_folds') GROUP BY table ORDER BY table",
    );
    let mut text = format!("{}\n\nTables for {events} events of 100 000 accounts in 90 days:", page::machine());
    for line in sizes.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let _ = write!(text, " `{}` {} rows, {};", fields[0], fields[1], fields[2]);
    }
    text = text.trim_end_matches(';').to_owned()
        + ". The middle of 7 answers, asked over HTTP.\n\n| question | ms | rows read | MB read |\n|---|--:|--:|--:|\n";
    for (what, ms, Statistics { rows_read, bytes_read }) in &rows {
        let _ = writeln!(text, "| {what} | {ms:.0} | {rows_read} | {:.1} |", *bytes_read as f64 / 1e6);
    }
    page::show("reads", &text);
}

/// Account `n` is `load-n`; one in a hundred is large and has a hundred times the usage of the others.
fn fill(ask: &dyn Fn(&str) -> String, events: u64) {
    let accounts = "SELECT concat('load-', toString(number)) AS account FROM numbers(1, 100000)";
    ask(&format!(
        "INSERT INTO {{db}}.price_book (version, kind, account, time_zone, charge) SELECT 1, 'account', account, 'UTC', ['sessions', 'operations'] FROM ({accounts})"
    ));
    ask(
        "INSERT INTO {db}.price_book (version, kind, account, platform, unit_session_cost) VALUES (1, 'session_price', '*', '*', 0.2)",
    );
    ask(&format!(
        "INSERT INTO {{db}}.price_book (version, kind, account, id, period, `limit`, thresholds) SELECT 1, 'budget', account, 'monthly', 'month', 1000, [50, 80, 100] FROM ({accounts})"
    ));
    ask(&format!(
        "INSERT INTO {{db}}.credit_ledger (account, id, kind, amount, day, created_at) SELECT account, concat('order-', toString(n)), 'grant', 1000, \
         '2026-01-01', now64(3) FROM ({accounts}) ARRAY JOIN range(3) AS n"
    ));
    // Half of the rows belong to the 1 000 large accounts. A row of an hour stands for ten events.
    let rows = events / 10;
    for (from, of) in [(0, "1 + n % 1000"), (rows / 2, "1 + n % 100000")] {
        for month in 0..3 {
            let count = rows / 6;
            let first = from + month * count;
            ask(&format!(
                "INSERT INTO {{db}}.usage_hourly (account, day, hour, platform, agent, category, model, events, cost, duration_ms, input_tokens, output_tokens, written_at) \
                 WITH number AS n, addDays(toDate('2026-01-01'), {month} * 30 + intDiv(n, 100000) % 30) AS on, cityHash64(n) AS r \
                 SELECT concat('load-', toString({of})), on, toDateTime(on, 'UTC') + 3600 * (r % 24), ['web', 'app', 'voice'][1 + r % 3], \
                   concat('agent-', toString(r % 7)), ['llm', 'sql', 'image', 'training'][1 + r % 4], ['m1', 'm2', 'm3'][1 + r % 3], 10, \
                   toDecimal128(r % 1000, 9) / 1000, 1000, 5000, 900, now() FROM numbers({first}, {count})"
            ));
        }
    }
    fill_sessions(ask, events);
}

/// As many events as the rollup by hour has, one for each user of a session: of 100 million, a large account has 250 users a day and platform,
/// and a small one 3.
fn fill_sessions(ask: &dyn Fn(&str) -> String, events: u64) {
    let of = |users: u64| (users * events / 100_000_000).max(1);
    for month in 0..3 {
        for (accounts, users) in [(1_000_u64, of(250)), (100_000, of(3))] {
            ask(&format!(
                "INSERT INTO {{db}}.session_users (account, day, session_start, platform, users, events, written_at) \
                 WITH number AS n, 1 + n % {accounts} AS a, addDays(toDate('2026-01-01'), {month} * 30 + intDiv(n, {accounts}) % 30) AS on \
                 SELECT concat('load-', toString(a)), on, toDateTime(on, 'UTC'), ['web', 'app'][1 + intDiv(n, {accounts} * 30) % 2] AS p, \
                   uniqCombined64State(17)(cityHash64(a, u)), {users}, now() \
                 FROM (SELECT number, arrayJoin(range({users})) AS u FROM numbers({accounts} * 60)) GROUP BY n, a, on, p \
                 SETTINGS max_bytes_before_external_group_by = 4000000000"
            ));
        }
    }
    // All of these sessions are closed, and the leader has counted them.
    ask(
        "INSERT INTO {db}.session_folds SELECT account, day, session_start, platform, least(uniqCombined64Merge(17)(users), sum(s.events)), sum(s.events), now64(3) \
         FROM {db}.session_users AS s WHERE account != '' GROUP BY account, day, session_start, platform \
         SETTINGS optimize_aggregation_in_order = 1, max_partitions_per_insert_block = 0",
    );
    ask("INSERT INTO {db}.session_fold_marks VALUES ('2026-06-01 00:00:00', '2100-01-01 00:00:00', now64(3))");
}
