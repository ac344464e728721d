//! The ledger on the real ClickHouse: entries that are made once, balances that are what one works out by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Days, NaiveDate};
use farebox::ledger::{self, Entry, Kind};
use farebox::model::{Credits, Day, Timestamp};
use farebox::runtime::clock;
use farebox::store::{LedgerRow, NEVER, Store};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::direct::{Direct, wait};
use super::readme::blocks_of;
use super::servers::{Farebox, Output, free_port};

const BOOK: &str = r#"
[[account]]
id = "acme"

[[account]]
id = "samoa"
time_zone = "Pacific/Apia"

[[rate]]
account = "*"
category = "llm"
per_call = "12.5"
"#;

fn installed() -> (Direct, Farebox) {
    let mut direct = Direct::new(BOOK);
    let event =
        |id: u32| format!(r#"{{"id":"{id}","time":"2026-03-10T10:00:00Z","account":"acme","agent":"bot","category":"llm"}}"#);
    direct.write((0..4).map(event));
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone());
    (direct, farebox)
}

fn credits(farebox: &Farebox, line: &str) -> Output {
    farebox.run(&["credits"].into_iter().chain(line.split(' ')).collect::<Vec<_>>())
}

/// Without the columns that tell when and by whom.
fn lasting(csv: &str, columns: usize) -> Vec<String> {
    csv.lines().map(|line| line.split(',').take(columns).collect::<Vec<_>>().join(",")).collect()
}

#[test]
fn credits_are_given_used_put_right_and_paid_back() {
    let (_direct, farebox) = installed();
    let balance = |farebox: &Farebox| {
        let csv = credits(farebox, "balance acme --format csv").expect_success().stdout;
        lasting(&csv, 4)[1].clone()
    };
    assert_eq!(balance(&farebox), "acme,0,50,-50");
    credits(&farebox, "grant acme 100.000000001 --key welcome").expect_success();
    assert_eq!(balance(&farebox), "acme,100.000000001,50,50.000000001");
    credits(&farebox, "adjust acme 20 --key too-little").expect_success();
    credits(&farebox, "adjust acme 7.5 --key too-much --take").expect_success();
    credits(&farebox, "refund acme 30 --key paid-back").expect_success();
    assert_eq!(balance(&farebox), "acme,82.500000001,50,32.500000001");
    credits(&farebox, "grant acme 5 --key gift --expires 2148-01-31 --note thanks").expect_success();

    let history = credits(&farebox, "history acme --format csv").expect_success().stdout;
    let today = clock::now().to_chrono().unwrap().date_naive();
    let expected = [
        "day,kind,amount,expires,key,note".to_owned(),
        format!("{today},grant,100.000000001,,welcome,"),
        format!("{today},adjustment,20,,too-little,"),
        format!("{today},adjustment,-7.5,,too-much,"),
        format!("{today},refund,-30,,paid-back,"),
        format!("{today},grant,5,2148-01-31,gift,thanks"),
    ];
    assert_eq!(lasting(&history, 6), expected);

    let shown = credits(&farebox, "balance acme").expect_success();
    assert!(shown.stdout.lines().last().unwrap().starts_with("acme        87.50  50.00    37.50"), "{}", shown.stdout);
    assert_eq!(shown.stderr, "farebox: 5 credits of `gift` can be used up to 2148-01-31\n");
    let usage = farebox.run(&["usage", "acme", "--from", "2026-03-10", "--to", "2026-03-10"]).expect_success();
    assert!(usage.stderr.ends_with("farebox: the balance is 37.50 credits\n"), "{}", usage.stderr);
    let all = credits(&farebox, "balance --format json").expect_success().stdout;
    assert_eq!(all.lines().count(), 1, "an account without entries and usage has no balance: {all}");
}

#[test]
fn the_same_key_answers_the_same_entry_and_other_content_is_refused() {
    let (direct, farebox) = installed();
    let first = credits(&farebox, "grant acme 10 --key k --format json").expect_success();
    let again = credits(&farebox, "grant acme 10.000 --key k --format json").expect_success();
    assert_eq!(first.stdout, again.stdout);
    assert!(again.stderr.contains("nothing was added"), "{}", again.stderr);
    for other in
        ["grant acme 11 --key k", "grant acme 10 --key k --expires 2148-01-31", "adjust acme 10 --key k", "refund acme 10 --key k"]
    {
        let refused = credits(&farebox, other);
        assert!(refused.status.code() == Some(1) && refused.stdout.is_empty(), "{other}: {refused:?}");
        assert!(refused.stderr.contains("another entry under the key `k`: grant of 10 credits"), "{}", refused.stderr);
    }
    // Another account's keys are its own, and no account can write itself into another's.
    credits(&farebox, "grant samoa 10 --key k").expect_success();
    assert_eq!(
        direct.query("SELECT account, count() FROM {db}.credit_ledger GROUP BY account ORDER BY account"),
        "acme\t1\nsamoa\t1\n"
    );
}

