//! What valid files mean.

use std::fs;
use std::sync::Arc;

use s1_forwarder::pipeline::{FileOptions, load};
use s1_forwarder::record::Stream;
use s1_forwarder::settings::Secret;

const FULL: &str = r#"
enabled: false
console:
  url: " https://USEA1-acme.sentinelone.net/ "
  token: { file: secrets/token }
  accounts: [225494730938493804, "225494730938493805"]
  tls: { ca_file: ca.pem }
streams:
  threats:
  activities: { interval: 30s, since: 2026-01-31T00:00:00+02:00, exclude_types: [27] }
transform:
  labels: { file: a-label-not-a-path }
sinks:
  - name: bus
    type: http
    url: https://siem.example/in
    headers: { file: a-header-not-a-path, X-Key: { file: key } }
    auth: { type: basic, user: acme, password: { file: password } }
    batch: { bytes: 1MiB }
  - { type: stdout, streams: [activities], schema: raw }
"#;

#[test]
fn a_file_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.yaml");
    fs::write(&path, FULL).unwrap();
    let loaded = load(std::slice::from_ref(&path), &FileOptions::default());
    assert_eq!(loaded.problems, [], "{:?}", loaded.problems);
    let acme = &loaded.pipelines[0];
    assert_eq!((acme.name.as_str(), acme.enabled, &acme.path), ("acme", false, &path));
    assert_eq!(acme.console.url.host(), "usea1-acme.sentinelone.net");
    assert_eq!(*acme.console.token.first(), Secret::File(directory.path().join("secrets/token").into()));
    let ids: Vec<_> = acme.console.accounts.iter().map(|id| id.as_str()).collect();
    assert_eq!(ids, ["225494730938493804", "225494730938493805"]);
    assert_eq!(acme.console.tls.ca_file, Some(directory.path().join("ca.pem").into()));
    let pulls = &acme.pulls;
    assert_eq!(pulls.iter().map(|pull| pull.stream).collect::<Vec<_>>(), [Stream::Threats, Stream::Activities]);
    assert_eq!(serde_json::to_value(pulls[1].since).unwrap(), "2026-01-30T22:00:00.000000Z");
    assert_eq!(acme.transform.labels["file"], "a-label-not-a-path");
    let printed = format!("{acme:?}");
    assert!(printed.contains(&format!("{:?}", directory.path().join("key"))), "{printed}");
    assert!(printed.contains(&format!("{:?}", directory.path().join("password"))), "{printed}");
    assert_eq!((acme.sinks[0].name(), acme.sinks[1].name()), ("bus", "stdout"));
    assert!(!acme.sinks[1].accepts(Stream::Threats));
}

/// Ten thousand customers have few different streams and mappings.
#[test]
fn pipelines_hold_equal_settings_once() {
    let directory = tempfile::tempdir().unwrap();
    for (name, interval) in [("acme", "30s"), ("globex", "30s"), ("initech", "60s")] {
        let text = format!(
            "console: {{ url: {name}.example, token: {{ env: T }} }}\nstreams: {{ threats: {{ interval: {interval} }} }}\n\
             transform: {{ labels: {{ team: soc }} }}\nsinks: [{{ type: stdout }}]\n"
        );
        fs::write(directory.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let loaded = load(&[directory.path().to_owned()], &FileOptions::default());
    let [acme, globex, initech] = loaded.pipelines.as_slice() else { panic!("{:?}", loaded.problems) };
    assert!(Arc::ptr_eq(&acme.streams, &globex.streams) && Arc::ptr_eq(&acme.pulls[0], &globex.pulls[0]));
    assert!(Arc::ptr_eq(&acme.transform, &initech.transform));
    assert_ne!(acme.streams, initech.streams);
    assert_ne!(acme.pulls, initech.pulls);
}

#[test]
fn a_directory_is_read_one_level_deep() {
    let directory = tempfile::tempdir().unwrap();
    let minimal =
        "console: { url: c.example, token: { env: T } }\nstreams: { threats: {} }\nsinks: [{ type: stdout }]\n";
    for name in ["a.yaml", "b.yml", ".hidden.yaml", "c.yaml~", "d.json", "README"] {
        fs::write(directory.path().join(name), minimal).unwrap();
    }
    fs::create_dir(directory.path().join("e.yaml")).unwrap();
    fs::write(directory.path().join("e.yaml/f.yaml"), minimal).unwrap();
    let loaded = load(&[directory.path().to_owned()], &FileOptions::default());
    let names: Vec<_> = loaded.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!((names, loaded.problems.len()), (vec!["a", "b"], 0));
}

#[test]
fn what_is_not_there_or_no_text_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("latin.yaml"), b"name: a\nconsole: \xe9\n").unwrap();
    fs::write(directory.path().join("large.yaml"), vec![b'#'; 2 << 20]).unwrap();
    let loaded = load(&[directory.path().to_owned(), directory.path().join("missing")], &FileOptions::default());
    let reported: Vec<_> = loaded.problems.iter().map(|problem| &*problem.message).collect();
    let not_text = "line 2 is not UTF-8 text: save the file as UTF-8";
    assert_eq!(reported, ["larger than 1 MiB", not_text, "there is no such file or directory"]);
}

/// People copy the examples: each must be valid unchanged.
#[test]
fn every_example_is_valid() {
    let loaded = load(&["pipelines".into()], &FileOptions::default());
    assert!(loaded.files.len() >= 4, "{:?}", loaded.files.len());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
}

#[test]
fn many_files_are_many_pipelines() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..500 {
        fs::write(directory.path().join(format!("c{number}.yaml")), FULL).unwrap();
    }
    let loaded = load(&[directory.path().to_owned()], &FileOptions::default());
    assert_eq!((loaded.pipelines.len(), loaded.problems.len()), (500, 0));
}

/// Where an example offers a line as an alternative to the one before (`# auth: …`), that line must be valid too.
#[test]
fn the_alternatives_of_the_examples_are_valid() {
    let example = fs::read_to_string("pipelines/http.yaml").unwrap();
    let bearer = "    auth: { type: bearer, token: { file: secrets/siem.token } }\n";
    assert!(example.contains(bearer));
    let without = example.replace(bearer, "");
    let uncommented = |words: &[&str]| {
        let lines = without.lines().map(|line| match line.split_once("# ") {
            Some((indent, rest))
                if indent.trim().is_empty() && words.iter().any(|word| rest.trim_start().starts_with(word)) =>
            {
                format!("{indent}{rest}\n")
            }
            _ => format!("{line}\n"),
        });
        lines.collect::<String>()
    };
    let alternatives: [&[&str]; 4] = [
        &["auth: { type: basic", "headers:"],
        &["auth:\n", "auth: { type: hmac", "proxy:"],
        &["auth: { type: hmac", "tls:"],
        &["headers:"],
    ];
    for words in alternatives {
        let directory = tempfile::tempdir().unwrap();
        let text = uncommented(words);
        assert_ne!(text, without);
        fs::write(directory.path().join("http.yaml"), &text).unwrap();
        let loaded = load(&[directory.path().to_owned()], &FileOptions::default());
        assert!(loaded.problems.is_empty(), "{text}\n{:?}", loaded.problems);
    }
}
