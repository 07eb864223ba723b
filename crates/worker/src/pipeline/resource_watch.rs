//! Lists and watches `Pipeline` resources. A worker needs one long request per namespace, or one for all namespaces,
//! for any number of resources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, ResourceExt};
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use super::contents::Text;
use super::location::Namespaces;
use super::pending::Pending;
use super::problem::Problem;
use super::resource::PipelineResource;
use super::resources::{Resource, Resources, path_of};

/// Resources per page of a listing.
const PAGE: u32 = 100;
/// Timeout of one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server ends a watch after this time. A watch that is silent for longer has lost its connection.
const WATCH_SECONDS: u32 = 120;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Watches resources until it is dropped.
#[derive(Debug)]
pub(super) struct ResourceWatch {
    _tasks: JoinSet<()>,
    first_listings: Vec<oneshot::Receiver<()>>,
}

impl ResourceWatch {
    /// Updates `resources` from the API server, and adds changed paths to `pending`.
    pub fn start(namespaces: Vec<Namespaces>, resources: &Resources, pending: &Arc<Pending>) -> Self {
        let mut watch = Self { _tasks: JoinSet::new(), first_listings: Vec::new() };
        for namespaces in namespaces {
            let (listed, first_listing) = oneshot::channel();
            let name = namespaces.to_string();
            let listing = Listing { namespaces, name, resources: resources.clone(), pending: pending.clone() };
            watch._tasks.spawn(listing.run(listed));
            watch.first_listings.push(first_listing);
        }
        watch
    }

    /// Waits until the API server has answered or refused each listing once.
    pub async fn first_listing(&mut self) {
        for first_listing in std::mem::take(&mut self.first_listings) {
            // The sender is dropped without a value.
            let _ = first_listing.await;
        }
    }
}

/// The resources of one value of `--pipelines`.
struct Listing {
    namespaces: Namespaces,
    /// The value of `--pipelines`. It identifies the listing in `resources` and in the log.
    name: String,
    resources: Resources,
    pending: Arc<Pending>,
}

/// Returns the path and the pipeline file of a resource.
fn resource_of(object: &PipelineResource) -> (PathBuf, Resource) {
    let text = Text::new(object.text().into_bytes()).of_generation(object.metadata.generation);
    (path_to(object), Resource { text, state: Arc::new(object.state()) })
}

fn path_to(object: &PipelineResource) -> PathBuf {
    path_of(&object.namespace().unwrap_or_default(), &object.name_any())
}

impl Listing {
    async fn run(self, listed: oneshot::Sender<()>) {
        let mut listed = Some(listed);
        let mut waits = DefaultBackoff::default();
        loop {
            match self.follow(&mut listed).await {
                Ok(()) => waits = DefaultBackoff::default(),
                Err(error) => {
                    self.set_problem(Some(format!("the Pipelines cannot be listed: {error}")));
                    listed.take();
                }
            }
            tokio::time::sleep(waits.next().unwrap_or(MAX_WAIT)).await;
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let problem = problem.map(|message| Problem::file(Path::new(&self.name), message));
        if self.resources.set_problem(&self.name, problem) {
            self.pending.add(None);
        }
    }

    /// Lists all resources and applies later changes, until no watch can be started.
    ///
    /// # Errors
    /// If the resources cannot be listed.
    async fn follow(&self, listed: &mut Option<oneshot::Sender<()>>) -> Result<(), KubernetesError> {
        let named = match &self.namespaces {
            Namespaces::Named(namespace) => Some(namespace.as_str()),
            Namespaces::Own | Namespaces::All => None,
        };
        let Kubernetes { client, namespace } = Kubernetes::connect(named).await?;
        let api = match &self.namespaces {
            Namespaces::All => Api::<PipelineResource>::all(client),
            Namespaces::Own | Namespaces::Named(_) => Api::namespaced(client, &namespace),
        };
        let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        // A watch that ends is continued where it was, after a wait.
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut found = BTreeMap::new();
        let mut is_listing = true;
        loop {
            let event = if is_listing {
                timeout(PAGE_TIMEOUT, events.next()).await.map_err(|_| KubernetesError::no_answer(PAGE_TIMEOUT))?
            } else {
                events.next().await
            };
            match event {
                // The listing also begins again if the API server has forgotten the version that the watch had seen.
                Some(Ok(Event::Init)) => {
                    is_listing = true;
                    found.clear();
                }
                Some(Ok(Event::InitApply(object))) => {
                    let (path, resource) = resource_of(&object);
                    found.insert(path, resource);
                }
                Some(Ok(Event::InitDone)) => {
                    is_listing = false;
                    self.replace(std::mem::take(&mut found));
                    listed.take();
                }
                Some(Ok(Event::Apply(object))) => {
                    let (path, resource) = resource_of(&object);
                    self.put(path, Some(resource));
                }
                Some(Ok(Event::Delete(object))) => self.put(path_to(&object), None),
                Some(Err(watcher::Error::InitialListFailed(error))) => return Err(error.into()),
                Some(Err(watcher::Error::WatchFailed(error))) => {
                    debug!(listing = self.name, %error, "the watch was interrupted");
                }
                Some(Err(error)) => {
                    debug!(listing = self.name, %error, "the watch ended: listing again");
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn replace(&self, found: BTreeMap<PathBuf, Resource>) {
        let files = found.len();
        let changed = self.resources.replace(&self.name, found);
        if !changed.is_empty() {
            info!(listing = self.name, files, "pipeline files listed");
            self.pending.add(Some(changed));
        }
        self.set_problem(None);
    }

    fn put(&self, path: PathBuf, resource: Option<Resource>) {
        if self.resources.put(&self.name, &path, resource) {
            self.pending.add(Some([path].into()));
        }
    }
}
