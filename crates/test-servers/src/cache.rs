//! Files that tests need and a clone does not have: made once, and kept outside the clone.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the directory `name` of the cache, which `make` fills once. The error says why there is none.
pub fn kept(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let cache = match std::env::var_os("S1_FORWARDER_TEST_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(&std::env::var_os("HOME").ok_or("no HOME")?).join(".cache/s1-forwarder-test"),
    };
    let directory = cache.join(name);
    let text = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(&directory).map_err(text)?;
    // Parallel test binaries make it once.
    let lock = File::create(directory.join("lock")).map_err(text)?;
    lock.lock().map_err(text)?;
    let complete = directory.join("complete");
    if !complete.exists() {
        make(&directory)?;
        std::fs::write(complete, name).map_err(text)?;
    }
    Ok(directory)
}

/// Fails unless `S1_FORWARDER_SERVERS=1` asks for real servers: fetching and starting them takes minutes.
pub fn servers_wanted() -> Result<(), String> {
    match std::env::var("S1_FORWARDER_SERVERS").as_deref() {
        Ok("1") => Ok(()),
        _ => Err("not asked for; `just test-servers` or S1_FORWARDER_SERVERS=1 runs these tests".to_owned()),
    }
}

/// Fails unless these programs are installed and wanted. `version` is the argument that makes a program print its
/// version.
pub fn installed(tools: &[&str], version: &str) -> Result<(), String> {
    servers_wanted()?;
    for tool in tools {
        let found = Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(format!("`{tool}` is not installed"));
        }
    }
    Ok(())
}

/// Runs a command to its end in `directory` and returns its standard output. The error has all of its output.
pub fn run(command: &mut Command, directory: &Path) -> Result<String, String> {
    let output = command.current_dir(directory).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?} failed: {}{}", text(&output.stderr), text(&output.stdout)))
    }
}

/// Returns what was made. Otherwise prints the reason and returns `None`, so that the test is skipped; in CI it panics.
pub fn or_skip<T>(what: &str, made: Result<T, String>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(reason) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{what} is not optional in CI: {reason}");
            // Unlike the output of `eprintln!`, this line is shown for a test that passes.
            let _ = writeln!(std::io::stderr(), "skipped, no {what}: {reason}");
            None
        }
    }
}
