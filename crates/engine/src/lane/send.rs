//! The send stage: batches go out in parallel, and the checkpoint follows the acknowledged prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_failure::catch_panic::resume_panic_of;
use s1_forwarder_failure::{Failure, Side};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::LaneMetrics;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Lane;
use super::checkpoint_writer::{CheckpointWriter, STORE_TIMEOUT, accepts_nothing};
use super::lane_checkpoint::LaneCheckpoint;
use super::pending_batch::PendingBatch;
use super::verdict::{SessionFailure, SideFailure};
use crate::checkpoint::{CheckpointUpdate, JournalChange};
use crate::delivery::{DeliveryError, SinkAnswers, Transaction};
use crate::sink::TransactionalSink;
use crate::source::{Pass, PollContext, SourcePosition};

/// Time without any delivery after which a lane releases its bytes and returns to its checkpoint. A lane that probes
/// whether its sink works again does this at the first refusal.
const SINK_TIMEOUT: Duration = Duration::from_secs(30);

/// Time without an answer of sink or store after which a lane reserves nothing new, until the answer comes. A lane
/// whose store fails reserves nothing new either.
pub const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(5);

/// The send stage of one lane.
pub struct SendStage<'a> {
    lane: &'a Lane,
    /// The sink; `None` if it does not commit the lane's checkpoint with the events.
    sink: Option<Arc<dyn TransactionalSink>>,
    pub(super) passes: &'a [Pass],
    pub(super) checkpoint: &'a mut LaneCheckpoint,
    pub(super) writer: &'a mut CheckpointWriter,
    /// Whether the sink was unavailable, and this session finds out whether it works again.
    is_probing: bool,
    random: fastrand::Rng,
    deliveries: JoinSet<Delivered>,
    /// The batches in flight, oldest first.
    in_flight: VecDeque<InFlightBatch>,
    stop: CancellationToken,
}

struct InFlightBatch {
    task: task::Id,
    context: PollContext,
    watermark: Option<Timestamp>,
    /// `None` if the batch is delivered.
    pending: Option<Arc<PendingBatch>>,
}

/// The end of the delivery of a batch.
struct Delivered {
    /// The events that the last checkpoint covers that a transactional sink committed, ascending. `None` if none was
    /// committed.
    result: Result<Option<Vec<usize>>, DeliveryError>,
    /// The maker of the checkpoint of `result`; `None` if the sink is not transactional.
    transaction_checkpoint: Option<TransactionCheckpoint>,
}

/// The state of sink and store, and the times that the stage waits for in addition to batches and deliveries.
struct Timers {
    is_refusing: bool,
    is_sink_unresponsive: bool,
    /// Whether the sink or the store is unresponsive.
    is_unresponsive: bool,
    /// The time from which nothing new is reserved, if the sink or the store has not answered until then. `None` if no
    /// answer is awaited.
    unresponsive_at: Option<Instant>,
    /// The time at which the session ends; `None` if the sink does not refuse, and no checkpoint waits for the store.
    give_up_at: Option<Instant>,
    /// The side, sink or store, that has accepted nothing until `give_up_at`.
    gives_up: Side,
}

