//! What the pages for agent developers and analysts say is done here: their questions are asked, their events are decoded, their
//! program is run.
//!
//! `UPDATE_DOCS=1` writes the answers and the programs in the pages anew; no other run writes any. Then read the difference by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use farebox::decode::{Limits, decode};
use farebox::dedupe::{self, Decision, HashKey, Window};
use farebox::model::{Header, Record, Reject, Timestamp};
use serde_json::Value;

use super::direct::{Direct, NOW};
use super::readme::blocks_of;
use super::servers::{ClickHouse, Farebox, Folder, Kafka, SOON, eventually};
use super::story::{Step, Story};

#[allow(dead_code)] // its `main` reads the arguments of a command line
#[path = "../../examples/publish.rs"]
mod publish;

#[allow(dead_code)] // as above
#[path = "../../examples/stop_in_time.rs"]
mod stop_in_time;

const ANALYSTS: &str = "docs/analysts.md";
const GUARANTEES: &str = "docs/guarantees.md";
const PUBLISHING: &str = "docs/publishing.md";
const SESSIONS: &str = "docs/sessions.md";
const BOOK: &str = include_str!("docs/book.toml");
const EVENTS: &str = include_str!("docs/events.jsonl");

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares the page with what it should be; writes it when that is asked for.
fn check(page: &str, expected: &str) {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root(page), expected).unwrap();
    }
    assert!(read(page) == expected, "{page} differs from:\n{expected}");
}

/// Asks every question of a page and compares the answer: the block of text behind it.
fn check_answers(page: &str, direct: &Direct) {
    let text = read(page);
    let (mut answered, mut rest, mut questions) = (String::new(), text.as_str(), 0);
    while let Some((before, after)) = rest.split_once("```sql\n") {
        let (question, after) = after.split_once("\n```\n\n").expect("the question ends");
        let after = after.strip_prefix("```text\n").unwrap_or_else(|| panic!("{page}: no answer to {question}"));
        let (_, after) = after.split_once("```").expect("the answer ends");
        answered += &format!("{before}```sql\n{question}\n```\n\n```text\n{}```", answer(direct, question));
        rest = after;
        questions += 1;
    }
    assert!(questions > 0, "{page}");
    check(page, &(answered + rest));
}

