use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::spec::LaneSpec;
use super::{Options, StartError};
use crate::console::{Client, Limiters};
use crate::lane::{Budget, Lane};
use crate::settings::ClientError;
use crate::sink::dead_letters::DeadLetters;
use crate::sink::deliver::{Delivery, Health};
use crate::sink::throttle::Throttle;
use crate::sink::{self, BuildError, Deadline, Sink};
use crate::state::Store;
use crate::telemetry::{Meter, Telemetry};
use crate::transform::{Schema, schema_name};
use crate::{console, record::Clock};

/// Lanes that start together poll first over a span of this much for each of them, at most over their interval.
const SPREAD_PER_LANE: Duration = Duration::from_millis(5);

/// What the lanes of a process share.
#[derive(Debug)]
pub struct Shared {
    /// What the worker was told.
    pub options: Options,
    /// What the process tells about itself.
    pub telemetry: Arc<Telemetry>,
    /// Bytes in flight.
    pub budget: Arc<Budget>,
    store: Arc<dyn Store>,
    /// One for each shard that is held, where the store wants that.
    shard_stores: Mutex<HashMap<u32, Weak<dyn Store>>>,
    dead_letters: Arc<DeadLetters>,
    sinks: sink::Shared,
    limiters: Limiters,
    /// One client for each pipeline's console settings, so that its lanes hear the same clock and share a token.
    clients: Mutex<HashMap<String, MadeFrom>>,
    random: Mutex<fastrand::Rng>,
}

/// A pipeline's client, and the settings that it was made from.
type MadeFrom = (Arc<console::Settings>, Weak<Client>);

/// In which way a lane runs.
#[derive(Debug, Default)]
pub struct Way {
    /// Spreads the first polls.
    pub first_poll_after: Duration,
    /// Ends when it has caught up.
    pub once: bool,
    /// Until when it may deliver.
    pub deadline: Deadline,
    /// The shard of its pipeline.
    pub shard: u32,
}

/// What a lane pulls from, maps with and delivers to.
struct Ends {
    client: Arc<Client>,
    schema: Schema,
    sink: Arc<dyn Sink>,
}

