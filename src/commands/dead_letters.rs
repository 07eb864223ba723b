//! `dead-letters`: lists, re-sends or removes events that sinks refused permanently.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::output::{Table, print_json, print_lines};
use super::process::time;
use super::run::Signals;
use super::{ArgumentError, DeliveryArgs, FileArgs, Format, TimeoutArgs, location_of_dead_letters, note, print_line};
use crate::pipeline::{self, Pipeline, Problem};
use crate::record::{LaneId, Stream, Timestamp};
use crate::state::Access;
use crate::state::StoreLocation;
use crate::state::dead_letters::{self, StoredDeadLetter};
use crate::telemetry::without_numbers;
use crate::worker::{DeadLetterFilter, Options, ReplayReport, read_other_files, replay};

/// List, replay or purge dead letters
///
/// A dead letter is an event that a sink refused permanently, stored with the reason. These commands run next to a
/// worker. Only one command at a time can remove dead letters; in Kubernetes several can.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters and the reasons of their refusal
    ///
    /// Exit codes: 0 done; 1 a dead letter cannot be read, or the store; 2 wrong usage.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Count those of one lane, status and reason, with the first and the last time
        ///
        /// Reasons that differ in numbers only are one; the first of them is shown.
        #[arg(long)]
        group: bool,
        /// Output format; with `json`, each line is a dead letter with its event, or a group
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
    /// Send dead letters to their sinks again, and remove the accepted ones
    ///
    /// An event that is refused permanently again becomes a dead letter with the new reason. A sink that refuses
    /// everything ends the replay. After a kill, dead letters may be sent twice, with the same identities; none is
    /// lost.
    ///
    /// Exit codes: 0 every selected dead letter is delivered or refused again; 1 some remain, with the reason; 2 wrong
    /// usage.
    Replay {
        #[command(flatten)]
        files: Box<FileArgs>,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        timeout: TimeoutArgs,
        /// In this replay, keep any number of events of this lane that are refused again
        ///
        /// A replay ends for a lane when its sink refuses ten events in a row, since a wrong setting is likely. Use
        /// this if the events are to blame. Can be given several times.
        #[arg(long, value_name = "PIPELINE/STREAM/SINK")]
        accept_refusals: Vec<LaneId>,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
    /// Remove dead letters without sending them
    Purge {
        #[command(flatten)]
        filter: FilterArgs,
        /// Remove all dead letters; without this flag, at least one filter is required
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Filters")]
struct FilterArgs {
    /// Dead letters of this pipeline; may be repeated
    #[arg(long, value_name = "NAME")]
    pipeline: Vec<String>,
    /// Dead letters of this stream; may be repeated
    #[arg(long, value_name = "NAME")]
    stream: Vec<Stream>,
    /// Dead letters of this sink; may be repeated
    #[arg(long, value_name = "NAME")]
    sink: Vec<String>,
    /// Refused at this time or later, with its zone, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Refused before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Refused with this status, such as 400
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// The reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Maximum of dead letters
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl FilterArgs {
    fn is_empty(&self) -> bool {
        let Self { pipeline, stream, sink, since, until, status, reason, limit } = self;
        pipeline.is_empty()
            && stream.is_empty()
            && sink.is_empty()
            && (since.is_none() && until.is_none())
            && (status.is_none() && reason.is_none() && limit.is_none())
    }

    fn filter(self) -> DeadLetterFilter {
        let Self { pipeline, stream, sink, since, until, status, reason, limit } = self;
        DeadLetterFilter { pipelines: pipeline, streams: stream, sinks: sink, since, until, status, reason, limit }
    }
}

/// Runs the subcommand and prints its result on standard output.
///
/// # Errors
/// If there is no store, it cannot be used, or another command removes dead letters from it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { filter, group: true, format, delivery } => {
            list_groups(&Store::of(&delivery)?, &filter.filter(), format).await
        }
        Command::List { filter, format, delivery, .. } => list(&Store::of(&delivery)?, &filter.filter(), format).await,
        Command::Replay { files, filter, timeout, accept_refusals, delivery } => {
            let store = Store::of(&delivery)?;
            let options = Options { accept_refusals, ..delivery.options()? };
            replay_matching(&files, &store, filter.filter(), options, timeout.once_timeout.0).await
        }
        Command::Purge { filter, all, delivery } => {
            if filter.is_empty() && !all {
                return Err(ArgumentError("select dead letters with a filter, or use --all".to_owned()).into());
            }
            purge(&Store::of(&delivery)?, &filter.filter()).await
        }
    }
}

