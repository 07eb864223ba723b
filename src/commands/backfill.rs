//! `backfill`: pulls a closed window again, next to a running worker.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::one_file::{WindowArgs, run_with_progress};
use super::{ArgumentError, must_exist, note, print_line};
use crate::destinations::SinkSettings;
use crate::record::Stream;
use crate::visible::visible;
use crate::worker::{Backfill, BackfillEnd, BackfillError, BackfillProgress, BackfillReport, Progress, run_backfill};

/// Interval of the log lines without a terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Maximum of incomplete windows in the summary.
const WINDOWS_SHOWN: usize = 5;

/// Pull a closed time window of a stream again, next to a running worker
///
/// The window is divided into slices. They are pulled in parallel within the rate limit and delivered as by a worker.
/// Running lanes and their positions do not change. The progress is stored in the state: after a kill or SIGTERM, the
/// same command continues. At the end, the result is compared with the console's count.
///
/// Exit codes: 0 everything is delivered; 1 a failure, or records are missing (run the same command again); 2 wrong
/// usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    window: WindowArgs,

    /// A stream of the pipeline file
    #[arg(long, value_name = "NAME")]
    stream: Stream,

    /// A sink of the pipeline file [default: every sink of the stream; the window is pulled once for each]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Number of slices that are pulled at the same time
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

/// Pulls the window and prints the result.
///
/// # Errors
/// If the file is invalid, or the state or the console cannot be used.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let backfill = Backfill {
        pipeline: args.window.load().await?,
        stream: args.stream,
        sink: args.sink.clone(),
        from: args.window.from,
        to: args.window.to,
        parallel: usize::from(args.parallel),
        once_timeout: args.window.timeout.once_timeout.0,
    };
    let printed = |sink: &SinkSettings| {
        sink.type_settings.name() == "stdout" && args.sink.as_deref().is_none_or(|name| name == sink.name())
    };
    let quiet = backfill.pipeline.sinks.iter().any(|sink| printed(sink));
    let options = args.window.delivery.options()?;
    if let Err(missing) = must_exist(&options.state) {
        note(format_args!("warning: {missing}; a new state is made, and it knows nothing of what a worker delivered"));
    }
    let progress = Arc::new(BackfillProgress::default());
    let stop = CancellationToken::new();
    let running = run_backfill(backfill, options, progress.clone(), stop.clone());
    let mut display = ProgressDisplay::new();
    let Some(reports) = run_with_progress(running, &stop, || display.show(&progress.progress())).await? else {
        return Ok(ExitCode::FAILURE);
    };
    display.end(&progress.progress());
    let reports = reports.map_err(usage)?;
    for report in &reports {
        // A `stdout` sink writes events to standard output; the result must not be among them.
        if quiet { note(summary(report)) } else { print_line(summary(report))? }
    }
    let complete = reports.iter().all(|report| matches!(report.end, BackfillEnd::Complete { .. }));
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Marks errors that are wrong usage.
fn usage(error: BackfillError) -> anyhow::Error {
    match error {
        BackfillError::NoLane(_) | BackfillError::Future(_) => ArgumentError(error.to_string()).into(),
        error => error.into(),
    }
}

fn summary(report: &BackfillReport) -> String {
    let BackfillReport { sink, window, settled, dead_letters, end } = report;
    let head = format!("{sink}: [{}, {}): {settled} delivered", window.from, window.to);
    let head = if *dead_letters > 0 { format!("{head} ({dead_letters} of them as dead letters)") } else { head };
    match end {
        BackfillEnd::Complete { counted } if counted == settled => {
            format!("{head}; complete: the console counts {counted}")
        }
        BackfillEnd::Complete { counted } => format!(
            "{head}; complete: the console counts {counted} now; some records changed or were removed in the meantime"
        ),
        BackfillEnd::Short { counted, windows } => {
            let shown = windows.iter().take(WINDOWS_SHOWN);
            let parts: Vec<_> = shown.map(|window| format!("[{}, {})", window.from, window.to)).collect();
            let more = if windows.len() > WINDOWS_SHOWN { ", …" } else { "" };
            format!(
                "{head}; NOT complete: the console counts {counted}; records are missing in {}{more}. Run the \
                 same command again to pull these parts",
                parts.join(", ")
            )
        }
        BackfillEnd::Stopped => format!("{head}; stopped. Run the same command again to continue"),
        BackfillEnd::GivenUp(reason) => format!("{head}; given up: {reason}. Run the same command again to continue"),
    }
}

/// A progress bar on a terminal, else log lines.
struct ProgressDisplay {
    bar: Option<ProgressBar>,
    started: Instant,
    logged: Instant,
    has_progress: bool,
}

impl ProgressDisplay {
    fn new() -> Self {
        let now = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{elapsed_precise} {wide_bar} {human_pos}/{human_len} {percent}% {rate} ETA {eta} {msg}",
            );
            // The default format has four decimals.
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate));
            bar
        });
        Self { bar, started: now, logged: now, has_progress: false }
    }

    fn show(&mut self, progress: &Progress) {
        if progress.total == 0 {
            return;
        }
        // Records delivered by earlier runs must not count in the rate of this one.
        let first = !std::mem::replace(&mut self.has_progress, true);
        let Some(bar) = &self.bar else {
            if first || self.logged.elapsed() >= LOG_EVERY {
                self.log(progress);
            }
            return;
        };
        if first {
            bar.set_position(progress.settled_before);
            bar.reset_eta();
            self.started = Instant::now();
        }
        bar.set_length(progress.total);
        bar.set_position(progress.settled);
        bar.set_message(visible(progress.error.as_deref().unwrap_or_default()).into_owned());
    }

    fn log(&mut self, progress: &Progress) {
        self.logged = Instant::now();
        let Progress { total, settled, settled_before, dead_letters, error } = progress;
        let rate = (settled - settled_before) as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left = total.saturating_sub(*settled) as f64;
        let eta = if rate > 0.0 { format!("{}s", (left / rate).ceil()) } else { "unknown".to_owned() };
        let error = error.as_deref().unwrap_or_default();
        info!(delivered = settled, total, rate = format!("{rate:.0}/s"), eta, dead_letters, error, "backfill");
    }

    fn end(&mut self, progress: &Progress) {
        self.show(progress);
        match &self.bar {
            Some(bar) => bar.abandon(),
            None => self.log(progress),
        }
    }
}
