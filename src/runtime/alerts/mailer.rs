//! Sends what the outbox holds: done by whoever leads, and by nobody twice at a time, since each step of a mail is a row that only one can make.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::super::clock;
use super::super::progress::Progress;
use crate::model::Timestamp;
use crate::notify::outbox::{Outcome, Past, State, after, is_abandoned};
use crate::notify::{Envelope, Notice, Smtp, message, render};
use crate::store::{MailStep, OpenMail, Store, UNKNOWN};
use crate::telemetry::Metrics;

const EVERY: Duration = Duration::from_secs(1);
/// How many mails are on their way at a time.
const AT_A_TIME: usize = 8;
/// How many are looked at in one turn: after an outage thousands may be due.
const A_TURN: u32 = 500;

/// A server that was away is tried again so long after.
const AWAY: Duration = Duration::from_secs(5);

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// What was due was tried.
    Done,
    /// The mail server is away: all but one mail wait as they did.
    Unreachable,
}

/// What sending needs.
#[derive(Clone)]
pub struct Mailer {
    /// ClickHouse.
    pub store: Store,
    /// The mail server.
    pub smtp: Smtp,
    /// Whether we lead.
    pub progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who writes.
    pub from: String,
    /// Who reads answers.
    pub reply_to: Option<String>,
    /// Where the console is.
    pub console: Option<String>,
    /// How long a delivery may take.
    pub timeout: Duration,
    /// How long an undelivered mail is tried.
    pub retry_for: Duration,
    /// This process, unlike every other.
    pub process: String,
    /// See [`super::Alerts::mail_waits`].
    pub mail_waits: Arc<Notify>,
}

impl Mailer {
    /// Sends what is due, for ever.
    pub async fn work(self) {
        let mut failed = None;
        loop {
            let mut rest = EVERY;
            if self.progress.leads() {
                let turn = self.turn(clock::now).await;
                if let Ok(Turn::Unreachable) = turn {
                    rest = AWAY;
                }
                let failure = turn.err().map(|error| format!("{error:#}"));
                // Once for each reason, not every second.
                if failure != failed
                    && let Some(error) = &failure
                {
                    warn!(error, "mails are not sent; they stay in the outbox, and metering goes on");
                }
                failed = failure;
            }
            // Whichever comes first: a mail from this process, or the time to look for those of others and for what is to be tried again.
            let _ = timeout(rest, self.mail_waits.notified()).await;
        }
    }

    /// Sends every mail that is due; the first of them alone, so that a server that is away is asked once and not for each of thousands.
    ///
    /// # Errors
    /// ClickHouse cannot be asked; what was not sent stays in the outbox.
    pub async fn turn(&self, now: impl Fn() -> Timestamp + Copy + Send + 'static) -> anyhow::Result<Turn> {
        self.metrics.mails_waiting.set(i64::try_from(self.store.open_mails().await?).unwrap_or(i64::MAX));
        let timeout_ms = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let mut due = VecDeque::new();
        for mail in self.store.due_mails(now(), A_TURN).await? {
            if mail.state != State::Sending.as_str() {
                due.push_back(mail);
            } else if is_abandoned(mail.at, now(), timeout_ms) {
                self.abandoned(&mail, now()).await?;
            }
        }
        let Some(first) = due.pop_front() else { return Ok(Turn::Done) };
        if let Some(Outcome::Unreachable(_)) = self.send(&first, now).await? {
            return Ok(Turn::Unreachable);
        }
        let mut sending = JoinSet::new();
        while let Some(mail) = due.pop_front() {
            while sending.len() >= AT_A_TIME {
                sending.join_next().await.transpose()?.transpose()?;
            }
            let mailer = self.clone();
            sending.spawn(async move { mailer.send(&mail, now).await });
        }
        while let Some(ended) = sending.join_next().await {
            ended??;
        }
        Ok(Turn::Done)
    }