/// The store of the installation `instance`, next to its state.
struct Store {
    location: StoreLocation,
    instance: String,
    state: StoreLocation,
}

impl Store {
    fn of(delivery: &DeliveryArgs) -> anyhow::Result<Self> {
        let options = delivery.options()?;
        let location = location_of_dead_letters(&options)?;
        // A worker makes the directory with the first dead letter, in a directory that is there.
        if let StoreLocation::File(directory) = &location
            && let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())
        {
            return Err(ArgumentError(format!(
                "there is no directory {} (use --state file:DIR or --dead-letters file:DIR for another)",
                parent.display()
            ))
            .into());
        }
        Ok(Self { location, instance: options.instance, state: options.state })
    }
}

impl Store {
    /// Returns the text of a listing without dead letters. `others` is the number of dead letters that do not match the
    /// filter.
    fn without_dead_letters(&self, others: usize) -> String {
        match &self.location {
            _ if others > 0 => format!("none of the {others} dead letters matches"),
            StoreLocation::File(directory) if !directory.is_dir() => {
                format!("no dead letters: there is no directory {}", directory.display())
            }
            _ => "no dead letters".to_owned(),
        }
    }

    /// Returns the names of the pipelines and sinks of lanes with checkpoints. `None` if the state cannot be read.
    async fn names_of_state(&self) -> Option<Names> {
        let state = self.state.open(&self.instance, Access::Read, None).await.ok()?;
        let mut names = Names::default();
        for key in state.list().await.ok()? {
            names.add(&key.lane.pipeline, &key.lane.sink);
        }
        Some(names)
    }

    /// Checks the names of the filter.
    ///
    /// # Errors
    /// If neither the dead letters nor the state know a name of the filter: it is a typing mistake.
    async fn check_names(&self, filter: &DeadLetterFilter, visited: &Visited) -> anyhow::Result<()> {
        // With a limit, not all of the dead letters were read.
        if visited.is_limited || visited.names.unknown(filter).is_none() {
            return Ok(());
        }
        let Some(mut known) = self.names_of_state().await else { return Ok(()) };
        known.extend(&visited.names);
        let Some(Unknown { kind, name, instead }) = known.unknown(filter) else { return Ok(()) };
        bail!("no {kind} `{name}`: it has no dead letters in {self}, and no checkpoints in {}; {instead}", self.state)
    }

    /// Fails for a name that is unknown to a replay, which sends to the lanes of the files. The remaining dead letters
    /// may have other names.
    async fn check_names_for_replay(&self, filter: &DeadLetterFilter, files: &[Arc<Pipeline>]) -> anyhow::Result<()> {
        let mut names = Names::default();
        for pipeline in files {
            pipeline.sinks.iter().for_each(|sink| names.add(&pipeline.name, sink.name()));
        }
        if names.unknown(filter).is_none() {
            return Ok(());
        }
        let every = DeadLetterFilter { limit: None, ..DeadLetterFilter::default() };
        let mut visited = visit_each(self, &every, |_| Ok(false)).await?;
        visited.names.extend(&names);
        self.check_names(filter, &visited).await
    }
}

/// Names of pipelines and sinks that are known.
#[derive(Debug, Default)]
struct Names {
    pipelines: BTreeSet<String>,
    sinks: BTreeSet<String>,
}

