//! Flags for workers that share pipelines.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::UsageError;
use crate::settings::Period;
use crate::state::Location;
use crate::worker::cluster;

#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// How workers share pipelines [default: kubernetes with --state kubernetes:, else none]
    ///
    /// With none, every worker runs all its pipelines. With kubernetes, a pipeline's console and token determine its
    /// shard, and one worker holds the Lease of each shard.
    #[arg(long, value_enum, value_name = "MODE", env = "S1_FORWARDER_CLUSTER")]
    cluster: Option<Mode>,

    /// Number of shards, which is the maximum of workers that can share the work
    ///
    /// The first worker of an installation stores the number. A worker with another number is refused from then on.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096), env = "S1_FORWARDER_SHARDS")]
    shards: u32,

    /// Time after a worker's last sign of life until other workers take over its shards
    ///
    /// A worker renews its leases after one third of this time. If it cannot, it stops delivering after two thirds.
    #[arg(long, value_name = "PERIOD", default_value = "15s", value_parser = lease, env = "S1_FORWARDER_LEASE")]
    lease: Period,
}

/// The values of `--cluster`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Workers do not share pipelines.
    None,
    /// Workers share pipelines through Lease objects.
    Kubernetes,
}

fn lease(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: crate::settings::PeriodError| error.to_string())?;
    if period.0 < Duration::from_secs(1) {
        return Err("the minimum is 1s".to_owned());
    }
    Ok(period)
}

impl ClusterArgs {
    /// The settings of a worker with this state; `None` if it shares no pipelines. `once` is `run --once`.
    ///
    /// # Errors
    /// If the flags contradict each other.
    pub fn settings(&self, state: &Location, once: bool) -> Result<Option<cluster::ClusterSettings>, UsageError> {
        let namespace = match state {
            Location::Kubernetes(namespace) => Some(namespace.clone()),
            _ => None,
        };
        let default = if namespace.is_some() && !once { Mode::Kubernetes } else { Mode::None };
        if self.cluster.unwrap_or(default) == Mode::None {
            return Ok(None);
        }
        if once {
            return Err(UsageError("--once cannot be combined with --cluster kubernetes".to_owned()));
        }
        if let Location::File(_) = state {
            let reason = "workers that share pipelines need a state store that all of them can reach";
            return Err(UsageError(format!(
                "--cluster kubernetes with --state {state}: {reason}; use --state kubernetes:"
            )));
        }
        let namespace = namespace.flatten();
        Ok(Some(cluster::ClusterSettings { namespace, shards: self.shards, lease: self.lease.0 }))
    }
}
