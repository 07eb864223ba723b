//! `status`: prints the lanes of a running worker.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use comfy_table::{CellAlignment, Table, presets};
use http::StatusCode;
use tokio::time::sleep;

use super::{Format, UsageError, note, print_line};
use crate::record::Timestamp;
use crate::server::{Cluster, File, Lane, PeerClient, SourceProblem, Status, WebConfig};
use crate::settings::{HttpSettings, Period, Secret, Tls, TlsFile};

/// A larger response is not from a worker.
const MAX_BYTES: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Print the lanes of a running worker, and which worker holds which shards
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the worker (its --listen); without http:// or https://, --web-config decides which
    #[arg(long, value_name = "URL", default_value = "127.0.0.1:9598")]
    url: String,

    /// The worker's own file: its first token in a file is presented, and its certificate is trusted
    #[arg(long, value_name = "FILE")]
    web_config: Option<PathBuf>,

    /// A file with a bearer token that the worker accepts; instead of --web-config
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// PEM file with the authority of the worker's certificate [default: those of the system]; instead of --web-config
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// The lanes of all workers that share the pipelines: this one asks the others
    #[arg(long)]
    all: bool,

    /// Only lanes that fail, and files with a problem
    #[arg(long)]
    failing: bool,

    /// Only this pipeline; may be repeated
    #[arg(long = "pipeline", value_name = "NAME")]
    pipelines: Vec<String>,

    /// Print again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Output format; json has the fields of /api/v1/lanes
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// # Errors
/// If no worker responds at the address. A worker that does not answer this one is reported on standard error, and the
/// exit code is 1.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.client()?;
    let base = args.url.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("{}://{base}", client.scheme()) };
    let shown = without_password(&base);
    loop {
        let mut status =
            args.request(&client, &base).await.with_context(|| format!("no worker responds at {shown}"))?;
        args.filter(&mut status);
        match args.format {
            Format::Json => print_line(serde_json::to_string_pretty(&status)?)?,
            Format::Table => args.print_tables(&status)?,
        }
        if !args.watch {
            let is_complete = status.workers.iter().all(|answer| answer.problem.is_none());
            return Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        sleep(WATCH_INTERVAL).await;
        // The reader of a pipe may have gone.
        if writeln!(stdout()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

impl Args {
    fn is_filtered(&self) -> bool {
        self.failing || !self.pipelines.is_empty()
    }

    fn client(&self) -> anyhow::Result<PeerClient> {
        match &self.web_config {
            Some(file) if self.token_file.is_none() && self.ca_file.is_none() => {
                Ok(WebConfig::read(file).map_err(|error| UsageError(error.to_string()))?.peers())
            }
            _ => {
                let tls = Tls { ca_file: self.ca_file.clone().map(TlsFile::Path), ..Tls::default() };
                let token = self.token_file.clone().map(|file| Secret::File(file).read()).transpose()?;
                let settings = HttpSettings { tls, proxy: None, timeout: Period(TIMEOUT), public_only: false };
                Ok(PeerClient::new(settings.client()?, token.as_ref()))
            }
        }
    }

    async fn request(&self, client: &PeerClient, base: &str) -> anyhow::Result<Status> {
        let workers = if self.all { "all" } else { "this" };
        let state = if self.failing { "failing" } else { "" };
        request_status(client, &format!("{base}/api/v1/lanes?workers={workers}&state={state}")).await
    }

    fn filter(&self, status: &mut Status) {
        let is_wanted = |name: &String| self.pipelines.is_empty() || self.pipelines.contains(name);
        status.lanes.retain(|lane| is_wanted(&lane.pipeline) && !(self.failing && lane.up));
        status.matching = status.lanes.len();
        status.files.retain(|file| is_wanted(&file.pipeline) && !(self.failing && file.problem.is_none()));
    }

    fn print_tables(&self, status: &Status) -> anyhow::Result<()> {
        // The table of the workers counts all pipelines.
        if let Some(cluster) = status.cluster.as_ref().filter(|_| !self.is_filtered()) {
            print_line(workers(cluster, &status.files))?;
            print_line("")?;
        }
        if status.lanes.is_empty() {
            let paused = status.files.iter().filter(|file| file.state == "paused").count();
            print_line(match (self.pipelines.is_empty(), self.failing) {
                (false, _) => format!("no lane of {} runs", self.pipelines.join(", ")),
                (true, true) => "no lane is failing".to_owned(),
                (true, false) if paused > 0 => format!("no lane runs in this worker; {paused} pipelines are paused"),
                (true, false) => "no lane runs in this worker".to_owned(),
            })?;
        } else {
            print_line(lanes(&status.lanes))?;
        }
        for answer in &status.workers {
            if let Some(problem) = &answer.problem {
                let address = answer.address.as_deref().unwrap_or("no address");
                note(format!("no answer from {} ({address}): {problem}; its lanes are missing", answer.worker));
            }
        }
        for SourceProblem { place, problem } in &status.source_problems {
            print_line(format!("\n{place}: {problem}"))?;
        }
        for file in status.files.iter().filter(|file| file.problem.is_some()) {
            print_line(format!("\n{} ({}): {}", file.file, file.state, file.problem.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// An address without what stands before the `@`.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

async fn request_status(client: &PeerClient, url: &str) -> anyhow::Result<Status> {
    let mut response = client.get(url, TIMEOUT).await.map_err(|error| anyhow!(client.describe(&error, TIMEOUT)))?;
    if response.status() == StatusCode::UNAUTHORIZED {
        bail!("it requires credentials: give --web-config or --token-file");
    }
    if !response.status().is_success() {
        bail!("it responds with {}", response.status());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            bail!("its response is larger than {MAX_BYTES} bytes");
        }
    }
    serde_json::from_slice(&body).context("its response is not from a worker of this version")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn workers(cluster: &Cluster, files: &[File]) -> Table {
    let mut table = table(&["WORKER", "SHARDS", "PIPELINES", "SHARD NUMBERS"]);
    for (name, shards) in &cluster.workers {
        let pipelines = files.iter().filter(|file| file.shard.is_some_and(|shard| shards.contains(&shard))).count();
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        let row = [format!("{name}{here}"), shards.len().to_string(), pipelines.to_string(), numbers.join(" ")];
        table.add_row(row);
    }
    align_right(&mut table, 1..3);
    table
}

fn lanes(lanes: &[Lane]) -> Table {
    let mut header =
        vec!["LANE", "STATE", "LAG", "NEXT", "PULLED", "DELIVERED", "SKIPPED", "REQUEUED", "DEAD LETTERS", "ERROR"];
    let with_workers = lanes.iter().any(|lane| lane.worker.is_some());
    header.extend(with_workers.then_some("WORKER"));
    let mut table = table(&header);
    let now = Timestamp::now();
    for lane in lanes {
        let lag = lane.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"));
        let next = lane.next_attempt.as_deref().and_then(|time| Timestamp::parse(time).ok());
        let mut row = vec![
            format!("{}/{}/{}", lane.pipeline, lane.stream, lane.sink),
            lane.state.replace('_', " "),
            lag,
            next.map_or_else(|| "now".to_owned(), |next| format!("in {} s", next.since(now).as_secs())),
            lane.pulled.to_string(),
            lane.delivered.to_string(),
            lane.describe_skipped(),
            lane.requeued.to_string(),
            lane.dead_letters.to_string(),
            lane.error.clone().or_else(|| lane.remap_problem()).unwrap_or_default(),
        ];
        row.extend(with_workers.then(|| lane.worker.clone().unwrap_or_default()));
        table.add_row(row);
    }
    align_right(&mut table, 2..9);
    table
}

fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in table.column_iter_mut().skip(columns.start).take(columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
