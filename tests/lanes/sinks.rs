//! The sink's side: temporary and permanent refusals, partial acceptance, dead for a while, checkpoints in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::failure::Failure;
use s1_forwarder::lane::LaneEnd;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::RecordKey;
use s1_forwarder::telemetry::{LaneState, LaneStateKind};
use tokio::time::{Instant, sleep, timeout};

use super::harness::{LaneHarness, assert_counts_balance};

fn unavailable() -> Option<Outcome> {
    Some(Outcome::retry_later("503"))
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_dead_for_a_minute_costs_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 2_000);
    let back = Instant::now() + Duration::from_mins(1);
    let sink = MemorySink::new(harness.clock, move |_, _| if Instant::now() < back { unavailable() } else { None });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(50)).await;
    assert_eq!(running.metrics.state().kind, LaneStateKind::SinkFailing);
    assert_eq!(harness.budget.used(), 0, "after 30 s the lane gives its bytes back");
    assert!(running.metrics.pull.requeued.get() > 0, "and tells of the events that it held");
    sleep(Duration::from_secs(250)).await;
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (2_000, 2_000));
    assert!(metrics.pull.requeued.get() > 0);
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_dies_in_the_middle_repeats_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 5_000);
    let started_at = Instant::now();
    // Every other batch is refused for two minutes while the others are taken: acknowledged beyond the prefix.
    let sink = MemorySink::new(harness.clock, move |attempt, batch| {
        let dead = (Duration::from_secs(1)..Duration::from_secs(120)).contains(&started_at.elapsed());
        let refused = dead && (attempt % 2 == 0 || batch.len() < 100);
        if refused { unavailable() } else { None }
    });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_mins(10)).await;
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (5_000, 5_000));
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn partial_acceptance_is_finished_without_repeats() {
    let harness = LaneHarness::new(|setup| setup.activities = 700);
    let sink = MemorySink::new(harness.clock, |attempt, batch| {
        (attempt % 3 != 0).then(|| Outcome::Partial {
            refused: Vec::new(),
            retry: (batch.len() / 2..batch.len()).collect(),
            retry_after: None,
            warnings: Vec::new(),
        })
    });
    harness.run_once(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone())).await;
    assert_eq!((sink.total(), sink.counts().len()), (700, 700));
}

#[tokio::test(start_paused = true)]
async fn unauthorized_pauses_the_lane_and_loses_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = MemorySink::new(harness.clock, |attempt, _| {
        (attempt < 3).then(|| Outcome::Failed(Failure::unauthorized("401")))
    });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_mins(20)).await;
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (300, 300));
    assert_counts_balance(&metrics);
}

