//! Files that only their owner can read: checkpoints name customers, dead letters hold whole events.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;

/// Mode of files that the owner alone may read and write.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

/// Creates the missing directories of `path`, with mode 0700. Existing ones stay as they are.
///
/// # Errors
/// If one of them cannot be created.
pub fn create_private_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns options that create files with mode 0600. A symbolic link in the place of the file is not followed.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(PRIVATE_FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Replaces the error `ELOOP` by one that says that the file is a symbolic link.
pub fn explain_symbolic_link(error: Error) -> Error {
    if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) {
        return error;
    }
    let message = "a symbolic link is in its place, which is not followed, since another user may have put it there: \
                   remove it";
    Error::new(error.kind(), message)
}

/// Checks that a directory may be used for files that no other user may choose. In an unsafe directory, users other
/// than its owner and root could have put links. A directory that does not exist may be used. So may a mounted
/// directory, such as an `emptyDir` of Kubernetes: its administrator decides who gets it.
///
/// # Errors
/// If the directory may not be used, with what to do; or if its metadata cannot be read.
pub fn check_private_directory(directory: &Path) -> io::Result<()> {
    const OTHERS_MAY_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let is_others = |metadata: &Metadata| metadata.uid() != geteuid().as_raw() && metadata.uid() != 0;
    let refuse = |reason: &str| Err(Error::new(ErrorKind::PermissionDenied, reason));
    let found = match directory.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if directory.symlink_metadata().is_ok_and(|link| link.is_symlink() && is_others(&link)) {
        return refuse("it is a symbolic link of another user: name the directory itself");
    }
    if is_mounted(directory, &found) {
        return Ok(());
    }
    if is_others(&found) {
        return refuse(
            "it belongs to another user, who could have put links to other files there: run as that user, or give the \
             directory to this one (chown)",
        );
    }
    if found.mode() & OTHERS_MAY_WRITE != 0 && found.mode() & STICKY == 0 {
        return refuse(
            "every user may write there, and could have put links to other files there: look at what is in it, and take \
             the right away (chmod o-w)",
        );
    }
    Ok(())
}

/// Returns whether a file system begins at the directory.
fn is_mounted(directory: &Path, found: &Metadata) -> bool {
    let whole = directory.canonicalize();
    let parent = whole.ok().and_then(|path| path.parent().and_then(|parent| parent.metadata().ok()));
    parent.is_none_or(|parent| parent.dev() != found.dev())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_directory_that_others_could_have_prepared_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("state");
        assert!(check_private_directory(&directory).is_ok(), "it does not exist");
        std::fs::create_dir(&directory).unwrap();
        // The last mode but one is the mode of a volume with `fsGroup`.
        for (mode, is_allowed) in [(0o700, true), (0o755, true), (0o777, false), (0o2775, true), (0o1777, true)] {
            set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            let checked = check_private_directory(&directory);
            assert_eq!(checked.is_ok(), is_allowed, "{mode:o}: {checked:?}");
        }
        set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        // Only root can give a directory to another user.
        if geteuid().is_root() {
            chown(&directory, Some(54_321), None).unwrap();
            let error = check_private_directory(&directory).unwrap_err().to_string();
            assert!(error.contains("belongs to another user"), "{error}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_private_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let foreign = directory.path().join("foreign");
        let link = directory.path().join("link");
        std::fs::write(&foreign, "foreign").unwrap();
        symlink(&foreign, &link).unwrap();
        let opened = private_file().write(true).create(true).truncate(true).open(&link).map_err(explain_symbolic_link);
        assert!(opened.unwrap_err().to_string().contains("a symbolic link is in its place"));
        assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "foreign");
    }
}
