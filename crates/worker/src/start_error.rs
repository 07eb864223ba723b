//! The error of a worker that cannot start.

use s1_forwarder_engine::checkpoint::StateError;

use crate::cluster::ClusterError;

/// A worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}
