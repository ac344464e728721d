//! Bad days: servers away, wrong passwords, missing things, a port in use, a stop in the middle. One sentence says what to do.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use super::quick::{conservation, event, quick, wait_for_log, wait_for_received};
use super::servers::{ClickHouse, Farebox, Instance, Kafka, Message, Output, SOON, eventually, http};

/// `/readyz`: status and reason.
fn readiness(instance: &Instance) -> (u16, String) {
    let (status, _, body) = http(instance.metrics_port(), "GET", "/readyz", b"").expect("the listener answers");
    (status, body)
}

fn wait_until_unready(instance: &Instance, reason: &str) {
    eventually(SOON, || match readiness(instance) {
        (503, said) if said.contains(reason) => Ok(()),
        (status, said) => Err(format!("{status} {said}")),
    });
}

/// SIGTERM; its end must come at once.
fn end_at_once(instance: &mut Instance) -> ExitStatus {
    let began = Instant::now();
    instance.process.sigterm();
    let status = instance.process.wait(SOON);
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    status
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

/// One sentence with the remedy on standard error, nothing on standard output, and the exit code.
#[track_caller]
fn assert_refused(output: &Output, code: i32, said: &[&str]) {
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    assert!(output.status.code() == Some(code) && stdout.is_empty(), "{}\n{stdout}\n{stderr}", output.status);
    let sentences: Vec<&str> = stderr.lines().filter(|line| line.starts_with("farebox: ")).collect();
    assert_eq!(sentences.len(), 1, "{stderr}");
    let others = stderr.lines().filter(|line| !line.starts_with("farebox: ") && !line.contains(" INFO "));
    assert_eq!(others.count(), 0, "{stderr}");
    for word in said {
        assert!(sentences[0].contains(word), "`{word}` is missing in: {stderr}");
    }
}

#[test]
fn servers_that_are_away_are_waited_for_and_told_of_once() {
    let (mut kafka, mut clickhouse) = (Kafka::start(), ClickHouse::start());
    let farebox = quick(&kafka, &clickhouse);
    farebox.run(&["migrate"]).expect_success();
    kafka.kill9();
    clickhouse.kill9();

    let mut instance = farebox.start();
    wait_for_log(&mut instance, "ClickHouse at http://127.0.0.1");
    wait_until_unready(&instance, "ClickHouse does not answer");
    assert_eq!(end_at_once(&mut instance).code(), Some(0), "{}", instance.process.log());

    let mut instance = farebox.start();
    wait_for_log(&mut instance, "ClickHouse at http://127.0.0.1");
    clickhouse.restart();
    wait_for_log(&mut instance, "Kafka at 127.0.0.1");
    wait_until_unready(&instance, "Kafka has assigned no partitions");
    assert_eq!(end_at_once(&mut instance).code(), Some(0), "{}", instance.process.log());

    clickhouse.kill9();
    let mut instance = farebox.start();
    wait_for_log(&mut instance, "ClickHouse at http://127.0.0.1");
    clickhouse.restart();
    wait_for_log(&mut instance, "Kafka at 127.0.0.1");
    kafka.restart();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "1")]);
    wait_for_received(&clickhouse, &mut instance, &farebox.database, 1);
    let log = instance.process.log();
    assert_eq!((count(&log, "ClickHouse at"), count(&log, "Kafka at")), (1, 1), "{log}");
    assert_eq!((count(&log, "ClickHouse answers again"), count(&log, "Kafka answers again")), (1, 1), "{log}");
    assert_eq!((count(&log, "it goes on by itself"), count(&log, " ERROR ")), (2, 0), "{log}");

    // Idle: nothing is inserted, and still it notices.
    clickhouse.kill9();
    wait_until_unready(&instance, "ClickHouse does not answer");
    clickhouse.restart();
    instance.wait_until_ready();
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn migrate_without_servers_fails_with_one_sentence_and_completes_later() {
    let (mut kafka, mut clickhouse) = (Kafka::start(), ClickHouse::start());
    let farebox = quick(&kafka, &clickhouse);
    kafka.kill9();
    clickhouse.kill9();
    assert_refused(&farebox.run(&["migrate"]), 1, &["ClickHouse at http://127.0.0.1", "cannot be reached"]);
    clickhouse.restart();
    assert_refused(&farebox.run(&["run"]), 78, &["run `farebox migrate`"]);
    let output = farebox.run(&["migrate"]);
    let sentence = output.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    assert!(sentence.contains("Kafka at 127.0.0.1") && sentence.contains("run `farebox migrate` again"), "{sentence}");
    kafka.restart();

    let dry = farebox.run(&["migrate", "--dry-run"]).expect_success();
    assert!(dry.stderr.contains("nothing was done") && dry.stderr.contains(&farebox.topic), "{dry:?}");
    let done = farebox.run(&["migrate", "--format", "json"]).expect_success();
    let done: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(done["topics"].as_str().unwrap().contains(&farebox.topic) && done["users_key"] == "kept", "{done}");
    assert_migrate_changes_nothing(&farebox);
}

