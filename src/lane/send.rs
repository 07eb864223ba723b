//! The sink stage: batches go out in parallel, and the checkpoint follows the acknowledged prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::LaneBudget;
use super::checkpoints::Checkpoints;
use super::map::{Mapped, Parcel};
use super::pull::PullEnd;
use super::standing::{Settling, Standing};
use crate::record::{Clock, JournalChange, Timestamp};
use crate::sink::deliver::{Companion, Delivery, Halt, Settled};
use crate::sink::{Commits, Covering};
use crate::source::{Pass, Position, Pull, Round};
use crate::state::LaneId;
use crate::telemetry::LaneMetrics;

/// A lane whose sink has taken nothing for this long gives its bytes back and goes back to its checkpoint. When it comes
/// to see whether the sink is there again, the first refusal is enough.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a session of the sink stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendEnd {
    /// Everything that the source handed on is settled and stored; and the source's last word.
    Settled(PullEnd),
    /// The sink has taken nothing for a while: what was not settled is given back.
    Refusing,
    /// The lane cannot go on by itself; what was not settled is given back.
    Halted(Halt),
    /// Another process has taken the lane over.
    Superseded,
    /// The stages before this one ended without a word.
    Broken,
}

/// The sink stage of one lane.
pub struct SendStage<'a> {
    /// The lane.
    pub lane: &'a LaneId,
    /// Delivers batches.
    pub delivery: &'a Arc<Delivery>,
    /// Batches sent beyond the acknowledged prefix.
    pub concurrency: usize,
    /// What is pulled.
    pub pull: &'a Pull,
    /// The passes over the stream.
    pub passes: Vec<Pass>,
    /// The sink refused for long; this session is to see whether it is there again.
    pub probing: bool,
    /// Paused while the sink refuses.
    pub budget: &'a LaneBudget,
    /// What is stored when events are settled.
    pub standing: &'a mut Standing,
    /// Stores it.
    pub saver: &'a mut Checkpoints,
    /// Decides over waits.
    pub random: &'a mut fastrand::Rng,
}

/// What is under way, oldest first.
#[derive(Default)]
struct Flight {
    batches: VecDeque<InFlight>,
    deliveries: JoinSet<(u64, Result<(), Halt>)>,
    next: u64,
    stop: CancellationToken,
}

struct InFlight {
    number: u64,
    round: Round,
    watermark: Option<Timestamp>,
    /// Until it is delivered.
    open: Option<Open>,
}

struct Open {
    parcel: Arc<Parcel>,
    settled: Arc<Settled>,
}

impl Parcel {
    /// Takes note that the events at these indices are settled.
    fn remember(&self, standing: &mut Standing, lane: &LaneId, passes: &[Pass], settled: &[usize], now: Timestamp) {
        let settling = Settling { lane, passes, round: self.round, now };
        for index in settled {
            if let (Some(mark), Some(event)) = (self.marks.get(*index), self.batch.event(*index)) {
                standing.settle(&settling, mark, event.identity, event.record_id);
                standing.checkpoint.settled += 1;
            }
        }
    }
}

/// What a sink commits with the events of a parcel: it is the only one on its way, and what is known adds to what was known
/// before it.
struct Following {
    parcel: Arc<Parcel>,
    lane: LaneId,
    before: Standing,
    /// What changes with it in the journal.
    journal: JournalChange,
    passes: Vec<Pass>,
    clock: Clock,
}

impl Following {
    /// What the lane stores when the events at these indices are settled.
    fn covering(&self, settled: &[usize]) -> Covering {
        let Self { parcel, lane, before, journal, passes, clock } = self;
        let mut standing = before.clone();
        parcel.remember(&mut standing, lane, passes, settled, clock.now());
        if let Some(watermark) = parcel.watermark.filter(|_| settled.len() == parcel.batch.len()) {
            standing.checkpoint.position.advance(passes, parcel.round, watermark);
        }
        Covering { checkpoint: standing.encode(), journal: journal.clone() }
    }
}

