//! The money views on random events that went through the engine: they say the same, and say it again when a batch is sent again.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::direct::Direct;

const BOOK: &str = r#"
[[account]]
id = "a0"
time_zone = "Asia/Kolkata"
session_anchor = "18:30"

[[account]]
id = "a1"
time_zone = "America/New_York"
charge = ["operations"]

[[account]]
id = "a2"
charge = ["sessions", "training"]

[[account]]
id = "a3"
operations = "reported"

[[session_price]]
account = "*"
platform = "web"
unit_session_cost = "0.123456789"

[[rate]]
account = "*"
category = "llm"
per_1k_input_tokens = "0.000333333"

[[rate]]
account = "*"
category = "training"
per_unit = "0.3"
"#;

/// Of accounts known and unknown (`a4`), priced and not, with and without user and platform, over two months, none too old to be taken.
fn event(random: &mut Pcg64, id: u32) -> String {
    let day = random.random_range(0..34);
    let date = if day < 15 { format!("2026-02-{:02}", day + 14) } else { format!("2026-03-{:02}", day - 14) };
    let mut pick = |of: &[&'static str]| of[random.random_range(0..of.len())];
    let (account, platform, agent) =
        (pick(&["a0", "a1", "a2", "a3", "a4"]), pick(&["web", "web", "voice", ""]), pick(&["g1", "g2"]));
    let (category, model) = (pick(&["llm", "training", "sql"]), pick(&["", "m1", "m2"]));
    let user = if pick(&["", "u", "u", "u"]).is_empty() { String::new() } else { format!("u{}", random.random_range(0..30)) };
    let (hour, minute) = (random.random_range(0..24), random.random_range(0..60));
    let (tokens, quantity, credits) = (random.random_range(0..9_999), random.random_range(0..999), random.random_range(0..99));
    format!(
        r#"{{"id":"{id}","time":"{date}T{hour:02}:{minute:02}:00Z","account":"{account}","platform":"{platform}","user":"{user}","agent":"{agent}","category":"{category}","model":"{model}","input_tokens":{tokens},"quantity":"{quantity}.{quantity}","credits":"0.{credits}"}}"#
    )
}

/// Pairs of questions that have one answer.
pub fn pairs() -> Vec<(String, String)> {
    let by = |view: &str, keys: &str, cost: &str, filter: &str| {
        format!(
            "SELECT {keys}, sum({cost}) AS sum FROM {{db}}.{view} AS v WHERE {filter} GROUP BY {keys} HAVING sum != 0 ORDER BY {keys}"
        )
    };
    let mut pairs = vec![
        (by("costs", "account, day", "v.cost", "1"), by("daily_costs", "account, day", "v.cost", "1")),
        (
            by("costs", "account, day, platform", "v.cost", "kind = 'session'"),
            by("session_costs", "account, day, platform", "v.cost", "1"),
        ),
        (
            "SELECT account, toStartOfMonth(day) AS month, sum(v.cost) AS sum FROM {db}.costs AS v GROUP BY account, month HAVING sum != 0 \
             ORDER BY account, month"
                .to_owned(),
            by("monthly_usage", "account, month", "v.cost", "1"),
        ),
        (
            by("costs", "account, day, category", "v.cost", "kind != 'session'"),
            "SELECT account, day, category, sum(u.cost) AS sum FROM {db}.usage_log AS u GROUP BY account, day, category HAVING sum != 0 \
             ORDER BY account, day, category"
                .to_owned(),
        ),
    ];
    for (kind, column) in [("session", "sessions_cost"), ("training", "training_cost"), ("operation", "operations_cost")] {
        let kind = format!("kind = '{kind}'");
        pairs.push((by("costs", "account, day", "v.cost", &kind), by("daily_costs", "account, day", column, "1")));
    }
    for (view, key) in [("agent_costs", "agent"), ("model_costs", "model"), ("category_costs", "category")] {
        let keys = format!("account, day, {key}");
        for sum in ["v.cost", "v.events"] {
            pairs.push((by("costs", &keys, sum, "kind != 'session'"), by(view, &keys, sum, "1")));
        }
    }
    pairs
}

#[test]
fn costs_are_the_sum_of_every_money_view_and_a_batch_sent_again_changes_none() {
    let mut direct = Direct::new(BOOK);
    let mut random = Pcg64::seed_from_u64(11);
    let mut sent = Vec::new();
    for batch in 0..6 {
        let events: Vec<String> = (0..700).map(|n| event(&mut random, batch * 700 + n)).collect();
        let (blocks, counts) = direct.write(events);
        assert_eq!(counts.accepted, 700);
        sent.push(blocks);
    }
    let answers = |direct: &Direct| -> Vec<String> { pairs().iter().map(|(costs, _)| direct.query(costs)).collect() };
    let first = answers(&direct);
    for ((costs, other), answer) in pairs().iter().zip(&first) {
        assert!(!answer.is_empty(), "{costs}");
        assert_eq!(&direct.query(other), answer, "{costs}\n{other}");
    }
    sent.iter().for_each(|blocks| direct.insert(blocks));
    assert_eq!(answers(&direct), first);
    assert_eq!(direct.query("SELECT count() FROM {db}.usage_log"), "4200\n");
}
