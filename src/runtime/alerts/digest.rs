//! One mail about what was held back on a day on which an account caused more mails than it may.

use std::collections::BTreeMap;

use super::{Alerts, DAY_MS, day_of};
use crate::budget::{Alert, Kind, id_of};
use crate::model::{Credits, Timestamp, Zone};
use crate::notify::{Notice, render};
use crate::store::HeldMail;

/// Why a mail is held that comes in the digest.
pub const TOO_MANY: &str =
    "more than alerts.mails_per_day_max today: it comes in one mail after midnight (UTC), and `farebox alerts list` shows it";
/// So long after midnight everything that was held before it is in the outbox.
const AFTER_MIDNIGHT_MS: i64 = 5 * 60_000;
/// So many days are looked back: farebox may have been away over midnight.
const DAYS_BACK: i64 = 3;
/// More than so many are counted, and not listed.
const LISTED: usize = 100;

impl Alerts {
    /// Tells each recipient what was held back on the days before, once for each account and day.
    pub(super) async fn digests(&self, now: Timestamp) -> anyhow::Result<()> {
        let today = day_of(now);
        if now.millis() - today.millis() < AFTER_MIDNIGHT_MS {
            return Ok(());
        }
        for back in (1..=DAYS_BACK).rev() {
            let (from, until) = (today.plus_millis(-back * DAY_MS), today.plus_millis((1 - back) * DAY_MS));
            let mut accounts: BTreeMap<String, BTreeMap<String, Vec<HeldMail>>> = BTreeMap::new();
            for mail in self.store.held_mails(TOO_MANY, from, until).await? {
                accounts.entry(mail.account.clone()).or_default().entry(mail.recipient.clone()).or_default().push(mail);
            }
            for (account, recipients) in accounts {
                self.digest(&account, &Zone::UTC.local(from).day.to_string(), &recipients, now).await?;
            }
        }
        Ok(())
    }

    async fn digest(
        &self,
        account: &str,
        day: &str,
        recipients: &BTreeMap<String, Vec<HeldMail>>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let id = id_of(Kind::Digest, &[account, day]);
        if self.store.alert(account, &id).await?.is_some() {
            return Ok(());
        }
        let name = self.store.contact(account, now).await?.map_or_else(String::new, |contact| contact.name);
        let name = if account.is_empty() { "farebox" } else { &name };
        let about = |mails: &[HeldMail]| Notice {
            period: "day".to_owned(),
            period_start: day.to_owned(),
            period_end: day.to_owned(),
            reasons: listed(mails),
            count: mails.len(),
            ..Notice::about(Kind::Digest, account, name, "UTC", now)
        };
        for (recipient, mails) in recipients {
            self.add_mail(&id, recipient, recipients.len(), &about(mails), now).await?;
        }
        // Each of them has their own; the row has the longest.
        let Some(longest) = recipients.values().max_by_key(|mails| mails.len()) else { return Ok(()) };
        let alert = Alert { id, kind: Kind::Digest, threshold: 0, limit: Credits::from_nanos(0), is_mailed: false };
        self.tell(&[alert], &about(longest), &[], now).await
    }
}

/// The time and the subject of each.
fn listed(mails: &[HeldMail]) -> Vec<(String, String)> {
    let line = |mail: &HeldMail| {
        let subject = serde_json::from_str(&mail.evidence).map_or_else(|_| String::new(), |notice| render(&notice, None).subject);
        let at = mail.at.to_string();
        (format!("{} UTC", at.get(11..16).unwrap_or(&at)), subject)
    };
    let mut lines: Vec<(String, String)> = mails.iter().take(LISTED).map(line).collect();
    if mails.len() > LISTED {
        lines.push(("Also".to_owned(), format!("{} more, in `farebox alerts list`", mails.len() - LISTED)));
    }
    lines
}
