use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::LaneBudget;
use super::checkpoint_writer::{CheckpointWriter, waits};
use super::lane_checkpoint::LaneCheckpoint;
use super::map::{self, ExpansionRatio, MapStage};
use super::poll_schedule::PollSchedule;
use super::pull::{PullEnd, PullStage};
use super::send::{SendStage, SessionEnd, report};
use super::sizing::Sizing;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, LaneId};
use crate::console::{Client, ConsoleError, Endpoint};
use crate::record::{Clock, Identity};
use crate::sink::Limits;
use crate::sink::deliver::Delivery;
use crate::sink::settings::RetrySettings;
use crate::source::{Pass, PassPosition, Pull, SourcePosition};
use crate::telemetry::LaneState;
use crate::transform::{self, Mapper, Origin, Schema};

/// Pages that wait between source and transform.
const PAGES: usize = 2;
/// Batches that wait between transform and sink.
const BATCHES: usize = 1;

/// The first and the longest pause after a failure, before the lane tries again.
const AFTER_UNAUTHORIZED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
const AFTER_FORBIDDEN: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(3600));
const AFTER_SINK_REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// Shorter: the sink works, only the store of dead letters does not.
const AFTER_DEAD_LETTERS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
const AFTER_BREAK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One stream of one pipeline going to one sink.
#[derive(Debug)]
pub struct Lane {
    /// What its checkpoint is stored under.
    pub key: CheckpointKey,
    /// Access to the console.
    pub client: Arc<Client>,
    /// What to pull, and how often.
    pub pull: Arc<Pull>,
    /// `since` as the pipeline file has it.
    pub since_text: String,
    /// How records are mapped, except for the schema.
    pub transform: Arc<transform::TransformSettings>,
    /// The schema of the events.
    pub schema: Schema,
    /// Delivers batches.
    pub delivery: Arc<Delivery>,
    /// What a batch may contain.
    pub limits: Limits,
    /// How long an event may wait for its batch to fill.
    pub flush: Duration,
    /// How many batches may be in flight.
    pub concurrency: usize,
    /// Stores the checkpoint, or its copy where the sink stores the checkpoint.
    pub store: Arc<dyn CheckpointBackend>,
    /// `--checkpoint-interval`.
    pub checkpoint_interval: Duration,
    pub budget: LaneBudget,
    pub clock: Clock,
    /// For waits.
    pub random: fastrand::Rng,
    /// Wait before the first poll.
    pub first_poll_after: Duration,
    /// End when everything up to the start is delivered.
    pub once: bool,
    /// Identities of records that a repair does not deliver again.
    pub known: Option<Arc<HashSet<Identity>>>,
}

/// What a lane keeps from poll to poll.
struct LaneProgress {
    checkpoint: LaneCheckpoint,
    writer: CheckpointWriter,
    sizing: Arc<Mutex<Sizing>>,
    backoffs: Backoffs,
    schedule: PollSchedule,
}

/// Why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// It was asked to stop; what was in flight is delivered and stored.
    Drained,
    /// `once`: everything up to the start is delivered and stored.
    Complete,
    /// `once`: the console refuses, and another attempt soon would not help.
    Refused,
    /// Another process writes the lane's checkpoint now; this one writes nothing more.
    Superseded,
}

