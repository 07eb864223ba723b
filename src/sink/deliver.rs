//! What follows from an outcome: waiting, sending again, splitting, dead letters, stopping.
//!
//! One call delivers one batch and returns when every event of it is settled: taken by the sink, or kept as a dead
//! letter. Nothing is given up before; only the lane ends a delivery early, by dropping it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::dead_letters::{DeadLetter, DeadLetters};
use super::settings::RetrySettings;
use super::throttle::Throttle;
use super::{Attempt, Batch, Covering, Deadline, Outcome, Sink, TOO_LARGE};
use crate::record::Clock;
use crate::settings::FullJitter;
use crate::telemetry::{LaneState, Meter};

/// A batch of this many events, or this many events in a row over smaller batches, of which none is accepted: not the
/// events are wrong but the configuration.
const MISCONFIGURED_FROM: usize = 10;

/// What the deliveries of one lane share.
#[derive(Debug)]
pub struct Delivery {
    /// Where to.
    pub sink: Arc<dyn Sink>,
    /// How long to wait between tries.
    pub retry: RetrySettings,
    /// Where refused events are kept.
    pub dead_letters: Arc<DeadLetters>,
    /// What is counted and reported.
    pub meter: Meter,
    /// For the time of dead letters.
    pub clock: Clock,
    /// Whether the sink takes anything.
    pub health: Health,
    /// How many attempts the sink bears at a time.
    pub throttle: Throttle,
    /// Until when anything may be sent.
    pub deadline: Deadline,
}

/// Whether a lane's sink takes anything.
#[derive(Debug)]
pub struct Health {
    refusing_since: watch::Sender<Option<Instant>>,
    refused_in_a_row: AtomicUsize,
}

/// Which events of a batch are settled: delivered, or kept as dead letters. Outlives a delivery that is dropped.
#[derive(Debug)]
pub struct Settled(Mutex<Vec<bool>>);

/// Why a lane cannot go on by itself. Nothing of the batch that was not settled before is lost or dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The lane asked for it.
    #[error("the delivery was stopped")]
    Stopped,
    /// The sink refuses the credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// The sink refuses everything: wrong index, topic, address, format.
    #[error("{0}")]
    Misconfigured(String),
    /// Refused events cannot be kept.
    #[error("{0}")]
    DeadLetters(String),
    /// What was delivered is told by the checkpoint in the sink, which has to be read again.
    #[error("{0}")]
    Superseded(String),
}

/// For a sink that commits the lane's checkpoint with the events: the checkpoint as it is when the events at these indices
/// of the batch are settled.
pub type Companion<'a> = &'a (dyn Fn(&[usize]) -> Covering + Send + Sync);

impl Default for Health {
    fn default() -> Self {
        let refusing_since = watch::Sender::new(None);
        Self { refusing_since, refused_in_a_row: AtomicUsize::new(0) }
    }
}

impl Health {
    /// Since when the sink has taken nothing, and changes of that.
    pub fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.refusing_since.subscribe()
    }

    /// A lane that comes back after a rest tries with fresh patience.
    pub fn forget(&self) {
        self.answers();
    }

    fn refuses(&self) {
        self.refusing_since.send_if_modified(|since| since.is_none().then(|| *since = Some(Instant::now())).is_some());
    }

    fn answers(&self) {
        self.refusing_since.send_if_modified(|since| since.take().is_some());
    }

    /// So many refusals were counted that will come again.
    fn take_back(&self, refused: usize) {
        let less = |before: usize| Some(before.saturating_sub(refused));
        // It has no reason to fail.
        let _ = self.refused_in_a_row.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Settled {
    /// Nothing of `events` is settled.
    pub fn none_of(events: usize) -> Self {
        Self(Mutex::new(vec![false; events]))
    }

    /// Indices of the events that are settled, or of those that are not.
    pub fn indices(&self, settled: bool) -> Vec<usize> {
        let flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flags.iter().enumerate().filter(|(_, is)| **is == settled).map(|(index, _)| index).collect()
    }

    fn settle(&self, indices: impl IntoIterator<Item = usize>) {
        let mut flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for index in indices {
            if let Some(flag) = flags.get_mut(index) {
                *flag = true;
            }
        }
    }
}

/// One batch under way.
struct Work<'a> {
    delivery: &'a Delivery,
    batch: &'a Batch,
    settled: &'a Settled,
    /// Parts still to be sent, as indices of the batch, in order.
    parts: VecDeque<Vec<usize>>,
    accepted: usize,
    refused: Vec<Refusal>,
    /// How many of those are only kept because it is not told which the others are: they count as delivered.
    taken_unnamed: usize,
    /// Refused without being sent, which says nothing about the destination.
    oversized: Vec<Refusal>,
    random: fastrand::Rng,
    waits: FullJitter,
    companion: Option<Companion<'a>>,
    stop: &'a CancellationToken,
}

