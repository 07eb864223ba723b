//! Puts back what a program must not change: the identity of an event, and its origin.

use std::sync::LazyLock;

use s1_forwarder_mapping::Schema;
use vrl::path;
use vrl::path::{OwnedValuePath, parse_value_path};
use vrl::value::{ObjectMap, Value};

use crate::transform::schema_paths::READ_ONLY;

const LABEL: &str = "pipeline:";

static PATHS: LazyLock<Vec<OwnedValuePath>> =
    LazyLock::new(|| READ_ONLY.iter().filter_map(|path| parse_value_path(path).ok()).collect());

/// The levels of each path, and of the list of labels after them.
static LEVELS: LazyLock<Vec<Vec<&str>>> =
    LazyLock::new(|| READ_ONLY.iter().chain([&"metadata.labels"]).map(|path| path.split('.').collect()).collect());

/// Values that a mapped event had before a program changed it.
#[derive(Debug)]
pub struct Provenance {
    /// Values in the order of `PATHS`.
    values: Vec<Option<Value>>,
    /// In OCSF the labels with the name of the pipeline. They are in a list that programs may change.
    labels: Option<Vec<Value>>,
}

impl Provenance {
    /// Returns the provenance of an event; `None` for raw events, next to which sinks deliver their origin.
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
        if let Value::Object(members) = event {
            let paths = LEVELS.iter().take(PATHS.len() + usize::from(self.labels.is_some()));
            let is_plain = is_plain(members);
            for path in paths {
                if is_plain { remove_below(members, path) } else { remove_spellings(members, path, false) }
            }
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
        let labels: Vec<Value> = own.into_iter().chain(without_pipeline(labels)).collect();
        event.insert(path!("metadata", "labels"), labels);
    }
}

/// Removes keys that are another spelling of `path`, or of a part of it. If a key above them is another spelling
/// (`spelt`), removes all keys that lead to the path. Destinations read a dot in a key as a level, and some pass over a
/// level without a name. So `labels.pipeline` and `.labels.` would have a second value of the path.
fn remove_spellings(members: &mut ObjectMap, path: &[&str], spelt: bool) {
    if !spelt && is_plain(members) {
        return remove_below(members, path);
    }
    members.retain(|key, value| {
        if is_one_level(key) && path.first() != Some(&key.as_str()) {
            return true;
        }
        let levels: Vec<&str> = key.split('.').filter(|level| !level.is_empty()).collect();
        let is_plain = !spelt && levels.len() == 1 && path.first() == Some(&key.as_str());
        match (path.strip_prefix(&*levels), value) {
            (Some(below @ [_, ..]), Value::Object(inner)) => {
                remove_spellings(inner, below, !is_plain);
                true
            }
            // A value at the path in its plain spelling is put back.
            (Some(_), value) => is_plain || levels.is_empty() && !value.is_array(),
            (None, _) => !levels.starts_with(path),
        }
    });
}

/// Applies [`remove_spellings`] below an object whose own keys are spelt as in the path.
fn remove_below(members: &mut ObjectMap, path: &[&str]) {
    if let [first, below @ ..] = path
        && !below.is_empty()
        && let Some(Value::Object(inner)) = members.get_mut(*first)
    {
        remove_spellings(inner, below, false);
    }
}

/// Returns whether each key is one level, as nearly all are.
fn is_plain(members: &ObjectMap) -> bool {
    members.keys().all(|key| is_one_level(key))
}

fn is_one_level(key: &str) -> bool {
    !key.is_empty() && !key.as_bytes().contains(&b'.')
}

/// Removes the labels of the pipeline. Destinations read a list in a list as one list.
fn without_pipeline(labels: Vec<Value>) -> Vec<Value> {
    let mut others = Vec::with_capacity(labels.len());
    for label in labels {
        match label {
            Value::Array(inner) => others.push(Value::Array(without_pipeline(inner))),
            label if is_pipeline(&label) => {}
            label => others.push(label),
        }
    }
    others
}

/// Returns whether a label names the pipeline. Destinations may ignore blanks, invisible characters, and case.
fn is_pipeline(label: &Value) -> bool {
    let Some(label) = label.to_str_lossy() else { return false };
    let seen = label.chars().filter(|char| char.is_alphanumeric() || *char == ':').flat_map(char::to_lowercase);
    seen.take(LABEL.len()).eq(LABEL.chars())
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
            json!({ "labels.": { "pipeline": "victim" }, ".labels": { "pipeline.": "victim" }, "": { "labels": { "pipeline": "victim" } } }),
            json!({ "labels": { ".pipeline": "victim", "pipeline.": { "x": "victim" } }, ".": [{ "labels": "victim" }] }),
            json!({ "metadata": { "labels": [["pipeline:victim", ["PIPELINE:victim"]], "\u{feff}pipeline:victim"] } }),
            json!({ "metadata": { "labels": ["\u{200b}pipe\u{ad}line :victim"], "labels.": ["pipeline:victim"] } }),
        ] {
            let mut event = read(changed.clone());
            Provenance::of(&read(ecs.clone()), Schema::Ecs).unwrap().restore(&mut event);
            let event = write(&event);
            for path in ["/labels/pipeline", "/observer/hostname", "/sentinel_one/identity"] {
                assert_eq!(event.pointer(path), ecs.pointer(path), "{changed}");
            }
            // In ECS, nothing is read from `metadata`.
            let others = event.as_object().unwrap().iter().filter(|(key, _)| !key.starts_with("metadata"));
            assert!(others.into_iter().all(|(_, value)| !value.to_string().contains("victim")), "{event}");
            assert!(!event["labels"].is_array() && event.get("labels.pipeline").is_none(), "{event}");
            assert!(event["sentinel_one"].get("identity.x").is_none() && event.get("labels.pipeline.x").is_none());

            let mut event = read(changed.clone());
            Provenance::of(&read(ocsf.clone()), Schema::Ocsf).unwrap().restore(&mut event);
            let event = write(&event);
            let labels = event["metadata"]["labels"].as_array().unwrap();
            assert!(labels[0] == "pipeline:acme" && !event["metadata"].to_string().contains("victim"), "{event}");
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
