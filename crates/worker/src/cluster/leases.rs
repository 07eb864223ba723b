//! Sends the calls of a [`LeasePlanner`](super::plan::LeasePlanner) as requests for Lease objects.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions, VersionMatch};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError, object_labels, selector};
use tokio::sync::watch;
use tokio::time::sleep;

use super::plan::{Answer, Call, LeaseRecord, Listing};
use super::settings::ClusterSettings;

const SHARD: &str = "shard";
const WORKER: &str = "worker";
/// Label of leases without a holder. Workers watch leases with this label, and so get no event for each renewal.
const FREE: &str = "s1-forwarder/free";
/// Annotation of a worker's lease: `HOST:PORT` of its HTTP endpoints.
const ADDRESS: &str = "s1-forwarder/address";
const SETTINGS: &str = "settings";
const SHARDS: &str = "shards";
/// Seconds after which a watch is started again. A lost connection may go unnoticed for that long.
const WATCH_TIMEOUT: u32 = 240;

/// The Lease objects of an installation: `INSTANCE-shard-NUMBER`, and `INSTANCE-worker-NAME` for each worker.
#[derive(Debug)]
pub struct Leases {
    api: Api<Lease>,
    instance: String,
    /// The name of this worker.
    worker: String,
    lease: Duration,
    /// The last known spec of each shard's lease. Writes keep its number of transitions and its time of acquisition.
    specs: Mutex<BTreeMap<u32, LeaseSpec>>,
    /// This worker's `--advertise`.
    address: Option<String>,
    /// The addresses of the workers at the last listing, by name.
    addresses: Mutex<BTreeMap<String, String>>,
    /// The latest version that a watch reported. No listing may be older.
    freed: watch::Sender<Option<String>>,
}

