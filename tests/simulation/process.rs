//! One process: its lanes share a budget and an access to the console, and die together or one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use s1_forwarder::console::{self, Client, LimiterKey, Limiters};
use s1_forwarder::dead_letters::DeadLetters;
use s1_forwarder::delivery::Delivery;
use s1_forwarder::delivery::throttle::Throttle;
use s1_forwarder::emulator::Setup;
use s1_forwarder::lane::{Budget, Lane, LaneEnd, Remembered};
use s1_forwarder::record::{Clock, LaneId, Timestamp};
use s1_forwarder::settings::{Period, RetrySettings};
use s1_forwarder::source::{PullSettings, StreamOptions};
use s1_forwarder::telemetry::{LaneMetrics, LaneState, LaneStateKind, Meter, Telemetry};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::console::Wire;
use crate::model::{EXCLUDED, HOST};
use crate::plan::LanePlan;
use crate::shared::{Simulation, Switch, lock};
use crate::sink::Destination;
use crate::store::SimulatedStore;

/// `--shutdown-timeout`.
const SHUTDOWN: Duration = Duration::from_secs(25);

pub struct Process {
    simulation: Arc<Simulation>,
    budget: Arc<Budget>,
    remembered: Arc<Remembered>,
    telemetry: Arc<Telemetry>,
    client: Arc<Client>,
    clock: Clock,
    lanes: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    running: Option<Running>,
    metrics: Option<Arc<LaneMetrics>>,
    incarnations: Vec<usize>,
    killed: bool,
}

struct Running {
    incarnation: usize,
    stop: CancellationToken,
    switch: Arc<Switch>,
    task: JoinHandle<Option<LaneEnd>>,
}

/// A lane that can die between any two of its polls. After each, what it shows is noted if it has changed.
struct Mortal {
    lane: Option<Pin<Box<dyn Future<Output = LaneEnd> + Send>>>,
    switch: Arc<Switch>,
    index: usize,
    metrics: Arc<LaneMetrics>,
    shown: Option<(LaneState, Option<Timestamp>)>,
    simulation: Arc<Simulation>,
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
        let polled = match &mut self.lane {
            Some(lane) => lane.as_mut().poll(context).map(Some),
            None => Poll::Ready(None),
        };
        let shown = Some((self.metrics.state(), self.metrics.next_attempt()));
        if self.shown != shown {
            self.shown = shown;
            self.simulation.shows(self.index, &self.metrics);
        }
        polled
    }
}

/// The stream with nothing but defaults, save what the plan says of it.
fn usual(plan: &LanePlan) -> PullSettings {
    let hidden = ("includeHidden", "true".to_owned());
    let mut pull = PullSettings { filters: vec![hidden], ..PullSettings::of(plan.stream) };
    match &mut pull.own {
        StreamOptions::Activities(activities) => activities.exclude_types = plan.exclude.clone(),
        StreamOptions::Agents(agents) => {
            agents.snapshot = plan.snapshot;
            agents.marker = plan.marker;
        }
        StreamOptions::Vulnerabilities(findings) => findings.resync = plan.resync.unwrap_or(findings.resync),
        _ => {}
    }
    pull
}

impl Process {
    pub fn start(simulation: &Arc<Simulation>) -> Self {
        let plan = &simulation.plan;
        let budget = Budget::new(plan.budget);
        *lock(&simulation.budget) = Some(budget.clone());
        let ahead = Timestamp::from_micros(plan.start.micros() + plan.skew * 1_000_000);
        let clock = Clock::Simulated { start: ahead, started_at: simulation.started_at };
        let settings: console::ConsoleSettings = serde_json::from_value(serde_json::json!({
            "url": format!("https://{HOST}"), "token": Setup::TOKEN,
            "timeout": format!("{}s", plan.console.timeout.as_secs()),
        }))
        .unwrap();
        let random = std::sync::Mutex::new(simulation.lanes[0].fork_random());
        let wire = Wire {
            simulation: simulation.clone(),
            random,
            empty_pages: Default::default(),
            ended_early: Default::default(),
        };
        let limiter =
            Limiters::default().join(LimiterKey { host: HOST.to_owned(), token: String::new() }, plan.console.rate);
        let client = Arc::new(Client::new(&settings, Arc::new(wire), limiter, clock));
        let lanes = simulation.lanes.iter().map(|_| Slot::default()).collect();
        let mut process = Self {
            simulation: simulation.clone(),
            budget,
            remembered: Remembered::new(u64::MAX, usize::MAX),
            telemetry: Arc::new(Telemetry::new()),
            client,
            clock,
            lanes,
        };
        simulation.note(format_args!("a process starts"));
        (0..process.lanes.len()).for_each(|lane| process.start_lane(lane));
        process
    }

