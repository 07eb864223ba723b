//! The transformer of a pipeline without a lane: for `map`, `preview` and `tests:`.

use std::sync::Arc;

use s1_forwarder_destinations::SinkSettings;
use s1_forwarder_engine::transform::{OcsfVersion, Origin, RedactionKeys, Schema, Steps, StepsError, Transformer};
use serde_json::Value;

use super::{Case, Pipeline};

/// Fields that name the kind of an event, in ECS and in OCSF.
const KINDS: [&str; 3] = ["event.action", "event.code", "type_name"];

/// Why there is no such transformer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformerError {
    #[error("the pipeline has no sink `{name}`; it has {}", sinks.join(", "))]
    NoSink { name: String, sinks: Vec<String> },
    #[error("transform.{0}")]
    Steps(#[from] StepsError),
}

impl Pipeline {
    /// Returns the sink of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn sink(&self, name: &str) -> Result<&Arc<SinkSettings>, TransformerError> {
        let no_sink = || TransformerError::NoSink {
            name: name.to_owned(),
            sinks: self.sinks.iter().map(|sink| sink.name().to_owned()).collect(),
        };
        self.sinks.iter().find(|sink| sink.name() == name).ok_or_else(no_sink)
    }

    /// Maps as the sink of this name does, or as `transform` says. `schema` overrides both.
    ///
    /// # Errors
    /// If there is no such sink, or a step after the mapping cannot be used.
    pub fn transformer(
        &self,
        origin: Origin,
        sink: Option<&str>,
        schema: Option<Schema>,
        keys: RedactionKeys,
    ) -> Result<(Transformer, Schema), TransformerError> {
        let sink = sink.map(|name| self.sink(name)).transpose()?;
        let own = sink.map_or(self.transform.schema, |sink| sink.schema(self.transform.schema));
        let schema = schema.unwrap_or(own);
        let configured = self.transform.ocsf_version;
        let ocsf_version = match keys {
            RedactionKeys::Configured => sink.map_or(configured, |sink| sink.ocsf_version(configured)),
            // Tests name the events that programs have to make.
            RedactionKeys::OfTests => OcsfVersion::V1_9,
        };
        let remap = sink.and_then(|sink| sink.common.remap.as_deref());
        let steps = Steps::new(&self.transform, schema, remap, keys)?;
        let transformer = Transformer::new(&self.transform, schema, origin)
            .with_steps(steps.map(Arc::new))
            .with_ocsf_version(ocsf_version)
            .with_raw_embedded(sink.is_some_and(|sink| sink.type_settings.as_sink_type().embeds_raw()));
        Ok((transformer, schema))
    }

    /// Maps the record of a test, and compares the event with what the test expects.
    ///
    /// # Errors
    /// If the event is not as expected, with all differences.
    pub fn run_test(&self, case: &Case) -> Result<(), String> {
        let origin = Origin::of(&self.name, self.console.url.host(), case.stream);
        let transformer = self.transformer(origin, case.sink.as_deref(), None, RedactionKeys::OfTests);
        let (mut transformer, _) = transformer.map_err(|error| error.to_string())?;
        let mut event = Vec::new();
        let mapped =
            transformer.map(case.record.to_string().as_bytes(), &mut event).map_err(|error| error.to_string())?;
        if let Some(reason) = mapped.remap_error {
            return Err(format!("a program failed: {reason}"));
        }
        match (mapped.dropped.is_some(), case.dropped) {
            (true, true) => return Ok(()),
            (true, false) => return Err("the event was dropped".to_owned()),
            (false, false) => {}
            (false, true) => {
                let event: Value = serde_json::from_slice(&event).map_err(|error| error.to_string())?;
                let kind = KINDS.iter().filter_map(|path| Some(format!("{path} is {}", find(&event, path)?)));
                let kind = kind.collect::<Vec<_>>().join(", ");
                return Err(format!("the event was not dropped: {kind}"));
            }
        }
        let text = String::from_utf8_lossy(&event);
        let present = case.absent.iter().filter(|absent| text.contains(absent.as_str()));
        let present = present.map(|absent| format!("{absent:?} is in the event"));
        let event: Value = serde_json::from_slice(&event).map_err(|error| error.to_string())?;
        let differs = |(path, expected): (&String, &Value)| {
            let found = find(&event, path).unwrap_or(&Value::Null);
            (found != expected).then(|| format!("{path}: expected {expected}, found {found}"))
        };
        let differences: Vec<_> = case.expect.iter().filter_map(differs).chain(present).collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    }
}

/// Returns the value at a dotted path. Keys may have dots, and a number is an index of a list.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let inner = |key: &str| value.get(key).or_else(|| value.get(key.parse::<usize>().ok()?));
    let whole = inner(path);
    whole.or_else(|| path.match_indices('.').find_map(|(dot, _)| find(inner(&path[..dot])?, &path[dot + 1..])))
}
