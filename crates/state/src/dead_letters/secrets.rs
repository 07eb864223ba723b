//! Dead letters in Secrets: one for each pipeline, `INSTANCE-dead-letters-HASH`.
//!
//! Its annotations have the pipeline's name, the version of its form, and what the gauges need; its data has the lines,
//! compressed with gzip. Workers and commands change it alike: they read it and write it back under the version that
//! they have read. If another process was faster, they read it again. So nothing is locked, and nothing is overwritten.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use s1_forwarder_engine::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, StoreFill};
use s1_forwarder_failure::Failure;
use s1_forwarder_record::LaneId;
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError, object_labels, selector};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell, Semaphore};
use tokio::time::sleep;

use super::gzip;
use super::line::{StoredDeadLetter, parse_line, write_line};

/// Most bytes of one Secret's dead letters after compression. The API server allows 1 MiB.
pub const MAX_BYTES: usize = 700 << 10;
/// Secrets per page of a list.
const PAGE: u32 = 500;
/// Attempts at a change while other processes change the same Secret. Each time, one of them succeeds.
const ATTEMPTS: u32 = 32;
/// Longest wait before the second attempt; that before the third is twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Most changes of this process at one time: each holds all lines of a Secret twice, outside the memory budget.
const MAX_CHANGES: usize = 2;

const KIND: &str = "dead-letters";
const PIPELINE: &str = "s1-forwarder/pipeline";
/// Version of the Secret's form. Each line has a version of its own.
const VERSION_NAME: &str = "s1-forwarder/version";
const VERSION: &str = "1";
/// Number of dead letters of each lane.
const LANES: &str = "s1-forwarder/lanes";
const BYTES: &str = "s1-forwarder/bytes";
const DATA: &str = "dead-letters.ndjson.gz";

/// The Secrets with dead letters of one installation.
#[derive(Debug)]
struct SecretObjects {
    api: Api<Secret>,
    instance: String,
    namespace: String,
    changing: Semaphore,
}

/// Facts that a list shows of a Secret of this version.
#[derive(Debug)]
struct ListedSecret {
    pipeline: String,
    bytes: u64,
    lanes: BTreeMap<LaneId, u64>,
}

/// A Secret that was read, and its compressed lines.
struct ReadSecret {
    secret: Secret,
    compressed: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
enum SecretObjectError {
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// The content of one Secret is damaged, of a newer version, or not of this program.
    #[error("{0}")]
    Unreadable(String),
    /// Secrets have the form of an earlier build.
    #[error("{0}")]
    OfEarlierBuild(String),
    #[error("the dead letters would have {bytes} bytes after compression")]
    Full { bytes: usize, was_empty: bool },
    #[error("other processes keep changing the Secret {0}")]
    Contended(String),
}

/// The lines of a Secret after a change.
struct Edited {
    compressed: Vec<u8>,
    counts: BTreeMap<String, u64>,
    count: usize,
    removed: usize,
    is_too_long: bool,
}

/// Result of one attempt at a change.
enum Change {
    /// The change was written, or there was nothing to change. The value is the number of lines that were removed.
    Done(usize),
    /// Another process has changed the Secret meanwhile.
    Conflict,
}

impl SecretObjects {
    fn new(kubernetes: &Kubernetes, instance: &str) -> Self {
        let Kubernetes { client, namespace } = kubernetes;
        let api = Api::namespaced(client.clone(), namespace);
        let changing = Semaphore::new(MAX_CHANGES);
        Self { api, instance: instance.to_owned(), namespace: namespace.clone(), changing }
    }

    /// Returns the name of a pipeline's Secret. Names of objects allow fewer characters than names of pipelines.
    fn name(&self, pipeline: &str) -> String {
        format!("{}-dead-letters-{}", self.instance, hex::encode(&Sha256::digest(pipeline)[..10]))
    }

