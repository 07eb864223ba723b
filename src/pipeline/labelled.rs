//! Lists and watches ConfigMaps and Secrets with some labels. It needs two long requests per worker for any number of
//! objects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use super::contents::Text;
use super::location::Labelled;
use super::objects::{Kind, Objects, path};
use super::pending::Pending;
use super::problem::Problem;
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
        let listing = Listing::<K> { labelled, name, objects, pending, kind: PhantomData };
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
    kind: PhantomData<fn() -> K>,
}

impl<K: PipelineObject> Listing<K> {
    async fn run(self, listed: oneshot::Sender<()>) {
        let mut listed = Some(listed);
        let mut waits = DefaultBackoff::default();
        loop {
            if let Err(error) = self.follow(&mut listed).await {
                self.set_problem(Some(format!("the {}s cannot be listed: {error}", K::NAME)));
                listed.take();
            }
            tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let problem = problem.map(|message| Problem::file(Path::new(&self.labelled.to_string()), message));
        if self.objects.set_problem(&self.name, problem) {
            self.pending.add(None);
        }
    }

    /// Lists all objects and applies later changes, until the watch fails.
    ///
    /// # Errors
    /// If the objects cannot be listed.
    async fn follow(&self, listed: &mut Option<oneshot::Sender<()>>) -> Result<(), KubernetesError> {
        let Kubernetes { client, namespace } = Kubernetes::connect(self.labelled.namespace.as_deref()).await?;
        let config = watcher::Config::default().labels(&self.labelled.selector).timeout(WATCH_SECONDS).page_size(PAGE);
        let mut events = watcher(Api::<K>::namespaced(client, &namespace), config).boxed();
        let mut files = BTreeMap::new();
        let mut is_listing = true;
        loop {
            let event = match is_listing {
                true => {
                    timeout(PAGE_TIMEOUT, events.next()).await.map_err(|_| KubernetesError::no_answer(PAGE_TIMEOUT))?
                }
                false => events.next().await,
            };
            match event {
                Some(Ok(Event::Init)) => {}
                Some(Ok(Event::InitApply(object))) => files.extend(files_of(&namespace, object)),
                Some(Ok(Event::InitDone)) => {
                    is_listing = false;
                    self.replace(std::mem::take(&mut files));
                    listed.take();
                }
                Some(Ok(Event::Apply(object))) => {
                    let name = object.name_any();
                    self.put(&namespace, &name, files_of(&namespace, object).collect());
                }
                Some(Ok(Event::Delete(object))) => self.put(&namespace, &object.name_any(), BTreeMap::new()),
                Some(Err(watcher::Error::InitialListFailed(error))) => return Err(error.into()),
                Some(Err(error)) => {
                    debug!(listing = self.name, %error, "the watch ended: listing again");
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn replace(&self, files: BTreeMap<PathBuf, Text>) {
        let found = files.len();
        let changed = self.objects.replace(&self.name, files);
        if !changed.is_empty() {
            info!(listing = self.name, files = found, "pipeline files listed");
            self.pending.add(Some(changed));
        }
        self.set_problem(None);
    }

    fn put(&self, namespace: &str, object: &str, files: BTreeMap<PathBuf, Text>) {
        let changed = self.objects.put(&self.name, &path(K::KIND, namespace, object, ""), files);
        if !changed.is_empty() {
            self.pending.add(Some(changed));
        }
    }
}

fn files_of<K: PipelineObject>(namespace: &str, object: K) -> impl Iterator<Item = (PathBuf, Text)> {
    let name = object.name_any();
    let keys = object.into_keys().into_iter().filter(|(key, _)| is_pipeline_file(key.as_ref()));
    keys.map(move |(key, bytes)| (path(K::KIND, namespace, &name, &key).into(), Text::new(bytes)))
}