impl SendStage<'_> {
    /// Delivers what comes until the poll's last word.
    pub async fn run(mut self, mut mapped: mpsc::Receiver<Box<Mapped>>) -> SendEnd {
        let mut flight = Flight::default();
        let _present = self.delivery.sink.commits().filter(|_| self.saver.go_along()).map(Commits::enter);
        self.delivery.health.forget();
        let mut health = self.delivery.health.watch();
        let mut last_word = None;
        let mut finished = false;
        let end = loop {
            if let Some(end) = &last_word
                && flight.batches.is_empty()
            {
                if !std::mem::replace(&mut finished, true) {
                    self.finish(end);
                }
                if self.saver.is_settled() {
                    break SendEnd::Settled(last_word.take().unwrap_or(PullEnd::Stopped));
                }
            }
            if self.saver.is_superseded() {
                break SendEnd::Superseded;
            }
            let refusing_since = *health.borrow_and_update();
            self.budget.pause(refusing_since.is_some());
            let patience = if self.probing && !self.budget.is_proven() { Duration::ZERO } else { PATIENCE };
            let give_up_at = refusing_since.map(|since| since + patience);
            let has_room = last_word.is_none() && flight.batches.len() < self.concurrency && self.saver.let_send();
            let sending = !flight.batches.is_empty();
            // In this order and not by chance, so that a simulated schedule replays: what is done first, new work last.
            tokio::select! {
                biased;
                Some(done) = flight.deliveries.join_next() => {
                    if let Err(halt) = self.landed(done, &mut flight) {
                        break SendEnd::Halted(halt);
                    }
                }
                () = self.saver.work(self.standing, sending) => {}
                _ = health.changed() => {}
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => {
                    break SendEnd::Refusing;
                }
                next = mapped.recv(), if has_room => match next.map(|next| *next) {
                    Some(Mapped::Batch(parcel)) => self.launch(parcel, &mut flight),
                    Some(Mapped::End(end)) => last_word = Some(end),
                    None => break SendEnd::Broken,
                },
            }
        };
        self.land_all(flight).await;
        self.budget.pause(false);
        end
    }

    fn launch(&mut self, parcel: Parcel, flight: &mut Flight) {
        let (now, lane, passes) = (self.delivery.clock.now(), self.lane, &self.passes);
        let settling = Settling { lane, passes, round: parcel.round, now };
        for dropped in &parcel.dropped {
            self.standing.settle(&settling, &dropped.mark, dropped.identity, &dropped.id);
            self.saver.time_passed();
        }
        if parcel.batch.is_empty() {
            return;
        }
        let number = flight.next;
        flight.next += 1;
        let settled = Arc::new(Settled::none_of(parcel.batch.len()));
        let (round, watermark) = (parcel.round, parcel.watermark);
        let parcel = Arc::new(parcel);
        let (delivery, sent, progress) = (self.delivery.clone(), parcel.clone(), settled.clone());
        let (random, stop) = (self.random.fork(), flight.stop.clone());
        let following = self.saver.go_along().then(|| Following {
            parcel: parcel.clone(),
            lane: self.lane.clone(),
            journal: self.saver.spill(self.standing),
            before: self.standing.clone(),
            passes: self.passes.clone(),
            clock: delivery.clock,
        });
        flight.deliveries.spawn(async move {
            let covering = following.as_ref().map(|following| |settled: &[usize]| following.covering(settled));
            let companion = covering.as_ref().map(|covering| covering as Companion<'_>);
            (number, delivery.deliver(&sent.batch, &progress, random, companion, &stop).await)
        });
        flight.batches.push_back(InFlight { number, round, watermark, open: Some(Open { parcel, settled }) });
    }

    /// A delivery ended: its events are remembered at once, the watermark moves when everything before them is settled.
    fn landed(&mut self, done: Result<(u64, Result<(), Halt>), JoinError>, flight: &mut Flight) -> Result<(), Halt> {
        let (number, result) = match done {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Ok(()),
        };
        result?;
        self.saver.delivered(self.standing);
        self.budget.set_proven(true);
        if let Some(batch) = flight.batches.iter_mut().find(|batch| batch.number == number)
            && let Some(open) = batch.open.take()
        {
            self.remember(&open);
        }
        while let Some(batch) = flight.batches.pop_front_if(|batch| batch.open.is_none()) {
            if let Some(watermark) = batch.watermark {
                self.standing.checkpoint.position.advance(&self.passes, batch.round, watermark);
            }
        }
        self.report();
        Ok(())
    }

    /// Lets what is on the wire come to its end, and remembers what was settled.
    async fn land_all(&mut self, mut flight: Flight) {
        flight.stop.cancel();
        while let Some(done) = flight.deliveries.join_next().await {
            // Another reason to stop adds nothing to the one that there is.
            let _ = self.landed(done, &mut flight);
        }
        for batch in flight.batches {
            if let Some(open) = batch.open {
                self.remember(&open);
            }
        }
    }

    fn remember(&mut self, open: &Open) {
        let settled = open.settled.indices(true);
        open.parcel.remember(self.standing, self.lane, &self.passes, &settled, self.delivery.clock.now());
        if !settled.is_empty() {
            self.saver.events_settled();
        }
    }

    /// Everything that the poll showed is settled.
    fn finish(&mut self, end: &PullEnd) {
        if let PullEnd::Complete(round) = end {
            self.standing.checkpoint.position.finish(&self.passes, *round, self.pull.marker);
            // That a snapshot is complete must not wait: its event would come again after a kill.
            match round.snapshot {
                Some(_) => self.saver.events_settled(),
                None => self.saver.time_passed(),
            }
            self.report();
        }
    }

    fn report(&self) {
        report(&self.delivery.meter.lane, &self.standing.checkpoint.position);
    }
}

/// Shows in the lane's metrics how far it is.
pub fn report(lane: &LaneMetrics, position: &Position) {
    lane.set_complete_until(position.complete_until());
    if let Some(snapshot) = position.read_snapshot(0) {
        lane.set_snapshot(snapshot.time, snapshot.taken);
    }
}

#[cfg(test)]
mod tests;
