//! `farebox recover`: each kind of stop that can be made is shown, mended and over, and everything is metered once.

use std::fs;

use super::kafka::{Sent, noted, small, wait_for_received, wait_for_stop, wait_until_empty};
use super::outcome;
use super::proxy::{Do, Proxy, When, exception};
use super::quick::{event, wait_for_log};
use super::servers::{ClickHouse, Farebox, Kafka, Message, Output};

/// What `recover` says without being told to do anything: it stands still, so the exit code is 1.
#[track_caller]
fn shown(farebox: &Farebox) -> String {
    let Output { status, stdout, stderr } = farebox.run(&["recover"]);
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    format!("{stdout}{stderr}")
}

#[track_caller]
fn assert_nothing_to_do(farebox: &Farebox) {
    let Output { status, stdout, stderr } = farebox.run(&["recover", "--yes"]);
    assert!(status.success() && stdout.contains("nothing to do"), "{stdout}{stderr}");
}

/// The stop's error in the log says where to go.
#[track_caller]
fn assert_points_here(log: &str) {
    assert!(log.contains("`farebox recover`") && log.contains("docs/recovery.md"), "{log}");
}

#[test]
fn an_offset_in_other_hands_goes_back_to_where_the_tables_end() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 3);
    let mut sent = Sent::default();
    assert_nothing_to_do(&farebox);
    sent.meter(clickhouse, &farebox, |sent| (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));
    (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 50));
    // Ahead of the tables, ahead of the log, and with a stranger's words beside it.
    kafka.commit(&farebox.group, &farebox.topic, 0, 120, "");
    kafka.commit(&farebox.group, &farebox.topic, 1, 5_000, "");
    kafka.commit(&farebox.group, &farebox.topic, 2, 100, "somebody else's bookmark");
    let mut instance = farebox.start();
    for (partition, kind) in [(0, "foreign_commit"), (1, "truncated"), (2, "foreign_commit")] {
        wait_for_stop(clickhouse, &farebox, &mut instance, partition, kind);
    }
    assert_points_here(&instance.process.log());

    // Nothing is committed into a group that somebody is in.
    let refused = farebox.run(&["recover", "--yes"]);
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("stop every `farebox run` first"), "{refused:?}");
    assert_eq!(kafka.committed(&farebox.group, &farebox.topic, 0).unwrap().offset, 120);
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);

    let said = shown(&farebox);
    for words in ["partition 0 stands still since", "foreign_commit", "from 120 to 100", "from 5000 to 100", "nothing was done"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(kafka.committed(&farebox.group, &farebox.topic, 0).unwrap().offset, 120, "it only showed");
    let json = farebox.run(&["recover", "--format", "json"]).stdout;
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("`farebox recover")).unwrap();
    for key in row.keys() {
        assert!(
            section.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{key}`"))),
            "{key} is not on the page"
        );
    }
    farebox.run(&["recover", "--partition", "1", "--yes"]).expect_success();
    assert_eq!(shown(&farebox).matches("stands still since").count(), 2);
    farebox.run(&["recover", "--yes"]).expect_success();
    assert_nothing_to_do(&farebox);
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("stops of foreign commits, recovered", 3, &noted(numbers, "`farebox recover --yes`"));
}

#[test]
fn rows_that_clickhouse_lost_are_read_again_where_nothing_of_them_is_left() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 1);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| sent.send(kafka, &farebox.topic, 0, 100));
    let database = &farebox.database;
    let batches = clickhouse.query(&format!("SELECT count() FROM {database}.batches"));
    clickhouse.query(&format!("CREATE TABLE {database}.kept AS {database}.batches ENGINE = Memory"));
    clickhouse.query(&format!("INSERT INTO {database}.kept SELECT * FROM {database}.batches"));

    // `batches` alone is gone: its rows cannot be told from the others' any more, and reading again would meter them twice.
    clickhouse.query(&format!("TRUNCATE TABLE {database}.batches"));
    let mut instance = farebox.start();
    let kind = wait_for_any_stop(clickhouse, &farebox, &mut instance);
    assert!(["inconsistent", "foreign_commit", "lost_data"].contains(&kind.as_str()), "{kind}");
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);
    let refused = farebox.run(&["recover", "--yes"]);
    assert!(refused.status.code() == Some(1) && refused.stdout.contains("backup"), "{refused:?}");

    // Put back as it was: the evidence is gone.
    clickhouse.query(&format!("INSERT INTO {database}.batches SELECT * FROM {database}.kept"));
    assert_eq!(clickhouse.query(&format!("SELECT count() FROM {database}.batches")), batches);
    farebox.run(&["recover", "--yes"]).expect_success();
    sent.meter(clickhouse, &farebox, |sent| sent.send(kafka, &farebox.topic, 0, 50));
    sent.assert_metered(clickhouse, &farebox, 0);

    // Everything is gone: it is read again from the start.
    wait_until_empty(kafka, &farebox.group);
    for table in ["batches", "usage_log", "usage_hourly", "session_users", "rejected_events"] {
        clickhouse.query(&format!("TRUNCATE TABLE {database}.{table}"));
    }
    let mut instance = farebox.start();
    wait_for_log(&mut instance, "guard=\"foreign_commit\"");
    wait_for_any_stop(clickhouse, &farebox, &mut instance);
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);
    assert!(shown(&farebox).contains("read from its start, 0"));
    farebox.run(&["recover", "--yes"]).expect_success();
    assert_nothing_to_do(&farebox);
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("rows deleted from ClickHouse, recovered", 2, &noted(numbers, "restored, or read again"));
}

fn wait_for_any_stop(clickhouse: &ClickHouse, farebox: &Farebox, instance: &mut super::servers::Instance) -> String {
    let sql = format!(
        "SELECT kind FROM (SELECT kind, cleared FROM {}.stops ORDER BY at DESC, cleared DESC LIMIT 1) WHERE NOT cleared",
        farebox.database
    );
    super::servers::eventually(super::servers::SOON, || match clickhouse.query(&sql).trim() {
        "" => Err(instance.process.log()),
        kind => Ok(kind.to_owned()),
    })
}

#[test]
fn two_databases_behind_one_group_stop_and_each_goes_on_where_it_ended() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 1);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| sent.send(kafka, &farebox.topic, 0, 100));
    wait_until_empty(kafka, &farebox.group);

    // The same group and topic, another database.
    let mut other = Farebox::new(&kafka.brokers, &clickhouse.url());
    other.set("kafka.topic", farebox.topic.clone()).set("kafka.group", farebox.group.clone()).set("kafka.partitions", 1);
    other.set("batch.max_age", "50ms");
    other.run(&["migrate"]).expect_success();
    (other.topic, other.group) = (farebox.topic.clone(), farebox.group.clone());
    let mut second = other.start();
    wait_for_stop(clickhouse, &other, &mut second, 0, "foreign_commit");
    assert_eq!(second.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);
    other.run(&["recover", "--yes"]).expect_success();
    let mut second = other.start();
    sent.send(kafka, &farebox.topic, 0, 50);
    sent.wait(clickhouse, &other, &mut [&mut second]);
    assert_eq!(second.stop().code(), Some(0));
    sent.assert_metered(clickhouse, &other, 0);

    // The first one finds the group moved on by the second.
    wait_until_empty(kafka, &farebox.group);
    let mut instance = farebox.start();
    wait_for_stop(clickhouse, &farebox, &mut instance, 0, "foreign_commit");
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);
    farebox.run(&["recover", "--yes"]).expect_success();
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("two databases behind one group, recovered", 2, &noted(numbers, "stop `foreign_commit`"));
}

#[test]
fn a_recreated_topic_is_metered_from_its_start_in_a_new_epoch_however_often_recover_is_cut_off() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let farebox = small(&kafka.brokers, &proxy.url(), 2);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));
    kafka.delete_topic(&farebox.topic);
    kafka.create_topic(&farebox.topic, 2, &[("message.timestamp.type", "LogAppendTime")]);
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 70));
    let mut instance = farebox.start();
    (0..2).for_each(|partition| {
        wait_for_stop(clickhouse, &farebox, &mut instance, partition, "recreated");
    });
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);

    assert!(shown(&farebox).contains("`farebox recover --new-epoch`"));
    // Its ClickHouse fails at each of its writes in turn: the new life, and each stop that is taken back.
    for (table, skip) in [("sources", 0), ("stops", 0), ("stops", 1)] {
        let rule = proxy.on(When::insert(table).skip(skip), Do::Answer(exception(500, 241, "MEMORY_LIMIT_EXCEEDED")));
        let failed = farebox.run(&["recover", "--new-epoch", "--yes"]);
        assert_eq!(failed.status.code(), Some(1), "{table} {skip}: {failed:?}");
        assert!(rule.hits() > 0, "{table} {skip}: {failed:?}");
        proxy.clear();
    }
    farebox.run(&["recover", "--new-epoch", "--yes"]).expect_success();
    assert_nothing_to_do(&farebox);
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    assert_eq!(clickhouse.query(&format!("SELECT max(source_epoch) FROM {}.sources", farebox.database)), "2\n");
    outcome::record("topic recreated, recovered", 2, &noted(numbers, "a new source epoch; recover cut off three times"));
}

#[test]
fn what_a_log_kept_when_it_lost_records_is_not_metered_twice_in_the_new_epoch() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let farebox = small(&kafka.brokers, &proxy.url(), 2);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));
    wait_until_empty(kafka, &farebox.group);
    // One broker loses nothing by itself, so the tables say that there was more: records of which nothing was to be written.
    let batches = format!("{}.batches", farebox.database);
    clickhouse.query(&format!(
        "INSERT INTO {batches} SELECT * REPLACE (offset_to AS offset_from, offset_to + 40 AS offset_to, offset_to AS prev, 0 AS received, \
         0 AS accepted, 0 AS duplicates, 0 AS rejected, 0 AS digest) FROM {batches} WHERE partition = 1 ORDER BY offset_to DESC LIMIT 1"
    ));
    let mut instance = farebox.start();
    wait_for_stop(clickhouse, &farebox, &mut instance, 1, "truncated");
    assert_eq!(instance.stop().code(), Some(0));
    wait_until_empty(kafka, &farebox.group);
    assert!(shown(&farebox).contains("`farebox recover --new-epoch`"));
    for (table, skip) in [("batches", 0), ("batches", 1), ("sources", 0), ("stops", 0)] {
        let rule = proxy.on(When::insert(table).skip(skip), Do::CutRequest(500));
        let failed = farebox.run(&["recover", "--new-epoch", "--yes"]);
        assert!(failed.status.code() == Some(1) && rule.hits() > 0, "{table} {skip}: {failed:?}");
        proxy.clear();
        if table == "batches" && skip == 0 {
            // The other partition goes on in the old life meanwhile.
            sent.meter(clickhouse, &farebox, |sent| sent.send(kafka, &farebox.topic, 0, 20));
            wait_until_empty(kafka, &farebox.group);
        }
    }
    farebox.run(&["recover", "--new-epoch", "--yes"]).expect_success();
    assert_nothing_to_do(&farebox);
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 30));
    sent.meter(clickhouse, &farebox, |_| {});
    // Twice, so that the new life is read on as well as begun.
    (0..2).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 10));
    sent.meter(clickhouse, &farebox, |_| {});
    let numbers = sent.assert_metered(clickhouse, &farebox, 220);
    outcome::record("log lost records, recovered", 1, &noted(numbers, "a new source epoch; recover cut off four times"));
}

#[test]
fn a_promise_under_another_users_key_waits_for_the_right_one() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let farebox = small(&kafka.brokers, &proxy.url(), 1);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    sent.send(kafka, &farebox.topic, 0, 50);
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    let rule = proxy.on(When::insert("usage_log"), Do::HoldRequest);
    sent.send(kafka, &farebox.topic, 0, 50);
    rule.wait_until_held();
    instance.process.kill9();
    rule.cut();
    proxy.clear();
    wait_until_empty(kafka, &farebox.group);

    // Another key, and a database that was told that it is the right one.
    let file = farebox.path("farebox.key");
    let key = fs::read_to_string(&file).unwrap();
    fs::write(&file, "000102030405060708090a0b0c0d0e0f\n").unwrap();
    let settings = format!("{}.settings", farebox.database);
    let known = clickhouse.query(&format!("SELECT value FROM {settings} WHERE name = 'hash_key_id'"));
    clickhouse.query(&format!("TRUNCATE TABLE {settings}"));
    let mut instance = farebox.start();
    wait_for_stop(clickhouse, &farebox, &mut instance, 0, "hash_key");
    assert_eq!(instance.stop().code(), Some(0));
    let refused = farebox.run(&["recover", "--yes"]);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains(known.trim()), "{said}");

    fs::write(&file, key).unwrap();
    clickhouse.query(&format!("TRUNCATE TABLE {settings}"));
    farebox.run(&["recover", "--yes"]).expect_success();
    assert_nothing_to_do(&farebox);
    let mut instance = farebox.start();
    kafka.produce(&farebox.topic, &[Message { partition: Some(0), ..event("acme", "0") }]); // a repeated id, to have the window looked at
    wait_for_received(clickhouse, &farebox, &mut [&mut instance], sent.received() + 1);
    assert_eq!(instance.stop().code(), Some(0));
    let metered = clickhouse.query(&format!("SELECT count(), uniqExact(id) FROM {}.usage_log", farebox.database));
    assert_eq!(metered, "100\t100\n");
    outcome::record(
        "users key swapped under a promise, recovered",
        1,
        &noted(outcome::Numbers { records: 101, ..Default::default() }, "stop `hash_key`"),
    );
}