/// The checkpoint may only cover what the sink has taken: stopping dead at any moment loses nothing.
#[tokio::test(start_paused = true)]
async fn a_kill_at_any_moment_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    for moment in (0..60).map(|step| Duration::from_millis(25 * step)) {
        let harness = LaneHarness::new(|setup| setup.activities = 1_500);
        let sink = MemorySink::accepting(harness.clock);
        let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
        sleep(moment).await;
        running.task.abort();
        let _ = running.task.await;
        harness.run_once(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone())).await;
        assert_eq!(sink.counts().len(), 1_500, "killed after {moment:?}");
        let repeated = sink.total() - 1_500;
        assert!(repeated <= 4 * 100, "killed after {moment:?}: {repeated} repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_written_stops_sending_until_it_can() {
    let harness = LaneHarness::new(|setup| setup.activities = 1_000);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_millis(100)).await;
    harness.store.fail_next(20);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());
    assert!(sink.total() < 1_000, "what cannot be remembered is not sent");
    sleep(Duration::from_mins(20)).await;
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (1_000, 1_000));
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_its_checkpoint_is_refused() {
    // While batches are sent, or at the end, when all of them are delivered.
    for checkpoint_interval in [Duration::ZERO, Duration::from_hours(1)] {
        for expected in [LaneEnd::Refused, LaneEnd::TakenOver] {
            let harness = LaneHarness::new(|setup| setup.activities = 1_000);
            let sink = MemorySink::accepting(harness.clock);
            let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
            lane.once = true;
            lane.checkpoint_interval = checkpoint_interval;
            let running = harness.start(lane);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(harness.store.checkpoints().len(), 1, "the lane has begun");
            match expected {
                LaneEnd::Refused => harness.store.set_read_only(),
                _ => harness.store.hand_over(),
            }
            let end = timeout(Duration::from_mins(1), running.task).await;
            assert_eq!(end.expect("the run ends soon").unwrap(), expected, "{checkpoint_interval:?}");
            let reason = if expected == LaneEnd::Refused { "read-only" } else { "another process" };
            let state = running.metrics.state();
            assert!(state.kind == LaneStateKind::Stopped && state.error().unwrap().contains(reason), "{state:?}");
            assert_eq!(sink.total() == 1_000, !checkpoint_interval.is_zero(), "{}", sink.total());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_go_on_soon_after_a_long_outage_of_the_store() {
    let harness = LaneHarness::new(|setup| setup.activities = 1_000);
    let lane = |name: String| {
        let sink = MemorySink::accepting(harness.clock);
        (harness.start(harness.lane(harness.pull(Stream::Activities), &name, sink.clone())), sink)
    };
    let mut lanes: Vec<_> = (0..5).map(|number| lane(format!("running-{number}"))).collect();
    sleep(Duration::from_millis(100)).await;
    harness.store.fail_next(usize::MAX);
    lanes.extend((0..5).map(|number| lane(format!("beginning-{number}"))));
    sleep(Duration::from_mins(10)).await;
    assert!(lanes.iter().all(|(_, sink)| sink.total() < 1_000));
    harness.store.fail_next(0);
    sleep(Duration::from_secs(8)).await;
    for (lane, sink) in &lanes {
        assert_eq!(sink.total(), 1_000, "{:?}", lane.metrics.state());
        lane.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn since_is_stored_before_the_first_pull() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    let dead = MemorySink::new(harness.clock, |_, _| unavailable());
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", dead));
    sleep(Duration::from_secs(5)).await;
    running.task.abort();
    let _ = running.task.await;
    let stored = harness.checkpoint(Stream::Activities, "siem").unwrap();
    assert_eq!(stored.position.bound(), stored.since_resolved);
    sleep(Duration::from_hours(1)).await;
    let sink = MemorySink::accepting(harness.clock);
    let mut pull = harness.pull(Stream::Activities);
    pull.since = s1_forwarder::source::Since::Now;
    harness.run_once(harness.lane(pull, "siem", sink.clone())).await;
    assert_eq!(sink.total(), 100, "the edited `since` is ignored");
}

/// A batch that is larger than the sink takes is halved, and an event that is too large alone is kept as a dead letter.
#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved() {
    let harness = LaneHarness::new(|setup| setup.activities = 400);
    let mut sink =
        MemorySink::new(harness.clock, |_, batch| (batch.len() > 13).then(|| Outcome::TooLarge("413".to_owned())));
    let sizes: Vec<usize> = harness
        .console
        .ids(Kind::Activities)
        .iter()
        .map(|id| harness.console.record(Kind::Activities, *id).unwrap().len())
        .collect();
    let limit = sizes.iter().max().unwrap() - 1;
    Arc::get_mut(&mut sink).unwrap().limits.event_bytes = limit;
    let oversized = sizes.iter().filter(|size| **size > limit).count();
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let metrics = lane.delivery.meter.metrics.clone();
    harness.run_once(lane).await;
    assert_eq!(sink.total(), 400 - oversized);
    assert_eq!(metrics.send.dead_letters.get(), oversized as u64);
}

#[tokio::test(start_paused = true)]
async fn batches_are_as_large_as_the_sink_takes_them_and_no_larger() {
    let harness = LaneHarness::new(|setup| setup.activities = 1_000);
    let most = Arc::new(AtomicUsize::new(0));
    let mut sink = {
        let most = most.clone();
        let budget = harness.budget.clone();
        MemorySink::new(harness.clock, move |_, batch| {
            assert!(
                budget.used() >= 3 * batch.allocated_bytes(),
                "its bytes are reserved, as often as the sink copies them"
            );
            let framed = batch.size() + 10 * batch.len();
            assert!(framed <= 6_000 || batch.len() == 1, "{} events of {framed} bytes", batch.len());
            most.fetch_max(framed, Ordering::Relaxed);
            None
        })
    };
    let limits = &mut Arc::get_mut(&mut sink).unwrap().limits;
    limits.bytes = 6_000;
    limits.framing = 10;
    limits.copies = 3;
    harness.run_once(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone())).await;
    assert_eq!((sink.total(), sink.counts().len()), (1_000, 1_000));
    assert!(most.load(Ordering::Relaxed) > 4_500, "nearly full");
}

/// A batch, the record keys with it, and the sink's copies of both: what a lane with nothing else in its hands holds.
#[tokio::test(start_paused = true)]
async fn a_batch_on_its_way_is_held_in_the_budget_as_often_as_the_sink_copies_it() {
    let harness = LaneHarness::new(|setup| setup.activities = 40);
    let held = Arc::new(AtomicUsize::new(0));
    let mut sink = {
        let held = held.clone();
        let budget = harness.budget.clone();
        MemorySink::new(harness.clock, move |_, batch| {
            let record_keys = batch.len() * size_of::<RecordKey>();
            let expected =
                3 * (batch.allocated_bytes() + record_keys)..=3 * (batch.allocated_bytes() + 2 * record_keys);
            assert!(expected.contains(&budget.used()), "{} not in {expected:?}", budget.used());
            held.store(budget.used(), Ordering::Relaxed);
            None
        })
    };
    Arc::get_mut(&mut sink).unwrap().limits.copies = 3;
    harness.run_once(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone())).await;
    assert!(sink.total() == 40 && held.load(Ordering::Relaxed) > 0 && harness.budget.used() == 0);
}

/// Two processes with one lane would both deliver what comes from now on.
#[tokio::test(start_paused = true)]
async fn a_lane_whose_checkpoint_is_another_process_s_sends_nothing_more() {
    let harness = LaneHarness::new(|setup| setup.activities = 3_000);
    let mut sink = MemorySink::accepting(harness.clock);
    Arc::get_mut(&mut sink).unwrap().delay = Duration::from_secs(5);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(20)).await;
    harness.store.hand_over();
    let before = sink.total();
    assert_eq!(running.task.await.unwrap(), LaneEnd::TakenOver);
    assert!(0 < before && before < 3_000);
    assert!(sink.total() <= before + 5 * 100, "what was on its way, and not {}", sink.total() - before);
    assert_eq!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());

    // A lane that backs off has nothing to send, and still it must end.
    let harness = LaneHarness::new(|setup| setup.activities = 30);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(20)).await;
    harness.store.hand_over();
    assert_eq!(tokio::time::timeout(Duration::from_hours(1), running.task).await.unwrap().unwrap(), LaneEnd::TakenOver);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_honoured_even_when_it_is_longer_than_the_patience() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    let sink = MemorySink::new(harness.clock, |attempt, _| {
        let after = Some(Duration::from_mins(5));
        (attempt == 0).then(|| Outcome::Failed(Failure::transient_after("429", after)))
    });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(290)).await;
    assert_eq!(sink.attempts.load(Ordering::Relaxed), 1);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(sink.total(), 100);
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_nothing_is_no_invitation_to_hammer() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    let sink = MemorySink::new(harness.clock, |_, _| {
        Some(Outcome::Failed(Failure::transient_after("503", Some(Duration::ZERO))))
    });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_mins(5)).await;
    let attempts = sink.attempts.load(Ordering::Relaxed);
    assert!(attempts < 60, "{attempts} attempts in five minutes");
    running.task.abort();
}

