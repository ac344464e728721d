//! Rejected events are sent again, each to the partition that it came from, as it first came.
//!
//! Holds: what is charged is not charged again, however often and however late this runs. An id that `usage_log` has is left out; so is one
//! that lies in the topic and is not metered yet; two runs at the same time meet in the window for duplicates, since what they send is
//! seconds apart and in the same partition. Where `usage_log` cannot tell, nothing is sent unless that is wanted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days as CalendarDays, NaiveDate};
use serde::Deserialize;
use serde_json::{Value, json};

use super::letters::{Letter, Letters, Wanted};
use super::{Filters, NEWEST_EPOCH, Place, failed, reach};
use crate::cli::args::Format;
use crate::cli::kafka::{Kafka, SILENCE_MAX};
use crate::cli::progress::Progress;
use crate::cli::stream::{Column, Stream};
use crate::config::Config;
use crate::decode::{self, decode};
use crate::model::{Header, Record, Timestamp};
use crate::publish::Replayed;
use crate::runtime::{self, clock};
use crate::source::kafka::{Stretch, scan};
use crate::store::{self, Store};

/// Records that are held at the same time, in bytes.
const HELD_MAX: u64 = 64 << 20;
/// Ids in one question.
const IDS_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// These alone, as `list` names them: PARTITION/OFFSET
    #[arg(value_name = "PLACE", conflicts_with_all = ["reason", "account", "since", "from", "to"])]
    places: Vec<Place>,
    #[command(flatten)]
    filters: Filters,
    /// Every one that is kept
    #[arg(long, conflicts_with_all = ["places", "reason", "account", "since", "from", "to"])]
    all: bool,
    /// At most so many, the oldest
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Sends them; without it, nothing is sent
    #[arg(long)]
    yes: bool,
    /// Sends those too that will be rejected again
    #[arg(long)]
    anyway: bool,
    /// Sends those too of which usage_log cannot tell whether they were charged: then only the window for duplicates protects
    #[arg(long)]
    unchecked: bool,
}

impl Replay {
    pub(super) fn refusal(&self) -> Option<String> {
        if self.places.is_empty() && self.filters.is_empty() && !self.all {
            return Some("say which: places, --reason, --account, --since, --from, --to, or --all".to_owned());
        }
        self.filters.days.refusal()
    }
}

/// Account, source, id.
type Id = (String, String, String);

/// What becomes of a rejected event here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It may be sent.
    Ready,
    /// It lies there now.
    Sent(Place),
    /// `usage_log` has its id.
    Charged,
    /// Its id lies in the topic and is not metered yet.
    OnItsWay,
    /// It would be rejected again.
    Wrong(String),
    /// `usage_log` cannot tell.
    Unproven,
    /// Nobody has it any more.
    Gone,
}

impl Outcome {
    fn cells(&self) -> (&'static str, String) {
        match self {
            Self::Ready => ("ready", String::new()),
            Self::Sent(place) => ("sent", format!("lies at {place} now")),
            Self::Charged => ("charged", "an event with this id was accepted".to_owned()),
            Self::OnItsWay => ("on_its_way", "a record with this id is in the topic, and not metered yet".to_owned()),
            Self::Wrong(why) => ("wrong", why.clone()),
            Self::Unproven => ("unproven", "usage_log cannot tell whether it was charged".to_owned()),
            Self::Gone => ("gone", "neither topic has the record any more".to_owned()),
        }
    }
}

const TABLE: &[Column] = &[("place", 12), ("account", 14), ("id", 36), ("outcome", 10), ("note", 0)];
const ALL: &[Column] = &[("partition", 0), ("offset", 0), ("account", 0), ("source", 0), ("id", 0), ("outcome", 0), ("note", 0)];

/// A record, and what is known of it.
struct Candidate {
    letter: Letter,
    id: Option<Id>,
    day: Option<NaiveDate>,
    outcome: Outcome,
}

