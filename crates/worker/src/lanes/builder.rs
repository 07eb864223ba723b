//! Builds lanes from their specs, with the clients, sinks and programs that lanes share.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_destinations::{BuildError, SharedSinkResources, SinkContext};
use s1_forwarder_engine::console::{Client, ConsoleSettings, Limiters};
use s1_forwarder_engine::dead_letters::DeadLetters;
use s1_forwarder_engine::delivery::throttle::Throttle;
use s1_forwarder_engine::delivery::{Delivery, SinkHealth};
use s1_forwarder_engine::lane::{Budget, Lane, LaneMapping, LanePrograms, Remembered};
use s1_forwarder_engine::program_threads::ProgramThreads;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Deadline, Sink};
use s1_forwarder_engine::transform::{
    Compiler, Labeler, OcsfVersion, RedactionKeys, Schema, Steps, StepsError, TransformSettings,
};
use s1_forwarder_engine::weak_cache::WeakCache;
use s1_forwarder_failure::Failure;
use s1_forwarder_settings::ClientError;
use s1_forwarder_telemetry::{Meter, RetryCommand, Telemetry};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::spec::LaneSpec;
use super::start_times::{StartTimes, StartWaits};
use crate::options::Options;
use crate::stores::Stores;
use crate::warnings::Warnings;

/// Permits of the pipelines whose programs are being compiled.
static COMPILING: Semaphore = Semaphore::const_new(2);

/// Builds the lanes of a process, and the resources that lanes share: clients, steps, sinks, memory.
#[derive(Debug)]
pub struct LaneBuilder {
    pub options: Arc<Options>,
    telemetry: Arc<Telemetry>,
    pub stores: Arc<Stores>,
    dead_letters: Arc<DeadLetters>,
    /// Knows the files of pipelines.
    warnings: Arc<Warnings>,
    /// Limits the bytes in flight.
    pub budget: Arc<Budget>,
    /// Limits what lanes remember of records.
    remembered: Arc<Remembered>,
    pub sinks: SharedSinkResources,
    limiters: Limiters,
    /// The lanes of a pipeline share the console's clock and the token in use.
    clients: WeakCache<OfPipeline<Arc<ConsoleSettings>>, Client>,
    /// The lanes of a pipeline share compiled programs.
    steps: WeakCache<OfPipeline<StepsSource>, Steps>,
    /// One lock for each pipeline whose lanes begin.
    compilers: WeakCache<String, tokio::sync::Mutex<()>>,
    program_threads: ProgramThreads,
    start_times: StartTimes,
    state_flags: Arc<str>,
    /// `None` if no command reaches this process.
    pub retry_command: Option<Arc<RetryCommand>>,
    random: Mutex<fastrand::Rng>,
}

/// The key of a resource that lanes of one pipeline share: the settings that the resource is made from.
#[derive(Debug, PartialEq)]
struct OfPipeline<S> {
    pipeline: String,
    source: S,
}

/// The only number with a fraction in settings is a rate, which is at least 0.001 and so equal to itself.
impl<S: PartialEq> Eq for OfPipeline<S> {}

/// Hashes the name of the pipeline alone: a pipeline has few such resources at a time.
impl<S> Hash for OfPipeline<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pipeline.hash(state);
    }
}

/// The settings that steps are compiled from.
#[derive(Debug, PartialEq)]
struct StepsSource {
    settings: Arc<TransformSettings>,
    schema: Schema,
    remap: Option<String>,
}

/// How a lane runs.
#[derive(Debug, Default)]
pub struct LaneStart {
    pub first_poll_after: Duration,
    /// Whether the lane ends when it has caught up.
    pub once: bool,
    /// End of the time in which the lane may deliver.
    pub deadline: Deadline,
    /// The shard of the lane's pipeline.
    pub shard: u32,
    /// Whether the command has no `--accept-refusals`.
    pub has_no_flag: bool,
}

struct LaneEndpoints {
    client: Arc<Client>,
    schema: Schema,
    ocsf_version: OcsfVersion,
    sink: Arc<dyn Sink>,
    target: u64,
}

