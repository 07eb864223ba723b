//! `status`: prints the lanes of a running worker.

mod table;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use comfy_table::Table;
use http::StatusCode;
use tokio::time::sleep;

use self::table::{Column, Style};
use super::output::{print_json, print_lines};
use super::{Format, UsageError, note, print_line};
use crate::pipeline;
use crate::record::Timestamp;
use crate::server::{Cluster, File, PeerClient, SourceProblem, Status, Summary, WebConfig};
use crate::settings::{HttpSettings, Period, Reach, Secret, Tls, TlsFile};

/// A larger response is not from a worker.
const MAX_BYTES: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Print the lanes of a running worker, and which worker holds which shards
///
/// Failing lanes come first, and then renamed and silent ones. On a terminal, errors are shortened to its width, and
/// columns without room are left out; NO_COLOR turns colours off. Elsewhere, all is printed as with --wide.
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

    /// Only lanes that fail or wait for `state rename`, and files with a problem
    #[arg(long)]
    failing: bool,

    /// Only lanes whose console has fallen silent
    #[arg(long, conflicts_with = "failing")]
    silent: bool,

    /// Only this pipeline; may be repeated
    #[arg(long = "pipeline", value_name = "NAME")]
    pipelines: Vec<String>,

    /// All columns and whole errors, however narrow the terminal is
    #[arg(long)]
    wide: bool,

    /// Print again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,

    /// Output format; json has the fields of /api/v1/lanes
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Numbers of lanes.
#[derive(Debug, Clone, Copy)]
struct Sums {
    lanes: usize,
    up: usize,
    /// Of those that are up.
    renamed: usize,
    silent: usize,
    /// No poll is complete yet.
    unpolled: usize,
    /// See [`crate::server::Lane::warnings`].
    warned: usize,
}

