//! `dead-letters`: shows, re-sends or removes what sinks refused for good.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use tokio_util::sync::CancellationToken;

use super::process::time;
use super::run::Signals;
use super::{DeliveryArgs, FileArgs, UsageError, say};
use crate::pipeline::{self, Problem};
use crate::record::{Stream, Timestamp};
use crate::settings::Period;
use crate::sink::dead_letters::{Kept, Location};
use crate::worker::{Filter, ReplayReport, replay};

/// Look at dead letters, send them again, or remove them
///
/// A dead letter is an event that a sink refused for good, kept with the reason. All of this works beside a running worker;
/// one command at a time takes letters out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The letters and why they were refused
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// How they are printed; `json` is one letter a line, the event in it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
    /// Send letters to their sinks again, and take out what was taken
    ///
    /// They go through the same code as a lane's events: what is refused for good again becomes a dead letter with the new
    /// reason, and a sink that refuses everything ends the replay. After a kill letters may be sent again, with the same
    /// identities; none is lost.
    ///
    /// Exit codes: 0 every letter named is settled; 1 some stay, and why; 2 wrong usage.
    Replay {
        #[command(flatten)]
        files: FileArgs,
        #[command(flatten)]
        filter: FilterArgs,
        /// Give a sink up that has taken nothing for so long
        #[arg(long, value_name = "PERIOD", default_value = "5m")]
        give_up_after: Period,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
    /// Remove letters for good
    Purge {
        #[command(flatten)]
        filter: FilterArgs,
        /// All of them; without it at least one filter must be given
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        delivery: DeliveryArgs,
    },
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which letters")]
struct FilterArgs {
    /// Of this pipeline; may be given several times
    #[arg(long, value_name = "NAME")]
    pipeline: Vec<String>,
    /// Of this stream; may be given several times
    #[arg(long, value_name = "NAME")]
    stream: Vec<Stream>,
    /// Of this sink; may be given several times
    #[arg(long, value_name = "NAME")]
    sink: Vec<String>,
    /// Refused at this time or later, with its zone, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Refused before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// With this status, such as 400
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// With this text in their reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Not more than so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
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

    fn filter(self) -> Filter {
        let Self { pipeline, stream, sink, since, until, status, reason, limit } = self;
        Filter { pipelines: pipeline, streams: stream, sinks: sink, since, until, status, reason, limit }
    }
}

/// Does it, and prints what was done on standard output.
///
/// # Errors
/// When there is no store, it cannot be used, or another command takes letters out of it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { filter, format, delivery } => {
            list(&location(&delivery)?, &filter.filter(), format).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { files, filter, give_up_after, delivery } => {
            resend(&files, filter.filter(), give_up_after.0, &delivery).await
        }
        Command::Purge { filter, all, delivery } => {
            if filter.is_empty() && !all {
                return Err(UsageError("say which letters with a filter, or --all".to_owned()).into());
            }
            purge(&location(&delivery)?, &filter.filter()).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn location(delivery: &DeliveryArgs) -> anyhow::Result<Location> {
    let told = "with this --state, say where they are: --dead-letters file:DIR, or kafka://BROKERS/TOPIC";
    delivery.options().dead_letters().ok_or_else(|| UsageError(told.to_owned()).into())
}

/// Shows the letters that `filter` names, one by one, and takes out those for which `see` says so; a damaged one is told and does
/// not hide the others. Gives how many were taken out.
async fn each(
    letters: &Location,
    filter: &Filter,
    mut see: impl FnMut(Kept) -> anyhow::Result<bool>,
) -> anyhow::Result<usize> {
    let (mut left, mut removed) = (filter.limit.unwrap_or(usize::MAX), 0);
    for mut drawer in letters.drawers().await.with_context(|| format!("cannot read {letters}"))? {
        let mut taken = BTreeSet::new();
        while left > 0
            && let Some(letter) = drawer.next().await
        {
            let (number, letter) = match letter {
                Ok(letter) => letter,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    eprintln!("error: {error}");
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read {letters}")),
            };
            if filter.takes(&letter) {
                left -= 1;
                if see(letter)? {
                    taken.insert(number);
                }
            }
        }
        removed += drawer.take_out(&taken).await.with_context(|| format!("cannot change {letters}"))?;
    }
    Ok(removed)
}

async fn list(letters: &Location, filter: &Filter, format: Format) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["REFUSED AT", "LANE", "STATUS", "RECORD", "IDENTITY", "REASON"]);
    each(letters, filter, |letter| {
        if format == Format::Json {
            say(letter.to_json())?;
            return Ok(false);
        }
        let Kept { time, pipeline, stream, sink, identity, record_id, status, reason, .. } = letter;
        let lane = format!("{pipeline}/{stream}/{sink}");
        let reason = reason.replace(['\n', '\r'], " ");
        table.add_row([time.to_string(), lane, status, record_id, identity.to_string(), reason]);
        Ok(false)
    })
    .await?;
    match format {
        Format::Json => {}
        Format::Table if table.is_empty() => say("no dead letters")?,
        Format::Table => say(table)?,
    }
    Ok(())
}

async fn purge(letters: &Location, filter: &Filter) -> anyhow::Result<()> {
    let _lock = letters.lock().await.with_context(|| letters.to_string())?;
    let removed = each(letters, filter, |_| Ok(true)).await?;
    Ok(say(format!("{removed} dead letters removed"))?)
}

async fn resend(
    files: &FileArgs,
    filter: Filter,
    patience: Duration,
    delivery: &DeliveryArgs,
) -> anyhow::Result<ExitCode> {
    let letters = location(delivery)?;
    let loaded = pipeline::read(&files.pipelines, files.defaults.as_deref()).await;
    loaded.problems.iter().for_each(|problem| eprintln!("{problem}"));
    if loaded.pipelines.is_empty() && loaded.problems.iter().any(Problem::is_error) {
        return Err(UsageError("no pipeline file is valid".to_owned()).into());
    }
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let running = replay(&letters, filter, &loaded.pipelines, delivery.options(), patience, stop.clone());
    tokio::pin!(running);
    let mut asked = 0;
    let report = loop {
        tokio::select! {
            report = &mut running => break report.with_context(|| letters.to_string())?,
            () = signals.next() => {
                asked += 1;
                stop.cancel();
            }
        }
        if asked > 1 {
            return Ok(ExitCode::FAILURE);
        }
    };
    let ReplayReport { delivered, refused, cut, problems } = report;
    say(format!("{delivered} delivered, {refused} refused again"))?;
    if cut > 0 {
        say(format!(
            "{cut} stay: only the beginning of their records was kept; `backfill` with a larger --memory-budget pulls them"
        ))?;
    }
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    let settled = problems.is_empty() && cut == 0 && asked == 0;
    Ok(if settled { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
