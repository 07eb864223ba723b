//! What users write: pipeline files, programs, the listener's file.

use std::path::Path;

use super::{Target, outline};
use crate::pipeline::fuzzed;

const WORDS: &[&str] = &[
    "name:",
    "enabled: false",
    "console:",
    "url: ",
    "token: { file: a }",
    "{ env: A }",
    "accounts: [1]",
    "streams:",
    "threats: {}",
    "interval: 60s",
    "since: beginning",
    "transform:",
    "schema: ocsf",
    "labels:",
    "redact:",
    "drop:",
    "remap: |\n  ",
    "sinks:\n  - ",
    "type: http",
    "type: kafka",
    "brokers: [a:1]",
    "topic: \"{stream}\"",
    "options:",
    "&a ",
    "*a",
    "<<: *a",
    "- ",
    "  ",
    "? ",
    "| ",
    ">-\n",
    "!!str ",
    "%YAML 1.2\n---\n",
    "---\n",
    "...\n",
    "{",
    "[",
    "0x1f",
    ".inf",
    "~",
    "tests:",
    "record: {}",
    "expect: {}",
    "batch: { events: 1 }",
    "tls: { ca_file: x }",
    "proxy: ",
];

#[test]
fn pipeline_files() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut paths: Vec<_> = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "yaml")) {
        seeds.push(std::fs::read(path).unwrap());
    }
    assert!(seeds.len() > 5);
    seeds.push(
        b"console: { url: https://c.example, token: t }\nstreams: { threats: {} }\nsinks: [{ type: stdout }]".to_vec(),
    );
    Target { name: "pipeline_files", seeds, words: WORDS, header: 0 }.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else { return String::new() };
        let problems = fuzzed(text);
        assert!(problems.len() < 2_000, "{} problems", problems.len());
        let mut result = String::new();
        let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap() + 1;
        for problem in &problems {
            assert!(problem.line <= lines, "line {} of {lines}", problem.line);
            result += &outline(&problem.message);
            result += ";";
        }
        // The first few say which part of the reader it was.
        result.chars().take(200).collect()
    });
}

#[cfg(feature = "remap")]
const PROGRAM: &[&str] = &[
    ".",
    ".event",
    ".event.action",
    "\"x\"",
    "if ",
    " { ",
    " }",
    " else ",
    "abort",
    "del(.a)",
    "exists(.a)",
    "= ",
    "== ",
    "!= ",
    "?? ",
    "|| ",
    "&& ",
    "! ",
    "null",
    "true",
    "1",
    "-1",
    "9223372036854775807",
    "0.1",
    "t'2021-01-01T00:00:00Z'",
    "r'a+'",
    "s'raw'",
    "[1, 2]",
    "{ \"a\": 1 }",
    "for_each(.a) -> |k, v| { ",
    "map_values(.) -> |v| { v }",
    "to_string!(",
    "to_int!(",
    "parse_json!(",
    "parse_regex!(.a, r'(a+)+$')",
    "upcase(",
    "downcase(",
    "split(",
    "join!(",
    "slice!(",
    "flatten(",
    "merge(",
    "compact(",
    "encode_json(",
    "sha2(",
    "md5(",
    "now()",
    "uuid_v4()",
    "random_int!(0, 1)",
    "strlen!(",
    "length!(",
    "push(",
    "append(",
    "replace!(",
    "(",
    ")",
    ",",
    "\n",
    ";",
    "# c\n",
    "x = ",
    "x",
    "err",
];

#[cfg(feature = "remap")]
#[test]
fn remap_programs() {
    use crate::record::Stream;
    use crate::transform::{Origin, RedactionKeys, Schema, Steps, TransformSettings, Transformer};

    let programs = [
        "if .event.action == \"agent-heartbeat\" { abort }",
        ".labels.team = \"blue\"\ndel(.process.command_line)\n.tags = push(array!(.tags) ?? [], \"x\")",
        "for_each(object!(.labels)) -> |key, value| { .copy = merge(object(.copy) ?? {}, { key: value }) }",
        "x, err = parse_json(.message)\nif err == null { . = merge(., object!(x)) }",
        ".a = to_string!(.b) + upcase(\"x\")\n.c = slice!(\"abcdef\", 1, end: 3)",
        "x = 1\nx = x + 1\n.n = x * 3\n.f = 1.5 / 0.5\n.t = now()",
        ".m = match(string!(.event.action), r'^a+$')",
        ". = map_values(., recursive: true) -> |value| { if is_string(value) { upcase(string!(value)) } else { value } }",
        ". = []",
    ];
    let seeds = programs.map(|program| program.as_bytes().to_vec()).to_vec();
    let record = br#"{"id":"7","activityType":27,"createdAt":"2026-01-01T00:00:00Z","data":{"userName":"jane","ip":"10.0.0.1"}}"#;
    Target { name: "remap_programs", seeds, words: PROGRAM, header: 0 }.run(|input| {
        let Ok(source) = std::str::from_utf8(input) else { return String::new() };
        let settings = TransformSettings { remap: Some(source.to_owned()), ..TransformSettings::default() };
        let steps = match Steps::new(&settings, Schema::Ecs, None, RedactionKeys::OfTests) {
            Ok(steps) => steps,
            Err(error) => return outline(&error.to_string()).chars().take(100).collect(),
        };
        let origin = Origin {
            pipeline: "acme".to_owned(),
            console_host: "console.example".to_owned(),
            stream: Stream::Activities,
        };
        let mut transformer =
            Transformer::new(&settings, Schema::Ecs, origin).with_steps(steps.map(std::sync::Arc::new));
        let mut out = Vec::new();
        let mapped = transformer.map(record, &mut out);
        if !out.is_empty() {
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        }
        format!("{mapped:?}").chars().filter(|letter| !letter.is_ascii_digit()).take(200).collect()
    });
}

/// Each would be a problem with all types in its text.
#[test]
fn more_sinks_than_a_pipeline_may_have_are_one_problem() {
    let sinks = "{}, ".repeat(5_000);
    let text =
        format!("console: {{ url: https://c.example, token: t }}\nstreams: {{ threats: {{}} }}\nsinks: [{sinks}]");
    let problems: Vec<_> = fuzzed(&text).into_iter().map(|problem| problem.message).collect();
    assert!(problems.len() < 5 && problems.iter().any(|text| text.starts_with("5000 sinks")), "{problems:?}");
}
