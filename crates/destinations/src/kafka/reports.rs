//! Converts librdkafka's reports to the outcome of a batch.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use s1_forwarder_engine::sink::{AttemptStatus, Batch, Outcome, ProbeResult, RefusedEvent};
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Transient;
use s1_forwarder_kafka::{BrokerError, Class, Report, class};
use tokio::time::Instant;

/// Returns the errors of a batch's reports, each with its class. `None` for a delivered message.
fn classes_of(reports: &[Report]) -> Vec<Option<(Class, Code)>> {
    let count = |code| reports.iter().filter(|report| report.code() == Some(code)).count();
    // Brokers refuse a request because of some of its records. Newer brokers name these records, and librdkafka reports
    // `InvalidDifferentRecord` for the others. Older brokers refuse all in the same way.
    let is_named = |code| count(code) == 1 || count(Code::InvalidDifferentRecord) > 0;
    let class_of = |report: &Report| match *report {
        // The message alone is larger than librdkafka's limit.
        Report::RefusedLocally(code @ Code::MessageSizeTooLarge) => Some((Class::Message, code)),
        Report::Failed(code @ (Code::InvalidRecord | Code::InvalidTimestamp)) if !is_named(code) => {
            Some((Class::Request, code))
        }
        report => report.code().map(|code| (class(code), code)),
    };
    reports.iter().map(class_of).collect()
}

/// Measures how long errors that may be temporary have lasted without a delivery.
#[derive(Debug)]
pub(crate) struct ReportPolicy {
    topic: Duration,
    since: Mutex<Option<Instant>>,
}

/// Brokers throttle by policy for a few minutes at most.
const POLICY_TOLERANCE: Duration = Duration::from_mins(5);

impl ReportPolicy {
    pub(crate) fn new(topic: Duration) -> Self {
        Self { topic, since: Mutex::new(None) }
    }

    /// Restarts the measurement after a delivery.
    pub(crate) fn forget(&self) {
        *self.since.lock() = None;
    }

    fn exceeded(&self, class: Class, now: Instant) -> bool {
        let mut since = self.since.lock();
        let elapsed = now.saturating_duration_since(*since.get_or_insert(now));
        elapsed >= if class == Class::Policy { POLICY_TOLERANCE } else { self.topic }
    }
}

/// Returns `ok`, or librdkafka's name of the first error.
pub(crate) fn status(reports: &[Report]) -> AttemptStatus {
    reports.iter().find_map(|report| report.code()).map_or("ok".into(), |code| format!("{code:?}").into())
}

/// Converts the reports of a batch.
pub(crate) fn outcome(
    batch: &Batch,
    reports: &[Report],
    broker_error: Option<&BrokerError>,
    tolerance: &ReportPolicy,
    now: Instant,
) -> Outcome {
    use Class::{Cluster, Credentials, Policy, Request, TooLarge, Topic, UnknownTopic};
    let classes = classes_of(reports);
    if classes.iter().all(Option::is_none) {
        return Outcome::Delivered;
    }
    if classes.iter().any(|found| matches!(found, None | Some((Class::Message, _)))) {
        return partial(batch, &classes);
    }
    let failed = classes.iter().flatten();
    let order = [Topic, Cluster, UnknownTopic, Policy, Credentials, TooLarge, Request];
    let first = order.into_iter().find_map(|wanted| failed.clone().find(|(class, _)| *class == wanted));
    if let Some(&(class, code)) = first {
        let reason = advice(code);
        return match class {
            UnknownTopic | Policy if !tolerance.exceeded(class, now) => Outcome::retry_later(reason),
            Credentials => Outcome::unauthorized(reason),
            TooLarge => Outcome::TooLarge(reason),
            Request => Outcome::Refused(reason),
            _ => Outcome::misconfigured(reason),
        };
    }
    let reason = failed.map(|(_, code)| advice(*code)).next().unwrap_or_default();
    // Messages only time out. The broker error contains the cause.
    match broker_error.map(|error| failure_of_broker(error.clone())) {
        Some(Failure { kind: Transient, reason: cause, .. }) => Outcome::retry_later(format!("{reason}: {cause}")),
        Some(failure) => Outcome::Failed(failure),
        None => Outcome::retry_later(reason),
    }
}

/// Returns the failure of waiting messages after a broker error.
pub(crate) fn failure_of_broker(error: BrokerError) -> Failure {
    match error.code {
        code if class(code) == Class::Credentials => Failure::unauthorized(error.reason),
        Code::SSL => Failure::misconfigured(error.reason),
        _ => Failure::transient(error.reason),
    }
}

