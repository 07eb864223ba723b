//! Servers that are published as Java archives, fetched once and kept outside the clone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory with the jars of `artifacts` (`group:name:version`) and of what they need. None without Java or Maven,
/// which says why; in CI a skip is a failure.
pub fn jars(server: &str, name: &str, artifacts: &[&str]) -> Option<PathBuf> {
    match fetched(name, artifacts) {
        Ok(directory) => Some(directory.join("lib")),
        Err(reason) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{server} is not optional in CI: {reason}");
            eprintln!("skipped, no {server}: {reason}");
            None
        }
    }
}

/// The directory that has them in `lib`, or why there is none.
pub fn fetched(name: &str, artifacts: &[&str]) -> Result<PathBuf, String> {
    for tool in ["java", "mvn"] {
        let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(format!("`{tool}` is not installed"));
        }
    }
    let cache = match std::env::var_os("S1_FORWARDER_TEST_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(&std::env::var_os("HOME").ok_or("no HOME")?).join(".cache/s1-forwarder-test"),
    };
    let directory = cache.join(name);
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    // Test binaries that run side by side fetch once.
    let lock = File::create(directory.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let complete = directory.join("complete");
    if !complete.exists() {
        std::fs::write(directory.join("pom.xml"), pom(artifacts)).map_err(|error| error.to_string())?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]).current_dir(&directory);
        let output = maven.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("Maven cannot fetch it: {}", String::from_utf8_lossy(&output.stdout)));
        }
        std::fs::write(complete, name).map_err(|error| error.to_string())?;
    }
    Ok(directory)
}

fn pom(artifacts: &[&str]) -> String {
    let dependencies: String = artifacts
        .iter()
        .map(|artifact| {
            let mut parts = artifact.split(':');
            let mut next = || parts.next().unwrap();
            let (group, name, version) = (next(), next(), next());
            format!("<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>")
        })
        .collect();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>s1-forwarder-test</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"#
    )
}
