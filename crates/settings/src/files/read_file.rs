//! Reads files that others name: pipeline files, tokens, certificates. The file may be a pipe, a device, or on a file
//! system that does not answer.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::file_system::ask_file_system;

/// Returns why these bytes of a file are no text, and what to do; `None` if they are text.
pub fn not_text(bytes: &[u8]) -> Option<String> {
    // Each second byte of ASCII in UTF-16 is 0.
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..] = bytes {
        return Some("it is UTF-16: save it as UTF-8".to_owned());
    }
    let error = std::str::from_utf8(bytes).err()?;
    let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
    Some(format!("line {line} is not UTF-8 text: save the file as UTF-8"))
}

/// Reads a regular file of at most `max` bytes, as [`ask_file_system`] does.
///
/// # Errors
/// If the system refuses, or the path is no regular file (`InvalidInput`), or the file is too large (`FileTooLarge`),
/// or the file system does not answer in time (`TimedOut`).
pub fn read_file(path: &Path, max: usize) -> Result<Vec<u8>> {
    ask_file_system(path, move |path| read_regular(path, max))
}

/// Returns the error for a path that is neither a file nor a symbolic link to one.
pub fn not_a_regular_file() -> Error {
    Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

/// Reads a regular file as [`read_file`] does, but without a timeout: the file system may not answer.
///
/// # Errors
/// As [`read_file`].
pub fn read_regular(path: &Path, max: usize) -> Result<Vec<u8>> {
    // Without the flag, opening a pipe waits for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    read_opened(OpenOptions::new().read(true).custom_flags(flags).open(path)?, max)
}

/// Reads an open file, of at most `max` bytes.
pub(crate) fn read_opened(file: File, max: usize) -> Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(not_a_regular_file());
    }
    let mut bytes = Vec::new();
    // One byte more shows that the file is too large, without reading all of it.
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_only_so_much() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "12345678").unwrap();
        assert_eq!(read_file(&file, 8).unwrap(), b"12345678");
        assert_eq!(read_file(&file, 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for other in [&pipe, Path::new("/dev/zero"), directory.path()] {
            assert_eq!(read_file(other, 8).unwrap_err().kind(), ErrorKind::InvalidInput, "{}", other.display());
        }
        let missing = read_file(&directory.path().join("missing"), 8).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
