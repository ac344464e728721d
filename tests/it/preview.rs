//! `farebox preview`: what it says of a file is what the pipeline makes of the same lines. None of its runs needs a server; the views do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use farebox::book::{self, Book};
use farebox::cli::{Generator, Settings, price_book};
use farebox::decode;
use farebox::dedupe::{self, HashKey};
use farebox::engine::{Engine, Rules};
use farebox::model::{Credits, Record, SessionAnchor, Timestamp};
use farebox::price::Prices;
use farebox::sink::{Origin, Stamp, memory::Memory};
use serde_json::Value;

use super::direct::Direct;
use super::readme::blocks_of;
use super::servers::{Farebox, SOON, eventually, free_port};

const PAGE: &str = include_str!("../../docs/preview.md");

fn nowhere() -> Farebox {
    Farebox::new(&format!("127.0.0.1:{}", free_port()), &format!("http://127.0.0.1:{}", free_port()))
}

fn preview(farebox: &Farebox, lines: &[String], book: &str) -> Value {
    let file = farebox.write("events.jsonl", &(lines.join("\n") + "\n"));
    let book = farebox.write("book.toml", book);
    let output =
        farebox.run(&["preview", file.to_str().unwrap(), "--book", book.to_str().unwrap(), "--format", "json"]).expect_success();
    assert_eq!(output.stderr, "");
    serde_json::from_str(&output.stdout).unwrap()
}

/// Invented events over so many days that began long ago, `seconds` apart.
fn lines(settings: Settings, start: &str, events: i64, seconds: i64) -> Vec<String> {
    let mut generator = Generator::new(settings);
    let start = Timestamp::parse(start).unwrap();
    let line = |n| generator.next(start.plus_millis(n * seconds * 1000)).value;
    let lines = (0..events).map(line).map(|value| String::from_utf8_lossy(&value).replace('\n', " "));
    lines.collect()
}

fn credits(value: &Value) -> Credits {
    value.as_str().unwrap().parse().unwrap()
}

fn rows<'a>(report: &'a Value, key: &str) -> &'a Vec<Value> {
    report[key].as_array().unwrap()
}

fn key(row: &Value, columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| row[*column].as_str().unwrap().to_owned()).collect()
}

/// What the engine and tables in memory make of the same lines.
fn in_memory(lines: &[String], book: &str, now: Timestamp) -> (Memory, Prices, [u64; 4]) {
    let file = book::parse(book, "book.toml").unwrap();
    let plan = book::plan(&Book::empty(), &file, now, "test", Timestamp::default(), true).unwrap();
    let book = Book::from_rows(plan.rows);
    let rules = Rules {
        limits: decode::Limits { size_max: 256 << 10, age_max_ms: i64::MAX, ahead_max_ms: 600_000 },
        window: dedupe::Limits { window_ms: 900_000, ids_max: 2_000_000, expire_by_time: false },
        key: HashKey::new(*b"another users ke"),
    };
    let mut engine = Engine::new(rules, Arc::new(Prices::new(&book)), 0);
    let origin = Origin { source_epoch: "1".into(), topic: "usage.events".into(), partition: 0, topic_id: "id".into() };
    let (mut memory, mut counts) = (Memory::new(), [0; 4]);
    for (offset, line) in (0..).zip(lines) {
        let value = Some(line.as_bytes());
        engine.apply(&Record { offset, timestamp: now, leader_epoch: 0, key: None, value, headers: Vec::new() });
        if engine.events() >= 1_000 || offset + 1 == lines.len() as i64 {
            let batch = engine.close(engine.next());
            let of_batch = batch.rows.counts;
            let of_batch = [of_batch.received, of_batch.accepted, of_batch.duplicates, of_batch.rejected];
            counts.iter_mut().zip(of_batch).for_each(|(sum, count)| *sum += count);
            let stamp = Stamp { from: batch.from, to: batch.to, price_version: batch.price_version, written_at: now };
            memory.write(&batch.rows, &origin, &stamp);
        }
    }
    (memory, Prices::new(&book), counts)
}

