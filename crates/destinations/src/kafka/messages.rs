//! Converts events to Kafka messages.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use s1_forwarder_engine::sink::{Batch, Event};
use s1_forwarder_engine::transform::{Labels, Schema};
use s1_forwarder_kafka::{Producer, Sent};

use super::settings::{KafkaSettings, MessageTime, check_topic};
use crate::{BuildError, SinkContext};

/// The properties that all messages of one lane share.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) topic: String,
    timestamp: MessageTime,
    raw: bool,
    key_prefix: String,
    /// All headers except those of labels that come from the console.
    headers: Vec<(String, String)>,
    by_labels: Option<ByLabels>,
}

/// The settings for the topic and the headers of each event, if some labels come from the console.
#[derive(Debug)]
struct ByLabels {
    template: String,
    context: SinkContext,
    /// No label makes this topic: it is for checkpoints.
    reserved: Option<String>,
}

impl Messages {
    pub(super) fn new(settings: &KafkaSettings, context: &SinkContext) -> Result<Self, BuildError> {
        let topic = context.fill("topic", &settings.topic)?;
        check_topic("topic", &topic)?;
        let fixed = [
            ("pipeline", context.lane.pipeline.as_str()),
            ("stream", context.lane.stream.name()),
            ("host", context.console_host.as_str()),
            ("schema", context.schema_name),
            ("content-type", "application/json"),
        ];
        let labels = context.labels.iter().filter(|(name, _)| !context.console_labels.contains(*name));
        let labels = labels.map(|(name, value)| (format!("label.{name}"), value.clone()));
        let by_labels = (!context.console_labels.is_empty()).then(|| ByLabels {
            template: settings.topic.clone(),
            context: context.clone(),
            reserved: settings.checkpoint_topic.clone(),
        });
        Ok(Self {
            topic,
            by_labels,
            timestamp: settings.timestamp,
            raw: context.schema == Schema::Raw,
            key_prefix: format!("{}/{}/", context.console_host, context.lane.stream),
            headers: fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(labels).collect(),
        })
    }

    /// Bytes of the headers of every message.
    pub(super) fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Puts the events into the producer's queue, in order. Also returns the bytes of their keys and values.
    pub(super) async fn send(&self, batch: &Batch, producer: &Producer) -> (Sent, u64) {
        let mut sent = Sent::with_capacity(batch.len());
        let mut bytes = 0;
        for (index, event) in batch.events().enumerate() {
            let key = self.key(event);
            bytes += (key.len() + event.body.len()) as u64;
            let topic = self.topic_of(event);
            let mut record = FutureRecord::to(&topic).key(&key).payload(event.body).headers(self.headers(event));
            if self.timestamp == MessageTime::Event {
                record.timestamp = event.time.map(|time| time.millis());
            }
            sent.send(producer, Some(index), record).await;
        }
        (sent, bytes)
    }

    /// Returns whether the topic of an event depends on its record.
    pub(super) fn has_many_topics(&self) -> bool {
        let Some(ByLabels { template, context, .. }) = &self.by_labels else { return false };
        context.console_labels.iter().any(|name| template.contains(&format!("{{label.{name}}}")))
    }

    /// Returns the distinct topics of the events.
    pub(super) fn topics<'a>(&'a self, batch: &'a Batch) -> BTreeSet<Cow<'a, str>> {
        match self.by_labels {
            Some(_) => batch.events().map(|event| self.topic_of(event)).collect(),
            None => BTreeSet::from([Cow::Borrowed(self.topic.as_str())]),
        }
    }

    fn topic_of(&self, event: Event<'_>) -> Cow<'_, str> {
        match (&self.by_labels, event.labels) {
            (Some(by_labels), Some(labels)) => Cow::Owned(by_labels.topic(labels)),
            _ => Cow::Borrowed(&self.topic),
        }
    }

    /// Returns the key of a message. A record without an id has no order to keep, so its key is the identity. Such
    /// records spread over partitions.
    fn key(&self, event: Event<'_>) -> String {
        match event.record_id {
            "" => format!("{}{}", self.key_prefix, event.identity),
            id => format!("{}{id}", self.key_prefix),
        }
    }

    fn headers(&self, event: Event<'_>) -> OwnedHeaders {
        let insert = |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len() + 3);
        headers = insert(headers, "id", &event.identity.to_string());
        if let Some(time) = event.time {
            headers = insert(headers, "event_time", &time.to_string());
        }
        // A mapped event contains the error itself.
        if let Some(error) = event.error
            && self.raw
        {
            headers = insert(headers, "error", error);
        }
        headers = self.headers.iter().fold(headers, |headers, (key, value)| insert(headers, key, value));
        let console_labels = self.by_labels.iter().flat_map(|by_labels| &by_labels.context.console_labels);
        let labels = console_labels.filter_map(|name| Some((name, event.labels?.get(name)?)));
        labels.fold(headers, |headers, (name, value)| insert(headers, &format!("label.{name}"), value))
    }
}

impl ByLabels {
    /// Returns a topic that is valid for any labels and is not the topic of the checkpoints.
    fn topic(&self, labels: &Labels) -> String {
        let mut topic = self.context.fill_with("topic", &self.template, labels).unwrap_or_default();
        if topic.is_empty() || self.reserved.as_ref() == Some(&topic) {
            topic.insert(0, '_');
        }
        topic
    }
}
