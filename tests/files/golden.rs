//! The wording of errors is part of the product: each file in `errors/` has its messages next to it.

use s1_forwarder::pipeline;

/// `UPDATE_GOLDEN=1 cargo test --test it files::` writes the expected texts again; read the difference before
/// committing it.
#[cfg(feature = "kafka")]
#[test]
fn every_wrong_file_is_reported_in_the_expected_words() {
    let directory = "tests/files/errors";
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let loaded = pipeline::load(std::slice::from_ref(&path), &pipeline::FileOptions::default());
        let text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert_eq!(loaded.pipelines.is_empty(), loaded.problems.iter().any(pipeline::Problem::is_error), "{text}");
        assert!(!text.contains("CANARY") && !text.contains("1415926"), "a secret is shown:\n{text}");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if text != expected {
            wrong.push(format!("--- {} expected\n{expected}--- found\n{text}", path.display()));
        }
    }
    assert!(seen > 10, "only {seen} fixtures were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_errors_of_all_files_are_reported_at_once() {
    let loaded = pipeline::load(&["tests/files/errors".into()], &pipeline::FileOptions::default());
    let alone: usize = std::fs::read_dir("tests/files/errors")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| pipeline::load(&[path], &pipeline::FileOptions::default()).problems.len())
        .sum();
    assert_eq!(loaded.problems.len(), alone);
}

/// A key that a type of sink has and does not use is refused or warned of, so that no user relies on it.
#[cfg(feature = "kafka")]
#[test]
fn each_common_key_of_each_sink_is_used_or_reported() {
    const VALUES: [(&str, &str); 5] = [
        ("timeout", "5s"),
        ("proxy", "http://proxy.example:3128"),
        ("tls", "{ ca_file: ca.pem }"),
        ("compression", "gzip"),
        ("concurrency", "2"),
    ];
    let local = ["timeout", "proxy", "tls", "compression", "concurrency"];
    let azure = "url: https://a.example, dcr_immutable_id: dcr-00000000000000000000000000000000, stream_name: Custom-SentinelOne, \
                 tenant_id: 00000000-0000-0000-0000-000000000000, client_id: 00000000-0000-0000-0000-000000000000, \
                 client_secret: { env: S }";
    let secops = "project: p, location: eu, instance: 00000000-0000-0000-0000-000000000000, service_account: { file: \
                  google.json }";
    let sinks: [(&str, &str, &[&str]); 15] = [
        ("kafka", "brokers: ['k:9092'], topic: t", &["proxy", "concurrency"]),
        ("http", "url: https://a.example", &[]),
        ("splunk_hec", "url: https://a.example, token: { env: S }", &[]),
        ("elasticsearch", "url: https://a.example", &[]),
        ("azure_logs", azure, &[]),
        ("google_secops", secops, &[]),
        ("sekoia", "intake_key: { env: S }", &[]),
        ("datadog", "api_key: { env: S }", &[]),
        ("otlp", "url: https://a.example", &[]),
        ("loki", "url: https://a.example", &[]),
        ("sumo", "url: https://a.example", &[]),
        ("logscale", "url: https://a.example, token: { env: S }", &[]),
        ("panther", "url: https://a.example", &[]),
        ("syslog", "address: tls://a.example:6514", &["proxy", "compression"]),
        ("file", "path: x.ndjson", &local),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.yaml");
    let problems_of = |sink: &str| {
        let text = format!(
            "console: {{ url: https://c.example, token: {{ env: TOKEN }} }}\nstreams: {{ threats: {{}} }}\n\
             sinks: [{{ {sink} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let loaded = pipeline::load(std::slice::from_ref(&path), &pipeline::FileOptions::default());
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let covered: Vec<&str> = sinks.iter().map(|(name, ..)| *name).chain(["stdout"]).collect();
    assert_eq!(covered, s1_forwarder::destinations::settings::types(), "a type is missing here");
    for (name, keys, reported) in sinks.into_iter().chain([("stdout", "envelope: true", &local[..])]) {
        let bare = problems_of(&format!("type: {name}, {keys}"));
        for (key, value) in VALUES {
            let found = problems_of(&format!("type: {name}, {keys}, {key}: {value}"));
            let of_key = found
                .iter()
                .any(|problem| problem.contains(&format!(" `{key}")) || problem.contains(&format!("].{key}")));
            assert_eq!(of_key, reported.contains(&key), "{name}.{key}: {found:?} (without the key: {bare:?})");
        }
    }
}