/// A lane that cannot be put together: its settings name what is not there.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// TLS files of the console.
    #[error("console: {0}")]
    Console(#[from] ClientError),
    /// The sink's settings.
    #[error("sink: {0}")]
    Sink(#[from] BuildError),
}

impl Shared {
    /// Opens the state, and takes its lock where it has one.
    pub async fn open(options: Options, telemetry: Arc<Telemetry>) -> Result<Arc<Self>, StartError> {
        let store = options.state.open(&options.instance, &options.identity).await?;
        Ok(Self::over(store, options, telemetry))
    }

    /// The same over a store that is open.
    pub fn over(store: Arc<dyn Store>, options: Options, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let dead_letters = match options.dead_letters() {
            Some(location) => DeadLetters::at(location, options.dead_letters_max),
            None => DeadLetters::disabled(),
        };
        Arc::new(Self {
            budget: Budget::new(options.memory_budget),
            store,
            shard_stores: Mutex::default(),
            dead_letters: Arc::new(dead_letters),
            sinks: sink::Shared::new(&options.instance),
            limiters: Limiters::default(),
            clients: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            options,
            telemetry,
        })
    }

    /// A lease gave this worker the shard.
    pub fn acquired(&self, shard: u32) {
        self.sinks.acquired(shard);
    }

    /// Gives up what sinks hold; all lanes have ended.
    pub async fn close(&self) {
        self.sinks.close().await;
        self.store.close().await;
    }

    /// Brings the process's own gauges up to date.
    pub fn refresh_gauges(&self) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.telemetry.process().in_flight_bytes().set(gauge(self.budget.used()));
        self.telemetry.process().kafka_clients().set(gauge(self.sinks.kafka_clients()));
    }

    /// Where checkpoints are kept.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The time of day.
    pub fn clock(&self) -> Clock {
        self.options.clock
    }

    /// What a lane of this spec counts and reports with.
    pub fn meter(&self, spec: &LaneSpec) -> Meter {
        let sink_type = spec.sink.kind.name();
        Meter::start(&self.telemetry, &spec.id.pipeline, spec.id.stream, &spec.id.sink, sink_type, self.clock())
    }

    /// Puts a lane together.
    ///
    /// # Errors
    /// When settings name what is not there, such as a CA file.
    pub fn compose(&self, spec: &LaneSpec, meter: &Meter, way: Way) -> Result<Lane, ComposeError> {
        let Ends { client, schema, sink } = self.ends(spec, way.shard)?;
        let limits = sink.limits();
        let delivery = Arc::new(Delivery {
            sink,
            retry: spec.sink.common.retry,
            dead_letters: self.dead_letters.clone(),
            meter: meter.clone(),
            clock: self.clock(),
            health: Health::default(),
            throttle: Throttle::new(spec.sink.concurrency()),
            deadline: way.deadline,
        });
        Ok(Lane {
            id: spec.id.clone(),
            client,
            since_text: spec.pull.since.to_string(),
            pull: spec.pull.clone(),
            transform: spec.transform.clone(),
            schema,
            delivery,
            limits,
            flush: spec.sink.batch_timeout(),
            concurrency: spec.sink.concurrency(),
            store: self.store_of(way.shard),
            checkpoint_interval: self.options.checkpoint_interval,
            budget: self.budget.lane(),
            clock: self.clock(),
            random: self.fork_random(),
            first_poll_after: way.first_poll_after,
            once: way.once,
            known: None,
        })
    }

    /// A lane's sink.
    ///
    /// # Errors
    /// As [`Self::compose`].
    pub fn sink(&self, spec: &LaneSpec) -> Result<Arc<dyn Sink>, ComposeError> {
        Ok(self.ends(spec, 0)?.sink)
    }

    /// None of it is connected yet.
    fn ends(&self, spec: &LaneSpec, shard: u32) -> Result<Ends, ComposeError> {
        let client = self.client(&spec.id.pipeline, &spec.console)?;
        let schema = spec.sink.common.schema.unwrap_or(spec.transform.schema);
        let sink = spec.sink.build(&sink::Context {
            pipeline: spec.id.pipeline.clone(),
            stream: spec.id.stream,
            sink: spec.id.sink.clone(),
            shard,
            console_host: client.host().to_owned(),
            labels: spec.transform.labels.clone(),
            schema,
            schema_name: schema_name(schema),
            shared: self.sinks.clone(),
        })?;
        Ok(Ends { client, schema, sink })
    }

    /// When each of `lanes` lanes that start now polls first.
    pub fn first_poll_after(&self, lanes: usize, interval: Duration) -> Duration {
        let span =
            SPREAD_PER_LANE.saturating_mul(u32::try_from(lanes.saturating_sub(1)).unwrap_or(u32::MAX)).min(interval);
        span.mul_f64(self.fork_random().f64())
    }

    /// The pipeline's access to its console, the same for all its lanes.
    pub fn client(&self, pipeline: &str, settings: &Arc<console::Settings>) -> Result<Arc<Client>, ClientError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_from, client)) = clients.get(pipeline)
            && made_from == settings
            && let Some(client) = client.upgrade()
        {
            return Ok(client);
        }
        let client = Arc::new(match &self.options.transport {
            Some(transport) => Client::new(settings, transport.clone(), self.limiters.join_as(settings), self.clock()),
            None => Client::connect(settings, &self.limiters, self.clock())?,
        });
        // Before the map grows, and not at each start of ten thousand pipelines.
        if clients.len() == clients.capacity() {
            clients.retain(|_, (_, client)| client.strong_count() > 0);
        }
        clients.insert(pipeline.to_owned(), (settings.clone(), Arc::downgrade(&client)));
        Ok(client)
    }

    /// The store of a shard's lanes, for as long as one of them lives.
    fn store_of(&self, shard: u32) -> Arc<dyn Store> {
        if self.options.cluster.is_none() {
            return self.store.clone();
        }
        let mut stores = self.shard_stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&shard).and_then(Weak::upgrade) {
            return store;
        }
        let Some(store) = self.options.state.of_shard(&self.options.instance, shard) else { return self.store.clone() };
        stores.insert(shard, Arc::downgrade(&store));
        store
    }

    /// A generator for one lane, from the worker's seed.
    pub fn fork_random(&self) -> fastrand::Rng {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}
