//! The mapper of a pipeline without a lane: for `map`, `preview` and `tests:`.

use std::sync::Arc;

use s1_forwarder_destinations::SinkSettings;
use s1_forwarder_engine::transform::{Keys, Mapper, OcsfVersion, Origin, Schema, Steps, StepsError};

use super::Pipeline;

/// There is no such mapper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapperError {
    #[error("the pipeline has no sink `{name}`; it has {}", sinks.join(", "))]
    NoSink { name: String, sinks: Vec<String> },
    #[error("transform.{0}")]
    Steps(#[from] StepsError),
}

impl Pipeline {
    /// The sink of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn sink(&self, name: &str) -> Result<&Arc<SinkSettings>, MapperError> {
        let no_sink = || MapperError::NoSink {
            name: name.to_owned(),
            sinks: self.sinks.iter().map(|sink| sink.name().to_owned()).collect(),
        };
        self.sinks.iter().find(|sink| sink.name() == name).ok_or_else(no_sink)
    }

    /// Maps as the sink of this name does, or as `transform` says. `schema` overrides both.
    ///
    /// # Errors
    /// If there is no such sink, or a step after the mapping cannot be used.
    pub fn mapper(
        &self,
        origin: Origin,
        sink: Option<&str>,
        schema: Option<Schema>,
        keys: Keys,
    ) -> Result<(Mapper, Schema), MapperError> {
        let sink = sink.map(|name| self.sink(name)).transpose()?;
        let own = sink.map_or(self.transform.schema, |sink| sink.schema(self.transform.schema));
        let schema = schema.unwrap_or(own);
        let configured = self.transform.ocsf_version;
        let ocsf_version = match keys {
            Keys::Configured => sink.map_or(configured, |sink| sink.ocsf_version(configured)),
            // Tests say what programs make of an event.
            Keys::OfTests => OcsfVersion::V1_9,
        };
        let remap = sink.and_then(|sink| sink.common.remap.as_deref());
        let steps = Steps::new(&self.transform, schema, remap, keys)?;
        let mapper = Mapper::new(&self.transform, schema, origin)
            .with_steps(steps.map(Arc::new))
            .with_ocsf_version(ocsf_version)
            .with_raw_embedded(sink.is_some_and(|sink| sink.embeds_raw()));
        Ok((mapper, schema))
    }
}
