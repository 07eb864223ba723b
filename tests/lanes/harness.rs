//! The surroundings of a lane without sockets: the emulated console as a transport, a store and sinks in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use s1_forwarder::checkpoint::MemoryStore;
use s1_forwarder::console::scripted::ScriptedTransport;
use s1_forwarder::console::{self, Client, LimiterKey, Limiters, Transport, TransportError};
use s1_forwarder::delivery::Delivery;
use s1_forwarder::emulator::{self, Kind, Setup};
use s1_forwarder::lane::{Budget, Lane, LaneCheckpoint, LaneEnd, Remembered};
use s1_forwarder::record::{Clock, LaneId, Stream, Timestamp, facts};
use s1_forwarder::sink::Sink;
use s1_forwarder::source::{PullSettings, Since};
use s1_forwarder::state::{StoreLocation, dead_letters};
use s1_forwarder::telemetry::{LaneMetrics, Meter, Telemetry};
use s1_forwarder::worker::REMEMBERED_MAX;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::script::hidden;
use crate::support::batches::kind_of;

/// When the simulated clock begins.
pub const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// A console, a store, a budget and a clock that lanes share.
pub struct LaneHarness {
    pub console: Arc<emulator::Console>,
    pub clock: Clock,
    pub telemetry: Arc<Telemetry>,
    pub store: Arc<MemoryStore>,
    pub budget: Arc<Budget>,
    pub remembered: Arc<Remembered>,
    pub dead_letters: tempfile::TempDir,
    limiters: Limiters,
    /// How long the console takes to answer.
    pub console_delay: Duration,
    /// The rate limit of lanes to sinks of one name.
    pub requests_per_second: f64,
}

/// A lane that runs.
pub struct Running {
    pub metrics: Arc<LaneMetrics>,
    pub stop: CancellationToken,
    pub task: JoinHandle<LaneEnd>,
}

impl LaneHarness {
    pub fn new(setup: impl FnOnce(&mut Setup)) -> Self {
        let mut with = Setup::new(START.micros());
        setup(&mut with);
        Self {
            console: Arc::new(emulator::Console::new(&with)),
            clock: Clock::simulated(START),
            telemetry: Arc::new(Telemetry::new()),
            store: Arc::default(),
            budget: Budget::new(64 << 20),
            remembered: Remembered::new(REMEMBERED_MAX, 64 << 20),
            dead_letters: tempfile::tempdir().unwrap(),
            limiters: Limiters::default(),
            console_delay: Duration::from_millis(20),
            requests_per_second: 1000.0,
        }
    }

    /// Every version of a kind that the console's list shows now, by identity.
    pub fn owed(&self, kind: Kind) -> BTreeMap<String, u64> {
        let stream = Stream::ALL.into_iter().find(|stream| kind_of(*stream) == kind).unwrap();
        let identity = |id: u64| {
            let record = self.console.record(kind, id).unwrap();
            facts(stream, &record).identity("console.example", &record).to_string()
        };
        // Pulled with `includeHidden`, activities are all there.
        let shown = match kind {
            Kind::Activities => self.console.ids(kind),
            _ => {
                self.console.visible_versions(kind, &emulator::Scope::Global).iter().map(|version| version.id).collect()
            }
        };
        shown.into_iter().map(|id| (identity(id), id)).collect()
    }

    /// The type of each activity, in the console's order.
    pub fn activity_types(&self) -> Vec<u32> {
        let kind = |id| facts(Stream::Activities, &self.console.record(Kind::Activities, id).unwrap()).activity_type;
        self.console.ids(Kind::Activities).into_iter().filter_map(kind).collect()
    }

    pub fn pull(&self, stream: Stream) -> PullSettings {
        PullSettings {
            interval: Duration::from_secs(30),
            since: Since::Beginning,
            overlap: Duration::from_mins(5),
            filters: vec![hidden()],
            ..PullSettings::of(stream)
        }
    }

    /// The emulated console.
    pub fn transport(&self) -> ScriptedTransport {
        emulated(self.console.clone(), self.clock, self.console_delay)
    }

