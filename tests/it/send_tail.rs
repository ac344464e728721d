//! `send` and `tail`: an event of one's own, what becomes of it, and how it passes by.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::servers::{Client, Farebox, Folder, Kafka, SOON, eventually, free_port};

const BOOK: &str = r#"
[[account]]
id = "acme"
charge = ["sessions", "operations"]

[[session_price]]
account = "*"
platform = "web"
unit_session_cost = "0.5"

[[rate]]
account = "*"
category = "llm"
model = "gpt-4o-mini"
per_1k_input_tokens = "0.25"
per_1k_output_tokens = "1"
"#;

const EVENT: [&str; 16] = [
    "--account",
    "acme",
    "--agent",
    "triage",
    "--category",
    "llm",
    "--model",
    "gpt-4o-mini",
    "--platform",
    "web",
    "--user",
    "anna",
    "--input-tokens",
    "1000",
    "--output-tokens",
    "125",
];

/// An installation whose servers are not there.
fn nowhere() -> Farebox {
    Farebox::new(&format!("127.0.0.1:{}", free_port()), &format!("http://127.0.0.1:{}", free_port()))
}

fn talk(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.strip_prefix("farebox: ")).collect()
}

/// Runs a verb without a configuration of its own.
fn bare(arguments: &[&str], runtime: &Path, stdin: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
        command.env_remove(name);
    }
    command.args(arguments).env("XDG_RUNTIME_DIR", runtime).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_event_is_followed_to_its_fate_and_seen_passing_by() {
    let mut farebox = Farebox::shared();
    farebox.set("kafka.partitions", 1).set("batch.max_age", "100ms").set("metrics.listen", "");
    farebox.run(&["migrate"]).expect_success();
    let book = farebox.write("book.toml", BOOK);
    farebox.run(&["apply", book.to_str().unwrap()]).expect_success();

    // Before anybody meters: it is in the topic under its account's key, and nothing is known of it.
    let unmetered = farebox.run(&[&["send", "--follow", "--wait", "1s"], &EVENT[..]].concat());
    assert_eq!(unmetered.status.code(), Some(1), "{}", unmetered.stderr);
    assert!(talk(&unmetered.stderr).last().unwrap().contains("does `farebox run` read this topic?"), "{}", unmetered.stderr);
    let record = Client::new(Kafka::shared().brokers()).read(&farebox.topic, 0).pop().unwrap();
    assert_eq!(record.key.as_deref(), Some(&b"acme"[..]));

    let mut tail = farebox.start_verb(&["tail", "--since", "1h", "--format", "json"]);
    eventually(SOON, || if tail.process.log().contains("Ctrl-C ends") { Ok(()) } else { Err(tail.process.log()) });
    let mut metering = farebox.start();
    let time = farebox::runtime::clock::now().to_string();
    let first = [&["send", "--follow", "--id", "one", "--time", &time][..], &EVENT[..]].concat();

    let accepted = farebox.run(&first).expect_success();
    let start = format!("{}T00:00:00Z", &time[..10]);
    let expected = format!(
        "topic          {}\npartition      0\noffset         1\naccount        acme\nid             one\nfate           accepted\n\
         cost           0.375\npriced         true\nsession_start  {start}\nunique_users   1\n",
        farebox.topic
    );
    assert_eq!(accepted.stdout, expected);
    let told = talk(&accepted.stderr);
    assert_eq!(told[0], format!("sending to the topic `{}` of Kafka at {}", farebox.topic, Kafka::shared().brokers()));
    assert!(
        told[1].starts_with(&format!("following it in the database `{}` of ClickHouse at http://127.0.0.1:", farebox.database))
    );
    assert_eq!(
        told[2..],
        [
            "acknowledged in partition 0 at offset 1; waiting until it is metered",
            "accepted: it costs 0.375 credits, by version 1 of the price book",
            &format!("its session on `web` began at {start} and has 1 unique user now, at 0.5 credits each"),
        ]
    );

    let json = |arguments: &[&str]| {
        let output = farebox.run(&[arguments, &["--format", "json"]].concat());
        (output.status.code(), serde_json::from_str::<Value>(&output.stdout).unwrap(), output.stderr)
    };
    let (code, duplicate, _) = json(&first);
    assert_eq!((code, &duplicate["fate"], &duplicate["cost"]), (Some(0), &"duplicate".into(), &Value::Null));
    let (code, conflict, said) = json(&[&first[..], &["--duration-ms", "5"]].concat());
    assert_eq!((code, &conflict["fate"], &conflict["reason"]), (Some(1), &"rejected".into(), &"id_conflict".into()));
    assert!(talk(&said).last().unwrap().starts_with("the event was rejected: id_conflict: "), "{said}");
    let (code, unpriced, said) = json(&["send", "--follow", "--account", "acme", "--agent", "a", "--category", "poetry"]);
    assert_eq!((code, &unpriced["fate"], &unpriced["priced"]), (Some(0), &"accepted".into(), &false.into()));
    assert!(said.contains("no rate for category `poetry` without a model") && said.contains("belongs to no session"), "{said}");

    // What the page for publishers shows.
    let page = include_str!("../../docs/publishing.md");
    let block =
        |info: &str| page.split_once(&format!("```{info}\n")).and_then(|(_, rest)| rest.split_once("```")).expect("a block").0;
    let line = block("sh").replace("\\\n", "");
    let words: Vec<_> = line.split_whitespace().collect();
    let shown = farebox.run(&words[1..]).expect_success().stdout;
    let steady = |text: &str| {
        let varies = |line: &&str| ["topic", "partition", "offset", "session_start"].iter().any(|name| line.starts_with(name));
        text.lines().map(|line| if varies(&line) { line.split(' ').next().unwrap() } else { line }.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(steady(&shown).len(), 10);
    assert_eq!(steady(&shown.replace("unique_users   2", "unique_users   1")), steady(block("text send")));
    let row: serde_json::Map<_, _> = serde_json::from_value(accepted_row(&farebox)).unwrap();
    assert!(row.keys().all(|name| page.contains(&format!("`{name}`"))), "{row:?}");

    // A file with an event in each line: a second user, and one that is wrong and wanted all the same.
    let file = farebox.write(
        "events.jsonl",
        "{\"id\":\"two\",\"account\":\"acme\",\"agent\":\"triage\",\"category\":\"llm\",\"model\":\"gpt-4o-mini\",\"platform\":\"web\",\"user\":\"bert\",\"input_tokens\":4000}\n\
         \n{\"id\":\"three\",\"account\":\"acme\",\"agent\":\"triage\",\"category\":\"llm\",\"quantity\":1,\"colour\":2}\n",
    );
    let file = file.to_str().unwrap();
    let refused = farebox.run(&["send", file]);
    assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(1), ""));
    let reason = "bad_value: quantity: the number 1, expected a decimal string such as \"1.25\"";
    assert_eq!(
        talk(&refused.stderr),
        [
            format!("line 3: {reason}").as_str(),
            "1 of 2 events would be rejected; nothing was sent; mend them, or send all of them with --anyway"
        ]
    );
    let many = farebox.run(&["send", "--anyway", "--follow", file]);
    assert_eq!(many.status.code(), Some(1), "{}", many.stderr);
    let lines: Vec<_> = many.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["id account fate cost note", "two acme accepted 1", &format!("acme rejected {reason}")]);

    // All of it passes by, in the order of the offsets, each once.
    let seen = eventually(SOON, || {
        let log = tail.process.log();
        let rows: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if rows.len() >= 7 { Ok(rows) } else { Err(log) }
    });
    let fates: Vec<_> = seen.iter().map(|row| (row["offset"].as_i64().unwrap(), row["fate"].as_str().unwrap())).collect();
    let (yes, no) = ("accepted", "rejected");
    assert_eq!(fates, [(0, yes), (1, yes), (3, no), (4, yes), (5, yes), (6, yes), (7, no)]);
    assert_eq!((&seen[1]["id"], &seen[1]["cost"], &seen[1]["priced"]), (&"one".into(), &"0.375".into(), &true.into()));
    let interrupted = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &tail.process.pid().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(tail.process.wait(SOON).code(), Some(0), "{}", tail.process.log());

    let tail = |arguments: &[&str]| farebox.run(&[&["tail", "--since", "1h"], arguments].concat()).expect_success().stdout;
    let csv = tail(&["--rejected", "--limit", "2", "--format", "csv"]);
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert_eq!(
        lines[0],
        "received_at,fate,account,agent,category,model,platform,cost,priced,reason,detail,id,source,time,partition,offset"
    );
    assert!(lines[1].contains(",rejected,acme,,,,,,,id_conflict,") && lines[2].contains(",bad_value,"), "{csv}");
    let table = tail(&["--category", "poetry", "--account", "acme", "--limit", "1"]);
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(
        rows[0],
        "received_at               fate      account       agent               category   model           platform  cost          note"
    );
    assert!(
        rows.len() == 2
            && rows[1].ends_with(
                "accepted  acme          a                   poetry                               0             no price"
            ),
        "{table}"
    );
    let accepted = tail(&["--accepted", "--model", "gpt-4o-mini", "--limit", "3", "--format", "json"]);
    let ids: Vec<Value> = accepted.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids[1..], ["one", "order-18/1"]);
    metering.stop();
}

