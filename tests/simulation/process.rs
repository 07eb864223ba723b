//! One process: its lanes share a budget and an access to the console, and die together or one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use s1_forwarder::console::{self, Client, LimiterKey, Limiters};
use s1_forwarder::emulator::Setup;
use s1_forwarder::lane::{Budget, Lane, LaneEnd};
use s1_forwarder::record::{Clock, Timestamp};
use s1_forwarder::settings::{Period, Schema};
use s1_forwarder::sink::dead_letters::DeadLetters;
use s1_forwarder::sink::deliver::{Delivery, Health};
use s1_forwarder::sink::settings::RetrySettings;
use s1_forwarder::sink::throttle::Throttle;
use s1_forwarder::sink::{Deadline, Sink};
use s1_forwarder::source::{Pull, Settings, Vulnerabilities};
use s1_forwarder::state::LaneId;
use s1_forwarder::telemetry::{DropReason, LaneMetrics, Meter, Telemetry};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::console::Wire;
use crate::nature::{EXCLUDED, HOST};
use crate::plan::LanePlan;
use crate::sink::Destination;
use crate::store::Shelf;
use crate::world::{Switch, World, lock};

/// `--shutdown-timeout`.
const SHUTDOWN: Duration = Duration::from_secs(25);

pub struct Process {
    world: Arc<World>,
    budget: Arc<Budget>,
    telemetry: Arc<Telemetry>,
    client: Arc<Client>,
    clock: Clock,
    lanes: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    running: Option<Running>,
    metrics: Option<Arc<LaneMetrics>>,
    lives: Vec<usize>,
    killed: bool,
}

struct Running {
    life: usize,
    stop: CancellationToken,
    switch: Arc<Switch>,
    task: JoinHandle<Option<LaneEnd>>,
}

/// A lane that can die between any two of its polls.
struct Mortal {
    lane: Option<Pin<Box<dyn Future<Output = LaneEnd> + Send>>>,
    switch: Arc<Switch>,
}

impl Future for Mortal {
    type Output = Option<LaneEnd>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        *lock(&self.switch.waker) = Some(context.waker().clone());
        let left = self.switch.polls_left.load(Ordering::Relaxed);
        if left == 0 {
            self.lane = None;
        } else {
            self.switch.polls_left.store(left - 1, Ordering::Relaxed);
        }
        match &mut self.lane {
            Some(lane) => lane.as_mut().poll(context).map(Some),
            None => Poll::Ready(None),
        }
    }
}

/// The stream with nothing but defaults, save what only settings can say.
fn usual(plan: &LanePlan) -> Pull {
    let vulnerabilities = Vulnerabilities { resync: plan.resync.map(Period), ..Vulnerabilities::default() };
    let settings = Settings { vulnerabilities: Some(vulnerabilities), ..Settings::default() };
    settings.pulls().into_iter().find(|pull| pull.stream == plan.stream).unwrap_or_else(|| Pull::of(plan.stream))
}

impl Process {
    pub fn start(world: &Arc<World>) -> Self {
        let plan = &world.plan;
        let budget = Budget::new(plan.budget);
        *lock(&world.budget) = Some(budget.clone());
        let ahead = Timestamp::from_micros(plan.start.micros() + plan.skew * 1_000_000);
        let clock = Clock::Simulated { start: ahead, begun: world.begun };
        let settings: console::Settings = serde_json::from_value(serde_json::json!({
            "url": format!("https://{HOST}"), "token": Setup::TOKEN,
            "timeout": format!("{}s", plan.console.timeout.as_secs()),
        }))
        .unwrap();
        let random = std::sync::Mutex::new(world.lanes[0].fork_random());
        let wire = Wire { world: world.clone(), random, empty_pages: Default::default() };
        let limiter =
            Limiters::default().join(LimiterKey { host: HOST.to_owned(), token: String::new() }, plan.console.rate);
        let client = Arc::new(Client::new(&settings, Arc::new(wire), limiter, clock));
        let lanes = world.lanes.iter().map(|_| Slot::default()).collect();
        let mut process =
            Self { world: world.clone(), budget, telemetry: Arc::new(Telemetry::new()), client, clock, lanes };
        world.note(format_args!("a process starts"));
        (0..process.lanes.len()).for_each(|lane| process.start_lane(lane));
        process
    }

    pub fn start_lane(&mut self, index: usize) {
        let world = &self.world;
        let own = world.lanes[index].clone();
        let plan = own.plan.clone();
        let life = lock(&own.ledger).begin();
        world.note(format_args!("lane {index} begins life {life}"));
        let id = LaneId { pipeline: "acme".to_owned(), stream: plan.stream, sink: plan.sink.clone() };
        let meter = Meter::start(&self.telemetry, "acme", plan.stream, &plan.sink, "memory", self.clock);
        self.lanes[index].metrics = Some(meter.lane.clone());
        let destination = Destination { world: world.clone(), lane: own.clone(), life };
        let limits = destination.limits();
        let exclude_types = plan.exclude.clone();
        assert!(exclude_types.iter().all(|kind| *kind == EXCLUDED));
        let pull = Pull {
            interval: plan.interval,
            since: world.plan.since,
            overlap: world.plan.overlap,
            exclude_types,
            include_hidden: true,
            snapshot: plan.snapshot,
            marker: plan.marker,
            ..usual(&plan)
        };
        let mut random = own.fork_random();
        let lane = Lane {
            id,
            client: self.client.clone(),
            since_text: pull.since.to_string(),
            first_poll_after: pull.interval.mul_f64(if random.bool() { random.f64() } else { 0.0 }),
            pull: Arc::new(pull),
            transform: Arc::default(),
            schema: Schema::Raw,
            delivery: Arc::new(Delivery {
                sink: Arc::new(destination.clone()),
                retry: RetrySettings { initial: Period(plan.retry.0), max: Period(plan.retry.1) },
                dead_letters: Arc::new(DeadLetters::in_store(destination)),
                meter,
                clock: self.clock,
                health: Health::default(),
                throttle: Throttle::new(plan.concurrency),
                deadline: Deadline::default(),
            }),
            limits,
            flush: plan.flush,
            concurrency: plan.concurrency,
            store: Arc::new(Shelf { world: world.clone(), lane: own, life }),
            checkpoint_interval: world.plan.checkpoint_interval,
            budget: self.budget.lane(),
            clock: self.clock,
            random,
            once: false,
            known: None,
        };
        let (stop, switch) = (CancellationToken::new(), Arc::new(Switch::default()));
        let mortal = Mortal { lane: Some(Box::pin(lane.run(stop.clone()))), switch: switch.clone() };
        let task = tokio::spawn(mortal);
        self.lanes[index].lives.push(life);
        self.lanes[index].running = Some(Running { life, stop, switch, task });
    }

