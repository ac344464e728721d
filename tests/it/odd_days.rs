//! Sums over any grouping agree in every zone, on its odd days too: of 23, 24½ and 25 hours, one that was left out of the calendar, and days
//! that begin at a quarter to the hour.

use farebox::model::Timestamp;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::direct::Direct;
use super::money_views::pairs;

const BOOK: &str = r#"
[[session_price]]
account = "*"
unit_session_cost = "0.333333333"

[[rate]]
account = "*"
category = "llm"
per_1k_input_tokens = "0.000333333"

[[rate]]
account = "*"
category = "training"
per_unit = "0.7"
"#;

const DAY_MS: i64 = 86_400_000;
const EVENTS: u32 = 400;

/// Of each zone, a moment on or beside an odd day, and the name of the account.
const ODD: [(&str, &str, &str); 12] = [
    ("berlin", "Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("berlin", "Europe/Berlin", "2025-10-26T01:00:00Z"),
    ("lord-howe", "Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("lord-howe", "Australia/Lord_Howe", "2025-10-04T15:30:00Z"),
    ("apia", "Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("apia", "Pacific/Apia", "2026-02-28T11:00:00Z"),
    ("kolkata", "Asia/Kolkata", "2026-02-28T18:30:00Z"),
    ("kathmandu", "Asia/Kathmandu", "2026-02-28T18:15:00Z"),
    ("kathmandu", "Asia/Kathmandu", "1985-12-31T18:30:00Z"),
    ("santiago", "America/Santiago", "2026-04-05T03:00:00Z"),
    ("cairo", "Africa/Cairo", "2025-10-30T21:00:00Z"),
    ("utc", "UTC", "2024-02-29T00:00:00Z"),
];

/// Within 40 hours of the moment, and often within a minute of its hour.
fn event(random: &mut Pcg64, id: u32, account: &str, moment: Timestamp) -> String {
    let hours: i64 = random.random_range(-40..=40);
    let millis = if random.random_bool(0.5) { random.random_range(-60_000..60_000) } else { random.random_range(0..3_600_000) };
    let time = moment.plus_millis(hours * 3_600_000 + millis);
    let mut pick = |of: &[&'static str]| of[random.random_range(0..of.len())];
    let (platform, agent, category) = (pick(&["web", "voice", ""]), pick(&["g1", "g2"]), pick(&["llm", "training", "sql"]));
    let (user, tokens, units) = (random.random_range(0..30), random.random_range(0..9_999), random.random_range(0..99));
    format!(
        r#"{{"id":"{id}","time":"{time}","account":"{account}","platform":"{platform}","user":"u{user}","agent":"{agent}","category":"{category}","model":"m{}","input_tokens":{tokens},"quantity":"{units}.{units}"}}"#,
        id % 3
    )
}

#[test]
fn every_event_counts_on_the_accounts_own_date_and_all_sums_agree() {
    let mut random = Pcg64::seed_from_u64(29);
    for (at, &(account, zone, moment)) in ODD.iter().enumerate() {
        let moment = Timestamp::parse(moment).unwrap();
        let anchor = ["00:00", "18:30", "23:59"][at % 3];
        let book = format!("[[account]]\nid = \"{account}\"\ntime_zone = \"{zone}\"\nsession_anchor = \"{anchor}\"\n{BOOK}");
        let mut direct = Direct::at(&book, &moment.plus_millis(2 * DAY_MS).to_string());
        let events: Vec<String> = (0..EVENTS).map(|id| event(&mut random, id, account, moment)).collect();
        let (_, counts) = direct.write(events);
        assert_eq!(counts.accepted, u64::from(EVENTS), "{zone}");
        // ClickHouse has a time zone database of its own.
        let other = format!("SELECT count() FROM {{db}}.usage_log WHERE day != toDate(event_time, '{zone}')");
        assert_eq!(direct.query(&other), "0\n", "{zone} around {moment}");
        let sessions = format!("SELECT count() FROM {{db}}.session_costs WHERE day != toDate(session_start, '{zone}')");
        assert_eq!(direct.query(&sessions), "0\n", "{zone} around {moment}");
        // Where a clock moved by a part of an hour, one of its hours begins at no full one.
        let moved_by_a_part = zone == "Australia/Lord_Howe" || moment < Timestamp::parse("1986-01-02T00:00:00Z").unwrap();
        let is_odd = format!("toMinute(hour, '{zone}') != 0 OR day != toDate(hour, '{zone}')");
        let hours = format!("SELECT count() FROM {{db}}.usage_hourly WHERE account != '' AND ({is_odd})");
        assert!(moved_by_a_part || direct.query(&hours) == "0\n", "{zone} around {moment}");
        let days: u32 = direct.query("SELECT uniqExact(day) FROM {db}.usage_log").trim().parse().unwrap();
        assert!(days >= 4, "{zone} around {moment}: {days} days");
        for (costs, other) in pairs() {
            assert_eq!(direct.query(&costs), direct.query(&other), "{zone} around {moment}: {costs}\n{other}");
        }
        let sums = "SELECT sum(d.cost) FROM {db}.daily_costs AS d UNION ALL SELECT sum(m.cost) FROM {db}.monthly_usage AS m \
                    UNION ALL SELECT sum(c.cost) FROM {db}.costs AS c UNION ALL SELECT used FROM {db}.balances";
        let answer = direct.query(sums);
        let sums: Vec<&str> = answer.lines().collect();
        assert!(sums.len() == 4 && sums.iter().all(|sum| *sum == sums[0] && *sum != "0"), "{zone} around {moment}: {sums:?}");
    }
}
