//! `type: kafka`: one message per event.
//!
//! `delivery` chooses the sink: `KafkaSink` waits for the reports of a shared producer, `TransactionalKafkaSink`
//! commits the events and the lane's checkpoint in one transaction. librdkafka batches, compresses and sends. `reports`
//! decides what its reports mean.

mod at_least_once;
mod bearer;
mod brokers;
mod messages;
mod options;
mod producer;
mod reports;
mod text;
mod transactional;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use producer::Producers;

use super::common::{Common, Compression, Defaults, SinkType};
use super::http::ClientCredentials;
use super::{BuildError, Limits, Sink, SinkContext};
use crate::settings::Secret;
use at_least_once::KafkaSink;
pub use text::Text;
use transactional::TransactionalKafkaSink;

/// `type: kafka`: one message an event, keyed by the record, so that versions of one record stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Brokers to begin with, as `HOST:PORT`.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// Topic; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    pub topic: String,
    /// How often an event may arrive.
    #[serde(default)]
    pub delivery: Delivery,
    /// Compacted topic for the checkpoints of `exactly_once`, on these brokers; made where it does not exist.
    pub checkpoint_topic: Option<String>,
    /// Timestamp of the messages.
    #[serde(default)]
    pub timestamp: MessageTime,
    /// OAUTHBEARER with tokens from OAuth 2.0 client credentials. librdkafka cannot fetch them here: its
    /// `sasl.oauthbearer.*` options do nothing.
    pub oauth: Option<ClientCredentials>,
    /// Handed to librdkafka under its own names; each value may be a secret.
    #[serde(default)]
    pub options: BTreeMap<String, Text>,
}

/// `delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Repeated only where an acknowledgement was lost.
    #[default]
    AtLeastOnce,
    /// Events and checkpoint in one transaction: a read-committed consumer sees each version of a record once.
    ExactlyOnce,
}

/// `timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageTime {
    /// When the message was produced, so that a backlog does not fall to the topic's retention at once.
    #[default]
    Now,
    /// The event's own time.
    Event,
}

const DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 1_000, bytes: 5 << 20, copies: 2, ..Limits::NONE },
    flush: Duration::from_secs(1),
    // librdkafka keeps several requests in flight. With two batches in flight, the second could arrive while the first
    // fails and is sent again. Versions of one record would arrive in the wrong order.
    concurrency: 1,
    concurrency_max: 1,
    compressions: &[Compression::Zstd, Compression::Gzip, Compression::None],
};

impl SinkType for KafkaSettings {
    fn defaults(&self) -> Defaults {
        DEFAULTS
    }

    fn keeps_checkpoints(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let sink = KafkaSink::new(self, common, context)?;
        Ok(match self.delivery {
            Delivery::AtLeastOnce => Arc::new(sink),
            Delivery::ExactlyOnce => Arc::new(TransactionalKafkaSink::new(sink, self, context)?),
        })
    }
}

fn check_topic(key: &'static str, topic: &str) -> Result<(), BuildError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        let problem = format!("`{topic}` cannot be a topic: up to 249 letters, digits, `.`, `_` and `-`");
        return Err(BuildError::value(key, problem));
    }
    Ok(())
}

impl KafkaSettings {
    /// Returns an option whose value is in the configuration itself.
    fn literal(&self, key: &str) -> Option<&str> {
        match self.options.get(key) {
            Some(Text(Secret::Literal(text))) => Some(text.as_str()),
            _ => None,
        }
    }
}
