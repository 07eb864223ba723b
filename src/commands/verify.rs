//! `verify`: is anything missing?

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::process::time;
use super::run::Signals;
use super::{DeliveryArgs, RateArgs, UsageError, say};
use crate::pipeline::{self, Pipeline};
use crate::record::{Stream, Timestamp};
use crate::settings::Period;
use crate::worker::{Audited, Differing, Repair, Verify, VerifyError, VerifyReport, run_verify};

const DRAW_EVERY: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Compare what a console has with what was delivered, beside a running worker
///
/// Hour by hour, by the time of creation, the console's count is compared with what each lane accounts for: delivered,
/// filtered, dropped or kept as a dead letter. A difference is confirmed by pulling the hour. Hours are judged that the lane's
/// ledger knows of, that the lane is past, and that are closed by `overlap`.
///
/// Exit codes: 0 nothing is missing (or all of it was repaired); 1 something is missing, or the comparison failed; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Beginning of the window, included: a time with its zone, such as 2026-01-31T00:00:00Z; whole hours from there on are judged
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Timestamp,

    /// End of the window, not included
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Timestamp,

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

    /// Give up when there was no progress for so long
    #[arg(long, value_name = "PERIOD", default_value = "5m")]
    give_up_after: Period,

    /// A YAML file with the keys that all pipelines inherit
    #[arg(long, value_name = "FILE", env = "S1_FORWARDER_DEFAULTS")]
    defaults: Option<PathBuf>,

    #[command(flatten)]
    rate: RateArgs,

    #[command(flatten)]
    delivery: DeliveryArgs,
}

/// Compares, and prints what came of it on standard output.
///
/// # Errors
/// When the file is invalid, or the state or the console cannot be used.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.from >= args.to {
        return Err(UsageError(format!("--from {} must lie before --to {}", args.from, args.to)).into());
    }
    let mut signals = Signals::new()?;
    let verify = Verify {
        pipeline: Arc::new(load(&args)?),
        stream: args.stream,
        sink: args.sink.clone(),
        from: args.from,
        to: args.to,
        repair: args.repair,
        resend: args.resend,
        patience: args.give_up_after.0,
    };
    let (audited, stop) = (Arc::new(Audited::default()), CancellationToken::new());
    let running = run_verify(verify, args.delivery.options()?, audited.clone(), stop.clone());
    tokio::pin!(running);
    let mut screen = Screen::new();
    let mut tick = interval(DRAW_EVERY);
    let mut asked = 0;
    let reports = loop {
        tokio::select! {
            reports = &mut running => break reports,
            () = signals.next() => {
                asked += 1;
                stop.cancel();
            }
            _ = tick.tick() => screen.show(&audited),
        }
        if asked > 1 {
            return Ok(ExitCode::FAILURE);
        }
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
    let complete = asked == 0 && reports.iter().flat_map(|report| &report.differing).all(whole);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(args: &Args) -> anyhow::Result<Pipeline> {
    let loaded = pipeline::load(std::slice::from_ref(&args.file), args.defaults.as_deref());
    loaded.problems.iter().for_each(|problem| eprintln!("{problem}"));
    let invalid = || UsageError(format!("{} is not a valid pipeline file", args.file.display()));
    let mut pipeline = (**loaded.pipelines.first().ok_or_else(invalid)?).clone();
    pipeline.console.requests_per_second = Some(args.rate.requests_per_second);
    Ok(pipeline)
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
