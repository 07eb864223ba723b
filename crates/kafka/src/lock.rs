//! A lock: a consumer group with one member. A process joins the group and then lists its members, so the second of two
//! processes sees the first. A killed process stays a member until its session times out.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdKafkaError;
use s1_forwarder_failure::{Failure, FailureKind};
use tokio::time::Instant;

use super::client_settings::{ANSWER_TIMEOUT, on_thread};
use super::topic::Topic;
use super::{ClientReports, PROCESS_NAME};

/// Milliseconds after which a process without heartbeats is no member any more.
const SESSION_TIMEOUT: &str = "10000";
/// Interval of heartbeats, in milliseconds.
const HEARTBEAT: &str = "2000";
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that dropping the lock waits for the process to leave the group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Acquires the lock, the consumer group `group`. Its member subscribes to `topic`, which has to exist.
///
/// The lock is held until the result is dropped. The drop waits for the member's thread: a process that exits before it
/// has left the group stays a member until its session times out.
///
/// # Errors
/// If another process has the lock, or the brokers refuse.
pub(super) async fn lock(group: String, topic: Topic) -> Result<impl Send + use<>, Failure> {
    let member = on_thread(move || join(&group, &topic)).await??;
    let (held, released) = channel::<()>();
    let (leaves, left) = channel();
    // A member that does not poll is removed from the group.
    let stay = move || {
        while released.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            let _ = member.poll(Duration::ZERO);
        }
        drop(member);
        let _ = leaves.send(());
    };
    let spawned = std::thread::Builder::new().name("kafka-lock".to_owned()).spawn(stay);
    spawned.map_err(|error| Failure::transient(format!("no thread to hold a lock in Kafka: {error}")))?;
    Ok(scopeguard::guard((held, left), |(held, left)| {
        drop(held);
        let _ = left.recv_timeout(LEAVE_TIMEOUT);
    }))
}

/// Joins the group as its only member. Blocks.
fn join(group: &str, topic: &Topic) -> Result<BaseConsumer<ClientReports>, Failure> {
    let what = format!("consumer group `{group}`");
    let failed = |error: RdKafkaError| topic.client_settings.failure(&error, &what);
    let settings = [
        ("group.id", group),
        ("client.id", PROCESS_NAME.as_str()),
        ("session.timeout.ms", SESSION_TIMEOUT),
        ("heartbeat.interval.ms", HEARTBEAT),
        ("enable.auto.commit", "false"),
        // The member reads no messages.
        ("auto.offset.reset", "latest"),
    ];
    let member: BaseConsumer<ClientReports> = topic.client(&settings)?;
    member.subscribe(&[&topic.name]).map_err(failed)?;
    let started_at = Instant::now();
    loop {
        if let Some(Err(error)) = member.poll(POLL) {
            match failed(error) {
                // librdkafka repeats the attempt.
                Failure { kind: FailureKind::Transient, reason, .. } => {
                    tracing::debug!(group, reason, "a consumer group was not joined yet")
                }
                failure => return Err(failure),
            }
        }
        let listed = member.fetch_group_list(Some(group), ANSWER_TIMEOUT).map_err(failed)?;
        let members: Vec<_> = listed.groups().iter().flat_map(|group| group.members()).collect();
        if let Some(other) = members.iter().find(|member| member.client_id() != *PROCESS_NAME) {
            let (other, host) = (other.client_id(), other.client_host());
            return Err(Failure::superseded(format!(
                "another command removes dead letters from it: {other}, at {host} (if it was killed, its lock expires after ten seconds)"
            )));
        }
        if !members.is_empty() {
            return Ok(member);
        }
        if started_at.elapsed() > JOIN_TIMEOUT {
            return Err(Failure::transient(format!("{what}: the brokers do not let this process join")));
        }
    }
}
