//! Budgets and balances reach people: once for each threshold, by mail, whatever the mail server does.

use std::collections::BTreeSet;
use std::time::Duration;

use farebox::model::Timestamp;
use farebox::runtime::alerts::Mailer;
use farebox::runtime::clock;
use farebox::store::Store;

use super::desk::{BOOK, Desk, MINUTE, at, decoded, installed, subjects, thresholds, used};
use super::servers::{Certificates, ClickHouse, Farebox, Kafka, Mails, Manners, Message, SOON, eventually};

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

#[test]
fn mails_go_over_tls_and_with_a_login_and_say_in_one_sentence_why_not() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.server("mail", 2040);
    for how in ["starttls", "wrapped"] {
        let manners = Manners { tls: Some((how, certificate.clone(), key.clone())), login: "farebox:correct horse".to_owned() };
        let mails = Mails::start_with(manners, &[]);
        let mut farebox = installed(BOOK, &mails);
        let told = |farebox: &Farebox| farebox.run(&["alerts", "test", "--to", "me@example.com"]);
        let refused = |farebox: &Farebox, why: &str| {
            let output = told(farebox);
            let is_one_line = output.stderr.lines().count() == 1;
            assert!(output.status.code() == Some(1) && is_one_line && output.stderr.contains(why), "{how}: {}", output.stderr);
            assert!(!output.stderr.contains("wrong horse") && !output.stderr.contains("correct horse"), "{}", output.stderr);
        };
        refused(&farebox, "UnknownIssuer");
        farebox.set("smtp.ca_file", certificates.ca().to_str().unwrap());
        refused(&farebox, "530");
        farebox.set("smtp.username", "farebox").set("smtp.password", "wrong horse");
        refused(&farebox, "535");
        farebox.write("mail.secret", "correct horse\n");
        farebox.set("smtp.password", "").set("smtp.password_file", "mail.secret");
        told(&farebox).expect_success();
        assert_eq!(mails.arrived().len(), 1, "{how}");
        let doctor = farebox.run(&["doctor"]).stdout;
        assert!(doctor.contains(&format!("ok    mail: {} takes the login of `farebox`", mails.url())), "{doctor}");
    }
}

#[test]
fn a_server_that_falls_silent_in_tls_is_tried_again() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.server("mail", 2040);
    let manners = Manners { tls: Some(("starttls", certificate, key)), login: String::new() };
    let mails = Mails::start_with(manners, &["stall_tls"]);
    let mut farebox = installed(BOOK, &mails);
    farebox.set("smtp.ca_file", certificates.ca().to_str().unwrap());
    let desk = Desk::of(farebox);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    for (minutes, state) in [(0, "pending"), (1, "sent")] {
        desk.send(begin.plus_millis(minutes * MINUTE));
        assert_eq!(desk.state(), state);
    }
}

