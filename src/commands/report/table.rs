//! The report for a terminal.

use std::collections::BTreeMap;

use super::output::Output;
use super::rows::{Row, Window, at_least, bound_text};
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
    /// Totals by sink, of the pipeline whose rows come now.
    totals: BTreeMap<String, Total>,
    pipeline: String,
}

/// Events, bytes and dead letters. A sum is not known if one of its rows is not.
struct Total {
    rows: u64,
    has_gap: bool,
    sums: [Option<u64>; 3],
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
                let [events, bytes, dead_letters] = total.sums.map(number);
                let events = at_least(events, total.has_gap);
                let dashes = || ["-"; 3].map(str::to_owned);
                let cells = [lane, events, bytes].into_iter().chain(dashes()).chain([dead_letters]);
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
        let counts = row.counts();
        let events = at_least(number(counts.map(|counts| counts.events)), row.has_gap);
        let mut cells = vec![row.lane(), events, number(counts.map(|counts| counts.bytes))];
        cells.extend(row.percentiles().map(bound_text));
        cells.push(number(counts.map(|counts| counts.dead_letters)));
        cells.push(number(counts.map(|counts| counts.failing_minutes)));
        cells.push(number(row.silent_minutes()));
        cells.push(row.completeness_text());
        cells.push(row.known.map_or("-".to_owned(), |known| format!("{:.0}", known.1)));
        self.table.add_row(cells);
        let total =
            self.totals.entry(row.id.sink.clone()).or_insert(Total { rows: 0, has_gap: false, sums: [Some(0); 3] });
        total.rows += 1;
        total.has_gap |= row.has_gap;
        let added = counts.map(|counts| [counts.events, counts.bytes, counts.dead_letters]);
        for (place, sum) in total.sums.iter_mut().enumerate() {
            *sum = sum.zip(added).map(|(sum, added)| sum.saturating_add(added[place]));
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

fn number(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}
