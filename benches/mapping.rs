//! Mapping beside a bare round trip of the same records through `serde_json::Value`: the goal is a ratio of at most 1.0,
//! with the original kept. Run with `cargo bench --bench mapping`; the ratios are the last lines.

#![allow(clippy::unwrap_used, reason = "a benchmark may end in a panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::record::{Stream, facts, parse_page};
use s1_forwarder::transform::{Mapper, Origin, Schema, Settings};

const STREAMS: [(Stream, Kind); 5] = [
    (Stream::Threats, Kind::Threats),
    (Stream::Activities, Kind::Activities),
    (Stream::Agents, Kind::Agents),
    (Stream::Alerts, Kind::Alerts),
    (Stream::Groups, Kind::Groups),
];

fn records(console: &Console, kind: Kind) -> Vec<Vec<u8>> {
    console.ids(kind).into_iter().take(500).map(|id| console.record(kind, id).unwrap()).collect()
}

fn mapper(stream: Stream) -> Mapper {
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "usea1-acme.sentinelone.net".to_owned(), stream };
    Mapper::new(&Settings::default(), Schema::Ecs, origin)
}

fn map_all(mapper: &mut Mapper, records: &[Vec<u8>], out: &mut Vec<u8>) {
    for record in records {
        out.clear();
        black_box(mapper.map(record, out)).unwrap();
        black_box(&out);
    }
}

fn round_trip_all(records: &[Vec<u8>], out: &mut Vec<u8>) {
    for record in records {
        out.clear();
        let value: serde_json::Value = serde_json::from_slice(record).unwrap();
        serde_json::to_writer(&mut *out, &value).unwrap();
        black_box(&out);
    }
}

/// The best of several rounds, alternating, so that both see the same machine.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn ratio(stream: Stream, records: &[Vec<u8>]) -> (Duration, Duration) {
    let (mut out, mut mapper) = (Vec::new(), mapper(stream));
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..60 {
        let start = std::time::Instant::now();
        map_all(&mut mapper, records, &mut out);
        let middle = std::time::Instant::now();
        round_trip_all(records, &mut out);
        best = (best.0.min(middle - start), best.1.min(middle.elapsed()));
    }
    best
}

fn main() {
    let console = Console::new(&Setup {
        activities: 500,
        threats: 500,
        agents: 500,
        alerts: 500,
        ..Setup::new(1_767_225_600_000_000)
    });
    let mut criterion = Criterion::default().configure_from_args();
    for (stream, kind) in STREAMS {
        let records = records(&console, kind);
        let bytes: usize = records.iter().map(Vec::len).sum();
        let mut group = criterion.benchmark_group(stream.name());
        group.throughput(Throughput::Bytes(bytes as u64));
        group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        let (mut out, mut mapper) = (Vec::new(), mapper(stream));
        group.bench_function("map", |bencher| bencher.iter(|| map_all(&mut mapper, &records, &mut out)));
        group.bench_function("value", |bencher| bencher.iter(|| round_trip_all(&records, &mut out)));
        group.bench_function("facts", |bencher| {
            bencher.iter(|| records.iter().for_each(|record| drop(black_box(facts(stream, record)))));
        });
        let page = [b"{\"data\":[", records.join(&b","[..]).as_slice(), b"]}"].concat();
        group.bench_function("page", |bencher| bencher.iter(|| black_box(parse_page(&page)).unwrap().records.len()));
        group.finish();
    }
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--profile-time") {
        return;
    }
    println!("\n{:<12}{:>10}{:>14}{:>14}{:>8}", "stream", "bytes", "map ns", "value ns", "ratio");
    for (stream, kind) in STREAMS {
        let records = records(&console, kind);
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
