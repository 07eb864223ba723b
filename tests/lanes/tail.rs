//! What a lane reads again, and when late records arrive.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Counts, Kind, Quirks};
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use tokio::time::sleep;

use super::counting_store::CountingStore;
use super::harness::{LaneHarness, Running, assert_counts_balance};

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(30);
const OVERLAP: Duration = Duration::from_mins(5);
/// Until the first windows are closed.
const SETTLED_AFTER: u32 = 600;

/// Records pulled and delivered, and requests.
fn figures(running: &Running) -> [u64; 3] {
    let metrics = &running.metrics;
    let requests = metrics.pull.requests.snapshot().values().sum();
    [metrics.pull.records.get(), metrics.send.delivered.get(), requests]
}

/// The records pulled for each one delivered and the requests a poll, in steady state, where `rate` records appear a
/// second. Every other one appears up to two seconds after its own time.
async fn steady_state(counts: Counts, stream: Stream, kind: Kind, rate: f64) -> (f64, f64) {
    let harness = LaneHarness::new(|_| {});
    harness.console.set_quirks(Quirks { counts, ..Quirks::default() });
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(stream), "siem", sink.clone()));
    let mut owed = 0.0;
    let mut settled = [0; 3];
    let mut random = fastrand::Rng::with_seed(5);
    let mut started_at = harness.clock.now();
    // Time is closed in steps, which must be many where few records come.
    let observed = if rate > 5.0 { 900 } else { 9_000 };
    for second in 0..SETTLED_AFTER + observed {
        if second == SETTLED_AFTER {
            settled = figures(&running);
            started_at = harness.clock.now();
        }
        // Not in step with the polls.
        owed += rate * 2.0 * random.f64();
        while owed >= 1.0 {
            owed -= 1.0;
            let late = if random.bool() { random.i64(0..2_000_000) } else { 0 };
            harness.console.generate(kind, harness.clock.now().micros() - late);
        }
        sleep(SECOND.mul_f64(0.5 + random.f64())).await;
    }
    let [pulled, delivered, requests] = figures(&running);
    let polls = harness.clock.now().since(started_at).as_secs_f64() / INTERVAL.as_secs_f64();
    let pulled = (pulled - settled[0]) as f64 / (delivered - settled[1]).max(1) as f64;
    // What no count shows arrives when its time is closed.
    sleep(if counts == Counts::Exact { 2 * INTERVAL } else { 2 * OVERLAP }).await;
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (sink.counts().len(), harness.owed(kind).len()));
    assert_counts_balance(&metrics);
    (pulled, (requests - settled[2]) as f64 / polls)
}

/// Reading the whole overlap at each poll would be eleven records for each one.
#[tokio::test(start_paused = true)]
async fn a_record_is_pulled_about_twice_whatever_the_rate() {
    let mut above = Vec::new();
    const RATES: [(f64, f64); 4] = [(0.05, 3.0), (1.0, 3.5), (20.0, 6.0), (100.0, 14.0)];
    // No console has a hundred threats a second, and as many activities cost less here.
    for (stream, kind, rates) in
        [(Stream::Activities, Kind::Activities, &RATES[..]), (Stream::Threats, Kind::Threats, &RATES[..3])]
    {
        for &(rate, most_requests) in rates {
            let (pulled, requests) = steady_state(Counts::Exact, stream, kind, rate).await;
            let figures = format!(
                "| {stream:?} at {rate} a second: pulled for each one, requests a poll | 1.9 to 2.2, ≤ {most_requests} \
                 | {pulled:.2}, {requests:.2} |"
            );
            println!("{figures}");
            if !(1.9..=2.2).contains(&pulled) || requests > most_requests {
                above.push(figures);
            }
        }
    }
    assert!(above.is_empty(), "{above:#?}");
}

/// One that counts records which it does not show makes a poll read the whole overlap. That is not each poll, although
/// the bound moves at each one, and although a few records do come late.
#[tokio::test(start_paused = true)]
async fn a_console_that_counts_too_many_is_believed_once_in_half_an_overlap() {
    let (pulled, requests) = steady_state(Counts::Off(7), Stream::Activities, Kind::Activities, 40.0).await;
    println!("{pulled:.2} for each one, {requests:.2} requests a poll");
    // The list is read again a few times, since it might have ended too early each time.
    assert!(pulled <= 4.8 && requests <= 12.0, "{pulled} for each one, {requests} requests a poll");
}

#[tokio::test(start_paused = true)]
async fn a_busy_lane_keeps_up_within_the_default_rate_limit() {
    keeps_up(1_200, 5.0).await;
}

