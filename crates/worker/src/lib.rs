//! The worker: it starts, restarts and stops the lanes of this process. Most commands use parts of it.
//!
//! - [`pipeline`] reads the pipeline files, checks them, and watches them for changes.
//! - `supervisor` compares the lanes that run with those of the files, about which `file_reports` informs the operator.
//!   `lanes` builds each lane with what lanes share, and keeps it running.
//! - [`cluster`] divides the pipelines among several workers. `resources` reports to `Pipeline` resources.
//! - `renames` and `owners` decide which lane a stored checkpoint belongs to.
//! - `backfill`, `replay` and `verify` do the work of the commands of these names. `once` ends a worker whose lanes are
//!   complete.
//! - `checks`, `usage` and `duplicates` watch running lanes, and report what they find.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod area_lock;
mod backfill;
mod checks;
pub mod cluster;
mod duplicates;
mod file_reports;
mod lanes;
mod once;
mod open_files;
mod options;
mod owners;
pub mod pipeline;
mod renames;
mod replay;
mod reporter;
#[cfg(feature = "kubernetes")]
mod resources;
mod shared;
mod start_error;
mod stores;
mod supervisor;
mod usage;
mod valid_pipelines;
mod verify;
mod warnings;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::Store;
use s1_forwarder_failure::catch_panic::resume_panic_of;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::Telemetry;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

pub use backfill::{Backfill, BackfillEnd, BackfillError, BackfillProgress, BackfillReport, Progress, run_backfill};
pub use duplicates::{Duplicate, OtherVersion, find_duplicates, find_other_versions};
pub use lanes::spec::LaneSpec;
pub use once::{LaneReport, OnceReport, run_once};
pub use open_files::raise_limit;
pub use options::{CommandFlags, DEFAULT_LISTEN, Options, REMEMBERED_MAX};
pub use owners::{read_other_files, release_name};
pub use renames::{KnownFiles, LaneAnswer, LaneRequest, LaneRequests, rename_checkpoint};
pub use replay::{DeadLetterFilter, ReplayError, ReplayReport, replay};
pub use start_error::StartError;
pub use usage::{UsageStoreError, usage_area};
pub use verify::{
    DestinationReport, HourRow, IdentityList, IncompleteHours, LookupSource, MissingEvent, RepairLimit, RepairReport,
    RepairResult, Selected, Verify, VerifyDestination, VerifyError, VerifyProgress, VerifyReport, check_segments,
    repairs_area, replays_area, run_verify, run_verify_destination,
};

use cluster::ClusterError;
use owners::NameOwners;
use shared::Shared;
use supervisor::Supervisor;

/// First and longest wait between two attempts to reach a store or server that a worker cannot start without.
const REACH_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Interval of the checks whether the state store is reachable.
const STORE_CHECK: Duration = Duration::from_secs(30);

/// A running worker. It applies changes of its pipeline files until it is shut down.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
    _store_check: AbortOnDropHandle<()>,
}

impl Worker {
    /// Opens the state, reads the files, and starts their lanes. An invalid file is logged and does not stop the
    /// others. Without a valid file the worker waits for one. It also waits while the state store or the API server
    /// does not answer.
    ///
    /// # Errors
    /// If the state cannot be used, or the worker cannot join the cluster.
    pub async fn start(options: Options, telemetry: Arc<Telemetry>) -> Result<Self, StartError> {
        Self::open(options, telemetry).await?.start().await
    }

    /// Opens the state, and acquires its lock if it has one: the first step of [`Self::start`].
    ///
    /// # Errors
    /// If the state cannot be used.
    pub async fn open(options: Options, telemetry: Arc<Telemetry>) -> Result<OpenedWorker, StartError> {
        let opened = Shared::open(options, telemetry.clone()).await;
        telemetry.health().set_state_store(opened.as_ref().map(|_| ()).map_err(ToString::to_string));
        Ok(OpenedWorker { shared: opened?, telemetry })
    }

    /// Resolves if the worker ends without having been asked to: a task panicked that it cannot do without. The
    /// process should end at once, so that another one takes over. Cancel-safe.
    pub async fn failed(&mut self) {
        match (&mut self.supervisor).await {
            Err(error) if error.is_panic() => error!(%error, "the supervisor panicked"),
            _ => error!("the supervisor has ended"),
        }
    }

    /// Stops pulling, delivers the events in flight within the shutdown timeout, stores the checkpoints, and ends.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await {
            resume_panic_of(error);
        }
    }
}

/// A worker that has its state, and has read no pipeline files yet.
#[derive(Debug)]
pub struct OpenedWorker {
    shared: Arc<Shared>,
    telemetry: Arc<Telemetry>,
}

impl OpenedWorker {
    pub fn command_flags(&self) -> CommandFlags {
        self.shared.options.command_flags()
    }

    /// Makes a function of a pipeline's name. It returns the keys and values of the pipeline file as they apply,
    /// without secrets; `None` if no such pipeline runs.
    pub fn settings(&self) -> impl Fn(&str) -> Option<Vec<(String, String)>> + Send + Sync + use<> {
        let valid = self.shared.valid.clone();
        move |pipeline| valid.settings(pipeline)
    }

