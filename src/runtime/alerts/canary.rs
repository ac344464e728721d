//! A mail to the operators now and then: when it stays away, so do the others.

use super::Alerts;
use crate::budget::{Alert, Kind, id_of};
use crate::model::{Credits, Timestamp};
use crate::notify::Notice;

impl Alerts {
    /// Tells the operators that mails arrive, once in each stretch of `alerts.canary`.
    pub(super) async fn canary(&self, now: Timestamp) -> anyhow::Result<()> {
        let every = i64::try_from(self.telling.canary.as_millis()).unwrap_or(i64::MAX);
        if every == 0 || self.telling.operators.is_empty() {
            return Ok(());
        }
        let stretch = (now.millis() / every).to_string();
        let id = id_of(Kind::Canary, &[&stretch, &every.to_string()]);
        let notice = Notice::about(Kind::Canary, "", "farebox", "UTC", now);
        self.tell_once(id, &notice, &self.telling.operators, now).await
    }

    /// Tells something that has no budget and no balance, unless it was told.
    pub(super) async fn tell_once(&self, id: String, notice: &Notice, emails: &[String], now: Timestamp) -> anyhow::Result<()> {
        if self.store.alert(&notice.account, &id).await?.is_some() {
            return Ok(());
        }
        let alert = Alert { id, kind: notice.kind, threshold: 0, limit: Credits::from_nanos(0), is_mailed: true };
        self.tell(&[alert], notice, emails, now).await
    }
}