/// Consoles were seen to allow 25 requests a second.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: `just bench-tail`"]
async fn a_busier_lane_keeps_up_within_the_rate_limit_of_its_console() {
    keeps_up(4_000, 10.0).await;
}

/// `rate` records appear a second, each up to a second after its own time, and the console takes `most_requests` a
/// second. Looks at a lane with default settings, once time is closed as fast as it passes.
async fn keeps_up(rate: i64, most_requests: f64) {
    let settled_after = 12 * INTERVAL.as_secs();
    let observed = 4 * INTERVAL.as_secs();
    let mut harness = LaneHarness::new(|_| {});
    harness.requests_per_second = most_requests;
    let mut sink = MemorySink::accepting(harness.clock);
    let limits = &mut Arc::get_mut(&mut sink).unwrap().limits;
    (limits.events, limits.bytes) = (1_000, 8 << 20);
    let store = Arc::new(CountingStore::default());
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let running = harness.start(Lane { store: store.clone(), ..lane });
    let mut lag = Duration::ZERO;
    let mut settled = [0; 3];
    let started_at = harness.clock.now();
    for second in 0..settled_after + observed {
        let now = harness.clock.now();
        (0..rate)
            .for_each(|place| _ = harness.console.generate(Kind::Activities, now.micros() - place * 1_000_000 / rate));
        if second == settled_after {
            settled = figures(&running);
            store.0.lock().unwrap().bytes = 0;
        }
        for _ in 0..10 {
            sleep(SECOND / 10).await;
            if second >= settled_after {
                lag = lag.max(harness.clock.now().since(running.metrics.complete_until().unwrap_or(started_at)));
            }
        }
    }
    let [pulled, delivered, requests] = figures(&running);
    let each = (pulled - settled[0]) as f64 / (delivered - settled[1]) as f64;
    let requests = (requests - settled[2]) as f64 / observed as f64;
    let bytes = store.0.lock().unwrap().bytes * 1_000 / (delivered - settled[1]);
    println!("| {rate} events a second, {most_requests} requests a second, lag | ≤ {:?} | {lag:.1?} |", 2 * INTERVAL);
    println!("| records pulled for each one delivered | ≤ 2.2 | {each:.2} |");
    println!("| requests a second | ≤ {most_requests} | {requests:.1} |");
    println!("| bytes written for a thousand events | ≤ 16384 | {bytes} |");
    assert!(lag <= 2 * INTERVAL && bytes <= 16 << 10 && each <= 2.2, "{lag:?}, {bytes} bytes, {each} for each one");
    running.task.abort();
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_sends_one_request_a_poll() {
    let (_, requests) = steady_state(Counts::Exact, Stream::Activities, Kind::Activities, 0.0).await;
    assert!((0.9..=1.1).contains(&requests), "{requests}");
}

/// How long after it became visible a record arrives whose own time is `late` in the past.
async fn arrives_after(counts: Counts, late: Duration) -> Duration {
    let harness = LaneHarness::new(|_| {});
    harness.console.set_quirks(Quirks { counts, ..Quirks::default() });
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    for _ in 0..700 {
        harness.console.generate(Kind::Activities, harness.clock.now().micros());
        sleep(SECOND).await;
    }
    let started_at = harness.clock.now();
    let id = harness.console.generate(Kind::Activities, started_at.minus(late).micros()).to_string();
    while !sink.accepted().iter().any(|(_, accepted, _)| *accepted == id) {
        assert!(harness.clock.now().since(started_at) < 10 * OVERLAP, "{counts:?}: it does not arrive");
        harness.console.generate(Kind::Activities, harness.clock.now().micros());
        sleep(SECOND).await;
    }
    let after = harness.clock.now().since(started_at);
    let metrics = running.drain().await;
    assert_eq!(sink.total(), sink.counts().len(), "nothing arrives twice");
    assert_counts_balance(&metrics);
    after
}

#[tokio::test(start_paused = true)]
async fn a_late_record_arrives_at_the_next_poll_or_when_its_time_is_closed() {
    for late in [5, 60, 200, 290].map(Duration::from_secs) {
        let after = arrives_after(Counts::Exact, late).await;
        assert!(after <= INTERVAL + 5 * SECOND, "{late:?} late: it arrived {after:?} later");
        for counts in [Counts::Off(-1), Counts::Off(7), Counts::Refused] {
            let after = arrives_after(counts, late).await;
            let most = OVERLAP - late + OVERLAP / 2 + 2 * INTERVAL;
            assert!(after <= most, "{counts:?}, {late:?} late: it arrived {after:?} later");
        }
    }
}
