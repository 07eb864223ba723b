//! `run`: the worker.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::output::{Table, print_lines};
use super::traces::TraceArgs;
use super::{ArgumentError, ClusterArgs, FileArgs, ProcessArgs, TimeoutArgs, USAGE, note, print_line};
use crate::record::LaneId;
use crate::server::{Server, WebConfig, WorkerView};
use crate::settings::{Period, PeriodError};
use crate::telemetry::{LaneMetrics, Silence, Telemetry, describe_skipped};
use crate::worker::{DEFAULT_LISTEN, OnceReport, Options, Worker, raise_limit, run_once};

/// Run pipelines, and reload their files when they change
///
/// An invalid file is reported in the log; the others run. On SIGTERM or Ctrl-C the worker stops pulling, delivers what
/// is in flight and exits with 0. A second signal ends it immediately with 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    process: ProcessArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Catch up to the time of the start (by each console's clock), print a summary, and exit: for cron and Jobs
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    timeout: TimeoutArgs,

    #[command(flatten)]
    traces: TraceArgs,

    /// Time that a new lane waits for `state rename` if a renamed pipeline probably had its checkpoint; then the lane
    /// begins at `since`
    ///
    /// Such a lane is in the state `renamed`. The time begins when no worker has written the other checkpoint for two
    /// leases. With --once, the lane is given up instead. See docs/state.md.
    #[arg(long, value_name = "PERIOD|forever", default_value = "forever")]
    renamed_wait: RenamedWait,

    /// Also count delivered events and their bytes by the value of this label of events; may be repeated
    ///
    /// A lane has at most 1,000 values, the process 20,000; the rest is counted as `other`. See docs/metrics.md.
    #[arg(long = "metrics-label", value_name = "NAME", value_delimiter = ',')]
    metrics_labels: Vec<String>,

    /// In this run, keep any number of refused events of this lane as dead letters
    ///
    /// A lane stops when its sink refuses ten events in a row, since a wrong setting is likely. Use this if the events
    /// are to blame. Can be given several times.
    #[arg(long, value_name = "PIPELINE/STREAM/SINK")]
    accept_refusals: Vec<LaneId>,
}

/// The value of `--renamed-wait`.
#[derive(Debug, Clone, Copy)]
struct RenamedWait(Option<Period>);

impl FromStr for RenamedWait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "forever" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|period| Self(Some(period)))
                .map_err(|error: PeriodError| format!("{error}; or forever")),
        }
    }
}

/// Runs until a signal, or, with `--once`, until every lane has caught up.
///
/// # Errors
/// If the state cannot be used, or the address cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    for warning in args.files.without_effect().into_iter().chain(args.process.without_effect(args.once)) {
        warn!("{warning}");
    }
    match raise_limit() {
        Ok((before, limit)) if before == limit => {}
        Ok((before, limit)) => info!(before, limit, "the limit of open files is raised as far as this process may"),
        Err(error) => warn!(%error, "the limit of open files cannot be raised"),
    }
    let telemetry = Arc::new(Telemetry::new().counting_labels(args.metrics_labels.clone()));
    let signals = Signals::new()?;
    let traces = args.traces.start()?;
    let listen = args.process.listen.as_deref().or((!args.once).then_some(DEFAULT_LISTEN));
    let server = match listen {
        Some(listen) => Some(Serving::start(listen, &args.process, &telemetry).await?),
        None => None,
    };
    let code = if args.once {
        catch_up(args, telemetry, signals).await?
    } else {
        serve(&args, telemetry, signals, server.as_ref()).await?
    };
    if let Some(server) = server {
        server.end().await?;
    }
    traces.end().await?;
    Ok(code)
}

