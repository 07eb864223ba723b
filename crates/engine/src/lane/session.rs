//! One poll of one pass, with the delivery of what it finds: three stages, and one end.

use std::pin::pin;

use s1_forwarder_failure::{Failure, Side};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::open_lane::OpenLane;
use super::pull::{Polled, PullStage};
use super::send::SendStage;
use super::verdict::{SessionFailure, SideFailure};
use super::{Lane, map, poll_end};
use crate::source::{MAIN_PASS, Pass, SourcePosition};

/// Maximum pages that wait between source and transform.
const PAGES: usize = 2;
/// Maximum batches that wait between transform and sink.
const BATCHES: usize = 1;

/// Failures in a row after which a poll gives way to the stream's other passes; one is enough if the last poll failed.
const MAX_FAILURES: u32 = 10;

/// One poll of one pass, with its stages pull, map and send. The map stage needs only the lane.
pub struct Session<'a> {
    lane: &'a Lane,
    pull: PullStage<'a>,
    send: SendStage<'a>,
    /// The position from which the poll begins.
    position: SourcePosition,
    pass: usize,
}

/// How a session has ended.
pub enum SessionEnd {
    /// The poll has ended. All that it returned is settled, and is in the lane's checkpoint.
    Complete(Polled),
    /// The lane was asked to stop before the end of the poll. All pulled records are settled.
    Stopped,
    /// The session failed. The settled events are in the lane's checkpoint.
    Failed(SessionFailure),
}

impl<'a> Session<'a> {
    pub fn new(lane: &'a mut Lane, open: &'a mut OpenLane, passes: &'a [Pass], pass: usize) -> Self {
        let pull_random = lane.random.fork();
        let send_random = lane.random.fork();
        let lane = &*lane;
        let OpenLane { checkpoint, writer, sizing, habits, threats, schedule, sink_backoff, .. } = open;
        let name = passes.get(pass).map(|pass| &*pass.name).filter(|name| *name != MAIN_PASS);
        let position = checkpoint.position.for_poll();
        let pull = PullStage {
            lane,
            sizing,
            habits,
            threats,
            random: pull_random,
            gives_way_after: (passes.len() > 1).then(|| if schedule.is_failing(pass) { 1 } else { MAX_FAILURES }),
            other_failure: schedule.failure(Some(pass)),
            prefix: name.map(|name| format!("{name}: ")).unwrap_or_default(),
            observed: checkpoint.rhythm.begin_poll(&lane.pull),
            has_answered: checkpoint.position.was_read(),
        };
        let is_probing = *sink_backoff != Backoff::default();
        let send = SendStage::new(lane, passes, checkpoint, writer, is_probing, send_random);
        Self { lane, pull, send, position, pass }
    }

    /// Waits until the console's time is known, and a new lane may begin.
    ///
    /// # Errors
    /// If the console refuses, or a clock is wrong.
    pub async fn learn_clocks(self) -> Result<(), Failure> {
        self.pull.learn_clocks().await
    }

    /// Runs until the poll has ended and all records that it returned are settled, or until a stage fails or is
    /// stopped.
    pub async fn run(self, stop: &CancellationToken) -> SessionEnd {
        let Self { lane, pull, mut send, position, pass } = self;
        let (pages, pulled) = mpsc::channel(PAGES);
        let (batches, mapped) = mpsc::channel(BATCHES);
        let _pending = send.enter();
        let stop_pulling = stop.child_token();
        let sending = async {
            let sent = send.run(mapped).await;
            stop_pulling.cancel();
            sent
        };
        let pulling = async {
            // The future is passed by reference. Otherwise the session would reserve space for this future, its largest
            // part, three times.
            stop_pulling.run_until_cancelled(pin!(pull.run(position, pass, pages))).await
        };
        let (sent, mapped, pulled) = tokio::join!(sending, map::run(lane, pulled, batches), pulling);
        if let Err(failed) = sent {
            return SessionEnd::Failed(failed);
        }
        if let Err(failure) = mapped {
            return SessionEnd::Failed(SideFailure { side: Side::Sink, failure }.into());
        }
        let polled = match pulled {
            Some(Ok(Some(polled))) => polled,
            Some(Ok(None)) | None => return SessionEnd::Stopped,
            Some(Err(failure)) => return SessionEnd::Failed(SideFailure { side: Side::Console, failure }.into()),
        };
        let SendStage { passes, checkpoint, writer, .. } = send;
        match poll_end::finish(lane, passes, checkpoint, writer, &polled).await {
            Ok(()) => SessionEnd::Complete(polled),
            Err(not_stored) => SessionEnd::Failed(not_stored.into()),
        }
    }
}
