//! docs/metrics.md, docs/configuration.md and docs/cli.md are generated from the code. `UPDATE_GOLDEN=1` writes them,
//! every other run compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use s1_forwarder::destinations::settings::{self, Compression};
use s1_forwarder::telemetry::{METRIC_PREFIX, METRICS, Metric};
use s1_forwarder::{commands, pipeline};
use serde_json::Value;

const WIDTH: usize = 120;
const MADE_BY: &str = "<!-- Generated: `UPDATE_GOLDEN=1 cargo test --test it reference_docs` -->\n\n";

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn compare(name: &str, text: &str) {
    let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(wide.is_empty(), "lines of more than {WIDTH} characters in {name}:\n{}", wide.join("\n"));
    compare_any_width(name, text);
}

fn compare_any_width(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{name} differs: run UPDATE_GOLDEN=1 cargo test --test it repository");
}

/// `text` after `prefix`, in lines of which all but the first begin with `indent`. Line breaks of the source are
/// spaces.
fn wrap(prefix: &str, text: &str, indent: &str) -> String {
    let mut out = prefix.to_owned();
    let mut width = prefix.chars().count();
    let mut is_first = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !is_first && width + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(indent);
            width = indent.chars().count();
        } else if !is_first {
            out.push(' ');
            width += 1;
        }
        is_first = false;
        out.push_str(word);
        width += length;
    }
    out
}

pub(super) fn item(text: &str) -> String {
    wrap("- ", text, "  ") + "\n"
}

pub(super) fn paragraph(text: &str) -> String {
    wrap("", text, "") + "\n\n"
}

fn table(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let dashes = vec!["---".to_owned(); rows[0].len()];
    let (head, body) = rows.split_first().unwrap();
    line(head) + &line(&dashes) + &body.iter().map(line).collect::<String>()
}

// docs/metrics.md

#[test]
fn metrics() {
    let alerts = alerts();
    let mut rows = vec![["metric", "type", "labels", "unit"].map(str::to_owned).to_vec()];
    for metric in METRICS {
        rows.push(vec![
            format!("`{}`", metric.name),
            metric.kind.name().to_owned(),
            metric.labels.join(", "),
            metric.unit.to_owned(),
        ]);
    }
    let mut text = format!("# Metrics\n\n{MADE_BY}");
    text += &paragraph(&format!(
        "`GET /metrics` of a worker (`--listen`) returns these metrics in the text format of Prometheus. All names begin with \
         `{METRIC_PREFIX}`. The alerts are in [alerts.yaml](../deploy/helm/s1-forwarder/files/alerts.yaml), and explained in \
         [runbooks.md](runbooks.md); an [inhibition](kubernetes.md#one-message-for-one-cause) makes one message of those \
         with one cause. On Linux the response has the usual \
         `process_*` metrics too, without the prefix: CPU time, memory, descriptors, threads and start time. It is compressed \
         with gzip if the request accepts that."
    ));
    text += &table(&rows);
    text += "\n## Meaning\n\n";
    for metric in METRICS {
        let used_by = alerts.iter().filter(|(_, rule)| names(rule, metric));
        let mut links: Vec<_> =
            used_by.map(|(name, _)| format!("[{name}](runbooks.md#{})", name.to_lowercase())).collect();
        links.dedup();
        let links = match links.len() {
            0 => String::new(),
            1 => format!(" Alert: {}.", links[0]),
            _ => format!(" Alerts: {}.", links.join(", ")),
        };
        text += &item(&format!("`{}`: {}{links}", metric.name, metric.help));
    }
    text += "\n## Balance\n\n";
    text += &paragraph(
        "The counts of a lane balance: `records_pulled_total` = `events_delivered_total` + `records_skipped_total` + \
         `records_requeued_total` + `dead_letters_total` + records in flight. A record that is read again in the overlap \
         counts as pulled and as skipped with the reason `duplicate`.",
    );
    compare("docs/metrics.md", &(text.trim_end().to_owned() + "\n"));
}

/// Each alert and the text of its rule. An alert may have several rules.
pub(super) fn alerts() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("deploy/helm/s1-forwarder/files/alerts.yaml")).unwrap();
    let rules = text.split("- alert: ").skip(1);
    let rules: Vec<_> = rules.map(|rule| rule.split_once('\n').unwrap()).collect();
    assert!(rules.len() >= 8, "{text}");
    rules.into_iter().map(|(name, rule)| (name.trim().to_owned(), rule.to_owned())).collect()
}

