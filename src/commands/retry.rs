//! `retry`: a running worker makes the next attempt of failing lanes now.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::status::unknown_names;
use super::worker_args::WorkerArgs;
use super::{ArgumentError, StateArgs, must_exist, print_line};
use crate::record::LaneId;
use crate::server::Status;
use crate::state::StoreLocation;
use crate::worker::{LaneAnswer, LaneRequest, LaneRequests, Options};

/// A worker answers a request within a second, unless its disk is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_INTERVAL: Duration = Duration::from_millis(200);

/// Let lanes of a running worker make their next attempt now
///
/// A lane whose console or sink refuses it waits for up to an hour, since a person has to correct the cause. After
/// that, this ends the wait. The lane starts again from its checkpoint, as after a change of its file.
///
/// The command asks through the worker's state, so it needs the same --state and --instance, which has to be a
/// directory (file:DIR). For a Pipeline resource, the annotation s1-forwarder.io/retry with any new text does the same.
///
/// Exit codes: 0 each lane is tried; 1 no worker responds, or it does not run a lane; 2 wrong usage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The lanes: PIPELINE/STREAM/SINK, or PIPELINE for all its lanes
    #[arg(value_name = "NAME", required_unless_present = "failing")]
    names: Vec<String>,

    /// All lanes that fail
    #[arg(long, conflicts_with = "names")]
    failing: bool,

    #[command(flatten)]
    worker: WorkerArgs,

    #[command(flatten)]
    state: StateArgs,
}

/// Runs `retry`.
///
/// # Errors
/// If no worker responds, or the worker does not know a name, or does not answer the request.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let StateArgs { state, instance } = args.state;
    match &state {
        StoreLocation::File(_) => must_exist(&state)?,
        StoreLocation::Kubernetes(_) => {
            // The name of a resource's pipeline has its namespace.
            let pipeline = args.names.first().and_then(|name| name.split('/').next()?.split_once('.'));
            let (namespace, name) = pipeline.unwrap_or(("NAMESPACE", "NAME"));
            return Err(ArgumentError(format!(
                "with --state kubernetes: the worker accepts no requests. For pipelines of files, write `enabled: \
                 false` into the file, wait until the worker has read it, and remove it again. A Pipeline resource \
                 takes an annotation with a new text: kubectl -n {namespace} annotate --overwrite \
                 pipelines.s1-forwarder.io {name} s1-forwarder.io/retry=\"$(date +%s)\""
            ))
            .into());
        }
        #[cfg(feature = "kafka")]
        StoreLocation::Kafka(_) => {
            return Err(ArgumentError(
                "with --state kafka: the worker accepts no requests; write `enabled: false` into the pipeline file, \
                 wait ten seconds, and remove it again"
                    .to_owned(),
            )
            .into());
        }
    }
    let status = args.worker.connect()?.lanes("workers=this").await?;
    let unknown = unknown_names(&args.names, &status);
    ensure!(unknown.is_empty(), "{}", unknown.join("\n"));
    let lanes = named_lanes(&status, &args.names)?;
    if lanes.is_empty() {
        print_line(if args.failing { "no lane is failing" } else { "no such lane runs" })?;
        return Ok(if args.failing { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let options = Options { state, instance, ..Options::default() };
    let requests = LaneRequests::open(&options).await?;
    let asked = ask(&requests, lanes).await;
    requests.remove().await?;
    let problems = asked?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Returns the lanes with these names. Without names, the lanes that fail.
fn named_lanes(status: &Status, names: &[String]) -> anyhow::Result<Vec<LaneId>> {
    let mut lanes = Vec::new();
    for lane in &status.lanes {
        let is_named = names.iter().any(|name| lane.is_called(name));
        if is_named || (names.is_empty() && !lane.up) {
            lanes.push(lane.name().parse()?);
        }
    }
    Ok(lanes)
}

/// Asks the worker, and returns a problem for each request that it did not carry out.
async fn ask(requests: &LaneRequests, mut waiting: Vec<LaneId>) -> anyhow::Result<Vec<String>> {
    for lane in &waiting {
        requests.put(lane, &LaneRequest::Retry).await?;
    }
    let mut problems = Vec::new();
    let asked = Instant::now();
    while !waiting.is_empty() && asked.elapsed() < ANSWER_TIMEOUT {
        sleep(ANSWER_INTERVAL).await;
        let mut unanswered = Vec::new();
        for lane in waiting {
            match requests.answer(&lane).await? {
                LaneAnswer::Done => print_line(format!("{lane} makes its next attempt now"))?,
                LaneAnswer::Refused(reason) => problems.push(format!("{lane}: {reason}")),
                LaneAnswer::Waits => unanswered.push(lane),
            }
        }
        waiting = unanswered;
    }
    let seconds = ANSWER_TIMEOUT.as_secs();
    problems.extend(waiting.into_iter().map(|lane| {
        format!("{lane}: the worker has not answered within {seconds} s: is this --state the one that it uses?")
    }));
    Ok(problems)
}
