//! What README.md tells the reader to do is done here, word by word; what it says one will see is compared.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use farebox::decode::{self, Limits};
use farebox::model::{Record, Timestamp};

use super::servers::{ClickHouse, Farebox, Folder, Kafka, SOON, eventually, fetched, free_port};

const README: &str = include_str!("../../README.md");
const MAKEFILE: &str = include_str!("../../Makefile");

const PAGES: [(&str, &str); 6] = [
    ("docs/events.md", include_str!("../../docs/events.md")),
    ("docs/prices.md", include_str!("../../docs/prices.md")),
    ("docs/tables.md", include_str!("../../docs/tables.md")),
    ("docs/exactly-once.md", include_str!("../../docs/exactly-once.md")),
    ("docs/credits.md", include_str!("../../docs/credits.md")),
    ("docs/recovery.md", include_str!("../../docs/recovery.md")),
];

fn blocks(info: &str) -> Vec<String> {
    blocks_of(README, info)
}

/// The texts of the fenced blocks whose first line is this, indentation taken off.
pub(super) fn blocks_of(page: &str, info: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().strip_prefix("```") != Some(info) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let text =
            lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{}\n", line.get(indent..).unwrap_or("")));
        found.push(text.collect());
    }
    found
}

fn block(info: &str) -> String {
    let [one] = blocks(info).try_into().unwrap_or_else(|found: Vec<_>| panic!("{} blocks `{info}`", found.len()));
    one
}

/// The text with what differs from run to run put as signs: dates, ports, seconds.
fn stable(text: &str) -> String {
    let mut out = String::new();
    let (text, mail) = text.split_once("\nmail: ").unwrap_or((text, ""));
    for line in text.lines() {
        let line = line.split(", and keeps mails in ").next().unwrap_or_default();
        // The widths of dates never change, so columns stay where they are.
        let mut rest = line;
        while let Some(at) = rest.find(|sign: char| sign.is_ascii_digit()) {
            let (before, number) = rest.split_at(at);
            let end = number.find(|sign: char| !sign.is_ascii_digit() && sign != '-').unwrap_or(number.len());
            let (number, after) = number.split_at(end);
            out.push_str(before);
            let is_date = number.len() == 10 && number.as_bytes()[4] == b'-' && number.as_bytes()[7] == b'-';
            let is_port = out.ends_with("127.0.0.1:");
            out.push_str(if is_date {
                "DATE"
            } else if is_port {
                "PORT"
            } else {
                number
            });
            rest = after;
        }
        out.push_str(rest);
        out.push('\n');
    }
    // A mail says what day and time it is; and at the day's end, no longer when the limit would be reached.
    for line in mail.lines().filter(|line| !line.starts_with("  Limit reached")) {
        out.extend(line.chars().take(12));
        out.push('\n');
    }
    // "metered, 1.9 s after the start"
    match out.split_once("metered, ") {
        Some((before, rest)) => format!("{before}metered, N{}", &rest[rest.find(" s after").unwrap_or(0)..]),
        None => out,
    }
}

#[test]
fn the_demo_prints_what_the_readme_shows_and_leaves_nothing() {
    assert!(MAKEFILE.contains(" -- demo\n"), "`make demo` runs the verb");
    let temporary = Folder::new("demo");
    let mut farebox = Farebox::new("unused:1", "http://unused:1"); // settings for real servers are left alone
    on_its_own(&mut farebox, &temporary);
    let output = farebox.run(&["demo"]).expect_success();

    assert_eq!(stable(&format!("{}{}", output.stderr, output.stdout)), stable(&block("text demo")));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert_eq!(processes_that_name(temporary.path()), Vec::<u32>::new());
}

/// Every trace of the demo lies in this folder.
fn on_its_own(farebox: &mut Farebox, temporary: &Folder) {
    let folder = temporary.path().to_str().unwrap();
    farebox.env("TMPDIR", folder).env("XDG_RUNTIME_DIR", folder);
    farebox.env("FAREBOX_EMBEDDED__LIBRARY", fetched("clickhouse/libchdb.so").to_str().unwrap());
}

#[test]
fn the_demo_stopped_at_any_moment_leaves_nothing() {
    for said in ["", "a day of", "Kafka listens", "made the tables", "published", "all of them"] {
        let temporary = Folder::new("demo");
        let mut farebox = Farebox::new("unused:1", "http://unused:1");
        on_its_own(&mut farebox, &temporary);
        let mut demo = farebox.start_verb(&["demo"]);
        eventually(SOON, || if demo.process.log().contains(said) { Ok(()) } else { Err(format!("not yet: {said}")) });
        // As Ctrl-C does.
        let interrupt = format!("kill -s INT {}", demo.process.pid());
        assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        let status = demo.process.wait(SOON);
        assert!(!status.success() || demo.process.log().contains("conservation"), "{said}: {}", demo.process.log());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "after `{said}`");
        assert_eq!(processes_that_name(temporary.path()), Vec::<u32>::new(), "after `{said}`");
    }
}

