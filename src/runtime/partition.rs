//! The life of one owned partition: decide where to begin, form batches, have them written.
//!
//! One task for each. It is dropped at any await when the partition is taken away; the protocol expects that as it expects a crash.
//! Holds: at most one batch is being written while the next is formed; a batch that cannot be written ends the life, and the next
//! life decides anew from what Kafka and ClickHouse know.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::begin::{self, Begun};
use super::gather;
use super::log::{CommitFailed, PartitionLog};
use super::patience::Patience;
use super::progress::Standing;
use super::reader::{Reader, Step};
use super::room::Large;
use super::shared::Shared;
use super::write;
use crate::engine::Engine;
use crate::engine::assignment::Stop;
use crate::sink::Origin;

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The age of the first batch of a life.
const FIRST_AFTER: Duration = Duration::from_millis(100);
/// A batch that waits for large room is written small after so many ages: whoever holds it may be stuck.
const ROOM_AGES_MAX: u32 = 4;
/// Behind the log's end for this long, offsets without records are taken into an empty batch, and the offset is committed alone.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Why a life ended.
#[derive(Debug)]
pub enum End {
    /// A guard: nothing is done until a person has looked.
    Stop(Stop),
    /// A guard that tripped before and was not recovered since.
    StillStopped(Stop),
    /// Something moved; decide again.
    Restart(String),
    /// A commit may still be under way; only a new generation fences it.
    Rejoin(String),
    /// Asked to end, and everything formed is written.
    Drained,
}

/// Owns a partition until it is taken away or the service ends.
pub async fn own(log: PartitionLog, shared: Arc<Shared>) {
    let mut reader = Reader::new(log);
    let partition = reader.link().partition();
    loop {
        match live(&mut reader, &shared).await {
            End::Restart(reason) => {
                warn!(partition, reason, "deciding again where to read");
                sleep(RETRY_AFTER).await;
            }
            End::Rejoin(reason) => {
                warn!(partition, reason, "a commit is in doubt");
                shared.metrics.commits_failed.inc();
                return reader.link().rejoin();
            }
            End::Stop(stop) => return stand_still(&reader, &stop, true, &shared).await,
            End::StillStopped(stop) => return stand_still(&reader, &stop, false, &shared).await,
            End::Drained => return,
        }
    }
}

/// Says why, remembers it, and waits for the partition to be taken away or the service to end.
async fn stand_still(reader: &Reader, stop: &Stop, is_new: bool, shared: &Shared) {
    let partition = reader.link().partition();
    let (guard, reason) = (stop.kind.as_str(), &stop.reason);
    error!(
        partition,
        guard,
        reason,
        "partition stopped until a person has looked: `farebox recover` shows what to do (docs/recovery.md); its events stay in Kafka"
    );
    shared.metrics.guard(stop.kind).inc();
    let _stopped = shared.metrics.stopped();
    if is_new {
        let mut patience = Patience::default();
        loop {
            match remember(reader, stop, shared).await {
                Ok(true) => break,
                Ok(false) => {
                    warn!(partition, "the partition was taken away meanwhile; its new owner looks for itself");
                    return reader.link().rejoin();
                }
                Err(error) if patience.is_worth_telling() => {
                    warn!(partition, error = format!("{error:#}"), "could not remember the stop; trying again");
                }
                Err(_) => {}
            }
            patience.wait().await;
        }
    }
    shared.drained().await;
}

/// Writes the stop down, as the partition's owner; `false`: it is not ours any more, and what stopped us may be its new owner at work.
async fn remember(reader: &Reader, stop: &Stop, shared: &Shared) -> anyhow::Result<bool> {
    let link = reader.link();
    let (origin, _) = gather::origin(link, shared).await?;
    // What is committed, once more: it changes nothing, and only the owner's generation may.
    let committed = link.questions().committed(link.partition()).await?;
    if let Some((offset, metadata)) = committed.and_then(|known| Some((known.offset, String::from_utf8(known.metadata).ok()?))) {
        match link.commit(offset, metadata).await {
            Err(CommitFailed::Fenced) => return Ok(false),
            committed => committed?,
        }
    }
    shared.remember_stop(&origin, stop).await?;
    Ok(true)
}

