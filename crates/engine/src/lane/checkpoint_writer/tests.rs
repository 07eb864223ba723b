use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use s1_forwarder_failure::FailureKind;
use s1_forwarder_record::{LaneId, Stream, Timestamp};
use s1_forwarder_telemetry::{LaneStateKind, Telemetry};
use tokio::time::{sleep, timeout};

use super::*;
use crate::checkpoint::MemoryStore;
use crate::checkpoint::ledger::Ledger;
use crate::lane::LaneEnd;
use crate::lane::verdict::Exit;
use crate::source::SourcePosition;

const INTERVAL: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_hours(1);

/// Returns the scripted failures, then accepts everything. Records the event count of each checkpoint.
#[derive(Debug, Default)]
struct Memory {
    failures: Mutex<VecDeque<StateError>>,
    saved: Mutex<Vec<u64>>,
    write_time: Duration,
    stored: Option<Vec<u8>>,
    /// The bytes that a claim finds, if a command has written others since.
    claimed: Option<Vec<u8>>,
    /// True while another process has the lane. A claim resets it.
    owned_elsewhere: Mutex<bool>,
}

#[async_trait]
impl CheckpointBackend for Memory {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.stored.clone())
    }

    async fn claim(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        *self.owned_elsewhere.lock().unwrap() = false;
        Ok(self.claimed.clone().or_else(|| self.stored.clone()))
    }

    async fn commit(&self, _: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        tokio::time::sleep(self.write_time).await;
        if let Some(failure) = self.failures.lock().unwrap().pop_front() {
            return Err(failure);
        }
        if *self.owned_elsewhere.lock().unwrap() {
            return Err(StateError::Conflict { key: lane(), owner: "another".to_owned() });
        }
        self.saved.lock().unwrap().push(LaneCheckpoint::decode(&update.checkpoint).unwrap().settled);
        Ok(update.journal.released)
    }
}

fn lane() -> CheckpointKey {
    LaneId::new("acme", Stream::Activities, "siem").into()
}

fn full() -> StateError {
    StateError::Locked(PathBuf::from("/full"))
}

fn new_writer(
    failures: impl IntoIterator<Item = StateError>,
    write_time: Duration,
) -> (Arc<Memory>, CheckpointWriter, LaneCheckpoint) {
    writer_with_seed(7, failures, write_time)
}

/// Returns the store, the writer and the checkpoint of a lane with this random seed.
fn writer_with_seed(
    seed: u64,
    failures: impl IntoIterator<Item = StateError>,
    write_time: Duration,
) -> (Arc<Memory>, CheckpointWriter, LaneCheckpoint) {
    let failures = Mutex::new(failures.into_iter().collect());
    let store = Arc::new(Memory { failures, write_time, ..Memory::default() });
    let meter = Meter::start(
        &Arc::new(Telemetry::new()),
        &LaneId::new("acme", Stream::Activities, "siem"),
        "test",
        Clock::System,
    );
    let random = fastrand::Rng::with_seed(seed);
    let main = BackendWriter::new(store.clone(), lane(), INTERVAL, random);
    let since = Timestamp::default();
    let host = "console.example".into();
    let scope = "".into();
    let position = SourcePosition::starting_at(since);
    let text = "1d".into();
    let ledger = Ledger::begin(since, String::new(), false);
    let checkpoint = LaneCheckpoint::begin(host, scope, text, since, position, ledger);
    let mode = FailurePolicy::default();
    let writer = CheckpointWriter { main, copy: None, policy: mode, meter, clock: Clock::System, appends: Vec::new() };
    (store, writer, checkpoint)
}

fn saved(store: &Memory) -> Vec<u64> {
    store.saved.lock().unwrap().clone()
}

async fn took(future: impl Future<Output = Result<(), NotStored>>) -> Option<Duration> {
    let started_at = Instant::now();
    timeout(HOUR, future).await.ok().map(|written| {
        assert_eq!(written, Ok(()));
        started_at.elapsed()
    })
}

