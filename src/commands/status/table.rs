//! Tables that fit the terminal.

use crate::record::Timestamp;
use crate::server::LaneRow;
use crate::telemetry::HumanDuration;
use crate::visible::visible;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const END: &str = "\x1b[0m";
/// Text between two columns.
const GAP: &str = "  ";
/// Characters of an error: other columns are left out until it has the first number, and it never gets fewer than the
/// second.
const ERROR_WIDTH: (usize, usize) = (40, 12);

/// The width and the colours that a table may use.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Characters of a line; `None` for all columns with whole texts.
    pub width: Option<usize>,
    pub coloured: bool,
}

impl Style {
    pub fn coloured(self, text: &str, is_good: bool) -> String {
        let colour = if is_good { GREEN } else { RED };
        if self.coloured { format!("{colour}{text}{END}") } else { text.to_owned() }
    }
}

#[derive(Debug)]
pub struct Column {
    title: &'static str,
    cells: Vec<String>,
    is_number: bool,
    /// Columns with the largest number are left out first. Columns with 0 are never left out.
    dispensable: u8,
    /// Whether this is the column of errors, which is the last one. It is shortened to the width that the others leave.
    is_error: bool,
}

impl Column {
    /// Creates a column. Its cells may have foreign words, so control characters are made visible.
    pub fn text(title: &'static str, cells: Vec<String>) -> Self {
        let cells = cells.iter().map(|cell| visible(cell).into_owned()).collect();
        Self { title, cells, is_number: false, dispensable: 0, is_error: false }
    }

    pub fn number(title: &'static str, cells: Vec<String>) -> Self {
        Self { is_number: true, ..Self::text(title, cells) }
    }

    fn dispensable(self, dispensable: u8) -> Self {
        Self { dispensable, ..self }
    }

    fn full_width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.fold(self.title.len(), usize::max)
    }

    fn least_width(&self) -> usize {
        let width = self.full_width();
        if self.is_error { width.min(ERROR_WIDTH.0) } else { width }
    }
}

/// Returns the lines of a table. `colour_of` says whether a row is good; its cell in the column `STATE` is coloured.
pub fn render(mut columns: Vec<Column>, style: Style, colour_of: impl Fn(usize) -> Option<bool>) -> String {
    let mut left_out = Vec::new();
    if let Some(width) = style.width {
        let needed = |columns: &[Column]| {
            columns.iter().map(|column| column.least_width() + GAP.len()).sum::<usize>() - GAP.len()
        };
        while needed(&columns) > width {
            let most = columns.iter().map(|column| column.dispensable).max().unwrap_or_default();
            let Some(place) = columns.iter().position(|column| column.dispensable == most && most > 0) else { break };
            left_out.push(columns.remove(place).title);
        }
    }
    let others: usize =
        columns.iter().filter(|column| !column.is_error).map(|column| column.full_width() + GAP.len()).sum();
    let error_width = style.width.map_or(usize::MAX, |width| width.saturating_sub(others).max(ERROR_WIDTH.1));
    let widths: Vec<usize> = columns.iter().map(Column::full_width).collect();
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let mut lines = String::new();
    // The titles are a row too.
    for row in std::iter::once(None).chain((0..rows).map(Some)) {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            let cell = row.and_then(|row| column.cells.get(row)).map_or(column.title, String::as_str);
            let cell = if column.is_error { shortened(cell, error_width) } else { cell.to_owned() };
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            let colour = if column.title == "STATE" { row.and_then(&colour_of) } else { None };
            let text = colour.map_or_else(|| cell.clone(), |is_good| style.coloured(&cell, is_good));
            line += &if column.is_number { blanks + &text } else { text + &blanks };
            line += GAP;
        }
        lines += line.trim_end();
        lines.push('\n');
    }
    if !left_out.is_empty() {
        lines.push_str(&format!("(no room for {}: --wide shows all)\n", left_out.join(", ")));
    }
    lines
}

/// Returns the first characters of a text, in one line.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let first: String = text.chars().take(width.saturating_sub(1)).collect();
    first + "…"
}

