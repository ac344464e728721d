//! A price that changes between a promise and its batch changes nothing that was promised; a repair that is cut off is finished once.

use std::fmt::Write as _;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::kafka::{Sent, noted, small};
use super::outcome;
use super::proxy::{Do, Proxy, When};
use super::scenario::seed;
use super::servers::{ClickHouse, Farebox, Kafka, Message, SOON, eventually};

/// A call costs so much, from the beginning of 2020 on: for every event of the test.
fn apply(farebox: &Farebox, per_call: u32) {
    let from = if per_call == 1 { "" } else { "valid_from = 2020-01-01T00:00:00Z\n" };
    let rate = format!("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"{per_call}\"\n{from}");
    farebox.write("book.toml", &format!("[[account]]\nid = \"acme\"\ncharge = [\"operations\"]\n{rate}"));
    farebox.run(&["apply", "book.toml", "--backdate"]).expect_success();
}

#[test]
fn a_kill_between_a_change_of_prices_and_the_batch_keeps_the_cost_that_was_promised() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let proxy = Proxy::http(clickhouse.port());
    let mut farebox = small(&kafka.brokers, &proxy.url(), 1);
    farebox.set("price_book.reload", "100ms");
    apply(&farebox, 1);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    sent.send(kafka, &farebox.topic, 0, 50);
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    let tables = ["usage_log", "session_users", "usage_hourly", "batches"];
    let mut promised = Vec::new();
    for (round, table) in (1_u32..).zip(tables) {
        let rule = proxy.on(When::insert(table).times(1), Do::HoldRequest);
        sent.send(kafka, &farebox.topic, 0, 100);
        rule.wait_until_held();
        let metadata = kafka.committed(&farebox.group, &farebox.topic, 0).unwrap();
        promised.push((metadata.offset, round));
        apply(&farebox, round + 1);
        instance.process.kill9();
        rule.cut();
        instance = farebox.start();
        sent.wait(clickhouse, &farebox, &mut [&mut instance]);
        // What comes from now on costs what the new book says.
        eventually(SOON, || match instance.metric("farebox_price_book_version", &[]) {
            Some(version) if version >= f64::from(round + 1) => Ok(()),
            version => Err(format!("{version:?}")),
        });
        sent.send(kafka, &farebox.topic, 0, 10);
        sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    }
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    let ask = |sql: &str| clickhouse.query(&sql.replace("{db}", &farebox.database)).trim().to_owned();
    // The version of each book is the price of a call by it.
    assert_eq!(ask("SELECT count() FROM {db}.usage_log WHERE cost != price_version"), "0");
    for (from, version) in promised {
        let sql = format!("SELECT DISTINCT price_version FROM {{db}}.usage_log WHERE offset = {from}");
        assert_eq!(ask(&sql), version.to_string(), "the batch from {from} on was promised before the price changed");
    }
    assert_eq!(ask("SELECT sum(cost) FROM {db}.usage_log"), ask("SELECT sum(c.cost) FROM {db}.costs AS c"));
    outcome::record(
        "kill -9 between a change of prices and a promised batch",
        4,
        &noted(numbers, "each event costs what the promised book says"),
    );
}

#[test]
fn a_repair_that_is_killed_again_and_again_is_posted_once() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 1);
    apply(&farebox, 1);
    // 40 accounts that nobody knows yet, on three days each.
    let today = chrono::DateTime::from_timestamp_millis(super::scenario::now_ms()).unwrap().date_naive();
    let (mut events, mut accounts) = (Vec::new(), String::new());
    for account in 0..40 {
        let _ = write!(accounts, "[[account]]\nid = \"late-{account}\"\ncharge = [\"operations\"]\n");
        for day in 1..=3 {
            let date = today - chrono::Days::new(day);
            let event = serde_json::json!({
                "id": format!("{account}/{day}"), "time": format!("{date}T10:00:00Z"), "account": format!("late-{account}"),
                "agent": "a", "category": "llm"
            });
            events.push(Message::to(0, "late", event.to_string()));
        }
    }
    kafka.produce(&farebox.topic, &events);
    let mut instance = farebox.start();
    super::quick::wait_for_received(clickhouse, &mut instance, &farebox.database, 120);
    assert_eq!(instance.stop().code(), Some(0));
    farebox.write("book.toml", &accounts);
    farebox.run(&["apply", "book.toml"]).expect_success();

    let ask = |sql: &str| clickhouse.query(&sql.replace("{db}", &farebox.database)).trim().to_owned();
    let posted = || ask("SELECT count() FROM {db}.cost_adjustments").parse::<u64>().unwrap();
    let (from, to) = ((today - chrono::Days::new(5)).to_string(), today.to_string());
    let line = ["rerate", "--all", "--from", &from, "--to", &to, "--post"];
    let mut random = Pcg64::seed_from_u64(seed());
    let mut kills = 0;
    for _ in 0..8 {
        let before = posted();
        let mut run = farebox.start_verb(&line);
        eventually(SOON, || match posted() > before || run.process.ended().is_some() {
            true => Ok(()),
            false => Err(run.process.log()),
        });
        // A random moment is the point here; nothing relies on what has happened by then.
        std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
        kills += u64::from(run.process.ended().is_none());
        run.process.kill9();
    }
    farebox.run(&line).expect_success();
    assert!(kills > 1, "it was never killed half-way");
    assert_eq!(
        ask("SELECT count(), uniqExact(account, day), sum(cost), sum(unpriced_events) FROM {db}.cost_adjustments"),
        "120\t120\t120\t-120"
    );
    assert_eq!(ask("SELECT sum(c.cost) FROM {db}.costs AS c"), "120");
    assert_eq!(ask("SELECT count() FROM {db}.unpriced_usage"), "0");
    let again = farebox.run(&line).expect_success();
    assert!(again.stderr.contains("nothing changes"), "{}", again.stderr);
    let numbers = outcome::Numbers { records: 120, ..outcome::Numbers::default() };
    outcome::record("kill -9 of `farebox rerate --post`", kills, &noted(numbers, "each day of an account was posted once"));
}
