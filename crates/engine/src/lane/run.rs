//! The life of a lane: one loop, whose steps say what it does next.
//!
//! ```text
//!             ┌───── complete, stopped, or failed: then it stores what was settled, and pauses ────┐
//!             v                                                                                    │
//!  Open ──> Wait ─────────────────────────── a pass is due ─────────────────────────────────────> Poll
//!   ^  │    ^  │ │                                                                                 │
//!   │  │    └──┘ └── asked to stop, or no pass is due again ──> Flush <── refused for the last time ┤
//!   │  │     a checkpoint fell due                                │                                │
//!   │  └── refused for the last time ──────────────────────────> End <───── another process has it ─┤
//!   └───────────────── the same, or not known, if the sink commits the checkpoint ──────────────────┘
//! ```
//!
//! - Open tries again until it succeeds, or the lane is asked to stop.
//! - The first Poll of a new lane pulls nothing: it reads the console's clock, which says when the lane begins. Open
//!   comes after it, and stores that time. Nothing is stored before.
//! - A lane is refused for the last time only with `once`.
//! - A lane whose store stalled does not pause. A lane that its program stops pauses until it is asked to stop.
//! - Wait becomes Write for a checkpoint that fell due, and Flush writes one too. A write that fails permanently leads
//!   to End or to Open, as from Poll.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select};
use s1_forwarder_failure::{Failure, FailureKind, Side};
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::{LaneChange, lane_span};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span, info};

use super::backoff::{Backoff, ConsecutiveRefusals, spread};
use super::checkpoint_writer::waits;
use super::open_lane::OpenLane;
use super::pull::Polled;
use super::session::{Session, SessionEnd};
use super::verdict::{Exit, FailurePolicy, NotStored, Pause, SessionFailure, SideFailure, Verdict, verdict};
use super::{Lane, LaneEnd};
use crate::source::{Pass, PollEnd};

/// The first and the longest pause after a refusal, before the lane tries again.
const AFTER_REFUSED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(5));
/// The longest pause of a pass that the console refuses for more than the token.
const AFTER_FORBIDDEN: Duration = Duration::from_hours(1);
/// With `once`, the pauses after refusals.
const AFTER_REFUSED_ONCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// The longest pause of a pass that gave way, if the console names none.
const AFTER_GIVING_WAY: Duration = Duration::from_mins(1);

/// Time of ownership below which a lane pauses before it opens again, after its transactional sink lost the checkpoint
/// to another process.
const SHORT_OWNERSHIP: Duration = Duration::from_mins(1);

/// The next step of a lane.
enum LaneStep {
    /// Reads its checkpoint, after this wait. No other process can write it from then on.
    Open(Duration),
    /// Sleeps until this pass or a checkpoint is due.
    Wait(Box<OpenLane>, NextPoll),
    /// Writes the checkpoint that is due, and waits on.
    Write(Box<OpenLane>, NextPoll),
    /// Runs a session: polls this pass, and delivers what the poll finds.
    Poll(Box<OpenLane>, usize),
    /// Stores all changes, and ends.
    Flush(Box<OpenLane>, LaneEnd),
    End(LaneEnd),
}

/// The pass that is polled next, and when.
struct NextPoll {
    pass: usize,
    at: Instant,
}

/// A lane that runs.
struct RunningLane {
    /// Boxed: see *Size* in `lane/mod.rs`.
    lane: Box<Lane>,
    stop: CancellationToken,
    /// Waits between sessions with a transactional sink that end as soon as they begin. Boxed: most lanes have none.
    reopenings: Option<Box<FullJitter>>,
}

