//! `farebox verify`: silent about what is right, also while it is being written, and exact about each thing that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::oracle::views;
use super::quick::{event, quick, wait_for_received};
use super::scenario::{Scenario, now_ms};
use super::servers::{ClickHouse, Instance, Kafka, Message, Output};

/// Of each check, verdict and what was found.
fn verdicts(output: &Output) -> BTreeMap<String, (String, String)> {
    let rows = output.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.map(|row| (text(&row, "check"), (text(&row, "verdict"), text(&row, "found")))).collect()
}

/// Waits until every record is in `batches`.
fn written(scenario: &Scenario, clickhouse: &ClickHouse, instances: &mut [Instance]) {
    let ends: Vec<i64> = scenario.log().values().map(|records| records.last().map_or(0, |record| record.offset + 1)).collect();
    scenario.wait_for(clickhouse, &ends, instances);
}

struct Planted<'a> {
    /// Those of one number are planted together: their checks differ, or their places.
    run: u8,
    plant: Vec<String>,
    undo: Vec<String>,
    /// The checks that fail, and what they say; no other may.
    fails: Vec<(&'a str, String)>,
}

const SYNC: &str = "SETTINGS mutations_sync = 2";

/// Copies rows away and deletes them; and puts them back.
fn removed(database: &str, table: &str, which: &str) -> (Vec<String>, Vec<String>) {
    let plant = vec![
        format!(
            "CREATE TABLE {database}.kept ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM {database}.{table} WHERE {which}"
        ),
        format!("ALTER TABLE {database}.{table} DELETE WHERE {which} {SYNC}"),
    ];
    let undo =
        vec![format!("INSERT INTO {database}.{table} SELECT * FROM {database}.kept"), format!("DROP TABLE {database}.kept SYNC")];
    (plant, undo)
}

/// Inserts what can be told from everything else by `mark`.
fn added(database: &str, table: &str, select: &str, mark: &str) -> (Vec<String>, Vec<String>) {
    let plant = vec![format!("INSERT INTO {database}.{table} {select}")];
    (plant, vec![format!("ALTER TABLE {database}.{table} DELETE WHERE {mark} {SYNC}")])
}

