//! Appends complete lines to files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::settings::{FilePath, PRIVATE, create_private_directories, not_followed};

/// Who can read files and directories that are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Only the owner. A symbolic link in the place of the file is not followed.
    Owner,
    /// Whom the process's umask allows: collectors of other users read the files of a sink.
    Umask,
}

/// Appends `lines`, each with its line feed, and returns when they are on the disk. Creates the file and its
/// directories. On an error none of the lines is kept.
///
/// The file is opened for each call, so that it may be rotated by renaming it. It is locked while it is written, since
/// other lanes and processes may append to it.
pub(crate) fn append_lines(path: &FilePath, lines: &[u8], readers: Readers) -> io::Result<()> {
    let parent = path.path().parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let missing: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    if !missing.is_empty() {
        match readers {
            Readers::Owner => create_private_directories(directory)?,
            Readers::Umask => path.create_directories()?,
        }
    }
    let mut file = open_locked(path, readers)?;
    let end = remove_incomplete_line(&mut file)?;
    // A new name is durable only after its directory is synced.
    let parents = missing.iter().filter_map(|path| path.parent()).filter(|parent| !parent.as_os_str().is_empty());
    let mut parents = parents.chain([directory]).take_while(|_| end == 0);
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    let written = written.and_then(|()| parents.try_for_each(|parent| File::open(parent)?.sync_all()));
    if written.is_err() {
        // Complete lines that remain would be sent twice. If this fails, they are.
        let _ = file.set_len(end);
    }
    written
}

/// Opens or creates the file at `path` and locks it. Opens it again if the previous holder of the lock replaced it.
pub(crate) fn open_locked(path: &FilePath, readers: Readers) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    if readers == Readers::Owner {
        options.mode(PRIVATE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    }
    loop {
        let file = path.open(&options).map_err(not_followed)?;
        file.lock()?;
        let opened = file.metadata()?;
        if path.inode().is_ok_and(|named| named == (opened.dev(), opened.ino())) {
            return Ok(file);
        }
    }
}

/// Removes an incomplete last line, which a crash left and nobody acknowledged. Returns the length of the file.
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

    #[test]
    fn a_full_disk_is_reported_as_such() {
        let error = append_lines(&"/dev/full".into(), b"{}\n", Readers::Umask).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }
}
