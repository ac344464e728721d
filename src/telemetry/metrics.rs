//! Every metric, declared once, with its unit and its help.
//!
//! Holds: names begin with `farebox_`, units are seconds, bytes, records; a label has a closed set of values, and each of them
//! stands at 0 before it first happens, so that a first increase is seen as one. Absent on purpose: labels whose values come
//! from data (accounts, users, topics, partitions); platforms are those that the price book names. Where partitions differ, a gauge shows the worst
//! of them or their sum.
//!
//! The handles are cached here: counting is one atomic addition.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::aggregate::Counts;
use crate::budget;
use crate::engine::Tally;
use crate::engine::assignment::StopKind;
use crate::model::{Reason, Timestamp};
use crate::notify::outbox;

const NAMESPACE: &str = "farebox";
const TABLES: [&str; 5] = ["usage_log", "session_users", "usage_hourly", "rejected_events", "batches"];
// From a small insert (10 ms) to the default timeout (60 s).
const INSERT_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

// From the event to the mail server's answer: seconds when all is well, a day when mails are retried.
const MAIL_SECONDS: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// The label of platforms that the price book does not name.
pub const OTHER_PLATFORMS: &str = "other";

/// A closed set of label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// Every value.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$value),+];

            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    };
}

labels! {
    /// What went on, and somebody should know.
    Alarm {
        /// A witness stands where Kafka has no intent any more.
        IntentLost = "intent_lost",
        /// The group's position was behind the tables.
        Rewound = "rewound",
        /// Retention ate a part of the window of duplicates.
        WindowShortened = "window_shortened",
        /// Retention ate events that were never read.
        Gap = "gap",
    }
}

labels! {
    /// Scheduled work.
    Job {
        /// What was left of credits goes into the ledger.
        Expiry = "expiry",
        /// Which partitions are read to their end.
        LogEnds = "log_ends",
        /// Closed sessions are counted.
        Sessions = "sessions",
    }
}

labels! {
    /// What memory is held for.
    Memory {
        /// Batches that are open or being written.
        Batches = "batches",
        /// Records that were read and are not in a batch yet.
        Records = "records",
        /// The windows for duplicates.
        Windows = "windows",
    }
}

labels! {
    /// What became of one insert.
    Outcome {
        /// Written.
        Done = "done",
        /// Unknown: the witness decides.
        Doubt = "doubt",
    }
}

/// Handles to every metric of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `farebox_events_total{result="accepted"}`
    pub events_accepted: IntCounter,
    /// `farebox_events_total{result="duplicate"}`
    pub events_duplicate: IntCounter,
    /// `farebox_events_total{result="rejected"}`
    pub events_rejected: IntCounter,
    rejected: [IntCounter; Reason::ALL.len()],
    /// `farebox_event_bytes_total`
    pub event_bytes: IntCounter,
    /// `farebox_unknown_fields_total`
    pub unknown_fields: IntCounter,
    /// `farebox_unpriced_events_total`
    pub unpriced_events: IntCounter,
    /// `farebox_unattributed_events_total`
    pub unattributed_events: IntCounter,
    /// `farebox_batches_total`
    pub batches: IntCounter,
    /// `farebox_batches_in_doubt`
    pub batches_in_doubt: IntGauge,
    insert_seconds: [Histogram; TABLES.len()],
    inserts: [[IntCounter; Outcome::ALL.len()]; TABLES.len()],
    /// `farebox_dead_letters_total`
    pub dead_letters: IntCounter,
    /// `farebox_balances_published_total`
    pub balances_published: IntCounter,
    /// `farebox_balances_waiting_seconds`
    pub balances_waiting_seconds: Gauge,
    alerts: [IntCounter; budget::Kind::ALL.len()],
    mails: [IntCounter; outbox::State::ALL.len()],
    /// `farebox_mails_waiting`
    pub mails_waiting: IntGauge,
    /// `farebox_mail_duration_seconds`
    pub mail_seconds: Histogram,
    /// `farebox_partitions_assigned`
    pub partitions_assigned: IntGauge,
    /// `farebox_partitions_stopped`
    pub partitions_stopped: IntGauge,
    guards: [IntCounter; StopKind::ALL.len()],
    alarms: [IntCounter; Alarm::ALL.len()],
    /// `farebox_dedupe_window_seconds`: of the partition with the shortest.
    pub dedupe_window_seconds: Gauge,
    /// `farebox_dedupe_ids`: of all partitions together.
    pub dedupe_ids: IntGauge,
    memory: [IntGauge; Memory::ALL.len()],
    jobs: [IntGauge; Job::ALL.len()],
    /// `farebox_consumer_lag_records`: of all partitions together.
    pub consumer_lag_records: IntGauge,
    /// `farebox_consumer_lag_seconds`: of the partition furthest behind.
    pub consumer_lag_seconds: IntGauge,
    /// `farebox_unique_users`: by platform; see [`Self::set_unique_users`].
    unique_users: IntGaugeVec,
    /// `farebox_oldest_uncommitted_seconds`: of the partition furthest behind.
    pub oldest_uncommitted_seconds: Gauge,
    /// `farebox_commits_failed_total`
    pub commits_failed: IntCounter,
    /// `farebox_price_book_version`
    pub price_book_version: IntGauge,
}