impl Lane {
    /// Runs until it is asked to stop, or, with `once`, has caught up.
    pub fn run(self, stop: CancellationToken) -> impl Future<Output = LaneEnd> + Send + 'static {
        let mut running = RunningLane { lane: Box::new(self), stop, reopenings: None };
        async move {
            let _share = running.lane.client.join_lane();
            let mut step = LaneStep::Open(Duration::ZERO);
            let end = loop {
                step = match step {
                    LaneStep::Open(wait) => in_span(running.lane.span(), running.open(wait)).await,
                    LaneStep::Wait(open, next) => running.wait(open, next).await,
                    LaneStep::Write(open, next) => in_span(running.lane.span(), running.write_due(open, next)).await,
                    LaneStep::Poll(open, pass) => in_span(running.lane.span(), running.poll(open, pass)).await,
                    LaneStep::Flush(open, end) => in_span(running.lane.span(), running.flush(open, end)).await,
                    LaneStep::End(end) => break end,
                };
            };
            if matches!(end, LaneEnd::Drained | LaneEnd::Complete) {
                running.lane.meter().report(LaneChange::LaneEnds);
            }
            end
        }
    }

    /// Returns the span that names the lane in log lines. The span does not exist between polls: it would take half a
    /// KB for each of tens of thousands of lanes.
    fn span(&self) -> Span {
        lane_span(&self.key.lane)
    }

    pub(super) fn policy(&self) -> FailurePolicy {
        FailurePolicy { once: self.once, reopens: self.transactional_sink().is_some() }
    }
}

impl RunningLane {
    async fn open(&mut self, wait: Duration) -> LaneStep {
        if !wait.is_zero() {
            self.stop.run_until_cancelled(sleep(wait)).await;
        }
        match self.stop.run_until_cancelled(self.lane.open()).await {
            Some(Ok(open)) => self.plan(open),
            Some(Err(end)) => LaneStep::End(end),
            None => LaneStep::End(LaneEnd::Drained),
        }
    }

    /// Returns the step that waits for the pass that is due first, or that ends the lane if no pass is polled again.
    fn plan(&self, open: Box<OpenLane>) -> LaneStep {
        let Some((pass, at)) = open.schedule.next() else {
            let end = if open.schedule.has_given_up() { LaneEnd::Refused } else { LaneEnd::Complete };
            return LaneStep::Flush(open, end);
        };
        let wait = at.saturating_duration_since(Instant::now());
        self.lane.metrics().set_next_attempt(Some(self.lane.now().plus(wait)));
        LaneStep::Wait(open, NextPoll { pass, at })
    }

    /// Returns the step of [`Self::plan`]. The log shows when the lane goes on: an operator has to correct the cause,
    /// or the lane cannot poll sooner.
    fn plan_after_refusal(&self, open: Box<OpenLane>) -> LaneStep {
        let step = self.plan(open);
        if let LaneStep::Wait(_, next) = &step {
            self.log_next_attempt(next.at);
        }
        step
    }

    /// Sleeps until the poll or a checkpoint is due, or until the lane is asked to stop. If the console refused passes
    /// of the lane, the use of another token wakes it up, too. Unlike other steps, the wait is not boxed: a lane mostly
    /// sleeps.
    async fn wait(&self, open: Box<OpenLane>, next: NextPoll) -> LaneStep {
        let asleep = pin!(sleep_until(open.wakes_at(next.at)));
        if open.schedule.waits_for_console() {
            // Boxed: few lanes wait for another token, and this future would enlarge every lane.
            let changed = Box::pin(self.lane.client.token_changed_since(open.token_changes));
            self.stop.run_until_cancelled(select(asleep, changed)).await;
        } else {
            self.stop.run_until_cancelled(asleep).await;
        }
        self.after_wait(open, next)
    }

    /// Returns the next step of a lane that wakes up.
    fn after_wait(&self, open: Box<OpenLane>, next: NextPoll) -> LaneStep {
        if self.stop.is_cancelled() {
            LaneStep::Flush(open, LaneEnd::Drained)
        } else if open.token_changes != self.lane.client.token_changes() {
            self.follow_token(open)
        } else if next.at <= Instant::now() {
            LaneStep::Poll(open, next.pass)
        } else {
            LaneStep::Write(open, next)
        }
    }

