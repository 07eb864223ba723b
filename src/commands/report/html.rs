//! The report as one page without scripts, for a browser or a printer.

use maud::{DOCTYPE, PreEscaped, html};

use super::output::Output;
use super::rows::{Row, Window, at_least, bound_text};
use crate::visible::visible_lines;

const STYLE: &str = include_str!("style.css");
/// The browser loads nothing and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const COLUMNS: [&str; 13] = [
    "Pipeline",
    "Stream",
    "Sink",
    "Events",
    "Bytes",
    "Median",
    "95 %",
    "99 %",
    "Completeness",
    "Dead letters",
    "Minutes failing",
    "Minutes silent",
    "Known until",
];

#[derive(Default)]
pub struct Page {
    /// The facts that are not known, as list items.
    notes: String,
}

/// Texts of files and stores may have characters that hide others.
fn shown(markup: PreEscaped<String>) -> String {
    visible_lines(&markup.into_string()).into_owned()
}

impl Output for Page {
    fn begin(&mut self, window: &Window) -> String {
        let title = format!("s1-forwarder report, {} to {}", window.from, window.to);
        let head = html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\"><head>"))
            meta charset="utf-8";
            meta name="viewport" content="width=device-width,initial-scale=1";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            title { (title) }
            style { (PreEscaped(STYLE)) }
            (PreEscaped("</head><body>"))
            h1 { "Delivery report" }
            p {
                "From " time { (window.from) } " to " time { (window.to) } ", by the time of acknowledgement, in UTC. Made at "
                time { (window.now) } "."
            }
            (PreEscaped("<table><thead><tr>"))
            @for column in COLUMNS { th scope="col" { (column) } }
            (PreEscaped("</tr></thead><tbody>"))
        };
        shown(head) + "\n"
    }

    fn row(&mut self, row: &Row) -> String {
        let number = |number: Option<u64>| number.map_or("–".to_owned(), grouped);
        let counts = row.counts();
        let [median, p95, p99] = row.percentiles().map(bound_text);
        let numbers = [
            (COLUMNS[3], at_least(number(counts.map(|counts| counts.events)), row.has_gap)),
            (COLUMNS[4], number(counts.map(|counts| counts.bytes))),
            (COLUMNS[5], median),
            (COLUMNS[6], p95),
            (COLUMNS[7], p99),
        ];
        let minutes = [
            (COLUMNS[9], number(counts.map(|counts| counts.dead_letters))),
            (COLUMNS[10], number(counts.map(|counts| counts.failing_minutes))),
            (COLUMNS[11], number(row.silent_minutes())),
        ];
        let known = row.known.map_or("–".to_owned(), |known| format!("{:.0}", known.1));
        let cells = html! {
            tr {
                th scope="row" { (row.id.pipeline) }
                td data-label=(COLUMNS[1]) { (row.id.stream.name()) @if row.is_backfill { " (backfills)" } }
                td data-label=(COLUMNS[2]) { (row.id.sink) }
                @for (label, text) in numbers { td.n data-label=(label) { (text) } }
                td data-label=(COLUMNS[8]) { (row.completeness_text()) }
                @for (label, text) in minutes { td.n data-label=(label) { (text) } }
                td data-label=(COLUMNS[12]) { (known) }
            }
        };
        let problem = row.problem.as_ref().map(|problem| format!("cannot be read: {problem}"));
        for note in row.not_known.iter().map(|part| format!("not known {part}")).chain(problem) {
            self.notes += &shown(html! { li { (row.lane()) ": " (note) } });
            self.notes.push('\n');
        }
        shown(cells) + "\n"
    }

    fn end(&mut self, _: &Window) -> String {
        let notes = PreEscaped(std::mem::take(&mut self.notes));
        let end = html! {
            (PreEscaped("</tbody></table>"))
            @if !notes.0.is_empty() {
                h2 { "What is not known" }
                ul { (notes) }
            }
            p.soft {
                "Bytes are counted before compression and without framing, as destinations count what they ingest. \
                 Latency is the time from a record's own time to the acknowledgement of its event. Compared hours are \
                 those whose records were counted at the console and compared with what the sink acknowledged."
            }
            (PreEscaped("</body></html>"))
        };
        end.into_string() + "\n"
    }
}

/// Returns a number in groups of three digits, with narrow spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_of_digits() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
