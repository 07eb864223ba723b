//! `report`: what lanes did in a window, from the state store.

mod csv;
mod html;
mod json;
mod output;
mod rows;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use futures_util::{StreamExt, stream};

use self::output::Output;
use self::rows::{Stored, Window, read};
use super::output::print_json;
use super::process::{FileOptionArgs, time};
use super::{ArgumentError, StateArgs, must_exist, note};
use crate::checkpoint::Store;
use crate::pipeline::{self, instead};
use crate::record::{LaneId, Timestamp};
use crate::state::Access;
use crate::worker::usage_area;

/// Number of lanes that are read concurrently. It is larger for a topic, which is read as a whole each time.
const CONCURRENT_READS: usize = 16;
const CONCURRENT_READS_OF_A_TOPIC: usize = 4_000;

/// Show what each lane delivered in a window: events, bytes, latency, completeness
///
/// It reads the state store, and needs no running worker. A worker stores what its lanes did every 20 minutes, when a
/// lane moves to another worker, and when it is stopped, by the hour of acknowledgement: for three days by the hour,
/// for 400 days by the day (UTC). What is not known is named. An hour or a day counts if all of it is in the window.
///
/// Exit codes: 0 done; 1 a lane cannot be read, or a pipeline is not known; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the pipelines of these files, directories, or kubernetes-resources:[NAMESPACE|*]
    #[arg(value_name = "PATH")]
    paths: Vec<pipeline::Location>,

    /// Start of the window, inclusive: a time (2026-01-31T00:00:00Z), a day in UTC, a period before now (7d), or now
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Timestamp,

    /// End of the window, exclusive, in the same forms
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Timestamp,

    /// Only this pipeline; may be repeated
    #[arg(long = "pipeline", value_name = "NAME")]
    pipelines: Vec<String>,

    /// Output format: csv for spreadsheets, json by docs/report.schema.json, html as one page to print
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    files: FileOptionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    Table,
    Csv,
    Json,
    Html,
}

/// Prints the report on standard output.
///
/// # Errors
/// If the window is empty, a file is invalid, the state cannot be read, or has nothing of a pipeline.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { from, to, format, state, .. } = &args;
    if from >= to {
        return Err(ArgumentError(format!("--from {from} must be before --to {to}")).into());
    }
    must_exist(&state.state)?;
    let of_files = args.pipelines_of_files().await?;
    let store = state.state.open(&state.instance, Access::Read, None).await?;
    let by_commands = state.state.open(&state.instance, Access::Read, Some(usage_area())).await?;
    let mut lanes = list(&*store, &*by_commands).await?;
    let mut is_complete = args.choose(&mut lanes, of_files.as_ref());
    let window = Window { from: *from, to: *to, now: Timestamp::now() };
    let mut output: Box<dyn Output> = match format {
        ReportFormat::Table => Box::new(table::Lines::default()),
        ReportFormat::Csv => Box::new(csv::Csv),
        ReportFormat::Json => Box::new(json::Json::default()),
        ReportFormat::Html => Box::new(html::Page::default()),
    };
    let at_once = if store.reads_single_objects() { CONCURRENT_READS } else { CONCURRENT_READS_OF_A_TOPIC };
    print(*format, output.begin(&window))?;
    let mut reads =
        stream::iter(lanes).map(|(lane, stored)| read(&store, &by_commands, lane, stored, window)).buffered(at_once);
    while let Some(rows) = reads.next().await {
        for mut row in rows {
            row.complete_command(&state.flags());
            if let Some(problem) = &row.problem {
                note(format!("error: {}: {problem}", row.lane()));
                is_complete = false;
            }
            print(*format, output.row(&row))?;
        }
    }
    drop(reads);
    print(*format, output.end(&window))?;
    store.close().await;
    by_commands.close().await;
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(format: ReportFormat, text: String) -> std::io::Result<()> {
    let Some(text) = text.strip_suffix('\n') else { return Ok(()) };
    match format {
        ReportFormat::Table => super::output::print_lines(text),
        // Programs read it.
        ReportFormat::Csv | ReportFormat::Json | ReportFormat::Html => print_json(text),
    }
}

/// Returns the kinds of objects that the state has of each lane.
async fn list(store: &dyn Store, by_commands: &dyn Store) -> anyhow::Result<BTreeMap<LaneId, Stored>> {
    let mut lanes: BTreeMap<LaneId, Stored> = BTreeMap::new();
    for key in store.list_all().await.context("cannot list the state")? {
        lanes.entry(key.lane.clone()).or_default().add(key.part);
    }
    for key in by_commands.list_all().await.context("cannot list what commands did")? {
        lanes.entry(key.lane.clone()).or_default().add_of_command(key.part);
    }
    Ok(lanes)
}

impl Args {
    /// Returns the names of the pipelines in the files given; `None` without files.
    async fn pipelines_of_files(&self) -> anyhow::Result<Option<BTreeSet<String>>> {
        if self.paths.is_empty() {
            return Ok(None);
        }
        let loaded = pipeline::read(&self.paths, &self.files.get()).await;
        loaded.problems.iter().for_each(note);
        if loaded.pipelines.is_empty() {
            return Err(ArgumentError("there is no valid pipeline in the files given".to_owned()).into());
        }
        Ok(Some(loaded.pipelines.iter().map(|pipeline| Arc::clone(pipeline).name.clone()).collect()))
    }

    /// Keeps the lanes that are asked for. False if the state has nothing of a pipeline.
    fn choose(&self, lanes: &mut BTreeMap<LaneId, Stored>, of_files: Option<&BTreeSet<String>>) -> bool {
        let known: BTreeSet<String> = lanes.keys().map(|lane| lane.pipeline.clone()).collect();
        let asked = self.pipelines.iter().chain(of_files.into_iter().flatten().filter(|_| self.pipelines.is_empty()));
        let mut is_complete = true;
        for name in asked.filter(|name| !known.contains(*name)) {
            is_complete = false;
            let instead = instead(name, known.iter().map(String::as_str));
            note(format!("error: the state has nothing of a pipeline `{name}`; {instead}"));
        }
        lanes.retain(|lane, _| {
            let is_named = self.pipelines.is_empty() || self.pipelines.contains(&lane.pipeline);
            is_named && of_files.is_none_or(|names| names.contains(&lane.pipeline))
        });
        if lanes.is_empty() && is_complete {
            note("the state has no lanes");
        }
        is_complete
    }
}
