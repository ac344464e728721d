//! `farebox send`: events of one's own into the topic, and what becomes of them.
//!
//! Holds: nothing is sent before every event was read and decoded as the service decodes it; what is printed as sent has been acknowledged
//! by all replicas. Absent on purpose: prices. What an event costs is read from where the service has written it.

mod event;
mod follow;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use self::event::{Flags, Outgoing};
use self::follow::{Fate, Follower, Sessions};
use super::args::Format;
use super::output;
use super::produce::{self, Deliveries, Place};
use super::progress::Progress;
use super::stream::{Column, Stream};
use crate::config::{self, Config, Kafka};
use crate::model::Timestamp;
use crate::runtime::{self, clock};

/// Kafka must answer within this; nobody wants to wait longer to be told that it is away.
const PATIENCE: Duration = Duration::from_secs(10);
const ACKNOWLEDGED_WITHIN_MS: &str = "30000";
/// Of many events with the same trouble the first few are shown.
const SHOWN_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One event as JSON, or JSON lines with an event each; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Waits until it is metered, and says what became of it: its cost and session, or the reason
    #[arg(long)]
    follow: bool,
    /// How long --follow waits
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = config::Duration::parse)]
    wait: config::Duration,
    /// Sends what will be rejected, too
    #[arg(long)]
    anyway: bool,
}

const SENT: &[Column] = &[("topic", 24), ("partition", 9), ("offset", 10), ("account", 16), ("id", 0)];

/// For programs: everything.
const FOLLOWED: &[Column] = &[
    ("topic", 0),
    ("partition", 0),
    ("offset", 0),
    ("account", 0),
    ("id", 0),
    ("fate", 0),
    ("cost", 0),
    ("priced", 0),
    ("session_start", 0),
    ("unique_users", 0),
    ("reason", 0),
    ("detail", 0),
];

/// For people, of many events.
const FATES: &[Column] = &[("id", 36), ("account", 12), ("fate", 9), ("cost", 12), ("note", 0)];

pub(super) async fn send(config: Config, options: Options, format: Format) -> anyhow::Result<()> {
    let events = Arc::new(gathered(&config, &options)?);
    let topic = &config.kafka.topic;
    eprintln!("farebox: sending to the topic `{topic}` of Kafka at {}", config.kafka.brokers);
    let follower = if options.follow { Some(Follower::connect(&config).await?) } else { None };
    let published = published(&config.kafka, &events).await?;
    if follower.is_some() {
        eprintln!("farebox: acknowledged{}; waiting until it is metered", told(&published.places, events.len()));
    }
    let mut fates = BTreeMap::new();
    let mut stopped = published.stopped;
    if let Some(follower) = follower.as_ref().filter(|_| !stopped) {
        let places: Vec<_> = published.places.values().copied().collect();
        tokio::select! {
            followed = follower.follow(&places, options.wait.get(), &mut fates) => followed?,
            interrupted = interrupted() => { interrupted?; stopped = true }
        }
    }
    let mut sessions = Sessions::new();
    let mut sent = Vec::new();
    for (number, place) in &published.places {
        let Some(event) = events.get(*number) else { continue };
        let fate = fates.get(place);
        let session = match (&follower, fate) {
            (Some(follower), Some(Fate::Accepted { .. })) => follower.session(event, &mut sessions).await?,
            _ => None,
        };
        if let ([event], Some(fate)) = (events.as_slice(), fate) {
            follow::explain(event, fate, session);
        }
        sent.push(Sent { event, place: *place, fate, session: session.map(|of| (of.session_start, of.unique_users)) });
    }
    print(format, topic, &sent, events.len(), options.follow)?;
    conclude(&published, events.len(), options.follow.then_some(&fates), stopped, options.wait)
}

