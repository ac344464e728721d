//! The sentences of a mail. Text and HTML are made of the same ones.

use super::notice::Notice;
use super::words::{self, isolated, name, percent_used, short_credits, shown_credits};
use crate::budget::Kind;

/// What a mail says, in the order in which it says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub subject: String,
    /// One sentence that says it all.
    pub headline: String,
    /// Label and value.
    pub facts: Vec<(String, String)>,
    /// What may still change.
    pub caveat: String,
    /// What to do.
    pub advice: Vec<String>,
    /// The chart in a sentence; `""`: there is none.
    pub chart: String,
}

/// `shown` puts what is data into its surroundings: text, HTML or a subject.
pub fn said(notice: &Notice, console: Option<&str>, shown: impl Fn(&str) -> String) -> Said {
    let who = shown(&name(&notice.name));
    let period = words::period(notice);
    let budget = shown(&name(&notice.budget));
    let used = percent_used(notice.spent, notice.limit);
    let (spent, limit, balance) = (shown_credits(notice.spent), shown_credits(notice.limit), shown_credits(notice.balance));
    let headline = match notice.kind {
        Kind::Threshold if notice.threshold >= 100 => {
            format!("{who} has spent {spent} credits in {period}: {used} of the {limit} that the budget “{budget}” allows.")
        }
        Kind::Threshold => {
            format!("{who} has spent {spent} of the {limit} credits that the budget “{budget}” allows for {period}: {used}.")
        }
        Kind::Forecast => {
            let projected = notice.pace.as_ref().map_or_else(|| spent.clone(), |pace| shown_credits(pace.projected));
            format!(
                "At the pace of {period} so far, {who} will have spent {projected} credits at its end: more than the {limit} that the budget “{budget}” allows."
            )
        }
        Kind::LowBalance => format!("{who} has {balance} credits left: less than the {limit} at which you wanted to hear of it."),
        Kind::Exhausted => format!("{who} has no credits left: the balance is {balance}."),
        Kind::Spike => {
            let who = words::narrowed(notice, |value| shown(&name(value)))
                .map_or_else(|| who.clone(), |narrowed| format!("{who}, {narrowed},"));
            format!("{who} has spent {spent} credits on {period}: far more than on this weekday before.")
        }
        Kind::Rejected => {
            format!("Events of {who} are rejected. Had they been accepted, they would have cost about {spent} credits.")
        }
        Kind::Unpriced => format!("Events of {who} cost nothing, because nothing in the price book prices them."),
        Kind::Guard => {
            "A partition stands still until a person has looked: its events stay in Kafka, and nothing is lost or charged twice."
                .to_owned()
        }
        Kind::Canary => "Mails of this farebox installation arrive.".to_owned(),
        Kind::Digest => format!(
            "On {period} (UTC) {who} caused more mails than an account may in a day. What was held back: {}.",
            alerts(notice.count)
        ),
        Kind::Test => format!("Somebody asked farebox to send this mail to see that alerts of {who} arrive."),
    };
    let mut facts = Vec::new();
    if !notice.budget.is_empty() {
        facts.push(("Budget".to_owned(), budget));
        if let Some(narrowed) = words::narrowed(notice, |value| shown(&name(value))) {
            let is_platform_alone = notice.narrowed.iter().all(|(field, _)| field == "platform");
            let what = if is_platform_alone { "operations and sessions" } else { "operations" };
            facts.push(("Counts".to_owned(), format!("{what} of {narrowed}")));
        }
        facts.push(("Period".to_owned(), format!("{period}, days of {}", notice.time_zone)));
        facts.push(("Spent".to_owned(), format!("{spent} of {limit} credits ({used})")));
        if notice.threshold > 0 {
            facts.push(("Threshold".to_owned(), format!("{}\u{a0}%", notice.threshold)));
        }
    }
    if matches!(notice.kind, Kind::LowBalance | Kind::Exhausted) {
        facts.push(("Balance".to_owned(), format!("{balance} credits")));
    }
    facts.extend(notice.reasons.iter().map(|(label, value)| (name(label), shown(&words::sentence(value)))));
    if let Some(pace) = &notice.pace {
        facts.push(("At this pace".to_owned(), format!("{} credits at the end of the period", shown_credits(pace.projected))));
        if let Some(day) = &pace.exhausted_on {
            facts.push(("Limit reached".to_owned(), format!("about {}, at this pace", words::day(day))));
        }
    }
    facts.push(("As of".to_owned(), words::moment(notice.as_of, &notice.time_zone)));
    let caveat = match notice.kind {
        Kind::Canary | Kind::Digest | Kind::Test | Kind::Guard | Kind::Rejected | Kind::Unpriced => String::new(),
        _ => "Events that arrive late, and users that join open sessions, may still raise these figures.".to_owned(),
    };
    Said { subject: subject(notice), headline, facts, caveat, advice: advice(notice, console), chart: chart(notice) }
}

