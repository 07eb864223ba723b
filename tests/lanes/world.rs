//! The surroundings of a lane without sockets: the emulated console as a transport, a store and sinks in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use s1_forwarder::console::{self, Client, Cut, LimiterKey, Limiters, Transport, TransportError};
use s1_forwarder::emulator::{self, Kind, Setup};
use s1_forwarder::lane::{Budget, Lane, LaneEnd, Standing};
use s1_forwarder::record::{Clock, Identity, Stream, Timestamp};
use s1_forwarder::settings::Schema;
use s1_forwarder::sink::dead_letters::DeadLetters;
use s1_forwarder::sink::deliver::{Delivery, Health};
use s1_forwarder::sink::settings::RetrySettings;
use s1_forwarder::sink::throttle::Throttle;
use s1_forwarder::sink::{Attempt, Batch, Deadline, Limits, Outcome, Probe, Sink};
use s1_forwarder::source::{Checkpoint, Pull, Since};
use s1_forwarder::state::{LaneId, StateError, Store};
use s1_forwarder::telemetry::{LaneMetrics, Meter, Telemetry};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// When the simulated clock begins.
pub const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// A console, a store, a budget and a clock that lanes share.
pub struct World {
    pub console: Arc<emulator::Console>,
    pub clock: Clock,
    pub telemetry: Arc<Telemetry>,
    pub store: Arc<MemoryStore>,
    pub budget: Arc<Budget>,
    pub dead_letters: tempfile::TempDir,
    limiters: Limiters,
    /// How long the console takes to answer.
    pub console_delay: Duration,
}

/// A lane that runs.
pub struct Running {
    pub metrics: Arc<LaneMetrics>,
    pub stop: CancellationToken,
    pub task: JoinHandle<LaneEnd>,
}

impl World {
    pub fn new(setup: impl FnOnce(&mut Setup)) -> Self {
        let mut with = Setup::new(START.micros());
        setup(&mut with);
        Self {
            console: Arc::new(emulator::Console::new(&with)),
            clock: Clock::simulated(START),
            telemetry: Arc::new(Telemetry::new()),
            store: Arc::default(),
            budget: Budget::new(64 << 20),
            dead_letters: tempfile::tempdir().unwrap(),
            limiters: Limiters::default(),
            console_delay: Duration::from_millis(20),
        }
    }

    /// Every version of a kind that the console's list shows now, by identity.
    pub fn owed(&self, kind: Kind) -> BTreeMap<String, u64> {
        let stream = match kind {
            Kind::Threats => Stream::Threats,
            Kind::Activities => Stream::Activities,
            Kind::Agents => Stream::Agents,
            Kind::Alerts => Stream::Alerts,
            Kind::Groups => Stream::Groups,
            other => unreachable!("{other:?} are not pulled"),
        };
        let identity = |id: u64| {
            let record = self.console.record(kind, id).unwrap();
            s1_forwarder::record::facts(stream, &record).identity("console.example", &record).to_string()
        };
        // Pulled with `includeHidden`, activities are all there.
        let shown = match kind {
            Kind::Activities => self.console.ids(kind),
            _ => self.console.truth(kind, &emulator::Scope::Global).iter().map(|version| version.id).collect(),
        };
        shown.into_iter().map(|id| (identity(id), id)).collect()
    }

    pub fn pull(&self, stream: Stream) -> Pull {
        Pull {
            interval: Duration::from_secs(30),
            since: Since::Beginning,
            overlap: Duration::from_secs(300),
            include_hidden: true,
            ..Pull::of(stream)
        }
    }

    /// A lane to `sink`; `name` is the sink's.
    pub fn lane(&self, pull: Pull, name: &str, sink: Arc<dyn Sink>) -> Lane {
        let id = LaneId { pipeline: "acme".to_owned(), stream: pull.stream, sink: name.to_owned() };
        let transport = Emulated { console: self.console.clone(), clock: self.clock, delay: self.console_delay };
        let client = self.client(Arc::new(transport), name);
        let limits = sink.limits();
        let meter = Meter::start(&self.telemetry, "acme", pull.stream, name, "memory", self.clock);
        Lane {
            id,
            client: Arc::new(client),
            since_text: pull.since.to_string(),
            pull: Arc::new(pull),
            transform: Arc::default(),
            schema: Schema::Raw,
            delivery: Arc::new(Delivery {
                sink,
                retry: RetrySettings::default(),
                dead_letters: Arc::new(DeadLetters::directory(self.dead_letters.path(), 1 << 30)),
                meter,
                clock: self.clock,
                health: Health::default(),
                throttle: Throttle::new(4),
                deadline: Deadline::default(),
            }),
            limits,
            flush: Duration::from_secs(1),
            concurrency: 4,
            store: self.store.clone(),
            checkpoint_interval: Duration::ZERO,
            budget: self.budget.lane(),
            clock: self.clock,
            random: fastrand::Rng::with_seed(7),
            first_poll_after: Duration::ZERO,
            once: false,
            known: None,
        }
    }