fn names(rule: &str, metric: &Metric) -> bool {
    let name = metric.full_name();
    rule.match_indices(&name).any(|(at, _)| {
        let next = rule[at + name.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
    })
}

// docs/configuration.md

const TYPES: &[(&str, &str)] = &[
    ("duration", "A number with its unit: `500ms`, `60s`, `5m`, `12h`, `30d`."),
    ("size", "Bytes: `900KB`, `1MB` (decimal), `512KiB`, `5MiB` (binary). A number without a unit is bytes."),
    (
        "start time",
        "A duration before the first start, an RFC 3339 time with its zone, a day in UTC (`2026-01-31`), `now`, or `beginning`.",
    ),
    ("secret", "`{ file: PATH }`, `{ env: NAME }`, or the text itself, which causes a warning."),
    ("id", "An id of the console: 18 or 19 digits, with or without quotes."),
    ("URL", "An `http` or `https` URL without user name and password."),
    ("proxy URL", "`http://HOST:PORT` or `https://HOST:PORT`; a user name and a password are allowed."),
];

#[test]
fn configuration() {
    let schema = pipeline::schema();
    let properties = &schema["properties"];
    let mut text = format!("# Configuration: the pipeline file\n\n{MADE_BY}");
    text += &paragraph(
        "One YAML file describes one pipeline. This page lists every key with its type, default and meaning. Keys without a \
         default are optional unless they are marked as required. [pipelines/](../pipelines) has a commented example for each \
         destination. Process-wide settings are flags, see [cli.md](cli.md).",
    );
    text += "## Types\n\n";
    for (name, meaning) in TYPES {
        text += &item(&format!("{name}: {meaning}"));
    }
    text += "\n## Top level\n\n";
    for key in ["name", "renamed_from", "enabled"] {
        text += &entry(key, &properties[key], false);
    }
    for (key, meaning) in [
        ("console", "The console that records are pulled from."),
        ("streams", "The streams that are pulled. A stream that is not named is not pulled."),
        ("transform", "How records become events."),
        ("sinks", "The destinations. Each stream and each sink of it make one lane."),
        (
            "tests",
            "Records, and what has to become of them. `check` runs these tests; see [transform.md](transform.md).",
        ),
    ] {
        let required = is_required(&schema, key);
        text += &item(&format!(
            "`{key}` ({}{}): {meaning}",
            kind(&properties[key]),
            if required { ", required" } else { "" }
        ));
    }
    text += "\n## console\n\n";
    text += &keys(&properties["console"], "", &[]);
    for (stream, schema) in object(&properties["streams"]["properties"]) {
        text += &format!("\n## streams.{stream}\n\n");
        if let Some(description) = schema["description"].as_str() {
            text += &paragraph(description);
        }
        text += &keys(present(schema), "", &[]);
    }
    text += "\n## transform\n\n";
    text += &keys(&properties["transform"], "", &[]);
    text += "\n## sinks\n\n";
    text += &paragraph("Every sink has these keys. Defaults that depend on the type are in the section of the type.");
    let sinks = properties["sinks"]["items"]["oneOf"].as_array().unwrap();
    let common: Vec<String> =
        object(&sinks[0]["properties"]).map(|(key, _)| key.clone()).filter(|key| is_common(sinks, key)).collect();
    let mut first = sinks[0].clone();
    first["properties"].as_object_mut().unwrap().retain(|key, _| common.contains(key) && key != "type");
    text += &item("`type` (text, required): The type of the sink, which is one of the sections below.");
    text += &keys(&first, "", &[]);
    let defaults = type_defaults();
    let of_types: Vec<String> = sinks.iter().map(|sink| keys(sink, "", &common)).collect();
    let shared = shared_items(of_types.iter().map(String::as_str));
    text += "\n## sinks: keys of several types\n\n";
    text += &paragraph("The section of each type names those that it has.");
    text.extend(shared.iter().map(String::as_str));
    for (sink, keys) in sinks.iter().zip(&of_types) {
        let name = sink["properties"]["type"]["const"].as_str().unwrap();
        text += &format!("\n## sinks: {name}\n\n");
        if let Some(description) = sink["description"].as_str() {
            text += &paragraph(description);
        }
        text += &without_shared(keys, &shared, "Also [keys of several types](#sinks-keys-of-several-types)");
        text += &defaults[name];
    }
    text += "\n## tests\n\n";
    text += &keys(&properties["tests"]["items"], "", &[]);
    compare("docs/configuration.md", &text);
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).iter()
}

