//! What benchmarks share: records as the console has them, and a lane without sockets.

#![allow(dead_code, clippy::unwrap_used, reason = "each benchmark uses a part of this, and may end in a panic")]

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use s1_forwarder::console::scripted::ScriptedTransport;
use s1_forwarder::console::{self, Client, LimiterKey, Limiters};
use s1_forwarder::delivery::Delivery;
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::lane::{Budget, Lane, LaneMapping};
use s1_forwarder::record::{Clock, LaneId, Stream, Timestamp, facts};
use s1_forwarder::sink::Limits;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source;
use s1_forwarder::telemetry::{Meter, Telemetry};
use s1_forwarder::transform::{self, Origin, Schema, Transformer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The console's time.
const NOW: i64 = 1_767_225_600_000_000;

pub fn kind(stream: Stream) -> Kind {
    let name = format!("{stream:?}");
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("no records of {stream}"))
}

/// The first `count` records of a kind, in the order in which the console lists them.
pub fn records(stream: Stream, count: usize) -> Vec<Vec<u8>> {
    let mut setup = Setup { agents: 500, ..Setup::new(NOW) };
    match stream {
        Stream::Threats => setup.threats = count,
        Stream::Activities => setup.activities = count,
        Stream::Agents => setup.agents = count,
        Stream::Alerts => setup.alerts = count,
        _ => {}
    }
    let console = Console::new(&setup);
    let ids = console.ids(kind(stream)).into_iter().take(count);
    let mut records: Vec<_> = ids.map(|id| console.record(kind(stream), id).unwrap()).collect();
    records.sort_by_cached_key(|record| facts(stream, record).time);
    records
}

pub fn transformer(stream: Stream) -> Transformer {
    transformer_to(Schema::Ecs, stream, true)
}

/// `kept`: its events keep the original.
pub fn transformer_to(schema: Schema, stream: Stream, kept: bool) -> Transformer {
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "usea1-acme.sentinelone.net".to_owned(), stream };
    Transformer::new(&transform_settings(kept), schema, origin)
}

/// The mapper of [`transformer`], with a program of three lines over each event.
#[cfg(feature = "remap")]
pub fn mapper_with_remap(stream: Stream) -> Transformer {
    let program = ".labels.team = \"blue\"\n.message = upcase(string(.message) ?? \"\")\ndel(.related)";
    let steps = transform::Steps::new(
        &transform_settings(true),
        Schema::Ecs,
        Some(program),
        transform::RedactionKeys::Configured,
    )
    .unwrap();
    transformer(stream).with_steps(steps.map(Arc::new))
}

fn transform_settings(kept: bool) -> transform::TransformSettings {
    transform::TransformSettings { keep_original: Some(kept), ..transform::TransformSettings::default() }
}

/// A page as the console sends it.
pub fn page(records: &[Vec<u8>], next: Option<usize>) -> Vec<u8> {
    let cursor = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    let mut page = b"{\"data\":[".to_vec();
    for (index, record) in records.iter().enumerate() {
        page.extend_from_slice(if index == 0 { b"" } else { b"," });
        page.extend_from_slice(record);
    }
    page.extend_from_slice(format!("],\"pagination\":{{\"nextCursor\":{cursor},\"totalItems\":0}}}}").as_bytes());
    page
}

/// A console that lists its records once, page by page, each after `delay`.
pub fn pages(records: Vec<Vec<u8>>, delay: Duration) -> ScriptedTransport {
    let records = Arc::new(records);
    ScriptedTransport::new(move |request| {
        let records = records.clone();
        async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let text = |name: &str| request.url.query_pairs().find_map(|(key, text)| (key == name).then_some(text));
            let value = |name: &str| text(name).and_then(|text| text.parse::<usize>().ok());
            if text("countOnly").is_some() {
                let count =
                    format!("{{\"data\":[],\"pagination\":{{\"nextCursor\":null,\"totalItems\":{}}}}}", records.len());
                return Ok(answer(Clock::System.now(), count.into_bytes()));
            }
            let start = value("cursor").unwrap_or(0);
            let end = records.len().min(start + value("limit").unwrap_or(1));
            let next = (end < records.len()).then_some(end);
            Ok(answer(Clock::System.now(), page(&records[start..end], next)))
        }
    })
}

