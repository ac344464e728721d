//! `farebox export`: what is stored, filtered, in two formats; whole or with an error. And what needs no server: completions, manual pages.

use std::time::Duration;

use farebox::store::{Settings, Store};

use super::direct::Direct;
use super::servers::{ClickHouse, Farebox, free_port};

const BOOK: &str = r#"
[[account]]
id = "acme"

[[account]]
id = "beta"

[[session_price]]
account = "*"
unit_session_cost = "0.5"

[[rate]]
account = "*"
category = "llm"
per_call = "0.123456789"
"#;

fn event(id: u64, account: &str, day: u32, agent: &str) -> String {
    format!(
        r#"{{"id":"{id}","time":"2026-03-{day:02}T10:00:00.5Z","account":"{account}","platform":"web","user":"ann","agent":"{agent}","category":"llm","model":"m, \"large\""}}"#
    )
}

fn installed(direct: &Direct) -> Farebox {
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone());
    farebox
}

fn written() -> (Direct, Farebox) {
    let mut direct = Direct::new(BOOK);
    direct.write([event(1, "acme", 10, "bot"), event(2, "acme", 11, "clerk"), event(3, "beta", 11, "bot")]);
    let farebox = installed(&direct);
    (direct, farebox)
}

#[test]
fn what_is_stored_is_exported_exactly_and_filtered() {
    let (_direct, farebox) = written();
    let export = |line: &[&str]| farebox.run(&[&["export"], line].concat()).expect_success().stdout;
    assert_eq!(
        export(&["sessions", "--account", "acme", "--from", "2026-03-11"]).split("\r\n").collect::<Vec<_>>(),
        [
            r#""account","platform","session_start","session_end","day","unique_users","events","unit_session_cost","cost","priced","closed""#,
            r#""acme","web","2026-03-11T00:00:00Z","2026-03-12T00:00:00Z","2026-03-11",1,1,0.5,0.5,1,0"#,
            "",
        ]
    );
    assert_eq!(
        export(&["costs", "--agent", "bot", "--to", "2026-03-10", "--format", "json"]),
        concat!(
            r#"{"account":"acme","day":"2026-03-10","kind":"operation","platform":"web","agent":"bot","category":"llm","model":"m, \"large\"","events":1,"cost":"0.123456789"}"#,
            "\n"
        )
    );
    let log = export(&["usage-log", "--category", "llm", "--model", "m, \"large\"", "--format", "json"]);
    let rows: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(rows[0]["event_time"], "2026-03-10T10:00:00.500Z");
    assert!(rows[0]["user_hash"].as_str().unwrap().parse::<u64>().unwrap() > 0 && rows[0]["cost"] == "0.123456789");
    assert_eq!(export(&["usage-log", "--account", "beta", "--to", "2026-03-10", "--format", "json"]), "");
}

#[test]
fn what_cannot_be_exported_is_one_sentence() {
    let (_direct, farebox) = written();
    for (line, code, said) in [
        (vec!["export", "everything"], 2, "usage-log"),
        (vec!["export", "sessions", "--agent", "bot"], 2, "a session has no agent"),
        (vec!["export", "costs", "--from", "2026-02-30"], 2, "2026-02-30 does not exist"),
        (vec!["export", "costs", "--account", "acne"], 1, "did you mean `acme`?"),
    ] {
        let output = farebox.run(&line);
        assert!(output.status.code() == Some(code) && output.stderr.contains(said), "{line:?}: {output:?}");
        assert_eq!(output.stdout, "");
    }
    let away = Farebox::new("127.0.0.1:1", &format!("http://127.0.0.1:{}", free_port()));
    let output = away.run(&["export", "costs"]);
    assert!(output.status.code() == Some(1) && output.stderr.contains("cannot be reached"), "{output:?}");
}

#[test]
fn an_answer_that_fails_on_its_way_is_an_error_and_a_value_that_looks_like_one_is_none() {
    let settings = Settings {
        url: ClickHouse::shared().url(),
        database: "default".to_owned(),
        user: "default".to_owned(),
        password: "".into(),
        ca_file: "".into(),
        connect_timeout: Duration::from_secs(5),
        insert_timeout: Duration::from_secs(60),
        query_timeout: Duration::from_secs(60),
    };
    let store = Store::new(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let read = |sql: &str| {
        runtime.block_on(async {
            let mut stream = store.stream(sql, &[], "TSVRaw").await?;
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, farebox::store::Error>(bytes)
        })
    };
    let error = read("SELECT throwIf(number = 3000000, 'too far'), number FROM numbers(4000000)").unwrap_err();
    assert!(error.to_string().contains("too far"), "{error}");
    assert_eq!(read("SELECT '__exception__\\r\\nx'").unwrap(), b"__exception__\r\nx\n");
    assert_eq!(read("SELECT number FROM numbers(1000000)").unwrap().iter().filter(|byte| **byte == b'\n').count(), 1_000_000);
    assert_eq!(read("SELECT 1 WHERE 0").unwrap(), b"");
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let farebox = Farebox::new("127.0.0.1:1", "http://127.0.0.1:1");
    for shell in ["bash", "zsh", "fish"] {
        let script = farebox.run(&["completions", shell]).expect_success().stdout;
        assert!(["usage", "export", "migrate"].iter().all(|verb| script.contains(verb)), "{shell}");
    }
    let folder = farebox.path("pages/man1");
    farebox.run(&["man", folder.to_str().unwrap()]).expect_success();
    for (page, said) in [("farebox.1", "usage"), ("farebox-usage.1", "ACCOUNT"), ("farebox-config-show.1", "secrets")] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(said), "{page}: {text}");
    }
    let file = farebox.write("file", "");
    let output = farebox.run(&["man", file.to_str().unwrap()]);
    assert!(output.status.code() == Some(1) && output.stderr.contains("cannot write manual pages into"), "{output:?}");
}

#[test]
fn the_configuration_is_shown_with_its_places_and_without_its_secrets() {
    let mut farebox = Farebox::new("broker:1", "http://127.0.0.1:1");
    farebox.set("clickhouse.password", "hunter2").env("FAREBOX_LOG__LEVEL", "warn");
    let table = farebox.run(&["config", "show"]).expect_success();
    assert!(table.stdout.starts_with("key ") && !table.stdout.contains("hunter2"), "{}", table.stdout);
    let line = |key: &str| table.stdout.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("log.level"), ["log.level", "warn", "environment", "variable", "FAREBOX_LOG__LEVEL"]);
    assert_eq!(line("batch.max_age"), ["batch.max_age", "1s", "the", "default"]);
    assert!(
        line("clickhouse.password ")[1] == "***" && line("clickhouse.password ")[2].contains("farebox.toml:"),
        "{}",
        table.stdout
    );
    let json = farebox.run(&["config", "show", "--format", "json"]).expect_success().stdout;
    assert!(json.contains(r#"{"key":"kafka.brokers","value":"broker:1","set_by":""#), "{json}");
}
