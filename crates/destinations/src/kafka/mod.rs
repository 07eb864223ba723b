//! `type: kafka`: one message per event.
//!
//! `delivery` chooses the sink: `KafkaSink` waits for the reports of a shared producer, `TransactionalKafkaSink`
//! commits the events and the lane's checkpoint in one transaction. librdkafka batches, compresses and sends. `reports`
//! decides what its reports mean.

mod at_least_once;
mod bearer;
mod lookup;
mod messages;
mod options;
mod producer;
mod reports;
mod settings;
mod text;
mod transactional;

use std::sync::Arc;

use parking_lot::Mutex;
use s1_forwarder_engine::sink::Sink;
use s1_forwarder_engine::sink::lookup::Lookup;

use super::common_keys::Common;
use super::sink_type::{SinkDefaults, SinkProperties, SinkType};
use super::{BuildError, DestinationHash, SinkContext};

pub(crate) use producer::Producers;
pub use settings::{Delivery, KafkaSettings, MessageTime};
pub use text::Text;

use at_least_once::KafkaSink;
use lookup::TopicLookup;
use options::Options;
use transactional::TransactionalKafkaSink;

impl SinkProperties for KafkaSettings {
    fn defaults(&self) -> SinkDefaults {
        settings::DEFAULTS
    }

    fn is_transactional(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce
    }

    fn separates_labels(&self) -> bool {
        false
    }

    fn embeds_raw(&self) -> bool {
        false
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.addresses("brokers", &self.brokers).text("topic", &context.fill("topic", &self.topic)?);
        Ok(())
    }
}

impl SinkType for KafkaSettings {
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let sink = KafkaSink::new(self, common, context)?;
        Ok(match self.delivery {
            Delivery::AtLeastOnce => Arc::new(sink),
            Delivery::ExactlyOnce => Arc::new(TransactionalKafkaSink::new(sink, self, context)?),
        })
    }

    fn lookup(&self, common: &Common, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        let problem = "is missing: give it options of a user that may only read the topic";
        let verify = self.verify.as_ref().ok_or_else(|| BuildError::value("verify", problem))?;
        let is_of_record = |label: &String| self.topic.contains(&format!("{{label.{label}}}"));
        if let Some(label) = context.console_labels.iter().find(|label| is_of_record(label)) {
            let problem = format!("the topic of an event depends on its label `{label}`");
            return Err(BuildError::value("topic", problem));
        }
        let reader = Self {
            brokers: verify.brokers.clone().unwrap_or_else(|| self.brokers.clone()),
            options: verify.options.clone(),
            oauth: None,
            auth: None,
            delivery: Delivery::AtLeastOnce,
            ..self.clone()
        };
        Ok(Some(Arc::new(TopicLookup {
            options: Options::new(&reader, common, common.compression(&settings::DEFAULTS))?,
            brokers: reader.brokers.join(","),
            topic: context.fill("topic", &self.topic)?,
            lane: context.clone(),
            timestamp: self.timestamp,
            copy: Mutex::default(),
        })))
    }
}
