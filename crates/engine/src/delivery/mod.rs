//! Acts on outcomes: waits, sends again, splits, stores dead letters, stops.
//!
//! One call delivers one batch. It returns when all events are settled: the sink has accepted them, or they are stored
//! as dead letters. Otherwise, it returns with the failure that ends the lane's session. Between two attempts the lane
//! may stop it.

mod blocked;
mod error;
mod event_bytes;
mod fates;
mod health;
mod refusal;
mod shared;
mod sorted;
pub mod throttle;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_failure::{Failure, FailureKind, Side};
use s1_forwarder_mapping::Labels;
use s1_forwarder_record::Identity;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::{BatchSpan, LaneChange};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::CheckpointUpdate;
use crate::sink::{
    Attempt, AttemptStatus, Batch, Outcome, PARTIAL, PROGRAM, RefusedEvent, TOO_LARGE, TransactionalSink, Unsent,
    Warning, WarningReason,
};

pub use error::DeliveryError;
pub use fates::Fates;
pub use health::{SinkAnswers, SinkHealth};
pub use shared::Delivery;

use blocked::{AnswerSubject, part_of};
use event_bytes::EventBytes;
use fates::Fate;
use refusal::{MISCONFIGURED_FROM, RefusalCause, Refusals};
use sorted::Sorted;

/// Number of refusals after which the rest of the batch is not tried. Half of them are of events from all over the
/// batch.
const SAMPLED: usize = 2 * MISCONFIGURED_FROM;

/// How long a sink may fail for the same events, although it answers, before the lane looks for an event to blame.
const BLAME_SEARCH_AFTER: Duration = Duration::from_hours(1);
/// How long a sink may fail for the same events if the operator accepts refusals: the event becomes a dead letter.
const BLAME_SEARCH_AFTER_ACCEPTED: Duration = Duration::from_mins(2);

/// Stands for the status of a response that is 200 although the sink is busy.
const BUSY: AttemptStatus = AttemptStatus::Other(Cow::Borrowed("busy"));

/// Returns the checkpoint that covers the events at these indices of the batch.
pub type UpdateFor<'a> = dyn Fn(&[usize]) -> CheckpointUpdate + Send + Sync + 'a;

/// Commits batches with the lane's checkpoint, for a transactional sink.
pub struct Transaction<'a> {
    pub sink: Arc<dyn TransactionalSink>,
    pub update: &'a UpdateFor<'a>,
}

struct BatchDelivery<'a> {
    delivery: &'a Delivery,
    batch: &'a Batch,
    fates: &'a Fates,
    /// The requests to send, in order, as indices of the batch.
    requests: VecDeque<Vec<usize>>,
    event_bytes: EventBytes,
    accepted: usize,
    refusals: Refusals<'a>,
    random: fastrand::Rng,
    waits: FullJitter,
    transaction: Option<&'a Transaction<'a>>,
    /// The events that the last committed checkpoint covers, ascending; `None` if none was committed.
    committed: Option<Vec<usize>>,
    stop: &'a CancellationToken,
    /// The time at which the last attempt began.
    attempted_at: Instant,
    /// Whether the list of events that are sent apart from others may have changed.
    is_unsorted: bool,
}