/// A lane cannot be built: its settings refer to something that is missing, such as a CA file.
#[derive(Debug, thiserror::Error)]
pub enum BuildLaneError {
    #[error("console: {0}")]
    Console(#[from] ClientError),
    #[error("sink: {0}")]
    Sink(#[from] BuildError),
    #[error("transform.{0}")]
    Steps(#[from] StepsError),
}

impl From<BuildLaneError> for Failure {
    fn from(error: BuildLaneError) -> Self {
        let is_unreadable = match &error {
            BuildLaneError::Console(error) | BuildLaneError::Sink(BuildError::Client(error)) => {
                matches!(error, ClientError::Unreadable { .. })
            }
            BuildLaneError::Sink(_) => false,
            // All else about the steps was checked with the file.
            BuildLaneError::Steps(error) => error.key.first().is_some_and(|key| key == "redact"),
        };
        let reason = error.to_string();
        if is_unreadable { Self::secret_unreadable(reason) } else { Self::misconfigured(reason) }
    }
}

impl LaneBuilder {
    pub fn new(
        options: Arc<Options>,
        telemetry: Arc<Telemetry>,
        stores: Arc<Stores>,
        dead_letters: Arc<DeadLetters>,
        warnings: Arc<Warnings>,
    ) -> Self {
        Self {
            budget: Budget::new(options.memory_budget),
            remembered: Remembered::new(options.remembered_max, options.memory_budget),
            sinks: SharedSinkResources::new(&options.instance),
            limiters: Limiters::default(),
            clients: WeakCache::default(),
            steps: WeakCache::default(),
            compilers: WeakCache::default(),
            program_threads: ProgramThreads::default(),
            start_times: StartTimes::default(),
            state_flags: options.state_flags().into(),
            retry_command: options.retry_command().map(Arc::new),
            random: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            options,
            telemetry,
            stores,
            dead_letters,
            warnings,
        }
    }

    /// Returns the flags of a command that uses the same state. A tenant has no access to the state.
    pub fn state_flags(&self, spec: &LaneSpec) -> Arc<str> {
        if spec.tenant.is_some() { "".into() } else { self.state_flags.clone() }
    }

    /// Returns the meter of a lane that the worker runs. The meter continues the counts of an earlier lane of the same
    /// name.
    pub fn meter(&self, spec: &LaneSpec) -> Meter {
        let sink_type = spec.sink.type_settings.name();
        let meter = Meter::start(&self.telemetry, &spec.id, sink_type, self.options.clock);
        self.dead_letters.show(&meter.metrics);
        meter
    }

    /// Builds a lane.
    ///
    /// # Errors
    /// If the settings refer to something that is missing, such as a CA file.
    pub fn build_lane(&self, spec: &LaneSpec, meter: &Meter, start: LaneStart) -> Result<Lane, BuildLaneError> {
        let LaneEndpoints { client, schema, ocsf_version, sink, target } = self.endpoints(spec, start.shard)?;
        let steps = self.steps(spec, schema)?;
        let has_programs = steps.as_ref().is_some_and(|steps| steps.has_programs());
        let health = SinkHealth::new(self.options.accept_refusals.contains(&spec.id));
        let delivery = Arc::new(Delivery {
            sink,
            retry: spec.sink.common.retry,
            dead_letters: self.dead_letters.clone(),
            meter: meter.clone().labelled(&spec.transform.labels),
            clock: self.options.clock,
            health: if start.has_no_flag { health.without_flag() } else { health },
            throttle: Throttle::new(spec.sink.concurrency()),
            deadline: start.deadline,
        });
        Ok(Lane {
            key: spec.id.clone().into(),
            tenant: spec.tenant.clone(),
            target,
            client,
            pull: spec.pull.clone(),
            mapping: LaneMapping {
                transform: spec.transform.clone(),
                schema,
                ocsf_version,
                embeds_raw: spec.sink.type_settings.as_sink_type().embeds_raw(),
                programs: has_programs.then(|| LanePrograms::new(self.program_threads.clone(), &spec.id.pipeline)),
                steps,
                labeler: Labeler::new(&spec.transform.labels, spec.id.stream).map(Arc::new),
            },
            delivery,
            batch_timeout: spec.sink.batch_timeout(),
            concurrency: spec.sink.concurrency(),
            store: self.stores.of_shard(start.shard),
            state_flags: self.state_flags(spec),
            file: self.warnings.file_of(&spec.id.pipeline).into(),
            checkpoint_interval: self.options.checkpoint_interval,
            budget: self.budget.lane(),
            memory: self.remembered.lane(&spec.id.pipeline),
            random: self.fork_random(),
            first_poll_after: start.first_poll_after,
            once: start.once,
            wanted: None,
        })
    }

    /// Builds the lane's sink.
    ///
    /// # Errors
    /// As [`Self::build_lane`].
    pub fn sink(&self, spec: &LaneSpec) -> Result<Arc<dyn Sink>, BuildLaneError> {
        self.sink_of_shard(spec, 0)
    }

    /// Builds the lane's sink for a worker of this shard.
    ///
    /// # Errors
    /// As [`Self::build_lane`].
    pub fn sink_of_shard(&self, spec: &LaneSpec, shard: u32) -> Result<Arc<dyn Sink>, BuildLaneError> {
        Ok(self.endpoints(spec, shard)?.sink)
    }

    /// Compiles the programs of a lane before it is built, on a thread where this blocks no other task. The lanes of a
    /// pipeline take turns, so that the first one compiles for all. The programs stay compiled as long as a caller
    /// keeps them.
    pub async fn compile(self: &Arc<Self>, spec: &Arc<LaneSpec>) -> Option<Arc<Steps>> {
        if !spec.has_programs() {
            return None;
        }
        let compiler = self.compilers.get_or_insert_with(spec.id.pipeline.clone(), Arc::default);
        let _turn = compiler.lock().await;
        // The semaphore is never closed.
        let _place = COMPILING.acquire().await;
        let builder = self.clone();
        let spec = spec.clone();
        let steps = move || builder.steps(&spec, spec.sink.schema(spec.transform.schema));
        // Errors of the programs are found again when the lane is built.
        spawn_blocking(steps).await.ok()?.ok()?
    }

    /// Returns the steps after the mapping, which are compiled once for all lanes of a pipeline.
    fn steps(&self, spec: &LaneSpec, schema: Schema) -> Result<Option<Arc<Steps>>, BuildLaneError> {
        let remap = spec.sink.common.remap.clone();
        let source = StepsSource { settings: spec.transform.clone(), schema, remap };
        let source = OfPipeline { pipeline: spec.id.pipeline.clone(), source };
        if let Some(steps) = self.steps.get(&source) {
            return Ok(Some(steps));
        }
        let StepsSource { settings, remap, .. } = &source.source;
        let mut compiler = Compiler::of(&source.pipeline);
        let steps = Steps::compiled_by(&mut compiler, settings, schema, remap.as_deref(), RedactionKeys::Configured)?;
        let Some(steps) = steps else { return Ok(None) };
        Ok(Some(self.steps.get_or_insert_with(source, || Arc::new(steps))))
    }

    /// Reads the lane's events back from its destination; `None` if that is not made for the type of its sink.
    ///
    /// # Errors
    /// As [`Self::build_lane`], and if the sink cannot be asked.
    pub fn lookup(&self, spec: &LaneSpec) -> Result<Option<Arc<dyn Lookup>>, BuildLaneError> {
        let client = self.client(&spec.id.pipeline, &spec.console)?;
        Ok(spec.sink.lookup(&self.sink_context(spec, &client, 0))?)
    }

    /// Returns the hash of the lane's target, as [`SinkSettings::stored_destination_hash`] does.
    ///
    /// # Errors
    /// As [`Self::build_lane`].
    pub fn stored_destination_hash(&self, spec: &LaneSpec) -> Result<u64, BuildLaneError> {
        let client = self.client(&spec.id.pipeline, &spec.console)?;
        Ok(spec.sink.stored_destination_hash(&self.sink_context(spec, &client, 0))?)
    }

    /// Builds client and sink. Neither connects yet.
    fn endpoints(&self, spec: &LaneSpec, shard: u32) -> Result<LaneEndpoints, BuildLaneError> {
        let client = self.client(&spec.id.pipeline, &spec.console)?;
        let context = self.sink_context(spec, &client, shard);
        let sink = spec.sink.build(&context)?;
        let ocsf_version = spec.sink.ocsf_version(spec.transform.ocsf_version);
        let target = spec.sink.stored_destination_hash(&context)?;
        Ok(LaneEndpoints { client, schema: context.schema, ocsf_version, sink, target })
    }

    fn sink_context(&self, spec: &LaneSpec, client: &Arc<Client>, shard: u32) -> SinkContext {
        let context = spec.sink.context(spec.id.clone(), &spec.transform, client.host(), self.sinks.clone());
        SinkContext { shard, console: Some(client.clone()), ..context }
    }

    /// Returns the waits of one of `lanes` lanes that start together.
    pub fn start_waits(&self, lanes: usize, spec: &LaneSpec) -> StartWaits {
        self.start_times.next(spec.console.url.host(), lanes, spec.pull.interval, &mut self.fork_random())
    }

    /// Returns a random wait of at most `longest`.
    pub fn random_wait(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.fork_random().f64())
    }

    /// Returns the client that all lanes of the pipeline share.
    ///
    /// # Errors
    /// If the settings of TLS or proxy do not make a client, as when a certificate cannot be read.
    pub fn client(&self, pipeline: &str, settings: &Arc<ConsoleSettings>) -> Result<Arc<Client>, ClientError> {
        let source = OfPipeline { pipeline: pipeline.to_owned(), source: settings.clone() };
        if let Some(client) = self.clients.get(&source) {
            return Ok(client);
        }
        // The client is made before the clients of all pipelines are locked: this reads files, which may not answer.
        let client = Arc::new(match &self.options.transport {
            Some(transport) => {
                Client::new(settings, transport.clone(), self.limiters.join_for(settings), self.options.clock)
            }
            None => Client::connect(settings, &self.limiters, self.options.clock)?,
        });
        Ok(self.clients.get_or_insert_with(source, || client))
    }

    /// Returns a random generator that is derived from the worker's seed.
    pub fn fork_random(&self) -> fastrand::Rng {
        self.random.lock().fork()
    }
}