    pub fn start_lane(&mut self, index: usize) {
        let simulation = &self.simulation;
        let own = simulation.lanes[index].clone();
        let plan = own.plan.clone();
        let incarnation = lock(&own.ledger).begin();
        simulation.note(format_args!("lane {index} begins incarnation {incarnation}"));
        let id = LaneId::new("acme", plan.stream, &plan.sink);
        let meter = Meter::start(&self.telemetry, &id, "memory", self.clock);
        self.lanes[index].metrics = Some(meter.metrics.clone());
        let destination = Destination { simulation: simulation.clone(), lane: own.clone(), incarnation };
        assert!(plan.exclude.iter().all(|kind| *kind == EXCLUDED));
        let pull = PullSettings {
            interval: plan.interval,
            since: simulation.plan.since,
            overlap: simulation.plan.overlap,
            ..usual(&plan)
        };
        let mut random = own.fork_random();
        let delivery = Delivery {
            retry: RetrySettings { initial: Period(plan.retry.0), max: Period(plan.retry.1) },
            dead_letters: Arc::new(DeadLetters::in_store(destination.clone(), "")),
            throttle: Throttle::new(plan.concurrency),
            ..Delivery::for_tests(Arc::new(destination), meter, self.clock)
        };
        let lane = Lane {
            first_poll_after: pull.interval.mul_f64(if random.bool() { random.f64() } else { 0.0 }),
            batch_timeout: plan.batch_timeout,
            concurrency: plan.concurrency,
            store: Arc::new(SimulatedStore { simulation: simulation.clone(), lane: own, incarnation }),
            checkpoint_interval: simulation.plan.checkpoint_interval,
            budget: self.budget.lane(),
            memory: self.remembered.lane("acme"),
            random,
            ..Lane::for_tests(id.into(), self.client.clone(), pull, delivery)
        };
        let stop = CancellationToken::new();
        let switch = Arc::new(Switch::default());
        let mortal = Mortal {
            metrics: lane.delivery.meter.metrics.clone(),
            lane: Some(Box::pin(lane.run(stop.clone()))),
            switch: switch.clone(),
            index,
            shown: None,
            simulation: simulation.clone(),
        };
        let task = tokio::spawn(mortal);
        self.lanes[index].incarnations.push(incarnation);
        self.lanes[index].running = Some(Running { incarnation, stop, switch, task });
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

    /// Restarts lanes that refusals have stopped, as their operator would: if nine events were refused by a sink that
    /// is well again, and the tenth is refused for what it is, a lane does not go on by itself.
    pub async fn restart_stopped(&mut self) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let is_refused =
                |state: LaneState| matches!(state.kind, LaneStateKind::Misconfigured(_) | LaneStateKind::SinkRefused);
            let is_stopped = lane.metrics.as_ref().is_some_and(|metrics| is_refused(metrics.state()));
            if is_stopped && self.simulation.lanes[index].plan.poison > 0.0 {
                self.stop_lane(index).await;
                self.start_lane(index);
            }
        }
    }

    /// Ends a lane at once.
    pub async fn kill_lane(&mut self, index: usize) {
        let Some(running) = self.lanes[index].running.take() else { return };
        running.task.abort();
        self.buried(index, running.incarnation, running.task.await).await;
    }

    /// Lets a lane drain; when it takes too long, it is killed.
    pub async fn stop_lane(&mut self, index: usize) {
        let Some(mut running) = self.lanes[index].running.take() else { return };
        self.simulation.note(format_args!("lane {index} is asked to stop"));
        running.stop.cancel();
        let ended = match timeout(SHUTDOWN, &mut running.task).await {
            Ok(ended) => ended,
            Err(_) => {
                if self.simulation.is_calm() && !self.simulation.lanes[index].plan.dead_for_ever {
                    self.simulation.violation(format!("lane {index} did not drain though nothing was wrong"));
                }
                running.task.abort();
                running.task.await
            }
        };
        self.buried(index, running.incarnation, ended).await;
    }

    async fn buried(
        &mut self,
        index: usize,
        incarnation: usize,
        ended: Result<Option<LaneEnd>, tokio::task::JoinError>,
    ) {
        let simulation = &self.simulation;
        let own = &simulation.lanes[index];
        match ended {
            Ok(Some(end)) => {
                simulation.note(format_args!("lane {index} ended: {end:?}"));
                lock(&own.ledger).end_orderly(incarnation);
            }
            other => {
                simulation.note(format_args!("lane {index} is dead"));
                if let Err(error) = other
                    && error.is_panic()
                {
                    simulation.violation(format!("lane {index} panicked: {error}"));
                }
                let fresh = simulation.plan.checkpoint_interval
                    + simulation.plan.store.latency * 4
                    + Duration::from_millis(500);
                lock(&own.ledger).end_killed(incarnation, fresh);
                self.lanes[index].killed = true;
            }
        }
        // What the lane had spawned is dropped now.
        for _ in 0..20 {
            yield_now().await;
        }
        if let Some(metrics) = &self.lanes[index].metrics {
            metrics.requeue_in_flight();
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

    /// No lane runs: nothing is reserved, and the counts balance.
    fn close(&self) {
        let simulation = &self.simulation;
        *lock(&simulation.armed) = None;
        if self.budget.used() != 0 {
            simulation.violation(format!("{} bytes are held by nobody", self.budget.used()));
        }
        for (index, slot) in self.lanes.iter().enumerate() {
            let Some(metrics) = &slot.metrics else { continue };
            let pulled = metrics.pull.records.get();
            let delivered = metrics.send.delivered.get();
            let dead_letters = metrics.send.dead_letters.get();
            let skipped = metrics.skipped_total();
            let requeued = metrics.pull.requeued.get();
            if pulled != delivered + dead_letters + skipped + requeued {
                simulation.violation(format!(
                    "lane {index}: {pulled} pulled, {delivered} delivered, {dead_letters} dead letters, {skipped} skipped, \
                     {requeued} requeued"
                ));
            }
            let ledger = lock(&simulation.lanes[index].ledger);
            let reported = |count: fn(&crate::ledger::Incarnation) -> u64| {
                slot.incarnations.iter().map(|incarnation| count(&ledger.incarnations[*incarnation])).sum()
            };
            let acknowledged: u64 = reported(|incarnation| incarnation.acknowledged);
            let kept: u64 = reported(|incarnation| incarnation.dead_letters);
            drop(ledger);
            if !slot.killed && (acknowledged, kept) != (delivered, dead_letters) {
                simulation.violation(format!(
                    "lane {index}: {acknowledged} acknowledged, {delivered} counted; {kept} kept, {dead_letters} counted"
                ));
            }
        }
    }
}
