//! The calls of a [`Plan`](super::plan::Plan) as requests for Lease objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions, VersionMatch, WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;

use super::plan::{Answer, Call, Listing, Seen};
use crate::settings::kubernetes::{Kubernetes, KubernetesError, object_labels, selector};

const SHARD: &str = "shard";
const WORKER: &str = "worker";
/// A lease that nobody holds has it: whoever wants shards watches for it, and is not told of each renewal.
const FREE: &str = "s1-forwarder/free";
const SETTINGS: &str = "settings";
const SHARDS: &str = "shards";
/// A watch is begun anew after so long, so that one that died unnoticed is not waited for for ever.
const WATCH: u32 = 240;

/// The Lease objects of an installation: `INSTANCE-shard-NUMBER`, and `INSTANCE-worker-NAME` for each worker.
#[derive(Debug)]
pub struct Leases {
    api: Api<Lease>,
    instance: String,
    me: String,
    lasts: Duration,
    /// What the last write to a shard's lease said: its transitions and when it was acquired.
    written: Mutex<BTreeMap<u32, LeaseSpec>>,
    /// No listing may be older than what a watch has told.
    fresh: watch::Sender<Option<String>>,
}

impl Leases {
    /// Nothing is asked yet. `me` is the worker's name, unique over restarts.
    pub fn new(kubernetes: &Kubernetes, instance: &str, me: &str, lasts: Duration) -> Self {
        Self {
            api: Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace),
            instance: instance.to_owned(),
            me: me.to_owned(),
            lasts,
            written: Mutex::default(),
            fresh: watch::Sender::new(None),
        }
    }

    /// Changes when a lease became free.
    pub fn freed(&self) -> watch::Receiver<Option<String>> {
        self.fresh.subscribe()
    }

    /// Makes a call, and waits for its answer at most for `patience`.
    ///
    /// # Errors
    /// When the answer says nothing; to the plan that is [`Answer::Unknown`].
    pub async fn make(&self, call: &Call, patience: Duration) -> Result<Answer, KubernetesError> {
        let made = KubernetesError::within(patience, self.request(call)).await;
        match made {
            Err(error) if error.is_conflict() || error.is_not_found() => {
                let there = KubernetesError::within(patience, self.api.get_opt(&self.name(call))).await?;
                Ok(Answer::Conflict(there.as_ref().map(seen)))
            }
            other => other,
        }
    }

    async fn request(&self, call: &Call) -> Result<Answer, kube::Error> {
        match call {
            Call::List => self.list().await,
            Call::Beat(version) => {
                let spec = LeaseSpec { holder_identity: Some(self.me.clone()), ..self.spec() };
                self.write(call, WORKER, version.as_ref(), spec).await
            }
            Call::Bury(worker, version) => {
                let preconditions = Preconditions { resource_version: Some(version.clone()), uid: None };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                self.api.delete(&self.worker(worker), &parameters).await?;
                Ok(Answer::Removed)
            }
            Call::Take(shard, version) => {
                let transitions = self.written(*shard).and_then(|spec| spec.lease_transitions).unwrap_or(0);
                let acquire_time = self.spec().renew_time;
                let lease_transitions = version.as_ref().map(|_| transitions.saturating_add(1));
                let holder_identity = Some(self.me.clone());
                let spec = LeaseSpec { holder_identity, acquire_time, lease_transitions, ..self.spec() };
                self.write(call, SHARD, version.as_ref(), spec).await
            }
            Call::Renew(shard, version) => {
                let LeaseSpec { acquire_time, lease_transitions, .. } = self.written(*shard).unwrap_or_default();
                let holder_identity = Some(self.me.clone());
                let spec = LeaseSpec { holder_identity, acquire_time, lease_transitions, ..self.spec() };
                self.write(call, SHARD, Some(version), spec).await
            }
            Call::Release(shard, version) => {
                let lease_transitions = self.written(*shard).and_then(|spec| spec.lease_transitions);
                let spec = LeaseSpec { holder_identity: None, lease_transitions, ..self.spec() };
                self.write(call, SHARD, Some(version), spec).await
            }
        }
    }

    async fn list(&self) -> Result<Answer, kube::Error> {
        let mut listing = Listing::default();
        // Any server's cache will do, as long as it is not behind what a watch has told.
        let newest = self.fresh.borrow().clone();
        let parameters = |kind| {
            let parameters = ListParams::default().labels(&selector(&self.instance, kind));
            match &newest {
                Some(version) => parameters.matching(VersionMatch::NotOlderThan).at(version),
                None => parameters.match_any(),
            }
        };
        for lease in self.api.list(&parameters(SHARD)).await? {
            let name = lease.name_any();
            let number = name.strip_prefix(&format!("{}-{SHARD}-", self.instance)).and_then(|text| text.parse().ok());
            let (Some(number), Some(spec)) = (number, &lease.spec) else { continue };
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.insert(number, spec.clone());
            listing.shards.insert(number, seen(&lease));
        }
        for lease in self.api.list(&parameters(WORKER)).await? {
            let seen = seen(&lease);
            listing.workers.extend(seen.holder.clone().map(|holder| (holder, seen)));
        }
        Ok(Answer::Listed(listing))
    }

    async fn write(
        &self,
        call: &Call,
        kind: &str,
        version: Option<&String>,
        spec: LeaseSpec,
    ) -> Result<Answer, kube::Error> {
        let mut labels = object_labels(&self.instance, kind);
        if spec.holder_identity.is_none() {
            labels.insert(FREE.to_owned(), "true".to_owned());
        }
        let name = self.name(call);
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            resource_version: version.cloned(),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(spec) };
        let written = match version {
            Some(_) => self.api.replace(&name, &PostParams::default(), &lease).await?,
            None => self.api.create(&PostParams::default(), &lease).await?,
        };
        if let Call::Take(shard, _) | Call::Renew(shard, _) | Call::Release(shard, _) = call {
            let mut cache = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            cache.insert(*shard, written.spec.clone().unwrap_or_default());
        }
        Ok(Answer::Written(written.resource_version().unwrap_or_default()))
    }

    /// Watches for leases that become free, for ever.
    pub async fn watch(&self) {
        let parameters =
            WatchParams::default().labels(&format!("{},{FREE}=true", selector(&self.instance, SHARD))).timeout(WATCH);
        loop {
            // What is free already is told first.
            if let Ok(events) = self.api.watch(&parameters, "0").await {
                futures_util::pin_mut!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Added(lease) | WatchEvent::Modified(lease) = event {
                        self.fresh.send_replace(lease.resource_version());
                    }
                }
            }
            sleep(self.lasts / 3).await;
        }
    }

    fn name(&self, call: &Call) -> String {
        match call {
            Call::List | Call::Beat(_) => self.worker(&self.me),
            Call::Bury(worker, _) => self.worker(worker),
            Call::Take(shard, _) | Call::Renew(shard, _) | Call::Release(shard, _) => {
                format!("{}-{SHARD}-{shard}", self.instance)
            }
        }
    }

    /// Names of objects have no underscore.
    fn worker(&self, name: &str) -> String {
        format!("{}-{WORKER}-{}", self.instance, name.replace('_', "."))
    }

    fn written(&self, shard: u32) -> Option<LeaseSpec> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    fn spec(&self) -> LeaseSpec {
        // The object knows whole seconds; longer is safe.
        let seconds = i32::try_from(self.lasts.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let renew_time = Some(MicroTime(jiff::Timestamp::now()));
        LeaseSpec { lease_duration_seconds: Some(seconds), renew_time, ..LeaseSpec::default() }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        version: lease.resource_version().unwrap_or_default(),
        lasts: Duration::from_secs(seconds.unwrap_or_default()),
    }
}

/// The number of shards that the installation was begun with; `wanted` where this is its beginning. And the name of the
/// object that says so.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub async fn agreed_shards(
    kubernetes: &Kubernetes,
    instance: &str,
    wanted: u32,
) -> Result<(u32, String), KubernetesError> {
    let maps: Api<ConfigMap> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let name = format!("{instance}-{SETTINGS}");
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(object_labels(instance, SETTINGS)),
        ..ObjectMeta::default()
    };
    let data = Some([(SHARDS.to_owned(), wanted.to_string())].into());
    let map = ConfigMap { metadata, data, ..ConfigMap::default() };
    let there = match KubernetesError::of(maps.create(&PostParams::default(), &map)).await {
        Ok(map) => map,
        Err(error) if error.is_conflict() => KubernetesError::of(maps.get(&name)).await?,
        Err(error) => return Err(error),
    };
    let shards = there.data.as_ref().and_then(|data| data.get(SHARDS)).and_then(|text| text.parse().ok());
    Ok((shards.unwrap_or(wanted), name))
}
