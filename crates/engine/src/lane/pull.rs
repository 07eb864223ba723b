//! The pull stage: one poll, page by page, each within bytes that were reserved for it.

use std::time::Duration;

use s1_forwarder_failure::{Failure, Side};
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::LaneChange;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::clocks::Clocks;
use super::enrich::Enricher;
use super::known_threats::KnownThreats;
use super::map::ReservedPage;
use super::sizing::{EXPANSION, PagePlan, SMALL_RESERVATION, Sizing};
use super::{Lane, Reservation};
use crate::console::{ConsoleError, advice};
use crate::source::{
    Action, ConsoleHabits, NotDue, ObservedRecords, Poll, PollContext, PollEnd, PulledPage, Request, SourcePosition,
    is_by_scope,
};

/// The first wait before another attempt at a console that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before another attempt at a console that fails.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Failures in a row after which a poll that has returned findings may give way to the stream's other passes: the
/// findings are delivered again.
const FAILURES_IN_WINDOW: u32 = 100;
/// Timeouts in a row after which pages get smaller.
const TIMEOUTS_BEFORE_SMALLER: u32 = 2;
/// Longest wait for memory with a permit of the rate limit. After a longer one, the request needs another permit.
const MAX_TURN: Duration = Duration::from_secs(1);
/// Largest body of the single record that is asked for to learn the console's time.
const FIRST_ANSWER: usize = 1024 * 1024;

/// The pull stage of one lane.
pub struct PullStage<'a> {
    pub lane: &'a Lane,
    /// The sizes that the lane has learned from its records; shared by all its polls.
    pub sizing: &'a mut Sizing,
    /// The habits of the console that the lane has learned; shared by all its polls.
    pub habits: &'a mut ConsoleHabits,
    /// The threats that the lane has fetched for its activities; shared by all its polls.
    pub threats: &'a mut KnownThreats,
    pub random: fastrand::Rng,
    /// Failures in a row after which the poll ends, since the other passes of the stream must not wait for it
    /// indefinitely. `None` if the stream has no other pass.
    pub gives_way_after: Option<u32>,
    /// The failure of another pass, which a poll that succeeds does not end.
    pub other_failure: Option<Failure>,
    /// The beginning of the reasons of failures: the name of the pass, or nothing.
    pub prefix: String,
    /// Collects the times of the records that the console shows.
    pub observed: ObservedRecords,
    /// Whether the console has shown the stream before.
    pub has_answered: bool,
}

/// A poll that has ended.
pub struct Polled {
    pub context: PollContext,
    pub end: PollEnd,
    /// `None` if the poll had nothing to ask for.
    pub observed: Option<ObservedRecords>,
}

