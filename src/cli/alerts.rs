//! `farebox alerts`: what was told, why something was or was not, and what a mail looks like.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use super::args::{AlertsVerbs, Format};
use super::output;
use super::run::marked;
use crate::budget::{self, Kind};
use crate::config::Config;
use crate::model::{Credits, Timestamp};
use crate::notify::outbox::Outcome;
use crate::notify::{self, Envelope, Notice, Pace, Smtp, percent_used, shown_credits};
use crate::runtime::alerts::of_status;
use crate::runtime::{self, clock};
use crate::store::{AlertRow, BudgetStatus, MailStep, Store};

/// How many alerts `list` shows.
const LISTED: u32 = 100;

pub(super) async fn alerts(config: Config, verb: AlertsVerbs, format: Format) -> anyhow::Result<()> {
    if let AlertsVerbs::Preview { kind, to } = &verb {
        return preview(&config, kind, to);
    }
    if let AlertsVerbs::Test { to } = &verb {
        return test(&config, to).await;
    }
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(runtime::Error::from).map_err(marked)?;
    let now = clock::now();
    match verb {
        AlertsVerbs::List { account } => list(&store, account.as_deref(), format).await,
        AlertsVerbs::Show { id } => show(&store, &id, format).await,
        AlertsVerbs::Why { budget, account } => why(&store, &budget, account.as_deref(), now, format).await,
        AlertsVerbs::Mute { account, budget, lasts } => {
            let until = now.plus_millis(lasts.millis());
            let stored = store.mute(&account, budget.as_deref().unwrap_or_default(), until, now, &super::person()).await;
            stored.map_err(runtime::Error::from).map_err(marked)?;
            eprintln!("farebox: mails about `{}` are held until {until}; alerts are still listed", budget.unwrap_or(account));
            Ok(())
        }
        AlertsVerbs::Preview { .. } | AlertsVerbs::Test { .. } => Ok(()), // above
    }
}

async fn list(store: &Store, account: Option<&str>, format: Format) -> anyhow::Result<()> {
    let rows = store.newest_alerts(account, LISTED).await.map_err(runtime::Error::from).map_err(marked)?;
    if rows.is_empty() {
        eprintln!("farebox: nothing was told yet; `farebox alerts why BUDGET` says how a budget stands");
        return Ok(());
    }
    let columns = ["created_at", "account", "kind", "budget", "period_start", "threshold", "limit", "id"];
    let row = |row: &AlertRow| {
        vec![
            json!(row.created_at.to_string()),
            json!(row.account),
            json!(row.kind),
            json!(row.budget),
            json!(if row.budget.is_empty() { "" } else { &row.period_start }),
            json!(row.threshold),
            output::amount(format, &row.limit),
            json!(row.id),
        ]
    };
    Ok(output::rows(format, &columns, rows.iter().map(row))?)
}

async fn show(store: &Store, id: &str, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let Some(alert) = store.find_alert(id).await.map_err(failed)? else {
        bail!("there is no alert `{id}`: `farebox alerts list` shows their ids");
    };
    if format == Format::Table {
        let notice: Notice = serde_json::from_str(&alert.evidence).context("read the alert's evidence")?;
        output::text(&notify::render(&notice, None).text)?;
        output::text(&format!("\nThe newest batch in these figures: {}\n", notice.batch))?;
    }
    let columns = ["recipient", "step", "state", "at", "next_at", "detail"];
    let row = |step: &MailStep| {
        vec![
            json!(step.recipient),
            json!(step.step),
            json!(step.state),
            json!(step.at.to_string()),
            json!(step.next_at.to_string()),
            json!(step.detail),
        ]
    };
    let steps = store.mail_steps(id).await.map_err(failed)?;
    if steps.is_empty() {
        eprintln!("farebox: nobody was mailed: a higher threshold was reached at once, or the account names no one to mail");
        return Ok(());
    }
    Ok(output::rows(format, &columns, steps.iter().map(row))?)
}