fn is_common(sinks: &[Value], key: &str) -> bool {
    sinks
        .iter()
        .all(|sink| sink["properties"].get(key).is_some_and(|own| key == "type" || *own == sinks[0]["properties"][key]))
}

fn is_required(schema: &Value, key: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key))
}

/// The schema of an optional value without `null`.
fn present(schema: &Value) -> &Value {
    let options = schema["anyOf"].as_array();
    let is_null = |option: &Value| option["type"] == "null";
    match options {
        Some(options) if options.iter().any(is_null) => options.iter().find(|option| !is_null(option)).unwrap(),
        _ => schema,
    }
}

/// One item for each key of an object, and for the keys below it.
fn keys(schema: &Value, prefix: &str, without: &[String]) -> String {
    let mut text = String::new();
    for (key, property) in object(&schema["properties"]).filter(|(key, _)| !without.contains(key)) {
        let path = format!("{prefix}{key}");
        text += &entry(&path, property, is_required(schema, key));
        let inner = present(property);
        if inner.get("properties").is_some() && inner.get("title").is_none() {
            text += &keys(inner, &format!("{path}."), &[]);
        }
        for variant in tagged_variants(inner) {
            let name = variant["properties"]["type"]["const"].as_str().unwrap();
            if object(&variant["properties"]).count() > 1 {
                text += &keys(variant, &format!("{path}: {{ type: {name} }}."), &["type".to_owned()]);
            }
        }
    }
    text
}

/// The items of a list, each with the lines below it.
fn items(list: &str) -> Vec<&str> {
    let ends = list.match_indices("\n- ").map(|(at, _)| at + 1).chain([list.len()]);
    let mut start = 0;
    ends.map(|end| &list[std::mem::replace(&mut start, end)..end]).filter(|item| !item.is_empty()).collect()
}

/// The items that at least three lists have.
fn shared_items<'a>(lists: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    lists.flat_map(items).for_each(|item| *counts.entry(item).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count >= 3).map(|(item, _)| item.to_owned()).collect()
}

/// A list whose shared items are named in one more item, after `words`.
fn without_shared(list: &str, shared: &BTreeSet<String>, words: &str) -> String {
    let (named, own): (Vec<&str>, Vec<&str>) = items(list).into_iter().partition(|item| shared.contains(*item));
    let names: Vec<String> = named.iter().filter_map(|item| Some(format!("`{}`", item.split('`').nth(1)?))).collect();
    let rest = if names.is_empty() { String::new() } else { item(&format!("{words}: {}.", names.join(", "))) };
    own.concat() + &rest
}

/// The variants of a value whose key `type` selects the other keys.
fn tagged_variants(schema: &Value) -> Vec<&Value> {
    let options = schema["oneOf"].as_array().into_iter().flatten();
    options.filter(|option| option["properties"]["type"].get("const").is_some()).collect()
}

fn entry(path: &str, property: &Value, required: bool) -> String {
    let mut facts = vec![kind(property)];
    if let Some(unit) = property["unit"].as_str() {
        facts.push(unit.to_owned());
    }
    if required {
        facts.push("required".to_owned());
    }
    match &property["default"] {
        Value::Null => {}
        default => facts.extend(shown(default).map(|default| format!("default `{default}`"))),
    }
    let meaning = property["description"].as_str().unwrap_or_else(|| panic!("{path} has no description: {property}"));
    let mut text = item(&format!("`{path}` ({}): {}", facts.join(", "), meaning.trim()));
    for (value, meaning) in values(present(property)) {
        text += &(wrap("  - ", &format!("`{value}`: {meaning}"), "    ") + "\n");
    }
    text
}

/// A default as a pipeline file has it. An empty object, or one of which all keys are absent, is not worth showing.
fn shown(default: &Value) -> Option<String> {
    match default {
        Value::Object(keys) if keys.values().all(Value::is_null) => None,
        Value::Object(keys) => {
            let keys: Vec<_> =
                keys.iter().filter_map(|(key, value)| Some(format!("{key}: {}", shown(value)?))).collect();
            Some(format!("{{ {} }}", keys.join(", ")))
        }
        Value::Array(items) => Some(format!("[{}]", items.iter().filter_map(shown).collect::<Vec<_>>().join(", "))),
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())),
        Value::Bool(value) => Some(value.to_string()),
    }
}

