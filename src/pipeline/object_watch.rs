//! Lists and watches ConfigMaps and Secrets with some labels, and `Pipeline` resources. It needs one or two long
//! requests per worker for any number of objects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use super::contents::Text;
use super::location::{Labelled, Namespaces};
use super::objects::{Found, Kind, Objects, SPEC, path};
use super::pending::Pending;
use super::problem::Problem;
use super::resource::PipelineResource;
use super::sources::is_pipeline_file;
use crate::settings::kubernetes::{Kubernetes, KubernetesError};

/// Objects per page of a listing.
const PAGE: u32 = 100;
/// Timeout of one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server ends a watch after this time. A watch that is silent for longer has lost its connection.
const WATCH_SECONDS: u32 = 120;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Watches objects until it is dropped.
#[derive(Debug)]
pub(super) struct ObjectWatch {
    _tasks: JoinSet<()>,
    first_listings: Vec<oneshot::Receiver<()>>,
}

impl ObjectWatch {
    /// Updates `objects` from the API server, and adds changed paths to `pending`.
    pub fn start(
        labelled: Vec<Labelled>,
        resources: Vec<Namespaces>,
        objects: &Objects,
        pending: &Arc<Pending>,
    ) -> Self {
        let mut watch = Self { _tasks: JoinSet::new(), first_listings: Vec::new() };
        for labelled in labelled {
            let place = labelled.to_string();
            let namespaces = labelled.namespace.map_or(Namespaces::Own, Namespaces::Named);
            let selected = Selected { place, namespaces, selector: labelled.selector };
            watch.spawn::<ConfigMap>(&selected, objects, pending);
            watch.spawn::<Secret>(&selected, objects, pending);
        }
        for namespaces in resources {
            let selected = Selected { place: namespaces.to_string(), namespaces, selector: String::new() };
            watch.spawn::<PipelineResource>(&selected, objects, pending);
        }
        watch
    }

    fn spawn<K: PipelineObject>(&mut self, selected: &Selected, objects: &Objects, pending: &Arc<Pending>) {
        let (listed, first_listing) = oneshot::channel();
        let (selected, objects, pending) = (selected.clone(), objects.clone(), pending.clone());
        let name = format!("{}s of {}", K::NAME, selected.place);
        let listing = Listing::<K> { selected, name, objects, pending, kind: PhantomData };
        self._tasks.spawn(listing.run(listed));
        self.first_listings.push(first_listing);
    }

    /// Waits until the API server has answered or refused each listing once.
    pub async fn first_listing(&mut self) {
        for first_listing in std::mem::take(&mut self.first_listings) {
            // The sender is dropped without a value.
            let _ = first_listing.await;
        }
    }
}

/// The objects to list.
#[derive(Debug, Clone)]
struct Selected {
    /// The value of `--pipelines`.
    place: String,
    namespaces: Namespaces,
    /// Labels; empty for all objects.
    selector: String,
}

/// A kind of object that holds pipeline files.
trait PipelineObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    const KIND: Kind;
    const NAME: &'static str;

    fn found(self, namespace: &str) -> Found;
}

/// The keys of an object that are pipeline files.
fn files(kind: Kind, namespace: &str, object: &str, keys: impl Iterator<Item = (String, Vec<u8>)>) -> Found {
    let keys = keys.filter(|(key, _)| is_pipeline_file(key.as_ref()));
    let files = keys.map(|(key, bytes)| (path(kind, namespace, object, &key).into(), Text::new(bytes)));
    Found { files: files.collect(), ..Found::default() }
}

impl PipelineObject for ConfigMap {
    const KIND: Kind = Kind::ConfigMap;
    const NAME: &'static str = "ConfigMap";

    fn found(self, namespace: &str) -> Found {
        let name = self.name_any();
        let texts = self.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        let keys = texts.chain(self.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)));
        files(Self::KIND, namespace, &name, keys)
    }
}

impl PipelineObject for Secret {
    const KIND: Kind = Kind::Secret;
    const NAME: &'static str = "Secret";

