//! `--state kubernetes:[NAMESPACE]`: one ConfigMap per lane, written only over the version that was read.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, StateError, Store};
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError, object_labels, selector};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::envelope;

/// Most bytes of a checkpoint in one object. A larger one is split: an object may have 1 MiB, and is sent as base64.
const MAX_PART_BYTES: usize = 256 << 10;
/// Concurrent calls. Ten workers that take over a thousand lanes each must leave the API server time for leases.
const CALLS: usize = 8;
/// Objects per page of a list.
const PAGE: u32 = 500;
/// Time after which a chunk that no head names counts as left over from a crash.
const ABANDONED: Duration = Duration::from_hours(1);
/// Attempts at a claim while another process writes.
const CLAIMS: usize = 8;

const LANE: &str = "s1-forwarder/lane";
const OWNER: &str = "s1-forwarder/owner";
const LANE_HASH: &str = "s1-forwarder/lane-hash";
const CHECKPOINT: &str = "checkpoint";
const CHUNK: &str = "checkpoint-chunk";
const CHUNKS: &str = "chunks";

/// Checkpoints as objects of a namespace.
///
/// `INSTANCE-checkpoint-HASH` holds the checkpoint of one lane, whose name is in an annotation; so is the process that
/// writes it. `INSTANCE-usage-HASH` holds what the lane did. Every write names the version that this process wrote or
/// claimed last: a process that lost its lane gets a conflict. A checkpoint above 256 KiB is in chunks, written under
/// new names before the head that names them.
#[derive(Debug)]
pub struct KubernetesStore {
    maps: Api<ConfigMap>,
    instance: String,
    /// Name of this process in the objects that it writes.
    owner: String,
    known: Mutex<HashMap<CheckpointKey, Known>>,
    calls: Semaphore,
}

/// A checkpoint as this process wrote or claimed it last.
#[derive(Debug, Clone, Default)]
struct Known {
    version: Option<String>,
    chunks: Vec<String>,
}

impl From<&ConfigMap> for Known {
    fn from(head: &ConfigMap) -> Self {
        Self { version: head.resource_version(), chunks: chunks_of(head) }
    }
}

