//! The command line as a new user meets it: help, mistakes, formats. None of it needs a server.

use std::io::{self, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::servers::{Farebox, Output, free_port};

const VERBS: [&str; 17] = [
    "run",
    "migrate",
    "apply",
    "check",
    "config",
    "credits",
    "completions",
    "doctor",
    "export",
    "man",
    "preview",
    "produce",
    "rerate",
    "send",
    "tail",
    "usage",
    "demo",
];

/// With servers that are not there.
fn nowhere() -> Farebox {
    Farebox::new(&format!("127.0.0.1:{}", free_port()), &format!("http://127.0.0.1:{}", free_port()))
}

/// Exit code and standard error; standard output must be empty.
fn refused(output: &Output) -> (Option<i32>, &str) {
    assert_eq!(output.stdout, "", "data where there is none; talk: {}", output.stderr);
    (output.status.code(), &output.stderr)
}

#[test]
fn every_verb_helps_with_an_example() {
    let farebox = nowhere();
    for verb in VERBS {
        let output = farebox.run(&[verb, "--help"]).expect_success();
        assert!(output.stdout.contains("Example:") && output.stdout.contains(&format!("farebox {verb}")), "{}", output.stdout);
        assert_eq!(output.stderr, "");
    }
    let overview = farebox.run(&["--help"]).expect_success().stdout;
    assert!(VERBS.iter().all(|verb| overview.contains(verb)) && overview.contains("Example:"), "{overview}");
    assert!(!overview.contains("embedded-clickhouse"), "{overview}");
}

#[test]
fn what_is_not_understood_ends_with_2() {
    let farebox = nowhere();
    for (line, said) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["run", "--confg", "x"], "--config"),
        (vec!["apply"], "<FILE>"),
        (vec!["migrate", "--dry-run", "--status"], "--status"),
        (vec!["check", "--format", "xml"], "xml"),
    ] {
        let output = farebox.run(&line);
        let (code, stderr) = refused(&output);
        assert!(code == Some(2) && stderr.contains(said), "{line:?}: {code:?} {stderr}");
    }
}

#[test]
fn a_typo_in_the_configuration_is_shown_where_it_is() {
    for (key, value, place, said) in [
        ("kafka.broker", toml::Value::from("x:1"), "kafka.broker", "did you mean `kafka.brokers`?"),
        ("kafak.brokers", "x:1".into(), "kafak", "did you mean `kafka`?"),
        ("kafka.partitions", "six".into(), "kafka.partitions", "a whole number"),
        ("batch.max_age", 7.into(), "batch.max_age", "\"1s\""),
        ("batch.max_bytes", "64 MB".into(), "batch.max_bytes", "MiB"),
        ("kafka.security", "tsl".into(), "kafka.security", "tls"),
    ] {
        let mut farebox = nowhere();
        farebox.set(key, value);
        for verb in ["check", "run"] {
            let output = farebox.run(&[verb]);
            let (code, stderr) = refused(&output);
            assert_eq!(code, Some(78), "{stderr}");
            let text = std::fs::read_to_string(farebox.config()).unwrap();
            let written = key.rsplit('.').next().unwrap();
            let wrong = if place == "kafak" { "[kafak]" } else { written };
            let line = text.lines().position(|line| line.starts_with(wrong)).unwrap() + 1;
            assert!(stderr.starts_with("farebox: ") && stderr.contains(&format!("farebox.toml:{line}:")), "{stderr}");
            assert!(stderr.contains(&format!("`{place}`")) && stderr.contains(said) && stderr.contains('^'), "{stderr}");
            assert_eq!(stderr.lines().count(), 4, "{stderr}");
        }
    }
}

#[test]
fn a_variable_that_sets_nothing_is_refused() {
    for (name, value, said) in [
        ("FAREBOX_KAFKA__BROKRES", "x:1", "did you mean FAREBOX_KAFKA__BROKERS?"),
        ("FAREBOX_KAFKA__PARTITIONS", "six", "a whole number"),
    ] {
        let mut farebox = nowhere();
        farebox.env(name, value);
        let output = farebox.run(&["check"]);
        let (code, stderr) = refused(&output);
        assert!(code == Some(78) && stderr.contains(name) && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let output = nowhere().run(&["check", "--set", "kafka.broker=x:1"]);
    assert!(refused(&output).1.contains("did you mean `kafka.brokers`?"), "{}", output.stderr);
    let missing = command(Path::new("/nonexistent/farebox.toml"), &["check"]).output().unwrap();
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.status.code() == Some(78) && said.contains("/nonexistent/farebox.toml"), "{said}");
}

#[test]
fn check_connects_to_nothing() {
    let (kafka, clickhouse) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let farebox = Farebox::new(&kafka.local_addr().unwrap().to_string(), &format!("http://{}", clickhouse.local_addr().unwrap()));
    farebox.run(&["check"]).expect_success();
    for listener in [kafka, clickhouse] {
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn results_come_as_a_table_as_json_and_as_csv() {
    let farebox = nowhere();
    let book = farebox.write("book.toml", "[[account]]\nid = \"acme\"\n");
    let book = book.to_str().unwrap();
    let table = farebox.run(&["check", "--book", book]).expect_success();
    assert!(table.stdout.contains("price_book") && table.stdout.contains("1 entries") && table.stderr.is_empty(), "{table:?}");
    let json = farebox.run(&["check", "--book", book, "--format", "json"]).expect_success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["result"], "in order");
    let csv = farebox.run(&["--format", "csv", "check", "--book", book]).expect_success();
    let lines: Vec<_> = csv.stdout.split("\r\n").collect();
    assert!(lines.len() == 3 && lines[0] == "configuration,price_book,result" && lines[1].ends_with("in order"), "{lines:?}");
}

#[test]
fn a_price_book_with_a_typo_is_shown_where_it_is() {
    let farebox = nowhere();
    let book = farebox.write("book.toml", "[[account]]\nid = \"acme\"\n\n[[rate]]\ncategory = \"llm\"\nper_cal = \"1\"\n");
    let output = farebox.run(&["check", "--book", book.to_str().unwrap()]);
    let (code, stderr) = refused(&output);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("book.toml:6:1: rate[1].per_cal"), "{stderr}");
    assert!(stderr.contains("^^^^^^^ did you mean `per_call`?"), "{stderr}");
}

#[test]
fn who_stops_reading_hears_no_complaint() {
    let farebox = nowhere();
    for line in [vec!["check"], vec!["check", "--format", "json"], vec!["run", "--help"], vec!["--version"]] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut child = command(&farebox.config(), &line).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{line:?}");
    }
}

fn command(config: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.arg("--config").arg(config).args(line).stdin(Stdio::null());
    command
}