    fn found(self, namespace: &str) -> Found {
        let name = self.name_any();
        files(Self::KIND, namespace, &name, self.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)))
    }
}

impl PipelineObject for PipelineResource {
    const KIND: Kind = Kind::Pipeline;
    const NAME: &'static str = "Pipeline";

    fn found(self, namespace: &str) -> Found {
        let path = PathBuf::from(path(Self::KIND, namespace, &self.name_any(), SPEC));
        let text = Text::new(self.text().into_bytes()).of_generation(self.metadata.generation);
        let files = BTreeMap::from([(path.clone(), text)]);
        Found { files, resources: BTreeMap::from([(path, Arc::new(self.state()))]) }
    }
}

/// The objects of one kind and selector.
struct Listing<K> {
    selected: Selected,
    /// Identifies the listing in `objects` and in the log.
    name: String,
    objects: Objects,
    pending: Arc<Pending>,
    kind: PhantomData<fn() -> K>,
}

impl<K: PipelineObject> Listing<K> {
    async fn run(self, listed: oneshot::Sender<()>) {
        let mut listed = Some(listed);
        let mut waits = DefaultBackoff::default();
        loop {
            match self.follow(&mut listed).await {
                Ok(()) => waits = DefaultBackoff::default(),
                Err(error) => {
                    self.set_problem(Some(format!("the {}s cannot be listed: {error}", K::NAME)));
                    listed.take();
                }
            }
            tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let problem = problem.map(|message| Problem::file(Path::new(&self.selected.place), message));
        if self.objects.set_problem(&self.name, problem) {
            self.pending.add(None);
        }
    }

    /// Lists all objects and applies later changes, until no watch can be started.
    ///
    /// # Errors
    /// If the objects cannot be listed.
    async fn follow(&self, listed: &mut Option<oneshot::Sender<()>>) -> Result<(), KubernetesError> {
        let named = match &self.selected.namespaces {
            Namespaces::Named(namespace) => Some(namespace.as_str()),
            Namespaces::Own | Namespaces::All => None,
        };
        let Kubernetes { client, namespace: own } = Kubernetes::connect(named).await?;
        let api = match &self.selected.namespaces {
            Namespaces::All => Api::<K>::all(client),
            Namespaces::Own | Namespaces::Named(_) => Api::<K>::namespaced(client, &own),
        };
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        if !self.selected.selector.is_empty() {
            config = config.labels(&self.selected.selector);
        }
        // A watch that ends is continued where it was, after a wait.
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut found = Found::default();
        let mut is_listing = true;
        loop {
            let event = match is_listing {
                true => {
                    timeout(PAGE_TIMEOUT, events.next()).await.map_err(|_| KubernetesError::no_answer(PAGE_TIMEOUT))?
                }
                false => events.next().await,
            };
            match event {
                // Also where the API server has forgotten what the watch had seen.
                Some(Ok(Event::Init)) => (is_listing, found) = (true, Found::default()),
                Some(Ok(Event::InitApply(object))) => {
                    let namespace = object.namespace().unwrap_or_default();
                    found.extend(object.found(&namespace));
                }
                Some(Ok(Event::InitDone)) => {
                    is_listing = false;
                    self.replace(std::mem::take(&mut found));
                    listed.take();
                }
                Some(Ok(Event::Apply(object))) => {
                    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                    self.put(&namespace, &name, object.found(&namespace));
                }
                Some(Ok(Event::Delete(object))) => {
                    self.put(&object.namespace().unwrap_or_default(), &object.name_any(), Found::default());
                }
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

    fn replace(&self, found: Found) {
        let files = found.files.len();
        let changed = self.objects.replace(&self.name, found);
        if !changed.is_empty() {
            info!(listing = self.name, files, "pipeline files listed");
            self.pending.add(Some(changed));
        }
        self.set_problem(None);
    }

    fn put(&self, namespace: &str, object: &str, found: Found) {
        let changed = self.objects.put(&self.name, &path(K::KIND, namespace, object, ""), found);
        if !changed.is_empty() {
            self.pending.add(Some(changed));
        }
    }
}
