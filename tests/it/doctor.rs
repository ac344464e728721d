//! `farebox doctor`: in order after `migrate`; each thing that is not is named with its remedy.

use std::time::{Duration, Instant};

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
    assert_eq!(output.stderr, "farebox: 2 of 3 checks failed; their lines say what to do\n");
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
        "ok    stops: no partition is stopped".to_owned(),
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
