//! Who tells and who sends alerts, in this process and told the time; and what they have to do with.

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
use super::servers::{Arrived, ClickHouse, Farebox, Kafka, Mails, Message};

pub const BOOK: &str = r#"
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

pub const MINUTE: i64 = 60_000;

pub fn used(id: &str, credits: &str) -> Message {
    let event = serde_json::json!({
        "id": id, "time": clock::now().to_string(), "account": "acme", "agent": "support-bot", "category": "llm", "model": "gpt-4o", "credits": credits
    });
    Message::new("acme", event.to_string())
}

pub fn installed(book: &str, mails: &Mails) -> Farebox {
    installed_on(book, mails, ClickHouse::shared())
}

pub fn installed_on(book: &str, mails: &Mails, clickhouse: &ClickHouse) -> Farebox {
    let mut farebox = quick(Kafka::shared(), clickhouse);
    farebox.set("smtp.url", mails.url()).set("smtp.timeout", "2s");
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", book);
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox
}

pub fn thresholds(farebox: &Farebox) -> Vec<(String, u16, u64)> {
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
pub fn decoded(header: &str) -> String {
    let mut python = std::process::Command::new("python3");
    python.args([
        "-c",
        "import sys; from email.header import decode_header, make_header; print(make_header(decode_header(sys.argv[1])))",
        header,
    ]);
    String::from_utf8(python.output().unwrap().stdout).unwrap().trim().replace('\u{a0}', " ")
}

pub fn subjects(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(|mail| decoded(&mail.header("Subject"))).collect()
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// One installation without an instance: whoever tells and sends is in this process, and is told the time.
pub struct Desk {
    pub farebox: Farebox,
    pub alerts: Alerts,
    pub mailer: Mailer,
    pub runtime: tokio::runtime::Runtime,
}

impl Desk {
    pub fn open(book: &str, mails: &Mails) -> Self {
        Self::of(installed(book, mails))
    }

    /// At an installation, as it is configured.
    pub fn of(farebox: Farebox) -> Self {
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
            every: Duration::ZERO,
            canary: Duration::ZERO,
        };
        let alerts = Alerts {
            store: store.clone(),
            touched: Arc::new(Touched::collecting()),
            progress: Arc::clone(&progress),
            metrics: Arc::clone(&metrics),
            telling,
            mail_waits: Arc::default(),
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
            mail_waits: Arc::default(),
        };
        drop(_guard);
        Self { farebox, alerts, mailer, runtime }
    }

    pub fn spend(&self, day: &str, credits: &str) {
        self.spend_of("acme", day, credits);
    }

    pub fn spend_of(&self, account: &str, day: &str, credits: &str) {
        let sql = format!(
            "INSERT INTO {}.usage_hourly (account, day, hour, agent, category, events, cost) VALUES ('{account}', '{day}', '{day} 10:00:00', 'support-bot', 'llm', 1, {credits})",
            self.farebox.database
        );
        ClickHouse::shared().query(&sql);
    }

    pub fn look(&self, at: Timestamp) {
        self.runtime.block_on(self.alerts.look(&["acme"], at)).unwrap();
    }

    pub fn send(&self, at: Timestamp) {
        self.runtime.block_on(self.mailer.turn(move || at)).unwrap();
    }

    /// The newest state of each mail, by recipient.
    pub fn states(&self) -> Vec<(String, String)> {
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

    pub fn state(&self) -> String {
        let states = self.states();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0].1.clone()
    }
}
