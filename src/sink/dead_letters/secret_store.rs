//! Dead letters in Secrets: a small store that pipelines share fairly, and that needs nothing but the API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::dead_letter::{DeadLetter, DeadLetterError, DeadLetterStore, Usage};
use super::gzip;
use super::line::write_line;
use super::secrets::{ATTEMPTS, ListedSecret, MAX_BYTES, OpenSecret, Secrets, blocking, counted_bytes};
use super::shares::Shares;
use crate::failure::{Failure, LastFailure};
use crate::settings::kubernetes::{Kubernetes, KubernetesError};

/// The Secrets are listed again after this time, since other workers also write them.
const LIST_AFTER: Duration = Duration::from_secs(5);

/// [`DeadLetterError::ShareFull::more_room`].
const USE_KAFKA: &str = "store dead letters in Kafka (--dead-letters kafka://BROKERS/TOPIC)";

/// A store that all workers of an installation share.
#[derive(Debug)]
pub struct SecretStore {
    namespace: Option<String>,
    instance: String,
    max: u64,
    secrets: OnceCell<Secrets>,
    listing: Mutex<Listing>,
}

#[derive(Debug, Default)]
struct Listing {
    /// The time of the list. `None` if it is out of date.
    at: Option<Instant>,
    secrets: BTreeMap<String, ListedSecret>,
    /// The last failed list.
    failed: LastFailure,
}

/// What one pipeline has, and may have.
struct Share {
    listed_at: Instant,
    used: u64,
    max: u64,
    /// Number and name of the pipeline's last Secret.
    last: Option<(u64, String)>,
}

/// A change that adds dead letters.
enum Change {
    Append {
        open: Box<OpenSecret>,
        compressed: Vec<u8>,
    },
    /// New Secrets, each with one of these pieces.
    Create(Vec<Vec<u8>>),
}

impl SecretStore {
    /// Default of the maximum in bytes. The dead letters are in etcd, which holds all of the cluster's objects.
    pub const DEFAULT_MAX: u64 = 4 << 20;

    /// Connects with the first call. Without a namespace, the one of the kubeconfig or of the pod is used.
    pub fn new(namespace: Option<String>, instance: &str, max: u64) -> Self {
        Self { namespace, instance: instance.to_owned(), max, secrets: OnceCell::new(), listing: Mutex::default() }
    }

    /// A store with this access to the API server.
    pub fn connected(kubernetes: &Kubernetes, instance: &str, max: u64) -> Self {
        let store = Self::new(Some(kubernetes.namespace.clone()), instance, max);
        Self { secrets: OnceCell::from(Secrets::new(kubernetes, instance)), ..store }
    }

    fn place(&self) -> String {
        format!("kubernetes:{}", self.namespace.as_deref().unwrap_or_default())
    }

    fn failed(&self, failure: impl Into<Failure>) -> DeadLetterError {
        DeadLetterError::Failed { place: self.place(), failure: failure.into() }
    }

    async fn secrets(&self) -> Result<&Secrets, KubernetesError> {
        let connect = async || {
            let kubernetes = Kubernetes::connect(self.namespace.as_deref()).await?;
            Ok(Secrets::new(&kubernetes, &self.instance))
        };
        self.secrets.get_or_try_init(connect).await
    }

    /// Calls `read` with the list of Secrets and its time.
    async fn listed<T>(
        &self,
        read: impl FnOnce(Instant, &BTreeMap<String, ListedSecret>) -> T,
    ) -> Result<T, DeadLetterError> {
        let called_at = Instant::now();
        let mut listing = self.listing.lock().await;
        let at = match listing.at.filter(|at| at.elapsed() < LIST_AFTER) {
            Some(at) => at,
            None => {
                if let Some(failure) = listing.failed.after(called_at) {
                    return Err(self.failed(failure));
                }
                let now = Instant::now();
                let listed = async { self.secrets().await?.list().await }.await;
                let listed = listed.map_err(Failure::from);
                listing.failed.ended(&listed);
                listing.secrets = listed.map_err(|failure| self.failed(failure))?;
                listing.at = Some(now);
                now
            }
        };
        Ok(read(at, &listing.secrets))
    }

    async fn list_again(&self) {
        self.listing.lock().await.at = None;
    }

