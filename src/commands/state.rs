//! `state`: looks at checkpoints, and manages them while no worker uses them.

mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{Table, presets};

use super::process::time;
use super::{StateArgs, UsageError, say};
use crate::lane::Standing;
use crate::record::Timestamp;
use crate::source::{Checkpoint, MAIN, Position, Stage};
use crate::state::{LaneId, StateError, Store, process_identity};

/// Look at checkpoints and manage them
///
/// A checkpoint says how far a lane has come: one stream of one pipeline going to one sink, written PIPELINE/STREAM/SINK.
/// `list` and `show` work beside a running worker. To change something, the worker that uses this state must be stopped first; in
/// Kubernetes it need not: its lane stops at the next write and goes on from the change.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    state: StateArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every lane that has a checkpoint, and how far it has come
    List,
    /// All that one checkpoint says
    Show {
        /// The lane: PIPELINE/STREAM/SINK
        lane: LaneId,
    },
    /// Set a lane to a time: it pulls everything from there again, or leaves out what lies before
    Set {
        /// The lane: PIPELINE/STREAM/SINK
        lane: LaneId,
        /// The time with its zone, such as 2026-01-31T00:00:00Z
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: Timestamp,
    },
    /// Move a checkpoint to another name, after a pipeline or a sink was renamed
    Rename {
        /// The lane as it was: PIPELINE/STREAM/SINK, or a pipeline with all its lanes
        from: String,
        /// Its new name, of the same form
        to: String,
    },
    /// Remove a checkpoint: the lane begins at `since` again
    Delete {
        /// The lane: PIPELINE/STREAM/SINK
        lane: LaneId,
    },
    /// Write all checkpoints to a file, to keep them or to take them to another store
    ///
    /// With each goes what its ledger remembers, so that `verify` goes on as well. Stop the worker first when you move: what it
    /// delivers after the export would be delivered again.
    Export {
        /// Where to; `-` is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Put the checkpoints of an export into this store
    ///
    /// All of the file is looked at before anything is written; a damaged or cut one, or one of a newer release, is refused.
    Import {
        /// What `state export` wrote; `-` is standard input
        file: PathBuf,
        /// Put them in the place of checkpoints that are there already
        #[arg(long)]
        replace: bool,
    },
}

/// Does it, and prints what was done on standard output.
///
/// # Errors
/// When the state is in use or damaged, or the lane has no checkpoint.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let StateArgs { state, instance } = &args.state;
    let makes_it = matches!(args.command, Command::Import { .. });
    if let Some(directory) = state.directory().filter(|directory| !makes_it && !directory.is_dir()) {
        return Err(UsageError(format!(
            "there is no directory {} (another can be given with --state file:DIR)",
            directory.display()
        ))
        .into());
    }
    // Looking needs no lock, so that it works beside a running worker.
    let store = match args.command {
        Command::List | Command::Show { .. } => state.look_at(instance).await?,
        _ => match state.open(instance, &process_identity()).await {
            Err(StateError::Locked(_)) if matches!(args.command, Command::Export { .. }) => {
                eprintln!("warning: a worker uses this state: what it delivers from now on is not in the export");
                state.look_at(instance).await?
            }
            opened => opened?,
        },
    };
    let done = manage(args.command, &*store, &args.state).await;
    store.close().await;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn manage(command: Command, store: &dyn Store, state: &StateArgs) -> anyhow::Result<()> {
    match command {
        Command::List => list(store).await?,
        Command::Show { lane } => show(&lane, &load(store, &lane).await?)?,
        Command::Set { lane, to } => {
            let Standing { checkpoint: before, mut ledger } = decode(&lane, store.claim(&lane).await?)?;
            // Going back behind the first start's `since` moves that too: nothing before it is pulled.
            let since_resolved = before.since_resolved.min(to);
            let checkpoint = Checkpoint { position: Position::starting_at(to), since_resolved, ..before };
            // What it comes by again must not be counted twice, and what it leaves out is not missing.
            ledger.begin_anew(to, ledger.asked().to_owned(), ledger.has_journals());
            store.save(&lane, Standing { checkpoint, ledger }.encode()).await?;
            say(format!("{lane} goes on from {to}"))?;
        }
        Command::Rename { from, to } => rename(store, &from, &to).await?,
        Command::Delete { lane } => {
            store.delete(&lane).await?;
            say(format!("{lane} begins at its `since` again"))?;
        }
        Command::Export { file } => transfer::export(store, state, &file).await?,
        Command::Import { file, replace } => transfer::import(store, state, &file, replace).await?,
    }
    Ok(())
}

