//! A busy lane that lives long and is restarted: what its acknowledgements write, and how large its checkpoint is.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::PullSettings;
use tokio::time::sleep;

use super::counting_store::CountingStore;
use super::harness::LaneHarness;

const SECOND: Duration = Duration::from_secs(1);
/// What an acknowledgement of a thousand records may write on average.
const MAX_BYTES: u64 = 16 << 10;

/// What a tenth of the time has written.
#[derive(Debug)]
struct Tenth {
    /// For each thousand events.
    bytes: u64,
    writes: u64,
    checkpoint: usize,
    journal: usize,
}

/// A lane to which `rate` records come a second for `seconds`; it is stopped, or killed, after each tenth of the time.
async fn tenths(rate: i64, seconds: u32, interval: Duration) -> Vec<Tenth> {
    let harness = LaneHarness::new(|_| {});
    let store = Arc::new(CountingStore::default());
    let mut sink = MemorySink::accepting(harness.clock);
    let limits = &mut Arc::get_mut(&mut sink).unwrap().limits;
    (limits.events, limits.bytes) = (1_000, 8 << 20);
    let pull = PullSettings { interval, overlap: 10 * interval, ..harness.pull(Stream::Activities) };
    let mut tenths = Vec::new();
    let mut delivered = 0;
    for tenth in 0..10 {
        let lane = harness.lane(pull.clone(), "siem", sink.clone());
        let running = harness.start(Lane { store: store.clone(), ..lane });
        for _ in 0..seconds / 10 {
            let now = harness.clock.now().micros();
            (0..rate).for_each(|place| _ = harness.console.generate(Kind::Activities, now - place * 1_000_000 / rate));
            sleep(SECOND).await;
        }
        if tenth % 2 == 0 {
            running.drain().await;
        } else {
            running.task.abort();
            let _ = running.task.await;
        }
        let mut counted = store.0.lock().unwrap();
        let events = sink.total() as u64 - std::mem::replace(&mut delivered, sink.total() as u64);
        tenths.push(Tenth {
            bytes: std::mem::take(&mut counted.bytes) * 1_000 / events.max(1),
            writes: std::mem::take(&mut counted.writes),
            checkpoint: counted.checkpoint.as_ref().map_or(0, Vec::len),
            journal: counted.journal.values().map(Vec::len).sum(),
        });
    }
    harness.run_once(Lane { store: store.clone(), ..harness.lane(pull, "siem", sink.clone()) }).await;
    let generated = rate as usize * 10 * (seconds as usize / 10);
    assert!(sink.counts().len() >= generated - rate as usize, "{} of {generated} came", sink.counts().len());
    assert!(sink.total() - sink.counts().len() <= 5 * 4_000, "only what was in flight at a kill comes twice");
    tenths
}

fn assert_flat(tenths: &[Tenth]) {
    for (number, Tenth { bytes, writes, checkpoint, journal }) in tenths.iter().enumerate() {
        println!(
            "| tenth {} | {bytes} bytes for a thousand events | {writes} writes | checkpoint {checkpoint} bytes | journal {journal} bytes |",
            number + 1
        );
    }
    // The first tenth has no overlap to remember yet.
    let early = &tenths[2];
    let late = &tenths[9];
    assert!(tenths.iter().all(|tenth| tenth.bytes <= MAX_BYTES), "more than {MAX_BYTES} bytes");
    assert!(late.checkpoint <= 2 * early.checkpoint.max(2_000), "the checkpoint grows");
    assert!(late.bytes <= early.bytes * 3 / 2, "a write grows");
}

/// The benchmark, with a tenth of the interval and of the rate.
#[tokio::test(start_paused = true)]
async fn a_lane_that_lives_long_writes_no_more_than_in_the_beginning() {
    assert_flat(&tenths(400, 120, Duration::from_secs(3)).await);
}

#[tokio::test(start_paused = true)]
#[ignore = "a benchmark: `just bench-hour`"]
async fn an_hour_at_a_thousand_events_a_second_writes_no_more_than_its_first_minutes() {
    assert_flat(&tenths(1_000, 3_600, Duration::from_secs(30)).await);
}