#[test]
fn what_cannot_be_meant_is_one_sentence_and_changes_nothing() {
    let (direct, farebox) = installed();
    let forty = "1".repeat(40);
    for amount in ["1e-7", "1_000", &forty, "NaN", "", "-5", "+5", "0", "0.0000000001", "1,5", "1.", "∞"] {
        for verb in ["grant", "adjust", "refund"] {
            let output = farebox.run(&["credits", verb, "acme", amount, "--key", "k"]);
            assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{verb} {amount}: {output:?}");
            assert!(
                output.stderr.contains("amount of credits") || output.stderr.contains("0 credits"),
                "{amount}: {}",
                output.stderr
            );
        }
    }
    for (line, code, said) in [
        ("grant acme 5", 2, "--key"),
        ("grant acmee 5 --key k", 1, "did you mean `acme`?"),
        ("history acmee", 1, "is unknown"),
        ("balance acmee", 1, "is unknown"),
        ("grant acme 5 --key k --expires 2026-02-30", 2, "2026-02-30 does not exist"),
        ("grant acme 5 --key k --expires 2020-01-31", 1, "--expires 2020-01-31 has passed"),
        ("grant samoa 5 --key k --expires 2011-12-30", 1, "2011-12-30 does not exist in Pacific/Apia"),
    ] {
        let output = credits(&farebox, line);
        assert!(output.status.code() == Some(code) && output.stdout.is_empty(), "{line}: {output:?}");
        assert!(output.stderr.contains(said), "{line}: {}", output.stderr);
    }
    assert_eq!(direct.query("SELECT count() FROM {db}.credit_ledger"), "0\n");
}

/// The example of docs/credits.md, command by command.
#[test]
fn the_page_about_credits_shows_what_the_commands_say() {
    let mut direct = Direct::new("[[account]]\nid = \"globex\"\noperations = \"reported\"\n");
    let event = |(day, credits): (&str, &str)| {
        format!(
            r#"{{"id":"{day}","time":"2026-03-{day}T10:00:00Z","account":"globex","agent":"bot","category":"llm","credits":"{credits}"}}"#
        )
    };
    direct.write([("12", "30"), ("20", "15")].map(event));
    direct.query(
        "INSERT INTO {db}.credit_ledger (account, id, kind, amount, day, expires, created_at) VALUES \
         ('globex', 'trial', 'grant', 40, '2026-03-10', '2026-03-18', '2026-03-10 09:00:00'), \
         ('globex', 'first-order', 'grant', 10, '2026-03-12', 0, '2026-03-12 09:00:00')",
    );
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone());
    let blocks = blocks_of(include_str!("../../docs/credits.md"), "console");
    assert_eq!(blocks.len(), 2);
    for command in blocks.iter().flat_map(|block| block.split("$ farebox ").skip(1)) {
        let (line, expected) = command.split_once('\n').unwrap();
        let (words, note) =
            line.split_once(" --note ").map_or((line, None), |(words, note)| (words, Some(note.trim_matches('\''))));
        let words: Vec<&str> = words.split(' ').chain(note.into_iter().flat_map(|note| ["--note", note])).collect();
        let output = farebox.run(&words).expect_success();
        if !expected.is_empty() {
            assert_eq!(output.stdout, expected, "{line}");
        }
    }
}

fn row(account: &str, id: &str, kind: Kind, amount: Credits, day: NaiveDate, expires: Option<NaiveDate>) -> LedgerRow {
    LedgerRow {
        account: account.to_owned(),
        id: id.to_owned(),
        kind: kind.to_string(),
        amount: amount.to_string(),
        day: day.to_string(),
        expires: expires.map_or_else(|| NEVER.to_owned(), |day| day.to_string()),
        reference: String::new(),
        note: String::new(),
        created_at: clock::now(),
        created_by: "test".to_owned(),
    }
}

#[test]
fn a_hundred_writers_of_one_key_make_one_entry_also_at_the_turn_of_a_month() {
    let direct = Direct::new(BOOK);
    let midnight = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
    for round in 0..5 {
        let writers = (0..100).map(|number| {
            let day = NaiveDate::from_ymd_opt(2026, if number % 2 == 0 { 2 } else { 3 }, 1).unwrap();
            let mut row = row("acme", &format!("round {round}"), Kind::Grant, Credits::from_nanos(1), day, None);
            row.created_at = midnight.plus_millis(number - 50);
            (direct.store.clone(), row)
        });
        let mut stands: Vec<LedgerRow> = wait(async {
            let add = |(store, row): (Store, LedgerRow)| tokio::spawn(async move { store.add_ledger_entry(&row).await.unwrap() });
            let tasks: Vec<_> = writers.map(add).collect();
            let mut stands = Vec::new();
            for task in tasks {
                stands.push(task.await.unwrap());
            }
            stands
        });
        stands.dedup();
        assert_eq!(stands.len(), 1, "not all were answered the same: {stands:?}");
    }
    assert_eq!(direct.query("SELECT count(), sum(amount) FROM {db}.credit_ledger"), "5\t0.000000005\n");
}