    /// Returns all Secrets, by name. An error concerns one Secret.
    ///
    /// # Errors
    /// If the API server does not answer, or there are Secrets of an earlier build.
    async fn list(&self) -> Result<BTreeMap<String, Result<ListedSecret, String>>, SecretObjectError> {
        let mut parameters = ListParams::default().labels(&selector(&self.instance, KIND)).limit(PAGE);
        let mut listed = BTreeMap::new();
        loop {
            let page = KubernetesError::of(self.api.list_metadata(&parameters)).await?;
            for secret in page.iter() {
                listed.insert(secret.name_any(), self.listed(&secret.metadata)?);
            }
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters = parameters.continue_token(&more),
                None => return Ok(listed),
            }
        }
    }

    fn listed(&self, metadata: &ObjectMeta) -> Result<Result<ListedSecret, String>, SecretObjectError> {
        let pipeline = match self.check(metadata) {
            Ok(pipeline) => pipeline,
            Err(SecretObjectError::Unreadable(problem)) => return Ok(Err(problem)),
            Err(error) => return Err(error),
        };
        let counts: BTreeMap<String, u64> =
            annotation(metadata, LANES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let lane = |(name, count): (String, u64)| Some((format!("{pipeline}/{name}").parse().ok()?, count));
        Ok(Ok(ListedSecret {
            bytes: annotation(metadata, BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
            lanes: counts.into_iter().filter_map(lane).collect(),
            pipeline,
        }))
    }

    /// Returns the pipeline of a Secret, if the Secret has a form that this program can read.
    fn check(&self, metadata: &ObjectMeta) -> Result<String, SecretObjectError> {
        let Self { namespace, instance, .. } = self;
        let name = metadata.name.as_deref().unwrap_or_default();
        let pipeline = annotation(metadata, PIPELINE).unwrap_or_default();
        let own = self.name(pipeline);
        match annotation(metadata, VERSION_NAME) {
            Some(VERSION) if name == own => Ok(pipeline.to_owned()),
            Some(VERSION) => Err(self.unreadable(name, "its name does not belong to its pipeline")),
            Some(version) => Err(SecretObjectError::Unreadable(format!(
                "the Secret {namespace}/{name} has version {version}, which a newer release has written; use that \
                 release"
            ))),
            None if name.strip_prefix(&own).is_some_and(|rest| rest.starts_with('-')) => {
                Err(SecretObjectError::OfEarlierBuild(format!(
                    "the Secret {namespace}/{name} has dead letters in the form of an earlier build, which this one \
                     does not read; replay them with that build, or export them with it and remove them (`purge \
                     --all`): s1-forwarder dead-letters list --format json --dead-letters kubernetes:{namespace} \
                     --instance {instance}"
                )))
            }
            None => Err(self.unreadable(name, "it has no version")),
        }
    }

    fn unreadable(&self, name: &str, reason: &str) -> SecretObjectError {
        let Self { namespace, .. } = self;
        SecretObjectError::Unreadable(format!(
            "the Secret {namespace}/{name} is damaged or not of this program: {reason}; to discard its dead letters: \
             kubectl -n {namespace} delete secret {name}"
        ))
    }

    /// Reads the Secret of this name, if it exists.
    async fn read(&self, name: &str) -> Result<Option<ReadSecret>, SecretObjectError> {
        let Some(mut secret) = KubernetesError::of(self.api.get_opt(name)).await? else { return Ok(None) };
        self.check(&secret.metadata)?;
        let data = secret.data.take().and_then(|mut data| data.remove(DATA));
        let compressed = data.ok_or_else(|| self.unreadable(name, "it has no dead letters"))?;
        Ok(Some(ReadSecret { secret, compressed: compressed.0 }))
    }

    /// Returns the lines of a Secret, each with its line feed.
    async fn lines(&self, name: &str) -> Result<Vec<u8>, SecretObjectError> {
        let Some(ReadSecret { compressed, .. }) = self.read(name).await? else { return Ok(Vec::new()) };
        let lines = blocking(move || gzip::decompress(&compressed)).await;
        lines.map_err(|error| self.unreadable(name, &error.to_string()))
    }

    /// Changes the lines of a pipeline. `edit` returns all new lines. After a conflict, `edit` is called again with the
    /// lines of the other process. Returns how many lines fewer there are.
    async fn change<E>(&self, pipeline: &str, edit: E) -> Result<usize, SecretObjectError>
    where
        E: Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static,
    {
        let name = self.name(pipeline);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                let longest = MAX_WAIT.min(FIRST_WAIT * 2_u32.saturating_pow(attempt.min(8) - 1));
                sleep(longest.mul_f64(fastrand::f64())).await;
            }
            let read = self.read(&name).await?;
            if let Change::Done(removed) = self.try_change(pipeline, &name, read, edit.clone()).await? {
                return Ok(removed);
            }
        }
        Err(SecretObjectError::Contended(name))
    }