impl Metrics {
    /// Declares everything.
    ///
    /// # Errors
    /// A name is illegal or declared twice: never, as the tests show.
    pub fn new() -> Result<Self, prometheus::Error> {
        let declare = Declare(Registry::new());
        let [events_accepted, events_duplicate, events_rejected] = declare.counters(
            "events_total",
            "Events read from Kafka, by what became of them; written to ClickHouse when it was.",
            "result",
            ["accepted", "duplicate", "rejected"],
        )?;
        let histograms = HistogramVec::new(
            HistogramOpts::new("insert_duration_seconds", "Time of one insert into ClickHouse, whatever its outcome.")
                .namespace(NAMESPACE)
                .buckets(INSERT_SECONDS.to_vec()),
            &["table"],
        )?;
        declare.add(&histograms)?;
        let inserts = IntCounterVec::new(
            opts("inserts_total", "Inserts into ClickHouse; doubt: the outcome was unknown and was looked up."),
            &["table", "outcome"],
        )?;
        declare.add(&inserts)?;
        let memory = IntGaugeVec::new(
            opts("memory_bytes", "Memory held, by what it is held for, in all partitions together."),
            &["held_for"],
        )?;
        declare.add(&memory)?;
        let jobs = IntGaugeVec::new(
            opts("job_last_done_timestamp_seconds", "When scheduled work was last done by this instance; 0: not yet."),
            &["task"], // not "job": Prometheus gives every series a label of that name
        )?;
        declare.add(&jobs)?;
        let unique_users = IntGaugeVec::new(
            opts(
                "unique_users",
                "Unique users of open sessions that this instance has seen since it started, by platform of the price book; other: all other platforms. Estimated beyond 4095.",
            ),
            &["platform"],
        )?;
        unique_users.with_label_values(&[OTHER_PLATFORMS]).set(0);
        declare.add(&unique_users)?;
        let build = IntGaugeVec::new(opts("build_info", "1, with the version that runs."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        declare.add(&build)?;
        let mail_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "mail_duration_seconds",
                "From an event to the acceptance of the mail that it caused, at the first attempt.",
            )
            .namespace(NAMESPACE)
            .buckets(MAIL_SECONDS.to_vec()),
        )?;
        declare.add(&mail_seconds)?;
        // These keep the names that every Prometheus client gives them.
        #[cfg(target_os = "linux")]
        declare.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            events_accepted,
            events_duplicate,
            events_rejected,
            rejected: declare.counters(
                "rejected_events_total",
                "Rejected events, by reason.",
                "reason",
                Reason::ALL.map(Reason::as_str),
            )?,
            event_bytes: declare.counter("event_bytes_total", "Bytes of the values of the records read.")?,
            unknown_fields: declare
                .counter("unknown_fields_total", "Fields of events that the contract does not know; they are ignored.")?,
            unpriced_events: declare
                .counter("unpriced_events_total", "Accepted events without a price: they cost 0 until they are rated again.")?,
            unattributed_events: declare.counter(
                "unattributed_events_total",
                "Accepted events that lack the user or the platform by which their account is charged.",
            )?,
            batches: declare.counter("batches_total", "Batches written whole, their row in `batches` included.")?,
            batches_in_doubt: declare
                .gauge("batches_in_doubt", "Batches of which it is not known yet whether every table has them.")?,
            insert_seconds: TABLES.map(|table| histograms.with_label_values(&[table])),
            inserts: TABLES.map(|table| Outcome::ALL.map(|outcome| inserts.with_label_values(&[table, outcome.as_str()]))),
            dead_letters: declare.counter("dead_letters_total", "Records that the dead-letter topic acknowledged.")?,
            balances_published: declare.counter("balances_published_total", "Balances that the topic of balances acknowledged.")?,
            balances_waiting_seconds: declare.seconds(
                "balances_waiting_seconds",
                "For how long the oldest balance that may have changed waits to be published.",
            )?,
            alerts: declare.counters(
                "alerts_total",
                "Alerts told for the first time, by what they are about.",
                "kind",
                budget::Kind::ALL.map(budget::Kind::as_str),
            )?,
            mails: declare.counters(
                "mail_steps_total",
                "Ends of attempts to send a mail, by the state it is in then.",
                "state",
                outbox::State::ALL.map(outbox::State::as_str),
            )?,
            mails_waiting: declare
                .gauge("mails_waiting", "Mails in the outbox that are not done; of the instance that sends them.")?,
            mail_seconds: mail_seconds.clone(),
            partitions_assigned: declare.gauge("partitions_assigned", "Partitions that this instance owns.")?,
            partitions_stopped: declare
                .gauge("partitions_stopped", "Partitions that this instance owns and a guard has stopped.")?,
            guards: declare.counters(
                "guards_tripped_total",
                "Partitions stopped, by the guard that did it.",
                "kind",
                StopKind::ALL.map(StopKind::as_str),
            )?,
            alarms: declare.counters(
                "alarms_total",
                "What went on, and somebody should know.",
                "kind",
                Alarm::ALL.map(Alarm::as_str),
            )?,
            dedupe_window_seconds: declare.seconds(
                "dedupe_window_seconds",
                "How far back repeated ids are recognised: of the partition where it is least.",
            )?,
            dedupe_ids: declare.gauge("dedupe_ids", "Ids remembered to recognise repeated ones, in all partitions together.")?,
            jobs: Job::ALL.map(|job| jobs.with_label_values(&[job.as_str()])),
            memory: Memory::ALL.map(|held_for| memory.with_label_values(&[held_for.as_str()])),
            consumer_lag_records: declare
                .gauge("consumer_lag_records", "Records that wait in the partitions that this instance owns.")?,
            consumer_lag_seconds: declare.gauge(
                "consumer_lag_seconds",
                "For how long the oldest record that waits has waited, in the partition furthest behind; 0 when none does.",
            )?,
            unique_users,
            oldest_uncommitted_seconds: declare
                .seconds("oldest_uncommitted_seconds", "Age of the oldest record that was read and is not in ClickHouse yet.")?,
            commits_failed: declare
                .counter("commits_failed_total", "Commits to Kafka that failed; their batches were dropped and read again.")?,
            price_book_version: declare.gauge("price_book_version", "The version of the price book in use.")?,
            registry: declare.0,
        })
    }

    /// Events rejected for this reason.
    pub fn rejected(&self, reason: Reason) -> &IntCounter {
        &self.rejected[position(&Reason::ALL, reason)]
    }

    /// Partitions stopped by this guard.
    pub fn guard(&self, kind: StopKind) -> &IntCounter {
        &self.guards[position(&StopKind::ALL, kind)]
    }

    /// Alerts of this kind.
    pub fn alert(&self, kind: budget::Kind) -> &IntCounter {
        &self.alerts[position(&budget::Kind::ALL, kind)]
    }

    /// Attempts to send a mail that left it in this state.
    pub fn mail(&self, state: outbox::State) -> &IntCounter {
        &self.mails[position(&outbox::State::ALL, state)]
    }

    /// Alarms of this kind.
    pub fn alarm(&self, kind: Alarm) -> &IntCounter {
        &self.alarms[position(&Alarm::ALL, kind)]
    }

    /// A job was done at this moment.
    pub fn job_done(&self, job: Job, at: Timestamp) {
        self.jobs[position(&Job::ALL, job)].set(at.seconds());
    }

    /// The users of each platform that the price book names, and of all others: the only label that a person sets, by writing prices.
    pub fn set_unique_users<'a>(&self, platforms: impl Iterator<Item = (&'a str, u64)>) {
        self.unique_users.reset();
        self.unique_users.with_label_values(&[OTHER_PLATFORMS]).set(0);
        for (platform, users) in platforms {
            self.unique_users.with_label_values(&[platform]).set(i64::try_from(users).unwrap_or(i64::MAX));
        }
    }

    /// How much memory is held for this.
    pub fn set_memory(&self, held_for: Memory, bytes: usize) {
        self.memory[position(&Memory::ALL, held_for)].set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// One insert into one of the tables of a batch; other tables are not counted.
    pub fn insert(&self, table: &str, outcome: Outcome, took: Duration) {
        let Some(at) = TABLES.iter().position(|known| *known == table) else { return };
        self.insert_seconds[at].observe(took.as_secs_f64());
        self.inserts[at][position(&Outcome::ALL, outcome)].inc();
    }

    /// A batch that is written whole.
    pub fn count_batch(&self, counts: Counts, tally: &Tally) {
        self.batches.inc();
        self.events_accepted.inc_by(counts.accepted);
        self.events_duplicate.inc_by(counts.duplicates);
        self.events_rejected.inc_by(counts.rejected);
        for (reason, count) in tally.rejected() {
            self.rejected(reason).inc_by(count);
        }
        self.event_bytes.inc_by(tally.bytes);
        self.unknown_fields.inc_by(tally.unknown_fields);
        self.unpriced_events.inc_by(tally.unpriced);
        self.unattributed_events.inc_by(tally.unattributed);
    }

    /// A batch is in doubt as long as the answer lives.
    pub fn in_doubt(&self) -> Held {
        Held::new(&self.batches_in_doubt)
    }

    /// A partition stands still as long as the answer lives.
    pub fn stopped(&self) -> Held {
        Held::new(&self.partitions_stopped)
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// A metric cannot be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Held(IntGauge);

impl Held {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes metrics and registers them.
struct Declare(Registry);

impl Declare {
    fn add<M: Collector + Clone + 'static>(&self, metric: &M) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(metric.clone()))
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::with_opts(opts(name, help))?;
        self.add(&counter)?;
        Ok(counter)
    }

    fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> Result<[IntCounter; N], prometheus::Error> {
        let counters = IntCounterVec::new(opts(name, help), &[label])?;
        self.add(&counters)?;
        Ok(values.map(|value| counters.with_label_values(&[value])))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::with_opts(opts(name, help))?;
        self.add(&gauge)?;
        Ok(gauge)
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let gauge = Gauge::with_opts(opts(name, help))?;
        self.add(&gauge)?;
        Ok(gauge)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

/// The place of a value in the closed set it belongs to.
fn position<T: PartialEq>(all: &[T], value: T) -> usize {
    all.iter().position(|known| *known == value).unwrap_or(0) // ALL holds every value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_stop_and_every_alarm_has_its_label_and_its_entry_on_the_page() {
        let page = include_str!("../../docs/recovery.md");
        let (stops, alarms) = page.split_once("\n## The alarms\n").expect("a section for alarms");
        let entries = |text: &str| -> Vec<String> {
            let mut names: Vec<String> =
                text.lines().filter_map(|line| Some(line.strip_prefix("### `")?.strip_suffix('`')?.to_owned())).collect();
            names.sort();
            names
        };
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names
        };
        assert_eq!(entries(stops), sorted(StopKind::ALL.map(StopKind::as_str).to_vec()));
        assert_eq!(entries(alarms), sorted(Alarm::ALL.map(Alarm::as_str).to_vec()));
        let metrics = Metrics::new().expect("metrics");
        StopKind::ALL.into_iter().for_each(|kind| metrics.guard(kind).inc());
        let text = metrics.render().expect("renders");
        for kind in StopKind::ALL.map(StopKind::as_str) {
            assert!(text.contains(&format!("farebox_guards_tripped_total{{kind=\"{kind}\"}} 1\n")), "{kind}: {text}");
            // What each entry tells: what happened, and what to do.
            let entry =
                stops.split(&format!("\n### `{kind}`\n")).nth(1).and_then(|rest| rest.split("\n### ").next()).expect("an entry");
            assert!(
                entry.contains("**What happened.**")
                    && (entry.contains("farebox recover") || entry.contains("recover` does") || entry.contains("by itself")),
                "{kind}: {entry}"
            );
        }
    }

    #[test]
    fn every_value_of_every_label_stands_at_zero_from_the_start() {
        let text = Metrics::new().and_then(|metrics| metrics.render()).expect("renders");
        for line in [
            "farebox_events_total{result=\"accepted\"} 0",
            "farebox_rejected_events_total{reason=\"id_conflict\"} 0",
            "farebox_inserts_total{outcome=\"doubt\",table=\"batches\"} 0",
            "farebox_insert_duration_seconds_count{table=\"usage_log\"} 0",
            "farebox_guards_tripped_total{kind=\"foreign_commit\"} 0",
            "farebox_alarms_total{kind=\"window_shortened\"} 0",
            "farebox_batches_in_doubt 0",
            "farebox_memory_bytes{held_for=\"windows\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(series("farebox_rejected_events_total{"), Reason::ALL.len());
        assert_eq!(series("farebox_guards_tripped_total{"), StopKind::ALL.len());
        assert_eq!(series("farebox_alarms_total{"), Alarm::ALL.len());
        assert_eq!(series("farebox_inserts_total{"), 10);
    }

    #[test]
    fn there_are_fewer_than_two_hundred_series_whatever_comes() {
        let metrics = Metrics::new().expect("declares");
        let platforms: Vec<String> = (0..8).map(|number| format!("platform-{number}")).collect();
        metrics.set_unique_users(platforms.iter().map(|platform| (platform.as_str(), 1)));
        let text = metrics.render().expect("renders");
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series < 200, "{series}");
    }

    #[test]
    fn each_value_has_a_counter_of_its_own() {
        let metrics = Metrics::new().expect("declares");
        for reason in Reason::ALL {
            metrics.rejected(reason).inc();
        }
        for guard in StopKind::ALL {
            metrics.guard(guard).inc();
        }
        for alarm in Alarm::ALL {
            metrics.alarm(alarm).inc();
        }
        let counts = metrics.rejected.iter().chain(&metrics.guards).chain(&metrics.alarms);
        assert!(counts.into_iter().all(|counter| counter.get() == 1));
        metrics.insert("batches", Outcome::Done, Duration::from_millis(20));
        metrics.insert("another", Outcome::Done, Duration::from_millis(20));
        assert_eq!((metrics.inserts[4][0].get(), metrics.inserts[4][1].get()), (1, 0));
        assert_eq!(metrics.insert_seconds[4].get_sample_count(), 1);
    }

    #[test]
    fn every_metric_of_ours_has_the_prefix_and_help() {
        let metrics = Metrics::new().expect("declares");
        for family in metrics.registry.gather() {
            assert!(family.name().starts_with("farebox_") || family.name().starts_with("process_"), "{}", family.name());
            assert!(!family.help().is_empty(), "{}", family.name());
        }
    }

    /// docs/metrics.md is made of the declarations: `UPDATE_DOCS=1` writes it anew.
    #[test]
    fn the_page_of_metrics_says_what_is_declared() {
        let metrics = Metrics::new().expect("declares");
        let mut page = "# Metrics\n\nWhat `metrics.listen` answers at `/metrics`, made of the declarations in [metrics.rs](../src/telemetry/metrics.rs) by `UPDATE_DOCS=1 cargo test --lib telemetry`.\n\
             The unit is in the name: seconds, bytes, and counts of whatever the name says. No label has values that come from events; every value of a label stands at 0 from the start.\n\
             The boards and rules that use them are in [dashboards](../dashboards).\n\n| name | kind | labels | |\n|---|---|---|---|\n".to_owned();
        for family in metrics.registry.gather() {
            let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for label in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
                let values = labels.entry(label.name()).or_default();
                if !values.contains(&label.value()) {
                    values.push(label.value());
                }
            }
            let shown = |(label, values): (&&str, &Vec<&str>)| match *label {
                "version" => "`version`".to_owned(),
                "platform" => "`platform`: of the price book, eight at most, and `other`".to_owned(),
                label => format!("`{label}`: {}", values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")),
            };
            let labels: Vec<String> = labels.iter().map(shown).collect();
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            page += &format!("| `{}` | {kind} | {} | {} |\n", family.name(), labels.join("; "), family.help());
        }
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, &page).expect("writes");
        }
        assert!(std::fs::read_to_string(&file).is_ok_and(|known| known == page), "UPDATE_DOCS=1 writes:\n{page}");
    }
}
