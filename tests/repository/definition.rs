//! The definition of the resource `Pipeline` is made from the settings. `UPDATE_GOLDEN=1` writes it.

use std::fs;

use s1_forwarder::pipeline;
use serde_json::Value;

use super::reference_docs::root;

/// `kubectl apply` keeps a copy of an object in an annotation, which has at most this many bytes.
const MAX_BYTES: usize = 262_144;

#[test]
fn the_definition_is_that_of_this_program() {
    let text = pipeline::definition_text();
    for name in ["deploy/kubernetes/crd.yaml", "deploy/helm/s1-forwarder/files/crd.yaml"] {
        let path = root().join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{name} differs: run UPDATE_GOLDEN=1 cargo test --test it repository");
    }
    assert!(pipeline::definition().to_string().len() < MAX_BYTES);
}

#[test]
fn the_text_says_the_same_as_the_definition() {
    let read: Value = serde_saphyr::from_str(&pipeline::definition_text()).unwrap();
    assert_eq!(read, pipeline::definition());
}

/// The samples are accepted by the schema of files, apart from the form of their secrets.
#[test]
fn the_sample_says_nothing_that_the_definition_does_not_have() {
    let sample = fs::read_to_string(root().join("deploy/examples/pipeline.yaml")).unwrap();
    let sample: Value = serde_saphyr::from_str(&sample).unwrap();
    let definition = pipeline::definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    unknown_keys(&sample["spec"], &schema["properties"]["spec"], "spec");
}

fn unknown_keys(value: &Value, schema: &Value, path: &str) {
    match value {
        Value::Object(map) if schema["properties"].is_object() => {
            for (key, value) in map {
                let known = &schema["properties"][key];
                assert!(known.is_object(), "{path}.{key} is not in the definition");
                unknown_keys(value, known, &format!("{path}.{key}"));
            }
        }
        Value::Array(list) => list.iter().for_each(|element| unknown_keys(element, &schema["items"], path)),
        _ => {}
    }
}
