//! Budgets and balances reach people: once for each threshold, by mail, whatever the mail server does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farebox::config::{Config, Inputs};
use farebox::model::Timestamp;
use farebox::notify::Smtp;
use farebox::runtime::alerts::{Alerts, Mailer, Telling};
use farebox::runtime::{Progress, Touched, clock, settings_of_store};
use farebox::store::Store;
use farebox::telemetry::Metrics;

use super::quick::quick;
use super::servers::{Arrived, ClickHouse, Farebox, Kafka, Mails, Message, SOON};

const BOOK: &str = r#"
[[account]]
id = "acme"
name = "ACME GmbH"
time_zone = "Europe/Berlin"
operations = "reported"
charge = ["operations"]
emails = ["finance@acme.example"]
low_balance = "100"

[[budget]]
id = "acme-monthly"
account = "acme"
period = "month"
limit = "1000"
thresholds = [50, 80, 100]
"#;

fn used(id: &str, credits: &str) -> Message {
    let event = serde_json::json!({
        "id": id, "time": clock::now().to_string(), "account": "acme", "agent": "support-bot", "category": "llm", "model": "gpt-4o", "credits": credits
    });
    Message::new("acme", event.to_string())
}

fn installed(book: &str, mails: &Mails) -> Farebox {
    let mut farebox = quick(Kafka::shared(), ClickHouse::shared());
    farebox.set("smtp.url", mails.url()).set("smtp.timeout", "2s");
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", book);
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox
}

fn thresholds(farebox: &Farebox) -> Vec<(String, u16, u64)> {
    let sql = format!(
        "SELECT kind, threshold, count() AS count FROM {}.alerts GROUP BY kind, threshold ORDER BY kind, threshold",
        farebox.database
    );
    #[derive(serde::Deserialize)]
    struct Row {
        kind: String,
        threshold: u16,
        count: u64,
    }
    ClickHouse::shared().rows(&sql).into_iter().map(|row: Row| (row.kind, row.threshold, row.count)).collect()
}

/// A header that holds words beyond ASCII, decoded by Python's own library.
fn decoded(header: &str) -> String {
    let mut python = std::process::Command::new("python3");
    python.args([
        "-c",
        "import sys; from email.header import decode_header, make_header; print(make_header(decode_header(sys.argv[1])))",
        header,
    ]);
    String::from_utf8(python.output().unwrap().stdout).unwrap().trim().replace('\u{a0}', " ")
}

fn subjects(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(|mail| decoded(&mail.header("Subject"))).collect()
}

#[test]
fn events_that_cross_three_thresholds_make_three_mails_and_a_balance_that_runs_out_two() {
    let mails = Mails::start(&[]);
    let farebox = installed(BOOK, &mails);
    farebox.run(&["credits", "grant", "acme", "1100", "--key", "first"]).expect_success();
    let mut instance = farebox.start();
    let month = clock::now().to_chrono().unwrap().format("%B").to_string();
    let kafka = &Kafka::shared().client;
    kafka.produce(&farebox.topic, &[used("1", "499.999999999")]);
    kafka.produce(&farebox.topic, &[used("2", "0.000000001")]);
    assert_eq!(subjects(&mails.wait_for(1, SOON)), [format!("ACME GmbH: 50 % of 1 000 credits used for {month}")]);
    kafka.produce(&farebox.topic, &[used("3", "334")]);
    assert_eq!(subjects(&mails.wait_for(2, SOON))[1], format!("ACME GmbH: 83 % of 1 000 credits used for {month}"));
    // 1 000 of 1 100: the balance falls below 100 only with the next event.
    kafka.produce(&farebox.topic, &[used("4", "166")]);
    assert_eq!(subjects(&mails.wait_for(3, SOON))[2], format!("ACME GmbH: 100 % of 1 000 credits used for {month}"));
    kafka.produce(&farebox.topic, &[used("5", "0.005")]);
    assert_eq!(subjects(&mails.wait_for(4, SOON))[3], "ACME GmbH: 100 credits left");
    kafka.produce(&farebox.topic, &[used("6", "99.995")]);
    let arrived = mails.wait_for(5, SOON);
    assert_eq!(subjects(&arrived)[4], "ACME GmbH: no credits left");

    // Nothing that happens later tells any of it again.
    kafka.produce(&farebox.topic, &[used("7", "1")]);
    assert_eq!(instance.stop().code(), Some(0));
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.produce(&farebox.topic, &[used("8", "1")]);
    super::quick::wait_for_received(ClickHouse::shared(), &mut instance, &farebox.database, 8);
    assert_eq!(instance.stop().code(), Some(0));
    let arrived = mails.arrived();
    assert_eq!(arrived.len(), 5, "{:?}", subjects(&arrived));
    let once = |kind: &str, threshold| (kind.to_owned(), threshold, 1);
    let told = [once("exhausted", 0), once("low_balance", 0), once("threshold", 50), once("threshold", 80), once("threshold", 100)];
    assert_eq!(thresholds(&farebox), told);
    let ids: BTreeSet<String> = arrived.iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(ids.len(), 5);
    for mail in &arrived {
        assert_eq!((mail.recipient.as_str(), mail.header("Auto-Submitted").as_str()), ("finance@acme.example", "auto-generated"));
        assert!(mail.raw.len() < 100_000, "{}", mail.raw.len());
    }
    let threads: BTreeSet<String> = arrived[..3].iter().map(|mail| mail.header("In-Reply-To")).collect();
    assert_eq!(threads.len(), 1, "the mails of one budget and month stand together");

    let why = farebox.run(&["alerts", "why", "acme-monthly", "--format", "csv"]).expect_success();
    assert_eq!(why.stdout.matches("told at").count(), 3, "{}", why.stdout);
    let list = farebox.run(&["alerts", "list", "--format", "json"]).expect_success();
    let id = list
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|row| row["threshold"] == 80)
        .unwrap();
    let show = farebox.run(&["alerts", "show", id["id"].as_str().unwrap()]).expect_success();
    assert!(show.stdout.contains("834.00 of the 1\u{a0}000.00 credits") && show.stdout.contains("sent"), "{}", show.stdout);
}

