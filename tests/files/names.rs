//! Which tenant's file has a name.

use std::fs;
use std::path::PathBuf;

use s1_forwarder::pipeline::{FileOptions, Files, Owners, Scan, TenantRules};

/// Two directories, each of a tenant.
struct Tenants(tempfile::TempDir);

const VALID: &str = "console: { url: 'https://console.example', token: literal }\nstreams: { threats: {} }\n\
                     sinks: [{ type: http, url: 'https://siem.example' }]\n";

impl Tenants {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Starts as a worker does, with the directories of these names.
    fn start(&self, directories: &[&str], owners: &Owners) -> Files {
        let tenants = TenantRules { for_files: true, ..TenantRules::default() };
        let paths: Vec<_> = directories.iter().map(|name| self.path(name)).collect();
        let mut files = Files::new(&paths, &FileOptions { defaults: None, tenants });
        files.set_owners(owners.clone());
        files.rescan(&Scan::All);
        files
    }

    /// The files that run.
    fn running(&self, files: &Files) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(self.0.path()).unwrap().display().to_string();
        files.running().map(|pipeline| name(&pipeline.path)).collect()
    }
}

fn problems(files: &Files) -> String {
    files.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_name_stays_with_the_tenants_file_that_had_it_first() {
    let tenants = Tenants::new();
    tenants.put("a/victim.yaml", VALID);
    let mut files = tenants.start(&["a", "b"], &Owners::new());
    let owners = files.owners().clone();
    assert_eq!(owners.get("victim"), Some(&tenants.path("a/victim.yaml")));
    // In another directory, and next to it.
    tenants.put("b/victim.yaml", VALID);
    tenants.put("a/victim.yml", VALID);
    files.rescan(&Scan::All);
    assert_eq!(tenants.running(&files), ["a/victim.yaml"]);
    // A path is not shown to a neighbour.
    let of = |name: &str| {
        let problems = problems(&files);
        problems.lines().filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<_>>().join(", ")
    };
    assert!(of("/b/").contains("another tenant's file, which had it first"), "{}", of("/b/"));
    assert!(
        !of("/b/").contains("/a/") && of("/a/victim.yml").contains("/a/victim.yaml, which"),
        "{}",
        problems(&files)
    );
    // Without what the worker knew, neither would start.
    assert!(tenants.running(&tenants.start(&["a", "b"], &Owners::new())).is_empty());
    let start = || tenants.start(&["a", "b"], &owners);
    assert_eq!(tenants.running(&start()), ["a/victim.yaml"]);
    tenants.put("a/victim.yaml", "console: [\n");
    let invalid = start();
    assert!(tenants.running(&invalid).is_empty());
    assert!(problems(&invalid).contains("which had it first"), "{}", problems(&invalid));
    fs::remove_file(tenants.path("a/victim.yaml")).unwrap();
    assert!(tenants.running(&start()).is_empty(), "its secrets and checkpoints are still there");
    files.rescan(&Scan::All);
    assert!(tenants.running(&files).is_empty());
    assert!(problems(&files).contains("state release victim") && files.has_refused_names());
    // The operator releases it, and of two that wait neither is the first.
    fs::remove_file(tenants.path("a/victim.yml")).unwrap();
    files.set_owners(Owners::new());
    files.rescan(&Scan::All);
    assert_eq!(tenants.running(&files), ["b/victim.yaml"]);
    assert_eq!(files.owners().get("victim"), Some(&tenants.path("b/victim.yaml")));
}

#[test]
fn a_tenant_makes_no_other_tenants_renamed_from_invalid() {
    let tenants = Tenants::new();
    let text = format!("renamed_from: old\n{VALID}");
    ["a/one.yaml", "b/two.yaml"].iter().for_each(|name| tenants.put(name, &text));
    let mut files = tenants.start(&["a", "b"], &Owners::new());
    assert_eq!(tenants.running(&files), ["a/one.yaml", "b/two.yaml"]);
    tenants.put("a/three.yaml", &text);
    files.rescan(&Scan::All);
    let names = |problem: &&str| problem.contains("renamed_from");
    let problems = problems(&files);
    assert_eq!(problems.lines().filter(names).count(), 2, "{problems}");
    assert!(problems.lines().filter(names).all(|problem| !problem.contains("/b/")), "{problems}");
}

#[test]
fn an_invalid_file_of_a_tenant_claims_its_name() {
    let tenants = Tenants::new();
    tenants.put("a/victim.yaml", "console: [\n");
    tenants.put("b/victim.yml", VALID);
    tenants.put("b/other.yml", VALID);
    let mut files = tenants.start(&["a", "b"], &Owners::new());
    assert_eq!(tenants.running(&files), ["b/other.yml"]);
    assert!(problems(&files).contains("`victim` is also used by another tenant's file"), "{}", problems(&files));
    fs::remove_file(tenants.path("b/victim.yml")).unwrap();
    tenants.put("a/victim.yaml", VALID);
    files.rescan(&Scan::All);
    assert_eq!(tenants.running(&files), ["b/other.yml", "a/victim.yaml"]);
}

/// The operator says which directories there are.
#[test]
fn a_file_that_the_operator_leaves_out_has_its_name_no_longer() {
    let tenants = Tenants::new();
    tenants.put("a/victim.yaml", VALID);
    let owners = tenants.start(&["a"], &Owners::new()).owners().clone();
    fs::rename(tenants.path("a/victim.yaml"), tenants.path("b/victim.yaml")).unwrap();
    assert!(tenants.running(&tenants.start(&["a", "b"], &owners)).is_empty());
    assert_eq!(tenants.running(&tenants.start(&["b"], &owners)), ["b/victim.yaml"]);
}