#[tokio::test(start_paused = true)]
async fn events_are_written_after_the_interval_and_progress_after_ten_minutes() {
    let (store, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, None, "nothing is to be written");
    assert!(writer.is_idle());
    writer.main.saved_elsewhere();
    writer.moved_on();
    let idle = took(writer.write_due(&mut checkpoint)).await.unwrap();
    assert!((IDLE_INTERVAL..=IDLE_INTERVAL * 2).contains(&idle), "{idle:?}");
    writer.events_settled(true);
    writer.moved_on();
    assert!(writer.is_idle(), "it is not due yet");
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, Some(INTERVAL));
    writer.events_settled(true);
    tokio::time::sleep(INTERVAL).await;
    assert!(!writer.is_idle(), "it is due now");
    writer.main.saved_elsewhere();
    assert!(writer.is_idle());
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, None);
    assert_eq!(saved(&store).len(), 2);
}

/// Only a run with `once` ends after refusals: a worker tries until an operator has repaired the store.
#[tokio::test(start_paused = true)]
async fn a_store_has_refused_after_three_refusals_in_a_row() {
    let denied =
        || StateError::Io { action: "write", path: "/state".into(), source: ErrorKind::PermissionDenied.into() };
    let failures = || [denied(), denied(), full(), denied(), denied(), denied(), denied()];
    let (store, mut writer, mut checkpoint) = new_writer(failures(), Duration::ZERO);
    writer.policy.once = true;
    writer.events_settled(true);
    let refused = writer.flush(&mut checkpoint).await.unwrap_err();
    assert_eq!(refused.failure.kind, FailureKind::Misconfigured, "{refused:?}");
    assert_eq!(refused.exit, Exit::Leave(LaneEnd::Refused));
    assert_eq!((store.failures.lock().unwrap().len(), saved(&store).len()), (1, 0));

    let (store, mut writer, mut checkpoint) = new_writer(failures(), Duration::ZERO);
    writer.events_settled(true);
    assert_eq!(writer.flush(&mut checkpoint).await, Ok(()));
    assert!(!writer.has_changes());
    assert_eq!(saved(&store).len(), 1);
}

