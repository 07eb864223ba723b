//! `verify`: is anything missing?

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::one_file::{WindowArgs, attend};
use super::{UsageError, say};
use crate::record::Stream;
use crate::worker::{Audited, Differing, Repair, Verify, VerifyError, VerifyReport, run_verify};

const LOG_EVERY: Duration = Duration::from_secs(10);

/// Compare what a console has with what was delivered, beside a running worker
///
/// Hour by hour, by the time of creation, the console's count is compared with what each lane accounts for: delivered,
/// filtered, dropped or kept as a dead letter. A difference is confirmed by pulling the hour. Whole hours are judged that the
/// lane's ledger knows of, that the lane is past, and that are closed by `overlap`.
///
/// Exit codes: 0 nothing is missing (or all of it was repaired); 1 something is missing, or the comparison failed; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    window: WindowArgs,

    /// The stream [default: all of the file]
    #[arg(long, value_name = "NAME")]
    stream: Option<Stream>,

    /// The sink [default: all that take the stream]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Pull an hour that differs again, and deliver what the ledger lacks
    #[arg(long)]
    repair: bool,

    /// With --repair: where the ledger remembers no identities (older than 48 hours), deliver the whole hour again
    #[arg(long, requires = "repair")]
    resend: bool,
}

/// Compares, and prints what came of it on standard output.
///
/// # Errors
/// When the file is invalid, or the state or the console cannot be used.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let verify = Verify {
        pipeline: args.window.load()?,
        stream: args.stream,
        sink: args.sink.clone(),
        from: args.window.from,
        to: args.window.to,
        repair: args.repair,
        resend: args.resend,
        patience: args.window.give_up_after.0,
    };
    let (audited, stop) = (Arc::new(Audited::default()), CancellationToken::new());
    let running = run_verify(verify, args.window.delivery.options(), audited.clone(), stop.clone());
    let mut screen = Screen::new();
    let Some(reports) = attend(running, &stop, || screen.show(&audited)).await? else {
        return Ok(ExitCode::FAILURE);
    };
    screen.end(&audited);
    let reports = reports.map_err(|error| match error {
        VerifyError::NoLane(_) => UsageError(error.to_string()).into(),
        error => anyhow::Error::from(error),
    })?;
    say(table(&reports))?;
    for report in &reports {
        for reason in &report.not_judged {
            say(format!("{}: not judged {reason}", report.lane))?;
        }
        for differing in &report.differing {
            tell(report, differing)?;
        }
    }
    let whole = |differing: &Differing| matches!(differing.repair, Repair::Done(_));
    let complete = !stop.is_cancelled() && reports.iter().flat_map(|report| &report.differing).all(whole);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(reports: &[VerifyReport]) -> Table {
    let mut table = Table::new();
    let header = ["LANE", "HOURS", "CONSOLE", "ACCOUNTED FOR", "MISSING", "REPAIRED", "PURGED THERE"];
    table.load_style(presets::NOTHING).set_header(header);
    for report in reports {
        let missing: u64 = report.differing.iter().map(|differing| differing.missing).sum();
        let repaired = |differing: &Differing| match differing.repair {
            Repair::Done(delivered) => delivered,
            _ => 0,
        };
        let repaired: u64 = report.differing.iter().map(repaired).sum();
        let VerifyReport { lane, hours, counted, accounted, purged, .. } = report;
        let numbers = [hours, counted, accounted, &missing, &repaired, purged].map(u64::to_string);
        table.add_row([lane.to_string()].into_iter().chain(numbers));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn tell(report: &VerifyReport, differing: &Differing) -> std::io::Result<()> {
    let Differing { hour, missing, named, repair } = differing;
    let outcome = match repair {
        Repair::NotAsked => "--repair delivers them".to_owned(),
        Repair::Done(delivered) => format!("repaired: {delivered} delivered"),
        Repair::NeedsResend => {
            "the ledger does not remember which (identities are kept for 48 hours): --repair --resend delivers the whole hour again".to_owned()
        }
        Repair::Failed(reason) => format!("not repaired: {reason}"),
    };
    say(format!("{}: {missing} missing in the hour from {hour}; {outcome}", report.lane))?;
    for (identity, record) in named {
        say(format!("  record {record}, identity {identity}"))?;
    }
    if !named.is_empty() && (named.len() as u64) < *missing {
        say("  …")?;
    }
    Ok(())
}

/// A bar on a terminal, lines in the log elsewhere.
struct Screen {
    bar: Option<ProgressBar>,
    logged: Instant,
}

impl Screen {
    fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} hours ETA {eta}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, logged: Instant::now() }
    }

    fn show(&mut self, audited: &Audited) {
        let (done, total) = (audited.done.load(Ordering::Relaxed), audited.total.load(Ordering::Relaxed));
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

    fn end(&mut self, audited: &Audited) {
        self.show(audited);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
