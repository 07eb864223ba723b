//! The report for a terminal.

use std::collections::BTreeMap;

use super::Output;
use super::rows::{Row, Window, bound_text};
use crate::commands::output::Table;

const HEADER: [&str; 11] = [
    "LANE",
    "EVENTS",
    "BYTES",
    "MEDIAN",
    "95 %",
    "99 %",
    "DEAD LETTERS",
    "MIN FAILING",
    "MIN SILENT",
    "COMPLETENESS",
    "KNOWN UNTIL",
];

/// Columns need all rows: a few hundred bytes for each lane.
pub struct Lines {
    table: Table,
    notes: Vec<String>,
    /// Events, bytes and dead letters by sink, of the pipeline whose rows come now.
    totals: BTreeMap<String, Total>,
    pipeline: String,
}

#[derive(Default)]
struct Total {
    rows: u64,
    events: u64,
    bytes: u64,
    dead_letters: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { table: Table::new(&HEADER), notes: Vec::new(), totals: BTreeMap::new(), pipeline: String::new() }
    }
}

impl Lines {
    /// Adds the sums of a pipeline's rows, where a sink has several.
    fn add_totals(&mut self) {
        for (sink, total) in std::mem::take(&mut self.totals) {
            if total.rows > 1 {
                let lane = format!("{}/*/{sink}", self.pipeline);
                let numbers = [total.events, total.bytes].map(|number| number.to_string());
                let dashes = || ["-"; 3].map(str::to_owned);
                let cells = [lane].into_iter().chain(numbers).chain(dashes()).chain([total.dead_letters.to_string()]);
                self.table.add_row(cells.chain(dashes()).chain(["-".to_owned()]));
            }
        }
    }
}

impl Output for Lines {
    fn begin(&mut self, _: &Window) -> String {
        String::new()
    }

    fn row(&mut self, row: &Row) -> String {
        if row.id.pipeline != self.pipeline {
            self.add_totals();
            row.id.pipeline.clone_into(&mut self.pipeline);
        }
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let counts = row.counts();
        let mut cells =
            vec![row.lane(), number(counts.map(|counts| counts.events)), number(counts.map(|counts| counts.bytes))];
        cells.extend(row.percentiles().map(bound_text));
        cells.push(number(counts.map(|counts| counts.dead_letters)));
        cells.push(number(counts.map(|counts| counts.failing_minutes)));
        cells.push(number(counts.map(|counts| counts.silent_minutes)));
        cells.push(row.completeness_text());
        cells.push(row.known.map_or("-".to_owned(), |known| known.1.whole_second().to_string()));
        self.table.add_row(cells);
        if let Some(counts) = counts {
            let total = self.totals.entry(row.id.sink.clone()).or_default();
            total.rows += 1;
            total.events = total.events.saturating_add(counts.events);
            total.bytes = total.bytes.saturating_add(counts.bytes);
            total.dead_letters = total.dead_letters.saturating_add(counts.dead_letters);
        }
        self.notes.extend(row.not_known.iter().map(|part| format!("{}: not known {part}\n", row.lane())));
        String::new()
    }

    fn end(&mut self, window: &Window) -> String {
        self.add_totals();
        if self.table.is_empty() {
            return String::new();
        }
        self.table.align_right(1, 8);
        let window = format!("from {} to {}, by the time of acknowledgement\n", window.from, window.to);
        [window, format!("{}\n", self.table), self.notes.concat()].concat()
    }
}