impl Delivery {
    /// Delivers `batch` without a time limit. `stop` ends the delivery between two attempts, never during one, so no
    /// event is sent twice because of it. Without `transaction`, a transactional sink delivers at least once. With
    /// `transaction`, returns the events that the last committed checkpoint covers, ascending; `None` if none was
    /// committed.
    ///
    /// # Errors
    /// If another attempt would not succeed, or refused events cannot be stored. A delivery that was stopped is a
    /// transient failure. Events that are not settled are neither lost nor dead letters.
    pub async fn deliver(
        &self,
        batch: &Batch,
        fates: &Fates,
        random: fastrand::Rng,
        transaction: Option<&Transaction<'_>>,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<usize>>, DeliveryError> {
        let metrics = &self.meter.metrics;
        let span = BatchSpan::begin(metrics, self.meter.sink_type(), batch.len(), batch.body_bytes());
        let delivered = self.deliver_requests(batch, fates, random, transaction, stop).await;
        match &delivered {
            Ok((0, _)) => span.end("delivered", 0, None),
            Ok((dead_letters, _)) => span.end("dead_letters", *dead_letters, None),
            Err(error) => {
                let outcome = match error.failure().kind {
                    FailureKind::Transient | FailureKind::Clock => "failed",
                    FailureKind::Superseded => "superseded",
                    FailureKind::SecretUnreadable | FailureKind::ProgramFailed | FailureKind::ProgramOverran => {
                        "not_sent"
                    }
                    _ => "refused",
                };
                span.end(outcome, 0, Some(&error.to_string()));
            }
        }
        delivered.map(|(_, committed)| committed)
    }

    /// Returns the number of events that became dead letters, and what the last transaction committed.
    async fn deliver_requests(
        &self,
        batch: &Batch,
        fates: &Fates,
        mut random: fastrand::Rng,
        transaction: Option<&Transaction<'_>>,
        stop: &CancellationToken,
    ) -> Result<(usize, Option<Vec<usize>>), DeliveryError> {
        let waits = self.waits(&mut random);
        let mut delivery = BatchDelivery {
            delivery: self,
            batch,
            fates,
            requests: VecDeque::new(),
            event_bytes: EventBytes::default(),
            accepted: 0,
            refusals: Refusals::new(self, batch, fates),
            random,
            waits,
            transaction,
            committed: None,
            stop,
            attempted_at: Instant::now(),
            is_unsorted: true,
        };
        delivery.refuse_unsendable();
        if let Err(failure) = delivery.send_requests().await {
            if transaction.is_none() {
                delivery.refusals.store_if_accepted(delivery.accepted, &delivery.event_bytes).await?;
            }
            return Err(failure.into());
        }
        let counted = delivery.refusals.check(delivery.accepted)?;
        if let Err(error) = delivery.refusals.store(delivery.accepted, &delivery.event_bytes).await {
            self.health.uncount(counted);
            return Err(error);
        }
        if transaction.is_some() && delivery.refusals.len() > 0 {
            delivery.commit_dead_letters().await?;
        }
        Ok((delivery.refusals.len(), delivery.committed))
    }

    fn waits(&self, random: &mut fastrand::Rng) -> FullJitter {
        FullJitter::new(self.retry.initial.0, self.retry.max.0, random.fork())
    }
}

