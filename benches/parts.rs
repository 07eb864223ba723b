//! The parts of a record's way, each alone: mapping compared with a bare round trip of the same records through
//! `serde_json::Value` (the goal is a ratio of at most 1.0, with the original kept), encoding, positions. Run with
//! `cargo bench --bench parts`; the ratios are the last lines.

#![allow(clippy::unwrap_used, reason = "a benchmark may end in a panic")]

mod common;

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use common::{page, transformer};
use criterion::{Criterion, Throughput};
use flate2::Compression;
use flate2::write::GzEncoder;
use s1_forwarder::checkpoint::ledger::Ledger;
use s1_forwarder::lane::LaneCheckpoint;
use s1_forwarder::record::{Stream, Timestamp, facts, parse_page};
use s1_forwarder::source::{PollContext, RecordKey, SourcePosition};
use s1_forwarder::transform::Transformer;

const STREAMS: [Stream; 5] = [Stream::Threats, Stream::Activities, Stream::Agents, Stream::Alerts, Stream::Groups];
const RECORDS: usize = 500;

fn map_all(transformer: &mut Transformer, records: &[Vec<u8>], out: &mut Vec<u8>) {
    for record in records {
        out.clear();
        black_box(transformer.map(record, out)).unwrap();
        black_box(&out);
    }
}

fn round_trip_all(records: &[Vec<u8>], out: &mut Vec<u8>) {
    for record in records {
        common::round_trip(record, out);
        black_box(&out);
    }
}

/// The best of several rounds, alternating, so that both see the same machine.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn ratio(stream: Stream, records: &[Vec<u8>]) -> (Duration, Duration) {
    let mut out = Vec::new();
    let mut transformer = transformer(stream);
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..60 {
        let start = std::time::Instant::now();
        map_all(&mut transformer, records, &mut out);
        let middle = std::time::Instant::now();
        round_trip_all(records, &mut out);
        best = (best.0.min(middle - start), best.1.min(middle.elapsed()));
    }
    best
}

fn mapping(criterion: &mut Criterion, stream: Stream) {
    let records = common::records(stream, RECORDS);
    let bytes: usize = records.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group(stream.name());
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let mut out = Vec::new();
    let mut transformer = transformer(stream);
    group.bench_function("map", |bencher| bencher.iter(|| map_all(&mut transformer, &records, &mut out)));
    group.bench_function("value", |bencher| bencher.iter(|| round_trip_all(&records, &mut out)));
    group.bench_function("facts", |bencher| {
        bencher.iter(|| records.iter().for_each(|record| drop(black_box(facts(stream, record)))));
    });
    let page = page(&records, None);
    group.bench_function("page", |bencher| bencher.iter(|| black_box(parse_page(&page)).unwrap().records.len()));
}

/// A batch's body, as it is compressed.
fn encoding(criterion: &mut Criterion) {
    let mut body = Vec::new();
    let mut transformer = transformer(Stream::Activities);
    for record in common::records(Stream::Activities, 1_000) {
        transformer.map(&record, &mut body).unwrap();
        body.push(b'\n');
    }
    let mut group = criterion.benchmark_group("encoding");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let gzip = |level| {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(level));
        encoder.write_all(&body).unwrap();
        encoder.finish().unwrap().len()
    };
    for level in [1, 2, 4, 6] {
        println!("gzip {level}: {:.1} times smaller", body.len() as f64 / gzip(level) as f64);
        group.bench_function(format!("gzip {level}"), |bencher| bencher.iter(|| black_box(gzip(level))));
    }
    for level in [1, 3] {
        let zstd = || zstd::bulk::compress(&body, level).unwrap().len();
        println!("zstd {level}: {:.1} times smaller", body.len() as f64 / zstd() as f64);
        group.bench_function(format!("zstd {level}"), |bencher| bencher.iter(|| black_box(zstd())));
    }
}

/// What a position costs that holds the keys of a busy console's overlap.
fn position(criterion: &mut Criterion) {
    const KEYS: u64 = 30_000;
    let begin = 1_767_225_600_000_000;
    let passes = common::pull(Stream::Activities).passes();
    let context = PollContext { start: Timestamp::from_micros(begin), ..PollContext::default() };
    let taken = |position: &mut SourcePosition| {
        let mut settling = position.settle(&passes, context);
        for number in 0..KEYS {
            let time = Timestamp::from_micros(begin + number as i64 * 10_000);
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            black_box(settling.remember(&RecordKey { id, version: 0, content: None, time, created: None }));
        }
    };
    let new = || {
        let mut position = SourcePosition::starting_at(Timestamp::from_micros(begin));
        position.add_passes(&passes);
        position
    };
    let mut full = new();
    taken(&mut full);
    let begin = Timestamp::from_micros(begin);
    let ledger = Ledger::begin(begin, String::new(), true);
    let host = "usea1-acme.sentinelone.net".into();
    let checkpoint = LaneCheckpoint::begin(host, "".into(), "1d".into(), begin, full.clone(), ledger);
    let stored = checkpoint.encode();
    println!("checkpoint of {KEYS} keys: {} bytes", stored.len());
    let mut group = criterion.benchmark_group("position");
    group.throughput(Throughput::Elements(KEYS));
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    group.bench_function("take", |bencher| bencher.iter(|| taken(&mut new())));
    group.bench_function("take again", |bencher| bencher.iter(|| taken(&mut full)));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(checkpoint.encode())));
    group.bench_function("decode", |bencher| bencher.iter(|| black_box(LaneCheckpoint::decode(&stored)).unwrap()));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    STREAMS.iter().for_each(|stream| mapping(&mut criterion, *stream));
    encoding(&mut criterion);
    position(&mut criterion);
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--profile-time") {
        return;
    }
    println!("\n{:<12}{:>10}{:>14}{:>14}{:>8}", "stream", "bytes", "map ns", "value ns", "ratio");
    for stream in STREAMS {
        let records = common::records(stream, RECORDS);
        let (map, value) = ratio(stream, &records);
        let each = |time: Duration| time.as_nanos() as usize / records.len();
        println!(
            "{:<12}{:>10}{:>14}{:>14}{:>8.2}",
            stream.name(),
            records.iter().map(Vec::len).sum::<usize>() / records.len(),
            each(map),
            each(value),
            map.as_secs_f64() / value.as_secs_f64()
        );
    }
}
