//! The book as a file again, and the story of its versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::change::Change;
use super::key::Key;
use super::plan::{History, history, in_force, is_undated};
use super::{Book, Kind, Row};
use crate::model::{Credits, SessionAnchor};

/// One apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was applied, in RFC 3339.
    pub applied_at: String,
    /// By whom.
    pub applied_by: String,
    /// What it changed.
    pub changes: Vec<Change>,
}

impl Book {
    /// A file whose application changes nothing: every row that counts, now or from a moment on. What another row took the place of is not
    /// in it: the table keeps that.
    pub fn to_file(&self) -> String {
        let mut text = format!("# The price book at version {}.\n", self.version);
        for (_, rows) in by_key(&self.rows) {
            let dated = history(&rows);
            let undated = rows.iter().rfind(|row| is_undated(row)).into_iter().copied();
            for row in undated.chain(dated.into_values().filter(|row| !is_undated(row))) {
                section(&mut text, row);
            }
        }
        text
    }

    /// Every apply with what it changed, the oldest first.
    pub fn versions(&self) -> Vec<Version> {
        let mut known: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
        let mut versions: Vec<Version> = Vec::new();
        for of_version in self.rows.chunk_by(|a, b| a.version == b.version) {
            let before = known.clone();
            let changes = of_version.iter().map(|row| {
                let rows = before.get(&Key::of(row)).map(Vec::as_slice).unwrap_or_default();
                let earlier: History<'_> = history(rows);
                let change = Change::between(in_force(&earlier, row.valid_from), row);
                known.entry(Key::of(row)).or_default().push(row);
                change
            });
            let changes = changes.collect();
            let [row, ..] = of_version else { continue };
            let (applied_at, applied_by) = (row.applied_at.to_string(), row.applied_by.clone());
            versions.push(Version { version: row.version, applied_at, applied_by, changes });
        }
        versions
    }
}

fn by_key(rows: &[Row]) -> BTreeMap<Key, Vec<&Row>> {
    let mut by_key: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_key.entry(Key::of(row)).or_default().push(row);
    }
    by_key
}

fn section(text: &mut String, row: &Row) {
    let mut section = Written { text };
    section.line(&format!("\n[[{}]]", row.kind.as_str()));
    match row.kind {
        Kind::Account => account(&mut section, row),
        Kind::SessionPrice => {
            section.text("account", &row.account);
            section.text("platform", &row.platform);
            section.amount("unit_session_cost", row.unit_session_cost);
        }
        Kind::Rate => rate(&mut section, row),
        Kind::Budget => budget(&mut section, row),
        Kind::Package => {
            section.text("id", &row.id);
            section.amount("credits", row.credits);
            section.amount("price", row.price);
            section.text("currency", &row.currency);
        }
        Kind::CreditPrice => {
            section.text("currency", &row.currency);
            section.amount("per_credit", row.per_credit);
            section.amount("minimum", row.minimum);
            section.amount("maximum", row.maximum);
        }
    }
    section.flag("retired", row.retired);
    if !is_undated(row) {
        section.line(&format!("valid_from = {}", row.valid_from));
    }
}

fn account(section: &mut Written<'_>, row: &Row) {
    section.text("id", &row.account);
    section.text("name", &row.name);
    section.text("time_zone", &row.time_zone);
    section.list("charge", &row.charge);
    section.text("operations", &row.operations);
    section.text("session_anchor", &SessionAnchor::from_seconds(row.session_anchor).unwrap_or_default().to_string());
    section.list("emails", &row.emails);
    if row.has_low_balance {
        section.amount("low_balance", row.low_balance);
    }
    section.flag("spikes", row.spikes);
}

fn rate(section: &mut Written<'_>, row: &Row) {
    section.text("account", &row.account);
    section.text("category", &row.category);
    section.text("model", &row.model);
    let components = [
        ("per_call", row.per_call),
        ("per_1k_input_tokens", row.per_1k_input_tokens),
        ("per_1k_output_tokens", row.per_1k_output_tokens),
        ("per_second", row.per_second),
        ("per_unit", row.per_unit),
    ];
    for (key, price) in components.into_iter().filter(|(_, price)| *price != Credits::ZERO) {
        section.amount(key, price);
    }
    if row.has_cached_price {
        section.amount("per_1k_cached_input_tokens", row.per_1k_cached_input_tokens);
    } else if components.iter().all(|(_, price)| *price == Credits::ZERO) {
        section.amount("per_call", Credits::ZERO); // a price of nothing is a price, and one has to say it
    }
}

fn budget(section: &mut Written<'_>, row: &Row) {
    section.text("id", &row.id);
    section.text("account", &row.account);
    section.text("agent", &row.agent);
    section.text("category", &row.category);
    section.text("model", &row.model);
    section.text("platform", &row.platform);
    section.text("period", &row.period);
    section.amount("limit", row.limit);
    let thresholds: Vec<String> = row.thresholds.iter().map(ToString::to_string).collect();
    section.line(&format!("thresholds = [{}]", thresholds.join(", ")));
    section.flag("forecast", row.forecast);
    section.list("emails", &row.emails);
}

struct Written<'a> {
    text: &'a mut String,
}

impl Written<'_> {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}"); // a String takes everything
    }

    /// Absent when it is empty: no key's default is another text than `""` where `""` is a value.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.line(&format!("{key} = {}", quoted(value)));
        }
    }

    fn amount(&mut self, key: &str, amount: Credits) {
        self.line(&format!("{key} = \"{amount}\""));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.line(&format!("{key} = true"));
        }
    }

    fn list(&mut self, key: &str, list: &[String]) {
        let list: Vec<String> = list.iter().map(|text| quoted(text)).collect();
        self.line(&format!("{key} = [{}]", list.join(", ")));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
