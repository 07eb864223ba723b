//! Programs that are published as Go modules, built once (for some minutes) and kept outside the clone.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::{installed, kept, run};

/// Builds the program `name` from the main package `package` of `module` (`MODULE@VERSION`), and returns its path.
pub(crate) fn program(name: &str, module: &str, package: &str) -> Result<PathBuf, String> {
    installed(&["go"], "version")?;
    let (path, version) = module.split_once('@').ok_or("MODULE@VERSION")?;
    let directory = kept(&format!("{name}-{}", version.trim_start_matches('v')), |directory| {
        let module = format!(
            "module servers\n\ngo 1.24\n\nrequire {path} {version}\n\n{}",
            siblings(module, version.trim_start_matches("v1."))?
        );
        std::fs::write(directory.join("go.mod"), module).map_err(|error| error.to_string())?;
        let tools = format!("//go:build tools\n\npackage servers\n\nimport _ \"{package}\"\n");
        std::fs::write(directory.join("tools.go"), tools).map_err(|error| error.to_string())?;
        let mut build = Command::new("go");
        build.args(["build", "-ldflags=-s -w", "-o", name, package]).env("GOFLAGS", "-mod=mod");
        run(&mut build, directory).map(drop)
    })?;
    Ok(directory.join(name))
}

/// Returns the directory of a module's source text, from Go's own cache.
pub(crate) fn source(module: &str) -> Result<PathBuf, String> {
    installed(&["go"], "version")?;
    download(module, "Dir").map(PathBuf::from)
}

/// Returns `replace` lines for the parts that a module has in its own repository. The module replaces them by paths
/// there; elsewhere they have the version `v0.` and the module's version.
fn siblings(module: &str, version: &str) -> Result<String, String> {
    let module = std::fs::read_to_string(download(module, "GoMod")?).map_err(|error| error.to_string())?;
    let parts = module.lines().filter_map(|line| line.split_once(" => ./staging/"));
    Ok(parts.map(|(part, _)| format!("replace {0} => {0} v0.{version}\n", part.trim())).collect())
}

/// Fetches a module unless it is there, and returns the field `what` that Go prints about it.
fn download(module: &str, what: &str) -> Result<String, String> {
    let mut command = Command::new("go");
    let answer = run(command.args(["mod", "download", "-json", module]), &std::env::temp_dir())?;
    let key = format!("\"{what}\": \"");
    let value = answer.lines().find_map(|line| line.trim().strip_prefix(&key));
    let value = value.and_then(|value| value.trim_end_matches(',').strip_suffix('"'));
    value.map(str::to_owned).ok_or(answer.clone())
}
