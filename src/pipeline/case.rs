//! `tests:` of a pipeline file: a record, and what has to become of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Pipeline;
use crate::record::Stream;
use crate::transform::{Mapper, Origin, Steps};

/// One entry of `tests:`. `check` runs it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the result of the test is listed under.
    pub name: String,
    /// Stream of the record.
    pub stream: Stream,
    /// Sink whose schema and program are used; default: those of `transform`.
    pub sink: Option<String>,
    /// The record, as the console returns it.
    #[schemars(extend("title" = "object"))]
    pub record: Value,
    /// Dotted paths of the event and their values; `null` for a field that must not exist.
    #[serde(default)]
    pub expect: BTreeMap<String, Value>,
    /// True if the event must be dropped.
    #[serde(default)]
    pub dropped: bool,
}

impl Case {
    /// # Errors
    /// What is not as expected, one difference after the other.
    pub fn run(&self, pipeline: &Pipeline) -> Result<(), String> {
        let sink = match &self.sink {
            Some(name) => {
                let found = pipeline.sinks.iter().find(|sink| sink.name() == name);
                Some(found.ok_or_else(|| format!("the pipeline has no sink `{name}`"))?)
            }
            None => None,
        };
        let transform = &pipeline.transform;
        let schema = sink.and_then(|sink| sink.common.schema).unwrap_or(transform.schema);
        let remap = sink.and_then(|sink| sink.common.remap.as_deref());
        let steps = Steps::new(transform, schema, remap).map_err(|error| format!("transform.{error}"))?;
        let origin = Origin::of(&pipeline.name, pipeline.console.url.host(), self.stream);
        let mut mapper = Mapper::new(transform, schema, origin).with_steps(steps.map(Arc::new));
        let mut event = Vec::new();
        let mapped = mapper.map(self.record.to_string().as_bytes(), &mut event).map_err(|error| error.to_string())?;
        if let Some(reason) = mapped.remap_error {
            return Err(format!("a program failed: {reason}"));
        }
        match (mapped.dropped.is_some(), self.dropped) {
            (true, true) => return Ok(()),
            (true, false) => return Err("the event was dropped".to_owned()),
            (false, true) => return Err("the event was not dropped".to_owned()),
            (false, false) => {}
        }
        let event: Value = serde_json::from_slice(&event).map_err(|error| error.to_string())?;
        let differs = |(path, expected): (&String, &Value)| {
            let found = find(&event, path).unwrap_or(&Value::Null);
            (found != expected).then(|| format!("{path}: expected {expected}, found {found}"))
        };
        let differences: Vec<_> = self.expect.iter().filter_map(differs).collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    }
}

/// The value at a dotted path. Keys may have dots, and a number is an index of a list.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let inner = |key: &str| value.get(key).or_else(|| value.get(key.parse::<usize>().ok()?));
    let whole = inner(path);
    whole.or_else(|| path.match_indices('.').find_map(|(dot, _)| find(inner(&path[..dot])?, &path[dot + 1..])))
}