/// The values of an enumeration and their meanings.
fn values(schema: &Value) -> Vec<(String, String)> {
    let options = schema["oneOf"].as_array().into_iter().flatten();
    let described = options.filter_map(|option| {
        let value = option.get("const").or_else(|| option["properties"]["type"].get("const"))?;
        Some((value.as_str()?.to_owned(), option["description"].as_str().unwrap_or_default().to_owned()))
    });
    let mut values: Vec<_> = described.collect();
    if let Some(items) = schema.get("items") {
        values.extend(self::values(items));
    }
    values
}

/// The type of a value in words.
fn kind(schema: &Value) -> String {
    let schema = present(schema);
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if !tagged_variants(schema).is_empty() {
        return "object with `type`".to_owned();
    }
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() || schema.get("const").is_some() {
        return match schema["enum"].as_array() {
            Some(values) => {
                let values: Vec<_> =
                    values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
                format!("one of {}", values.join(", "))
            }
            None => "one of the values below".to_owned(),
        };
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        name => name.as_str(),
    };
    match name {
        Some("array") => format!("list of {}", plural(&kind(&schema["items"]))),
        Some("object") if schema.get("properties").is_none() => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("mapping of names to {}", plural(&kind(values))),
            _ => "object".to_owned(),
        },
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some(name @ ("integer" | "number" | "object")) => name.to_owned(),
        other => panic!("no type {other:?} in {schema}"),
    }
}

fn plural(kind: &str) -> String {
    match kind {
        "text" => "texts".to_owned(),
        "object" | "integer" | "number" | "secret" | "id" | "size" | "duration" | "URL" => format!("{kind}s"),
        other => other.to_owned(),
    }
}

/// The defaults of each sink type, from the settings of the example files.
fn type_defaults() -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for kind in example_sinks() {
        let defaults = kind.defaults();
        let size = |bytes: usize| s1_forwarder::settings::ByteSize(bytes as u64).to_string();
        let limits = defaults.limits;
        let compressions: Vec<_> =
            defaults.compressions.iter().map(|name| format!("`{}`", compression(*name))).collect();
        let compression = match compressions.split_first() {
            None => "`none`".to_owned(),
            Some((first, [])) => first.clone(),
            Some((first, others)) => format!("{first} (also {})", others.join(", ")),
        };
        let flush = s1_forwarder::settings::Period(defaults.batch_timeout);
        let concurrency = match defaults.concurrency_max {
            usize::MAX => defaults.concurrency.to_string(),
            max => format!("{} (at most {max})", defaults.concurrency),
        };
        let maximum =
            |value: usize, text: String| if value == usize::MAX { String::new() } else { format!(" (at most {text})") };
        let text = paragraph(&format!(
            "Defaults of the common keys: `batch.events` {}{}, `batch.bytes` {}{}, `batch.timeout` {flush}, `concurrency` \
             {concurrency}, `compression` {compression}.",
            limits.events,
            maximum(limits.max_events, limits.max_events.to_string()),
            size(limits.bytes),
            maximum(limits.max_bytes, size(limits.max_bytes)),
        ));
        texts.insert(kind.name().to_owned(), format!("\n{}\n", text.trim_end()));
    }
    let missing: Vec<_> = settings::types().iter().filter(|name| !texts.contains_key(**name)).collect();
    assert!(missing.is_empty(), "no example file in pipelines/ has a sink of the types {missing:?}");
    texts
}

fn compression(compression: Compression) -> String {
    serde_json::to_value(compression).unwrap().as_str().unwrap().to_owned()
}

/// One sink of each type that the files in pipelines/ use.
fn example_sinks() -> Vec<settings::TypeSettings> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let loaded: Vec<_> = files
        .iter()
        .flat_map(|file| pipeline::load(std::slice::from_ref(file), &pipeline::FileOptions::default()).pipelines)
        .collect();
    let sinks = loaded.iter().flat_map(|pipeline| &pipeline.sinks);
    sinks.map(|sink| sink.type_settings.clone()).collect()
}

// docs/README.md

/// The page of each type of sink.
#[test]
fn index_of_destinations() {
    const BEGIN: &str = "## Destinations\n\n";
    const END: &str = "\n\n## For developers\n";
    let page = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut names = settings::types().to_vec();
    names.sort_unstable();
    let links: Vec<String> = names.iter().map(|name| format!("[{name}](sinks/{name}.md)")).collect();
    let index = wrap("", &format!("[All destinations](sinks/README.md): {}.", links.join(", ")), "");
    // Rows of other tables are wider, for their links.
    compare_any_width("docs/README.md", &format!("{before}{BEGIN}{index}{END}{after}"));
}

