//! What librdkafka's errors mean for a transaction.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::Events;

/// Why a checkpoint could not be read or committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// For now: brokers away, leaders moving, time-outs.
    #[error("{0}")]
    Passing(String),
    /// What the lane knows no longer counts: its checkpoint has to be read again before anything is sent.
    #[error("{0}")]
    Superseded(String),
    /// The brokers do not allow it, or the settings make it impossible.
    #[error("{0}")]
    Forbidden(String),
    /// Credentials were refused.
    #[error("{0}")]
    Unauthorized(String),
}

/// True when an error is about the messages themselves or their topic, and not about brokers that are away.
pub(crate) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::InvalidRequiredAcks
            | Code::BadMessage
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::OperationNotAttempted
    )
}

/// True when somebody else initialised the id, or a broker took this producer for gone.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

impl Trouble {
    /// From a call about the transactional id `id` or about `topic`.
    pub(crate) fn of(error: &KafkaError, what: &str, events: &Events) -> Self {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let beside = events.recent();
        let advice = match code {
            Code::TransactionalIdAuthorizationFailed => {
                "; the user needs the rights Write and Describe on transactional ids that begin with the value of --instance"
            }
            Code::ClusterAuthorizationFailed => "; the user needs the right IdempotentWrite on the cluster",
            Code::InvalidTransactionTimeout => {
                "; `transaction.timeout.ms` is above the brokers' `transaction.max.timeout.ms`"
            }
            Code::TopicAuthorizationFailed => "; the user needs the rights Read, Write and Describe on this topic",
            Code::UnsupportedVersion | Code::UnsupportedFeature => "; these brokers know no transactions",
            _ => "",
        };
        if !advice.is_empty() {
            return Self::Forbidden(format!("{what}: {code}{advice}"));
        }
        match (code, beside) {
            (Code::Authentication | Code::SaslAuthenticationFailed, _) => Self::Unauthorized(format!("{what}: {code}")),
            (_, Some(beside)) if matches!(beside.code, Code::Authentication | Code::SaslAuthenticationFailed) => {
                Self::Unauthorized(format!("{what}: {}", beside.reason))
            }
            (_, Some(beside)) => Self::Passing(format!("{what}: {code}: {}", beside.reason)),
            (_, None) => Self::Passing(format!("{what}: {code}")),
        }
    }
}
