//! Files that only grow, by whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Appends `lines` (each with its line feed) to the file at `path`, which is made if need be, and returns when they are
/// on the disk. Either all of them stay or none.
///
/// The file is opened anew each time, so that it may be rotated by renaming it, and locked while it is written, so that
/// lanes and processes that share it do not tear each other's lines.
pub(crate) fn append_lines(path: &Path, lines: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    if !made.is_empty() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = open_locked(path)?;
    let end = whole_lines_end(&mut file)?;
    // A new name is durable only once the directory that holds it is.
    let holders = made.iter().filter_map(|made| made.parent()).filter(|holder| !holder.as_os_str().is_empty());
    let mut holders = holders.chain([directory]).take_while(|_| end == 0);
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    let written = written.and_then(|()| holders.try_for_each(|holder| File::open(holder)?.sync_all()));
    if written.is_err() {
        // Whole lines that stay would be sent twice; if even this fails, that is what happens.
        let _ = file.set_len(end);
    }
    written
}

/// The file at `path`, made if need be, with its lock. Whoever had the lock before may have put another file in its place.
pub(crate) fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.lock()?;
        let (opened, named) = (file.metadata()?, path.metadata());
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
            return Ok(file);
        }
    }
}

/// Cuts off the beginning of a line that a crash left behind (it was never acknowledged), and returns where the file ends.
fn whole_lines_end(file: &mut File) -> io::Result<u64> {
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
    fn a_line_torn_by_a_crash_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/events.ndjson");
        append_lines(&path, b"{\"a\":1}\n").unwrap();
        for torn in ["{\"b\":", &"x".repeat(200_000)] {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
            append_lines(&path, b"{\"c\":3}\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"c\":3}\n{\"c\":3}\n");
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let error = append_lines(Path::new("/dev/full"), b"{}\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }
}
