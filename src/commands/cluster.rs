//! Flags for workers that share pipelines.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::ArgumentError;
use crate::settings::Period;
use crate::state::StoreLocation;
use crate::worker::cluster;

#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// How workers share pipelines [default: kubernetes with --state kubernetes:, else none]
    ///
    /// With none, every worker runs all its pipelines. With kubernetes, a pipeline's console and token determine its
    /// shard, and one worker holds the Lease of each shard.
    #[arg(long, value_enum, value_name = "MODE")]
    cluster: Option<Mode>,

    /// Number of shards, which is the maximum of workers that can share the work
    ///
    /// The first worker of an installation stores the number. A worker with another number is refused from then on.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,

    /// Time after a worker's last sign of life until other workers take over its shards
    ///
    /// A worker renews its leases after one third of this time. If it cannot, it stops delivering after two thirds.
    #[arg(long, value_name = "PERIOD", default_value = "15s", value_parser = lease)]
    lease: Period,

    /// Address at which the other workers reach this one's HTTP endpoints, to show the lanes of all workers [default:
    /// that of --listen, or of the pod (POD_IP) if --listen names all addresses]
    #[arg(long, value_name = "HOST:PORT", value_parser = super::process::listen)]
    advertise: Option<String>,
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
    pub fn lease(&self) -> Duration {
        self.lease.0
    }

    /// Returns the settings of a worker with this state; `None` if the worker shares no pipelines. `once` is
    /// `run --once`. `listening` is the address that the worker's HTTP endpoints are bound to.
    ///
    /// # Errors
    /// If the flags contradict each other.
    pub fn settings(
        &self,
        state: &StoreLocation,
        once: bool,
        listening: Option<SocketAddr>,
    ) -> Result<Option<cluster::ClusterSettings>, ArgumentError> {
        let namespace = match state {
            StoreLocation::Kubernetes(namespace) => Some(namespace.clone()),
            _ => None,
        };
        let default = if namespace.is_some() && !once { Mode::Kubernetes } else { Mode::None };
        if self.cluster.unwrap_or(default) == Mode::None {
            return Ok(None);
        }
        if once {
            return Err(ArgumentError("--once cannot be combined with --cluster kubernetes".to_owned()));
        }
        if let StoreLocation::File(_) = state {
            let reason = "workers that share pipelines need a state store that all of them can reach";
            return Err(ArgumentError(format!(
                "--cluster kubernetes with --state {state}: {reason}; use --state kubernetes:"
            )));
        }
        let namespace = namespace.flatten();
        let pod = std::env::var("POD_IP").ok();
        let address = self.advertise.clone().or_else(|| reachable_address(listening?, pod.as_deref()));
        Ok(Some(cluster::ClusterSettings { namespace, shards: self.shards, lease: self.lease.0, address }))
    }
}

/// Returns the address at which other processes reach a listener. `None` if it is not known. `pod` is the address of
/// the pod, which Kubernetes knows.
fn reachable_address(listening: SocketAddr, pod: Option<&str>) -> Option<String> {
    if !listening.ip().is_unspecified() {
        return Some(listening.to_string());
    }
    let pod: IpAddr = pod?.parse().ok()?;
    Some(SocketAddr::new(pod, listening.port()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_reached_at_its_own_address_or_at_that_of_its_pod() {
        let address = |listening: &str, pod| reachable_address(listening.parse().unwrap(), pod);
        assert_eq!(address("127.0.0.1:9598", Some("10.0.0.7")).as_deref(), Some("127.0.0.1:9598"));
        assert_eq!(address("0.0.0.0:9598", Some("10.0.0.7")).as_deref(), Some("10.0.0.7:9598"));
        assert_eq!(address("[::]:9598", Some("fd00::7")).as_deref(), Some("[fd00::7]:9598"));
        assert_eq!(address("0.0.0.0:9598", None), None);
        assert_eq!(address("0.0.0.0:9598", Some("pod.example")), None);
    }
}
