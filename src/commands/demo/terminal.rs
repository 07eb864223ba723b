//! The output of the demo: shortened events, and a table of lanes that a terminal redraws in place.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::record::Timestamp;
use crate::telemetry::LaneMetrics;
use crate::visible::visible_lines;

const MAX_LINES: usize = 36;
const MAX_CHARS: usize = 90;
const MAX_ITEMS: usize = 3;
const MAX_FIELDS: usize = 6;

/// Standard output.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Whether the output is a terminal, and not a file or a pipe.
    is_terminal: bool,
    /// Lines of the table at the bottom of the terminal, which the next drawing replaces.
    table_lines: usize,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), table_lines: 0 }
    }

    /// Returns the interval at which the lanes are drawn.
    pub(super) fn period(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(500) } else { Duration::from_secs(3) }
    }

    /// Prints lines above the table.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.clear_table(&mut out)?;
        writeln!(out, "{}", visible_lines(text))?;
        out.flush()
    }

    /// Prints the lanes: a table on a terminal, else one line per lane.
    pub(super) fn draw(&mut self, lanes: &[Arc<LaneMetrics>], now: Timestamp) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.clear_table(&mut out)?;
        if self.is_terminal {
            let table = table(lanes, now).to_string();
            writeln!(out, "{table}")?;
            self.table_lines = table.lines().count();
        } else {
            lanes.iter().try_for_each(|lane| writeln!(out, "{}", line(lane, now)))?;
        }
        out.flush()
    }

    /// Keeps the table: the next drawing does not replace it.
    pub(super) fn keep(&mut self) {
        self.table_lines = 0;
    }

    fn clear_table(&mut self, out: &mut impl Write) -> io::Result<()> {
        let lines = std::mem::take(&mut self.table_lines);
        if lines > 0 {
            // Moves to the table's first line and clears to the end of the screen.
            write!(out, "\x1b[{lines}F\x1b[J")?;
        }
        Ok(())
    }
}

fn lag(metrics: &LaneMetrics, now: Timestamp) -> String {
    metrics.lag(now).map_or_else(|| "-".to_owned(), |lag| format!("{} s", lag.as_secs()))
}

