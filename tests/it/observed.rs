//! Seen from outside: every panel of every board has data after a run, every rule fires when its fault is made and ends when it is mended by the
//! runbook, and what is written for containers starts real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::desk::{BOOK, installed, used};
use super::quick::wait_for_received;
use super::servers::{
    ClickHouse, Farebox, Folder, Instance, Kafka, Mails, Message, Process, SOON, eventually, fetched, free_port, http, process,
};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    use std::io::Write as _;
    let mut command = Command::new(fetched("prometheus/bin/promtool"));
    command.args(arguments).current_dir(project("dashboards/alerts"));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A real Prometheus that scrapes one instance every second.
struct Prometheus {
    // Before the folder: ended first.
    process: Process,
    folder: Folder,
    port: u16,
}

impl Prometheus {
    fn start(target: u16, rules: &str) -> Self {
        let folder = Folder::new("prometheus");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("alerts")).unwrap();
        fs::write(path("alerts/farebox.yml"), rules).unwrap();
        fs::write(path("prometheus.yml"), config_for(target)).unwrap();
        let port = free_port();
        let mut command = process::command(fetched("prometheus/bin/prometheus"));
        command.arg(format!("--config.file={}", path("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", path("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start(command, &path("log"));
        let prometheus = Self { process, folder, port };
        eventually(SOON, || match http(port, "GET", "/-/ready", b"") {
            Ok((200, ..)) => Ok(()),
            other => Err(format!("{other:?} {}", prometheus.process.log())),
        });
        prometheus
    }

    /// From now on it scrapes another instance.
    fn look_at(&mut self, target: u16) {
        fs::write(self.folder.path().join("prometheus.yml"), config_for(target)).unwrap();
        self.process.signal("HUP");
    }

    fn ask(&self, path: &str) -> Value {
        let (_, _, body) = http(self.port, "GET", path, b"").unwrap();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The series that a question answers with.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Alerts that fire, with where their runbook is.
    fn firing(&self) -> BTreeMap<String, String> {
        let answer = self.ask("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["annotations"]["runbook_url"]))).collect()
    }

    #[track_caller]
    fn wait_for(&self, alert: &str, fires: bool) {
        eventually(SOON, || {
            let firing = self.firing();
            if firing.contains_key(alert) == fires { Ok(()) } else { Err(format!("{alert} {fires}: {firing:?}")) }
        });
    }
}

/// The file of the containers, but for where farebox is and how often it is asked.
fn config_for(target: u16) -> String {
    let config = fs::read_to_string(project("deploy/prometheus.yml")).unwrap();
    assert!(config.contains("[\"farebox:7401\"]") && config.contains("10s"));
    config.replace("farebox:7401", &format!("127.0.0.1:{target}")).replace("10s", "1s")
}

struct Panel {
    title: String,
    targets: Vec<String>,
}

/// The panels of a board, whose text is looked at on the way: what Grafana's dashboard linter asks for.
fn panels(board: &str) -> Vec<Panel> {
    let text = fs::read_to_string(project("dashboards").join(board)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let (mut ids, mut panels) = (BTreeSet::new(), Vec::new());
    for panel in json["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        if panel["type"] == "row" {
            continue;
        }
        let title = panel["title"].as_str().unwrap().to_owned();
        assert!(!title.is_empty() && panel["description"].as_str().is_some_and(|said| said.len() > 8), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let of = |target: &Value| target["expr"].as_str().or(target["rawSql"].as_str()).unwrap().to_owned();
        panels.push(Panel { title, targets: targets.iter().map(of).collect() });
    }
    let variables = json["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["name"], "datasource");
    assert!(variables[1..].iter().all(|variable| variable["refresh"] == 2), "variables are asked for when the time range changes");
    assert_eq!(json["editable"], false);
    panels
}

/// A run in which everything happens that a panel shows.
fn busy(mails: &Mails) -> (Farebox, Instance) {
    let book = format!(
        "{BOOK}\n[[account]]\nid = \"load-1\"\n\n[[account]]\nid = \"load-2\"\n\n[[session_price]]\naccount = \"*\"\nplatform = \"web\"\nunit_session_cost = \"0.2\"\n\n\
         [[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"0.1\"\n"
    );
    let mut farebox = installed(&book, mails);
    farebox.set("leader.interval", "1s").set("alerts.operator_emails", vec!["ops@example.com"]);
    farebox.run(&["credits", "grant", "acme", "2000", "--key", "first"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    (farebox, instance)
}

/// More of everything, so that rates are above 0 whenever they are asked for.
fn more(farebox: &Farebox, round: usize) {
    let seed = round.to_string();
    let line = ["produce", "--events", "300", "--accounts", "2", "--users", "20", "--duplicates", "0.05", "--malformed", "0.05"];
    farebox.run(&[&line[..], &["--seed", &seed]].concat()).expect_success();
    Kafka::shared().client.produce(&farebox.topic, &[used(&format!("u{round}"), "60")]);
}

#[test]
fn every_panel_of_the_pipeline_has_data_and_asks_for_nothing_that_nobody_emits() {
    let mails = Mails::start(&[]);
    let (farebox, mut instance) = busy(&mails);
    let prometheus = Prometheus::start(instance.metrics_port(), "groups: []\n");
    let page = http(instance.metrics_port(), "GET", "/metrics", b"").unwrap().2;
    let emitted: BTreeSet<&str> =
        page.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    let mut left: Vec<(String, String)> = Vec::new();
    for Panel { title, targets } in panels("pipeline.json") {
        for target in targets {
            for word in target.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let is_ours = word.starts_with("farebox_") || word.starts_with("process_");
                assert!(!is_ours || emitted.contains(word), "{title}: nobody emits {word}");
            }
            let expression = target.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+");
            left.push((title.clone(), expression));
        }
    }
    let mut round = 0;
    eventually(SOON * 2, || {
        more(&farebox, round);
        round += 1;
        // NaN is what a quantile of nothing is.
        let has_data = |series: &Value| series["value"][1].as_str().is_some_and(|value| value != "NaN");
        left.retain(|(_, expression)| !prometheus.query(expression).iter().any(has_data));
        if left.is_empty() { Ok(()) } else { Err(format!("no data: {left:#?}")) }
    });
    instance.stop();
}

#[test]
fn every_panel_of_money_has_data() {
    let mails = Mails::start(&[]);
    let (farebox, mut instance) = busy(&mails);
    for round in 0..12 {
        more(&farebox, round); // 60 credits each: the threshold of 50 % is crossed
    }
    mails.wait_for(1, SOON);
    let ends: i64 = Kafka::shared().client.offsets(&farebox.topic, 0).1;
    wait_for_received(ClickHouse::shared(), &mut instance, &farebox.database, u64::try_from(ends).unwrap());
    let accounts = ClickHouse::shared().query(&format!("SELECT DISTINCT account FROM {}.daily_costs", farebox.database));
    let accounts: Vec<String> = accounts.lines().map(|account| format!("'{account}'")).collect();
    for Panel { title, targets } in panels("money.json") {
        for target in targets {
            let sql = target
                .replace("${account:singlequote}", &accounts.join(","))
                .replace("$__dateFilter(day)", "day BETWEEN today() - 30 AND today() + 1")
                .replace("$__timeFilter(received_at)", "received_at > now() - 86400")
                .replace("$__timeFilter(created_at)", "created_at > now() - 86400");
            assert!(!sql.contains('$'), "{title}: {sql}");
            let answer =
                http(ClickHouse::shared().port(), "POST", &format!("/?database={}", farebox.database), sql.as_bytes()).unwrap();
            assert!(answer.0 == 200 && !answer.2.trim().is_empty(), "{title} is empty: {sql}\n{}", answer.2);
        }
    }
    instance.stop();
}

#[test]
fn prometheus_finds_nothing_to_say_about_the_metrics_the_rules_and_their_tests() {
    let mails = Mails::start(&[]);
    let (farebox, mut instance) = busy(&mails);
    more(&farebox, 0);
    mails.wait_for(1, SOON); // the canary
    let page = http(instance.metrics_port(), "GET", "/metrics", b"").unwrap().2;
    let (is_clean, said) = promtool(&["check", "metrics"], &page);
    assert!(is_clean && said.trim().is_empty(), "{said}");
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 200, "{series} series");
    instance.stop();
    for arguments in [&["check", "rules", "farebox.yml"][..], &["test", "rules", "farebox_test.yml"]] {
        let (is_clean, said) = promtool(arguments, "");
        assert!(is_clean, "{said}");
    }
    let (rules, runbook) = (rules(), fs::read_to_string(project("docs/runbook.md")).unwrap());
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let entries: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(sorted(names.clone()), sorted(entries));
    for name in names {
        assert!(rules.contains(&format!("runbook_url: docs/runbook.md#{}\n", name.to_lowercase())), "{name}");
    }
}

fn rules() -> String {
    fs::read_to_string(project("dashboards/alerts/farebox.yml")).unwrap()
}

/// The same rules with less patience, so that a test need not have it.
fn impatient_rules() -> String {
    let mut text = String::new();
    for line in rules().lines().filter(|line| !line.trim_start().starts_with("for: ")) {
        text += &line
            .replace("> 120", "> 2")
            .replace("> 300", "> 1")
            .replace("[10m]", "[5s]")
            .replace("[15m]", "[5s]")
            .replace("[1h]", "[5s]")
            .replace("[25h]", "[5s]")
            .replace("offset 25h", "offset 5s");
        text.push('\n');
    }
    text
}

#[test]
fn each_fault_of_the_runbook_fires_its_rule_and_ends_it_when_it_is_mended() {
    let mut mails = Mails::start(&[]);
    let mut clickhouse = ClickHouse::start();
    let book = BOOK.replace("\"finance@acme.example\"", "\"finance@acme.example\", \"bad@acme.example\"");
    let mut farebox = super::desk::installed_on(&book, &mails, &clickhouse);
    farebox.set("leader.interval", "1s").set("smtp.timeout", "1s");
    let start = || {
        let mut instance = farebox.start();
        instance.wait_until_ready();
        instance
    };
    let mut instance = start();
    let kafka = &Kafka::shared().client;
    let mut prometheus = Prometheus::start(instance.metrics_port(), &impatient_rules());
    kafka.produce(&farebox.topic, &[used("1", "1")]);
    wait_for_received(&clickhouse, &mut instance, &farebox.database, 1);

    // ClickHouse is away; it comes back.
    clickhouse.kill9();
    kafka.produce(&farebox.topic, &[used("2", "1")]);
    prometheus.wait_for("FareboxNotFlushing", true);
    // Meanwhile more comes than is taken.
    let mut seed = 0;
    eventually(SOON, || {
        seed += 1;
        farebox.run(&["produce", "--events", "50000", "--accounts", "1", "--seed", &seed.to_string()]).expect_success();
        if prometheus.firing().contains_key("FareboxLagGrows") { Ok(()) } else { Err(prometheus.process.log()) }
    });
    clickhouse.restart();
    prometheus.wait_for("FareboxNotFlushing", false);
    prometheus.wait_for("FareboxLagGrows", false);
    let end = || u64::try_from(kafka.offsets(&farebox.topic, 0).1).unwrap();
    wait_for_received(&clickhouse, &mut instance, &farebox.database, end());

    // The mail server knows nobody of that name.
    kafka.produce(&farebox.topic, &[used("3", "500")]);
    prometheus.wait_for("FareboxMailFailed", true);
    prometheus.wait_for("FareboxMailFailed", false);

    // The mail server is away when a threshold is crossed; it comes back.
    mails.kill9();
    kafka.produce(&farebox.topic, &[used("3b", "300")]);
    prometheus.wait_for("FareboxMailStuck", true);
    prometheus.wait_for("FareboxCanarySilent", true);
    mails.launch(&[]);

    // Some producer sends what no rule accepts, and mends itself.
    kafka.produce(&farebox.topic, &[Message::new("acme", "{}"), Message::new("acme", "{}")]);
    prometheus.wait_for("FareboxDeadLettersRise", true);
    prometheus.wait_for("FareboxDeadLettersRise", false);

    // Usage without a price.
    let unpriced = serde_json::json!({ "id": "free", "time": farebox::runtime::clock::now().to_string(), "account": "nobody", "agent": "a", "category": "llm" });
    kafka.produce(&farebox.topic, &[Message::new("nobody", unpriced.to_string())]);
    prometheus.wait_for("FareboxUnpriced", true);

    // Somebody moves the group's offset: the partition stops, and the instance with it is stopped and recovered as the entry says.
    instance.stop();
    prometheus.wait_for("FareboxDown", true);
    kafka.produce(&farebox.topic, &[used("4", "1"), used("5", "1")]);
    kafka.commit(&farebox.group, &farebox.topic, 0, kafka.offsets(&farebox.topic, 0).1, "");
    let mut instance = farebox.start();
    prometheus.look_at(instance.metrics_port());
    prometheus.wait_for("FareboxDown", false);
    prometheus.wait_for("FareboxGuardTripped", true);
    assert_eq!(prometheus.firing()["FareboxGuardTripped"], "docs/runbook.md#fareboxguardtripped");
    instance.stop();
    eventually(SOON, || {
        let recovered = farebox.run(&["recover", "--yes"]);
        if recovered.status.success() { Ok(()) } else { Err(recovered.stderr) }
    });
    let mut instance = start();
    prometheus.look_at(instance.metrics_port());
    prometheus.wait_for("FareboxGuardTripped", false);
    wait_for_received(&clickhouse, &mut instance, &farebox.database, end());
    instance.stop();
}

/// The variables of a service in the compose file.
fn composed(prefix: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(project("docker-compose.yml")).unwrap();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(prefix).and(line.trim().split_once(": ")));
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[test]
fn the_composed_broker_meters() {
    let variables = composed("KAFKA_");
    assert!(variables.len() > 12, "{variables:?}");
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let kafka = Kafka::start_from_environment(&variables);
    let mut farebox = super::quick::quick(&kafka, ClickHouse::shared());
    farebox.set("kafka.replication_factor", 1);
    farebox.run(&["migrate"]).expect_success();
    let mut instance = farebox.start();
    kafka.client.produce(&farebox.topic, &[super::quick::event("acme", "1")]);
    wait_for_received(ClickHouse::shared(), &mut instance, &farebox.database, 1);
    assert!(instance.stop().success());
}

#[test]
fn the_composed_users_of_clickhouse_write_and_read_and_no_more() {
    let passwords = [("CLICKHOUSE_FAREBOX_PASSWORD", "one"), ("CLICKHOUSE_GRAFANA_PASSWORD", "two")];
    let clickhouse = ClickHouse::start_with_users(&project("deploy/clickhouse/users.xml"), &passwords);
    let ask = |user: &str, password: &str, sql: &str| {
        let path = format!("/?user={user}&password={password}");
        http(clickhouse.port(), "POST", &path, sql.as_bytes()).map(|(status, _, body)| (status == 200, body)).unwrap()
    };
    assert!(!ask("farebox", "wrong", "SELECT 1").0 && !ask("grafana", "one", "SELECT 1").0);
    let mut farebox = Farebox::new(Kafka::shared().brokers(), &clickhouse.url());
    farebox.set("clickhouse.user", "farebox").set("clickhouse.password", "one").set("clickhouse.database", "farebox");
    farebox.run(&["migrate"]).expect_success();
    let (may, said) = ask("grafana", "two", "SELECT count() FROM farebox.daily_costs");
    assert!(may, "{said}");
    for sql in ["INSERT INTO farebox.stops (topic) VALUES ('x')", "DROP TABLE farebox.batches", "CREATE DATABASE other"] {
        let (may, said) = ask("grafana", "two", sql);
        assert!(!may, "{sql}: {said}");
    }
}
