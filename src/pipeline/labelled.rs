//! Lists and watches ConfigMaps and Secrets with some labels. It needs two long requests per worker for any number of
//! objects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use super::contents::Text;
use super::location::Labelled;
use super::objects::{Kind, Objects, path};
use super::problem::Problem;
use super::sources::is_pipeline_file;
use super::watch::Pending;
use crate::settings::FullJitter;
use crate::settings::kubernetes::{Kubernetes, KubernetesError};

/// Objects per page of a listing.
const PAGE: u32 = 100;
/// The API server ends a watch after this time. A watch that is silent for longer has lost its connection.
const WATCH_SECONDS: u32 = 120;
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Watches objects until it is dropped.
#[derive(Debug)]
pub(super) struct ObjectWatch {
    _tasks: JoinSet<()>,
    first_listings: Vec<oneshot::Receiver<()>>,
}

impl ObjectWatch {
    /// Updates `objects` from the API server, and adds changed paths to `pending`.
    pub fn start(labelled: Vec<Labelled>, objects: &Objects, pending: &Arc<Pending>) -> Self {
        let mut watch = Self { _tasks: JoinSet::new(), first_listings: Vec::new() };
        for labelled in labelled {
            watch.spawn::<ConfigMap>(&labelled, objects, pending);
            watch.spawn::<Secret>(&labelled, objects, pending);
        }
        watch
    }

    fn spawn<K: PipelineObject>(&mut self, labelled: &Labelled, objects: &Objects, pending: &Arc<Pending>) {
        let (listed, first_listing) = oneshot::channel();
        let (labelled, objects, pending) = (labelled.clone(), objects.clone(), pending.clone());
        let name = format!("{}s of {labelled}", K::NAME);
        let listing = Listing::<K> { labelled, name, objects, pending, api: None, namespace: String::new() };
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

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// A kind of object whose keys are pipeline files.
trait PipelineObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    const KIND: Kind;
    const NAME: &'static str;

    fn into_keys(self) -> Vec<(String, Vec<u8>)>;
}

impl PipelineObject for ConfigMap {
    const KIND: Kind = Kind::ConfigMap;
    const NAME: &'static str = "ConfigMap";

    fn into_keys(self) -> Vec<(String, Vec<u8>)> {
        let texts = self.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        texts.chain(self.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0))).collect()
    }
}

impl PipelineObject for Secret {
    const KIND: Kind = Kind::Secret;
    const NAME: &'static str = "Secret";

    fn into_keys(self) -> Vec<(String, Vec<u8>)> {
        self.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()
    }
}

/// The objects of one kind and selector.
struct Listing<K> {
    labelled: Labelled,
    /// Identifies the listing in `objects` and in the log.
    name: String,
    objects: Objects,
    pending: Arc<Pending>,
    api: Option<Api<K>>,
    namespace: String,
}

impl<K: PipelineObject> Listing<K> {
    async fn run(mut self, listed: oneshot::Sender<()>) {
        let mut listed = Some(listed);
        let waits = || FullJitter::new(FIRST_WAIT, LONGEST_WAIT, fastrand::Rng::new());
        let mut wait = waits();
        loop {
            let (action, error) = match self.list().await {
                Ok(version) => {
                    listed.take();
                    match self.open(&version).await {
                        Ok(events) => {
                            wait = waits();
                            self.set_problem(None);
                            let error = self.watch(version, events).await;
                            debug!(listing = self.name, %error, "the watch ended: listing again");
                            tokio::time::sleep(FIRST_WAIT).await;
                            continue;
                        }
                        Err(error) => ("watched", error),
                    }
                }
                Err(error) => ("listed", error),
            };
            self.set_problem(Some(format!("the {}s cannot be {action}: {error}", K::NAME)));
            listed.take();
            tokio::time::sleep(FIRST_WAIT + wait.wait()).await;
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let problem = problem.map(|message| Problem::file(Path::new(&self.labelled.to_string()), message));
        if self.objects.set_problem(&self.name, problem) {
            self.pending.add(None);
        }
    }

    async fn api(&mut self) -> Result<Api<K>, KubernetesError> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let kubernetes = Kubernetes::connect(self.labelled.namespace.as_deref()).await?;
        let api = Api::namespaced(kubernetes.client, &kubernetes.namespace);
        self.namespace = kubernetes.namespace;
        Ok(self.api.insert(api).clone())
    }

    /// Reads all objects. Returns the version from which to watch.
    async fn list(&mut self) -> Result<String, KubernetesError> {
        let api = self.api().await?;
        let mut parameters = ListParams::default().labels(&self.labelled.selector).limit(PAGE);
        let mut files = BTreeMap::new();
        loop {
            let page = KubernetesError::of(api.list(&parameters)).await?;
            files.extend(page.items.into_iter().flat_map(|object| self.files(object)));
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters = parameters.continue_token(&more),
                None => {
                    let found = files.len();
                    let changed = self.objects.replace(&self.name, files);
                    if !changed.is_empty() {
                        info!(listing = self.name, files = found, "pipeline files listed");
                        self.pending.add(Some(changed));
                    }
                    return Ok(page.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    async fn open(&mut self, version: &str) -> Result<Events<K>, KubernetesError> {
        let parameters = WatchParams::default().labels(&self.labelled.selector).timeout(WATCH_SECONDS);
        Ok(KubernetesError::of(self.api().await?.watch(&parameters, version)).await?.boxed())
    }

    /// Applies the changes since `version`, until the watch fails.
    async fn watch(&mut self, mut version: String, mut events: Events<K>) -> KubernetesError {
        loop {
            loop {
                let event = match timeout(SILENCE, events.next()).await {
                    Ok(Some(Ok(event))) => event,
                    Ok(Some(Err(error))) => return error.into(),
                    Ok(None) => break,
                    Err(_) => return KubernetesError::Unreachable("the watch lost its connection".to_owned()),
                };
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(status) => return kube::Error::Api(status).into(),
                };
                version = object.resource_version().unwrap_or(version);
                let of_object = path(K::KIND, &self.namespace, &object.name_any(), "");
                let files = if gone { BTreeMap::new() } else { self.files(object).into_iter().collect() };
                let changed = self.objects.put(&self.name, &of_object, files);
                if !changed.is_empty() {
                    self.pending.add(Some(changed));
                }
            }
            // The API server ends each watch after its time, or at once if it shuts down.
            tokio::time::sleep(FIRST_WAIT).await;
            events = match self.open(&version).await {
                Ok(events) => events,
                Err(error) => return error,
            };
        }
    }

    fn files(&self, object: K) -> Vec<(PathBuf, Text)> {
        let name = object.name_any();
        let keys = object.into_keys().into_iter().filter(|(key, _)| is_pipeline_file(key.as_ref()));
        keys.map(|(key, bytes)| (path(K::KIND, &self.namespace, &name, &key).into(), Text::new(bytes))).collect()
    }
}
