//! `backfill`: a closed window pulled again, beside a running worker.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::one_file::{WindowArgs, attend};
use super::{UsageError, say};
use crate::record::Stream;
use crate::sink;
use crate::worker::{Backfill, BackfillEnd, BackfillError, BackfillReport, Books, Progress, run_backfill};

/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Parts that lack records, as many as are named.
const WINDOWS_SHOWN: usize = 5;

/// Pull a closed window of a stream again, beside a running worker
///
/// The window is cut into slices, which are pulled side by side within the rate limit and delivered as a worker would. The
/// live lanes and their positions are not touched. Progress is kept in the state: after a kill, or SIGTERM, the same command
/// goes on where it was. At the end the console's own count says whether everything arrived.
///
/// Exit codes: 0 all is delivered; 1 something failed or is missing (the same command goes on); 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    window: WindowArgs,

    /// The stream, one of those that the file names
    #[arg(long, value_name = "NAME")]
    stream: Stream,

    /// The sink [default: every sink that takes the stream; each pulls for itself]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Slices that are pulled at the same time
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

/// Pulls the window, and tells what came of it.
///
/// # Errors
/// When the file is invalid, or the state or the console cannot be used.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let backfill = Backfill {
        pipeline: args.window.load()?,
        stream: args.stream,
        sink: args.sink.clone(),
        from: args.window.from,
        to: args.window.to,
        parallel: usize::from(args.parallel),
        patience: args.window.give_up_after.0,
    };
    let printed = |sink: &sink::Settings| {
        sink.kind.name() == "stdout" && args.sink.as_deref().is_none_or(|name| name == sink.name())
    };
    let quiet = backfill.pipeline.sinks.iter().any(|sink| printed(sink));
    let (books, stop) = (Arc::new(Books::default()), CancellationToken::new());
    let running = run_backfill(backfill, args.window.delivery.options(), books.clone(), stop.clone());
    let mut screen = Screen::new();
    let Some(reports) = attend(running, &stop, || screen.show(&books.progress())).await? else {
        return Ok(ExitCode::FAILURE);
    };
    screen.end(&books.progress());
    let reports = reports.map_err(usage)?;
    for report in &reports {
        // Standard output belongs to the events where they go there.
        if quiet { eprintln!("{}", told(report)) } else { say(told(report))? }
    }
    let complete = reports.iter().all(|report| matches!(report.end, BackfillEnd::Complete { .. }));
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the parser of flags could not see.
fn usage(error: BackfillError) -> anyhow::Error {
    match error {
        BackfillError::NoLane(_) | BackfillError::Future(_) => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}

/// What came of it, in words.
fn told(report: &BackfillReport) -> String {
    let BackfillReport { sink, window, settled, dead_letters, end } = report;
    let head = format!("{sink}: [{}, {}): {settled} delivered", window.from, window.to);
    let head = if *dead_letters > 0 { format!("{head} ({dead_letters} of them to the dead letters)") } else { head };
    match end {
        BackfillEnd::Complete { counted } if counted == settled => {
            format!("{head}; complete: the console counts {counted}")
        }
        BackfillEnd::Complete { counted } => format!(
            "{head}; complete: the console counts {counted} now, fewer since records changed or were removed meanwhile"
        ),
        BackfillEnd::Short { counted, windows } => {
            let shown = windows.iter().take(WINDOWS_SHOWN);
            let parts: Vec<_> = shown.map(|window| format!("[{}, {})", window.from, window.to)).collect();
            let more = if windows.len() > WINDOWS_SHOWN { ", …" } else { "" };
            format!(
                "{head}; NOT complete: the console counts {counted}; records are missing in {}{more}. The same command \
                 pulls these parts again",
                parts.join(", ")
            )
        }
        BackfillEnd::Stopped => format!("{head}; stopped. The same command goes on from here"),
        BackfillEnd::GivenUp(reason) => format!("{head}; given up: {reason}. The same command goes on from here"),
    }
}

/// A bar on a terminal, lines in the log elsewhere.
struct Screen {
    bar: Option<ProgressBar>,
    begun: Instant,
    logged: Instant,
    started: bool,
}

impl Screen {
    fn new() -> Self {
        let now = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{elapsed_precise} {wide_bar} {human_pos}/{human_len} {percent}% {rate} ETA {eta} {msg}",
            );
            // The library's own has four decimals.
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate));
            bar
        });
        Self { bar, begun: now, logged: now, started: false }
    }

    fn show(&mut self, progress: &Progress) {
        if progress.total == 0 {
            return;
        }
        // What earlier runs delivered says nothing about the rate of this one.
        let first = !std::mem::replace(&mut self.started, true);
        let Some(bar) = &self.bar else {
            if first || self.logged.elapsed() >= LOG_EVERY {
                self.log(progress);
            }
            return;
        };
        if first {
            bar.set_position(progress.before);
            bar.reset_eta();
            self.begun = Instant::now();
        }
        bar.set_length(progress.total);
        bar.set_position(progress.settled);
        bar.set_message(progress.trouble.clone().unwrap_or_default());
    }

    fn log(&mut self, progress: &Progress) {
        self.logged = Instant::now();
        let Progress { total, settled, before, dead_letters, trouble } = progress;
        let rate = (settled - before) as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let left = total.saturating_sub(*settled) as f64;
        let eta = if rate > 0.0 { format!("{}s", (left / rate).ceil()) } else { "unknown".to_owned() };
        let trouble = trouble.as_deref().unwrap_or_default();
        info!(delivered = settled, total, rate = format!("{rate:.0}/s"), eta, dead_letters, trouble, "backfill");
    }

    fn end(&mut self, progress: &Progress) {
        self.show(progress);
        match &self.bar {
            Some(bar) => bar.abandon(),
            None => self.log(progress),
        }
    }
}
