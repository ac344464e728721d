//! Unique users of open sessions by platform, for a gauge: what this process has seen since it started.
//!
//! Bounded: a few platforms, a few stretches of session starts, and of each at most 4 095 hashes or a sketch of 64 KiB. What a platform is called comes from
//! the price book, not from events, so that no producer makes series. An estimate for people who watch; what is charged is counted by ClickHouse.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::aggregate::Rows;
use crate::engine::preview::Users;
use crate::model::Timestamp;
use crate::price::Prices;
use crate::telemetry::{Metrics, OTHER_PLATFORMS};

/// So many platforms of the price book have a series of their own, the first by name; the rest are counted with those that it does not name.
const PLATFORMS_MAX: usize = 8;
const SESSION_MS: i64 = 86_400_000;
/// Sessions that begin in one stretch are forgotten together, when the last of them has ended.
const STRETCH_MS: i64 = SESSION_MS / 4;

/// See above. Shared by all partitions of a process.
#[derive(Debug, Default)]
pub struct LiveUsers(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Of this version of the price book.
    version: Option<u64>,
    platforms: Vec<Box<str>>,
    /// By place in `platforms` (behind them: all others) and stretch.
    users: BTreeMap<(usize, i64), Users>,
}

impl LiveUsers {
    /// Notes the users of a batch.
    pub fn note(&self, rows: &Rows, prices: &Prices, now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.version != Some(prices.version()) {
            let platforms: Vec<Box<str>> = prices.platforms().into_iter().take(PLATFORMS_MAX).map(Into::into).collect();
            if platforms != seen.platforms {
                // Their places are others.
                seen.users.clear();
                seen.platforms = platforms;
            }
            seen.version = Some(prices.version());
        }
        for session in rows.session_users.values().flat_map(|block| block.rows()) {
            let start = session.session.start().millis();
            if is_over(start.div_euclid(STRETCH_MS), now) || start > now.millis() {
                continue;
            }
            let platform = seen.platforms.binary_search_by(|known| (**known).cmp(session.platform)).unwrap_or(seen.platforms.len());
            seen.users.entry((platform, start.div_euclid(STRETCH_MS))).or_default().add(session.users.iter().copied());
        }
    }

    /// Shows how many there are now.
    pub fn show(&self, metrics: &Metrics, now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.users.retain(|(_, stretch), _| !is_over(*stretch, now));
        let mut together: BTreeMap<usize, Users> = BTreeMap::new();
        for ((platform, _), users) in &seen.users {
            together.entry(*platform).or_default().unite(users);
        }
        let count = |at: usize| together.get(&at).map_or(0, |users| users.count().users);
        let named = seen.platforms.iter().enumerate().map(|(at, platform)| (&**platform, count(at)));
        metrics.set_unique_users(named.chain([(OTHER_PLATFORMS, count(seen.platforms.len()))]));
    }
}

/// Whether the last session that can begin in a stretch has ended.
fn is_over(stretch: i64, now: Timestamp) -> bool {
    (stretch + 1) * STRETCH_MS + SESSION_MS <= now.millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_over_when_the_last_session_that_can_begin_in_it_has_ended() {
        let at = |millis: i64| is_over(0, Timestamp::from_millis(millis));
        assert_eq!([at(STRETCH_MS + SESSION_MS - 1), at(STRETCH_MS + SESSION_MS)], [false, true]);
    }
}
