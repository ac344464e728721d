//! What Kafka may answer, and what it means for us.

use rdkafka::types::RDKafkaErrorCode;

/// A call to Kafka that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{action}: {text}")]
pub struct Error {
    /// What we wanted, as a verb phrase.
    pub action: &'static str,
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub text: String,
}

impl Error {
    /// Whether the configuration must be edited before this can work: refused credentials, a broken certificate, a session that the
    /// brokers do not allow.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::UnsupportedSASLMechanism
                | RDKafkaErrorCode::IllegalSASLState
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::InvalidArgument
                | RDKafkaErrorCode::InvalidSessionTimeout
                | RDKafkaErrorCode::SSL
        )
    }

    /// Whether the topic does not exist.
    pub fn is_unknown_topic(&self) -> bool {
        matches!(self.code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_the_brokers_do_not_allow_is_mended_by_editing() {
        let error = |code| Error { action: "read the events topic", code, text: String::new() };
        assert!(error(RDKafkaErrorCode::InvalidSessionTimeout).is_configuration());
        assert!(!error(RDKafkaErrorCode::BrokerTransportFailure).is_configuration());
    }
}
