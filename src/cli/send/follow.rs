//! What became of a record that was sent, by its place in the topic.
//!
//! Relies on `batches`: a row there says that all tables have its range. A place in such a range that is in neither log is a duplicate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Place;
use super::event::Outgoing;
use crate::cli::run::marked;
use crate::config::Config;
use crate::model::Timestamp;
use crate::runtime;
use crate::store::{self, Disposition, Store};

const POLL_EVERY: Duration = Duration::from_millis(200);
/// Places in one question.
const PLACES_MAX: usize = 1_000;

const NEWEST_EPOCH: &str =
    "source_epoch = (SELECT argMax(source_epoch, (toUInt64OrZero(source_epoch), since)) FROM sources WHERE topic = {topic:String})";

/// What became of a record.
#[derive(Debug)]
pub(super) enum Fate {
    Accepted {
        cost: String,
        priced: bool,
        price_version: u64,
    },
    Duplicate,
    /// Accepted or a duplicate: without a log of events nobody can tell.
    Counted,
    Rejected {
        reason: String,
        detail: String,
    },
    /// It left the topic before it was read.
    Lost,
}

impl Fate {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate => "duplicate",
            Self::Counted => "counted",
            Self::Rejected { .. } => "rejected",
            Self::Lost => "lost",
        }
    }

    /// Reason and detail, when it was rejected.
    pub(super) fn rejection(&self) -> Option<String> {
        match self {
            Self::Rejected { reason, detail } => Some(format!("{reason}: {detail}")),
            _ => None,
        }
    }
}

/// Why it cost what it cost, for people.
pub(super) fn explain(event: &Outgoing, fate: &Fate, session: Option<&Session>) {
    let Outgoing { account, category, model, .. } = event;
    match fate {
        Fate::Accepted { cost, priced: true, price_version } if cost == "0" => {
            eprintln!("farebox: accepted: version {price_version} of the price book charges nothing for the operation itself");
        }
        Fate::Accepted { cost, priced: true, price_version } => {
            eprintln!("farebox: accepted: it costs {cost} credits, by version {price_version} of the price book");
        }
        Fate::Accepted { priced: false, .. } => {
            let model = if model.is_empty() { "without a model".to_owned() } else { format!("and model `{model}`") };
            eprintln!(
                "farebox: accepted, and costs nothing for want of a price: the price book has no account `{account}`, or no rate for category `{category}` {model}"
            );
        }
        Fate::Duplicate => eprintln!("farebox: a duplicate: this event was sent before, and is charged once"),
        Fate::Counted => eprintln!("farebox: counted, if it was no duplicate: the log of events is off (`usage_log.keep`)"),
        Fate::Lost => eprintln!("farebox: it left the topic before it was read: see `kind = 'gap'` in the table `batches`"),
        Fate::Rejected { .. } => {} // the last word
    }
    match (fate, &event.session_platform, session) {
        (Fate::Accepted { .. }, None, _) => {
            eprintln!("farebox: it names no user or no platform, so it belongs to no session");
        }
        (Fate::Accepted { .. }, Some(platform), Some(session)) => eprintln!(
            "farebox: its session on `{platform}` began at {} and has {} unique user{} now, at {} credits each",
            session.session_start,
            session.unique_users,
            if session.unique_users == 1 { "" } else { "s" },
            session.unit_session_cost
        ),
        _ => {}
    }
}

/// Looks into ClickHouse.
pub(super) struct Follower {
    store: Store,
    topic: String,
    is_logged: bool,
}

impl Follower {
    /// Asks something, so that what is wrong is known before anything is sent.
    pub(super) async fn connect(config: &Config) -> anyhow::Result<Self> {
        eprintln!(
            "farebox: following it in the database `{}` of ClickHouse at {}",
            config.clickhouse.database, config.clickhouse.url
        );
        let store = Store::new(&runtime::settings_of_store(config)).map_err(failed)?;
        let follower = Self { store, topic: config.kafka.topic.clone(), is_logged: config.usage_log.keep.millis() > 0 };
        follower.ranges(&[(-1, -1)]).await.map_err(failed)?;
        Ok(follower)
    }

