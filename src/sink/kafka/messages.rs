//! Converts events to Kafka messages.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use super::settings::{KafkaSettings, MessageTime, check_topic};
use crate::kafka::{Producer, Sent};
use crate::settings::Schema;
use crate::sink::{Batch, BuildError, Event, SinkContext};

/// The properties that all messages of one lane share.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) topic: String,
    timestamp: MessageTime,
    raw: bool,
    key_prefix: String,
    headers: Vec<(String, String)>,
}

impl Messages {
    pub(super) fn new(settings: &KafkaSettings, context: &SinkContext) -> Result<Self, BuildError> {
        let topic = context.fill("topic", &settings.topic)?;
        check_topic("topic", &topic)?;
        let fixed = [
            ("pipeline", context.pipeline.as_str()),
            ("stream", context.stream.name()),
            ("host", context.console_host.as_str()),
            ("schema", context.schema_name),
            ("content-type", "application/json"),
        ];
        let labels = context.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone()));
        Ok(Self {
            topic,
            timestamp: settings.timestamp,
            raw: context.schema == Schema::Raw,
            key_prefix: format!("{}/{}/", context.console_host, context.stream),
            headers: fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(labels).collect(),
        })
    }

    /// Bytes of the headers of every message.
    pub(super) fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Puts the events into the producer's queue, in order. Also returns the bytes of their keys and values.
    pub(super) async fn send(&self, batch: &Batch, producer: &Producer) -> (Sent, u64) {
        let (mut sent, mut bytes) = (Sent::with_capacity(batch.len()), 0);
        for (index, event) in batch.events().enumerate() {
            let key = self.key(event);
            bytes += (key.len() + event.body.len()) as u64;
            let mut record = FutureRecord::to(&self.topic).key(&key).payload(event.body).headers(self.headers(event));
            if self.timestamp == MessageTime::Event {
                record.timestamp = event.time.map(|time| time.millis());
            }
            sent.send(producer, index, record).await;
        }
        (sent, bytes)
    }

    /// A record without an id has no order to keep. Its key is the identity, so that such records spread over
    /// partitions.
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
        if let Some(error) = event.error.filter(|_| self.raw) {
            headers = insert(headers, "error", error);
        }
        self.headers.iter().fold(headers, |headers, (key, value)| insert(headers, key, value))
    }
}