impl BatchDelivery<'_> {
    /// Refuses events that are too large for the sink, and events on which a program failed. The other events are the
    /// first request.
    fn refuse_unsendable(&mut self) {
        let limit = self.delivery.sink.limits().event_bytes;
        let mut sendable = Vec::new();
        for (index, event) in self.batch.events().enumerate() {
            let (cause, status, reason) = match event.unsent {
                Some(Unsent::Truncated) => {
                    let reason = "the record is too large to be pulled; this is its beginning";
                    (RefusalCause::TooLarge, TOO_LARGE, reason.to_owned())
                }
                Some(Unsent::ProgramFailed) => {
                    (RefusalCause::Program, PROGRAM, event.error.unwrap_or_default().to_owned())
                }
                None if event.body.len() <= limit => {
                    sendable.push(index);
                    continue;
                }
                None => {
                    let reason = format!("the event has {} bytes, the sink accepts at most {limit}", event.body.len());
                    (RefusalCause::TooLarge, TOO_LARGE, reason)
                }
            };
            self.refusals.add(cause, [RefusedEvent { index, status: status.to_owned(), reason }]);
        }
        self.plan(sendable);
    }

    /// Adds requests for these events, as few as possible.
    fn plan(&mut self, events: Vec<usize>) {
        if self.delivery.sink.separates_labels() {
            self.requests.extend(self.by_labels(events));
        } else if !events.is_empty() {
            self.requests.push_back(events);
        }
    }

    /// Groups events with the same labels, in the order of the first event of each group.
    fn by_labels(&self, events: Vec<usize>) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Option<&Arc<Labels>>, Vec<usize>)> = Vec::new();
        let mut places = HashMap::new();
        for index in events {
            let labels = self.batch.event(index).and_then(|event| event.labels);
            let place = *places.entry(labels).or_insert_with(|| {
                groups.push((labels, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, group)) = groups.get_mut(place) {
                group.push(index);
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Commits the checkpoint with the dead letters, by a request without events. The checkpoint that was committed
    /// with the events does not contain them.
    async fn commit_dead_letters(&mut self) -> Result<(), Failure> {
        self.requests.push_back(Vec::new());
        self.send_requests().await
    }

    async fn send_requests(&mut self) -> Result<(), Failure> {
        let Delivery { throttle, health, deadline, .. } = self.delivery;
        loop {
            if std::mem::take(&mut self.is_unsorted) {
                self.set_apart();
            }
            let Some(request) = self.requests.pop_front() else { return Ok(()) };
            if !throttle.blocked_for().is_zero() {
                health.set_refusing(Instant::now());
            }
            let permit = self.stop.run_until_cancelled(throttle.acquire()).await.ok_or_else(stopped)?;
            self.attempted_at = Instant::now();
            let unanswered = health.attempt();
            let covered = self.covered(&request);
            let attempt = tokio::select! {
                biased;
                // A transaction is not cancelled, since its outcome would be unknown. The brokers refuse it if another
                // worker has the lane.
                () = deadline.passed(), if self.transaction.is_none() || deadline.has_passed() => None,
                attempt = self.send(&request, &covered) => Some(attempt),
            };
            drop(unanswered);
            let Some(attempt) = attempt else {
                drop(permit);
                self.requests.push_front(request);
                self.wait_for_lease().await?;
                continue;
            };
            permit.observe(&attempt);
            drop(permit);
            if self.transaction.is_some() && attempt.outcome.is_delivered() {
                self.committed = Some(covered);
            }
            self.act_on(request, attempt).await?;
        }
    }

    /// Sorts the unsent events if the lane knows or suspects events that its sink does not accept. Suspects come first,
    /// in requests as small as the search for the refused event needs. Events that are known to be refused come last,
    /// each alone.
    fn set_apart(&mut self) {
        let Some(apart) = self.delivery.health.blocked().apart() else { return };
        let is_concerned = |index: &usize| {
            let event = self.batch.identity(*index);
            event.is_some_and(|event| apart.found.contains(&event) || apart.suspects.contains(&event))
        };
        if !self.requests.iter().flatten().any(is_concerned) {
            return;
        }
        let mut unsent: Vec<usize> = self.requests.drain(..).flatten().collect();
        unsent.sort_unstable();
        let is_of = |events: &HashSet<Identity>, index: &usize| {
            self.batch.event(*index).is_some_and(|event| events.contains(&event.identity))
        };
        let (found, unsent): (Vec<_>, Vec<_>) = unsent.into_iter().partition(|index| is_of(&apart.found, index));
        let (mut suspects, others): (Vec<_>, Vec<_>) =
            unsent.into_iter().partition(|index| is_of(&apart.suspects, index));
        let tried: Vec<usize> = suspects.drain(part_of(suspects.len(), apart.part)).collect();
        self.plan(tried);
        self.plan(suspects);
        self.plan(others);
        self.requests.extend(found.into_iter().map(|index| vec![index]));
    }

    /// Returns the events that are settled once the events of `request` are, ascending; empty without a transaction.
    fn covered(&self, request: &[usize]) -> Vec<usize> {
        if self.transaction.is_none() {
            return Vec::new();
        }
        let mut covered = [self.fates.settled().as_slice(), request].concat();
        covered.sort_unstable();
        covered
    }

    async fn send(&self, request: &[usize], covered: &[usize]) -> Attempt {
        let started_at = Instant::now();
        let selected;
        let batch = if request.len() == self.batch.len() {
            self.batch
        } else {
            selected = self.batch.select(request.iter().copied());
            &selected
        };
        let attempt = match self.transaction {
            Some(Transaction { sink, update }) => sink.commit_batch(batch, update(covered)).await,
            None => self.delivery.sink.send(batch).await,
        };
        self.delivery.meter.sink_request(attempt.status.label(), started_at.elapsed());
        attempt
    }

    /// Settles the events of `request`, retries them (after a 429, 5xx or timeout), sends halves, or ends the delivery.
    async fn act_on(&mut self, request: Vec<usize>, attempt: Attempt) -> Result<(), Failure> {
        let Attempt { outcome, bytes, event_bytes, status } = attempt;
        if let Some(event_bytes) = event_bytes {
            self.event_bytes.set(self.batch, &request, &event_bytes);
        }
        match outcome {
            Outcome::Delivered => self.accept(request, bytes),
            Outcome::DeliveredWithWarnings(warnings) => {
                self.warned(&warnings);
                self.accept(request, bytes);
            }
            Outcome::SlowDown(text) => {
                self.warned(&[Warning { reason: WarningReason::SlowDown, text }]);
                self.accept(request, bytes);
            }
            Outcome::Partial { refused, retry, retry_after, warnings } => {
                self.warned(&warnings);
                self.settle_some(request, bytes, &status, refused, retry, retry_after).await
            }
            Outcome::RefusedSome { count, reason } => self.refuse_all(request, bytes, count, &reason),
            Outcome::Failed(Failure { kind: FailureKind::Transient, reason, retry_after }) => {
                self.send_again(request, &status, reason, retry_after).await
            }
            Outcome::Busy(reason) => self.send_again(request, &BUSY, reason, None).await,
            Outcome::TooLarge(reason) | Outcome::Refused(reason) => self.halve(request, &status, reason)?,
            Outcome::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    fn warned(&self, warnings: &[Warning]) {
        let Delivery { meter, clock, health, .. } = self.delivery;
        for Warning { reason, text } in warnings {
            let is_new = meter.metrics.sink_warned(reason.label(), text, clock.now());
            if health.logs_warning(*reason, is_new, Instant::now()) {
                tracing::warn!(reason = reason.label(), warning = text, "the sink accepts events with a warning");
            }
        }
    }

    fn accept(&mut self, events: Vec<usize>, bytes: u64) {
        let Delivery { meter, health, .. } = self.delivery;
        meter.metrics.send.delivered.add(events.len() as u64);
        meter.metrics.send.bytes.add(bytes);
        meter.delivered(events.iter().filter_map(|index| self.event_bytes.delivered_event(self.batch, *index)));
        self.accepted += events.len();
        health.unblock(self.batch, events.iter().copied(), Some(self.attempted_at));
        self.is_unsorted = true;
        self.fates.mark(events, Fate::Delivered);
        health.accepted();
        self.waits = self.delivery.waits(&mut self.random);
        if self.blamed().is_none() {
            meter.report(LaneChange::SinkAccepts);
        }
    }

    /// Returns whether the sink has accepted other events since the event was found.
    fn is_proven(&self, index: usize) -> bool {
        self.batch.identity(index).is_some_and(|event| self.delivery.health.blocked().is_proven(event))
    }

    /// Returns the first event of the batch that the sink does not accept, although it accepts others. Events that it
    /// has refused are left out.
    fn blamed(&self) -> Option<usize> {
        let blocked = self.delivery.health.blocked();
        if blocked.is_empty() {
            return None;
        }
        let is_blamed = |index: &usize| self.batch.identity(*index).is_some_and(|event| blocked.has_found(event));
        let is_refused =
            |index: &usize| self.refusals.by_cause(RefusalCause::Sink).any(|refusal| refusal.index == *index);
        self.fates.unsettled().into_iter().find(|index| is_blamed(index) && !is_refused(index))
    }

    /// Refuses all events of `request`. The sink refused `count` of them without saying which.
    fn refuse_all(&mut self, request: Vec<usize>, bytes: u64, count: usize, reason: &str) {
        let all = request.len();
        let reason =
            format!("{count} of {all} events sent together were refused; the sink does not say which: {reason}");
        tracing::warn!(reason, "the sink accepted a part of a batch: all of it is stored as dead letters");
        // The events are settled and counted once they are stored as dead letters.
        self.accept(Vec::new(), bytes);
        self.accepted += all.saturating_sub(count);
        self.refusals.add_accepted(all.saturating_sub(count));
        let refusal = |index| RefusedEvent { index, status: PARTIAL.to_owned(), reason: reason.clone() };
        self.refusals.add(RefusalCause::Sink, request.into_iter().map(refusal));
    }

    /// Processes an answer that settled some events. `refused` and `retry` are indices of `request`.
    async fn settle_some(
        &mut self,
        request: Vec<usize>,
        bytes: u64,
        status: &AttemptStatus,
        refused: Vec<RefusedEvent>,
        retry: Vec<usize>,
        retry_after: Option<Duration>,
    ) {
        let Sorted { accepted, refused, again, is_untried } = Sorted::of(&request, refused, retry);
        let settles = again.len() < request.len();
        self.refusals.add(RefusalCause::Sink, refused);
        if !accepted.is_empty() {
            self.accept(accepted, bytes);
        } else if settles {
            self.delivery.health.clear_refusing();
        }
        if again.is_empty() {
            return;
        }
        if !settles {
            let reason = format!("the sink accepted none of {} events for now ({})", again.len(), status.label());
            return self.send_again(again, status, reason, retry_after).await;
        }
        self.requests.push_front(again);
        if retry_after.is_some() || !is_untried {
            self.pause(retry_after).await;
        }
    }

    /// Sends `request` again after a wait, since the sink accepts none of its events for now. An event may be to blame:
    /// see [`blocked`].
    async fn send_again(
        &mut self,
        request: Vec<usize>,
        status: &AttemptStatus,
        mut reason: String,
        retry_after: Option<Duration>,
    ) {
        let is_news = self.look_for_blame(&request, status);
        self.is_unsorted = true;
        if let Some(index) = self.blamed() {
            let is_alone = request.as_slice() == [index];
            // An event that was just found is tried once more, after all others, since a session that fails does not
            // keep its dead letters. The sink must have accepted others since, or it may be down.
            let is_proven = self.accepted > 0 || self.is_proven(index);
            let subject = AnswerSubject::of(status).filter(|_| is_alone && !is_news && is_proven);
            if let Some(subject) = subject.filter(|_| self.delivery.health.accepts_refusals()) {
                let status = if subject == AnswerSubject::Events { PARTIAL } else { status.label() }.to_owned();
                return self.refusals.add(RefusalCause::Sink, [RefusedEvent { index, status, reason }]);
            }
            let record = self.batch.event(index).map_or("?", |event| event.record_id);
            let prefix = if is_alone { "" } else { "before that, " };
            let blame = format!(
                "{prefix}record {record} alone has failed for over an hour, while the sink accepted others{}",
                self.refusals.to_keep_refused("the record is")
            );
            reason = format!("{reason}; {blame}");
        }
        self.requests.push_front(request);
        self.wait(reason, retry_after).await;
    }

    /// Notes that `request` failed. Returns whether it is known now which event of the request is to blame.
    fn look_for_blame(&self, request: &[usize], status: &AttemptStatus) -> bool {
        let health = &self.delivery.health;
        let Some(failed) = AnswerSubject::of(status) else {
            health.blocked().unavailable();
            return false;
        };
        let patience = if health.accepts_refusals() { BLAME_SEARCH_AFTER_ACCEPTED } else { BLAME_SEARCH_AFTER };
        let events: Vec<Identity> = request.iter().filter_map(|index| self.batch.identity(*index)).collect();
        let blamed = health.blocked().attempt_failed(&events, failed, self.accepted > 0, self.attempted_at, patience);
        let is_blamed = |index: &&usize| blamed.is_some() && self.batch.identity(**index) == blamed;
        if let Some(event) = request.iter().find(is_blamed).and_then(|index| self.batch.event(*index)) {
            let record_id = event.record_id;
            let status = status.label();
            tracing::warn!(record_id, status, "the sink refuses one record and accepts others");
        }
        blamed.is_some()
    }

    fn halve(&mut self, mut request: Vec<usize>, status: &AttemptStatus, reason: String) -> Result<(), Failure> {
        let unsent = *status == AttemptStatus::TooLarge;
        if !unsent {
            // The sink answers, even if it accepts nothing.
            self.delivery.health.clear_refusing();
        }
        if request.len() > 1 {
            let second = request.split_off(request.len() / 2);
            self.requests.push_front(second);
            self.requests.push_front(request);
            return Ok(());
        }
        let is_news = request.iter().any(|index| !self.refusals.awaits_space(*index));
        let cause = if unsent { RefusalCause::TooLarge } else { RefusalCause::Sink };
        let refusal = |index| RefusedEvent { index, status: status.label().to_owned(), reason: reason.clone() };
        self.refusals.add(cause, request.into_iter().map(refusal));
        match self.refusals.count_new(RefusalCause::Sink) {
            _ if unsent || !is_news || self.accepted > 0 || self.delivery.health.accepts_refusals() => Ok(()),
            MISCONFIGURED_FROM => {
                self.sample_rest();
                Ok(())
            }
            SAMPLED => self.refusals.check(self.accepted).map(drop),
            _ => Ok(()),
        }
    }

    /// Tries events from all over the batch before the others. If the sink refuses these too, the request is to blame.
    /// To send each event alone would take thousands of requests.
    fn sample_rest(&mut self) {
        let rest: Vec<usize> = self.requests.drain(..).flatten().collect();
        let step = rest.len().div_ceil(SAMPLED - MISCONFIGURED_FROM).max(1);
        let (samples, others): (Vec<_>, Vec<_>) =
            rest.into_iter().enumerate().partition(|(place, _)| place % step == step - 1);
        self.requests.extend(samples.into_iter().map(|(_, index)| vec![index]));
        if !others.is_empty() {
            self.requests.push_back(others.into_iter().map(|(_, index)| index).collect());
        }
    }

    async fn wait(&mut self, reason: String, retry_after: Option<Duration>) {
        // A sink that hangs has refused since the attempt began, not since it was given up.
        self.delivery.health.set_refusing(self.attempted_at);
        self.delivery.meter.failed(Side::Sink, &Failure::transient(reason));
        self.pause(retry_after).await;
    }

    async fn pause(&mut self, retry_after: Option<Duration>) {
        // A hint may lengthen the wait, but not remove it.
        let wait = self.waits.wait_at_least(retry_after);
        // The caller detects a stop before the next attempt.
        self.stop.run_until_cancelled(sleep(wait)).await;
    }

    /// Waits until the lease is renewed. The attempt was cancelled, since another worker may take the lane over.
    async fn wait_for_lease(&self) -> Result<(), Failure> {
        let reason = "the lease of this lane's shard could not be renewed in time: nothing is sent until it is";
        self.delivery.health.set_refusing(Instant::now());
        self.delivery.meter.report(LaneChange::Halted(Failure::transient(reason)));
        self.stop.run_until_cancelled(self.delivery.deadline.renewed()).await.ok_or_else(stopped)
    }
}

/// Returns the failure of a delivery that the lane stopped.
fn stopped() -> Failure {
    Failure::transient("the delivery was stopped")
}

#[cfg(test)]
mod tests;