    fn shares(&self, secrets: &BTreeMap<String, ListedSecret>) -> Shares {
        Shares::new(self.max, secrets.values().map(|secret| (secret.pipeline.clone(), secret.bytes)))
    }

    async fn share(&self, pipeline: &str) -> Result<Share, DeadLetterError> {
        self.listed(|listed_at, secrets| {
            let own = || secrets.iter().filter(|(_, secret)| secret.pipeline == pipeline);
            let shares = self.shares(secrets);
            let last = own().filter_map(|(name, secret)| secret.number(name)).max();
            let last = last.map(|(number, name)| (number, name.to_owned()));
            Share { listed_at, used: shares.used(pipeline), max: shares.share(pipeline), last }
        })
        .await
    }

    async fn append(&self, pipeline: &str, lines: &Arc<[u8]>) -> Result<(), DeadLetterError> {
        let called_at = Instant::now();
        for _ in 0..ATTEMPTS {
            let share = self.share(pipeline).await?;
            let change = self.change(&share, lines.clone()).await?;
            if share.used.saturating_add(change.growth()) > share.max {
                if share.listed_at < called_at {
                    self.list_again().await;
                    continue;
                }
                let (place, pipeline) = (self.place(), pipeline.to_owned());
                return Err(DeadLetterError::ShareFull {
                    place,
                    pipeline,
                    share: share.max,
                    max: self.max,
                    more_room: USE_KAFKA,
                });
            }
            match self.write(pipeline, &share, change).await {
                Ok(written) => {
                    self.listing.lock().await.secrets.extend(written);
                    return Ok(());
                }
                Err(error) => {
                    self.list_again().await;
                    // After a conflict, the change of another worker or command is read, and the dead letters are
                    // added to it.
                    if !error.is_conflict() && !error.is_not_found() {
                        return Err(self.failed(error));
                    }
                }
            }
        }
        Err(self.failed(Failure::transient("other processes keep changing the same Secret")))
    }

    async fn change(&self, share: &Share, lines: Arc<[u8]>) -> Result<Change, DeadLetterError> {
        let secrets = self.secrets().await.map_err(|error| self.failed(error))?;
        let open = match &share.last {
            Some((_, name)) => secrets.open(name).await.map_err(|error| self.failed(error))?,
            None => None,
        };
        let change = move || {
            if let Some(open) = open {
                let compressed = gzip::compress(&gzip::append(open.lines(), &lines))?;
                if compressed.len() <= MAX_BYTES {
                    return Ok(Change::Append { open: Box::new(open), compressed });
                }
            }
            Ok(Change::Create(gzip::pieces(&lines, MAX_BYTES)?))
        };
        blocking(change).await.map_err(|error| self.failed(Failure::transient(error.to_string())))
    }

    async fn write(
        &self,
        pipeline: &str,
        share: &Share,
        change: Change,
    ) -> Result<Vec<(String, ListedSecret)>, KubernetesError> {
        let secrets = self.secrets().await?;
        match change {
            Change::Append { open, compressed } => Ok(vec![secrets.replace(*open, compressed).await?]),
            Change::Create(pieces) => {
                let first = share.last.as_ref().map_or(0, |(number, _)| number + 1);
                let mut written = Vec::new();
                for (number, piece) in (first..).zip(pieces) {
                    written.extend(secrets.create(pipeline, number, &piece).await?);
                }
                Ok(written)
            }
        }
    }
}

impl Change {
    /// Bytes that the pipeline's Secrets count more after the change.
    fn growth(&self) -> u64 {
        match self {
            Self::Append { open, compressed } => counted_bytes(compressed.len()).saturating_sub(open.counted_bytes()),
            Self::Create(pieces) => {
                pieces.iter().flat_map(|piece| piece.chunks(MAX_BYTES)).map(<[u8]>::len).map(counted_bytes).sum()
            }
        }
    }
}

impl DeadLetterStore for SecretStore {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        let mut pipelines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for dead_letter in dead_letters {
            write_line(dead_letter, pipelines.entry(dead_letter.pipeline).or_default());
        }
        Box::pin(async move {
            for (pipeline, lines) in pipelines {
                self.append(pipeline, &lines.into()).await?;
            }
            Ok(())
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Option<Usage>, DeadLetterError>> {
        Box::pin(self.listed(|_, secrets| Some(self.shares(secrets).usage())))
    }
}
