//! The sink stage: batches go out in parallel, and the checkpoint follows the acknowledged prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::LaneBudget;
use super::checkpoint_writer::CheckpointWriter;
use super::lane_checkpoint::{LaneCheckpoint, Settling};
use super::map::{Mapped, PendingBatch};
use super::pull::PullEnd;
use crate::checkpoint::{CheckpointUpdate, JournalChange};
use crate::failure::Failure;
use crate::record::{Clock, Stream, Timestamp};
use crate::sink::TransactionalSink;
use crate::sink::deliver::{Delivery, DeliveryError, Settled, Transaction};
use crate::source::{Pass, PollContext, Pull, SourcePosition};
use crate::telemetry::LaneMetrics;

/// After this long without any delivery, a lane gives its bytes back and returns to its checkpoint. A lane that probes
/// whether its sink works again does so at the first refusal.
const SINK_TIMEOUT: Duration = Duration::from_secs(30);

/// How a session ended. What was not settled is requeued, except after `Settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// Everything that was pulled is settled and stored; how the poll ended.
    Settled(PullEnd),
    /// The sink has accepted nothing for a while.
    SinkUnavailable,
    /// The sink refuses the credentials, or everything: for the operator to repair.
    SinkRefused(String),
    /// Dead letters cannot be stored.
    DeadLetters(String),
    /// Another process has taken the lane over, or a transactional session has ended.
    Superseded,
    /// The stages before this one ended early.
    Broken,
}

/// The sink stage of one lane.
pub struct SendStage<'a> {
    pub stream: Stream,
    /// The sink, when it commits the lane's checkpoint with the events.
    pub sink: Option<Arc<dyn TransactionalSink>>,
    pub delivery: &'a Arc<Delivery>,
    /// How many batches may be in flight.
    pub concurrency: usize,
    pub pull: &'a Pull,
    pub passes: Vec<Pass>,
    /// The sink was unavailable: this session finds out whether it works again.
    pub is_probing: bool,
    /// Paused while the sink refuses.
    pub budget: &'a LaneBudget,
    pub checkpoint: &'a mut LaneCheckpoint,
    pub writer: &'a mut CheckpointWriter,
    pub random: fastrand::Rng,
}

/// The batches in flight, oldest first.
#[derive(Default)]
struct InFlightDeliveries {
    batches: VecDeque<InFlightDelivery>,
    deliveries: JoinSet<(u64, Result<(), DeliveryError>)>,
    next: u64,
    stop: CancellationToken,
}

struct InFlightDelivery {
    number: u64,
    context: PollContext,
    watermark: Option<Timestamp>,
    /// None once it is delivered.
    open: Option<OpenDelivery>,
}

struct OpenDelivery {
    pending: Arc<PendingBatch>,
    settled: Arc<Settled>,
}

impl PendingBatch {
    /// Adds the events at these indices to the checkpoint.
    fn settle(
        &self,
        checkpoint: &mut LaneCheckpoint,
        stream: Stream,
        passes: &[Pass],
        settled: &[usize],
        now: Timestamp,
    ) {
        let settling = Settling { stream, passes, context: self.context, now };
        for index in settled {
            if let (Some(record_key), Some(event)) = (self.record_keys.get(*index), self.batch.event(*index)) {
                checkpoint.settle(&settling, record_key, event.identity, event.record_id);
                checkpoint.settled += 1;
            }
        }
    }
}

/// The checkpoint that a transactional sink commits with a batch. No other batch is in flight, so it adds to what was
/// known before the batch.
struct UpdateBuilder {
    pending: Arc<PendingBatch>,
    stream: Stream,
    before: LaneCheckpoint,
    journal: JournalChange,
    passes: Vec<Pass>,
    clock: Clock,
}

impl UpdateBuilder {
    /// The checkpoint once the events at these indices are settled.
    fn update(&self, settled: &[usize]) -> CheckpointUpdate {
        let Self { pending, stream, before, journal, passes, clock } = self;
        let mut checkpoint = before.clone();
        pending.settle(&mut checkpoint, *stream, passes, settled, clock.now());
        if let Some(watermark) = pending.watermark.filter(|_| settled.len() == pending.batch.len()) {
            checkpoint.position.advance(passes, pending.context, watermark);
        }
        CheckpointUpdate { checkpoint: checkpoint.encode(), journal: journal.clone() }
    }
}