fn equals_the_pipeline(lines: &[String], book: &str) {
    let report = preview(&nowhere(), lines, book);
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    let (memory, prices, counts) = in_memory(lines, book, now);
    let names = ["received", "accepted", "duplicates", "rejected"];
    assert_eq!(names.map(|name| report["records"][name].as_u64().unwrap()), counts);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");

    let mut costs: BTreeMap<Vec<String>, (Credits, u64, u64)> = BTreeMap::new();
    for row in memory.usage_hourly() {
        let sum = costs.entry(vec![row.account, row.category, row.model]).or_default();
        *sum = (sum.0.checked_add(row.cost).unwrap(), sum.1 + row.events, sum.2 + row.unpriced_events);
    }
    let previewed = rows(&report, "operations").iter().map(|row| {
        let number = |column: &str| row[column].as_u64().unwrap();
        (key(row, &["account", "category", "model"]), (credits(&row["cost"]), number("events"), number("unpriced_events")))
    });
    assert_eq!(previewed.collect::<BTreeMap<_, _>>(), costs);

    let sessions: Vec<_> = memory.session_users().collect();
    assert_eq!(rows(&report, "sessions").len(), sessions.len());
    let mut total = Credits::ZERO;
    for session in sessions {
        let found = rows(&report, "sessions").iter().find(|row| {
            key(row, &["account", "platform", "session_start"])
                == [session.account.clone(), session.platform.clone(), session.session_start.clone()]
        });
        let row = found.unwrap_or_else(|| panic!("no {session:?}"));
        let [users, error, events] = ["unique_users", "unique_users_error", "events"].map(|column| row[column].as_u64().unwrap());
        let truth = session.users.len() as u64;
        assert!(users.abs_diff(truth) <= error, "{row}: {truth}");
        assert_eq!(error > 0, truth > 4_095, "{row}");
        assert_eq!(events, session.events);
        let start = Timestamp::parse(&session.session_start).unwrap();
        let anchor = SessionAnchor::from_seconds(u32::try_from(start.seconds().rem_euclid(86_400)).unwrap()).unwrap();
        let unit = prices.unit_session_cost(&session.account, &session.platform, anchor.session_of(start));
        assert_eq!((credits(&row["unit_session_cost"]), row["priced"].as_bool()), (unit.unwrap_or_default(), Some(unit.is_some())));
        assert_eq!(credits(&row["cost"]), unit.unwrap_or_default().checked_mul(users).unwrap());
        total = total.checked_add(credits(&row["cost"])).unwrap();
    }
    assert_eq!(credits(&report["total"]["sessions_cost"]), total);
    let by_platform =
        rows(&report, "platforms").iter().fold(Credits::ZERO, |sum, row| sum.checked_add(credits(&row["cost"])).unwrap());
    assert_eq!(by_platform, total);
    let all = rows(&report, "accounts").iter().fold(Credits::ZERO, |sum, row| sum.checked_add(credits(&row["cost"])).unwrap());
    assert_eq!(credits(&report["total"]["cost"]), all);
}

fn mixed(users: u32) -> Settings {
    Settings { seed: 5, accounts: 4, users, duplicates_ppm: 20_000, conflicts_ppm: 5_000, malformed_ppm: 5_000 }
}

#[test]
fn a_preview_equals_what_the_pipeline_makes_of_the_same_file() {
    equals_the_pipeline(&lines(mixed(300), "2025-03-01T00:00:00Z", 12_000, 40), &price_book(4));
}

#[test]
fn with_very_many_users_it_equals_within_the_error_it_prints() {
    let settings = Settings { accounts: 1, ..mixed(60_000) };
    equals_the_pipeline(&lines(settings, "2025-03-01T00:00:00Z", 30_000, 2), &price_book(1));
}

#[test]
fn a_preview_equals_the_views_of_a_database() {
    let book = price_book(4);
    let lines = lines(mixed(200), "2026-03-10T00:00:00Z", 6_000, 60);
    let mut direct = Direct::new(&book);
    lines.chunks(1_500).for_each(|chunk| drop(direct.write(chunk.to_vec())));
    let report = preview(&nowhere(), &lines, &book); // the views' clock stands in March, its own does not matter: a file is history

    let answer = direct.query(
        "SELECT account, platform, formatDateTime(session_start, '%Y-%m-%dT%H:%i:%SZ') AS start, unique_users, events, toString(cost) \
         FROM {db}.session_costs ORDER BY account, platform, start",
    );
    let mut previewed = String::new();
    for row in rows(&report, "sessions") {
        let key = key(row, &["account", "platform", "session_start"]).join("\t");
        writeln!(previewed, "{key}\t{}\t{}\t{}", row["unique_users"], row["events"], row["cost"].as_str().unwrap()).unwrap();
    }
    assert_eq!(previewed, answer);

    let answer = direct.query(
        "SELECT account, kind, category, model, sum(c.events), toString(sum(c.cost)) FROM {db}.costs AS c WHERE kind != 'session' \
         GROUP BY account, kind, category, model ORDER BY account, category, model",
    );
    let mut previewed = String::new();
    for row in rows(&report, "operations") {
        let key = key(row, &["account", "kind", "category", "model"]).join("\t");
        writeln!(previewed, "{key}\t{}\t{}", row["events"], row["cost"].as_str().unwrap()).unwrap();
    }
    assert_eq!(previewed, answer);
}

fn block(info: &str) -> String {
    let [one] = blocks_of(PAGE, info).try_into().unwrap_or_else(|found: Vec<_>| panic!("{} blocks `{info}`", found.len()));
    one
}

