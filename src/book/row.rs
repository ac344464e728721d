//! One row of the table `price_book`: what is known of one account, price, budget or package from one moment on.
//!
//! The struct is as flat as the table, so that a row is written and read with `FORMAT JSONEachRow` and nothing is translated.
//! Holds: columns that a row's kind does not use are empty or zero, so two rows say the same when their columns are equal.
//! Absent on purpose: rules. What may stand in a row is decided by the file's parser, what follows from rows by `price`.

use serde::{Deserialize, Serialize};

use crate::model::{Credits, SessionAnchor, Timestamp, Zone};

/// Every column of `price_book`, in the order of [`Row`]'s fields: good for `SELECT … FORMAT JSONEachRow` and for
/// `INSERT … FORMAT JSONEachRow` alike. Decimals are strings in both directions (`output_format_json_quote_decimals = 1`),
/// 64-bit integers are numbers (`output_format_json_quote_64bit_integers = 0`), moments are `2026-01-31 09:00:00.000` in UTC
/// (the default `date_time_output_format = 'simple'`), flags are 0 or 1.
pub const COLUMNS: &str = "version, kind, account, valid_from, retired, applied_at, applied_by, name, time_zone, charge, operations, \
     session_anchor, emails, low_balance, has_low_balance, spikes, platform, unit_session_cost, category, model, per_call, \
     per_1k_input_tokens, per_1k_cached_input_tokens, has_cached_price, per_1k_output_tokens, per_second, per_unit, id, agent, \
     period, `limit`, thresholds, forecast, credits, price, currency, per_credit, minimum, maximum";

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Who pays, and what for.
    #[default]
    Account,
    /// Credits per unique user and session.
    SessionPrice,
    /// What an operation costs.
    Rate,
    /// A limit in a period.
    Budget,
    /// Credits for sale at a fixed price.
    Package,
    /// The price of a top-up of any amount.
    CreditPrice,
}

impl Kind {
    /// Every kind, in the order of the file's documentation.
    pub const ALL: [Self; 6] = [Self::Account, Self::SessionPrice, Self::Rate, Self::Budget, Self::Package, Self::CreditPrice];

    /// The name in the column `kind` and of the file's sections.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::SessionPrice => "session_price",
            Self::Rate => "rate",
            Self::Budget => "budget",
            Self::Package => "package",
            Self::CreditPrice => "credit_price",
        }
    }
}

/// One row of `price_book`. Absent text is `""`, an absent number 0; `valid_from` 0 means for all time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The version that brought it. All rows of one `apply` have the same.
    #[serde(default)]
    pub version: u64,
    /// What the row is about; says which of the columns count.
    pub kind: Kind,
    /// The account's id; `*` in a price that holds for everyone; `""` in packages and credit prices.
    #[serde(default)]
    pub account: String,
    /// The row holds from this moment on, until another does. 0: for all time.
    #[serde(default, with = "moment")]
    pub valid_from: Timestamp,
    /// Ends an account, budget or package.
    #[serde(default, with = "flag")]
    pub retired: bool,
    /// When it was applied.
    #[serde(default, with = "moment")]
    pub applied_at: Timestamp,
    /// Who applied it.
    #[serde(default)]
    pub applied_by: String,

    /// Account: what people call it.
    #[serde(default)]
    pub name: String,
    /// Account: IANA name of the zone of its days and months.
    #[serde(default)]
    pub time_zone: String,
    /// Account: what is charged, of `sessions`, `operations`, `training`; sorted.
    #[serde(default)]
    pub charge: Vec<String>,
    /// Account: `rated` or `reported`.
    #[serde(default)]
    pub operations: String,
    /// Account: where its sessions start, in seconds after midnight UTC. The same in all rows of an account.
    #[serde(default)]
    pub session_anchor: u32,
    /// Account and budget: who hears of it.
    #[serde(default)]
    pub emails: Vec<String>,
    /// Account: alert when the balance falls below; counts when `has_low_balance`.
    #[serde(default)]
    pub low_balance: Credits,
    /// Account: whether `low_balance` was given.
    #[serde(default, with = "flag")]
    pub has_low_balance: bool,
    /// Account: alert on usage far above its own past.
    #[serde(default, with = "flag")]
    pub spikes: bool,

    /// Session price: the platform or `*`. Budget: the platform it is narrowed to.
    #[serde(default)]
    pub platform: String,
    /// Session price: credits per unique user and session.
    #[serde(default)]
    pub unit_session_cost: Credits,

    /// Rate: the category. Budget: the category it is narrowed to.
    #[serde(default)]
    pub category: String,
    /// Rate: the model, `""` for the category's default. Budget: the model it is narrowed to.
    #[serde(default)]
    pub model: String,
    /// Rate: credits per call.
    #[serde(default)]
    pub per_call: Credits,
    /// Rate: credits per 1 000 input tokens.
    #[serde(default)]
    pub per_1k_input_tokens: Credits,
    /// Rate: credits per 1 000 cached input tokens; counts when `has_cached_price`, else they cost as the others.
    #[serde(default)]
    pub per_1k_cached_input_tokens: Credits,
    /// Rate: whether `per_1k_cached_input_tokens` was given.
    #[serde(default, with = "flag")]
    pub has_cached_price: bool,
    /// Rate: credits per 1 000 output tokens.
    #[serde(default)]
    pub per_1k_output_tokens: Credits,
    /// Rate: credits per second of execution.
    #[serde(default)]
    pub per_second: Credits,
    /// Rate: credits per unit of `quantity`.
    #[serde(default)]
    pub per_unit: Credits,

    /// Budget and package: the id.
    #[serde(default)]
    pub id: String,
    /// Budget: the agent it is narrowed to.
    #[serde(default)]
    pub agent: String,
    /// Budget: `day`, `week` or `month`.
    #[serde(default)]
    pub period: String,
    /// Budget: credits in a period.
    #[serde(default)]
    pub limit: Credits,
    /// Budget: at which percents of the limit to alert; ascending.
    #[serde(default)]
    pub thresholds: Vec<u16>,
    /// Budget: alert too when the period is expected to exceed the limit.
    #[serde(default, with = "flag")]
    pub forecast: bool,

    /// Package: how many credits it holds.
    #[serde(default)]
    pub credits: Credits,
    /// Package: what it costs, in `currency`.
    #[serde(default)]
    pub price: Credits,
    /// Package and credit price: ISO 4217 code.
    #[serde(default)]
    pub currency: String,
    /// Credit price: what one credit costs, in `currency`.
    #[serde(default)]
    pub per_credit: Credits,
    /// Credit price: the fewest credits one may buy.
    #[serde(default)]
    pub minimum: Credits,
    /// Credit price: the most credits one may buy.
    #[serde(default)]
    pub maximum: Credits,
}

