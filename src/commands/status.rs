//! `status`: the lanes of a running worker.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, Table, presets};

use super::say;
use crate::server::{Cluster, File, Lane, Status};
use crate::settings::{HttpSettings, Period, Tls};

/// More would be no answer of a worker.
const LARGEST: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Show the lanes of a running worker, and which worker holds what
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the worker listens (its --listen)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9598", env = "S1_FORWARDER_URL")]
    url: String,
}

/// Asks, and prints the answer on standard output.
///
/// # Errors
/// When there is no worker at the address.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let base = args.url.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let status = ask(&base).await.with_context(|| format!("no worker answers at {base}"))?;
    if let Some(cluster) = &status.cluster {
        say(workers(cluster, &status.files))?;
        say("")?;
    }
    if status.lanes.is_empty() {
        say("no lane runs here")?;
    } else {
        say(lanes(&status.lanes))?;
    }
    for file in status.files.iter().filter(|file| file.problem.is_some()) {
        say(format!("\n{} ({}): {}", file.file, file.state, file.problem.as_deref().unwrap_or_default()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(base: &str) -> anyhow::Result<Status> {
    let client = HttpSettings { tls: Tls::default(), proxy: None, timeout: Period(TIMEOUT) }.client()?;
    let mut answer = client.get(format!("{base}/api/v1/lanes")).send().await?;
    if !answer.status().is_success() {
        bail!("it answers {}", answer.status());
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > LARGEST {
            bail!("its answer is larger than {LARGEST} bytes");
        }
    }
    serde_json::from_slice(&body).context("its answer is not that of a worker of this version")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn workers(cluster: &Cluster, files: &[File]) -> Table {
    let mut table = table(&["WORKER", "SHARDS", "PIPELINES", "WHICH SHARDS"]);
    for (name, shards) in &cluster.workers {
        let pipelines = files.iter().filter(|file| file.shard.is_some_and(|shard| shards.contains(&shard))).count();
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        let row = [format!("{name}{here}"), shards.len().to_string(), pipelines.to_string(), numbers.join(" ")];
        table.add_row(row);
    }
    right(&mut table, 1..3);
    table
}

fn lanes(lanes: &[Lane]) -> Table {
    let header = ["LANE", "STATE", "LAG", "PULLED", "DELIVERED", "DROPPED", "DEAD LETTERS", "ERROR"];
    let mut table = table(&header);
    for lane in lanes {
        let lag = lane.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"));
        table.add_row([
            format!("{}/{}/{}", lane.pipeline, lane.stream, lane.sink),
            lane.state.replace('_', " "),
            lag,
            lane.pulled.to_string(),
            lane.delivered.to_string(),
            lane.dropped.values().sum::<u64>().to_string(),
            lane.dead_letters.to_string(),
            lane.error.clone().unwrap_or_default(),
        ]);
    }
    right(&mut table, 2..7);
    table
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in table.column_iter_mut().skip(columns.start).take(columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
