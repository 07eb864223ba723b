//! `--pipelines PATH`: a file, or a directory one level deep.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use s1_forwarder_settings::ask_file_system;

use super::contents::Stamp;
use super::problem::Problem;

/// One path of `--pipelines`.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    last_found: PathKind,
    /// Stamp of a directory whose entries were listed. The entries are the same as long as the stamp is.
    listed: Option<Stamp>,
    /// Entries of the directory that did not become pipeline files, and may do so while the directory stays the same.
    left_out: BTreeSet<PathBuf>,
}

/// The kind of object that was last found at a path. If a file is missing, its pipeline is removed. If a directory is
/// missing, it may not be mounted, and its pipelines keep running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    Nothing,
    File,
    Directory,
}

#[derive(Debug, PartialEq)]
pub(super) enum Listing {
    /// Paths of files. Known ones may be missing.
    Files(Vec<PathBuf>),
    Failed(Problem),
}

/// Returns whether a file of this name in a directory is read.
pub(super) fn is_pipeline_file(name: &OsStr) -> bool {
    let path = Path::new(name);
    let hidden = name.as_encoded_bytes().first() == Some(&b'.');
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

impl Source {
    pub fn new(path: &Path) -> Self {
        let (listed, left_out) = Default::default();
        Self { path: path.to_owned(), last_found: PathKind::Nothing, listed, left_out }
    }

    /// Returns whether `path` is this path, or is in this directory.
    pub fn contains(&self, path: &Path) -> bool {
        path == self.path || path.parent() == Some(&self.path)
    }

    /// Returns whether `path`, in absolute form, is this path or is in this directory.
    pub fn has_listed(&self, path: &Path) -> bool {
        std::path::absolute(&self.path).is_ok_and(|own| path == own || path.parent() == Some(&own))
    }

    /// Leaves out a file that [`Self::list`] found and that is not known: it is found again the next time.
    pub fn leave_out(&mut self, path: &Path) {
        if self.contains(path) {
            self.left_out.insert(path.to_owned());
        }
    }

    pub fn list(&mut self) -> Listing {
        let known = self.last_found;
        let listed = self.listed;
        match ask_file_system(&self.path, move |path| list_path(path, known, listed)) {
            Ok(Found { kind, files, stamp }) => {
                self.last_found = kind;
                self.listed = stamp;
                let left_out = std::mem::take(&mut self.left_out);
                Listing::Files(files.unwrap_or_else(|| left_out.into_iter().collect()))
            }
            Err(error) => {
                let message = match error.kind() {
                    ErrorKind::NotFound => "there is no such file or directory".to_owned(),
                    _ => format!("cannot be read: {error}"),
                };
                Listing::Failed(Problem::file(&self.path, message))
            }
        }
    }
}

/// The object at a path, and its files.
struct Found {
    kind: PathKind,
    /// `None` if the directory still has the known `stamp`, and so the same files.
    files: Option<Vec<PathBuf>>,
    stamp: Option<Stamp>,
}

/// Returns the kind of object at `path`, and its files. A file that is gone is listed, so that its pipeline is removed.
/// A directory that still has the stamp `listed` is not read, since this would take most of the time of a scan.
fn list_path(path: &Path, last_found: PathKind, listed: Option<Stamp>) -> io::Result<Found> {
    let file = || Found { kind: PathKind::File, files: Some(vec![path.to_owned()]), stamp: None };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Ok(file()),
        Err(error) if error.kind() == ErrorKind::NotFound && last_found == PathKind::File => return Ok(file()),
        Err(error) => return Err(error),
    };
    let stamp = Stamp::of(&metadata);
    if listed == Some(stamp) {
        return Ok(Found { kind: PathKind::Directory, files: None, stamp: listed });
    }
    let mut stamp = if keeps_times(path) { stamp.unless_recent() } else { None };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if !is_pipeline_file(&entry.file_name()) {
            continue;
        }
        // Follows no symlinks: their targets may be on a file system that does not answer.
        let kind = entry.file_type().ok();
        if kind.is_none_or(|kind| !kind.is_file()) {
            // The target of a symlink comes and goes while the directory stays the same.
            stamp = None;
        }
        if kind.is_none_or(|kind| !kind.is_dir()) {
            files.push(entry.path());
        }
    }
    Ok(Found { kind: PathKind::Directory, files: Some(files), stamp })
}

/// Returns whether the file system is one that changes a directory's times with its entries. Some that show a bucket or
/// an archive never do.
fn keeps_times(directory: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        /// btrfs, ext2 to ext4, f2fs, overlayfs, tmpfs, XFS, ZFS: `statfs(2)`.
        const KNOWN: [u32; 7] = [0x9123_683e, 0xef53, 0xf2f5_2010, 0x794c_7630, 0x0102_1994, 0x5846_5342, 0x2fc1_2fc1];
        rustix::fs::statfs(directory).is_ok_and(|found| KNOWN.contains(&(found.f_type as u32)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = directory;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    /// As long as a stamp takes to count as settled.
    const SETTLED: Duration = Duration::from_millis(2_100);

    fn names(source: &mut Source) -> Vec<String> {
        let Listing::Files(files) = source.list() else { panic!("it cannot be listed") };
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<String> = files.into_iter().map(name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_directory_is_read_again_when_its_entries_have_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), "").unwrap();
        fs::write(path("c.yaml"), "").unwrap();
        let mut source = Source::new(directory.path());
        for _ in 0..2 {
            let names = names(&mut source);
            assert_eq!(names, ["a.yaml", "c.yaml"], "an entry may come within the resolution of its time");
        }
        tokio::time::sleep(SETTLED).await;
        assert_eq!(names(&mut source), ["a.yaml", "c.yaml"]);
        fs::write(path("a.yaml"), "name: a").unwrap();
        if keeps_times(directory.path()) {
            assert!(names(&mut source).is_empty(), "a file has changed, and the directory has not");
            source.leave_out(&path("c.yaml"));
            source.leave_out(Path::new("/elsewhere/d.yaml"));
            assert_eq!(names(&mut source), ["c.yaml"], "it did not become a pipeline file");
            assert!(names(&mut source).is_empty());
        }
        source.leave_out(&path("c.yaml"));
        fs::rename(path("c.yaml"), path("b.yaml")).unwrap();
        assert_eq!(names(&mut source), ["a.yaml", "b.yaml"]);
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(matches!(source.list(), Listing::Failed(_)));
    }

    /// A link whose target is missing is no file, and becomes one when the target comes.
    #[tokio::test]
    async fn a_directory_with_links_is_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut source = Source::new(directory.path());
        symlink("elsewhere/a.yaml", directory.path().join("a.yaml")).unwrap();
        tokio::time::sleep(SETTLED).await;
        for _ in 0..3 {
            assert_eq!(names(&mut source), ["a.yaml"]);
        }
    }
}
