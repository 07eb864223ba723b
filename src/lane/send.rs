//! The send stage: batches go out in parallel, and the checkpoint follows the acknowledged prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use super::Lane;
use super::checkpoint_writer::CheckpointWriter;
use super::lane_checkpoint::LaneCheckpoint;
use super::pending_batch::PendingBatch;
use super::pull::Polled;
use crate::checkpoint::{CheckpointUpdate, JournalChange};
use crate::failure::Failure;
use crate::record::Timestamp;
use crate::sink::TransactionalSink;
use crate::sink::deliver::{DeliveryError, SinkAnswers, Transaction};
use crate::source::{Heard, Pass, PollContext, PollEnd, SourcePosition};
use crate::telemetry::LaneMetrics;

/// After this long without any delivery, or while its store stores nothing, a lane gives its bytes back and returns to
/// its checkpoint. A lane that probes whether its sink works again does so at the first refusal.
const SINK_TIMEOUT: Duration = Duration::from_secs(30);

/// A lane whose sink or store has not answered for this long, or whose store fails, reserves nothing new until that
/// ends.
const SILENCE: Duration = Duration::from_secs(5);

/// The send stage of one lane.
pub struct SendStage<'a> {
    lane: &'a Lane,
    /// The sink, when it commits the lane's checkpoint with the events.
    sink: Option<Arc<dyn TransactionalSink>>,
    passes: &'a [Pass],
    checkpoint: &'a mut LaneCheckpoint,
    writer: &'a mut CheckpointWriter,
    random: fastrand::Rng,
    deliveries: JoinSet<Result<(), DeliveryError>>,
    /// The batches in flight, oldest first.
    in_flight: VecDeque<InFlightBatch>,
    stop: CancellationToken,
}

struct InFlightBatch {
    task: task::Id,
    context: PollContext,
    watermark: Option<Timestamp>,
    /// None once it is delivered.
    pending: Option<Arc<PendingBatch>>,
    committed: Committed,
}

/// The checkpoint that a transactional sink committed last with events of a batch, and the number of these events.
type Committed = Arc<Mutex<Option<(usize, LaneCheckpoint)>>>;

impl<'a> SendStage<'a> {
    pub fn new(
        lane: &'a Lane,
        sink: Option<Arc<dyn TransactionalSink>>,
        passes: &'a [Pass],
        checkpoint: &'a mut LaneCheckpoint,
        writer: &'a mut CheckpointWriter,
        random: fastrand::Rng,
    ) -> Self {
        let (deliveries, in_flight, stop) = Default::default();
        Self { lane, sink, passes, checkpoint, writer, random, deliveries, in_flight, stop }
    }

