//! Puts back what a program must not change: the identity of an event, and where it is from.

use std::ops::Bound;
use std::sync::LazyLock;

use vrl::path;
use vrl::path::{OwnedValuePath, parse_value_path};
use vrl::value::{ObjectMap, Value};

use crate::settings::Schema;
use crate::transform::schema_paths::READ_ONLY;

const LABEL: &str = "pipeline:";

static PATHS: LazyLock<Vec<OwnedValuePath>> =
    LazyLock::new(|| READ_ONLY.iter().filter_map(|path| parse_value_path(path).ok()).collect());

/// What a mapped event had before a program changed it.
#[derive(Debug)]
pub struct Provenance {
    /// In the order of `PATHS`.
    values: Vec<Option<Value>>,
    /// In OCSF the labels with the name of the pipeline. They are in a list that programs may change.
    labels: Option<Vec<Value>>,
}

impl Provenance {
    /// `None` for raw events: sinks deliver next to them where they are from.
    pub fn of(event: &Value, schema: Schema) -> Option<Self> {
        let values = || PATHS.iter().map(|path| event.get(path).cloned()).collect();
        let labels = || {
            let labels = event.get(path!("metadata", "labels")).and_then(Value::as_array).into_iter().flatten();
            labels.filter(|label| is_pipeline(label)).cloned().collect()
        };
        match schema {
            Schema::Ecs => Some(Self { values: values(), labels: None }),
            Schema::Ocsf => Some(Self { values: values(), labels: Some(labels()) }),
            Schema::Raw => None,
        }
    }

    pub fn restore(self, event: &mut Value) {
        let with_labels = self.labels.is_some().then_some("metadata.labels");
        if let Value::Object(members) = event {
            READ_ONLY.into_iter().chain(with_labels).for_each(|path| remove_spellings(members, path));
        }
        for (path, value) in PATHS.iter().zip(self.values) {
            if event.get(path) == value.as_ref() {
                continue;
            }
            match value {
                Some(value) => drop(event.insert(path, value)),
                None => drop(event.remove(path, false)),
            }
        }
        let Some(own) = self.labels else { return };
        let labels = match event.remove(path!("metadata", "labels"), false) {
            Some(Value::Array(labels)) => labels,
            _ => Vec::new(),
        };
        let others = labels.into_iter().filter(|label| !is_pipeline(label));
        let labels: Vec<Value> = own.into_iter().chain(others).collect();
        event.insert(path!("metadata", "labels"), labels);
    }
}

/// Removes keys that are another spelling of `path`, or of a part of it. Destinations read a dot in a key as a level:
/// `labels.pipeline` as one key would be a second value of the path.
fn remove_spellings(members: &mut ObjectMap, path: &str) {
    let (level, below) = path.split_once('.').map_or((path, None), |(level, below)| (level, Some(below)));
    if let (Some(Value::Object(inner)), Some(below)) = (members.get_mut(level), below) {
        remove_spellings(inner, below);
    }
    let others = members.range_mut::<str, _>((Bound::Excluded(level), Bound::Unbounded));
    let others = others.take_while(|(key, _)| key.starts_with(level));
    let removed: Vec<_> =
        others.filter_map(|(key, value)| is_spelling(key, value, path).then(|| key.clone())).collect();
    for key in removed {
        members.remove(&key);
    }
}

/// Whether a key with dots has to be removed. What is below it may be removed instead.
fn is_spelling(key: &str, value: &mut Value, path: &str) -> bool {
    let is_level = |rest: &str| rest.is_empty() || rest.starts_with('.');
    match (path.strip_prefix(key).filter(|rest| is_level(rest)), value) {
        _ if !key.contains('.') => false,
        (Some(rest), Value::Object(inner)) if !rest.is_empty() => {
            remove_spellings(inner, rest.trim_start_matches('.'));
            false
        }
        (Some(_), _) => true,
        (None, _) => key.strip_prefix(path).is_some_and(is_level),
    }
}

/// Destinations may not care for blanks, or for upper and lower case.
fn is_pipeline(label: &Value) -> bool {
    label.to_str_lossy().is_some_and(|label| label.trim_start().to_lowercase().starts_with(LABEL))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_an_event_has_become_says_where_it_is_from() {
        let read = |value: serde_json::Value| serde_json::from_value::<Value>(value).unwrap();
        let write = |value: &Value| serde_json::to_value(value).unwrap();
        let ecs = json!({
            "labels": { "pipeline": "acme" }, "observer": { "hostname": "a.example" }, "sentinel_one": { "identity": "1" }
        });
        let ocsf = json!({ "metadata": { "uid": "1", "log_source": "a.example", "labels": ["pipeline:acme", "x"] } });
        for changed in [
            json!({}),
            json!({ "labels": [{ "pipeline": "victim" }], "observer": "victim", "metadata": [1], "sentinel_one": 1 }),
            json!({ "labels": { "pipeline": ["victim"] }, "observer": { "hostname": { "x": 1 } } }),
            json!({ "labels.pipeline": "victim", "observer.hostname": 1, "labels.pipeline.x": 1 }),
            json!({ "metadata.labels": ["pipeline:victim"], "metadata": { "labels": { "x": "pipeline:victim" } } }),
            json!({ "metadata": { "labels": [" Pipeline:victim"], "log_source.x": 1 }, "sentinel_one": { "identity.x": 1 } }),
        ] {
            let mut event = read(changed.clone());
            Provenance::of(&read(ecs.clone()), Schema::Ecs).unwrap().restore(&mut event);
            let event = write(&event);
            for path in ["/labels/pipeline", "/observer/hostname", "/sentinel_one/identity"] {
                assert_eq!(event.pointer(path), ecs.pointer(path), "{changed}");
            }
            assert!(!event["labels"].is_array() && event.get("labels.pipeline").is_none(), "{event}");
            assert!(event["sentinel_one"].get("identity.x").is_none() && event.get("labels.pipeline.x").is_none());

            let mut event = read(changed.clone());
            Provenance::of(&read(ocsf.clone()), Schema::Ocsf).unwrap().restore(&mut event);
            let event = write(&event);
            assert_eq!(event["metadata"]["labels"], json!(["pipeline:acme"]), "{changed}");
            assert_eq!(
                (&event["metadata"]["uid"], &event["metadata"]["log_source"]),
                (&json!("1"), &json!("a.example"))
            );
            assert!(
                event.get("metadata.labels").is_none() && event["metadata"].get("log_source.x").is_none(),
                "{event}"
            );
        }
        let mut event = read(json!({ "labels": { "mine": 1 }, "a.b": 1, "labelspipeline": 1 }));
        Provenance::of(&read(ecs.clone()), Schema::Ecs).unwrap().restore(&mut event);
        let event = write(&event);
        assert_eq!((&event["labels"], &event["a.b"]), (&json!({ "mine": 1, "pipeline": "acme" }), &json!(1)));
    }
}