/// Random ledgers and usage around today: the view says what the fold says, for every account.
#[test]
fn the_view_of_balances_is_the_fold_of_ledger_and_usage() {
    let direct = Direct::new(BOOK);
    let mut random = Pcg64::seed_from_u64(6);
    let now = clock::now();
    let over = clock::now().to_chrono().unwrap().date_naive() - Days::new(40);
    let (mut entries_sql, mut usage_sql) = (String::new(), String::new());
    let mut expected = BTreeMap::new();
    for number in 0..150 {
        let account = format!("account {number}");
        let mut entries = Vec::new();
        let mut usage: BTreeMap<Day, Credits> = BTreeMap::new();
        // Neither today nor yesterday, so that the test does not depend on the hour; all else lies before or behind.
        let mut any_day = || loop {
            let offset = random.random_range(0..80);
            if !(37..44).contains(&offset) {
                break over + Days::new(offset);
            }
        };
        let days: Vec<NaiveDate> = (0..40).map(|_| any_day()).collect();
        for (at, &day) in days.iter().take(random.random_range(0..8)).enumerate() {
            let amount = Credits::from_nanos(random.random_range(1..90_000_000_000_i64).into());
            let (kind, amount, expires) = match random.random_range(0..4) {
                0 => (Kind::TopUp, amount, None),
                1 => (Kind::Adjustment, Credits::from_nanos(-amount.nanos()), None),
                _ => (Kind::Grant, amount, Some(days[20 + at])),
            };
            let row = row(&account, &format!("e{at}"), kind, amount, day, expires);
            let _ = write!(entries_sql, "('{account}','e{at}','{kind}',{amount},'{day}','{}','','',now64(3),'t'),", row.expires);
            entries.push(row.entry().unwrap());
            if kind == Kind::Grant && expires.is_some_and(|last| last < over + Days::new(30)) && random.random_bool(0.5) {
                let posted = Credits::from_nanos(amount.nanos() / random.random_range(1..4));
                let _ = write!(
                    entries_sql,
                    "('{account}','e{at}/x','expiry',-{posted},'{}','1970-01-01','e{at}','',now64(3),'t'),",
                    row.expires
                );
                let taken = Credits::from_nanos(-posted.nanos());
                let (id, reference) = (format!("e{at}/x"), format!("e{at}"));
                entries.push(Entry { id, kind: Kind::Expiry, amount: taken, reference, expires: None, ..entries[0].clone() });
            }
        }
        for &day in days.iter().rev().take(random.random_range(0..10)) {
            let cost = Credits::from_nanos(random.random_range(0..40_000_000_000_i64).into());
            let sum = usage.entry(Day::from_date(day)).or_default();
            *sum = sum.checked_add(cost).unwrap();
            let _ = write!(usage_sql, "('{account}','{day}',toDateTime('{day} 10:00:00','UTC'),'llm',1,{cost}),");
        }
        let today = farebox::model::Zone::UTC.local(now.plus_millis(-12 * 3_600_000)).day;
        expected.insert(account, (ledger::balance(&entries, &usage, today).unwrap(), entries.is_empty() && usage.is_empty()));
    }
    direct.query(&format!("INSERT INTO {{db}}.credit_ledger VALUES {}", entries_sql.trim_end_matches(',')));
    let columns = "account, day, hour, category, events, cost";
    direct.query(&format!("INSERT INTO {{db}}.usage_hourly ({columns}) VALUES {}", usage_sql.trim_end_matches(',')));

    let seen: BTreeMap<String, _> =
        wait(direct.store.balances(None)).unwrap().into_iter().map(|balance| (balance.account.clone(), balance)).collect();
    let mut expirations = 0;
    for (account, (balance, is_empty)) in expected {
        let Some(view) = seen.get(&account) else {
            assert!(is_empty, "no balance of `{account}`");
            continue;
        };
        let credited = balance.credited.checked_sub(balance.expired).unwrap();
        let fold = [credited, balance.used, balance.balance].map(|amount| amount.to_string());
        assert_eq!([view.credited.clone(), view.used.clone(), view.balance.clone()], fold, "{account}: {balance:?}");
        expirations += u32::from(balance.expired != Credits::ZERO);
    }
    assert!(expirations > 20, "{expirations} accounts lost credits");
}
