use chrono::{DateTime, NaiveDateTime};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::model::Timestamp;

const FORMAT: &str = "%Y-%m-%d %H:%M:%S%.f";

/// A moment as ClickHouse's casts and formats write and read it: `2026-03-01 00:00:00.000`, in UTC.
pub fn text(time: Timestamp) -> String {
    let time = time.to_chrono().unwrap_or(DateTime::UNIX_EPOCH);
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Writes a moment.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// Reads a moment.
///
/// # Errors
/// A text that is not one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let time = NaiveDateTime::parse_from_str(&text, FORMAT).map_err(|_| D::Error::custom(format!("`{text}` is not a moment")))?;
    Ok(Timestamp::from_millis(time.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[test]
    fn a_moment_goes_to_clickhouse_and_back() {
        #[derive(Serialize, Deserialize)]
        struct Row(#[serde(with = "super")] Timestamp);

        for (millis, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (1_767_225_600_123, "2026-01-01 00:00:00.123"),
            (-86_400_000, "1969-12-31 00:00:00.000"),
        ] {
            let json = serde_json::to_string(&Row(Timestamp::from_millis(millis))).expect("JSON");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Row>(&json).expect("a moment").0.millis(), millis);
        }
        let whole: Row = serde_json::from_str("\"2026-01-01 00:00:00\"").expect("a DateTime");
        assert_eq!(whole.0.millis(), 1_767_225_600_000);
        assert!(serde_json::from_str::<Row>("\"2026-01-01\"").is_err());
    }
}
