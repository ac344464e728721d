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
        self.digests(now).await?;
        self.look_for_spikes(now).await?;
        self.look_for_rejected(now).await?;
        self.look_for_unpriced(now).await?;
        self.look_for_guards(now).await
    }

    /// Of an account that is far above its usual, its agents are among the reasons, and not told of apart.
    async fn look_for_spikes(&self, now: Timestamp) -> anyhow::Result<()> {
        let spikes = self.store.spikes(now).await?;
        for spike in &spikes {
            let of_account = id_of(Kind::Spike, &[&spike.account, &spike.day]);
            if self.store.alert(&spike.account, &of_account).await?.is_some() {
                continue;
            }
            let id = if spike.agent.is_empty() {
                of_account
            } else if spikes.iter().any(|other| other.account == spike.account && other.agent.is_empty()) {
                continue;
            } else {
                id_of(Kind::Spike, &[&spike.account, &spike.day, &spike.agent])
            };
            if self.store.alert(&spike.account, &id).await?.is_some() {
                continue;
            }
            let narrowed = if spike.agent.is_empty() { Vec::new() } else { vec![("agent".to_owned(), spike.agent.clone())] };
            let notice = Notice {
                narrowed,
                period: "day".to_owned(),
                period_start: spike.day.clone(),
                period_end: spike.day.clone(),
                spent: amount(&spike.cost)?,
                reasons: self.why_risen(spike).await?,
                ..Notice::about(Kind::Spike, &spike.account, &spike.name, &spike.time_zone, now)
            };
            self.tell_once(id, &notice, &spike.emails, now).await?;
        }
        Ok(())
    }

    /// What is usual, what has risen most, and whether there is more of it or it is dearer.
    async fn why_risen(&self, spike: &Spike) -> anyhow::Result<Vec<(String, String)>> {
        let Spike { account, agent, day, mean, weeks, .. } = spike;
        let (risen, numbers) = tokio::try_join!(self.store.risen(account, agent, day), self.store.numbers(account, agent, day))?;
        let usually = format!("{} credits, the mean of this weekday in {weeks} weeks", shown_credits(amount(mean)?));
        let mut reasons = vec![("Usually".to_owned(), usually)];
        for Risen { what, name, cost, mean } in risen {
            let said = format!("{name}: {} credits instead of {}", shown_credits(amount(&cost)?), shown_credits(amount(&mean)?));
            reasons.push((format!("Risen most, {what}"), said));
        }
        let mut counted = vec![("Operations", numbers.events, numbers.events_mean)];
        if agent.is_empty() {
            counted.extend([
                ("Sessions", numbers.sessions, numbers.sessions_mean),
                ("Unique users", numbers.users, numbers.users_mean),
            ]);
        }
        let counted = counted.into_iter().filter(|(_, count, mean)| count > mean);
        reasons.extend(counted.map(|(what, count, mean)| (what.to_owned(), format!("{count} instead of {mean}"))));
        if numbers.prices > 0 {
            let said = format!("{} entries of the price book begin to hold within the week before", numbers.prices);
            reasons.push(("Prices".to_owned(), said));
        }
        Ok(reasons)
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
