//! What must be true at the end, worked out from the log by a few lines of its own: no code of the product decides anything here.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Log, Made};
use super::prices;
use super::tables::rows::{BatchesRow, Rows};
use super::world::World;

/// What a run left behind that it should not have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Lost, doubled, wrong.
    pub wrong: Vec<String>,
    /// Decided otherwise than with the whole log in view.
    pub otherwise: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Duplicate,
    Rejected,
}

/// account, hour, platform → events, cost, input tokens.
type Sums = BTreeMap<(String, i64, String), (u64, i128, u64)>;
/// account, session start → users, events.
type Sessions = BTreeMap<(String, i64), (BTreeSet<u64>, u64)>;

/// The rollup parts of one batch, by the witness they carry.
#[derive(Default)]
struct Rollup {
    hourly_parts: usize,
    session_parts: usize,
    hourly: Sums,
    sessions: Sessions,
}

/// Compares everything with the log. Of a partition that stands still only what `batches` says is compared.
pub fn compare(world: &World, stopped: &BTreeSet<i32>) -> Findings {
    let mut findings = Findings::default();
    let state = world.broker.state();
    let mut rollups = rollups(world);
    let (logged, refused) = (world.server.usage_log(), world.server.rejected_events());
    for partition in world.ends().into_keys() {
        let is_stopped = stopped.contains(&partition);
        let index = usize::try_from(partition).unwrap_or(0);
        let now = &state.logs[index];
        let ideal = fates(now, world.rules_at_first());
        let rows: Vec<BatchesRow> = world.server.batches().into_iter().filter(|row| row.partition == partition).collect();
        let mut wrong = |what: String| findings.wrong.push(format!("partition {partition}: {what}"));
        let mut reached = rows.first().map_or(now.start, |row| row.offset_from);
        if let Some(first) = rows.first().filter(|first| first.prev != -1 && !is_stopped) {
            wrong(format!("the oldest row of `batches` follows {}", first.prev));
        }
        // Before the first row lies only what was gone before anybody came.
        let missed =
            (0..reached).filter(|&offset| offset >= now.start && now.get(offset).is_some_and(|entry| entry.made.is_some()));
        missed
            .take(usize::from(!is_stopped))
            .for_each(|offset| wrong(format!("offset {offset} is lost: `batches` begins at {reached}")));
        let mut said = BTreeMap::new();
        for row in &rows {
            let (from, to) = (row.offset_from, row.offset_to);
            if from < reached || from > reached && !is_stopped {
                wrong(format!("`batches` goes on at {from} after {reached}"));
            }
            reached = reached.max(to);
            let Some(log) = state.log_of(&row.topic_id, index) else {
                wrong(format!("[{from}, {to}) came from a topic that never was: {}", row.topic_id));
                continue;
            };
            let inside = |offset: i64| from <= offset && offset < to;
            let accepted: Vec<_> = logged.iter().filter(|row| row.partition == partition && inside(row.offset)).collect();
            let rejected: Vec<_> = refused.iter().filter(|row| row.partition == partition && inside(row.offset)).collect();
            if row.kind == "gap" {
                if !is_stopped && (!accepted.is_empty() || !rejected.is_empty()) {
                    wrong(format!("there are rows in the gap [{from}, {to})"));
                }
                if to > log.start && !is_stopped {
                    wrong(format!("the gap [{from}, {to}) reaches behind the log's start {}", log.start));
                }
                continue;
            }
            let counted = (row.accepted, row.rejected, row.duplicates);
            let there = (accepted.len() as u64, rejected.len() as u64, row.received.saturating_sub(row.accepted + row.rejected));
            if counted != there {
                wrong(format!("[{from}, {to}) counts (accepted, rejected, duplicates) {counted:?}, the tables have {there:?}"));
            }
            for (offset, count) in counts(accepted.iter().map(|row| row.offset).chain(rejected.iter().map(|row| row.offset))) {
                if count > 1 {
                    wrong(format!("offset {offset} is there {count} times"));
                }
            }
            if !is_stopped {
                let records = (from..to).filter(|&offset| log.get(offset).is_some_and(|entry| entry.made.is_some())).count() as u64;
                if records != row.received || to > log.end() {
                    wrong(format!(
                        "[{from}, {to}) received {}, the log has {records} there and ends at {}",
                        row.received,
                        log.end()
                    ));
                }
            }
            let (mut sums, mut sessions) = (Sums::new(), Sessions::new());
            for row_of_log in &accepted {
                let offset = row_of_log.offset;
                let Some(made) = made_of(&row_of_log.id, row_of_log.input_tokens) else {
                    wrong(format!("offset {offset} holds `{}`, which nobody made", row_of_log.id));
                    continue;
                };
                let is_same =
                    log.get(offset).is_some_and(|entry| entry.made == Some(made) && entry.at.millis() == row_of_log.received_at);
                if !is_same && !is_stopped {
                    wrong(format!("offset {offset} in the log is not what `usage_log` has"));
                }
                if row_of_log.price_version != row.price_version || row_of_log.cost != prices::cost(made, row.price_version) {
                    wrong(format!("offset {offset} costs {} by version {}", row_of_log.cost, row_of_log.price_version));
                }
                said.insert(offset, Fate::Accepted);
                add(&mut sums, &mut sessions, made, row.price_version, world);
            }
            said.extend(rejected.iter().map(|row| (row.offset, Fate::Rejected)));
            let letters = world.letters.kept.lock().unwrap();
            for row in &rejected {
                if !letters.contains(&(partition, row.offset)) {
                    wrong(format!("offset {} is rejected without a dead letter", row.offset));
                }
            }
            for offset in from..to {
                said.entry(offset).or_insert(Fate::Duplicate);
            }
            let witness = format!("{}/{}/{partition}/{}/{from}-{to}", row.source_epoch, row.topic, row.topic_id);
            let rollup = rollups.remove(&witness).unwrap_or_default();
            let months = sums.keys().map(|(_, hour, _)| month(*hour)).collect::<BTreeSet<_>>().len();
            if rollup.hourly != sums || rollup.hourly_parts != months {
                wrong(format!("[{from}, {to}): `usage_hourly` has {:?}, it must be {sums:?}", rollup.hourly));
            }
            if rollup.sessions != sessions {
                wrong(format!("[{from}, {to}): `session_users` has {:?}, it must be {sessions:?}", rollup.sessions));
            }
        }
        if is_stopped {
            // What was under way when it stopped has no row yet.
            continue;
        }
        let mut written =
            logged.iter().map(|row| (row.partition, row.offset)).chain(refused.iter().map(|row| (row.partition, row.offset)));
        if let Some((_, offset)) = written.find(|(of, offset)| *of == partition && !said.contains_key(offset)) {
            wrong(format!("offset {offset} is in a table and in no batch"));
        }
        let prefix = format!("1/{}/{partition}/", super::instance::TOPIC);
        if let Some(witness) = rollups.keys().find(|witness| witness.starts_with(&prefix)) {
            wrong(format!("the rollups hold {witness}, and `batches` does not"));
        }
        if reached < now.end() {
            wrong(format!("it is read up to {reached}, the log ends at {}", now.end()));
        }
        for (offset, Ideal { fate, told_by }) in ideal {
            if let Some(told) = said.get(&offset).filter(|told| **told != fate) {
                // Read again after a restore, when retention had taken the record that this one repeats: a gap or a shorter window says so.
                if world.class.is_read_again() && told_by.is_some_and(|first| first < now.start) {
                    continue;
                }
                findings.otherwise.push(format!("partition {partition}: offset {offset} is {told:?}, with all in view {fate:?}"));
            }
        }
    }
    findings
}

