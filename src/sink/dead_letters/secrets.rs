//! Secrets with dead letters: their names, their form, and how they are read and changed.
//!
//! `INSTANCE-dead-letters-HASH-NUMBER` has dead letters of one pipeline, whose name is in an annotation. Every change
//! names the version that was read. A dead letter that is too large for a Secret is in several: the first one has the
//! number of parts, and part K is in `INSTANCE-dead-letters-HASH-NUMBER-K`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use sha2::{Digest, Sha256};

use super::gzip;
use super::line::{StoredDeadLetter, parse_line};
use crate::settings::kubernetes::{Kubernetes, KubernetesError, object_labels, selector};

/// Maximum bytes in one Secret. The API server allows 1 MiB, and an append writes all of it again.
pub const MAX_BYTES: usize = 256 << 10;
/// What a Secret counts in addition to its dead letters, for its names and labels.
const OVERHEAD: u64 = 1 << 10;
/// Secrets per page of a list.
const PAGE: u32 = 500;
/// Attempts at a change while other processes change the same Secret.
pub const ATTEMPTS: usize = 16;

const KIND: &str = "dead-letters";
const PIPELINE: &str = "s1-forwarder/pipeline";
const BYTES: &str = "s1-forwarder/bytes";
const PARTS: &str = "s1-forwarder/parts";
const PART_OF: &str = "s1-forwarder/part-of";
const DATA: &str = "dead-letters.ndjson.gz";

/// The Secrets with dead letters of one installation.
#[derive(Debug)]
pub struct Secrets {
    api: Api<Secret>,
    instance: String,
    namespace: String,
}

/// A Secret in a list.
#[derive(Debug, Clone)]
pub struct ListedSecret {
    pub pipeline: String,
    /// What it counts.
    pub bytes: u64,
    /// The Secret in which the dead letter begins that this one continues.
    part_of: Option<String>,
}

/// A Secret that was read, and its lines.
struct ReadSecret {
    secret: Secret,
    lines: Vec<u8>,
}

/// The last Secret of a pipeline, to which dead letters can be appended.
pub struct OpenSecret(ReadSecret);

impl OpenSecret {
    pub fn lines(&self) -> &[u8] {
        &self.0.lines
    }

    pub fn counted_bytes(&self) -> u64 {
        ListedSecret::of(&self.0.secret.metadata).bytes
    }
}

