//! Finds out cheaply whether a file changed: first by its times and size, then by its contents.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s1_forwarder_settings::{FileAnswers, FilePath, not_a_regular_file, not_text, read_regular};
use sha2::{Digest, Sha256};

use super::yaml::MAX_BYTES;

/// Identifies the version of a file that was read.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// `None` if the file was written so shortly before it was read that a later write could have the same times.
    stamp: Option<Stamp>,
    pub hash: [u8; 32],
    /// `metadata.generation` of a resource.
    pub generation: Option<i64>,
}

/// Changes with each change of a file's contents, or of a directory's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The result of reading a file.
pub(super) enum Contents {
    /// There is no such file.
    Gone,
    /// The contents are unchanged.
    Same(Arc<Version>),
    /// The contents have changed.
    New(Arc<str>, Arc<Version>),
    /// The file cannot be read, or is not text.
    Unreadable(String),
}

/// Longer than the resolution of the times of any file system in use.
const SETTLES_IN: Duration = Duration::from_secs(2);

/// Reads the contents of these files, except for files that have their known version by times and size. If a file
/// system does not answer, only its own files are unreadable. Tenants' links are followed within the directory of the
/// file only.
pub(super) fn read_contents(
    files: Vec<(Arc<Path>, Option<Arc<Version>>)>,
    are_tenants: bool,
) -> impl Iterator<Item = (Arc<Path>, Contents)> {
    let unreadable = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Contents::Gone,
        ErrorKind::FileTooLarge => Contents::Unreadable("larger than 1 MiB".to_owned()),
        _ => Contents::Unreadable(format!("cannot be read: {error}")),
    };
    let answers =
        FileAnswers::new(files, move |path, known| read_changed(path, known.as_deref(), are_tenants).transpose());
    answers.map(move |(path, answer)| (path, answer.unwrap_or_else(unreadable)))
}

/// Reads a file. `None` if its times and size are unchanged.
fn read_changed(path: &Path, known: Option<&Version>, is_tenants: bool) -> io::Result<Option<Contents>> {
    let metadata = std::fs::metadata(path).map_err(|error| of_link(path, error))?;
    if !metadata.is_file() {
        return Err(not_a_regular_file());
    }
    let stamp = Stamp::of(&metadata);
    if known.is_some_and(|known| known.stamp.as_ref() == Some(&stamp)) {
        return Ok(None);
    }
    let stamp = stamp.unless_recent();
    let bytes = if is_tenants {
        FilePath::in_its_directory(path).read_here(MAX_BYTES)?
    } else {
        read_regular(path, MAX_BYTES)?
    };
    Ok(Some(Text::new(bytes).contents_at(stamp, known.map(|known| &known.hash))))
}

/// Returns the error of a file that does not exist. A link that leads nowhere is reported as broken, not as removed.
fn of_link(path: &Path, error: io::Error) -> io::Error {
    match std::fs::read_link(path) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            let target = target.display();
            io::Error::new(ErrorKind::InvalidData, format!("it is a symbolic link to {target}, which does not exist"))
        }
        _ => error,
    }
}

/// The text of a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    hash: [u8; 32],
    generation: Option<i64>,
    /// The error tells why the contents are not text.
    text: Result<Arc<str>, String>,
}

impl Text {
    pub fn new(bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes).into();
        let text = match not_text(&bytes) {
            Some(problem) => Err(problem),
            None => Ok(String::from_utf8_lossy(&bytes).into()),
        };
        Self { hash, generation: None, text }
    }

    /// Returns the text of a resource of this generation. Another generation is another version, even of the same text.
    #[cfg(any(test, feature = "kubernetes"))]
    pub fn of_generation(self, generation: Option<i64>) -> Self {
        let mut hash = Sha256::new_with_prefix(self.hash);
        hash.update(generation.unwrap_or_default().to_be_bytes());
        Self { generation, hash: hash.finalize().into(), ..self }
    }

    /// Returns the contents, compared with `known`, the hash of the contents that were last read.
    pub fn contents(&self, known: Option<&[u8; 32]>) -> Contents {
        self.clone().contents_at(None, known)
    }

    fn contents_at(self, stamp: Option<Stamp>, known: Option<&[u8; 32]>) -> Contents {
        let version = Arc::new(Version { stamp, hash: self.hash, generation: self.generation });
        match self.text {
            _ if known == Some(&self.hash) => Contents::Same(version),
            Ok(text) => Contents::New(text, version),
            Err(message) => Contents::Unreadable(message),
        }
    }
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the times. `None` if the file was written so shortly ago that a later write could have the same times.
    pub fn unless_recent(self) -> Option<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A copy sets the time of the last change of the contents back, but not the time of the file's last change.
        let newest = self.modified.max(self.changed);
        let newest = Duration::new(newest.0.try_into().unwrap_or_default(), newest.1.try_into().unwrap_or_default());
        now.checked_sub(newest).is_some_and(|age| age > SETTLES_IN).then_some(self)
    }
}
