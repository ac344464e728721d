//! The checks, one behind the other.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike, NaiveDate};

use super::kafka::{Explained, Unfinished};
use super::{Row, Steps, Verdict};
use crate::cli::args::Days;
use crate::cli::kafka::Kafka;
use crate::config::Config;
use crate::runtime;
use crate::store::{Check, Coverage, Difference, Duplicates, End, Ends, Error, Store};

/// A difference that was seen while batches are written must be there so often before it counts.
pub(super) const LOOKS: usize = 3;
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(300);

pub(super) struct Verify {
    pub(super) store: Store,
    pub(super) config: Arc<Config>,
    /// Or why it cannot be asked.
    pub(super) kafka: Result<Arc<Kafka>, String>,
    pub(super) steps: Steps,
    pub(super) days: Days,
    /// The topic's life that the group reads.
    pub(super) epoch: String,
    pub(super) rows: Vec<Row>,
}

/// What several findings have in common, and how many are not named.
#[derive(Default)]
pub(super) struct Found {
    places: Vec<String>,
    more: u64,
}

impl Found {
    const NAMED_MAX: usize = 20;

    pub(super) fn add(&mut self, places: impl IntoIterator<Item = String>) {
        for place in places {
            if self.places.len() < Self::NAMED_MAX {
                self.places.push(place);
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn row(self, check: &'static str, range: impl Into<String>, looked_at: impl Into<String>) -> Row {
        Row::new(check, range, looked_at, self.places, self.more)
    }
}

impl Verify {
    /// Everything, in an order in which what is read first cannot make what is read later look wrong.
    pub(super) async fn all(&mut self) -> Result<(), Error> {
        let keep = runtime::keep(&self.config);
        let coverage = self.store.log_coverage(keep.usage_log_days).await?;
        let ends = self.store.all_ends().await?;
        let days = self.checked_days(&coverage, keep.usage_log_days);
        let spans = days.map(months).unwrap_or_default();
        let of_days = days.map_or(0, |days| Store::day_spans(&coverage, days).len());
        self.steps.total = u64::try_from(ends.0.len() * 3 + 2 * spans.len() + 2 * of_days + 7).unwrap_or(u64::MAX);
        self.conservation(&ends).await?;
        self.batches(&ends).await?;
        self.totals(keep.usage_log_days).await?;
        self.tell_coverage(&coverage, days, keep.usage_log_days);
        if let Some(days) = days {
            self.hourly(&coverage, days).await?;
            self.sessions(&coverage, days).await?;
        }
        self.money(&coverage).await?;
        if let Some(days) = days {
            self.duplicates(&coverage, days).await?;
        }
        self.unfinished(&ends).await?;
        match &self.kafka {
            Ok(kafka) => {
                let kafka = Arc::clone(kafka);
                self.confirm(&kafka, &ends).await?;
            }
            Err(reason) => {
                for check in ["offsets", "records", "dead_letters"] {
                    let found = format!("Kafka cannot be asked: {reason}");
                    self.rows.push(Row::told(check, "", "", found, Verdict::Unproven));
                }
            }
        }
        Ok(())
    }

    pub(super) fn check<'a>(&self, end: &'a End) -> Check<'a> {
        let keep = runtime::keep(&self.config);
        Check {
            source_epoch: &end.source_epoch,
            topic: &end.topic,
            partition: end.in_partition,
            usage_log_keep_days: keep.usage_log_days,
            rejected_keep_days: keep.rejected_days,
            log_append_time: self.kafka.as_ref().is_ok_and(|kafka| kafka.append_time && kafka.topic == end.topic),
        }
    }

    async fn conservation(&mut self, ends: &Ends) -> Result<(), Error> {
        let (mut found, mut gaps) = (Found::default(), Found::default());
        let (mut batches, mut records, mut gap_offsets) = (0, 0, 0);
        for end in &ends.0 {
            let seen = self.store.conservation(end).await?;
            batches += seen.batches;
            records += seen.received;
            gap_offsets += seen.gap_offsets;
            let name = name(end);
            if seen.gaps > 0 {
                gaps.add([format!("{name}: {} gaps admit {} offsets", seen.gaps, seen.gap_offsets)]);
            }
            found.add(seen.findings.into_iter().map(|finding| format!("{name}, {finding}")));
            self.steps.step("conservation");
        }
        let looked_at = format!("{} partitions, {batches} batches, {records} records", ends.0.len());
        self.rows.push(found.row("conservation", "every offset", looked_at));
        let looked_at = format!("{} partitions", ends.0.len());
        let mut row = gaps.row("gaps", "every offset", looked_at);
        if gap_offsets > 0 {
            row.verdict = Verdict::Info; // admitted, with an alarm when it happened
            row.found = format!("{gap_offsets} offsets left Kafka before they were read: {}", row.found);
        }
        self.rows.push(row);
        Ok(())
    }

    /// Batches against the other tables: what is asked on assignment, over everything that age allows.
    async fn batches(&mut self, ends: &Ends) -> Result<(), Error> {
        // An event may come before its own day: by the clock, and by the account's zone.
        let since = self.days.from.and_then(|from| from.checked_sub_days(chrono::Days::new(2)));
        let since_text = since.map(|day| format!("{day} 00:00:00.000"));
        let mut found = Found::default();
        let mut ranges = 0;
        for end in &ends.0 {
            let check = self.check(end);
            for range in self.store.batch_ranges(&check, end.offset_to, since_text.as_deref()).await? {
                let name = name(end);
                let findings = self.store.batch_findings(&check, range).await?;
                found.add(findings.into_iter().map(|finding| format!("{name}, {finding}")));
                ranges += 1;
            }
            self.steps.step("batches");
        }
        let looked_at = match since {
            None => format!("{} batches", ends.batches()),
            Some(_) => format!("{ranges} ranges of batches"),
        };
        let range = since.map_or_else(|| "every batch".to_owned(), |day| format!("batches written since {day}"));
        self.rows.push(found.row("batches", range, looked_at));
        Ok(())
    }

    /// Whether the rollups hold as many events as the batches accepted, ever.
    async fn totals(&mut self, keep_days: u32) -> Result<(), Error> {
        const CHECK: &str = "totals";
        // Without the log nobody knows how many events an unfinished batch has; but their number does not stay the same for long.
        let looks = if keep_days == 0 { 3 * LOOKS } else { LOOKS };
        let mut seen: Vec<(u64, u64)> = Vec::new();
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let ends = self.store.all_ends().await?;
            let totals = self.store.totals(&ends).await?;
            let finished = totals.rolled_up.saturating_sub(totals.unfinished);
            seen.push((finished, ends.accepted()));
            if finished == ends.accepted() {
                break;
            }
        }
        self.steps.step(CHECK);
        let (events, accepted) = seen.last().copied().unwrap_or_default();
        let looked_at = format!("{events} events");
        if events == accepted {
            self.rows.push(Row::new(CHECK, "ever", looked_at, Vec::new(), 0));
            return Ok(());
        }
        let found = format!("usage_hourly holds {events} events, the batches accepted {accepted}");
        let is_steady = seen.iter().all(|(there, wanted)| there.wrapping_sub(*wanted) == events.wrapping_sub(accepted));
        self.rows.push(if keep_days > 0 || is_steady {
            Row::new(CHECK, "ever", looked_at, vec![found], 0)
        } else {
            let found = format!("{found}; batches are being written, and without usage_log nobody knows how many events they have");
            Row::told(CHECK, "ever", looked_at, found, Verdict::Unproven)
        });
        Ok(())
    }

