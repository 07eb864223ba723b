use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info};

use super::backoff::{Backoff, Refusals, spread};
use super::checkpoint_writer::{CheckpointWriter, waits};
use super::lane_checkpoint::LaneCheckpoint;
use super::poll_schedule::PollSchedule;
use super::pull::{Polled, PullStage};
use super::send::{SendStage, report};
use super::sizing::Sizing;
use super::{Lane, LaneEnd, map};
use crate::checkpoint::LaneId;
use crate::console::Endpoint;
use crate::failure::Failure;
use crate::record::Scope;
use crate::sink::deliver::DeliveryError;
use crate::sink::settings::RetrySettings;
use crate::source::{Learned, MAIN, Pass, PollEnd};
use crate::telemetry::{LaneState, lane_span};

/// Pages that wait between source and transform.
const PAGES: usize = 2;
/// Batches that wait between transform and sink.
const BATCHES: usize = 1;

/// The first and the longest pause after a refusal, before the lane tries again.
const AFTER_REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// The longest pause of a pass that the console refuses for more than the token.
const AFTER_FORBIDDEN: Duration = Duration::from_secs(3600);
/// With `once`, the pauses after refusals.
const AFTER_REFUSED_ONCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// After so many failures in a row a poll gives way to the stream's other passes; after one if the last poll failed.
const MOST_FAILURES: u32 = 10;
/// The longest pause of a pass that gave way, if the console names none.
const AFTER_GIVING_WAY: Duration = Duration::from_secs(60);

/// A transactional sink that lost the lane's checkpoint to another process sooner is followed by a pause.
const SHORT_OWNERSHIP: Duration = Duration::from_secs(60);

/// What a lane keeps from poll to poll.
struct LaneProgress {
    checkpoint: LaneCheckpoint,
    writer: CheckpointWriter,
    sizing: Sizing,
    learned: Learned,
    schedule: PollSchedule,
    /// Pauses while the console refuses the token.
    token_backoff: Backoff,
    /// Pauses while the sink fails.
    sink_backoff: Backoff,
    /// Refusals by console or sink in a row.
    refusals: Refusals,
}

/// Whose failure ended a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Console,
    Sink,
    DeadLetters,
}

