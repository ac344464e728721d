//! Balances go to their topic: soon, the newest last, and after a start only those that are stale.

use std::collections::BTreeMap;

use farebox::runtime::clock;

use super::quick::{quick, wait_for_log, wait_for_received};
use super::servers::{ClickHouse, Farebox, Instance, Kafka, Message, SOON, eventually};

const BOOK: &str = "[[account]]\nid = \"acme\"\noperations = \"reported\"\ncharge = [\"operations\"]\nlow_balance = \"10\"\n\
                    [[account]]\nid = \"bolt\"\noperations = \"reported\"\ncharge = [\"operations\"]\n";

fn installed() -> Farebox {
    let farebox = quick(Kafka::shared(), ClickHouse::shared());
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", BOOK);
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox
}

fn topic(farebox: &Farebox) -> String {
    format!("{}.balances", farebox.database)
}

fn used(account: &str, id: &str, credits: &str) -> Message {
    let event = serde_json::json!({
        "id": id, "time": clock::now().to_string(), "account": account, "agent": "a", "category": "llm", "credits": credits
    });
    Message::new(account, event.to_string())
}

/// Every balance that was published, the oldest first: account, balance, status.
fn published(farebox: &Farebox) -> Vec<(String, String, String)> {
    let records = Kafka::shared().client.read(&topic(farebox), 0);
    records
        .into_iter()
        .map(|record| {
            let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            let text = |name: &str| value[name].as_str().unwrap().to_owned();
            assert_eq!(record.key.unwrap(), text("account").into_bytes());
            assert!(text("as_of").parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{value}");
            (text("account"), text("balance"), text("status"))
        })
        .collect()
}

fn newest(farebox: &Farebox) -> BTreeMap<String, (String, String)> {
    published(farebox).into_iter().map(|(account, balance, status)| (account, (balance, status))).collect()
}

fn wait_for(farebox: &Farebox, instance: &Instance, account: &str, balance: &str, status: &str) {
    eventually(SOON, || match newest(farebox).get(account) {
        Some((found, word)) if found == balance && word == status => Ok(()),
        other => Err(format!("{account}: {other:?} instead of {balance} {status}\n{}", instance.process.log())),
    });
}

/// Waits until this instance has looked at everything that was due.
fn wait_until_idle(instance: &Instance) {
    eventually(SOON, || match instance.metric("farebox_balances_waiting_seconds", &[]) {
        Some(0.0) => Ok(()),
        other => Err(format!("{other:?}\n{}", instance.process.log())),
    });
}

#[test]
fn what_changes_a_balance_is_published_and_an_exhausted_account_hears_of_new_credits() {
    let farebox = installed();
    farebox.run(&["credits", "grant", "acme", "20", "--key", "first"]).expect_success();
    let mut instance = farebox.start();
    wait_for(&farebox, &instance, "acme", "20", "ok");
    let kafka = &Kafka::shared().client;
    kafka.produce(&farebox.topic, &[used("acme", "1", "10.000000001")]);
    wait_for(&farebox, &instance, "acme", "9.999999999", "low");
    kafka.produce(&farebox.topic, &[used("acme", "2", "9.999999999"), used("bolt", "3", "0.5")]);
    wait_for(&farebox, &instance, "acme", "0", "exhausted");
    wait_for(&farebox, &instance, "bolt", "-0.5", "exhausted");
    farebox.run(&["credits", "grant", "acme", "10", "--key", "second"]).expect_success();
    wait_for(&farebox, &instance, "acme", "10", "ok");
    // A mark that is applied later makes the same balance low.
    farebox.write("book.toml", &BOOK.replace("\"10\"", "\"11\""));
    farebox.run(&["apply", "book.toml"]).expect_success();
    wait_for(&farebox, &instance, "acme", "10", "low");
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn a_start_publishes_what_is_stale_and_nothing_else() {
    let farebox = installed();
    let kafka = &Kafka::shared().client;
    farebox.run(&["credits", "grant", "acme", "20", "--key", "first"]).expect_success();
    farebox.run(&["credits", "grant", "bolt", "5", "--key", "first"]).expect_success();
    let mut instance = farebox.start();
    wait_for(&farebox, &instance, "bolt", "5", "ok");
    wait_for(&farebox, &instance, "acme", "20", "ok");
    assert_eq!(instance.stop().code(), Some(0));
    let before = published(&farebox).len();

    // Nothing has changed.
    let mut instance = farebox.start();
    eventually(SOON, || match instance.metric("farebox_price_book_version", &[]) {
        Some(1.0) if instance.process.log().contains("reading") => Ok(()),
        other => Err(format!("{other:?}\n{}", instance.process.log())),
    });
    kafka.produce(&farebox.topic, &[used("acme", "1", "1")]);
    wait_for(&farebox, &instance, "acme", "19", "ok");
    wait_until_idle(&instance);
    assert_eq!(instance.stop().code(), Some(0));
    let later = published(&farebox);
    assert!(later[before..].iter().all(|(account, ..)| account == "acme"), "{later:?}");

    // What somebody else wrote over it, and what was never written, is put right; what is right is left alone.
    let before = later.len();
    kafka.produce(
        &topic(&farebox),
        &[Message::new("acme", r#"{"account":"acme","balance":"99","status":"ok","as_of":"2026-01-01T00:00:00Z"}"#)],
    );
    farebox.run(&["credits", "grant", "new", "1", "--key", "first"]);
    let mut instance = farebox.start();
    wait_for(&farebox, &instance, "acme", "19", "ok");
    wait_until_idle(&instance);
    assert_eq!(instance.stop().code(), Some(0));
    let put_right = published(&farebox)[before + 1..].to_vec();
    assert!(put_right.iter().all(|(account, ..)| account != "bolt"), "{put_right:?}");
}

#[test]
fn killed_between_a_batch_and_its_balances_the_next_start_publishes_them() {
    let farebox = installed();
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    farebox.run(&["credits", "grant", "acme", "100", "--key", "first"]).expect_success();
    let mut sent = 0_u64;
    for round in 0..4 {
        let mut instance = farebox.start();
        kafka.produce(&farebox.topic, &[used("acme", &format!("{round}"), "1")]);
        sent += 1;
        wait_for_received(clickhouse, &mut instance, &farebox.database, sent);
        instance.process.kill9();
    }
    let mut instance = farebox.start();
    wait_for(&farebox, &instance, "acme", "96", "ok");
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn two_instances_that_meter_one_account_end_with_its_newest_balance() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let mut farebox = quick(Kafka::shared(), clickhouse);
    farebox.set("kafka.partitions", 2);
    // Of the balances one partition is enough, and easier to read.
    kafka.create_topic(&topic(&farebox), 1, &[("cleanup.policy", "compact")]);
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", BOOK);
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox.run(&["credits", "grant", "acme", "1000", "--key", "first"]).expect_success();
    let instances = [farebox.start(), farebox.start()];
    for round in 0..30 {
        let events: Vec<Message> = (0..2)
            .map(|partition| Message { partition: Some(partition), ..used("acme", &format!("{round}/{partition}"), "1") })
            .collect();
        kafka.produce(&farebox.topic, &events);
    }
    wait_for(&farebox, &instances[0], "acme", "940", "ok");
    for mut instance in instances {
        wait_until_idle(&instance);
        assert_eq!(instance.stop().code(), Some(0));
    }
    assert_eq!(newest(&farebox)["acme"], ("940".to_owned(), "ok".to_owned()));
}

#[test]
fn without_the_topic_metering_goes_on_and_says_what_is_missing() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = installed();
    kafka.delete_topic(&topic(&farebox));
    farebox.run(&["credits", "grant", "acme", "3", "--key", "first"]).expect_success();
    let mut instance = farebox.start();
    wait_for_log(&mut instance, "run `farebox migrate`");
    kafka.produce(&farebox.topic, &[used("acme", "1", "1")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    eventually(SOON, || match instance.metric("farebox_balances_waiting_seconds", &[]) {
        Some(waited) if waited > 0.0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    farebox.run(&["migrate"]).expect_success();
    wait_for(&farebox, &instance, "acme", "2", "low");
    assert_eq!(instance.stop().code(), Some(0));
}