/// # Errors
/// If no worker responds at the address. A worker that does not answer this one, and a name that no pipeline has, are
/// reported on standard error, and the exit code is 1.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.client()?;
    let base = args.url.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("{}://{base}", client.scheme()) };
    let shown = without_password(&base);
    loop {
        let mut status =
            args.request(&client, &base).await.with_context(|| format!("no worker responds at {shown}"))?;
        let unknown = args.unknown_pipelines(&status);
        let sums = args.filter(&mut status);
        match args.format {
            Format::Json => print_json(&serde_json::to_string_pretty(&status)?)?,
            Format::Table => args.print_tables(&status, sums, &unknown)?,
        }
        unknown.iter().for_each(note);
        if !args.watch {
            let is_complete = status.workers.iter().all(|answer| answer.problem.is_none());
            return Ok(if is_complete && unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
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
        self.failing || self.silent || !self.pipelines.is_empty()
    }

    fn client(&self) -> anyhow::Result<PeerClient> {
        match &self.web_config {
            Some(file) if self.token_file.is_none() && self.ca_file.is_none() => {
                Ok(WebConfig::read(file).map_err(|error| UsageError(error.to_string()))?.peers())
            }
            _ => {
                let tls = Tls { ca_file: self.ca_file.clone().map(TlsFile::from), ..Tls::default() };
                let token = self.token_file.clone().map(|file| Secret::File(file.into()).read()).transpose()?;
                let settings = HttpSettings { tls, proxy: None, timeout: Period(TIMEOUT), reach: Reach::Everywhere };
                Ok(PeerClient::new(reqwest::Client::clone(&*settings.client()?), token.as_ref()))
            }
        }
    }

    async fn request(&self, client: &PeerClient, base: &str) -> anyhow::Result<Status> {
        let workers = if self.all { "all" } else { "this" };
        // The sums over some pipelines need all of their lanes.
        let state = match (self.pipelines.is_empty(), self.failing, self.silent) {
            (true, true, _) => "failing",
            (true, _, true) => "silent",
            _ => "",
        };
        request_status(client, &format!("{base}/api/v1/lanes?workers={workers}&state={state}")).await
    }

    /// What is wrong with the names that no pipeline has.
    fn unknown_pipelines(&self, status: &Status) -> Vec<String> {
        let files = status.files.iter().map(|file| file.pipeline.as_str());
        let known: BTreeSet<&str> = files.chain(status.lanes.iter().map(|lane| lane.pipeline.as_str())).collect();
        let unknown = self.pipelines.iter().filter(|name| !known.contains(name.as_str()));
        let problem = |name: &String| {
            format!("the worker knows no pipeline `{name}`; {}", pipeline::instead(name, known.iter().copied()))
        };
        unknown.map(problem).collect()
    }

    /// Failing lanes come first in a table. Returns the sums over the wanted pipelines.
    fn filter(&self, status: &mut Status) -> Sums {
        let is_wanted = |name: &String| self.pipelines.is_empty() || self.pipelines.contains(name);
        status.lanes.retain(|lane| is_wanted(&lane.pipeline));
        let sums = if self.pipelines.is_empty() {
            let Summary { lanes, up, silent, unpolled, warned, .. } = status.summary;
            Sums { lanes, up, renamed: status.summary.renamed(), silent, unpolled, warned }
        } else {
            let up = status.lanes.iter().filter(|lane| lane.up);
            let renamed = up.clone().filter(|lane| lane.needs_attention()).count();
            let silent = status.lanes.iter().filter(|lane| lane.silent == Some(true)).count();
            let unpolled = status.lanes.iter().filter(|lane| lane.unpolled).count();
            let warned = status.lanes.iter().filter(|lane| !lane.warnings.is_empty()).count();
            Sums { lanes: status.lanes.len(), up: up.count(), renamed, silent, unpolled, warned }
        };
        status.lanes.retain(|lane| !self.failing || lane.needs_attention());
        status.lanes.retain(|lane| !self.silent || lane.silent == Some(true));
        if let Format::Table = self.format {
            status.lanes.sort_by_key(|lane| (lane.up, !lane.needs_attention(), lane.silent != Some(true)));
        }
        status.matching = status.lanes.len();
        status
            .files
            .retain(|file| is_wanted(&file.pipeline) && !((self.failing || self.silent) && file.problem.is_none()));
        sums
    }

    /// Fits the terminal, unless standard output is none.
    fn style(&self) -> Style {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if self.wide { None } else { Table::new().width().map(usize::from) };
        Style { width, coloured: stdout().is_terminal() && !is_plain }
    }

    fn print_tables(&self, status: &Status, sums: Sums, unknown: &[String]) -> anyhow::Result<()> {
        let style = self.style();
        // The table of the workers counts all pipelines.
        if let Some(cluster) = status.cluster.as_ref()
            && !self.is_filtered()
        {
            print_lines(table::render(workers(cluster, &status.files), Style { width: None, ..style }, |_| None))?;
        }
        if !status.lanes.is_empty() {
            // Another machine's clock may differ from the worker's.
            let now = Timestamp::parse(&status.time).unwrap_or_else(|_| Timestamp::now());
            print_lines(table::lanes(&status.lanes, now, style).trim_end())?;
        } else if unknown.len() < self.pipelines.len() || self.pipelines.is_empty() {
            print_line(self.explain_no_lanes(status, sums))?;
        }
        if sums.lanes > 0 {
            let failing = sums.lanes.saturating_sub(sums.up);
            let failing = style.coloured(&format!("{failing} failing"), failing == 0);
            let renamed = counted(sums.renamed, "renamed (each says what to do)");
            let silent = counted(sums.silent, "silent");
            // It says how much is not known of silence.
            let unpolled = counted(if self.silent { sums.unpolled } else { 0 }, "not polled to the end yet");
            let warned = counted(sums.warned, "with a warning");
            let up = sums.up - sums.renamed.min(sums.up);
            print_lines(format!("{up} up, {failing}{renamed}{silent}{warned}{unpolled}"))?;
        }
        for answer in &status.workers {
            if let Some(problem) = &answer.problem {
                let address = answer.address.as_deref().unwrap_or("no address");
                note(format!("no answer from {} ({address}): {problem}; its lanes are missing", answer.worker));
            }
        }
        for SourceProblem { place, problem } in &status.source_problems {
            print_line("")?;
            print_line(format!("{place}: {problem}"))?;
        }
        for file in status.files.iter().filter(|file| file.problem.is_some()) {
            print_line("")?;
            print_line(format!("{} ({}): {}", file.file, file.state, file.problem.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn explain_no_lanes(&self, status: &Status, sums: Sums) -> String {
        let in_state = |state: &str| status.files.iter().filter(|file| file.state == state).count();
        match (self.pipelines.is_empty(), self.failing) {
            _ if self.silent && sums.unpolled > 0 => "no lane is known to be silent".to_owned(),
            _ if self.silent && sums.lanes > 0 => "no lane is silent".to_owned(),
            (_, true) => "no lane is failing".to_owned(),
            (false, false) if in_state("elsewhere") > 0 => {
                format!("no lane of {} runs in this worker; --all asks the others too", self.pipelines.join(", "))
            }
            (false, false) if in_state("paused") > 0 => {
                format!("no lane of {} runs: paused by its file", self.pipelines.join(", "))
            }
            (false, false) => format!("no lane of {} runs", self.pipelines.join(", ")),
            (true, false) if in_state("paused") > 0 => {
                format!("no lane runs in this worker; {} pipelines are paused", in_state("paused"))
            }
            (true, false) => "no lane runs in this worker".to_owned(),
        }
    }
}

/// A number of lanes in the last line, unless there are none.
fn counted(lanes: usize, what: &str) -> String {
    if lanes == 0 { String::new() } else { format!(", {lanes} {what}") }
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
    // An error could quote the response, and with it the token.
    serde_json::from_slice(&body).map_err(|_| anyhow!("its response is not from a worker of this version"))
}

fn workers(cluster: &Cluster, files: &[File]) -> Vec<Column> {
    let pipelines = cluster.workers.values().map(|shards| {
        files.iter().filter(|file| file.shard.is_some_and(|shard| shards.contains(&shard))).count().to_string()
    });
    let names = cluster.workers.keys().map(|name| {
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        format!("{name}{here}")
    });
    let numbers = cluster.workers.values().map(|shards| {
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        numbers.join(" ")
    });
    vec![
        Column::text("WORKER", names.collect()),
        Column::number("SHARDS", cluster.workers.values().map(|shards| shards.len().to_string()).collect()),
        Column::number("PIPELINES", pipelines.collect()),
        Column::text("SHARD NUMBERS", numbers.collect()),
    ]
}
