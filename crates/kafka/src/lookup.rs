//! Reads the events of a topic back, from its first to its last message.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use s1_forwarder_failure::Failure;
use s1_forwarder_record::Timestamp;

use super::client_settings::{ANSWER_TIMEOUT, on_thread, partitions};
use super::topic::Topic;

/// A message, with the facts about its event in its headers. A copy may have several headers of one name, or none.
#[derive(Debug, Clone, Default)]
pub struct SentEvent<'a> {
    pub key: &'a [u8],
    pub ids: Vec<&'a [u8]>,
    pub pipelines: Vec<&'a [u8]>,
    pub streams: Vec<&'a [u8]>,
    pub payload: &'a [u8],
}

/// Retention of a topic's messages. A value is `None` if the user may not read it. A limit that may have been lower
/// once is `None` too: removed messages then say nothing of the limit of now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicRetention {
    /// Whether the beginning of a partition was removed.
    pub is_trimmed: bool,
    /// Time since which all messages are there, by their own time, if they are in its order.
    pub first: Option<Timestamp>,
    /// `cleanup.policy`.
    pub policy: Option<String>,
    /// `retention.ms`; below zero: indefinitely.
    pub millis: Option<i64>,
    /// `retention.bytes`; below zero: no limit.
    pub bytes: Option<i64>,
}

impl Topic {
    /// Calls `visit` with each message that is in the topic now. `None` if there is no such topic. A read without
    /// progress for as long as `patience` is given up.
    ///
    /// # Errors
    /// If the topic or its settings cannot be read, or `visit` fails.
    pub async fn read_back(
        &self,
        patience: Duration,
        mut visit: impl FnMut(SentEvent<'_>) -> io::Result<()> + Send + 'static,
    ) -> Result<Option<TopicRetention>, Failure> {
        let Some(settings) = self.settings_if_there().await? else { return Ok(None) };
        let topic = self.clone();
        let read = move || {
            let mut first: BTreeMap<i32, i64> = BTreeMap::new();
            let mut failed = None;
            let exists = topic.scan_within(patience, |message| {
                first.entry(message.partition()).or_insert_with(|| message.timestamp().to_millis().unwrap_or(i64::MAX));
                // Without a value, a message says that its event was removed.
                let Some(event) = event(message) else { return ControlFlow::Continue(()) };
                match visit(event) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(error) = failed {
                return Err(Failure::transient(format!("a temporary file: {error}")));
            }
            Ok(if exists { Some((first, topic.trimmed()?)) } else { None })
        };
        let Some((first, trimmed)) = on_thread(read).await?? else { return Ok(None) };
        // A partition that has nothing any more says nothing of its times.
        let times = trimmed.iter().map(|partition| first.get(partition).copied().unwrap_or(i64::MAX));
        let first = times.max().map(|millis| Timestamp::from_micros(millis.saturating_mul(1_000)));
        let setting = |name: &str| settings.iter().find(|setting| setting.name == name);
        let limit = |name: &str| setting(name).filter(|setting| setting.is_fixed)?.value.as_ref()?.parse().ok();
        Ok(Some(TopicRetention {
            is_trimmed: !trimmed.is_empty(),
            first,
            policy: setting("cleanup.policy").and_then(|setting| setting.value.clone()),
            millis: limit("retention.ms"),
            bytes: limit("retention.bytes"),
        }))
    }

    /// Returns the partitions whose beginning was removed. Blocks.
    fn trimmed(&self) -> Result<Vec<i32>, Failure> {
        let consumer = self.consumer("read_committed")?;
        let count = self.count(partitions(consumer.client(), &self.name, ANSWER_TIMEOUT))?.unwrap_or(0);
        let mut trimmed = Vec::new();
        for partition in 0..count {
            if self.watermarks(&consumer, partition)?.0 > 0 {
                trimmed.push(partition);
            }
        }
        Ok(trimmed)
    }
}

fn event<'a>(message: &'a BorrowedMessage<'_>) -> Option<SentEvent<'a>> {
    let key = unquoted(message.key().unwrap_or_default());
    let mut found = SentEvent { key, payload: message.payload()?, ..SentEvent::default() };
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        let values = match header.key {
            "id" => &mut found.ids,
            "pipeline" => &mut found.pipelines,
            "stream" => &mut found.streams,
            _ => continue,
        };
        values.push(unquoted(header.value.unwrap_or_default()));
    }
    Some(found)
}

/// Removes quotes: a connector that copies messages may write the text of a header or key as JSON.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}
