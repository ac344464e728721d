//! Balances go to a compacted topic, the newest for each account, so that agents can stop in time.
//!
//! The key is the account; the value is JSON: `account`, `balance` (a decimal as text), `status` (`ok`, `low`, `exhausted`) and `as_of`, the
//! moment at which it was looked at.

use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;

use super::Publisher;
use crate::ledger::Status;
use crate::model::{Credits, Timestamp};

/// A balance as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBalance {
    /// Whose.
    pub account: String,
    /// What is left; negative: a debt.
    pub balance: Credits,
    /// The same in one word.
    pub status: Status,
    /// When it was looked at.
    pub as_of: Timestamp,
}

impl PublishedBalance {
    /// The value of its record.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "account": self.account,
            "balance": self.balance.to_string(),
            "status": self.status.as_str(),
            "as_of": self.as_of.to_string(),
        })
        .to_string()
    }
}

impl Publisher {
    /// Writes balances and waits until all are acknowledged.
    ///
    /// # Errors
    /// The first that was not acknowledged; any other may be written.
    pub async fn balances(&self, topic: &str, balances: &[PublishedBalance]) -> Result<(), KafkaError> {
        let mut waiting = Vec::with_capacity(balances.len());
        for balance in balances {
            let value = balance.to_json();
            let record = FutureRecord::to(topic).key(&balance.account).payload(&value);
            waiting.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in waiting {
            delivery.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}
