//! Which pipelines are this worker's, where several share them.
//!
//! Pipelines hash into shards; each shard is a Lease that one worker holds. `plan` decides, `leases` talks to the API
//! server, `member` brings the two together, and the supervisor is told what changes.

#[cfg(feature = "kubernetes")]
mod leases;
#[cfg(feature = "kubernetes")]
mod member;
#[cfg(feature = "kubernetes")]
mod plan;
#[cfg(feature = "kubernetes")]
mod reach;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::console;
use crate::sink::Deadline;
use crate::telemetry::Telemetry;

/// How workers share pipelines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace of the leases; without one the worker's own.
    pub namespace: Option<String>,
    /// `--shards`.
    pub shards: u32,
    /// `--lease`.
    pub lease: Duration,
}

/// A worker cannot join the others.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server does not answer, or does not allow it.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] crate::settings::kubernetes::KubernetesError),
    /// The installation has another number of shards.
    #[error(
        "this installation has {agreed} shards, not {asked}: start with --shards {agreed}. To change it, stop all workers, \
         delete the ConfigMap {object}, and start them with the new number"
    )]
    Shards {
        /// What the store says.
        agreed: u32,
        /// What the command line says.
        asked: u32,
        /// Where the store says it.
        object: String,
    },
    /// This build leaves it out.
    #[error("this build of s1-forwarder has no support for --cluster kubernetes")]
    NotBuilt,
}

impl ClusterError {
    /// The same may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(error) => error.is_passing(),
            _ => false,
        }
    }
}

/// What the supervisor is told.
#[derive(Debug)]
pub enum Change {
    /// The shard is this worker's; its lanes may run, and deliver until the deadline, which moves on.
    Acquired(u32, Deadline),
    /// Its lanes are to drain; [`Drained`] is to be told then.
    GiveUp(u32),
    /// Its lanes are to end at once.
    Lost(u32),
}

/// The lanes of this shard have ended.
#[derive(Debug)]
pub struct Drained(pub u32);

/// This worker among the others.
#[derive(Debug)]
pub struct Cluster {
    /// Number of shards.
    pub shards: u32,
    /// What changes; ends when the worker has left and given everything back.
    pub changes: mpsc::Receiver<Change>,
    /// Takes the answer to [`Change::GiveUp`].
    pub drained: mpsc::Sender<Drained>,
    leave: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Joins the others. `me` is this worker's name, unique over restarts.
    ///
    /// # Errors
    /// When the API server does not answer, or the others have another number of shards.
    #[cfg(feature = "kubernetes")]
    pub async fn join(
        settings: &Settings,
        instance: &str,
        me: &str,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, ClusterError> {
        member::join(settings, instance, me, telemetry).await
    }

    /// This build has no workers that share.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "kubernetes"))]
    pub async fn join(_: &Settings, _: &str, _: &str, _: Arc<Telemetry>) -> Result<Self, ClusterError> {
        Err(ClusterError::NotBuilt)
    }

    /// Takes nothing more, and asks for all shards to be drained.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// The shard of what is pulled with these settings: all that shares a console and a token, and with them a limit of
    /// requests, is with one worker.
    pub fn shard_of(&self, settings: &console::Settings) -> u32 {
        let digest = Sha256::digest(format!("{}\n{}", settings.url.host(), settings.token.first().reference()));
        let number = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        u32::try_from(number % u64::from(self.shards.max(1))).unwrap_or_default()
    }
}
