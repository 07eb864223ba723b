//! How cost grows: with pipelines, and with records.

use std::time::Duration;

use serde_json::json;

use super::kernel::micros;
use super::{Row, Size, many, whole};

/// Idle lanes, ten times as many each time.
pub fn pipelines(size: Size) -> Vec<Row> {
    let counts = [10, 100, 1_000, 10_000];
    let counts = if size.light { &counts[..3] } else { &counts[..] };
    let row = |lanes: &usize| {
        let idle = many::idle_lanes(*lanes, Duration::from_mins(1));
        let figures = json!({ "lanes": lanes, "rss_mb": idle.rss_mb, "core": idle.core });
        let measured = format!("{:.0} MB, {:.2} % of a core", idle.rss_mb, idle.core * 100.0);
        Row::report(&format!("{lanes} idle pipelines"), measured, figures)
    };
    counts.iter().map(row).collect()
}

/// The whole way, ten times as many records each time.
pub fn records(size: Size) -> Vec<Row> {
    let row = |events: usize| {
        let (usage, _) = whole::catch_up(events, false);
        let each = micros(usage.cpu(), events);
        let figures = json!({ "events": events, "cpu_us": each, "peak_rss": usage.peak_rss });
        let measured = format!("{each:.1} µs of CPU an event, peak {:.0} MB", usage.peak_rss as f64 / 1e6);
        Row::report(&format!("{events} records of one lane"), measured, figures)
    };
    [2_000, 20_000, size.of(200_000).max(40_000)].into_iter().map(row).collect()
}