#[test]
fn a_jump_over_all_thresholds_sends_one_mail_and_keeps_every_row() {
    let mails = Mails::start(&[]);
    let farebox = installed(BOOK, &mails);
    let mut instance = farebox.start();
    Kafka::shared().client.produce(&farebox.topic, &[used("1", "1234.5")]);
    let arrived = mails.wait_for(1, SOON);
    assert!(subjects(&arrived)[0].starts_with("ACME GmbH: 123 % of 1 000 credits used"), "{:?}", subjects(&arrived));
    assert_eq!(instance.stop().code(), Some(0));
    assert_eq!(thresholds(&farebox).len(), 3);
    assert_eq!(mails.arrived().len(), 1);
}

/// One installation without an instance: whoever tells and sends is in this process, and is told the time.
struct Desk {
    farebox: Farebox,
    alerts: Alerts,
    mailer: Mailer,
    runtime: tokio::runtime::Runtime,
}

const MINUTE: i64 = 60_000;

impl Desk {
    fn open(book: &str, mails: &Mails) -> Self {
        let farebox = installed(book, mails);
        let config = Config::load(&Inputs { file: Some(farebox.config()), ..Inputs::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let store = Store::new(&settings_of_store(&config)).unwrap();
        let (progress, metrics) = (Arc::new(Progress::default()), Arc::new(Metrics::new().unwrap()));
        let telling = Telling {
            from: config.smtp.from.clone(),
            operators: vec!["ops@example.com".into()],
            mails_per_day_max: 20,
            topic: farebox.topic.clone(),
            canary: Duration::ZERO,
        };
        let alerts = Alerts {
            store: store.clone(),
            touched: Arc::new(Touched::collecting()),
            progress: Arc::clone(&progress),
            metrics: Arc::clone(&metrics),
            telling,
        };
        let mailer = Mailer {
            store,
            smtp: Smtp::new(&config.smtp).unwrap(),
            progress,
            metrics,
            from: config.smtp.from.clone(),
            reply_to: None,
            console: None,
            timeout: config.smtp.timeout.get(),
            retry_for: Duration::from_secs(86_400),
            process: "test".into(),
        };
        drop(_guard);
        Self { farebox, alerts, mailer, runtime }
    }

    fn spend(&self, day: &str, credits: &str) {
        let sql = format!(
            "INSERT INTO {}.usage_hourly (account, day, hour, agent, category, events, cost) VALUES ('acme', '{day}', '{day} 10:00:00', 'support-bot', 'llm', 1, {credits})",
            self.farebox.database
        );
        ClickHouse::shared().query(&sql);
    }

    fn look(&self, at: Timestamp) {
        self.runtime.block_on(self.alerts.look(&["acme"], at)).unwrap();
    }

    fn send(&self, at: Timestamp) {
        self.runtime.block_on(self.mailer.turn(move || at)).unwrap();
    }

    /// The newest state of each mail, by recipient.
    fn states(&self) -> Vec<(String, String)> {
        let sql = format!(
            "SELECT recipient, argMax(state, step) AS state FROM {}.mail_outbox GROUP BY mail, recipient ORDER BY recipient, min(at)",
            self.farebox.database
        );
        #[derive(serde::Deserialize)]
        struct Row {
            recipient: String,
            state: String,
        }
        ClickHouse::shared().rows(&sql).into_iter().map(|row: Row| (row.recipient, row.state)).collect()
    }

    fn state(&self) -> String {
        let states = self.states();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0].1.clone()
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_mail_that_is_refused_for_now_is_tried_again_until_it_is_taken() {
    let mails = Mails::start(&["451", "451", "451"]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    // One minute, five, fifteen.
    for after in [0, 1, 6] {
        desk.send(begin.plus_millis(after * MINUTE));
        assert_eq!(desk.state(), "pending");
        desk.send(begin.plus_millis(after * MINUTE)); // not yet due
    }
    desk.send(begin.plus_millis(21 * MINUTE));
    assert_eq!(desk.state(), "sent");
    desk.send(begin.plus_millis(600 * MINUTE));
    assert_eq!(mails.arrived().len(), 1);
}

#[test]
fn a_server_that_is_down_for_a_day_ends_in_a_mail_that_failed_and_shows() {
    let mails = Mails::start(&[]);
    let mut desk = Desk::open(BOOK, &mails);
    drop(mails);
    desk.mailer.retry_for = Duration::from_secs(86_400);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    let mut now = begin;
    for _ in 0..30 {
        desk.send(now);
        if desk.state() == "failed" {
            break;
        }
        now = now.plus_millis(60 * MINUTE);
    }
    assert_eq!(desk.state(), "failed");
    assert!(now.millis() - begin.millis() <= 1440 * MINUTE, "{now}");
}

#[test]
fn what_the_server_refuses_for_good_is_not_tried_again_and_one_bad_recipient_keeps_nobody_waiting() {
    let mails = Mails::start(&[]);
    let book = BOOK.replace("\"finance@acme.example\"", "\"bad@acme.example\", \"finance@acme.example\"");
    let desk = Desk::open(&book, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    desk.send(begin);
    desk.send(begin.plus_millis(120 * MINUTE));
    let expected = [("bad@acme.example", "failed"), ("finance@acme.example", "sent")];
    assert_eq!(desk.states(), expected.map(|(who, state)| (who.to_owned(), state.to_owned())));
    assert_eq!(mails.arrived().len(), 1);
}

#[test]
fn a_connection_that_is_lost_after_the_content_is_tried_once_more_under_the_same_id() {
    let mails = Mails::start(&["drop", "drop", "drop"]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    for minutes in [0, 1, 2, 60, 120] {
        desk.send(begin.plus_millis(minutes * MINUTE));
    }
    assert_eq!(desk.state(), "unknown");
    let arrived = mails.arrived();
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[0].header("Message-ID"), arrived[1].header("Message-ID"));
}

#[test]
fn a_server_that_falls_silent_keeps_nobody_for_longer_than_the_timeout() {
    let mails = Mails::start(&["stall_banner", "stall_data"]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    for (minutes, state) in [(0, "pending"), (1, "pending"), (6, "sent")] {
        let began = std::time::Instant::now();
        desk.send(begin.plus_millis(minutes * MINUTE));
        assert_eq!(desk.state(), state);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn whoever_dies_while_sending_leaves_a_mail_that_is_sent_once_more() {
    let mails = Mails::start(&[]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    // Another process began it, and that is all that is known of it.
    let copied = "SELECT mail, 1 AS step, 'sending' AS state, alert, account, recipient, at, next_at, reply_to, '' AS evidence, detail, 'other' AS by";
    let database = &desk.farebox.database;
    ClickHouse::shared().query(&format!("INSERT INTO {database}.mail_outbox {copied} FROM {database}.mail_outbox"));
    desk.send(begin.plus_millis(MINUTE / 2));
    assert_eq!((desk.state().as_str(), mails.arrived().len()), ("sending", 0));
    desk.send(begin.plus_millis(5 * MINUTE)); // given up for unknown
    desk.send(begin.plus_millis(7 * MINUTE));
    assert_eq!((desk.state().as_str(), mails.arrived().len()), ("sent", 1));
}

#[test]
fn two_that_send_and_two_that_look_tell_once() {
    let mails = Mails::start(&[]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    let other = Mailer { process: "other".into(), ..desk.mailer.clone() };
    desk.runtime.block_on(async {
        let looks = tokio::join!(desk.alerts.look(&["acme"], begin), desk.alerts.look(&["acme"], begin.plus_millis(1)));
        looks.0.and(looks.1).unwrap();
        let now = move || begin.plus_millis(10);
        let sent = tokio::join!(desk.mailer.turn(now), other.turn(now));
        sent.0.and(sent.1).unwrap();
    });
    assert_eq!((thresholds(&desk.farebox), mails.arrived().len()), (vec![("threshold".into(), 50, 1)], 1));
}

#[test]
fn a_new_month_a_raised_limit_and_new_credits_arm_again_and_spend_that_swings_does_not() {
    let mails = Mails::start(&[]);
    let desk = Desk::open(BOOK, &mails);
    desk.farebox.run(&["credits", "grant", "acme", "1000", "--key", "first"]).expect_success();
    let looked = |at_text: &str| {
        desk.look(at(at_text));
        desk.send(at(at_text));
        mails.arrived().len()
    };
    desk.spend("2026-03-31", "500");
    // In Berlin it is April already at 22:30 in UTC.
    assert_eq!(looked("2026-03-31T21:30:00Z"), 1);
    assert_eq!(looked("2026-03-31T22:30:00Z"), 1);
    desk.spend("2026-03-31", "-1");
    assert_eq!(looked("2026-03-31T21:31:00Z"), 1);
    desk.spend("2026-03-31", "1");
    assert_eq!(looked("2026-03-31T21:32:00Z"), 1);
    desk.spend("2026-04-01", "500.5");
    // The threshold of April, and the balance: −0.5.
    assert_eq!(looked("2026-04-01T10:00:00Z"), 3, "{:?} {:?}", desk.states(), thresholds(&desk.farebox));
    desk.farebox.run(&["credits", "grant", "acme", "300", "--key", "second"]).expect_success();
    assert_eq!(looked("2026-04-01T10:01:00Z"), 3);
    desk.spend("2026-04-01", "250");
    assert_eq!(looked("2026-04-01T10:02:00Z"), 4, "49.5 left: low");
    desk.farebox.write("book.toml", &BOOK.replace("\"1000\"", "\"1400\""));
    desk.farebox.run(&["apply", "book.toml"]).expect_success();
    assert_eq!(looked("2026-04-01T10:03:00Z"), 4, "the new limit holds from when it was applied");
    assert_eq!(
        thresholds(&desk.farebox),
        [("exhausted".to_owned(), 0, 1), ("low_balance".to_owned(), 0, 1), ("threshold".to_owned(), 50, 2)]
    );
}

#[test]
fn a_muted_account_and_too_many_mails_a_day_are_held_and_listed() {
    let mails = Mails::start(&[]);
    let mut desk = Desk::open(BOOK, &mails);
    desk.alerts.telling.mails_per_day_max = 1;
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    desk.spend("2026-03-10", "300");
    desk.look(begin.plus_millis(MINUTE));
    desk.send(begin.plus_millis(2 * MINUTE));
    assert_eq!(desk.states().into_iter().map(|(_, state)| state).collect::<Vec<_>>(), ["sent", "held"]);
    let mute = Store::mute;
    desk.runtime.block_on(mute(&desk.alerts.store, "acme", "", at("2026-03-12T00:00:00Z"), begin, "me")).unwrap();
    desk.spend("2026-03-11", "200");
    desk.look(at("2026-03-11T12:00:00Z"));
    desk.send(at("2026-03-11T12:00:00Z"));
    assert_eq!((desk.states().len(), mails.arrived().len()), (3, 1));
    assert_eq!(thresholds(&desk.farebox).len(), 3);
}

#[test]
fn operators_hear_of_rejected_and_unpriced_usage_of_a_partition_that_stands_still_and_of_the_canary_each_once() {
    let mails = Mails::start(&[]);
    let mut desk = Desk::open(BOOK, &mails);
    desk.alerts.telling.canary = Duration::from_secs(86_400);
    let database = &desk.farebox.database;
    // Old rejected events leave the table at once: so it is now.
    let now = clock::now();
    let (day, hour) = (now.to_string()[..10].to_owned(), now.to_string()[..13].replace('T', " ") + ":00:00");
    let clickhouse = ClickHouse::shared();
    clickhouse.query(&format!(
        "INSERT INTO {database}.rejected_events (received_at, account, reason, detail) SELECT '{hour}', 'acme', if(number = 0, 'malformed', 'bad_value'), '' FROM numbers(102)"
    ));
    clickhouse.query(&format!(
        "INSERT INTO {database}.usage_hourly (account, day, hour, category, model, events, cost, unpriced_events) VALUES ('acme', '{day}', '{hour}', 'llm', 'new', 7, 0, 7)"
    ));
    clickhouse.query(&format!(
        "INSERT INTO {database}.stops (source_epoch, topic, partition, kind, reason, at, cleared) VALUES ('1', '{}', 3, 'recreated', 'it was', '{hour}', 0)",
        desk.farebox.topic
    ));
    for minutes in [0, 1] {
        let now = now.plus_millis(minutes * MINUTE);
        desk.runtime.block_on(desk.alerts.scheduled(now)).unwrap();
        desk.send(now);
    }
    let arrived = mails.arrived();
    assert!(arrived.iter().all(|mail| mail.recipient == "ops@example.com"));
    let mut told = subjects(&arrived);
    told.sort();
    assert_eq!(
        told,
        [
            "farebox: a partition stands still",
            "farebox: events of acme are rejected",
            "farebox: mails arrive",
            "farebox: usage of acme has no price"
        ]
    );
    let kinds: Vec<String> = thresholds(&desk.farebox).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, ["canary", "guard", "rejected", "unpriced"]);
    let id = desk.runtime.block_on(desk.alerts.store.newest_alerts(Some("acme"), 10)).unwrap();
    let rejected = id.iter().find(|row| row.kind == "rejected").unwrap();
    assert!(
        rejected.evidence.contains("102 events") && rejected.evidence.contains("bad_value 101, malformed 1"),
        "{}",
        rejected.evidence
    );
}

#[test]
fn a_day_far_above_its_weekday_is_told_once_with_what_has_risen() {
    let mails = Mails::start(&[]);
    let desk = Desk::open(&BOOK.replace("low_balance", "spikes = true\nlow_balance"), &mails);
    for (day, credits) in
        [("2026-02-10", "30"), ("2026-02-17", "34"), ("2026-02-24", "29"), ("2026-03-03", "32"), ("2026-03-09", "400")]
    {
        desk.spend(day, credits);
    }
    let look = |text: &str| {
        desk.runtime.block_on(desk.alerts.scheduled(at(text))).unwrap();
        desk.send(at(text));
        mails.arrived().len()
    };
    desk.spend("2026-03-10", "68");
    assert_eq!(look("2026-03-10T12:00:00Z"), 0, "twice the most is not more than twice the most");
    desk.spend("2026-03-10", "0.01");
    assert_eq!(look("2026-03-10T12:01:00Z"), 1);
    assert_eq!(look("2026-03-10T12:02:00Z"), 1);
    let arrived = mails.arrived();
    assert_eq!(subjects(&arrived), ["ACME GmbH: 68.01 credits on 10 March, far above the usual"]);
    let alert = desk.runtime.block_on(desk.alerts.store.newest_alerts(Some("acme"), 1)).unwrap().pop().unwrap();
    assert!(alert.evidence.contains("31.25 credits, the mean of this weekday in 4 weeks"), "{}", alert.evidence);
    assert!(alert.evidence.contains("support-bot: 68.01 credits instead of"), "{}", alert.evidence);
}

#[test]
fn a_wrong_mail_server_is_told_in_one_sentence() {
    let mails = Mails::start(&["550"]);
    let farebox = installed(BOOK, &mails);
    let refused = farebox.run(&["alerts", "test", "--to", "me@example.com"]);
    assert!(
        refused.status.code() == Some(1) && refused.stderr.contains("not wanted") && refused.stderr.contains("[smtp]"),
        "{}",
        refused.stderr
    );
    farebox.run(&["alerts", "test", "--to", "me@example.com"]).expect_success();
    assert_eq!(mails.arrived().len(), 1);
    drop(mails);
    let away = farebox.run(&["alerts", "test", "--to", "me@example.com"]);
    assert!(away.status.code() == Some(1) && away.stderr.contains("[smtp]"), "{}", away.stderr);
    let wrong = farebox.run(&["alerts", "test", "--to", "me@example.com", "--set", "smtp.url=mail.example.com"]);
    assert!(wrong.status.code() == Some(78) && wrong.stderr.contains("smtp.url"), "{} {}", wrong.status, wrong.stderr);
}