/// What becomes of a record with the whole log in view, and the record that it repeats.
#[derive(Debug, Clone, Copy)]
struct Ideal {
    fate: Fate,
    told_by: Option<i64>,
}

/// The naive fold: what becomes of every record of a log.
fn fates(log: &Log, window: farebox::dedupe::Limits) -> BTreeMap<i64, Ideal> {
    let mut known: Vec<(Made, i64, i64)> = Vec::new(); // ids in the order in which they were last seen, when and where
    let mut fates = BTreeMap::new();
    for (offset, entry) in log.entries.iter().enumerate() {
        let (Some(made), at, offset) = (entry.made, entry.at.millis(), i64::try_from(offset).unwrap_or(0)) else { continue };
        if made.broken {
            fates.insert(offset, Ideal { fate: Fate::Rejected, told_by: None });
            continue;
        }
        let before = known.iter().position(|(other, ..)| other.key == made.key).map(|place| known.remove(place));
        known.push((made, at, offset));
        let told_by = before.map(|(.., first)| first);
        let fate = match before.filter(|(_, seen, _)| at.abs_diff(*seen) <= window.window_ms.unsigned_abs()) {
            None => Fate::Accepted,
            Some((other, ..)) if other.variant == made.variant => Fate::Duplicate,
            Some(_) => Fate::Rejected,
        };
        fates.insert(offset, Ideal { fate, told_by });
        while known.len() > window.ids_max || window.expire_by_time && known[0].1 < at - window.window_ms {
            known.remove(0);
        }
    }
    fates
}

