//! `tests:` of a pipeline file: a record, and what has to become of it.

use std::collections::BTreeMap;

use s1_forwarder_engine::transform::{Keys, Origin};
use s1_forwarder_record::Stream;
use s1_forwarder_settings::SettingKind;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Pipeline;

/// What names the kind of an event, in ECS and in OCSF.
const KINDS: [&str; 3] = ["event.action", "event.code", "type_name"];

/// One entry of `tests:`. `check` runs it. Hashes have a key of their own, so that a test needs no secret.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the result of the test is listed under.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub name: String,
    /// Stream of the record.
    pub stream: Stream,
    /// Sink whose schema and program are used; default: those of `transform`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub sink: Option<String>,
    /// The record, as the console returns it.
    #[schemars(extend("title" = "object"))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub record: Value,
    /// Dotted paths of the event and their values; `null` for a field that must not exist.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub expect: BTreeMap<String, Value>,
    /// Texts that must be nowhere in the event, such as a name that is redacted.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub absent: Vec<String>,
    /// True if the event must be dropped.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub dropped: bool,
}

impl Case {
    /// # Errors
    /// What is not as expected, one difference after the other.
    pub fn run(&self, pipeline: &Pipeline) -> Result<(), String> {
        let origin = Origin::of(&pipeline.name, pipeline.console.url.host(), self.stream);
        let mapper = pipeline.mapper(origin, self.sink.as_deref(), None, Keys::OfTests);
        let (mut mapper, _) = mapper.map_err(|error| error.to_string())?;
        let mut event = Vec::new();
        let mapped = mapper.map(self.record.to_string().as_bytes(), &mut event).map_err(|error| error.to_string())?;
        if let Some(reason) = mapped.remap_error {
            return Err(format!("a program failed: {reason}"));
        }
        match (mapped.dropped.is_some(), self.dropped) {
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
        let present = self.absent.iter().filter(|absent| text.contains(absent.as_str()));
        let present = present.map(|absent| format!("{absent:?} is in the event"));
        let event: Value = serde_json::from_slice(&event).map_err(|error| error.to_string())?;
        let differs = |(path, expected): (&String, &Value)| {
            let found = find(&event, path).unwrap_or(&Value::Null);
            (found != expected).then(|| format!("{path}: expected {expected}, found {found}"))
        };
        let differences: Vec<_> = self.expect.iter().filter_map(differs).chain(present).collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    }
}

/// The value at a dotted path. Keys may have dots, and a number is an index of a list.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let inner = |key: &str| value.get(key).or_else(|| value.get(key.parse::<usize>().ok()?));
    let whole = inner(path);
    whole.or_else(|| path.match_indices('.').find_map(|(dot, _)| find(inner(&path[..dot])?, &path[dot + 1..])))
}
