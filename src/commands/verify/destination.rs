//! `verify` against the events of a destination.

use std::fs::File;
use std::io::stdin;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::checkpoint::ledger::Hour;
use crate::commands::output::{Table, note, print_json, print_lines};
use crate::commands::{ArgumentError, Format, print_line};
use crate::record::Timestamp;
use crate::worker::{
    DestinationReport, HourRow, IdentityList, LookupSource, RepairLimit, RepairReport, Selected, VerifyDestination,
};

/// More rows of one lane that need no look are one row.
const MAX_ROWS: usize = 3;

#[derive(Debug, clap::Args)]
pub struct DestinationArgs {
    /// Compare with the identities in this file (`-`: standard input), which you asked the destination for
    ///
    /// The first 32 hex digits of each line count; the file may be compressed with gzip. It must have all identities
    /// of the window, and must be as new as it is said to be by its time of change.
    #[arg(long, value_name = "FILE", group = "asked", value_hint = clap::ValueHint::FilePath)]
    present: Option<PathBuf>,

    /// Compare with what the destination has now: it is asked by identity, with the credentials of the sink's `verify`
    #[arg(long, group = "asked", conflicts_with = "present")]
    destination: bool,

    /// With --present or --destination: write every missing identity to this file, with its record, lane and hour
    #[arg(long, value_name = "FILE", requires = "asked", value_hint = clap::ValueHint::FilePath)]
    list: Option<PathBuf>,

    /// With --present or --destination: output format; json has every hour
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "asked")]
    format: Format,
}

impl DestinationArgs {
    pub fn is_asked(&self) -> bool {
        self.present.is_some() || self.destination
    }

    /// Reads what the operator gives.
    ///
    /// # Errors
    /// If a file cannot be read or made, or it is not clear which sink is meant.
    pub async fn verify(&self, selected: Selected, repair: Option<RepairLimit>) -> anyhow::Result<VerifyDestination> {
        let ask = match &self.present {
            Some(present) => given(&selected, present.clone()).await?,
            None => LookupSource::Destination,
        };
        let list = self.list.as_deref().map(|path| File::create(path).with_context(|| path.display().to_string()));
        Ok(VerifyDestination { selected, ask, list: list.transpose()?, repair })
    }

    /// Prints the result. The exit code is 0 if something was compared, and nothing is missing or in doubt.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn print(&self, reports: &[DestinationReport], was_stopped: bool) -> anyhow::Result<ExitCode> {
        let compared: usize = reports.iter().map(|report| report.hours.len()).sum();
        let missing: u64 = reports.iter().map(DestinationReport::missing).sum();
        let is_unseen = reports.iter().any(|report| report.unseen.is_some());
        let is_doubtful = reports.iter().any(|report| report.doubted > 0);
        let repaired: u64 = reports.iter().filter_map(|report| report.returned.as_ref()).map(|it| it.repaired).sum();
        let is_complete = compared > 0 && missing == repaired && !is_unseen && !is_doubtful && !was_stopped;
        let code = if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if self.format == Format::Json {
            #[derive(Serialize)]
            struct Lanes<'a> {
                lanes: &'a [DestinationReport],
            }
            print_json(&serde_json::to_string_pretty(&Lanes { lanes: reports })?)?;
            return Ok(code);
        }
        let table = table(reports);
        if compared > 0 {
            print_lines(table)?;
        }
        reports.iter().try_for_each(print_lane)?;
        if compared == 0 && !is_unseen {
            print_line("no hour was compared: the window must contain a whole hour that the lane is past")?;
        }
        Ok(code)
    }
}

/// Reads what the operator gives.
///
/// # Errors
/// If the file cannot be read, or it is not clear which sink is meant.
async fn given(selected: &Selected, present: PathBuf) -> anyhow::Result<LookupSource> {
    let takes = |stream| selected.stream.is_none_or(|only| only == stream);
    let pulls = &selected.pipeline.pulls;
    let sinks = selected.pipeline.sinks.iter();
    let sinks: Vec<&str> = sinks
        .filter(|sink| pulls.iter().any(|pull| takes(pull.stream) && sink.accepts(pull.stream)))
        .map(|sink| sink.name())
        .collect();
    if selected.sink.is_none() && sinks.len() > 1 {
        let sinks = sinks.join(", ");
        return Err(
            ArgumentError(format!("the identities are from one destination: choose a --sink of {sinks}")).into()
        );
    }
    let given = spawn_blocking(move || read(&present)).await??;
    let IdentityList { other_lines, first_other, .. } = given;
    if other_lines > 0 {
        note(format!(
            "{other_lines} lines do not have the one identity of an event, which has 32 hex digits, or were cut; the \
             first is line {first_other}"
        ));
    }
    if given.distinct() == 0 {
        let problem = "--present: no line has an identity, which has 32 hex digits; decode base64 first";
        return Err(ArgumentError(problem.to_owned()).into());
    }
    Ok(LookupSource::Given(Arc::new(given)))
}