fn table(lanes: &[Arc<LaneMetrics>], now: Timestamp) -> Table {
    let mut table = Table::new();
    if table.width() == Some(0) {
        // A terminal that does not report its width.
        table.set_width(100);
    }
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "pipeline",
        "stream",
        "sink",
        "state",
        "pulled",
        "delivered",
        "skipped",
        "requeued",
        "dead letters",
        "lag",
    ]);
    for lane in lanes {
        table.add_row([
            lane.id.pipeline.clone(),
            lane.id.stream.to_string(),
            lane.id.sink.clone(),
            lane.state().name().replace('_', " "),
            lane.pull.records.get().to_string(),
            lane.send.delivered.get().to_string(),
            lane.skipped_total().to_string(),
            lane.pull.requeued.get().to_string(),
            lane.send.dead_letters.get().to_string(),
            lag(lane, now),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(metrics: &LaneMetrics, now: Timestamp) -> String {
    format!(
        "{}/{} -> {}: {}, pulled {}, delivered {}, skipped {}, requeued {}, dead letters {}, lag {}",
        metrics.id.pipeline,
        metrics.id.stream,
        metrics.id.sink,
        metrics.state().name().replace('_', " "),
        metrics.pull.records.get(),
        metrics.send.delivered.get(),
        metrics.skipped_total(),
        metrics.pull.requeued.get(),
        metrics.send.dead_letters.get(),
        lag(metrics, now),
    )
}

/// Counts over all lanes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) pulled: u64,
    pub(super) delivered: u64,
    pub(super) skipped: u64,
    pub(super) requeued: u64,
    pub(super) dead_letters: u64,
}

impl Totals {
    pub(super) fn of(lanes: &[Arc<LaneMetrics>]) -> Self {
        lanes.iter().fold(Self::default(), |totals, lane| Self {
            pulled: totals.pulled + lane.pull.records.get(),
            delivered: totals.delivered + lane.send.delivered.get(),
            skipped: totals.skipped + lane.skipped_total(),
            requeued: totals.requeued + lane.pull.requeued.get(),
            dead_letters: totals.dead_letters + lane.send.dead_letters.get(),
        })
    }
}

/// Indents an event, and shortens long texts, lists and inner objects.
pub(super) fn shortened(event: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(event) else { return truncate(event) };
    match &mut value {
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        other => shorten(other),
    }
    let text = format!("{value:#}");
    let lines: Vec<&str> = text.lines().collect();
    match lines.get(..MAX_LINES) {
        Some(first) if lines.len() > MAX_LINES + 1 => {
            format!("{}\n  … {} more lines", first.join("\n"), lines.len() - MAX_LINES)
        }
        _ => text,
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => *text = truncate(text),
        Value::Array(items) => {
            let more = items.len().saturating_sub(MAX_ITEMS);
            items.truncate(MAX_ITEMS);
            items.iter_mut().for_each(shorten);
            if more > 0 {
                items.push(Value::String(format!("… {more} more")));
            }
        }
        Value::Object(fields) => {
            let more: Vec<_> = fields.keys().skip(MAX_FIELDS).cloned().collect();
            for field in &more {
                fields.remove(field);
            }
            fields.values_mut().for_each(shorten);
            if !more.is_empty() {
                fields.insert("…".to_owned(), Value::String(format!("{} more", more.len())));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn truncate(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LaneId, Stream};
    use crate::telemetry::SkipReason;

    #[test]
    fn long_parts_of_an_event_are_shortened() {
        let fields: String = (0..100).map(|field| format!(",\"f{field:03}\":{field}")).collect();
        let event = format!("{{\"@timestamp\":\"now\",\"a\":[1,2,3,4,5],\"b\":\"{}\"{fields}}}", "ä".repeat(500));
        let text = shortened(&event);
        assert_eq!(text.lines().count(), MAX_LINES + 1);
        assert!(text.starts_with("{\n  \"@timestamp\": \"now\",") && text.ends_with("more lines"), "{text}");
        assert!(text.contains("\"… 2 more\"") && text.contains(&format!("\"{}…\"", "ä".repeat(MAX_CHARS))), "{text}");
        assert_eq!(shortened("{\"a\":{\"b\":null}}"), "{\n  \"a\": {\n    \"b\": null\n  }\n}");
        assert_eq!(shortened("no JSON"), "no JSON");
        let nested = shortened("{\"z\":{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8}}");
        assert!(nested.ends_with("\"f\": 6,\n    \"…\": \"2 more\"\n  }\n}"), "{nested}");
    }

    #[test]
    fn lanes_are_shown_with_their_counts() {
        let lane = Arc::new(LaneMetrics::new(&LaneId::new("acme", Stream::Threats, "siem")));
        let now = Timestamp::now();
        lane.pull.records.add(19);
        lane.pull.requeued.add(2);
        lane.send.delivered.add(12);
        lane.skip_records(SkipReason::Duplicate, 3);
        lane.skip_records(SkipReason::Filtered, 1);
        lane.send.dead_letters.add(1);
        lane.set_complete_until(now.minus(Duration::from_secs(7)));
        let lanes = [lane.clone(), lane];
        let line = line(&lanes[0], now);
        assert_eq!(
            line,
            "acme/threats -> siem: starting, pulled 19, delivered 12, skipped 4, requeued 2, dead letters 1, lag 7 s"
        );
        assert!(table(&lanes, now).to_string().contains("acme"));
        assert_eq!(Totals::of(&lanes), Totals { pulled: 38, delivered: 24, skipped: 8, requeued: 4, dead_letters: 2 });
    }
}
