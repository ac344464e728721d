//! `farebox doctor`: in order after `migrate`; each thing that is not is named with its remedy.

use std::time::{Duration, Instant};

use super::quick::{event, quick, wait_for_received};
use super::servers::{ClickHouse, Farebox, Kafka, Output, free_port};

/// Lines that begin with this word.
fn lines<'a>(output: &'a Output, state: &str) -> Vec<&'a str> {
    output.stdout.lines().filter(|line| line.starts_with(&format!("{state} "))).collect()
}

#[test]
fn servers_that_are_away_are_named_each_and_soon() {
    let farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &format!("http://127.0.0.1:{}", free_port()));
    let began = Instant::now();
    let output = farebox.run(&["doctor"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let failed = lines(&output, "fail");
    assert!(failed.len() == 2 && failed[0].starts_with("fail  Kafka: 127.0.0.1:"), "{output:?}");
    assert!(failed[0].ends_with("start it, or set kafka.brokers to where it is"), "{failed:?}");
    assert!(
        failed[1].contains("ClickHouse at http://127.0.0.1:")
            && failed[1].ends_with("start it, or set clickhouse.url to where it is")
    );
    let warned = lines(&output, "warn");
    assert!(
        warned.len() == 2 && warned[0].starts_with("warn  mail: `127.0.0.1:") && warned[0].ends_with("start it, or mend [smtp]"),
        "{warned:?}"
    );
    assert!(warned[1].contains("alerts.operator_emails is empty") && warned[1].ends_with("name somebody"));
    assert_eq!(output.stderr, "farebox: 2 of 5 checks failed; their lines say what to do\n");
}

#[test]
fn what_migrate_made_is_in_order_and_what_was_changed_is_found() {
    let farebox = Farebox::shared();
    let before = farebox.run(&["doctor"]);
    assert_eq!(before.status.code(), Some(1), "{before:?}");
    let failed = lines(&before, "fail");
    assert!(failed.iter().any(|line| line.contains("schema: lacks") && line.ends_with("run `farebox migrate`")), "{failed:?}");
    let missing = format!("topic {}: does not exist; run `farebox migrate`", farebox.topic);
    assert!(failed.iter().any(|line| line.ends_with(&missing)), "{failed:?}");

    farebox.run(&["migrate"]).expect_success();
    let healthy = farebox.run(&["doctor"]).expect_success();
    let topic = &farebox.topic;
    for line in [
        format!("ok    topic {topic}: 6 partitions"),
        format!("ok    topic {topic} message.timestamp.type: LogAppendTime"),
        format!("ok    topic {topic} cleanup.policy: delete"),
        format!("ok    topic {topic} unclean.leader.election.enable: false"),
        format!("warn  topic {topic}: one copy: events are gone with their broker's disk; give it a replication factor of 3"),
        format!("ok    schema: current in database {}", farebox.database),
        "ok    tables' non_replicated_deduplication_window: set".to_owned(),
        "ok    tables' fsync_after_insert: set".to_owned(),
        "ok    max_insert_block_size: inserts may set it to 1048449".to_owned(),
        "ok    deduplicate_insert: enable".to_owned(),
        "ok    gaps: every offset was read".to_owned(),
        "ok    kafka.session_timeout: 3000 ms".to_owned(),
        format!("ok    topic {} retention.ms: 604800000, whole rejected events are kept for 7 days", farebox.dead_letter_topic),
        "ok    stops: no partition is stopped".to_owned(),
        "ok    clock: ClickHouse's and ours agree".to_owned(),
    ] {
        assert!(healthy.stdout.lines().any(|found| found == line), "{line}\n{}", healthy.stdout);
    }
    assert!(lines(&healthy, "fail").is_empty() && healthy.stderr.is_empty(), "{healthy:?}");

    let (clickhouse, database) = (ClickHouse::shared(), &farebox.database);
    clickhouse.query(&format!("ALTER TABLE {database}.batches MODIFY SETTING fsync_after_insert = 0"));
    clickhouse
        .query(&format!("INSERT INTO {database}.stops VALUES ('1', '{topic}', 3, 'lost_data', 'rows are gone', now64(3), 0)"));
    std::fs::write(farebox.path("farebox.key"), "00000000000000000000000000000001\n").unwrap();
    let compacted = format!("{topic}.compacted");
    Kafka::shared().client.create_topic(&compacted, 1, &[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
    let sick = farebox.run(&["doctor", "--format", "json", "--set", &format!("kafka.topic={compacted}")]);
    assert_eq!(sick.status.code(), Some(1), "{sick:?}");
    let rows: Vec<serde_json::Value> = sick.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let state = |check: &str| rows.iter().find(|row| row["check"] == check).map(|row| row["state"].as_str().unwrap().to_owned());
    for (check, expected) in [
        ("tables' fsync_after_insert".to_owned(), "fail"),
        ("users key".to_owned(), "fail"),
        (format!("topic {compacted} cleanup.policy"), "fail"),
        (format!("topic {compacted} retention.ms"), "fail"),
        (format!("topic {compacted} message.timestamp.type"), "warn"),
        ("ClickHouse".to_owned(), "ok"),
    ] {
        assert_eq!(state(&check).as_deref(), Some(expected), "{check}\n{}", sick.stdout);
    }
    assert!(rows.iter().all(|row| (row["state"] == "ok") == (row["remedy"] == "")), "{}", sick.stdout);
    let stopped = farebox.run(&["doctor"]);
    let stop = format!("fail  partition 3 of {topic}: stopped at ");
    assert!(
        lines(&stopped, "fail").iter().any(|line| line.starts_with(&stop) && line.contains("lost_data: rows are gone")),
        "{stopped:?}"
    );
}

#[test]
fn what_the_service_rests_on_is_looked_at_beside_the_tables() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "1")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    let listen = format!("metrics.listen=127.0.0.1:{}", instance.metrics_port());
    let healthy = farebox.run(&["doctor", "--set", &listen]).expect_success();
    let (group, database) = (&farebox.group, &farebox.database);
    for line in [
        format!("ok    group: {group} has committed nothing that this database does not have"),
        format!("ok    alarms: none since the instance at 127.0.0.1:{} started", instance.metrics_port()),
    ] {
        assert!(healthy.stdout.lines().any(|found| found == line), "{line}\n{}", healthy.stdout);
    }
    assert_eq!(instance.stop().code(), Some(0));

    // Another database behind the group; what was lost; too few tokens; an age that does not fit.
    kafka.client.commit(group, &farebox.topic, 0, 7, "");
    clickhouse.query(&format!(
        "INSERT INTO {database}.batches (source_epoch, topic, partition, offset_from, offset_to, kind, written_at) \
         VALUES ('1', '{}', 5, 0, 3, 'gap', now64(3))",
        farebox.topic
    ));
    clickhouse.query(&format!("ALTER TABLE {database}.usage_hourly MODIFY SETTING non_replicated_deduplication_window = 7"));
    let sick = farebox.run(&["doctor", "--set", "usage_log.keep=100d"]);
    assert_eq!(sick.status.code(), Some(1), "{sick:?}");
    for line in [
        format!("fail  group: {group} has committed more than this database has: partition 0: 7 behind 1; point clickhouse.url"),
        "warn  gaps: 3 offsets left Kafka before they were read, in 1 gaps, the last at ".to_owned(),
        "fail  tables' non_replicated_deduplication_window: not set, or too low, on usage_hourly; ALTER TABLE".to_owned(),
        "warn  age of usage_log: its rows leave after 400 days, the configuration says 100; run `farebox migrate`".to_owned(),
    ] {
        assert!(sick.stdout.lines().any(|found| found.starts_with(&line)), "{line}\n{}", sick.stdout);
    }
}
