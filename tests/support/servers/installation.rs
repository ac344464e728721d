//! The binary itself, with a configuration of its own in a folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::process::{self, Process};
use super::{ClickHouse, Folder, SOON, eventually, free_port, http, unique};

/// What a verb said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }
}

/// An installation: configuration, topics, group and database of its own on servers that others may use too.
#[derive(Debug)]
pub struct Farebox {
    folder: Folder,
    settings: toml::Table,
    environment: Vec<(String, String)>,
    pub topic: String,
    pub dead_letter_topic: String,
    pub group: String,
    pub database: String,
}

impl Farebox {
    /// Makes the configuration and nothing else: `migrate` makes database, topics and key.
    pub fn new(brokers: &str, clickhouse_url: &str) -> Self {
        let name = unique("it");
        let mut farebox = Self {
            folder: Folder::new("farebox"),
            settings: toml::Table::new(),
            environment: Vec::new(),
            topic: format!("{name}.events"),
            dead_letter_topic: format!("{name}.dead"),
            group: name.clone(),
            database: name.clone(),
        };
        let strings = [
            ("kafka.brokers", brokers),
            ("kafka.group", &farebox.group.clone()),
            ("kafka.topic", &farebox.topic.clone()),
            ("kafka.dead_letter_topic", &farebox.dead_letter_topic.clone()),
            ("kafka.balances_topic", &format!("{name}.balances")),
            ("clickhouse.url", clickhouse_url),
            ("clickhouse.database", &farebox.database.clone()),
            // A killed member is missed after this; the broker allows less than 6 s in tests.
            ("kafka.session_timeout", "3s"),
        ];
        for (key, value) in strings {
            farebox.set(key, value);
        }
        farebox
    }

    /// On the servers that tests share.
    pub fn shared() -> Self {
        Self::new(super::Kafka::shared().brokers(), &ClickHouse::shared().url())
    }

    /// Sets a key of the configuration, by its dotted path, for processes started from now on.
    pub fn set(&mut self, path: &str, value: impl Into<toml::Value>) -> &mut Self {
        let mut keys: Vec<&str> = path.split('.').collect();
        let last = keys.pop().expect("a path");
        let mut table = &mut self.settings;
        for key in keys {
            let entry = table.entry(key).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().expect("a section");
        }
        table.insert(last.to_owned(), value.into());
        fs::write(self.config(), toml::to_string(&self.settings).expect("the settings are TOML")).unwrap();
        self
    }

    /// Sets an environment variable for processes started from now on.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("farebox.toml")
    }

    /// A path in the folder of this installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside the configuration, for instance a price book.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = process::command(env!("CARGO_BIN_EXE_farebox"));
        // Variables of whoever runs the tests are not a test's business.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).env("NO_COLOR", "1");
        command.arg("--config").arg(self.config()).args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let (stdout, stderr) = (self.path(&unique("stdout")), self.path(&unique("stderr")));
        let mut process = Process::start_split(self.command(arguments), &stdout, &stderr);
        let status = process.wait(Duration::from_secs(120));
        Output { status, stdout: fs::read_to_string(stdout).unwrap(), stderr: fs::read_to_string(stderr).unwrap() }
    }

    /// Starts `farebox run` with a metrics listener of its own, and does not wait for anything.
    pub fn start(&self) -> Instance {
        self.start_verb(&["run"])
    }

    /// Starts a verb that does not end by itself.
    pub fn start_verb(&self, arguments: &[&str]) -> Instance {
        let metrics_port = free_port();
        let mut command = self.command(arguments);
        // Every instance its own, so by environment: they share the file.
        command.env("FAREBOX_METRICS__LISTEN", format!("127.0.0.1:{metrics_port}"));
        command.env("FAREBOX_HTTP__LISTEN", format!("127.0.0.1:{}", free_port()));
        Instance { process: Process::start(command, &self.path(&unique("run"))), metrics_port }
    }
}

/// A running `farebox run`. Its signals are those of [`Process`].
#[derive(Debug)]
pub struct Instance {
    pub process: Process,
    metrics_port: u16,
}

impl Instance {
    /// Waits until `/readyz` says so.
    pub fn wait_until_ready(&mut self) {
        eventually(SOON, || {
            if let Some(status) = self.process.ended() {
                panic!("farebox ended ({status}):\n{}", self.process.log());
            }
            match http(self.metrics_port, "GET", "/readyz", b"") {
                Ok((200, _, _)) => Ok(()),
                Ok((status, _, body)) => Err(format!("{status} {body}\n{}", self.process.log())),
                Err(error) => Err(format!("{error}\n{}", self.process.log())),
            }
        });
    }

    /// The sum of a metric over those of its series that have all the given labels, as `name="value"`; none when there is no such series.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let (_, _, body) = http(self.metrics_port, "GET", "/metrics", b"").ok()?;
        sum(&body, name, labels)
    }

    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.sigterm();
        self.process.wait(SOON)
    }
}

#[allow(clippy::float_arithmetic)] // metrics are floats
pub fn sum(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let wanted = found == name && labels.iter().all(|label| rest.trim_end_matches('}').split(',').any(|own| own == *label));
        if wanted { value.parse::<f64>().ok() } else { None }
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}