#[track_caller]
fn assert_migrate_changes_nothing(farebox: &Farebox) {
    let again = farebox.run(&["migrate", "--format", "json"]).expect_success();
    let result: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(result, serde_json::json!({ "migrations": "none", "topics": "none", "users_key": "kept" }));
    assert_eq!(again.stderr, "");
    let dry = farebox.run(&["migrate", "--dry-run"]).expect_success();
    assert_eq!(dry.stdout, "", "statements where nothing is to be done");
    let status = farebox.run(&["migrate", "--status", "--format", "json"]).expect_success();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&status.stdout).unwrap()["schema"], "current");
}

#[test]
fn migrate_says_what_it_would_do_does_it_once_and_says_so() {
    let farebox = quick(Kafka::shared(), ClickHouse::shared());
    let status = farebox.run(&["migrate", "--status"]).expect_success();
    assert!(status.stdout.contains("behind") && status.stdout.contains("run `farebox migrate`"), "{status:?}");
    let dry = farebox.run(&["migrate", "--dry-run"]).expect_success();
    assert!(dry.stdout.contains("CREATE TABLE IF NOT EXISTS usage_log"), "{}", dry.stdout);
    assert!(!farebox.path("farebox.key").exists());
    assert!(farebox.run(&["migrate", "--status"]).expect_success().stdout.contains("behind"));

    let done = farebox.run(&["migrate"]).expect_success();
    assert!(done.stdout.contains(&farebox.topic) && !done.stdout.contains("backup"), "{done:?}");
    assert!(done.stderr.contains("made the users key") && done.stderr.contains("backup"), "{done:?}");
    assert_migrate_changes_nothing(&farebox);
}

#[test]
fn what_is_missing_or_wrong_is_told_with_the_remedy() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    assert_refused(&farebox.run(&["run"]), 78, &["1 tables", "run `farebox migrate`"]);
    assert_refused(&farebox.run(&["apply", "none.toml"]), 1, &["none.toml", "No such file"]);
    farebox.run(&["migrate"]).expect_success();
    let (topic, dead_letter_topic) = (farebox.topic.clone(), farebox.dead_letter_topic.clone());

    farebox.set("kafka.topic", "absent");
    assert_refused(&farebox.run(&["run"]), 78, &["`absent` does not exist", "run `farebox migrate`"]);
    farebox.set("kafka.topic", topic).set("kafka.dead_letter_topic", "absent.dead").set("kafka.create_topics", false);
    assert_refused(&farebox.run(&["run"]), 78, &["`absent.dead` does not exist", "kafka.create_topics"]);
    farebox.set("kafka.dead_letter_topic", dead_letter_topic);

    for (user, password) in [("nobody", ""), ("default", "wrong")] {
        farebox.set("clickhouse.user", user).set("clickhouse.password", password);
        for verb in ["run", "migrate"] {
            let said = [&format!("refuses user `{user}`"), "Authentication failed", "`password` in [clickhouse]"];
            assert_refused(&farebox.run(&[verb]), 78, &said);
        }
    }
    farebox.set("clickhouse.user", "default").set("clickhouse.password", "");

    let key = farebox.path("farebox.key");
    let kept = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    for verb in ["run", "migrate"] {
        assert_refused(&farebox.run(&[verb]), 78, &["cannot read the users key", "backup"]);
    }
    assert!(!key.exists(), "a second key would count every user again");
    farebox.write("farebox.key", "00000000000000000000000000000001\n");
    for verb in ["run", "migrate"] {
        assert_refused(&farebox.run(&[verb]), 78, &["has id", "was written with key"]);
    }
    farebox.write("farebox.key", "secret");
    assert_refused(&farebox.run(&["run"]), 78, &["32 hexadecimal digits"]);
    farebox.write("farebox.key", &kept);

    let migrations = format!("INSERT INTO {}.migrations (number, name, checksum, compatible, applied_at)", farebox.database);
    clickhouse.query(&format!("{migrations} VALUES (998, 'later', 'x', 1, now64(3))"));
    let mut instance = farebox.start();
    instance.wait_until_ready();
    wait_for_log(&mut instance, "made to work with it");
    assert_eq!(instance.stop().code(), Some(0));
    clickhouse.query(&format!("{migrations} VALUES (999, 'latest', 'x', 0, now64(3))"));
    assert_refused(&farebox.run(&["run"]), 78, &["migration 999", "newer farebox"]);
}

