//! Makes a [`Pipeline`] of the tree of a file. Each section is read alone, so that a problem in one does not hide
//! others.

use std::path::Path;
use std::sync::Arc;

use s1_forwarder_destinations::SinkSettings;
use s1_forwarder_engine::{console, source, transform};
use s1_forwarder_record::check_name;
use s1_forwarder_settings::{SECRET_REF, SHELL_PATH_ADVICE, SecretObject, is_shell_path};
use serde::Deserialize;

use super::forms::Forms;
use super::problem::{MAX_PROBLEMS, Problem, Severity};
use super::read::{keys_of, not_one_of, not_this_but, read, read_with, unknown_key, warn_of_literals};
use super::resources::{is_resource, resource_at, stem};
use super::yaml::{self, Entry, Node, Value, join};
use super::{Case, Pipeline, check, resource, without_effect};

const KEYS: [&str; 8] = ["name", "renamed_from", "enabled", "console", "streams", "transform", "sinks", "tests"];

/// Returns the tree of a file, with relative paths resolved against the file's directory.
pub(super) fn tree(text: &str, file: &Arc<Path>, problems: &mut Vec<Problem>) -> Option<Node> {
    let (root, mut found) = yaml::parse(text, file);
    problems.append(&mut found);
    let Some(mut root) = root else {
        if problems.is_empty() {
            problems.push(Problem::file(file, "the file is empty"));
        }
        return None;
    };
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("expected the keys {}, found {}", KEYS.join(", "), root.kind());
        problems.push(Problem::at(&root.place, "", Severity::Error, message));
        return None;
    }
    if let (Some(_), Some(kind)) = (root.get("apiVersion"), root.get("kind")) {
        problems.push(Problem::at(&root.place, "", Severity::Error, object_of_kubernetes(kind, file)));
        return None;
    }
    let base = match resource_at(file) {
        Some((namespace, _)) => Base::Namespace(namespace),
        None => Base::Directory(file.parent().unwrap_or(Path::new(""))),
    };
    resolve(&mut root, base, Key::default(), problems);
    fill_empty_streams(&mut root);
    Some(root)
}

fn object_of_kubernetes(kind: &Node, file: &Path) -> String {
    let kind = kind.text().unwrap_or_default();
    let what = format!("this is an object of Kubernetes (kind {kind}), not a pipeline file");
    if kind == resource::KIND {
        let read = "a worker with --pipelines kubernetes-resources:NAMESPACE reads it once you apply it";
        format!("{what}; {read}: kubectl apply -f {}", file.display())
    } else {
        format!("{what}; a pipeline file begins with keys such as `console`")
    }
}

/// The place that names in a file are relative to.
#[derive(Debug, Clone, Copy)]
enum Base<'a> {
    /// `{ file }` in a file.
    Directory(&'a Path),
    /// `secretRef` in a resource.
    Namespace(&'a str),
}

/// The key of a node, without the index in a list, and the keys on the way to it.
#[derive(Clone, Copy, Default)]
struct Key<'a> {
    name: &'a str,
    path: &'a str,
    /// Whether the author of the file has chosen the key, such as the name of a header. It then says nothing about the
    /// node's value.
    is_chosen: bool,
}

/// Returns whether the author of a file chooses the keys of the mapping at this key.
fn has_chosen_keys(key: &str) -> bool {
    matches!(key, "labels" | "headers" | "options")
}

