//! Records that leave the log before they are read: what is gone is admitted as a gap, and nothing else is lost.

use super::kafka::{Sent, alarms, noted, small, wait_for_received, wait_for_stop, wait_until_empty};
use super::outcome;
use super::proxy::{Do, Proxy, When};
use super::servers::{ClickHouse, Client, Farebox, Kafka};

#[test]
fn what_retention_took_while_farebox_was_down_is_a_gap_and_nothing_else_is_lost() {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &clickhouse.url(), 3);
    let mut sent = Sent::default();
    sent.meter(clickhouse, &farebox, |sent| (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 100)));

    // Ids 300 to 499 lie at offsets 100 to 299 of partition 0, and 500 to 599 at 100 to 199 of partition 1.
    sent.send(kafka, &farebox.topic, 0, 200);
    sent.send(kafka, &farebox.topic, 1, 100);
    kafka.trim(&farebox.topic, 0, 150);
    kafka.trim(&farebox.topic, 1, 200); // all of it
    kafka.trim(&farebox.topic, 2, 50); // only what is written
    sent.forget(|id| (300..350).contains(&id) || (500..600).contains(&id));
    let mut instance = farebox.start();
    (0..3).for_each(|partition| sent.send(kafka, &farebox.topic, partition, 10));
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(alarms(&instance, "gap"), Some(2.0), "{}", instance.process.log());
    assert_eq!(gaps(clickhouse, &farebox), "0\t100\t150\n1\t100\t200\n");
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 150);
    outcome::record("topic trimmed behind the group's position", 2, &noted(numbers, "150 records were gone: 2 gaps, 2 alarms"));
}

fn gaps(clickhouse: &ClickHouse, farebox: &Farebox) -> String {
    let sql = "SELECT partition, offset_from, offset_to FROM";
    clickhouse.query(&format!("{sql} {}.batches WHERE kind = 'gap' ORDER BY partition, offset_from", farebox.database))
}

/// An installation whose last batch was promised, written up to `table`, and then its records left the log in part.
struct Promised<'a> {
    clickhouse: &'a ClickHouse,
    kafka: &'a Client,
    farebox: Farebox,
    sent: Sent,
}

fn promised_and_trimmed<'a>(proxy: &Proxy, table: &str) -> Promised<'a> {
    let (kafka, clickhouse) = (&Kafka::shared().client, ClickHouse::shared());
    let farebox = small(&kafka.brokers, &proxy.url(), 1);
    let mut sent = Sent::default();
    let mut instance = farebox.start();
    sent.send(kafka, &farebox.topic, 0, 100);
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    let rule = proxy.on(When::insert(table), Do::HoldRequest);
    sent.send(kafka, &farebox.topic, 0, 100);
    rule.wait_until_held();
    instance.process.kill9();
    rule.cut();
    proxy.clear();
    let committed = kafka.committed(&farebox.group, &farebox.topic, 0).unwrap();
    assert!(committed.offset >= 100 && committed.metadata.starts_with("v1 "), "{committed:?}");
    // Behind the start of the promised range, before its end: what is sent in one go is one batch or a few.
    kafka.trim(&farebox.topic, 0, committed.offset + 1);
    wait_until_empty(kafka, &farebox.group);
    Promised { clickhouse, kafka, farebox, sent }
}

#[test]
fn a_promise_whose_records_are_gone_and_of_which_nothing_is_written_becomes_a_gap() {
    let proxy = Proxy::http(ClickHouse::shared().port());
    let Promised { clickhouse, kafka, farebox, mut sent } = promised_and_trimmed(&proxy, "usage_log");
    let mut instance = farebox.start();
    let start = usize::try_from(kafka.offsets(&farebox.topic, 0).0).unwrap();
    sent.forget(|id| id == start - 1);
    sent.send(kafka, &farebox.topic, 0, 10);
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(gaps(clickhouse, &farebox), format!("0\t{}\t{start}\n", start - 1));
    assert_eq!(alarms(&instance, "gap"), Some(1.0));
    assert_eq!(instance.stop().code(), Some(0));
    let numbers = sent.assert_metered(clickhouse, &farebox, 1);
    outcome::record("promised batch trimmed, nothing written", 1, &noted(numbers, "1 record was gone: a gap, an alarm"));
}

#[test]
fn a_kill_between_the_gap_and_the_end_of_the_promise_that_it_dissolves_stops_nothing() {
    let proxy = Proxy::http(ClickHouse::shared().port());
    let Promised { clickhouse, kafka, farebox, mut sent } = promised_and_trimmed(&proxy, "usage_log");
    let rule = proxy.on(When::insert("batches"), Do::HoldAnswer);
    let mut instance = farebox.start();
    rule.wait_until_held();
    instance.process.kill9();
    rule.cut();
    proxy.clear();
    let start = usize::try_from(kafka.offsets(&farebox.topic, 0).0).unwrap();
    assert_eq!(gaps(clickhouse, &farebox), format!("0\t{}\t{start}\n", start - 1));
    sent.forget(|id| id == start - 1);
    let mut instance = farebox.start();
    sent.wait(clickhouse, &farebox, &mut [&mut instance]);
    assert_eq!(instance.stop().code(), Some(0), "{}", instance.process.log());
    let numbers = sent.assert_metered(clickhouse, &farebox, 1);
    outcome::record("kill -9 while a gap is declared", 1, &noted(numbers, "1 record was gone: a gap, an alarm"));
}

#[test]
fn a_promise_whose_records_are_gone_and_that_is_written_whole_is_completed_without_them() {
    let proxy = Proxy::http(ClickHouse::shared().port());
    let Promised { clickhouse, kafka, farebox, mut sent } = promised_and_trimmed(&proxy, "batches");
    sent.meter(clickhouse, &farebox, |sent| sent.send(kafka, &farebox.topic, 0, 10));
    let numbers = sent.assert_metered(clickhouse, &farebox, 0);
    outcome::record("promised batch trimmed, written whole", 1, &numbers);
}

#[test]
fn a_promise_whose_records_are_gone_and_that_is_written_in_part_stops_its_partition() {
    for table in ["session_users", "usage_hourly"] {
        let proxy = Proxy::http(ClickHouse::shared().port());
        let Promised { clickhouse, kafka, farebox, mut sent } = promised_and_trimmed(&proxy, table);
        let mut instance = farebox.start();
        let reason = wait_for_stop(clickhouse, &farebox, &mut instance, 0, "lost_data");
        assert!(reason.contains("written in part"), "{reason}");
        // Nothing is added to it, not by the next process either.
        sent.send(kafka, &farebox.topic, 0, 10);
        assert_eq!(instance.stop().code(), Some(0));
        let before = clickhouse.query(&format!("SELECT count() FROM {}.usage_log", farebox.database));
        let mut instance = farebox.start();
        super::quick::wait_for_log(&mut instance, "not recovered since");
        wait_for_received(clickhouse, &farebox, &mut [&mut instance], 100);
        assert_eq!(clickhouse.query(&format!("SELECT count() FROM {}.usage_log", farebox.database)), before);
        assert_eq!(instance.stop().code(), Some(0));
        let numbers = outcome::Numbers { records: sent.received(), ..Default::default() };
        outcome::record("promised batch trimmed, written in part", 1, &noted(numbers, "stop `lost_data`"));
    }
}