/// A server that answers every statement with an error of ClickHouse, and questions for the schema with "not there".
fn refusing_server(code: u32, message: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (code, message) = if body.starts_with(b"SELECT") { (81, "Database x does not exist") } else { (code, message) };
            let body = format!("Code: {code}. DB::Exception: {message}. (X) (version 26.7.2.1)\n");
            let head = format!(
                "HTTP/1.1 500 X\r\nX-ClickHouse-Exception-Code: {code}\r\nConnection: close\r\nContent-Length: {}",
                body.len()
            );
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        }
    });
    port
}

#[test]
fn migrate_without_rights_says_which_and_ends_with_1() {
    let port = refusing_server(
        497,
        "metering: Not enough privileges. To execute this query, it's necessary to have the grant CREATE DATABASE ON x.*",
    );
    let mut farebox = Farebox::new("127.0.0.1:1", &format!("http://127.0.0.1:{port}"));
    farebox.set("clickhouse.user", "metering");
    assert_refused(&farebox.run(&["migrate"]), 1, &["does not let user `metering`", "grant CREATE DATABASE"]);
}

#[test]
fn a_wrong_password_for_kafka_is_told_with_the_remedy() {
    let kafka = Kafka::start_with_password("farebox", "right-one");
    let clickhouse = ClickHouse::shared();
    let mut farebox = quick(&kafka, clickhouse);
    farebox.set("kafka.security", "sasl_plaintext").set("kafka.sasl_mechanism", "PLAIN").set("kafka.username", "farebox");
    farebox.set("kafka.password", "wrong-one");
    let said = ["Kafka refuses us", "uthentication failed", "`password` and `security` in [kafka]"];
    let output = farebox.run(&["migrate"]);
    assert!(output.status.code() == Some(78) && said.iter().all(|word| output.stderr.contains(word)), "{output:?}");
    farebox.set("kafka.password", "right-one");
    farebox.run(&["migrate"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "1")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    assert_eq!(instance.stop().code(), Some(0));

    farebox.set("kafka.password", "wrong-one");
    let output = farebox.run(&["run"]);
    assert_refused(&output, 78, &said);
    assert!(!output.stderr.contains("wrong-one"), "{}", output.stderr);
}

fn book(accounts: &[&str]) -> String {
    accounts.iter().fold(String::new(), |mut book, id| {
        writeln!(book, "[[account]]\nid = \"{id}\"\ncharge = [\"operations\"]\n").unwrap();
        book
    })
}

#[test]
fn a_price_book_is_applied_once_and_shown_before() {
    let clickhouse = ClickHouse::shared();
    let farebox = quick(Kafka::shared(), clickhouse);
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", &book(&["acme", "globex"]));
    let rows = || clickhouse.query(&format!("SELECT count(), max(version) FROM {}.price_book", farebox.database));
    let dry = farebox.run(&["apply", "book.toml", "--dry-run"]).expect_success();
    assert!(
        dry.stdout.contains("+ account acme") && dry.stdout.contains("nothing was applied; this would be version 1"),
        "{dry:?}"
    );
    assert_eq!(rows(), "0\t0\n");
    let applied = farebox.run(&["apply", "book.toml", "--format", "json"]).expect_success();
    let applied: serde_json::Value = serde_json::from_str(&applied.stdout).unwrap();
    assert!(applied["version"] == 1 && applied["applied"] == true, "{applied}");
    let again = farebox.run(&["apply", "book.toml"]).expect_success();
    assert_eq!(again.stdout, "nothing changes; the price book is at version 1\n");
    assert_eq!(rows(), "2\t1\n");

    farebox.write("bad.toml", "[[account]]\nid = \"acme\"\ntime_zone = \"Mars/Olympus\"\n");
    let output = farebox.run(&["apply", "bad.toml"]);
    assert!(output.status.code() == Some(78) && output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.contains("bad.toml:3:") && output.stderr.contains('^'), "{}", output.stderr);
    assert_eq!(rows(), "2\t1\n");

    // The book as a file again: applying it changes nothing, also after a second version.
    farebox.write("book.toml", &format!("{}name = \"Globex\"\n", book(&["acme", "globex"])));
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox.write("exported.toml", &farebox.run(&["apply", "--export"]).expect_success().stdout);
    let exported = farebox.run(&["apply", "exported.toml"]).expect_success();
    assert_eq!(exported.stdout, "nothing changes; the price book is at version 2\n");
    let history = farebox.run(&["apply", "--history"]).expect_success().stdout;
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[0].starts_with("version 1, applied at 20") && lines[3].starts_with("version 2, applied at 20"), "{history}");
    assert!(lines[4].starts_with("  ~ account globex: name (none) -> Globex, from 20") && lines.len() == 5, "{history}");
    let json = farebox.run(&["apply", "--history", "--format", "json"]).expect_success().stdout;
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!((&last["version"], &last["changes"][0]["what"]), (&2.into(), &"account globex".into()));
    let both = farebox.run(&["apply", "book.toml", "--export"]);
    assert_eq!((both.status.code(), both.stdout.as_str()), (Some(2), ""));
}

