//! TLS and logins on every way, with real servers; and secrets that are found nowhere.

use std::fs;
use std::path::Path;

use super::desk::BOOK;
use super::quick::{event, wait_for_received};
use super::servers::{
    Certificates, ClickHouse, Farebox, Folder, Kafka, Mails, Manners, Process, SOON, eventually, free_port, http, process,
};

/// Long enough that it stands nowhere by chance.
const KAFKA_SECRET: &str = "canary-kafka-7f3a91c2";
const CLICKHOUSE_SECRET: &str = "canary-clickhouse-b81d04e7";
const SMTP_SECRET: &str = "canary-smtp-52c6f9a8";

/// TLS before ClickHouse, as a proxy or ClickHouse itself speaks it.
struct Tls {
    // Before the folder: ended first.
    _process: Process,
    _folder: Folder,
    url: String,
}

impl Tls {
    fn before(port: u16, certificate: &Path, key: &Path) -> Self {
        let (folder, own) = (Folder::new("tls"), free_port());
        let mut python = process::command("python3");
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers/tls.py"));
        python.arg(own.to_string()).arg(certificate).arg(key).arg(port.to_string());
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let mut process = Process::start_split(python, &out, &log);
        eventually(SOON, || {
            assert!(process.ended().is_none(), "{}", process.log());
            if fs::read_to_string(&out).unwrap_or_default().is_empty() { Err("it does not listen yet") } else { Ok(()) }
        });
        Self { _process: process, _folder: folder, url: format!("https://127.0.0.1:{own}") }
    }
}

#[test]
fn tls_and_logins_to_kafka_clickhouse_and_mail_meter_and_no_secret_is_found_anywhere() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.server("good", 2040);
    let ca = certificates.ca();
    let (kafka, secure) = Kafka::start_secure(&certificate, &key, "farebox", KAFKA_SECRET);
    // A user of its own, with a password.
    let clickhouse = ClickHouse::shared();
    let tls = Tls::before(clickhouse.port(), &certificate, &key);
    let manners = Manners { tls: Some(("starttls", certificate, key)), login: format!("farebox:{SMTP_SECRET}") };
    let mails = Mails::start_with(manners, &[]);

    let mut farebox = Farebox::new(&secure, &tls.url);
    let ca = ca.to_str().unwrap();
    farebox.set("kafka.partitions", 1).set("batch.max_age", "100ms").set("metrics.listen", "").set("leader.interval", "1s");
    farebox.set("kafka.security", "sasl_tls").set("kafka.sasl_mechanism", "SCRAM-SHA-512").set("kafka.username", "farebox");
    farebox.write("kafka.secret", &format!("{KAFKA_SECRET}\n"));
    farebox.set("kafka.password_file", "kafka.secret").set("kafka.ca_file", ca);
    farebox.set("clickhouse.ca_file", ca).set("clickhouse.password", CLICKHOUSE_SECRET);
    farebox.set("smtp.url", mails.url()).set("smtp.ca_file", ca).set("smtp.username", "farebox").set("smtp.password", SMTP_SECRET);
    farebox.env("FAREBOX_LOG__LEVEL", "trace");

    let mut said = Vec::new();
    let refused = farebox.run(&["doctor"]);
    assert!(refused.stdout.contains("fail  ClickHouse"), "the password is wrong: {}", refused.stdout);
    said.push(format!("{}{}", refused.stdout, refused.stderr));
    // The engine's only user has none.
    farebox.set("clickhouse.password", "");
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", BOOK);
    farebox.run(&["apply", "book.toml"]).expect_success();
    let doctor = farebox.run(&["doctor"]);
    for line in [
        format!("ok    TLS of {secure}: the certificate is valid until 2040-12-31"),
        format!("ok    TLS of {}: the certificate is valid until 2040-12-31", tls.url.trim_start_matches("https://")),
        format!("ok    mail: {} takes the login of `farebox`", mails.url()),
    ] {
        assert!(doctor.stdout.contains(&line), "{line}\n{}", doctor.stdout);
    }
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "1"), event("acme", "2")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 2);
    farebox.run(&["alerts", "test", "--to", "me@example.com"]).expect_success();
    assert_eq!(mails.arrived().len(), 1);
    let page = http(instance.metrics_port(), "GET", "/metrics", b"").unwrap().2;
    assert!(instance.stop().success());

    said.extend([doctor.stdout, doctor.stderr, page, instance.process.log()]);
    // And where each of them is refused, or stands in an address.
    for (key, value) in [
        ("kafka.password", "canary-kafka-7f3a91c2"),
        ("smtp.url", "smtp://farebox:canary-smtp-52c6f9a8@127.0.0.1:1"),
        ("clickhouse.url", "https://farebox:canary-clickhouse-b81d04e7@127.0.0.1:1"),
        ("clickhouse.password", "canary-clickhouse-b81d04e7"),
        ("smtp.password", "canary-smtp-52c6f9a8"),
    ] {
        let set = format!("{key}={value}");
        for verb in
            [&["check"][..], &["config", "show"], &["doctor"], &["alerts", "test", "--to", "a@example.com"], &["usage", "acme"]]
        {
            let output = farebox.run(&[verb, &["--set", &set]].concat());
            said.push(format!("{verb:?} {key}: {}{}", output.stdout, output.stderr));
        }
    }
    for text in &said {
        for secret in [KAFKA_SECRET, CLICKHOUSE_SECRET, SMTP_SECRET] {
            assert!(!text.contains(secret), "{secret} is in: {text}");
        }
    }
}

#[test]
fn certificates_that_end_soon_or_have_ended_are_found_by_the_doctor() {
    let certificates = Certificates::new();
    let clickhouse = ClickHouse::shared();
    let (certificate, key) = certificates.server("old", 2020);
    let tls = Tls::before(clickhouse.port(), &certificate, &key);
    let mut farebox = Farebox::new("127.0.0.1:1", &tls.url);
    farebox.set("clickhouse.ca_file", certificates.ca().to_str().unwrap());
    let doctor = farebox.run(&["doctor"]).stdout;
    let line = format!("fail  TLS of {}: the certificate has ended on 2020-12-31", tls.url.trim_start_matches("https://"));
    assert!(doctor.contains(&line), "{doctor}");
}