    /// Delivers batches until there are no more and all of them are settled. `is_probing`: the sink was unavailable,
    /// and this session finds out whether it works again.
    ///
    /// # Errors
    /// Why the lane has to return to its checkpoint. What the sink settled is in the checkpoint then.
    pub async fn run(
        &mut self,
        mut mapped: mpsc::Receiver<Arc<PendingBatch>>,
        is_probing: bool,
    ) -> Result<(), DeliveryError> {
        let Lane { budget, delivery, concurrency, .. } = self.lane;
        delivery.health.clear_refusing();
        let mut is_mapped = false;
        let end = loop {
            if is_mapped && self.in_flight.is_empty() {
                break Ok(());
            }
            if self.writer.is_superseded() {
                break Err(Failure::Superseded("another process has the lane".to_owned()).into());
            }
            if self.writer.is_refused() {
                break Err(Failure::Misconfigured("the checkpoint is refused".to_owned()).into());
            }
            let SinkAnswers { refusing_since, silent_since, .. } = delivery.health.answers();
            let stalled_since = self.writer.stalled_since();
            let silent_since = [silent_since, stalled_since].into_iter().flatten().min();
            let silent_from = silent_since.map(|since| since + SILENCE);
            let is_silent = silent_from.is_some_and(|from| from <= Instant::now());
            budget.pause(refusing_since.is_some() || is_silent || !self.writer.may_send());
            let timeout = if is_probing && !budget.is_proven() { Duration::ZERO } else { SINK_TIMEOUT };
            let store_timeout = stalled_since.map(|since| since + SINK_TIMEOUT);
            let give_up_at = refusing_since.map(|since| since + timeout).into_iter().chain(store_timeout).min();
            // A write that hangs is noticed then.
            let is_writing = self.writer.has_changes();
            let accepts_more = !is_mapped && self.in_flight.len() < *concurrency && self.writer.may_send();
            let in_flight = !self.in_flight.is_empty();
            // Biased, so that a simulated schedule replays: what has ended comes first, new work last.
            tokio::select! {
                biased;
                Some(done) = self.deliveries.join_next_with_id() => {
                    if let Err(error) = self.on_delivered(done) {
                        if let Failure::Superseded(reason) = error.failure() {
                            delivery.meter.superseded(reason);
                        }
                        break Err(error);
                    }
                }
                () = self.writer.write_due(self.checkpoint, in_flight) => {}
                () = delivery.health.changed() => {}
                () = sleep_until(silent_from.unwrap_or_else(Instant::now)), if silent_from.is_some() && !is_silent => {}
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => {
                    let is_store = give_up_at == store_timeout;
                    let what = if is_store { "state store" } else { "sink" };
                    let reason = format!("the {what} has accepted nothing for a while");
                    if is_store {
                        self.writer.stalled(reason.clone());
                    }
                    break Err(Failure::Transient { reason, after: Some(delivery.throttle.blocked_for()) }.into());
                }
                next = mapped.recv(), if accepts_more => match next {
                    Some(pending) => self.spawn_delivery(pending),
                    None => is_mapped = true,
                },
                () = sleep(SILENCE), if is_writing => {}
            }
        };
        // The batches that were not sent give their bytes back at once.
        drop(mapped);
        // Waits for the attempts that are under way, and adds what they settle to the checkpoint.
        self.stop.cancel();
        while let Some(done) = self.deliveries.join_next_with_id().await {
            // The session has ended already.
            let _ = self.on_delivered(done);
        }
        budget.pause(false);
        end
    }

    fn spawn_delivery(&mut self, pending: Arc<PendingBatch>) {
        let delivery = self.lane.delivery.clone();
        if !pending.excluded.is_empty() {
            self.checkpoint.exclude(self.passes, &pending, delivery.clock.now());
            self.writer.moved_on();
        }
        let context = pending.context;
        let watermark = pending.watermark();
        if pending.batch.is_empty() {
            // Nothing of it is to be delivered: it is settled when the batches before it are.
            match self.in_flight.back_mut() {
                Some(last) => last.watermark = last.watermark.max(watermark),
                None => self.advance(context, watermark),
            }
            return;
        }
        let committed = Committed::default();
        let transaction = self.sink.clone().map(|sink| {
            let journal = self.writer.journal_change(self.checkpoint);
            let before = self.checkpoint.clone();
            let passes = self.passes.to_vec();
            let pending = pending.clone();
            let now = delivery.clock.now();
            let committed = committed.clone();
            let update = move |settled: &[usize]| {
                let (checkpoint, update) = covering(&before, &journal, &passes, &pending, settled, now);
                *committed.lock() = Some((settled.len(), checkpoint));
                update
            };
            Transaction { sink, update: Box::new(update) }
        });
        let sent = pending.clone();
        let random = self.random.fork();
        let stop = self.stop.clone();
        let delivering =
            async move { delivery.deliver(&sent.batch, &sent.settled, random, transaction.as_ref(), &stop).await };
        // For its log lines: a task does not inherit the span of the lane.
        let task = self.deliveries.spawn(delivering.in_current_span()).id();
        self.in_flight.push_back(InFlightBatch { task, context, watermark, pending: Some(pending), committed });
    }

