//! The workflow of the public host runs what `.ci/run` runs, and the scripts name what is there.

use std::collections::BTreeSet;
use std::fs;

use super::reference_docs::root;

#[test]
fn each_section_has_a_job() {
    let script = fs::read_to_string(root().join(".ci/run")).unwrap();
    let sections: BTreeSet<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix("section \"")?.split_once('"'))
        .map(|(section, _)| section)
        .collect();
    let workflow = fs::read_to_string(root().join(".github/workflows/ci.yaml")).unwrap();
    let jobs: Vec<_> = workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("sections: "))
        .flat_map(str::split_whitespace)
        .collect();
    assert_eq!(jobs.iter().copied().collect::<BTreeSet<_>>(), sections);
    assert_eq!(jobs.len(), sections.len(), "a section runs twice: {jobs:?}");
}

fn is_module(source: &str, module: &str) -> bool {
    let path = root().join(source).join(module.trim_end_matches("::").replace("::", "/"));
    path.is_dir() || path.with_extension("rs").is_file()
}

/// `.ci/inner` reads the table.
#[test]
fn each_crate_has_a_row_of_the_tests_that_drive_it() {
    let page = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let table = page.split("\n| Folder | Tests of `it` | Others |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut folders = BTreeSet::new();
    for row in rows {
        let [_, folder, tests, others, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("three cells: {row}")
        };
        let folder = folder.trim_matches('`');
        assert!(folder.ends_with('/') && root().join(folder).is_dir(), "{row}");
        assert!(!tests.is_empty() || !others.is_empty(), "{row}");
        tests.split('`').skip(1).step_by(2).for_each(|test| assert!(is_module("tests", test), "{test}"));
        assert!(others.split(", ").all(|other| ["", "simulation", "mapping", "servers"].contains(&other)), "{row}");
        folders.insert(folder.to_owned());
    }
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = format!("crates/{}/", entry.unwrap().file_name().to_str().unwrap());
        assert!(folders.contains(&folder), "tests/README.md has no row of {folder}");
    }
}

#[test]
fn the_lists_of_the_mutants_name_what_is_there() {
    let script = fs::read_to_string(root().join(".ci/mutants.py")).unwrap();
    let list = |name: &str| {
        let list = script.split_once(&format!("\n{name} = (")).unwrap().1.split_once(')').unwrap().0;
        list.split('"').skip(1).step_by(2).collect::<Vec<_>>()
    };
    for name in list("CRATES") {
        assert!(root().join("crates").join(name).is_dir(), "{name}");
    }
    for module in list("MODULES") {
        assert!(is_module("crates/engine/src", module), "{module}");
    }
    for test in list("SLOW") {
        let (module, function) = test.rsplit_once("::").unwrap();
        assert!(is_module("tests", module), "{test}");
        let text = fs::read_to_string(root().join("tests").join(module.replace("::", "/")).with_extension("rs"));
        assert!(text.unwrap().contains(&format!("fn {function}")), "{test}");
    }
}
