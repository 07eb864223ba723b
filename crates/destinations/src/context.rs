//! The lane that a sink is built for, and the resources that the sinks of a process share.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use s1_forwarder_engine::console::Client;
use s1_forwarder_engine::transform::{Labels, Schema, TextPart, text_parts};
use s1_forwarder_record::{LaneId, hostname};

use super::build_error::BuildError;
use super::http::{Ambient, Tokens};
use super::safe_part::{safe_name, safe_part};

/// The lane of a sink, and what the sinks of the process share.
#[derive(Debug, Clone)]
pub struct SinkContext {
    pub lane: LaneId,
    pub shard: u32,
    /// Host and port of the console, as in identities.
    pub console_host: String,
    /// Access to the console; `None` where a sink is only checked.
    pub console: Option<Arc<Client>>,
    /// `transform.labels`. Values that differ from event to event are samples.
    pub labels: Labels,
    /// The labels whose values come from the console. In names they are made safe.
    pub console_labels: BTreeSet<String>,
    pub schema: Schema,
    /// Schema and version for destinations, such as `ecs-9.4.0` or `raw`.
    pub schema_name: &'static str,
    pub shared: SharedSinkResources,
}

/// Shared by all sinks of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedSinkResources {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) ambient: Ambient,
    /// Whether requests are only looked at, so that no secret is read.
    pub(crate) masks_secrets: bool,
    #[cfg(feature = "kafka")]
    pub(crate) producers: Arc<super::kafka::Producers>,
    #[cfg(feature = "kafka")]
    pub(crate) transactional_ids: Arc<s1_forwarder_kafka::TransactionalIds>,
}

/// Default of `--instance`.
pub const INSTANCE: &str = "s1-forwarder";

impl Default for SharedSinkResources {
    fn default() -> Self {
        Self::new(INSTANCE)
    }
}

impl SharedSinkResources {
    /// `instance` is the name of the installation (`--instance`).
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "only Kafka uses it"))]
    pub fn new(instance: &str) -> Self {
        Self {
            tokens: Arc::default(),
            ambient: Ambient::default(),
            masks_secrets: false,
            #[cfg(feature = "kafka")]
            producers: Arc::default(),
            #[cfg(feature = "kafka")]
            transactional_ids: s1_forwarder_kafka::TransactionalIds::new(instance),
        }
    }

    /// Replaces the environment from which the sinks read cloud identities.
    pub fn with_ambient(self, ambient: Ambient) -> Self {
        Self { ambient, ..self }
    }

    /// Writes `***` for each secret that is a part of a body, for
    /// [`Sink::render_request`](s1_forwarder_engine::sink::Sink::render_request).
    pub fn with_masked_secrets(self) -> Self {
        Self { masks_secrets: true, tokens: Arc::new(Tokens::unread()), ..self }
    }

    /// Called when this process has acquired the lease of a shard.
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "only Kafka fences"))]
    pub fn acquired(&self, shard: u32) {
        #[cfg(feature = "kafka")]
        self.transactional_ids.acquired(shard);
    }

    /// Releases transactional ids. Called when all sinks are gone.
    pub async fn close(&self) {
        #[cfg(feature = "kafka")]
        self.transactional_ids.close().await;
    }

    /// Returns the number of open Kafka clients.
    pub fn kafka_clients(&self) -> usize {
        #[cfg(feature = "kafka")]
        return self.producers.count() + self.transactional_ids.count();
        #[cfg(not(feature = "kafka"))]
        0
    }
}

impl SinkContext {
    /// Returns the context of the lane `acme/threats/siem` in a process of its own, without access to the console.
    #[cfg(any(test, feature = "testing"))]
    pub fn sample() -> Self {
        Self {
            lane: LaneId::new("acme", s1_forwarder_record::Stream::Threats, "siem"),
            shard: 0,
            console_host: "usea1-acme.sentinelone.net".to_owned(),
            console: None,
            labels: Labels::from([("customer".to_owned(), "acme-eu".to_owned())]),
            console_labels: BTreeSet::new(),
            schema: Schema::Ecs,
            schema_name: "ecs-9.4.0",
            shared: SharedSinkResources::default(),
        }
    }

    /// Returns the console's host without its port, for fields of hosts.
    pub(crate) fn hostname(&self) -> &str {
        hostname(&self.console_host)
    }

    /// Replaces the placeholders in a template.
    pub(crate) fn fill(&self, key: &'static str, template: &str) -> Result<String, BuildError> {
        self.fill_with(key, template, &self.labels)
    }

    /// Replaces the placeholders in a template, with other labels.
    pub(crate) fn fill_with(&self, key: &'static str, template: &str, labels: &Labels) -> Result<String, BuildError> {
        let mut filled = String::with_capacity(template.len());
        let mut is_of_console = false;
        for part in text_parts(template) {
            match part.map_err(|error| BuildError::value(key, error.to_string()))? {
                TextPart::Plain(text) => filled.push_str(text),
                TextPart::Placeholder(placeholder) => {
                    let unknown = || BuildError::Placeholder {
                        key,
                        placeholder: placeholder.to_owned(),
                        labels: labels.keys().cloned().collect(),
                    };
                    filled.push_str(&self.value(key, placeholder, labels).ok_or_else(unknown)?);
                    let label = placeholder.strip_prefix("label.");
                    is_of_console |= label.is_some_and(|label| self.console_labels.contains(label));
                }
            }
        }
        // A name without texts from the console is the user's own, and the user corrects it.
        Ok(if is_of_console { safe_name(key, filled) } else { filled })
    }

    fn value<'a>(&'a self, key: &'static str, placeholder: &str, labels: &'a Labels) -> Option<Cow<'a, str>> {
        match placeholder.strip_prefix("label.") {
            Some(label) => labels.get(label).map(|value| {
                if self.console_labels.contains(label) {
                    Cow::Owned(safe_part(key, value))
                } else {
                    Cow::Borrowed(value.as_str())
                }
            }),
            None if placeholder == "pipeline" => Some(Cow::Borrowed(self.lane.pipeline.as_str())),
            None if placeholder == "stream" => Some(Cow::Borrowed(self.lane.stream.name())),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced() {
        let filled = SinkContext::sample().fill("topic", "s1.{stream}.{pipeline}-{label.customer}");
        assert_eq!(filled.unwrap(), "s1.threats.acme-acme-eu");
        assert_eq!(SinkContext::sample().fill("topic", "plain").unwrap(), "plain");
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for template in ["{customer}", "{label.other}", "{}", "{stream"] {
            let error = SinkContext::sample().fill("topic", template).unwrap_err().to_string();
            assert!(error.starts_with("`topic`"), "{error}");
        }
    }
}