    /// See [`Worker::start`].
    ///
    /// # Errors
    /// If the state cannot be used, or the worker cannot join the cluster.
    pub async fn start(self) -> Result<Worker, StartError> {
        let Self { shared, telemetry } = self;
        let stop = CancellationToken::new();
        let health = telemetry.health();
        let store = shared.stores.main();
        let report = |result| health.set_state_store(result);
        retry_while_transient("the state store", async || store.check_access().await, |_| true, report).await?;
        let Options { instance, process_name, .. } = &*shared.options;
        let cluster = match &shared.options.cluster {
            Some(settings) => {
                let join = async || cluster::join(settings, instance, process_name, telemetry.clone()).await;
                let report = |result| health.set_api_server(result);
                Some(retry_while_transient("the API server", join, ClusterError::is_transient, report).await?)
            }
            None => None,
        };
        let store_check = AbortOnDropHandle::new(tokio::spawn(check_store(store, telemetry)));
        let owners = NameOwners::open(&shared.options).await?;
        let supervisor = Supervisor::new(shared, owners, cluster, stop.clone()).await;
        let supervisor = tokio::spawn(supervisor.run());
        Ok(Worker { stop, supervisor, _store_check: store_check })
    }
}

/// Calls `attempt` again while its error is transient, and hands every result to `report`.
async fn retry_while_transient<T, E: Display>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
    is_transient: impl Fn(&E) -> bool,
    report: impl Fn(Result<(), String>),
) -> Result<T, E> {
    let mut waits = FullJitter::new(REACH_WAITS.0, REACH_WAITS.1, fastrand::Rng::new());
    let mut logged = None;
    loop {
        match attempt().await {
            Err(error) if is_transient(&error) => {
                let reason = error.to_string();
                report(Err(reason.clone()));
                if logged.as_ref() != Some(&reason) {
                    warn!(error = reason, "the worker waits until {what} can be reached");
                    logged = Some(reason);
                }
                sleep(waits.wait()).await;
            }
            result => {
                if result.is_ok() {
                    report(Ok(()));
                    if logged.is_some() {
                        info!("{what} answers");
                    }
                }
                return result;
            }
        }
    }
}

/// Reports regularly whether the store is reachable, for the health endpoint. Lanes notice failures themselves.
async fn check_store(store: Arc<dyn Store>, telemetry: Arc<Telemetry>) {
    loop {
        sleep(STORE_CHECK).await;
        let reached = match timeout(STORE_CHECK, store.check_access()).await {
            Ok(reached) => reached.map_err(|error| error.to_string()),
            // A file system may hang.
            Err(_) => Err(format!("no answer within {} s", STORE_CHECK.as_secs())),
        };
        telemetry.health().set_state_store(reached);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use s1_forwarder_engine::console::{Request, Response, Transport, TransportError};

    /// Otherwise the process would stay alive and hold shards whose lanes do not run.
    #[tokio::test]
    async fn a_worker_whose_supervisor_ends_by_itself_has_failed() {
        let idle = || AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let worker = |supervisor| Worker { stop: CancellationToken::new(), supervisor, _store_check: idle() };
        worker(tokio::spawn(async {})).failed().await;
        worker(tokio::spawn(async { panic!("a mistake") })).failed().await;
        let mut running = worker(tokio::spawn(std::future::pending()));
        let waited = tokio::time::timeout(Duration::from_millis(50), running.failed()).await;
        assert!(waited.is_err(), "it runs");
    }

    #[derive(Debug)]
    struct Panics;

    impl Transport for Panics {
        fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
            assert!(!request.url.as_str().contains("panics"), "a mistake");
            Box::pin(async { Err(TransportError::Broken("no mistake".to_owned())) })
        }
    }

    /// `catch_panic` panics for these names where it is tested.
    #[tokio::test]
    async fn a_panic_over_one_file_or_one_lane_stops_its_pipeline_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(format!("{name}.yaml"));
        for (name, console, sink) in [
            ("acme", "acme", "siem"),
            ("panics-in-its-file", "acme", "siem"),
            ("built", "acme", "panics-in-its-lane"),
            ("runs", "panics", "siem"),
        ] {
            let text = format!(
                "console: {{ url: 'https://{console}.example', token: none }}\nstreams: {{ threats: {{}} }}\n\
                 sinks: [{{ type: http, name: {sink}, url: 'https://siem.example' }}]\n",
            );
            std::fs::write(path(name), text).unwrap();
        }
        let telemetry = Arc::new(Telemetry::new());
        let options = Options {
            pipelines: vec![directory.path().display().to_string().parse().unwrap()],
            state: s1_forwarder_state::StoreLocation::File(directory.path().join("state")),
            transport: Some(Arc::new(Panics)),
            ..Options::default()
        };
        let worker = Worker::start(options, telemetry.clone()).await.unwrap();
        let stopped = async |pipeline: &str| loop {
            let lane = telemetry.lanes_of(pipeline).into_iter().find(|lane| !lane.state().is_up());
            match lane {
                Some(lane) => return format!("{:?}", lane.state()),
                None => sleep(Duration::from_millis(10)).await,
            }
        };
        let states = async { [stopped("built").await, stopped("runs").await, stopped("acme").await] };
        let [built, runs, acme] = timeout(Duration::from_mins(1), states).await.unwrap();
        assert!(built.contains("internal error with built/threats/panics-in-its-lane, please"), "{built}");
        assert!(runs.contains("internal error") && runs.contains("a mistake"), "{runs}");
        assert!(acme.contains("no mistake"), "{acme}");
        let file = telemetry.file(&path("panics-in-its-file")).unwrap();
        assert!(file.problem.as_ref().is_some_and(|problem| problem.contains("internal error with ")), "{file:?}");
        worker.shutdown().await;
    }
}
