//! `schema` prints what editors check pipeline files with: it must agree with the program.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use s1_forwarder::pipeline;
use serde_json::Value;

/// Wrong files that the schema accepts, and why it cannot refuse them.
const ACROSS_KEYS: &[(&str, &str)] = &[
    ("remap", "programs and redactions are checked by compiling them"),
    ("transform", "placeholders in labels"),
    ("renamed_from", "it is the pipeline's own name"),
    ("labels", "one label's name is the beginning of another one"),
    ("Bad Name", "the name of the file is wrong, and not its contents"),
    ("clouds", "which kinds of credentials exclude or need each other is checked when a sink is built"),
    ("kafka_options", "a placeholder names a label that another key must define; librdkafka has the options"),
    ("integrations", "which streams a destination has a place for is checked when a sink is built"),
    ("tokens", "what stands around a token is not looked at by the schema"),
    ("shell", "what looks like a shell's variable is looked at by the program"),
    ("shell_path", "what looks like a shell's path is looked at by the program"),
    ("dot", "programs are checked by compiling them"),
    ("tag", "tags are not looked at by the schema"),
    ("shell_variable", "it may stand in any text"),
    ("placeholder", "a placeholder names a label that another key must define"),
];

fn validator() -> Validator {
    jsonschema::validator_for(&pipeline::schema()).unwrap()
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// `None` for what is no YAML.
fn parse(path: &Path) -> Option<Value> {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).ok()
}

#[test]
fn the_schema_accepts_every_example() {
    let validator = validator();
    for path in yaml_files("pipelines") {
        let example = parse(&path).unwrap();
        let errors: Vec<_> =
            validator.iter_errors(&example).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

#[test]
fn the_schema_refuses_every_wrong_file_that_is_wrong_by_itself() {
    let validator = validator();
    let mut disagreements = Vec::new();
    for path in yaml_files("tests/files/errors") {
        let Some(file) = parse(&path) else { continue };
        let is_wrong = pipeline::load(std::slice::from_ref(&path), &pipeline::FileOptions::default())
            .problems
            .iter()
            .any(pipeline::Problem::is_error);
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_listed = ACROSS_KEYS.iter().any(|(listed, _)| *listed == name);
        if validator.is_valid(&file) == (is_wrong && !is_listed) {
            disagreements.push(name.to_owned());
        }
    }
    assert!(disagreements.is_empty(), "{disagreements:?}");
}
