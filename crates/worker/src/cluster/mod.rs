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
mod membership;
#[cfg(feature = "kubernetes")]
mod plan;
mod settings;

use std::sync::Arc;

use s1_forwarder_telemetry::Telemetry;

pub use membership::{Drained, Membership, ShardChange, shard_of_text};
pub use settings::{ClusterError, ClusterSettings};

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
) -> Result<Membership, ClusterError> {
    member::join(settings, instance, worker, telemetry).await
}

/// Fails: this build has no support for clusters.
///
/// # Errors
/// Always fails.
#[cfg(not(feature = "kubernetes"))]
pub async fn join(_: &ClusterSettings, _: &str, _: &str, _: Arc<Telemetry>) -> Result<Membership, ClusterError> {
    Err(ClusterError::NotBuilt)
}