async fn live(reader: &mut Reader, shared: &Arc<Shared>) -> End {
    let begun = tokio::select! {
        biased; // the same order in every run
        begun = begin::begin(reader, shared) => begun,
        // A promise that is being looked into keeps; the next owner looks again.
        () = shared.drained() => return End::Drained,
    };
    match begun {
        Ok(begun) => consume(reader, begun, shared).await,
        Err(end) => end,
    }
}

type Writing = Pin<Box<dyn Future<Output = Result<i64, End>> + Send>>;
type Asking = Pin<Box<dyn Future<Output = Large> + Send>>;

/// What became of the records that could be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Formed {
    /// All were taken.
    All,
    /// Some wait: the batch is to be written first.
    Full,
    /// Some wait: the batch asks for large room.
    Small,
}

/// What is done when it is done; never, when there is nothing to do.
async fn done<F: Future + Unpin>(something: Option<&mut F>) -> F::Output {
    match something {
        Some(something) => something.await,
        None => std::future::pending().await,
    }
}

/// Forms batches and has them written, one after the other, until something ends it.
async fn consume(reader: &mut Reader, begun: Begun, shared: &Arc<Shared>) -> End {
    let Begun { engine, origin, written_to, committed } = begun;
    let mut former = Former {
        engine,
        origin: Arc::new(origin),
        written_to,
        committed,
        opened: None,
        large: None,
        asking: None,
        is_first: true,
        is_behind: false,
        end: None,
        writing: None,
        writing_since: None,
        writing_bytes: 0,
    };
    let mut drain = shared.drain.clone();
    // Who owned it before may not have come to it.
    shared.touched.all();
    shared.spending.all();
    info!(partition = reader.link().partition(), from = former.engine.next(), "reading");
    loop {
        let draining = *drain.borrow_and_update();
        let formed = if draining { Formed::All } else { former.form(reader, shared) };
        if let Err(end) = former.write_if_due(reader, shared, draining || formed == Formed::Full).await {
            return end;
        }
        if draining && former.writing.is_none() && former.engine.is_empty() {
            return former.commit_alone(reader).await.err().unwrap_or(End::Drained);
        }
        reader.set_taking(formed == Formed::All && !draining);
        former.report(reader, shared);
        let due = former.due(shared);
        tokio::select! {
            biased; // the same order in every run; what is due or to be drained is looked at before each wait
            written = done(former.writing.as_mut()) => {
                (former.writing, former.writing_since, former.writing_bytes) = (None, None, 0);
                match written {
                    Ok(to) => {
                        former.written_to = Some(to);
                        reader.link().settled(to);
                    }
                    Err(end) => return end,
                }
            }
            large = done(former.asking.as_mut()) => (former.large, former.asking) = (Some((large, Instant::now())), None),
            step = reader.fill(), if formed == Formed::All && !draining => match step {
                Step::Records => former.end = None,
                Step::End(offset) => former.caught_up(offset),
                Step::Failed(error) => return End::Restart(error.to_string()),
            },
            () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => {}
            _ = drain.changed(), if !draining => {}
        }
    }
}

/// The batch being formed and the one being written.
struct Former {
    engine: Engine,
    origin: Arc<Origin>,
    written_to: Option<i64>,
    committed: Option<i64>,
    opened: Option<Instant>,
    /// The open batch's large room, and since when.
    large: Option<(Large, Instant)>,
    /// Its turn in asking for it.
    asking: Option<Asking>,
    is_first: bool,
    /// More waits in the log than the open batch holds.
    is_behind: bool,
    end: Option<(i64, Instant)>,
    writing: Option<Writing>,
    writing_since: Option<Instant>,
    writing_bytes: usize,
}

impl Former {
    /// Takes records while the open batch has room.
    fn form(&mut self, reader: &mut Reader, shared: &Shared) -> Formed {
        if self.engine.is_empty() {
            self.engine.set_prices(&shared.books.current());
        }
        self.engine.tell_time(shared.now());
        self.is_behind = u64::try_from(reader.lag()).is_ok_and(|lag| lag > self.engine.events());
        let bytes_max = shared.batch_bytes(self.large.is_some());
        while let Some(record) = reader.peek() {
            if self.engine.events() >= shared.batch.events_max || !self.engine.fits(&record) {
                return Formed::Full;
            }
            if self.engine.bytes() >= bytes_max {
                return self.outgrown(bytes_max, shared);
            }
            self.engine.apply(&record);
            self.opened.get_or_insert_with(Instant::now);
            reader.advance();
        }
        Formed::All
    }