/// Returns the outcome if some messages are settled. If an older version of a record is sent again, so are all newer
/// ones, since the newest must arrive last.
fn partial(batch: &Batch, classes: &[Option<(Class, Code)>]) -> Outcome {
    let mut refused = Vec::new();
    let mut retry = Vec::new();
    let mut again = HashSet::new();
    for ((index, event), failed) in batch.events().enumerate().zip(classes) {
        match failed {
            Some((Class::Message, code)) => {
                refused.push(RefusedEvent { index, status: format!("{code:?}"), reason: advice(*code) });
            }
            None if !again.contains(event.record_id) => {}
            _ => {
                retry.push(index);
                if !event.record_id.is_empty() {
                    again.insert(event.record_id);
                }
            }
        }
    }
    Outcome::Partial { refused, retry, retry_after: None, warnings: Vec::new() }
}

/// Returns the outcome after a fatal error; `None` if a new producer may resolve the error.
pub(crate) fn fatal_outcome(code: Code, reason: &str, too_often: bool) -> Option<Outcome> {
    let reason = match class(code) {
        Class::Topic | Class::Cluster => advice(code),
        _ if too_often => format!("several producers in a row failed permanently: {reason}"),
        _ => return None,
    };
    Some(Outcome::misconfigured(reason))
}

/// Returns librdkafka's text of the error, with advice for known ones.
fn advice(code: Code) -> String {
    let advice = match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => "; create the topic, or correct `topic`",
        Code::TopicAuthorizationFailed => "; the user needs the right to write to the topic",
        Code::ClusterAuthorizationFailed => {
            "; the user needs the right IdempotentWrite, or `options: { enable.idempotence: false }`"
        }
        Code::UnsupportedForMessageFormat | Code::UnsupportedCompressionType => "; try `compression: none`",
        Code::MessageSizeTooLarge => "; see `message.max.bytes` here and `max.message.bytes` of the topic",
        Code::InvalidTimestamp => "; the topic refuses this age, `timestamp: now` avoids that",
        _ => "",
    };
    format!("{code}{advice}")
}

