//! One lane, or less.

use std::time::{Duration, Instant};

use s1_forwarder::record::{Stream, facts, parse_page};
use s1_forwarder::sink::{Batch, Sink};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Row, Size, parts};
use crate::common;

pub fn mapping(_: Size) -> Vec<Row> {
    let row = |stream: Stream| {
        let parts = parts::measure(stream, true);
        let ratio = parts.map.as_secs_f64() / parts.value.as_secs_f64();
        let measured = format!("{ratio:.2} ({} ns, {} ns)", parts.map.as_nanos(), parts.value.as_nanos());
        let figures = json!({ "map_ns": parts.map.as_nanos(), "value_ns": parts.value.as_nanos() });
        Row::goal(
            &format!("mapping {stream}: time compared with a Value round trip"),
            "≤ 1",
            measured,
            ratio <= 1.0,
            figures,
        )
    };
    vec![row(Stream::Threats), row(Stream::Activities)]
}

/// The console and the sink each answer after this, and mapping a page is made to cost about as much.
const DELAY: Duration = Duration::from_millis(20);
const PAGES: usize = 60;

pub fn overlap(_: Size) -> Vec<Row> {
    let records = heavy_records();
    let serial = serial(&records);
    let started_at = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let console = common::pages(records.clone(), DELAY);
    let sink = common::sink(DELAY);
    let lane = common::lane(Stream::Activities, console, sink.clone());
    runtime.block_on(async { tokio::spawn(lane.run(CancellationToken::new())).await.unwrap() });
    let overlapped = started_at.elapsed();
    assert_eq!(sink.total(), records.len());
    let gain = serial.as_secs_f64() / overlapped.as_secs_f64();
    let measured = format!("{gain:.2} ({:.2} s, {:.2} s)", serial.as_secs_f64(), overlapped.as_secs_f64());
    let figures = json!({ "serial_s": serial.as_secs_f64(), "overlapped_s": overlapped.as_secs_f64() });
    vec![Row::goal(
        "one lane alone: throughput compared with a serial one, 20 ms each to ask, map, send",
        "≥ 1.8",
        measured,
        gain >= 1.8,
        figures,
    )]
}

/// Records with enough members that to map a thousand of them costs about as much as a delay.
fn heavy_records() -> Vec<Vec<u8>> {
    let mut records = common::records(Stream::Activities, PAGES * 1_000);
    let page = |records: &[Vec<u8>]| {
        let started_at = Instant::now();
        let mut transformer = common::transformer(Stream::Activities);
        let mut out = Vec::new();
        for record in records {
            transformer.map(record, &mut out).unwrap();
        }
        started_at.elapsed()
    };
    let light = (0..5).map(|_| page(&records[..1_000])).min().unwrap();
    let heavier = |record: &Vec<u8>, times: usize| {
        let more: String = (0..times * 10).map(|number| format!(r#""n{number}":{number},"#)).collect();
        [b"{", more.as_bytes(), &record[1..]].concat()
    };
    let once: Vec<_> = records[..1_000].iter().map(|record| heavier(record, 4)).collect();
    let heavy = (0..5).map(|_| page(&once)).min().unwrap();
    let missing = DELAY.saturating_sub(light).as_secs_f64();
    let times = (missing / (heavy.saturating_sub(light).as_secs_f64() / 4.0).max(1e-6)).round() as usize;
    records.iter_mut().for_each(|record| *record = heavier(record, times.min(200)));
    records
}

/// Ask, map, send, and again.
fn serial(records: &[Vec<u8>]) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sink = common::sink(DELAY);
    let mut transformer = common::transformer(Stream::Activities);
    let started_at = Instant::now();
    runtime.block_on(async {
        for records in records.chunks(1_000) {
            tokio::time::sleep(DELAY).await;
            let page = common::page(records, None);
            let mut batch = Batch::new(Stream::Activities);
            for record in parse_page(&page).unwrap().records {
                let facts = facts(Stream::Activities, record);
                let identity = facts.identity("console.example", record);
                batch.push_with(&facts.record_id(record), identity, facts.time, |out| {
                    transformer.map(record, out).unwrap();
                    None
                });
            }
            sink.send(&batch).await;
        }
    });
    started_at.elapsed()
}
