//! How workers share pipelines, as flags.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::UsageError;
use crate::settings::Period;
use crate::state::Location;
use crate::worker::cluster;

/// How workers share pipelines.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// How workers share pipelines [default: kubernetes with --state kubernetes:, else none]
    ///
    /// With none, every worker runs all pipelines that it is given. With kubernetes, each pipeline belongs to a shard by its
    /// console and token, and each shard to the one worker that holds its Lease.
    #[arg(long, value_enum, value_name = "HOW", env = "S1_FORWARDER_CLUSTER")]
    cluster: Option<Mode>,

    /// Number of shards: the most workers that can share the work
    ///
    /// The first worker of an installation writes it down, and one with another number is refused from then on.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096), env = "S1_FORWARDER_SHARDS")]
    shards: u32,

    /// How long after its last sign of life a worker's shards are taken over
    ///
    /// It is renewed every third; a worker that could not stops delivering after two thirds.
    #[arg(long, value_name = "PERIOD", default_value = "15s", value_parser = lease, env = "S1_FORWARDER_LEASE")]
    lease: Period,
}

/// `--cluster`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// They do not.
    None,
    /// By Lease objects.
    Kubernetes,
}

fn lease(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: crate::settings::PeriodError| error.to_string())?;
    if period.0 < Duration::from_secs(1) {
        return Err("at least a second".to_owned());
    }
    Ok(period)
}

impl ClusterArgs {
    /// What a worker with this state is to do; `once` is one that does not stay.
    ///
    /// # Errors
    /// When the two contradict each other.
    pub fn settings(&self, state: &Location, once: bool) -> Result<Option<cluster::Settings>, UsageError> {
        let namespace = match state {
            Location::Kubernetes(namespace) => Some(namespace.clone()),
            _ => None,
        };
        let default = if namespace.is_some() && !once { Mode::Kubernetes } else { Mode::None };
        if self.cluster.unwrap_or(default) == Mode::None {
            return Ok(None);
        }
        if once {
            return Err(UsageError(
                "--once catches up alone and then ends: it cannot join --cluster kubernetes".to_owned(),
            ));
        }
        if let Location::File(_) = state {
            let reason = "workers that share pipelines need checkpoints that all of them reach";
            return Err(UsageError(format!(
                "--cluster kubernetes with --state {state}: {reason}; use --state kubernetes:"
            )));
        }
        let namespace = namespace.flatten();
        Ok(Some(cluster::Settings { namespace, shards: self.shards, lease: self.lease.0 }))
    }
}
