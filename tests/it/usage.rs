//! `farebox usage`: an account's days in three formats, and what is said when there is nothing to show.

use super::direct::Direct;
use super::servers::{Farebox, Output, free_port};

const BOOK: &str = r#"
[[account]]
id = "acme"
time_zone = "Asia/Kolkata"
session_anchor = "18:30"

[[account]]
id = "quiet"

[[session_price]]
account = "*"
platform = "web"
unit_session_cost = "0.335"

[[rate]]
account = "*"
category = "llm"
per_call = "0.111111111"

[[rate]]
account = "*"
category = "training"
per_unit = "10"
"#;

/// Three users of two platforms on two days in Kolkata, of which one begins at 18:30 in UTC; voice has no price.
const EVENTS: [(&str, &str, &str, &str); 6] = [
    ("2026-03-10T18:29:59Z", "web", "ann", "llm"),
    ("2026-03-10T18:30:00Z", "web", "ann", "llm"),
    ("2026-03-10T19:00:00Z", "web", "bob", "llm"),
    ("2026-03-11T02:00:00Z", "web", "ann", "training"),
    ("2026-03-11T03:00:00Z", "voice", "cy", "llm"),
    ("2026-03-11T03:00:01Z", "voice", "cy", "sql"),
];

fn written() -> (Direct, Farebox) {
    let mut direct = Direct::new(BOOK);
    let event = |(id, (time, platform, user, category)): (usize, &(&str, &str, &str, &str))| {
        format!(
            r#"{{"id":"{id}","time":"{time}","account":"acme","platform":"{platform}","user":"{user}","agent":"bot","category":"{category}","quantity":"0.5"}}"#
        )
    };
    direct.write(EVENTS.iter().enumerate().map(event));
    let farebox = installed(&direct);
    (direct, farebox)
}

/// A configuration for that database, with a Kafka that is not there: nothing here needs one.
fn installed(direct: &Direct) -> Farebox {
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone());
    farebox
}

const MARCH: [&str; 6] = ["usage", "acme", "--from", "2026-03-01", "--to", "2026-03-31"];

fn formatted(farebox: &Farebox, format: &str) -> Output {
    farebox.run(&[&MARCH[..], &["--format", format]].concat()).expect_success()
}

#[test]
fn usage_comes_by_day_rounded_for_people_and_exact_for_programs() {
    let (_direct, farebox) = written();
    let table = formatted(&farebox, "table");
    assert_eq!(
        table.stdout,
        "day         sessions  sessions_cost  training_cost  operations_cost  cost\n\
         ──────────  ────────  ─────────────  ─────────────  ───────────────  ────  ───────────\n\
         2026-03-10         1           0.34           0.00             0.11  0.45  provisional\n\
         2026-03-11         2           0.67           5.00             0.33  6.00  provisional\n\
         ──────────  ────────  ─────────────  ─────────────  ───────────────  ────  ───────────\n\
         total              3           1.00           5.00             0.44  6.45  provisional\n"
    );
    assert_eq!(
        table.stderr,
        "farebox: credits, rounded to two digits; days begin at midnight in Asia/Kolkata\n\
         farebox: provisional days may still get events that are in time\n\
         farebox: events of operations for which the price book has no rate, so that they cost nothing: 1; the view unpriced_usage tells which\n\
         farebox: events of sessions for which the price book has no session price, so that they cost nothing: 2; the view unpriced_usage tells which\n"
    );
    let csv = formatted(&farebox, "csv");
    assert_eq!(
        csv.stdout.split("\r\n").collect::<Vec<_>>(),
        [
            "day,sessions,unique_users_voice,unique_users_web,sessions_cost,training_cost,operations_cost,cost,provisional",
            "2026-03-10,1,0,1,0.335,0,0.111111111,0.446111111,true",
            "2026-03-11,2,1,2,0.67,5,0.333333333,6.003333333,true",
            "",
        ]
    );
    let json = formatted(&farebox, "json");
    assert_eq!(
        json.stdout,
        concat!(
            r#"{"day":"2026-03-10","sessions":1,"unique_users":{"web":1},"sessions_cost":"0.335","training_cost":"0","operations_cost":"0.111111111","cost":"0.446111111","provisional":true,"unpriced_events":{}}"#,
            "\n",
            r#"{"day":"2026-03-11","sessions":2,"unique_users":{"voice":1,"web":2},"sessions_cost":"0.67","training_cost":"5","operations_cost":"0.333333333","cost":"6.003333333","provisional":true,"unpriced_events":{"operation":1,"session":2}}"#,
            "\n"
        )
    );
    assert_eq!((csv.stderr.as_str(), json.stderr.as_str()), ("", ""));
}

#[test]
fn a_range_without_usage_and_the_last_seven_days_are_no_mistakes() {
    let (_direct, farebox) = written();
    for line in [vec!["usage", "quiet"], vec!["usage", "acme", "--to", "2026-03-09"], vec!["usage", "acme", "--from", "2100-01-01"]]
    {
        let output = farebox.run(&line).expect_success();
        assert!(output.stdout.is_empty() && output.stderr.starts_with("farebox: no usage of `"), "{line:?} {output:?}");
        assert_eq!(output.stderr.lines().count(), 1);
    }
    let one = farebox.run(&["usage", "acme", "--to", "2026-03-16", "--format", "csv"]).expect_success();
    assert!(one.stdout.contains("2026-03-10"), "{}", one.stdout);
    let none = farebox.run(&["usage", "acme", "--to", "2026-03-18", "--format", "csv"]).expect_success();
    assert!(!none.stdout.contains("2026-03-10"), "{}", none.stdout);
    assert!(none.stderr.contains("from 2026-03-12 to 2026-03-18"), "{}", none.stderr);
}

#[test]
fn what_is_asked_in_vain_is_one_sentence() {
    let (direct, farebox) = written();
    let unknown = farebox.run(&["usage", "acmee"]);
    assert_eq!(
        (unknown.status.code(), unknown.stdout.as_str(), unknown.stderr.as_str()),
        (
            Some(1),
            "",
            "farebox: account `acmee` is unknown: the price book does not name it and no usage of it is stored; did you mean `acme`?\n"
        )
    );
    for (line, said) in [
        (vec!["usage", "acme", "--from", "2026-02-30"], "2026-02-30 does not exist"),
        (vec!["usage", "acme", "--to", "yesterday"], "`yesterday` is no date: write it like 2026-01-31"),
        (vec!["usage", "acme", "--from", "2026-03-02", "--to", "2026-03-01"], "write them the other way round"),
        (vec!["usage"], "<ACCOUNT>"),
    ] {
        let output = farebox.run(&line);
        assert!(output.status.code() == Some(2) && output.stderr.contains(said), "{line:?}: {output:?}");
        assert_eq!(output.stdout, "");
    }
    let mut lost = installed(&direct);
    lost.set("clickhouse.database", "nowhere_at_all");
    let output = lost.run(&["usage", "acme"]);
    assert!(output.status.code() == Some(78) && output.stderr.ends_with("run `farebox migrate`\n"), "{output:?}");
    let away = Farebox::new("127.0.0.1:1", &format!("http://127.0.0.1:{}", free_port()));
    let output = away.run(&["usage", "acme"]);
    assert!(output.status.code() == Some(1) && output.stderr.contains("cannot be reached"), "{output:?}");
}
