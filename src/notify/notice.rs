//! What a mail says, before it is words.

use serde::{Deserialize, Serialize};

use crate::budget::Kind;
use crate::model::{Credits, Timestamp};

/// Everything that a mail says. Kept as evidence with the alert, so that a mail can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// Whose credits.
    pub account: String,
    /// What people call the account.
    pub name: String,
    /// IANA zone of the account's days.
    pub time_zone: String,
    /// The budget's id; `""` where it is about a balance.
    pub budget: String,
    /// What the budget is narrowed to: (`agent`, its name) and so on.
    pub narrowed: Vec<(String, String)>,
    /// `day`, `week` or `month`; `""` where it is about a balance.
    pub period: String,
    /// The period's first day, `2026-11-01`.
    pub period_start: String,
    /// The period's last day.
    pub period_end: String,
    /// Percent; 0: no threshold.
    pub threshold: u16,
    /// The budget's limit, or the mark below which a balance is low.
    #[serde(with = "sum")]
    pub limit: Credits,
    /// What is spent in the period.
    #[serde(with = "sum")]
    pub spent: Credits,
    /// What is left of the balance.
    #[serde(with = "sum")]
    pub balance: Credits,
    /// What else explains it: label and value, both for people; names in them are data.
    #[serde(default)]
    pub reasons: Vec<(String, String)>,
    /// How many, where it is about several.
    #[serde(default)]
    pub count: usize,
    /// How fast the credits go.
    pub pace: Option<Pace>,
    /// What is spent on each day of the period so far, the oldest first.
    #[serde(with = "sums")]
    pub days: Vec<(String, Credits)>,
    /// The agents that cost most in the period, the first most.
    #[serde(with = "sums")]
    pub agents: Vec<(String, Credits)>,
    /// The models that cost most.
    #[serde(with = "sums")]
    pub models: Vec<(String, Credits)>,
    /// The moment up to which it is true.
    #[serde(with = "millis")]
    pub as_of: Timestamp,
    /// When the events came that made it true.
    #[serde(with = "millis")]
    pub caused_at: Timestamp,
    /// The newest batch that is in the figures, `topic/partition/from-to`.
    pub batch: String,
}

impl Notice {
    /// About an account, or about everything (`""`), with nothing else known.
    pub fn about(kind: Kind, account: &str, name: &str, time_zone: &str, now: Timestamp) -> Self {
        let nothing = Credits::from_nanos(0);
        Self {
            kind,
            account: account.to_owned(),
            name: if name.is_empty() { account.to_owned() } else { name.to_owned() },
            time_zone: if time_zone.is_empty() { "UTC".to_owned() } else { time_zone.to_owned() },
            budget: String::new(),
            narrowed: Vec::new(),
            period: String::new(),
            period_start: String::new(),
            period_end: String::new(),
            threshold: 0,
            limit: nothing,
            spent: nothing,
            balance: nothing,
            reasons: Vec::new(),
            count: 0,
            pace: None,
            days: Vec::new(),
            agents: Vec::new(),
            models: Vec::new(),
            as_of: now,
            caused_at: now,
            batch: String::new(),
        }
    }
}

/// How fast credits go, from the period so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// What the period costs at its end.
    #[serde(with = "sum")]
    pub projected: Credits,
    /// When the limit is reached, if it is within the period: `2026-11-28`.
    pub exhausted_on: Option<String>,
}

/// Milliseconds, as a number.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Timestamp;

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.millis())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

/// An amount that may be below 0, which an event's may not: a debt, or a day on which more was taken back than spent.
mod sum {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Credits;

    pub fn serialize<S: Serializer>(amount: &Credits, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Credits, D::Error> {
        let text = String::deserialize(deserializer)?;
        Credits::parse_sum(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no amount")))
    }
}

/// Names with such amounts.
mod sums {
    use serde::ser::SerializeSeq;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::Credits;

    #[derive(Serialize, Deserialize)]
    struct Named(String, #[serde(with = "super::sum")] Credits);

    pub fn serialize<S: Serializer>(rows: &[(String, Credits)], serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for (name, amount) in rows {
            list.serialize_element(&Named(name.clone(), *amount))?;
        }
        list.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Credits)>, D::Error> {
        let rows = Vec::<Named>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|Named(name, amount)| (name, amount)).collect())
    }
}
