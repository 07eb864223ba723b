//! Messages in a producer's queue, and the brokers' reports about them.

use std::time::Duration;

use futures_util::FutureExt;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{OwnedHeaders, ToBytes};
use rdkafka::producer::FutureRecord;
use rdkafka::producer::future_producer::DeliveryFuture;
use tokio::time::sleep;

use super::Producer;
use super::error::code_of;

/// Interval between two attempts while librdkafka's queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);

/// The result of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// All replicas have the message.
    Delivered,
    /// librdkafka did not queue the message. The message itself is the cause.
    RefusedLocally(Code),
    /// The message was queued. It did not arrive, or its arrival is unknown.
    Failed(Code),
}

impl Report {
    pub fn code(self) -> Option<Code> {
        match self {
            Self::Delivered => None,
            Self::RefusedLocally(code) | Self::Failed(code) => Some(code),
        }
    }
}

/// One record of a compacted topic.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) key: String,
    /// Value of the record. `None` deletes the record of this key.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// Messages that were given to a producer, each with the index of its event in the batch; `None` for a message that is
/// no event.
#[derive(Default)]
pub struct Sent(Vec<(Option<usize>, Delivery)>);

enum Delivery {
    Pending(DeliveryFuture),
    Reported(Report),
}

fn report_of(delivery: <DeliveryFuture as Future>::Output) -> Report {
    match delivery {
        Ok(Ok(_)) => Report::Delivered,
        Ok(Err((error, _))) => Report::Failed(code_of(&error)),
        // The producer was closed before the message was sent.
        Err(_) => Report::Failed(Code::PurgeQueue),
    }
}

impl Sent {
    pub fn with_capacity(messages: usize) -> Self {
        Self(Vec::with_capacity(messages))
    }

    /// Copies a message into the producer's queue. Waits while the queue is full. `event` is the index of its event.
    pub async fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &mut self,
        producer: &Producer,
        event: Option<usize>,
        mut record: FutureRecord<'_, K, P>,
    ) {
        let queued = loop {
            match producer.send_result(record) {
                Ok(report) => break Delivery::Pending(report),
                Err((RdKafkaError::MessageProduction(Code::QueueFull), refused)) => {
                    record = refused;
                    sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, _)) => break Delivery::Reported(Report::RefusedLocally(code_of(&error))),
            }
        };
        self.0.push((event, queued));
    }

    pub(super) async fn send_message(&mut self, producer: &Producer, message: &Message) {
        let Message { topic, partition, key, value, headers } = message;
        let mut record = FutureRecord::<str, [u8]>::to(topic).partition(*partition).key(key);
        record.payload = value.as_deref();
        record.headers = headers.clone();
        self.send(producer, None, record).await;
    }

    /// Returns the first error that was reported until now.
    pub(super) fn failure(&mut self) -> Option<Code> {
        self.0.iter_mut().find_map(|(_, delivery)| {
            if let Delivery::Pending(pending) = delivery {
                *delivery = Delivery::Reported(report_of(pending.now_or_never()?));
            }
            match delivery {
                Delivery::Reported(report) => report.code(),
                Delivery::Pending(_) => None,
            }
        })
    }

    /// Waits for the brokers' reports.
    pub async fn reports(self) -> Vec<(Option<usize>, Report)> {
        let mut reports = Vec::with_capacity(self.0.len());
        for (event, delivery) in self.0 {
            let report = match delivery {
                Delivery::Pending(pending) => report_of(pending.await),
                Delivery::Reported(report) => report,
            };
            reports.push((event, report));
        }
        reports
    }
}
