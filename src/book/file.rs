//! The price book's file: TOML, read whole or refused.
//!
//! Promises: whatever is in the file is a row that the table can hold and that means something. Unknown keys, amounts without
//! quotes, moments without an offset, two rows for the same thing and time, prices for nothing are refused with their place.
//! Absent on purpose: what is in the database. Whether a row may still be added is the question of `plan`.

use std::ops::Range;

use rustc_hash::FxHashMap;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Source, did_you_mean};
use super::key::Key;
use super::section::Section;
use super::{CHARGES, Kind, OPERATIONS, PERIODS, Row};
use crate::model::{AccountId, Credits, SessionAnchor, Timestamp, Zone};

/// The account of a price that holds for everyone, and the platform of one that holds for all platforms.
pub(super) const EVERY: &str = "*";
const ID_CHARS_MAX: usize = 128;
const NAME_CHARS_MAX: usize = 256;
const PLATFORM_CHARS_MAX: usize = 64;
const AGENT_CHARS_MAX: usize = 128;
const CATEGORY_CHARS_MAX: usize = 32;
const MODEL_CHARS_MAX: usize = 128;
const THRESHOLDS_DEFAULT: [u16; 3] = [50, 80, 100];

/// A price book's file that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookFile {
    pub(super) source: Source,
    pub(super) entries: Vec<Entry>,
}

/// One section of the file as a row, and what a row does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Version and who applied it are still empty, and so is `valid_from`.
    pub row: Row,
    /// `None` when the file gives none.
    pub valid_from: Option<Timestamp>,
    /// `None` when the file gives none: then it is the one that the account has.
    pub anchor: Option<SessionAnchor>,
    /// Where errors about it point.
    pub span: Range<usize>,
    pub valid_from_span: Range<usize>,
    pub path: String,
}

impl BookFile {
    /// How many rows the file holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the file holds no row.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn error(&self, entry: &Entry, message: impl Into<String>, hint: impl Into<String>) -> Error {
        self.source.error(&entry.span, &entry.path, message, hint)
    }
}

/// Reads a price book's file. `file_name` is only for errors.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str, file_name: &str) -> Result<BookFile, Error> {
    let source = Source { file: file_name.to_owned(), text: text.to_owned() };
    let table = DeTable::parse(text).map_err(|error| {
        source.error(&error.span().unwrap_or(0..0), "", error.message().lines().collect::<Vec<_>>().join(", "), "")
    })?;
    let names = Kind::ALL.map(Kind::as_str);
    let mut sections = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
            return Err(source.error(&key.span(), name, "unknown section", did_you_mean(name, names)));
        };
        let not_a_list = || source.error(&key.span(), name, "every entry is a section of its own", format!("write `[[{name}]]`"));
        let DeValue::Array(items) = value.get_ref() else { return Err(not_a_list()) };
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else { return Err(not_a_list()) };
            let path = format!("{name}[{}]", index + 1);
            sections.push((kind, Section { source: &source, path, span: item.span(), table }));
        }
    }
    sections.sort_by_key(|(_, section)| section.span.start); // the first error is the first in the file
    let mut entries = Vec::with_capacity(sections.len());
    let mut seen: FxHashMap<(Key, Option<Timestamp>), String> = FxHashMap::default();
    for (kind, section) in sections {
        let entry = entry(kind, &section)?;
        let key = Key::of(&entry.row);
        let what = key.to_string();
        if let Some(first) = seen.insert((key, entry.valid_from), section.path.clone()) {
            let when = entry.valid_from.map_or_else(|| "without `valid_from`".to_owned(), |from| format!("from {from}"));
            return Err(section.error("", format!("{what} {when} stands twice"), format!("the first is {first}")));
        }
        entries.push(entry);
    }
    entries.sort_by_key(|entry| entry.row.kind); // stable: the order of the file within a kind
    Ok(BookFile { source, entries })
}

