//! The source stage: one poll, page by page, each within bytes that were reserved for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::enrich::{self, Enricher};
use super::sizing::{EXPANSION, Sizing};
use super::{LaneBudget, Reservation};
use crate::console::{Client, ConsoleError};
use crate::record::{Identity, Stream, Timestamp};
use crate::settings::FullJitter;
use crate::source::{Action, Page, Poll, PollContext, Pull, Request, SourcePosition};
use crate::telemetry::{LaneState, Meter};

/// Backoff for a console that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Timeouts in a row after which pages get smaller.
const TIMEOUTS_BEFORE_SMALLER: u32 = 2;
/// `Date` has whole seconds, and an answer takes time: clocks that differ by less agree, however short the overlap is.
const LEAST_SKEW: Duration = Duration::from_secs(5);
/// Largest body of the single record that is asked for to learn the console's time.
const FIRST_ANSWER: usize = 1024 * 1024;

/// A message of the source stage. Boxed in its channel: a channel allocates 32 slots at once, and each poll makes one.
#[derive(Debug)]
pub enum Pulled {
    /// New records, with the reservation of their bytes.
    Page(Page, Reservation),
    /// The last message of a poll.
    End(PullEnd),
}

/// How a poll ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEnd {
    /// Everything in [bound, S] was sent on; the context has S.
    Complete(PollContext),
    /// At this start of the poll the last snapshot is complete and the next one is not due.
    NotDue(Timestamp),
    /// The lane was asked to stop.
    Stopped,
    /// The console refuses, and trying again soon would not help.
    Refused(ConsoleError),
}

/// The source stage of one lane.
#[derive(Debug)]
pub struct PullStage {
    pub client: Arc<Client>,
    pub pull: Arc<Pull>,
    pub meter: Meter,
    pub budget: LaneBudget,
    pub stop: CancellationToken,
    pub random: fastrand::Rng,
    /// What the lane has learned about the size of its records; shared by all its polls.
    pub sizing: Arc<Mutex<Sizing>>,
    /// Records that a ledger has as accounted for.
    pub known: Option<Arc<HashSet<Identity>>>,
}

impl PullStage {
    /// Polls one pass once from `position` on. [`Pulled::End`] is always sent.
    pub async fn run(mut self, position: SourcePosition, pass: usize, pages: mpsc::Sender<Box<Pulled>>) {
        let stop = self.stop.clone();
        let end = stop.run_until_cancelled(self.poll(position, pass, &pages)).await.unwrap_or(PullEnd::Stopped);
        // Nobody listens once the lane has given up its session.
        let _ = pages.send(Box::new(Pulled::End(end))).await;
    }

    async fn poll(&mut self, position: SourcePosition, pass: usize, pages: &mpsc::Sender<Box<Pulled>>) -> PullEnd {
        let start = match self.pull.window {
            Some(window) => window.to,
            None => match self.start_time().await {
                Ok(start) => start,
                Err(refusal) => return PullEnd::Refused(refusal),
            },
        };
        let poll = Poll::new(&self.client, self.meter.clone(), self.pull.clone(), position, pass, start);
        let Some(mut poll) = poll else { return PullEnd::NotDue(start) };
        if let Some(known) = &self.known {
            poll.skip_accounted(known.clone());
        }
        let enricher = (!self.pull.include.is_empty()).then(|| Enricher {
            client: self.client.clone(),
            include: self.pull.include.clone(),
            meter: self.meter.clone(),
        });
        let mut retry = RetryState::new(&mut self.random);
        // A page without new records costs the sink nothing, so the next one need not be small for its sake.
        let mut found_new = true;
        let mut share = self.budget.share();
        let mut reservation = None;
        loop {
            let request = match poll.next_action() {
                Action::Ask(request) => request,
                Action::Emit(mut page) => {
                    found_new = !page.records.is_empty();
                    if !page.cut {
                        if let Some(enricher) = &enricher
                            && let Err(refusal) = enricher.enrich(&mut page, share, &mut self.random).await
                        {
                            return PullEnd::Refused(refusal);
                        }
                        retry.answered(found_new, &mut self.random);
                        self.sizing().learn(page.shown, page.body.len());
                        self.meter.set_console_failure(None);
                    }
                    let reserved = reservation.take();
                    if found_new || !page.dropped.is_empty() {
                        let reserved = match reserved {
                            Some(reserved) => reserved,
                            None => self.budget.reserve(page.body.len() * EXPANSION).await,
                        };
                        if pages.send(Box::new(Pulled::Page(page, reserved))).await.is_err() {
                            return PullEnd::Stopped;
                        }
                    }
                    continue;
                }
                Action::Done(context) => return PullEnd::Complete(context),
            };
            sleep(request.pause()).await;
            let permit = self.client.permit().await;
            let (is_page, total) = (request.is_page(), self.budget.total());
            share = self.budget.share();
            let mut plan = self.sizing().plan(share, total, self.budget.is_proven() || !found_new);
            if is_page {
                let mut reserve = plan.reserve;
                if let Some(enricher) = &enricher {
                    plan.limit = plan.limit.min(enrich::PAGE);
                    reserve += enricher.reserve(share);
                }
                reservation = Some(self.budget.reserve(reserve).await);
            }
            let request = request.with_size(plan.limit, plan.max_body);
            let answer = request.send(&self.client, permit, Some(&self.meter)).await;
            let is_too_large = matches!(answer, Err(ConsoleError::TooLarge(_)));
            if is_page && is_too_large {
                reservation = None;
                if self.sizing().too_large(plan, total) {
                    continue;
                }
            }
            if let Err(error) = poll.answered(answer, self.client.latest_time()) {
                reservation = None;
                if let Some(refusal) = self.failed(error, &mut retry).await {
                    return PullEnd::Refused(refusal);
                }
            }
        }
    }

