//! Pipeline files in Kubernetes objects: keys of ConfigMaps and Secrets, and the `spec` of `Pipeline` resources.
//!
//! Each key has a path, `configmap NAMESPACE/NAME, KEY`, which stands for a file's path in errors and on the status
//! page. That of a resource is `pipeline NAMESPACE/NAME, spec`.

#![cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "only Kubernetes fills it"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::contents::{Contents, Text};
use super::problem::Problem;
use super::resource::ResourceState;

/// The last known files of all listings. The watches of the API server update them.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects(Arc<Mutex<BTreeMap<String, Listing>>>);

/// The objects of one kind and label selector.
#[derive(Debug, Default)]
struct Listing {
    files: BTreeMap<PathBuf, Text>,
    /// What else is known of the objects, if they are resources.
    resources: BTreeMap<PathBuf, Arc<ResourceState>>,
    /// Set if the files may be outdated.
    problem: Option<Problem>,
}

/// What objects hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: BTreeMap<PathBuf, Text>,
    pub resources: BTreeMap<PathBuf, Arc<ResourceState>>,
}

impl Found {
    pub fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.resources.extend(other.resources);
    }
}

/// A kind of objects that hold files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
    /// A resource, whose `spec` is the file.
    Pipeline,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap ",
            Self::Secret => "secret ",
            Self::Pipeline => "pipeline ",
        }
    }

    /// The kind of object that has the key `path`. `None` if `path` is a file.
    pub fn of(path: &Path) -> Option<Self> {
        let path = path.to_str().filter(|path| path.contains(SEPARATOR))?;
        [Self::ConfigMap, Self::Secret, Self::Pipeline].into_iter().find(|kind| path.starts_with(kind.prefix()))
    }
}

/// Separates the key. Neither names nor keys contain it.
const SEPARATOR: &str = ", ";

/// The path of a key. With an empty key, the common prefix of the paths of all keys of the object.
pub(super) fn path(kind: Kind, namespace: &str, name: &str, key: &str) -> String {
    format!("{}{namespace}/{name}{SEPARATOR}{key}", kind.prefix())
}

/// The key in the path of a resource.
pub(super) const SPEC: &str = "spec";

/// An object that holds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object<'a> {
    pub kind: Kind,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// The object with the key `path`. `None` if `path` is a file.
pub(super) fn object_at(path: &Path) -> Option<Object<'_>> {
    let kind = Kind::of(path)?;
    let (object, _) = path.to_str()?.strip_prefix(kind.prefix())?.rsplit_once(SEPARATOR)?;
    let (namespace, name) = object.split_once('/')?;
    Some(Object { kind, namespace, name })
}

/// Namespace and name of the resource at `path`; `None` if it is another kind of file.
pub fn resource_at(path: &Path) -> Option<(&str, &str)> {
    let Object { namespace, name, .. } = object_at(path).filter(|object| object.kind == Kind::Pipeline)?;
    Some((namespace, name))
}

/// `{pipeline}` in `--secrets-dir` and `--files-dir`. In a labelled object it is `NAMESPACE.OBJECT`: keys are the
/// choice of the object's author, who could name the directory of another tenant.
pub(super) fn directory_name(path: &Path) -> String {
    match object_at(path) {
        Some(Object { namespace, name, .. }) => format!("{namespace}.{name}"),
        None => stem(path),
    }
}

/// The default name of a pipeline: its file name or key, without extension. That of a resource begins with its
/// namespace, which has no dots, so that resources of two namespaces never have one name.
pub fn stem(path: &Path) -> String {
    if let Some((namespace, name)) = resource_at(path) {
        return format!("{namespace}.{name}");
    }
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

    /// The resources of all listings.
    pub fn resources(&self) -> Vec<(PathBuf, Arc<ResourceState>)> {
        let listings = self.listings();
        let resources = listings.values().flat_map(|listing| &listing.resources);
        resources.map(|(path, state)| (path.clone(), state.clone())).collect()
    }

    /// True if the resource at `path` is being deleted.
    pub fn is_deleted(&self, path: &Path) -> bool {
        let listings = self.listings();
        listings.values().filter_map(|listing| listing.resources.get(path)).any(|resource| resource.is_deleted)
    }

    /// Replaces all files of a listing. Returns the paths that changed.
    pub fn replace(&self, listing: &str, found: Found) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        let changed = changed_paths(&listing.files, &found.files);
        (listing.files, listing.resources) = (found.files, found.resources);
        changed
    }

    /// Sets or clears the problem of a listing, and keeps its files. True if the problem changed.
    pub fn set_problem(&self, listing: &str, problem: Option<Problem>) -> bool {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        std::mem::replace(&mut listing.problem, problem.clone()) != problem
    }

    /// Replaces the files of one object, whose paths all start with `object`. Returns the paths that changed.
    pub fn put(&self, listing: &str, object: &str, found: Found) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let Listing { files, resources, .. } = listings.entry(listing.to_owned()).or_default();
        // The paths of an object follow each other.
        let of_object = |path: &Path| path.to_str().is_some_and(|path| path.starts_with(object));
        let paths = files.range(PathBuf::from(object)..).map(|(path, _)| path).take_while(|path| of_object(path));
        let paths: Vec<PathBuf> = paths.cloned().collect();
        let before: BTreeMap<_, _> = paths.iter().filter_map(|path| files.remove_entry(path)).collect();
        let changed = changed_paths(&before, &found.files);
        paths.iter().for_each(|path| _ = resources.remove(path));
        files.extend(found.files);
        resources.extend(found.resources);
        changed
    }
}

fn changed_paths(before: &BTreeMap<PathBuf, Text>, now: &BTreeMap<PathBuf, Text>) -> BTreeSet<PathBuf> {
    let paths = before.keys().chain(now.keys());
    paths.filter(|path| before.get(*path) != now.get(*path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects_and_pipelines() {
        let path = |kind, key| PathBuf::from(path(kind, "acme", "console.eu", key));
        let (map, resource) = (path(Kind::ConfigMap, "globex.yaml"), path(Kind::Pipeline, SPEC));
        assert_eq!((Kind::of(&map), stem(&map).as_str()), (Some(Kind::ConfigMap), "globex"));
        assert_eq!((Kind::of(&resource), stem(&resource).as_str()), (Some(Kind::Pipeline), "acme.console.eu"));
        assert_eq!((resource_at(&resource), resource_at(&map)), (Some(("acme", "console.eu")), None));
        assert_eq!([&map, &resource].map(|path| directory_name(path)), ["acme.console.eu", "acme.console.eu"]);
        let file = Path::new("pipeline acme/console.yaml");
        assert_eq!(directory_name(file), "console");
        assert_eq!((Kind::of(file), resource_at(file), stem(file).as_str()), (None, None, "console"));
    }
}
