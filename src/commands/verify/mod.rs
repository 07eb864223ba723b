//! `verify`: compares the console's counts with the delivered events, or with the events of a destination.

mod destination;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::destination::DestinationArgs;
use super::one_file::{WindowArgs, run_with_progress};
use super::output::{Table, note, print_lines};
use super::{ArgumentError, must_exist, print_line};
use crate::checkpoint::ledger::Accounting;
use crate::record::Stream;
use crate::state::StoreLocation;
use crate::worker::{
    IncompleteHours, RepairLimit, RepairResult, Selected, Verify, VerifyError, VerifyProgress, VerifyReport,
    run_verify, run_verify_destination,
};

/// Interval of the log lines without a terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Compare the console's records with the delivered ones, next to a running worker
///
/// For each hour of creation time, the console's count is compared with the records that a lane accounts for:
/// delivered, filtered, or stored as a dead letter. A difference is confirmed by pulling the hour again. An hour is
/// compared if it is in the lane's ledger, the lane has passed it, and `overlap` is over.
///
/// Exit codes: 0 nothing is missing, or all of it was repaired; 1 records are missing, the comparison failed, or
/// no hour of a lane could be compared yet; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    window: WindowArgs,

    /// A stream of the pipeline file [default: all]
    #[arg(long, value_name = "NAME")]
    stream: Option<Stream>,

    /// A sink of the pipeline file [default: every sink of the stream]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Pull each hour with a difference again, and deliver the records that the ledger does not have
    ///
    /// With --destination: deliver what is not there again, to that sink alone. More than 1,000, or more than one in a
    /// hundred, are delivered only with --repair=N, where N is the number that was reported as missing.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, conflicts_with = "present")]
    repair: Option<Option<u64>>,

    /// With --repair: deliver a whole hour again if the ledger has no identities for it (older than 48 hours)
    #[arg(long, requires = "repair", conflicts_with = "destination")]
    resend: bool,

    #[command(flatten)]
    destination: DestinationArgs,
}

/// Compares, and prints the result on standard output.
///
/// # Errors
/// If the file is invalid, or the state or the console cannot be used.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let selected = Selected {
        pipeline: args.window.load().await?,
        stream: args.stream,
        sink: args.sink.clone(),
        from: args.window.from,
        to: args.window.to,
        once_timeout: args.window.timeout.once_timeout.0,
    };
    let options = args.window.delivery.options()?;
    must_exist(&options.state)?;
    let absent = options.dead_letters().and_then(|location| match location {
        StoreLocation::File(directory) => Some(directory).filter(|directory| !directory.is_dir()),
        _ => None,
    });
    let progress = Arc::new(VerifyProgress::default());
    let stop = CancellationToken::new();
    if args.destination.is_asked() {
        let repair = args.repair.map(|most| most.map_or(RepairLimit::Usual, RepairLimit::Number));
        let verify = args.destination.verify(selected, repair).await?;
        let running = run_verify_destination(verify, options, progress.clone(), stop.clone());
        let Some(reports) = show_progress(running, &progress, &stop).await? else { return Ok(ExitCode::FAILURE) };
        if let Some(directory) = absent.filter(|_| reports.iter().any(|report| report.missing() > 0)) {
            let directory = directory.display();
            note(format!("no dead letters were read: {directory} does not exist; give the worker's --dead-letters"));
        }
        return args.destination.print(&reports, stop.is_cancelled());
    }
    if args.repair.flatten().is_some() {
        return Err(
            ArgumentError("--repair=N is for --destination: without it, --repair has no number".to_owned()).into()
        );
    }
    let verify = Verify { selected, repair: args.repair.is_some(), resend: args.resend };
    let running = run_verify(verify, options, progress.clone(), stop.clone());
    let Some(reports) = show_progress(running, &progress, &stop).await? else { return Ok(ExitCode::FAILURE) };
    print_lines(table(&reports))?;
    for report in &reports {
        if let Some(former) = &report.former {
            print_line(format!(
                "{}: compared with the former ledger, by the settings at that time, {former}",
                report.lane
            ))?;
        }
        let VerifyReport { lane, hours, without_delivered, .. } = report;
        if *without_delivered > 0 && Accounting::of(lane.stream) == Accounting::Records {
            print_line(format!(
                "{lane}: {without_delivered} of {hours} hours are not judged by sums of what was delivered"
            ))?;
        }
        for reason in &report.not_judged {
            print_line(format!("{}: not compared {reason}", report.lane))?;
        }
        for incomplete in &report.incomplete {
            print_difference(report, incomplete)?;
        }
    }
    let compared = reports.iter().any(|report| report.hours > 0) && !reports.iter().any(|report| report.is_too_early);
    if compared {
        print_line(BASIS)?;
    } else if let Some(report) = reports.iter().find(|report| report.is_too_early) {
        print_line(format!("{}: no hour was compared: run `verify` again later", report.lane))?;
    } else {
        print_line("no hour was compared: the window must contain a whole hour that is over and in the ledger")?;
    }
    let is_repaired = |incomplete: &IncompleteHours| matches!(incomplete.repair, RepairResult::Done(_));
    let complete =
        compared && !stop.is_cancelled() && reports.iter().flat_map(|report| &report.incomplete).all(is_repaired);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `None` if the command was interrupted twice.
