//! Pipeline files in Kubernetes objects: keys of ConfigMaps and Secrets.
//!
//! Each key has a path, `configmap NAMESPACE/NAME, KEY`, which stands for a file's path in errors and on the status
//! page.

#![cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "only Kubernetes fills it"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::contents::{Contents, Text};
use super::problem::Problem;

/// The last known files of all listings. The watches of the API server update them.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects(Arc<Mutex<BTreeMap<String, Listing>>>);

/// The objects of one kind and label selector.
#[derive(Debug, Default)]
struct Listing {
    files: BTreeMap<PathBuf, Text>,
    /// Set if the files may be outdated.
    problem: Option<Problem>,
}

/// A kind of objects that hold files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap ",
            Self::Secret => "secret ",
        }
    }

    /// The kind of object that has the key `path`. `None` if `path` is a file.
    pub fn of(path: &Path) -> Option<Self> {
        let path = path.to_str().filter(|path| path.contains(SEPARATOR))?;
        [Self::ConfigMap, Self::Secret].into_iter().find(|kind| path.starts_with(kind.prefix()))
    }
}

/// Separates the key. Neither names nor keys contain it.
const SEPARATOR: &str = ", ";

/// The path of a key. With an empty key, the common prefix of the paths of all keys of the object.
pub(super) fn path(kind: Kind, namespace: &str, name: &str, key: &str) -> String {
    format!("{}{namespace}/{name}{SEPARATOR}{key}", kind.prefix())
}

/// The default name of a pipeline: its file name or key, without extension.
pub fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match stem.rsplit_once(SEPARATOR).filter(|_| Kind::of(path).is_some()) {
        Some((_, key)) => key.to_owned(),
        None => stem,
    }
}

impl Objects {
    fn listings(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.0.lock()
    }

    /// `None` if no object has the path. `known` is the hash of the contents that were last read.
    pub fn read(&self, path: &Path, known: Option<&[u8; 32]>) -> Option<Contents> {
        let listings = self.listings();
        let text = listings.values().find_map(|listing| listing.files.get(path))?;
        Some(text.contents(known))
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.listings().values().flat_map(|listing| listing.files.keys().cloned()).collect()
    }

    pub fn problems(&self) -> Vec<Problem> {
        self.listings().values().filter_map(|listing| listing.problem.clone()).collect()
    }

    /// Replaces all files of a listing. Returns the paths that changed.
    pub fn replace(&self, listing: &str, files: BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        let changed = changed_paths(&listing.files, &files);
        listing.files = files;
        changed
    }

    /// Sets or clears the problem of a listing, and keeps its files. True if the problem changed.
    pub fn set_problem(&self, listing: &str, problem: Option<Problem>) -> bool {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        std::mem::replace(&mut listing.problem, problem.clone()) != problem
    }

    /// Replaces the files of one object, whose paths all start with `object`. Returns the paths that changed.
    pub fn put(&self, listing: &str, object: &str, files: BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let known = &mut listings.entry(listing.to_owned()).or_default().files;
        let of_object = |path: &Path| path.to_str().is_some_and(|path| path.starts_with(object));
        let before: BTreeMap<_, _> = known.extract_if(.., |path, _| of_object(path)).collect();
        let changed = changed_paths(&before, &files);
        known.extend(files);
        changed
    }
}

fn changed_paths(before: &BTreeMap<PathBuf, Text>, now: &BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
    let paths = before.keys().chain(now.keys());
    paths.filter(|path| before.get(*path) != now.get(*path)).cloned().collect()
}