/// Returns the table of the lanes, in the order of the list.
pub fn lanes(lanes: &[&LaneRow], now: Timestamp, style: Style) -> String {
    let cells = |of: &dyn Fn(&LaneRow) -> String| -> Vec<String> { lanes.iter().map(|lane| of(lane)).collect() };
    let time = |text: &Option<String>| text.as_deref().and_then(|text| Timestamp::parse(text).ok());
    let failing = cells(&|lane| {
        time(&lane.failing_since).map(|since| HumanDuration(now.since(since)).to_string()).unwrap_or_default()
    });
    let next = cells(&|lane| match time(&lane.next_attempt) {
        Some(next) => format!("in {}", HumanDuration(next.since(now))),
        // A lane that fails may wait for a change of its file, or for a sink.
        None if !lane.up || lane.describe_wait().is_some() || lane.state == "renamed" => "-".to_owned(),
        None => "now".to_owned(),
    });
    let errors = cells(&|lane| lane.error.clone().into_iter().chain(lane.problems()).collect::<Vec<_>>().join("; "));
    let skipped = cells(&|lane| match style.width {
        None => lane.describe_skipped(),
        Some(_) => lane.skipped.values().fold(0_u64, |sum, count| sum.saturating_add(*count)).to_string(),
    });
    let state = |lane: &LaneRow| {
        let state = lane.describe_wait().unwrap_or_else(|| lane.state.replace('_', " "));
        lane.describe_silence(now).map_or_else(|| state.clone(), |silence| format!("{state}, {silence}"))
    };
    let newest = cells(&|lane| {
        time(&lane.newest_record).map_or("-".to_owned(), |newest| format!("{} ago", HumanDuration(now.since(newest))))
    });
    let mut columns = vec![Column::text("LANE", cells(&LaneRow::name)), Column::text("STATE", cells(&state))];
    if failing.iter().any(|text| !text.is_empty()) {
        columns.push(Column::number("FAILING FOR", failing));
    }
    let lag =
        |lane: &LaneRow| lane.lag_seconds.map_or("-".to_owned(), |lag| HumanDuration::of_seconds(lag).to_string());
    columns.push(Column::number("LAG", cells(&lag)).dispensable(2));
    columns.push(Column::number("NEXT", next).dispensable(4));
    if style.width.is_none() {
        columns.push(Column::number("NEWEST RECORD", newest));
        for (day, title) in ["TODAY", "YESTERDAY"].into_iter().enumerate() {
            columns.push(Column::number(title, cells(&|lane| lane.describe_days()[day].clone())));
        }
        columns.push(Column::number("PULLED", cells(&|lane| lane.pulled.to_string())));
    }
    columns.push(Column::number("DELIVERED", cells(&|lane| lane.delivered.to_string())).dispensable(3));
    columns.push(Column::number("SKIPPED", skipped).dispensable(5));
    if style.width.is_none() {
        columns.push(Column::number("REQUEUED", cells(&|lane| lane.requeued.to_string())));
    }
    columns.push(Column::number("DEAD LETTERS", cells(&|lane| lane.shown_dead_letters().to_string())).dispensable(1));
    if lanes.iter().any(|lane| lane.worker.is_some()) {
        columns.push(Column::text("WORKER", cells(&|lane| lane.worker.clone().unwrap_or_default())));
    }
    if errors.iter().any(|error| !error.is_empty()) {
        columns.push(Column { is_error: true, ..Column::text("ERROR", errors) });
    }
    let colour_of = |row: usize| lanes.get(row).filter(|lane| !lane.up || lane.state == "running").map(|lane| lane.up);
    render(columns, style, colour_of)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const WIDE: Style = Style { width: None, coloured: false };

    fn now() -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000)
    }

    pub fn lane(changes: serde_json::Value) -> LaneRow {
        let mut lane = json!({
            "pipeline": "acme", "stream": "activities", "sink": "siem", "state": "running", "up": true, "error": null,
            "last_error": null, "last_success": null, "complete_until": null, "lag_seconds": 86_412.0,
            "next_attempt": now().plus(Duration::from_secs(2_960)).to_string(), "token_expires": null, "pulled": 3,
            "delivered": 2, "skipped": { "duplicate": 1 }, "requeued": 0, "dead_letters": 0, "map_errors": 0,
            "remap_errors": 0, "last_remap_error": null, "delivered_bytes": 0, "pulled_per_second": 0.0,
            "delivered_per_second": 0.0,
        });
        for (key, value) in changes.as_object().unwrap() {
            lane[key] = value.clone();
        }
        serde_json::from_value(lane).unwrap()
    }

    fn failing() -> LaneRow {
        let error = format!("the console answered 403 Forbidden: {}", "no permission ".repeat(20));
        let since = now().minus(Duration::from_mins(11)).to_string();
        lane(json!({ "state": "console_refused", "up": false, "error": error, "failing_since": since }))
    }

    #[test]
    fn a_lane_that_runs_shows_what_its_sink_does_not_keep() {
        let warning = json!({ "time": "2026-11-28T14:00:00Z", "text": "an ingest pipeline drops them" });
        let warned = lane(json!({ "sink_warnings": { "noop": 14, "rerouted": 13 }, "last_sink_warning": warning }));
        let table = lanes(&[&warned, &lane(json!({}))], now(), WIDE);
        let note = "the sink accepted batches with a warning (14 noop, 13 rerouted), last at 2026-11-28T14:00:00Z: an ingest \
                    pipeline drops them";
        assert_eq!(table.matches(note).count(), 1, "{table}");
    }

    #[test]
    fn a_failing_lane_has_no_next_attempt_that_is_not_known() {
        let failed =
            json!({ "state": "misconfigured", "up": false, "error": "a program failed", "next_attempt": null });
        let table = lanes(&[&lane(failed)], now(), WIDE);
        assert!(!table.contains("now") && table.contains(" - "), "{table}");
    }

    #[test]
    fn lines_fit_the_terminal_and_have_no_trailing_blanks() {
        let both = [failing(), lane(json!({}))];
        for width in [80, 100, 140, 200] {
            let table = lanes(&both.each_ref(), now(), Style { width: Some(width), coloured: false });
            for line in table.lines() {
                assert!(line.chars().count() <= width && line.trim_end() == line, "{width}: {table}");
            }
            let row = table.lines().nth(1).unwrap();
            assert!(row.contains("console refused") && row.contains("11 min") && row.contains("403"), "{table}");
            assert!(row.ends_with('…'), "{table}");
        }
        let narrow = lanes(&both.each_ref(), now(), Style { width: Some(80), coloured: false });
        assert!(narrow.contains("(no room for SKIPPED, NEXT,") && narrow.contains("--wide"), "{narrow}");
        let wide = lanes(&both.each_ref(), now(), WIDE);
        assert!(wide.contains(both[0].error.as_deref().unwrap().trim_end()) && wide.contains("REQUEUED"), "{wide}");
        assert!(
            wide.contains("1 d 0 h") && wide.contains("in 49 min") && wide.contains("1 (already delivered)"),
            "{wide}"
        );
    }

    #[test]
    fn a_lane_says_what_it_waits_for() {
        let wait = json!({ "since": now().to_string(), "lanes": 334 });
        let waiting = lane(json!({ "state": "starting", "request_limit_wait": wait, "next_attempt": null }));
        let table = lanes(&[&waiting], now(), WIDE);
        assert!(table.contains("waits for the request limit (334 lanes share it)"), "{table}");
        assert!(!table.contains("starting") && !table.contains("now"), "{table}");
        assert!(!table.contains("ERROR") && !table.contains("FAILING"), "columns without a value: {table}");
        assert!(lanes(&[&lane(json!({ "next_attempt": null }))], now(), WIDE).contains(" now "));
    }

    #[test]
    fn the_state_is_coloured_and_the_rest_stays_in_line() {
        let both = [failing(), lane(json!({}))];
        let plain = lanes(&both.each_ref(), now(), WIDE);
        let coloured = lanes(&both.each_ref(), now(), Style { coloured: true, ..WIDE });
        assert!(coloured.contains("\x1b[31mconsole refused\x1b[0m") && coloured.contains("\x1b[32mrunning\x1b[0m"));
        let uncoloured = [RED, GREEN, END].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(uncoloured, plain);
    }

    #[test]
    fn an_error_cannot_control_the_terminal() {
        let table = lanes(&[&lane(json!({ "up": false, "error": "a\u{1b}[2J\nb" }))], now(), WIDE);
        assert!(table.ends_with("a\\u001b[2J\\u000ab\n"), "{table:?}");
    }
}
