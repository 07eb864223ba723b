//! The whole program, with console and sink as processes of their own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use s1_forwarder::record::Stream;
use serde_json::json;

use super::kernel::{Usage, micros};
use super::world::{Console, HISTORY, NullSink, Place, pipeline};
use super::{Row, Size, parts};

pub fn whole(size: Size) -> Vec<Row> {
    [false, true].into_iter().flat_map(|kept| with(size.of(200_000), kept)).collect()
}

/// What the names of rows say about `event.original`.
pub fn original(kept: bool) -> &'static str {
    if kept { "original kept" } else { "without the original" }
}

fn with(events: usize, kept: bool) -> [Row; 3] {
    let (usage, requests) = catch_up(events, kept);
    let parts = parts::measure(Stream::Activities, kept);
    let each = |time| micros(time, events);
    let ratio = each(usage.user) / (parts.sum().as_secs_f64() * 1e6);
    let measured = format!(
        "{ratio:.2} ({:.1} µs; inflate {:.1}, parse {:.1}, map {:.1}, gzip {:.1})",
        each(usage.user),
        parts.inflate.as_secs_f64() * 1e6,
        parts.parse.as_secs_f64() * 1e6,
        parts.map.as_secs_f64() * 1e6,
        parts.gzip.as_secs_f64() * 1e6,
    );
    let figures = json!({
        "events": events, "user_us": each(usage.user), "system_us": each(usage.system), "requests": requests,
        "inflate_ns": parts.inflate.as_nanos(), "parse_ns": parts.parse.as_nanos(), "map_ns": parts.map.as_nanos(),
        "gzip_ns": parts.gzip.as_nanos(), "value_ns": parts.value.as_nanos(), "record_bytes": parts.record_bytes,
        "event_bytes": parts.event_bytes, "peak_rss": usage.peak_rss,
    });
    let system = format!(
        "{:.1} µs an event; {:.0} events per CPU-second",
        each(usage.system),
        events as f64 / usage.cpu().as_secs_f64()
    );
    let memory = format!("{:.0} MB", usage.peak_rss as f64 / 1e6);
    let original = original(kept);
    [
        Row::goal(
            &format!("console → ECS → gzip → HTTP, {original}: user CPU compared with the sum of its parts"),
            "≤ 1.6",
            measured,
            ratio <= 1.6,
            figures,
        ),
        Row::report("the same: system CPU", system, json!({})),
        Row::report("the same: peak RSS", memory, json!({})),
    ]
}

/// Requests a second that the console allows.
const RATE: usize = 20;

/// A window pulled again as fast as the console allows.
pub fn backfill(size: Size) -> Vec<Row> {
    let events = size.of(1_000_000);
    let console = Console::start(events, &["--span", "1d"]);
    let sink = NullSink::start("take");
    let place = Place::new();
    place.pipeline("acme", &pipeline(&console.host(0), HISTORY, &sink.url(), ""));
    let now = jiff::Timestamp::now();
    let from = (now - Duration::from_hours(48)).strftime("%FT%TZ").to_string();
    let started_at = Instant::now();
    let to = now.strftime("%FT%TZ").to_string();
    let usage = place.backfill(&["--from", &from, "--to", &to, "--requests-per-second", &RATE.to_string()]);
    let seconds = started_at.elapsed().as_secs_f64();
    let share = events as f64 / seconds / (RATE * 1_000) as f64;
    let core = usage.cpu().as_secs_f64() / seconds;
    let figures = json!({ "events": events, "seconds": seconds, "rate": RATE, "share": share, "core": core });
    let measured = format!("{share:.2} ({:.0} events/s, {core:.2} of a core)", events as f64 / seconds);
    let goal = format!("backfill compared with the console's limit of {RATE} requests of 1,000 records a second");
    // The first and the last request of each slice, and the count at the end, bring fewer records than a page holds.
    vec![Row::goal(&goal, "≥ 0.9, a core to spare", measured, share >= 0.9 && core <= 1.0, figures)]
}

/// What the worker asks of the kernel for a batch of a thousand events: pulling, inflating, sending, the checkpoint.
pub fn syscalls(_: Size) -> Vec<Row> {
    const GOAL: &str = "system calls for a batch of 1,000 events";
    let few = 20;
    let many = 60;
    let count = |batches: usize| {
        let (_console, _sink, place) = world(batches * 1_000, false);
        let trace = place.path("trace");
        place.run_once_under(&["strace", "-f", "-c", "-o", trace.to_str()?], &[]);
        let text = std::fs::read_to_string(trace).ok()?;
        let total = text.lines().find(|line| line.ends_with("total"))?;
        total.split_whitespace().nth(3)?.parse::<f64>().ok()
    };
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    let Some((before, after)) = there.then(|| count(few).zip(count(many))).flatten() else {
        return vec![Row::report(GOAL, "not measured: strace is missing".to_owned(), json!({}))];
    };
    let each = (after - before) / (many - few) as f64;
    vec![Row::report(GOAL, format!("{each:.0}"), json!({ "few": before, "many": after, "each": each }))]
}

/// Forwards `events` activities, `kept`: with the original. Returns what that cost, and the number of requests to the
/// sink.
pub fn catch_up(events: usize, kept: bool) -> (Usage, u64) {
    let (_console, sink, place) = world(events, kept);
    let usage = place.run_once(&[]);
    (usage, sink.taken().0)
}

fn world(events: usize, kept: bool) -> (Console, NullSink, Place) {
    let console = Console::start(events, &[]);
    let sink = NullSink::start("take");
    let place = Place::new();
    let pipeline = pipeline(&console.host(0), HISTORY, &sink.url(), "");
    place.pipeline("acme", &format!("{pipeline}transform: {{ keep_original: {kept} }}\n"));
    (console, sink, place)
}
