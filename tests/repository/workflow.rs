//! The workflow of the public host runs what `.ci/run` runs.

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
