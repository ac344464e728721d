//! What an apply changes, for people: what, from when, from which value to which.

use std::fmt;

use serde::Serialize;

use super::key::Key;
use super::{Kind, Row};
use crate::model::{Credits, SessionAnchor};

/// One row that an apply adds, and what is different from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The thing, such as `rate * llm gpt-4o`.
    pub what: String,
    /// What happens to it.
    pub effect: Effect,
    /// From when on, in RFC 3339; `""` for all time.
    pub valid_from: String,
    /// What is said of it now; of something that changes only what is different. May be empty.
    pub facts: Vec<Fact>,
}

/// What happens to a thing in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is new, or begins again.
    Adds,
    /// It is there and says something else from then on.
    Changes,
    /// It ends.
    Retires,
}

/// A value of a thing, under the name of its key in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The key.
    pub key: &'static str,
    /// What it was; `None` of something new.
    pub old: Option<String>,
    /// What it is.
    pub new: String,
}

impl Change {
    /// The change that a row makes where another one, or none, held before.
    pub(super) fn between(old: Option<&Row>, new: &Row) -> Self {
        let old = old.filter(|old| !old.retired);
        let effect = match (old, new.retired) {
            (_, true) => Effect::Retires,
            (None, false) => Effect::Adds,
            (Some(_), false) => Effect::Changes,
        };
        let facts =
            facts(new).into_iter().zip(old.map(facts).unwrap_or_default().into_iter().map(Some).chain(std::iter::repeat(None)));
        let facts = facts.filter_map(|((key, new), old)| {
            let old = old.map(|(_, old)| old);
            let is_news = match effect {
                Effect::Adds => !new.is_empty(),
                Effect::Changes => old.as_ref() != Some(&new),
                Effect::Retires => false,
            };
            is_news.then_some(Fact { key, old, new })
        });
        let valid_from = if new.valid_from.millis() == 0 { String::new() } else { new.valid_from.to_string() };
        Self { what: Key::of(new).to_string(), effect, valid_from, facts: facts.collect() }
    }
}

impl fmt::Display for Change {
    /// One line: `~ rate * llm gpt-4o: per_call 1 -> 2, from 2026-03-01T00:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.effect {
            Effect::Adds => '+',
            Effect::Changes => '~',
            Effect::Retires => '-',
        };
        write!(f, "{sign} {}:", self.what)?;
        for fact in &self.facts {
            write!(f, " {fact},")?;
        }
        match self.effect {
            Effect::Retires => f.write_str(" retired,")?,
            Effect::Changes if self.facts.is_empty() => f.write_str(" says the same,")?,
            _ => {}
        }
        if self.valid_from.is_empty() { f.write_str(" for all time") } else { write!(f, " from {}", self.valid_from) }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &str| if value.is_empty() { "(none)".to_owned() } else { value.to_owned() };
        match &self.old {
            Some(old) => write!(f, "{} {} -> {}", self.key, shown(old), shown(&self.new)),
            None => write!(f, "{} {}", self.key, shown(&self.new)),
        }
    }
}

/// What a row says, in the words of the file; always the same keys in the same order for a kind. `""` where it says nothing.
fn facts(row: &Row) -> Vec<(&'static str, String)> {
    let flag = |flag: bool| if flag { "true".to_owned() } else { String::new() };
    let list = |list: &[String]| list.join(" ");
    match row.kind {
        Kind::Account => vec![
            ("name", row.name.clone()),
            ("time_zone", row.time_zone.clone()),
            ("charge", list(&row.charge)),
            ("operations", row.operations.clone()),
            (
                "session_anchor",
                SessionAnchor::from_seconds(row.session_anchor).map(|anchor| anchor.to_string()).unwrap_or_default(),
            ),
            ("emails", list(&row.emails)),
            ("low_balance", if row.has_low_balance { row.low_balance.to_string() } else { String::new() }),
            ("spikes", flag(row.spikes)),
        ],
        Kind::SessionPrice => vec![("unit_session_cost", row.unit_session_cost.to_string())],
        Kind::Rate => {
            // Of the components that are not there, zero says nothing. When all are zero, one has to say it.
            let is_free = [row.per_1k_input_tokens, row.per_1k_output_tokens, row.per_second, row.per_unit] == [Credits::ZERO; 4];
            let part = |price: Credits, says_zero: bool| {
                if price == Credits::ZERO && !says_zero { String::new() } else { price.to_string() }
            };
            vec![
                ("per_call", part(row.per_call, is_free && !row.has_cached_price)),
                ("per_1k_input_tokens", part(row.per_1k_input_tokens, false)),
                (
                    "per_1k_cached_input_tokens",
                    if row.has_cached_price { row.per_1k_cached_input_tokens.to_string() } else { String::new() },
                ),
                ("per_1k_output_tokens", part(row.per_1k_output_tokens, false)),
                ("per_second", part(row.per_second, false)),
                ("per_unit", part(row.per_unit, false)),
            ]
        }
        Kind::Budget => vec![
            ("account", row.account.clone()),
            ("agent", row.agent.clone()),
            ("category", row.category.clone()),
            ("model", row.model.clone()),
            ("platform", row.platform.clone()),
            ("period", row.period.clone()),
            ("limit", row.limit.to_string()),
            ("thresholds", row.thresholds.iter().map(|percent| format!("{percent}%")).collect::<Vec<_>>().join(" ")),
            ("forecast", flag(row.forecast)),
            ("emails", list(&row.emails)),
        ],
        Kind::Package => {
            vec![("credits", row.credits.to_string()), ("price", row.price.to_string()), ("currency", row.currency.clone())]
        }
        Kind::CreditPrice => {
            vec![
                ("per_credit", row.per_credit.to_string()),
                ("minimum", row.minimum.to_string()),
                ("maximum", row.maximum.to_string()),
            ]
        }
    }
}
