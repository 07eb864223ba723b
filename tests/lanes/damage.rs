//! Records that are not JSON, from a scripted console to destinations that read JSON.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use s1_forwarder::console::Response;
use s1_forwarder::console::scripted::{ScriptedTransport, dated};
use s1_forwarder::lane::{Lane, LaneEnd, LaneMapping};
use s1_forwarder::record::{Clock, Stream};
use s1_forwarder::source::PullSettings;
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use super::harness::{LaneHarness, START};
use crate::support::batches::{context, settings};
use crate::support::receiver::{Receiver, Rules};
use crate::support::splunk_hec::{Collector, Hec};

/// What is put into the name of a threat.
const DAMAGES: [&[u8]; 6] = [br"\ud83d", br"\ude00\ud83d", b"\xff", b"\xed\xa0\xbd", b"\n", b"\0"];

/// Threats of which all but the last are damaged: the last but one by a number.
fn threats() -> Vec<Vec<u8>> {
    let time = START.minus(Duration::from_mins(10)).to_string();
    let threat = |id: usize, name: &[u8], size: &str| {
        let start =
            format!(r#"{{"id":"{id}","agentRealtimeInfo":{{"agentComputerName":"PC1"}},"threatInfo":{{"threatName":""#);
        let end = format!(
            r#"","size":{size},"confidenceLevel":"malicious","classification":"Ransomware","createdAt":"{time}","updatedAt":"{time}"}}}}"#
        );
        [start.as_bytes(), name, end.as_bytes()].concat()
    };
    let damaged = DAMAGES.iter().enumerate().map(|(index, damage)| threat(index + 1, damage, "1"));
    damaged.chain([threat(7, b"", "NaN"), threat(8, b"", "1")]).collect()
}

/// A console that answers each request with this page.
fn console(page: Vec<u8>, clock: Clock) -> ScriptedTransport {
    let page = Bytes::from(page);
    ScriptedTransport::new(move |_| {
        let body = page.clone();
        async move { Ok(Response { status: StatusCode::OK, headers: dated(clock.now()), body }) }
    })
}

/// Runs a lane over `page` to the sink with these keys, and returns how many records it repaired and could not map.
async fn run(stream: Stream, page: &[u8], schema: Schema, keys: Value) -> (u64, u64) {
    let harness = LaneHarness::new(|_| {});
    let sink_settings = settings(keys);
    let context = s1_forwarder::destinations::SinkContext { schema, ..context(stream) };
    let pull = PullSettings { filters: Vec::new(), ..harness.pull(stream) };
    let lane = harness.lane(pull, "siem", sink_settings.build(&context).unwrap());
    let client = Arc::new(harness.client(Arc::new(console(page.to_vec(), harness.clock)), "siem"));
    let embeds_raw = sink_settings.type_settings.as_sink_type().embeds_raw();
    let lane = Lane { client, mapping: LaneMapping { schema, embeds_raw, ..lane.mapping }, ..lane };
    let metrics = lane.delivery.meter.metrics.clone();
    assert_eq!(harness.run_once(lane).await, LaneEnd::Complete);
    assert_eq!(metrics.send.dead_letters.get(), 0);
    (metrics.map.repaired.get(), metrics.map.errors.get())
}

fn list(records: &[Vec<u8>]) -> Vec<u8> {
    [&br#"{"data":["#[..], &records.join(&b","[..]), br#"],"pagination":{"nextCursor":null,"totalItems":8}}"#].concat()
}

fn ids(events: &[Value], pointer: &str) -> Vec<String> {
    let mut ids: Vec<String> = events
        .iter()
        .map(|event| event.pointer(pointer).unwrap_or_else(|| panic!("{event:#}")).as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

const IDS: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];

#[tokio::test]
async fn damaged_threats_arrive_as_alerts_with_severity_and_host() {
    let page = list(&threats());
    let collector = Collector::start(Hec::default()).await;
    let receiver = Receiver::start(Rules::default()).await;
    let hec = json!({ "type": "splunk_hec", "url": collector.url(), "token": "t0ken" });
    let ndjson = json!({ "type": "http", "url": receiver.input() });
    assert_eq!(run(Stream::Threats, &page, Schema::Ecs, hec.clone()).await, (7, 0));
    assert_eq!(run(Stream::Threats, &page, Schema::Ecs, ndjson).await, (7, 0));
    let of_hec: Vec<Value> = collector.events().iter().map(|event| event["event"].clone()).collect();
    for events in [of_hec, receiver.events()] {
        assert_eq!(ids(&events, "/event/id"), IDS);
        for event in events {
            let shown = json!([event["event"]["kind"], event["event"]["severity"], event["host"]["name"]]);
            assert_eq!(shown, json!(["alert", 99, "PC1"]));
        }
    }
}

/// Raw in HEC and in an array: one record that is not JSON would break the batch.
#[tokio::test]
async fn raw_records_are_repaired_where_the_sink_writes_them_into_json() {
    let page = list(&threats());
    let collector = Collector::start(Hec::default()).await;
    let receiver = Receiver::start(Rules::default()).await;
    let hec = json!({ "type": "splunk_hec", "url": collector.url(), "token": "t0ken" });
    let array = json!({ "type": "http", "url": receiver.input(), "format": "json_array" });
    assert_eq!(run(Stream::Threats, &page, Schema::Raw, hec).await, (7, 0));
    assert_eq!(run(Stream::Threats, &page, Schema::Raw, array).await, (7, 0));
    assert_eq!(collector.deliveries().len(), 1, "no batch was split");
    assert_eq!(ids(&collector.events(), "/event/id"), IDS);
    assert_eq!(ids(&receiver.events(), "/id"), IDS);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let file = json!({ "type": "file", "path": path });
    assert_eq!(run(Stream::Threats, &page, Schema::Raw, file).await.0, 0);
    let written = std::fs::read(&path).unwrap();
    let lines: Vec<Vec<u8>> = written.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut received = threats();
    received[4] = String::from_utf8(received[4].clone()).unwrap().replace('\n', "\\n").into_bytes();
    received.push(Vec::new());
    assert_eq!(lines, received);
}

#[tokio::test]
async fn damaged_unified_alerts_go_the_same_way() {
    let time = START.minus(Duration::from_mins(10)).to_string();
    let edges = DAMAGES.iter().enumerate().map(|(index, damage)| {
        let start = format!(
            r#"{{"node":{{"id":"{}","severity":"HIGH","detectedAt":"{time}","updatedAt":"{time}","name":""#,
            index + 1
        );
        [start.as_bytes(), damage, b"\"}}"].concat()
    });
    let edges = edges.collect::<Vec<_>>().join(&b","[..]);
    let page = [
        &br#"{"data":{"alerts":{"totalCount":6,"pageInfo":{"hasNextPage":false,"endCursor":null},"edges":["#[..],
        &edges,
        b"]}}}",
    ]
    .concat();
    let receiver = Receiver::start(Rules::default()).await;
    let ndjson = json!({ "type": "http", "url": receiver.input() });
    assert_eq!(run(Stream::UnifiedAlerts, &page, Schema::Ecs, ndjson).await, (6, 0));
    let events = receiver.events();
    assert_eq!(ids(&events, "/event/id"), IDS[..6]);
    assert!(events.iter().all(|event| event["event"]["severity"] == 73), "{events:#?}");
}

#[tokio::test]
async fn a_byte_order_mark_before_an_answer_is_skipped() {
    let receiver = Receiver::start(Rules::default()).await;
    let page = ["\u{feff}".as_bytes(), &list(&threats())].concat();
    run(Stream::Threats, &page, Schema::Ecs, json!({ "type": "http", "url": receiver.input() })).await;
    assert_eq!(ids(&receiver.events(), "/event/id"), IDS);
}

/// `run --once` says so in its result.
#[tokio::test(start_paused = true)]
async fn a_lane_knows_how_far_its_consoles_clock_is_behind() {
    for (behind, expected) in [(7200, Some(7200)), (0, None)] {
        let harness = LaneHarness::new(|_| {});
        let date = START.minus(Duration::from_secs(behind));
        let transport = ScriptedTransport::new(move |_| async move {
            let body = Bytes::from_static(br#"{"data":[],"pagination":{"totalItems":0}}"#);
            Ok(Response { status: StatusCode::OK, headers: dated(date), body })
        });
        let sink = s1_forwarder::sink::memory::MemorySink::accepting(harness.clock);
        let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink);
        let lane = Lane { client: Arc::new(harness.client(Arc::new(transport), "siem")), ..lane };
        let metrics = lane.delivery.meter.metrics.clone();
        assert_eq!(harness.run_once(lane).await, LaneEnd::Complete);
        assert_eq!(metrics.clocks.console_behind().map(|behind| behind.as_secs()), expected);
    }
}

/// A console that ignores cursors, and gives the same page under ever new ones.
#[tokio::test(start_paused = true)]
async fn pages_that_repeat_under_new_cursors_are_a_failure_of_the_console() {
    let harness = LaneHarness::new(|_| {});
    let sink = s1_forwarder::sink::memory::MemorySink::accepting(harness.clock);
    let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let asked = requests.clone();
    let clock = harness.clock;
    let transport = ScriptedTransport::new(move |request| {
        let number = asked.fetch_add(1, Relaxed);
        let is_count = request.url.query().is_some_and(|query| query.contains("countOnly"));
        let records: Vec<String> = (1..=3)
            .map(|id| {
                format!(
                    r#"{{"id":"{id}","activityType":5,"createdAt":"{}"}}"#,
                    START.minus(Duration::from_secs(60 - id))
                )
            })
            .collect();
        let records = if is_count { String::new() } else { records.join(",") };
        let body = format!(r#"{{"data":[{records}],"pagination":{{"nextCursor":"c{number}","totalItems":250}}}}"#);
        async move { Ok(Response { status: StatusCode::OK, headers: dated(clock.now()), body: body.into() }) }
    });
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let lane = Lane { client: Arc::new(harness.client(Arc::new(transport), "siem")), ..lane };
    let running = harness.start(lane);
    let mut failing = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let state = running.metrics.state();
        failing += u32::from(state.name() == "console_failing");
        if let Some(error) = state.error() {
            assert!(error.contains("pages repeat under new cursors: the console counts 250"), "{error}");
        }
    }
    assert!(failing > 90, "{failing} of 100 times");
    let requests = requests.load(Relaxed);
    assert!(requests < 500, "{requests} requests in ten minutes");
    assert_eq!(running.drain().await.send.delivered.get(), 3);
}
