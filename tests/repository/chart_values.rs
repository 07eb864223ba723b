//! The chart's README is generated from the comments of its values.yaml, and a list in the schema of its values from
//! the alerts. `UPDATE_GOLDEN=1` writes both.

use std::collections::BTreeSet;
use std::fs;

use super::reference_docs::{compare, item, paragraph, root};

/// One key of values.yaml, written `image.tag`.
struct Value {
    path: String,
    comment: String,
    /// The value as the file has it; empty for a mapping whose keys follow.
    default: String,
}

/// The keys of a file with block mappings, whose lists and inner mappings are on one line. The comment above a key
/// belongs to it. A comment with a blank line below it belongs to none.
fn values(text: &str) -> Vec<Value> {
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment = Vec::new();
    let mut values = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        if content.is_empty() {
            comment.clear();
            continue;
        }
        if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let (key, default) = content.split_once(':').unwrap_or_else(|| panic!("no key in {line}"));
        assert!(!key.contains(['-', '"', ' ']), "this test does not know the key {key} in {line}");
        let indent = line.len() - content.len();
        parents.retain(|(parent, _)| *parent < indent);
        let path: Vec<_> = parents.iter().map(|(_, name)| *name).chain([key]).collect();
        values.push(Value { path: path.join("."), comment: comment.join(" "), default: default.trim().to_owned() });
        parents.push((indent, key));
        comment.clear();
    }
    values
}

#[test]
fn readme() {
    let text = fs::read_to_string(root().join("deploy/helm/s1-forwarder/values.yaml")).unwrap();
    let values = values(&text);
    assert!(values.len() > 100, "{} values", values.len());
    let mut readme = "# s1-forwarder: Helm chart\n\n\
                      <!-- Generated from values.yaml: `UPDATE_GOLDEN=1 cargo test --test it chart_values` -->\n\n"
        .to_owned();
    readme += &paragraph(
        "Workers that share pipelines, with their rights, monitors, alerts and dashboards. \
         [docs/kubernetes.md](../../../docs/kubernetes.md) tells how to install and run them.",
    );
    readme += "```sh\nhelm install s1-forwarder deploy/helm/s1-forwarder --namespace s1-forwarder --create-namespace \\\n  \
               --set image.repository=REGISTRY/s1-forwarder --set 'pipelines.resources.namespaces={acme}'\n\
               helm test s1-forwarder --namespace s1-forwarder\n```\n\n";
    readme += "## Values\n\n";
    readme += &paragraph("Lists and mappings are empty, and texts too, unless a default is given.");
    let has_keys = |value: &Value| values.iter().any(|other| other.path.starts_with(&format!("{}.", value.path)));
    for value in values.iter().filter(|value| !(value.comment.is_empty() && has_keys(value))) {
        let default = value.default.trim_matches('"');
        let default = match default {
            "" | "[]" | "{}" => String::new(),
            default => format!(" (default `{default}`)"),
        };
        let meaning = if value.comment.is_empty() { String::new() } else { format!(": {}", value.comment) };
        readme += &item(&format!("`{}`{default}{meaning}", value.path));
    }
    compare("deploy/helm/s1-forwarder/README.md", &readme);
}

/// The alerts that values may name are those that there are.
#[test]
fn alerts() {
    const SCHEMA: &str = "deploy/helm/s1-forwarder/values.schema.json";
    let rules = fs::read_to_string(root().join("deploy/helm/s1-forwarder/files/alerts.yaml")).unwrap();
    let names = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    // An alert may have a rule for each severity.
    let names: BTreeSet<String> = names.map(|name| format!("        \"{name}\"")).collect();
    assert!(names.len() > 20, "{names:?}");
    let schema = fs::read_to_string(root().join(SCHEMA)).unwrap();
    let (before, definition) = schema.split_once("    \"alert\": {\n").unwrap();
    let (description, rest) = definition.split_once("      \"enum\": [\n").unwrap();
    let (_, after) = rest.split_once("\n      ]\n").unwrap();
    let names = names.into_iter().collect::<Vec<_>>().join(",\n");
    let wanted = format!("{before}    \"alert\": {{\n{description}      \"enum\": [\n{names}\n      ]\n{after}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(root().join(SCHEMA), &wanted).unwrap();
    }
    let written = fs::read_to_string(root().join(SCHEMA)).unwrap();
    assert!(written == wanted, "{SCHEMA} differs: run UPDATE_GOLDEN=1 cargo test --test it chart_values");
}