async fn serve(
    args: &Args,
    telemetry: Arc<Telemetry>,
    mut signals: Signals,
    server: Option<&Serving>,
) -> anyhow::Result<ExitCode> {
    let address = server.map(|server| server.address);
    let opened = tokio::select! {
        opened = Worker::open(options(args, address)?, telemetry) => opened?,
        // A file system that the worker opens may not answer.
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    // This is not logged earlier: a second worker on the same state never gets here.
    if let Some(Serving { address, worker, .. }) = server {
        worker.set(opened.command_flags(), opened.settings());
        tracing::info!(%address, "listening");
    }
    let mut worker = tokio::select! {
        worker = opened.start() => worker?,
        // The start waits until the state store is reachable.
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    tokio::select! {
        () = signals.next() => {}
        () = worker.failed() => return Ok(ExitCode::FAILURE),
    }
    tokio::select! {
        () = worker.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ExitCode::FAILURE),
    }
}

async fn catch_up(args: Args, telemetry: Arc<Telemetry>, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let mut running =
        tokio::spawn(run_once(options(&args, None)?, telemetry, args.timeout.once_timeout.0, stop.clone()));
    let mut signals_received = 0;
    let report = loop {
        tokio::select! {
            report = &mut running => break report.context("the worker panicked")??,
            () = signals.next() => {
                signals_received += 1;
                stop.cancel();
            }
        }
        if signals_received > 1 {
            return Ok(ExitCode::FAILURE);
        }
    };
    report.problems.iter().for_each(note);
    if report.pipelines == 0 && report.problems.is_empty() {
        return Err(ArgumentError(args.files.explain_no_files()).into());
    }
    print_lines(summary(&report))?;
    if let Some(stored) = report.dead_letters_stored.filter(|stored| *stored > 0) {
        print_line(format!("{stored} dead letters are stored; to list them: {}", report.list_dead_letters))?;
    }
    Ok(exit_code(&report))
}

fn exit_code(report: &OnceReport) -> ExitCode {
    let invalid = report.problems.iter().any(crate::pipeline::Problem::is_error);
    if invalid && report.pipelines == 0 {
        ExitCode::from(USAGE)
    } else if invalid || report.lanes.iter().any(|lane| !lane.complete) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn options(args: &Args, listening: Option<SocketAddr>) -> Result<Options, ArgumentError> {
    let Args { files, process, cluster, .. } = args;
    let delivery = process.delivery.options()?;
    Ok(Options {
        pipelines: files.locations().to_vec(),
        files: files.options.get(),
        cluster: cluster.settings(&delivery.state, args.once, listening)?,
        lease: cluster.lease(),
        renamed_wait: args.renamed_wait.0.map(|period| period.0),
        checkpoint_interval: process.checkpoint_interval(),
        accept_refusals: args.accept_refusals.clone(),
        listening,
        ..delivery
    })
}

/// Returns a row for each lane, and for each file that has none because it is invalid.
fn summary(report: &OnceReport) -> Table {
    let header = ["LANE", "PULLED", "DELIVERED", "SKIPPED", "REQUEUED", "DEAD LETTERS", "RESULT"];
    let mut table = Table::new(&header);
    for lane in &report.lanes {
        let metrics = &lane.metrics;
        let counters = [&metrics.pull.records, &metrics.send.delivered, &metrics.pull.requeued];
        let [pulled, delivered, requeued] = counters.map(|counter| counter.get().to_string());
        let dead = describe_dead_letters(metrics.send.dead_letters.get(), metrics.dead_letters_stored());
        let skipped = describe_skipped(metrics.skipped_by_reason());
        let result = match (lane.complete, metrics.last_error()) {
            (true, _) => complete(metrics),
            (false, Some((_, error))) => format!("given up: {error}"),
            (false, None) => "stopped".to_owned(),
        };
        table.add_row([lane.id.to_string(), pulled, delivered, skipped, requeued, dead, result]);
    }
    let invalid = report.problems.iter().filter(|problem| problem.is_error());
    let invalid: BTreeSet<&Path> = invalid.map(|problem| problem.file.as_path()).collect();
    for file in invalid {
        let mut row = vec![file.display().to_string()];
        row.resize(header.len() - 1, "-".to_owned());
        row.push("invalid: not run".to_owned());
        table.add_row(row);
    }
    table.align_right(1, 5);
    table
}

/// Says how many dead letters of a lane are stored, and how many of them are `new` in this run.
fn describe_dead_letters(new: u64, stored: Option<u64>) -> String {
    match stored {
        Some(0) if new == 0 => "0".to_owned(),
        Some(stored) => format!("{stored} ({new} new)"),
        None => format!("{new} new"),
    }
}

fn complete(metrics: &LaneMetrics) -> String {
    let clock = metrics
        .clocks
        .console_behind()
        .map(|behind| format!(" up to the console's clock, which is {} s behind this machine's", behind.as_secs()));
    let silence = match (metrics.silence(), metrics.newest_record()) {
        (Silence::Silent, Some(newest)) => format!(", silent: the console shows nothing new since {newest}"),
        (Silence::Silent, None) => ", silent: the console has never shown a record".to_owned(),
        _ => String::new(),
    };
    format!("complete{}{silence}", clock.unwrap_or_default())
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot receive signals");
        // A write beyond the process's limit (`ulimit -f`) fails, and does not end the process.
        let _ = listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The HTTP endpoints. They stay open until everything else has ended.
struct Serving {
    address: SocketAddr,
    worker: Arc<WorkerView>,
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Serving {
    async fn start(listen: &str, args: &ProcessArgs, telemetry: &Arc<Telemetry>) -> anyhow::Result<Self> {
        let cannot_listen = |listen: &str| format!("cannot listen on {listen} (use another address)");
        let mut server = Server::bind(listen).await.with_context(|| cannot_listen(listen))?;
        if let Some(file) = &args.web_config {
            server = server.with_web_config(WebConfig::read(file).map_err(|error| ArgumentError(error.to_string()))?);
        }
        if let Some(listen) = &args.listen_probes {
            server = server.with_probes(listen).await.with_context(|| cannot_listen(listen))?;
        }
        let (address, worker) = (server.address(), server.worker());
        if let Some(address) = server.probes_address() {
            info!(%address, "listening for probes");
        }
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(server.serve(telemetry.clone(), async {
            // A dropped sender ends the server as well.
            let _ = ended.await;
        }));
        Ok(Self { address, worker, end, task })
    }

    async fn end(self) -> anyhow::Result<()> {
        let _ = self.end.send(());
        self.task.await.context("the HTTP server panicked")?.context("the HTTP server failed")
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::record::{Stream, Timestamp};
    use crate::worker::LaneReport;

    #[test]
    fn the_summary_tells_that_a_lane_is_complete_by_a_clock_that_is_behind() {
        let id = LaneId::new("acme", Stream::Threats, "siem");
        let metrics = Arc::new(LaneMetrics::new(&id));
        let lane = LaneReport { id, complete: true, metrics: metrics.clone() };
        let report = OnceReport { lanes: vec![lane], ..OnceReport::default() };
        assert!(summary(&report).to_string().trim_end().ends_with(" complete"));
        metrics.clocks.set_console_ahead(-7200);
        let text = summary(&report).to_string();
        assert!(text.contains("complete up to the console's clock, which is 7200 s behind this machine's"), "{text}");
        metrics.clocks.set_console_ahead(0);
        metrics.set_silence(Silence::Silent);
        assert!(summary(&report).to_string().contains("complete, silent: the console has never shown a record"));
        metrics.set_newest_record(Some(Timestamp::from_micros(1_790_000_000_000_000)));
        let text = summary(&report).to_string();
        assert!(text.contains("complete, silent: the console shows nothing new since 2026-09-21T"), "{text}");
    }
}