#[test]
#[allow(clippy::too_many_lines)] // one thing that is wrong after the other
fn each_thing_that_is_wrong_is_found_and_nothing_else() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    farebox.set("kafka.partitions", 2);
    farebox.run(&["migrate"]).expect_success();
    farebox.run(&["produce", "--events", "0", "--accounts", "6", "--book", "book.toml"]).expect_success();
    farebox.run(&["apply", "book.toml"]).expect_success();
    let (database, topic) = (&farebox.database, &farebox.topic);
    let mut instance = farebox.start();
    instance.wait_until_ready();
    // An account that nobody else uses: two events of one user, and one that has none.
    let alone = |id: &str| Message { partition: Some(0), ..event("alone", id) };
    let mut userless: serde_json::Value = serde_json::from_slice(alone("u").value.as_deref().unwrap()).unwrap();
    userless.as_object_mut().unwrap().remove("user");
    let userless = Message { partition: Some(0), ..Message::new("alone", userless.to_string()) };
    kafka.client.produce(topic, &[alone("1"), alone("2"), userless]);
    // At least three batches, one behind the other.
    let mut records = 3;
    for seed in ["7", "8", "9"] {
        let arguments = ["produce", "--events", "400", "--seed", seed, "--accounts", "6", "--users", "50"];
        let start = views::moment(now_ms() - 3 * 86_400_000);
        let shares = ["--duplicates", "0.05", "--conflicts", "0.02", "--malformed", "0.02", "--start", &start, "--spread", "50h"];
        farebox.run(&[&arguments[..], &shares[..]].concat()).expect_success();
        records += 400;
        wait_for_received(clickhouse, &mut instance, database, records);
    }
    assert_eq!(instance.stop().code(), Some(0));

    let verify = |more: &[&str]| farebox.run(&[&["verify", "--format", "json"][..], more].concat());
    let assert_clean = |when: &str| {
        let clean = verify(&[]);
        assert_eq!(clean.status.code(), Some(0), "{when}: {clean:?}");
        let verdicts = verdicts(&clean);
        assert!(
            verdicts.len() == 18 && verdicts.values().all(|(verdict, found)| verdict == "ok" && found == "nothing"),
            "{when}: {verdicts:?}"
        );
    };
    let credits = |entry: &str| farebox.run(&entry.split(' ').collect::<Vec<_>>()).expect_success();
    credits("credits grant alone 10 --key stays");
    clickhouse.query(&format!(
        "INSERT INTO {database}.credit_ledger (account, id, kind, amount, day, expires, created_at) VALUES \
         ('lapsed', 'trial', 'grant', 5, today() - 9, today() - 5, now64(3)), ('lapsed', 'stays', 'top_up', 7, today() - 9, 0, now64(3))"
    ));
    assert_clean("before");

    let one = |sql: &str| clickhouse.query(&format!("{sql} FORMAT TSV")).trim().to_owned();
    let numbers = |sql: &str| -> Vec<i64> { one(sql).split('\t').map(|number| number.parse().unwrap()).collect() };
    let middle = numbers(&format!(
        "SELECT partition, offset_from, offset_to FROM {database}.batches WHERE prev >= 0 AND accepted > 0 AND (partition, offset_to) IN \
         (SELECT partition, prev FROM {database}.batches) ORDER BY partition, offset_from LIMIT 1"
    ));
    let [partition, from, to] = middle[..] else { panic!("{middle:?}") };
    let with_duplicate = numbers(&format!(
        "SELECT partition, offset_from, offset_to FROM {database}.batches WHERE duplicates > 0 ORDER BY partition, offset_from LIMIT 1"
    ));
    let this = format!("partition = {partition} AND offset_from = {from}");
    let place = format!("{topic} partition {partition}, offsets {from}-{to}: ");
    let alone_log = format!("SELECT * FROM {database}.usage_log WHERE account = 'alone' AND id = '1'");
    let batch_of = |id: &str| {
        let batch = numbers(&format!(
            "SELECT b.offset_from, b.offset_to, b.accepted FROM {database}.batches AS b INNER JOIN {database}.usage_log AS l ON b.digest = l.digest \
             WHERE l.account = 'alone' AND l.id = '{id}'"
        ));
        (format!("{topic} partition 0, offsets {}-{}: ", batch[0], batch[1]), batch[2])
    };
    let (alone_place, accepted) = batch_of("1");
    let witness = format!("account = '' AND endsWith(batch, '/{from}-{to}') AND startsWith(batch, '1/{topic}/{partition}/')");
    let update = |by: &str| {
        let [partition, from, _] = with_duplicate[..] else { panic!("{with_duplicate:?}") };
        format!(
            "ALTER TABLE {database}.batches UPDATE received = received {by} 1, duplicates = duplicates {by} 1 \
             WHERE partition = {partition} AND offset_from = {from} {SYNC}"
        )
    };
    let counted_less = format!("partition {}, offsets {}-{}: Kafka has ", with_duplicate[0], with_duplicate[1], with_duplicate[2]);
    let changed = |view: &str, what: &str, by: &str| {
        let select = one(&format!("SELECT as_select FROM system.tables WHERE database = '{database}' AND name = '{view}'"));
        let select = select.replace("\\'", "'").replace("\\n", "\n");
        assert!(select.contains(what), "{view}: {select}");
        let replaced = |select: &str| vec![format!("CREATE OR REPLACE VIEW {database}.{view} AS {select}")];
        (replaced(&select.replacen(what, by, 1)), replaced(&select))
    };
    let entry = |values: &str| {
        let columns = "(account, id, kind, amount, day, reference, note, created_at)";
        added(database, "credit_ledger", &format!("{columns} VALUES ({values}, 'planted', now64(3))"), "note = 'planted'")
    };

    let of_alone = "account alone, ";
    let case = |run: u8, (plant, undo): (Vec<String>, Vec<String>), fails: Vec<(&'static str, String)>| Planted {
        run,
        plant,
        undo,
        fails,
    };
    let planted = [
        case(
            1, // a nanocredit
            added(
                database,
                "usage_hourly",
                &format!(
                    "(account, day, hour, platform, agent, category, model, batch, cost) SELECT account, day, hour, platform, agent, category, model, \
                     'planted', toDecimal128('0.000000001', 9) FROM {database}.usage_hourly WHERE account = 'alone' AND platform != '' LIMIT 1"
                ),
                "batch = 'planted'",
            ),
            vec![("usage_hourly", format!("{of_alone}day ")), ("usage_hourly", "cost 0.000000001 more than usage_log".to_owned())],
        ),
        case(
            2, // an event in the log
            added(
                database,
                "usage_log",
                &(alone_log.replace("SELECT *", "SELECT * REPLACE ('planted' AS id) FROM (SELECT *") + ")"),
                "id = 'planted'",
            ),
            vec![
                ("batches", format!("{alone_place}usage_log holds {} rows, accepted were {accepted}", accepted + 1)),
                ("usage_hourly", "events 1 less".to_owned()),
                ("session_events", "session_users has 2 events, usage_log 3".to_owned()),
            ],
        ),
        case(
            3, // an event less in the log
            removed(database, "usage_log", "account = 'alone' AND id = '1'"),
            vec![
                ("batches", format!("{alone_place}usage_log holds {} rows, accepted were {accepted}", accepted - 1)),
                ("usage_hourly", "events 1 more".to_owned()),
                ("session_events", format!("{of_alone}platform web, session of ")),
                ("session_events", "session_users has 2 events, usage_log 1".to_owned()),
            ],
        ),
        case(
            4, // an event in the rollup
            added(
                database,
                "usage_hourly",
                &format!(
                    "(account, day, hour, platform, agent, category, model, batch, events) SELECT account, day, hour, platform, agent, category, model, \
                     'planted', 1 FROM {database}.usage_hourly WHERE account = 'alone' AND platform != '' LIMIT 1"
                ),
                "batch = 'planted'",
            ),
            vec![("usage_hourly", "events 1 more".to_owned()), ("totals", "usage_hourly holds ".to_owned())],
        ),
        case(
            1, // a user
            added(
                database,
                "session_users",
                &format!(
                    "(account, day, session_start, platform, batch, users) SELECT account, day, session_start, platform, 'planted', \
                     uniqCombined64State(17)(toUInt64(42)) FROM {database}.session_users WHERE account = 'alone' GROUP BY account, day, session_start, platform"
                ),
                "batch = 'planted'",
            ),
            vec![("unique_users", "session_users has 2 unique users, usage_log 1".to_owned())],
        ),
        case(
            4, // a witness less
            removed(database, "usage_hourly", &witness),
            vec![("batches", format!("{place}usage_hourly has no witness of the batch"))],
        ),
        case(
            6, // another witness less
            removed(database, "session_users", &witness),
            vec![("batches", format!("{place}session_users has no witness of the batch"))],
        ),
        case(
            5, // a hole in batches
            removed(database, "batches", &this),
            vec![
                ("conservation", format!("{topic} partition {partition}, offsets {from}-{to}: in no batch")),
                ("batches", "usage_log holds rows that no batch there has".to_owned()),
                ("totals", "the batches accepted ".to_owned()),
            ],
        ),
        case(
            6, // a rejected row without its batch
            added(
                database,
                "rejected_events",
                &format!(
                    "SELECT * REPLACE (12345 AS digest, 'planted' AS detail) FROM {database}.rejected_events ORDER BY partition, offset LIMIT 1"
                ),
                "detail = 'planted'",
            ),
            vec![("batches", "rejected_events holds rows that no batch there has".to_owned())],
        ),
        case(
            2, // rows behind the end that were never promised
            added(
                database,
                "usage_log",
                &(alone_log.replace(
                    "SELECT *",
                    "SELECT * REPLACE ('behind' AS id, offset + 1000000 AS offset, 777 AS digest) FROM (SELECT *",
                ) + ")"),
                "id = 'behind'",
            ),
            vec![("unfinished", "rows of no batch, and of none that was promised".to_owned())],
        ),
        case(1, /* a record that was not counted */ (vec![update("-")], vec![update("+")]), vec![("records", counted_less)]),
        case(
            1, // a view that does not add up
            changed("model_costs", "sum(h.cost)", "sum(h.cost) + 1"),
            vec![("costs", "model_costs has cost ".to_owned())],
        ),
        case(
            1, // a session that was counted wrong
            (
                vec![
                    format!(
                        "INSERT INTO {database}.session_folds SELECT account, day, session_start, platform, \
                         if(account = 'alone', 7, unique_users), events, now64(3) FROM {database}.session_costs"
                    ),
                    format!(
                        "INSERT INTO {database}.session_fold_marks VALUES ('2100-01-01 00:00:00', '2100-01-01 00:00:00', now64(3))"
                    ),
                ],
                ["session_folds", "session_fold_marks"].map(|table| format!("TRUNCATE TABLE {database}.{table}")).to_vec(),
            ),
            vec![("session_folds", "platform web: 7 users in 2 events were counted, the sets have ".to_owned())],
        ),
        case(
            2, // an entry with the wrong sign
            entry("'alone', 'wrong', 'grant', -1, today(), ''"),
            vec![("ledger", "account alone, entry wrong: a grant of -1, which must add".to_owned())],
        ),
        case(
            3, // an expiry of nothing
            entry("'alone', 'expiry/none', 'expiry', -1, today(), 'none'"),
            vec![("ledger", "takes the rest of `none`, which is no entry that expires".to_owned())],
        ),
        case(
            4, // a balance that is not the ledger less the costs
            changed("balances", "sum(b.spent) AS used", "sum(b.spent) + 1 AS used"),
            vec![("balances", "account alone: used is ".to_owned())],
        ),
        case(
            5, // credits that expired, and more
            changed("expired_credits", ").3 AS expired", ").3 + 1 AS expired"),
            vec![(
                "balances",
                "account lapsed: balances says 6 credited, 6 left, the fold of ledger and usage 7 credited, 7 left".to_owned(),
            )],
        ),
    ];
    for run in 1..=6 {
        let together: Vec<&Planted<'_>> = planted.iter().filter(|planted| planted.run == run).collect();
        for sql in together.iter().flat_map(|planted| &planted.plant) {
            clickhouse.query(sql);
        }
        let output = verify(&[]);
        assert_eq!(output.status.code(), Some(1), "{run}: {output:?}");
        let verdicts = verdicts(&output);
        let fails: Vec<_> = together.iter().flat_map(|planted| &planted.fails).collect();
        for (check, text) in &fails {
            let (verdict, found) = &verdicts[*check];
            let is_named = found.contains(text)
                || output.stderr.lines().any(|line| line.starts_with(&format!("farebox: {check}: ")) && line.contains(text));
            assert!(verdict == "fail" && is_named, "{run}: `{text}` in {check}: {found}\n{}{}", output.stdout, output.stderr);
        }
        let failed: BTreeSet<&str> =
            verdicts.iter().filter(|(_, (verdict, _))| verdict != "ok").map(|(check, _)| check.as_str()).collect();
        assert_eq!(failed, fails.iter().map(|(check, _)| *check).collect(), "{run}: {}", output.stdout);
        for sql in together.iter().flat_map(|planted| &planted.undo) {
            clickhouse.query(sql);
        }
    }
    assert_clean("after");

    // A key that is there twice: the first entry counts, and somebody should know.
    let (plant, undo) = entry("'alone', 'stays', 'grant', 99, today(), ''");
    plant.iter().for_each(|sql| drop(clickhouse.query(sql)));
    let (verdict, found) = verdicts(&verify(&[]).expect_success())["ledger_keys"].clone();
    assert_eq!((verdict.as_str(), found.as_str()), ("warn", "account alone, entry stays: is there 2 times; the first counts"));
    undo.iter().for_each(|sql| drop(clickhouse.query(sql)));

    // Dead letters that are not there.
    let elsewhere = format!("{topic}.elsewhere");
    kafka.client.create_topic(&elsewhere, 1, &[]);
    let output = verify(&["--set", &format!("kafka.dead_letter_topic={elsewhere}")]);
    let (verdict, found) = &verdicts(&output)["dead_letters"];
    assert!(
        output.status.code() == Some(1) && verdict == "fail" && found.contains(&format!(": rejected, and not in {elsewhere}")),
        "{found}"
    );

    // What cannot be proved is said, and no failure.
    let output = verify(&["--set", "kafka.brokers=127.0.0.1:1", "--set", "usage_log.keep=0"]).expect_success();
    let verdicts_now = verdicts(&output);
    for check in ["coverage", "offsets", "records", "dead_letters"] {
        assert_eq!(verdicts_now[check].0, "unproven", "{check}: {}", output.stdout);
    }
    assert!(
        verdicts_now["coverage"].1.contains("usage_log is off") && !verdicts_now.contains_key("usage_hourly"),
        "{verdicts_now:?}"
    );

    // An id that came again where the window of its partition does not know it.
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(topic, &[Message { partition: Some(1), ..event("alone", "1") }]);
    wait_for_received(clickhouse, &mut instance, database, records + 1);
    let output = verify(&[]).expect_success();
    let (verdict, found) = verdicts(&output)["duplicates"].clone();
    assert_eq!((verdict.as_str(), found.as_str()), ("warn", "1 events are charged again: account alone, id 1: 2 times"));
    assert_eq!(verify(&["--strict"]).status.code(), Some(1));
}

#[test]
fn what_is_just_being_written_is_no_finding() {
    let clickhouse = ClickHouse::shared();
    let scenario = Scenario::new(Kafka::shared().brokers(), clickhouse);
    let mut instances = scenario.two_instances();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 20..23 {
                scenario.produce(3_000, seed, 2_000);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut runs = 0;
        while !done.load(Ordering::Relaxed) || runs == 0 {
            let output = scenario.farebox.run(&["verify"]);
            assert_eq!(output.status.code(), Some(0), "{}{}", output.stdout, output.stderr);
            runs += 1;
        }
    });
    written(&scenario, clickhouse, &mut instances);
    scenario.farebox.run(&["verify"]).expect_success();
}
