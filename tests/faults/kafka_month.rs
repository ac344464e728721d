//! Batches that hold events of two months, and sessions that began in the month before their events: one block for each month,
//! and a kill between any two of them.

use chrono::{DateTime, Datelike, Months, TimeZone, Utc};
use farebox::model::Timestamp;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::bench::Bench;
use super::outcome;
use super::proxy::{Do, When};
use super::quick::event_at;
use super::scenario::now_ms;
use super::servers::{ClickHouse, Kafka, Message};

const HOUR: i64 = 3_600_000;

/// The last beginning of a month that lies far enough back for events around it.
fn boundary() -> DateTime<Utc> {
    let now = Utc.timestamp_millis_opt(now_ms()).unwrap();
    let first = Utc.with_ymd_and_hms(now.year(), now.month(), 1, 0, 0, 0).unwrap();
    if (now - first).num_hours() > 30 { first } else { first.checked_sub_months(Months::new(1)).unwrap() }
}

/// Events of six accounts of different zones and anchors, now before the boundary and now behind it.
fn around(boundary: i64, random: &mut Pcg64, count: usize, prefix: &str) -> Vec<Message> {
    let message = |n: usize| {
        let time = Timestamp::from_millis(boundary + random.random_range(-28 * HOUR..28 * HOUR));
        let message = event_at(&format!("load-{}", n % 6 + 1), &format!("{prefix}-{n}"), time);
        let user = format!("\"user\":\"u{}\"", n % 37);
        let value = String::from_utf8(message.value.unwrap()).unwrap().replace("\"user\":\"u\"", &user);
        Message { value: Some(value.into_bytes()), partition: Some(0), ..Message::default() }
    };
    (0..count).map(message).collect()
}

#[test]
fn a_kill_between_the_blocks_of_two_months_changes_no_digit() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let bench = Bench::new(kafka.brokers(), clickhouse, 1);
    let mut random = Pcg64::seed_from_u64(bench.seed);
    let boundary = boundary();
    let months = [boundary.checked_sub_months(Months::new(1)).unwrap(), boundary].map(|month| month.format("%Y%m").to_string());
    let mut instances = [bench.start()];
    let mut kills = 0;
    for table in ["usage_log", "session_users", "usage_hourly"] {
        for (month, what) in [(&months[0], Do::HoldAnswer), (&months[1], Do::HoldRequest), (&months[1], Do::HoldAnswer)] {
            let month = format!("/{month}");
            let rule = bench
                .proxy
                .on(When::request(move |request| request.inserts_into(table) && request.token.ends_with(&month)).times(1), what);
            kafka.client.produce(
                &bench.scenario.farebox.topic,
                &around(boundary.timestamp_millis(), &mut random, 300, &format!("{table}-{kills}")),
            );
            rule.wait_until_held();
            instances[0].process.kill9();
            instances[0] = bench.scenario.farebox.start();
            bench.scenario.wait_for_more(clickhouse, 1);
            rule.let_go(); // a late twin
            kills += 1;
        }
    }
    // A batch whose events lie in one month and whose sessions all began in the one before.
    let night = boundary.timestamp_millis() + HOUR;
    let of_the_night: Vec<Message> =
        (1..=6).map(|n| event_at(&format!("load-{n}"), "night", Timestamp::from_millis(night))).collect();
    kafka.client.produce(&bench.scenario.farebox.topic, &of_the_night);
    let totals = bench.finish(clickhouse, &mut instances);

    let database = &bench.scenario.farebox.database;
    for table in ["usage_hourly", "session_users"] {
        let sql = format!(
            "SELECT count() > 0 FROM (SELECT batch FROM {database}.{table} WHERE account = '' GROUP BY batch HAVING uniqExact(toYYYYMM(day)) > 1)"
        );
        assert_eq!(clickhouse.query(&sql), "1\n", "no batch of {table} spans two months");
    }
    let crossing = totals.sessions.keys().filter(|key| key.start * 1000 < boundary.timestamp_millis()).count();
    assert!(crossing > 0 && crossing < totals.sessions.len());
    outcome::record("kill -9 between the blocks of two months", kills, &totals);
}
