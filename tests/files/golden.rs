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