/// A name in a filter that is not among the known ones.
struct Unknown<'a> {
    kind: &'static str,
    name: &'a str,
    /// See [`pipeline::instead`].
    instead: String,
}

impl Names {
    fn add(&mut self, pipeline: &str, sink: &str) {
        for (names, name) in [(&mut self.pipelines, pipeline), (&mut self.sinks, sink)] {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }

    fn extend(&mut self, other: &Self) {
        self.pipelines.extend(other.pipelines.iter().cloned());
        self.sinks.extend(other.sinks.iter().cloned());
    }

    fn unknown<'a>(&self, filter: &'a DeadLetterFilter) -> Option<Unknown<'a>> {
        let kinds = [("pipeline", &filter.pipelines, &self.pipelines), ("sink", &filter.sinks, &self.sinks)];
        kinds.into_iter().find_map(|(kind, named, known)| {
            let name = named.iter().find(|name| !known.contains(*name))?;
            Some(Unknown { kind, name, instead: pipeline::instead(name, known.iter().map(String::as_str)) })
        })
    }
}

/// The counts and names that [`visit_each`] has seen.
#[derive(Debug, Default)]
struct Visited {
    removed: usize,
    unreadable: usize,
    /// Dead letters that do not match the filter.
    others: usize,
    /// The names of all dead letters that were read.
    names: Names,
    /// Whether the limit was reached: there may be more dead letters.
    is_limited: bool,
}

impl Visited {
    fn exit_code(&self) -> ExitCode {
        if self.unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            StoreLocation::File(directory) => directory.display().fmt(formatter),
            other => other.fmt(formatter),
        }
    }
}

/// Calls `visit` with each dead letter that matches `filter`, and removes it if `visit` returns true. A damaged one is
/// reported and skipped.
async fn visit_each(
    store: &Store,
    filter: &DeadLetterFilter,
    mut visit: impl FnMut(StoredDeadLetter) -> anyhow::Result<bool>,
) -> anyhow::Result<Visited> {
    let mut remaining = filter.limit.unwrap_or(usize::MAX);
    let mut visited = Visited::default();
    for mut partition in dead_letters::partitions(&store.location, &store.instance)
        .await
        .with_context(|| format!("cannot read {store}"))?
    {
        let mut accepted = BTreeSet::new();
        while remaining > 0
            && let Some(read) = partition.next().await
        {
            let (number, dead_letter) = match read {
                Ok(numbered) => numbered,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    note(format!("error: {error}"));
                    visited.unreadable += 1;
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read {store}")),
            };
            visited.names.add(&dead_letter.lane.pipeline, &dead_letter.lane.sink);
            if filter.matches(&dead_letter) {
                remaining -= 1;
                if visit(dead_letter)? {
                    accepted.insert(number);
                }
            } else {
                visited.others += 1;
            }
        }
        visited.removed += partition.remove(&accepted).await.with_context(|| format!("cannot change {store}"))?;
    }
    visited.is_limited = remaining == 0;
    Ok(visited)
}

async fn list(store: &Store, filter: &DeadLetterFilter, format: Format) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["REFUSED AT", "LANE", "STATUS", "RECORD", "IDENTITY", "REASON"]);
    let visited = visit_each(store, filter, |dead_letter| {
        if format == Format::Json {
            print_json(&dead_letter.to_json())?;
            return Ok(false);
        }
        let StoredDeadLetter { time, lane, identity, record_id, status, reason, .. } = dead_letter;
        table.add_row([time.to_string(), lane.to_string(), status, record_id, identity.to_string(), reason]);
        Ok(false)
    })
    .await?;
    store.check_names(filter, &visited).await?;
    match format {
        Format::Json => {}
        Format::Table if table.is_empty() => print_line(store.without_dead_letters(visited.others))?,
        Format::Table => print_lines(table)?,
    }
    Ok(visited.exit_code())
}

