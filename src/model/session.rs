//! Sessions: 24-hour windows on a fixed grid in UTC, shifted by an account's anchor. Never calendar days.

use std::str::FromStr;

use super::Timestamp;

/// How long a session is: 24 hours, in seconds.
pub const SESSION_SECONDS: i64 = 86_400;

/// How far after midnight UTC an account's sessions start: `HH:MM`. Fixed with the account's first row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionAnchor {
    seconds: u32,
}

/// Where a session starts; its end is 24 hours later and not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionStart(Timestamp);

impl SessionAnchor {
    /// From seconds after midnight UTC; `None` from a whole day on.
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        (i64::from(seconds) < SESSION_SECONDS).then_some(Self { seconds })
    }

    /// Seconds after midnight UTC.
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    /// The session a moment lies in. Later moments never lie in earlier sessions.
    pub fn session_of(self, at: Timestamp) -> SessionStart {
        let since_anchor = at.clamped().seconds() - i64::from(self.seconds);
        SessionStart(Timestamp::from_seconds(since_anchor.div_euclid(SESSION_SECONDS) * SESSION_SECONDS + i64::from(self.seconds)))
    }
}

impl FromStr for SessionAnchor {
    type Err = ();

    /// Parses `HH:MM`, 00:00 to 23:59.
    fn from_str(text: &str) -> Result<Self, ()> {
        let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return Err(()) };
        let digits = |tens: u8, ones: u8| {
            (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
        };
        match (digits(h1, h2), digits(m1, m2)) {
            (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => Ok(Self { seconds: hours * 3600 + minutes * 60 }),
            _ => Err(()),
        }
    }
}

impl std::fmt::Display for SessionAnchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.seconds / 3600, self.seconds / 60 % 60)
    }
}

impl SessionStart {
    /// The first moment of the session.
    pub const fn start(self) -> Timestamp {
        self.0
    }

    /// The first moment after the session.
    pub const fn end(self) -> Timestamp {
        self.0.plus_millis(SESSION_SECONDS * 1000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_session_begins_on_the_anchor_and_ends_before_the_next() {
        let anchor: SessionAnchor = "18:30".parse().expect("a time of day");
        for (at, start) in [
            ("2026-03-01T18:29:59.999Z", "2026-02-28T18:30:00Z"),
            ("2026-03-01T18:30:00Z", "2026-03-01T18:30:00Z"),
            ("2026-03-02T00:00:00Z", "2026-03-01T18:30:00Z"),
        ] {
            assert_eq!(anchor.session_of(Timestamp::parse(at).expect("RFC 3339")).start().to_string(), start, "{at}");
        }
        for wrong in ["24:00", "1:00", "00:60", "", "00:00:00", "aa:bb"] {
            assert_eq!(wrong.parse::<SessionAnchor>(), Err(()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_its_own_session(millis in 86_400_000_i64..4_200_000_000_000, anchor in 0_u32..86_400) {
            let anchor = SessionAnchor::from_seconds(anchor).expect("below a day");
            let at = Timestamp::from_millis(millis);
            let session = anchor.session_of(at);
            prop_assert!(session.start() <= at && at < session.end());
            prop_assert_eq!(anchor.session_of(session.start()), session);
        }
    }
}