struct Replaying {
    store: Store,
    config: Arc<Config>,
    kafka: Arc<Kafka>,
    options: Replay,
    limits: decode::Limits,
    epoch: String,
    /// Ids that this run has sent, or would.
    taken: HashSet<Id>,
}

pub(super) async fn replay(store: &Store, config: Config, options: Replay, format: Format) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let wanted = wanted(store, &config.kafka.topic, &options).await.map_err(failed)?;
    for place in &options.places {
        anyhow::ensure!(
            wanted.iter().any(|wanted| wanted.place == *place),
            "no rejected event lay at {place} of the topic `{}`; `farebox rejected list` shows those that are kept",
            config.kafka.topic
        );
    }
    let kafka = reach(&config).await?;
    let epoch = store.source(&kafka.topic).await.map_err(failed)?.map(|source| source.source_epoch).unwrap_or_default();
    let limits = runtime::limits(&config);
    let mut replaying = Replaying { store: store.clone(), config, kafka, options, limits, epoch, taken: HashSet::new() };
    let total = wanted.len();
    let mut open = wanted;
    let (mut ready, mut sent) = (0, 0);
    let mut stream = Stream::new(format, if format == Format::Table { TABLE } else { ALL });
    let mut progress = Progress::new();
    while !open.is_empty() {
        let (found, left) = replaying.find(&open).await?;
        let is_found: HashSet<Place> = found.iter().map(|letter| letter.place).collect();
        let is_left: HashSet<Place> = left.iter().map(|wanted| wanted.place).collect();
        let gone = open.iter().map(|wanted| wanted.place).filter(|place| !is_found.contains(place) && !is_left.contains(place));
        let gone: Vec<Place> = gone.collect();
        let candidates = replaying.candidates(found).await?;
        let candidates = replaying.send(candidates).await?;
        progress.end();
        for candidate in &candidates {
            ready += usize::from(candidate.outcome == Outcome::Ready);
            sent += usize::from(matches!(candidate.outcome, Outcome::Sent(_)));
        }
        stream.print(candidates.iter().map(|of| cells(format, of.letter.place, of.id.as_ref(), &of.outcome)))?;
        stream.print(gone.into_iter().map(|place| cells(format, place, None, &Outcome::Gone)))?;
        open = left;
        progress.show(|| Progress::bar(u64::try_from(total - open.len()).unwrap_or(0), u64::try_from(total).unwrap_or(0)));
    }
    progress.end();
    if replaying.options.yes {
        eprintln!("farebox: sent {sent} of {total} rejected events; `farebox tail` shows what becomes of them");
    } else {
        eprintln!("farebox: {ready} of {total} rejected events would be sent; nothing was sent; --yes sends them");
    }
    Ok(())
}

fn cells(format: Format, place: Place, id: Option<&Id>, outcome: &Outcome) -> Vec<Value> {
    let (name, note) = outcome.cells();
    let (account, source, event) = id.map_or(("", "", ""), |(account, source, id)| (account, source, id));
    if format == Format::Table {
        return vec![json!(place.to_string()), json!(account), json!(event), json!(name), json!(note)];
    }
    vec![json!(place.partition), json!(place.offset), json!(account), json!(source), json!(event), json!(name), json!(note)]
}