impl Lane {
    /// Runs until it is asked to stop, or, with `once`, has caught up.
    pub fn run(self, stop: CancellationToken) -> impl Future<Output = LaneEnd> + Send + 'static {
        // Boxed: an `async fn` stores a moved argument twice in its state.
        Box::new(self).run_inner(stop)
    }

    async fn run_inner(mut self: Box<Self>, stop: CancellationToken) -> LaneEnd {
        let meter = self.delivery.meter.clone();
        let mut reopening = false;
        let end = loop {
            let Some(mut progress) = stop.run_until_cancelled(Box::pin(self.open(reopening))).await else {
                break LaneEnd::Drained;
            };
            match self.poll_until_end(&mut progress, &stop).await {
                // The session with a transactional sink has ended: reopen the lane and read its checkpoint again.
                LaneEnd::Superseded if self.transactional_sink().is_some() => {
                    meter.lane.requeue_in_flight();
                    (self.first_poll_after, reopening) = (Duration::ZERO, true);
                }
                end => break end,
            }
        };
        if !matches!(end, LaneEnd::Superseded | LaneEnd::Refused) {
            meter.done();
        }
        end
    }

    /// Opens the lane's checkpoint, and tries again until that succeeds.
    async fn open(&mut self, mut has_failed: bool) -> Box<LaneProgress> {
        let mut waits = waits(&mut self.random);
        let checkpoint = loop {
            match self.try_open().await {
                Ok(checkpoint) => break checkpoint,
                Err(reason) => {
                    has_failed = true;
                    self.delivery.meter.set_store_failure(Some(LaneState::Stopped(reason)));
                    sleep(waits.wait()).await;
                }
            }
        };
        if has_failed {
            self.delivery.meter.set_store_failure(None);
        }
        report(&self.delivery.meter.lane, &checkpoint.position);
        let (backends, random) = (self.backends(), self.random.fork());
        Box::new(LaneProgress {
            schedule: self.schedule(&checkpoint.position),
            checkpoint,
            writer: CheckpointWriter::new(backends, &self.key, &self.delivery, self.checkpoint_interval, random),
            sizing: Arc::new(Mutex::new(Sizing::new(Endpoint::of(self.key.lane.stream).max_limit))),
            backoffs: Backoffs::default(),
        })
    }

    /// Polls the passes as they fall due, and stores the checkpoint at the end.
    async fn poll_until_end(&mut self, progress: &mut LaneProgress, stop: &CancellationToken) -> LaneEnd {
        let end = loop {
            let Some((pass, next_poll)) = progress.schedule.next() else { break LaneEnd::Complete };
            let waited = stop.run_until_cancelled(progress.wait_until(next_poll)).await;
            if progress.writer.is_superseded() {
                return LaneEnd::Superseded;
            }
            if waited.is_none() {
                break LaneEnd::Drained;
            }
            let begun = Instant::now();
            // Boxed, so that a lane is small while it sleeps: there are tens of thousands.
            let end = Box::pin(self.session(progress, pass, stop)).await;
            match self.after(end, pass, begun, progress, stop).await {
                Some(LaneEnd::Superseded) => return LaneEnd::Superseded,
                Some(end) => break end,
                None => {}
            }
        };
        progress.writer.flush(&mut progress.checkpoint).await;
        end
    }

    /// One poll of one pass: its pages are mapped, and the batches delivered.
    async fn session(&mut self, progress: &mut LaneProgress, pass: usize, stop: &CancellationToken) -> SessionEnd {
        let (pages, pulled) = mpsc::channel(PAGES);
        let (batches, mapped) = mpsc::channel(BATCHES);
        let position = progress.checkpoint.position.clone();
        let pull = self.pull_stage(&progress.sizing, stop);
        let random = self.random.fork();
        let send = self.send_stage(progress, random).run(mapped);
        let mut mapping = JoinSet::new();
        let end = {
            let map = map::run(|| self.map_stage(), pulled, batches, &mut mapping);
            let upstream = async { _ = tokio::join!(pull.run(position, pass, pages), map) };
            tokio::pin!(upstream, send);
            // In this order, so that a simulated schedule replays.
            tokio::select! {
                biased;
                end = &mut send => end,
                () = &mut upstream => send.await,
            }
        };
        // Its counters must not change any more when the session's are settled.
        mapping.shutdown().await;
        end
    }

    fn pull_stage(&mut self, sizing: &Arc<Mutex<Sizing>>, stop: &CancellationToken) -> PullStage {
        PullStage {
            client: self.client.clone(),
            pull: self.pull.clone(),
            meter: self.delivery.meter.clone(),
            budget: self.budget.clone(),
            stop: stop.child_token(),
            random: self.random.fork(),
            sizing: sizing.clone(),
            known: self.known.clone(),
        }
    }

    fn map_stage(&self) -> MapStage {
        let LaneId { pipeline, stream, .. } = &self.key.lane;
        MapStage {
            mapper: Mapper::new(&self.transform, self.schema, Origin::of(pipeline, self.client.host(), *stream)),
            stream: *stream,
            limits: self.limits,
            flush: self.flush,
            meter: self.delivery.meter.clone(),
            budget: self.budget.clone(),
            expansion: ExpansionRatio::default(),
        }
    }

    fn send_stage<'a>(&'a self, progress: &'a mut LaneProgress, random: fastrand::Rng) -> SendStage<'a> {
        SendStage {
            stream: self.key.lane.stream,
            sink: self.transactional_sink(),
            delivery: &self.delivery,
            concurrency: self.concurrency,
            pull: &self.pull,
            passes: self.pull.passes(),
            is_probing: progress.backoffs.sink != Backoff::default(),
            budget: &self.budget,
            checkpoint: &mut progress.checkpoint,
            writer: &mut progress.writer,
            random,
        }
    }

    /// Plans what follows a session; none when another one does.
    async fn after(
        &mut self,
        end: SessionEnd,
        pass: usize,
        begun: Instant,
        progress: &mut LaneProgress,
        stop: &CancellationToken,
    ) -> Option<LaneEnd> {
        let LaneProgress { checkpoint, schedule, backoffs, writer, .. } = progress;
        let meter = &self.delivery.meter;
        if let SessionEnd::Settled(end @ (PullEnd::Complete(_) | PullEnd::NotDue(_))) = end {
            *backoffs = Backoffs::default();
            meter.set_sink_failure(None);
            match end {
                PullEnd::NotDue(start) => schedule.not_due(pass, start, &checkpoint.position, self.once),
                _ => schedule.done(pass, begun, &checkpoint.position, self.once),
            }
            return None;
        }
        meter.lane.requeue_in_flight();
        let pause = match end {
            SessionEnd::Settled(PullEnd::Refused(error)) => {
                let is_token = matches!(error, ConsoleError::Unauthorized(_));
                // None when the lane is asked to stop meanwhile.
                match stop.run_until_cancelled(Box::pin(self.explain(error))).await {
                    None => Duration::ZERO,
                    Some(reason) => {
                        self.delivery.meter.set_console_failure(Some(LaneState::ConsoleRefused(reason)));
                        if self.once && !is_token {
                            return Some(LaneEnd::Refused);
                        }
                        let window = if is_token { AFTER_UNAUTHORIZED } else { AFTER_FORBIDDEN };
                        backoffs.console.next(window, &mut self.random)
                    }
                }
            }
            SessionEnd::Settled(_) => return Some(LaneEnd::Drained),
            SessionEnd::Superseded => return Some(LaneEnd::Superseded),
            SessionEnd::SinkUnavailable => {
                if self.budget.is_proven() {
                    backoffs.sink = Backoff::default();
                }
                self.budget.set_proven(false);
                let RetrySettings { initial, max } = self.delivery.retry;
                let pause = backoffs.sink.next((initial.0, max.0), &mut self.random);
                pause.max(self.delivery.throttle.blocked_for())
            }
            SessionEnd::DeadLetters(reason) => {
                self.budget.set_proven(false);
                meter.set_sink_failure(Some(LaneState::Stopped(reason)));
                backoffs.sink.next(AFTER_DEAD_LETTERS, &mut self.random)
            }
            SessionEnd::SinkRefused(reason) => {
                self.budget.set_proven(false);
                meter.set_sink_failure(Some(LaneState::SinkRefused(reason)));
                backoffs.sink.next(AFTER_SINK_REFUSED, &mut self.random)
            }
            SessionEnd::Broken => {
                let reason = "an error of this program: a stage of the lane broke; it goes on from the checkpoint";
                meter.set_sink_failure(Some(LaneState::Stopped(reason.to_owned())));
                backoffs.sink.next(AFTER_BREAK, &mut self.random)
            }
        };
        schedule.pause(pause);
        // The pause may be long, and a kill during it must not repeat what was settled.
        stop.run_until_cancelled(writer.flush(checkpoint)).await;
        None
    }

    /// When each pass is polled first: the first pass after `first_poll_after`, the others when their period is over.
    fn schedule(&self, position: &SourcePosition) -> PollSchedule {
        let now = self.clock.now();
        let wait = |(index, pass): (usize, &Pass)| {
            let complete = position.track(index).and_then(PassPosition::complete);
            // A scope of findings that was never read is due at once.
            let never = if pass.chain.is_some() { Duration::ZERO } else { pass.every };
            let due = complete.map_or(never, |complete| pass.every.saturating_sub(now.since(complete)));
            if index == 0 || self.once { self.first_poll_after } else { due.max(self.first_poll_after) }
        };
        let passes = self.pull.passes();
        PollSchedule::new(passes.iter().enumerate().map(|pass| (pass.1.every, wait(pass))))
    }

    /// A refused token may have expired or have been revoked; the console can tell.
    async fn explain(&self, error: ConsoleError) -> String {
        let ConsoleError::Unauthorized(reason) = &error else { return error.to_string() };
        match self.client.token_expiry().await {
            Ok(Some(expiry)) if expiry <= self.clock.now() => format!("{reason}; the token expired at {expiry}"),
            _ => format!("{reason}; the token is wrong, revoked or expired"),
        }
    }
}

impl LaneProgress {
    /// Sleeps until the next poll, and writes checkpoints that fall due. Returns early when another process has taken
    /// the lane over.
    async fn wait_until(&mut self, next_poll: Instant) {
        while !self.writer.is_superseded() {
            tokio::select! {
                biased;
                () = sleep_until(next_poll) => return,
                () = self.writer.write_due(&mut self.checkpoint, false) => {}
            }
        }
    }
}

/// Pauses between sessions, longer while the same side refuses.
#[derive(Default)]
struct Backoffs {
    console: Backoff,
    sink: Backoff,
}

#[derive(Default, PartialEq, Eq)]
struct Backoff(u32);

impl Backoff {
    /// Doubles from the first to the last of `window`. The second half of each pause is random, so that lanes spread
    /// out.
    fn next(&mut self, (first, last): (Duration, Duration), random: &mut fastrand::Rng) -> Duration {
        let pause = first.saturating_mul(1 << self.0.min(16)).min(last);
        self.0 += 1;
        pause.mul_f64(0.5 + random.f64() / 2.0)
    }
}
