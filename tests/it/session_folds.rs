//! Closed sessions that were counted once: every view says the same with the counts as with the sets, whatever lands later, in whatever order.

use farebox::model::Timestamp;
use farebox::runtime::leader::folds::fold;
use farebox::store::FoldMark;

use super::direct::{Direct, NOW, wait};

const BOOK: &str = r#"
[[account]]
id = "acme"
time_zone = "Asia/Kolkata"
session_anchor = "18:30"

[[account]]
id = "bolt"

[[session_price]]
account = "*"
unit_session_cost = "0.123456789"

[[session_price]]
account = "bolt"
platform = "app"
unit_session_cost = "2"
valid_from = 2026-03-10T00:00:00Z
"#;

const MINUTE_MS: i64 = 60_000;

/// Minutes after every record came.
fn minutes(minutes: i64) -> Timestamp {
    Timestamp::parse(NOW).unwrap().plus_millis(minutes * MINUTE_MS)
}

fn event(id: u32) -> String {
    let (account, platform) = (["acme", "bolt"][id as usize % 2], ["web", "app"][id as usize / 2 % 2]);
    let (day, hour, user) = (16 + id % 33, id * 7 % 24, id * 13 % 11);
    let date = if day <= 28 { format!("2026-02-{day:02}") } else { format!("2026-03-{:02}", day - 28) };
    format!(
        r#"{{"id":"{id}","time":"{date}T{hour:02}:20:00Z","account":"{account}","platform":"{platform}","user":"u{user}","agent":"a","category":"llm"}}"#
    )
}

/// Everything was read up to [`NOW`], and the last batch that says so was promised at this moment.
fn read_up_to_now(direct: &Direct, promised: Timestamp) {
    let (now, promised) = (NOW.trim_end_matches('Z'), promised.to_string());
    let promised = promised.trim_end_matches('Z');
    direct.query(&format!(
        "INSERT INTO {{db}}.batches (source_epoch, topic, topic_id, offset_to, received, accepted, kind, record_time_max, written_at) \
         VALUES ('1', '{{db}}', 'id', 4, 4, 4, 'batch', '{now}', '{promised}')"
    ));
    direct.query(&format!("INSERT INTO {{db}}.log_ends VALUES ('1', '{{db}}', 0, '{now}', '{promised}')"));
    direct.query("INSERT INTO {db}.sources SELECT '{db}', 'id', '1', now64(3)");
}

fn written(events: std::ops::Range<u32>) -> Direct {
    let mut direct = Direct::new(BOOK);
    direct.write(events.map(event));
    read_up_to_now(&direct, minutes(60));
    direct
}

/// What all views say that sessions are part of.
fn said(direct: &Direct) -> Vec<String> {
    let views = ["session_costs", "sessions", "costs", "daily_costs", "monthly_usage", "balances", "unpriced_usage"];
    let narrowed = ["account = 'acme'", "account = 'bolt' AND day >= '2026-03-01' AND day <= '2026-03-14'"];
    let wide = views.map(|view| format!("SELECT * FROM {{db}}.{view} ORDER BY ALL"));
    let narrow = narrowed.map(|filter| format!("SELECT * FROM {{db}}.session_costs WHERE {filter} ORDER BY ALL"));
    wide.iter().chain(&narrow).map(|sql| direct.query(sql)).collect()
}

/// Every view says the same when there is no fold, and how many sessions are read from their fold now.
fn folded(direct: &Direct) -> u64 {
    let with = said(direct);
    let count = "SELECT count() FROM {db}.session_folds FINAL WHERE session_start < (SELECT argMax(folded_to, folded_at) FROM {db}.session_fold_marks) \
                 AND (account, session_start, platform) NOT IN (SELECT account, session_start, platform FROM {db}.session_users \
                 WHERE written_at >= (SELECT argMax(cut, folded_at) FROM {db}.session_fold_marks))";
    let folded = direct.query(count).trim().parse().unwrap();
    direct.query("RENAME TABLE {db}.session_fold_marks TO {db}.kept");
    direct.query("CREATE TABLE {db}.session_fold_marks AS {db}.kept");
    let without = said(direct);
    direct.query("DROP TABLE {db}.session_fold_marks");
    direct.query("RENAME TABLE {db}.kept TO {db}.session_fold_marks");
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without);
    }
    folded
}

fn turn(direct: &Direct, now: Timestamp) {
    wait(fold(&direct.store, now)).unwrap();
}

fn mark(direct: &Direct) -> Option<FoldMark> {
    wait(direct.store.fold_mark()).unwrap()
}

