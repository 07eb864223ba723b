//! The `Pipeline` resources that the API server has reported. The `spec` of each is a pipeline file.
//!
//! Its path, `pipeline NAMESPACE/NAME, spec`, stands for a file's path in errors and on the status page.

#![cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "only Kubernetes fills it"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use s1_forwarder_settings::quoted;

use super::contents::{Contents, Text};
use super::problem::Problem;
use super::resource::ResourceState;

const PREFIX: &str = "pipeline ";
const SUFFIX: &str = ", spec";

/// The resources of all listings, by the paths of their pipeline files. The watches of the API server update them.
#[derive(Debug, Clone, Default)]
pub struct Resources(Arc<Mutex<BTreeMap<String, Listing>>>);

/// The resources of one value of `--pipelines`.
#[derive(Debug, Default)]
struct Listing {
    found: BTreeMap<PathBuf, Resource>,
    /// Set if they may be outdated.
    problem: Option<Problem>,
}

/// A resource as the API server last reported it.
#[derive(Debug)]
pub(super) struct Resource {
    /// The pipeline file.
    pub text: Text,
    pub state: Arc<ResourceState>,
}

/// Returns the path of a resource's pipeline file.
pub(super) fn path_of(namespace: &str, name: &str) -> PathBuf {
    format!("{PREFIX}{namespace}/{name}{SUFFIX}").into()
}

/// Returns namespace and name of the resource at `path`; `None` if it is a file.
pub fn resource_at(path: &Path) -> Option<(&str, &str)> {
    path.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('/')
}

/// Returns the arguments with which a command reads the pipeline at `path`, in any directory.
pub fn arguments(path: &Path) -> String {
    match resource_at(path) {
        Some((namespace, name)) => format!("kubernetes-resources:{namespace} --pipeline {namespace}.{name}"),
        None => quoted(&absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()),
    }
}

pub fn is_resource(path: &Path) -> bool {
    resource_at(path).is_some()
}

/// Returns the default name of a pipeline: its file's name without extension. The default name of a resource begins
/// with its namespace, which has no dots, so that resources of two namespaces never have one name.
pub fn stem(path: &Path) -> String {
    match resource_at(path) {
        Some((namespace, name)) => format!("{namespace}.{name}"),
        None => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

impl Resources {
    /// Returns all resources, by the paths of their pipeline files.
    pub fn list(&self) -> Vec<(PathBuf, Arc<ResourceState>)> {
        let listings = self.listings();
        let found = listings.values().flat_map(|listing| &listing.found);
        found.map(|(path, resource)| (path.clone(), resource.state.clone())).collect()
    }

    fn listings(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.0.lock()
    }

    /// Returns the contents of a resource; `None` if no resource has the path. `known` is the hash of the contents that
    /// were last read.
    pub(super) fn read(&self, path: &Path, known: Option<&[u8; 32]>) -> Option<Contents> {
        let listings = self.listings();
        let resource = listings.values().find_map(|listing| listing.found.get(path))?;
        Some(resource.text.contents(known))
    }

    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.listings().values().flat_map(|listing| listing.found.keys().cloned()).collect()
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.listings().values().filter_map(|listing| listing.problem.clone()).collect()
    }

    /// Returns whether the resource at `path` is being deleted.
    pub(super) fn is_deleted(&self, path: &Path) -> bool {
        let listings = self.listings();
        listings.values().filter_map(|listing| listing.found.get(path)).any(|resource| resource.state.is_deleted)
    }

    /// Replaces all resources of a listing. Returns the paths whose files changed.
    pub(super) fn replace(&self, listing: &str, found: BTreeMap<PathBuf, Resource>) -> BTreeSet<PathBuf> {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        let before = std::mem::replace(&mut listing.found, found);
        let paths = before.keys().chain(listing.found.keys());
        paths.filter(|path| is_other(before.get(*path), listing.found.get(*path))).cloned().collect()
    }

    /// Replaces one resource of a listing, or removes it. True if its file changed.
    pub(super) fn put(&self, listing: &str, path: &Path, resource: Option<Resource>) -> bool {
        let mut listings = self.listings();
        let found = &mut listings.entry(listing.to_owned()).or_default().found;
        let before = found.remove(path);
        let changed = is_other(before.as_ref(), resource.as_ref());
        if let Some(resource) = resource {
            found.insert(path.to_owned(), resource);
        }
        changed
    }

    /// Sets or clears the problem of a listing, and keeps its resources. True if the problem changed.
    pub(super) fn set_problem(&self, listing: &str, problem: Option<Problem>) -> bool {
        let mut listings = self.listings();
        let listing = listings.entry(listing.to_owned()).or_default();
        let before = std::mem::replace(&mut listing.problem, problem);
        before != listing.problem
    }
}

fn is_other(before: Option<&Resource>, now: Option<&Resource>) -> bool {
    before.map(|resource| &resource.text) != now.map(|resource| &resource.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources_and_pipelines() {
        let resource = path_of("acme", "console.eu");
        assert_eq!(resource_at(&resource), Some(("acme", "console.eu")));
        assert_eq!(stem(&resource), "acme.console.eu");
        for file in ["pipeline acme/console.yaml", "acme/console.yaml", "/pipelines/console.yaml"] {
            let file = Path::new(file);
            assert_eq!((resource_at(file), stem(file).as_str()), (None, "console"));
        }
    }

    #[test]
    fn only_another_text_is_a_change() {
        let resources = Resources::default();
        let path = path_of("acme", "console");
        let resource = |text: &str| {
            let state = Arc::new(ResourceState::default());
            Resource { text: Text::new(text.as_bytes().to_vec()), state }
        };
        assert!(resources.put("acme", &path, Some(resource("a"))));
        assert!(!resources.put("acme", &path, Some(resource("a"))));
        assert!(resources.put("acme", &path, Some(resource("b"))));
        let same = BTreeMap::from([(path.clone(), resource("b"))]);
        assert_eq!(resources.replace("acme", same), BTreeSet::new());
        let other = path_of("acme", "other");
        let others = BTreeMap::from([(other.clone(), resource("b"))]);
        assert_eq!(resources.replace("acme", others), BTreeSet::from([path.clone(), other.clone()]));
        assert!(!resources.put("acme", &path, None), "it is gone");
        assert!(resources.put("acme", &other, None));
        assert!(resources.list().is_empty());
    }
}
