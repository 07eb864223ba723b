//! `status`: prints the lanes of a running worker.

mod groups;
mod table;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use tokio::time::sleep;

use self::groups::Group;
use self::table::{Column, Style};
use super::output::{print_json, print_lines};
use super::worker_args::{RemoteWorker, WorkerArgs};
use super::{ArgumentError, Format, note, print_line};
use crate::pipeline;
use crate::record::Timestamp;
use crate::server::{ClusterRow, FileRow, LaneRow, SourceProblem, Status, Summary};

/// Interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Print the lanes of a running worker, and which worker holds which shards
///
/// Failing lanes come first, and then renamed and silent ones, and those with a warning. Lanes that fail with one cause
/// are one entry, with the whole error; --all and --wide give each lane its row. On a terminal, errors in rows are
/// shortened to its width, and columns without room are left out; NO_COLOR turns colours off. Elsewhere, rows are those
/// of --wide.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this pipeline or lane: PIPELINE or PIPELINE/STREAM/SINK; may be repeated
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    worker: WorkerArgs,

    /// Every lane in a row of its own, and the lanes of all workers that share the pipelines: this one asks the others
    #[arg(long)]
    all: bool,

    /// Only lanes that fail or wait for `state rename`, and files with a problem
    #[arg(long)]
    failing: bool,

    /// Only lanes whose console has fallen silent
    #[arg(long, conflicts_with = "failing")]
    silent: bool,

    /// Only lanes with a warning, with the whole text: duplicates, what a token does not see, clocks, new tokens
    #[arg(long, conflicts_with_all = ["failing", "silent"])]
    warned: bool,

    /// The same as NAME
    #[arg(long = "pipeline", value_name = "NAME")]
    pipelines: Vec<String>,

    /// All columns and whole errors, however narrow the terminal is
    #[arg(long)]
    wide: bool,

    /// Print again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Output format; json has the fields of /api/v1/lanes
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Numbers of lanes.
#[derive(Debug, Clone, Copy)]
struct Sums {
    lanes: usize,
    up: usize,
    /// Lanes that are up and wait for a rename.
    renamed: usize,
    silent: usize,
    /// Lanes without a complete poll yet.
    unpolled: usize,
    /// See [`crate::server::LaneRow::warnings`].
    warned: usize,
}