/// The rejected events that were chosen, the oldest first.
async fn wanted(store: &Store, topic: &str, options: &Replay) -> Result<Vec<Wanted>, store::Error> {
    #[derive(Deserialize)]
    struct Found {
        in_partition: i32,
        at: i64,
        #[serde(with = "store::time")]
        received_at: Timestamp,
        payload_hash: u64,
    }
    let (condition, filters) = options.filters.condition();
    let params: Vec<(&str, &str)> =
        [("topic", topic)].into_iter().chain(filters.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    let places: Vec<String> = options.places.iter().map(|Place { partition, offset }| format!("({partition}, {offset})")).collect();
    let these = if places.is_empty() { String::new() } else { format!(" AND (`partition`, `offset`) IN ({})", places.join(", ")) };
    let sql = format!(
        "SELECT `partition` AS in_partition, `offset` AS at, received_at, sipHash64(payload) AS payload_hash FROM rejected_events \
         WHERE {condition}{these} AND {NEWEST_EPOCH} ORDER BY received_at, in_partition, at LIMIT {}",
        options.limit
    );
    let found: Vec<Found> = store.rows(&sql, &params).await?;
    if u64::try_from(found.len()).is_ok_and(|count| count == u64::from(options.limit)) {
        eprintln!("farebox: only the oldest {}; --limit looks at more, --since or --from at later ones", options.limit);
    }
    let wanted = |found: Found| {
        Wanted::new(Place { partition: found.in_partition, offset: found.at }, found.received_at, found.payload_hash)
    };
    Ok(found.into_iter().map(wanted).collect())
}

impl Replaying {
    /// The next records, as many as may be held; and which are still to be looked for.
    async fn find(&self, wanted: &[Wanted]) -> anyhow::Result<(Vec<Letter>, Vec<Wanted>)> {
        let (kafka, wanted) = (Arc::clone(&self.kafka), wanted.to_vec());
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            let left = Letters::new(kafka).find(&wanted, HELD_MAX, |letter| found.push(letter))?;
            found.sort_by_key(|letter| letter.place);
            Ok((found, left))
        });
        found.await?.map_err(|reason: String| anyhow::anyhow!("cannot read rejected records from Kafka: {reason}"))
    }

    /// What may be sent of them, and why not.
    async fn candidates(&mut self, letters: Vec<Letter>) -> anyhow::Result<Vec<Candidate>> {
        let now = clock::now();
        let mut candidates: Vec<Candidate> = letters.into_iter().map(|letter| self.candidate(letter, now)).collect();
        let ids: Vec<Id> = candidates.iter().filter_map(|candidate| candidate.id.clone()).collect();
        // What is metered meanwhile is in the log afterwards: so the topic is read first.
        let on_their_way = self.on_their_way(ids.iter().cloned().collect()).await?;
        let charged = self.charged(&ids).await.map_err(failed)?;
        let proved_from = self.proved_from(now);
        for candidate in &mut candidates {
            let Some(id) = candidate.id.clone().filter(|_| candidate.outcome == Outcome::Ready) else { continue };
            let is_proved = proved_from.is_some_and(|from| candidate.day.is_some_and(|day| day >= from));
            candidate.outcome = if charged.contains(&id) {
                Outcome::Charged
            } else if on_their_way.contains(&id) || self.taken.contains(&id) {
                Outcome::OnItsWay
            } else if !is_proved && !self.options.unchecked {
                Outcome::Unproven
            } else {
                self.taken.insert(id);
                Outcome::Ready
            };
        }
        Ok(candidates)
    }

    fn candidate(&self, letter: Letter, now: Timestamp) -> Candidate {
        let headers = letter.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        let record = Record {
            offset: letter.place.offset,
            timestamp: now,
            leader_epoch: -1,
            key: letter.key.as_deref(),
            value: letter.value.as_deref(),
            headers,
        };
        let (id, day, outcome) = match decode(&record, &self.limits) {
            Ok(decoded) => {
                let event = decoded.event;
                let day = event.time.to_chrono().map(|time| time.date_naive());
                let id = (event.account.to_string(), event.source.to_string(), event.id.to_string());
                (Some(id), day, Outcome::Ready)
            }
            Err(_) if self.options.anyway => (None, None, Outcome::Ready),
            Err(reject) => (None, None, Outcome::Wrong(format!("{}: {}", reject.reason.as_str(), reject.detail))),
        };
        Candidate { letter, id, day, outcome }
    }

    /// The first day of events of which the log has every row; none: it is off.
    fn proved_from(&self, now: Timestamp) -> Option<NaiveDate> {
        let days = runtime::keep(&self.config).usage_log_days;
        let today = now.to_chrono()?.date_naive();
        // A day more on either side: days are the account's.
        (days > 2).then(|| today.checked_sub_days(CalendarDays::new(u64::from(days) - 2))).flatten()
    }

    /// Those of these ids that the log has.
    async fn charged(&self, ids: &[Id]) -> Result<HashSet<Id>, store::Error> {
        #[derive(Deserialize)]
        struct Found {
            account: String,
            source: String,
            id: String,
        }
        let mut charged = HashSet::new();
        for ids in ids.chunks(IDS_MAX) {
            let listed = |pick: &dyn Fn(&Id) -> String| format!("[{}]", ids.iter().map(pick).collect::<Vec<_>>().join(","));
            let accounts = listed(&|(account, ..)| store::quoted(account));
            let keys = listed(&|(account, source, id)| {
                format!("({},{},{})", store::quoted(account), store::quoted(source), store::quoted(id))
            });
            let sql = "SELECT DISTINCT account, toString(source) AS source, id FROM usage_log WHERE account IN {accounts:Array(String)} \
                       AND (account, toString(usage_log.source), id) IN {keys:Array(Tuple(String, String, String))}";
            let found: Vec<Found> = self.store.rows(sql, &[("accounts", &accounts), ("keys", &keys)]).await?;
            charged.extend(found.into_iter().map(|found| (found.account, found.source, found.id)));
        }
        Ok(charged)
    }

    /// Those of these ids that lie in the topic behind what is metered.
    async fn on_their_way(&self, ids: HashSet<Id>) -> anyhow::Result<HashSet<Id>> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let ends: HashMap<i32, i64> = self.store.ends(&self.epoch, &self.kafka.topic).await.map_err(failed)?.into_iter().collect();
        let (kafka, limits) = (Arc::clone(&self.kafka), self.limits);
        let seen = tokio::task::spawn_blocking(move || {
            let mut stretches = Vec::new();
            for partition in kafka.partitions(&kafka.topic)? {
                let (from, to) = kafka.bounds(&kafka.topic, partition).map_err(|error| error.to_string())?;
                stretches.push(Stretch { partition, from: ends.get(&partition).copied().unwrap_or(from).max(from), to });
            }
            let mut seen = HashSet::new();
            scan(&kafka.handle, &stretches, SILENCE_MAX, |_, record| {
                if let Ok(decoded) = decode(record, &limits) {
                    let event = decoded.event;
                    let id = (event.account.to_string(), event.source.to_string(), event.id.to_string());
                    if ids.contains(&id) {
                        seen.insert(id);
                    }
                }
                true
            })
            .map_err(|error| error.to_string())?;
            Ok(seen)
        });
        seen.await?.map_err(|reason: String| anyhow::anyhow!("cannot read what is not metered yet from Kafka: {reason}"))
    }

    /// Sends those that may be, when that is wanted.
    async fn send(&self, mut candidates: Vec<Candidate>) -> anyhow::Result<Vec<Candidate>> {
        if !self.options.yes {
            return Ok(candidates);
        }
        let ready: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].outcome == Outcome::Ready).collect();
        let record = |letter: &mut Letter| Replayed {
            partition: letter.place.partition,
            offset: letter.place.offset,
            key: letter.key.take(),
            value: letter.value.take(),
            headers: std::mem::take(&mut letter.headers),
        };
        let records: Vec<Replayed> = ready.iter().map(|at| record(&mut candidates[*at].letter)).collect();
        let places = self.kafka.publisher.replay(&records).await?;
        for (at, (partition, offset)) in ready.into_iter().zip(places) {
            candidates[at].outcome = Outcome::Sent(Place { partition, offset });
        }
        Ok(candidates)
    }
}
