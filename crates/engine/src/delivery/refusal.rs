//! Events that become dead letters: why, whether they may, and how they are stored.

use std::time::Duration;

use s1_forwarder_failure::{Failure, FailureKind, Side};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::DeliveredEvent;

use super::error::DeliveryError;
use super::event_bytes::EventBytes;
use super::fates::{Fate, Fates};
use super::health::RefusalRun;
use super::shared::Delivery;
use crate::dead_letters::DeadLetter;
use crate::sink::{Batch, RefusedEvent, Unsent};

/// Number of events refused in a row, with none accepted, from which the configuration counts as wrong.
pub(super) const MISCONFIGURED_FROM: usize = 10;

/// Shortest wait before dead letters that could not be stored are tried again.
pub(super) const AFTER_DEAD_LETTERS: Duration = Duration::from_secs(5);

/// An event that becomes a dead letter.
#[derive(Debug)]
struct Refusal {
    cause: RefusalCause,
    event: RefusedEvent,
}

/// The cause of a refusal. Dead letters are stored in the order of the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RefusalCause {
    /// The sink refused the event.
    Sink,
    /// The event is too large, and was not sent. It does not indicate a problem of the sink.
    TooLarge,
    /// The user's program failed on the event, which is not sent. A wrong program is as likely as a wrong sink.
    Program,
}

/// The events of a batch that become dead letters.
pub(super) struct Refusals<'a> {
    delivery: &'a Delivery,
    batch: &'a Batch,
    fates: &'a Fates,
    refused: Vec<Refusal>,
    /// Number of events in `refused` that the sink accepted without naming them. They count as delivered.
    accepted_unnamed: usize,
}

impl<'a> Refusals<'a> {
    pub fn new(delivery: &'a Delivery, batch: &'a Batch, fates: &'a Fates) -> Self {
        Self { delivery, batch, fates, refused: Vec::new(), accepted_unnamed: 0 }
    }

    pub fn len(&self) -> usize {
        self.refused.len()
    }

    pub fn add(&mut self, cause: RefusalCause, events: impl IntoIterator<Item = RefusedEvent>) {
        self.refused.extend(events.into_iter().map(|event| Refusal { cause, event }));
    }

    /// Notes that the sink accepted `count` of the refused events without naming them.
    pub fn add_accepted(&mut self, count: usize) {
        self.accepted_unnamed += count;
    }

    /// Returns the number of refusals for this cause that show the present state of the sink. Events that wait for
    /// space in the dead-letter store do not count.
    pub fn count_new(&self, cause: RefusalCause) -> usize {
        self.by_cause(cause).filter(|refusal| !self.awaits_space(refusal.index)).count()
    }

    pub fn by_cause(&self, cause: RefusalCause) -> impl Iterator<Item = &RefusedEvent> {
        self.refused.iter().filter(move |refusal| refusal.cause == cause).map(|refusal| &refusal.event)
    }

    /// Returns whether the event could not be stored when it was refused before. The sink accepted other events then.
    pub fn awaits_space(&self, index: usize) -> bool {
        let unstored = self.delivery.health.unstored();
        !unstored.is_empty() && self.batch.identity(index).is_some_and(|event| unstored.contains(&event))
    }

    /// Fails after too many refusals in a row: a wrong index must not turn a customer's history into dead letters. A
    /// row of events on which programs failed ends when the programs drop an event. Returns the counted refusals.
    pub fn check(&self, accepted: usize) -> Result<RefusalRun, Failure> {
        let health = &self.delivery.health;
        let refused = self.count_new(RefusalCause::Sink);
        let mut run = RefusalRun { refused, failed: self.count_new(RefusalCause::Program) };
        if self.batch.programs_worked() {
            health.programs_worked();
            run.failed = 0;
        }
        if accepted != 0 || run.len() == 0 {
            return Ok(RefusalRun::default());
        }
        let in_a_row = health.count_refused(run);
        if in_a_row < MISCONFIGURED_FROM || health.accepts_refusals() {
            return Ok(run);
        }
        let by_sink = self.by_cause(RefusalCause::Sink).next();
        let Some(first) = by_sink.or(self.by_cause(RefusalCause::Program).next()) else { return Ok(run) };
        if by_sink.is_none() {
            return Err(Failure::program_failed(format!(
                "a program of the pipeline failed on {in_a_row} events in a row: {}; no event of this batch became a dead \
                 letter; the lane goes on when its file changes{}",
                first.reason,
                self.to_keep_refused("the events are")
            )));
        }
        Err(Failure::refused_all(format!(
            "the sink refused {in_a_row} events in a row and accepted none: {}; no event of this batch became a dead \
             letter{}",
            first.reason,
            self.to_keep_refused("the events are")
        )))
    }

