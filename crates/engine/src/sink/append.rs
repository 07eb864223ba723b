//! Appends complete lines to files.

use std::ffi::OsString;
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use s1_forwarder_settings::{FilePath, PRIVATE_FILE_MODE, create_private_directories, explain_symbolic_link, quoted};

/// Number of attempts to lock a file. Other lanes may write for a while, but the holder of the lock must not block the
/// writer's thread indefinitely.
const LOCK_TRIES: usize = if cfg!(test) { 40 } else { 2_000 };
/// Pause between two attempts to lock a file.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The users who can read files and directories that are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only the owner. A symbolic link in the place of the file is not followed.
    Owner,
    /// The users whom the process's umask allows: collectors of other users read the files of a sink.
    Umask,
}

/// Appends `lines`, each with its line feed, and returns when they are on the disk. Creates the file and its
/// directories. On an error none of the lines is kept.
///
/// The file is opened for each call, so that it may be rotated by renaming it. Its lock is held while it is written,
/// since other lanes and processes may append to it.
///
/// # Errors
/// If the file cannot be opened, locked or written. Lines that were written are removed again, if possible.
pub fn append_lines(path: &FilePath, lines: &[u8], readers: Readers) -> io::Result<()> {
    let parent = path.path().parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let missing: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    if !missing.is_empty() {
        match readers {
            Readers::Owner => create_private_directories(directory)?,
            Readers::Umask => path.create_directories()?,
        }
    }
    let (mut file, _lock) = match readers {
        Readers::Owner => (open_locked(path)?, None),
        Readers::Umask => open_with_lock(path)?,
    };
    let end = remove_incomplete_line(&mut file)?;
    // A new name is durable only after its directory is synced.
    let parents = missing.iter().filter_map(|path| path.parent()).filter(|parent| !parent.as_os_str().is_empty());
    let mut parents = parents.chain([directory]).take_while(|_| end == 0);
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    let written = written.and_then(|()| parents.try_for_each(|parent| File::open(parent)?.sync_all()));
    if written.is_err() {
        // Complete lines that remain would be sent twice. If the truncation fails, they are.
        let _ = file.set_len(end);
    }
    written
}

/// Opens or creates a file at `path` that only its owner can access, and locks it. Opens it again if the previous
/// holder of the lock replaced the file.
///
/// # Errors
/// If the file cannot be opened or locked, or is a symbolic link.
pub fn open_locked(path: &FilePath) -> io::Result<File> {
    loop {
        let file = path.open(&private_options()).map_err(explain_symbolic_link)?;
        file.lock()?;
        if is_at(path, &file)? {
            return Ok(file);
        }
    }
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    options.mode(PRIVATE_FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Returns the path of the lock of a sink's file.
pub fn lock_of(path: &FilePath) -> FilePath {
    path.next_to(|name| {
        let mut lock = OsString::from(".");
        lock.push(name);
        lock.push(".lock");
        lock
    })
}

/// Opens or creates a file that others may read, with a lock that no other user can hold. A process that may read a
/// file can lock it, so the lock is on a file of its own. A device or a pipe has no such file, and is locked itself.
fn open_with_lock(path: &FilePath) -> io::Result<(File, Option<File>)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    if path.path().metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let file = path.open(&options)?;
        lock_in_time(&file, path)?;
        return Ok((file, None));
    }
    let lock_path = lock_of(path);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("its lock {lock_path}: {error}"));
    loop {
        let lock = lock_path.open(&private_options()).map_err(explain_symbolic_link).map_err(named)?;
        if lock.metadata().map_err(named)?.mode() & 0o077 != 0 {
            lock.set_permissions(Permissions::from_mode(PRIVATE_FILE_MODE)).map_err(named)?;
        }
        lock_in_time(&lock, &lock_path)?;
        // Another process may have removed the lock.
        if is_at(&lock_path, &lock).map_err(named)? {
            return Ok((path.open(&options)?, Some(lock)));
        }
    }
}

fn is_at(path: &FilePath, file: &File) -> io::Result<bool> {
    let opened = file.metadata()?;
    Ok(path.inode().is_ok_and(|named| named == (opened.dev(), opened.ino())))
}

#[allow(clippy::disallowed_methods, reason = "the writer's thread may block")]
fn lock_in_time(file: &File, path: &FilePath) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    let absolute = std::path::absolute(path.path()).unwrap_or_else(|_| path.path().to_owned());
    let shown = quoted(&absolute.display().to_string());
    let message = format!("another process or lane holds its lock; to see which process: fuser -v {shown}");
    Err(io::Error::new(ErrorKind::TimedOut, message))
}

/// Removes an incomplete last line. A crash left it, and no caller got an acknowledgement for it. Returns the length of
/// the file.
fn remove_incomplete_line(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&*file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(position) = memchr::memrchr(b'\n', &bytes) {
            end = start + position as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_line_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/events.ndjson");
        append_lines(&path.clone().into(), b"{\"a\":1}\n", Readers::Umask).unwrap();
        for incomplete in ["{\"b\":", &"x".repeat(200_000)] {
            File::options().append(true).open(&path).unwrap().write_all(incomplete.as_bytes()).unwrap();
            append_lines(&path.clone().into(), b"{\"c\":3}\n", Readers::Umask).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"c\":3}\n{\"c\":3}\n");
    }

    /// A process that may read a file can lock it.
    #[test]
    fn a_reader_that_locks_the_file_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let append = || append_lines(&path.clone().into(), b"{}\n", Readers::Umask);
        append().unwrap();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        append().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n");
        // No other user can open the file with the lock. A link to the file has the same one.
        let lock = directory.path().join(".events.ndjson.lock");
        assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
        append().unwrap();
        assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let held = File::open(&lock).unwrap();
        held.lock_shared().unwrap();
        for path in [&path, &link] {
            let error = append_lines(&path.clone().into(), b"{}\n", Readers::Umask).unwrap_err();
            let expected = format!("holds its lock; to see which process: fuser -v {}", lock.display());
            assert!(error.to_string().contains(&expected), "{error}");
        }
        drop(held);
        append().unwrap();
    }

    #[test]
    fn a_full_disk_is_reported_as_such() {
        let error = append_lines(&"/dev/full".into(), b"{}\n", Readers::Umask).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }
}