async fn show_progress<T>(
    running: impl Future<Output = Result<T, VerifyError>>,
    progress: &VerifyProgress,
    stop: &CancellationToken,
) -> anyhow::Result<Option<T>> {
    let mut display = ProgressDisplay::new();
    let Some(result) = run_with_progress(running, stop, || display.show(progress)).await? else { return Ok(None) };
    display.end(progress);
    result.map(Some).map_err(|error| match error {
        VerifyError::NoLane(_) => ArgumentError(error.to_string()).into(),
        error => anyhow::Error::from(error),
    })
}

/// The basis of the result, and what it does not say.
const BASIS: &str = "compared with what the sinks have acknowledged: what a sink did not keep is not missing here";

fn table(reports: &[VerifyReport]) -> Table {
    let header = ["LANE", "HOURS", "CONSOLE", "ACCOUNTED FOR", "DELIVERED", "MISSING", "REPAIRED", "PURGED BY CONSOLE"];
    let mut table = Table::new(&header);
    for report in reports {
        let missing: u64 = report.incomplete.iter().map(|incomplete| incomplete.missing).sum();
        let repaired = |incomplete: &IncompleteHours| match incomplete.repair {
            RepairResult::Done(delivered) => delivered,
            _ => 0,
        };
        let repaired: u64 = report.incomplete.iter().map(repaired).sum();
        let VerifyReport { lane, hours, counted, accounted, delivered, without_delivered, purged, .. } = report;
        let delivered = if *without_delivered > 0 { "-".to_owned() } else { delivered.to_string() };
        let [hours, counted, accounted, missing, repaired, purged] =
            [hours, counted, accounted, &missing, &repaired, purged].map(u64::to_string);
        table.add_row([lane.to_string(), hours, counted, accounted, delivered, missing, repaired, purged]);
    }
    table.align_right(1, header.len() - 1);
    table
}

fn print_difference(report: &VerifyReport, incomplete: &IncompleteHours) -> std::io::Result<()> {
    let IncompleteHours { hours, missing, examples, repair } = incomplete;
    let period = if hours.end.0 - hours.start.0 == 1 { "hour" } else { "day" };
    let outcome = match repair {
        RepairResult::NotRequested => "--repair delivers them".to_owned(),
        RepairResult::Done(delivered) => format!("repaired: {delivered} delivered"),
        RepairResult::NeedsResend => {
            format!(
                "the ledger has no identities for this {period} (it stores them for 48 hours): --repair --resend delivers the whole {period} again"
            )
        }
        RepairResult::Failed(reason) => format!("not repaired: {reason}"),
    };
    print_line(format!("{}: {missing} missing in the {period} from {}; {outcome}", report.lane, hours.start))?;
    for (identity, record) in examples {
        print_line(format!("  record {record}, identity {identity}"))?;
    }
    if !examples.is_empty() && (examples.len() as u64) < *missing {
        print_line("  …")?;
    }
    Ok(())
}

/// A progress bar on a terminal, else log lines.
struct ProgressDisplay {
    bar: Option<ProgressBar>,
    logged: Instant,
}

impl ProgressDisplay {
    fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} hours ETA {eta}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, logged: Instant::now() }
    }

    fn show(&mut self, progress: &VerifyProgress) {
        let done = progress.done.load(Ordering::Relaxed);
        let total = progress.total.load(Ordering::Relaxed);
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.logged.elapsed() >= LOG_EVERY => {
                self.logged = Instant::now();
                info!(hours = done, total, "verify");
            }
            None => {}
        }
    }

    fn end(&mut self, progress: &VerifyProgress) {
        self.show(progress);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