#[test]
fn closed_sessions_are_read_from_their_fold_and_say_what_their_sets_say() {
    let direct = written(0..600);
    turn(&direct, minutes(60));
    assert!(folded(&direct) > 0, "some weeks at a time");
    turn(&direct, minutes(61));
    let sessions: u64 = direct.query("SELECT count() FROM {db}.sessions").trim().parse().unwrap();
    assert_eq!((folded(&direct), sessions > 100), (sessions, true), "every closed session");
    let open: u64 = direct.query("SELECT count() FROM {db}.session_costs WHERE NOT closed").trim().parse().unwrap();
    assert!(open > 0);
    let mark = mark(&direct).unwrap();
    assert_eq!((mark.folded_to.to_string(), mark.cut), ("2026-03-17T10:00:00Z".to_owned(), minutes(50)));
    // The fold is what is read: a wrong one shows.
    direct.query("INSERT INTO {db}.session_folds SELECT * REPLACE (unique_users + 1 AS unique_users, folded_at + 1 AS folded_at) FROM {db}.session_folds");
    let sum = "SELECT sum(unique_users) FROM {db}.session_costs";
    let wrong: u64 = direct.query(sum).trim().parse().unwrap();
    direct.query("TRUNCATE TABLE {db}.session_fold_marks");
    let right: u64 = direct.query(sum).trim().parse().unwrap();
    assert_eq!(wrong, right + sessions);
}

#[test]
fn what_lands_later_is_counted_at_once_and_folded_later() {
    let mut direct = written(0..300);
    (60..=61).for_each(|minute| turn(&direct, minutes(minute)));
    let all = folded(&direct);
    // A batch that was promised before the fold and lands behind it, at the earliest moment that it can carry.
    direct.written_at = minutes(50);
    direct.write((300..310).map(event));
    let after_one = folded(&direct);
    assert!(after_one < all, "{after_one} of {all}");
    direct.written_at = minutes(70);
    direct.write((310..330).map(event));
    let after_two = folded(&direct);
    assert!(after_two < after_one, "{after_two} of {after_one}");
    // Soon after a fold nothing is counted anew; it would be done for each late event.
    turn(&direct, minutes(62));
    assert_eq!((mark(&direct).unwrap().folded_at, folded(&direct)), (minutes(61), after_two));
    read_up_to_now(&direct, minutes(90));
    turn(&direct, minutes(91));
    assert_eq!((mark(&direct).unwrap().cut, folded(&direct) >= all), (minutes(80), true));
}

#[test]
fn two_leaders_and_one_that_was_cut_off_change_no_answer() {
    let mut direct = written(0..200);
    let before = said(&direct);
    // Cut off before the mark.
    wait(direct.store.fold_sessions(Timestamp::MIN, minutes(-2 * 24 * 60), minutes(59))).unwrap();
    assert_eq!(said(&direct), before);
    wait(async { tokio::try_join!(fold(&direct.store, minutes(61)), fold(&direct.store, minutes(61))) }).unwrap();
    wait(async { tokio::try_join!(fold(&direct.store, minutes(62)), fold(&direct.store, minutes(63))) }).unwrap();
    assert_eq!(said(&direct), before);
    let all = folded(&direct);
    direct.written_at = minutes(75);
    direct.write((200..260).map(event));
    // One counts anew and is cut off; another does it all at the same time as a third.
    read_up_to_now(&direct, minutes(100));
    let mark = mark(&direct).unwrap();
    wait(direct.store.refold_sessions(&mark, minutes(99))).unwrap();
    folded(&direct);
    wait(async { tokio::try_join!(fold(&direct.store, minutes(101)), fold(&direct.store, minutes(102))) }).unwrap();
    assert!(folded(&direct) >= all);
}

#[test]
fn nothing_is_folded_while_it_is_not_known_what_may_still_land() {
    let direct = Direct::new(BOOK);
    let cut = || wait(direct.store.fold_cut()).unwrap();
    assert_eq!(cut(), None, "nothing was read");
    let at = |moment: Timestamp| moment.to_string().trim_end_matches('Z').to_owned();
    direct.query("INSERT INTO {db}.sources SELECT '{db}', 'id', '1', now64(3)");
    let batch = |partition: i32, promised: i64| {
        direct.query(&format!(
            "INSERT INTO {{db}}.batches (source_epoch, topic, topic_id, partition, offset_to, kind, record_time_max, written_at) \
             VALUES ('1', '{{db}}', 'id', {partition}, 4, 'batch', '{}', '{}')",
            at(minutes(0)),
            at(minutes(promised))
        ));
    };
    let seen = |partition: i32, read_to: Timestamp, seen: i64| {
        direct.query(&format!(
            "INSERT INTO {{db}}.log_ends VALUES ('1', '{{db}}', {partition}, '{}', '{}')",
            at(read_to),
            at(minutes(seen))
        ));
    };
    let unknown = Timestamp::MIN;
    batch(0, 30);
    assert_eq!(cut(), None, "nobody has looked at the log's ends");
    seen(0, unknown, 40);
    assert_eq!(cut(), Some(minutes(20)), "the next batch is promised after the last");
    seen(0, minutes(-20), 41);
    assert_eq!(cut(), Some(minutes(31)), "it was read to its end, so that what comes is promised later");
    seen(1, unknown, 42);
    assert_eq!(cut(), None, "a partition whose first batch may be promised for ever");
    batch(1, 25);
    assert_eq!(cut(), Some(minutes(15)), "the partition that is furthest behind");
    batch(1, 60);
    seen(0, minutes(0), 50);
    assert_eq!(cut(), Some(minutes(40)), "a partition that is made after the last look is promised later than that");
}