fn in_a_folder_of_the_page(format: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (info, name) in [("toml book.toml", "book.toml"), ("json events.jsonl", "events.jsonl")] {
        std::fs::write(folder.path().join(name), block(info)).unwrap();
    }
    let command = block("sh");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let output =
        Command::new(env!("CARGO_BIN_EXE_farebox")).args(words).args(["--format", format]).current_dir(folder.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_shows_what_the_command_prints() {
    assert_eq!(in_a_folder_of_the_page("table"), block("text output"));
    assert_eq!(in_a_folder_of_the_page("csv").replace("\r\n", "\n"), block("text csv"));
}

#[test]
fn the_page_names_every_key_of_the_json() {
    let report: Value = serde_json::from_str(&in_a_folder_of_the_page("json")).unwrap();
    let mut keys: Vec<String> = Vec::new();
    for (name, value) in report.as_object().unwrap() {
        keys.push(name.clone());
        let inner = value.as_array().map_or(Some(value), |rows| rows.first());
        let is_open = name != "rejected_by_reason"; // its keys are the reasons
        keys.extend(inner.and_then(Value::as_object).filter(|_| is_open).into_iter().flat_map(|object| object.keys().cloned()));
    }
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        assert!(PAGE.contains(&format!("`{key}`")), "the page does not name {key}");
    }
}

#[test]
fn old_events_are_history_unless_their_age_is_checked() {
    let farebox = nowhere();
    let file = farebox.write("events.jsonl", &block("json events.jsonl"));
    let book = farebox.write("book.toml", &block("toml book.toml"));
    let line = ["preview", file.to_str().unwrap(), "--book", book.to_str().unwrap(), "--format", "json", "--check-age"];
    let report: Value = serde_json::from_str(&farebox.run(&line).expect_success().stdout).unwrap();
    assert_eq!(report["rejected_by_reason"]["time_out_of_range"], 5, "{report}");
    assert_eq!(report["records"]["accepted"], 0);
}

#[test]
fn what_is_no_file_of_events_is_refused_in_one_sentence() {
    let farebox = nowhere();
    let book = farebox.write("book.toml", "[[account]]\nid = \"acme\"\n");
    let folder = book.parent().unwrap();
    std::fs::write(folder.join("binary"), b"\x7fELF\x02\0\0").unwrap();
    std::fs::write(folder.join("packed"), b"\x1f\x8b\x08rest").unwrap();
    std::fs::write(folder.join("array"), vec![b'['; 5 << 20]).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("locked"), "{}\n").unwrap();
    std::fs::set_permissions(folder.join("locked"), PermissionsExt::from_mode(0o000)).unwrap();
    let mut cases = vec![
        ("missing", "No such file"),
        (".", "is a folder"),
        ("empty", "is empty"),
        ("binary", "is no text"),
        ("packed", "gzip -dc"),
        ("array", "a line is longer than 4 MiB"),
    ];
    if std::fs::read(folder.join("locked")).is_err() {
        cases.push(("locked", "Permission denied")); // who may read everything is never refused
    }
    for (name, said) in cases {
        let file = folder.join(name);
        let output = farebox.run(&["preview", file.to_str().unwrap(), "--book", book.to_str().unwrap()]);
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(1), ""), "{name}");
        let is_one_sentence = output.stderr.lines().count() == 1 && output.stderr.starts_with("farebox: ");
        let names_it = name == "." || output.stderr.contains(name);
        assert!(is_one_sentence && names_it && output.stderr.contains(said), "{name}: {}", output.stderr);
    }
    let file = farebox.write("events.jsonl", "{}\n");
    let away = farebox.run(&["preview", file.to_str().unwrap()]);
    assert_eq!((away.status.code(), away.stdout.as_str()), (Some(1), ""));
    assert!(away.stderr.contains("--book FILE") && away.stderr.contains("cannot be reached"), "{}", away.stderr);
}

#[test]
fn ctrl_c_says_how_far_it_came_and_that_nothing_was_done() {
    let farebox = nowhere();
    let book = farebox.write("book.toml", "[[account]]\nid = \"acme\"\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.args(["preview", "/dev/stdin", "--book", book.to_str().unwrap()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = child.stdin.take().unwrap(); // stays open: the file never ends
    events.write_all(b"{}\n").unwrap();
    let status = format!("/proc/{}/status", child.id());
    eventually(SOON, || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        let has_sigint = u64::from_str_radix(caught, 16).unwrap() & 0b10 != 0;
        if has_sigint { Ok(()) } else { Err("does not listen to Ctrl-C yet") }
    });
    assert!(Command::new("sh").args(["-c", "kill -s INT \"$0\"", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    assert!(said.contains("stopped after") && said.contains("nothing was published or written"), "{said}");
}
