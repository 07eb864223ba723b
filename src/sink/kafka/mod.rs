//! `type: kafka`: one message per event.
//!
//! `delivery` chooses the sink: `KafkaSink` waits for the reports of a shared producer, `TransactionalKafkaSink`
//! commits the events and the lane's checkpoint in one transaction. librdkafka batches, compresses and sends. `reports`
//! decides what its reports mean.

mod at_least_once;
mod bearer;
mod messages;
mod options;
mod producer;
mod reports;
mod settings;
mod text;
mod transactional;

use std::sync::Arc;

pub(crate) use producer::Producers;
pub use settings::{Delivery, KafkaSettings, MessageTime};
pub use text::Text;

use super::common::{Common, Defaults, SinkType};
use super::{BuildError, DestinationKey, Sink, SinkContext};
use at_least_once::KafkaSink;
use transactional::TransactionalKafkaSink;

impl SinkType for KafkaSettings {
    fn defaults(&self) -> Defaults {
        settings::DEFAULTS
    }

    fn keeps_checkpoints(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce
    }

    fn mixes_labels(&self) -> bool {
        true
    }

    fn embeds_raw(&self) -> bool {
        false
    }

    fn describe_destination(&self, context: &SinkContext, key: &mut DestinationKey<'_>) -> Result<(), BuildError> {
        key.addresses("brokers", &self.brokers).text("topic", &context.fill("topic", &self.topic)?);
        Ok(())
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let sink = KafkaSink::new(self, common, context)?;
        Ok(match self.delivery {
            Delivery::AtLeastOnce => Arc::new(sink),
            Delivery::ExactlyOnce => Arc::new(TransactionalKafkaSink::new(sink, self, context)?),
        })
    }
}