fn entry(kind: Kind, section: &Section<'_>) -> Result<Entry, Error> {
    let row = match kind {
        Kind::Account => account(section),
        Kind::SessionPrice => session_price(section),
        Kind::Rate => rate(section),
        Kind::Budget => budget(section),
        Kind::Package => package(section),
        Kind::CreditPrice => credit_price(section),
    }?;
    let anchor = match (kind, section.text("session_anchor", NAME_CHARS_MAX)?) {
        (Kind::Account, Some(text)) => Some(
            text.parse()
                .map_err(|()| section.error("session_anchor", format!("`{text}` is not a time of day"), "write HH:MM, in UTC"))?,
        ),
        _ => None,
    };
    Ok(Entry {
        row,
        valid_from: section.moment("valid_from")?,
        anchor,
        span: section.span.clone(),
        valid_from_span: section.span_of("valid_from"),
        path: section.path.clone(),
    })
}

fn account(section: &Section<'_>) -> Result<Row, Error> {
    section.check_keys(&[
        "id",
        "name",
        "time_zone",
        "charge",
        "operations",
        "session_anchor",
        "emails",
        "low_balance",
        "spikes",
        "valid_from",
        "retired",
    ])?;
    let low_balance = section.amount("low_balance")?;
    Ok(Row {
        kind: Kind::Account,
        account: own_account(section, "id")?,
        retired: section.flag("retired")?,
        name: section.text("name", NAME_CHARS_MAX)?.unwrap_or_default(),
        time_zone: time_zone(section)?,
        charge: section.words("charge", &CHARGES)?.unwrap_or_else(|| vec!["operations".to_owned(), "sessions".to_owned()]),
        operations: section.word("operations", &OPERATIONS)?.unwrap_or_else(|| "rated".to_owned()),
        emails: section.emails("emails")?,
        low_balance: low_balance.unwrap_or_default(),
        has_low_balance: low_balance.is_some(),
        spikes: section.flag("spikes")?,
        ..Row::default()
    })
}

fn session_price(section: &Section<'_>) -> Result<Row, Error> {
    section.check_keys(&["account", "platform", "unit_session_cost", "valid_from"])?;
    Ok(Row {
        kind: Kind::SessionPrice,
        account: account_or_every(section)?,
        platform: section.text("platform", PLATFORM_CHARS_MAX)?.unwrap_or_else(|| EVERY.to_owned()),
        unit_session_cost: section.required_amount("unit_session_cost")?,
        ..Row::default()
    })
}

fn rate(section: &Section<'_>) -> Result<Row, Error> {
    const COMPONENTS: [&str; 6] =
        ["per_call", "per_1k_input_tokens", "per_1k_cached_input_tokens", "per_1k_output_tokens", "per_second", "per_unit"];
    section.check_keys(&[&["account", "category", "model", "valid_from"], &COMPONENTS[..]].concat())?;
    let mut amounts = [None; COMPONENTS.len()];
    for (amount, component) in amounts.iter_mut().zip(COMPONENTS) {
        *amount = section.amount(component)?;
    }
    if amounts.iter().all(Option::is_none) {
        return Err(section.error("", "a rate for nothing", format!("give one of {}; \"0\" is a price", COMPONENTS.join(", "))));
    }
    let [per_call, input, cached, output, per_second, per_unit] = amounts.map(Option::unwrap_or_default);
    let category = category(section)?.ok_or_else(|| section.missing("category"))?;
    let model = section.text("model", MODEL_CHARS_MAX)?.unwrap_or_default();
    if model == EVERY {
        return Err(section.error("model", "`*` is no model", "leave it out: the category's default"));
    }
    Ok(Row {
        kind: Kind::Rate,
        account: account_or_every(section)?,
        category,
        model,
        per_call,
        per_1k_input_tokens: input,
        per_1k_cached_input_tokens: cached,
        has_cached_price: amounts[2].is_some(),
        per_1k_output_tokens: output,
        per_second,
        per_unit,
        ..Row::default()
    })
}

