//! Pipeline files that are no files: keys of ConfigMaps and Secrets, as they were last heard of.
//!
//! Each has a path of its own, `configmap NAMESPACE/NAME, KEY`, by which the set of files, errors and pages know it.

#![cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "only Kubernetes fills it"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::contents::{Contents, Text};
use super::problem::Problem;

/// The files of all listings, filled by whoever follows them.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects(Arc<Mutex<BTreeMap<String, Listing>>>);

/// What one question to the API server found.
#[derive(Debug, Default)]
struct Listing {
    files: BTreeMap<PathBuf, Text>,
    /// Why what is known may be old, or nothing.
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

    /// The kind of the object that `path` is a key of; none where it is a file.
    pub fn of(path: &Path) -> Option<Self> {
        let path = path.to_str().filter(|path| path.contains(SEPARATOR))?;
        [Self::ConfigMap, Self::Secret].into_iter().find(|kind| path.starts_with(kind.prefix()))
    }
}

/// Before the key; neither names nor keys hold it.
const SEPARATOR: &str = ", ";

/// The path of a key; with an empty key, what the paths of all keys of the object begin with.
pub(super) fn path(kind: Kind, namespace: &str, name: &str, key: &str) -> String {
    format!("{}{namespace}/{name}{SEPARATOR}{key}", kind.prefix())
}

/// What a pipeline is called that has no `name`: the stem of its file, or of its key.
pub fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match stem.rsplit_once(SEPARATOR).filter(|_| Kind::of(path).is_some()) {
        Some((_, key)) => key.to_owned(),
        None => stem,
    }
}

impl Objects {
    fn listings(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the path holds; none where no object has it.
    pub fn read(&self, path: &Path, known: Option<&[u8; 32]>) -> Option<Contents> {
        let listings = self.listings();
        let text = listings.values().find_map(|listing| listing.files.get(path))?;
        Some(text.contents(known))
    }

    /// Every path.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.listings().values().flat_map(|listing| listing.files.keys().cloned()).collect()
    }

    /// Why objects may be missing.
    pub fn problems(&self) -> Vec<Problem> {
        self.listings().values().filter_map(|listing| listing.problem.clone()).collect()
    }

    /// These are all files of a listing. The paths that are not as before.
    pub fn replace(&self, listing: &str, files: BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        let changed = differing(&listing.files, &files);
        listing.files = files;
        changed
    }

    /// A listing cannot be followed, or can again: true when that was not known. What it found before stays.
    pub fn set_problem(&self, listing: &str, problem: Option<Problem>) -> bool {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        std::mem::replace(&mut listing.problem, problem.clone()) != problem
    }

    /// These are the files of one object now, whose paths all begin with `object`. The paths that are not as before.
    pub fn put(&self, listing: &str, object: &str, files: BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let known = &mut listings.entry(listing.to_owned()).or_default().files;
        let of_object = |path: &Path| path.to_str().is_some_and(|path| path.starts_with(object));
        let before: BTreeMap<_, _> = known.extract_if(.., |path, _| of_object(path)).collect();
        let changed = differing(&before, &files);
        known.extend(files);
        changed
    }
}

fn differing(before: &BTreeMap<PathBuf, Text>, now: &BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
    let paths = before.keys().chain(now.keys());
    paths.filter(|path| before.get(*path) != now.get(*path)).cloned().collect()
}
