//! Assigns pipelines to workers.
//!
//! Pipelines hash into shards. Each shard has a Lease object, which at most one worker holds. `plan` decides on calls,
//! `leases` sends them to the API server, and `member` runs both and reports changes to the supervisor.

#[cfg(feature = "kubernetes")]
mod api_health;
#[cfg(feature = "kubernetes")]
mod leases;
#[cfg(feature = "kubernetes")]
mod member;
#[cfg(feature = "kubernetes")]
mod plan;

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::console;
use s1_forwarder_engine::sink::Deadline;
use s1_forwarder_telemetry::Telemetry;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The namespace of the leases. The default is the worker's own.
    pub namespace: Option<String>,
    /// `--shards`.
    pub shards: u32,
    /// `--lease`.
    pub lease: Duration,
    /// `HOST:PORT` at which other workers reach this one's HTTP endpoints.
    pub address: Option<String>,
}

/// A worker cannot join the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server does not answer, or refuses.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] s1_forwarder_settings::kubernetes::KubernetesError),
    #[error(
        "this installation has {agreed} shards, not {asked}: start with --shards {agreed}. To change it, stop all workers, \
         delete the ConfigMap {object}, and start them with the new number"
    )]
    Shards {
        agreed: u32,
        /// From the command line.
        asked: u32,
        /// Name of the ConfigMap with the number of shards.
        object: String,
    },
    #[error("this build of s1-forwarder has no support for --cluster kubernetes")]
    NotBuilt,
}

impl ClusterError {
    /// True if a later attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// A change of this worker's shards, for the supervisor.
#[derive(Debug)]
pub enum Change {
    /// This worker has the shard. Its lanes may deliver until the deadline, which renewals of the lease extend.
    Acquired(u32, Deadline),
    /// The lanes of the shard have to drain. The supervisor answers with [`Drained`].
    Drain(u32),
    /// The lanes of the shard have to end at once.
    Lost(u32),
}

/// All lanes of the shard have ended.
#[derive(Debug)]
pub struct Drained(pub u32);

/// The membership of this worker.
#[derive(Debug)]
pub struct Cluster {
    /// Number of shards.
    pub shards: u32,
    /// Closed when the worker has left and released its leases.
    pub changes: mpsc::Receiver<Change>,
    /// For the answer to [`Change::Drain`].
    pub drained: mpsc::Sender<Drained>,
    leave: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Joins the cluster. The name of the `worker` must be different after a restart.
    ///
    /// # Errors
    /// If the API server does not answer or refuses, or the installation has another number of shards.
    #[cfg(feature = "kubernetes")]
    pub async fn join(
        settings: &ClusterSettings,
        instance: &str,
        worker: &str,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, ClusterError> {
        member::join(settings, instance, worker, telemetry).await
    }

    /// # Errors
    /// Always: this build has no support for clusters.
    #[cfg(not(feature = "kubernetes"))]
    pub async fn join(_: &ClusterSettings, _: &str, _: &str, _: Arc<Telemetry>) -> Result<Self, ClusterError> {
        Err(ClusterError::NotBuilt)
    }

    /// Acquires no more shards, and drains all shards of this worker.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// The shard of a pipeline with these settings. Pipelines with the same console and token share a request limit, so
    /// they must be in one shard.
    pub fn shard_of(&self, settings: &console::ConsoleSettings) -> u32 {
        let text = format!("{}\n{}", settings.url.host(), settings.token.first().reference());
        shard_of_text(&text, self.shards)
    }
}

/// One of `shards`, the same for each worker.
pub(super) fn shard_of_text(text: &str, shards: u32) -> u32 {
    let digest = Sha256::digest(text);
    let number = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u32::try_from(number % u64::from(shards.max(1))).unwrap_or_default()
}
