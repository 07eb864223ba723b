//! `state`: shows checkpoints, and changes them while no worker uses them. `state rename` also works next to a worker.

mod transfer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Subcommand;
use tokio::time::{Instant, sleep};

use super::output::{Table, print_lines};
use super::process::{FileOptionArgs, time};
use super::{ArgumentError, StateArgs, must_exist, note, print_line, with_causes};
use crate::checkpoint::{CheckpointKey, StateError, Store, StoredPart, with_lane};
use crate::lane::{LaneCheckpoint, claim_copy};
use crate::pipeline::{self, Problem};
use crate::record::{LaneId, Timestamp};
use crate::settings::Period;
#[cfg(feature = "kubernetes")]
use crate::settings::kubernetes::Kubernetes;
use crate::source::{MAIN_PASS, SnapshotStage};
use crate::state::{Access, process_identity};
use crate::usage::Usage;
use crate::worker::{
    KnownFiles, LaneAnswer, LaneRequest, LaneRequests, Options, check_segments, release_name, rename_checkpoint,
    usage_area,
};

/// A worker answers a request within a second, unless its disk is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_INTERVAL: Duration = Duration::from_millis(200);

/// Show, change, move or remove checkpoints
///
/// A checkpoint stores the progress of a lane, which is one stream of one pipeline to one sink, written
/// PIPELINE/STREAM/SINK. `list` and `show` run next to a worker, and so does `rename` if neither lane runs: a lane that
/// waits as `renamed` continues at once. Stop the worker before other changes of its state. With --state kubernetes:
/// this is not necessary: the lane stops at its next write and continues from the changed checkpoint.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    state: StateArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every lane that has a checkpoint, with its progress
    List,
    /// Show the content of one checkpoint
    Show {
        /// The lane: PIPELINE/STREAM/SINK
        lane: LaneId,
    },
    /// Set a lane to a time: it pulls again everything after it, and nothing before it
    Set {
        /// The lane: PIPELINE/STREAM/SINK
        lane: LaneId,
        /// A time (2026-01-31T00:00:00Z), a day in UTC (2026-01-31), a period before now (7d), or now
        #[arg(long, value_name = "TIME", value_parser = past_time)]
        to: Timestamp,
    },
    /// Rename a checkpoint after its pipeline or sink was renamed
    ///
    /// If a worker uses the state, the worker does it. Neither lane may run then.
    Rename {
        /// The old name: PIPELINE/STREAM/SINK, or PIPELINE for all its lanes
        from: String,
        /// The new name in the same form
        to: String,
    },
    /// Delete a checkpoint: the lane starts at `since` again
    ///
    /// What it delivered from then on is delivered again; what is older is not delivered, if the lane was behind.
    ///
    /// With --orphaned, all checkpoints that belong to no pipeline file: of files that are gone, and of streams and
    /// sinks that a file no longer has. An invalid file keeps all checkpoints of its name.
    Delete {
        /// The lane: PIPELINE/STREAM/SINK, or PIPELINE for all its lanes
        #[arg(required_unless_present = "orphaned")]
        name: Option<String>,
        /// Remove what the lane did, which `report` shows, and not its checkpoint
        #[arg(long)]
        usage: bool,
        #[command(flatten)]
        orphans: Box<Orphans>,
    },
    /// Let another file have the name of a tenant's pipeline
    ///
    /// With `run --tenant-files` the first file that had a name keeps it, also when it is invalid or gone. After this
    /// the next file of that name takes it, with the checkpoints, unless the file that has it runs.
    Release {
        /// The pipeline's name
        pipeline: String,
    },
    /// Write all checkpoints to a file, as a backup or to move them to another store
    ///
    /// The export includes the ledgers and what the lanes did, so `verify` and `report` work with the new store. Stop
    /// the worker before you move its state: events that it delivers after the export are delivered again.
    Export {
        /// The file to write; `-` is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Write the checkpoints of an export into this store
    ///
    /// The whole file is validated before anything is written. A damaged or truncated file, or one of a newer release,
    /// is refused.
    Import {
        /// The file that `state export` wrote; `-` is standard input
        file: PathBuf,
        /// Replace existing checkpoints
        #[arg(long)]
        replace: bool,
    },
}

