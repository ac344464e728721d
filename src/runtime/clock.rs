//! The only clock of the service that reaches a row or a decision.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The moment it is.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(); // a clock before 1970 reads as 1970
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
