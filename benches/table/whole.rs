//! The whole program, with console and sink as processes of their own.

use std::time::Duration;

use s1_forwarder::record::Stream;
use serde_json::json;

use crate::kernel::Usage;
use crate::world::{Console, NullSink, Place, pipeline};
use crate::{Row, Size, parts};

pub fn whole(size: Size) -> Vec<Row> {
    let events = size.of(200_000);
    let parts = parts::measure(Stream::Activities);
    let (usage, requests) = catch_up(events);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
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
    vec![
        Row::goal(
            "console → ECS → gzip → HTTP: user CPU beside the sum of its parts",
            "≤ 1.6",
            measured,
            ratio <= 1.6,
            figures,
        ),
        Row::report("the same: system CPU", system, json!({})),
        Row::report("the same: peak RSS", memory, json!({})),
    ]
}

/// Forwards so many activities, and gives what that cost and the number of requests to the sink.
pub fn catch_up(events: usize) -> (Usage, u64) {
    let console = Console::start(events, &[]);
    let sink = NullSink::start("take");
    let place = Place::new();
    place.pipeline(
        "acme",
        &pipeline(&console.host(0), "activities: { since: 3d, include_hidden: true }", &sink.url(), ""),
    );
    let usage = place.run_once(&[]);
    (usage, sink.taken().0)
}