fn answer(now: Timestamp, body: Vec<u8>) -> console::Response {
    let mut headers = HeaderMap::new();
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_micros(now.micros() as u64));
    headers.insert(http::header::DATE, HeaderValue::from_str(&date).unwrap());
    console::Response { status: StatusCode::OK, headers, body: Bytes::from(body) }
}

/// What a batch of [`sink`] may hold.
const LIMITS: Limits = Limits { events: 1_000, bytes: 5 << 20, ..Limits::NONE };

/// Accepts everything after `delay`.
pub fn sink(delay: Duration) -> Arc<MemorySink> {
    MemorySink::counting(LIMITS, delay)
}

/// A stream from its beginning, as a pipeline file would have it.
pub fn pull(stream: Stream) -> source::PullSettings {
    let streams = serde_json::json!({ stream.name(): { "since": "beginning" } });
    serde_json::from_value::<source::StreamSettings>(streams).unwrap().pulls().remove(0)
}

/// A lane from `console` to `sink` that ends when it has delivered everything.
pub fn lane(stream: Stream, console: ScriptedTransport, sink: Arc<MemorySink>) -> Lane {
    lane_at(Clock::System, stream, console, sink)
}

fn lane_at(clock: Clock, stream: Stream, console: ScriptedTransport, sink: Arc<MemorySink>) -> Lane {
    let settings: console::ConsoleSettings = serde_json::from_value(serde_json::json!({
        "url": "https://usea1-acme.sentinelone.net", "token": "token", "requests_per_second": 1e9,
    }))
    .unwrap();
    let key = LimiterKey { host: "console".to_owned(), token: String::new() };
    let client = Client::new(&settings, Arc::new(console), Limiters::default().join(key, 1e9), clock);
    let pull = pull(stream);
    let id = LaneId::new("acme", stream, "siem");
    let meter = Meter::start(&Arc::new(Telemetry::new()), &id, "memory", clock);
    Lane {
        mapping: LaneMapping { transform: Arc::new(transform_settings(true)), ..LaneMapping::default() },
        budget: Budget::new(512 << 20).lane(),
        once: true,
        ..Lane::for_tests(id.into(), Arc::new(client), pull, Delivery::for_tests(sink, meter, clock))
    }
}

/// Runs a lane on this thread until it has delivered `records`.
pub fn run_lane(stream: Stream, records: Vec<Vec<u8>>) -> Arc<MemorySink> {
    let count = records.len();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let console = pages(records, Duration::ZERO);
    let sink = sink(Duration::ZERO);
    runtime.block_on(lane(stream, console, sink.clone()).run(CancellationToken::new()));
    assert_eq!(sink.total(), count);
    sink
}

/// Runs a lane whose console has no records until it has sent `requests` requests, one a minute of simulated time.
pub fn run_idle_lane(requests: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Clock::simulated(Timestamp::from_micros(NOW));
        let stop = CancellationToken::new();
        let sent = AtomicUsize::new(0);
        let asked = stop.clone();
        let console = ScriptedTransport::new(move |_| {
            if sent.fetch_add(1, Ordering::Relaxed) + 1 == requests {
                asked.cancel();
            }
            ready(Ok(answer(clock.now(), page(&[], None))))
        });
        let lane = Lane { once: false, ..lane_at(clock, Stream::Activities, console, sink(Duration::ZERO)) };
        lane.run(stop).await;
    });
}

pub fn round_trip(record: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let value: serde_json::Value = serde_json::from_slice(record).unwrap();
    serde_json::to_writer(&mut *out, &value).unwrap();
}