/// Which checkpoints belong to no file.
#[derive(Debug, clap::Args)]
struct Orphans {
    /// Instead of a name: everything that belongs to no file of --pipelines and is older than --older-than
    #[arg(long, conflicts_with = "name", requires_all = ["older_than", "pipelines"])]
    orphaned: bool,

    /// With --orphaned: only lanes that have come no further than this long ago, such as 90d
    #[arg(long, value_name = "PERIOD", requires = "orphaned")]
    older_than: Option<Period>,

    /// With --orphaned: all pipeline files of all workers with this state
    ///
    /// Files, directories with pipeline files, or kubernetes-resources:[NAMESPACE|*].
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pipelines: Vec<pipeline::Location>,

    #[command(flatten)]
    files: FileOptionArgs,
}

fn past_time(text: &str) -> Result<Timestamp, String> {
    match time(text)? {
        time if time > Timestamp::now() => {
            Err("this is in the future: the lane would skip every record until then".to_owned())
        }
        time => Ok(time),
    }
}

/// Runs the subcommand and prints its result on standard output.
///
/// # Errors
/// If the state is in use or damaged, or the lane has no checkpoint.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let StateArgs { state, instance } = &args.state;
    let creates_state = matches!(args.command, Command::Import { .. });
    if !creates_state {
        must_exist(state)?;
    }
    #[cfg(feature = "kubernetes")]
    if let crate::state::StoreLocation::Kubernetes(namespace) = state {
        let kubernetes = Kubernetes::connect(namespace.as_deref()).await?;
        if !kubernetes.has_namespace().await {
            let namespace = kubernetes.namespace;
            return Err(ArgumentError(format!(
                "there is no namespace {namespace} (use --state kubernetes:NAMESPACE for another)"
            ))
            .into());
        }
    }
    if let Command::Release { pipeline } = &args.command {
        let options = Options { state: state.clone(), instance: instance.clone(), ..Options::default() };
        let released = release_name(&options, pipeline).await?;
        let path = released.with_context(|| format!("no tenant's file has the name `{pipeline}`"))?;
        print_line(format!("{pipeline} was the name of {}, and is free", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // The import is read before the store is opened, which creates the store if it does not exist.
    let import = match &args.command {
        Command::Import { file, .. } => Some(transfer::Import::read(file)?),
        _ => None,
    };
    // Reading needs no lock, so it works next to a running worker.
    let store = match args.command {
        Command::List | Command::Show { .. } => state.open(instance, Access::Read, None).await?,
        _ => match state.open(instance, Access::Write { owner: &process_identity() }, None).await {
            Err(StateError::Locked(directory)) if matches!(args.command, Command::Rename { .. }) => {
                let Command::Rename { from, to } = args.command else {
                    return Err(StateError::Locked(directory).into());
                };
                rename_by_worker(&args.state, &from, &to).await?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(StateError::Locked(_)) if matches!(args.command, Command::Export { .. }) => {
                note("warning: a worker uses this state; the export does not include what it delivers from now on");
                state.open(instance, Access::Read, None).await?
            }
            opened => opened?,
        },
    };
    let done = match (args.command, import) {
        (Command::Import { replace, .. }, Some(import)) => {
            import.write(&*store, &args.state, replace).await.map(|()| ExitCode::SUCCESS)
        }
        (command, _) => manage(command, &*store, &args.state).await,
    };
    store.close().await;
    done
}

async fn manage(command: Command, store: &dyn Store, state: &StateArgs) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => return list(store, state).await,
        Command::Show { lane } => {
            let loaded = load_whole(store, &lane.clone().into()).await;
            show(&lane, &loaded.map_err(|error| anyhow!(explain(&error, &lane, state)))?)?;
        }
        Command::Set { lane, to } => {
            let key: CheckpointKey = lane.into();
            let checkpoint = async { decode(&key, store.claim(&key).await?) }.await;
            let checkpoint = checkpoint.map_err(|error| anyhow!(explain(&error, &key.lane, state)))?;
            restart(store, &key, checkpoint, to).await?;
            print_line(format!("{key} continues from {to}"))?;
        }
        Command::Rename { from, to } => rename(store, state, &from, &to).await?,
        Command::Delete { name: Some(name), usage: true, .. } => {
            let is_named = |lane: &LaneId, _: Option<&[u8]>| lane.pipeline == name || lane.to_string() == name;
            let with_checkpoint: BTreeSet<LaneId> = store.list().await?.into_iter().map(|key| key.lane).collect();
            let found = delete_usage(store, state, is_named, |lane| with_checkpoint.contains(lane)).await?;
            ensure!(found > 0, "it is not stored what a lane `{name}` did");
        }
        Command::Delete { name: Some(name), usage: false, .. } => {
            for lane in lanes_of(store, &name).await? {
                delete(store, &lane.into()).await?;
            }
        }
        Command::Delete { name: None, usage, orphans } => return delete_orphans(store, state, *orphans, usage).await,
        Command::Export { file } => transfer::export(store, state, &file).await?,
        // `run` has done what needs another area of the state, or its input before the store is opened.
        Command::Release { .. } | Command::Import { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn restart(
    store: &dyn Store,
    key: &CheckpointKey,
    mut checkpoint: LaneCheckpoint,
    to: Timestamp,
) -> anyhow::Result<()> {
    checkpoint.restart(to, Timestamp::now());
    store.commit(key, checkpoint.encode().into()).await?;
    Ok(())
}

async fn delete(store: &dyn Store, key: &CheckpointKey) -> anyhow::Result<()> {
    let copy = match claim_copy(store, key).await {
        Err(StateError::Damaged { reason, .. }) => {
            store.delete(key).await?;
            print_line(format!(
                "{key} starts at its `since` again, and delivers again what it delivered from then on: its checkpoint was \
                 damaged ({reason}) and is removed (with `exactly_once`, the lane continues from the checkpoint in its sink)"
            ))?;
            return Ok(());
        }
        copy => copy?,
    };
    print_line(match copy.map(|bytes| LaneCheckpoint::decode(&bytes)) {
        // The lane would continue from the checkpoint in its sink, which only another one in the store replaces.
        Some(Ok(copy)) => {
            let since = copy.since_resolved;
            restart(store, key, copy, since).await?;
            format!("{key} starts at {since} again, and delivers again what it delivered from then on")
        }
        Some(Err(_)) => {
            store.delete(key).await?;
            format!(
                "{key} continues from the checkpoint in its sink: the copy was damaged and is removed (the lane writes \
                 a new one when it starts; then delete that)"
            )
        }
        None => {
            store.delete(key).await?;
            format!("{key} starts at its `since` again, and delivers again what it delivered from then on")
        }
    })?;
    Ok(())
}

/// Removes the counts of these lanes, by the worker and by commands. Returns the number of removed objects.
async fn delete_usage(
    store: &dyn Store,
    StateArgs { state, instance }: &StateArgs,
    goes: impl Fn(&LaneId, Option<&[u8]>) -> bool,
    goes_on: impl Fn(&LaneId) -> bool,
) -> anyhow::Result<usize> {
    let access = Access::Write { owner: &process_identity() };
    let by_commands = state.open(instance, access, Some(usage_area())).await?;
    let mut found = 0;
    for store in [store, &*by_commands] {
        for key in store.list_all().await?.into_iter().filter(|key| key.part.is_usage()) {
            let stored = match store.load(&key).await {
                Ok(None) => continue,
                // A damaged object is removed like the lane's other objects, if the lane is named.
                Err(StateError::Damaged { .. }) => None,
                loaded => loaded?,
            };
            if goes(&key.lane, stored.as_deref()) {
                found += 1;
                store.delete(&key).await?;
                // A lane that goes on has had events today.
                if key.part == StoredPart::Usage && goes_on(&key.lane) {
                    store.claim(&key).await?;
                    store.commit(&key, Usage::removed(Timestamp::now()).encode().into()).await?;
                }
                print_line(format!("{key} is removed"))?;
            }
        }
    }
    by_commands.close().await;
    Ok(found)
}

/// Removes the checkpoints that belong to no file, or the counts of their lanes. Unreadable objects stay.
async fn delete_orphans(
    store: &dyn Store,
    state: &StateArgs,
    orphans: Orphans,
    usage: bool,
) -> anyhow::Result<ExitCode> {
    let Orphans { older_than, pipelines, files, .. } = orphans;
    let loaded = pipeline::read(&pipelines, &files.get()).await;
    // A wrong path would remove everything. Of an invalid file, at least the name is known.
    let is_of_file = |problem: &Problem| loaded.files.iter().any(|file| *file.path == *problem.file);
    if let Some(problem) = loaded.problems.iter().find(|problem| problem.is_error() && !is_of_file(problem)) {
        bail!("nothing was removed, since not all pipeline files can be read: {problem}");
    }
    let files = KnownFiles::of(loaded);
    ensure!(!files.is_empty(), "nothing was removed: --pipelines names no pipeline file");
    let before = Timestamp::now().minus(older_than.map_or(Duration::ZERO, |period| period.0));
    if usage {
        let is_old = |bytes: &[u8]| Usage::decode(bytes).is_ok_and(|usage| usage.until() < Some(before));
        let is_orphaned = |lane: &LaneId, bytes: Option<&[u8]>| !files.has(lane) && bytes.is_some_and(&is_old);
        let removed = delete_usage(store, state, is_orphaned, |_| false).await?;
        print_line(format!("removed what {removed} lanes did"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut removed, mut young, mut unreadable) = (0, 0, 0);
    for key in store.list().await?.into_iter().filter(|key| key.part == StoredPart::Whole && !files.has(&key.lane)) {
        let checkpoint = match store.load(&key).await {
            Ok(None) => continue,
            Ok(Some(bytes)) => LaneCheckpoint::decode(&bytes).map_err(|error| error.to_string()),
            Err(error @ (StateError::Damaged { .. } | StateError::Newer { .. })) => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        match checkpoint {
            Ok(checkpoint) if checkpoint.position.complete_until() < before => {
                store.delete(&key).await?;
                print_line(format!("{key} is removed: it had come to {}", checkpoint.position.complete_until()))?;
                removed += 1;
            }
            Ok(_) => young += 1,
            Err(error) => {
                note(format!("error: {key}: {error}"));
                unreadable += 1;
            }
        }
    }
    print_line(format!("{removed} orphaned checkpoints removed, {young} younger ones stay"))?;
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn load(store: &dyn Store, key: &CheckpointKey) -> anyhow::Result<LaneCheckpoint> {
    decode(key, store.load(key).await?)
}

/// Loads a checkpoint with the entries of its journal.
async fn load_whole(store: &dyn Store, key: &CheckpointKey) -> anyhow::Result<LaneCheckpoint> {
    let mut checkpoint = load(store, key).await?;
    checkpoint.load(store, key).await?;
    Ok(checkpoint)
}

fn decode(key: &CheckpointKey, bytes: Option<Vec<u8>>) -> anyhow::Result<LaneCheckpoint> {
    let bytes = bytes.with_context(|| format!("lane {key} has no checkpoint"))?;
    LaneCheckpoint::decode(&bytes).with_context(|| format!("lane {key}"))
}

/// Returns the text of an error about a lane, with the whole command that corrects it.
fn explain(error: &anyhow::Error, lane: &LaneId, state: &StateArgs) -> String {
    with_lane(with_causes(error), lane, &state.flags())
}

/// Prints a checkpoint in each line. Unreadable ones are reported on standard error, and the exit code is 1.
async fn list(store: &dyn Store, state: &StateArgs) -> anyhow::Result<ExitCode> {
    let mut problems: Vec<(LaneId, anyhow::Error)> = Vec::new();
    let mut table = Table::new(&["LANE", "CLOSED UNTIL", "COMPLETE UNTIL", "CONSOLE"]);
    for key in store.list().await? {
        let name = key.to_string();
        // One damaged checkpoint must not hide the others.
        table.add_row(match load_whole(store, &key).await {
            Ok(LaneCheckpoint { host, position, .. }) => {
                let damaged = check_segments(store, &key.lane).await.err();
                problems.extend(damaged.map(|error| (key.lane, error.into())));
                [name, position.bound().to_string(), position.complete_until().to_string(), host.into()]
            }
            Err(error) => {
                problems.push((key.lane, error));
                [name, "unreadable".to_owned(), String::new(), String::new()]
            }
        });
    }
    if table.is_empty() {
        print_line("no checkpoints")?;
    } else {
        print_lines(table)?;
    }
    for (lane, problem) in &problems {
        note(format_args!("error: {}", explain(problem, lane, state)));
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(lane: &LaneId, checkpoint: &LaneCheckpoint) -> anyhow::Result<()> {
    let LaneCheckpoint { host, scope, since, since_resolved, position, .. } = checkpoint;
    let scope = if scope.is_empty() { "everything that the token can read" } else { scope };
    print_line(format!("lane:            {lane}"))?;
    print_line(format!("console:         {host}"))?;
    print_line(format!("scope:           {scope}"))?;
    print_line(format!("since:           {since} (resolved at the first start: {since_resolved})"))?;
    print_line(format!("closed until:    {} (all before is settled, late records included)", position.bound()))?;
    for (name, pass_position) in position.pass_positions() {
        // The main pass, which finds new records, is shown without a name.
        let of = if name == MAIN_PASS { String::new() } else { format!(" ({name})") };
        print_line(format!("watermark:       {}{of}", pass_position.watermark))?;
        match pass_position.complete {
            Some(complete) => print_line(format!("complete until:  {complete}{of}"))?,
            None => print_line(format!("complete until:  no poll has reached its end{of}"))?,
        }
        if let Some(snapshot) = pass_position.snapshot {
            let stage = match snapshot.stage {
                SnapshotStage::Reading => "being read",
                SnapshotStage::Marking => "read",
                SnapshotStage::Done => "complete",
            };
            print_line(format!("snapshot:        {} {stage}, {} records", snapshot.time, snapshot.settled))?;
        }
    }
    print_line(format!("keys remembered: {}", position.key_count()))?;
    if position.content_count() > 0 {
        print_line(format!("content hashes:  {}", position.content_count()))?;
    }
    print_line(format!("ledger:          records created since {}", checkpoint.ledger.since()))?;
    if let Some(former) = &checkpoint.former {
        let (since, until) = (former.ledger().since(), former.until());
        print_line(format!("former ledger:   records created from {since} to {until}"))?;
    }
    Ok(())
}

/// Returns the lane with this name, or the lanes of the pipeline with this name.
async fn lanes_of(store: &dyn Store, name: &str) -> anyhow::Result<Vec<LaneId>> {
    if name.contains('/') {
        return Ok(vec![name.parse()?]);
    }
    let keys = store.list().await?.into_iter();
    let lanes: Vec<LaneId> = keys.map(|key| key.lane).filter(|lane| lane.pipeline == name).collect();
    ensure!(!lanes.is_empty(), "no lane of a pipeline `{name}` has a checkpoint");
    Ok(lanes)
}

/// Returns each lane whose checkpoint `state rename` renames, and its new name.
async fn new_names(store: &dyn Store, from: &str, to: &str) -> anyhow::Result<Vec<(LaneId, LaneId)>> {
    let is_lane = from.contains('/');
    let mut names = Vec::new();
    for old in lanes_of(store, from).await? {
        let new: LaneId = if is_lane { to.parse()? } else { format!("{to}/{}/{}", old.stream, old.sink).parse()? };
        if old.stream != new.stream {
            return Err(ArgumentError(
                "a checkpoint cannot move to another stream: its times have another meaning there".to_owned(),
            )
            .into());
        }
        names.push((old, new));
    }
    Ok(names)
}

/// Returns the settings of a worker with this state.
fn worker_options(StateArgs { state, instance }: &StateArgs) -> Options {
    Options { state: state.clone(), instance: instance.clone(), ..Options::default() }
}

/// Renames checkpoints. If one lane cannot be renamed, the others still are.
async fn rename(store: &dyn Store, state: &StateArgs, from: &str, to: &str) -> anyhow::Result<()> {
    let options = worker_options(state);
    let mut failures = Vec::new();
    for (old, new) in new_names(store, from, to).await? {
        match rename_checkpoint(store, &options, &old, &new).await {
            Ok(()) => print_line(format!("{old} is now {new}"))?,
            Err(error) => failures.push(format!("{old}: {error}")),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Has the worker that uses the state rename the checkpoints.
async fn rename_by_worker(state: &StateArgs, from: &str, to: &str) -> anyhow::Result<()> {
    let store = state.state.open(&state.instance, Access::Read, None).await?;
    let mut waiting = new_names(&*store, from, to).await?;
    let requests = LaneRequests::open(&worker_options(state)).await?;
    let failures = ask(&requests, &mut waiting).await;
    requests.remove().await?;
    let mut failures = failures?;
    failures.extend(waiting.iter().map(|(old, _)| unanswered(old)));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Says why the request about this lane has no answer.
fn unanswered(lane: &LaneId) -> String {
    format!(
        "{lane}: another process uses this state, and has not answered within {} s: a worker answers, other commands \
         do not; wait until they have ended, or stop the process",
        ANSWER_TIMEOUT.as_secs()
    )
}

/// Asks the worker, and returns the refusals. Lanes without an answer stay in `waiting`.
async fn ask(requests: &LaneRequests, waiting: &mut Vec<(LaneId, LaneId)>) -> anyhow::Result<Vec<String>> {
    for (old, new) in &*waiting {
        requests.put(new, &LaneRequest::Rename(old.clone())).await?;
    }
    let mut failures = Vec::new();
    let asked = Instant::now();
    while !waiting.is_empty() && asked.elapsed() < ANSWER_TIMEOUT {
        sleep(ANSWER_INTERVAL).await;
        let mut unanswered = Vec::new();
        for (old, new) in waiting.drain(..) {
            match requests.answer(&new).await? {
                LaneAnswer::Done => print_line(format!("{old} is now {new}"))?,
                LaneAnswer::Refused(reason) => failures.push(format!("{old}: {reason}")),
                LaneAnswer::Waits => unanswered.push((old, new)),
            }
        }
        *waiting = unanswered;
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::checkpoint::{CheckpointBackend, CheckpointUpdate};

    /// A copy of a checkpoint that a worker keeps writing, so that no other process can claim it.
    #[derive(Debug)]
    struct BusyCopy;

    #[async_trait]
    impl CheckpointBackend for BusyCopy {
        async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
            Ok(Some(vec![0, 5]))
        }

        async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
            Err(StateError::Conflict { key: key.clone(), owner: "a worker".to_owned() })
        }

        async fn commit(&self, _: &CheckpointKey, _: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
            panic!("a copy that is not claimed is not written")
        }
    }

    #[async_trait]
    impl Store for BusyCopy {
        async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
            Ok(Vec::new())
        }

        async fn rename(&self, _: &CheckpointKey, _: &CheckpointKey) -> Result<(), StateError> {
            panic!("nothing is renamed")
        }

        async fn delete(&self, _: &CheckpointKey) -> Result<(), StateError> {
            panic!("the lane would go on from its sink")
        }
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_claimed_is_not_deleted() {
        let error = delete(&BusyCopy, &"acme/activities/bus".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("belongs to a worker now"), "{error}");
    }
}
