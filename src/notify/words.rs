//! Amounts, shares, periods and names as people read them.

use chrono::NaiveDate;

use super::notice::Notice;
use crate::model::{Credits, Timestamp, Zone};

/// A space that keeps a number together.
const JOINED: char = '\u{a0}';
/// Nanocredits in the hundredth that is shown.
const HUNDREDTH: i128 = 10_000_000;
/// Names of people's things are shown so long at most.
const NAME_CHARS_MAX: usize = 80;
const SENTENCE_CHARS_MAX: usize = 500;

/// Two decimals, rounded half to even from the exact amount; thousands apart.
pub fn shown_credits(amount: Credits) -> String {
    let hundredths = divided_half_even(amount.nanos(), HUNDREDTH);
    let sign = if hundredths < 0 { "−" } else { "" };
    let hundredths = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", grouped(hundredths / 100), hundredths % 100)
}

/// The same without decimals that say nothing, for a subject.
pub fn short_credits(amount: Credits) -> String {
    let shown = shown_credits(amount);
    shown.strip_suffix(".00").map_or(shown.clone(), ToOwned::to_owned)
}

fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(JOINED);
        }
        text.push(digit);
    }
    text
}

/// `by` is positive.
fn divided_half_even(number: i128, by: i128) -> i128 {
    let (whole, rest) = (number.div_euclid(by), number.rem_euclid(by));
    let is_up = rest * 2 > by || (rest * 2 == by && whole % 2 != 0);
    whole + i128::from(is_up)
}

/// How much of the limit is spent, with one decimal that is cut, not rounded: 99.98 % are not 100 %.
pub fn percent_used(spent: Credits, limit: Credits) -> String {
    if limit.nanos() <= 0 {
        return format!("over 100{JOINED}%");
    }
    let tenths = spent.nanos().saturating_mul(1000).div_euclid(limit.nanos());
    format!("{}.{}{JOINED}%", tenths.div_euclid(10), tenths.rem_euclid(10))
}

/// A name as data: one line, no invisible control over what surrounds it, not endless.
pub fn name(text: &str) -> String {
    let shown = line(text, NAME_CHARS_MAX);
    if shown.is_empty() { "(no name)".to_owned() } else { shown }
}

/// A sentence that may hold names: as they are, and longer.
pub fn sentence(text: &str) -> String {
    line(text, SENTENCE_CHARS_MAX)
}

fn line(text: &str, chars_max: usize) -> String {
    let is_control = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown: String = text.chars().map(|c| if is_control(c) { ' ' } else { c }).take(chars_max + 1).collect();
    if shown.chars().count() > chars_max {
        shown = shown.chars().take(chars_max - 1).chain(['…']).collect();
    }
    shown.trim().to_owned()
}

/// A [`name`] or [`sentence`] inside plain text: letters that are written from the right keep their order to themselves.
pub fn isolated(shown: &str) -> String {
    if shown.is_ascii() { shown.to_owned() } else { format!("\u{2068}{shown}\u{2069}") }
}

/// `November 2026`, `the week 23–29 November 2026`, `25 November 2026`.
pub fn period(notice: &Notice) -> String {
    let (Some(start), Some(end)) = (date(&notice.period_start), date(&notice.period_end)) else {
        return notice.period_start.clone();
    };
    match notice.period.as_str() {
        "month" => start.format("%B %Y").to_string(),
        "week" if start.format("%B").to_string() == end.format("%B").to_string() => {
            format!("the week {}–{}", start.format("%-d"), end.format("%-d %B %Y"))
        }
        "week" => format!("the week {} – {}", start.format("%-d %B"), end.format("%-d %B %Y")),
        _ => start.format("%-d %B %Y").to_string(),
    }
}

/// The period in a subject: the year is clear.
pub fn short_period(notice: &Notice) -> String {
    let period = period(notice);
    period.rsplit_once(' ').map_or(period.clone(), |(without_year, _)| without_year.to_owned())
}

/// `28 November`.
pub fn day(text: &str) -> String {
    date(text).map_or_else(|| text.to_owned(), |day| day.format("%-d %B").to_string())
}

fn date(text: &str) -> Option<NaiveDate> {
    text.parse().ok()
}

/// `25 November 2026, 14:03 (Europe/Berlin)`, on the account's clock.
pub fn moment(at: Timestamp, time_zone: &str) -> String {
    let zone = Zone::parse(time_zone).unwrap_or(Zone::UTC);
    match zone.date_time(at) {
        Some(time) => format!("{} ({})", time.format("%-d %B %Y, %H:%M"), zone.name()),
        None => at.to_string(),
    }
}

/// What the budget counts, when it is narrowed: `agent support-bot, model gpt-4o`.
pub fn narrowed(notice: &Notice, shown: impl Fn(&str) -> String) -> Option<String> {
    let parts: Vec<String> = notice.narrowed.iter().map(|(field, value)| format!("{field} {}", shown(value))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
