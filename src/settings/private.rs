//! Files that only their owner can read: checkpoints name customers, dead letters hold whole events.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates the missing directories of `path`, with mode 0700. Existing ones stay as they are.
///
/// # Errors
/// If one of them cannot be created.
pub fn create_private_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Options that create files with mode 0600.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}