    /// The days of the log to look at; `None`: it proves nothing of those that were asked for.
    fn checked_days(&self, coverage: &Coverage, keep_days: u32) -> Option<(NaiveDate, NaiveDate)> {
        let (first, last) = (coverage.first?, coverage.days.last()?.day);
        let from = self.days.from.unwrap_or(first).max(first);
        let to = self.days.to.unwrap_or(last).min(last);
        (keep_days > 0 && from <= to).then_some((from, to))
    }

    fn tell_coverage(&mut self, coverage: &Coverage, days: Option<(NaiveDate, NaiveDate)>, keep_days: u32) {
        let rolled_up: u64 = coverage.days.iter().map(|day| day.rolled_up).sum();
        let asked = |day: NaiveDate| self.days.from.is_none_or(|from| day >= from) && self.days.to.is_none_or(|to| day <= to);
        let is_proved = |day: NaiveDate| days.is_some_and(|(from, to)| day >= from && day <= to);
        let unproved: Vec<_> = coverage.days.iter().filter(|day| asked(day.day) && !is_proved(day.day)).collect();
        let looked_at = format!("{} days, {rolled_up} events", coverage.days.len());
        let range = days.map_or_else(|| "none".to_owned(), spelled);
        let row = match (unproved.first(), unproved.last()) {
            (Some(first), Some(last)) => {
                let why = if keep_days == 0 {
                    "usage_log is off (usage_log.keep)"
                } else {
                    "usage_log has not all their events, or none any more (usage_log.keep)"
                };
                let found = format!("{} days from {} to {} cannot be proved: {why}", unproved.len(), first.day, last.day);
                Row::told("coverage", range, looked_at, found, Verdict::Unproven)
            }
            _ => Row::new("coverage", range, looked_at, Vec::new(), 0),
        };
        self.rows.push(row);
    }

