//! What no batch tells by itself: days that cost far more than before, and what the operators should know. Looked at by the leader.

use super::Alerts;
use crate::budget::{Kind, id_of};
use crate::model::{Credits, Timestamp, Zone};
use crate::notify::{Notice, shown_credits};
use crate::store::{self, RejectedUsage, Risen, Spike, UnpricedUsage};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn amount(text: &str) -> anyhow::Result<Credits> {
    Credits::parse_sum(text).ok_or_else(|| store::Error::Answer(format!("`{text}` is no amount")).into())
}

impl Alerts {
    /// Everything that is due at a moment.
    ///
    /// # Errors
    /// ClickHouse cannot be asked; what was not told stays due.
    pub async fn scheduled(&self, now: Timestamp) -> anyhow::Result<()> {
        self.canary(now).await?;
        self.look_for_spikes(now).await?;
        self.look_for_rejected(now).await?;
        self.look_for_unpriced(now).await?;
        self.look_for_guards(now).await
    }

    async fn look_for_spikes(&self, now: Timestamp) -> anyhow::Result<()> {
        for Spike { account, name, emails, time_zone, day, cost, mean, weeks } in self.store.spikes(now).await? {
            let id = id_of(Kind::Spike, &[&account, &day]);
            if self.store.alert(&account, &id).await?.is_some() {
                continue;
            }
            let mut reasons = vec![(
                "Usually".to_owned(),
                format!("{} credits, the mean of this weekday in {weeks} weeks", shown_credits(amount(&mean)?)),
            )];
            for Risen { what, name, cost, mean } in self.store.risen(&account, &day).await? {
                let said =
                    format!("{name}: {} credits instead of {}", shown_credits(amount(&cost)?), shown_credits(amount(&mean)?));
                reasons.push((format!("Risen most, {what}"), said));
            }
            let notice = Notice {
                period: "day".to_owned(),
                period_start: day.clone(),
                period_end: day,
                spent: amount(&cost)?,
                reasons,
                ..Notice::about(Kind::Spike, &account, &name, &time_zone, now)
            };
            self.tell_once(id, &notice, &emails, now).await?;
        }
        Ok(())
    }

    /// Of the hour that it is, and of the one before, so that none is missed.
    async fn look_for_rejected(&self, now: Timestamp) -> anyhow::Result<()> {
        for back in [1, 0] {
            let hour = Timestamp::from_millis((now.millis().div_euclid(HOUR_MS) - back) * HOUR_MS);
            for RejectedUsage { account, rejected, accepted, reasons, would_cost } in self.store.rejected_in_hour(hour).await? {
                let id = id_of(Kind::Rejected, &[&account, &hour.to_string()]);
                let shown = if account.is_empty() { "(no account)" } else { &account };
                let notice = Notice {
                    spent: amount(&would_cost)?,
                    reasons: vec![
                        ("Rejected".to_owned(), format!("{rejected} events in the hour from {hour}; {accepted} were accepted")),
                        ("Reasons".to_owned(), reasons),
                    ],
                    ..Notice::about(Kind::Rejected, &account, shown, "UTC", now)
                };
                self.tell_once(id, &notice, &self.telling.operators, now).await?;
            }
        }
        Ok(())
    }

    async fn look_for_unpriced(&self, now: Timestamp) -> anyhow::Result<()> {
        let yesterday = Zone::UTC.local(now.plus_millis(-DAY_MS)).day.to_string();
        for UnpricedUsage { account, day, events, what } in self.store.unpriced_since(&yesterday).await? {
            let notice = Notice {
                reasons: vec![("Unpriced".to_owned(), format!("{events} events of {day} so far")), ("What".to_owned(), what)],
                ..Notice::about(Kind::Unpriced, &account, "", "UTC", now)
            };
            self.tell_once(id_of(Kind::Unpriced, &[&account, &day]), &notice, &self.telling.operators, now).await?;
        }
        Ok(())
    }

    async fn look_for_guards(&self, now: Timestamp) -> anyhow::Result<()> {
        for stop in self.store.stops(&self.telling.topic).await? {
            let (partition, at) = (stop.partition.to_string(), stop.at.to_string());
            let notice = Notice {
                reasons: vec![
                    ("Stands still".to_owned(), format!("partition {partition} of {}, since {at}", stop.topic)),
                    ("Guard".to_owned(), stop.kind),
                    ("Why".to_owned(), stop.reason),
                ],
                ..Notice::about(Kind::Guard, "", "farebox", "UTC", now)
            };
            let id = id_of(Kind::Guard, &[&stop.topic, &stop.source_epoch, &partition, &at]);
            self.tell_once(id, &notice, &self.telling.operators, now).await?;
        }
        Ok(())
    }
}