#[tokio::test(start_paused = true)]
async fn checkpoints_may_be_collected_and_are_written_at_the_end() {
    let harness = LaneHarness::new(|setup| setup.activities = 3_000);
    let sink = MemorySink::accepting(harness.clock);
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    lane.checkpoint_interval = Duration::from_hours(1);
    let running = harness.start(lane);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(sink.total(), 3_000, "polling does not wait for the store");
    assert_eq!(harness.checkpoint(Stream::Activities, "siem").unwrap().position.key_count(), 0, "not written yet");
    running.drain().await;
    harness.run_once(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone())).await;
    assert_eq!(sink.total(), 3_000, "written at the end");
}

/// A sink that bears two requests at a time and refuses the others gets two, after it got four; when it bears four
/// again it gets them.
#[tokio::test(start_paused = true)]
async fn a_sink_that_throttles_gets_fewer_requests_and_slowly_more_again() {
    let harness = LaneHarness::new(|setup| setup.activities = 60_000);
    let bears = Arc::new(AtomicUsize::new(4));
    let reported = bears.clone();
    let sink = MemorySink::accepting(harness.clock);
    let seen = Arc::downgrade(&sink);
    sink.judge_by(move |_, _| {
        let parallel = seen.upgrade().unwrap().parallel_now();
        let busy = parallel > reported.load(Ordering::Relaxed);
        busy.then(|| Outcome::Failed(Failure::transient_after("429", Some(Duration::from_secs(1)))))
    });
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    lane.once = true;
    let running = harness.start(lane);
    let phase = async |until: usize| {
        sink.parallel.lock().clear();
        while sink.total() < until {
            sleep(Duration::from_millis(10)).await;
        }
        sink.parallel.lock().clone()
    };
    let count_of = |parallel: &[usize], many: usize| parallel.iter().filter(|now| **now >= many).count();
    let free = phase(15_000).await;
    assert!(count_of(&free, 4) > free.len() / 5, "{free:?}");
    bears.store(1, Ordering::Relaxed);
    let throttled = phase(30_000).await;
    assert!(count_of(&throttled, 3) < throttled.len() / 10, "{throttled:?}");
    bears.store(4, Ordering::Relaxed);
    let freed = phase(45_000).await;
    assert!(count_of(&freed, 4) > freed.len() / 5, "{freed:?}");
    running.task.await.unwrap();
    assert_eq!((sink.total(), sink.counts().len()), (60_000, 60_000));
    assert_counts_balance(&running.metrics);
}

