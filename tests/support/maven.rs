//! Servers that are published as Java archives, fetched once and kept outside the clone.

use std::path::PathBuf;
use std::process::Command;

use super::cache::{installed, kept, or_skip, run};

/// The directory with the jars of `artifacts` (`group:name:version`) and of what they need, or none without Java or
/// Maven.
pub fn jars(server: &str, name: &str, artifacts: &[&str]) -> Option<PathBuf> {
    or_skip(server, fetched(name, artifacts)).map(|directory| directory.join("lib"))
}

/// The directory that has them in `lib`, or why there is none.
fn fetched(name: &str, artifacts: &[&str]) -> Result<PathBuf, String> {
    installed(&["java", "mvn"], "-version")?;
    kept(name, |directory| {
        std::fs::write(directory.join("pom.xml"), pom(artifacts)).map_err(|error| error.to_string())?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]);
        run(&mut maven, directory).map(drop)
    })
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