    async fn hourly(&mut self, coverage: &Coverage, days: (NaiveDate, NaiveDate)) -> Result<(), Error> {
        let mut found = Found::default();
        for span in Store::day_spans(coverage, days) {
            let store = &self.store;
            let differences = settled(store, async |ends| store.hourly_differences(span, ends).await).await?;
            found.add(differences.iter().map(told));
            self.steps.step(&format!("usage_hourly {}", span.0));
        }
        let events: u64 = coverage.days.iter().filter(|day| day.day >= days.0 && day.day <= days.1).map(|day| day.logged).sum();
        let looked_at = format!("{} days, {events} events", count(coverage, days));
        self.rows.push(found.row("usage_hourly", spelled(days), looked_at));
        Ok(())
    }

    async fn sessions(&mut self, coverage: &Coverage, days: (NaiveDate, NaiveDate)) -> Result<(), Error> {
        // A session of the first day may have begun on the day before in UTC, or have events on the day before of an account's calendar.
        let is_first = self.days.from.is_none_or(|from| coverage.first.is_some_and(|first| from <= first));
        let shifted = |day: NaiveDate, by: i64| day.checked_add_signed(chrono::TimeDelta::days(by)).unwrap_or(day);
        let from = match (is_first, coverage.is_whole) {
            (true, true) => shifted(days.0, -2),
            (true, false) => shifted(days.0, 2),
            (false, _) => days.0,
        };
        let to = if self.days.to.is_none() { shifted(days.1, 1) } else { days.1 };
        let (mut users, mut events) = (Found::default(), Found::default());
        for span in Store::day_spans(coverage, (from, to)) {
            let store = &self.store;
            let differences = settled(store, async |ends| {
                let (users, events) = store.session_differences(span, ends).await?;
                let tagged = |is_users| move |difference| (is_users, difference);
                Ok(users.into_iter().map(tagged(true)).chain(events.into_iter().map(tagged(false))).collect())
            })
            .await?;
            users.add(differences.iter().filter(|(is_users, _)| *is_users).map(|(_, difference)| told(difference)));
            events.add(differences.iter().filter(|(is_users, _)| !*is_users).map(|(_, difference)| told(difference)));
            self.steps.step(&format!("session_users {}", span.0));
        }
        let range = format!("sessions of {}", spelled((from, to)));
        let looked_at = format!("{} days in UTC", (to - from).num_days() + 1);
        self.rows.push(users.row("unique_users", range.clone(), looked_at.clone()));
        self.rows.push(events.row("session_events", range, looked_at));
        Ok(())
    }

    /// The days of the rollups to look at: they stay longer than the log. Whole months, where nothing else was asked for.
    pub(super) fn priced_days(&self, coverage: &Coverage) -> Option<(NaiveDate, NaiveDate)> {
        let (first, last) = (coverage.days.first()?.day, coverage.days.last()?.day);
        let month = first.with_day(1).unwrap_or(first);
        let next_month = last.with_day(1).and_then(|day| day.checked_add_months(chrono::Months::new(1)));
        let month_end = next_month.and_then(|day| day.pred_opt()).unwrap_or(last);
        let (from, to) = (self.days.from.unwrap_or(month), self.days.to.unwrap_or(month_end));
        (from <= to).then_some((from, to))
    }

    async fn duplicates(&mut self, coverage: &Coverage, days: (NaiveDate, NaiveDate)) -> Result<(), Error> {
        let in_range = coverage.days.iter().filter(|day| day.day >= days.0 && day.day <= days.1);
        let events: u64 = in_range.map(|day| day.logged).sum();
        let slices = Store::duplicate_slices(events);
        let mut all = Duplicates::default();
        self.steps.total += slices;
        for slice in 0..slices {
            let found = self.store.duplicates(days, slice, slices).await?;
            all.ids += found.ids;
            all.events += found.events;
            all.named.extend(found.named);
            self.steps.step("duplicates");
        }
        let named = all.named.iter().take(Found::NAMED_MAX).map(|(account, source, id, times)| {
            let source = if source.is_empty() { String::new() } else { format!(", source {source}") };
            format!("account {account}{source}, id {id}: {times} times")
        });
        let places: Vec<String> = named.collect();
        let more = all.ids.saturating_sub(u64::try_from(places.len()).unwrap_or(0));
        let mut row = Row::new("duplicates", spelled(days), format!("{events} events"), places, more);
        if all.ids > 0 {
            // Within the window and a partition they would have been refused: these came later, or elsewhere.
            row.verdict = Verdict::Warn;
            row.found = format!("{} events are charged again: {}", all.events, row.found);
        }
        self.rows.push(row);
        Ok(())
    }