#[test]
fn the_demo_that_is_killed_leaves_nothing_either() {
    let temporary = Folder::new("demo");
    let mut farebox = Farebox::new("unused:1", "http://unused:1");
    on_its_own(&mut farebox, &temporary);
    let mut demo = farebox.start_verb(&["demo"]);
    eventually(SOON, || if demo.process.log().contains("published") { Ok(()) } else { Err("nothing published yet") });
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2, "its data, and its address");
    demo.process.kill9();
    eventually(SOON, || {
        let left = (fs::read_dir(temporary.path()).unwrap().count(), processes_that_name(temporary.path()));
        if left == (0, Vec::new()) { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn without_a_library_the_demo_says_what_to_do() {
    let mut farebox = Farebox::new("unused:1", "http://unused:1");
    farebox.set("embedded.library", "/nowhere/libchdb.so");
    let output = farebox.run(&["demo"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr,
        "farebox: no ClickHouse library at `/nowhere/libchdb.so`: set `embedded.library`, or let `make demo` bring it\n"
    );
}

#[test]
fn the_commands_for_real_servers_meter_and_balance() {
    let [make, servers, produce] = blocks("sh").try_into().expect("three blocks of commands");
    assert_eq!(make, "make demo\nmake test\n");
    let [costs, conservation] = blocks("sql").try_into().expect("two questions");
    let clickhouse = ClickHouse::shared();
    let folder = Folder::new("readme");
    let config = block("toml farebox.toml")
        .replace("127.0.0.1:9092", Kafka::shared().brokers())
        .replace("http://127.0.0.1:8123", &clickhouse.url());
    fs::write(folder.path().join("farebox.toml"), config).unwrap();
    fs::write(folder.path().join("book.toml"), block("toml book.toml")).unwrap();

    let mut running = Running(shell(&servers, folder.path()).spawn().unwrap());
    let sent = eventually(SOON, || {
        assert_eq!(running.0.try_wait().unwrap(), None, "{}", said(folder.path()));
        let topics = clickhouse.try_query("SELECT count() FROM farebox.price_book")?;
        if topics.trim() == "0" {
            Err("no price book yet".to_owned())
        } else {
            Ok(shell(&produce, folder.path()).output().unwrap())
        }
    });
    assert!(sent.status.success(), "{}", said(folder.path()));
    eventually(SOON, || {
        assert_eq!(running.0.try_wait().unwrap(), None, "{}", said(folder.path()));
        match clickhouse.query("SELECT sum(received) FROM farebox.conservation").trim() {
            "1000" => Ok(()),
            received => Err(format!("{received} of 1000 are accounted for\n{}", said(folder.path()))),
        }
    });

    #[derive(serde::Deserialize)]
    struct Partition {
        received: u64,
        accepted: u64,
        duplicates: u64,
        rejected: u64,
        logged: u64,
        balanced: u8,
    }
    let partitions: Vec<Partition> = clickhouse.rows(&conservation);
    assert!(partitions.iter().all(|of| of.balanced == 1 && of.logged == of.accepted));
    assert!(partitions.iter().all(|of| of.received == of.accepted + of.duplicates + of.rejected));
    assert!(partitions.iter().any(|of| of.duplicates > 0) && partitions.iter().any(|of| of.rejected > 0));
    let costs = clickhouse.query(&costs);
    assert!(costs.lines().any(|line| line.starts_with("load-1\t") && !line.ends_with("\t0")), "{costs}");
    assert_eq!(costs.lines().filter(|line| line.starts_with("load-")).count(), costs.lines().count());

    // The questions of the other pages: each is understood, and those that look for a contradiction find none.
    for (page, text) in PAGES {
        for question in blocks_of(text, "sql") {
            let answer = clickhouse.query(&question);
            assert!(
                !question.contains("NOT balanced") && !question.contains("!=") || answer.is_empty(),
                "{page}: {question}{answer}"
            );
        }
    }
}

#[test]
fn the_events_that_are_shown_are_accepted_with_all_of_their_fields() {
    for text in [block("json event"), blocks_of(PAGES[0].1, "json").concat()] {
        accepted(&text);
    }
}

fn accepted(text: &str) {
    let record = Record {
        offset: 0,
        timestamp: Timestamp::parse("2026-01-31T12:00:01Z").unwrap(),
        leader_epoch: 0,
        key: Some(b"acme"),
        value: Some(text.as_bytes()),
        headers: Vec::new(),
    };
    let limits = Limits { size_max: 256 << 10, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 };
    let decoded = decode::decode(&record, &limits).expect("accepted");
    assert!(decoded.unknown_fields.is_empty());
}

#[test]
fn every_file_that_is_linked_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["README.md", "docs/decisions/README.md", "src/README.md"];
    for page in pages.into_iter().chain(PAGES.map(|(page, _)| page)) {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let there = link.contains("://") || file.is_empty() || root.join(page).parent().unwrap().join(file).exists();
            assert!(there, "{page} links to {link}");
        }
    }
}

/// A line of README in a shell of its own, which the kernel kills when this test ends.
fn shell(line: &str, folder: &Path) -> Command {
    let binaries = Path::new(env!("CARGO_BIN_EXE_farebox")).parent().unwrap();
    let path =
        std::env::join_paths([binaries.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let log = || fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new("setpriv");
    // The last command takes the shell's place: what is killed is farebox.
    let line = line.trim().replace("&& farebox run", "&& exec farebox run");
    command.args(["--pdeathsig", "KILL", "--", "sh", "-ec", &line]).current_dir(folder).env("PATH", path.unwrap());
    command.env("FAREBOX_METRICS__LISTEN", format!("127.0.0.1:{}", free_port()));
    command.stdin(Stdio::null()).stdout(log()).stderr(log());
    command
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Living processes whose command line names this folder.
pub(super) fn processes_that_name(folder: &Path) -> Vec<u32> {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(folder)
        })
        .collect()
}
