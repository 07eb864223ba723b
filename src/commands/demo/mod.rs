//! `demo`: runs emulated consoles, pipelines, a worker, a local HTTP sink and the status page in one process.

mod receiver;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::signal::ctrl_c;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::output::is_closed_pipe;
use crate::emulator::{self, Setup};
use crate::record::Timestamp;
use crate::server::{Server, WorkerView};
use crate::settings::Period;
use crate::state::StoreLocation;
use crate::telemetry::{LaneMetrics, Telemetry};
use crate::worker::{self, Worker};

use receiver::Receiver;
use terminal::{Terminal, Totals, shortened};

/// Show the whole program at work: emulated consoles, two pipelines, a local HTTP sink and the status page
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after this time with a summary, such as 10s or 5m [default: run until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Period>,
    /// Address of the status page and the metrics; port 0 chooses a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
}

/// Interval at which the first events of the sink are printed.
const TICK: Duration = Duration::from_millis(250);

/// A customer of the demo with a console and a pipeline.
struct Customer {
    name: &'static str,
    schema: &'static str,
    seed: u64,
}

const CUSTOMERS: [Customer; 2] =
    [Customer { name: "north", schema: "ecs", seed: 1 }, Customer { name: "south", schema: "raw", seed: 2 }];

/// Runs the demo until its time is over or Ctrl-C is pressed.
///
/// # Errors
/// If a port cannot be bound, the temporary directory cannot be written, or the worker does not start.
pub async fn run(demo: Args) -> anyhow::Result<ExitCode> {
    match show(demo).await {
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        shown => shown,
    }
}

async fn show(demo: Args) -> anyhow::Result<ExitCode> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let receiver = Receiver::start().await.context("no port for the local HTTP sink")?;
    let mut consoles = Vec::new();
    for customer in CUSTOMERS {
        let console = start_console(&customer).await?;
        write_pipeline(directory.path(), &customer, &console, &receiver)?;
        consoles.push(console);
    }

    let telemetry = Arc::new(Telemetry::new());
    let server = Server::bind(&demo.listen)
        .await
        .with_context(|| format!("cannot listen on {} (use --listen for another address)", demo.listen))?;
    let base = format!("http://{}", server.address());
    let shown = server.worker();
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(telemetry.clone(), async {
        // A dropped sender ends the server as well.
        let _ = server_stopped.await;
    }));
    let worker = start_worker(&directory, telemetry.clone(), &shown).await?;

    let mut terminal = Terminal::new();
    terminal.print(&format!(
        "Two consoles, two pipelines (north: ECS, south: raw), one HTTP sink, all in this process.\n\
         \n  status page  {base}/\n  metrics      {base}/metrics\n"
    ))?;
    let lanes = watch(&mut terminal, &telemetry, &receiver, demo.duration).await?;
    worker.shutdown().await;
    terminal.draw(&lanes, Timestamp::now())?;
    terminal.keep();
    drop(stop_server);
    serving.await.context("the task of the status page")?.context("the status page")?;
    summarise(&mut terminal, &lanes, &receiver)
}

/// Starts a console with a day of history and a steady rate of new records.
async fn start_console(customer: &Customer) -> anyhow::Result<emulator::Server> {
    let setup = Setup {
        seed: customer.seed,
        activities: 400,
        threats: 60,
        agents: 40,
        rate: 20.0,
        ..Setup::new(emulator::system_clock())
    };
    let console = Arc::new(emulator::Console::new(&setup));
    emulator::Server::start(console, ([127, 0, 0, 1], 0).into()).await.context("no port for an emulated console")
}

async fn start_worker(directory: &TempDir, telemetry: Arc<Telemetry>, shown: &WorkerView) -> anyhow::Result<Worker> {
    let options = worker::Options {
        pipelines: vec![directory.path().join("pipelines").into()],
        state: StoreLocation::File(directory.path().join("state")),
        ..worker::Options::default()
    };
    let cannot_start = "the worker does not start";
    let opened = Worker::open(options, telemetry).await.context(cannot_start)?;
    shown.set(opened.command_flags(), opened.settings());
    opened.start().await.context(cannot_start)
}

/// Writes a pipeline file as a user would, with the token in a separate file.
fn write_pipeline(
    directory: &Path,
    customer: &Customer,
    console: &emulator::Server,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let pipelines = directory.join("pipelines");
    fs::create_dir_all(&pipelines)?;
    let Customer { name, schema, .. } = customer;
    fs::write(directory.join(format!("{name}.token")), Setup::TOKEN)?;
    let yaml = format!(
        "console:\n  url: {url}\n  token: {{ file: ../{name}.token }}\n  requests_per_second: 20\n\
         streams:\n  threats: {{ interval: 1s, since: 2d }}\n  activities: {{ interval: 1s, since: 2d }}\n\
         transform:\n  schema: {schema}\n  labels: {{ customer: {name} }}\n\
         sinks:\n  - name: siem\n    type: http\n    url: http://{sink}/{name}\n    batch: {{ timeout: 200ms }}\n",
        url = console.url(),
        sink = receiver.address,
    );
    fs::write(pipelines.join(format!("{name}.yaml")), yaml).context("cannot write the pipeline files")
}

/// Prints events and lanes until the time is over or Ctrl-C is pressed. Returns the lanes.
async fn watch(
    terminal: &mut Terminal,
    telemetry: &Telemetry,
    receiver: &Receiver,
    duration: Option<Period>,
) -> anyhow::Result<Vec<Arc<LaneMetrics>>> {
    let end = duration.map(|period| Instant::now() + period.0);
    let time_is_over = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = ctrl_c();
    tokio::pin!(time_is_over, interrupted);
    let mut drawn = None;
    loop {
        tokio::select! {
            () = &mut time_is_over => break,
            pressed = &mut interrupted => {
                pressed.context("cannot receive Ctrl-C")?;
                break;
            }
            () = sleep(TICK) => {}
        }
        for first in receiver.first_events() {
            let title = format!("First event of {}, stream {}:", first.pipeline, first.stream);
            terminal.print(&format!("{title}\n{}\n", shortened(&first.event)))?;
        }
        if drawn.is_none_or(|drawn: Instant| drawn.elapsed() >= terminal.period()) {
            drawn = Some(Instant::now());
            terminal.draw(&lanes(telemetry), Timestamp::now())?;
        }
    }
    Ok(lanes(telemetry))
}

fn lanes(telemetry: &Telemetry) -> Vec<Arc<LaneMetrics>> {
    telemetry.snapshot().lanes.into_iter().map(|lane| lane.metrics).collect()
}

/// Prints the counts of the whole demo. They must balance with the events that the sink received.
fn summarise(terminal: &mut Terminal, lanes: &[Arc<LaneMetrics>], receiver: &Receiver) -> anyhow::Result<ExitCode> {
    let totals = Totals::of(lanes);
    let (events, distinct) = receiver.counts();
    terminal.print(&format!(
        "\nSummary\n  pulled        {}\n  delivered     {}\n  skipped       {}\n  requeued      {}\n  dead letters  {}\n\
         \x20 at the sink   {events}\n  distinct      {distinct}\n  repeated      {}",
        totals.pulled,
        totals.delivered,
        totals.skipped,
        totals.requeued,
        totals.dead_letters,
        events - distinct,
    ))?;
    let accounted = totals.delivered + totals.skipped + totals.requeued + totals.dead_letters;
    if totals.delivered == distinct && totals.pulled == accounted {
        return Ok(ExitCode::SUCCESS);
    }
    terminal.print("The counts do not balance.")?;
    Ok(ExitCode::FAILURE)
}