    /// Returns the end of an error, which says how refused events become dead letters. `events_are` is the subject of
    /// the sentence with its verb. Empty if the command has no flag for that.
    pub fn to_keep_refused(&self, events_are: &str) -> String {
        if self.delivery.health.has_no_flag() {
            return String::new();
        }
        let lane = &self.delivery.meter.metrics.id;
        format!(
            "; if {events_are} to blame, start again with the flag that keeps them as dead letters: --accept-refusals \
             {lane}"
        )
    }

    /// Stores the refused events before the delivery ends early, if the operator accepts any number of refusals. So no
    /// later answer changes their fate. Otherwise, a sink whose `Retry-After` ends each session would refuse the same
    /// events again and again, and would never get the next event.
    pub async fn store_if_accepted(&mut self, accepted: usize, event_bytes: &EventBytes) -> Result<(), DeliveryError> {
        if !self.delivery.health.accepts_refusals() {
            return Ok(());
        }
        self.refused.retain(|refusal| refusal.cause == RefusalCause::Sink);
        self.store(accepted, event_bytes).await
    }

    /// Stores the refused events as dead letters, by cause and in the order of the refusals.
    pub async fn store(&mut self, accepted: usize, event_bytes: &EventBytes) -> Result<(), DeliveryError> {
        let Delivery { meter, clock, dead_letters, .. } = self.delivery;
        if self.refused.is_empty() {
            return Ok(());
        }
        self.refused.sort_by_key(|refusal| refusal.cause);
        let time = clock.now();
        let refused: Vec<_> = self
            .refused
            .iter()
            .filter_map(|Refusal { event: refusal, .. }| {
                let event = self.batch.event(refusal.index)?;
                Some(DeadLetter {
                    time,
                    lane: &meter.metrics.id,
                    identity: event.identity,
                    record_id: event.record_id,
                    status: &refusal.status,
                    reason: &refusal.reason,
                    event_time: event.time,
                    error: if event.unsent == Some(Unsent::ProgramFailed) { None } else { event.error },
                    labels: event.labels.map(|labels| &**labels),
                    truncated: event.unsent == Some(Unsent::Truncated),
                    event: event.body,
                })
            })
            .collect();
        let result = dead_letters.keep(&refused).await;
        let stored = result.as_ref().map_or_else(|(stored, _)| *stored, |()| refused.len());
        if let (Some(stored), Some(written)) = (self.refused.get(..stored), refused.get(..stored)) {
            self.stored(time, stored, written, event_bytes);
        }
        result.map_err(|(_, error)| {
            if accepted > 0 {
                let unstored = refused.iter().skip(stored).map(|letter| letter.identity);
                self.delivery.health.unstored().extend(unstored);
            }
            let mut failure = Failure::from(error);
            meter.failed(Side::DeadLetters, &failure);
            if failure.kind == FailureKind::Transient {
                failure.retry_after = failure.retry_after.max(Some(AFTER_DEAD_LETTERS));
            }
            DeliveryError::DeadLetters(failure)
        })
    }

    /// Counts and settles refused events that are dead letters now.
    fn stored(&self, time: Timestamp, refused: &[Refusal], written: &[DeadLetter<'_>], event_bytes: &EventBytes) {
        let Delivery { meter, dead_letters, health, .. } = self.delivery;
        let Some(DeadLetter { reason, record_id, .. }) = written.first() else { return };
        let accepted = self.accepted_unnamed.min(refused.len());
        meter.metrics.send.delivered.add(accepted as u64);
        if accepted > 0 {
            // It is unknown which of the events were accepted. Each has the average size, and the first events give the
            // labels.
            let sizes =
                refused.iter().filter_map(|refusal| event_bytes.delivered_event(self.batch, refusal.event.index));
            let bytes = sizes.map(|event| event.bytes).sum::<u64>() * accepted as u64 / refused.len() as u64;
            let up_to = |place: usize| bytes * place as u64 / accepted as u64;
            let unnamed = refused.iter().take(accepted).enumerate();
            meter.delivered(unnamed.filter_map(|(place, refusal)| {
                let event = event_bytes.delivered_event(self.batch, refusal.event.index)?;
                Some(DeliveredEvent { bytes: up_to(place + 1) - up_to(place), time: None, ..event })
            }));
        }
        meter.dead_lettered((refused.len() - accepted) as u64);
        dead_letters.show(&meter.metrics);
        let list = || dead_letters.list_command_for(&meter.metrics);
        meter.metrics.log_dead_letters(time, refused.len() as u64, reason, record_id, list);
        health.unblock(self.batch, refused.iter().map(|refusal| refusal.event.index), None);
        self.fates.mark(refused.iter().map(|refusal| refusal.event.index), Fate::DeadLettered);
    }
}