/// An accepted event, as `tail` shows it to programs.
fn accepted_row(farebox: &Farebox) -> Value {
    let output = farebox.run(&["tail", "--accepted", "--since", "1h", "--limit", "1", "--format", "json"]).expect_success();
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn what_would_be_rejected_is_not_sent() {
    let farebox = nowhere();
    let binary = farebox.path("binary");
    fs::write(&binary, [0xff, 0xfe, 0, 1]).unwrap();
    let (empty, array) = (farebox.write("empty", " \n"), farebox.write("array", "[{\"account\": \"acme\"}]"));
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    let old = [&["send", "--time", "2020-01-01T00:00:00Z"], &EVENT[..]].concat().into_iter().map(str::to_owned).collect();
    for (line, said) in [
        (
            vec!["send".to_owned(), "--account".into(), "acme".into()],
            "the event would be rejected: missing_field: agent: absent, is required; category: absent, is required; nothing was sent; mend it, or send it with --anyway",
        ),
        (old, "time_out_of_range: time: 2020-01-01T00:00:00Z is more than "),
        (vec!["send".into(), at(&empty)], "holds no event: write one as a JSON object, or one in each line"),
        (vec!["send".into(), at(&binary)], "malformed: value: not UTF-8 from byte 0 on"),
        (vec!["send".into(), at(&array)], "malformed: not a JSON object"),
        (vec!["send".into(), at(farebox.config().parent().unwrap())], "Is a directory"),
        (vec!["send".into(), "nothing.json".into()], "cannot read events from `nothing.json`: No such file"),
    ] {
        let output = farebox.run(&line.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (output.status.code(), output.stdout.as_str(), talk(&output.stderr).len()),
            (Some(1), "", 1),
            "{line:?}: {}",
            output.stderr
        );
        assert!(output.stderr.contains(said), "{line:?}: {}", output.stderr);
    }
    for (line, said) in [
        (["send", "file.json", "--account", "acme"], "--account"),
        (["send", "--input-tokens", "many", "--anyway"], "many"),
        (["tail", "--rejected", "--agent", "a"], "--agent"),
        (["tail", "--since", "yesterday", "--accepted"], "write it like 10m or 2026-01-31T12:00:00Z"),
    ] {
        let output = farebox.run(&line);
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(2), ""), "{line:?}: {}", output.stderr);
        assert!(output.stderr.contains(said), "{line:?}: {}", output.stderr);
    }
}