struct Refusal {
    index: usize,
    status: String,
    reason: String,
}

impl Delivery {
    /// Delivers `batch`, however long it takes; `random` decides over the waits between tries. `stop` ends it between two
    /// attempts, never within one: what is on the wire is waited for, so that nothing is sent twice for having been stopped.
    /// `companion` goes with each attempt to a sink that commits it with the events.
    ///
    /// # Errors
    /// When it was stopped, or trying again by itself would not help; see [`Halt`].
    pub async fn deliver(
        &self,
        batch: &Batch,
        settled: &Settled,
        mut random: fastrand::Rng,
        companion: Option<Companion<'_>>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let waits = self.waits(&mut random);
        let (parts, refused, oversized) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut work = Work {
            delivery: self,
            batch,
            settled,
            parts,
            accepted: 0,
            refused,
            taken_unnamed: 0,
            oversized,
            random,
            waits,
            companion,
            stop,
        };
        work.sort_by_size();
        work.send_parts().await?;
        let counted = work.judge_refusals()?;
        work.refused.append(&mut work.oversized);
        if let Err(halt) = work.keep_refused().await {
            self.health.take_back(counted);
            return Err(halt);
        }
        if companion.is_some() && !work.refused.is_empty() {
            // The checkpoint does not know yet that they were kept.
            work.parts.push_back(Vec::new());
            work.send_parts().await?;
        }
        Ok(())
    }

    fn waits(&self, random: &mut fastrand::Rng) -> FullJitter {
        FullJitter::new(self.retry.initial.0, self.retry.max.0, random.fork())
    }
}