/// Resolves `{ file: PATH }`, the files of `tls:`, and `secretRef`. This is done before the defaults file is merged,
/// whose paths are relative to itself. A node is named by its key, and by the keys on the way to it.
fn resolve(node: &mut Node, base: Base<'_>, Key { name: key, path, is_chosen }: Key<'_>, problems: &mut Vec<Problem>) {
    let has_chosen_keys = !is_chosen && has_chosen_keys(key);
    let is_secret = !key.is_empty() && !has_chosen_keys;
    match &mut node.value {
        Value::Map(entries) => {
            let alone = entries.len() == 1;
            for entry in entries {
                let is_path =
                    (alone && is_secret && entry.key == "file") || (key == "tls" && entry.key.ends_with("_file"));
                match (&mut entry.node.value, base) {
                    _ if is_secret && entry.key == SECRET_REF => resolve_secret(entry, alone, base, path, problems),
                    (Value::Text(file), Base::Directory(directory)) if is_path => {
                        if is_shell_path(file) {
                            let path = join(path, &entry.key);
                            problems.push(Problem::at(&entry.place, &path, Severity::Error, SHELL_PATH_ADVICE));
                        }
                        *file = directory.join(file.as_str()).to_string_lossy().into_owned()
                    }
                    (Value::Text(file), Base::Namespace(_)) if is_path => {
                        if Path::new(file).is_relative() {
                            let path = join(path, &entry.key);
                            problems.push(Problem::at(&entry.place, &path, Severity::Error, RELATIVE));
                        }
                    }
                    // Records are not settings.
                    _ if key.is_empty() && entry.key == "tests" => {}
                    _ => {
                        let path = join(path, &entry.key);
                        let key = Key { name: &entry.key, path: &path, is_chosen: has_chosen_keys };
                        resolve(&mut entry.node, base, key, problems);
                    }
                }
            }
        }
        Value::List(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                resolve(element, base, Key { name: key, path: &path, is_chosen }, problems);
            }
        }
        _ => {}
    }
}

/// Replaces `{ name, key }` by [`SecretObject`]'s text. A wrong reference is replaced too, so that it is reported only
/// once.
fn resolve_secret(entry: &mut Entry, alone: bool, base: Base<'_>, key: &str, problems: &mut Vec<Problem>) {
    let Base::Namespace(namespace) = base else {
        let message = "only a Pipeline resource names Secrets; write { file: PATH } or { env: NAME }";
        problems.push(Problem::at(&entry.place, &join(key, SECRET_REF), Severity::Error, message));
        entry.node.value = Value::Text("no/secret/here".to_owned());
        return;
    };
    let text = |name: &str| entry.node.get(name).and_then(Node::text).unwrap_or_default();
    let object = SecretObject::new(namespace, text("name"), text("key")).ok();
    let has_more = !alone || entry.node.entries().iter().any(|entry| !matches!(entry.key.as_str(), "name" | "key"));
    if has_more || object.is_none() {
        let message = "expected { name: NAME, key: KEY } of a Secret in the resource's own namespace";
        problems.push(Problem::at(&entry.place, &join(key, SECRET_REF), Severity::Error, message));
    }
    let text = object.map_or_else(|| "no/secret/here".to_owned(), |object| object.to_string());
    entry.node.value = Value::Text(text);
}

const RELATIVE: &str = "a relative path has no meaning in a resource; write { secretRef: { name: NAME, key: KEY } } of a \
                        Secret in its namespace";

/// Gives a stream without a value its defaults: `threats:` means `threats: {}`.
fn fill_empty_streams(root: &mut Node) {
    let Value::Map(entries) = &mut root.value else { return };
    let streams = entries.iter_mut().find(|entry| entry.key == "streams");
    if let Some(Value::Map(streams)) = streams.map(|entry| &mut entry.node.value) {
        for stream in streams.iter_mut().filter(|stream| matches!(stream.node.value, Value::Null)) {
            stream.node.value = Value::Map(Vec::new());
        }
    }
}

/// Adds the keys of the defaults file that the pipeline file does not have. Mappings are merged key by key. Everything
/// else, including lists such as `sinks`, is used as a whole from the pipeline file.
pub(super) fn inherit(own: &mut Node, defaults: &Node) {
    let (Value::Map(own), Value::Map(defaults)) = (&mut own.value, &defaults.value) else { return };
    for default in defaults {
        match own.iter_mut().find(|entry| entry.key == default.key) {
            // The sources of a secret exclude each other.
            Some(entry) if is_source(&entry.node) || is_source(&default.node) => {}
            Some(entry) if matches!(entry.node.value, Value::Null) => entry.node = default.node.clone(),
            Some(entry) => inherit(&mut entry.node, &default.node),
            None => own.push(default.clone()),
        }
    }
}

