//! The keys that all pipelines inherit, and their changes since the last scan.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s1_forwarder_settings::ask_file_system;

use super::contents::{Contents, Version, read_contents};
use super::document;
use super::problem::Problem;
use super::yaml::Node;

/// The file of `--defaults`.
#[derive(Debug)]
pub(super) struct Defaults {
    pub path: PathBuf,
    /// The path without symbolic links, as it was last found.
    canonical: Option<PathBuf>,
    version: Option<Arc<Version>>,
    /// The last valid version.
    pub tree: Option<Node>,
    pub problems: Vec<Problem>,
}

impl Defaults {
    /// Reads nothing yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), canonical: None, version: None, tree: None, problems: Vec::new() }
    }

    /// Returns whether this path leads to the file, which is no pipeline file. A path of its name that does not answer
    /// may.
    pub fn is_at(&self, path: &Path) -> bool {
        let name = self.canonical.as_ref().unwrap_or(&self.path).file_name();
        name == path.file_name()
            && match canonical(path) {
                Ok(path) => self.canonical.as_ref().is_none_or(|canonical| *canonical == path),
                Err(error) => error.kind() != ErrorKind::NotFound,
            }
    }

    /// Reads the file again if it changed. True if the pipelines have to be read again.
    pub fn refresh(&mut self) -> bool {
        match canonical(&self.path) {
            Ok(path) => self.canonical = Some(path),
            Err(error) if error.kind() == ErrorKind::NotFound => self.canonical = Some(self.path.clone()),
            Err(_) => {}
        }
        let read = read_contents(vec![(self.path.as_path().into(), self.version.clone())], false).next();
        let Some((_, contents)) = read else { return false };
        match contents {
            Contents::Same(version) => {
                self.version = Some(version);
                false
            }
            Contents::New(text, version) => {
                let file: Arc<Path> = self.path.as_path().into();
                self.version = Some(version);
                self.problems.clear();
                let tree = document::tree(&text, &file, &mut self.problems);
                if let Some(tree) = &tree {
                    document::check_defaults(&tree.clone(), &mut self.problems);
                }
                let valid = if self.problems.iter().any(Problem::is_error) { None } else { tree };
                let usable = valid.is_some();
                self.tree = valid.or_else(|| self.tree.take());
                usable
            }
            Contents::Gone => self.unusable("there is no such file".to_owned()),
            Contents::Unreadable(message) => self.unusable(message),
        }
    }

    fn unusable(&mut self, message: String) -> bool {
        self.version = None;
        self.problems = vec![Problem::file(&self.path, message)];
        false
    }
}

fn canonical(path: &Path) -> io::Result<PathBuf> {
    ask_file_system(path, Path::canonicalize)
}