impl SendStage<'_> {
    /// Delivers batches until the poll has ended and everything is stored.
    pub async fn run(mut self, mut mapped: mpsc::Receiver<Box<Mapped>>) -> SessionEnd {
        let mut flight = InFlightDeliveries::default();
        let _pending = self.sink.as_ref().map(|sink| sink.enter());
        self.delivery.health.reset();
        let mut health = self.delivery.health.watch();
        let mut poll_end = None;
        let mut finished = false;
        let end = loop {
            if let Some(end) = &poll_end
                && flight.batches.is_empty()
            {
                if !std::mem::replace(&mut finished, true) {
                    self.finish(end);
                }
                if self.writer.is_settled() {
                    break SessionEnd::Settled(end.clone());
                }
            }
            if self.writer.is_superseded() {
                break SessionEnd::Superseded;
            }
            let refusing_since = *health.borrow_and_update();
            self.budget.pause(refusing_since.is_some());
            let timeout = if self.is_probing && !self.budget.is_proven() { Duration::ZERO } else { SINK_TIMEOUT };
            let give_up_at = refusing_since.map(|since| since + timeout);
            let accepts_more = poll_end.is_none() && flight.batches.len() < self.concurrency && self.writer.may_send();
            let in_flight = !flight.batches.is_empty();
            // Biased, so that a simulated schedule replays: what has ended comes first, new work last.
            tokio::select! {
                biased;
                Some(done) = flight.deliveries.join_next() => {
                    if let Err(error) = self.on_delivered(done, &mut flight) {
                        break self.end_after(error);
                    }
                }
                () = self.writer.write_due(self.checkpoint, in_flight) => {}
                _ = health.changed() => {}
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => {
                    break SessionEnd::SinkUnavailable;
                }
                next = mapped.recv(), if accepts_more => match next.map(|next| *next) {
                    Some(Mapped::Batch(pending)) => self.spawn_delivery(pending, &mut flight),
                    Some(Mapped::End(end)) => poll_end = Some(end),
                    None => break SessionEnd::Broken,
                },
            }
        };
        self.drain(flight).await;
        self.budget.pause(false);
        end
    }

    fn spawn_delivery(&mut self, pending: PendingBatch, flight: &mut InFlightDeliveries) {
        let (now, passes) = (self.delivery.clock.now(), &self.passes);
        let settling = Settling { stream: self.stream, passes, context: pending.context, now };
        for dropped in &pending.dropped {
            self.checkpoint.settle(&settling, &dropped.record_key, dropped.identity, &dropped.id);
            self.writer.time_passed();
        }
        if pending.batch.is_empty() {
            return;
        }
        let number = flight.next;
        flight.next += 1;
        let settled = Arc::new(Settled::none_of(pending.batch.len()));
        let (context, watermark) = (pending.context, pending.watermark);
        let pending = Arc::new(pending);
        let (delivery, sent, progress) = (self.delivery.clone(), pending.clone(), settled.clone());
        let (random, stop) = (self.random.fork(), flight.stop.clone());
        let transaction = self.sink.clone().map(|sink| {
            let builder = UpdateBuilder {
                pending: pending.clone(),
                stream: self.stream,
                journal: self.writer.spill(self.checkpoint),
                before: self.checkpoint.clone(),
                passes: self.passes.clone(),
                clock: delivery.clock,
            };
            Transaction { sink, update: Box::new(move |settled| builder.update(settled)) }
        });
        let delivering = async move {
            (number, delivery.deliver(&sent.batch, &progress, random, transaction.as_ref(), &stop).await)
        };
        // For its log lines: a task does not inherit the span of the lane.
        flight.deliveries.spawn(delivering.in_current_span());
        flight.batches.push_back(InFlightDelivery {
            number,
            context,
            watermark,
            open: Some(OpenDelivery { pending, settled }),
        });
    }

    /// Adds a batch to the checkpoint. The watermark moves when everything before the batch is settled too.
    fn on_delivered(
        &mut self,
        done: Result<(u64, Result<(), DeliveryError>), JoinError>,
        flight: &mut InFlightDeliveries,
    ) -> Result<(), DeliveryError> {
        let (number, result) = match done {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Ok(()),
        };
        result?;
        self.writer.delivered(self.checkpoint);
        self.budget.set_proven(true);
        if let Some(batch) = flight.batches.iter_mut().find(|batch| batch.number == number)
            && let Some(open) = batch.open.take()
        {
            self.settle(&open);
        }
        while let Some(batch) = flight.batches.pop_front_if(|batch| batch.open.is_none()) {
            if let Some(watermark) = batch.watermark {
                self.checkpoint.position.advance(&self.passes, batch.context, watermark);
            }
        }
        self.report();
        Ok(())
    }

    /// Waits for the attempts that are under way, and adds what they settled to the checkpoint.
    async fn drain(&mut self, mut flight: InFlightDeliveries) {
        flight.stop.cancel();
        while let Some(done) = flight.deliveries.join_next().await {
            // The session has ended already.
            let _ = self.on_delivered(done, &mut flight);
        }
        for batch in flight.batches {
            if let Some(open) = batch.open {
                self.settle(&open);
            }
        }
    }

    fn settle(&mut self, open: &OpenDelivery) {
        let settled = open.settled.indices(true);
        open.pending.settle(self.checkpoint, self.stream, &self.passes, &settled, self.delivery.clock.now());
        if !settled.is_empty() {
            self.writer.events_settled();
        }
    }

    /// Everything that the poll returned is settled.
    fn finish(&mut self, end: &PullEnd) {
        if let PullEnd::Complete(context) = end {
            self.checkpoint.position.finish(&self.passes, *context, self.pull.marker);
            // A complete snapshot is stored at once: after a kill its event would be sent again.
            match context.snapshot {
                Some(_) => self.writer.events_settled(),
                None => self.writer.time_passed(),
            }
            self.report();
        }
    }

    fn end_after(&self, error: DeliveryError) -> SessionEnd {
        match error {
            DeliveryError::Failed(Failure::Superseded(reason)) => {
                self.delivery.meter.superseded(&reason);
                SessionEnd::Superseded
            }
            DeliveryError::DeadLetters(reason) => SessionEnd::DeadLetters(reason),
            refused => SessionEnd::SinkRefused(refused.to_string()),
        }
    }

    fn report(&self) {
        report(&self.delivery.meter.lane, &self.checkpoint.position);
    }
}

/// Sets the metrics of the lane's position.
pub fn report(lane: &LaneMetrics, position: &SourcePosition) {
    lane.set_complete_until(position.complete_until());
    if let Some(snapshot) = position.read_snapshot(0) {
        lane.set_snapshot(snapshot.time, snapshot.taken);
    }
}

#[cfg(test)]
mod tests;