fn is_source(node: &Node) -> bool {
    matches!(node.entries(), [Entry { key, .. }] if ["file", "env", SECRET_REF].contains(&key.as_str()))
}

/// Checks a defaults file. Keys may be missing, since the pipeline files may have them. The nodes of reported problems
/// are marked, so the caller must not use this tree for pipelines.
pub(super) fn check_defaults(root: &Node, problems: &mut Vec<Problem>) {
    for entry in root.entries().iter().filter(|entry| matches!(entry.key.as_str(), "name" | "renamed_from")) {
        let message = "a name belongs to one pipeline and cannot be a default";
        problems.push(Problem::at(&entry.place, &entry.key, Severity::Error, message));
    }
    unknown_keys(root, problems);
    let mut found = Vec::new();
    given(root, "enabled").map(|node| read::<bool>(node, "enabled", &mut found));
    given(root, "console").map(|node| read::<console::ConsoleSettings>(node, "console", &mut found));
    given(root, "streams").map(|node| read::<source::StreamSettings>(node, "streams", &mut found));
    given(root, "transform").map(|node| read::<transform::TransformSettings>(node, "transform", &mut found));
    problems.extend(found.into_iter().filter(|problem| !problem.is_about_missing_key()));
    given(root, "sinks").map(|node| sinks(node, problems));
    given(root, "tests").map(|node| read::<Vec<Case>>(node, "tests", problems));
}

fn unknown_keys(root: &Node, problems: &mut Vec<Problem>) {
    let unknown = root.entries().iter().filter(|entry| !KEYS.contains(&entry.key.as_str()));
    for entry in unknown.take(MAX_PROBLEMS) {
        problems.push(Problem::at(&entry.place, &entry.key, Severity::Error, unknown_key(&entry.key, &KEYS)));
    }
}

/// Reads a pipeline. `None` if a problem prevents that the pipeline runs. The file may be a tenant's.
pub(super) fn pipeline(root: &Node, file: &Path, is_tenants: bool, problems: &mut Vec<Problem>) -> Option<Pipeline> {
    let before = problems.len();
    unknown_keys(root, problems);
    let name = name(root, file, problems);
    let renamed_from = renamed_from(root, name.as_deref(), problems);
    let enabled = root.get("enabled").map_or(Some(true), |node| read(node, "enabled", problems));
    let console = required(root, "console", problems).and_then(|node| {
        let required = || required_by(schemars::schema_for!(console::ConsoleSettings).as_value());
        read_with(node, "console", &[], required, problems, |reader| console::ConsoleSettings::deserialize(reader))
    });
    let streams = required(root, "streams", problems).and_then(|node| streams(node, problems));
    let empty = Node::new(Value::Map(Vec::new()), root.place.clone());
    let transform = read(given(root, "transform").unwrap_or(&empty), "transform", problems);
    let sinks: Vec<_> = required(root, "sinks", problems).map_or_else(Vec::new, |node| sinks(node, problems));
    let tests: Vec<Case> = given(root, "tests").and_then(|node| read(node, "tests", problems)).unwrap_or_default();

    if let Some(console) = &console {
        check::console(root, console, problems);
    }
    if let Some(streams) = &streams {
        check::streams(root, streams, problems);
    }
    if let Some(transform) = &transform {
        check::transform(root, transform, problems);
    }
    check::sinks(root, &sinks, problems);
    check::tests(root, &tests, problems);
    let pipeline = match (name, enabled, console, streams, transform) {
        (Some(name), Some(enabled), Some(console), Some(streams), Some(transform)) => {
            let sinks = sinks.into_iter().flatten().map(Arc::new).collect();
            let pulls = streams.pulls().into_iter().map(|pull| Arc::new(pull.with_scopes(&console))).collect();
            let console = Arc::new(console);
            let streams = Arc::new(streams);
            let transform = Arc::new(transform);
            let tests = tests.into();
            let path = file.to_owned();
            Pipeline {
                name,
                renamed_from,
                path,
                tenant: None,
                enabled,
                console,
                streams,
                pulls,
                transform,
                sinks,
                tests,
            }
        }
        _ => return None,
    };
    if !problems[before..].iter().any(Problem::is_error) {
        check::detections(root, &pipeline, problems);
        check::builds(root, &pipeline, problems);
        check::schemas(root, &pipeline, problems);
        check::ocsf_versions(root, &pipeline, problems);
        check::contents(root, &pipeline, problems);
        check::batches(root, &pipeline, problems);
        without_effect::warn(root, &pipeline, problems);
        check::steps(root, &pipeline, is_tenants, problems);
        check::variables(root, "", problems);
    }
    (!problems[before..].iter().any(Problem::is_error)).then_some(pipeline)
}

