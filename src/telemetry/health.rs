//! Whether this process lives, and whether it is ready.
//!
//! It lives as long as its loops turn: each ticks a heartbeat, and one that has not ticked for a minute fails `/livez`. What it
//! depends on never does: a restart mends no ClickHouse. It is ready when Kafka gave it its share, ClickHouse takes rows and the
//! schema is the one it knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that has not turned for so long is taken for dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The health of this process, shared by its loops and its listener.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    loops: Mutex<Vec<Arc<Beat>>>,
    assigned: AtomicBool,
    store_writable: AtomicBool,
    schema_current: AtomicBool,
}

#[derive(Debug)]
struct Beat {
    name: &'static str,
    ticked_ms: AtomicU64,
    finished: AtomicBool,
}

/// One loop's sign of life. Dropping it says nothing: a loop that died without a word is found by its silence.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    started: Instant,
    beat: Arc<Beat>,
}

impl Heartbeat {
    /// The loop turned once more.
    pub fn tick(&self) {
        self.beat.ticked_ms.store(millis(self.started.elapsed()), Ordering::Relaxed);
    }

    /// The loop ended as it should.
    pub fn finish(&self) {
        self.beat.finished.store(true, Ordering::Relaxed);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive, and not ready for anything.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            loops: Mutex::default(),
            assigned: AtomicBool::new(false),
            store_writable: AtomicBool::new(false),
            schema_current: AtomicBool::new(false),
        }
    }

    /// A heartbeat for one more loop; it counts from now on.
    pub fn heartbeat(&self, name: &'static str) -> Heartbeat {
        let beat =
            Arc::new(Beat { name, ticked_ms: AtomicU64::new(millis(self.started.elapsed())), finished: AtomicBool::new(false) });
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&beat));
        Heartbeat { started: self.started, beat }
    }

    /// Kafka gave us our share of the partitions (it may be none), or took it.
    pub fn set_assigned(&self, assigned: bool) {
        self.assigned.store(assigned, Ordering::Relaxed);
    }

    /// The last thing we heard from ClickHouse was an answer, or not.
    pub fn set_store_writable(&self, writable: bool) {
        self.store_writable.store(writable, Ordering::Relaxed);
    }

    /// The tables are those that this version knows.
    pub fn set_schema_current(&self, current: bool) {
        self.schema_current.store(current, Ordering::Relaxed);
    }

    /// Whether every loop turns.
    ///
    /// # Errors
    /// Those that do not, for people.
    pub fn live(&self) -> Result<(), String> {
        self.live_after(self.started.elapsed())
    }

    fn live_after(&self, uptime: Duration) -> Result<(), String> {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let silent: Vec<String> = loops
            .iter()
            .filter(|beat| !beat.finished.load(Ordering::Relaxed))
            .filter_map(|beat| {
                let silence = millis(uptime).saturating_sub(beat.ticked_ms.load(Ordering::Relaxed));
                (silence > millis(SILENCE_MAX)).then(|| format!("the loop `{}` has not turned for {} s", beat.name, silence / 1000))
            })
            .collect();
        if silent.is_empty() { Ok(()) } else { Err(silent.join("; ")) }
    }

    /// Whether events become rows.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn ready(&self) -> Result<(), String> {
        let missing: Vec<&str> = [
            (&self.schema_current, "the tables are not known to be current yet"),
            (&self.store_writable, "ClickHouse does not answer"),
            (&self.assigned, "Kafka has assigned no partitions to this instance yet"),
        ]
        .into_iter()
        .filter_map(|(flag, missing)| (!flag.load(Ordering::Relaxed)).then_some(missing))
        .collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_loop_is_named_after_a_minute_and_a_finished_one_is_not() {
        let health = Health::new();
        let consumer = health.heartbeat("consumer");
        let reload = health.heartbeat("reload");
        reload.finish();
        assert_eq!(health.live_after(Duration::from_secs(59)), Ok(()));
        let reason = health.live_after(Duration::from_secs(75)).expect_err("a minute is over");
        assert!(reason.contains("`consumer`") && reason.contains("75 s") && !reason.contains("reload"), "{reason}");
        consumer.beat.ticked_ms.store(70_000, Ordering::Relaxed);
        assert_eq!(health.live_after(Duration::from_secs(75)), Ok(()));
    }

    #[test]
    fn a_dependency_makes_it_unready_and_never_dead() {
        let health = Health::new();
        health.set_assigned(true);
        health.set_schema_current(true);
        assert_eq!(health.ready(), Err("ClickHouse does not answer".to_owned()));
        assert_eq!(health.live(), Ok(()));
        health.set_store_writable(true);
        assert_eq!(health.ready(), Ok(()));
    }
}