/// Dead letters of one lane, status and reason.
#[derive(Debug)]
struct Group {
    lane: String,
    status: String,
    /// The reason of the first one.
    reason: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Prints the groups of dead letters, the most frequent first.
async fn list_groups(store: &Store, filter: &DeadLetterFilter, format: Format) -> anyhow::Result<ExitCode> {
    let mut groups: BTreeMap<(String, String, String), Group> = BTreeMap::new();
    let visited =
        visit_each(store, filter, |dead_letter| {
            let StoredDeadLetter { time, lane, status, reason, .. } = dead_letter;
            let lane = lane.to_string();
            let group = groups
                .entry((lane.clone(), status.clone(), without_numbers(&reason)))
                .or_insert_with(|| Group { lane, status, reason, count: 0, first: time, last: time });
            group.count += 1;
            group.first = group.first.min(time);
            group.last = group.last.max(time);
            Ok(false)
        })
        .await?;
    store.check_names(filter, &visited).await?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.count));
    if format == Format::Json {
        for Group { lane, status, reason, count, first, last } in groups {
            let (first, last) = (first.to_string(), last.to_string());
            let group = json!({
                "lane": lane, "status": status, "reason": reason, "count": count, "first": first, "last": last
            });
            print_json(&group.to_string())?;
        }
    } else if groups.is_empty() {
        print_line(store.without_dead_letters(visited.others))?;
    } else {
        let mut table = Table::new(&["LANE", "STATUS", "COUNT", "FIRST", "LAST", "REASON"]);
        for Group { lane, status, reason, count, first, last } in groups {
            table.add_row([lane, status, count.to_string(), first.to_string(), last.to_string(), reason]);
        }
        print_lines(table)?;
    }
    Ok(visited.exit_code())
}

async fn purge(store: &Store, filter: &DeadLetterFilter) -> anyhow::Result<ExitCode> {
    let _lock = dead_letters::lock(&store.location).await.with_context(|| store.to_string())?;
    let visited = visit_each(store, filter, |_| Ok(true)).await?;
    store.check_names(filter, &visited).await?;
    print_line(format!("{} dead letters removed", visited.removed))?;
    Ok(visited.exit_code())
}

async fn replay_matching(
    files: &FileArgs,
    store: &Store,
    filter: DeadLetterFilter,
    options: Options,
    once_timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let loaded = read_other_files(files.locations(), &files.options.get(), &options).await?;
    loaded.problems.iter().for_each(note);
    if loaded.pipelines.is_empty() && loaded.problems.iter().any(Problem::is_error) {
        return Err(ArgumentError("no pipeline file is valid".to_owned()).into());
    }
    store.check_names_for_replay(&filter, &loaded.pipelines).await?;
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let running = replay(&store.location, filter, &loaded.pipelines, options, once_timeout, stop.clone());
    tokio::pin!(running);
    let mut signals_received = 0;
    let report = loop {
        tokio::select! {
            report = &mut running => break report.with_context(|| store.to_string())?,
            () = signals.next() => {
                signals_received += 1;
                stop.cancel();
            }
        }
        if signals_received > 1 {
            return Ok(ExitCode::FAILURE);
        }
    };
    let ReplayReport { delivered, refused, unsettled, dropped, truncated, problems } = report;
    let unsettled = if unsettled > 0 { format!(", {unsettled} not accepted, and kept") } else { String::new() };
    let dropped = if dropped > 0 { format!(", {dropped} dropped by the pipeline") } else { String::new() };
    print_line(format!("{delivered} delivered, {refused} refused again{unsettled}{dropped}"))?;
    if truncated > 0 {
        print_line(format!(
            "{truncated} remain, with truncated records; `backfill` with a larger --memory-budget pulls the records again"
        ))?;
    }
    problems.iter().for_each(note);
    let settled = problems.is_empty() && truncated == 0 && signals_received == 0;
    Ok(if settled { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
