//! Unique users: what the sessions say is what the engine counts over the log, and the truth as long as that is exact.

use std::collections::BTreeMap;

use super::direct::Direct;

const BOOK: &str = r#"
[[session_price]]
account = "*"
platform = "*"
unit_session_cost = "0.000000001"
"#;

/// Numbers of users. 4 096 fit into a set; one more makes it a sketch.
const SIZES: [u64; 8] = [0, 1, 16, 17, 4_095, 4_096, 4_097, 200_000];

/// An event of an account named for its number of users; none of them: an event without user.
fn event(id: u64, size: u64, user: u64) -> String {
    let user = if size == 0 { String::new() } else { format!("\"user\":\"user-{user}\",") };
    format!(
        r#"{{"id":"{id}","time":"2026-03-20T09:00:00Z","account":"n{size}","platform":"p",{user}"agent":"a","category":"sql"}}"#
    )
}

#[test]
fn sessions_count_the_users_that_the_engine_counts_over_the_log() {
    let accounts: String = SIZES.iter().map(|size| format!("[[account]]\nid = \"n{size}\"\ncharge = [\"sessions\"]\n")).collect();
    let mut direct = Direct::new(&(accounts + BOOK));
    let mut events: Vec<String> = Vec::new();
    for size in SIZES {
        // In any order; and some of them again, with other ids. A full set of 4 096 is left for the sketch by whoever comes
        // next, known or not, so that there nobody comes twice.
        let again = if size == 4_096 { 0 } else { size.div_ceil(3) };
        let users = (0..size.max(1)).map(|user| user * 7_919 % size.max(1)).chain(0..again);
        let first = events.len() as u64;
        events.extend((first..).zip(users).map(|(id, user)| event(id, size, user)));
    }
    // Accounts lie across batches, and batches across accounts.
    let events_len = events.len();
    let mut written = 0;
    for part in 0..5 {
        let (_, counts) = direct.write(events.iter().skip(part).step_by(5).cloned());
        written += counts.accepted;
    }
    assert_eq!(written, events_len as u64);

    let read = |direct: &Direct, sql: &str| -> BTreeMap<u64, u64> {
        let answer = direct.query(sql);
        let pair = |line: &str| {
            let (account, count) = line.split_once('\t').unwrap();
            (account[1..].parse().unwrap(), count.parse().unwrap())
        };
        answer.lines().map(pair).collect()
    };
    let over_the_log = "SELECT account, uniqCombined64If(17)(user_hash, user_hash != 0) FROM {db}.usage_log GROUP BY account";
    let expected = read(&direct, over_the_log);
    assert_eq!(expected.keys().copied().collect::<Vec<_>>(), SIZES);
    for (size, count) in &expected {
        match size {
            0..=4_096 => assert_eq!(size, count, "exact"),
            _ => assert!(size.abs_diff(*count) * 50 < *size, "{count} for {size}: more than 2 % off"),
        }
    }
    // An account without a user has no session.
    let expected: BTreeMap<u64, u64> = expected.into_iter().filter(|(size, _)| *size > 0).collect();
    for _ in 0..2 {
        assert_eq!(read(&direct, "SELECT account, unique_users FROM {db}.session_costs"), expected);
        let merged = "SELECT account, uniqCombined64Merge(17)(users) FROM {db}.user_sets GROUP BY account";
        assert_eq!(read(&direct, merged), expected);
        let billed = "SELECT account, toUInt64(cost * 1000000000) FROM {db}.costs WHERE kind = 'session'";
        assert_eq!(read(&direct, billed), expected);
        // And the same when the states were merged on disk.
        direct.query("OPTIMIZE TABLE {db}.session_users FINAL");
    }
}
