//! What SQL says while somebody watches: the numbers of one moment.

use serde::Deserialize;

use super::event;
use super::mails::Mails;
use crate::notify::{Notice, render};
use crate::store::{Error, Store};

/// The numbers of the screen.
#[derive(Debug, Default)]
pub struct Figures {
    pub fates: Fates,
    pub sessions: Vec<Session>,
    pub costs: Vec<Cost>,
    pub rejected: Option<Rejected>,
    pub unpriced: Option<Unpriced>,
    /// What the crawler has used of its budget today.
    pub crawler: Option<Crawler>,
    /// The mail that came last.
    pub mail: Option<Mail>,
    /// The newest event that did not come from the demo.
    pub own: Option<Own>,
}

/// What became of the records, all partitions together.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Fates {
    pub received: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub balanced: u8,
}

/// The newest session of an account on a platform.
#[derive(Debug, Deserialize)]
pub struct Session {
    pub account: String,
    pub platform: String,
    pub session_start: String,
    pub session_end: String,
    pub unique_users: u64,
    pub unit_session_cost: String,
    pub cost: String,
}

/// What an account pays: on its newest day, and on all there are.
#[derive(Debug, Deserialize)]
pub struct Cost {
    pub account: String,
    pub today: String,
    pub total: String,
    pub sessions: String,
    pub training: String,
    pub operations: String,
}

/// The newest rejected record.
#[derive(Debug, Deserialize)]
pub struct Rejected {
    pub at: String,
    pub account: String,
    pub reason: String,
    pub detail: String,
}

/// The model that is used most without having a price.
#[derive(Debug, Deserialize)]
pub struct Unpriced {
    pub account: String,
    pub model: String,
    pub events: u64,
}

/// A budget that is used up while somebody watches.
#[derive(Debug, Deserialize)]
pub struct Crawler {
    pub spent: String,
    pub limit: String,
}

/// What a mail says in a line.
#[derive(Debug)]
pub struct Mail {
    pub at: String,
    pub to: String,
    pub subject: String,
}

/// An event that somebody else published.
#[derive(Debug, Deserialize)]
pub struct Own {
    pub at: String,
    pub account: String,
    pub agent: String,
    pub category: String,
    pub model: String,
    pub cost: String,
    pub priced: u8,
}

impl Session {
    /// What makes it this session and no other.
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.platform, &self.session_start)
    }
}

impl Figures {
    /// Asks all questions at once.
    pub async fn ask(store: &Store, mails: &Mails) -> Result<Self, Error> {
        let source = [("source", event::SOURCE)];
        let (fates, sessions, costs, rejected, unpriced, crawler, mail, own) = tokio::try_join!(
            store.rows::<Fates>(
                "SELECT sum(received) AS received, sum(accepted) AS accepted, sum(duplicates) AS duplicates, sum(rejected) AS rejected, \
                   min(balanced) AS balanced FROM conservation",
                &[],
            ),
            store.rows(
                "SELECT * FROM (SELECT account, platform, toString(session_start) AS session_start, toString(session_end) AS session_end, \
                   unique_users, toString(unit_session_cost) AS unit_session_cost, toString(s.cost) AS cost FROM session_costs AS s \
                   WHERE s.cost > 0 ORDER BY s.session_start DESC LIMIT 1 BY account, platform) ORDER BY account, platform",
                &[],
            ),
            store.rows(
                "SELECT account, toString(round(argMax(d.cost, d.day), 3)) AS today, toString(round(sum(d.cost), 3)) AS total, \
                   toString(round(argMax(d.sessions_cost, d.day), 3)) AS sessions, \
                   toString(round(argMax(d.training_cost, d.day), 3)) AS training, \
                   toString(round(argMax(d.operations_cost, d.day), 3)) AS operations \
                   FROM daily_costs AS d GROUP BY account ORDER BY account",
                &[],
            ),
            store.rows(
                "SELECT formatDateTime(received_at, '%H:%i:%S') AS at, account, toString(reason) AS reason, detail \
                   FROM rejected_events ORDER BY received_at DESC, offset DESC LIMIT 1",
                &[],
            ),
            store.rows(
                "SELECT account, model, sum(u.events) AS events FROM unpriced_usage AS u WHERE kind = 'operation' AND model != '' \
                   GROUP BY account, model ORDER BY events DESC, account, model LIMIT 1",
                &[],
            ),
            store.rows(
                "SELECT toString(round(spent, 2)) AS spent, toString(`limit`) AS `limit` FROM budget_status WHERE budget = 'crawler-daily'",
                &[],
            ),
            mail(store, mails),
            store.rows(
                "SELECT formatDateTime(received_at, '%H:%i:%S') AS at, account, toString(agent) AS agent, toString(category) AS category, \
                   toString(model) AS model, toString(cost) AS cost, priced FROM usage_log \
                   WHERE source != {source:String} AND source NOT LIKE 'night-%' ORDER BY received_at DESC LIMIT 1",
                &source,
            ),
        )?;
        Ok(Self {
            fates: fates.first().copied().unwrap_or_default(),
            sessions,
            costs,
            rejected: first(rejected),
            unpriced: first(unpriced),
            crawler: first(crawler),
            mail,
            own: first(own),
        })
    }
}

/// The one that came last, as its evidence says.
async fn mail(store: &Store, mails: &Mails) -> Result<Option<Mail>, Error> {
    let Some(caught) = mails.newest() else { return Ok(None) };
    let evidence = store.evidence_of_mail(&caught.message_id).await?;
    let Ok(notice) = serde_json::from_str::<Notice>(&evidence) else { return Ok(None) };
    let at = notice.as_of.to_string().get(11..19).unwrap_or_default().to_owned();
    Ok(Some(Mail { at, to: caught.to, subject: render(&notice, None).subject }))
}

fn first<T>(rows: Vec<T>) -> Option<T> {
    rows.into_iter().next()
}
