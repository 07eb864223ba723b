//! The settings of a cluster of workers, and the error of one that cannot join.

use std::time::Duration;

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
    /// Returns whether a later attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(error) => error.is_transient(),
            _ => false,
        }
    }
}