// docs/cli.md

#[test]
fn command_line() {
    let mut program = commands::definition();
    program.build();
    let mut text = format!("# Command line\n\n{MADE_BY}");
    text += &paragraph(&program.get_long_about().or(program.get_about()).unwrap().to_string());
    text += &paragraph(
        "Settings of the process are also [environment variables](#variables). A flag takes precedence over its variable. \
         Flags of a single task have none. A variable `S1_FORWARDER_…` that is unknown causes a warning. \
         Exit codes: 0 done; 1 a failure at run time; 2 wrong usage, or none of the pipeline files can run.",
    );
    text += "## All commands\n\n";
    text += &flags(&program, &[]);
    let global: Vec<String> = program.get_arguments().map(|flag| flag.get_id().to_string()).collect();
    let mut lists = Vec::new();
    collect_flags(&mut lists, &program, &[]);
    let shared = shared_items(lists.iter().map(String::as_str));
    text += "\n## Flags of several commands\n\n";
    text += &paragraph("The section of each command names those that it has.");
    text.extend(shared.iter().map(String::as_str));
    for command in subcommands(&program) {
        command_section(&mut text, command, "", &global, &shared);
    }
    text += "\n## Variables\n\n";
    for (variable, flag, commands) in commands::VARIABLES {
        let of = match commands {
            commands::Commands::All => "every command with this flag".to_owned(),
            commands::Commands::Only(name) => format!("`{name}`"),
        };
        text += &item(&format!("`{variable}`: `--{flag}` of {of}."));
    }
    compare("docs/cli.md", &text);
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| command.get_name() != "help")
}

/// The flags of each command.
fn collect_flags(lists: &mut Vec<String>, command: &Command, inherited: &[String]) {
    lists.push(flags(command, inherited));
    let mut inherited = inherited.to_vec();
    inherited.extend(command.get_arguments().map(|flag| flag.get_id().to_string()));
    subcommands(command).for_each(|command| collect_flags(lists, command, &inherited));
}

fn command_section(
    text: &mut String,
    command: &Command,
    parent: &str,
    inherited: &[String],
    shared: &BTreeSet<String>,
) {
    let name = format!("{parent}{}", command.get_name());
    *text += &format!("\n## {name}\n\n");
    let about = command.get_long_about().or(command.get_about()).unwrap_or_else(|| panic!("{name} has no help"));
    for part in about.to_string().split("\n\n") {
        let part = part.trim();
        let dot = if part.ends_with(['.', ':', '!', '?']) { "" } else { "." };
        *text += &paragraph(&format!("{part}{dot}"));
    }
    *text += &without_shared(
        &flags(command, inherited),
        shared,
        "Also [flags of several commands](#flags-of-several-commands)",
    );
    let mut inherited = inherited.to_vec();
    inherited.extend(command.get_arguments().map(|flag| flag.get_id().to_string()));
    *text = text.trim_end().to_owned() + "\n";
    for command in subcommands(command) {
        command_section(text, command, &format!("{name} "), &inherited, shared);
    }
}

fn flags(command: &Command, inherited: &[String]) -> String {
    let hidden = |flag: &&Arg| {
        let id = flag.get_id().as_str();
        flag.is_hide_set() || matches!(id, "help" | "version") || inherited.iter().any(|known| known == id)
    };
    command.get_arguments().filter(|flag| !hidden(flag)).map(flag).collect()
}

fn flag(flag: &Arg) -> String {
    let value = flag.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    let takes_value = matches!(flag.get_action(), ArgAction::Set | ArgAction::Append);
    let value = if takes_value { value } else { None };
    let name = match (flag.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_else(|| flag.get_id().as_str().to_uppercase()),
    };
    let mut facts = Vec::new();
    facts.extend(flag.is_required_set().then(|| "required".to_owned()));
    let defaults: Vec<_> = flag.get_default_values().iter().map(|default| default.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        facts.push(format!("default `{}`", defaults.join(",")));
    }
    let help = flag.get_long_help().or(flag.get_help()).unwrap_or_else(|| panic!("{name} has no help")).to_string();
    let parts = help.split("\n\n").map(|part| {
        let part = part.trim();
        if part.ends_with('.') { part.to_owned() } else { format!("{part}.") }
    });
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    item(&format!("`{name}`{facts}: {}", parts.collect::<Vec<_>>().join(" ")))
}
