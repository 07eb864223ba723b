//! What the parts of the way cost alone: CPU time of one thread, the best of several rounds.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use s1_forwarder::record::{Stream, facts, parse_page};
use s1_forwarder::transform::Schema;

use super::kernel;
use crate::common;

const PAGE: usize = 1_000;
const ROUNDS: usize = 15;

/// CPU time for one record.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    pub inflate: Duration,
    /// Cutting pages into records and reading their facts.
    pub parse: Duration,
    pub map: Duration,
    pub gzip: Duration,
    /// serde_json::Value there and back.
    pub value: Duration,
    pub record_bytes: usize,
    pub event_bytes: usize,
}

impl Parts {
    pub fn sum(&self) -> Duration {
        self.inflate + self.parse + self.map + self.gzip
    }
}

/// `kept`: events with the original.
pub fn measure(stream: Stream, kept: bool) -> Parts {
    let records = common::records(stream, 4 * PAGE);
    let pages: Vec<Vec<u8>> = records.chunks(PAGE).map(|records| common::page(records, Some(7))).collect();
    let sent: Vec<Vec<u8>> = pages.iter().map(|page| gzip(page)).collect();
    let mut transformer = common::transformer_to(Schema::Ecs, stream, kept);
    let bodies: Vec<Vec<u8>> = records
        .chunks(PAGE)
        .map(|records| {
            let mut body = Vec::new();
            for record in records {
                transformer.map(record, &mut body).unwrap();
                body.push(b'\n');
            }
            body
        })
        .collect();
    let mut out = Vec::new();
    let each = |total: Duration| total / records.len() as u32;
    Parts {
        inflate: each(best(|| {
            for page in &sent {
                out.clear();
                GzDecoder::new(page.as_slice()).read_to_end(&mut out).unwrap();
                black_box(&out);
            }
        })),
        parse: each(best(|| {
            for page in &pages {
                for record in parse_page(page).unwrap().records {
                    black_box(facts(stream, record));
                }
            }
        })),
        map: each(best(|| {
            for records in records.chunks(PAGE) {
                out.clear();
                for record in records {
                    black_box(transformer.map(record, &mut out)).unwrap();
                }
                black_box(&out);
            }
        })),
        gzip: each(best(|| bodies.iter().for_each(|body| drop(black_box(gzip(body)))))),
        value: each(best(|| records.iter().for_each(|record| common::round_trip(record, black_box(&mut out))))),
        record_bytes: records.iter().map(Vec::len).sum::<usize>() / records.len(),
        event_bytes: bodies.iter().map(Vec::len).sum::<usize>() / records.len(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn best(mut work: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let before = kernel::thread_cpu();
        work();
        best = best.min(kernel::thread_cpu() - before);
    }
    best
}
