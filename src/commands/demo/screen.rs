//! What the demo prints: events made short, and the table of lanes, redrawn in place on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::record::Timestamp;
use crate::telemetry::LaneMetrics;

const MOST_LINES: usize = 36;
const MOST_LETTERS: usize = 90;
const MOST_ITEMS: usize = 3;
const MOST_FIELDS: usize = 6;

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table that stands at the bottom of the terminal and is drawn over.
    standing: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), standing: 0 }
    }

    /// Time between two drawings of the lanes.
    pub(super) fn period(&self) -> Duration {
        if self.terminal { Duration::from_millis(500) } else { Duration::from_secs(3) }
    }

    /// Lines that stay, above the table.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.wipe(&mut out)?;
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// The lanes as they are now: a table on a terminal, a line for each elsewhere.
    pub(super) fn draw(&mut self, lanes: &[Arc<LaneMetrics>], now: Timestamp) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.wipe(&mut out)?;
        if self.terminal {
            let table = table(lanes, now).to_string();
            writeln!(out, "{table}")?;
            self.standing = table.lines().count();
        } else {
            lanes.iter().try_for_each(|lane| writeln!(out, "{}", line(lane, now)))?;
        }
        out.flush()
    }

    /// The table will not be drawn over any more.
    pub(super) fn keep(&mut self) {
        self.standing = 0;
    }

    fn wipe(&mut self, out: &mut impl Write) -> io::Result<()> {
        let standing = std::mem::take(&mut self.standing);
        if standing > 0 {
            // Up to the table's first line, then clear to the end of the screen.
            write!(out, "\x1b[{standing}F\x1b[J")?;
        }
        Ok(())
    }
}

fn lag(lane: &LaneMetrics, now: Timestamp) -> String {
    lane.lag(now).map_or_else(|| "-".to_owned(), |lag| format!("{} s", lag.as_secs()))
}

fn table(lanes: &[Arc<LaneMetrics>], now: Timestamp) -> Table {
    let mut table = Table::new();
    if table.width() == Some(0) {
        // A terminal that does not know how wide it is.
        table.set_width(100);
    }
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["pipeline", "stream", "sink", "state", "pulled", "delivered", "dropped", "dead letters", "lag"]);
    for lane in lanes {
        table.add_row([
            lane.pipeline.clone(),
            lane.stream.to_string(),
            lane.sink.clone(),
            lane.state().name().replace('_', " "),
            lane.pulled.load(Relaxed).to_string(),
            lane.delivered.load(Relaxed).to_string(),
            lane.dropped_in_all().to_string(),
            lane.dead_letters.load(Relaxed).to_string(),
            lag(lane, now),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(lane: &LaneMetrics, now: Timestamp) -> String {
    format!(
        "{}/{} -> {}: {}, pulled {}, delivered {}, dropped {}, dead letters {}, lag {}",
        lane.pipeline,
        lane.stream,
        lane.sink,
        lane.state().name().replace('_', " "),
        lane.pulled.load(Relaxed),
        lane.delivered.load(Relaxed),
        lane.dropped_in_all(),
        lane.dead_letters.load(Relaxed),
        lag(lane, now),
    )
}

/// All lanes together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) pulled: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) dead_letters: u64,
}

impl Sums {
    pub(super) fn of(lanes: &[Arc<LaneMetrics>]) -> Self {
        lanes.iter().fold(Self::default(), |sums, lane| Self {
            pulled: sums.pulled + lane.pulled.load(Relaxed),
            delivered: sums.delivered + lane.delivered.load(Relaxed),
            dropped: sums.dropped + lane.dropped_in_all(),
            dead_letters: sums.dead_letters + lane.dead_letters.load(Relaxed),
        })
    }
}

/// An event for reading: indented, long texts, lists and inner objects cut.
pub(super) fn shortened(event: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(event) else { return cut(event) };
    match &mut value {
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        other => shorten(other),
    }
    let text = format!("{value:#}");
    let lines: Vec<&str> = text.lines().collect();
    match lines.get(..MOST_LINES) {
        Some(first) if lines.len() > MOST_LINES + 1 => {
            format!("{}\n  … {} more lines", first.join("\n"), lines.len() - MOST_LINES)
        }
        _ => text,
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => *text = cut(text),
        Value::Array(items) => {
            let more = items.len().saturating_sub(MOST_ITEMS);
            items.truncate(MOST_ITEMS);
            items.iter_mut().for_each(shorten);
            if more > 0 {
                items.push(Value::String(format!("… {more} more")));
            }
        }
        Value::Object(fields) => {
            let more: Vec<_> = fields.keys().skip(MOST_FIELDS).cloned().collect();
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

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;
    use crate::telemetry::DropReason;

    #[test]
    fn long_parts_of_an_event_are_cut() {
        let fields: String = (0..100).map(|field| format!(",\"f{field:03}\":{field}")).collect();
        let event = format!("{{\"@timestamp\":\"now\",\"a\":[1,2,3,4,5],\"b\":\"{}\"{fields}}}", "ä".repeat(500));
        let text = shortened(&event);
        assert_eq!(text.lines().count(), MOST_LINES + 1);
        assert!(text.starts_with("{\n  \"@timestamp\": \"now\",") && text.ends_with("more lines"), "{text}");
        assert!(
            text.contains("\"… 2 more\"") && text.contains(&format!("\"{}…\"", "ä".repeat(MOST_LETTERS))),
            "{text}"
        );
        assert_eq!(shortened("{\"a\":{\"b\":null}}"), "{\n  \"a\": {\n    \"b\": null\n  }\n}");
        assert_eq!(shortened("no JSON"), "no JSON");
        let nested = shortened("{\"z\":{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8}}");
        assert!(nested.ends_with("\"f\": 6,\n    \"…\": \"2 more\"\n  }\n}"), "{nested}");
    }

    #[test]
    fn lanes_are_shown_with_their_counts() {
        let lane = Arc::new(LaneMetrics::new("acme", Stream::Threats, "siem"));
        let now = Timestamp::now();
        lane.pulled.fetch_add(17, Relaxed);
        lane.delivered.fetch_add(12, Relaxed);
        lane.drop_events(DropReason::Duplicate, 3);
        lane.drop_events(DropReason::Filtered, 1);
        lane.dead_letters.fetch_add(1, Relaxed);
        lane.set_complete_until(now.minus(Duration::from_secs(7)));
        let lanes = [lane.clone(), lane];
        let line = line(&lanes[0], now);
        assert_eq!(line, "acme/threats -> siem: starting, pulled 17, delivered 12, dropped 4, dead letters 1, lag 7 s");
        assert!(table(&lanes, now).to_string().contains("acme"));
        assert_eq!(Sums::of(&lanes), Sums { pulled: 34, delivered: 24, dropped: 8, dead_letters: 2 });
    }
}
