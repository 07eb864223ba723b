//! Figures behind two choices of docs/dev/performance.md: the size of batches, and the version of HTTP.

use serde_json::json;

use super::kernel::micros;
use super::tls::Front;
use super::world::{Console, HISTORY, NullSink, Place, pipeline, pipeline_to};
use super::{Row, Size};

/// Events in a batch, from few to many.
pub fn batches(size: Size) -> Vec<Row> {
    let events = size.of(100_000);
    let console = Console::start(events, &[]);
    let row = |batch: &usize| {
        let sink = NullSink::start("take");
        let place = Place::new();
        let batches = format!("    batch: {{ events: {batch}, bytes: 64MiB }}\n");
        place.pipeline("acme", &pipeline(&console.host(0), HISTORY, &sink.url(), &batches));
        forward(&place, events, &format!("batches of {batch} events"), &sink)
    };
    [50, 200, 1_000, 5_000].iter().map(row).collect()
}

/// Console and sink behind TLS, spoken to in one version of HTTP or the other.
pub fn versions(size: Size) -> Vec<Row> {
    let events = size.of(100_000);
    let console = Console::start(events, &[]);
    let row = |version: &str| {
        let sink = NullSink::start("take");
        let place = Place::new();
        let front = Front::start(version, &[console.port, sink.port]);
        let tls = format!("tls: {{ ca_file: {} }}\n", front.authority);
        let [to_console, to_sink] = [0, 1].map(|server| format!("https://127.0.0.1:{}", front.ports[server]));
        let to_sink = format!("type: http\n    url: {to_sink}\n    {tls}");
        place.pipeline("acme", &pipeline_to(&to_console, &format!("  {tls}"), HISTORY, &to_sink));
        forward(&place, events, &format!("console and sink through TLS and {version}"), &sink)
    };
    ["http/1.1", "h2"].map(row).into()
}

fn forward(place: &Place, events: usize, what: &str, sink: &NullSink) -> Row {
    let usage = place.run_once(&[]);
    let (requests, bytes) = sink.taken();
    let user = micros(usage.user, events);
    let system = micros(usage.system, events);
    let length = bytes as f64 / events as f64;
    let figures = json!({ "events": events, "user_us": user, "system_us": system, "requests": requests,
        "wire_bytes": length, "peak_rss": usage.peak_rss });
    let measured = format!("{user:.1} µs an event and {system:.1} in the kernel, {length:.0} bytes of it sent");
    Row::report(what, measured, figures)
}