    /// A client of the console behind `transport`, limited apart from those of other names.
    pub fn client(&self, transport: Arc<dyn Transport>, name: &str) -> Client {
        let settings: console::Settings = serde_json::from_value(serde_json::json!({
            "url": "https://console.example", "token": Setup::TOKEN, "requests_per_second": 1000.0,
        }))
        .unwrap();
        let key = LimiterKey { host: name.to_owned(), token: String::new() };
        Client::new(&settings, transport, self.limiters.join(key, 1000.0), self.clock)
    }

    pub fn start(&self, lane: Lane) -> Running {
        let (metrics, stop) = (lane.delivery.meter.lane.clone(), CancellationToken::new());
        Running { metrics, task: tokio::spawn(lane.run(stop.clone())), stop }
    }

    /// Runs the lane until it has caught up, or can do no more. Its books balance then.
    pub async fn run_once(&self, lane: Lane) -> LaneEnd {
        let running = self.start(Lane { once: true, ..lane });
        let end = running.task.await.unwrap();
        assert_books_balance(&running.metrics);
        end
    }

    /// What is stored of the lane to the sink of this name.
    pub fn standing(&self, stream: Stream, name: &str) -> Option<Standing> {
        let id = LaneId { pipeline: "acme".to_owned(), stream, sink: name.to_owned() };
        self.store.checkpoints.lock().unwrap().get(&id).map(|bytes| Standing::decode(bytes).unwrap())
    }

    pub fn checkpoint(&self, stream: Stream, name: &str) -> Option<Checkpoint> {
        Some(self.standing(stream, name)?.checkpoint)
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

/// The books of a lane that holds nothing: pulled = delivered + dropped + dead letters.
pub fn assert_books_balance(metrics: &LaneMetrics) {
    let pulled = metrics.pulled.load(Ordering::Relaxed);
    metrics.give_back_open();
    let given_back_more = metrics.pulled.load(Ordering::Relaxed) - pulled;
    assert_eq!(given_back_more, 0);
    let dropped: u64 = s1_forwarder::telemetry::DropReason::ALL.into_iter().map(|reason| metrics.dropped(reason)).sum();
    let settled = metrics.delivered.load(Ordering::Relaxed) + metrics.dead_letters.load(Ordering::Relaxed);
    assert_eq!(pulled, settled + dropped);
}

struct Emulated {
    console: Arc<emulator::Console>,
    clock: Clock,
    delay: Duration,
}

impl std::fmt::Debug for Emulated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Emulated")
    }
}

impl Transport for Emulated {
    fn send(&self, request: console::Request) -> BoxFuture<'_, Result<console::Response, TransportError>> {
        Box::pin(async move {
            sleep(self.delay).await;
            let uri: http::Uri = request.url.parse().unwrap();
            let mut headers = HeaderMap::new();
            let token = secrecy::ExposeSecret::expose_secret(&request.token).to_owned();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("ApiToken {token}")).unwrap());
            let asked = emulator::Request {
                method: if request.body.is_some() { http::Method::POST } else { http::Method::GET },
                path: uri.path().to_owned(),
                query: uri.query().unwrap_or_default().to_owned(),
                headers,
                body: request.body.map(Bytes::from).unwrap_or_default(),
            };
            let answer = self.console.answer(&asked, self.clock.now().micros());
            let travel = answer.travel;
            sleep(travel.delay + travel.body_takes).await;
            if travel.dropped || travel.cut_after.is_some_and(|cut| cut < answer.body.len()) {
                return Err(TransportError::Broken("cut".to_owned()));
            }
            if answer.body.len() > request.max_bytes {
                return Err(TransportError::TooLarge(Cut::of(&answer.body, request.max_bytes)));
            }
            Ok(console::Response { status: answer.status, headers: answer.headers, body: answer.body })
        })
    }
}

