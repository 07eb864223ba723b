//! The source stage: one poll, page by page, each within bytes that were reserved for it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
use crate::source::{Page, Poll, Position, Pull, Round};
use crate::telemetry::{LaneState, Meter};

/// Back-off for a console that fails (`sentinelone/api.md` section 5).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Time-outs in a row after which pages get smaller.
const TIMEOUTS_BEFORE_SMALLER: u32 = 2;
/// `Date` is cut to seconds, and an answer takes its time: less apart is not skewed, however short the overlap.
const LEAST_SKEW: Duration = Duration::from_secs(5);
/// A body of a single record, for the console's time.
const FIRST_ANSWER: usize = 1024 * 1024;

/// What the source stage hands on. In a box, since a channel makes room for 32 at once, and one is made for each poll.
#[derive(Debug)]
pub enum Pulled {
    /// New records, with the bytes that hold them.
    Page(Page, Reservation),
    /// The last word of a poll.
    End(PullEnd),
}

/// How a poll ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEnd {
    /// Everything in [bound, S] was handed on; S is inside.
    Complete(Round),
    /// The snapshot of this time is complete, and at this start of the poll the next is not due.
    NotDue(Timestamp),
    /// The lane was asked to stop.
    Stopped,
    /// The console refuses: trying again soon would not help.
    Refused(ConsoleError),
}

/// The source stage of one lane.
#[derive(Debug)]
pub struct PullStage {
    /// Access to the console.
    pub client: Arc<Client>,
    /// What is pulled.
    pub pull: Arc<Pull>,
    /// What is counted and reported.
    pub meter: Meter,
    /// Where bytes are reserved.
    pub budget: LaneBudget,
    /// Ends the poll.
    pub stop: CancellationToken,
    /// Decides over waits.
    pub random: fastrand::Rng,
    /// What the lane has learnt about the size of its records.
    pub sizing: Arc<Mutex<Sizing>>,
    /// Records that need not be delivered, as a ledger has them.
    pub known: Option<Arc<HashSet<Identity>>>,
}

impl PullStage {
    /// Polls one pass once from `position` on; the last word is always sent.
    pub async fn run(mut self, position: Position, pass: usize, pages: mpsc::Sender<Box<Pulled>>) {
        let stop = self.stop.clone();
        let end = stop.run_until_cancelled(self.poll(position, pass, &pages)).await.unwrap_or(PullEnd::Stopped);
        // Nobody listens any more when the lane gives up its session: then nobody needs the word either.
        let _ = pages.send(Box::new(Pulled::End(end))).await;
    }

    async fn poll(&mut self, position: Position, pass: usize, pages: &mpsc::Sender<Box<Pulled>>) -> PullEnd {
        let start = match self.pull.window {
            Some(window) => window.to,
            None => match self.start_time().await {
                Ok(start) => start,
                Err(refusal) => return PullEnd::Refused(refusal),
            },
        };
        let mut patience = Patience::new(&mut self.random);
        // A page that brings nothing new costs the sink nothing, so the next need not be small for its sake.
        let mut found_new = true;
        let poll = Poll::new(self.client.clone(), self.meter.clone(), self.pull.clone(), position, pass, start);
        let Some(mut poll) = poll else { return PullEnd::NotDue(start) };
        if let Some(known) = &self.known {
            poll.leave_out(known.clone());
        }
        let enricher = (!self.pull.include.is_empty()).then(|| Enricher {
            client: self.client.clone(),
            include: self.pull.include.clone(),
            meter: self.meter.clone(),
        });
        loop {
            sleep(poll.pause()).await;
            let turn = self.client.turn().await;
            let (share, total) = (self.budget.share(), self.budget.total());
            let mut plan = self.sizing().plan(share, total, self.budget.is_proven() || !found_new);
            let mut reserve = plan.reserve;
            if let Some(enricher) = &enricher {
                plan.limit = plan.limit.min(enrich::PAGE);
                reserve += enricher.reserve(share);
            }
            let reservation = self.budget.reserve(reserve).await;
            match poll.next(turn, plan.limit, plan.max_body).await {
                Ok(mut page) => {
                    found_new = !page.records.is_empty();
                    if let Some(enricher) = &enricher
                        && let Err(refusal) = enricher.enrich(&mut page, share, &mut self.random).await
                    {
                        return PullEnd::Refused(refusal);
                    }
                    patience.calm(found_new, &mut self.random);
                    self.sizing().learn(page.shown, page.body.len());
                    self.meter.console_trouble(None);
                    let last = page.last;
                    let news = found_new || !page.dropped.is_empty();
                    if news && pages.send(Box::new(Pulled::Page(page, reservation))).await.is_err() {
                        return PullEnd::Stopped;
                    }
                    if last {
                        return PullEnd::Complete(poll.round());
                    }
                }
                Err(ConsoleError::TooLarge(cut)) => {
                    drop(reservation);
                    if self.sizing().too_large(plan, total) {
                        continue;
                    }
                    match poll.step_over(&cut).await {
                        Ok(None) => {}
                        Ok(Some(page)) => {
                            found_new = !page.records.is_empty();
                            let (reserve, last) = (page.body.len() * EXPANSION, page.last);
                            let reservation = self.budget.reserve(reserve).await;
                            if found_new && pages.send(Box::new(Pulled::Page(page, reservation))).await.is_err() {
                                return PullEnd::Stopped;
                            }
                            if last {
                                return PullEnd::Complete(poll.round());
                            }
                        }
                        Err(error) => {
                            if let Some(refusal) = self.failed(error, &mut patience).await {
                                return PullEnd::Refused(refusal);
                            }
                        }
                    }
                }
                Err(error) => {
                    drop(reservation);
                    if let Some(refusal) = self.failed(error, &mut patience).await {
                        return PullEnd::Refused(refusal);
                    }
                }
            }
        }
    }