impl Lane {
    /// Runs until it is asked to stop, or, with `once`, has caught up.
    pub fn run(self, stop: CancellationToken) -> impl Future<Output = LaneEnd> + Send + 'static {
        // Boxed: an `async fn` stores a moved argument twice in its state.
        let mut lane = Box::new(self);
        async move {
            let _share = lane.client.join_lane();
            let mut reopening = false;
            // Of a transactional sink. Boxed: most lanes have none.
            let mut between_sessions = None;
            let end = loop {
                let opened = Instant::now();
                let span = lane.span();
                let opening = Box::pin(lane.open(reopening).instrument(span));
                let mut progress = match stop.run_until_cancelled(opening).await {
                    Some(Ok(progress)) => progress,
                    Some(Err(end)) => break end,
                    None => break LaneEnd::Drained,
                };
                let end = lane.poll_until_end(&mut progress, &stop).await;
                if end != LaneEnd::Superseded || lane.transactional_sink().is_none() {
                    break end;
                }
                // The session with a transactional sink has ended: reopen the lane and read its checkpoint again.
                lane.delivery.meter.lane.requeue_in_flight();
                lane.first_poll_after = Duration::ZERO;
                reopening = true;
                if opened.elapsed() < SHORT_OWNERSHIP {
                    // Sessions that end as soon as they begin must not keep the brokers and the console busy.
                    let waits = between_sessions.get_or_insert_with(|| Box::new(waits(&mut lane.random)));
                    stop.run_until_cancelled(sleep(waits.wait())).await;
                }
            };
            if matches!(end, LaneEnd::Drained | LaneEnd::Complete) {
                lane.delivery.meter.done();
            }
            end
        }
    }

    /// Names the lane in log lines. It does not exist between polls: that would take half a KB for each of tens of
    /// thousands of lanes.
    fn span(&self) -> Span {
        let LaneId { pipeline, stream, sink } = &self.key.lane;
        lane_span(pipeline, *stream, sink)
    }

    /// Opens the lane's checkpoint, and tries again until that succeeds; with `once`, a few times where it is refused.
    async fn open(&mut self, mut has_failed: bool) -> Result<Box<LaneProgress>, LaneEnd> {
        let mut waits = waits(&mut self.random);
        let mut refusals = Refusals::default();
        let checkpoint = loop {
            match self.try_open().await {
                Ok(checkpoint) => break checkpoint,
                Err(failure) => {
                    has_failed = true;
                    refusals.count(&failure);
                    self.delivery.meter.set_store_failure(Some(LaneState::of_store(&failure)));
                    if self.once && refusals.end_a_run() {
                        return Err(LaneEnd::Refused);
                    }
                    sleep(waits.wait()).await;
                }
            }
        };
        if has_failed {
            self.delivery.meter.set_store_failure(None);
        }
        report(&self.delivery.meter.lane, &checkpoint.position);
        self.delivery.meter.measure_latency_from(checkpoint.rhythm.latency_from(&self.pull));
        // It is not known whether the console is silent before a poll has asked it.
        self.delivery.meter.lane.set_newest_record(checkpoint.rhythm.newest());
        self.delivery.meter.lane.set_silent(None);
        let now = self.delivery.clock.now();
        let passes = self.pull.passes();
        let random = self.random.fork();
        Ok(Box::new(LaneProgress {
            schedule: PollSchedule::new(&passes, &checkpoint.position, now, self.first_poll_after, self.once),
            checkpoint,
            writer: CheckpointWriter::new(self, random),
            sizing: Sizing::new(Endpoint::of(self.key.lane.stream).max_limit),
            learned: Learned::default(),
            token_backoff: Backoff::default(),
            sink_backoff: Backoff::default(),
            refusals: Refusals::default(),
        }))
    }

    /// Polls the passes as they fall due, and stores the checkpoint at the end.
    async fn poll_until_end(&mut self, progress: &mut LaneProgress, stop: &CancellationToken) -> LaneEnd {
        let mut is_refused = false;
        let end = loop {
            if progress.writer.is_refused() {
                break LaneEnd::Refused;
            }
            let Some((pass, next_poll)) = progress.schedule.next() else {
                break if progress.schedule.is_refused() { LaneEnd::Refused } else { LaneEnd::Complete };
            };
            self.report_next_attempt(next_poll, std::mem::take(&mut is_refused));
            // By reference: the function would reserve space for the future twice, in each of ten thousand lanes.
            let waited = stop.run_until_cancelled(pin!(progress.wait_until(next_poll, || self.span()))).await;
            self.delivery.meter.lane.set_next_attempt(None);
            if progress.writer.is_superseded() {
                return LaneEnd::Superseded;
            }
            if waited.is_none() {
                break LaneEnd::Drained;
            }
            let span = self.span();
            // Boxed, so that a lane is small while it sleeps: there are tens of thousands.
            match Box::pin(self.poll_once(progress, pass, stop).instrument(span)).await {
                ControlFlow::Continue(was_refused) => is_refused = was_refused,
                ControlFlow::Break(LaneEnd::Superseded) => return LaneEnd::Superseded,
                ControlFlow::Break(end) => break end,
            }
        };
        progress.writer.flush(&mut progress.checkpoint).instrument(self.span()).await;
        if progress.writer.is_superseded() {
            LaneEnd::Superseded
        } else if progress.writer.is_refused() {
            LaneEnd::Refused
        } else {
            end
        }
    }

    /// Runs one session, and plans what follows it. Returns whether console or sink refused, or why the lane ends.
    async fn poll_once(
        &mut self,
        progress: &mut LaneProgress,
        pass: usize,
        stop: &CancellationToken,
    ) -> ControlFlow<LaneEnd, bool> {
        let begun = (Instant::now(), self.delivery.clock.now());
        let passes = self.pull.passes();
        match self.session(progress, &passes, pass, stop).await {
            Ok(Some(Polled { context, end, .. })) => {
                progress.schedule.done(&passes, context, begun, &progress.checkpoint.position);
                (progress.token_backoff, progress.sink_backoff, progress.refusals) = Default::default();
                self.delivery.meter.set_sink_failure(None);
                if passes.get(pass).is_some_and(Pass::reads_all_findings) {
                    self.follow_scopes(end, progress);
                }
                self.delivery.meter.set_failure_of_other_pass(progress.schedule.failure(None));
            }
            // The lane is asked to stop.
            Ok(None) => self.delivery.meter.lane.requeue_in_flight(),
            Err((_, Failure::Superseded(_))) => return ControlFlow::Break(LaneEnd::Superseded),
            // Only another file helps, and with it comes another lane.
            Err((_, failure @ Failure::ProgramOverran(_))) => {
                self.delivery.meter.lane.requeue_in_flight();
                self.delivery.meter.set_sink_failure(Some(LaneState::of_sink(&failure)));
                if self.once {
                    return ControlFlow::Break(LaneEnd::Refused);
                }
                stop.run_until_cancelled(progress.writer.flush(&mut progress.checkpoint)).await;
                stop.cancelled().await;
                return ControlFlow::Break(LaneEnd::Drained);
            }
            // The lane shows it as stopped already.
            Err(_) if progress.writer.is_refused() => {
                self.delivery.meter.lane.requeue_in_flight();
                return ControlFlow::Break(LaneEnd::Refused);
            }
            Err((Side::Console, Failure::Misconfigured(reason))) if self.once => {
                self.delivery.meter.lane.requeue_in_flight();
                progress.schedule.give_up(pass, LaneState::ConsoleRefused(reason));
            }
            Err((side, failure)) => {
                let is_refused = failure.is_refusal();
                progress.refusals.count(&failure);
                self.pause(side, pass, failure, progress);
                if self.once && progress.refusals.end_a_run() {
                    return ControlFlow::Break(LaneEnd::Refused);
                }
                // The pause may be long, and a kill during it must not repeat what was settled.
                stop.run_until_cancelled(progress.writer.flush(&mut progress.checkpoint)).await;
                return ControlFlow::Continue(is_refused);
            }
        }
        ControlFlow::Continue(false)
    }

    /// One poll of one pass: its pages are mapped, the batches delivered, and the position stored. `None` when the lane
    /// was asked to stop before the end of the poll; what was pulled is settled.
    async fn session(
        &mut self,
        progress: &mut LaneProgress,
        passes: &[Pass],
        pass: usize,
        stop: &CancellationToken,
    ) -> Result<Option<Polled>, (Side, Failure)> {
        let (pages, pulled) = mpsc::channel(PAGES);
        let (batches, mapped) = mpsc::channel(BATCHES);
        let pull_random = self.random.fork();
        let send_random = self.random.fork();
        let LaneProgress { checkpoint, writer, sizing, learned, schedule, sink_backoff, .. } = progress;
        let is_probing = *sink_backoff != Backoff::default();
        let sink = self.transactional_sink();
        let _pending = sink.as_ref().map(|sink| sink.enter());

        let position = checkpoint.position.for_poll();
        let name = passes.get(pass).map(|pass| &*pass.name).filter(|name| *name != MAIN);
        let pull = PullStage {
            lane: self,
            sizing,
            learned,
            random: pull_random,
            gives_way_after: (passes.len() > 1).then(|| if schedule.is_failing(pass) { 1 } else { MOST_FAILURES }),
            other_failure: schedule.failure(Some(pass)),
            prefix: name.map(|name| format!("{name}: ")).unwrap_or_default(),
            heard: checkpoint.rhythm.listen(&self.pull),
        };
        let map = map::run(self, pulled, batches);
        let mut stage = SendStage::new(self, sink, passes, checkpoint, writer, send_random);
        let stop_pulling = stop.child_token();
        let send = async {
            let sent = stage.run(mapped, is_probing).await;
            stop_pulling.cancel();
            sent
        };
        let (sent, mapped, pulled) = tokio::join!(send, map, async {
            // By reference: the session would reserve space for this future, its largest part, three times.
            stop_pulling.run_until_cancelled(pin!(pull.run(position, pass, pages))).await
        });
        sent.and(mapped.map_err(DeliveryError::from)).map_err(|error| match error {
            DeliveryError::Sink(failure) => (Side::Sink, failure),
            DeliveryError::DeadLetters(failure) => (Side::DeadLetters, failure),
        })?;
        let polled = pulled.unwrap_or(Ok(None)).map_err(|failure| (Side::Console, failure))?;
        if let Some(polled) = &polled {
            stage.finish(polled).await;
        }
        Ok(polled)
    }

    /// Goes on with the scopes that a poll of everything that the token may see has found; without any, where the
    /// console accepts that poll.
    fn follow_scopes(&mut self, end: PollEnd, progress: &mut LaneProgress) {
        let found: Vec<Arc<Scope>> = if let PollEnd::Scopes(found) = end { found } else { Vec::new() };
        let position = &mut progress.checkpoint.position;
        let pull = self.pull.with_found_scopes(found);
        if pull != *self.pull {
            self.pull = Arc::new(pull);
            let passes = self.pull.passes();
            position.align(&passes);
            progress.schedule.follow(&passes, position, self.delivery.clock.now());
        }
        position.forget_others(&self.pull.passes());
    }

    /// Shows when a lane that waits goes on; where it was refused, which a person has to mend, in the log too.
    fn report_next_attempt(&self, next_poll: Instant, is_refused: bool) {
        let lane = &self.delivery.meter.lane;
        let wait = next_poll.saturating_duration_since(Instant::now());
        let next_attempt = self.delivery.clock.now().plus(wait);
        lane.set_next_attempt(Some(next_attempt));
        if is_refused {
            let seconds = wait.as_secs();
            let state = lane.state();
            let error = state.error();
            self.span().in_scope(|| info!(%next_attempt, seconds, error, "the lane is paused until its next attempt"));
        }
    }

    /// Plans the next poll after a session that failed. Pauses are longer while the token or the sink fails.
    fn pause(&mut self, side: Side, pass: usize, failure: Failure, progress: &mut LaneProgress) {
        let meter = &self.delivery.meter;
        meter.lane.requeue_in_flight();
        let LaneProgress { schedule, token_backoff, sink_backoff, .. } = progress;
        let random = &mut self.random;
        let after_refused = if self.once { AFTER_REFUSED_ONCE } else { AFTER_REFUSED };
        match (side, failure) {
            (Side::Console, Failure::Misconfigured(reason)) => {
                schedule.failed(pass, LaneState::ConsoleRefused(reason), spread(AFTER_FORBIDDEN, random));
            }
            (Side::Console, failure @ (Failure::Unauthorized(_) | Failure::SecretUnreadable(_))) => {
                let pause = token_backoff.next(after_refused, random);
                // Another pass tries the token next.
                schedule.failed(pass, LaneState::of_console(&failure), pause);
                schedule.pause(pause);
            }
            (Side::Console, failure) => {
                let pause = spread(AFTER_GIVING_WAY, random).max(failure.after());
                schedule.failed(pass, LaneState::of_console(&failure), pause);
            }
            (Side::Sink | Side::DeadLetters, failure) => {
                let RetrySettings { initial, max } = self.delivery.retry;
                // Another batch may have been accepted since the failure.
                if side == Side::DeadLetters {
                    meter.set_sink_failure(Some(LaneState::Stopped(failure.to_string())));
                } else if failure.is_refusal() {
                    meter.set_sink_failure(Some(LaneState::of_sink(&failure)));
                }
                let window = if let Failure::Transient { .. } = failure {
                    if self.budget.is_proven() {
                        *sink_backoff = Backoff::default();
                    }
                    (initial.0, max.0)
                } else {
                    after_refused
                };
                self.budget.set_proven(false);
                schedule.pause(sink_backoff.next(window, random).max(failure.after()));
            }
        }
    }
}

impl LaneProgress {
    /// Sleeps until the next poll, and writes checkpoints that fall due. Returns early when another process has taken
    /// the lane over.
    async fn wait_until(&mut self, next_poll: Instant, span: impl Fn() -> Span) {
        while !self.writer.is_superseded() {
            let due = self.writer.due().filter(|due| *due < next_poll);
            sleep_until(due.unwrap_or(next_poll)).await;
            if due.is_none() {
                return;
            }
            let written = self.writer.write_due(&mut self.checkpoint, false).instrument(span());
            if Box::pin(timeout_at(next_poll, written)).await.is_err() {
                return;
            }
        }
    }
}