/// How a budget stands, and for each threshold whether it was told, and if not, why.
async fn why(store: &Store, id: &str, account: Option<&str>, now: Timestamp, format: Format) -> anyhow::Result<()> {
    let failed = |error| marked(runtime::Error::from(error));
    let accounts: Vec<&str> = account.into_iter().collect();
    let all = store.budget_status(&accounts, now).await.map_err(failed)?;
    let found: Vec<&BudgetStatus> = all.iter().filter(|status| status.budget == id).collect();
    if found.is_empty() {
        bail!("no budget `{id}` holds now: it is not in the price book, or it or its account is retired");
    }
    let mut rows = Vec::new();
    for status in found {
        let told = store.alerts_of(&[&status.account], &status.period_start).await.map_err(failed)?;
        let ids: BTreeSet<String> = told.iter().map(|row| row.id.clone()).collect();
        let of = of_status(status)?;
        let due = budget::due_of_budget(&of, &ids);
        let thresholds: BTreeSet<u16> = status.thresholds.iter().copied().collect();
        for threshold in thresholds {
            let told = told.iter().find(|row| {
                row.budget == id && row.kind == "threshold" && row.threshold == threshold && row.limit == of.limit.to_string()
            });
            let state = if let Some(row) = told {
                format!("told at {}", row.created_at)
            } else if due.iter().any(|alert| alert.threshold == threshold) {
                "reached, and told in a moment: `farebox run` looks at it within seconds".to_owned()
            } else {
                let at = of.limit.nanos().saturating_mul(i128::from(threshold)) / 100;
                let missing = Credits::from_nanos(at.saturating_sub(of.spent.nanos()));
                format!("not reached: {} credits are missing", shown_credits(missing))
            };
            rows.push(vec![
                json!(status.account),
                json!(status.period_start),
                json!(status.period_end),
                output::amount(format, &status.spent),
                output::amount(format, &status.limit),
                json!(percent_used(of.spent, of.limit)),
                json!(threshold),
                json!(state),
            ]);
        }
        if status.emails.is_empty() {
            eprintln!(
                "farebox: neither the budget nor the account `{}` has `emails`: alerts are listed, and nobody is mailed",
                status.account
            );
        }
    }
    let columns = ["account", "period_start", "period_end", "spent", "limit", "share", "threshold", "state"];
    Ok(output::rows(format, &columns, rows.into_iter())?)
}

/// Sends one mail now, past the outbox.
async fn test(config: &Config, to: &str) -> anyhow::Result<()> {
    let smtp = Smtp::new(&config.smtp).map_err(|error| marked(runtime::Error::Configuration(error.to_string())))?;
    let notice = Notice { kind: Kind::Test, ..sample(clock::now()) };
    let now = clock::now().to_string();
    let message_id = notify::message_id(&format!("test/{now}"), to, &config.smtp.from);
    let envelope = Envelope {
        from: &config.smtp.from,
        reply_to: config.smtp.reply_to.as_deref(),
        to,
        message_id: &message_id,
        thread_id: &message_id,
    };
    let message =
        notify::message(&notify::render(&notice, config.http.public_url.as_deref()), &envelope).map_err(anyhow::Error::msg)?;
    match smtp.deliver(&message).await {
        Outcome::Accepted => {
            eprintln!("farebox: `{}` accepted the mail for {to}", config.smtp.url);
            Ok(())
        }
        Outcome::Unreachable(reason) | Outcome::Later(reason) | Outcome::Never(reason) => {
            bail!("the mail was not accepted: {reason}; see [smtp] in the configuration")
        }
        Outcome::Unknown(reason) => bail!("nobody knows whether the mail was accepted: {reason}"),
    }
}

