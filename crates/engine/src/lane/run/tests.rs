use tokio::time::timeout;

use super::*;
use crate::checkpoint::{CheckpointBackend, MemoryStore};
use crate::lane::LaneCheckpoint;
use crate::lane::lane_of_tests::{key, lane};

const DAY: Duration = Duration::from_hours(24);

/// Returns a lane whose sink has settled seven events that are not stored yet, and which has five records in flight.
async fn with_unstored_events(store: &Arc<MemoryStore>) -> (RunningLane, Box<OpenLane>) {
    let mut running =
        RunningLane { lane: Box::new(lane(store.clone())), stop: CancellationToken::new(), reopenings: None };
    let checkpoint = running.lane.first_checkpoint(Timestamp::default(), false);
    store.commit(&key(), checkpoint.encode().into()).await.unwrap();
    let mut open = running.lane.open().await.unwrap();
    open.checkpoint.settled = 7;
    open.writer.events_settled(false);
    running.lane.metrics().pull.records.add(5);
    (running, open)
}

fn stored(store: &MemoryStore) -> u64 {
    LaneCheckpoint::decode(&store.checkpoints()[&key()]).unwrap().settled
}

/// The pause may be long. A kill would repeat settled events, and the records in flight are in no memory any more.
#[tokio::test(start_paused = true)]
async fn a_lane_that_pauses_has_stored_what_was_settled_and_requeued_the_rest() {
    for (side, failure) in [
        (Side::Sink, Failure::transient("busy")),
        (Side::Sink, Failure::refused_all("all of them")),
        (Side::Console, Failure::unauthorized("who")),
    ] {
        let store = Arc::<MemoryStore>::default();
        let (mut running, open) = with_unstored_events(&store).await;
        let metrics = running.lane.metrics().clone();
        let step = running.after_failure(open, 0, SideFailure { side, failure: failure.clone() }).await;
        let LaneStep::Wait(_, next) = step else { panic!("it polls again after {failure:?}") };
        assert!(next.at > Instant::now(), "{failure:?}");
        assert_eq!((stored(&store), metrics.pull.requeued.get()), (7, 5), "{failure:?}");
    }
}

/// The store accepts writes again. The sink did not fail, so the lane has nothing left to wait for.
#[tokio::test(start_paused = true)]
async fn a_lane_whose_store_stalled_polls_as_soon_as_what_was_settled_is_stored() {
    let store = Arc::<MemoryStore>::default();
    let (mut running, open) = with_unstored_events(&store).await;
    let failure = Failure::transient("nothing was accepted");
    let LaneStep::Wait(open, next) = running.after_failure(open, 0, SideFailure { side: Side::Store, failure }).await
    else {
        panic!("it goes on")
    };
    assert!(next.at <= Instant::now() && open.sink_backoff == Backoff::default());
    assert_eq!(stored(&store), 7);
}

/// With `once`, the third refusal in a row ends the lane.
#[tokio::test(start_paused = true)]
async fn a_store_that_stalled_is_no_refusal_and_ends_a_row_of_them() {
    let store = Arc::<MemoryStore>::default();
    let (mut running, mut open) = with_unstored_events(&store).await;
    running.lane.once = true;
    let refused = || (Side::Sink, Failure::refused_all("all of them"));
    let stalled = || (Side::Store, Failure::transient("nothing was accepted"));
    for (side, failure) in [refused(), refused(), stalled(), refused(), refused()] {
        let step = running.after_failure(open, 0, SideFailure { side, failure }).await;
        let LaneStep::Wait(again, _) = step else { panic!("it has ended") };
        open = again;
    }
}

/// Only a change of the pipeline file corrects a program, and that starts another lane.
#[tokio::test(start_paused = true)]
async fn a_lane_that_its_program_stops_waits_until_it_is_stopped() {
    for kind in [FailureKind::ProgramFailed, FailureKind::ProgramOverran] {
        let store = Arc::<MemoryStore>::default();
        let (mut running, open) = with_unstored_events(&store).await;
        let stop = running.stop.clone();
        let failure = Failure::new(kind, "remap: at line 3");
        let mut failed = Box::pin(running.after_failure(open, 0, SideFailure { side: Side::Sink, failure }));
        assert!(timeout(DAY, &mut failed).await.is_err(), "it goes on, and runs the program again");
        assert_eq!(stored(&store), 7);
        stop.cancel();
        assert!(matches!(failed.await, LaneStep::Flush(_, LaneEnd::Drained)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_stopped_leaves_nothing_in_flight() {
    let store = Arc::<MemoryStore>::default();
    let (mut running, open) = with_unstored_events(&store).await;
    let metrics = running.lane.metrics().clone();
    running.stop.cancel();
    assert!(matches!(running.poll(open, 0).await, LaneStep::Wait(..)));
    assert_eq!(metrics.pull.requeued.get(), 5);
}
