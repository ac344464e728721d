//! Moments, and the account's own calendar.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;

use super::rfc3339;

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Finer digits are cut when parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first moment that every ClickHouse column and every zone's day can hold: 1970-01-02T00:00:00Z.
    pub const MIN: Self = Self(86_400_000);
    /// The last such moment: 2105-12-31T00:00:00Z (`DateTime` ends in 2106).
    pub const MAX: Self = Self(4_291_660_800_000);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch; saturates.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Moved by so many milliseconds; saturates.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The nearest moment between [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub fn clamped(self) -> Self {
        self.clamp(Self::MIN, Self::MAX)
    }

    /// Parses RFC 3339 with an offset; digits below a millisecond are cut. `None` when it is not RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let slow = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
        rfc3339::millis(text.as_bytes()).or_else(slow).map(Self)
    }

    /// The same moment for chrono, or `None` beyond its years.
    pub fn to_chrono(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0)
    }

    /// The month of a moment in UTC, as `yyyymm`.
    pub fn month_utc(self) -> Month {
        Day::from_epoch_days(self.clamped().0.div_euclid(86_400_000)).month()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_chrono() {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A calendar date of an account: days since 1970-01-01, as ClickHouse's `Date` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u16);

impl Day {
    /// From days since 1970-01-01; clamped to what `Date` holds.
    pub fn from_epoch_days(days: i64) -> Self {
        Self(days.clamp(0, i64::from(u16::MAX)) as u16)
    }

    /// Days since 1970-01-01.
    pub const fn epoch_days(self) -> u16 {
        self.0
    }

    /// The calendar month the day lies in.
    pub fn month(self) -> Month {
        let date = self.to_date();
        Month(date.year() as u32 * 100 + date.month())
    }

    /// The day of a date; clamped to what `Date` holds.
    pub fn from_date(date: NaiveDate) -> Self {
        Self::from_epoch_days(i64::from(date.to_epoch_days()))
    }

    /// The same date for chrono.
    pub fn to_date(self) -> NaiveDate {
        NaiveDate::from_epoch_days(i32::from(self.0)).unwrap_or_default() // 65 536 days end in 2149
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_date().fmt(f)
    }
}

/// A calendar month as the number `yyyymm`: ClickHouse's `toYYYYMM`, the key of our partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u32);

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// An IANA time zone: what an account's days and months are measured in. Never sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// A moment on an account's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// The local date.
    pub day: Day,
    /// Start of the hour on the local clock, as the UTC moment (Kolkata: …:30).
    pub hour: Timestamp,
}

impl Zone {
    /// Coordinated universal time, the zone of every account that names none.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone of that IANA name, or `None`.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// The IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether a date is in this zone's calendar: Apia has no 2011-12-30.
    pub fn has_day(self, day: Day) -> bool {
        let midnight = i64::from(day.epoch_days()) * 86_400;
        // Clocks differ from UTC by less than a day.
        let date = |seconds| self.0.timestamp_opt(seconds, 0).single().map(|time| time.naive_local().date());
        (-24..48).any(|hour| date(midnight + hour * 3_600) == Some(day.to_date()))
    }

    /// The day and the hour of a moment on this zone's clock.
    ///
    /// The hour's start is the moment less the minutes and seconds that the local clock shows, so it never lies
    /// on another local day.
    pub fn local(self, at: Timestamp) -> LocalTime {
        let seconds = at.clamped().seconds();
        LocalTime::at(seconds, self.offset(seconds))
    }

    /// How many seconds the zone's clock is ahead of UTC at a moment in seconds.
    /// Date and time on this zone's clocks, for people; `None` beyond chrono's years.
    pub fn date_time(self, at: Timestamp) -> Option<NaiveDateTime> {
        at.to_chrono().map(|time| time.with_timezone(&self.0).naive_local())
    }

    pub(super) fn offset(self, seconds: i64) -> i32 {
        let time = self.0.timestamp_opt(seconds, 0).single(); // never ambiguous: from UTC
        time.map_or(0, |time| time.offset().fix().local_minus_utc())
    }

    /// Tells zones apart, mostly.
    pub(super) fn number(self) -> usize {
        self.0 as usize
    }
}

impl LocalTime {
    /// At a moment in seconds, on a clock that is so many seconds ahead of UTC.
    pub(super) fn at(seconds: i64, offset: i32) -> Self {
        let local = seconds + i64::from(offset);
        let hour = Timestamp::from_seconds(seconds - local.rem_euclid(3_600));
        Self { day: Day::from_epoch_days(local.div_euclid(86_400)), hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(zone: &str, time: &str) -> (String, String) {
        let local = Zone::parse(zone).expect("a known zone").local(Timestamp::parse(time).expect("RFC 3339"));
        (local.day.to_string(), local.hour.to_string())
    }

    #[test]
    fn an_hour_is_floored_on_the_accounts_own_clock() {
        let cases = [
            ("UTC", "2026-03-01T23:59:59.999Z", "2026-03-01", "2026-03-01T23:00:00Z"),
            ("Asia/Kolkata", "2026-03-01T18:29:59Z", "2026-03-01", "2026-03-01T17:30:00Z"),
            ("Asia/Kolkata", "2026-03-01T18:30:00Z", "2026-03-02", "2026-03-01T18:30:00Z"),
            ("America/New_York", "2026-03-08T07:10:00Z", "2026-03-08", "2026-03-08T07:00:00Z"),
            // Lord Howe falls back half an hour at 15:00Z on 2026-04-04: 02:00+11 becomes 01:30+10:30.
            ("Australia/Lord_Howe", "2026-04-04T14:59:59Z", "2026-04-05", "2026-04-04T14:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-05", "2026-04-04T14:30:00Z"),
            // Cairo springs forward at midnight: the day begins at 01:00.
            ("Africa/Cairo", "2026-04-23T22:15:00Z", "2026-04-24", "2026-04-23T22:00:00Z"),
        ];
        for (zone, time, day, hour) in cases {
            assert_eq!(local(zone, time), (day.to_owned(), hour.to_owned()), "{zone} {time}");
        }
    }

    #[test]
    fn a_date_that_a_zone_skipped_is_none_of_its_days() {
        let has = |zone: &str, date: &str| Zone::parse(zone).expect("known").has_day(Day::from_date(date.parse().expect("a date")));
        assert!(!has("Pacific/Apia", "2011-12-30"));
        assert!(has("Pacific/Apia", "2011-12-29") && has("Pacific/Apia", "2011-12-31") && has("Africa/Cairo", "2026-04-24"));
    }

    #[test]
    fn the_hour_lies_on_the_same_day_whatever_the_zone() {
        for zone in chrono_tz::TZ_VARIANTS {
            let zone = Zone(zone);
            for step in 0..2_000 {
                let at = Timestamp::from_seconds(1_767_225_600 + step * 15_773); // about a year
                let local = zone.local(at);
                assert!(local.hour <= at && at.millis() - local.hour.millis() < 3_600_000);
                assert_eq!(zone.local(local.hour).day, local.day, "{} {at}", zone.name());
            }
        }
    }

    #[test]
    fn digits_below_a_millisecond_are_cut() {
        assert_eq!(Timestamp::parse("2026-01-01T00:00:00.1239Z").map(Timestamp::millis), Some(1_767_225_600_123));
        assert_eq!(Timestamp::parse("2026-01-01T02:00:00+02:00").map(Timestamp::millis), Some(1_767_225_600_000));
        assert_eq!(Timestamp::parse("2026-01-01"), None);
    }

    #[test]
    fn months_are_counted_as_clickhouse_does() {
        assert_eq!(Timestamp::parse("2026-12-31T23:59:59Z").map(Timestamp::month_utc), Some(Month(202_612)));
        assert_eq!(Timestamp::from_millis(i64::MAX).month_utc(), Month(210_512));
    }
}