    /// Adds what was settled of a batch to the checkpoint.
    fn on_delivered(
        &mut self,
        done: Result<(task::Id, Result<(), DeliveryError>), JoinError>,
    ) -> Result<(), DeliveryError> {
        let (id, delivered) = match done.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => return Ok(()),
        };
        let place = self.in_flight.iter().position(|batch| batch.task == id);
        let pending = place.and_then(|place| self.in_flight[place].pending.clone());
        let (Some(place), Some(pending)) = (place, pending) else { return Ok(()) };
        let settled = pending.settled.indices(true);
        let committed = self.in_flight[place].committed.lock().take();
        match committed.filter(|(events, _)| delivered.is_ok() && *events == settled.len()) {
            // The lane goes on from what is stored: its journal is longer by this batch.
            Some((_, committed)) => *self.checkpoint = committed,
            None => self.checkpoint.settle(self.passes, &pending, &settled, self.lane.delivery.clock.now()),
        }
        if !settled.is_empty() {
            self.writer.events_settled(delivered.is_ok());
        }
        delivered?;
        self.lane.budget.set_proven(true);
        self.in_flight[place].pending = None;
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.pending.is_none()) {
            self.advance(batch.context, batch.watermark);
        }
        Ok(())
    }

    /// Moves the watermark over a batch: it and all before it are settled.
    fn advance(&mut self, context: PollContext, watermark: Option<Timestamp>) {
        if let Some(watermark) = watermark {
            self.checkpoint.position.advance(self.passes, context, watermark);
        }
        report(&self.lane.delivery.meter.lane, &self.checkpoint.position);
    }

    /// Adds what a complete poll has shown to the lane's rhythm, and reports whether the console is silent.
    fn hear(&mut self, context: PollContext, heard: &Heard) {
        let pull = &self.lane.pull;
        let rhythm = &mut self.checkpoint.rhythm;
        if pull.window.is_some() {
            return;
        }
        rhythm.complete(heard, context.start, context.pass == 0);
        self.lane.delivery.meter.measure_latency_from(rhythm.latency_from(pull));
        let lane = &self.lane.delivery.meter.lane;
        lane.set_newest_record(rhythm.newest());
        let is_silent = rhythm.is_silent(pull);
        let was_silent = lane.set_silent(is_silent);
        let is_silent = is_silent == Some(true);
        if is_silent != (was_silent == Some(true)) {
            let newest_record = rhythm.newest().map(|newest| newest.to_string());
            let after = rhythm.threshold(pull).map(|threshold| threshold.as_secs());
            if is_silent {
                warn!(
                    newest_record,
                    after_seconds = after,
                    "the console is silent: it has shown nothing new for longer than usual"
                );
            } else {
                info!(newest_record, "the console is not silent any more");
            }
        }
    }

    /// Stores how the poll has ended. Everything that it returned is settled.
    pub async fn finish(&mut self, polled: &Polled) {
        let Polled { context, end, heard } = polled;
        let context = *context;
        if let (PollEnd::Complete, Some(heard)) = (end, heard) {
            self.hear(context, heard);
        }
        let position = &mut self.checkpoint.position;
        match end {
            PollEnd::Complete => position.finish(self.passes, context, self.lane.pull.marker),
            PollEnd::Unavailable => position.pass_over(context),
            PollEnd::NotDue | PollEnd::Scopes(_) => {}
        }
        if matches!(end, PollEnd::Complete | PollEnd::Unavailable) {
            // A complete snapshot is stored at once: after a kill its event would be sent again.
            match context.snapshot {
                Some(_) => self.writer.events_settled(false),
                None => self.writer.moved_on(),
            }
            report(&self.lane.delivery.meter.lane, &self.checkpoint.position);
        }
        while !self.writer.is_idle() {
            self.writer.write_due(self.checkpoint, false).await;
        }
    }
}

/// The checkpoint that a transactional sink commits with these events of a batch. No other batch is in flight, so it
/// adds to what was known `before` the batch. A batch that is split has several, which all begin there. So none of them
/// removes a segment that was needed before the batch: a later one may still need it.
fn covering(
    before: &LaneCheckpoint,
    journal: &JournalChange,
    passes: &[Pass],
    pending: &PendingBatch,
    settled: &[usize],
    now: Timestamp,
) -> (LaneCheckpoint, CheckpointUpdate) {
    let mut checkpoint = before.clone();
    let mut journal = journal.clone();
    checkpoint.settle(passes, pending, settled, now);
    if let Some(watermark) = pending.watermark()
        && settled.len() == pending.batch.len()
    {
        checkpoint.position.advance(passes, pending.context, watermark);
    }
    journal.appends.append(&mut checkpoint.take_appends(now));
    let update = CheckpointUpdate { checkpoint: checkpoint.encode(), journal };
    checkpoint.ledger.forget_released(&update.journal.dropped);
    (checkpoint, update)
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