impl Leases {
    /// Creates the access to the leases of an installation. The name of the `worker` must be different after a restart.
    pub fn new(kubernetes: &Kubernetes, instance: &str, worker: &str, settings: &ClusterSettings) -> Self {
        Self {
            api: Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace),
            instance: instance.to_owned(),
            worker: worker.to_owned(),
            lease: settings.lease,
            specs: Mutex::default(),
            address: settings.address.clone(),
            addresses: Mutex::default(),
            freed: watch::Sender::new(None),
        }
    }

    /// Returns the addresses of the workers' HTTP endpoints, by name, as far as they are known.
    pub fn addresses(&self) -> BTreeMap<String, String> {
        self.addresses.lock().clone()
    }

    /// Changes when a lease has become free.
    pub fn freed(&self) -> watch::Receiver<Option<String>> {
        self.freed.subscribe()
    }

    /// Sends a call, and waits for its answer at most for `timeout`.
    ///
    /// # Errors
    /// If there is no usable answer. The planner gets [`Answer::Unknown`] then.
    pub async fn send(&self, call: &Call, timeout: Duration) -> Result<Answer, KubernetesError> {
        match KubernetesError::within(timeout, self.request(call)).await {
            Err(error) if error.is_conflict() || error.is_not_found() => {
                let current = KubernetesError::within(timeout, self.api.get_opt(&self.name(call))).await?;
                Ok(Answer::Conflict(current.as_ref().map(record)))
            }
            other => other,
        }
    }

    async fn request(&self, call: &Call) -> Result<Answer, kube::Error> {
        match call {
            Call::List => self.list().await,
            Call::Heartbeat(version) => {
                let spec = LeaseSpec { holder_identity: Some(self.worker.clone()), ..self.spec() };
                self.write(call, WORKER, version.as_ref(), spec).await
            }
            Call::DeleteHeartbeat(worker, version) => {
                let preconditions = Preconditions { resource_version: Some(version.clone()), uid: None };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                self.api.delete(&self.heartbeat_name(worker), &parameters).await?;
                Ok(Answer::Deleted)
            }
            Call::Acquire(shard, version) => {
                let transitions = self.spec_of(*shard).and_then(|spec| spec.lease_transitions).unwrap_or(0);
                let acquire_time = self.spec().renew_time;
                let lease_transitions = version.as_ref().map(|_| transitions.saturating_add(1));
                let holder_identity = Some(self.worker.clone());
                let spec = LeaseSpec { holder_identity, acquire_time, lease_transitions, ..self.spec() };
                self.write(call, SHARD, version.as_ref(), spec).await
            }
            Call::Renew(shard, version) => {
                let LeaseSpec { acquire_time, lease_transitions, .. } = self.spec_of(*shard).unwrap_or_default();
                let holder_identity = Some(self.worker.clone());
                let spec = LeaseSpec { holder_identity, acquire_time, lease_transitions, ..self.spec() };
                self.write(call, SHARD, Some(version), spec).await
            }
            Call::Release(shard, version) => {
                let lease_transitions = self.spec_of(*shard).and_then(|spec| spec.lease_transitions);
                let spec = LeaseSpec { holder_identity: None, lease_transitions, ..self.spec() };
                self.write(call, SHARD, Some(version), spec).await
            }
        }
    }

    async fn list(&self) -> Result<Answer, kube::Error> {
        let mut listing = Listing::default();
        // A cached answer is good enough, if it is not older than the last event of the watch.
        let newest = self.freed.borrow().clone();
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
            self.specs.lock().insert(number, spec.clone());
            listing.shards.insert(number, record(&lease));
        }
        let mut addresses = BTreeMap::new();
        for lease in self.api.list(&parameters(WORKER)).await? {
            let record = record(&lease);
            let address = lease.annotations().get(ADDRESS).cloned();
            addresses.extend(record.holder.clone().zip(address));
            listing.workers.extend(record.holder.clone().map(|holder| (holder, record)));
        }
        *self.addresses.lock() = addresses;
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
        let address = if kind == WORKER { self.address.clone() } else { None };
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            resource_version: version.cloned(),
            labels: Some(labels),
            annotations: address.map(|address| [(ADDRESS.to_owned(), address)].into()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(spec) };
        let written = match version {
            Some(_) => self.api.replace(&name, &PostParams::default(), &lease).await?,
            None => self.api.create(&PostParams::default(), &lease).await?,
        };
        if let Call::Acquire(shard, _) | Call::Renew(shard, _) | Call::Release(shard, _) = call {
            let mut specs = self.specs.lock();
            specs.insert(*shard, written.spec.clone().unwrap_or_default());
        }
        Ok(Answer::Written(written.resource_version().unwrap_or_default()))
    }

    /// Watches for leases that become free. Never returns.
    pub async fn watch(&self) {
        let labels = format!("{},{FREE}=true", selector(&self.instance, SHARD));
        // A cached list is good enough for the leases that are free already.
        let config = watcher::Config::default().labels(&labels).timeout(WATCH_TIMEOUT).any_semantic();
        let mut free = watcher(self.api.clone(), config).applied_objects().boxed();
        while let Some(lease) = free.next().await {
            match lease {
                Ok(lease) => _ = self.freed.send_replace(lease.resource_version()),
                Err(_) => sleep(self.lease / 3).await,
            }
        }
    }

    fn name(&self, call: &Call) -> String {
        match call {
            Call::List | Call::Heartbeat(_) => self.heartbeat_name(&self.worker),
            Call::DeleteHeartbeat(worker, _) => self.heartbeat_name(worker),
            Call::Acquire(shard, _) | Call::Renew(shard, _) | Call::Release(shard, _) => {
                format!("{}-{SHARD}-{shard}", self.instance)
            }
        }
    }

    /// Returns the name of a worker's heartbeat. Object names must not have underscores.
    fn heartbeat_name(&self, name: &str) -> String {
        format!("{}-{WORKER}-{}", self.instance, name.replace('_', "."))
    }

    fn spec_of(&self, shard: u32) -> Option<LeaseSpec> {
        self.specs.lock().get(&shard).cloned()
    }

    fn spec(&self) -> LeaseSpec {
        // The object has whole seconds. Rounding up is safe.
        let seconds = i32::try_from(self.lease.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let renew_time = Some(MicroTime(jiff::Timestamp::now()));
        LeaseSpec { lease_duration_seconds: Some(seconds), renew_time, ..LeaseSpec::default() }
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    LeaseRecord {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        version: lease.resource_version().unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
    }
}

/// Returns the installation's number of shards and the name of the ConfigMap that stores it. The first worker of an
/// installation stores `wanted`.
///
/// # Errors
/// If the API server does not answer, or refuses.
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
    let stored = match KubernetesError::of(maps.create(&PostParams::default(), &map)).await {
        Ok(map) => map,
        Err(error) if error.is_conflict() => KubernetesError::of(maps.get(&name)).await?,
        Err(error) => return Err(error),
    };
    let shards = stored.data.as_ref().and_then(|data| data.get(SHARDS)).and_then(|text| text.parse().ok());
    Ok((shards.unwrap_or(wanted), name))
}