    /// Rows that belong to no batch yet: of one that is being written, or of none.
    async fn unfinished(&mut self, ends: &Ends) -> Result<(), Error> {
        let strangers = self.store.strange_partitions(ends).await?;
        let partitions: Vec<End> = ends.0.iter().chain(&strangers).cloned().collect();
        let (mut found, mut open) = (Found::default(), Found::default());
        for end in &partitions {
            let mut stands: Option<Vec<Unfinished>> = None;
            for look in 0..LOOKS {
                if look > 0 {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                let promised = self.promised(end).await;
                let facts = self.store.facts(&end.source_epoch, &end.topic, end.in_partition).await?;
                let seen = Unfinished::of(&facts, promised.as_ref());
                let still: Vec<Unfinished> = match stands {
                    None => seen,
                    Some(before) => before.into_iter().filter(|rows| seen.contains(rows)).collect(),
                };
                let is_over = still.is_empty() || still.iter().all(|rows| rows.explained == Explained::Promised);
                stands = Some(still);
                if is_over {
                    break;
                }
            }
            let stands = stands.unwrap_or_default();
            let is_one = stands.len() <= 1;
            for rows in stands {
                let place = format!("{}, {}", name(end), rows.place);
                match rows.explained {
                    Explained::Promised => open.add([format!("{place}: being written")]),
                    Explained::Unknown if is_one => open.add([format!("{place}: not in batches yet")]),
                    _ => found.add([format!("{place}: rows of no batch, and of none that was promised")]),
                }
            }
            self.steps.step("unfinished batches");
        }
        let looked_at = format!("{} partitions", partitions.len());
        let row = if found.places.is_empty() && !open.places.is_empty() {
            let mut row = open.row("unfinished", "behind the ends", looked_at);
            row.verdict = Verdict::Info;
            row
        } else {
            found.row("unfinished", "behind the ends", looked_at)
        };
        self.rows.push(row);
        Ok(())
    }

    /// What the group promised for a partition; none when it cannot be asked.
    async fn promised(&self, end: &End) -> Option<crate::cli::kafka::Promised> {
        let kafka =
            self.kafka.as_ref().ok().filter(|kafka| kafka.topic == end.topic && self.epoch == end.source_epoch).map(Arc::clone)?;
        let partition = end.in_partition;
        tokio::task::spawn_blocking(move || kafka.promised(partition)).await.ok().and_then(Result::ok)
    }
}

/// Asks once; what differs then is asked again, with what is being written told apart, and counts when it stays.
pub(super) async fn settled<T: PartialEq>(
    store: &Store,
    ask: impl AsyncFn(Option<&Ends>) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Error> {
    if ask(None).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut stands: Option<Vec<T>> = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let ends = store.all_ends().await?;
        let seen = ask(Some(&ends)).await?;
        let still: Vec<T> = match stands {
            None => seen,
            Some(before) => before.into_iter().filter(|one| seen.contains(one)).collect(),
        };
        if still.is_empty() {
            return Ok(still);
        }
        stands = Some(still);
    }
    Ok(stands.unwrap_or_default())
}

pub(super) fn name(end: &End) -> String {
    let epoch = if end.source_epoch == "1" { String::new() } else { format!(" of epoch {}", end.source_epoch) };
    format!("{} partition {}{epoch}", end.topic, end.in_partition)
}

pub(super) fn told(difference: &Difference) -> String {
    format!("{}: {}", difference.place, difference.what)
}

pub(super) fn spelled(days: (NaiveDate, NaiveDate)) -> String {
    format!("{} to {}", days.0, days.1)
}

fn count(coverage: &Coverage, days: (NaiveDate, NaiveDate)) -> usize {
    coverage.days.iter().filter(|day| day.day >= days.0 && day.day <= days.1).count()
}

/// The months that these days lie in, each cut to them, and whether it is whole.
pub(super) fn months((from, to): (NaiveDate, NaiveDate)) -> Vec<(NaiveDate, NaiveDate, bool)> {
    let mut spans = Vec::new();
    let mut first = from;
    while first <= to {
        let begins = first.with_day(1).unwrap_or(first);
        let next = begins.checked_add_months(chrono::Months::new(1)).unwrap_or(NaiveDate::MAX);
        let last = next.pred_opt().unwrap_or(to);
        spans.push((first, last.min(to), first == begins && last <= to));
        first = next;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_cut_by_months() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        let spans = months((day("2026-01-30"), day("2026-03-05")));
        let expected = [
            (day("2026-01-30"), day("2026-01-31"), false),
            (day("2026-02-01"), day("2026-02-28"), true),
            (day("2026-03-01"), day("2026-03-05"), false),
        ];
        assert_eq!(spans, expected);
        assert_eq!(months((day("2026-02-01"), day("2026-02-28"))), [expected[1]]);
    }
}