    /// A lane to `sink`; `name` is the sink's.
    pub fn lane(&self, pull: PullSettings, name: &str, sink: Arc<dyn Sink>) -> Lane {
        let id = LaneId::new("acme", pull.stream, name);
        let client = self.client(Arc::new(self.transport()), name);
        let meter = Meter::start(&self.telemetry, &id, "memory", self.clock);
        let delivery = Delivery {
            dead_letters: Arc::new(dead_letters::open(
                StoreLocation::File(self.dead_letters.path().into()),
                "",
                1 << 30,
            )),
            ..Delivery::for_tests(sink, meter, self.clock)
        };
        Lane {
            store: self.store.clone(),
            state_flags: " --state memory".into(),
            budget: self.budget.lane(),
            memory: self.remembered.lane("acme"),
            ..Lane::for_tests(id.into(), Arc::new(client), pull, delivery)
        }
    }

    /// A client of the console behind `transport`, limited apart from those of other names.
    pub fn client(&self, transport: Arc<dyn Transport>, name: &str) -> Client {
        let settings: console::ConsoleSettings = serde_json::from_value(serde_json::json!({
            "url": "https://console.example", "token": Setup::TOKEN, "requests_per_second": self.requests_per_second,
        }))
        .unwrap();
        let key = LimiterKey { host: name.to_owned(), token: String::new() };
        Client::new(&settings, transport, self.limiters.join(key, self.requests_per_second), self.clock)
    }

    pub fn start(&self, lane: Lane) -> Running {
        let metrics = lane.delivery.meter.metrics.clone();
        let stop = CancellationToken::new();
        Running { metrics, task: tokio::spawn(lane.run(stop.clone())), stop }
    }

    /// Runs the lane until it has caught up, or can do no more. Its books balance then.
    pub async fn run_once(&self, lane: Lane) -> LaneEnd {
        let running = self.start(Lane { once: true, ..lane });
        let end = running.task.await.unwrap();
        assert_counts_balance(&running.metrics);
        end
    }

    /// What is stored of the lane to the sink of this name.
    pub fn checkpoint(&self, stream: Stream, name: &str) -> Option<LaneCheckpoint> {
        let id = LaneId::new("acme", stream, name);
        self.store.checkpoints().get(&id.into()).map(|bytes| LaneCheckpoint::decode(bytes).unwrap())
    }
}

impl Running {
    /// Lets the lane drain and end.
    pub async fn drain(self) -> Arc<LaneMetrics> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.metrics
    }
}

/// The counts of a lane without records in flight: pulled = delivered + skipped + requeued + dead letters.
pub fn assert_counts_balance(metrics: &LaneMetrics) {
    let pulled = metrics.pull.records.get();
    metrics.requeue_in_flight();
    let settled = metrics.send.delivered.get() + metrics.send.dead_letters.get();
    assert_eq!(pulled, settled + metrics.skipped_total() + metrics.pull.requeued.get());
}

/// The emulated console as a transport; each response takes at least `delay`.
fn emulated(console: Arc<emulator::Console>, clock: Clock, delay: Duration) -> ScriptedTransport {
    ScriptedTransport::new(move |request| {
        let console = console.clone();
        async move {
            sleep(delay).await;
            let mut headers = HeaderMap::new();
            let token = secrecy::ExposeSecret::expose_secret(&request.token).to_owned();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("ApiToken {token}")).unwrap());
            let asked = emulator::Request {
                method: if request.body.is_some() { http::Method::POST } else { http::Method::GET },
                path: request.url.path().to_owned(),
                query: request.url.query().unwrap_or_default().to_owned(),
                headers,
                body: request.body.map(Bytes::from).unwrap_or_default(),
            };
            let answer = console.answer(&asked, clock.now().micros());
            let transmission = answer.transmission;
            sleep(transmission.delay + transmission.body_duration).await;
            if transmission.dropped || transmission.truncate_after.is_some_and(|cut| cut < answer.body.len()) {
                return Err(TransportError::Broken("the connection broke".to_owned()));
            }
            Ok(console::Response { status: answer.status, headers: answer.headers, body: answer.body })
        }
    })
}
