//! The JSON Schema of a pipeline file.

use s1_forwarder_engine::source::{PullSettings, Since};
use s1_forwarder_engine::{console, source, transform};
use s1_forwarder_record::Stream;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Case;

/// Returns the JSON Schema of a pipeline file: every key with its type, default and meaning, without references. It
/// serves editors and docs/configuration.md.
pub fn schema() -> Value {
    let sinks: Vec<_> = s1_forwarder_destinations::settings::types()
        .iter()
        .filter_map(|name| s1_forwarder_destinations::settings::schema(name))
        .collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "s1-forwarder pipeline",
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "x-kind": SettingKind::PipelineName,
                "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
                "description": "Name of the pipeline, unique among all pipelines. Default: the file's name without its extension.",
            },
            "renamed_from": {
                "type": "string",
                "x-kind": SettingKind::FormerName,
                "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
                "description": "The pipeline's earlier name. Each lane without a checkpoint takes over the checkpoint \
                 of the lane of this name, once that lane has ended. Two files cannot name one pipeline here.",
            },
            "enabled": {
                "type": "boolean",
                "x-kind": SettingKind::Switch,
                "default": true,
                "description": "`false` pauses the pipeline and keeps its checkpoints.",
            },
            "console": section::<console::ConsoleSettings>(),
            "streams": section::<source::StreamSettings>(),
            "transform": section::<transform::TransformSettings>(),
            "sinks": { "type": "array", "x-kind": SettingKind::Sinks, "items": { "oneOf": sinks }, "minItems": 1 },
            "tests": {
                "type": "array",
                "items": section::<Case>(),
                "description": "Records, and what has to become of them; `check` runs these tests.",
            },
        },
        "required": ["console", "streams", "sinks"],
        "additionalProperties": false,
    });
    for stream in Stream::ALL {
        let path = format!("/properties/streams/properties/{}/properties", stream.name());
        if let Some(keys) = schema.pointer_mut(&path) {
            set_stream_defaults(keys, &PullSettings::of(stream));
        }
    }
    schema
}

fn section<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
    }
    schema
}

/// Sets the defaults that depend on the stream: the settings' types cannot state them.
fn set_stream_defaults(keys: &mut Value, pull: &PullSettings) {
    let since: &Since = &pull.since;
    for (key, default) in [
        ("interval", Period(pull.interval).to_string()),
        ("since", since.to_string()),
        ("overlap", Period(pull.overlap).to_string()),
        ("lookback", Period(pull.lookback().unwrap_or_default()).to_string()),
    ] {
        if let Some(key) = keys.get_mut(key) {
            key["default"] = default.into();
        }
    }
    if let Some(volatile) = keys.get_mut("volatile") {
        volatile["default"] = pull.volatile().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_set_and_nothing_is_a_reference() {
        let schema = schema();
        let default = |path: &str| schema.pointer(&format!("/properties{path}/default")).cloned();
        assert_eq!(default("/streams/properties/activities/properties/interval"), Some("30s".into()));
        assert_eq!(default("/streams/properties/groups/properties/since"), Some("beginning".into()));
        assert_eq!(default("/console/properties/timeout"), Some("30s".into()));
        let text = schema.to_string();
        assert!(!text.contains("$ref"), "{text}");
    }
}