/// Runs `status`. Standard error reports a worker that does not answer this one, and a name that no pipeline has. The
/// exit code is 1 then.
///
/// # Errors
/// If no worker responds at the address.
pub async fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let Args { names, pipelines, .. } = &mut args;
    names.append(pipelines);
    if let Some(url) = names.iter().find(|name| name.contains("://")) {
        return Err(ArgumentError(format!(
            "{url} is no name of a pipeline or lane: give the address of a worker as --url {url}"
        ))
        .into());
    }
    let worker = args.worker.connect()?;
    loop {
        let mut status = args.request(&worker).await?;
        let unknown = unknown_names(&args.names, &status);
        let sums = args.filter(&mut status);
        match args.format {
            Format::Json => print_json(&serde_json::to_string_pretty(&status)?)?,
            Format::Table => args.print_tables(&status, sums, &unknown)?,
        }
        unknown.iter().for_each(note);
        if !args.watch {
            let is_complete = status.workers.iter().all(|answer| answer.problem.is_none());
            return Ok(if is_complete && unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        sleep(WATCH_INTERVAL).await;
        // The reader of a pipe may have gone.
        if writeln!(stdout()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

impl Args {
    fn is_filtered(&self) -> bool {
        self.failing || self.silent || self.warned || !self.names.is_empty()
    }

    async fn request(&self, worker: &RemoteWorker) -> anyhow::Result<Status> {
        let workers = if self.all { "all" } else { "this" };
        // The sums over some pipelines need all of their lanes.
        let state = match self.names.is_empty() {
            true if self.failing => "failing",
            true if self.silent => "silent",
            true if self.warned => "warned",
            _ => "",
        };
        worker.lanes(&format!("workers={workers}&state={state}")).await
    }

    /// Filters and sorts the lanes: failing lanes come first in a table. Returns the sums over the wanted pipelines.
    fn filter(&self, status: &mut Status) -> Sums {
        status.lanes.retain(|lane| self.names.is_empty() || self.names.iter().any(|name| lane.is_called(name)));
        let sums = if self.names.is_empty() {
            let Summary { lanes, up, silent, unpolled, warned, .. } = status.summary;
            Sums { lanes, up, renamed: status.summary.renamed(), silent, unpolled, warned }
        } else {
            let up = status.lanes.iter().filter(|lane| lane.up);
            let renamed = up.clone().filter(|lane| lane.needs_attention()).count();
            let silent = status.lanes.iter().filter(|lane| lane.silent == Some(true)).count();
            let unpolled = status.lanes.iter().filter(|lane| lane.unpolled).count();
            let warned = status.lanes.iter().filter(|lane| !lane.warnings.is_empty()).count();
            Sums { lanes: status.lanes.len(), up: up.count(), renamed, silent, unpolled, warned }
        };
        status.lanes.retain(|lane| !self.failing || lane.needs_attention());
        status.lanes.retain(|lane| !self.silent || lane.silent == Some(true));
        status.lanes.retain(|lane| !self.warned || !lane.warnings.is_empty());
        if let Format::Table = self.format {
            status.lanes.sort_by_key(|lane| Reverse(lane.urgency()));
        }
        status.matching = status.lanes.len();
        let is_wanted = |file: &FileRow| self.names.is_empty() || self.names.contains(&file.pipeline);
        let is_filtered = self.failing || self.silent || self.warned;
        status.files.retain(|file| is_wanted(file) && (!is_filtered || file.problem.is_some()));
        sums
    }

    /// Fits the terminal, unless standard output is none.
    fn style(&self) -> Style {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if self.wide { None } else { Table::new().width().map(usize::from) };
        Style { width, coloured: stdout().is_terminal() && !is_plain }
    }

    fn print_tables(&self, status: &Status, sums: Sums, unknown: &[String]) -> anyhow::Result<()> {
        let style = self.style();
        // The table of the workers counts all pipelines.
        if let Some(cluster) = status.cluster.as_ref()
            && !self.is_filtered()
        {
            print_lines(table::render(workers(cluster, &status.files), Style { width: None, ..style }, |_| None))?;
        }
        if !status.lanes.is_empty() {
            // Another machine's clock may differ from the worker's.
            let now = Timestamp::parse(&status.time).unwrap_or_else(|_| Timestamp::now());
            let (groups, rows) = self.group(&status.lanes);
            if !groups.is_empty() {
                print_lines(groups::render(&groups, now, style).trim_end())?;
            }
            if !rows.is_empty() {
                if !groups.is_empty() {
                    print_line("")?;
                }
                print_lines(table::lanes(&rows, now, style).trim_end())?;
            }
        } else if unknown.len() < self.names.len() || self.names.is_empty() {
            print_line(self.explain_no_lanes(status, sums))?;
        }
        if sums.lanes > 0 {
            let failing = sums.lanes.saturating_sub(sums.up);
            let failing = style.coloured(&format!("{failing} failing"), failing == 0);
            let renamed = counted(sums.renamed, "renamed (each says what to do)");
            let silent = counted(sums.silent, "silent");
            // This number says of how many lanes it is not known whether they are silent.
            let unpolled = counted(if self.silent { sums.unpolled } else { 0 }, "not polled to the end yet");
            let shown = if self.warned { "" } else { " (--warned shows them)" };
            let warned = counted(sums.warned, &format!("with a warning{shown}"));
            let up = sums.up - sums.renamed.min(sums.up);
            print_lines(format!("{up} up, {failing}{renamed}{silent}{warned}{unpolled}"))?;
        }
        // A pipeline that does not run has no lane that fails.
        if let Some(text) = status.describe_files() {
            print_line(style.coloured(&text, false))?;
        }
        for answer in &status.workers {
            if let Some(problem) = &answer.problem {
                let address = answer.address.as_deref().unwrap_or("no address");
                note(format!("no answer from {} ({address}): {problem}; its lanes are missing", answer.worker));
            }
        }
        for SourceProblem { place, problem } in &status.source_problems {
            print_line("")?;
            print_line(format!("{place}: {problem}"))?;
        }
        for file in status.files.iter().filter(|file| file.problem.is_some()) {
            print_line("")?;
            let (_, consequence) = file.consequence();
            let problem = file.problem.as_deref().unwrap_or_default();
            print_line(format!("{} ({}): {problem}{consequence}", file.file, file.state))?;
        }
        Ok(())
    }

    /// Returns the lanes that fail with one cause, and the others, which get a row each.
    fn group<'a>(&self, lanes: &'a [LaneRow]) -> (Vec<Group<'a>>, Vec<&'a LaneRow>) {
        if self.all || self.wide {
            return (Vec::new(), lanes.iter().collect());
        }
        // A table has no room for a whole text.
        let least = if self.failing || self.warned { 1 } else { 2 };
        groups::of(lanes, least)
    }

    fn explain_no_lanes(&self, status: &Status, sums: Sums) -> String {
        let in_state = |state: &str| status.files.iter().filter(|file| file.state == state).count();
        match (self.names.is_empty(), self.failing) {
            _ if self.silent && sums.unpolled > 0 => "no lane is known to be silent".to_owned(),
            _ if self.silent && sums.lanes > 0 => "no lane is silent".to_owned(),
            _ if self.warned && sums.lanes > 0 => "no lane has a warning".to_owned(),
            (_, true) => "no lane is failing".to_owned(),
            (false, false) if in_state("elsewhere") > 0 => {
                format!("no lane of {} runs in this worker; --all asks the others too", self.names.join(", "))
            }
            (false, false) if in_state("paused") > 0 => {
                format!("no lane of {} runs: paused by its file", self.names.join(", "))
            }
            (false, false) => format!("no lane of {} runs", self.names.join(", ")),
            (true, false) if in_state("paused") > 0 => {
                format!("no lane runs in this worker; {} pipelines are paused", in_state("paused"))
            }
            (true, false) => "no lane runs in this worker".to_owned(),
        }
    }
}

/// Returns a problem for each name that no pipeline and no lane has.
pub(super) fn unknown_names(names: &[String], status: &Status) -> Vec<String> {
    let files = status.files.iter().map(|file| file.pipeline.clone());
    let known: BTreeSet<String> = files.chain(status.lanes.iter().map(|lane| lane.pipeline.clone())).collect();
    let lanes = || status.lanes.iter().map(LaneRow::name).collect::<BTreeSet<String>>();
    let problem = |name: &String| {
        if name.contains('/') {
            let lanes = lanes();
            let instead = || pipeline::instead(name, lanes.iter().map(String::as_str));
            return (!lanes.contains(name)).then(|| format!("the worker runs no lane `{name}`; {}", instead()));
        }
        let instead = || pipeline::instead(name, known.iter().map(String::as_str));
        (!known.contains(name)).then(|| format!("the worker knows no pipeline `{name}`; {}", instead()))
    };
    names.iter().filter_map(problem).collect()
}

/// Returns a number of lanes in the last line, or nothing if there are none.
fn counted(lanes: usize, what: &str) -> String {
    if lanes == 0 { String::new() } else { format!(", {lanes} {what}") }
}

fn workers(cluster: &ClusterRow, files: &[FileRow]) -> Vec<Column> {
    let pipelines = cluster.workers.values().map(|shards| {
        files.iter().filter(|file| file.shard.is_some_and(|shard| shards.contains(&shard))).count().to_string()
    });
    let names = cluster.workers.keys().map(|name| {
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        format!("{name}{here}")
    });
    let numbers = cluster.workers.values().map(|shards| {
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        numbers.join(" ")
    });
    vec![
        Column::text("WORKER", names.collect()),
        Column::number("SHARDS", cluster.workers.values().map(|shards| shards.len().to_string()).collect()),
        Column::number("PIPELINES", pipelines.collect()),
        Column::text("SHARD NUMBERS", numbers.collect()),
    ]
}
