use std::collections::BTreeMap;
use std::sync::Arc;

use super::http::Tokens;
use super::settings::Compression;
use crate::record::Stream;
use crate::settings::{ClientError, Schema};

/// What a sink is told about the lane that it serves.
#[derive(Debug, Clone)]
pub struct Context {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The lane's stream.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: String,
    /// The shard that the pipeline belongs to.
    pub shard: u32,
    /// The console's host, as identities have it.
    pub console_host: String,
    /// `transform.labels`.
    pub labels: BTreeMap<String, String>,
    /// Schema of the events.
    pub schema: Schema,
    /// Schema and version as destinations see it (`ecs-9.4.0`, `raw`).
    pub schema_name: &'static str,
    /// What all sinks of the process share.
    pub shared: Shared,
}

/// What all sinks of a process share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) tokens: Arc<Tokens>,
    #[cfg(feature = "kafka")]
    pub(crate) producers: Arc<super::kafka::Producers>,
    #[cfg(feature = "kafka")]
    pub(crate) owners: Arc<crate::kafka::Owners>,
}

/// `--instance`, unless it is given.
pub const INSTANCE: &str = "s1-forwarder";

impl Default for Shared {
    fn default() -> Self {
        Self::new(INSTANCE)
    }
}

impl Shared {
    /// For a process of the installation `instance`.
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "only Kafka names things after it"))]
    pub fn new(instance: &str) -> Self {
        Self {
            tokens: Arc::default(),
            #[cfg(feature = "kafka")]
            producers: Arc::default(),
            #[cfg(feature = "kafka")]
            owners: crate::kafka::Owners::new(instance),
        }
    }

    /// A lease gave this process the shard.
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "only Kafka fences"))]
    pub fn acquired(&self, shard: u32) {
        #[cfg(feature = "kafka")]
        self.owners.acquired(shard);
    }

    /// Gives up what this process holds, when all sinks are gone.
    pub async fn close(&self) {
        #[cfg(feature = "kafka")]
        self.owners.close().await;
    }

    /// Kafka clients that are open now.
    pub fn kafka_clients(&self) -> usize {
        #[cfg(feature = "kafka")]
        return self.producers.count() + self.owners.count();
        #[cfg(not(feature = "kafka"))]
        0
    }
}

/// Settings that name or say what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A compression that the destination does not understand.
    #[error("`compression: {compression:?}` is unknown to a sink of type {type_name}, which takes {known:?}")]
    Compression {
        /// The sink's type.
        type_name: &'static str,
        /// What was asked for.
        compression: Compression,
        /// What it takes.
        known: &'static [Compression],
    },
    /// A `{…}` in a topic or path that stands for nothing.
    #[error(
        "`{key}`: `{{{placeholder}}}` stands for nothing here; {{pipeline}}, {{stream}} and the labels ({{label.NAME}}) do"
    )]
    Placeholder {
        /// The key that holds the template.
        key: &'static str,
        /// What stands between the braces.
        placeholder: String,
    },
    /// A value that makes no sense for its key.
    #[error("`{key}`: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// TLS or proxy settings that no client can be made from.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl BuildError {
    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}

impl Context {
    /// Fills the placeholders of a topic or path.
    pub(crate) fn fill(&self, key: &'static str, template: &str) -> Result<String, BuildError> {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (placeholder, after) =
                after.split_once('}').ok_or_else(|| BuildError::value(key, "a `{` without its `}`"))?;
            let value = match placeholder.strip_prefix("label.") {
                Some(label) => self.labels.get(label).map(String::as_str),
                None if placeholder == "pipeline" => Some(self.pipeline.as_str()),
                None if placeholder == "stream" => Some(self.stream.name()),
                None => None,
            };
            let unknown = || BuildError::Placeholder { key, placeholder: placeholder.to_owned() };
            filled.push_str(value.ok_or_else(unknown)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            pipeline: "acme".to_owned(),
            stream: Stream::Threats,
            sink: "bus".to_owned(),
            shard: 0,
            console_host: "host.example".to_owned(),
            labels: BTreeMap::from([("customer".to_owned(), "acme-eu".to_owned())]),
            schema: Schema::Ecs,
            schema_name: "ecs-9.4.0",
            shared: Shared::default(),
        }
    }

    #[test]
    fn placeholders_are_filled() {
        let filled = context().fill("topic", "s1.{stream}.{pipeline}-{label.customer}");
        assert_eq!(filled.unwrap(), "s1.threats.acme-acme-eu");
        assert_eq!(context().fill("topic", "plain").unwrap(), "plain");
    }

    #[test]
    fn placeholders_that_stand_for_nothing_are_refused() {
        for template in ["{customer}", "{label.other}", "{}", "{stream"] {
            let error = context().fill("topic", template).unwrap_err().to_string();
            assert!(error.starts_with("`topic`"), "{error}");
        }
    }
}