    fn sizing(&self) -> MutexGuard<'_, Sizing> {
        self.sizing.lock()
    }

    /// S: the console's time, or ours when they differ by more than `overlap` and ours is earlier.
    async fn start_time(&mut self) -> Result<Timestamp, ConsoleError> {
        let mut retry = RetryState::new(&mut self.random);
        let probe = Request::probe(self.pull.stream, FIRST_ANSWER);
        while self.client.time().is_none() {
            match probe.send(&self.client, self.client.permit().await, Some(&self.meter)).await {
                // One scope of several may lack findings; its refusal has the time as well.
                Err(ConsoleError::Forbidden(_))
                    if self.pull.stream == Stream::Vulnerabilities && self.client.time().is_some() =>
                {
                    break;
                }
                // An answer without `Date` leaves only our own clock.
                Ok(_) => break,
                Err(ConsoleError::TooLarge(_)) => break,
                Err(error) => {
                    if let Some(refusal) = self.failed(error, &mut retry).await {
                        return Err(refusal);
                    }
                }
            }
        }
        let ours = self.client.clock().now();
        let Some(theirs) = self.client.time() else { return Ok(ours) };
        let skewed = theirs.since(ours).max(ours.since(theirs)) > self.pull.overlap.max(LEAST_SKEW);
        if self.client.record_clock_skew(skewed) {
            if skewed {
                warn!(
                    console = %theirs, own = %ours,
                    "the console's clock and this machine's differ by more than `overlap`: the earlier one is used"
                );
            } else {
                info!("the console's clock and this machine's agree again");
            }
        }
        Ok(if skewed { theirs.min(ours) } else { theirs })
    }

    /// Retries a transient failure (429, 5xx, timeout): waits until the next attempt. Returns an error that a retry
    /// would not change.
    async fn failed(&mut self, error: ConsoleError, retry: &mut RetryState) -> Option<ConsoleError> {
        let (reason, after) = match error {
            ConsoleError::Transient { reason, after, timed_out } => {
                retry.timeouts = if timed_out { retry.timeouts + 1 } else { 0 };
                if retry.timeouts >= TIMEOUTS_BEFORE_SMALLER {
                    self.sizing().too_slow();
                }
                (reason, after)
            }
            ConsoleError::BadCursor(reason) => {
                info!(%reason, "the console refused its cursor: the poll goes on from the position");
                retry.cursors += 1;
                if retry.cursors == 1 {
                    return None;
                }
                (reason, None)
            }
            refusal => return Some(refusal),
        };
        self.meter.set_console_failure(Some(LaneState::ConsoleFailing(reason)));
        // `Retry-After` may lengthen the wait, but not shorten it.
        sleep(after.unwrap_or_default().max(retry.waits.wait())).await;
        None
    }
}

/// Failures since the last page.
struct RetryState {
    waits: FullJitter,
    timeouts: u32,
    cursors: u32,
}

impl RetryState {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self { waits: FullJitter::new(FIRST_WAIT, LONGEST_WAIT, random.fork()), timeouts: 0, cursors: 0 }
    }

    /// A page came. One without new records does not excuse refused cursors: the poll may be going in circles.
    fn answered(&mut self, found_new: bool, random: &mut fastrand::Rng) {
        if found_new || self.cursors == 0 {
            *self = Self::new(random);
        }
        self.timeouts = 0;
    }
}
