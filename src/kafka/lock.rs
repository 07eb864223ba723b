//! A lock that brokers keep: a consumer group of one. Whoever wants it joins the group, and then looks who else is in it: of
//! two, the one that came later sees the other. A process that is killed is a member until its session times out.

#![expect(clippy::disallowed_types, reason = "one end is on a thread of its own, and whoever lets go waits for it")]

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::registry::PROCESS;
use super::{Connect, Events, Trouble, on_thread};

/// How long a member that says nothing is one.
const SESSION: &str = "10000";
const HEARTBEAT: &str = "2000";
/// How long the brokers may take to let a member in.
const JOINS_WITHIN: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
/// How long whoever lets go waits until the brokers know.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Held while this lives.
#[derive(Debug)]
pub(super) struct Lock {
    held: Option<Sender<()>>,
    left: Receiver<()>,
}

impl Drop for Lock {
    /// Waits: a process that ends before it has left would be a member for a while.
    fn drop(&mut self) {
        drop(self.held.take());
        let _ = self.left.recv_timeout(LEAVES_WITHIN);
    }
}

/// Takes the lock that is the consumer group `group`, the members of which listen to `topic`; it has to exist.
///
/// # Errors
/// When another process has it, or the brokers do not let it happen.
pub(super) async fn lock(connect: Connect, events: Events, group: String, topic: String) -> Result<Lock, Trouble> {
    let member = on_thread(move || join(&connect, &events, &group, &topic)).await??;
    let (held, lasts) = channel::<()>();
    let (leaves, left) = channel();
    // Members have to be heard of now and then.
    let stay = move || {
        while lasts.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            let _ = member.poll(Duration::ZERO);
        }
        drop(member);
        let _ = leaves.send(());
    };
    let spawned = std::thread::Builder::new().name("kafka-lock".to_owned()).spawn(stay);
    spawned.map_err(|error| Trouble::Passing(format!("no thread to hold a lock in Kafka: {error}")))?;
    Ok(Lock { held: Some(held), left })
}

/// Becomes the only member. Blocks.
fn join(connect: &Connect, events: &Events, group: &str, topic: &str) -> Result<BaseConsumer<Events>, Trouble> {
    let what = format!("consumer group `{group}`");
    let failed = |error: KafkaError| Trouble::of(&error, &what, events);
    let settings = [
        ("group.id", group),
        ("client.id", PROCESS.as_str()),
        ("session.timeout.ms", SESSION),
        ("heartbeat.interval.ms", HEARTBEAT),
        ("enable.auto.commit", "false"),
        // It is there to be a member, not to read.
        ("auto.offset.reset", "latest"),
    ];
    let member: BaseConsumer<Events> = connect.client(events, &settings)?;
    member.subscribe(&[topic]).map_err(failed)?;
    let begun = Instant::now();
    loop {
        if let Some(Err(error)) = member.poll(POLL) {
            match failed(error) {
                // librdkafka goes on by itself.
                Trouble::Passing(reason) => tracing::debug!(group, reason, "joining a group"),
                grave => return Err(grave),
            }
        }
        let listed = member.fetch_group_list(Some(group), ANSWER).map_err(failed)?;
        let members: Vec<_> = listed.groups().iter().flat_map(|group| group.members()).collect();
        if let Some(other) = members.iter().find(|member| member.client_id() != *PROCESS) {
            let (other, host) = (other.client_id(), other.client_host());
            return Err(Trouble::Superseded(format!(
                "another command takes letters out of it: {other}, at {host} (one that was killed is forgotten after ten seconds)"
            )));
        }
        if !members.is_empty() {
            return Ok(member);
        }
        if begun.elapsed() > JOINS_WITHIN {
            return Err(Trouble::Passing(format!("{what}: the brokers do not let this process in")));
        }
    }
}