    /// Tries refused passes again at once, since requests use another token now.
    fn follow_token(&self, mut open: Box<OpenLane>) -> LaneStep {
        open.token_changes = self.lane.client.token_changes();
        open.schedule.retry_refused();
        self.plan(open)
    }

    fn log_next_attempt(&self, next_poll: Instant) {
        let metrics = self.lane.metrics();
        let Some(next_attempt) = metrics.next_attempt() else { return };
        let seconds = next_poll.saturating_duration_since(Instant::now()).as_secs();
        let state = metrics.state();
        let error = state.error();
        let retry = metrics.retry_command_while_waiting(self.lane.now());
        info!(%next_attempt, seconds, error, retry, "the lane is paused until its next attempt");
    }

    /// Writes a checkpoint that fell due, for as long as no pass is due. A write that has begun continues later.
    async fn write_due(&mut self, mut open: Box<OpenLane>, next: NextPoll) -> LaneStep {
        let written = timeout_at(next.at, open.writer.write_due(&mut open.checkpoint));
        match self.stop.run_until_cancelled(written).await {
            Some(Ok(Err(not_stored))) => self.not_stored(open, not_stored),
            Some(Ok(Ok(())) | Err(_)) | None => LaneStep::Wait(open, next),
        }
    }

    async fn flush(&mut self, mut open: Box<OpenLane>, end: LaneEnd) -> LaneStep {
        self.lane.metrics().set_next_attempt(None);
        match open.writer.flush_with_copy(&mut open.checkpoint).await {
            Ok(()) => LaneStep::End(end),
            Err(not_stored) => self.not_stored(open, not_stored),
        }
    }

