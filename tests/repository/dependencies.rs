//! Every dependency has a line that says what it is for.

use std::collections::BTreeSet;
use std::fs;

#[test]
fn each_dependency_has_its_reason() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let given = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let given: BTreeSet<&str> = given.filter(|name| !name.starts_with('#')).collect();
    let page = fs::read_to_string("docs/dev/dependencies.md").unwrap();
    // The names of crates stand before the colon of their item.
    let items = page.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
    let named = items.flat_map(|(names, _)| names.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = named.filter(|name| *name != "backon" && *name != "ring").collect();
    assert!(given.len() > 40, "{given:?}");
    assert_eq!(named, given);
}
