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

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::pipeline::Problem;
use crate::settings::FullJitter;
use crate::state::{StateError, Store};
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

/// Between two attempts to reach what a worker cannot begin without.
const REACHING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How often a worker looks whether its state store can be reached still.
const LOOK: Duration = Duration::from_secs(30);

/// A running worker: follows its pipeline files until it is shut down.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
    _look: AbortOnDropHandle<()>,
}

impl Worker {
    /// Opens the state, reads the files, and starts their lanes. Invalid files are logged and do not keep the others from
    /// running; with none the worker waits. It also waits for a state store, or other workers' API server, that does not
    /// answer yet.
    ///
    /// # Errors
    /// When the state cannot be used.
    pub async fn start(options: Options, telemetry: Arc<Telemetry>) -> Result<Self, StartError> {
        let opened = Shared::open(options, telemetry.clone()).await;
        telemetry.health().state_store(opened.as_ref().map(|_| ()).map_err(ToString::to_string));
        let stop = CancellationToken::new();
        let shared = opened?;
        let (health, store) = (telemetry.health(), shared.store());
        let tell = |answer| health.state_store(answer);
        reached("the state store", async || store.reach().await, |_| true, tell).await?;
        let Options { instance, identity, .. } = &shared.options;
        let cluster = match &shared.options.cluster {
            Some(settings) => {
                let join = async || Cluster::join(settings, instance, identity, telemetry.clone()).await;
                let tell = |answer| health.api_server(answer);
                Some(reached("the API server", join, ClusterError::is_passing, tell).await?)
            }
            None => None,
        };
        let look = AbortOnDropHandle::new(tokio::spawn(look_at(store, telemetry)));
        let supervisor = Supervisor::new(shared, cluster, stop.clone());
        let supervisor = tokio::spawn(async { supervisor.begin().await.run().await });
        Ok(Self { stop, supervisor, _look: look })
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

/// Tries until it succeeds, or fails so that waiting does not help; `tell` hears how it stands.
async fn reached<T, E: Display>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
    is_passing: impl Fn(&E) -> bool,
    tell: impl Fn(Result<(), String>),
) -> Result<T, E> {
    let mut waits = FullJitter::new(REACHING.0, REACHING.1, fastrand::Rng::new());
    let mut told = None;
    loop {
        match attempt().await {
            Err(error) if is_passing(&error) => {
                let reason = error.to_string();
                tell(Err(reason.clone()));
                if told.as_ref() != Some(&reason) {
                    warn!(error = reason, "the worker waits until {what} can be reached");
                    told = Some(reason);
                }
                sleep(waits.wait()).await;
            }
            answer => {
                if answer.is_ok() {
                    tell(Ok(()));
                    if told.is_some() {
                        info!("{what} answers");
                    }
                }
                return answer;
            }
        }
    }
}

/// Tells for ever whether the store can be reached. Lanes find out for themselves.
async fn look_at(store: Arc<dyn Store>, telemetry: Arc<Telemetry>) {
    loop {
        sleep(LOOK).await;
        telemetry.health().state_store(store.reach().await.map_err(|error| error.to_string()));
    }
}

/// Writes problems of pipeline files to the log.
fn log_problems(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            tracing::error!(file = %problem.file.display(), "{problem}");
        } else {
            warn!(file = %problem.file.display(), "{problem}");
        }
    }
}
