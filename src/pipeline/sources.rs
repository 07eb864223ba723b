//! `--pipelines PATH`: a file, or a directory one level deep.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::problem::Problem;
use crate::settings::ask_file_system;

/// One path of `--pipelines`.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    last_found: PathKind,
}

/// What was last found at a path. If a file is missing, its pipeline is removed. If a directory is missing, it may not
/// be mounted, and its pipelines keep running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    Nothing,
    File,
    Directory,
}

pub(super) enum Listing {
    Files(Vec<PathBuf>),
    Failed(Problem),
}

/// True for file names that are read in a directory.
pub(super) fn is_pipeline_file(name: &OsStr) -> bool {
    let path = Path::new(name);
    let hidden = name.as_encoded_bytes().first() == Some(&b'.');
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

impl Source {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last_found: PathKind::Nothing }
    }

    /// True if `path` is this path, or is in this directory.
    pub fn contains(&self, path: &Path) -> bool {
        path == self.path || path.parent() == Some(&self.path)
    }

    pub fn list(&mut self) -> Listing {
        let known = self.last_found;
        match ask_file_system(&self.path, move |path| list_path(path, known)) {
            Ok((found, files)) => {
                self.last_found = found;
                Listing::Files(files)
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

/// What is at `path`, and its files. A file that is gone is listed, so that its pipeline is removed.
fn list_path(path: &Path, last_found: PathKind) -> io::Result<(PathKind, Vec<PathBuf>)> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok((PathKind::File, vec![path.to_owned()])),
        Err(error) if error.kind() == ErrorKind::NotFound && last_found == PathKind::File => {
            return Ok((PathKind::File, vec![path.to_owned()]));
        }
        Err(error) => return Err(error),
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if is_file(&entry) {
            files.push(entry.path());
        }
    }
    Ok((PathKind::Directory, files))
}

/// Follows no symlinks: their targets may be on a file system that does not answer.
fn is_file(entry: &std::fs::DirEntry) -> bool {
    is_pipeline_file(&entry.file_name()) && !entry.file_type().is_ok_and(|kind| kind.is_dir())
}
