//! Servers that are published as Java archives, fetched once and kept outside the clone.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::{installed, kept, run};

/// Returns the directory with the jars of `artifacts` (`group:name:version`) and of their dependencies.
pub(crate) fn jars(name: &str, artifacts: &[&str]) -> Result<PathBuf, String> {
    installed(&["java", "mvn"], "-version")?;
    let directory = kept(name, |directory| {
        std::fs::write(directory.join("pom.xml"), pom(artifacts)).map_err(|error| error.to_string())?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]);
        run(&mut maven, directory).map(drop)
    })?;
    Ok(directory.join("lib"))
}

fn pom(artifacts: &[&str]) -> String {
    let mut dependencies = String::new();
    for artifact in artifacts {
        let [group, name, version] = artifact.split(':').collect::<Vec<_>>()[..] else { continue };
        dependencies += &format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        );
    }
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>s1-forwarder-test</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"#
    )
}