impl Secrets {
    pub fn new(kubernetes: &Kubernetes, instance: &str) -> Self {
        let Kubernetes { client, namespace } = kubernetes;
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, instance: instance.to_owned(), namespace: namespace.clone() }
    }

    /// The name of a pipeline's Secret. Names of objects allow fewer characters than names of pipelines.
    pub fn name(&self, pipeline: &str, number: u64) -> String {
        format!("{}-dead-letters-{}-{number:08}", self.instance, hex::encode(&Sha256::digest(pipeline)[..10]))
    }

    /// All Secrets, by name. The names of one pipeline are in order.
    pub async fn list(&self) -> Result<BTreeMap<String, ListedSecret>, KubernetesError> {
        let mut parameters = ListParams::default().labels(&selector(&self.instance, KIND)).limit(PAGE);
        let mut listed = BTreeMap::new();
        loop {
            let page = KubernetesError::of(self.api.list_metadata(&parameters)).await?;
            listed.extend(page.iter().map(|secret| (secret.name_any(), ListedSecret::of(&secret.metadata))));
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => parameters = parameters.continue_token(&more),
                None => return Ok(listed),
            }
        }
    }

    /// The Secret of this name, if it exists, is not damaged, and is not one of several parts.
    pub async fn open(&self, name: &str) -> Result<Option<OpenSecret>, KubernetesError> {
        match self.read(name).await {
            Ok(read) => Ok(read.filter(|read| parts(&read.secret) == 1).map(OpenSecret)),
            Err(ReadError::Damaged { reason, .. }) => {
                tracing::error!(
                    secret = name,
                    reason,
                    "stored dead letters are damaged: new ones go to another Secret"
                );
                Ok(None)
            }
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<ReadSecret>, ReadError> {
        let Some(secret) = KubernetesError::of(self.api.get_opt(name)).await? else { return Ok(None) };
        let mut compressed = data(&secret).to_vec();
        let parts = parts(&secret);
        for part in 1..parts {
            let part_name = part_name(name, part);
            let Some(part) = KubernetesError::of(self.api.get_opt(&part_name)).await? else {
                return Err(ReadError::Damaged { reason: format!("its part {part_name} is missing"), parts });
            };
            compressed.extend_from_slice(data(&part));
        }
        let lines = blocking(move || gzip::decompress(&compressed)).await;
        let lines = lines.map_err(|error| ReadError::Damaged { reason: error.to_string(), parts })?;
        Ok(Some(ReadSecret { secret, lines }))
    }

    /// Replaces the content of a Secret.
    pub async fn replace(
        &self,
        open: OpenSecret,
        compressed: Vec<u8>,
    ) -> Result<(String, ListedSecret), KubernetesError> {
        self.put(open.0.secret, compressed).await
    }

    async fn put(&self, mut secret: Secret, compressed: Vec<u8>) -> Result<(String, ListedSecret), KubernetesError> {
        secret.annotations_mut().insert(BYTES.to_owned(), compressed.len().to_string());
        secret.data = Some([(DATA.to_owned(), ByteString(compressed))].into());
        let name = secret.name_any();
        let replaced = KubernetesError::of(self.api.replace(&name, &PostParams::default(), &secret)).await?;
        Ok((name, ListedSecret::of(&replaced.metadata)))
    }

    /// Creates a Secret, in several parts if it is too large for one; returns each name and what it counts.
    pub async fn create(
        &self,
        pipeline: &str,
        number: u64,
        compressed: &[u8],
    ) -> Result<Vec<(String, ListedSecret)>, KubernetesError> {
        let name = self.name(pipeline, number);
        let parts = compressed.chunks(MAX_BYTES);
        let count = parts.len();
        let mut created = Vec::new();
        for (part, bytes) in parts.enumerate() {
            let mut annotations = vec![(PIPELINE, pipeline.to_owned()), (BYTES, bytes.len().to_string())];
            annotations.extend((count > 1 && part == 0).then(|| (PARTS, count.to_string())));
            annotations.extend((part > 0).then(|| (PART_OF, name.clone())));
            let metadata = ObjectMeta {
                name: Some(if part == 0 { name.clone() } else { part_name(&name, part) }),
                labels: Some(object_labels(&self.instance, KIND)),
                annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
                ..ObjectMeta::default()
            };
            let data = Some([(DATA.to_owned(), ByteString(bytes.to_vec()))].into());
            let secret = Secret { metadata, data, ..Secret::default() };
            match KubernetesError::of(self.api.create(&PostParams::default(), &secret)).await {
                Ok(secret) => created.push((secret.name_any(), ListedSecret::of(&secret.metadata))),
                Err(error) => {
                    // An incomplete dead letter is not kept. The first part goes last: it names the others.
                    for (name, _) in created.iter().rev() {
                        if KubernetesError::of(self.api.delete(name, &DeleteParams::default())).await.is_err() {
                            break;
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(created)
    }

    /// Removes lines by their digests, and returns how many. A Secret without lines is deleted.
    async fn remove(&self, name: &str, digests: &HashSet<LineDigest>) -> Result<usize, ReadError> {
        for _ in 0..ATTEMPTS {
            let Some(ReadSecret { secret, lines }) = self.read(name).await? else { return Ok(0) };
            let is_left = |line: &&[u8]| !digests.contains(&digest(line));
            let left: Vec<u8> = gzip::lines(&lines).filter(is_left).flatten().copied().collect();
            let removed = gzip::lines(&lines).count() - gzip::lines(&left).count();
            if removed == 0 {
                return Ok(0);
            }
            let changed = if left.is_empty() {
                self.delete(&secret).await
            } else {
                let compressed = blocking(move || gzip::compress(&left)).await;
                let compressed =
                    compressed.map_err(|error| ReadError::Damaged { reason: error.to_string(), parts: 1 })?;
                self.put(secret, compressed).await.map(drop)
            };
            match changed {
                Ok(()) => return Ok(removed),
                // A lane has appended dead letters meanwhile.
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReadError::Failed(KubernetesError::Unreachable(format!("other processes keep changing the Secret {name}"))))
    }

    /// Deletes the version that was read. Its further parts go first: without them, the rest shows that it is damaged.
    async fn delete(&self, secret: &Secret) -> Result<(), KubernetesError> {
        let name = secret.name_any();
        for part in 1..parts(secret) {
            let (part, parameters) = (part_name(&name, part), DeleteParams::default());
            match KubernetesError::of(self.api.delete(&part, &parameters)).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        let preconditions = Preconditions { resource_version: secret.resource_version(), uid: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        KubernetesError::of(self.api.delete(&name, &parameters)).await.map(drop)
    }

    fn io_error(&self, name: &str, error: ReadError) -> io::Error {
        match error {
            ReadError::Failed(error) => io::Error::other(error),
            ReadError::Damaged { reason, parts } => {
                let Self { namespace, .. } = self;
                let further: String = (1..parts).map(|part| format!(" {}", part_name(name, part))).collect();
                let text = format!(
                    "the Secret {namespace}/{name} is damaged: {reason}; `kubectl -n {namespace} delete secret \
                     {name}{further}` discards its dead letters"
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            }
        }
    }
}

enum ReadError {
    Damaged {
        reason: String,
        /// Number of Secrets that it has.
        parts: usize,
    },
    Failed(KubernetesError),
}

impl From<KubernetesError> for ReadError {
    fn from(error: KubernetesError) -> Self {
        Self::Failed(error)
    }
}

impl ListedSecret {
    /// The number in its name, without that of the part, and the name up to there.
    pub fn number<'a>(&'a self, name: &'a str) -> Option<(u64, &'a str)> {
        let name = self.part_of.as_deref().unwrap_or(name);
        Some((name.rsplit('-').next()?.parse().ok()?, name))
    }

    fn of(metadata: &ObjectMeta) -> Self {
        let annotation = |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name));
        let bytes = annotation(BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(MAX_BYTES);
        Self {
            pipeline: annotation(PIPELINE).cloned().unwrap_or_default(),
            bytes: counted_bytes(bytes),
            part_of: annotation(PART_OF).cloned(),
        }
    }
}

/// What a Secret with so many bytes of dead letters counts.
pub fn counted_bytes(bytes: usize) -> u64 {
    OVERHEAD.saturating_add(bytes as u64)
}

fn part_name(name: &str, part: usize) -> String {
    format!("{name}-{part}")
}

fn parts(secret: &Secret) -> usize {
    secret.annotations().get(PARTS).and_then(|parts| parts.parse().ok()).unwrap_or(1)
}

fn data(secret: &Secret) -> &[u8] {
    secret.data.as_ref().and_then(|data| data.get(DATA)).map_or(&[], |data| &data.0)
}

/// Runs what takes long on another thread.
pub async fn blocking<T: Send + 'static>(task: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(task).await.unwrap_or_else(|_| Err(io::Error::other("the task ended early")))
}

type LineDigest = [u8; 32];

fn digest(line: &[u8]) -> LineDigest {
    Sha256::digest(line).into()
}

/// The dead letters of one pipeline.
#[derive(Debug)]
pub struct SecretPartition {
    secrets: Arc<Secrets>,
    /// Names of the Secrets that are still to be read.
    unread: VecDeque<String>,
    /// The Secret that is being read, and its lines.
    current: Arc<str>,
    lines: VecDeque<Vec<u8>>,
    /// Where the dead letters that were read are, by their numbers.
    places: HashMap<u64, (Arc<str>, LineDigest)>,
    next: u64,
}

impl SecretPartition {
    /// The partitions of all pipelines.
    pub async fn all(kubernetes: &Kubernetes, instance: &str) -> io::Result<Vec<Self>> {
        let secrets = Arc::new(Secrets::new(kubernetes, instance));
        let mut names: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
        let listed = secrets.list().await.map_err(io::Error::other)?;
        for (name, secret) in listed.into_iter().filter(|(_, secret)| secret.part_of.is_none()) {
            names.entry(secret.pipeline).or_default().push_back(name);
        }
        let partition = |unread| Self {
            secrets: secrets.clone(),
            unread,
            current: "".into(),
            lines: VecDeque::new(),
            places: HashMap::new(),
            next: 0,
        };
        Ok(names.into_values().map(partition).collect())
    }

    pub async fn next(&mut self) -> Option<io::Result<(u64, StoredDeadLetter)>> {
        let line = loop {
            if let Some(line) = self.lines.pop_front() {
                break line;
            }
            self.current = self.unread.pop_front()?.into();
            match self.secrets.read(&self.current).await {
                Ok(read) => {
                    self.lines.extend(read.iter().flat_map(|read| gzip::lines(&read.lines)).map(<[u8]>::to_vec))
                }
                Err(error) => return Some(Err(self.secrets.io_error(&self.current, error))),
            }
        };
        let number = self.next;
        self.next += 1;
        Some(match parse_line(line.trim_ascii_end()) {
            Ok(dead_letter) => {
                self.places.insert(number, (self.current.clone(), digest(&line)));
                Ok((number, dead_letter))
            }
            Err(reason) => Err(self.secrets.io_error(&self.current, ReadError::Damaged { reason, parts: 1 })),
        })
    }

    pub async fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<usize> {
        let mut places: BTreeMap<Arc<str>, HashSet<LineDigest>> = BTreeMap::new();
        for (name, digest) in numbers.iter().filter_map(|number| self.places.remove(number)) {
            places.entry(name).or_default().insert(digest);
        }
        let mut removed = 0;
        for (name, digests) in places {
            let count = self.secrets.remove(&name, &digests).await;
            removed += count.map_err(|error| self.secrets.io_error(&name, error))?;
        }
        Ok(removed)
    }
}
