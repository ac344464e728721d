//! `farebox rerate` on the real ClickHouse: what it says, that it posts once, and that every view then says what the new book says.

use std::collections::BTreeMap;

use farebox::model::{Credits, Timestamp};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use rust_decimal::Decimal;

use super::direct::{Direct, NOW};
use super::oracle::{self, Rules, views};
use super::pages::{self, Reader, close_sessions};
use super::servers::{Farebox, KafkaRecord, Output, free_port};

fn installed(direct: &Direct) -> Farebox {
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone());
    farebox
}

fn rerate(farebox: &Farebox, line: &str) -> Output {
    farebox.run(&["rerate"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())
}

const MARCH: &str = "--all --from 2026-03-01 --to 2026-03-31";

/// Without its heading and without what is right of `difference`.
fn lines(output: &Output) -> Vec<String> {
    output.stdout.lines().skip(1).map(str::to_owned).collect()
}

const BOOK: &str = r#"
[[account]]
id = "acme"
time_zone = "Asia/Kolkata"
charge = ["operations"]

[[account]]
id = "bolt"
charge = ["operations"]

[[rate]]
account = "*"
category = "llm"
per_1k_output_tokens = "0.01"
"#;

const REPAIR: &str = r#"
[[rate]]
account = "*"
category = "llm"
per_1k_output_tokens = "0.012"
valid_from = 2026-03-11T00:00:00Z

[[rate]]
account = "*"
category = "image"
per_unit = "0.333333333"
"#;

fn event(id: u32, account: &str, time: &str, rest: &str) -> String {
    format!(r#"{{"id":"{id}","time":"{time}","account":"{account}","agent":"bot","platform":"web",{rest}}}"#)
}

/// acme: two calls of llm on the 11th in Kolkata, one before and one after midnight in UTC, and two images; bolt: an image.
fn written() -> (Direct, Farebox) {
    let mut direct = Direct::new(BOOK);
    direct.write([
        event(1, "acme", "2026-03-10T23:59:59.999Z", r#""category":"llm","model":"m","output_tokens":500"#),
        event(2, "acme", "2026-03-11T00:00:00Z", r#""category":"llm","model":"m","output_tokens":1500"#),
        event(3, "acme", "2026-03-11T00:10:00Z", r#""category":"image","quantity":"0.5""#),
        event(4, "acme", "2026-03-11T05:00:00Z", r#""category":"image","quantity":"3""#),
        event(5, "bolt", "2026-03-12T05:00:00Z", r#""category":"image","quantity":"1""#),
    ]);
    let farebox = installed(&direct);
    farebox.write("repair.toml", REPAIR);
    (direct, farebox)
}

#[test]
fn a_missing_and_a_changed_price_are_repaired_to_the_last_digit() {
    let (direct, farebox) = written();
    let nothing = rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("nothing changes"), "{nothing:?}");
    assert_eq!(
        direct.query("SELECT account, day, kind, category, events, since FROM {db}.unpriced_usage ORDER BY account"),
        "acme\t2026-03-11\toperation\timage\t2\t2026-03-10 23:30:00\nbolt\t2026-03-12\toperation\timage\t1\t2026-03-12 05:00:00\n"
    );

    farebox.run(&["apply", "repair.toml"]).expect_success();
    // 500 tokens × 0.01 + 1500 × 0.01 = 0.02 become 0.005 + 0.018; 0.5 × 0.333333333 = 0.1666666665, to even 0.166666666.
    let expected = [
        "acme,2026-03-11,operation,image,,bot,web,2,0,1.166666665,1.166666665,2,0",
        "acme,2026-03-11,operation,llm,m,bot,web,2,0.02,0.023,0.003,0,0",
        "bolt,2026-03-12,operation,image,,bot,web,1,0,0.333333333,0.333333333,1,0",
    ];
    let shown = rerate(&farebox, &format!("{MARCH} --format csv")).expect_success();
    assert_eq!(lines(&shown), expected);
    assert_eq!(
        shown.stderr,
        "farebox: 5 events were rated by version 2 of the price book; for 2 accounts the cost changes by +1.502999998 credits, the \
         events without a price by -3\nfarebox: nothing was posted; --post charges the difference\n"
    );
    assert_eq!(direct.query("SELECT count() FROM {db}.cost_adjustments"), "0\n");

    let posted = rerate(&farebox, &format!("{MARCH} --format csv --post")).expect_success();
    assert_eq!(lines(&posted), expected);
    assert!(posted.stderr.ends_with("farebox: posted for 2 days of accounts\n"), "{}", posted.stderr);
    assert_eq!(
        direct.query("SELECT account, credited, used, balance FROM {db}.balances ORDER BY account"),
        "acme\t0\t1.189666665\t-1.189666665\nbolt\t0\t0.333333333\t-0.333333333\n"
    );
    assert_eq!(direct.query("SELECT count() FROM {db}.unpriced_usage"), "0\n");
    assert_eq!(direct.query("SELECT sum(h.cost) FROM {db}.usage_hourly AS h"), "0.02\n", "what was stored stays");
    let hours = "SELECT hour, category, cost, unpriced_events, price_version FROM {db}.cost_adjustments WHERE account = 'acme' ORDER BY category, hour";
    assert_eq!(
        direct.query(hours),
        "2026-03-10 23:30:00\timage\t0.166666666\t-1\t2\n2026-03-11 04:30:00\timage\t0.999999999\t-1\t2\n2026-03-10 23:30:00\tllm\t0.003\t0\t2\n"
    );

    let again = rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    assert!(again.stdout.is_empty() && again.stderr.ends_with("farebox: there was nothing to post\n"), "{again:?}");
    assert_eq!(direct.query("SELECT count() FROM {db}.cost_adjustments"), "4\n");
}

#[test]
fn what_was_posted_for_some_days_is_finished_and_a_later_price_is_posted_on_top() {
    let (mut direct, farebox) = written();
    direct.apply(REPAIR, false);
    rerate(&farebox, "--account acme --from 2026-03-01 --to 2026-03-31 --post").expect_success();
    let both = rerate(&farebox, &format!("{MARCH} --post --format csv")).expect_success();
    assert_eq!(lines(&both), ["bolt,2026-03-12,operation,image,,bot,web,1,0,0.333333333,0.333333333,1,0"]);
    // One nanocredit less, for time that was repaired already.
    direct.apply(
        "[[rate]]\naccount = \"*\"\ncategory = \"image\"\nper_unit = \"0.333333332\"\nvalid_from = 2026-03-12T00:00:00Z",
        false,
    );
    let less = rerate(&farebox, &format!("{MARCH} --post --format csv")).expect_success();
    assert_eq!(lines(&less), ["bolt,2026-03-12,operation,image,,bot,web,1,0.333333333,0.333333332,-0.000000001,0,0"]);
    assert_eq!(
        direct.query("SELECT id, cost FROM {db}.cost_adjustments WHERE account = 'bolt' ORDER BY id"),
        "0\t0.333333333\n1\t-0.000000001\n"
    );
    assert_eq!(direct.query("SELECT sum(c.cost) FROM {db}.costs AS c WHERE account = 'bolt'"), "0.333333332\n");
    assert!(lines(&rerate(&farebox, &format!("{MARCH} --post --format csv")).expect_success()).is_empty());
}

#[test]
fn many_at_once_post_once() {
    let (mut direct, farebox) = written();
    let more = |id: u32| {
        event(
            100 + id,
            &format!("a{}", id % 7),
            &format!("2026-03-{:02}T10:00:00Z", 1 + id % 4),
            r#""category":"image","quantity":"1""#,
        )
    };
    direct.write((0..28).map(more));
    let accounts: String = (0..7).map(|n| format!("[[account]]\nid = \"a{n}\"\ncharge = [\"operations\"]\n")).collect();
    direct.apply(&format!("{accounts}{REPAIR}"), false);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| rerate(&farebox, &format!("{MARCH} --post")).expect_success())).collect();
        let posted = runs.into_iter().map(|run| {
            let stderr = run.join().unwrap().stderr;
            stderr.split("posted for ").nth(1).map_or(0, |rest| rest.split(' ').next().unwrap().parse::<u32>().unwrap())
        });
        // Two in the same millisecond post the same entry, which is there once, and both may say so.
        let posted = posted.sum::<u32>();
        assert!(posted >= 30, "{posted} of 30 days");
    });
    assert_eq!(
        direct.query("SELECT count(), sum(cost) FROM {db}.cost_adjustments WHERE startsWith(account, 'a') AND account != 'acme'"),
        "28\t9.333333324\n"
    );
    assert_eq!(
        direct
            .query("SELECT max(c) FROM (SELECT count() AS c FROM {db}.cost_adjustments GROUP BY account, day, id, hour, category)"),
        "1\n"
    );
    assert!(lines(&rerate(&farebox, &format!("{MARCH} --format csv")).expect_success()).is_empty());
}

#[test]
fn what_the_log_has_no_more_is_told_and_stays_charged() {
    let (mut direct, farebox) = written();
    direct.apply(REPAIR, false);
    rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    let charged = direct.query("SELECT * FROM {db}.costs ORDER BY ALL");
    direct.query("ALTER TABLE {db}.usage_log DELETE WHERE id IN ('1', '5') SETTINGS mutations_sync = 1");
    direct.apply("[[rate]]\naccount = \"*\"\ncategory = \"image\"\nper_unit = \"7\"\nvalid_from = 2026-03-01T00:00:00Z", false);
    let gone = rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    assert!(gone.stdout.is_empty(), "{}", gone.stdout);
    assert!(
        gone.stderr.contains(
            "farebox: 5 events cannot be rated again and keep their cost: `usage_log` does not have every event of their days (2)\n"
        ),
        "{}",
        gone.stderr
    );
    assert_eq!(direct.query("SELECT * FROM {db}.costs ORDER BY ALL"), charged);
}

#[test]
fn what_an_event_reported_before_its_account_was_known_is_what_it_costs() {
    let mut direct = Direct::new("[[account]]\nid = \"own\"\noperations = \"reported\"\ncharge = [\"operations\"]\n");
    direct.write([
        event(1, "own", "2026-03-10T10:00:00Z", r#""category":"llm","credits":"1.5""#),
        event(2, "own", "2026-03-10T10:00:00Z", r#""category":"llm""#),
        event(3, "later", "2026-03-10T10:00:00Z", r#""category":"llm","credits":"2.5""#),
        event(4, "zero", "2026-03-10T10:00:00Z", r#""category":"image","quantity":"0""#),
        event(5, "zero", "2026-03-10T10:00:00Z", r#""category":"image""#),
    ]);
    let farebox = installed(&direct);
    direct.apply(
        "[[account]]\nid = \"later\"\noperations = \"reported\"\ncharge = [\"operations\"]\n[[account]]\nid = \"zero\"\n\
         [[rate]]\naccount = \"*\"\ncategory = \"image\"\nper_unit = \"7\"\n",
        false,
    );
    rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    assert_eq!(
        direct.query("SELECT account, sum(c.cost) FROM {db}.costs AS c GROUP BY account ORDER BY account"),
        "later\t2.5\nown\t1.5\nzero\t0\n"
    );
    // Nothing was reported, and no quantity was given: no price.
    assert_eq!(
        direct.query("SELECT account, events FROM {db}.unpriced_usage WHERE kind = 'operation' ORDER BY account"),
        "own\t1\nzero\t1\n"
    );
}

#[test]
fn what_cannot_be_meant_is_one_sentence_and_posts_nothing() {
    let (mut direct, farebox) = written();
    direct.apply(REPAIR, false);
    for (line, code, said) in [
        ("--from 2026-03-01 --to 2026-03-31 --post", 2, "--account"),
        ("--all --account acme --from 2026-03-01 --to 2026-03-31 --post", 2, "cannot be used with"),
        ("--all --from 2026-03-31 --to 2026-03-01 --post", 2, "lies after"),
        ("--all --from 2026-02-30 --to 2026-03-01 --post", 2, "2026-02-30 does not exist"),
        ("--all --from 2026-03-01 --post", 2, "--to"),
        ("--account acmee --from 2026-03-01 --to 2026-03-31 --post", 1, "did you mean `acme`?"),
    ] {
        let output = rerate(&farebox, line);
        assert!(output.status.code() == Some(code) && output.stdout.is_empty(), "{line}: {output:?}");
        assert!(output.stderr.contains(said), "{line}: {}", output.stderr);
    }
    let none = rerate(&farebox, "--all --from 2027-03-01 --to 2027-03-01 --post").expect_success();
    assert_eq!(none.stderr, "farebox: no usage of that day is stored\n");
    assert_eq!(direct.query("SELECT count() FROM {db}.cost_adjustments"), "0\n");
}

#[test]
fn a_backdated_book_says_whom_and_what_it_changes_and_stored_costs_stay() {
    let mut direct = Direct::new(
        "[[account]]\nid = \"acme\"\n[[account]]\nid = \"own\"\n[[session_price]]\naccount = \"*\"\nunit_session_cost = \"1\"\n[[session_price]]\n\
         account = \"own\"\nunit_session_cost = \"2\"\n[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"1\"\n",
    );
    let call = |id, account: &str, day, user| {
        event(id, account, &format!("2026-03-{day}T10:00:00Z"), &format!(r#""user":"{user}","category":"llm""#))
    };
    direct.write([call(1, "acme", 10, "ann"), call(2, "acme", 11, "ann"), call(3, "acme", 11, "bob"), call(4, "own", 11, "ann")]);
    let farebox = installed(&direct);
    close_sessions(&direct);
    let from = "valid_from = 2026-03-11T00:00:00Z\n";
    let text = format!(
        "[[session_price]]\naccount = \"*\"\nunit_session_cost = \"1.5\"\n{from}[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"1.25\"\n{from}"
    );
    let file = farebox.write("book.toml", &text).display().to_string();
    let refused = farebox.run(&["apply", &file]);
    assert!(!refused.status.success() && refused.stderr.contains("--backdate"), "{refused:?}");

    let planned = farebox.run(&["apply", &file, "--backdate", "--dry-run", "--format", "json"]).expect_success();
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    let day = |account, kind, old, new| serde_json::json!({"account": account, "day": "2026-03-11", "kind": kind, "old": old, "new": new});
    let metered = [day("acme", "operation", "2", "2.5"), day("acme", "session", "2", "3"), day("own", "operation", "1", "1.25")];
    assert_eq!(planned["metered"], serde_json::Value::from(metered.to_vec()));
    assert_eq!(planned["changes"][0]["touches"], serde_json::json!({"accounts": 1, "some": ["acme"]}));
    assert_eq!(planned["changes"][1]["touches"], serde_json::json!({"accounts": 2, "some": ["acme", "own"]}));
    let costs = "SELECT account, kind, sum(c.cost) FROM {db}.costs AS c WHERE day = '2026-03-11' GROUP BY account, kind ORDER BY account, kind";
    assert_eq!(direct.query(costs), "acme\toperation\t2\nacme\tsession\t2\nown\toperation\t1\nown\tsession\t2\n");

    let applied = farebox.run(&["apply", &file, "--backdate"]).expect_success();
    assert!(applied.stdout.contains("\n  touches 2 accounts: acme, own\n"), "{}", applied.stdout);
    assert!(applied.stdout.contains("\n  own 2026-03-11 operation: 1 -> 1.25\napplied as version 2\n"), "{}", applied.stdout);
    assert!(applied.stderr.contains("`farebox rerate --post`"), "{}", applied.stderr);
    assert_eq!(direct.query(costs), "acme\toperation\t2\nacme\tsession\t3\nown\toperation\t1\nown\tsession\t2\n");
    rerate(&farebox, &format!("{MARCH} --post")).expect_success();
    assert_eq!(direct.query(costs), "acme\toperation\t2.5\nacme\tsession\t3\nown\toperation\t1.25\nown\tsession\t2\n");
}

/// The repair of docs/prices.md, command by command.
#[test]
fn the_repair_in_the_page_about_prices_is_what_happens() {
    const PAGE: &str = "docs/prices.md";
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let mut reader = Reader::new(
        "[[account]]\nid = \"globex\"\ncharge = [\"operations\"]\n[[account]]\nid = \"acme\"\n[[rate]]\naccount = \"*\"\ncategory = \"llm\"\n\
         model = \"gpt-4o\"\nper_1k_input_tokens = \"25\"\nper_1k_output_tokens = \"100\"\n",
    );
    let call = r#""category":"llm","model":"gpt-4o","input_tokens":1200,"output_tokens":350"#;
    reader.direct.write([
        event(1, "globex", "2026-03-10T09:20:00Z", call),
        event(2, "globex", "2026-03-10T10:40:00Z", r#""category":"image","model":"dall-e-3","quantity":"2""#),
        event(3, "globex", "2026-03-11T08:15:00Z", call),
        event(4, "globex", "2026-03-11T08:16:00Z", r#""category":"image","model":"dall-e-3","quantity":"1""#),
    ]);
    close_sessions(&reader.direct);
    reader.farebox.run(&["credits", "grant", "globex", "500", "--key", "first"]).expect_success();
    let (before, repair) = page.split_once("## A repair\n").expect("a repair");
    pages::check(PAGE, &format!("{before}## A repair\n{}", reader.follow(repair)));
    // By hand: two calls of 1.2 × 2.5 + 0.35 × 10 = 6.5 instead of 65, three images of 40.
    assert_eq!(reader.direct.query("SELECT used, balance FROM {db}.balances WHERE account = 'globex'"), "133\t367\n");
    assert_eq!(reader.direct.query("SELECT count() FROM {db}.unpriced_usage"), "0\n");
}

/// What random events are metered by; each book on top of it has other prices for them.
const RANDOM: &str = r#"
[[account]]
id = "a0"
time_zone = "Asia/Kolkata"
session_anchor = "18:30"

[[account]]
id = "a1"
time_zone = "Australia/Lord_Howe"
charge = ["operations"]

[[account]]
id = "a2"
charge = ["sessions", "training"]
time_zone = "Europe/Berlin"

[[account]]
id = "a3"
operations = "reported"
time_zone = "Asia/Kathmandu"

[[session_price]]
account = "*"
platform = "web"
unit_session_cost = "0.123456789"

[[rate]]
account = "*"
category = "llm"
per_1k_input_tokens = "0.000333333"
"#;

fn random_event(random: &mut Pcg64, id: u32) -> String {
    let day = random.random_range(0..34);
    let date = if day < 15 { format!("2026-02-{:02}", day + 14) } else { format!("2026-03-{:02}", day - 14) };
    let mut pick = |of: &[&'static str]| *of.choose(random).unwrap();
    let account = pick(&["a0", "a1", "a2", "a3", "a4"]);
    let (platform, agent, category) =
        (pick(&["web", "voice", ""]), pick(&["g1", "g2"]), pick(&["llm", "training", "sql", "image"]));
    let (model, user) = (pick(&["", "m1", "m2"]), pick(&["", "u1", "u2", "u3"]));
    let time = format!("{date}T{:02}:{:02}:00Z", random.random_range(0..24), random.random_range(0..60));
    let mut event = format!(
        r#"{{"id":"{id}","time":"{time}","account":"{account}","platform":"{platform}","user":"{user}","agent":"{agent}","category":"{category}","model":"{model}""#
    );
    for field in ["duration_ms", "input_tokens", "output_tokens"] {
        if random.random_bool(0.7) {
            event += &format!(r#","{field}":{}"#, random.random_range(1..9_999));
        }
    }
    for field in ["quantity", "credits"] {
        if random.random_bool(0.7) {
            event += &format!(r#","{field}":"{}.{}""#, random.random_range(1..99), random.random_range(1..99));
        }
    }
    event + "}"
}

/// A few rates and a session price, for one or for all, from a moment on; a4 becomes known sooner or later.
fn random_book(random: &mut Pcg64) -> String {
    let mut text =
        if random.random_bool(0.5) { "[[account]]\nid = \"a4\"\ncharge = [\"operations\"]\n".to_owned() } else { String::new() };
    let mut keys = Vec::new();
    for _ in 0..random.random_range(1..5) {
        let mut pick = |of: &[&'static str]| *of.choose(random).unwrap();
        let key = (pick(&["*", "*", "a0", "a1", "a2"]), pick(&["llm", "training", "sql", "image"]), pick(&["", "m1"]));
        let from = format!("2026-{}T{}:00Z", pick(&["02-20", "03-01", "03-08"]), pick(&["00:00", "13:45"]));
        if keys.contains(&(key, from.clone())) {
            continue;
        }
        let (account, category, model) = key;
        text += &format!("[[rate]]\naccount = \"{account}\"\ncategory = \"{category}\"\nvalid_from = {from}\n");
        if !model.is_empty() {
            text += &format!("model = \"{model}\"\n");
        }
        for part in ["per_call", "per_1k_input_tokens", "per_1k_output_tokens", "per_second", "per_unit"] {
            if random.random_bool(0.4) || part == "per_unit" {
                text += &format!("{part} = \"{}.{:09}\"\n", random.random_range(0..3), random.random_range(0..1_000_000_000));
            }
        }
        keys.push((key, from));
    }
    let price = random.random_range(1..9);
    text + &format!(
        "[[session_price]]\naccount = \"*\"\nplatform = \"web\"\nunit_session_cost = \"0.{price}\"\nvalid_from = 2026-03-0{price}T00:00:00Z\n"
    )
}

/// Whatever was metered by whichever book, and however often prices changed: once rerated, every view says what a naive fold of all
/// records by the newest book says.
#[test]
fn after_rerate_every_money_view_is_the_naive_fold_by_the_new_book() {
    for seed in 1..=2 {
        let mut direct = Direct::new(RANDOM);
        let farebox = installed(&direct);
        let mut random = Pcg64::seed_from_u64(seed);
        let mut records = Vec::new();
        let timestamp = Timestamp::parse(NOW).unwrap().millis();
        let mut adjusted = 0;
        for round in 0..4 {
            let book = direct.apply(&random_book(&mut random), random.random_bool(0.5));
            let events: Vec<String> = (0..400).map(|id| random_event(&mut random, round * 400 + id)).collect();
            for event in &events {
                let offset = records.len() as i64;
                records.push(KafkaRecord {
                    offset,
                    timestamp,
                    key: None,
                    value: Some(event.clone().into_bytes()),
                    headers: Vec::new(),
                });
            }
            direct.write(events);
            if round == 1 {
                // Killed after some accounts and days.
                rerate(&farebox, "--account a0 --from 2026-02-01 --to 2026-02-25 --post").expect_success();
            }
            rerate(&farebox, "--all --from 2026-02-01 --to 2026-03-31 --post").expect_success();

            let rules = Rules { window_ms: 900_000, lateness_seconds: 100 * 86_400 };
            let totals = oracle::fold(&BTreeMap::from([(0, records.clone())]), &oracle::Book::of(&book), rules);
            let money =
                ["daily_costs", "monthly_usage", "agent_costs", "model_costs", "category_costs", "unpriced_usage", "session_costs"];
            let all = views::all(&totals);
            for view in all.iter().filter(|view| money.contains(&view.name)) {
                assert_eq!(
                    view.actual(direct.clickhouse, &direct.database),
                    view.expected,
                    "seed {seed}, round {round}: {}",
                    view.name
                );
            }
            let costs = all.iter().find(|view| view.name == "costs").unwrap();
            let sums = "SELECT account, day, kind, platform, agent, category, model, sum(c.events), sum(c.cost) FROM {db}.costs AS c \
                        GROUP BY account, day, kind, platform, agent, category, model FORMAT TSVRaw";
            let mut actual: Vec<String> = direct.query(sums).lines().map(str::to_owned).collect();
            actual.sort();
            assert_eq!(actual, costs.expected, "seed {seed}, round {round}: costs");
            let used: Decimal =
                costs.expected.iter().map(|line| line.rsplit('\t').next().unwrap().parse::<Decimal>().unwrap()).sum();
            let sum = direct.query("SELECT sum(used) FROM {db}.balances");
            assert_eq!(Credits::parse_sum(sum.trim()), Credits::from_decimal(used).ok(), "seed {seed}, round {round}");
            adjusted = direct.query("SELECT count() FROM {db}.cost_adjustments").trim().parse().unwrap();
        }
        assert!(adjusted > 100, "{adjusted} adjustments");
        let days = "SELECT max(id) FROM {db}.cost_adjustments";
        assert_ne!(direct.query(days), "0\n", "no day was adjusted twice");
    }
}