/// As ClickHouse shows it to a person.
fn answer(direct: &Direct, question: &str) -> String {
    let question = question.replace("farebox.", "{db}.");
    let shown =
        direct.query(&format!("{question} FORMAT PrettySpaceNoEscapesMonoBlock SETTINGS output_format_pretty_row_numbers = 0"));
    shown.trim_matches('\n').lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The example of docs/analysts.md, as farebox writes it.
fn example() -> Direct {
    let mut direct = Direct::new(BOOK);
    let mut first = 0;
    for batch in EVENTS.split("\n\n") {
        let events: Vec<String> = batch.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let next = first + events.len();
        let (_, counts) = direct.write(events);
        direct.query(&format!(
            "INSERT INTO {{db}}.batches (source_epoch, topic, topic_id, offset_from, offset_to, received, accepted, duplicates, \
             rejected, kind, record_time_max) VALUES ('1', '{{db}}', 'id', {first}, {next}, {}, {}, {}, {}, 'batch', '{}')",
            counts.received,
            counts.accepted,
            counts.duplicates,
            counts.rejected,
            NOW.trim_end_matches('Z'),
        ));
        first = next;
    }
    direct.query("INSERT INTO {db}.sources SELECT '{db}', 'id', '1', now64(3)");
    direct.query(
        "INSERT INTO {db}.credit_ledger (account, id, kind, amount, day, expires, created_at, created_by) VALUES \
         ('acme', 'welcome', 'grant', 50, '2026-03-01', 0, '2026-03-01 09:00:00', 'ops'), \
         ('acme', 'double-count', 'adjustment', -2.5, '2026-03-18', 0, '2026-03-18 09:00:00', 'ops'), \
         ('globex', 'trial', 'grant', 40, '2026-03-10', '2026-03-18', '2026-03-10 09:00:00', 'ops'), \
         ('globex', 'first-order', 'grant', 10, '2026-03-12', 0, '2026-03-12 09:00:00', 'ops')",
    );
    direct
}

#[test]
fn the_answers_that_analysts_read_are_those_of_the_engine() {
    let mut direct = example();
    check_answers(ANALYSTS, &direct);
    // A sum that is named like its column may not be filtered by it; with a name for the table it may.
    let refused = direct.clickhouse.try_query(&format!("SELECT sum(cost) AS cost FROM {}.costs WHERE cost > 0", direct.database));
    assert!(refused.is_err_and(|error| error.contains("ILLEGAL_AGGREGATION")));
    assert_eq!(direct.query("SELECT sum(c.cost) AS cost FROM {db}.costs AS c WHERE c.cost > 0"), "46.08\n");
    // An event that is weeks late changes a session that was closed.
    let late = r#"{"id": "late", "time": "2026-02-27T10:00:00Z", "account": "acme", "platform": "web", "user": "dora", "agent": "a", "category": "sql"}"#;
    let session = "SELECT unique_users, cost, closed FROM {db}.session_costs WHERE day = '2026-02-27'";
    assert_eq!(direct.query(session), "1\t0.2\t1\n");
    direct.write([late.to_owned()]);
    assert_eq!(direct.query(session), "2\t0.4\t1\n");
    assert_eq!(EVENTS.lines().filter(|line| line.starts_with('{')).count(), 19);
    assert!(read(ANALYSTS).contains("[19 records](../tests/it/docs/events.jsonl)"));
}

#[test]
fn the_queries_of_the_guarantees_answer_as_the_page_says() {
    let direct = example();
    check_answers(GUARANTEES, &direct);
    let page = read(GUARANTEES);
    // Both columns of each comparison are the same.
    let rows = |after: &str| -> Vec<Vec<String>> {
        let (_, rest) = page.split_once(after).expect(after);
        let (_, rest) = rest.split_once("```text\n").expect("an answer");
        let (answer, _) = rest.split_once("```").expect("its end");
        let lines = answer.lines().skip(1).filter(|line| !line.trim().is_empty());
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let days = rows("The rollups are the log");
    assert!(days.len() > 3 && days.iter().all(|row| row[1] == row[2] && row[3] == row[4]), "{days:?}");
    let sessions = rows("The users of a session are those of the log");
    assert!(sessions.len() > 3 && sessions.iter().all(|row| row[row.len() - 1] == row[row.len() - 2]), "{sessions:?}");
    let sums = rows("Every credit once: the views add up");
    assert!(sums.len() == 1 && sums[0].iter().all(|sum| *sum == sums[0][0]), "{sums:?}");
}

#[test]
fn the_table_of_faults_is_made_of_what_the_tests_said() {
    let folder = Folder::new("outcomes");
    let (lines, page) = (folder.path().join("lines"), folder.path().join("page.md"));
    let said = [
        r#"{"doubled":0,"fault":"kill -9 \"between\" inserts","lost":0,"note":"","records":1200,"times":3}"#,
        r#"{"fault":"kill -9 \"between\" inserts","times":1,"records":800,"lost":0,"doubled":0,"note":"a | b"}"#,
        r#"{"doubled":2,"fault":"disk","lost":1,"note":"told","records":10,"times":2}"#,
    ];
    fs::write(&lines, said.join("\n")).unwrap();
    fs::write(&page, "before\n<!-- outcomes -->\nold\n<!-- /outcomes -->\nbehind\n").unwrap();
    let make = || {
        let made = Command::new(root("tools/outcomes")).args([&lines, &page]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        fs::read_to_string(&page).unwrap()
    };
    let expected = "before\n<!-- outcomes -->\n\n| fault | times | records | lost | doubled | besides |\n|---|--:|--:|--:|--:|---|\n\
                    | disk | 2 | 10 | 1 | 2 | told |\n| kill -9 \"between\" inserts | 4 | 2000 | 0 | 0 | a \\| b |\n\
                    | **all** | **6** | **2010** | **1** | **2** | |\n\n<!-- /outcomes -->\nbehind\n";
    assert_eq!(make(), expected);
    assert_eq!(make(), expected, "a second time changes nothing");
    fs::write(&lines, "").unwrap();
    let refused = Command::new(root("tools/outcomes")).args([&lines, &page]).output().unwrap();
    assert!(!refused.status.success() && fs::read_to_string(&page).unwrap() == expected, "{refused:?}");
}

#[test]
fn analysts_read_of_every_column_of_every_view() {
    let direct = example();
    let answer = direct.query(
        "SELECT table, name FROM system.columns WHERE database = '{db}' AND table IN (SELECT name FROM system.tables WHERE database = \
         '{db}' AND engine = 'View') AND table NOT IN ('budget_status_at', 'expired_credits', 'progress', 'projections_at', 'session_all', 'session_priced', 'session_sets', 'unexpired_balances') ORDER BY table, position",
    );
    let mut columns: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in answer.lines() {
        let (view, column) = line.split_once('\t').unwrap();
        columns.entry(view).or_default().insert(column);
    }
    let page = read(ANALYSTS);
    let quoted = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut described: BTreeSet<&str> = BTreeSet::new();
    for section in page.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let rows = || text.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").collect::<Vec<_>>());
        let views: Vec<&str> = title.split(", ").filter_map(|name| columns.get_key_value(name).map(|(view, _)| *view)).collect();
        if views.is_empty() {
            // The price book: a view in each row, its columns beside it, explained in brackets.
            for row in rows() {
                let view = quoted(row[0]).pop().unwrap();
                let Some((view, of_view)) = columns.get_key_value(view.as_str()) else { continue };
                let named = row[1].trim_end_matches(" |").split(", ").map(|word| word.split(' ').next().unwrap());
                assert_eq!(&named.collect::<BTreeSet<_>>(), of_view, "{view}");
                described.insert(view);
            }
        } else {
            let named: BTreeSet<String> = rows().flat_map(|row| quoted(row[0])).collect();
            let of_views: BTreeSet<String> = views.iter().flat_map(|view| &columns[view]).map(|name| (*name).to_owned()).collect();
            assert_eq!(named, of_views, "{title}");
            described.extend(views);
        }
    }
    assert_eq!(described, columns.keys().copied().collect());
}

#[test]
fn the_numbers_of_the_sessions_are_those_of_the_stories() {
    let stories = ["two-platforms", "sessions-across-midnight"].map(|name| Story::read(&root("tests/golden").join(name)));
    let books = stories.each_ref().map(|story| fs::read_to_string(story.folder.join("book.toml")).unwrap()).concat();
    let mut direct = Direct::new(&books);
    for story in &stories {
        let values = story.steps.iter().filter_map(|step| match step {
            Step::Publish(published) => Some(String::from_utf8(published.value.clone().unwrap()).unwrap()),
            Step::Close | Step::Apply { .. } => None,
        });
        let (_, counts) = direct.write(values);
        assert_eq!(counts.accepted, counts.received);
    }
    check_answers(SESSIONS, &direct);
    // "some 100 KB"
    let largest = "SELECT length(CAST(uniqCombined64State(17)(number) AS String)) FROM numbers(1000000)";
    assert_eq!(direct.query(largest), "98505\n");
}

/// A record as the page's events are published: a second after the first one's time.
fn record<'a>(value: &'a str, headers: &'a [(&'a str, &'a str)]) -> Record<'a> {
    Record {
        offset: 0,
        timestamp: Timestamp::parse("2026-01-31T12:00:01Z").unwrap(),
        leader_epoch: 0,
        key: Some(b"acme"),
        value: Some(value.as_bytes()),
        headers: headers.iter().map(|(name, value)| Header { name: name.as_bytes(), value: Some(value.as_bytes()) }).collect(),
    }
}

fn limits() -> Limits {
    Limits { size_max: 256 << 10, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 }
}

fn only(page: &str, info: &str) -> String {
    let [block] = blocks_of(page, info).try_into().unwrap_or_else(|found: Vec<_>| panic!("{} blocks `{info}`", found.len()));
    block
}

#[test]
fn the_events_for_publishers_become_what_the_page_says() {
    let page = read(PUBLISHING);
    let headers = only(&page, "text headers");
    let binary: Vec<(&str, &str)> = headers.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let structured = [("content-type", "application/cloudevents+json")];
    let key = HashKey::new([7; 16]);
    let mut window = Window::new(dedupe::Limits { window_ms: 900_000, ids_max: 100, expire_by_time: true });
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("json plain", none, Decision::New),
        ("json duplicate", none, Decision::Duplicate),
        ("json structured", &structured, Decision::Duplicate),
        ("json binary", &binary, Decision::Duplicate),
        ("json conflict", none, Decision::Conflict),
    ];
    for (offset, (info, headers, expected)) in (0..).zip(cases) {
        let text = only(&page, info);
        let record = record(&text, headers);
        let decoded = decode(&record, &limits()).unwrap_or_else(|reject| panic!("{info}: {reject:?}"));
        assert!(decoded.unknown_fields.is_empty(), "{info}");
        let decision = window.observe(key.fingerprint(&decoded.event), offset, record.timestamp);
        assert_eq!(decision, expected, "{info}");
    }
    assert_eq!(page.matches("```json ").count(), cases.len());
}

#[test]
fn the_changes_that_publishers_should_avoid_are_rejected_as_the_page_says() {
    let page = read(PUBLISHING);
    let event: Value = serde_json::from_str(&only(&page, "json plain")).unwrap();
    let mut seen = 0;
    for row in page.lines().filter(|line| line.starts_with("| `{")) {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [change, reason, detail] = cells.try_into().unwrap_or_else(|_| panic!("{row}"));
        let change: BTreeMap<String, Value> = serde_json::from_str(change.trim_matches('`')).unwrap();
        let mut event = event.clone();
        event.as_object_mut().unwrap().extend(change);
        let text = event.to_string();
        let Reject { reason: found, detail: said, .. } = decode(&record(&text, &[]), &limits()).expect_err(row);
        assert_eq!((found.as_str(), said.as_str()), (reason.trim_matches('`'), detail));
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn the_programs_in_the_page_are_those_in_the_folder() {
    let mut page = read(PUBLISHING);
    for (language, file) in
        [("python", "examples/publish.py"), ("rust", "examples/publish.rs"), ("rust stop", "examples/stop_in_time.rs")]
    {
        let (before, after) = page.split_once(&format!("```{language}\n")).expect(language);
        let end = after.find("```").expect("the program ends");
        page = format!("{before}```{language}\n{}{}", read(file), &after[end..]);
    }
    check(PUBLISHING, &page);
}

#[test]
fn an_event_that_was_published_as_the_page_says_costs_once() {
    let (kafka, clickhouse, farebox) = (Kafka::shared(), ClickHouse::shared(), Farebox::shared());
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", BOOK);
    farebox.run(&["apply", "book.toml"]).expect_success();
    let mut running = farebox.start();
    running.wait_until_ready();

    let page = read(PUBLISHING);
    let mine = publish::usage("acme").unwrap();
    let mut shown: Value = serde_json::from_str(&only(&page, "json plain")).unwrap();
    shown["time"] = mine["time"].clone(); // Kafka's clock is today's
    let mut changed = shown.clone();
    changed["output_tokens"] = 301.into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let producer = publish::producer(kafka.brokers()).unwrap();
        for event in [&mine, &shown, &shown, &changed] {
            publish::publish(&producer, &farebox.topic, event).await.unwrap();
        }
    });

    let database = &farebox.database;
    eventually(SOON, || match clickhouse.query(&format!("SELECT sum(received) FROM {database}.conservation")).trim() {
        "4" => Ok(()),
        received => Err(format!("{received} of 4\n{}", running.process.log())),
    });
    let sums = format!("SELECT sum(accepted), sum(duplicates), sum(rejected) FROM {database}.conservation");
    assert_eq!(clickhouse.query(&sums), "2\t1\t1\n");
    let [cost, rejected] = blocks_of(&page, "sql").try_into().expect("two questions");
    let ask = |question: &str| clickhouse.query(&question.replace("farebox.", &format!("{database}.")));
    assert!(ask(&cost).ends_with("\tsupport-triage\tllm\tgpt-4o\t6\t1\n"), "{}", ask(&cost));
    assert!(ask(&rejected).contains("\tid_conflict\tid: used a moment ago by this source"), "{}", ask(&rejected));
    assert_eq!(clickhouse.query(&format!("SELECT sum(operations_cost) FROM {database}.daily_costs")), "12\n");
}

#[test]
fn an_agent_that_looks_before_it_works_stops_and_goes_on_with_new_credits() {
    let (kafka, farebox) = (Kafka::shared(), Farebox::shared());
    farebox.run(&["migrate"]).expect_success();
    farebox.write("book.toml", BOOK);
    farebox.run(&["apply", "book.toml"]).expect_success();
    farebox.run(&["credits", "grant", "acme", "10", "--key", "first"]).expect_success();
    let topic = format!("{}.balances", farebox.database);
    let mut balance = stop_in_time::Balance::follow(kafka.brokers(), &topic, "acme").unwrap();
    let running = farebox.start();
    let mut used = 0;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let producer = publish::producer(kafka.brokers()).unwrap();
    eventually(SOON, || {
        balance.update(Duration::from_secs(1)).map_err(|error| error.to_string())?;
        if !balance.has_credits() {
            return Ok(());
        }
        used += 1;
        runtime
            .block_on(publish::publish(&producer, &farebox.topic, &publish::usage("acme").unwrap()))
            .map_err(|error| error.to_string())?;
        Err(format!("{used} events were published\n{}", running.process.log()))
    });
    assert!(used >= 2, "10 credits pay for one event and a part of the next");
    farebox.run(&["credits", "grant", "acme", "1000", "--key", "second"]).expect_success();
    eventually(SOON, || {
        balance.update(Duration::from_secs(1)).map_err(|error| error.to_string())?;
        if balance.has_credits() { Ok(()) } else { Err("still exhausted".to_owned()) }
    });
    let published = farebox::publish::PublishedBalance {
        account: "acme".to_owned(),
        balance: farebox::model::Credits::from_nanos(9_999_999_999),
        status: farebox::ledger::Status::Low,
        as_of: Timestamp::parse("2026-01-31T12:00:02.250Z").unwrap(),
    };
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(value(&only(&read(PUBLISHING), "text balance")), value(&published.to_json()));
}

#[test]
fn every_file_that_these_pages_link_to_exists() {
    for page in [ANALYSTS, GUARANTEES, PUBLISHING, SESSIONS] {
        let text = read(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root(page) } else { root(page).parent().unwrap().join(file) };
            let text = fs::read_to_string(&target).unwrap_or_else(|error| panic!("{page} links to {link}: {error}"));
            let anchor = |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
            let is_there = heading.is_empty() || text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(is_there, "{page} links to {link}");
        }
    }
}