/// Checkpoints in memory; may refuse to be written, for some times, or for good since they are another process's.
#[derive(Debug, Default)]
pub struct MemoryStore {
    pub checkpoints: Mutex<BTreeMap<LaneId, Vec<u8>>>,
    failures: AtomicUsize,
    handed_over: AtomicBool,
}

impl MemoryStore {
    /// The next `times` writes fail.
    pub fn fail_next(&self, times: usize) {
        self.failures.store(times, Ordering::Relaxed);
    }

    /// From now on its checkpoints are another process's.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }
}

impl Store for MemoryStore {
    fn load<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async { Ok(self.checkpoints.lock().unwrap().get(lane).cloned()) })
    }

    fn save<'a>(&'a self, lane: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            if self.handed_over.load(Ordering::Relaxed) {
                return Err(StateError::Conflict { lane: lane.clone(), owner: "another process".to_owned() });
            }
            let fails =
                self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1)).is_ok();
            if fails {
                let source = std::io::Error::other("no space left");
                return Err(StateError::Io { action: "write", path: "memory".into(), source });
            }
            self.checkpoints.lock().unwrap().insert(lane.clone(), checkpoint);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>> {
        Box::pin(async { Ok(self.checkpoints.lock().unwrap().keys().cloned().collect()) })
    }

    fn rename<'a>(&'a self, from: &'a LaneId, to: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let mut lanes = self.checkpoints.lock().unwrap();
            let moved = lanes.remove(from).ok_or_else(|| StateError::Unknown(from.clone()))?;
            lanes.insert(to.clone(), moved);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            self.checkpoints.lock().unwrap().remove(lane);
            Ok(())
        })
    }
}

/// Decides what comes of the n-th attempt (from 0) on a batch; none means that the events are taken.
type Judge = Box<dyn FnMut(usize, &Batch) -> Option<Outcome> + Send>;

/// A sink that keeps what it takes.
pub struct MemorySink {
    pub taken: Mutex<Vec<(Identity, String, Timestamp)>>,
    pub attempts: AtomicUsize,
    pub limits: Limits,
    pub delay: Duration,
    /// Attempts under way when each one begins, itself included.
    pub parallel: Mutex<Vec<usize>>,
    under_way: AtomicUsize,
    clock: Clock,
    judge: Mutex<Judge>,
}

impl std::fmt::Debug for MemorySink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MemorySink")
    }
}

impl MemorySink {
    pub fn new(clock: Clock, judge: impl FnMut(usize, &Batch) -> Option<Outcome> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            attempts: AtomicUsize::new(0),
            limits: Limits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20, ..Limits::NONE },
            delay: Duration::from_millis(20),
            parallel: Mutex::default(),
            under_way: AtomicUsize::new(0),
            clock,
            judge: Mutex::new(Box::new(judge)),
        })
    }

    /// Replaces the judge.
    pub fn judge_by(&self, judge: impl FnMut(usize, &Batch) -> Option<Outcome> + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// Attempts under way now.
    pub fn parallel_now(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How often each identity was taken.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (identity, ..) in &*self.taken.lock().unwrap() {
            *counts.entry(identity.to_string()).or_default() += 1;
        }
        counts
    }

    pub fn total(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

impl Sink for MemorySink {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let parallel = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.parallel.lock().unwrap().push(parallel);
            sleep(self.delay).await;
            let outcome = (self.judge.lock().unwrap())(self.attempts.fetch_add(1, Ordering::Relaxed), batch);
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let spared: Vec<usize> = match &outcome {
                None | Some(Outcome::Delivered) => Vec::new(),
                Some(Outcome::Partial { rejected, retry, .. }) => {
                    rejected.iter().map(|(index, _)| *index).chain(retry.iter().copied()).collect()
                }
                Some(_) => (0..batch.len()).collect(),
            };
            let mut taken = self.taken.lock().unwrap();
            for (index, event) in batch.events().enumerate() {
                if !spared.contains(&index) {
                    taken.push((event.identity, event.record_id.to_owned(), self.clock.now()));
                }
            }
            let bytes = batch.body_bytes() as u64;
            Attempt { outcome: outcome.unwrap_or(Outcome::Delivered), bytes, status: "ok".to_owned() }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        Box::pin(async { Probe::Verified("memory".to_owned()) })
    }
}
