//! The crates below `crates/`: what they are held to, and what they may depend on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::reference_docs::root;

/// The mapping's tests are what a contributor to the mapping waits for.
const MAX_CRATES: usize = 80;

/// What builds code in C, and what the program needs of the size of a house.
const FORBIDDEN: [&str; 10] =
    ["cc", "cmake", "openssl-sys", "rdkafka", "ring", "tikv-jemallocator", "zstd-sys", "kube", "vrl", "axum"];

fn folders() -> Vec<PathBuf> {
    fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The crates that `package` and its tests are built with, itself included.
fn tree(package: &str) -> Vec<String> {
    let arguments =
        ["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(arguments).args(["--package", package]).current_dir(root()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut crates: Vec<_> = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect();
    crates.sort();
    crates.dedup();
    crates
}

#[test]
fn the_mapping_is_tested_without_c_and_with_few_crates() {
    let crates = tree("s1-forwarder-mapping");
    let names: Vec<&str> = crates.iter().map(|name| name.split(' ').next().unwrap()).collect();
    assert!(names.contains(&"s1-forwarder-emulator") && names.contains(&"proptest"), "{names:?}");
    let forbidden: Vec<_> = FORBIDDEN.iter().filter(|name| names.contains(name)).collect();
    assert!(forbidden.is_empty(), "{forbidden:?} in {names:?}");
    assert!(crates.len() <= MAX_CRATES, "{} crates: {crates:#?}", crates.len());
}

#[test]
fn each_crate_has_the_lints_of_the_program_and_no_unsafe_code() {
    assert!(!folders().is_empty());
    for folder in folders() {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{}", folder.display());
        let library = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(library.contains("\n#![forbid(unsafe_code)]\n"), "{}", folder.display());
    }
}
