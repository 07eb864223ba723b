use std::time::Duration;

use s1_forwarder_record::{Clock, Identity, Stream};

use super::*;
use crate::checkpoint::ledger::Ledger;
use crate::delivery::Fates;
use crate::lane::lane_of_tests::lane;
use crate::sink::Batch;
use crate::source::{KnownState, PullSettings, RecordKey};

fn start() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

/// Returns the checkpoint of a lane of activities that begins an hour before `start`.
fn new_checkpoint(journals: bool) -> LaneCheckpoint {
    let mut position = SourcePosition::starting_at(start().minus(Duration::from_hours(1)));
    position.add_passes(&PullSettings::of(Stream::Activities).passes());
    let since_resolved = position.bound();
    let ledger = Ledger::begin(since_resolved, String::new(), journals);
    LaneCheckpoint::begin("console.example".into(), "".into(), "1h".into(), since_resolved, position, ledger)
}

/// Returns a batch of activities of these times, with ids from 1 on.
fn pending_batch(times: &[Timestamp]) -> PendingBatch {
    let mut batch = Batch::new(Stream::Activities);
    let record_keys = (1..).zip(times).map(|(id, time)| {
        let identity = Identity::of("console.example", Stream::Activities, &id.to_string(), "");
        batch.push_with(&id.to_string(), identity, Some(*time), |_| None);
        RecordKey { id, version: id, content: None, time: *time, created: Some(*time) }
    });
    let record_keys = record_keys.collect();
    let context = PollContext { start: start(), ..PollContext::default() };
    let newest = times.last().copied();
    PendingBatch { record_keys, newest, context, batch, ..PendingBatch::new(Stream::Activities) }
}

fn transaction_checkpoint(
    before: &LaneCheckpoint,
    journal: &JournalChange,
    passes: &[Pass],
    pending: &Arc<PendingBatch>,
    now: Timestamp,
) -> TransactionCheckpoint {
    let before = before.clone();
    let journal = journal.clone();
    let passes = passes.to_vec();
    TransactionCheckpoint { before, journal, passes, pending: pending.clone(), now }
}

/// A sink that commits the checkpoint with the events gets the checkpoint that counts once the events are accepted.
#[test]
fn a_checkpoint_that_goes_along_knows_what_the_sink_is_about_to_take_and_no_more() {
    let passes = PullSettings::of(Stream::Activities).passes();
    let mut before = new_checkpoint(false);
    before.settled = 5;
    before.ledger.release([7]);
    let times = [3, 2, 1].map(|minutes| start().minus(Duration::from_secs(60 * minutes)));
    let pending = Arc::new(pending_batch(&times));

    let journal = JournalChange { appends: Vec::new(), released: vec![7] };
    let unchanged = before.clone();
    for (settled, until) in [(&[0, 2][..], before.position.first().unwrap().watermark), (&[0, 1, 2], times[2])] {
        let update = transaction_checkpoint(&before, &journal, &passes, &pending, Clock::System.now()).update(settled);
        assert_eq!(update.journal, journal);
        let LaneCheckpoint { position, settled: count, .. } = LaneCheckpoint::decode(&update.checkpoint).unwrap();
        let pass_position = position.first().unwrap();
        let is_known = |record_key| pass_position.knows_record(&passes[0], record_key, true) == KnownState::Settled;
        let known = pending.record_keys.iter().map(is_known);
        let known: Vec<usize> = known.enumerate().filter(|(_, known)| *known).map(|(index, _)| index).collect();
        assert_eq!(
            (known.as_slice(), position.first().unwrap().watermark, count),
            (settled, until, 5 + settled.len() as u64)
        );
    }
    assert_eq!(before, unchanged);
}

/// Each part begins from the same state: a later part may need a segment that an earlier part no longer needs.
#[test]
fn a_part_of_a_batch_removes_no_segment_that_was_needed_before_the_batch() {
    let passes = PullSettings::of(Stream::Activities).passes();
    let mut before = new_checkpoint(true);
    let old = pending_batch(&[start().minus(Duration::from_mins(50)); 500]);
    before.settle(&passes, &old, &Vec::from_iter(0..500), start());
    let journal = JournalChange { appends: before.take_appends(start()), released: vec![77] };
    let needed: Vec<u64> = journal.appends.iter().map(|append| append.segment).collect();

    // The batch's watermark forgets the old keys, and with them their part of the journal.
    let pending = Arc::new(pending_batch(&[start()]));
    let transaction_checkpoint = transaction_checkpoint(&before, &journal, &passes, &pending, start());
    let (stored, update) = (transaction_checkpoint.stored(&[0]), transaction_checkpoint.update(&[0]));
    let released = stored.ledger.released();
    assert!(released.iter().any(|segment| needed.contains(segment)), "{needed:?}, {released:?}");
    assert_eq!(update.journal.released, [77]);
}

/// A part of a batch may be committed, and the rest settled in another way. The committed checkpoint does not cover the
/// rest then.
#[tokio::test(start_paused = true)]
async fn a_committed_checkpoint_counts_only_if_it_covers_all_that_is_settled() {
    let passes = PullSettings::of(Stream::Activities).passes();
    let lane = lane(Arc::default());
    for (committed, settled) in [(Some(vec![0, 1, 2]), 100), (Some(vec![0, 1]), 3), (Some(vec![0, 1, 3]), 3), (None, 3)]
    {
        let mut checkpoint = new_checkpoint(false);
        let mut writer = CheckpointWriter::new(&lane, fastrand::Rng::with_seed(7));
        let random = fastrand::Rng::with_seed(7);
        let mut stage = SendStage::new(&lane, &passes, &mut checkpoint, &mut writer, false, random.clone());
        let pending = PendingBatch { fates: Fates::none_of(3), ..pending_batch(&[start(); 3]) };
        lane.delivery.deliver(&pending.batch, &pending.fates, random, None, &stage.stop).await.unwrap();
        let pending = Arc::new(pending);
        let mut before = new_checkpoint(false);
        before.settled = 97;
        let transaction_checkpoint =
            Some(transaction_checkpoint(&before, &JournalChange::default(), &passes, &pending, start()));
        let delivered = Delivered { result: Ok(committed.clone()), transaction_checkpoint };
        let task = stage.deliveries.spawn(async { delivered }).id();
        let context = pending.context;
        stage.in_flight.push_back(InFlightBatch { task, context, watermark: None, pending: Some(pending) });
        let done = stage.deliveries.join_next_with_id().await.unwrap();
        stage.on_delivered(done).unwrap();
        assert_eq!(checkpoint.settled, settled, "{committed:?} were committed");
    }
}