/// The sink asks one batch of four to wait half an hour: the others wait as well, over all the times that the lane
/// looks after it.
#[tokio::test(start_paused = true)]
async fn retry_after_holds_the_whole_lane() {
    let harness = LaneHarness::new(|setup| setup.activities = 2_000);
    let started_at = Instant::now();
    let half_an_hour = Duration::from_mins(30);
    let sink = MemorySink::new(harness.clock, move |attempt, _| {
        (attempt == 7).then(|| Outcome::Failed(Failure::transient_after("429", Some(half_an_hour))))
    });
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    lane.once = true;
    let running = harness.start(lane);
    sleep(Duration::from_mins(25)).await;
    assert!(sink.attempts.load(Ordering::Relaxed) <= 7 + 4, "only what was on the wire already");
    assert_eq!(harness.budget.used(), 0);
    running.task.await.unwrap();
    assert!(started_at.elapsed() >= half_an_hour);
    assert_eq!((sink.total(), sink.counts().len()), (2_000, 2_000));
    assert_counts_balance(&running.metrics);
}

/// Each batch is full within a page.
#[tokio::test(start_paused = true)]
async fn a_sink_may_limit_bytes_and_no_number_of_events() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let mut sink = MemorySink::accepting(harness.clock);
    let limits = &mut Arc::get_mut(&mut sink).unwrap().limits;
    limits.events = usize::MAX;
    limits.bytes = 1;
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let metrics = lane.delivery.meter.metrics.clone();
    harness.run_once(lane).await;
    assert_eq!((sink.total(), sink.attempts.load(Ordering::Relaxed)), (300, 300));
    // A panic of the map stage would have been repaired.
    assert_eq!(metrics.last_error(), None);
}

/// A session ends after half a minute, and the lane looks for the record after an hour.
#[tokio::test(start_paused = true)]
async fn a_record_for_which_each_request_fails_is_named_and_all_arrive_once_when_it_is_taken() {
    let harness = LaneHarness::new(|setup| setup.activities = 120);
    let poison = harness.console.ids(Kind::Activities)[60].to_string();
    let named = format!("record {poison} alone has failed");
    let sink = MemorySink::new(harness.clock, move |_, batch| {
        let is_bad = batch.events().any(|event| event.record_id == poison);
        is_bad.then(|| Outcome::retry_later("500"))
    });
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(3_500)).await;
    let state = running.metrics.state();
    assert_eq!(state, LaneState::new(LaneStateKind::SinkFailing, "500"), "{state:?}");
    sleep(Duration::from_mins(25)).await;
    let state = running.metrics.state();
    assert!(state.kind == LaneStateKind::SinkFailing && state.error().unwrap().contains(&named), "{state:?}");
    assert!((49..120).contains(&sink.total()), "the others of its page are delivered: {}", sink.total());
    sink.judge_by(|_, _| None);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(running.metrics.state().kind, LaneStateKind::Running);
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (120, 120));
    assert_eq!(metrics.send.dead_letters.get(), 0);
    assert_counts_balance(&metrics);
}
