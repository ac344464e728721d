//! What somebody does who may write to the topic and means harm: very many users, users chosen to break a count, stamps from the future.

use std::hash::Hasher as _;
use std::time::Duration;

use farebox::aggregate::users::fmix64;
use farebox::model::Timestamp;
use siphasher::sip::SipHasher24;

use super::outcome::{self, Numbers};
use super::quick::{conservation, event_at, quick, wait_for_received};
use super::scenario::now_ms;
use super::servers::{ClickHouse, Kafka, Message, eventually};

const CROWD: u64 = 100_000;
const CHOSEN: usize = 16_384;

/// The hash of a user as it would be if everybody knew the key.
fn unkeyed(account: &str, user: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&[0; 16]);
    hasher.write(account.as_bytes());
    hasher.write(&[0]);
    hasher.write(user.as_bytes());
    hasher.finish()
}

/// Users whose unkeyed hashes collide in the engine's sketch: they share 512 of its 131 072 registers, so that most of them would not be
/// paid for.
fn chosen_users(account: &str) -> Vec<String> {
    let collides = |user: &String| fmix64(unkeyed(account, user)) & 0xff == 0;
    (0_u64..).map(|n| format!("u{n}")).filter(collides).take(CHOSEN).collect()
}

fn used(account: &str, id: usize, user: &str, time: Timestamp) -> Message {
    let value = format!(
        r#"{{"id":"{id}","time":"{time}","account":"{account}","agent":"a","category":"llm","platform":"web","user":"{user}"}}"#
    );
    Message::new(account, value)
}

#[test]
fn a_hundred_thousand_users_and_users_chosen_to_be_miscounted_are_counted_within_three_sigma() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    farebox.set("batch.max_age", "1s");
    farebox.run(&["migrate"]).expect_success();
    let time = Timestamp::from_millis(now_ms());
    let mut messages: Vec<Message> =
        (0..CROWD).map(|n| used("crowd", usize::try_from(n).unwrap(), &format!("user-{n}"), time)).collect();
    let chosen = chosen_users("chosen");
    messages.extend(chosen.iter().enumerate().map(|(id, user)| used("chosen", id, user, time)));
    kafka.client.produce(&farebox.topic, &messages);
    let mut instance = farebox.start();
    let seen = eventually(Duration::from_secs(300), || {
        let seen = conservation(clickhouse, &farebox.database);
        if seen.received == messages.len() as u64 { Ok(seen) } else { Err(format!("{seen:?}\n{}", instance.process.log())) }
    });
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (messages.len() as u64, 0, 0));
    assert_eq!(instance.stop().code(), Some(0));

    let database = &farebox.database;
    let count = |sql: &str| -> f64 { clickhouse.query(&sql.replace("{db}", database)).trim().parse().unwrap() };
    // A sketch of 2^17 registers is off by 1.04 / sqrt(2^17) as a rule: 0.29 %.
    let sigma = 1.04 / f64::from(1 << 17).sqrt();
    let mut counted = Vec::new();
    for (account, users) in [("crowd", CROWD as f64), ("chosen", CHOSEN as f64)] {
        let billed = count(&format!("SELECT unique_users FROM {{db}}.session_costs WHERE account = '{account}'"));
        assert!((billed - users).abs() <= 3.0 * sigma * users, "{account}: {billed} for {users}");
        let logged = format!("SELECT uniqCombined64(17)(user_hash) FROM {{db}}.usage_log WHERE account = '{account}'");
        assert_eq!(billed.to_bits(), count(&logged).to_bits(), "{account}");
        counted.push(billed);
    }
    // The choice was a good one: without a key it would have worked.
    let hashes: String = chosen.iter().map(|user| format!("{}\n", unkeyed("chosen", user))).collect();
    clickhouse.query(&format!("CREATE TABLE {database}.unkeyed (hash UInt64) ENGINE = Memory"));
    clickhouse.query(&format!("INSERT INTO {database}.unkeyed FORMAT TSV\n{hashes}"));
    let fooled = count("SELECT uniqCombined64(17)(hash) FROM {db}.unkeyed");
    assert!(fooled * 20.0 < CHOSEN as f64, "{fooled}");
    let note = format!("{CROWD} users counted as {}, {CHOSEN} chosen ones as {} (unkeyed: {fooled})", counted[0], counted[1]);
    outcome::record("users chosen to be miscounted", 1, &Numbers { records: seen.received, note, ..Numbers::default() });
}

#[test]
fn a_record_stamped_2099_moves_nothing_else() {
    const YEAR_2099: i64 = 4_070_908_800_000;
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    // Here producers stamp their records themselves.
    let settings = [
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("retention.ms", "-1"),
    ];
    kafka.client.create_topic(&farebox.topic, 1, &settings);
    farebox.run(&["migrate"]).expect_success();
    let now = now_ms();
    let good = |id: &str| Message { timestamp: Some(now), ..event_at("acme", id, Timestamp::from_millis(now)) };
    let at_2099 = |id: &str, at: i64| Message { timestamp: Some(YEAR_2099), ..event_at("future", id, Timestamp::from_millis(at)) };
    let database = &farebox.database;
    let sessions = || clickhouse.query(&format!("SELECT * FROM {database}.session_costs WHERE account = 'acme'"));
    let read_to = || -> i64 {
        let sql = format!("SELECT toUnixTimestamp64Milli(toDateTime64(read_to, 3, 'UTC')) FROM {database}.progress");
        clickhouse.query(&sql).trim().parse().unwrap()
    };

    let mut instance = farebox.start();
    kafka.client.produce(&farebox.topic, &[good("a"), good("b")]);
    wait_for_received(clickhouse, &mut instance, database, 2);
    let before = (sessions(), read_to());
    assert_eq!(before.1, now);

    // An event of 2099 is believed by the rule (it is as old as its record); one of today under that stamp is too old.
    kafka.client.produce(&farebox.topic, &[at_2099("f", YEAR_2099), at_2099("g", now)]);
    let seen = wait_for_received(clickhouse, &mut instance, database, 4);
    assert_eq!((seen.accepted, seen.rejected), (3, 1));
    assert_eq!((sessions(), read_to()), before, "a session of others was closed or changed");
    // Within one life the window still knows what came before, and what came then.
    kafka.client.produce(&farebox.topic, &[good("a"), at_2099("f", YEAR_2099), good("c")]);
    let seen = wait_for_received(clickhouse, &mut instance, database, 7);
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (4, 2, 1));

    // And in the next, which has no promise to begin from and asks the broker where the window's time begins.
    for received in [10, 13] {
        assert_eq!(instance.stop().code(), Some(0));
        kafka.client.produce(&farebox.topic, &[good("a"), good("b"), good("c")]);
        instance = farebox.start();
        let seen = wait_for_received(clickhouse, &mut instance, database, received);
        assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (4, received - 5, 1));
        assert_eq!(read_to(), now);
    }
    assert_eq!(instance.stop().code(), Some(0));
    let future =
        clickhouse.query(&format!("SELECT toYear(session_start), events FROM {database}.session_costs WHERE account = 'future'"));
    assert_eq!(future, "2099\t1\n", "it has a session of its own");
    let note = "closing, windows and other sessions as before".to_owned();
    outcome::record("a record stamped 2099", 1, &Numbers { records: 13, note, ..Numbers::default() });
}
