//! Each row of the threat model names tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::reference_docs::root;

/// The functions that are tests, and how many of each name there are.
fn tests(directory: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            let mut is_ignored = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                    is_ignored = false;
                } else if line.starts_with("#[ignore") {
                    is_ignored = true;
                } else if let (true, Some((_, name))) = (is_test, line.split_once("fn ")) {
                    if !is_ignored {
                        *found.entry(name.split('(').next().unwrap().to_owned()).or_default() += 1;
                    }
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn each_threat_has_a_measure_and_tests_that_exist() {
    let mut existing = BTreeMap::new();
    ["src", "tests", "crates"].into_iter().for_each(|directory| tests(&root().join(directory), &mut existing));
    assert!(existing.len() > 1_000, "{}", existing.len());
    let page = fs::read_to_string(root().join("docs/dev/threats.md")).unwrap();
    let threats = page.split("## Threats\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<_> = threats.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    let mut seen = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [threat, measure, tests] = cells[..] else { panic!("three cells: {row}") };
        assert!(!measure.is_empty() && seen.insert(threat), "{row}");
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(existing.contains_key(name), "there is no test {name}: {row}");
        }
    }
}

/// Words of consoles and peers are escaped in `output.rs`. The other files print what is the program's own, what they
/// escape themselves, or what is meant for a file.
#[test]
fn commands_write_to_a_terminal_where_words_are_escaped() {
    const WRITERS: [&str; 4] = ["output.rs", "demo/terminal.rs", "state/transfer.rs", "status/mod.rs"];
    fn visit(directory: &Path, writers: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, writers);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            if ["stdout().lock()", "!(stdout()", "!(io::stdout()"].iter().any(|write| text.contains(write)) {
                writers.insert(path.strip_prefix(root().join("src/commands")).unwrap().display().to_string());
            }
        }
    }
    let mut writers = BTreeSet::new();
    visit(&root().join("src/commands"), &mut writers);
    assert_eq!(writers, WRITERS.map(str::to_owned).into());
}
