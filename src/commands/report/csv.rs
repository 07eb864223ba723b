//! The report for spreadsheets: RFC 4180, one row for each lane.

use super::output::Output;
use super::rows::{Completeness, Row, Window};
use crate::record::Timestamp;
use crate::usage::LatencyBound;

const COLUMNS: &str = "pipeline,stream,sink,row,events,event_bytes,latency_measured,latency_p50_seconds_at_most,\
                       latency_p95_seconds_at_most,latency_p99_seconds_at_most,hours,verified_hours,missing_records,\
                       dead_letters,failing_minutes,silent_minutes,known_from,known_until,not_known";

pub struct Csv;

impl Output for Csv {
    fn begin(&mut self, _: &Window) -> String {
        format!("{COLUMNS}\r\n")
    }

    fn row(&mut self, row: &Row) -> String {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let counts = row.counts();
        let mut cells = vec![
            text(&row.id.pipeline),
            text(row.id.stream.name()),
            text(&row.id.sink),
            text(if row.is_backfill { "backfill" } else { "lane" }),
            number(counts.map(|counts| counts.events)),
            number(counts.map(|counts| counts.bytes)),
            number(counts.map(|counts| counts.latency.measured())),
        ];
        cells.extend(row.percentiles().map(|bound| match bound {
            None => String::new(),
            Some(LatencyBound::UpTo(seconds)) => seconds.to_string(),
            Some(LatencyBound::Over) => text("more than 86400"),
        }));
        let verified = match row.completeness() {
            Completeness::Verified { hours, missing } => [Some(hours), Some(missing)].map(number),
            Completeness::NotVerifiable => [text("not verifiable"), String::new()],
            Completeness::Unknown => Default::default(),
        };
        cells.push(row.hours.to_string());
        cells.extend(verified);
        cells.push(number(counts.map(|counts| counts.dead_letters)));
        cells.push(number(counts.map(|counts| counts.failing_minutes)));
        cells.push(number(row.silent_minutes()));
        cells.push(time(row.known.map(|known| known.0)));
        cells.push(time(row.known.map(|known| known.1)));
        let not_known: Vec<String> = row.not_known.iter().map(ToString::to_string).chain(row.problem.clone()).collect();
        cells.push(text(&not_known.join("; ")));
        cells.join(",") + "\r\n"
    }

    fn end(&mut self, _: &Window) -> String {
        String::new()
    }
}

/// Returns a cell with words. If they begin as a formula does, the cell gets an apostrophe, which spreadsheets do not
/// show.
fn text(words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let guard = if words.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
    format!("\"{guard}{}\"", words.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(text("acme"), "\"acme\"");
        assert_eq!(text("a \"b\", c"), "\"a \"\"b\"\", c\"");
        for word in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(text(word), format!("\"'{word}\""));
        }
    }
}