fn counts(offsets: impl Iterator<Item = i64>) -> BTreeMap<i64, usize> {
    offsets.fold(BTreeMap::new(), |mut counts, offset| {
        *counts.entry(offset).or_default() += 1;
        counts
    })
}

/// Which event of the producers' has this id and these tokens.
fn made_of(id: &str, input_tokens: u64) -> Option<Made> {
    let key = id.strip_prefix('k')?.parse().ok()?;
    (0..2).map(|variant| Made { key, variant, broken: false }).find(|made| made.input_tokens() == input_tokens)
}

fn month(seconds: i64) -> u32 {
    farebox::model::Timestamp::from_millis(seconds * 1000).month_utc().0
}

fn add(sums: &mut Sums, sessions: &mut Sessions, made: Made, version: u64, world: &World) {
    let second = made.time_ms() / 1000;
    let sum = sums.entry((made.account(), second - second % 3600, made.platform().to_owned())).or_default();
    *sum = (sum.0 + 1, sum.1 + prices::cost(made, version), sum.2 + made.input_tokens());
    if !made.platform().is_empty() {
        let session = sessions.entry((made.account(), second - second % 86_400)).or_default();
        session.0.insert(world.rules.key.user_hash(&made.account(), &made.user()));
        session.1 += 1;
    }
}

/// The rollups, batch by batch: nothing is merged here, so a part still says whose it is.
fn rollups(world: &World) -> BTreeMap<String, Rollup> {
    let mut rollups: BTreeMap<String, Rollup> = BTreeMap::new();
    let mut look = |rows: &Rows| match rows {
        Rows::Hourly(rows) => {
            let witness = rows.iter().map(|row| row.batch.clone()).max().unwrap_or_default();
            let rollup = rollups.entry(witness).or_default();
            rollup.hourly_parts += 1;
            for row in rows.iter().filter(|row| !row.account.is_empty()) {
                let sum = rollup.hourly.entry((row.account.clone(), i64::from(row.hour), row.platform.clone())).or_default();
                *sum = (sum.0 + row.sums.events, sum.1 + row.sums.cost, sum.2 + row.sums.input_tokens);
            }
        }
        Rows::Sessions(rows) => {
            let witness = rows.iter().map(|row| row.batch.clone()).max().unwrap_or_default();
            let rollup = rollups.entry(witness).or_default();
            rollup.session_parts += 1;
            for row in rows.iter().filter(|row| !row.account.is_empty()) {
                let session = rollup.sessions.entry((row.account.clone(), i64::from(row.session_start))).or_default();
                session.0.extend(&row.users);
                session.1 += row.events;
            }
        }
        _ => {}
    };
    world.server.lose_parts(|_, part| {
        look(&part.rows);
        true // none is lost
    });
    rollups
}