fn subject(notice: &Notice) -> String {
    let who = name(&notice.name);
    let limit = short_credits(notice.limit);
    match notice.kind {
        Kind::Threshold => {
            format!("{who}: {}\u{a0}% of {limit} credits used for {}", reached(notice), words::short_period(notice))
        }
        Kind::Forecast => format!("{who}: more than {limit} credits expected for {}", words::short_period(notice)),
        Kind::LowBalance => format!("{who}: {} credits left", short_credits(notice.balance)),
        Kind::Exhausted => format!("{who}: no credits left"),
        Kind::Spike => {
            let who = words::narrowed(notice, name).map_or_else(|| who.clone(), |narrowed| format!("{who}, {narrowed}"));
            format!("{who}: {} credits on {}, far above the usual", short_credits(notice.spent), words::short_period(notice))
        }
        Kind::Rejected => format!("farebox: events of {who} are rejected"),
        Kind::Unpriced => format!("farebox: usage of {who} has no price"),
        Kind::Guard => "farebox: a partition stands still".to_owned(),
        Kind::Canary => "farebox: mails arrive".to_owned(),
        Kind::Digest => format!("{who}: {} more on {}", alerts(notice.count), words::short_period(notice)),
        Kind::Test => format!("{who}: a test of farebox's alerts"),
    }
}

fn alerts(count: usize) -> String {
    if count == 1 { "one alert".to_owned() } else { format!("{count} alerts") }
}

/// The true share in whole percent, cut; never below the threshold that it is about.
fn reached(notice: &Notice) -> i128 {
    let share = notice.spent.nanos().saturating_mul(100).checked_div(notice.limit.nanos()).unwrap_or(100);
    share.max(i128::from(notice.threshold))
}

fn advice(notice: &Notice, console: Option<&str>) -> Vec<String> {
    let mut advice = match notice.kind {
        Kind::Threshold | Kind::Forecast => vec![
            "Nothing is switched off: a budget tells, and usage goes on. Agents that watch the topic of balances stop by themselves.".to_owned(),
            "If it is as planned, raise the limit in the price book: the thresholds above what is spent are told anew.".to_owned(),
            "If it is not, look at the agents and models above that cost most.".to_owned(),
        ],
        Kind::LowBalance => vec!["Add credits before they run out: you hear of it again when the balance falls below the mark once more.".to_owned()],
        Kind::Exhausted => vec!["Add credits. Until then agents that watch the topic of balances refuse work; what others use is still metered, as a debt.".to_owned()],
        Kind::Spike => vec!["If it is not as planned, look at what has risen most. You hear of a day once.".to_owned()],
        Kind::Rejected => vec![
            "`farebox rejected` lists them with the field that is wrong; when the producer is mended, `farebox rejected replay` publishes them again.".to_owned(),
        ],
        Kind::Unpriced => vec!["Add a price and apply it; `farebox rerate` then charges what cost nothing.".to_owned()],
        Kind::Guard => vec!["`farebox recover` shows what can be done, and changes nothing by itself.".to_owned()],
        Kind::Digest => vec![
            "`farebox alerts list` shows them all, and `farebox alerts show ID` what each of them says.".to_owned(),
            "If that is too many, raise the limits, or name fewer thresholds; `alerts.mails_per_day_max` says how many mails an account may cause in a day.".to_owned(),
        ],
        Kind::Canary | Kind::Test => vec!["There is nothing to do.".to_owned()],
    };
    if let Some(console) = console {
        advice.push(format!("More in the console: {console}"));
    }
    advice
}

/// The picture's content for those who do not see it.
fn chart(notice: &Notice) -> String {
    if notice.days.is_empty() || notice.budget.is_empty() {
        return String::new();
    }
    let largest = notice.days.iter().max_by_key(|(_, cost)| cost.nanos());
    let largest = largest
        .map_or_else(String::new, |(day, cost)| format!("; the largest day was {} with {}", words::day(day), shown_credits(*cost)));
    format!(
        "Spending added up by day: {} of {} credits ({}) by {}{largest}.",
        shown_credits(notice.spent),
        shown_credits(notice.limit),
        percent_used(notice.spent, notice.limit),
        notice.days.last().map_or_else(String::new, |(day, _)| words::day(day))
    )
}

/// The mail without HTML.
pub fn text(notice: &Notice, console: Option<&str>) -> String {
    let said = said(notice, console, isolated);
    let mut text = format!("{}\n\n", said.headline);
    for (label, value) in &said.facts {
        text += &format!("{label}: {value}\n");
    }
    for (what, rows) in [("Agents that cost most", &notice.agents), ("Models that cost most", &notice.models)] {
        if rows.is_empty() {
            continue;
        }
        text += &format!("\n{what}:\n");
        for (of, cost) in rows {
            text += &format!("  {}: {} credits\n", isolated(&name(of)), shown_credits(*cost));
        }
    }
    text += "\nWhat to do:\n";
    for line in &said.advice {
        text += &format!("- {line}\n");
    }
    if !said.caveat.is_empty() {
        text += &format!("\n{}\n", said.caveat);
    }
    text
}
