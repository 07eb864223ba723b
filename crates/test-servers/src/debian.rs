//! Programs of Debian's packages, unpacked and not installed: installing one would start its service.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::{installed, kept, run};

/// Returns the directory with the unpacked files of `packages`.
pub(crate) fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    installed(&["apt-get", "dpkg-deb"], "--version")?;
    kept(name, |directory| {
        // Only root may update the lists. The existing lists are often enough.
        let _ = run(Command::new("apt-get").args(["update", "-qq"]), directory);
        run(Command::new("apt-get").args(["download", "-qq"]).args(packages), directory)?;
        let files = std::fs::read_dir(directory).map_err(|error| error.to_string())?;
        for file in files.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg("."), directory)?;
            }
        }
        Ok(())
    })
}