    /// Somebody began to send it and never said how it ended: nobody knows.
    async fn abandoned(&self, mail: &OpenMail, now: Timestamp) -> anyhow::Result<()> {
        let outcome = Outcome::Unknown("whoever sent it ended before the answer".to_owned());
        self.record(mail, mail.step, &outcome, now).await
    }

    /// How it ended; `None`: somebody else sends it.
    async fn send(&self, mail: &OpenMail, now: impl Fn() -> Timestamp) -> anyhow::Result<Option<Outcome>> {
        let began = self.step(mail, mail.step + 1, State::Sending, now(), now(), String::new());
        if !self.store.add_mail_step(&began).await? {
            return Ok(None);
        }
        let evidence = self.store.evidence_of_mail(&mail.mail).await?;
        let notice = serde_json::from_str::<Notice>(&evidence).map_err(|error| format!("its evidence cannot be read: {error}"));
        let outcome = match notice.as_ref().map_err(Clone::clone).and_then(|notice| self.message(mail, notice)) {
            Ok(message) => self.smtp.deliver(&message).await,
            Err(reason) => Outcome::Never(reason),
        };
        if let (Outcome::Accepted, Ok(notice), 0, 0) = (&outcome, &notice, mail.failures, mail.unknowns) {
            let took = now().millis().saturating_sub(notice.caused_at.millis()).max(0);
            self.metrics.mail_seconds.observe(Duration::from_millis(took.unsigned_abs()).as_secs_f64());
        }
        self.record(mail, mail.step + 1, &outcome, now()).await?;
        Ok(Some(outcome))
    }

    fn message(&self, mail: &OpenMail, notice: &Notice) -> Result<lettre::Message, String> {
        let envelope = Envelope {
            from: &self.from,
            reply_to: self.reply_to.as_deref(),
            to: &mail.recipient,
            message_id: &mail.mail,
            thread_id: &mail.reply_to,
        };
        message(&render(notice, self.console.as_deref()), &envelope)
    }

    /// Writes down how an attempt ended.
    async fn record(&self, mail: &OpenMail, step: u16, outcome: &Outcome, now: Timestamp) -> anyhow::Result<()> {
        let past = Past { created_at: mail.created_at, failures: mail.failures, unknowns: mail.unknowns };
        let retry_for_ms = i64::try_from(self.retry_for.as_millis()).unwrap_or(i64::MAX);
        let (state, next_at) = after(outcome, past, now, retry_for_ms);
        let detail = match outcome {
            Outcome::Accepted => String::new(),
            Outcome::Unreachable(reason) | Outcome::Later(reason) | Outcome::Never(reason) => reason.clone(),
            Outcome::Unknown(reason) => format!("{UNKNOWN}{reason}"),
        };
        match outcome {
            Outcome::Accepted => info!(recipient = masked(&mail.recipient), "a mail was accepted"),
            _ => warn!(recipient = masked(&mail.recipient), state = state.as_str(), detail, "a mail was not accepted"),
        }
        self.metrics.mail(state).inc();
        let row = self.step(mail, step + 1, state, now, next_at, detail);
        self.store.add_mail_step(&row).await?;
        Ok(())
    }

    fn step(&self, mail: &OpenMail, step: u16, state: State, at: Timestamp, next_at: Timestamp, detail: String) -> MailStep {
        MailStep {
            mail: mail.mail.clone(),
            step,
            state: state.as_str().to_owned(),
            alert: mail.alert.clone(),
            account: mail.account.clone(),
            recipient: mail.recipient.clone(),
            at,
            next_at,
            reply_to: mail.reply_to.clone(),
            evidence: String::new(),
            detail,
            by: self.process.clone(),
        }
    }
}

/// An address in a log: whose it is, and not who.
fn masked(address: &str) -> String {
    address.rsplit_once('@').map_or_else(|| "…".to_owned(), |(_, domain)| format!("…@{domain}"))
}
