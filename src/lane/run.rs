use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::checkpoint_writer::{CheckpointWriter, waits};
use super::lane_checkpoint::LaneCheckpoint;
use super::poll_schedule::PollSchedule;
use super::pull::PullStage;
use super::send::{SendStage, report};
use super::sizing::Sizing;
use super::{Lane, LaneEnd, map};
use crate::console::Endpoint;
use crate::failure::Failure;
use crate::sink::settings::RetrySettings;
use crate::source::PollContext;
use crate::telemetry::LaneState;

/// Pages that wait between source and transform.
const PAGES: usize = 2;
/// Batches that wait between transform and sink.
const BATCHES: usize = 1;

/// The first and the longest pause after a refusal, before the lane tries again.
const AFTER_REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// The same where the console refuses more than the token.
const AFTER_FORBIDDEN: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(3600));

/// What a lane keeps from poll to poll.
struct LaneProgress {
    checkpoint: LaneCheckpoint,
    writer: CheckpointWriter,
    sizing: Sizing,
    schedule: PollSchedule,
    /// Pauses between sessions, by [`Side`].
    backoffs: [Backoff; 2],
}

/// Whose failure ended a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Console,
    Sink,
}

impl Lane {
    /// Runs until it is asked to stop, or, with `once`, has caught up.
    pub fn run(self, stop: CancellationToken) -> impl Future<Output = LaneEnd> + Send + 'static {
        // Boxed: an `async fn` stores a moved argument twice in its state.
        let mut lane = Box::new(self);
        async move {
            let mut reopening = false;
            let end = loop {
                let Some(mut progress) = stop.run_until_cancelled(Box::pin(lane.open(reopening))).await else {
                    break LaneEnd::Drained;
                };
                let end = lane.poll_until_end(&mut progress, &stop).await;
                if end != LaneEnd::Superseded || lane.transactional_sink().is_none() {
                    break end;
                }
                // The session with a transactional sink has ended: reopen the lane and read its checkpoint again.
                lane.delivery.meter.lane.requeue_in_flight();
                (lane.first_poll_after, reopening) = (Duration::ZERO, true);
            };
            if matches!(end, LaneEnd::Drained | LaneEnd::Complete) {
                lane.delivery.meter.done();
            }
            end
        }
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
        let (now, passes) = (self.clock.now(), self.pull.passes());
        let random = self.random.fork();
        Box::new(LaneProgress {
            schedule: PollSchedule::new(&passes, &checkpoint.position, now, self.first_poll_after, self.once),
            checkpoint,
            writer: CheckpointWriter::new(self, random),
            sizing: Sizing::new(Endpoint::of(self.key.lane.stream).max_limit),
            backoffs: Default::default(),
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
            match Box::pin(self.session(progress, pass, stop)).await {
                Ok(Some(context)) => {
                    progress.schedule.done(&self.pull.passes(), context, begun, &progress.checkpoint.position);
                    progress.backoffs = Default::default();
                    self.delivery.meter.set_sink_failure(None);
                }
                // The lane is asked to stop.
                Ok(None) => self.delivery.meter.lane.requeue_in_flight(),
                Err((_, Failure::Superseded(_))) => return LaneEnd::Superseded,
                Err((Side::Console, Failure::Misconfigured(_))) if self.once => {
                    self.delivery.meter.lane.requeue_in_flight();
                    break LaneEnd::Refused;
                }
                Err((side, failure)) => {
                    self.pause(side, failure, progress);
                    // The pause may be long, and a kill during it must not repeat what was settled.
                    stop.run_until_cancelled(progress.writer.flush(&mut progress.checkpoint)).await;
                }
            }
        };
        progress.writer.flush(&mut progress.checkpoint).await;
        end
    }

    /// One poll of one pass: its pages are mapped, the batches delivered, and the position stored. `None` when the lane
    /// was asked to stop before the end of the poll; what was pulled is settled.
    async fn session(
        &mut self,
        progress: &mut LaneProgress,
        pass: usize,
        stop: &CancellationToken,
    ) -> Result<Option<PollContext>, (Side, Failure)> {
        let (pages, pulled) = mpsc::channel(PAGES);
        let (batches, mapped) = mpsc::channel(BATCHES);
        let (pull_random, send_random) = (self.random.fork(), self.random.fork());
        let LaneProgress { checkpoint, writer, sizing, backoffs, .. } = progress;
        let is_probing = backoffs[Side::Sink as usize] != Backoff::default();
        let sink = self.transactional_sink();
        let _pending = sink.as_ref().map(|sink| sink.enter());

        let position = checkpoint.position.clone();
        let pull = PullStage { lane: self, sizing, random: pull_random }.run(position, pass, pages);
        let map = map::run(self, pulled, batches);
        let passes = self.pull.passes();
        let mut stage = SendStage::new(self, sink, &passes, checkpoint, writer, send_random);
        let stop_pulling = stop.child_token();
        let send = async {
            let sent = stage.run(mapped, is_probing).await;
            stop_pulling.cancel();
            sent
        };
        let (sent, mapped, pulled) = tokio::join!(send, map, stop_pulling.run_until_cancelled(pull));
        sent.and(mapped).map_err(|failure| (Side::Sink, failure))?;
        let polled = pulled.unwrap_or(Ok(None)).map_err(|failure| (Side::Console, failure))?;
        if let Some(context) = polled {
            stage.finish(context).await;
        }
        Ok(polled)
    }

    /// Plans the next poll after a session that failed. Pauses are longer while the same side fails.
    fn pause(&mut self, side: Side, failure: Failure, progress: &mut LaneProgress) {
        let meter = &self.delivery.meter;
        meter.lane.requeue_in_flight();
        let backoff = &mut progress.backoffs[side as usize];
        let RetrySettings { initial, max } = self.delivery.retry;
        let (window, after) = match (&failure, side) {
            (Failure::Transient { after, .. }, Side::Sink) => {
                if self.budget.is_proven() {
                    *backoff = Backoff::default();
                }
                ((initial.0, max.0), after.unwrap_or_default())
            }
            (Failure::Misconfigured(_), Side::Console) => (AFTER_FORBIDDEN, Duration::ZERO),
            _ => (AFTER_REFUSED, Duration::ZERO),
        };
        if side == Side::Sink {
            self.budget.set_proven(false);
            if !matches!(failure, Failure::Transient { .. }) {
                meter.set_sink_failure(Some(LaneState::SinkRefused(failure.to_string())));
            }
        }
        progress.schedule.pause(backoff.next(window, &mut self.random).max(after));
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

/// How often in a row one side failed.
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
