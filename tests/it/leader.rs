//! Scheduled work: what is read to its end holds nothing back, and what expired goes into the ledger once.

use farebox::model::Timestamp;
use farebox::runtime::clock;

use super::quick::{event_at, quick, wait_for_received};
use super::servers::{ClickHouse, Farebox, Instance, Kafka, Message, SOON, eventually};

const DAY_MS: i64 = 86_400_000;

/// Two partitions whose records have the timestamps that the producer gives them.
fn with_own_timestamps() -> Farebox {
    let kafka = Kafka::shared();
    let mut farebox = quick(kafka, ClickHouse::shared());
    farebox.set("kafka.partitions", 2).set("leader.interval", "1s");
    // Without an end of retention, or old records would leave at once.
    kafka.client.create_topic(&farebox.topic, 2, &[("message.timestamp.type", "CreateTime"), ("retention.ms", "-1")]);
    farebox.run(&["migrate"]).expect_success();
    farebox
}

fn sent_at(account: &str, partition: i32, time: Timestamp) -> Message {
    Message { partition: Some(partition), timestamp: Some(time.millis()), ..event_at(account, account, time) }
}

fn days_ago(days: i64) -> Timestamp {
    clock::now().plus_millis(-days * DAY_MS)
}

fn wait_until(farebox: &Farebox, instance: &Instance, sql: &str, expected: &str) {
    let sql = sql.replace("{db}", &farebox.database);
    eventually(SOON, || match ClickHouse::shared().query(&sql) {
        answer if answer.trim() == expected => Ok(()),
        answer => Err(format!("{answer} instead of {expected}\n{}", instance.process.log())),
    });
}

#[test]
fn a_partition_that_gets_no_records_holds_nothing_back_once_it_is_read() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = with_own_timestamps();
    let messages = [sent_at("quiet", 1, days_ago(10)), sent_at("acme", 0, days_ago(5)), sent_at("acme", 0, clock::now())];
    kafka.client.produce(&farebox.topic, &messages);
    let mut instance = farebox.start();
    wait_for_received(clickhouse, &mut instance, &farebox.database, 3);
    let five_days_ago = "SELECT count() FROM {db}.session_costs WHERE account = 'acme' AND closed";
    wait_until(&farebox, &instance, five_days_ago, "1");
    let read_to = "SELECT read_to > now() - INTERVAL 2 HOUR AND read_to < now() - INTERVAL 50 MINUTE FROM {db}.progress";
    wait_until(&farebox, &instance, read_to, "1");
    // What is closed is counted once.
    wait_until(
        &farebox,
        &instance,
        "SELECT groupArray((account, unique_users, events)) FROM {db}.session_folds WHERE account = 'acme'",
        "[('acme',1,1)]",
    );
    let done = instance.metric("farebox_job_last_done_timestamp_seconds", &["task=\"log_ends\""]);
    assert!(done.is_some_and(|at| at > 1_700_000_000.0), "{done:?}");
    assert_eq!(instance.stop().code(), Some(0));
    // Without what the leader saw, the newest record of the quiet partition is all that is known.
    clickhouse.query(&format!("TRUNCATE TABLE {}.log_ends", farebox.database));
    wait_until(&farebox, &instance, five_days_ago, "0");
}

#[test]
fn a_partition_that_stands_still_holds_everything_back() {
    let kafka = Kafka::shared();
    let farebox = with_own_timestamps();
    kafka.client.produce(&farebox.topic, &[sent_at("acme", 0, days_ago(5)), sent_at("other", 1, days_ago(5))]);
    // The tables know nothing of partition 1, so that somebody else must have committed there.
    kafka.client.commit(&farebox.group, &farebox.topic, 1, 1, "");
    let instance = farebox.start();
    wait_until(&farebox, &instance, "SELECT count() FROM {db}.stops", "1");
    wait_until(&farebox, &instance, "SELECT toDate(read_to) FROM {db}.log_ends WHERE partition = 1 LIMIT 1", "1970-01-02");
    wait_until(&farebox, &instance, "SELECT count() FROM {db}.session_costs WHERE account = 'acme' AND NOT closed", "1");
    wait_until(&farebox, &instance, "SELECT count() FROM {db}.session_costs WHERE closed", "0");
}

#[test]
fn what_is_left_of_credits_on_their_last_day_goes_into_the_ledger_once_and_changes_no_balance() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    farebox.set("leader.interval", "1s");
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", "[[account]]\nid = \"acme\"\noperations = \"reported\"\ncharge = [\"operations\"]\n");
    farebox.run(&["apply", "book.toml"]).expect_success();
    let time = days_ago(20);
    let used = serde_json::json!({
        "id": "1", "time": time.to_string(), "account": "acme", "agent": "a", "category": "llm", "credits": "12.5"
    });
    kafka.client.produce(&farebox.topic, &[Message::new("acme", used.to_string())]);
    let date = |days: i64| days_ago(days).to_chrono().unwrap().date_naive();
    clickhouse.query(&format!(
        "INSERT INTO {}.credit_ledger (account, id, kind, amount, day, expires, created_at) VALUES \
         ('acme', 'half', 'grant', 30, '{}', '{}', now64(3)), ('acme', 'whole', 'grant', 10, '{}', '{}', now64(3)), \
         ('acme', 'yesterday', 'grant', 1, '{}', '{}', now64(3)), ('acme', 'stays', 'grant', 100, '{}', 0, now64(3))",
        farebox.database,
        date(25),
        date(15),
        date(25),
        date(16),
        date(25),
        date(1),
        date(25)
    ));
    let mut instance = farebox.start();
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    // 12.5 were used: 10 of what ended first, then 2.5 of what ended a day later. What ended yesterday is not closed yet.
    let posted = "SELECT groupArray((id, toString(amount), toString(day), reference)) FROM \
                  (SELECT * FROM {db}.credit_ledger WHERE kind = 'expiry' ORDER BY id)";
    let expected = format!("[('expiry/half','-27.5','{}','half'),('expiry/whole','0','{}','whole')]", date(15), date(16));
    wait_until(&farebox, &instance, posted, &expected);
    let entries = || clickhouse.query(&format!("SELECT count() FROM {}.credit_ledger", farebox.database));
    let before = entries();
    let first = instance.metric("farebox_job_last_done_timestamp_seconds", &["task=\"expiry\""]);
    eventually(SOON, || match instance.metric("farebox_job_last_done_timestamp_seconds", &["task=\"expiry\""]) {
        at if at > first => Ok(()),
        at => Err(format!("{at:?}")),
    });
    assert_eq!(entries(), before, "it was posted a second time");
    let balance = clickhouse.query(&format!("SELECT used, credited - used = balance FROM {}.balances", farebox.database));
    assert_eq!(balance, "12.5\t1\n");
    let refused = farebox.run(&["credits", "grant", "acme", "1", "--key", "expiry/half"]);
    assert!(refused.status.code() == Some(2) && refused.stderr.contains("credits that expired"), "{refused:?}");
    assert_eq!(instance.stop().code(), Some(0));
}