/// Returns the value of `key`, unless it is empty.
fn given<'a>(root: &'a Node, key: &str) -> Option<&'a Node> {
    root.get(key).filter(|node| !matches!(node.value, Value::Null))
}

fn required<'a>(root: &'a Node, key: &str, problems: &mut Vec<Problem>) -> Option<&'a Node> {
    let node = given(root, key);
    if node.is_none() && !misspelt(root, key) {
        let place = root.get(key).map_or(&root.place, |empty| &empty.place);
        problems.push(Problem::missing_key(place, "", key));
    }
    node
}

/// Returns whether an unknown key was reported as a misspelling of `key`.
fn misspelt(root: &Node, key: &str) -> bool {
    let unknown = root.entries().iter().filter(|entry| !KEYS.contains(&entry.key.as_str()));
    unknown.into_iter().any(|entry| super::read::likely(&entry.key, KEYS) == Some(key))
}

/// Returns the keys that the schema of a struct requires, without the `type` of a sink, which is read separately.
fn required_by(schema: &serde_json::Value) -> Vec<String> {
    let required = schema.get("required").and_then(serde_json::Value::as_array);
    let keys = required.into_iter().flatten().filter_map(serde_json::Value::as_str);
    keys.filter(|key| *key != "type").map(str::to_owned).collect()
}

fn name(root: &Node, file: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let (name, node, hint) = match given(root, "name") {
        Some(node) => (read(node, "name", problems)?, node, ""),
        None if is_resource(file) => (stem(file), root, " (NAMESPACE.NAME of the resource)"),
        None => (stem(file), root, " (the file's name, since there is no key `name`)"),
    };
    match check_name(&name) {
        Ok(()) => Some(name),
        Err(error) => {
            problems.push(Problem::at(&node.place, "name", Severity::Error, format!("{error}{hint}")));
            None
        }
    }
}

/// Returns the pipeline's earlier name. `None` if the file has none, or a wrong one, which is reported.
fn renamed_from(root: &Node, name: Option<&str>, problems: &mut Vec<Problem>) -> Option<Box<str>> {
    let node = given(root, "renamed_from")?;
    let source: String = read(node, "renamed_from", problems)?;
    let mut refuse = |message: String| {
        problems.push(Problem::at(&node.place, "renamed_from", Severity::Error, message));
        None
    };
    match check_name(&source) {
        Err(error) => refuse(format!("{error} (the pipeline's earlier name)")),
        Ok(()) if name == Some(&source) => refuse(format!("`{source}` is the pipeline's name: leave this out")),
        Ok(()) => Some(source.into()),
    }
}

/// Reads the streams. `None` if there is a problem. A list of names is a usual mistake.
fn streams(node: &Node, problems: &mut Vec<Problem>) -> Option<source::StreamSettings> {
    if let Value::List(_) = &node.value {
        let message = "expected a mapping (`threats: {}`, with the stream's keys inside the braces), found a list";
        problems.push(Problem::at(&node.place, "streams", Severity::Error, message));
        return None;
    }
    read(node, "streams", problems)
}

/// More than any pipeline has, and few enough that the problems of all sinks can be read.
const MAX_SINKS: usize = 500;