/// Writes what a mail of this kind looks like.
fn preview(config: &Config, kind: &str, to: &Path) -> anyhow::Result<()> {
    let Some(kind) = Kind::named(kind) else {
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        bail!("no alert is called `{kind}`; there are {kinds}");
    };
    let mut notice = Notice { kind, ..sample(clock::now()) };
    if !matches!(kind, Kind::Threshold | Kind::Forecast) {
        (notice.budget, notice.pace) = (String::new(), None);
        (notice.days, notice.agents, notice.models) = (Vec::new(), Vec::new(), Vec::new());
    }
    let reasons: &[(&str, &str)] = match kind {
        Kind::Spike => &[
            ("Usually", "31.50 credits, the mean of this weekday in 8 weeks"),
            ("Risen most, agent", "support-triage: 812.00 credits instead of 20.10"),
        ],
        Kind::Rejected => &[
            ("Rejected", "212 events in the hour from 2026-11-25T13:00:00Z; 1840 were accepted"),
            ("Reasons", "bad_value 200, missing_field 12"),
        ],
        Kind::Unpriced => &[("Unpriced", "51 events of 2026-11-25 so far"), ("What", "operation llm gpt-next-preview")],
        Kind::Guard => &[
            ("Stands still", "partition 3 of usage.events, since 2026-11-25T13:02:11Z"),
            ("Guard", "recreated"),
            ("Why", "the topic was deleted and created again"),
        ],
        Kind::Digest => &[
            ("13:02 UTC", "ACME GmbH: 80\u{a0}% of 1\u{a0}000 credits used for November"),
            ("17:45 UTC", "ACME GmbH: 40.12 credits left"),
        ],
        _ => &[],
    };
    notice.count = reasons.len();
    notice.reasons = reasons.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    if matches!(kind, Kind::Digest | Kind::Spike) {
        let day = "2026-11-24".to_owned();
        (notice.period, notice.period_start, notice.period_end) = ("day".to_owned(), day.clone(), day);
    }
    if kind == Kind::Exhausted {
        notice.balance = Credits::from_nanos(0);
    }
    let mail = notify::render(&notice, config.http.public_url.as_deref());
    let is_html = to.extension().is_some_and(|extension| extension == "html");
    let content = if is_html {
        // A browser knows no content ids: the picture goes into the page.
        let picture = mail.chart.as_deref().map(base64).unwrap_or_default();
        mail.html.replace("cid:chart", &format!("data:image/png;base64,{picture}")).into_bytes()
    } else {
        let (from, to) = (config.smtp.from.as_str(), "somebody@example.com");
        let message_id = notify::message_id("preview", to, from);
        let envelope = Envelope { from, reply_to: None, to, message_id: &message_id, thread_id: &message_id };
        notify::message(&mail, &envelope).map_err(anyhow::Error::msg)?.formatted()
    };
    fs::write(to, content).with_context(|| format!("write `{}`", to.display()))?;
    eprintln!("farebox: `{}` holds the mail: {}", to.display(), mail.subject);
    Ok(())
}

/// Invented figures of an invented account.
fn sample(now: Timestamp) -> Notice {
    let credits = |whole: i128| Credits::from_nanos(whole * 1_000_000_000);
    let start = chrono::NaiveDate::from_ymd_opt(2026, 11, 1).unwrap_or_default();
    let days = start.iter_days().take(25).zip(0_i128..).map(|(day, at)| (day.to_string(), credits(24 + at * 37 % 23)));
    let days: Vec<(String, Credits)> = days.collect();
    let spent = Credits::from_nanos(days.iter().map(|(_, cost)| cost.nanos()).sum());
    Notice {
        kind: Kind::Threshold,
        account: "acme".to_owned(),
        name: "ACME GmbH".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        budget: "acme-monthly".to_owned(),
        narrowed: Vec::new(),
        period: "month".to_owned(),
        period_start: start.to_string(),
        period_end: "2026-11-30".to_owned(),
        threshold: 80,
        limit: credits(1000),
        spent,
        balance: credits(72),
        reasons: Vec::new(),
        count: 0,
        pace: Some(Pace { projected: credits(1042), exhausted_on: Some("2026-11-29".to_owned()) }),
        days,
        agents: [("support-triage", 512), ("invoice-reader", 231), ("سكرتير", 90)]
            .map(|(name, cost)| (name.to_owned(), credits(cost)))
            .to_vec(),
        models: [("gpt-4o", 640), ("gpt-4o-mini", 193)].map(|(name, cost)| (name.to_owned(), credits(cost))).to_vec(),
        as_of: now,
        caused_at: now,
        batch: "usage.events/0/0-1000".to_owned(),
    }
}

fn base64(bytes: &[u8]) -> String {
    use lettre::message::header::ContentTransferEncoding;
    let body = lettre::message::Body::new_with_encoding(bytes.to_vec(), ContentTransferEncoding::Base64);
    let encoded = body.map(lettre::message::Body::into_vec).unwrap_or_default();
    String::from_utf8_lossy(&encoded).chars().filter(|c| !c.is_whitespace()).collect()
}