fn read(path: &Path) -> anyhow::Result<IdentityList> {
    if path.as_os_str() == "-" {
        return IdentityList::read("standard input".to_owned(), Timestamp::now(), stdin().lock())
            .context("standard input cannot be read");
    }
    let name = path.display().to_string();
    let open = || {
        let file = File::open(path)?;
        // A pipe has no time of its own.
        let metadata = file.metadata()?;
        let changed = if metadata.is_file() { metadata.modified().ok() } else { None };
        let as_of = changed.map_or_else(Timestamp::now, Timestamp::from);
        IdentityList::read(name.clone(), as_of, file)
    };
    open().with_context(|| format!("{name} cannot be read"))
}

fn table(reports: &[DestinationReport]) -> Table {
    let header = [
        "LANE",
        "HOUR",
        "OWED",
        "ACCOUNTED",
        "AT DESTINATION",
        "MISSING",
        "DUPLICATE",
        "ELSEWHERE",
        "EXCLUDED",
        "DEAD LETTER",
        "GONE",
    ];
    let mut table = Table::new(&header);
    for DestinationReport { lane, hours, .. } in reports {
        let lane = lane.to_string();
        let mut add = |hour: String, row: &HourRow| {
            let HourRow { owed, present, missing, duplicates, elsewhere, excluded, dead_letters, gone, .. } = row;
            let accounted = row.accounted.map_or_else(|| "-".to_owned(), |accounted| accounted.to_string());
            let [owed, rest @ ..] =
                [owed, present, missing, duplicates, elsewhere, excluded, dead_letters, gone].map(u64::to_string);
            table.add_row([lane.clone(), hour, owed, accounted].into_iter().chain(rest));
        };
        let usual: Vec<&HourRow> = hours.values().filter(|row| row.is_usual()).collect();
        let is_folded = usual.len() > MAX_ROWS;
        for (hour, row) in hours.iter().filter(|(_, row)| !(is_folded && row.is_usual())) {
            add(of_hour(*hour), row);
        }
        if is_folded {
            let sum = usual.iter().skip(1).fold(usual[0].clone(), |sum, row| sum.and(row));
            let other = if usual.len() == hours.len() { "" } else { "other " };
            add(format!("{} {other}hours", usual.len()), &sum);
        }
    }
    table.align_right(2, header.len() - 2);
    table
}

/// Returns the hour without seconds and zone, which are the same for all hours.
fn of_hour(hour: Hour) -> String {
    let text = hour.start().to_string();
    text.get(..16).map_or_else(|| text.clone(), |start| start.replace('T', " "))
}

fn print_lane(report: &DestinationReport) -> std::io::Result<()> {
    let DestinationReport { lane, asked, questions, hours, not_judged, unseen, elsewhere, returned, .. } = report;
    let by_sums = hours.values().filter(|row| row.by_sums).count();
    if by_sums > 0 {
        let others = hours.len() - by_sums;
        print_line(format!("{lane}: hours judged by sums: {by_sums}; not judged by sums, but by identity: {others}"))?;
    }
    for (hour, row) in hours.iter().filter(|(_, row)| row.missing > 0) {
        print_line(format!("{lane}: {} not at the destination in the hour from {hour}", row.missing))?;
        for missing in &row.examples {
            print_line(format!("  record {}, identity {}", missing.record, missing.identity))?;
        }
        if (row.examples.len() as u64) < row.missing {
            print_line("  …")?;
        }
    }
    for (place, count) in elsewhere {
        print_line(format!("{lane}: elsewhere: {count} in {place}"))?;
    }
    if let Some(returned) = returned {
        let RepairReport { repaired, not_visible, dead_letters, found_meanwhile, vanished_again, gone, refused } =
            returned;
        print_line(format!("{lane}: repaired: {repaired}"))?;
        for (count, what) in [
            (not_visible, "delivered again, and not to be seen yet"),
            (dead_letters, "became dead letters: the destination refused them"),
            (found_meanwhile, "not delivered: they are there now"),
            (
                vanished_again,
                "not delivered: a repair of the last day has sent them, and they are not there: does the destination \
                 drop them?",
            ),
            (gone, "not delivered: the console no longer shows them in this version"),
        ] {
            if *count > 0 {
                print_line(format!("{lane}: {count} {what}"))?;
            }
        }
        if let Some(reason) = refused {
            print_line(format!("{lane}: not repaired: {reason}"))?;
        }
    }
    if let Some(reason) = unseen {
        print_line(format!("{lane}: unseen, so that nothing is said to be missing: {reason}"))?;
    }
    for reason in not_judged {
        print_line(format!("{lane}: not judged: {reason}"))?;
    }
    if let Some(asked) = asked {
        print_line(format!("{lane}: asked: {asked}; questions: {questions}"))?;
    }
    Ok(())
}