impl<'a> SendStage<'a> {
    pub fn new(
        lane: &'a Lane,
        passes: &'a [Pass],
        checkpoint: &'a mut LaneCheckpoint,
        writer: &'a mut CheckpointWriter,
        is_probing: bool,
        random: fastrand::Rng,
    ) -> Self {
        lane.memory.begin(checkpoint.position.size());
        Self {
            lane,
            sink: lane.transactional_sink(),
            passes,
            checkpoint,
            writer,
            is_probing,
            random,
            deliveries: JoinSet::new(),
            in_flight: VecDeque::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Announces to a transactional sink that batches may follow, until the result is dropped. `None` if the sink is
    /// not transactional.
    pub fn enter(&self) -> Option<Box<dyn Send>> {
        self.sink.as_ref().map(|sink| sink.announce_sender())
    }

    /// Delivers batches until there are no more and all of them are settled.
    ///
    /// # Errors
    /// If the lane has to return to its checkpoint, with the reason. The events that the sink settled are in the
    /// checkpoint then.
    pub async fn run(&mut self, mut mapped: mpsc::Receiver<Arc<PendingBatch>>) -> Result<(), SessionFailure> {
        self.lane.delivery.health.clear_refusing();
        let end = self.deliver_all(&mut mapped).await;
        // The batches that were not sent release their bytes at once.
        drop(mapped);
        // Waits for the attempts that are under way, and adds what they settle to the checkpoint.
        self.stop.cancel();
        while let Some(done) = self.deliveries.join_next_with_id().await {
            // The session has ended already.
            let _ = self.on_delivered(done);
        }
        self.lane.budget.pause(false);
        end
    }

    async fn deliver_all(&mut self, mapped: &mut mpsc::Receiver<Arc<PendingBatch>>) -> Result<(), SessionFailure> {
        let Lane { budget, delivery, .. } = self.lane;
        // Each checkpoint that a transactional sink commits adds to the one before.
        let concurrency = if self.sink.is_some() { 1 } else { self.lane.concurrency };
        let mut is_mapped = false;
        while !is_mapped || !self.in_flight.is_empty() {
            let timers = self.timers();
            self.show_trouble(&timers);
            budget.pause(timers.is_refusing || timers.is_unresponsive || !self.writer.may_send());
            let accepts_more = !is_mapped && self.in_flight.len() < concurrency && self.writer.may_send();
            let has_in_flight = !self.in_flight.is_empty();
            // If a write is under way or due, the loop wakes up to notice one that hangs.
            let is_writing = self.writer.has_changes();
            // Biased, so that a simulated schedule replays: what has ended comes first, new work last.
            tokio::select! {
                biased;
                Some(done) = self.deliveries.join_next_with_id() => self.on_delivered(done)?,
                written = self.writer.write_due_while_sending(self.checkpoint, has_in_flight) => written?,
                () = delivery.health.changed() => {}
                () = at(timers.unresponsive_at), if !timers.is_unresponsive => {}
                () = at(timers.give_up_at) => return Err(self.give_up(timers.gives_up).into()),
                next = mapped.recv(), if accepts_more => match next {
                    Some(pending) => self.spawn_delivery(pending),
                    None => is_mapped = true,
                },
                () = sleep(UNRESPONSIVE_AFTER), if is_writing || timers.is_unresponsive => {}
            }
        }
        Ok(())
    }

    fn timers(&self) -> Timers {
        let Lane { budget, delivery, .. } = self.lane;
        let SinkAnswers { refusing_since, unanswered_since, .. } = delivery.health.answers();
        let stalled_since = self.writer.stalled_since();
        let unresponsive_at =
            [unanswered_since, stalled_since].map(|since| since.map(|since| since + UNRESPONSIVE_AFTER));
        let now = Instant::now();
        let [is_sink_unresponsive, is_store_unresponsive] = unresponsive_at.map(|at| at.is_some_and(|at| at <= now));
        let patience = if self.is_probing && !budget.is_proven() { Duration::ZERO } else { SINK_TIMEOUT };
        let store_timeout = stalled_since.map(|since| since + STORE_TIMEOUT);
        let give_up_at = refusing_since.map(|since| since + patience).into_iter().chain(store_timeout).min();
        Timers {
            is_refusing: refusing_since.is_some(),
            is_sink_unresponsive,
            is_unresponsive: is_sink_unresponsive || is_store_unresponsive,
            unresponsive_at: unresponsive_at.into_iter().flatten().min(),
            give_up_at,
            gives_up: if give_up_at == store_timeout { Side::Store } else { Side::Sink },
        }
    }

    /// Shows why an unresponsive sink does not answer, without waiting for the attempts, which may last minutes.
    fn show_trouble(&self, timers: &Timers) {
        let Lane { delivery, .. } = self.lane;
        if timers.is_sink_unresponsive
            && let Some(failure) = delivery.sink.stall_reason()
        {
            delivery.meter.failed(Side::Sink, &failure);
        }
    }

    /// Returns the failure of a sink, or of a store, that has accepted nothing for too long.
    fn give_up(&self, side: Side) -> SideFailure {
        let failure = if side == Side::Store {
            accepts_nothing()
        } else {
            let reason = "the sink has accepted nothing for a while".to_owned();
            Failure::transient_after(reason, Some(self.lane.delivery.throttle.blocked_for()))
        };
        SideFailure { side, failure }
    }

    fn spawn_delivery(&mut self, pending: Arc<PendingBatch>) {
        let delivery = self.lane.delivery.clone();
        if !pending.excluded.is_empty() {
            self.checkpoint.exclude(self.passes, &pending, delivery.clock.now());
            self.lane.memory.move_into_position(pending.excluded.len(), self.checkpoint.position.size());
            self.writer.moved_on();
        }
        let context = pending.context;
        let watermark = pending.watermark();
        if pending.batch.is_empty() {
            if pending.batch.programs_worked() {
                delivery.health.programs_worked();
            }
            // The batch has nothing to deliver. It is settled when the batches before it are.
            match self.in_flight.back_mut() {
                Some(last) => last.watermark = last.watermark.max(watermark),
                None => self.advance(context, watermark),
            }
            return;
        }
        let sent = pending.clone();
        let random = self.random.fork();
        let stop = self.stop.clone();
        let sink = self.sink.clone();
        let transaction_checkpoint = sink.is_some().then(|| self.transaction_checkpoint(&pending));
        let delivering = async move {
            let update = transaction_checkpoint
                .as_ref()
                .map(|transaction_checkpoint| |settled: &[usize]| transaction_checkpoint.update(settled));
            let transaction = match (sink, &update) {
                (Some(sink), Some(update)) => Some(Transaction { sink, update }),
                _ => None,
            };
            let result = delivery.deliver(&sent.batch, &sent.fates, random, transaction.as_ref(), &stop).await;
            drop(transaction);
            Delivered { result, transaction_checkpoint }
        };
        // The span is for log lines: a task does not inherit the span of the lane.
        let task = self.deliveries.spawn(delivering.in_current_span()).id();
        self.in_flight.push_back(InFlightBatch { task, context, watermark, pending: Some(pending) });
    }

    /// Returns the object that makes the checkpoints for the batch that is sent next.
    fn transaction_checkpoint(&mut self, pending: &Arc<PendingBatch>) -> TransactionCheckpoint {
        TransactionCheckpoint {
            journal: self.writer.journal_change(self.checkpoint),
            before: self.checkpoint.clone(),
            passes: self.passes.to_vec(),
            pending: pending.clone(),
            now: self.lane.now(),
        }
    }

    /// Adds the settled events of a batch to the checkpoint.
    fn on_delivered(&mut self, done: Result<(task::Id, Delivered), JoinError>) -> Result<(), DeliveryError> {
        let (id, Delivered { result, transaction_checkpoint }) = match done {
            Ok(done) => done,
            Err(error) => {
                resume_panic_of(error);
                return Ok(());
            }
        };
        let place = self.in_flight.iter().position(|batch| batch.task == id);
        let pending = place.and_then(|place| self.in_flight[place].pending.clone());
        let (Some(place), Some(pending)) = (place, pending) else { return Ok(()) };
        let settled = pending.fates.settled();
        let is_stored = matches!(&result, Ok(Some(committed)) if *committed == settled);
        match transaction_checkpoint.filter(|_| is_stored) {
            // The lane goes on from the stored checkpoint, whose journal is longer by this batch.
            Some(transaction_checkpoint) => *self.checkpoint = transaction_checkpoint.stored(&settled),
            None => self.checkpoint.settle(self.passes, &pending, &settled, self.lane.now()),
        }
        if !settled.is_empty() {
            self.writer.events_settled(is_stored);
        }
        if result.is_ok() {
            self.lane.budget.set_proven(true);
            self.in_flight[place].pending = None;
            while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.pending.is_none()) {
                self.advance(batch.context, batch.watermark);
            }
        }
        // The position has forgotten the records before its new watermark.
        self.lane.memory.move_into_position(settled.len(), self.checkpoint.position.size());
        result.map(drop)
    }

    /// Moves the watermark over a batch. The batch and all before it are settled.
    fn advance(&mut self, context: PollContext, watermark: Option<Timestamp>) {
        if let Some(watermark) = watermark {
            self.checkpoint.position.advance(self.passes, context, watermark);
        }
        report(self.lane.metrics(), &self.checkpoint.position);
    }
}

/// Makes the checkpoints that a transactional sink commits with events of a batch.
///
/// No other batch is in flight, so each checkpoint adds to what was known `before` the batch. Each part of a batch that
/// is split has a checkpoint of its own, and all of them begin at `before`. So no checkpoint removes a segment that
/// `before` needs: the checkpoint of a later part may still need it.
struct TransactionCheckpoint {
    before: LaneCheckpoint,
    journal: JournalChange,
    passes: Vec<Pass>,
    pending: Arc<PendingBatch>,
    now: Timestamp,
}

impl TransactionCheckpoint {
    /// Returns the stored form of the checkpoint after the events at these indices are settled.
    fn update(&self, settled: &[usize]) -> CheckpointUpdate {
        let (checkpoint, journal) = self.settle(settled);
        CheckpointUpdate { checkpoint: checkpoint.encode(), journal }
    }

    /// Returns the checkpoint of [`Self::update`], once its stored form is committed.
    fn stored(&self, settled: &[usize]) -> LaneCheckpoint {
        let (mut checkpoint, journal) = self.settle(settled);
        checkpoint.ledger.forget_released(&journal.released);
        checkpoint
    }

    fn settle(&self, settled: &[usize]) -> (LaneCheckpoint, JournalChange) {
        let Self { passes, pending, now, .. } = self;
        let mut checkpoint = self.before.clone();
        let mut journal = self.journal.clone();
        checkpoint.settle(passes, pending, settled, *now);
        if let Some(watermark) = pending.watermark()
            && settled.len() == pending.batch.len()
        {
            checkpoint.position.advance(passes, pending.context, watermark);
        }
        journal.appends.append(&mut checkpoint.take_appends(*now));
        (checkpoint, journal)
    }
}

/// Waits until `time`, or indefinitely if it is `None`.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Sets the metrics of the lane's position.
pub fn report(metrics: &LaneMetrics, position: &SourcePosition) {
    metrics.set_complete_until(position.complete_until());
    if let Some(snapshot) = position.read_snapshot() {
        metrics.set_snapshot(snapshot.time, snapshot.settled);
    }
}

#[cfg(test)]
mod tests;