    fn sizing(&self) -> MutexGuard<'_, Sizing> {
        self.sizing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// S: the console's time, or ours where the two are further apart than `overlap` and ours is earlier.
    async fn start_time(&mut self) -> Result<Timestamp, ConsoleError> {
        let mut patience = Patience::new(&mut self.random);
        while self.client.time().is_none() {
            match self.client.glance(self.client.turn().await, self.pull.stream, FIRST_ANSWER, Some(&self.meter)).await
            {
                // One scope of several may be without findings; its refusal tells the time as well.
                Err(ConsoleError::Forbidden(_))
                    if self.pull.stream == Stream::Vulnerabilities && self.client.time().is_some() =>
                {
                    break;
                }
                // An answer without `Date` leaves only our own clock.
                Ok(_) => break,
                Err(ConsoleError::TooLarge(_)) => break,
                Err(error) => {
                    if let Some(refusal) = self.failed(error, &mut patience).await {
                        return Err(refusal);
                    }
                }
            }
        }
        let ours = self.client.clock().now();
        let Some(theirs) = self.client.time() else { return Ok(ours) };
        let skewed = theirs.since(ours).max(ours.since(theirs)) > self.pull.overlap.max(LEAST_SKEW);
        if self.client.note_skew(skewed) {
            let pipeline = &self.meter.lane.pipeline;
            if skewed {
                warn!(
                    %pipeline, console = %theirs, own = %ours,
                    "the console's clock and this machine's differ by more than `overlap`: the earlier one is used"
                );
            } else {
                info!(%pipeline, "the console's clock and this machine's agree again");
            }
        }
        Ok(if skewed { theirs.min(ours) } else { theirs })
    }

    /// What follows from a failure: a refusal to hand on, or a wait before the next attempt.
    async fn failed(&mut self, error: ConsoleError, patience: &mut Patience) -> Option<ConsoleError> {
        let (reason, after) = match error {
            ConsoleError::Transient { reason, after, timed_out } => {
                patience.timeouts = if timed_out { patience.timeouts + 1 } else { 0 };
                if patience.timeouts >= TIMEOUTS_BEFORE_SMALLER {
                    self.sizing().too_slow();
                }
                (reason, after)
            }
            ConsoleError::BadCursor(reason) => {
                let meter = &self.meter.lane;
                info!(
                    pipeline = %meter.pipeline, stream = %meter.stream, sink = %meter.sink, %reason,
                    "the console refused its cursor: the poll goes on from the position"
                );
                patience.cursors += 1;
                if patience.cursors == 1 {
                    return None;
                }
                (reason, None)
            }
            refusal => return Some(refusal),
        };
        self.meter.console_trouble(Some(LaneState::ConsoleFailing(reason)));
        // A hint may lengthen the wait, but not do away with it.
        sleep(after.unwrap_or_default().max(patience.waits.wait())).await;
        None
    }
}

/// Failures since the last page.
struct Patience {
    waits: FullJitter,
    timeouts: u32,
    cursors: u32,
}

impl Patience {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self { waits: FullJitter::new(FIRST_WAIT, LONGEST_WAIT, random.fork()), timeouts: 0, cursors: 0 }
    }

    /// A page came. One that holds nothing new does not excuse refused cursors: the poll may be going in circles.
    fn calm(&mut self, found_new: bool, random: &mut fastrand::Rng) {
        if found_new || self.cursors == 0 {
            *self = Self::new(random);
        }
        self.timeouts = 0;
    }
}
