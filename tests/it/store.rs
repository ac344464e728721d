//! The store against a real ClickHouse: schema, views, inserts that may be repeated, evidence.

use std::time::Duration;

use bytes::Bytes;
use farebox::book::{self, Row};
use farebox::model::{Month, Timestamp};
use farebox::store::{Check, Disposition, End, Error, Insert, Migrate, Range, SchemaStatus, Settings, Stop, Store, Unique};
use serde::{Deserialize, Serialize};

use crate::servers::{ClickHouse, unique};

fn now() -> Timestamp {
    Timestamp::parse("2026-03-20T10:00:00.123Z").unwrap()
}

fn options() -> Migrate {
    Migrate {
        cluster: String::new(),
        usage_log_keep_days: 36_500,
        rejected_keep_days: 36_500,
        lateness_seconds: 172_800,
        now: now(),
        dry_run: false,
    }
}

fn settings(database: &str) -> Settings {
    Settings {
        url: ClickHouse::shared().url(),
        database: database.to_owned(),
        user: "default".to_owned(),
        password: "".into(),
        ca_file: "".into(),
        connect_timeout: Duration::from_secs(5),
        insert_timeout: Duration::from_secs(60),
        query_timeout: Duration::from_secs(60),
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// A database of its own, migrated.
fn migrated() -> (String, Store) {
    let database = unique("store");
    let store = Store::new(&settings(&database)).unwrap();
    wait(store.migrate(&options())).unwrap();
    (database, store)
}

fn run(store: &Store, sql: &str) {
    wait(store.execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The single value of a question, as text.
fn ask(store: &Store, sql: &str) -> String {
    #[derive(Deserialize)]
    struct Answer {
        answer: String,
    }
    let mut rows: Vec<Answer> = wait(store.rows(&format!("SELECT toString(({sql})) AS answer"), &[])).unwrap();
    rows.remove(0).answer
}

#[test]
fn migrating_twice_does_nothing_the_second_time() {
    let database = unique("store");
    let store = Store::new(&settings(&database)).unwrap();
    let missing = ["1 tables", "2 ledger", "3 cost_adjustments", "4 log_ends", "5 given", "6 session_folds", "7 alerts", "views"];
    let behind = SchemaStatus::Behind { missing: missing.map(str::to_owned).to_vec() };
    assert_eq!(wait(store.schema_status()).unwrap(), behind);
    let planned = wait(store.migrate(&Migrate { dry_run: true, ..options() })).unwrap();
    assert_eq!(wait(store.schema_status()).unwrap(), behind, "a dry run does nothing");
    let first = wait(store.migrate(&options())).unwrap();
    assert_eq!(first.statements, planned.statements);
    assert_eq!(wait(store.schema_status()).unwrap(), SchemaStatus::Current);
    let second = wait(store.migrate(&Migrate { now: now().plus_millis(5), ..options() })).unwrap();
    assert!(second.applied.is_empty() && second.statements.is_empty(), "{second:?}");
    let shorter = wait(store.migrate(&Migrate { usage_log_keep_days: 30, ..options() })).unwrap();
    assert_eq!(shorter.statements, ["ALTER TABLE usage_log MODIFY TTL day + toIntervalDay(30)"]);
    assert_eq!(wait(store.setting("lateness_seconds")).unwrap().as_deref(), Some("172800"));
    assert_eq!(wait(store.setting("database_uuid")).unwrap(), Some(wait(store.database_uuid()).unwrap()));
}

#[test]
fn rows_from_before_it_was_kept_gave_what_is_not_zero_and_reported_what_they_cost() {
    let (_, store) = migrated();
    run(&store, "ALTER TABLE usage_log DROP COLUMN credits, DROP COLUMN given");
    run(
        &store,
        "INSERT INTO usage_log (id, input_tokens, output_tokens, cost, priced) VALUES ('a', 5, 0, 2.5, 1), ('b', 0, 7, 0, 0)",
    );
    run(&store, "ALTER TABLE migrations DELETE WHERE number = 5 SETTINGS mutations_sync = 1");
    assert_eq!(wait(store.migrate(&options())).unwrap().applied, ["5 given"]);
    run(&store, "INSERT INTO usage_log (id, credits, given) VALUES ('c', 3, 32)");
    assert_eq!(
        ask(&store, "SELECT groupArray((id, toString(credits), given)) FROM (SELECT * FROM usage_log ORDER BY id)"),
        "[('a','2.5',34),('b','0',8),('c','3',32)]"
    );
}

#[test]
fn a_recorded_migration_with_another_text_is_refused_and_a_newer_schema_is_told() {
    let (_, store) = migrated();
    run(&store, "INSERT INTO migrations VALUES (900, 'later', 'x', 1, now64(3))");
    assert_eq!(wait(store.schema_status()).unwrap(), SchemaStatus::AheadCompatible { newest: 900 });
    run(&store, "INSERT INTO migrations VALUES (901, 'breaking', 'x', 0, now64(3))");
    assert_eq!(wait(store.schema_status()).unwrap(), SchemaStatus::AheadIncompatible { newest: 901 });
    run(&store, "INSERT INTO migrations VALUES (1, 'tables', 'another', 0, now64(3))");
    for error in [wait(store.schema_status()).unwrap_err(), wait(store.migrate(&options())).unwrap_err()] {
        assert!(matches!(error, Error::MigrationChanged { number: 1, .. }), "{error}");
        assert_eq!(error.disposition(), Disposition::Configuration);
    }
}

#[test]
fn errors_say_what_to_do() {
    let nothing = Store::new(&settings(&unique("absent"))).unwrap();
    let error = wait(nothing.execute("SELECT 1")).unwrap_err();
    assert!(error.to_string().contains("run `farebox migrate`"), "{error}");
    let wrong = Settings { password: "not the one".into(), ..settings("default") };
    assert!(!format!("{wrong:?}").contains("not the one"));
    let error = wait(Store::new(&wrong).unwrap().ping()).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && !format!("{error:?}").contains("not the one"), "{error:?}");
    let away = Settings { url: "http://127.0.0.1:1".to_owned(), ..settings("default") };
    let error = wait(Store::new(&away).unwrap().ping()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.disposition() == Disposition::Retry, "{error}");
    let cluster = Migrate { cluster: "c".to_owned(), ..options() };
    assert!(wait(nothing.migrate(&cluster)).unwrap_err().to_string().starts_with("[clickhouse] cluster: "));
    assert!(wait(Store::new(&settings("default")).unwrap().ping()).unwrap().version.starts_with("2"));
}

/// A block of `settings` in Native format: name and value.
fn native(name: &str, value: &str) -> Bytes {
    let mut body = vec![2, 1];
    for (column, text) in [("name", name), ("value", value)] {
        for part in [column, "String", text] {
            body.push(u8::try_from(part.len()).unwrap());
            body.extend_from_slice(part.as_bytes());
        }
    }
    body.into()
}

#[test]
fn an_insert_with_the_same_token_changes_nothing() {
    let (_, store) = migrated();
    for value in ["a", "a", "b"] {
        let insert = wait(store.insert("settings", "name, value", "1/t/0/0-10/202603", native("same", value)));
        assert!(matches!(insert, Insert::Done), "{insert:?}");
    }
    assert_eq!(ask(&store, "SELECT groupArray(value) FROM settings WHERE name = 'same'"), "['a']");
    let cut = wait(store.insert("settings", "name, value", "1/t/0/10-20/202603", native("same", "c").slice(..20)));
    assert!(matches!(cut, Insert::Doubt(Error::Server { .. })), "{cut:?}");
    assert_eq!(ask(&store, "SELECT count() FROM settings WHERE name = 'same'"), "1");
    assert!(!wait(store.running("1/t/0/0-10")).unwrap());
}

#[test]
fn a_burnt_token_is_repaired() {
    let (_, store) = migrated();
    let key = "burnt";
    // The server remembers the tokens, and the rows are gone: what a kill at the wrong moment leaves behind.
    for token in ["settings/burnt", "settings/burnt/r1"] {
        let insert = wait(store.insert("settings", "name, value", token, native(key, "lost")));
        assert!(matches!(insert, Insert::Done), "{insert:?}");
        run(&store, "DELETE FROM settings WHERE name = 'burnt'");
    }
    assert_eq!(wait(store.set_setting_once(key, "kept", now())).unwrap(), "kept");
    assert_eq!(ask(&store, "SELECT groupArray(value) FROM settings WHERE name = 'burnt'"), "['kept']");
    assert_eq!(wait(store.set_setting_once(key, "another", now())).unwrap(), "kept", "the first one counts");
    wait(store.set_setting(key, "newer", now().plus_millis(1))).unwrap();
    assert_eq!(wait(store.setting(key)).unwrap().as_deref(), Some("newer"));
}

#[test]
fn a_source_begins_once_and_a_stop_is_remembered_until_it_is_cleared() {
    let (_, store) = migrated();
    assert_eq!(wait(store.source("t")).unwrap(), None);
    let begun = wait(store.begin_source("t", "id-1", now())).unwrap();
    assert_eq!(wait(store.begin_source("t", "id-2", now())).unwrap(), begun, "who comes second gets the first");
    wait(store.begin_epoch("t", "id-3", "10", now())).unwrap();
    assert_eq!(wait(store.source("t")).unwrap().unwrap().source_epoch, "10");
    let stop = Stop {
        source_epoch: "1".to_owned(),
        topic: "t".to_owned(),
        partition: 3,
        kind: "gap".to_owned(),
        reason: "it's a \"hole\"\n\\".to_owned(),
        at: now(),
        cleared: 0,
    };
    wait(store.stop(&stop)).unwrap();
    assert_eq!(wait(store.stops("t")).unwrap(), std::slice::from_ref(&stop));
    wait(store.stop(&Stop { cleared: 1, at: now().plus_millis(1), ..stop })).unwrap();
    assert_eq!(wait(store.stops("t")).unwrap(), []);
}

#[derive(Deserialize)]
struct Selection {
    row: Vec<Row>,
    session: Vec<Question>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    why: String,
    account: String,
    platform: String,
    session_start: String,
    priced: bool,
    unit_session_cost: String,
}

#[test]
fn sql_chooses_the_prices_of_the_golden_table() {
    let golden: Selection = toml::from_str(include_str!("../golden/prices/selection.toml")).unwrap();
    let (_, store) = migrated();
    for version in 1..=golden.row.iter().map(|row| row.version).max().unwrap() {
        let rows: Vec<Row> = golden.row.iter().filter(|row| row.version == version).cloned().collect();
        for _ in 0..2 {
            assert_eq!(
                wait(store.apply_price_book(version, book::COLUMNS, &rows)).unwrap(),
                Unique::Ours,
                "applying again changes nothing"
            );
        }
        let other = Row { applied_by: "who lost the race".to_owned(), ..rows[0].clone() };
        let lost = wait(store.apply_price_book(version, book::COLUMNS, &[other])).unwrap();
        assert!(matches!(lost, Unique::Other(there) if there.len() == rows.len()));
    }
    let stored: Vec<Row> = wait(store.price_book(book::COLUMNS)).unwrap();
    assert_eq!(stored.len(), golden.row.len());
    for question in &golden.session {
        let start = Timestamp::parse(&question.session_start).unwrap();
        run(
            &store,
            &format!(
                "INSERT INTO session_users (account, day, session_start, platform, users, events) \
                 SELECT '{0}', toDate(toDateTime({1}, 'UTC')), toDateTime({1}, 'UTC'), '{2}', uniqCombined64State(17)(number), 3 \
                 FROM numbers(3)",
                question.account,
                start.seconds(),
                question.platform
            ),
        );
    }
    #[derive(Deserialize)]
    struct Priced {
        unit_session_cost: String,
        cost: String,
        priced: u8,
        unique_users: u64,
    }
    for question in &golden.session {
        let start = Timestamp::parse(&question.session_start).unwrap().seconds().to_string();
        let sql = "SELECT any(unit_session_cost) AS unit_session_cost, sum(s.cost) AS cost, any(s.priced) AS priced, any(s.unique_users) AS unique_users \
                   FROM session_costs AS s WHERE account = {account:String} AND platform = {platform:String} \
                   AND session_start = toDateTime({start:UInt32}, 'UTC')";
        let params = [("account", question.account.as_str()), ("platform", &question.platform), ("start", &start)];
        let found: Priced = wait(store.rows(sql, &params)).unwrap().remove(0);
        assert_eq!(found.unique_users, 3, "{question:?}");
        assert_eq!((found.priced == 1, &found.unit_session_cost), (question.priced, &question.unit_session_cost), "{question:?}");
        let unit: farebox::model::Credits = question.unit_session_cost.parse().unwrap();
        assert_eq!(found.cost, unit.checked_mul(3).unwrap().to_string(), "{question:?}");
    }
}

#[test]
fn costs_sum_to_every_other_money_view() {
    let (_, store) = migrated();
    run(
        &store,
        "INSERT INTO price_book (version, kind, account, charge, platform, unit_session_cost) VALUES \
         (1, 'account', 'a1', ['sessions', 'operations'], '', 0), (1, 'account', 'a2', ['operations'], '', 0), \
         (1, 'account', 'a3', ['sessions'], '', 0), (1, 'session_price', '*', [], '*', 0.123456789), (1, 'session_price', 'a3', [], 'p1', 7)",
    );
    for seed in 1..4 {
        run(
            &store,
            &format!(
                "INSERT INTO usage_hourly (account, day, hour, platform, agent, category, model, events, cost, unpriced_events, unattributed_events, written_at) \
                 SELECT 'a' || toString(1 + cityHash64({seed}, number) % 5) AS account, toDate('2026-01-15') + cityHash64(number, 1, {seed}) % 70 AS day, \
                 toDateTime(day, 'UTC') AS hour, 'p' || toString(number % 3) AS platform, 'g' || toString(cityHash64(number, {seed}) % 4) AS agent, \
                 ['llm', 'training', 'sql'][1 + cityHash64(number, 2) % 3] AS category, 'm' || toString(number % 2) AS model, \
                 1, toDecimal128(cityHash64(number, 3) % 1000000, 9) / 1000, number % 11 = 0, number % 13 = 0, now() FROM numbers(3000)"
            ),
        );
        run(
            &store,
            &format!(
                "INSERT INTO session_users (account, day, session_start, platform, users, events, written_at) \
                 SELECT 'a' || toString(1 + cityHash64({seed}, number) % 5) AS account, toDate('2026-01-15') + cityHash64(number, 1, {seed}) % 70 AS day, \
                 toDateTime(day, 'UTC') AS start, 'p' || toString(number % 3) AS platform, uniqCombined64State(17)(cityHash64(number % 40)), \
                 count(), now() FROM numbers(3000) GROUP BY account, day, start, platform"
            ),
        );
    }
    let witness = "'', '2026-02-01', '1/t/0/id/0-10', 1, 99, now()";
    run(&store, &format!("INSERT INTO usage_hourly (account, day, batch, blocks, digest, written_at) VALUES ({witness})"));
    let by = |view: &str, keys: &str, cost: &str, filter: &str| {
        format!(
            "SELECT arraySort(groupArray((k, c))) FROM (SELECT ({keys}) AS k, sum({cost}) AS c FROM {view} AS v WHERE {filter} GROUP BY k HAVING c != 0)"
        )
    };
    let pairs = [
        (by("costs", "account, day", "v.cost", "1"), by("daily_costs", "account, day", "v.cost", "1")),
        (by("costs", "account, day", "v.cost", "kind = 'session'"), by("daily_costs", "account, day", "sessions_cost", "1")),
        (by("costs", "account, day", "v.cost", "kind = 'training'"), by("daily_costs", "account, day", "training_cost", "1")),
        (by("costs", "account, day", "v.cost", "kind = 'operation'"), by("daily_costs", "account, day", "operations_cost", "1")),
        (
            by("costs", "account, day, platform", "v.cost", "kind = 'session'"),
            by("session_costs", "account, day, platform", "v.cost", "1"),
        ),
        (
            by("costs", "account, day, agent", "v.cost", "kind != 'session'"),
            by("agent_costs", "account, day, toString(agent)", "v.cost", "1"),
        ),
        (
            by("costs", "account, day, model", "v.cost", "kind != 'session'"),
            by("model_costs", "account, day, toString(model)", "v.cost", "1"),
        ),
        (
            by("costs", "account, day, category", "v.cost", "kind != 'session'"),
            by("category_costs", "account, day, toString(category)", "v.cost", "1"),
        ),
        (
            by("costs", "account, toStartOfMonth(day), if(kind = 'session', 'session', category)", "v.cost", "1"),
            by("monthly_usage", "account, month, category", "v.cost", "1"),
        ),
        ("SELECT sum(events) FROM costs".to_owned(), "SELECT 9000".to_owned()),
        ("SELECT sum(events) FROM monthly_usage".to_owned(), "SELECT 9000".to_owned()),
        ("SELECT count() FROM (SELECT account FROM costs WHERE account = '')".to_owned(), "SELECT 0".to_owned()),
    ];
    for (left, right) in pairs {
        let sum = ask(&store, &left);
        assert!(sum.len() > 3 || sum == "0", "nothing to compare: {left}");
        assert_eq!(sum, ask(&store, &right), "{left}\n{right}");
    }
}

#[test]
fn every_money_view_reads_only_the_account_and_days_that_it_is_asked_for() {
    #[derive(Deserialize)]
    struct Line {
        explain: String,
    }
    let (_, store) = migrated();
    run(&store, "INSERT INTO usage_hourly (account, day) VALUES ('acme', '2026-03-04')");
    run(&store, "INSERT INTO session_users (account, day, session_start) VALUES ('acme', '2026-03-04', '2026-03-04 00:00:00')");
    run(&store, "INSERT INTO session_folds (account, day, session_start) VALUES ('acme', '2026-03-04', '2026-03-04 00:00:00')");
    run(&store, "INSERT INTO session_fold_marks VALUES ('2026-03-05 00:00:00', '2026-03-06 00:00:00', now64(3))");
    let views =
        ["costs", "session_costs", "daily_costs", "agent_costs", "model_costs", "category_costs", "user_sets", "unpriced_usage"];
    for view in views {
        let sql = format!("EXPLAIN indexes = 1 SELECT * FROM {view} WHERE account = 'acme' AND day = '2026-03-04'");
        let plan: Vec<Line> = wait(store.rows(&sql, &[])).unwrap();
        let plan: Vec<&str> = plan.iter().map(|line| line.explain.trim()).collect();
        let is_table =
            |line: &str| [".usage_hourly)", ".session_users)", ".session_folds)"].iter().any(|table| line.contains(table));
        // Which sessions were written to since they were folded is asked of all accounts, by the moment.
        let is_set = |at: usize| at > 0 && plan[at - 1].contains("CreatingSet (");
        let (sets, tables): (Vec<usize>, Vec<usize>) = (0..plan.len()).filter(|&at| is_table(plan[at])).partition(|&at| is_set(at));
        let count = |words: &[&str]| plan.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
        let keys = count(&["Condition: ", "day in [", "'acme"]);
        assert!(!tables.is_empty() && keys == tables.len(), "{view}: {}", plan.join("\n"));
        assert_eq!(count(&["Condition: (written_at in ["]), sets.len(), "{view}: {}", plan.join("\n"));
    }
}

#[test]
fn of_old_batches_the_decision_knows_the_first_and_verify_knows_all() {
    let (_, store) = migrated();
    let (epoch, topic) = ("1", "usage.events");
    // 3 000 batches of a second each, from 40 days ago on, then 10 of now; `lost` is missing.
    let batches = |lost: i64, old: &str| {
        run(&store, "TRUNCATE TABLE batches");
        run(
            &store,
            &format!(
                "INSERT INTO batches (source_epoch, topic, topic_id, partition, offset_from, offset_to, kind, prev, leader_epoch, record_time_max, written_at) \
                 SELECT '1', '{topic}', 'id', 0, n * 10, n * 10 + 10, 'batch', if(n = 0, -1, n * 10), 5, at, at FROM ( \
                   SELECT toInt64(number) AS n, if(number < 3000, now64(3) - {old} + toIntervalSecond(number), now64(3)) AS at \
                   FROM numbers(3010) WHERE number != {lost})"
            ),
        );
        wait(store.facts(epoch, topic, 0)).unwrap().end.unwrap()
    };
    let month = "INTERVAL 40 DAY";
    let end = batches(-1, month);
    assert_eq!((end.offset_from, end.offset_to, end.oldest_prev, end.oldest_from), (30_090, 30_100, -1, 0));
    assert_eq!((end.hole_offsets, end.overlap_offsets, end.broken_prevs), (0, 0, 0));
    // The newest thousand are looked at however old they are, and all of the last month.
    let end = batches(2_500, month);
    assert_eq!((end.hole_offsets, end.broken_prevs), (10, 1));
    assert_eq!(batches(500, "INTERVAL 20 DAY").hole_offsets, 10);
    // Before them only the very first row tells of those before it.
    assert_eq!(batches(0, month).oldest_prev, 10);
    let end = batches(500, month);
    assert_eq!((end.offset_to, end.oldest_from, end.hole_offsets, end.broken_prevs), (30_100, 0, 0, 0));
    // What is older is for `verify`.
    let (source_epoch, topic) = (epoch.to_owned(), topic.to_owned());
    let whole = End { source_epoch, topic, in_partition: 0, offset_to: 30_100, batches: 3_009, accepted: 0 };
    let found = wait(store.conservation(&whole)).unwrap().findings;
    assert!(found.iter().any(|finding| finding.contains("5000-5010")), "{found:?}");
}

#[test]
fn a_gap_at_the_end_of_batches_is_told_with_where_it_begins() {
    let (_, store) = migrated();
    let row = |from: i64, to: i64, kind: &str| {
        let prev = if from == 0 { -1 } else { from };
        run(
            &store,
            &format!(
                "INSERT INTO batches (source_epoch, topic, topic_id, partition, offset_from, offset_to, kind, prev, leader_epoch, record_time_max, written_at) \
                 VALUES ('1', 't', 'id', 0, {from}, {to}, '{kind}', {prev}, 5, now(), now())"
            ),
        );
        wait(store.facts("1", "t", 0)).unwrap().end.unwrap().gap_from
    };
    assert_eq!(row(0, 10, "gap"), Some(0));
    assert_eq!(row(10, 20, "batch"), None);
    assert_eq!(row(20, 30, "gap"), Some(20));
    assert_eq!(row(30, 35, "gap"), Some(20));
    assert_eq!(row(35, 40, "batch"), None);
}

#[test]
fn batches_that_were_written_while_the_log_was_off_lost_nothing() {
    let (_, store) = migrated();
    let (epoch, topic) = ("1", "usage.events");
    let check =
        Check { source_epoch: epoch, topic, partition: 0, usage_log_keep_days: 400, rejected_keep_days: 90, log_append_time: true };
    // Accepted an event three days ago, and nothing of it is in the log.
    run(
        &store,
        &format!(
            "INSERT INTO batches (source_epoch, topic, topic_id, partition, offset_from, offset_to, received, accepted, kind, prev, leader_epoch, digest, \
             record_time_max, written_at) VALUES ('1', '{topic}', 'id', 0, 0, 10, 1, 1, 'batch', -1, 5, 7, now() - 259200, now() - 259200)"
        ),
    );
    run(
        &store,
        &format!(
            "INSERT INTO usage_hourly (account, day, batch, blocks, digest, price_version, written_at) \
             VALUES ('', toStartOfMonth(today()), '1/{topic}/0/id/0-10', 1, 7, 1, now())"
        ),
    );
    let lost = || wait(store.row3_violations(&check)).unwrap();
    assert!(lost().is_some_and(|found| found.contains("usage_log holds 0 rows")), "a log that was always on has lost it");
    let now: i64 = ask(&store, "SELECT toUnixTimestamp(now())").parse().unwrap();
    let at = |days: i64| Timestamp::from_seconds(now - days * 86_400);
    wait(store.set_setting("usage_log_days", "0", at(5))).unwrap();
    assert_eq!(lost(), None, "the log is off");
    wait(store.set_setting("usage_log_days", "400", at(1))).unwrap();
    assert_eq!(lost(), None, "it was off then");
    // It was on again when the batch was written.
    run(&store, "TRUNCATE TABLE settings");
    wait(store.set_setting("usage_log_days", "0", at(9))).unwrap();
    wait(store.set_setting("usage_log_days", "400", at(5))).unwrap();
    assert!(lost().is_some(), "the log was on and has lost it");
}

#[test]
fn evidence_tells_what_is_written_and_what_is_not() {
    // As librdkafka writes them: one in four has a slash, which the names of batches hold too.
    const TOPIC_ID: &str = "eOOa5kL/RAyz+4nh9jUimw";
    let (_, store) = migrated();
    let (epoch, topic) = ("1", "usage.events");
    let facts = wait(store.facts(epoch, topic, 0)).unwrap();
    assert!(facts.end.is_none() && facts.witnesses.is_empty() && facts.log.is_empty());
    let batch = |from: i64, to: i64, prev: i64, accepted: i64, digest: u64| {
        format!(
            "INSERT INTO batches (source_epoch, topic, topic_id, partition, offset_from, offset_to, received, accepted, kind, prev, leader_epoch, digest, \
             record_time_max, written_at) VALUES ('1', '{topic}', '{TOPIC_ID}', 0, {from}, {to}, {accepted}, {accepted}, 'batch', {prev}, 5, {digest}, now(), now())"
        )
    };
    let log = |offset: i64, digest: u64| {
        format!(
            "INSERT INTO usage_log (account, event_time, received_at, day, source_epoch, topic, partition, offset, digest, price_version) \
             VALUES ('a', now(), now(), today(), '1', '{topic}', 0, {offset}, {digest}, 4)"
        )
    };
    let witness = |from: i64, to: i64, digest: u64| {
        let row = format!("'', toStartOfMonth(today()), '1/{topic}/0/{TOPIC_ID}/{from}-{to}', 1, {digest}, 4, now()");
        format!("INSERT INTO usage_hourly (account, day, batch, blocks, digest, price_version, written_at) VALUES ({row})")
    };
    run(&store, &log(0, 11));
    run(&store, &witness(0, 10, 11));
    run(&store, &witness(0, 10, 11).replace("usage_hourly", "session_users"));
    run(&store, &batch(0, 10, -1, 1, 11));
    let check =
        Check { source_epoch: epoch, topic, partition: 0, usage_log_keep_days: 400, rejected_keep_days: 90, log_append_time: true };
    assert_eq!(wait(store.row3_violations(&check)).unwrap(), None);
    assert_eq!(wait(store.end_of_batches(epoch, topic, 0)).unwrap(), Some(10));
    assert_eq!(wait(store.ends(epoch, topic)).unwrap(), [(0, 10)]);
    let row = wait(store.batches_row(epoch, topic, 0, 0)).unwrap().unwrap();
    assert_eq!((row.offset_to, row.digest, row.kind.as_str(), row.count), (10, 11, "batch", 1));
    assert_eq!(wait(store.batches_row(epoch, topic, 0, 10)).unwrap(), None);

    run(&store, &log(10, 22));
    run(&store, &log(19, 22));
    run(&store, &witness(10, 20, 22));
    let facts = wait(store.facts(epoch, topic, 0)).unwrap();
    let end = facts.end.unwrap();
    assert_eq!(
        (end.offset_to, end.offset_from, end.topic_id.as_str(), end.leader_epoch, end.oldest_prev),
        (10, 0, TOPIC_ID, 5, -1)
    );
    assert_eq!((end.hole_offsets, end.overlap_offsets, end.broken_prevs), (0, 0, 0));
    assert_eq!(facts.witnesses.len(), 1);
    let found = &facts.witnesses[0];
    assert_eq!(
        (found.from, found.to, found.topic_id.as_str(), &found.digests[..], &found.price_versions[..]),
        (10, 20, TOPIC_ID, &[22][..], &[4][..])
    );
    assert_eq!(facts.log.len(), 1);
    assert_eq!((facts.log[0].rows, facts.log[0].offset_min, facts.log[0].offset_max, facts.log[0].digest), (2, 10, 19, 22));

    let month: Month = Month(ask(&store, "SELECT toYYYYMM(today())").parse().unwrap());
    let seconds: i64 = ask(&store, "SELECT toUnixTimestamp(now())").parse().unwrap();
    let received = (Timestamp::from_seconds(seconds - 86_400), Timestamp::from_seconds(seconds + 60));
    let months = [month];
    for (months, received, digest) in [(&months[..], Some(received), None), (&[][..], None, None), (&months[..], None, Some(22))] {
        let range =
            Range { source_epoch: epoch, topic, topic_id: TOPIC_ID, partition: 0, from: 10, to: 20, months, received, digest };
        let mut proofs = wait(store.witnesses(&range)).unwrap();
        proofs.sort_by(|a, b| a.table.cmp(&b.table));
        let seen: Vec<_> =
            proofs.iter().map(|proof| (proof.table.as_str(), proof.month, proof.digest, proof.digests, proof.count)).collect();
        assert_eq!(seen, [("usage_hourly", month.0, 22, 1, 1), ("usage_log", month.0, 22, 1, 2)]);
    }
    // By the digest a row outside of the range is a contradiction, and rows of another are not seen.
    let proofs = |to, digest| {
        let range = Range {
            source_epoch: epoch,
            topic,
            topic_id: TOPIC_ID,
            partition: 0,
            from: 10,
            to,
            months: &months,
            received: None,
            digest: Some(digest),
        };
        wait(store.witnesses(&range))
            .unwrap()
            .into_iter()
            .find(|proof| proof.table == "usage_log")
            .map(|proof| (proof.digests, proof.count))
    };
    assert_eq!([proofs(20, 22), proofs(19, 22), proofs(20, 23)], [Some((1, 2)), Some((2, 2)), None]);
    // A twin that landed is counted, merged or not.
    run(&store, &witness(10, 20, 22).replace("now()", "now() + 1")); // the same bytes in the same second would be one insert
    run(&store, "OPTIMIZE TABLE usage_hourly FINAL");
    let range = Range {
        source_epoch: epoch,
        topic,
        topic_id: TOPIC_ID,
        partition: 0,
        from: 10,
        to: 20,
        months: &months,
        received: None,
        digest: None,
    };
    assert!(wait(store.witnesses(&range)).unwrap().iter().any(|proof| proof.table == "usage_hourly" && proof.count == 2));
    run(&store, &batch(10, 20, 10, 2, 22));
    assert_eq!(
        wait(store.row3_violations(&check)).unwrap().as_deref(),
        Some("offsets 10-20: usage_hourly holds a block of the batch twice")
    );

    run(&store, &batch(25, 30, 24, 0, 0));
    run(&store, &batch(28, 40, 30, 0, 0));
    let end = wait(store.facts(epoch, topic, 0)).unwrap().end.unwrap();
    assert_eq!((end.offset_to, end.hole_offsets, end.overlap_offsets, end.broken_prevs), (40, 5, 2, 1));
    let balanced = ask(
        &store,
        "SELECT (offset_first, offset_next, accepted, logged, gap_offsets, overlap_offsets, balanced) FROM conservation",
    );
    assert_eq!(balanced, "(0,40,3,3,0,2,0)");
}