/// The events that were named, decoded; refuses what will be rejected unless it is wanted.
fn gathered(config: &Config, options: &Options) -> anyhow::Result<Vec<Outgoing>> {
    let (limits, now) = (runtime::limits(config), clock::now());
    let events = match &options.file {
        None => vec![Outgoing::new(options.flags.json().as_bytes(), None, now, &limits)?],
        Some(file) => {
            let bytes = read(file)?;
            let documents = event::documents(&bytes);
            if documents.is_empty() {
                bail!("`{}` holds no event: write one as a JSON object, or one in each line", file.display());
            }
            documents.into_iter().map(|(line, text)| Outgoing::new(text, line, now, &limits)).collect::<anyhow::Result<_>>()?
        }
    };
    warn(events.iter().filter(|event| !event.unknown.is_empty()), |event| {
        format!("fields that are not known, and ignored: {}", event.unknown.join(", "))
    });
    let refused: Vec<_> = events.iter().filter(|event| event.refused.is_some()).collect();
    let reason = |event: &Outgoing| event.refused.clone().unwrap_or_default();
    match refused.as_slice() {
        [] => {}
        refused if options.anyway => warn(refused.iter().copied(), |event| format!("will be rejected: {}", reason(event))),
        [event] if events.len() == 1 => {
            bail!("the event would be rejected: {}; nothing was sent; mend it, or send it with --anyway", reason(event))
        }
        refused => {
            warn(refused.iter().copied(), reason);
            bail!(
                "{} of {} events would be rejected; nothing was sent; mend them, or send all of them with --anyway",
                refused.len(),
                events.len()
            );
        }
    }
    Ok(events)
}

/// Says something of each event, with the line it stands in.
fn warn<'a>(events: impl Iterator<Item = &'a Outgoing>, what: impl Fn(&Outgoing) -> String) {
    let mut more = 0_usize;
    for (number, event) in events.enumerate() {
        match event.line {
            _ if number >= SHOWN_MAX => more += 1,
            Some(line) => eprintln!("farebox: line {line}: {}", what(event)),
            None => eprintln!("farebox: {}", what(event)),
        }
    }
    if more > 0 {
        eprintln!("farebox: and {more} more");
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).with_context(|| format!("cannot read events from `{}`", file.display()));
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("farebox: reading events from the terminal; Ctrl-D ends them");
    }
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).context("cannot read events from standard input")?;
    Ok(bytes)
}

/// What Kafka has taken: the place of each event, by its number.
struct Published {
    places: BTreeMap<usize, Place>,
    failure: Option<rdkafka::error::KafkaError>,
    stopped: bool,
}

/// Publishes on a thread of its own, until all is acknowledged or failed, or Ctrl-C.
async fn published(kafka: &Kafka, events: &Arc<Vec<Outgoing>>) -> anyhow::Result<Published> {
    let stopped = Arc::new(AtomicBool::new(false));
    let mut publishing = {
        let (mut kafka, events, stopped) = (kafka.clone(), Arc::clone(events), Arc::clone(&stopped));
        kafka.properties.entry("message.timeout.ms".to_owned()).or_insert_with(|| ACKNOWLEDGED_WITHIN_MS.into());
        tokio::task::spawn_blocking(move || publish(&kafka, &events, stopped))
    };
    let done = tokio::select! {
        done = &mut publishing => done,
        interrupted = interrupted() => {
            interrupted?;
            stopped.store(true, Ordering::Relaxed);
            publishing.await
        }
    };
    done.context("the thread that publishes ended unexpectedly")?
}

fn publish(kafka: &Kafka, events: &[Outgoing], stopped: Arc<AtomicBool>) -> anyhow::Result<Published> {
    let producer = produce::connect(kafka, Deliveries::with_places(Arc::clone(&stopped)), Some(PATIENCE))?;
    let stopped = || stopped.load(Ordering::Relaxed);
    let total = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let mut progress = Progress::new();
    for (number, event) in events.iter().enumerate() {
        if stopped() {
            break;
        }
        let mut record = BaseRecord::with_opaque_to(&kafka.topic, number).payload(&event.value);
        record.key = event.key.as_ref();
        if event.is_cloud_event {
            let content_type = Header { key: "content-type", value: Some("application/cloudevents+json") };
            record = record.headers(OwnedHeaders::new().insert(content_type));
        }
        produce::send(&producer, record)?;
        if number % 1_024 == 1_023 {
            producer.poll(Duration::ZERO);
            progress.show(|| produce::how_far(producer.context(), total));
        }
    }
    while producer.in_flight_count() > 0 && !stopped() {
        // An unfinished flush is no failure: what failed is counted, record by record.
        let _ = producer.flush(Duration::from_millis(200));
        if events.len() > 1 {
            progress.show(|| produce::how_far(producer.context(), total));
        }
    }
    progress.end();
    let (places, failure) = (producer.context().places(), producer.context().take_failure());
    Ok(Published { places, failure, stopped: stopped() })
}

pub(super) async fn interrupted() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// An event, where it lies, and what became of it as far as that is known.
struct Sent<'a> {
    event: &'a Outgoing,
    place: Place,
    fate: Option<&'a Fate>,
    /// Its start, and its unique users.
    session: Option<(Timestamp, u64)>,
}

