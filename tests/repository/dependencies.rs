//! Every dependency has a line that says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The crates that a manifest depends on, without those of this workspace that the program consists of.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    const HEADS: [&str; 3] = ["\n[dependencies]\n", "\n[build-dependencies]\n", "\n[dev-dependencies]\n"];
    let sections = HEADS.iter().filter_map(|head| manifest.split(head).nth(1)?.split("\n[").next());
    let lines = sections.flat_map(|section| section.lines()).filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim_end_matches(".workspace"));
    names.filter(|name| !name.starts_with("s1-forwarder"))
}

#[test]
fn each_dependency_has_its_reason() {
    let crates = fs::read_dir("crates").unwrap().map(|entry| entry.unwrap().path().join("Cargo.toml"));
    let manifests = crates.chain(["Cargo.toml".into()]).map(|path| fs::read_to_string(path).unwrap());
    let manifests: Vec<String> = manifests.collect();
    let given: BTreeSet<&str> = manifests.iter().flat_map(|manifest| dependencies(manifest)).collect();
    let page = fs::read_to_string("docs/dev/dependencies.md").unwrap();
    // The names of crates stand before the colon of their item.
    let (_, items) = page.split_once("## Native code").unwrap();
    let items = items.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
    let named = items.flat_map(|(names, _)| names.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = named.filter(|name| *name != "backon" && *name != "ring").collect();
    assert!(given.len() > 40, "{given:?}");
    assert_eq!(named, given);
}

/// Crates of the lock file that compile code in another language: they depend on the builders of such code.
fn native(lock: &str) -> BTreeMap<&str, &str> {
    let mut native = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value =
            |key| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        let needs = package.split("\ndependencies = [").nth(1).unwrap_or_default();
        let builders = ["\"cc\"", "\"cmake\"", "\"openssl-src\"", "\"autotools\""];
        if builders.iter().any(|name| needs.contains(name)) && package.contains("source = ") {
            native.insert(value("name").unwrap(), value("version").unwrap());
        }
    }
    native
}

#[test]
fn native_and_unsafe_code_is_reviewed_in_the_version_that_is_locked() {
    let lock = fs::read_to_string("Cargo.lock").unwrap();
    let page = fs::read_to_string("docs/dev/dependencies.md").unwrap();
    let reviews = page.split("## Reviews").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut reviewed = BTreeSet::new();
    for row in reviews.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, version, date, lines, seen] = cells[..] else { panic!("five cells: {row}") };
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "not what is locked: {row}");
        assert!(
            date.starts_with("20") && date.len() == 10 && lines.parse::<u32>().is_ok() && !seen.is_empty(),
            "{row}"
        );
        assert!(reviewed.insert(name), "twice: {row}");
    }
    // Crates that the page says are native, or unsafe and reached from outside.
    let listed = page.split("## Native code").nth(1).unwrap().split("## The rest").next().unwrap();
    let items = listed.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
    for name in items.flat_map(|(names, _)| names.split('`').skip(1).step_by(2)) {
        assert!(reviewed.contains(name) || PURE.contains(&name), "{name} has no review");
    }
    let native = native(&lock);
    assert!(native.contains_key("ring") && native.contains_key("zstd-sys"), "{native:?}");
    for (name, version) in &native {
        assert!(reviewed.contains(name) || BUILD_ONLY.contains(name), "{name} {version} has no review");
    }
}

/// Crates with hardly any unsafe code of their own.
const PURE: [&str; 4] = ["rustls", "tokio-rustls", "httpdate", "secrecy"];

/// Native code that is not in the released program: benchmarks, another operating system.
const BUILD_ONLY: [&str; 2] = ["alloca", "iana-time-zone-haiku"];

/// OpenSSL names its source files in its errors, so the program has the names of those that it was built from.
#[cfg(feature = "kafka")]
#[test]
fn the_openssl_of_the_program_cannot_load_modules() {
    let program = fs::read(env!("CARGO_BIN_EXE_s1-forwarder")).unwrap();
    let contains = |file: &str| memchr::memmem::find(&program, file.as_bytes()).is_some();
    assert!(contains("crypto/evp/evp_enc.c"), "no OpenSSL in the program");
    assert!(!contains("dso_dlfcn.c"), "OpenSSL has its loader of shared libraries");
}