#[test]
fn servers_that_are_away_are_named_with_the_remedy() {
    let farebox = nowhere();
    let sent = farebox.run(&[&["send"], &EVENT[..]].concat());
    assert_eq!((sent.status.code(), sent.stdout.as_str()), (Some(1), ""));
    let last = talk(&sent.stderr).pop().unwrap();
    assert!(last.contains("does not answer") && last.contains("nothing was sent; start it, or look at `kafka.brokers`"), "{last}");
    for line in [[&["send", "--follow"], &EVENT[..]].concat(), vec!["tail"]] {
        let output = farebox.run(&line);
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(1), ""), "{}", output.stderr);
        assert!(talk(&output.stderr).pop().unwrap().contains("cannot be reached"), "{}", output.stderr);
    }
}

#[test]
fn beside_a_demo_that_is_alive_its_servers_are_used() {
    let folder = Folder::new("runtime");
    let file: PathBuf = folder.path().join("farebox/demo.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let (demo, other) = (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
    let settings = format!("[kafka]\ntopic = \"demo.topic\"\n[clickhouse]\nurl = \"{demo}\"\n");
    let configuration = folder.path().join("own.toml");
    fs::write(&configuration, format!("[clickhouse]\nurl = \"{other}\"\n")).unwrap();
    let said = |pid: u32, arguments: &[&str]| {
        fs::write(&file, format!("# pid {pid}\n{settings}")).unwrap();
        let (code, stdout, stderr) = bare(arguments, folder.path(), "");
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        stderr
    };
    let alive = said(std::process::id(), &["tail"]);
    assert_eq!(talk(&alive)[0], format!("a demo is alive: using its servers, as `{}` says", file.display()));
    assert!(talk(&alive)[1].contains("`demo.topic`") && talk(&alive)[1].contains(&demo), "{alive}");
    let named = said(std::process::id(), &["tail", "--config", configuration.to_str().unwrap()]);
    assert!(!named.contains("a demo is alive") && named.contains(&other), "{named}");
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let dead = said(ended.id(), &["tail", "--set", &format!("clickhouse.url={other}")]);
    assert!(!dead.contains("a demo is alive") && dead.contains(&other), "{dead}");
    // From standard input, refused before anybody is asked.
    fs::write(&file, format!("# pid {}\n{settings}", std::process::id())).unwrap();
    let (code, stdout, stderr) = bare(&["send", "-"], folder.path(), "{\"account\": \"acme\", \"agent\": \"\"}");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("missing_field: agent: empty, is required; category: absent, is required"), "{stderr}");
}
