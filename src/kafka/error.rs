//! Classifies librdkafka's errors.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};

use super::Events;
use crate::failure::Failure;

/// True when the error concerns the messages or their topic. False for unreachable brokers.
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

/// True when another producer initialised the id, or a broker no longer accepts this producer.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Converts the error of a call. `what` names the transactional id or topic of the call.
pub(crate) fn failure_of(error: &RdKafkaError, what: &str, events: &Events) -> Failure {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let broker_error = events.recent();
    let advice = match code {
        Code::TransactionalIdAuthorizationFailed => {
            "; the user needs the rights Write and Describe on transactional ids that begin with the value of --instance"
        }
        Code::ClusterAuthorizationFailed => "; the user needs the right IdempotentWrite on the cluster",
        Code::InvalidTransactionTimeout => {
            "; `transaction.timeout.ms` is above the brokers' `transaction.max.timeout.ms`"
        }
        Code::TopicAuthorizationFailed => "; the user needs the rights Read, Write and Describe on this topic",
        Code::UnsupportedVersion | Code::UnsupportedFeature => "; these brokers do not support transactions",
        _ => "",
    };
    if !advice.is_empty() {
        return Failure::Misconfigured(format!("{what}: {code}{advice}"));
    }
    match (code, broker_error) {
        (Code::Authentication | Code::SaslAuthenticationFailed, _) => Failure::Unauthorized(format!("{what}: {code}")),
        (_, Some(broker_error))
            if matches!(broker_error.code, Code::Authentication | Code::SaslAuthenticationFailed) =>
        {
            Failure::Unauthorized(format!("{what}: {}", broker_error.reason))
        }
        (_, Some(broker_error)) => Failure::transient(format!("{what}: {code}: {}", broker_error.reason)),
        (_, None) => Failure::transient(format!("{what}: {code}")),
    }
}
