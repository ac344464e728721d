//! Local times, remembered by the quarter of an hour.
//!
//! Looking a zone's offset up is a search through its history, and nearly all events of a batch lie in a few hours of a few zones. Holds: the
//! answer is that of [`Zone::local`]; a quarter in which a clock is set is not remembered. Nothing depends on what is remembered.

use std::fmt;

use super::{LocalTime, Timestamp, Zone};

const SLOTS: usize = 256;
const QUARTER: i64 = 900;

/// What was looked up of late.
pub struct Clocks(Box<[Known; SLOTS]>);

/// The zone's offset from UTC, in seconds, throughout a quarter.
#[derive(Clone, Copy)]
struct Known {
    zone: Zone,
    quarter: i64,
    offset: i32,
}

impl Clocks {
    /// [`Zone::local`], remembered.
    pub fn local(&mut self, zone: Zone, at: Timestamp) -> LocalTime {
        let seconds = at.clamped().seconds();
        let quarter = seconds.div_euclid(QUARTER);
        let known = &mut self.0[(quarter as usize ^ zone.number().wrapping_mul(31)) % SLOTS];
        if known.quarter != quarter || known.zone != zone {
            // No zone sets its clock twice in a quarter of an hour.
            let offset = zone.offset(quarter * QUARTER);
            if offset != zone.offset(quarter * QUARTER + QUARTER - 1) {
                return zone.local(at);
            }
            *known = Known { zone, quarter, offset };
        }
        LocalTime::at(seconds, known.offset)
    }
}

impl Default for Clocks {
    fn default() -> Self {
        // No moment that a clock shows lies so early.
        Self(Box::new([Known { zone: Zone::UTC, quarter: i64::MIN, offset: 0 }; SLOTS]))
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clocks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_shows_the_same_time_around_every_moment_at_which_its_clock_is_set() {
        const STEP: i64 = 3 * 86_400;
        let mut clocks = Clocks::default();
        for zone in chrono_tz::TZ_VARIANTS {
            let zone = Zone::parse(zone.name()).expect("a known zone");
            let mut same = |seconds: i64| {
                let at = Timestamp::from_seconds(seconds);
                assert_eq!(clocks.local(zone, at), zone.local(at), "{} {at}", zone.name());
            };
            for begin in (86_400..2_145_916_800).step_by(STEP as usize) {
                if begin % (4 * STEP) == 0 {
                    same(begin);
                }
                let (mut before, mut behind) = (begin, begin + STEP);
                if zone.offset(before) == zone.offset(behind) {
                    continue;
                }
                while behind - before > 1 {
                    let middle = before.midpoint(behind);
                    if zone.offset(middle) == zone.offset(before) { before = middle } else { behind = middle }
                }
                for seconds in [-900, -899, -1, 0, 1, 899, 900, 3_600] {
                    same(behind + seconds);
                    same(behind + seconds); // remembered
                }
            }
        }
    }
}
