//! A console that invents records without end: its lane stops when it remembers as many as it may.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s1_forwarder::console::Response;
use s1_forwarder::console::scripted::{ScriptedTransport, dated};
use s1_forwarder::lane::{Lane, Remembered};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::telemetry::{LaneState, LaneStateKind};
use tokio::time::sleep;

use super::harness::{LaneHarness, START};
use super::script::{activity, page};

const MAX: u64 = 5_000;
const PAGE: u64 = 500;

/// The records from a cursor on, and another cursor. They all fall into the overlap.
fn invent(query: &str) -> Bytes {
    let cursor = query.split('&').find_map(|part| part.strip_prefix("cursor="));
    let from: u64 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
    let at = |id: u64| START.minus(Duration::from_secs(200)).plus(Duration::from_micros(id));
    let records: Vec<String> = (from..from + PAGE).map(|id| activity(1_000_000 + id, at(id))).collect();
    page(&records, Some(&(from + PAGE).to_string())).into()
}

fn hostile(harness: &LaneHarness, sink: Arc<MemorySink>) -> Lane {
    let clock = harness.clock;
    let transport = ScriptedTransport::new(move |request| async move {
        sleep(Duration::from_millis(10)).await;
        let body = invent(request.url.query().unwrap_or_default());
        Ok(Response { status: http::StatusCode::OK, headers: dated(clock.now()), body })
    });
    let lane = harness.lane(harness.pull(Stream::Activities), "hostile", sink);
    Lane { client: Arc::new(harness.client(Arc::new(transport), "hostile")), ..lane }
}

#[tokio::test(start_paused = true)]
async fn a_console_that_invents_records_without_end_stops_its_own_lane() {
    let mut harness = LaneHarness::new(|setup| setup.activities = 300);
    harness.remembered = Remembered::new(MAX, 1 << 30);
    let sink = MemorySink::accepting(harness.clock);
    let others = MemorySink::accepting(harness.clock);
    let running = harness.start(hostile(&harness, sink.clone()));
    let honest = harness.lane(harness.pull(Stream::Activities), "honest", others.clone());
    let honest = harness.start(Lane { memory: harness.remembered.lane("globex"), ..honest });
    sleep(Duration::from_secs(90)).await;
    let state = running.metrics.state();
    let LaneState { kind: LaneStateKind::Stopped, error: Some(reason) } = state else { panic!("{state:?}") };
    assert!(reason.contains("--remembered-max allows 5000"), "{reason}");
    assert_eq!((others.total(), honest.metrics.state().kind), (300, LaneStateKind::Running));
    let delivered = sink.total() as u64;
    assert!((MAX..=MAX + 2 * PAGE).contains(&delivered), "{delivered} events");
    let checkpoint = harness.checkpoint(Stream::Activities, "hostile").unwrap();
    assert_eq!(checkpoint.position.key_count() as u64, delivered);
    assert!(checkpoint.encode().len() as u64 <= 8 * delivered, "{} bytes", checkpoint.encode().len());
    running.drain().await;
    // With more room it goes on: nothing is missing, and nothing comes twice.
    harness.remembered = Remembered::new(2 * MAX, 1 << 30);
    let running = harness.start(hostile(&harness, sink.clone()));
    sleep(Duration::from_mins(1)).await;
    let state = running.metrics.state();
    running.drain().await;
    let counts = sink.counts();
    assert!(counts.values().all(|count| *count == 1), "something came twice");
    assert!(counts.len() as u64 >= 2 * MAX, "{} events, {state:?}", counts.len());
}