    async fn try_change(
        &self,
        pipeline: &str,
        name: &str,
        read: Option<ReadSecret>,
        edit: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Result<Change, SecretObjectError> {
        let (secret, compressed) = match read {
            Some(ReadSecret { secret, compressed }) => (Some(secret), Some(compressed)),
            None => (None, None),
        };
        // The permit is not held while the API server is asked: a server that hangs would hold up every pipeline.
        // The semaphore is never closed.
        let one_of_few = self.changing.acquire().await;
        let edited = blocking(move || {
            let before = compressed.map_or(Ok(Vec::new()), |compressed| gzip::decompress(&compressed))?;
            let lines = edit(&before);
            if lines == before {
                return Ok(None);
            }
            let compressed = if lines.is_empty() { Vec::new() } else { gzip::compress(&lines)? };
            let count = gzip::lines(&lines).count();
            let removed = gzip::lines(&before).count().saturating_sub(count);
            let is_too_long = lines.len() > gzip::MAX_LINES;
            Ok(Some(Edited { compressed, counts: counts(&lines), count, removed, is_too_long }))
        });
        let edited = edited.await.map_err(|error| self.unreadable(name, &error.to_string()))?;
        drop(one_of_few);
        let Some(Edited { compressed, counts, count, removed, is_too_long }) = edited else {
            return Ok(Change::Done(0));
        };
        // If nothing was read, only the namespace can be missing.
        let has_read = secret.is_some();
        let written = if count == 0 {
            match secret {
                Some(secret) => self.delete(&secret).await,
                None => Ok(()),
            }
        } else {
            if compressed.len() > MAX_BYTES || is_too_long {
                return Err(SecretObjectError::Full { bytes: compressed.len(), was_empty: !has_read });
            }
            self.put(pipeline, name, secret, compressed, &counts).await
        };
        match written {
            Ok(()) => Ok(Change::Done(removed)),
            Err(error) if error.is_conflict() || (has_read && error.is_not_found()) => Ok(Change::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the version that was read, or creates the Secret.
    async fn put(
        &self,
        pipeline: &str,
        name: &str,
        secret: Option<Secret>,
        compressed: Vec<u8>,
        counts: &BTreeMap<String, u64>,
    ) -> Result<(), KubernetesError> {
        let exists = secret.is_some();
        let mut secret = secret.unwrap_or_default();
        if !exists {
            secret.metadata.name = Some(name.to_owned());
            secret.metadata.labels = Some(object_labels(&self.instance, KIND));
        }
        let counts = serde_json::to_string(counts).unwrap_or_default();
        for (key, value) in [
            (PIPELINE, pipeline.to_owned()),
            (VERSION_NAME, VERSION.to_owned()),
            (BYTES, compressed.len().to_string()),
            (LANES, counts),
        ] {
            secret.annotations_mut().insert(key.to_owned(), value);
        }
        secret.data = Some([(DATA.to_owned(), ByteString(compressed))].into());
        let parameters = PostParams::default();
        let put = async {
            if exists {
                self.api.replace(name, &parameters, &secret).await
            } else {
                self.api.create(&parameters, &secret).await
            }
        };
        KubernetesError::of(put).await.map(drop)
    }

    /// Deletes the version that was read.
    async fn delete(&self, secret: &Secret) -> Result<(), KubernetesError> {
        let preconditions = Preconditions { resource_version: secret.resource_version(), uid: secret.uid() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        KubernetesError::of(self.api.delete(&secret.name_any(), &parameters)).await.map(drop)
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Returns the number of lines by `STREAM/SINK`. Lines that cannot be read count for none.
fn counts(lines: &[u8]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in gzip::lines(lines) {
        if let Ok(letter) = parse_line(line.trim_ascii_end()) {
            *counts.entry(format!("{}/{}", letter.lane.stream, letter.lane.sink)).or_default() += 1;
        }
    }
    counts
}

/// Runs a task that takes long on another thread.
async fn blocking<T: Send + 'static>(task: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(task).await.unwrap_or_else(|_| Err(io::Error::other("the task ended early")))
}

type LineDigest = [u8; 32];

fn digest(line: &[u8]) -> LineDigest {
    Sha256::digest(line).into()
}

/// A store that all workers of an installation share.
#[derive(Debug)]
pub struct SecretStore {
    namespace: Option<String>,
    instance: String,
    secrets: OnceCell<SecretObjects>,
    /// Whether it is known that there are no Secrets of an earlier build.
    is_checked: Mutex<bool>,
}

impl SecretStore {
    /// Returns a store that connects with the first call. Without a namespace, the one of the kubeconfig or of the pod
    /// is used.
    pub fn new(namespace: Option<String>, instance: &str) -> Self {
        let is_checked = Mutex::new(false);
        Self { namespace, instance: instance.to_owned(), secrets: OnceCell::new(), is_checked }
    }

    /// Returns a store with this access to the API server.
    pub fn connected(kubernetes: &Kubernetes, instance: &str) -> Self {
        let store = Self::new(Some(kubernetes.namespace.clone()), instance);
        Self { secrets: OnceCell::from(SecretObjects::new(kubernetes, instance)), ..store }
    }

    async fn secrets(&self) -> Result<&SecretObjects, KubernetesError> {
        let connect = async || {
            let kubernetes = Kubernetes::connect(self.namespace.as_deref()).await?;
            Ok(SecretObjects::new(&kubernetes, &self.instance))
        };
        self.secrets.get_or_try_init(connect).await
    }

    fn place(&self) -> String {
        format!("kubernetes:{}", self.namespace.as_deref().unwrap_or_default())
    }

    fn failed(&self, error: SecretObjectError) -> DeadLetterError {
        let text = error.to_string();
        let failure = match error {
            SecretObjectError::Kubernetes(error) => error.into(),
            SecretObjectError::Unreadable(_) | SecretObjectError::OfEarlierBuild(_) => Failure::misconfigured(text),
            SecretObjectError::Full { .. } | SecretObjectError::Contended(_) => Failure::transient(text),
        };
        DeadLetterError::Failed { place: self.place(), failure }
    }

    /// Refuses Secrets of an earlier build before the first dead letter is kept: they would be overlooked indefinitely.
    async fn refuse_earlier_builds(&self, secrets: &SecretObjects) -> Result<(), SecretObjectError> {
        let mut is_checked = self.is_checked.lock().await;
        if !*is_checked {
            secrets.list().await?;
            *is_checked = true;
        }
        Ok(())
    }

    async fn append(&self, pipeline: &str, added: Vec<u8>) -> Result<(), DeadLetterError> {
        let appended = async {
            let secrets = self.secrets().await?;
            self.refuse_earlier_builds(secrets).await?;
            let added: Arc<[u8]> = added.into();
            secrets.change(pipeline, move |lines| gzip::append(lines, &added)).await
        };
        let place = self.place();
        let pipeline = pipeline.to_owned();
        let max = MAX_BYTES;
        match appended.await {
            Ok(_) => Ok(()),
            Err(SecretObjectError::Full { bytes, was_empty: true }) => {
                Err(DeadLetterError::LargerThanSecret { place, pipeline, bytes, max })
            }
            Err(SecretObjectError::Full { bytes, .. }) => {
                Err(DeadLetterError::SecretFull { place, pipeline, bytes, max })
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn measure(&self) -> Result<StoreFill, SecretObjectError> {
        let mut usage = StoreFill { bytes: 0, max: None, pipelines: Vec::new(), lanes: BTreeMap::new() };
        for listed in self.secrets().await?.list().await?.into_values() {
            match listed {
                Ok(ListedSecret { pipeline, bytes, lanes }) => {
                    usage.bytes += bytes;
                    usage.pipelines.push((pipeline, bytes, MAX_BYTES as u64));
                    usage.lanes.extend(lanes);
                }
                Err(problem) => tracing::warn!(problem, "stored dead letters cannot be counted"),
            }
        }
        Ok(usage)
    }
}

impl DeadLetterStore for SecretStore {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        let mut pipelines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for dead_letter in dead_letters {
            write_line(dead_letter, pipelines.entry(&*dead_letter.lane.pipeline).or_default());
        }
        Box::pin(async move {
            for (pipeline, lines) in pipelines {
                self.append(pipeline, lines).await?;
            }
            Ok(())
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Option<StoreFill>, DeadLetterError>> {
        Box::pin(async { self.measure().await.map(Some).map_err(|error| self.failed(error)) })
    }
}

/// The dead letters of one pipeline.
#[derive(Debug)]
pub struct SecretPartition {
    secrets: Arc<SecretObjects>,
    /// Name of the Secret to be read; `None` once it is read. An error if the list shows already that it cannot be
    /// read.
    unread: Option<Result<String, String>>,
    pipeline: String,
    lines: VecDeque<Vec<u8>>,
    /// Digests of the dead letters that were read, by their numbers.
    digests: HashMap<u64, LineDigest>,
    next: u64,
}

impl SecretPartition {
    /// Returns the partitions of all pipelines.
    ///
    /// # Errors
    /// If the API server does not answer, or there are Secrets of an earlier build.
    pub async fn all(kubernetes: &Kubernetes, instance: &str) -> io::Result<Vec<Self>> {
        let secrets = Arc::new(SecretObjects::new(kubernetes, instance));
        let listed = secrets.list().await.map_err(io::Error::other)?;
        let partition = |(name, listed): (String, Result<ListedSecret, String>)| {
            let (pipeline, unread) = match listed {
                Ok(listed) => (listed.pipeline, Ok(name)),
                Err(problem) => (String::new(), Err(problem)),
            };
            Self {
                secrets: secrets.clone(),
                unread: Some(unread),
                pipeline,
                lines: VecDeque::new(),
                digests: HashMap::new(),
                next: 0,
            }
        };
        Ok(listed.into_iter().map(partition).collect())
    }

    pub async fn next(&mut self) -> Option<io::Result<(u64, StoredDeadLetter)>> {
        if let Some(unread) = self.unread.take() {
            let read = match unread {
                Ok(name) => self.secrets.lines(&name).await,
                Err(problem) => Err(SecretObjectError::Unreadable(problem)),
            };
            match read {
                Ok(lines) => self.lines.extend(gzip::lines(&lines).map(<[u8]>::to_vec)),
                Err(error @ SecretObjectError::Unreadable(_)) => {
                    return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
        let line = self.lines.pop_front()?;
        let number = self.next;
        self.next += 1;
        Some(match parse_line(line.trim_ascii_end()) {
            Ok(dead_letter) => {
                self.digests.insert(number, digest(&line));
                Ok((number, dead_letter))
            }
            Err(problem) => {
                let SecretObjects { namespace, .. } = &*self.secrets;
                let name = self.secrets.name(&self.pipeline);
                let place = format!("the Secret {namespace}/{name}, dead letter {}: {problem}", number + 1);
                Err(io::Error::new(io::ErrorKind::InvalidData, place))
            }
        })
    }

    /// Removes the dead letters if they are still there: another command may have removed them, or a worker kept them
    /// again.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<usize> {
        let digests: HashSet<LineDigest> = numbers.iter().filter_map(|number| self.digests.remove(number)).collect();
        if digests.is_empty() {
            return Ok(0);
        }
        let digests = Arc::new(digests);
        let without = move |lines: &[u8]| {
            let is_left = |line: &&[u8]| !digests.contains(&digest(line));
            gzip::lines(lines).filter(is_left).flatten().copied().collect()
        };
        self.secrets.change(&self.pipeline, without).await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use s1_forwarder_engine::dead_letters::DeadLetters;
    use s1_forwarder_record::{Identity, Stream};
    use s1_forwarder_settings::kubernetes::double::{self, ApiServer};

    /// A Secret of an earlier release. Compressed bytes may differ between releases of the library.
    #[tokio::test]
    async fn a_golden_secret_is_read_and_written_alike() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts/stores");
        let lines = fs::read(golden.join("dead-letters-2.jsonl")).unwrap();
        let path = golden.join("dead-letters-secret-1.json");
        let written = ApiServer::with(Vec::new()).await;
        let added = lines.clone();
        let secrets = SecretObjects::new(&written.kubernetes, "s1-forwarder");
        secrets.change("acme", move |_| added.clone()).await.unwrap();
        let mut object = written.objects.lock().values().next().cloned().unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
            fs::write(&path, serde_json::to_vec_pretty(&object).unwrap()).unwrap();
        }
        let mut stored: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();

        let server = ApiServer::with(vec![stored.clone()]).await;
        let secrets = SecretObjects::new(&server.kubernetes, "s1-forwarder");
        let name = double::name(&stored);
        assert!(secrets.lines(&name).await.unwrap() == lines);
        let read = secrets.read(&name).await.unwrap().unwrap();
        let listed = secrets.listed(&read.secret.metadata).unwrap().unwrap();
        assert_eq!((listed.pipeline.as_str(), listed.lanes.into_values().sum::<u64>()), ("acme", 3));

        for secret in [&mut object, &mut stored] {
            secret["data"][DATA].take();
            secret["metadata"]["annotations"][BYTES].take();
        }
        assert_eq!(object, stored, "another form needs another version");
    }

    /// A sink that refuses a part of one large batch makes such dead letters.
    #[tokio::test]
    async fn the_dead_letters_of_a_batch_that_fit_are_stored_and_the_number_is_returned() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut event = |length| (0..length).map(|_| random.alphanumeric()).collect::<String>();
        let events: Vec<String> = (0..40).map(|_| event(50_000)).collect();
        let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
        let [acme, globex] = ["acme", "globex"].map(|pipeline| LaneId::new(pipeline, Stream::Threats, "siem"));
        let letter = |event: usize| DeadLetter {
            identity: Identity::of("console.example", Stream::Threats, &ids[event], ""),
            record_id: &ids[event],
            ..DeadLetter::sample(&acme, events[event].as_bytes())
        };
        let refused: Vec<_> = (0..40).map(letter).collect();
        let server = ApiServer::with(Vec::new()).await;
        let dead_letters = DeadLetters::in_store(SecretStore::connected(&server.kubernetes, "s1-forwarder"), "");
        let (stored, error) = dead_letters.keep(&refused).await.unwrap_err();
        assert!(matches!(error, DeadLetterError::SecretFull { .. }), "{error}");
        let secrets = SecretObjects::new(&server.kubernetes, "s1-forwarder");
        let lines = secrets.lines(&secrets.name("acme")).await.unwrap();
        let kept: Vec<_> =
            gzip::lines(&lines).map(|line| parse_line(line.trim_ascii_end()).unwrap().record_id).collect();
        assert!((15..=20).contains(&stored) && kept == ids[..stored], "{stored} {kept:?}");

        // No purge makes room for this dead letter.
        let huge = event(1_200_000);
        let alone = [DeadLetter::sample(&globex, huge.as_bytes())];
        let (stored, error) = dead_letters.keep(&alone).await.unwrap_err();
        assert!(stored == 0 && matches!(error, DeadLetterError::LargerThanSecret { .. }), "{error}");
    }
}
