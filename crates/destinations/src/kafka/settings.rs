//! The keys of a Kafka sink in a pipeline file.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder_engine::sink::Limits;
use s1_forwarder_kafka::is_topic;
use s1_forwarder_settings::{Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Text;
use crate::BuildError;
use crate::http::{AwsMskIam, ClientCredentials};
use crate::sink_type::{Compression, SinkDefaults};

/// `type: kafka`: one message an event, keyed by the record, so that versions of one record stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Brokers to begin with, as `HOST:PORT`.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-kind" = SettingKind::Broker))]
    pub brokers: Vec<String>,
    /// Topic; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub topic: String,
    /// How often an event may arrive.
    #[serde(default)]
    pub delivery: Delivery,
    /// Compacted topic for the checkpoints of `exactly_once`, on these brokers; made where it does not exist.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub checkpoint_topic: Option<String>,
    /// Timestamp of the messages.
    #[serde(default)]
    pub timestamp: MessageTime,
    /// OAUTHBEARER with tokens from OAuth 2.0 client credentials. librdkafka cannot fetch them here: its
    /// `sasl.oauthbearer.*` options do nothing.
    pub oauth: Option<ClientCredentials>,
    /// OAUTHBEARER with another kind of token, such as those of Amazon MSK.
    pub auth: Option<KafkaAuth>,
    /// Handed to librdkafka under its own names; each value may be a secret.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text, "x-tenant-keys" = TENANT_OPTIONS))]
    pub options: BTreeMap<String, Text>,
    /// How `verify --destination` reads the topic back. Nothing else uses it.
    pub verify: Option<VerifySettings>,
}

/// `verify:` of a Kafka sink: access of its own, which needs to read the topic and to describe its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifySettings {
    /// Brokers to begin with, if they have another listener for it.
    #[schemars(extend("x-kind" = SettingKind::Broker))]
    pub brokers: Option<Vec<String>>,
    /// Handed to librdkafka under its own names; each value may be a secret. Those of the sink do not count here.
    #[schemars(extend("x-kind" = SettingKind::Text, "x-tenant-keys" = TENANT_OPTIONS))]
    pub options: BTreeMap<String, Text>,
}

/// Options that a tenant's file may give: none loads code, names a file, takes much memory, or logs.
const TENANT_OPTIONS: [&str; 24] = [
    "acks",
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "linger.ms",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "partitioner",
    "request.timeout.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.pem",
];

/// `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KafkaAuth {
    /// An identity of AWS, for Amazon MSK with IAM.
    AwsMskIam(Box<AwsMskIam>),
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

pub(super) const DEFAULTS: SinkDefaults = SinkDefaults {
    limits: Limits { events: 1_000, bytes: 5 << 20, copies: 2, ..Limits::NONE },
    batch_timeout: Duration::from_secs(1),
    // librdkafka keeps several requests in flight. With two batches in flight, the second could arrive while the first
    // fails and is sent again. Versions of one record would arrive in the wrong order.
    concurrency: 1,
    concurrency_max: 1,
    compressions: &[Compression::Zstd, Compression::Gzip, Compression::None],
};

pub(super) fn check_topic(key: &'static str, topic: &str) -> Result<(), BuildError> {
    if !is_topic(topic) {
        let problem = format!("`{topic}` cannot be a topic: up to 249 letters, digits, `.`, `_` and `-`");
        return Err(BuildError::value(key, problem));
    }
    Ok(())
}

impl KafkaSettings {
    /// Returns whether the sink supplies the tokens of OAUTHBEARER.
    pub(super) fn has_tokens(&self) -> bool {
        self.oauth.is_some() || self.auth.is_some()
    }

    /// Returns an option whose value is in the configuration itself.
    pub(super) fn literal(&self, key: &str) -> Option<&str> {
        match self.options.get(key) {
            Some(Text(Secret::Literal(text))) => Some(text.as_str()),
            _ => None,
        }
    }
}
