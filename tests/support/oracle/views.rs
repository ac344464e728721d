//! Every view as lines of text: what SQL answers and what the oracle expects.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::super::servers::ClickHouse;
use super::{Operation, OperationKey, Session, SessionKey, Totals, utc};

/// A view's name, the question, and the lines that must be its answer, in any order.
pub struct View {
    pub name: &'static str,
    pub sql: &'static str,
    pub expected: Vec<String>,
}

impl View {
    /// The answer of a database, sorted.
    pub fn actual(&self, clickhouse: &ClickHouse, database: &str) -> Vec<String> {
        let sql = self.sql.replace("{db}", database);
        let answer = clickhouse.query(&format!("{sql} FORMAT TSVRaw"));
        let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// The rows of the log first: where they differ, the other differences follow.
pub fn all(totals: &Totals) -> Vec<View> {
    let mut views = vec![
        View {
            name: "usage_log",
            sql: "SELECT partition, `offset`, id, account, toUnixTimestamp64Milli(event_time), toUnixTimestamp64Milli(received_at), day, \
                  cost, priced FROM {db}.usage_log",
            expected: totals.logged.values().cloned().collect(),
        },
        View {
            name: "rejected_events",
            sql: "SELECT partition, `offset`, reason FROM {db}.rejected_events",
            expected: totals
                .letters
                .iter()
                .map(|((partition, offset), letter)| line(&[partition, offset, &letter.reason]))
                .collect(),
        },
        View {
            name: "conservation",
            sql: "SELECT partition, offset_first, offset_next, received, accepted, duplicates, rejected, logged, gap_offsets, \
                  overlap_offsets, balanced FROM {db}.conservation",
            expected: conservation(totals),
        },
        View {
            name: "costs",
            sql: "SELECT account, day, kind, platform, agent, category, model, events, cost FROM {db}.costs",
            expected: costs(totals),
        },
        View {
            name: "session_costs",
            sql: "SELECT account, platform, toUnixTimestamp(session_start), toUnixTimestamp(session_end), day, unique_users, events, \
                  unit_session_cost, cost, priced, closed FROM {db}.session_costs",
            expected: session_costs(totals),
        },
        View {
            name: "daily_costs",
            sql: "SELECT account, day, sessions_cost, training_cost, operations_cost, cost, provisional FROM {db}.daily_costs",
            expected: daily_costs(totals),
        },
        View {
            name: "monthly_usage",
            sql: "SELECT account, month, category, events, cost, provisional FROM {db}.monthly_usage",
            expected: monthly_usage(totals),
        },
        View {
            name: "user_sets",
            sql: "SELECT account, platform, toUnixTimestamp(session_start), day, uniqCombined64Merge(17)(users) FROM {db}.user_sets \
                  GROUP BY account, platform, session_start, day",
            expected: totals
                .sessions
                .iter()
                .map(|(key, session)| line(&[&key.account, &key.platform, &key.start, &key.day, &session.users.len()]))
                .collect(),
        },
        View {
            name: "unpriced_usage",
            sql: "SELECT account, day, kind, category, model, platform, events FROM {db}.unpriced_usage",
            expected: unpriced_usage(totals),
        },
    ];
    views.extend([
        by(
            totals,
            "agent_costs",
            "SELECT account, day, agent, events, cost, duration_ms, input_tokens, output_tokens FROM {db}.agent_costs",
            |key| &key.agent,
        ),
        by(
            totals,
            "model_costs",
            "SELECT account, day, model, events, cost, duration_ms, input_tokens, output_tokens FROM {db}.model_costs",
            |key| &key.model,
        ),
        by(
            totals,
            "category_costs",
            "SELECT account, day, category, events, cost, duration_ms, input_tokens, output_tokens FROM {db}.category_costs",
            |key| &key.category,
        ),
    ]);
    for view in &mut views {
        view.expected.sort();
    }
    views
}

/// Account, month and category with the share of the month's cost.
pub fn shares(totals: &Totals) -> BTreeMap<String, f64> {
    let months = months(totals);
    let mut sums: BTreeMap<(&str, &str), Decimal> = BTreeMap::new();
    for ((account, month, _), (_, cost)) in &months {
        *sums.entry((account, month)).or_default() += cost;
    }
    let share = |account: &str, month: &str, cost: &Decimal| match sums[&(account, month)] {
        sum if sum.is_zero() => Decimal::ZERO,
        sum => cost / sum,
    };
    months
        .iter()
        .map(|((account, month, category), (_, cost))| {
            let share = share(account, month, cost).to_string().parse().expect("a number");
            (line(&[account, month, category]), share)
        })
        .collect()
}

fn line(fields: &[&dyn std::fmt::Display]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t")
}

/// As ClickHouse prints a Decimal.
fn plain(decimal: Decimal) -> String {
    decimal.normalize().to_string()
}

fn conservation(totals: &Totals) -> Vec<String> {
    let of = |(number, partition): (&i32, &super::Partition)| {
        let super::Partition { first, next, received, accepted, duplicates, rejected, .. } = partition;
        line(&[number, first, next, received, accepted, duplicates, rejected, accepted, &0, &0, &1])
    };
    totals.partitions.iter().map(of).collect()
}

fn kind(category: &str) -> &'static str {
    if category == "training" { "training" } else { "operation" }
}

fn costs(totals: &Totals) -> Vec<String> {
    let operations = totals.operations.iter().map(|(key, operation)| {
        let OperationKey { account, day, platform, agent, category, model } = key;
        line(&[account, day, &kind(category), platform, agent, category, model, &operation.events, &plain(operation.cost)])
    });
    let mut sessions: BTreeMap<(&str, &str, &str), Decimal> = BTreeMap::new();
    for (key, session) in &totals.sessions {
        *sessions.entry((&key.account, &key.day, &key.platform)).or_default() += session.cost;
    }
    let sessions = sessions
        .into_iter()
        .map(|((account, day, platform), cost)| line(&[&account, &day, &"session", &platform, &"", &"", &"", &0, &plain(cost)]));
    operations.chain(sessions).collect()
}

fn is_closed(totals: &Totals, key: &SessionKey) -> bool {
    (key.start + 86_400) * 1000 <= totals.closed_to
}

fn session_costs(totals: &Totals) -> Vec<String> {
    let of = |(key, session): (&SessionKey, &Session)| {
        line(&[
            &key.account,
            &key.platform,
            &key.start,
            &(key.start + 86_400),
            &key.day,
            &session.users.len(),
            &session.events,
            &plain(session.unit_cost),
            &plain(session.cost),
            &u8::from(session.priced),
            &u8::from(is_closed(totals, key)),
        ])
    };
    totals.sessions.iter().map(of).collect()
}

/// Whether something may still be added to a day (or to the month that ends with it).
fn is_open_day(totals: &Totals, day: &str) -> bool {
    let date: chrono::NaiveDate = day.parse().expect("a date");
    let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    midnight + 36 * 3_600_000 > totals.closed_to
}

fn daily_costs(totals: &Totals) -> Vec<String> {
    #[derive(Default)]
    struct Day {
        sessions: Decimal,
        training: Decimal,
        operations: Decimal,
        is_open: bool,
    }
    let mut days: BTreeMap<(&str, &str), Day> = BTreeMap::new();
    for (key, operation) in &totals.operations {
        let day = days.entry((&key.account, &key.day)).or_default();
        let sum = if key.category == "training" { &mut day.training } else { &mut day.operations };
        *sum += operation.cost;
    }
    for (key, session) in &totals.sessions {
        let day = days.entry((&key.account, &key.day)).or_default();
        day.sessions += session.cost;
        day.is_open |= !is_closed(totals, key);
    }
    let of = |((account, date), day): ((&str, &str), Day)| {
        let Day { sessions, training, operations, is_open } = day;
        let provisional = u8::from(is_open || is_open_day(totals, date));
        line(&[
            &account,
            &date,
            &plain(sessions),
            &plain(training),
            &plain(operations),
            &plain(sessions + training + operations),
            &provisional,
        ])
    };
    days.into_iter().map(of).collect()
}

/// Account, month's first day, category: events and cost.
fn months(totals: &Totals) -> BTreeMap<(String, String, String), (u64, Decimal)> {
    let first = |day: &str| format!("{}-01", &day[..7]);
    let mut months: BTreeMap<(String, String, String), (u64, Decimal)> = BTreeMap::new();
    for (key, operation) in &totals.operations {
        let sums = months.entry((key.account.clone(), first(&key.day), key.category.clone())).or_default();
        *sums = (sums.0 + operation.events, sums.1 + operation.cost);
    }
    for (key, session) in &totals.sessions {
        months.entry((key.account.clone(), first(&key.day), "session".to_owned())).or_default().1 += session.cost;
    }
    months
}

fn monthly_usage(totals: &Totals) -> Vec<String> {
    let open: BTreeSet<(&str, &str)> =
        totals.sessions.keys().filter(|key| !is_closed(totals, key)).map(|key| (key.account.as_str(), &key.day[..7])).collect();
    let of = |((account, month, category), (events, cost)): ((String, String, String), (u64, Decimal))| {
        let first: chrono::NaiveDate = month.parse().expect("a date");
        let last = first + chrono::Months::new(1) - chrono::Days::new(1);
        let provisional = open.contains(&(account.as_str(), &month[..7])) || is_open_day(totals, &last.to_string());
        line(&[&account, &month, &category, &events, &plain(cost), &u8::from(provisional)])
    };
    months(totals).into_iter().map(of).collect()
}

fn by(totals: &Totals, name: &'static str, sql: &'static str, of: impl Fn(&OperationKey) -> &String) -> View {
    let mut sums: BTreeMap<(&str, &str, &str), Operation> = BTreeMap::new();
    for (key, operation) in &totals.operations {
        let sum = sums.entry((&key.account, &key.day, of(key))).or_default();
        sum.events += operation.events;
        sum.cost += operation.cost;
        sum.duration_ms += operation.duration_ms;
        sum.input_tokens += operation.input_tokens;
        sum.output_tokens += operation.output_tokens;
    }
    let of = |((account, day, by), sum): ((&str, &str, &str), Operation)| {
        line(&[&account, &day, &by, &sum.events, &plain(sum.cost), &sum.duration_ms, &sum.input_tokens, &sum.output_tokens])
    };
    View { name, sql, expected: sums.into_iter().map(of).collect() }
}

fn unpriced_usage(totals: &Totals) -> Vec<String> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (key, operation) in &totals.operations {
        let OperationKey { account, day, platform, category, model, .. } = key;
        for (kind, events) in [(kind(category), operation.unpriced), ("unattributed", operation.unattributed)] {
            if events > 0 {
                *sums.entry(line(&[account, day, &kind, category, model, platform])).or_default() += events;
            }
        }
    }
    for (key, session) in totals.sessions.iter().filter(|(_, session)| !session.priced) {
        *sums.entry(line(&[&key.account, &key.day, &"session", &"", &"", &key.platform])).or_default() += session.events;
    }
    sums.into_iter().map(|(key, events)| line(&[&key, &events])).collect()
}

/// For messages: when a record came.
pub fn moment(millis: i64) -> String {
    utc(millis).to_rfc3339()
}