    /// Fills in what became of these places, until all is known or the time is up.
    pub(super) async fn follow(&self, places: &[Place], wait: Duration, fates: &mut BTreeMap<Place, Fate>) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut pending: Vec<Place> = places.to_vec();
        loop {
            for places in pending.chunks(PLACES_MAX) {
                match self.look(places).await {
                    Ok(found) => fates.extend(found),
                    // It was there a moment ago.
                    Err(error) if error.disposition() == Disposition::Retry => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            pending.retain(|place| !fates.contains_key(place));
            if pending.is_empty() || started.elapsed() >= wait {
                return Ok(());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn look(&self, places: &[Place]) -> Result<Vec<(Place, Fate)>, store::Error> {
        let ranges = self.ranges(places).await?;
        let range_of = |place: &Place| {
            ranges.iter().find(|range| range.partition == place.0 && (range.offset_from..range.offset_to).contains(&place.1))
        };
        let written: BTreeSet<Place> = places.iter().copied().filter(|place| range_of(place).is_some()).collect();
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<_> = written.iter().map(|(partition, offset)| format!("({partition},{offset})")).collect();
        let offsets: Vec<_> = written.iter().map(|(_, offset)| offset.to_string()).collect();
        let which = format!(
            "topic = {{topic:String}} AND {NEWEST_EPOCH} AND `offset` IN ({}) AND (`partition`, `offset`) IN ({})",
            offsets.join(","),
            list.join(",")
        );
        let params = [("topic", self.topic.as_str())];
        let accepted: Vec<AcceptedRow> = self
            .store
            .rows(&format!("SELECT `partition`, `offset`, cost, priced, price_version FROM usage_log WHERE {which}"), &params)
            .await?;
        let rejected: Vec<RejectedRow> = self
            .store
            .rows(&format!("SELECT `partition`, `offset`, reason, detail FROM rejected_events WHERE {which}"), &params)
            .await?;
        let mut fates: BTreeMap<Place, Fate> = BTreeMap::new();
        for row in accepted {
            let fate = Fate::Accepted { cost: row.cost, priced: row.priced == 1, price_version: row.price_version };
            fates.insert((row.partition, row.offset), fate);
        }
        for row in rejected {
            fates.insert((row.partition, row.offset), Fate::Rejected { reason: row.reason, detail: row.detail });
        }
        for place in written {
            let is_gap = range_of(&place).is_some_and(|range| range.kind == "gap");
            fates.entry(place).or_insert(match (is_gap, self.is_logged) {
                (true, _) => Fate::Lost,
                (false, true) => Fate::Duplicate,
                (false, false) => Fate::Counted,
            });
        }
        Ok(fates.into_iter().collect())
    }

    /// The written ranges around these places.
    async fn ranges(&self, places: &[Place]) -> Result<Vec<Range>, store::Error> {
        let mut reach: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for (partition, offset) in places {
            let (least, most) = reach.entry(*partition).or_insert((*offset, *offset));
            (*least, *most) = ((*least).min(*offset), (*most).max(*offset));
        }
        let around = reach.iter().map(|(partition, (least, most))| {
            format!("(`partition` = {partition} AND offset_to > {least} AND offset_from <= {most})")
        });
        let sql = format!(
            "SELECT `partition`, offset_from, offset_to, kind FROM batches WHERE topic = {{topic:String}} AND {NEWEST_EPOCH} AND ({})",
            around.collect::<Vec<_>>().join(" OR ")
        );
        self.store.rows(&sql, &[("topic", &self.topic)]).await
    }

    /// The session that an accepted event belongs to, as it is now; `known` are those that were asked for before.
    pub(super) async fn session<'a>(&self, event: &Outgoing, known: &'a mut Sessions) -> anyhow::Result<Option<&'a Session>> {
        let Some(platform) = &event.session_platform else { return Ok(None) };
        let sessions = known.entry((event.account.clone(), platform.clone())).or_default();
        let is_in = |session: &Session| session.session_start <= event.time && event.time < session.session_end;
        if !sessions.iter().any(is_in) {
            let sql = "SELECT session_start, session_end, unique_users, unit_session_cost FROM session_costs \
                       WHERE account = {account:String} AND platform = {platform:String} \
                       AND session_start <= {at:DateTime64(3, 'UTC')} AND session_end > {at:DateTime64(3, 'UTC')}";
            let at = store::time::text(event.time);
            let params = [("account", event.account.as_str()), ("platform", platform.as_str()), ("at", at.as_str())];
            sessions.extend(self.store.rows::<Session>(sql, &params).await.map_err(failed)?);
        }
        Ok(sessions.iter().find(|session| is_in(session)))
    }
}

fn failed(error: store::Error) -> anyhow::Error {
    marked(runtime::Error::from(error))
}

#[derive(Debug, Deserialize)]
struct Range {
    partition: i32,
    offset_from: i64,
    offset_to: i64,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct AcceptedRow {
    partition: i32,
    offset: i64,
    cost: String,
    priced: u8,
    price_version: u64,
}

#[derive(Debug, Deserialize)]
struct RejectedRow {
    partition: i32,
    offset: i64,
    reason: String,
    detail: String,
}

/// Sessions by account and platform.
pub(super) type Sessions = BTreeMap<(String, String), Vec<Session>>;

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    #[serde(with = "store::time")]
    pub(super) session_start: Timestamp,
    #[serde(with = "store::time")]
    session_end: Timestamp,
    pub(super) unique_users: u64,
    unit_session_cost: String,
}