impl Row {
    /// The zone of an account's row; `None` when this build knows none of that name.
    pub fn zone(&self) -> Option<Zone> {
        Zone::parse(&self.time_zone)
    }

    /// The session anchor of an account's row; `None` when it is not a time of day.
    pub fn anchor(&self) -> Option<SessionAnchor> {
        SessionAnchor::from_seconds(self.session_anchor)
    }

    /// Whether both rows say the same, whenever and by whomever they were applied and from when on they hold.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let bare = |row: &Self| Self {
            version: 0,
            valid_from: Timestamp::default(),
            applied_at: Timestamp::default(),
            applied_by: String::new(),
            ..row.clone()
        };
        bare(self) == bare(other)
    }
}

/// Flags are 0 or 1 in a table, true or false in a file.
mod flag {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Word(bool),
        Number(u8),
    }

    pub(super) fn serialize<S: Serializer>(value: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        match Flag::deserialize(deserializer)? {
            Flag::Word(value) => Ok(value),
            Flag::Number(0) => Ok(false),
            Flag::Number(1) => Ok(true),
            Flag::Number(_) => Err(D::Error::custom("a flag is 0 or 1")),
        }
    }
}

/// Moments as ClickHouse prints a `DateTime64(3, 'UTC')`; RFC 3339 is read too.
mod moment {
    use chrono::NaiveDateTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use crate::model::Timestamp;

    pub(super) fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        let time = value.to_chrono().ok_or_else(|| S::Error::custom("a moment beyond the calendar"))?;
        serializer.collect_str(&time.format("%Y-%m-%d %H:%M:%S%.3f"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let in_utc =
            || NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok().map(|time| time.and_utc().timestamp_millis());
        Timestamp::parse(&text)
            .or_else(|| in_utc().map(Timestamp::from_millis))
            .ok_or_else(|| D::Error::custom("not a moment in UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Row {
        Row {
            version: 3,
            kind: Kind::Rate,
            account: "acme".to_owned(),
            valid_from: Timestamp::parse("2026-03-01T00:00:00.123Z").expect("RFC 3339"),
            applied_by: "ann".to_owned(),
            category: "llm".to_owned(),
            per_1k_input_tokens: "2.5".parse().expect("an amount"),
            has_cached_price: true,
            thresholds: vec![50, 100],
            charge: vec!["sessions".to_owned()],
            ..Row::default()
        }
    }

    #[test]
    fn a_row_survives_the_table() {
        let json = serde_json::to_string(&sample()).expect("a row is JSON");
        assert!(json.contains(r#""valid_from":"2026-03-01 00:00:00.123""#), "{json}");
        assert!(json.contains(r#""per_1k_input_tokens":"2.5""#) && json.contains(r#""has_cached_price":1"#), "{json}");
        assert!(json.contains(r#""applied_at":"1970-01-01 00:00:00.000""#), "{json}");
        assert_eq!(serde_json::from_str::<Row>(&json).expect("the same row"), sample());
    }

    #[test]
    fn the_column_list_names_every_field_once_and_in_order() {
        let json = serde_json::to_string(&sample()).expect("a row is JSON");
        let mut from = 0;
        for column in COLUMNS.split(", ") {
            let key = format!("\"{}\":", column.trim_matches('`'));
            from += json[from..].find(&key).unwrap_or_else(|| panic!("{column} is missing or out of order")) + key.len();
        }
        let fields = serde_json::to_value(sample()).expect("a row is JSON").as_object().map(serde_json::Map::len);
        assert_eq!(fields, Some(COLUMNS.split(", ").count()));
    }

    #[test]
    fn rows_that_differ_only_in_when_and_by_whom_say_the_same() {
        let other = Row { version: 9, valid_from: Timestamp::default(), applied_by: "bob".to_owned(), ..sample() };
        assert!(sample().says_the_same_as(&other));
        assert!(!sample().says_the_same_as(&Row { per_call: Credits::from_nanos(1), ..sample() }));
    }

    #[test]
    fn flags_and_moments_refuse_what_they_do_not_know() {
        for json in [
            r#"{"kind":"rate","retired":2}"#,
            r#"{"kind":"rate","valid_from":"soon"}"#,
            r#"{"kind":"price"}"#,
            r#"{"kind":"rate","colour":"red"}"#,
        ] {
            assert!(serde_json::from_str::<Row>(json).is_err(), "{json}");
        }
    }
}