/// Converts the brokers' error to the result of a probe.
pub(crate) fn probe(topic: &str, code: Code, broker_error: Option<&BrokerError>) -> ProbeResult {
    let failed = match broker_error {
        _ if class(code) != Class::Transient => format!("topic `{topic}`: {}", advice(code)),
        Some(error) if class(error.code) == Class::Credentials => format!("credentials refused: {}", error.reason),
        Some(error) => format!("no answer from the brokers: {}", error.reason),
        None => format!("no answer from the brokers: {code}"),
    };
    ProbeResult::Failed(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_failure::FailureKind::Misconfigured;
    use s1_forwarder_record::{Identity, Stream};

    fn batch(record_ids: &[&str]) -> Batch {
        let mut batch = Batch::new(Stream::Threats);
        for (index, id) in record_ids.iter().enumerate() {
            let identity = Identity::of("host", Stream::Threats, id, &index.to_string());
            batch.push_with(id, identity, None, |out| {
                out.extend_from_slice(b"{}");
                None
            });
        }
        batch
    }

    /// Returns the outcome as [`s1_forwarder_engine::sink::in_words`] prints it.
    fn outcome_of(reports: &[Report], broker_error: Option<(Code, &str)>) -> String {
        let ids: Vec<String> = (0..reports.len()).map(|id| id.to_string()).collect();
        let batch = batch(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let broker_error = broker_error.map(|(code, reason)| BrokerError { code, reason: reason.to_owned() });
        let tolerance = ReportPolicy::new(Duration::from_secs(30));
        s1_forwarder_engine::sink::in_words(outcome(&batch, reports, broker_error.as_ref(), &tolerance, Instant::now()))
    }

    #[test]
    fn each_error_class_has_its_outcome() {
        use Report::{Delivered, Failed, RefusedLocally};
        type Row<'a> = (&'a [Report], Option<(Code, &'a str)>, &'a str);
        let table: [Row<'_>; 26] = [
            (&[Delivered, Delivered], None, "Delivered"),
            (&[Delivered, RefusedLocally(Code::MessageSizeTooLarge)], None, "refused [1] retry []"),
            (&[RefusedLocally(Code::MessageSizeTooLarge)], None, "refused [0] retry []"),
            (&[Failed(Code::InvalidRecord), Delivered], None, "refused [0] retry []"),
            (&[Failed(Code::InvalidTimestamp), Failed(Code::MessageTimedOut)], None, "refused [0] retry [1]"),
            (&[Failed(Code::InvalidRecord), Failed(Code::InvalidDifferentRecord)], None, "refused [0] retry [1]"),
            (&[Failed(Code::InvalidRecord); 2], None, "Refused"),
            (&[Delivered, Failed(Code::InvalidRecord), Failed(Code::InvalidRecord)], None, "refused [] retry [1, 2]"),
            (&[Failed(Code::InvalidMessage); 2], None, "Transient"),
            (&[Delivered, Failed(Code::MessageTimedOut)], None, "refused [] retry [1]"),
            (&[Delivered, Failed(Code::TopicAuthorizationFailed)], None, "refused [] retry [1]"),
            (&[Failed(Code::MessageSizeTooLarge); 2], None, "TooLarge"),
            (&[Failed(Code::MessageTimedOut); 2], None, "Transient"),
            (&[Failed(Code::MessageTimedOut)], Some((Code::BrokerTransportFailure, "refused")), "Transient"),
            (&[Failed(Code::MessageTimedOut)], Some((Code::Authentication, "SASL")), "Unauthorized"),
            (&[Failed(Code::MessageTimedOut)], Some((Code::SSL, "unknown CA")), "Misconfigured"),
            (&[Failed(Code::SaslAuthenticationFailed)], None, "Unauthorized"),
            (&[Failed(Code::TopicAuthorizationFailed)], None, "Misconfigured"),
            (&[RefusedLocally(Code::Fatal), Failed(Code::ClusterAuthorizationFailed)], None, "Misconfigured"),
            (&[Failed(Code::UnsupportedForMessageFormat)], None, "Misconfigured"),
            (&[Failed(Code::UnknownTopicOrPartition)], None, "Transient"),
            (&[RefusedLocally(Code::UnknownTopic)], None, "Transient"),
            (&[Failed(Code::PolicyViolation)], None, "Transient"),
            (&[Failed(Code::NotEnoughReplicas)], None, "Transient"),
            (&[Failed(Code::PurgeInflight)], None, "Transient"),
            (&[RefusedLocally(Code::Fatal)], None, "Transient"),
        ];
        for (reports, broker_error, expected) in table {
            assert_eq!(outcome_of(reports, broker_error), expected, "{reports:?} {broker_error:?}");
        }
    }

    #[test]
    fn temporary_errors_are_tolerated_for_a_limited_time_after_the_last_delivery() {
        let start = Instant::now();
        let tolerance = ReportPolicy::new(Duration::from_secs(30));
        let at = |code: Code, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            outcome(&batch(&["1"]), &[Report::Failed(code)], None, &tolerance, now).failure_kind()
                == Some(Misconfigured)
        };
        assert!(!at(Code::UnknownTopic, 0) && !at(Code::UnknownTopic, 29) && at(Code::UnknownTopic, 30));
        assert!(!at(Code::PolicyViolation, 299) && at(Code::PolicyViolation, 300));
        tolerance.forget();
        assert!(!at(Code::UnknownTopic, 301));
    }

    #[test]
    fn the_newest_version_of_a_record_is_sent_last() {
        let batch = batch(&["a", "b", "a", "", ""]);
        let failed = Report::Failed(Code::MessageTimedOut);
        let reports = [failed, Report::Delivered, Report::Delivered, failed, Report::Delivered];
        let outcome = outcome(&batch, &reports, None, &ReportPolicy::new(Duration::ZERO), Instant::now());
        assert_eq!(
            outcome,
            Outcome::Partial { refused: Vec::new(), retry: vec![0, 2, 3], retry_after: None, warnings: Vec::new() }
        );
    }

    #[test]
    fn a_fatal_error_stops_the_lane_only_when_it_will_recur() {
        let fatal = |code, too_often| fatal_outcome(code, "why", too_often);
        assert_eq!(fatal(Code::OutOfOrderSequenceNumber, false), None);
        assert!(matches!(
            fatal(Code::OutOfOrderSequenceNumber, true),
            Some(Outcome::Failed(Failure { kind: Misconfigured, .. }))
        ));
        assert!(matches!(
            fatal(Code::ClusterAuthorizationFailed, false),
            Some(Outcome::Failed(Failure { kind: Misconfigured, .. }))
        ));
    }
}