#[test]
fn books_applied_at_once_become_whole_versions_one_after_the_other() {
    const PROCESSES: usize = 8;
    let clickhouse = ClickHouse::shared();
    let farebox = quick(Kafka::shared(), clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let files: Vec<String> = (0..PROCESSES)
        .map(|process| {
            let accounts: Vec<String> = (0..=process).map(|account| format!("of-{process}-{account}")).collect();
            let name = format!("book-{process}.toml");
            farebox.write(&name, &book(&accounts.iter().map(String::as_str).collect::<Vec<_>>()));
            name
        })
        .collect();
    thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| farebox.run(&["apply", file]).expect_success());
        }
    });
    #[derive(Debug, serde::Deserialize)]
    struct Version {
        version: u64,
        accounts: Vec<String>,
    }
    let sql = "SELECT version, arraySort(groupArray(account)) AS accounts FROM";
    let versions: Vec<Version> =
        clickhouse.rows(&format!("{sql} {}.price_book GROUP BY version ORDER BY version", farebox.database));
    assert_eq!(versions.iter().map(|row| row.version).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>(), "{versions:?}");
    let mut books: Vec<Vec<String>> = versions.into_iter().map(|row| row.accounts).collect();
    books.sort_by_key(Vec::len);
    for (process, accounts) in books.iter().enumerate() {
        assert_eq!(*accounts, (0..=process).map(|account| format!("of-{process}-{account}")).collect::<Vec<_>>());
    }
}

fn priced(per_call: &str) -> String {
    format!("{}[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"{per_call}\"\n", book(&["acme"]))
}

#[test]
#[allow(clippy::float_cmp)] // whole numbers
fn a_running_instance_takes_a_new_price_book_between_batches() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", &priced("1"));
    farebox.run(&["apply", "book.toml"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "1"), event("acme", "2")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 2);

    farebox.write("book.toml", &priced("3"));
    farebox.run(&["apply", "book.toml"]).expect_success();
    let wait_for_version = |instance: &Instance, version: f64| {
        eventually(SOON, || match instance.metric("farebox_price_book_version", &[]) {
            Some(seen) if seen == version => Ok(()),
            seen => Err(format!("{seen:?}\n{}", instance.process.log())),
        });
    };
    wait_for_version(&instance, 2.0);
    kafka.client.produce(&farebox.topic, &[event("acme", "3")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 3);
    let costs =
        || clickhouse.query(&format!("SELECT id, toString(cost), price_version FROM {}.usage_log ORDER BY id", farebox.database));
    assert_eq!(costs(), "1\t1\t1\n2\t1\t1\n3\t3\t2\n");

    // A book that this build cannot read: the running instance keeps its own, a new one does not start.
    let columns = "version, kind, account, time_zone, valid_from, applied_at";
    clickhouse.query(&format!(
        "INSERT INTO {}.price_book ({columns}) VALUES (3, 'account', 'odd', 'Mars/Olympus', 0, now64(3))",
        farebox.database
    ));
    wait_for_log(&mut instance, "Mars/Olympus");
    kafka.client.produce(&farebox.topic, &[event("acme", "4")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 4);
    assert!(costs().ends_with("4\t3\t2\n"), "{}", costs());
    assert_eq!(count(&instance.process.log(), "Mars/Olympus"), 1, "{}", instance.process.log());
    assert_eq!(instance.stop().code(), Some(0));
    for line in [vec!["run"], vec!["apply", "book.toml"]] {
        assert_refused(&farebox.run(&line), 78, &["version 3", "Mars/Olympus", "use the farebox that applied it"]);
    }
}

#[test]
fn an_account_with_stored_usage_does_not_get_another_grid_for_the_past() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("early", "1")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    assert_eq!(instance.stop().code(), Some(0));

    let account = |id: &str, more: &str| format!("[[account]]\nid = \"{id}\"\ncharge = [\"sessions\"]\n{more}\n");
    for more in ["session_anchor = \"06:00\"", "time_zone = \"Asia/Kolkata\""] {
        farebox.write("book.toml", &account("early", more));
        for line in [vec!["apply", "book.toml"], vec!["apply", "book.toml", "--dry-run"]] {
            assert_refused(&farebox.run(&line), 78, &["usage of account `early` is stored already", "`valid_from`"]);
        }
    }
    farebox.write("book.toml", &account("fresh", "session_anchor = \"06:00\""));
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox.write("book.toml", &account("early", ""));
    farebox.run(&["apply", "book.toml"]).expect_success();
}