    /// Everything up to this offset was taken: the open batch grows no faster than events come.
    fn caught_up(&mut self, offset: i64) {
        self.end = Some((offset, Instant::now()));
        if let Some((large, _)) = &mut self.large {
            large.grown();
        }
    }

    /// The open batch has taken its room: it asks for large room. Not while the one before is being written: the turn is for those who can use it.
    fn outgrown(&mut self, bytes_max: usize, shared: &Shared) -> Formed {
        if bytes_max >= shared.batch_bytes(true) || self.writing.is_some() {
            return Formed::Full;
        }
        self.asking.get_or_insert_with(|| Box::pin(shared.room.clone().large()));
        Formed::Small
    }

    /// Starts writing the open batch when it is due and none is being written; commits alone when there is nothing else to do.
    async fn write_if_due(&mut self, reader: &Reader, shared: &Arc<Shared>, now: bool) -> Result<(), End> {
        if self.writing.is_some() {
            return Ok(());
        }
        if !self.engine.is_empty() {
            if now || self.written_at(shared).is_some_and(|at| at <= Instant::now()) {
                self.start_writing(self.engine.next(), reader, shared);
            }
            return Ok(());
        }
        let Some((end, _)) = self.end.filter(|(_, since)| since.elapsed() >= IDLE_AFTER) else { return Ok(()) };
        if end > self.engine.from() {
            self.start_writing(end, reader, shared);
            return Ok(());
        }
        self.commit_alone(reader).await
    }

    /// How old the open batch becomes. The first of a life is written early: its records have waited for an owner.
    fn age(&self, shared: &Shared) -> Duration {
        let age = shared.batch_age();
        if self.is_first { age.min(FIRST_AFTER) } else { age }
    }

    /// When the open batch is written at the latest, if it holds anything.
    fn written_at(&self, shared: &Shared) -> Option<Instant> {
        let (opened, age) = (self.opened?, self.age(shared));
        Some(match &self.large {
            // It waits for its turn: then it grows.
            None if self.asking.is_some() && self.is_behind => opened + age * ROOM_AGES_MAX,
            // It has waited for its turn, and there is more to read: now is its time to grow.
            Some((_, since)) if self.is_behind => opened.max(*since) + age,
            // Nearly all is read: nobody is kept waiting for a larger batch.
            _ => opened + age,
        })
    }

    fn start_writing(&mut self, to: i64, reader: &Reader, shared: &Arc<Shared>) {
        self.is_first = false;
        self.writing_bytes = self.engine.bytes();
        let batch = self.engine.close(to);
        self.writing_since = self.opened.take();
        self.asking = None;
        let large = self.large.take().map(|(mut large, _)| {
            large.grown();
            large
        });
        self.committed = Some(batch.from);
        let (link, shared, origin, prev) = (reader.link().clone(), Arc::clone(shared), Arc::clone(&self.origin), self.written_to);
        self.writing = Some(Box::pin(async move {
            let _large = large; // until it is written
            write::promise_and_write(&link, &shared, &origin, batch, prev).await
        }));
    }

    /// Commits what is written, without an intent. Never while one stands.
    async fn commit_alone(&mut self, reader: &Reader) -> Result<(), End> {
        let Some(to) = self.written_to.filter(|to| self.committed != Some(*to)) else { return Ok(()) };
        reader.link().commit(to, String::new()).await.map_err(|error| End::Rejoin(error.to_string()))?;
        self.committed = Some(to);
        Ok(())
    }

    fn report(&self, reader: &Reader, shared: &Shared) {
        let (window_ids, window_ms) = self.engine.window();
        let standing = Standing {
            oldest_unwritten: self.writing_since.or(self.opened),
            window_ids,
            window_ms,
            window_bytes: self.engine.window_bytes(),
            batch_bytes: self.engine.bytes() + self.writing_bytes,
        };
        shared.progress.report(reader.link().partition(), standing);
    }

    /// When something is to be done although nothing arrives.
    fn due(&self, shared: &Shared) -> Option<Instant> {
        if self.writing.is_some() {
            return None;
        }
        if self.opened.is_some() {
            return self.written_at(shared);
        }
        let (end, since) = self.end?;
        let something = end > self.engine.from() || self.written_to.is_some_and(|to| self.committed != Some(to));
        something.then(|| since + IDLE_AFTER)
    }
}
