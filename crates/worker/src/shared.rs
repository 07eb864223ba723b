//! The state that the tasks of a worker share.

use std::collections::HashSet;
use std::sync::Arc;

use s1_forwarder_engine::checkpoint::Store;
use s1_forwarder_engine::dead_letters::DeadLetters;
use s1_forwarder_record::LaneId;
use s1_forwarder_state::dead_letters;
use s1_forwarder_telemetry::{LaneMetrics, Telemetry};
use tracing::warn;

use super::options::Options;
use super::renames::Renames;
use super::reporter::Reporter;
use super::start_error::StartError;
use super::stores::Stores;
use super::usage::UsageWriter;
use super::valid_pipelines::ValidPipelines;
use crate::lanes::builder::LaneBuilder;
use crate::lanes::spec::LaneSpec;
use crate::pipeline::Pipeline;
use crate::warnings::Warnings;

/// The state that tasks share if they run lanes of a process, or look after them.
#[derive(Debug)]
pub struct Shared {
    pub options: Arc<Options>,
    pub telemetry: Arc<Telemetry>,
    pub stores: Arc<Stores>,
    pub lane_builder: Arc<LaneBuilder>,
    /// Decides which lanes may begin at `since`.
    pub renames: Renames,
    pub reporter: Reporter,
    pub usage: UsageWriter,
    pub warnings: Arc<Warnings>,
    /// Empty in a run that ends when its lanes are complete.
    pub valid: Arc<ValidPipelines>,
}

impl Shared {
    /// Returns the metrics of these lanes, as far as they run in this process.
    pub fn running(&self, lanes: &[Arc<LaneSpec>]) -> impl Iterator<Item = Arc<LaneMetrics>> {
        lanes.iter().filter_map(|lane| self.telemetry.lane(&lane.id))
    }

    /// Opens the state, and acquires its lock if it has one.
    ///
    /// # Errors
    /// If the state cannot be opened, or another process has its lock.
    pub async fn open(options: Options, telemetry: Arc<Telemetry>) -> Result<Arc<Self>, StartError> {
        let store = options.open_state(None).await?;
        Ok(Self::with_store(store, options, telemetry))
    }

    pub fn with_store(store: Arc<dyn Store>, options: Options, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let dead_letters = Arc::new(match options.dead_letters() {
            Some(location) => dead_letters::open(location, &options.instance, options.dead_letters_max),
            None => DeadLetters::disabled(),
        });
        let stores = Arc::new(Stores::new(store, &options));
        let warnings = Arc::<Warnings>::default();
        let options = Arc::new(options);
        let lane_builder = LaneBuilder::new(
            options.clone(),
            telemetry.clone(),
            stores.clone(),
            dead_letters.clone(),
            warnings.clone(),
        );
        Arc::new(Self {
            lane_builder: Arc::new(lane_builder),
            renames: Renames::default(),
            reporter: Reporter::new(telemetry.clone(), dead_letters, options.clock),
            // Each process needs another number, whatever its seed is.
            usage: UsageWriter::new(fastrand::u64(1..), telemetry.clone(), &options, stores.clone()),
            options,
            telemetry,
            stores,
            warnings,
            valid: Arc::default(),
        })
    }

    /// Closes sinks and store. All lanes must have ended.
    pub async fn close(&self) {
        self.lane_builder.sinks.close().await;
        self.stores.main().close().await;
    }

    /// Notes that the pipeline files have been read, and these are valid. The first time, it warns of options about
    /// other lanes.
    pub fn set_files_read<'a>(&self, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>) {
        let is_first = self.telemetry.health().set_files_read();
        if !is_first || self.options.accept_refusals.is_empty() {
            return;
        }
        let lanes: HashSet<LaneId> =
            pipelines.flat_map(|pipeline| LaneSpec::of(pipeline)).map(|spec| spec.id.clone()).collect();
        for lane in self.options.accept_refusals.iter().filter(|lane| !lanes.contains(lane)) {
            warn!(%lane, "--accept-refusals does nothing for this lane: no pipeline has it now");
        }
    }
}