#[test]
fn what_is_beyond_a_days_mails_comes_in_one_mail_after_midnight() {
    let mails = Mails::start(&[]);
    let book = BOOK.replace("[50, 80, 100]", "[10, 20, 30, 40, 50]");
    let mut desk = Desk::open(&book, &mails);
    desk.alerts.telling.mails_per_day_max = 2;
    for hour in 10..15 {
        desk.spend("2026-03-10", &(90 + hour).to_string()); // each another: the same block twice would be one
        let now = at(&format!("2026-03-10T{hour}:00:00Z"));
        desk.look(now);
        desk.send(now);
    }
    let arrived = mails.arrived();
    assert_eq!(arrived.len(), 2);
    assert!(!arrived[0].text().contains("the last mail for today") && arrived[1].text().contains("the last mail for today"));
    let later = |text: &str| {
        desk.runtime.block_on(desk.alerts.scheduled(at(text))).unwrap();
        desk.send(at(text));
        mails.arrived()
    };
    assert_eq!(later("2026-03-10T23:59:00Z").len(), 2);
    assert_eq!(later("2026-03-11T00:04:00Z").len(), 2);
    let arrived = later("2026-03-11T00:05:00Z");
    assert_eq!(arrived.len(), 3);
    assert_eq!(later("2026-03-11T00:06:00Z").len(), 3);
    assert_eq!(later("2026-03-13T09:00:00Z").len(), 3);
    let digest = &arrived[2];
    assert_eq!(decoded(&digest.header("Subject")), "ACME GmbH: 3 alerts more on 10 March");
    let text = digest.text().replace(['\u{2068}', '\u{2069}'], "");
    for (hour, percent) in [(12, 30), (13, 40), (14, 51)] {
        let line = format!("{hour}:00 UTC: ACME GmbH: {percent}\u{a0}% of 1\u{a0}000 credits used for March");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn an_agent_far_above_its_weekday_is_told_apart_from_its_account() {
    let mails = Mails::start(&[]);
    let desk = Desk::open(&BOOK.replace("low_balance", "spikes = true\nlow_balance"), &mails);
    let database = &desk.farebox.database;
    let agent = |agent: &str, day: &str, credits: &str| {
        ClickHouse::shared().query(&format!(
            "INSERT INTO {database}.usage_hourly (account, day, hour, agent, category, events, cost) VALUES ('acme', '{day}', '{day} 09:00:00', '{agent}', 'llm', 10, {credits})"
        ));
    };
    for day in ["2026-02-10", "2026-02-17", "2026-02-24", "2026-03-03"] {
        agent("steady", day, "500");
        agent("crawler", day, "20");
        agent("small", day, "1");
    }
    agent("steady", "2026-03-10", "400");
    agent("crawler", "2026-03-10", "150");
    agent("small", "2026-03-10", "9"); // nine times as much, and a trifle
    let begin = at("2026-03-10T12:00:00Z");
    for minutes in [0, 1] {
        desk.runtime.block_on(desk.alerts.scheduled(begin.plus_millis(minutes * MINUTE))).unwrap();
    }
    desk.send(begin.plus_millis(2 * MINUTE));
    let arrived = mails.arrived();
    assert_eq!(subjects(&arrived), ["ACME GmbH, agent crawler: 150 credits on 10 March, far above the usual"]);
    // The account as a whole spikes too: told once more, and then nothing.
    agent("crawler", "2026-03-10", "600");
    for minutes in [3, 4] {
        desk.runtime.block_on(desk.alerts.scheduled(begin.plus_millis(minutes * MINUTE))).unwrap();
    }
    desk.send(begin.plus_millis(5 * MINUTE));
    let arrived = mails.arrived();
    assert_eq!(subjects(&arrived)[1..], ["ACME GmbH: 1\u{20}159 credits on 10 March, far above the usual"]);
    let text = arrived[1].text();
    assert!(text.contains("Risen most, agent: crawler: 750.00 credits instead of 10.00"), "{text}");
    assert!(text.contains("Operations: 40 instead of 15"), "{text}");
}

/// An hour of the day in which it is noon, or a little later, somewhere.
fn zone_of_noon(now: Timestamp) -> String {
    let hour = now.millis().rem_euclid(86_400_000) / 3_600_000;
    // POSIX counts the other way round: Etc/GMT-3 lies east of Greenwich.
    match 12 - hour {
        0 => "Etc/GMT".to_owned(),
        east @ 1..=12 => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    }
}

#[test]
fn every_kind_of_alert_comes_from_events_in_kafka_to_a_mail() {
    let mails = Mails::start(&[]);
    let zone = zone_of_noon(clock::now());
    let book = format!(
        r#"
[[account]]
id = "acme"
name = "ACME GmbH"
time_zone = "{zone}"
operations = "reported"
charge = ["operations"]
emails = ["finance@acme.example"]
low_balance = "100"
spikes = true

[[account]]
id = "globex"
charge = ["operations"]

[[budget]]
id = "daily"
account = "acme"
period = "day"
limit = "1000"
thresholds = [50]
forecast = true
"#
    );
    let mut farebox = installed(&book, &mails);
    farebox.set("leader.interval", "1s").set("alerts.canary", "24h");
    farebox.set("alerts.operator_emails", vec!["ops@example.com"]);
    farebox.run(&["credits", "grant", "acme", "800", "--key", "first"]).expect_success();
    let kafka = &Kafka::shared().client;
    let event = |id: &str, days_ago: i64, account: &str, more: serde_json::Value| {
        let time = clock::now().plus_millis(-days_ago * 86_400_000).to_string();
        let mut event =
            serde_json::json!({ "id": id, "time": time, "account": account, "agent": "bot", "category": "llm", "model": "gpt-4o" });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Message::new(account, event.to_string())
    };
    let credits = |amount: &str| serde_json::json!({ "credits": amount });
    let mut instance = farebox.start();
    // Four weeks of it, then a day that is far above: six tenths of the limit at noon.
    for weeks in 1..=4 {
        kafka.produce(&farebox.topic, &[event(&format!("w{weeks}"), 7 * weeks, "acme", credits("10"))]);
    }
    kafka.produce(&farebox.topic, &[event("today", 0, "acme", credits("600"))]);
    kafka.produce(&farebox.topic, &[event("free", 0, "globex", serde_json::json!({}))]);
    kafka.produce(&farebox.topic, &[event("bad", 0, "globex", serde_json::json!({ "duration_ms": -1 }))]);
    let wait = |expected: &[&str]| {
        eventually(SOON, || {
            let mut told: Vec<String> = thresholds(&farebox).into_iter().map(|(kind, ..)| kind).collect();
            told.dedup();
            let mailed = mails.arrived().len();
            if told == expected && mailed == expected.len() { Ok(()) } else { Err(format!("{told:?}, {mailed} mails")) }
        });
    };
    // 760 of 800 are used: low, and a day far above the others; half of the limit, and more than all of it expected.
    kafka.produce(&farebox.topic, &[event("more", 0, "acme", credits("120"))]);
    wait(&["canary", "forecast", "low_balance", "rejected", "spike", "threshold", "unpriced"]);
    kafka.produce(&farebox.topic, &[event("rest", 0, "acme", credits("40"))]);
    wait(&["canary", "exhausted", "forecast", "low_balance", "rejected", "spike", "threshold", "unpriced"]);
    // Somebody moves the group's offset beyond what was read: the partition stops itself.
    assert_eq!(instance.stop().code(), Some(0));
    kafka.produce(&farebox.topic, &[event("unread", 0, "acme", credits("1")), event("unread2", 0, "acme", credits("1"))]);
    let end = kafka.offsets(&farebox.topic, 0).1;
    kafka.commit(&farebox.group, &farebox.topic, 0, end, "");
    let mut instance = farebox.start();
    wait(&["canary", "exhausted", "forecast", "guard", "low_balance", "rejected", "spike", "threshold", "unpriced"]);
    instance.stop();
    for mail in mails.arrived() {
        let subject = decoded(&mail.header("Subject"));
        let expected = if subject.starts_with("farebox: ") { "ops@example.com" } else { "finance@acme.example" };
        assert_eq!(mail.recipient, expected, "{subject}");
    }
}

#[test]
fn ten_thousand_mails_wait_for_a_server_that_is_away_and_one_of_them_asks_for_it() {
    let mut mails = Mails::start(&[]);
    let desk = Desk::open(BOOK, &mails);
    desk.spend("2026-03-10", "500");
    let begin = at("2026-03-10T12:00:00Z");
    desk.look(begin);
    let (database, clickhouse) = (&desk.farebox.database, ClickHouse::shared());
    clickhouse.query(&format!(
        "INSERT INTO {database}.mail_outbox SELECT concat('<', toString(n.number), '@example.com>') AS mail, step, state, alert, account, \
         recipient, at, next_at, reply_to, evidence, detail, by FROM {database}.mail_outbox CROSS JOIN numbers(9999) AS n"
    ));
    mails.kill9();
    let count =
        |what: &str| clickhouse.query(&format!("SELECT count() FROM {database}.mail_outbox WHERE {what}")).trim().to_owned();
    for hours in 0..24 {
        desk.send(begin.plus_millis(hours * 60 * MINUTE));
    }
    assert_eq!((count("step = 0"), count("state = 'sending'")), ("10000".into(), "24".into()));
    mails.launch(&[]);
    desk.send(begin.plus_millis(24 * 60 * MINUTE));
    // One turn's worth; the rest waits for the next turns as it was.
    assert_eq!((count("state = 'sent'"), count("state = 'failed'"), mails.arrived().len()), ("500".into(), "0".into(), 500));
}

/// The law of the view, written a second time: what is left of a month costs what its weekdays cost in the weeks before, give or take twice their scatter.
#[allow(clippy::float_arithmetic)] // the view's interval is one
fn projected(days: &[(chrono::NaiveDate, f64)], today: chrono::NaiveDate, second: f64) -> (f64, f64, f64) {
    use chrono::Datelike as _;
    let weeks = ((today - days[0].0).num_days() / 7).min(8);
    let spent: f64 = days.iter().filter(|(day, _)| day.month() == today.month()).map(|(_, cost)| cost).sum();
    let (mut rest, mut variance) = (0.0, 0.0);
    for ahead in 0..31 {
        let day = today + chrono::Days::new(ahead);
        if day.month() != today.month() {
            break;
        }
        let share = if ahead == 0 { 1.0 - second / 86_400.0 } else { 1.0 };
        let past: Vec<f64> = days
            .iter()
            .filter(|(past, _)| *past < today && (today - *past).num_days() <= 7 * weeks && past.weekday() == day.weekday())
            .map(|(_, cost)| *cost)
            .collect();
        let count = weeks as f64;
        let mean = past.iter().sum::<f64>() / count;
        rest += share * mean;
        // Days without usage are days that cost nothing.
        let squares = past.iter().map(|cost| cost * cost).sum::<f64>() - past.iter().sum::<f64>().powi(2) / count;
        variance += share * squares / (count - 1.0);
    }
    let scatter = 2.0 * variance.sqrt();
    (spent + rest, (spent + rest - scatter).max(spent), spent + rest + scatter)
}

#[test]
#[allow(clippy::float_arithmetic)]
fn projections_lie_where_the_weekdays_of_the_weeks_before_put_them() {
    use rand::{Rng, SeedableRng};
    let mails = Mails::start(&[]);
    let accounts: String = (0..12).map(|number| format!("[[account]]\nid = \"p{number}\"\n")).collect();
    let desk = Desk::open(&accounts, &mails);
    let mut random = rand_pcg::Pcg64::seed_from_u64(7);
    let (today, second) = (chrono::NaiveDate::from_ymd_opt(2026, 3, 15).unwrap(), 43_200.0);
    for account in 0..12_u64 {
        let days = 22 + account * 4;
        let first = today - chrono::Days::new(days);
        let mut spent = Vec::new();
        for (day, number) in first.iter_days().zip(0..=days) {
            // Some days without usage, but for the first and the last.
            if number == 0 || number == days || random.random_range(0..5) > 0 {
                let cost = f64::from(random.random_range(1..1_000_000)) / 1_000.0;
                desk.spend_of(&format!("p{account}"), &day.to_string(), &format!("{cost:.3}"));
                spent.push((day, cost));
            }
        }
        let sql = format!(
            "SELECT toFloat64(projected), toFloat64(low), toFloat64(high), basis FROM {}.projections_at(now = toDateTime64('2026-03-15 12:00:00', 3, 'UTC'), accounts = ['p{account}']) \
             WHERE month = '2026-03-01'",
            desk.farebox.database
        );
        let answer = ClickHouse::shared().query(&sql);
        let fields: Vec<&str> = answer.trim().split('\t').collect();
        let (middle, low, high) = projected(&spent, today, second);
        for (said, expected) in fields.iter().zip([middle, low, high]) {
            let said: f64 = said.parse().unwrap();
            assert!((said - expected).abs() < 1e-3, "p{account}: {answer} is not {middle} {low} {high}");
        }
        assert_eq!(fields[3], "weekdays");
    }
}