/// Returns one element per sink, `None` for a sink with a problem.
fn sinks(list: &Node, problems: &mut Vec<Problem>) -> Vec<Option<SinkSettings>> {
    let Value::List(elements) = &list.value else {
        let message = format!("expected a list (each sink starts with `- type: …`), found {}", list.kind());
        problems.push(Problem::at(&list.place, "sinks", Severity::Error, message));
        return Vec::new();
    };
    if elements.is_empty() {
        problems.push(Problem::at(&list.place, "sinks", Severity::Error, "a pipeline needs at least one sink"));
    }
    if elements.len() > MAX_SINKS {
        let message = format!("{} sinks, and a pipeline has at most {MAX_SINKS}: divide the file", elements.len());
        problems.push(Problem::at(&list.place, "sinks", Severity::Error, message));
        return Vec::new();
    }
    elements.iter().enumerate().map(|(index, node)| sink(node, &format!("sinks[{index}]"), problems)).collect()
}

/// Adds which types there are to a problem with a mapping that has none.
fn name_types(problem: &mut Problem, sink: &Node, key: &str) {
    let Some(path) = problem.key.strip_prefix(key).and_then(|path| path.strip_prefix('.')) else { return };
    if !["missing key `type`", "expected a mapping (`"].iter().any(|begin| problem.message.starts_with(begin)) {
        return;
    }
    let mut forms = Forms::of_file().of_key("sinks").of_elements().of_node(sink);
    path.split('.').for_each(|key| forms = forms.of_key(key));
    let types = forms.types();
    if let Some(example) = types.iter().find(|name| **name != "none") {
        let types = format!("; the types are {}, as in {{ type: {example}, … }}", types.join(", "));
        problem.message.to_mut().push_str(&types);
    }
}

/// Reads a sink. The common keys and the keys of the sink's type are read separately, since neither reader knows the
/// other's keys.
fn sink(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<SinkSettings> {
    let mut refuse = |place, key: &str, message: String| {
        problems.push(Problem::at(place, key, Severity::Error, message));
        None
    };
    let types = s1_forwarder_destinations::settings::types();
    // Only a type is shown: other words may be secrets.
    let as_type = |word: &str| types.iter().find(|name| **name == word).map(|name| format!("write `- type: {name}`"));
    let Value::Map(entries) = &node.value else {
        let instead =
            node.text().and_then(as_type).map_or(String::new(), |instead| format!("; {instead}, its keys below"));
        let message = format!("expected a mapping with `type` and its keys, found {}{instead}", node.kind());
        return refuse(&node.place, key, message);
    };
    let Some(type_node) = given(node, "type") else {
        let message = match entries.iter().find_map(|entry| as_type(&entry.key)) {
            Some(instead) => format!("missing key `type`; {instead}, and its keys next to that"),
            None => format!("missing key `type`; the types are {}", types.join(", ")),
        };
        return refuse(&node.place, key, message);
    };
    let type_key = format!("{key}.type");
    let Some(type_name) = type_node.text() else {
        return refuse(&type_node.place, &type_key, format!("expected a text, found {}", type_node.kind()));
    };
    if !types.contains(&type_name) {
        let problem = match s1_forwarder_destinations::settings::intended_type(type_name) {
            Some(intended) => not_this_but(type_name, types, intended),
            None => not_one_of(type_name, types),
        };
        return refuse(&type_node.place, &type_key, problem);
    }
    let common_keys = keys_of::<s1_forwarder_destinations::settings::Common>();
    let part = |common: bool| {
        let wanted = |entry: &&Entry| entry.key != "type" && common_keys.contains(&entry.key.as_str()) == common;
        Node::new(Value::Map(entries.iter().filter(wanted).cloned().collect()), node.place.clone())
    };
    let before = problems.len();
    let common = part(true);
    let own = part(false);
    let common = read(&common, key, problems);
    let required =
        || s1_forwarder_destinations::settings::schema(type_name).as_ref().map(required_by).unwrap_or_default();
    let kind = read_with(&own, key, common_keys, required, problems, |reader| {
        s1_forwarder_destinations::settings::TypeSettings::read(type_name, reader)
    });
    problems.iter_mut().skip(before).for_each(|problem| name_types(problem, node, key));
    warn_of_literals(node, key, problems);
    Some(SinkSettings { common: common?, type_settings: kind? })
}