    /// Runs one session, and plans what follows it.
    async fn poll(&mut self, mut open: Box<OpenLane>, pass: usize) -> LaneStep {
        self.lane.metrics().set_next_attempt(None);
        if open.is_new {
            return self.learn_clocks(open, pass).await;
        }
        match self.stop.run_until_cancelled(self.lane.check_user(&mut open.checkpoint)).await {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                self.lane.meter().failed(Side::Console, &failure);
                return self.after_failure(open, pass, SideFailure { side: Side::Console, failure }).await;
            }
            None => return self.stopped(open),
        }
        let started_at = Instant::now();
        let clock_time = self.lane.now();
        let passes = self.lane.pull.passes();
        match Session::new(&mut self.lane, &mut open, &passes, pass).run(&self.stop).await {
            SessionEnd::Complete(polled) => {
                self.completed(&mut open, &passes, polled, (started_at, clock_time));
                self.plan(open)
            }
            SessionEnd::Stopped => self.stopped(open),
            SessionEnd::Failed(SessionFailure::NotStored(not_stored)) => self.not_stored(open, not_stored),
            SessionEnd::Failed(SessionFailure::Side(failed)) => self.after_failure(open, pass, failed).await,
        }
    }

    /// Ends a poll during which the lane was asked to stop.
    fn stopped(&self, open: Box<OpenLane>) -> LaneStep {
        self.lane.metrics().requeue_in_flight();
        self.plan(open)
    }

    /// Learns the console's time before a new lane begins. Then the lane opens again, with `since` resolved.
    async fn learn_clocks(&mut self, mut open: Box<OpenLane>, pass: usize) -> LaneStep {
        let passes = self.lane.pull.passes();
        let session = Session::new(&mut self.lane, &mut open, &passes, pass);
        match self.stop.run_until_cancelled(session.learn_clocks()).await {
            Some(Ok(())) => {
                self.lane.first_poll_after = Duration::ZERO;
                LaneStep::Open(Duration::ZERO)
            }
            Some(Err(failure)) => self.after_failure(open, pass, SideFailure { side: Side::Console, failure }).await,
            None => self.plan(open),
        }
    }

    fn completed(&mut self, open: &mut OpenLane, passes: &[Pass], polled: Polled, started_at: (Instant, Timestamp)) {
        let Polled { context, end, .. } = polled;
        open.schedule.done(passes, context, started_at, &open.checkpoint.position);
        open.token_backoff = Backoff::default();
        open.sink_backoff = Backoff::default();
        open.refusals = ConsecutiveRefusals::default();
        self.lane.meter().report(LaneChange::SinkAccepts);
        if passes.get(context.pass).is_some_and(Pass::reads_all_findings) {
            self.follow_scopes(end, open);
        }
        self.lane.meter().report(LaneChange::ConsoleAnswers(open.schedule.failure(None)));
    }

    /// Goes on with the scopes that a poll of all findings has found. If that poll was complete, the lane goes on
    /// without scopes. If the poll read nothing, the lane keeps its scopes.
    fn follow_scopes(&mut self, end: PollEnd, open: &mut OpenLane) {
        let found = match end {
            PollEnd::Complete => Vec::new(),
            PollEnd::Scopes(found) => found,
            PollEnd::Unavailable | PollEnd::NotDue => return,
        };
        let position = &mut open.checkpoint.position;
        let pull = self.lane.pull.with_found_scopes(found);
        if pull != *self.lane.pull {
            self.lane.pull = Arc::new(pull);
            let passes = self.lane.pull.passes();
            position.add_passes(&passes);
            open.schedule.replace_passes(&passes, position, self.lane.now());
        }
        position.forget_others(&self.lane.pull.passes());
    }

    /// Returns the step after a checkpoint that could not be written. The lane gives up changes that are not stored:
    /// another attempt would not help.
    fn not_stored(&mut self, open: Box<OpenLane>, not_stored: NotStored) -> LaneStep {
        let NotStored { failure, exit } = not_stored;
        self.lane.metrics().set_next_attempt(None);
        self.show(Side::Store, &failure);
        self.exit(open, exit)
    }

    fn exit(&mut self, open: Box<OpenLane>, exit: Exit) -> LaneStep {
        match exit {
            Exit::Reopen => self.reopen(&open),
            Exit::End(end) => LaneStep::Flush(open, end),
            Exit::Leave(end) => LaneStep::End(end),
        }
    }

    /// Returns the step after a session that failed. The settled events may still be stored.
    async fn after_failure(&mut self, mut open: Box<OpenLane>, pass: usize, failed: SideFailure) -> LaneStep {
        let SideFailure { side, failure } = failed;
        self.show(side, &failure);
        let pause = match verdict(side, &failure, self.lane.policy(), open.refusals) {
            Verdict::Exit(exit) => return self.exit(open, exit),
            Verdict::Pause(pause) => {
                self.pause(&mut open, pass, pause, &failure);
                Some(pause)
            }
            Verdict::Again => {
                open.refusals.count(&failure);
                None
            }
        };
        // The pause may be long, and a kill during it must not repeat what was settled.
        let flushed = self.stop.run_until_cancelled(open.writer.flush(&mut open.checkpoint)).await;
        if let Some(Err(not_stored)) = flushed {
            return self.not_stored(open, not_stored);
        }
        if pause == Some(Pause::UntilStopped) {
            return self.stay(open).await;
        }
        if failure.is_refusal() && pause != Some(Pause::PassGivenUp) {
            self.plan_after_refusal(open)
        } else {
            self.plan(open)
        }
    }

    /// Polls no more, and writes checkpoints that fall due, until the lane is asked to stop.
    async fn stay(&mut self, mut open: Box<OpenLane>) -> LaneStep {
        let writing = async {
            loop {
                if let Err(not_stored) = open.writer.write_due(&mut open.checkpoint).await {
                    return not_stored;
                }
            }
        };
        match self.stop.run_until_cancelled(writing).await {
            Some(not_stored) => self.not_stored(open, not_stored),
            None => LaneStep::Flush(open, LaneEnd::Drained),
        }
    }

    /// Returns the step that reads the checkpoint again: the session with a transactional sink has ended.
    fn reopen(&mut self, open: &OpenLane) -> LaneStep {
        self.lane.first_poll_after = Duration::ZERO;
        if open.opened_at.elapsed() >= SHORT_OWNERSHIP {
            return LaneStep::Open(Duration::ZERO);
        }
        // Sessions that end as soon as they begin must not keep the brokers and the console busy.
        let random = &mut self.lane.random;
        let waits = self.reopenings.get_or_insert_with(|| Box::new(waits(random)));
        LaneStep::Open(waits.wait())
    }

    /// Shows a failure in the lane's state. The pull stage has shown failures of the console, and `open` failures of a
    /// claim.
    fn show(&self, side: Side, failure: &Failure) {
        let meter = self.lane.meter();
        meter.metrics.requeue_in_flight();
        match (side, failure.kind) {
            (_, FailureKind::Superseded) => meter.taken_over(failure),
            // Another batch may have been accepted since dead letters could not be stored.
            (Side::Store | Side::DeadLetters, _) => meter.failed(side, failure),
            (Side::Sink, _) if failure.is_refusal() => meter.failed(side, failure),
            (Side::Sink | Side::Console | Side::Claim | Side::Copy, _) => {}
        }
    }

    /// Plans the next poll after a session that failed. Pauses grow while the token or the sink fails.
    fn pause(&mut self, open: &mut OpenLane, pass: usize, pause: Pause, failure: &Failure) {
        let OpenLane { schedule, token_backoff, sink_backoff, refusals, .. } = open;
        let Lane { random, budget, delivery, once, pull, .. } = &mut *self.lane;
        let after_refused = if *once { AFTER_REFUSED_ONCE } else { AFTER_REFUSED };
        let retry_after = failure.retry_after.unwrap_or_default();
        match pause {
            Pause::PassGivenUp => return schedule.give_up(pass, failure.clone()),
            Pause::PassFailing => {
                schedule.pass_failed(pass, failure.clone(), spread(AFTER_GIVING_WAY, random).max(retry_after));
            }
            Pause::ClockWrong => {
                let every = pull.passes().get(pass).map_or(AFTER_GIVING_WAY, |pass| pass.every);
                let pause = spread(every.min(AFTER_GIVING_WAY), random);
                schedule.pass_failed(pass, failure.clone(), pause);
                schedule.pause(pause);
            }
            Pause::PassRefused => schedule.pass_failed(pass, failure.clone(), spread(AFTER_FORBIDDEN, random)),
            Pause::TokenRefused => {
                let pause = token_backoff.next(after_refused, random);
                // Another pass tries the token next.
                schedule.pass_failed(pass, failure.clone(), pause);
                schedule.pause(pause);
            }
            Pause::SinkFailing => {
                if budget.is_proven() {
                    *sink_backoff = Backoff::default();
                }
                budget.set_proven(false);
                let window = (delivery.retry.initial.0, delivery.retry.max.0);
                schedule.pause(sink_backoff.next(window, random).max(retry_after));
            }
            Pause::SinkRefusing => {
                budget.set_proven(false);
                schedule.pause(sink_backoff.next(after_refused, random));
            }
            Pause::UntilStopped => {}
        }
        refusals.count(failure);
    }
}

/// Runs a step in `span`. Each step is boxed by itself, and only here. There are tens of thousands of lanes: this keeps
/// a lane small while it sleeps, and almost as small while its store does not answer.
fn in_span<'a>(span: Span, step: impl Future<Output = LaneStep> + Send + 'a) -> Instrumented<BoxFuture<'a, LaneStep>> {
    step.boxed().instrument(span)
}

#[cfg(test)]
mod tests;