impl PullStage<'_> {
    /// Polls one pass once from `position` on. Returns the poll and how it ended, once all its pages are sent on;
    /// `None` when the lane has ended the session.
    ///
    /// # Errors
    /// If the console refuses, and trying again soon would not help.
    pub async fn run(
        mut self,
        position: SourcePosition,
        pass: usize,
        pages: mpsc::Sender<ReservedPage>,
    ) -> Result<Option<Polled>, Failure> {
        let Lane { pull, client, budget, delivery, wanted, memory, .. } = self.lane;
        let mut poll = match self.begin(&position, pass).await? {
            Ok(poll) => poll,
            Err(not_due) => return Ok(Some(not_due)),
        };
        // Parts that the poll does not read are dropped here, so that they are not copied when the lane's position
        // changes.
        drop(position);
        poll.observe(self.observed.clone());
        if let Some(wanted) = wanted {
            poll.set_filter(wanted.clone());
        }
        // Boxed: see *Size* in `lane/mod.rs`.
        let mut ongoing = Box::new(OngoingPoll {
            enricher: pull.addition().map(|addition| Enricher { client, addition, meter: &delivery.meter, memory }),
            retry: RetryState::new(&mut self.random),
            found_new: true,
            share: budget.share(),
            reservation: None,
            stage: self,
            poll,
            pages,
        });
        loop {
            match ongoing.poll.next_action() {
                Action::Ask(request) => ongoing.ask(request).await?,
                Action::Emit(page) => {
                    if !ongoing.emit(page).await? {
                        return Ok(None);
                    }
                }
                Action::Done(context, end) => return Ok(Some(ongoing.end(context, end))),
            }
        }
    }

    /// Begins the poll of a pass. Returns its end if the pass has nothing to ask for yet.
    async fn begin(&mut self, position: &SourcePosition, pass: usize) -> Result<Result<Poll, Polled>, Failure> {
        let Lane { pull, client, delivery, .. } = self.lane;
        let mut must_ask = false;
        loop {
            let start = match pull.window {
                Some(window) => window.to,
                None => self.start_time(must_ask).await?,
            };
            let meter = delivery.meter.clone();
            let not_due = match Poll::new(client, meter, pull.clone(), position, pass, start, *self.habits) {
                Ok(poll) => return Ok(Ok(poll)),
                Err(not_due) => not_due,
            };
            if let NotDue::Before(bound) = not_due
                && pull.window.is_none()
            {
                if !must_ask && Clocks::of(client).are_apart(pull.overlap) {
                    // Without a poll, no answer would correct a time that one node of the console has wrong.
                    must_ask = true;
                    continue;
                }
                if let Err(failure) = self.lane.may_wait_for(bound) {
                    return Err(self.show(failure));
                }
            }
            let context = PollContext { pass, start, ..PollContext::default() };
            return Ok(Err(Polled { context, end: PollEnd::NotDue, observed: None }));
        }
    }

    /// Learns the clocks for a new lane. Returns when both are known, and agree well enough for a new lane to begin.
    ///
    /// # Errors
    /// As [`Self::run`], or if a clock is wrong.
    pub async fn learn_clocks(mut self) -> Result<(), Failure> {
        let client = &self.lane.client;
        if Clocks::of(client).beginning().is_err() {
            self.ask_time().await?;
        }
        match Clocks::of(client).beginning() {
            Ok(_) => Ok(()),
            Err(failure) => {
                self.lane.compare_clocks();
                Err(self.show(failure))
            }
        }
    }

    /// Reserves the bytes of a page and of the enrichments of its records. The page gets smaller if memory is short.
    async fn reserve(&self, page: &mut PagePlan, enricher: Option<&Enricher<'_>>, share: usize) -> Reservation {
        let mut reserve = page.reserve;
        if let Some(enricher) = enricher {
            page.limit = page.limit.min(enricher.page());
            reserve += enricher.reserve(share, page.limit);
        }
        // A page with enrichments, or with a single record that is too large, cannot be smaller.
        let is_divisible = enricher.is_none() && page.limit > 1;
        let small = if is_divisible { SMALL_RESERVATION.min(reserve) } else { 0 };
        let reserved = self.lane.budget.reserve_page(reserve, small).await;
        *page = page.within(reserved.bytes());
        reserved
    }

    /// Asks for one record, to learn the console's time from the answer.
    async fn ask_time(&mut self) -> Result<(), Failure> {
        let Lane { pull, client, delivery, .. } = self.lane;
        let mut retry = RetryState::new(&mut self.random);
        loop {
            let probe = Request::probe(pull.stream, FIRST_ANSWER);
            match probe.send(client, client.permit_for(&delivery.meter.metrics).await, Some(&delivery.meter)).await {
                // One scope of several may be refused; its refusal has the time as well.
                Err(ConsoleError::Forbidden(_) | ConsoleError::Missing(_) | ConsoleError::BadRequest(_))
                    if is_by_scope(pull.stream) && client.time().is_some() =>
                {
                    return Ok(());
                }
                Ok(_) | Err(ConsoleError::TooLarge(_)) => return Ok(()),
                Err(error) => self.retry_or_fail(error, &mut retry).await?,
            }
        }
    }

    /// Returns the start time S of a poll; see [`Clocks::start`]. Asks the console first with `must_ask`, or if the
    /// console's time is not known well enough.
    async fn start_time(&mut self, must_ask: bool) -> Result<Timestamp, Failure> {
        if must_ask || !self.lane.knows_time() {
            self.ask_time().await?;
        }
        self.lane.compare_clocks();
        // An answer without `Date` leaves only our own clock.
        Ok(Clocks::of(&self.lane.client).start(self.lane.pull.overlap))
    }

    /// Shows a failure on the console's side, such as a wrong clock, and returns it.
    fn show(&self, failure: Failure) -> Failure {
        self.lane.meter().failed(Side::Console, &failure);
        failure
    }

    /// Retries a transient failure (429, 5xx, timeout): waits until the next attempt.
    ///
    /// # Errors
    /// If a retry would not change the failure, or would keep other passes waiting.
    async fn retry_or_fail(&mut self, error: ConsoleError, retry: &mut RetryState) -> Result<(), Failure> {
        let (reason, retry_after) = match error {
            ConsoleError::Transient { reason, retry_after, timed_out } => {
                retry.timeouts = if timed_out { retry.timeouts + 1 } else { 0 };
                if retry.timeouts >= TIMEOUTS_BEFORE_SMALLER {
                    self.sizing.too_slow();
                }
                (reason, retry_after)
            }
            ConsoleError::BadCursor(reason) => {
                info!(%reason, "the console's cursor leads nowhere: the poll goes on from the position");
                retry.cursors += 1;
                if retry.cursors == 1 {
                    return Ok(());
                }
                (reason, None)
            }
            refusal => return Err(self.refused(refusal).await),
        };
        let reason = format!("{}{reason}", self.prefix);
        let failure = Failure::transient_after(reason, retry_after);
        self.lane.meter().failed(Side::Console, &failure);
        retry.failures += 1;
        let least = if retry.is_within_window { FAILURES_IN_WINDOW } else { 0 };
        if self.gives_way_after.is_some_and(|most| retry.failures >= most.max(least)) {
            return Err(failure);
        }
        // `Retry-After` may lengthen the wait, but not shorten it.
        sleep(retry.waits.wait_at_least(retry_after)).await;
        Ok(())
    }

    /// Reports a refusal. A refused token may have expired or been revoked. The console, or one of its earlier answers,
    /// can tell which.
    async fn refused(&self, error: ConsoleError) -> Failure {
        let error = if self.has_answered { error.of_known_stream() } else { error };
        let advice = match &error {
            ConsoleError::Unauthorized(reason) if advice::is_from_elsewhere(reason) => None,
            // The known time of expiry is the former token's.
            ConsoleError::Unauthorized(_) if matches!(self.lane.client.changed_token(), Ok(Some(_))) => {
                Some(advice::OF_NEW_TOKEN.to_owned())
            }
            ConsoleError::Unauthorized(_) => {
                let meter = self.lane.meter();
                let now = self.lane.now();
                let expiry =
                    self.lane.client.token_expiry().await.ok().flatten().or_else(|| meter.known_token_expiry());
                Some(advice::of_token(expiry, now))
            }
            error => error.advice(self.lane.pull.stream, self.has_answered, self.lane.client.names_ids()),
        };
        let reason = format!("{}{error}{}", self.prefix, advice::suffix(advice));
        self.show(Failure::from(error).map_reason(|_| reason))
    }
}