impl Sent<'_> {
    fn cells(&self, topic: &str) -> Vec<Value> {
        let (partition, offset) = self.place;
        vec![topic.into(), partition.into(), offset.into(), text(&self.event.account), text(&self.event.id)]
    }

    /// With what became of it.
    fn followed(&self, topic: &str) -> Vec<Value> {
        let (cost, priced) = match self.fate {
            Some(Fate::Accepted { cost, priced, .. }) => (text(cost), Value::from(*priced)),
            _ => (Value::Null, Value::Null),
        };
        let (reason, detail) = match self.fate {
            Some(Fate::Rejected { reason, detail }) => (text(reason), text(detail)),
            _ => (Value::Null, Value::Null),
        };
        let fate = self.fate.map_or(Value::Null, |fate| fate.name().into());
        let (start, users) =
            self.session.map_or((Value::Null, Value::Null), |(start, users)| (start.to_string().into(), users.into()));
        let mut cells = self.cells(topic);
        cells.extend([fate, cost, priced, start, users, reason, detail]);
        cells
    }

    fn for_people(&self) -> Vec<Value> {
        let (fate, cost, note) = match self.fate {
            None => ("", Value::Null, "not metered yet".to_owned()),
            Some(Fate::Accepted { cost, priced: true, .. }) => ("accepted", text(cost), String::new()),
            Some(Fate::Accepted { cost, priced: false, .. }) => ("accepted", text(cost), "no price".to_owned()),
            Some(fate) => (fate.name(), Value::Null, fate.rejection().unwrap_or_default()),
        };
        vec![text(&self.event.id), text(&self.event.account), text(fate), cost, text(&note)]
    }
}

/// One event as a list of what is known of it; many as rows.
fn print(format: Format, topic: &str, sent: &[Sent<'_>], events: usize, is_followed: bool) -> anyhow::Result<()> {
    let columns = if is_followed { FOLLOWED } else { SENT };
    let cells = |sent: &Sent<'_>| if is_followed { sent.followed(topic) } else { sent.cells(topic) };
    match (format, sent) {
        (Format::Table, [only]) if events == 1 => {
            let fields = columns.iter().map(|(name, _)| *name).zip(cells(only)).filter(|(_, value)| !value.is_null());
            output::record(format, &fields.collect::<Vec<_>>())?;
        }
        (Format::Table, many) if is_followed => Stream::new(format, FATES).print(many.iter().map(Sent::for_people))?,
        (_, many) => Stream::new(format, columns).print(many.iter().map(cells))?,
    }
    Ok(())
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// Where the only event lies, or how many were acknowledged.
fn told(places: &BTreeMap<usize, Place>, events: usize) -> String {
    match places.values().next() {
        Some((partition, offset)) if events == 1 => format!(" in partition {partition} at offset {offset}"),
        _ => format!(": {} of {events} events", places.len()),
    }
}

/// How it ended, as an error when something is missing.
fn conclude(
    published: &Published,
    events: usize,
    fates: Option<&BTreeMap<Place, Fate>>,
    stopped: bool,
    wait: config::Duration,
) -> anyhow::Result<()> {
    let acknowledged = published.places.len();
    if let Some(error) = &published.failure {
        return Err(error.clone()).with_context(|| {
            format!(
                "Kafka acknowledged {acknowledged} of {events} events; what is sent again with its id and content is charged once"
            )
        });
    }
    if acknowledged < events {
        bail!(
            "stopped: Kafka acknowledged {acknowledged} of {events} events; what is sent again with its id and content is charged once"
        );
    }
    let Some(fates) = fates else { return Ok(()) };
    let rejected: Vec<_> = fates.values().filter_map(Fate::rejection).collect();
    let waiting = events.saturating_sub(fates.len());
    let (all, they) = if events == 1 {
        ("the event".to_owned(), "it is".to_owned())
    } else {
        (format!("all {events} events"), format!("{waiting} of them are"))
    };
    match rejected.as_slice() {
        _ if waiting > 0 && stopped => bail!("stopped: Kafka has {all}, and {they} not metered yet"),
        _ if waiting > 0 => {
            bail!("Kafka has {all}, and {they} not metered after {wait}: does `farebox run` read this topic?")
        }
        [] => Ok(()),
        [reason] if events == 1 => bail!("the event was rejected: {reason}"),
        rejected => bail!("{} of {events} events were rejected", rejected.len()),
    }
}