impl Work<'_> {
    /// What is larger than the sink takes is refused without being sent; the rest is the first part.
    fn sort_by_size(&mut self) {
        let limit = self.delivery.sink.limits().event_bytes;
        let mut part = Vec::new();
        for (index, event) in self.batch.events().enumerate() {
            if event.cut {
                let reason = "the record is too large to be pulled; this is its beginning".to_owned();
                self.oversized.push(Refusal { index, status: TOO_LARGE.to_owned(), reason });
            } else if event.body.len() <= limit {
                part.push(index);
            } else {
                let reason = format!("the event has {} bytes, the sink takes {limit} at most", event.body.len());
                self.oversized.push(Refusal { index, status: TOO_LARGE.to_owned(), reason });
            }
        }
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    async fn send_parts(&mut self) -> Result<(), Halt> {
        let Delivery { throttle, health, deadline, .. } = self.delivery;
        while let Some(part) = self.parts.pop_front() {
            if !throttle.held_for().is_zero() {
                health.refuses();
            }
            let leave = self.stop.run_until_cancelled(throttle.leave()).await.ok_or(Halt::Stopped)?;
            let attempt = tokio::select! {
                biased;
                // What a sink commits with the checkpoint is refused by the brokers once another worker has the lane, and is
                // not to be cut: whether it took effect would have to be looked up.
                () = deadline.passed(), if self.companion.is_none() || deadline.has_passed() => None,
                attempt = self.send(&part) => Some(attempt),
            };
            let Some(attempt) = attempt else {
                drop(leave);
                self.parts.push_front(part);
                self.wait_for_lease().await?;
                continue;
            };
            leave.learn(&attempt);
            drop(leave);
            self.follow(part, attempt).await?;
        }
        Ok(())
    }

    async fn send(&self, part: &[usize]) -> Attempt {
        let begun = Instant::now();
        let selected;
        let batch = if part.len() == self.batch.len() {
            self.batch
        } else {
            selected = self.batch.select(part.iter().copied());
            &selected
        };
        let sink = &self.delivery.sink;
        let attempt = match (self.companion, sink.commits()) {
            (Some(companion), Some(commits)) => {
                let settled = [self.settled.indices(true).as_slice(), part].concat();
                commits.commit(batch, &companion(&settled)).await
            }
            _ => sink.send(batch).await,
        };
        self.delivery.meter.sink_request(&attempt.status, begun.elapsed());
        attempt
    }

    async fn follow(&mut self, part: Vec<usize>, attempt: Attempt) -> Result<(), Halt> {
        let Attempt { outcome, bytes, status } = attempt;
        match outcome {
            Outcome::Delivered => self.accept(part, bytes),
            Outcome::DeliveredWithWarning(warning) | Outcome::SlowDown(warning) => {
                tracing::debug!(%warning, "sink took a batch with a warning");
                self.accept(part, bytes);
            }
            Outcome::Partial { rejected, retry, after } => {
                self.split_up(part, bytes, &status, rejected, retry, after).await
            }
            Outcome::RefusedSome { count, reason } => self.keep_all(part, bytes, &status, count, &reason),
            Outcome::RetryLater { reason, after } => {
                self.parts.push_front(part);
                self.wait(reason, after).await;
            }
            Outcome::TooLarge(reason) | Outcome::Refused(reason) => self.halve(part, status, reason),
            Outcome::Unauthorized(reason) => return Err(Halt::Unauthorized(reason)),
            Outcome::Misconfigured(reason) => return Err(Halt::Misconfigured(reason)),
            Outcome::Superseded(reason) => return Err(Halt::Superseded(reason)),
        }
        Ok(())
    }

    fn accept(&mut self, part: Vec<usize>, bytes: u64) {
        let Delivery { meter, health, .. } = self.delivery;
        meter.lane.delivered.fetch_add(part.len() as u64, Ordering::Relaxed);
        meter.lane.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.accepted += part.len();
        self.settled.settle(part);
        health.refused_in_a_row.store(0, Ordering::Relaxed);
        self.waits = self.delivery.waits(&mut self.random);
        health.answers();
        meter.sink_trouble(None);
    }

    /// `count` of `part` were refused and nobody knows which.
    fn keep_all(&mut self, part: Vec<usize>, bytes: u64, status: &str, count: usize, reason: &str) {
        let all = part.len();
        let reason = format!("{count} of {all} events sent together were refused, and not told which: {reason}");
        tracing::warn!(reason, "the sink took a part of a batch; all of it is kept as dead letters");
        // Not accepted as the others are: settled, and counted, once the dead letters have them.
        self.accept(Vec::new(), bytes);
        self.accepted += all.saturating_sub(count);
        self.taken_unnamed += all.saturating_sub(count);
        let refusal = |index| Refusal { index, status: status.to_owned(), reason: reason.clone() };
        self.refused.extend(part.into_iter().map(refusal));
    }

    /// Some of `part` were settled by the answer; the indices in it count within the part.
    async fn split_up(
        &mut self,
        part: Vec<usize>,
        bytes: u64,
        status: &str,
        rejected: Vec<(usize, String)>,
        retry: Vec<usize>,
        after: Option<Duration>,
    ) {
        let mut open = vec![true; part.len()];
        let refused_before = self.refused.len();
        for (index, reason) in rejected {
            if let Some(open) = open.get_mut(index) {
                *open = false;
                self.refused.push(Refusal { index: part[index], status: status.to_owned(), reason });
            }
        }
        let again: Vec<usize> = retry.into_iter().filter(|index| open.get(*index).copied().unwrap_or(false)).collect();
        again.iter().for_each(|index| open[*index] = false);
        let accepted: Vec<usize> = part.iter().zip(&open).filter(|(_, open)| **open).map(|(index, _)| *index).collect();
        let again: Vec<usize> = again.into_iter().map(|index| part[index]).collect();
        let settles = again.len() < part.len();
        // All of what lies behind an event that was refused was not tried yet.
        let before = part.strip_suffix(again.as_slice()).and_then(<[_]>::last);
        let refused = self.refused.get(refused_before..).and_then(<[_]>::last);
        let untried = refused.is_some_and(|refusal| before == Some(&refusal.index));
        if !accepted.is_empty() {
            self.accept(accepted, bytes);
        } else if settles {
            self.delivery.health.answers();
        }
        if again.is_empty() {
            return;
        }
        let count = again.len();
        self.parts.push_front(again);
        match after {
            None if untried => {}
            _ if settles => self.pause(after).await,
            _ => self.wait(format!("the sink took none of {count} events for now ({status})"), after).await,
        }
    }

    fn halve(&mut self, mut part: Vec<usize>, status: String, reason: String) {
        let unsent = status == TOO_LARGE;
        if !unsent {
            // The sink is there; whether it is in order shows when it takes something.
            self.delivery.health.answers();
        }
        if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            self.parts.push_front(second);
            self.parts.push_front(part);
            return;
        }
        let refused = part.into_iter().map(|index| Refusal { index, status: status.clone(), reason: reason.clone() });
        if unsent { self.oversized.extend(refused) } else { self.refused.extend(refused) }
    }

    async fn wait(&mut self, reason: String, after: Option<Duration>) {
        self.delivery.health.refuses();
        self.delivery.meter.sink_trouble(Some(LaneState::SinkFailing(reason)));
        self.pause(after).await;
    }

    async fn pause(&mut self, after: Option<Duration>) {
        // A hint may lengthen the wait, but not do away with it.
        let wait = after.unwrap_or_default().max(self.waits.wait());
        // Whether it was stopped is looked at before the next attempt.
        self.stop.run_until_cancelled(sleep(wait)).await;
    }

    /// Another worker may deliver soon: what is on the wire was cut, and nothing more is sent until it is sure that none does.
    async fn wait_for_lease(&self) -> Result<(), Halt> {
        let reason = "the lease of this lane's shard could not be renewed in time: nothing is sent until it is";
        self.delivery.health.refuses();
        self.delivery.meter.sink_trouble(Some(LaneState::Stopped(reason.to_owned())));
        self.stop.run_until_cancelled(self.delivery.deadline.moved_on()).await.ok_or(Halt::Stopped)
    }

    /// A wrong index must not turn a customer's history into dead letters. How many this counted as refused in a row.
    fn judge_refusals(&self) -> Result<usize, Halt> {
        let Some(first) = self.refused.first().filter(|_| self.accepted == 0) else { return Ok(0) };
        let refused = self.refused.len();
        let in_a_row = self.delivery.health.refused_in_a_row.fetch_add(refused, Ordering::Relaxed) + refused;
        if in_a_row < MISCONFIGURED_FROM {
            return Ok(refused);
        }
        Err(Halt::Misconfigured(format!(
            "the sink refused {in_a_row} events in a row and accepted none: {}; nothing of this batch was given up",
            first.reason
        )))
    }

    async fn keep_refused(&self) -> Result<(), Halt> {
        let Delivery { meter, clock, dead_letters, .. } = self.delivery;
        if self.refused.is_empty() {
            return Ok(());
        }
        let time = clock.now();
        let letters: Vec<_> = self
            .refused
            .iter()
            .filter_map(|refusal| {
                let event = self.batch.event(refusal.index)?;
                Some(DeadLetter {
                    time,
                    pipeline: &meter.lane.pipeline,
                    stream: meter.lane.stream,
                    sink: &meter.lane.sink,
                    identity: event.identity,
                    record_id: event.record_id,
                    status: &refusal.status,
                    reason: &refusal.reason,
                    event_time: event.time,
                    error: event.error,
                    cut: event.cut,
                    event: event.body,
                })
            })
            .collect();
        dead_letters.keep(&letters).await.map_err(|error| Halt::DeadLetters(error.to_string()))?;
        let taken = self.taken_unnamed.min(letters.len());
        meter.lane.delivered.fetch_add(taken as u64, Ordering::Relaxed);
        meter.lane.dead_letters.fetch_add((letters.len() - taken) as u64, Ordering::Relaxed);
        self.settled.settle(self.refused.iter().map(|refusal| refusal.index));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