fn budget(section: &Section<'_>) -> Result<Row, Error> {
    section.check_keys(&[
        "id",
        "account",
        "agent",
        "category",
        "model",
        "platform",
        "period",
        "limit",
        "thresholds",
        "forecast",
        "emails",
        "retired",
    ])?;
    let narrowed = |key: &str, chars_max: usize| match section.text(key, chars_max)? {
        Some(text) if text == EVERY => Err(section.error(key, format!("`*` is no {key}"), "leave it out")),
        text => Ok(text.unwrap_or_default()),
    };
    Ok(Row {
        kind: Kind::Budget,
        id: section.required_text("id", ID_CHARS_MAX)?,
        account: own_account(section, "account")?,
        retired: section.flag("retired")?,
        agent: narrowed("agent", AGENT_CHARS_MAX)?,
        category: category(section)?.unwrap_or_default(),
        model: narrowed("model", MODEL_CHARS_MAX)?,
        platform: narrowed("platform", PLATFORM_CHARS_MAX)?,
        period: section.word("period", &PERIODS)?.ok_or_else(|| section.missing("period"))?,
        limit: section.positive_amount("limit")?,
        thresholds: section.percents("thresholds")?.unwrap_or_else(|| THRESHOLDS_DEFAULT.to_vec()),
        forecast: section.flag("forecast")?,
        emails: section.emails("emails")?,
        ..Row::default()
    })
}

fn package(section: &Section<'_>) -> Result<Row, Error> {
    section.check_keys(&["id", "credits", "price", "currency", "retired"])?;
    Ok(Row {
        kind: Kind::Package,
        id: section.required_text("id", ID_CHARS_MAX)?,
        retired: section.flag("retired")?,
        credits: section.positive_amount("credits")?,
        price: section.required_amount("price")?,
        currency: currency(section)?,
        ..Row::default()
    })
}

fn credit_price(section: &Section<'_>) -> Result<Row, Error> {
    section.check_keys(&["currency", "per_credit", "minimum", "maximum"])?;
    let (minimum, maximum): (Credits, Credits) = (section.positive_amount("minimum")?, section.positive_amount("maximum")?);
    if minimum > maximum {
        return Err(section.error("maximum", format!("{maximum} is less than the minimum of {minimum}"), ""));
    }
    Ok(Row {
        kind: Kind::CreditPrice,
        currency: currency(section)?,
        per_credit: section.positive_amount("per_credit")?,
        minimum,
        maximum,
        ..Row::default()
    })
}

fn own_account(section: &Section<'_>, key: &str) -> Result<String, Error> {
    let text = section.required_text(key, AccountId::CHARS_MAX)?;
    if text == EVERY {
        return Err(section.error(key, "`*` stands for everyone, and only in prices", "name one account"));
    }
    Ok(text)
}

fn account_or_every(section: &Section<'_>) -> Result<String, Error> {
    section.text("account", AccountId::CHARS_MAX)?.ok_or_else(|| {
        let span = section.span.clone();
        section.source.error(&span, &section.path, "`account` is missing", "add `account = \"*\"` for everyone")
    })
}

fn category(section: &Section<'_>) -> Result<Option<String>, Error> {
    match section.text("category", CATEGORY_CHARS_MAX)?.as_deref() {
        Some("session") => Err(section.error("category", "`session` is reserved", "sessions are priced by `[[session_price]]`")),
        Some(EVERY) => Err(section.error("category", "`*` is no category", "name one category")),
        category => Ok(category.map(ToOwned::to_owned)),
    }
}

fn currency(section: &Section<'_>) -> Result<String, Error> {
    let text = section.required_text("currency", NAME_CHARS_MAX)?;
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text);
    }
    Err(section.error("currency", format!("`{text}` is not a currency code"), "write three capitals, such as \"USD\""))
}

fn time_zone(section: &Section<'_>) -> Result<String, Error> {
    let Some(name) = section.text("time_zone", NAME_CHARS_MAX)? else { return Ok(Zone::UTC.name().to_owned()) };
    if Zone::parse(&name).is_none() {
        let hint = did_you_mean(&name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let hint = if hint.is_empty() { "write an IANA name, such as \"Europe/Berlin\"".to_owned() } else { hint };
        return Err(section.error("time_zone", format!("unknown time zone `{name}`"), hint));
    }
    Ok(name)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