impl KubernetesStore {
    /// Returns a store, without a call. `owner` must be unique to this process, over restarts too.
    pub fn new(kubernetes: &Kubernetes, instance: &str, owner: &str) -> Self {
        Self {
            maps: Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace),
            instance: instance.to_owned(),
            owner: owner.to_owned(),
            known: Mutex::default(),
            calls: Semaphore::new(CALLS),
        }
    }

    fn name(&self, lane: &CheckpointKey) -> String {
        let kind = if lane.part.is_usage() { "usage" } else { CHECKPOINT };
        format!("{}-{kind}-{}", self.instance, hash(lane))
    }

    fn remember(&self, lane: &CheckpointKey, head: &ConfigMap) {
        self.known.lock().insert(lane.clone(), head.into());
    }

    fn forget(&self, lane: &CheckpointKey) {
        self.known.lock().remove(lane);
    }

    async fn head(&self, lane: &CheckpointKey) -> Result<Option<ConfigMap>, StateError> {
        call("read", lane, self.maps.get_opt(&self.name(lane))).await
    }

    /// Reads the head, and the checkpoint's payload.
    async fn read(&self, lane: &CheckpointKey) -> Result<Option<(ConfigMap, Vec<u8>)>, StateError> {
        for _ in 0..CLAIMS {
            let Some(head) = self.head(lane).await? else { return Ok(None) };
            let Some(sealed) = self.assemble(lane, &head).await? else { continue };
            let payload = envelope::open(&sealed, &format!("the object {}", self.name(lane)))?;
            return Ok(Some((head, payload)));
        }
        let place = format!("the object {}", self.name(lane));
        Err(StateError::Damaged { place, reason: "a part of it is missing" })
    }

    /// Returns the checkpoint's bytes; `None` if its owner replaced the checkpoint meanwhile.
    async fn assemble(&self, lane: &CheckpointKey, head: &ConfigMap) -> Result<Option<Vec<u8>>, StateError> {
        let chunks = chunks_of(head);
        if chunks.is_empty() {
            return Ok(Some(bytes_of(head)));
        }
        let parts = chunks.iter().map(|chunk| call("read", lane, self.maps.get_opt(chunk)));
        let parts: Option<Vec<ConfigMap>> = try_join_all(parts).await?.into_iter().collect();
        Ok(parts.map(|parts| parts.iter().flat_map(bytes_of).collect()))
    }

    fn object(&self, name: String, kind: &str, lane: &CheckpointKey) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name);
        object.labels_mut().extend(object_labels(&self.instance, kind));
        object.labels_mut().insert(LANE_HASH.to_owned(), hash(lane));
        object.annotations_mut().insert(LANE.to_owned(), lane.to_string());
        object.annotations_mut().insert(OWNER.to_owned(), self.owner.clone());
        object
    }

    /// Returns the head for these bytes. Writes the chunks, if there are any.
    async fn split_into_objects(&self, lane: &CheckpointKey, sealed: Vec<u8>) -> Result<ConfigMap, StateError> {
        let name = self.name(lane);
        let mut head = self.object(name.clone(), CHECKPOINT, lane);
        if sealed.len() <= MAX_PART_BYTES {
            head.binary_data = Some([(CHECKPOINT.to_owned(), ByteString(sealed))].into());
            return Ok(head);
        }
        let write = fastrand::u64(..);
        let mut names = Vec::new();
        for (number, part) in sealed.chunks(MAX_PART_BYTES).enumerate() {
            let name = format!("{name}-{write:016x}-{number}");
            let mut chunk = self.object(name.clone(), CHUNK, lane);
            chunk.binary_data = Some([(CHECKPOINT.to_owned(), ByteString(part.to_vec()))].into());
            call("write", lane, self.maps.create(&PostParams::default(), &chunk)).await?;
            names.push(name);
        }
        head.data = Some([(CHUNKS.to_owned(), names.join("\n"))].into());
        Ok(head)
    }

    /// Replaces the head that this process wrote or claimed last.
    async fn put(&self, lane: &CheckpointKey, mut head: ConfigMap) -> Result<(), StateError> {
        let before = self.known.lock().get(lane).cloned();
        head.metadata.resource_version = before.as_ref().and_then(|known| known.version.clone());
        let mut written = self.write(&head).await;
        if matches!(&written, Err(error) if error.is_conflict()) {
            // An earlier write of this process may have arrived, and its answer not.
            let there = self.head(lane).await?;
            let owner = there.as_ref().and_then(|there| there.annotations().get(OWNER));
            if owner.is_some_and(|owner| *owner == self.owner) {
                head.metadata.resource_version = there.and_then(|there| there.resource_version());
                written = self.write(&head).await;
            }
        }
        match written {
            Ok(head) => {
                self.remember(lane, &head);
                let old = before.map(|known| known.chunks).unwrap_or_default();
                if !old.is_empty() || !chunks_of(&head).is_empty() {
                    self.sweep(lane, old, &head).await;
                }
                Ok(())
            }
            Err(error) if error.is_conflict() || error.is_not_found() => {
                self.forget(lane);
                let owner = self.head(lane).await?.and_then(|there| there.annotations().get(OWNER).cloned());
                Err(StateError::Conflict { key: lane.clone(), owner: owner.unwrap_or_else(|| "no process".to_owned()) })
            }
            Err(error) => Err(failed("write", lane)(error)),
        }
    }

    async fn write(&self, head: &ConfigMap) -> Result<ConfigMap, KubernetesError> {
        let parameters = PostParams::default();
        match &head.metadata.resource_version {
            Some(_) => KubernetesError::of(self.maps.replace(&head.name_any(), &parameters, head)).await,
            None => KubernetesError::of(self.maps.create(&parameters, head)).await,
        }
    }

    /// Removes chunks that `head` replaced, and old ones that a crash left behind. Newer ones may belong to a write of
    /// the lane's next owner. Chunks that cannot be removed now are left for the next write.
    async fn sweep(&self, lane: &CheckpointKey, old: Vec<String>, head: &ConfigMap) {
        let mut gone = old;
        let kind = selector(&self.instance, CHUNK);
        let parameters = ListParams::default().labels(&format!("{kind},{LANE_HASH}={}", hash(lane)));
        match KubernetesError::of(self.maps.list_metadata(&parameters)).await {
            Ok(chunks) => {
                let time = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0);
                let newest = chunks.iter().filter_map(|chunk| time(&chunk.metadata)).max();
                let is_old = |meta: &ObjectMeta| {
                    let times = newest.zip(time(meta));
                    times.is_some_and(|(newest, time)| newest.duration_since(time).unsigned_abs() > ABANDONED)
                };
                gone.extend(chunks.iter().filter(|chunk| is_old(&chunk.metadata)).map(ResourceExt::name_any));
            }
            Err(error) => debug!(%lane, %error, "chunks of checkpoints could not be listed"),
        }
        let needed = chunks_of(head);
        for chunk in gone.iter().filter(|chunk| !needed.contains(chunk)) {
            if let Err(error) = KubernetesError::of(self.maps.delete(chunk, &DeleteParams::default())).await
                && !error.is_not_found()
            {
                debug!(%lane, %error, "a chunk of an old checkpoint could not be removed");
            }
        }
    }

    /// Removes the checkpoint. Fails if the checkpoint has another version by now.
    async fn remove(&self, lane: &CheckpointKey, Known { version, chunks }: Known) -> Result<(), StateError> {
        let preconditions = Preconditions { resource_version: version, uid: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        call("remove", lane, self.maps.delete(&self.name(lane), &parameters)).await?;
        self.forget(lane);
        for chunk in chunks {
            match KubernetesError::of(self.maps.delete(&chunk, &DeleteParams::default())).await {
                // The chunk may be the one that a damaged checkpoint lacks.
                Err(error) if !error.is_not_found() => return Err(failed("remove", lane)(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl CheckpointBackend for KubernetesStore {
    async fn load(&self, lane: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let _turn = self.calls.acquire().await;
        Ok(self.read(lane).await?.map(|(_, payload)| payload))
    }

    async fn claim(&self, lane: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let _turn = self.calls.acquire().await;
        self.forget(lane);
        for _ in 0..CLAIMS {
            let Some((mut head, payload)) = self.read(lane).await? else { return Ok(None) };
            let before = head.annotations_mut().insert(OWNER.to_owned(), self.owner.clone());
            if before.as_ref() == Some(&self.owner) {
                self.remember(lane, &head);
                return Ok(Some(payload));
            }
            match self.write(&head).await {
                Ok(head) => {
                    info!(%lane, before, "checkpoint claimed from another process");
                    self.remember(lane, &head);
                    return Ok(Some(payload));
                }
                // The last owner wrote once more.
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(failed("claim", lane)(error)),
            }
        }
        Err(StateError::Conflict { key: lane.clone(), owner: "a worker that keeps writing it".to_owned() })
    }

    async fn commit(&self, lane: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let _turn = self.calls.acquire().await;
        let head = self.split_into_objects(lane, envelope::seal(&update.checkpoint)).await?;
        self.put(lane, head).await?;
        Ok(update.journal.released)
    }
}

#[async_trait]
impl Store for KubernetesStore {
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
        let mut parameters = ListParams::default().labels(&selector(&self.instance, CHECKPOINT)).limit(PAGE);
        let mut lanes = Vec::new();
        loop {
            let page = KubernetesError::of(self.maps.list_metadata(&parameters)).await;
            let page = page.map_err(|error| StateError::failed("cannot list the checkpoints", error))?;
            let names = page.iter().filter_map(|head| head.annotations().get(LANE));
            lanes.extend(names.filter_map(|name| name.parse::<CheckpointKey>().ok()));
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters = parameters.continue_token(&more),
                None => break,
            }
        }
        lanes.sort();
        Ok(lanes)
    }

    /// Checks that checkpoints can be written. The API server checks rights, quotas and its own rules, and stores
    /// nothing.
    async fn check_access(&self) -> Result<(), StateError> {
        let mut probe = ConfigMap::default();
        probe.metadata.name = Some(format!("{}-probe", self.instance));
        probe.labels_mut().extend(object_labels(&self.instance, "probe"));
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let created = KubernetesError::of(self.maps.create(&parameters, &probe)).await;
        created.map(drop).map_err(|error| StateError::failed("cannot write checkpoints", error))
    }

    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
        if self.head(to).await?.is_some() {
            return Err(StateError::Exists(to.clone()));
        }
        // From now on no worker writes the old checkpoint: the new one would be behind.
        let Some(payload) = self.claim(from).await? else { return Err(StateError::Unknown(from.clone())) };
        let claimed = self.known.lock().get(from).cloned().unwrap_or_default();
        self.forget(to);
        self.commit(to, payload.into()).await?;
        self.remove(from, claimed).await
    }

    async fn delete(&self, lane: &CheckpointKey) -> Result<(), StateError> {
        let Some(head) = self.head(lane).await? else { return Err(StateError::Unknown(lane.clone())) };
        self.remove(lane, (&head).into()).await
    }
}

/// Returns a part of an object's name. Object names allow fewer characters than lane names.
fn hash(lane: &CheckpointKey) -> String {
    hex::encode(&Sha256::digest(lane.to_string())[..10])
}

fn chunks_of(head: &ConfigMap) -> Vec<String> {
    let names = head.data.as_ref().and_then(|data| data.get(CHUNKS));
    names.map(|names| names.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn bytes_of(map: &ConfigMap) -> Vec<u8> {
    let bytes = map.binary_data.as_ref().and_then(|data| data.get(CHECKPOINT));
    bytes.map(|bytes| bytes.0.clone()).unwrap_or_default()
}

fn failed(action: &str, lane: &CheckpointKey) -> impl FnOnce(KubernetesError) -> StateError + use<> {
    let what = format!("cannot {action} the checkpoint of {lane}");
    move |error| StateError::failed(what, error)
}

async fn call<T>(
    action: &str,
    lane: &CheckpointKey,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, StateError> {
    KubernetesError::of(call).await.map_err(failed(action, lane))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::{Json, Router};
    use futures_util::future::join_all;
    use kube::{Client, Config};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use s1_forwarder_settings::kubernetes::double::ApiServer;

    /// Calls that an API server answers, and the most that it ever answered at the same time.
    #[derive(Debug, Default)]
    struct Load {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    async fn answer(State(load): State<Arc<Load>>) -> (StatusCode, Json<Value>) {
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
        load.now.fetch_sub(1, Ordering::SeqCst);
        (StatusCode::NOT_FOUND, Json(json!({ "kind": "Status", "code": 404, "reason": "NotFound" })))
    }

    /// The objects of an earlier release: the checkpoint of one lane is whole, the other lane's is in chunks.
    #[tokio::test]
    async fn golden_objects_are_read_and_a_whole_one_is_written_alike() {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts");
        let payload = fs::read(stored.join("5/checkpoint")).unwrap();
        let [whole, split] = ["acme/activities/siem", "acme/activities/bus"].map(|lane| lane.parse().unwrap());
        let objects: Vec<Value> =
            serde_json::from_slice(&fs::read(stored.join("stores/kubernetes-1.json")).unwrap()).unwrap();
        let server = ApiServer::with(objects.clone()).await;
        let store = KubernetesStore::new(&server.kubernetes, "s1-forwarder", "a process");
        for lane in [&whole, &split] {
            assert!(store.load(lane).await.unwrap().is_some_and(|read| read == payload), "{lane}");
        }
        store.commit(&whole, payload.into()).await.unwrap();
        assert_eq!(server.objects.lock().get(&store.name(&whole)), objects.first());
    }

    /// `state delete` is what the error of a damaged checkpoint says to run.
    #[tokio::test]
    async fn a_damaged_checkpoint_is_deleted_even_if_a_chunk_is_missing() {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts/stores/kubernetes-1.json");
        let objects: Vec<Value> = serde_json::from_slice(&fs::read(stored).unwrap()).unwrap();
        let server = ApiServer::with(objects).await;
        let store = KubernetesStore::new(&server.kubernetes, "s1-forwarder", "a process");
        let split: CheckpointKey = "acme/activities/bus".parse().unwrap();
        let chunks = chunks_of(&store.head(&split).await.unwrap().unwrap());
        assert!(server.objects.lock().remove(&chunks[0]).is_some());
        let error = store.load(&split).await.unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        store.delete(&split).await.unwrap();
        assert_eq!(store.load(&split).await.unwrap(), None);
        assert!(chunks.iter().all(|chunk| !server.objects.lock().contains_key(chunk)), "nothing is left behind");
    }

    #[tokio::test]
    async fn the_calls_for_checkpoints_of_many_lanes_are_few_at_a_time() {
        let load = Arc::new(Load::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(load.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
        let store = KubernetesStore::new(&Kubernetes { client, namespace: "default".to_owned() }, "instance", "owner");
        let lanes: Vec<CheckpointKey> =
            (0..50).map(|number| format!("customer-{number}/activities/siem").parse().unwrap()).collect();
        let loaded = join_all(lanes.iter().map(|lane| store.load(lane))).await;
        let claimed = join_all(lanes.iter().map(|lane| store.claim(lane))).await;
        let not_found = loaded.iter().chain(&claimed).filter(|read| matches!(read, Ok(None)));
        assert_eq!(not_found.count(), 2 * lanes.len(), "{:?}", loaded[0]);
        assert_eq!(load.most.load(Ordering::SeqCst), CALLS);
        server.abort();
    }
}