async fn load(store: &dyn Store, lane: &LaneId) -> anyhow::Result<Standing> {
    decode(lane, store.load(lane).await?)
}

fn decode(lane: &LaneId, bytes: Option<Vec<u8>>) -> anyhow::Result<Standing> {
    let bytes = bytes.with_context(|| format!("lane {lane} has no checkpoint"))?;
    Standing::decode(&bytes).with_context(|| format!("lane {lane}"))
}

async fn list(store: &dyn Store) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["LANE", "NEXT POLL FROM", "COMPLETE UNTIL", "CONSOLE"]);
    for lane in store.list().await? {
        let name = lane.to_string();
        // One damaged checkpoint must not hide the others.
        table.add_row(match load(store, &lane).await {
            Ok(Standing { checkpoint: Checkpoint { host, position, .. }, .. }) => {
                [name, position.bound().to_string(), position.complete_until().to_string(), host]
            }
            Err(error) => [name, format!("{error:#}"), String::new(), String::new()],
        });
    }
    if table.is_empty() {
        say("no checkpoints")?;
    } else {
        say(table)?;
    }
    Ok(())
}

fn show(lane: &LaneId, standing: &Standing) -> anyhow::Result<()> {
    let Checkpoint { host, scope, since, since_resolved, position, .. } = &standing.checkpoint;
    let scope = if scope.is_empty() { "all that the token sees" } else { scope };
    say(format!("lane:            {lane}"))?;
    say(format!("console:         {host}"))?;
    say(format!("scope:           {scope}"))?;
    say(format!("since:           {since} (resolved at the first start: {since_resolved})"))?;
    say(format!("next poll from:  {}", position.bound()))?;
    for (name, track) in position.tracks() {
        // The pass that brings what is new needs no name.
        let of = if name == MAIN { String::new() } else { format!(" ({name})") };
        say(format!("watermark:       {}{of}", track.watermark()))?;
        match track.complete() {
            Some(complete) => say(format!("complete until:  {complete}{of}"))?,
            None => say(format!("complete until:  no poll has reached its end yet{of}"))?,
        }
        if let Some(snapshot) = track.snapshot() {
            let stage = match snapshot.stage {
                Stage::Reading => "being read",
                Stage::Marking => "read",
                Stage::Done => "complete",
            };
            say(format!("snapshot:        {} {stage}, {} records", snapshot.time, snapshot.taken))?;
        }
    }
    say(format!("keys remembered: {}", position.key_count()))?;
    if position.content_count() > 0 {
        say(format!("contents known:  {}", position.content_count()))?;
    }
    say(format!("ledger:          all that was created since {}", standing.ledger.since()))?;
    Ok(())
}

async fn rename(store: &dyn Store, from: &str, to: &str) -> anyhow::Result<()> {
    let pairs: Vec<(LaneId, LaneId)> = if from.contains('/') {
        vec![(from.parse()?, to.parse()?)]
    } else {
        let lanes = store.list().await?.into_iter().filter(|lane| lane.pipeline == from);
        let renamed = |lane: LaneId| {
            let target: LaneId = format!("{to}/{}/{}", lane.stream, lane.sink).parse()?;
            anyhow::Ok((lane, target))
        };
        lanes.map(renamed).collect::<Result<_, _>>()?
    };
    if pairs.is_empty() {
        anyhow::bail!("no lane of a pipeline `{from}` has a checkpoint");
    }
    for (from, to) in pairs {
        if from.stream != to.stream {
            return Err(UsageError(
                "a checkpoint cannot go to another stream: its times mean something else there".to_owned(),
            )
            .into());
        }
        store.rename(&from, &to).await?;
        say(format!("{from} is now {to}"))?;
    }
    Ok(())
}