/// Thousands of lanes may start at the same time, or write at the same time after an outage of the store.
#[tokio::test(start_paused = true)]
async fn lanes_that_wrote_together_do_not_write_together_again() {
    let started_at = Instant::now();
    let mut written = [[0; 20]; 2];
    for seed in 0..600 {
        let (_, mut writer, mut checkpoint) = writer_with_seed(seed, [], Duration::ZERO);
        writer.main.saved_at = started_at;
        for counts in &mut written {
            writer.moved_on();
            let due = writer.main.due().unwrap();
            counts[(due - writer.main.saved_at).as_secs() as usize / 60] += 1;
            writer.write(&mut checkpoint).await.unwrap();
            writer.main.saved_at = started_at;
        }
    }
    for counts in written {
        assert!(counts[..10].iter().all(|minute| *minute == 0), "not before ten minutes: {counts:?}");
        assert!(counts[10..].iter().all(|minute| (30..=90).contains(minute)), "a tenth in each minute: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_settled_during_a_write_are_in_the_next_checkpoint() {
    let second = Duration::from_secs(1);
    let (store, mut writer, mut checkpoint) = new_writer([], 10 * second);
    writer.events_settled(true);
    checkpoint.settled = 1;
    timeout(INTERVAL + second, writer.write_due(&mut checkpoint)).await.unwrap_err();
    assert!(writer.main.writing.is_some() && !writer.is_idle() && saved(&store).is_empty());
    writer.events_settled(true);
    checkpoint.settled = 2;
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, Some(9 * second), "a write that has begun continues");
    assert!(writer.main.writing.is_none());
    writer.flush(&mut checkpoint).await.unwrap();
    assert_eq!(saved(&store), [1, 2]);
    assert_eq!(took(writer.flush(&mut checkpoint)).await, Some(Duration::ZERO));
    assert_eq!(saved(&store), [1, 2], "nothing is left to write");
    writer.events_settled(true);
    writer.write(&mut checkpoint).await.unwrap();
    assert_eq!(saved(&store), [1, 2, 2]);
    writer.events_settled(true);
    timeout(INTERVAL + second, writer.write_due(&mut checkpoint)).await.unwrap_err();
    writer.write(&mut checkpoint).await.unwrap();
    assert_eq!((saved(&store).len(), writer.main.writing.is_some()), (4, false), "a write that has begun ends");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_tried_again_until_it_has_everything() {
    let (store, mut writer, mut checkpoint) = new_writer([full(), full(), full()], Duration::ZERO);
    writer.moved_on();
    writer.write_due(&mut checkpoint).await.unwrap();
    assert!(writer.main.failing.is_some(), "the lane must not send more");
    let wait = took(writer.write_due(&mut checkpoint)).await.unwrap();
    assert!(!wait.is_zero() && wait <= MAX_WAIT && saved(&store).is_empty(), "{wait:?}");
    let wait = took(writer.flush(&mut checkpoint)).await.unwrap();
    assert!(!wait.is_zero() && wait <= 2 * MAX_WAIT, "not in a hot loop: {wait:?}");
    assert_eq!((saved(&store).len(), writer.main.failing.is_some()), (1, false));
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, None);
}

/// Two processes have the lane. The one that gets a conflict makes no other attempt.
#[tokio::test(start_paused = true)]
async fn a_lane_that_another_process_took_over_tries_to_write_once() {
    for (reopens, exit) in [(false, Exit::Leave(LaneEnd::TakenOver)), (true, Exit::Reopen)] {
        let (store, mut writer, mut checkpoint) =
            new_writer([StateError::Conflict { key: lane(), owner: "another".to_owned() }], Duration::ZERO);
        writer.policy.reopens = reopens;
        writer.events_settled(true);
        let not_stored = writer.flush(&mut checkpoint).await.unwrap_err();
        assert_eq!(not_stored.exit, exit);
        assert!(writer.main.failing.is_none());
        assert_eq!(took(writer.write_due(&mut checkpoint)).await, None);
        assert!(saved(&store).is_empty());
    }
}

/// Otherwise, after a kill, the dead letters of a failed delivery would be kept again, and a complete snapshot would be
/// read again.
#[tokio::test(start_paused = true)]
async fn a_transactional_sink_gets_what_no_delivery_has_committed() {
    for by_delivery in [true, false] {
        let (sink, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
        let (store, copy, _) = new_writer([], Duration::ZERO);
        writer.copy = Some(Box::new(copy.main));
        checkpoint.settled = 1;
        writer.events_settled(by_delivery);
        writer.flush(&mut checkpoint).await.unwrap();
        assert!(saved(&store).is_empty(), "a pause does not wait for the copy");
        writer.flush_with_copy(&mut checkpoint).await.unwrap();
        assert_eq!(saved(&sink), if by_delivery { vec![] } else { vec![1] });
        assert_eq!(saved(&store), [1], "the copy follows");
    }
}

/// The lane depends on the sink, so its state shows the failure of the sink.
#[tokio::test(start_paused = true)]
async fn a_copy_that_is_written_again_hides_no_failure_of_the_sink() {
    let (_, mut writer, mut checkpoint) = new_writer([full()], Duration::ZERO);
    let (store, copy, _) = new_writer([full()], Duration::ZERO);
    let meter = writer.meter.clone();
    writer.copy = Some(Box::new(copy.main));
    writer.events_settled(false);
    writer.write_due(&mut checkpoint).await.unwrap();
    while saved(&store).is_empty() {
        writer.write_copy(&checkpoint).await.unwrap();
    }
    assert_eq!(meter.metrics.state().kind, LaneStateKind::Stopped, "{:?}", meter.metrics.state());
}

/// The copy fell due first, and both are overdue: the lane does not depend on its copy.
#[tokio::test(start_paused = true)]
async fn the_lanes_own_checkpoint_goes_before_an_overdue_copy() {
    let (store, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
    let (copies, copy, _) = new_writer([], Duration::ZERO);
    writer.copy = Some(Box::new(copy.main));
    writer.events_settled(false);
    sleep(Duration::from_secs(1)).await;
    writer.main.saved_at = Instant::now();
    sleep(Duration::from_mins(1)).await;
    assert!(writer.copy.as_ref().unwrap().due() < writer.main.due());
    writer.write_due(&mut checkpoint).await.unwrap();
    assert_eq!((saved(&store).len(), saved(&copies).len()), (1, 0));
}

/// Another process that only requested the lane left its name in the store. The sink decides which process owns the
/// lane. A checkpoint that an operator wrote is not overwritten.
#[tokio::test(start_paused = true)]
async fn a_copy_is_written_although_another_process_requested_the_lane() {
    let (_, writer, checkpoint) = new_writer([], Duration::ZERO);
    let (copy, by_hand) = (copy_of(&checkpoint), checkpoint.encode());
    for (loaded, claimed, is_written) in [(&copy, &copy, true), (&by_hand, &by_hand, false), (&copy, &by_hand, false)] {
        let store = Arc::new(Memory {
            stored: Some(loaded.clone()),
            claimed: Some(claimed.clone()),
            owned_elsewhere: Mutex::new(true),
            ..Memory::default()
        });
        let written = write_copy(&*store, &writer.main.key, copy.clone()).await;
        assert_eq!(matches!(written, Err(StateError::Conflict { .. })), !is_written);
        assert_eq!(saved(&store).len(), usize::from(is_written));
    }
}

/// The checkpoint moves into the sink when the lane opens again. Otherwise it would wait for the next restart.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_by_hand_in_place_of_the_copy_makes_the_lane_open_again() {
    let (_, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
    let (_, copy, _) = new_writer([], Duration::ZERO);
    let stored = Some(checkpoint.encode());
    let store = Memory { stored, owned_elsewhere: Mutex::new(true), ..Memory::default() };
    writer.copy = Some(Box::new(BackendWriter { backend: Arc::new(store), ..copy.main }));
    writer.policy.reopens = true;
    writer.events_settled(true);
    let not_stored = writer.write_due(&mut checkpoint).await.unwrap_err();
    assert_eq!(not_stored.exit, Exit::Reopen);
}

/// Dead letters were settled, which no delivery commits: a kill would keep them again.
#[tokio::test(start_paused = true)]
async fn a_copy_that_hangs_does_not_hold_up_the_lanes_own_checkpoint() {
    let (sink, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
    let (_, copy, _) = new_writer([], HOUR);
    writer.copy = Some(Box::new(copy.main));
    writer.events_settled(true);
    assert!(timeout(INTERVAL * 2, writer.write_due(&mut checkpoint)).await.is_err(), "the copy is under way");
    writer.main.saved_elsewhere();
    writer.events_settled(false);
    while saved(&sink).is_empty() {
        assert_eq!(timeout(HOUR / 2, writer.write_due(&mut checkpoint)).await, Ok(Ok(())));
    }
}

/// Nothing else runs in a lane that waits for its store.
#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_is_shown_once_and_until_it_has_succeeded() {
    let (store, mut writer, mut checkpoint) = new_writer([], STORE_TIMEOUT * 3);
    let meter = writer.meter.clone();
    writer.events_settled(true);
    writer.main.saved_at -= INTERVAL;
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, Some(STORE_TIMEOUT));
    assert_eq!(meter.metrics.state().kind, LaneStateKind::Stopped, "{:?}", meter.metrics.state());
    assert_eq!(took(writer.write_due(&mut checkpoint)).await, Some(STORE_TIMEOUT * 2));
    assert_ne!(meter.metrics.state().kind, LaneStateKind::Stopped, "{:?}", meter.metrics.state());
    assert_eq!(saved(&store).len(), 1);
}

/// Unneeded segments would accumulate.
#[tokio::test(start_paused = true)]
async fn the_journal_is_written_once_and_unneeded_segments_are_removed() {
    let (_, mut writer, mut checkpoint) = new_writer([], Duration::ZERO);
    let store = Arc::new(MemoryStore::with_journals());
    writer.main.backend = store.clone();
    let now = writer.clock.now();
    checkpoint.ledger = Ledger::begin(now, String::new(), true);
    (0..300).for_each(|number| checkpoint.ledger.remember(now, number, now));
    writer.events_settled(true);
    writer.flush(&mut checkpoint).await.unwrap();
    assert!(store.journals().unwrap().len() == 1 && writer.appends.is_empty());
    checkpoint.ledger.restart(now, String::new(), true);
    assert_eq!(checkpoint.ledger.released(), [0]);
    writer.events_settled(true);
    writer.flush(&mut checkpoint).await.unwrap();
    assert!(store.journals().unwrap().is_empty() && checkpoint.ledger.released().is_empty());
}