/// A poll that is under way.
struct OngoingPoll<'a> {
    stage: PullStage<'a>,
    poll: Poll,
    enricher: Option<Enricher<'a>>,
    retry: RetryState,
    /// Whether the last page had new records. A page without new records costs the sink nothing, so the next page need
    /// not be small for its sake.
    found_new: bool,
    /// The lane's share of the budget in bytes, at its last request.
    share: usize,
    /// The reservation for the page that was asked for last.
    reservation: Option<Reservation>,
    pages: mpsc::Sender<ReservedPage>,
}

impl OngoingPoll<'_> {
    /// Sends a request within the limits of rate and memory, and gives its answer to the poll.
    async fn ask(&mut self, request: Request) -> Result<(), Failure> {
        let Lane { client, budget, delivery, memory, .. } = self.stage.lane;
        let meter = &delivery.meter;
        // A sleep of no time takes a millisecond, and wakes the lane once more.
        if !request.pause().is_zero() {
            sleep(request.pause()).await;
        }
        let is_page = request.is_page();
        if is_page && let Err(full) = memory.read_more(self.poll.remembered_apart()) {
            return Err(self.stage.show(self.stage.lane.with_command(full)));
        }
        let mut permit = client.permit_for(&meter.metrics).await;
        let total = budget.total();
        self.share = budget.share();
        let mut plan = self.stage.sizing.plan(self.share, total, budget.is_proven() || !self.found_new);
        if is_page {
            let asked = Instant::now();
            self.reservation = Some(self.stage.reserve(&mut plan, self.enricher.as_ref(), self.share).await);
            if asked.elapsed() > MAX_TURN {
                // Lanes that waited for memory together must not ask together.
                permit = client.permit_for(&meter.metrics).await;
            }
        }
        let answer = request.with_size(plan.limit, plan.max_body).send(client, permit, Some(meter)).await;
        if is_page && matches!(answer, Err(ConsoleError::TooLarge(_))) {
            self.reservation = None;
            if self.stage.sizing.too_large(plan, total) {
                return Ok(());
            }
        }
        if let Err(error) = self.poll.answered(answer, client.latest_time()) {
            self.reservation = None;
            self.stage.retry_or_fail(error, &mut self.retry).await?;
        }
        Ok(())
    }

    /// Sends a page on, with its reservation. Returns false if the lane has ended the session.
    async fn emit(&mut self, mut page: PulledPage) -> Result<bool, Failure> {
        let Lane { budget, delivery, pull, memory, .. } = self.stage.lane;
        self.found_new = !page.records.is_empty();
        self.stage.has_answered = true;
        memory.returned(page.records.len() + page.excluded.len());
        if !page.is_truncated {
            if let Some(enricher) = &self.enricher {
                let PullStage { threats, random, .. } = &mut self.stage;
                if let Err(refusal) = enricher.enrich(&mut page, threats, self.share, random).await {
                    return Err(self.stage.refused(refusal).await);
                }
            }
            if self.retry.answered(self.found_new, &mut self.stage.random) {
                delivery.meter.report(LaneChange::ConsoleAnswers(self.stage.other_failure.clone()));
            }
            self.stage.sizing.learn(page.shown, page.body.len());
            self.retry.is_within_window |= self.found_new && !pull.is_ordered();
        }
        let reserved = self.reservation.take();
        if !self.found_new && page.excluded.is_empty() {
            return Ok(true);
        }
        let reserved = match reserved {
            Some(reserved) => reserved,
            None => budget.reserve(page.body.len() * EXPANSION).await,
        };
        Ok(self.pages.send(Box::new((page, reserved))).await.is_ok())
    }

    fn end(mut self, context: PollContext, end: PollEnd) -> Polled {
        *self.stage.habits = self.poll.habits();
        self.stage.lane.meter().report(LaneChange::ConsoleAnswers(self.stage.other_failure.clone()));
        let observed = self.poll.take_observed();
        Polled { context, end, observed }
    }
}

/// Failures since the last page.
struct RetryState {
    waits: FullJitter,
    failures: u32,
    timeouts: u32,
    /// Cursors that were refused, or led to the same page again and again.
    cursors: u32,
    /// Whether the poll has returned findings, which another poll returns again.
    is_within_window: bool,
}

impl RetryState {
    fn new(random: &mut fastrand::Rng) -> Self {
        let waits = FullJitter::new(FIRST_WAIT, MAX_WAIT, random.fork());
        Self { waits, failures: 0, timeouts: 0, cursors: 0, is_within_window: false }
    }

    /// Resets the failures after a page. Returns whether the earlier failures are over. A page without new records is
    /// no proof after cursors that led nowhere: the poll may be going in circles.
    fn answered(&mut self, found_new: bool, random: &mut fastrand::Rng) -> bool {
        let is_over = found_new || self.cursors == 0;
        if is_over {
            *self = Self { is_within_window: self.is_within_window, ..Self::new(random) };
        }
        self.timeouts = 0;
        self.failures = 0;
        is_over
    }
}
