//! Classifies librdkafka's errors.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use s1_forwarder_failure::Failure;

use super::BrokerError;

/// The cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The brokers will never accept this message.
    Message,
    /// The message, or the request that contains it, is too large for the broker.
    TooLarge,
    /// A message of the request. The report does not say which one.
    Request,
    /// The topic is unknown. It may have been created just now.
    UnknownTopic,
    /// A broker's policy, which may apply temporarily.
    Policy,
    /// The topic is closed to this user, or does not support these messages.
    Topic,
    /// The cluster does not permit the operation or does not support it.
    Cluster,
    Credentials,
    /// Another producer initialised the id, or a broker no longer accepts this producer.
    Fenced,
    /// Another attempt may succeed.
    Transient,
}

pub fn class(code: Code) -> Class {
    use Code as C;
    match code {
        C::InvalidMessageSize | C::InvalidTimestamp | C::InvalidRecord | C::BadMessage => Class::Message,
        // The message was damaged on its way (CORRUPT_MESSAGE).
        C::InvalidMessage => Class::Transient,
        C::MessageSizeTooLarge | C::MessageBatchTooLarge => Class::TooLarge,
        C::UnknownTopic | C::UnknownTopicOrPartition | C::UnknownPartition => Class::UnknownTopic,
        C::PolicyViolation => Class::Policy,
        C::TopicAuthorizationFailed | C::InvalidTopic | C::InvalidRequiredAcks => Class::Topic,
        C::UnsupportedForMessageFormat | C::UnsupportedCompressionType => Class::Topic,
        C::ClusterAuthorizationFailed | C::TransactionalIdAuthorizationFailed => Class::Cluster,
        C::InvalidArgument | C::UnsupportedVersion | C::UnsupportedFeature | C::InvalidTransactionTimeout => {
            Class::Cluster
        }
        C::Authentication | C::SaslAuthenticationFailed => Class::Credentials,
        C::Fenced | C::ProducerFenced | C::InvalidProducerEpoch => Class::Fenced,
        _ => Class::Transient,
    }
}

pub fn code_of(error: &RdKafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

/// Returns whether the error concerns the messages or their topic. False for unreachable brokers.
pub fn is_refusal(code: Code) -> bool {
    let refusals = [Class::Message, Class::TooLarge, Class::UnknownTopic, Class::Policy, Class::Topic];
    refusals.contains(&class(code)) || code == Code::OperationNotAttempted
}

/// Returns whether a partition is new or moves to another broker.
pub(super) fn is_moving(code: Code) -> bool {
    matches!(code, Code::NotLeaderForPartition | Code::LeaderNotAvailable)
}

/// Converts the error of a call. `broker_error` is the error that librdkafka last reported, which explains timeouts.
pub(super) fn failure_of(error: &RdKafkaError, what: &str, broker_error: Option<BrokerError>) -> Failure {
    let code = code_of(error);
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
        return Failure::misconfigured(format!("{what}: {code}{advice}"));
    }
    match broker_error {
        _ if class(code) == Class::Credentials => Failure::unauthorized(format!("{what}: {code}")),
        Some(broker_error) if class(broker_error.code) == Class::Credentials => {
            Failure::unauthorized(format!("{what}: {}", broker_error.reason))
        }
        Some(broker_error) => Failure::transient(format!("{what}: {code}: {}", broker_error.reason)),
        None => Failure::transient(format!("{what}: {code}")),
    }
}