#[test]
#[allow(clippy::float_cmp)] // whole numbers
fn everything_is_counted_from_zero_and_the_listener_can_be_off() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = farebox.run(&["run", "--set", &format!("metrics.listen={address}")]);
    assert_refused(&output, 78, &["cannot listen on", &address, "metrics.listen"]);

    let mut instance = farebox.start();
    instance.wait_until_ready();
    for (name, label) in [
        ("farebox_events_total", "result=\"accepted\""),
        ("farebox_events_total", "result=\"duplicate\""),
        ("farebox_events_total", "result=\"rejected\""),
        ("farebox_rejected_events_total", "reason=\"malformed\""),
        ("farebox_rejected_events_total", "reason=\"id_conflict\""),
        ("farebox_guards_tripped_total", "kind=\"dead_letter\""),
        ("farebox_alarms_total", "kind=\"gap\""),
        ("farebox_inserts_total", "table=\"batches\""),
    ] {
        assert_eq!(instance.metric(name, &[label]), Some(0.0), "{name} {label}");
    }
    for name in ["farebox_dead_letters_total", "farebox_partitions_stopped", "farebox_batches_in_doubt", "farebox_batches_total"] {
        assert_eq!(instance.metric(name, &[]), Some(0.0), "{name}");
    }
    assert_eq!(instance.metric("farebox_partitions_assigned", &[]), Some(1.0));
    assert_eq!(http(instance.metrics_port(), "GET", "/livez", b"").unwrap().0, 200);
    assert_eq!(instance.stop().code(), Some(0));

    let mut instance = farebox.start_verb(&["run", "--set", "metrics.listen="]);
    kafka.client.produce(&farebox.topic, &[event("acme", "1")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 1);
    assert!(http(instance.metrics_port(), "GET", "/livez", b"").is_err());
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn a_stop_in_the_middle_writes_what_was_read_and_the_next_start_goes_on() {
    const EVENTS: u64 = 4_000;
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let mut farebox = quick(kafka, clickhouse);
    // Nothing is written before the stop: only the stop makes the batch due.
    farebox.set("batch.max_age", "30s");
    farebox.run(&["migrate"]).expect_success();
    let messages: Vec<Message> = (0..EVENTS).map(|n| event(&format!("acme-{}", n % 7), &format!("{n}"))).collect();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &messages[..3_000]);
    eventually(SOON, || match instance.metric("farebox_dedupe_ids", &[]) {
        Some(ids) if ids >= 3_000.0 => Ok(()),
        ids => Err(format!("{ids:?} ids are known")),
    });
    let began = Instant::now();
    assert_eq!(instance.stop().code(), Some(0), "{}", instance.process.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let written = conservation(clickhouse, &farebox.database);
    assert_eq!((written.received, written.balanced), (3_000, 1), "{}", instance.process.log());

    kafka.client.produce(&farebox.topic, &messages[3_000..]);
    kafka.client.produce(&farebox.topic, &messages[..10]); // a producer repeats itself: the window outlives the restart
    farebox.set("batch.max_age", "100ms");
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, &farebox.database, EVENTS + 10);
    assert_eq!((seen.accepted, seen.duplicates, seen.rejected), (EVENTS, 10, 0));
    assert_eq!(instance.stop().code(), Some(0));
    let distinct = clickhouse.query(&format!("SELECT count(), uniqExact(id) FROM {}.usage_log", farebox.database));
    assert_eq!(distinct, format!("{EVENTS}\t{EVENTS}\n"));
}
