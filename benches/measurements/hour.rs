//! A lane that lives long: an hour at 1,000 events a second, with restarts.

use std::time::Duration;

use serde_json::json;

use super::world::{Console, NullSink, Place, pipeline};
use super::{Row, Size, kernel};

/// Records that the emulator adds or changes a second. Seven in ten are activities.
const RECORDS_PER_SECOND: u32 = 1_420;
/// The first lives have little to remember yet, and less of the allocator's memory.
const EARLY: usize = 2;

/// What one of the worker's lives has delivered, and what is left at its end, in bytes.
struct Life {
    delivered: f64,
    memory: u64,
    peak: u64,
    checkpoint: u64,
}

pub fn hour(size: Size) -> Vec<Row> {
    let seconds = size.of(360) as u64;
    let console = Console::live(RECORDS_PER_SECOND, 0, &[]);
    let sink = NullSink::start("take");
    let place = Place::new();
    let stream = "activities: { since: now, include_hidden: true }";
    place.pipeline("acme", &pipeline(&console.host(0), stream, &sink.url(), ""));
    let live = |number: usize| {
        let worker = place.run(&[]);
        std::thread::sleep(Duration::from_secs(seconds));
        let memory = kernel::rss(worker.process.id());
        let peak = worker.process.so_far().peak_rss;
        let delivered = worker.metric("events_delivered_total").iter().sum();
        // Every other life ends with SIGKILL.
        if number.is_multiple_of(2) {
            worker.process.terminate();
        }
        let checkpoint = place.path("state").join("lanes/acme/activities/siem.checkpoint");
        Life { delivered, memory, peak, checkpoint: std::fs::metadata(checkpoint).unwrap().len() }
    };
    let lives: Vec<Life> = (0..10).map(live).collect();
    let (requests, _) = sink.taken();
    let early = &lives[EARLY];
    let late = &lives[9];
    let all = |of: fn(&Life) -> u64| lives.iter().map(of).collect::<Vec<_>>();
    let per_second = lives.iter().map(|life| life.delivered).sum::<f64>() / (seconds * 10) as f64;
    let memory = json!({ "seconds": seconds * 10, "memory": all(|life| life.memory), "peak": all(|life| life.peak) });
    let rate =
        json!({ "delivered": lives.iter().map(|life| life.delivered).collect::<Vec<_>>(), "requests": requests });
    let checkpoint = json!({ "checkpoint": all(|life| life.checkpoint) });
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    vec![
        Row::goal(
            &format!("{} minutes, 9 restarts: events that were delivered each second", seconds / 6),
            "≥ 950",
            format!("{per_second:.0}"),
            per_second >= 950.0,
            rate,
        ),
        Row::goal(
            "the same: memory",
            "flat (≤ 1.2 times)",
            format!(
                "{:.0} and {:.0} MB after 3 and 10 tenths, at the peaks {:.0} and {:.0} MB",
                megabytes(early.memory),
                megabytes(late.memory),
                megabytes(early.peak),
                megabytes(late.peak)
            ),
            // A peak is that of reading the journal, which grows to 16 times the position before it is written again.
            late.memory * 5 <= early.memory * 6,
            memory,
        ),
        Row::goal(
            "the same: checkpoint, which has what changed since the journal was written",
            "≤ 16 KiB",
            format!("{:.1} and {:.1} KB", early.checkpoint as f64 / 1e3, late.checkpoint as f64 / 1e3),
            lives.iter().all(|life| life.checkpoint <= 16 << 10),
            checkpoint,
        ),
    ]
}
