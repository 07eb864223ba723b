//! The wording of errors is part of the product: each file in `errors/` has its messages next to it.

#[cfg(feature = "kafka")]
use s1_forwarder::destinations::settings;
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
    // What speaks HTTP uses all of them.
    let unused = |name: &str| -> &'static [&'static str] {
        match name {
            "kafka" => &["proxy", "concurrency"],
            "syslog" => &["proxy", "compression"],
            "file" | "stdout" => &["timeout", "proxy", "tls", "compression", "concurrency"],
            _ => &[],
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.yaml");
    let problems_of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let loaded = pipeline::load(std::slice::from_ref(&path), &pipeline::FileOptions::default());
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for &name in settings::types() {
        let has_key = |line: &str| VALUES.iter().any(|(key, _)| line.starts_with(&format!("    {key}:")));
        let example = settings::example(name).unwrap();
        let bare: String = example.lines().filter(|line| !has_key(line)).map(|line| format!("{line}\n")).collect();
        let type_line = format!("type: {name}\n");
        assert!(bare.contains(&type_line), "{bare}");
        let without = problems_of(&bare);
        assert!(without.is_empty(), "{name}: {without:?}");
        for (key, value) in VALUES {
            let found = problems_of(&bare.replacen(&type_line, &format!("{type_line}    {key}: {value}\n"), 1));
            let of_key = found
                .iter()
                .any(|problem| problem.contains(&format!(" `{key}")) || problem.contains(&format!("].{key}")));
            assert_eq!(of_key, unused(name).contains(&key), "{name}.{key}: {found:?} (without the key: {without:?})");
        }
    }
}