    pub fn switch(&self, lane: usize) -> Option<Arc<Switch>> {
        self.lanes[lane].running.as_ref().map(|running| running.switch.clone())
    }

    /// True when a lane has died.
    pub fn has_dead(&self) -> bool {
        (0..self.lanes.len()).any(|lane| self.is_dead(lane))
    }

    pub fn is_dead(&self, lane: usize) -> bool {
        self.lanes[lane].running.as_ref().is_some_and(|running| running.task.is_finished())
    }

    /// Starts what does not run.
    pub fn start_missing(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].running.is_none() {
                self.start_lane(lane);
            }
        }
    }

    /// Ends a lane at once.
    pub async fn kill_lane(&mut self, index: usize) {
        let Some(running) = self.lanes[index].running.take() else { return };
        running.task.abort();
        self.buried(index, running.life, running.task.await).await;
    }

    /// Lets a lane drain; when it takes too long, it is killed.
    pub async fn stop_lane(&mut self, index: usize) {
        let Some(mut running) = self.lanes[index].running.take() else { return };
        self.world.note(format_args!("lane {index} is asked to stop"));
        running.stop.cancel();
        let ended = match timeout(SHUTDOWN, &mut running.task).await {
            Ok(ended) => ended,
            Err(_) => {
                if self.world.is_calm() && !self.world.lanes[index].plan.dead_for_ever {
                    self.world.violation(format!("lane {index} did not drain though nothing was wrong"));
                }
                running.task.abort();
                running.task.await
            }
        };
        self.buried(index, running.life, ended).await;
    }

    async fn buried(&mut self, index: usize, life: usize, ended: Result<Option<LaneEnd>, tokio::task::JoinError>) {
        let world = &self.world;
        let own = &world.lanes[index];
        match ended {
            Ok(Some(end)) => {
                world.note(format_args!("lane {index} ended: {end:?}"));
                lock(&own.ledger).end_orderly(life);
            }
            other => {
                world.note(format_args!("lane {index} is dead"));
                if let Err(error) = other
                    && error.is_panic()
                {
                    world.violation(format!("lane {index} panicked: {error}"));
                }
                let fresh = world.plan.checkpoint_interval + world.plan.store.latency * 4 + Duration::from_millis(500);
                lock(&own.ledger).end_killed(life, fresh);
                self.lanes[index].killed = true;
            }
        }
        // What the lane had spawned is dropped now.
        for _ in 0..20 {
            yield_now().await;
        }
        if let Some(metrics) = &self.lanes[index].metrics {
            metrics.give_back_open();
        }
    }

    pub async fn kill(&mut self) {
        for lane in &self.lanes {
            lane.running.iter().for_each(|running| running.task.abort());
        }
        for index in 0..self.lanes.len() {
            self.kill_lane(index).await;
        }
        self.close();
    }

    pub async fn stop(&mut self) {
        for lane in &self.lanes {
            lane.running.iter().for_each(|running| running.stop.cancel());
        }
        for index in 0..self.lanes.len() {
            self.stop_lane(index).await;
        }
        self.close();
    }

    /// No lane runs: nothing is held, and the books balance.
    fn close(&self) {
        let world = &self.world;
        *lock(&world.armed) = None;
        if self.budget.used() != 0 {
            world.violation(format!("{} bytes are held by nobody", self.budget.used()));
        }
        for (index, slot) in self.lanes.iter().enumerate() {
            let Some(metrics) = &slot.metrics else { continue };
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let (pulled, delivered, letters) = (of(&metrics.pulled), of(&metrics.delivered), of(&metrics.dead_letters));
            let dropped: u64 = DropReason::ALL.into_iter().map(|reason| metrics.dropped(reason)).sum();
            if pulled != delivered + letters + dropped {
                world.violation(format!(
                    "lane {index}: {pulled} pulled, {delivered} delivered, {letters} dead letters, {dropped} dropped"
                ));
            }
            let ledger = lock(&world.lanes[index].ledger);
            let told =
                |of: fn(&crate::ledger::Life) -> u64| slot.lives.iter().map(|life| of(&ledger.lives[*life])).sum();
            let (acknowledged, kept): (u64, u64) = (told(|life| life.acknowledged), told(|life| life.letters));
            drop(ledger);
            if !slot.killed && (acknowledged, kept) != (delivered, letters) {
                world.violation(format!(
                    "lane {index}: {acknowledged} acknowledged, {delivered} counted; {kept} kept, {letters} counted"
                ));
            }
        }
    }
}
