//! Which lanes run here: starting, reloading, stopping.

mod backfill;
pub mod cluster;
mod expiry;
mod keeper;
mod once;
mod options;
mod replay;
mod shared;
mod spec;
mod supervisor;
mod verify;

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::pipeline::Problem;
use crate::state::StateError;
use crate::telemetry::Telemetry;

pub use backfill::{Backfill, BackfillEnd, BackfillError, BackfillReport, Books, Progress, run_backfill};
pub use once::{LaneReport, OnceReport, run_once};
pub use options::Options;
pub use replay::{Filter, ReplayError, ReplayReport, replay};
pub use shared::{ComposeError, Shared};
pub use spec::LaneSpec;
use verify::watch_ledgers;
pub use verify::{Audited, Differing, Repair, Verify, VerifyError, VerifyReport, area as repairs_area, run_verify};

use cluster::{Cluster, ClusterError};
use supervisor::Supervisor;

/// A worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The other workers.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A running worker: follows its pipeline files until it is shut down.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Worker {
    /// Opens the state, reads the files, and starts their lanes. Invalid files are logged and do not keep the others from
    /// running; with none the worker waits.
    ///
    /// # Errors
    /// When the state cannot be used.
    pub async fn start(options: Options, telemetry: Arc<Telemetry>) -> Result<Self, StartError> {
        let opened = Shared::open(options, telemetry.clone()).await;
        telemetry.health().state_store(opened.as_ref().map(|_| ()).map_err(ToString::to_string));
        let stop = CancellationToken::new();
        let shared = opened?;
        let Options { instance, identity, .. } = &shared.options;
        let cluster = match &shared.options.cluster {
            Some(settings) => Some(Cluster::join(settings, instance, identity, telemetry).await?),
            None => None,
        };
        let supervisor = Supervisor::new(shared, cluster, stop.clone());
        let supervisor = supervisor.begin().await;
        Ok(Self { stop, supervisor: tokio::spawn(supervisor.run()) })
    }

    /// Stops pulling, delivers what is in flight within the shutdown time-out, stores the checkpoints, and ends.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Writes problems of pipeline files to the log.
fn log_problems(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            tracing::error!(file = %problem.file.display(), "{problem}");
        } else {
            tracing::warn!(file = %problem.file.display(), "{problem}");
        }
    }
}
