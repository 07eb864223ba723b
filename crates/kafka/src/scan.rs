//! Reads a topic from its first to its last record.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use s1_forwarder_failure::{Failure, FailureKind};
use tokio::time::Instant;

use super::ClientReports;
use super::client_settings::{ANSWER_TIMEOUT, partitions};
use super::error::{code_of, is_moving};
use super::topic::Topic;

/// Timeout of a read without progress. An open transaction hides the records after it until it ends or times out.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// Time for which a consumer without a token is polled.
const TOKEN_POLL: Duration = Duration::from_millis(200);
const CONSUMER: [(&str, &str); 5] = [
    ("group.id", "s1-forwarder-checkpoints"),
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "true"),
    ("fetch.wait.max.ms", "10"),
];

#[expect(clippy::disallowed_methods, reason = "runs on a separate thread, which waits for real brokers")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

impl Topic {
    /// Calls `visit` with every record that is in the topic at the time of the call, until `visit` breaks. Waits for
    /// transactions that are open then. Returns false if the topic does not exist. Blocks.
    pub(super) fn scan(&self, visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>) -> Result<bool, Failure> {
        self.scan_within(READ_TIMEOUT, visit)
    }

    /// Scans as [`scan`](Self::scan) does, but gives up without progress for as long as `patience`.
    pub(super) fn scan_within(
        &self,
        patience: Duration,
        mut visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
    ) -> Result<bool, Failure> {
        let failed = |error: RdKafkaError| self.failure(&error);
        // The high watermark includes open transactions; the last stable offset does not.
        let all = self.consumer("read_uncommitted")?;
        let stable = self.consumer("read_committed")?;
        let found = partitions(all.client(), &self.name, ANSWER_TIMEOUT);
        let Some(count) = self.count(found)? else { return Ok(false) };
        let mut ends = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..count {
            let (low, high) = self.watermarks(&all, partition)?;
            if low < high {
                ends.insert(partition, high);
                assignment.add_partition_offset(&self.name, partition, Offset::Offset(low)).map_err(failed)?;
            }
        }
        drop(all);
        let mut last_record_at = Instant::now();
        for (partition, high) in &ends {
            while self.watermarks(&stable, *partition)?.1 < *high {
                if last_record_at.elapsed() >= patience {
                    return Err(self.delayed("an open transaction in it does not end"));
                }
                pause(Duration::from_millis(50));
            }
        }
        if !ends.is_empty() {
            stable.assign(&assignment).map_err(failed)?;
        }
        let mut delay = None;
        while !ends.is_empty() {
            if last_record_at.elapsed() >= patience {
                let partitions: BTreeSet<i32> = ends.keys().copied().collect();
                return Err(match delay {
                    Some(reason) => Failure::transient(reason),
                    None => self.delayed(&format!(
                        "no record comes from the rest of its partitions {partitions:?}: is a batch damaged?"
                    )),
                });
            }
            match stable.poll(Duration::from_secs(1)) {
                None => {}
                Some(Ok(message)) if visit(&message).is_break() => break,
                Some(Ok(_)) => (last_record_at, delay) = (Instant::now(), None),
                Some(Err(RdKafkaError::PartitionEOF(partition))) => _ = ends.remove(&partition),
                // The user has no right on the group, which no read of this kind needs.
                Some(Err(error)) if code_of(&error) == RDKafkaErrorCode::GroupAuthorizationFailed => {}
                Some(Err(error)) => match self.failure(&error) {
                    // librdkafka continues to read.
                    Failure { kind: FailureKind::Transient, reason, .. } => {
                        tracing::debug!(topic = self.name, reason, "a read of a topic is delayed");
                        delay = Some(reason);
                    }
                    failure => return Err(failure),
                },
            }
        }
        Ok(true)
    }

    /// Returns whether nothing was ever written to the topic. Blocks.
    pub(super) fn is_unused(&self, partitions: i32) -> Result<bool, Failure> {
        let consumer = self.consumer("read_uncommitted")?;
        for partition in 0..partitions {
            if self.watermarks(&consumer, partition)?.1 > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn consumer(&self, isolation: &str) -> Result<BaseConsumer<ClientReports>, Failure> {
        let consumer: BaseConsumer<ClientReports> =
            self.client(&[&CONSUMER[..], &[("isolation.level", isolation)]].concat())?;
        if self.client_settings.events.tokens.is_some() {
            // A consumer fetches its token while it is polled.
            let _ = consumer.poll(TOKEN_POLL);
        }
        Ok(consumer)
    }

    /// Returns the failure of a read that makes no progress.
    fn delayed(&self, reason: &str) -> Failure {
        Failure::transient(format!("{}: {reason}", self.title))
    }

    /// Returns the first and the next offset of a partition. Retries while a new or moving partition has no leader.
    pub(super) fn watermarks(
        &self,
        client: &BaseConsumer<ClientReports>,
        partition: i32,
    ) -> Result<(i64, i64), Failure> {
        let started_at = Instant::now();
        loop {
            match client.fetch_watermarks(&self.name, partition, ANSWER_TIMEOUT) {
                Ok(found) => return Ok(found),
                Err(error) if is_moving(code_of(&error)) && started_at.elapsed() < ANSWER_TIMEOUT => {}
                Err(error) => return Err(self.failure(&error)),
            }
            pause(Duration::from_millis(100));
        }
    }
}
