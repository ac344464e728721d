//! The one form of RFC 3339 that nearly every producer writes: `2026-03-01T12:30:00.123Z`, with or without a fraction.
//!
//! Several times quicker than a parser of all forms. Holds: what is taken here means what that parser says; anything else, right or
//! wrong, is given up and left to it. Absent on purpose: offsets, leap seconds, small letters, years before 1600.

/// Milliseconds since 1970-01-01T00:00:00Z; finer digits are cut.
pub(super) fn millis(text: &[u8]) -> Option<i64> {
    let (moment, rest) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] = *moment else {
        return None;
    };
    let fraction = match rest {
        b"Z" => 0,
        [b'.', a, b'Z'] => number([b'0', *a])? * 100,
        [b'.', a, b, b'Z'] => number([*a, *b])? * 10,
        [b'.', a, b, c, finer @ .., b'Z'] if finer.len() <= 6 && finer.iter().all(u8::is_ascii_digit) => {
            number([*a, *b])? * 10 + number([b'0', *c])?
        }
        _ => return None,
    };
    let (year, month, day) = (number([y1, y2])? * 100 + number([y3, y4])?, number([mo1, mo2])?, number([d1, d2])?);
    let (hour, minute, second) = (number([h1, h2])?, number([mi1, mi2])?, number([s1, s2])?);
    let is_date = year >= 1600 && (1..=12).contains(&month) && day >= 1 && day <= days_of(year, month);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (i64::from(days(year, month, day)) * 24 + i64::from(hour)) * 3600 + i64::from(minute * 60 + second);
    Some(seconds * 1000 + i64::from(fraction))
}

fn number(digits: [u8; 2]) -> Option<u32> {
    let [tens, ones] = digits.map(|digit| u32::from(digit.wrapping_sub(b'0')));
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: u32, month: u32, day: u32) -> i32 {
    // A year that begins in March ends with the day that only some years have.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    let since_1_march_0 = year * 365 + year / 4 - year / 100 + year / 400 + before_month + day - 1;
    since_1_march_0 as i32 - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    /// The parser of all forms.
    fn slow(text: &str) -> Option<i64> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
    }

    #[test]
    fn every_day_of_a_thousand_years_is_that_of_the_calendar() {
        let first = NaiveDate::from_ymd_opt(1600, 1, 1).expect("a date");
        for date in first.iter_days().take(1_000 * 366) {
            let text = format!("{date}T00:00:00Z");
            assert_eq!(millis(text.as_bytes()), Some(i64::from(date.to_epoch_days()) * 86_400_000), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_or_another_form_is_given_up() {
        for other in [
            "",
            "2026-03-01",
            "2026-03-01T12:30:00",
            "2026-03-01t12:30:00Z",
            "2026-03-01T12:30:00z",
            "2026-03-01T12:30:00+00:00",
            "2026-03-01T12:30:60Z",
            "2026-03-01T24:00:00Z",
            "2026-02-29T12:30:00Z",
            "2026-00-01T12:30:00Z",
            "2026-13-01T12:30:00Z",
            "2026-03-00T12:30:00Z",
            "2026-03-01T12:30:00.Z",
            "2026-03-01T12:30:00.12aZ",
            "2026-03-01T12:30:00.1234567890Z",
            "1599-03-01T12:30:00Z",
            "2026-03-01T12:30:00ZZ",
        ] {
            assert_eq!(millis(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_means_what_the_parser_of_all_forms_says(
            seconds in -11_676_096_000_i64..95_617_584_000, nanos in 0_u32..1_000_000_000, form in 0_u8..4,
            (at, byte) in (0_usize..32, any::<u8>()), touched in any::<bool>(),
        ) {
            let format = [SecondsFormat::Secs, SecondsFormat::Millis, SecondsFormat::Micros, SecondsFormat::Nanos][usize::from(form)];
            let moment = DateTime::from_timestamp(seconds, nanos).expect("in range");
            let text = moment.to_rfc3339_opts(format, true);
            prop_assert_eq!(millis(text.as_bytes()), slow(&text));
            let mut bytes = text.into_bytes();
            if touched && at < bytes.len() {
                bytes[at] = byte;
                if let (Some(quick), Ok(text)) = (millis(&bytes), std::str::from_utf8(&bytes)) {
                    prop_assert_eq!(Some(quick), slow(text), "{}", text);
                }
            }
        }
    }
}
