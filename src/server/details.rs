//! The API's answer about one pipeline, which its page also shows.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lanes::{FileRow, LaneRow, Rows, Status};
use super::query::LaneQuery;
use super::worker_view::WorkerView;
use crate::pipeline::arguments;
use crate::record::Timestamp;
use crate::telemetry::Telemetry;
use crate::worker::CommandFlags;

/// The response of `/api/v1/pipelines/NAME`, and the content of the pipeline's page. Later releases may add fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineDetails {
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// Time of the response.
    pub time: String,
    pub pipeline: String,
    /// The worker that answers, if several workers share the pipelines.
    pub worker: Option<String>,
    /// The files that have this pipeline, which is one unless two have the same name.
    pub files: Vec<FileRow>,
    pub lanes: Vec<LaneRow>,
    /// The newest first.
    pub errors: Vec<Incident>,
    /// The oldest first.
    pub history: Vec<HistoryPoint>,
    /// Keys and values of the pipeline file as they apply, without secrets.
    pub settings: Vec<(String, String)>,
    #[serde(default)]
    pub commands: PipelineCommands,
}

/// Commands about a pipeline, as they are typed where the worker runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PipelineCommands {
    pub check: String,
    pub preview: String,
    pub verify: String,
    pub list_dead_letters: String,
    pub replay_dead_letters: String,
}

impl PipelineCommands {
    fn of(pipeline: &str, file: Option<&Path>, flags: &CommandFlags) -> Self {
        let CommandFlags { files, state, dead_letters } = flags;
        let file = file.map_or_else(|| "FILE".to_owned(), arguments) + files;
        // These commands read all pipelines of a place.
        let place = file.replacen(&format!(" --pipeline {pipeline}"), "", 1);
        Self {
            check: format!("s1-forwarder check {place}"),
            preview: format!("s1-forwarder preview {file}"),
            verify: format!("s1-forwarder verify {file} --from 1d --to now{state}"),
            list_dead_letters: format!("s1-forwarder dead-letters list --pipeline {pipeline}{state}{dead_letters}"),
            replay_dead_letters: format!(
                "s1-forwarder dead-letters replay {place} --pipeline {pipeline}{state}{dead_letters}"
            ),
        }
    }
}

/// An error of one lane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Incident {
    /// The last time.
    pub time: String,
    pub stream: Cow<'static, str>,
    pub sink: String,
    /// The state that it caused.
    pub state: Cow<'static, str>,
    pub text: String,
    /// Number of times that the lane had the error in a row.
    pub count: u32,
}

/// Five minutes of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// End of the five minutes, in seconds since 1970.
    pub time: i64,
    pub delivered_per_second: f32,
    /// The largest lag among the pipeline's lanes.
    pub lag_seconds: Option<f32>,
}

impl PipelineDetails {
    /// Returns the details of a pipeline. `None` if this worker knows no such pipeline.
    pub(super) fn of(telemetry: &Telemetry, worker: &WorkerView, pipeline: &str, now: Timestamp) -> Option<Self> {
        let mut snapshot = telemetry.snapshot();
        snapshot.lanes.retain(|lane| lane.metrics.id.pipeline == pipeline);
        snapshot.files.retain(|(_, status)| status.pipeline == pipeline);
        if snapshot.lanes.is_empty() && snapshot.files.is_empty() {
            return None;
        }
        let mut errors = Vec::new();
        for lane in snapshot.lanes.iter().map(|lane| &lane.metrics) {
            errors.extend(lane.recent_errors().into_iter().map(|error| (error, lane)));
        }
        errors.sort_by_key(|(error, _)| std::cmp::Reverse(error.time));
        let errors = errors.into_iter().map(|(error, lane)| Incident {
            time: error.time.to_string(),
            stream: lane.id.stream.name().into(),
            sink: lane.id.sink.clone(),
            state: error.state.into(),
            text: error.text.into_string(),
            count: error.count,
        });
        let errors = errors.collect();
        let history = telemetry.history(pipeline).into_iter().map(|sample| HistoryPoint {
            time: sample.time.seconds(),
            delivered_per_second: sample.delivered_per_second,
            lag_seconds: sample.lag_seconds,
        });
        let history = history.collect();
        let everything = LaneQuery { page: 1, ..LaneQuery::default() };
        let flags = worker.flags();
        let Status { version, time, cluster, files, lanes, .. } =
            Status::of(&snapshot, &flags, &everything, Rows::Lanes, now);
        let settings = worker.settings(pipeline).unwrap_or_default();
        let file = snapshot.files.first().map(|(file, _)| &**file);
        let commands = PipelineCommands::of(pipeline, file, &flags);
        let worker = cluster.map(|cluster| cluster.worker);
        let pipeline = pipeline.to_owned();
        Some(Self { version, time, pipeline, worker, files, lanes, errors, history, settings, commands })
    }
}

/// Says what an operator does about a lane in this state with this error. docs/troubleshooting.md has the long answer.
pub(super) fn advice(state: &str, error: &str) -> &'static str {
    match state {
        "console_failing" if is_rate_limit(error) => {
            "The console limits the rate of requests. The lane waits as long as the console says, and loses nothing. If \
             this lasts, lower `console.requests_per_second`, raise `interval`, or ask what else uses this token."
        }
        "sink_failing" if is_rate_limit(error) => {
            "The destination limits the rate. The lane waits as long as the destination says, and loses nothing. If this \
             lasts and the lag grows, raise the destination's quota, or forward less: `exclude_types`, `transform.drop`."
        }
        "console_failing" => {
            "The lane tries again by itself. If this lasts, check the network, the proxy and whether the console is up."
        }
        "console_refused" if has_status(error, |status| matches!(status, 404 | 501)) => {
            "The console does not have what the lane asks for. Do what the error says: correct the scope, remove the stream \
             from the file, or ask the console's operator. The lane tries again about every hour."
        }
        "console_refused" if has_status(error, |status| matches!(status, 300..=399)) => {
            "Correct `console.url`: it has to be the console's own address. `check` asks there. A changed file is read \
             without a restart."
        }
        "console_refused" => {
            "Check token, role and scope with `check`. A replaced token file is read without a restart."
        }
        "sink_failing" if error.contains("holds its lock") => {
            "Another process or another lane writes this file. Run the command that the error names, and stop that process, \
             or give one of the two another `path`. The lane then goes on by itself."
        }
        "sink_failing" => {
            "The lane tries again by itself and loses nothing. If this lasts, check the sink and the way to it."
        }
        "sink_refused" => {
            "Correct the sink's credentials or settings. `check` tests the credentials, and `preview` prints \
             the events that the sink would get. The lane tries again by itself."
        }
        "misconfigured" => {
            "Correct what the error names: a secret or certificate that cannot be read here, a program that fails or is too \
             slow, or settings with which the sink refuses everything. The lane tries again by itself, but after a \
             program only when the file is corrected."
        }
        "stopped" => {
            "Make the store of checkpoints or dead letters writable and free. The lane then continues by itself."
        }
        "waiting_for_clock" => {
            "Set the clock that is wrong, this machine's or the console's, or run the command that the lane names. The lane \
             compares the clocks again within a minute, and then goes on by itself."
        }
        "renamed" => "Run the command that the lane names, or see docs/state.md if the pipeline is a new one.",
        _ => "",
    }
}

/// Returns whether this text has an answer of the console with such a status.
fn has_status(error: &str, is_meant: impl Fn(u16) -> bool) -> bool {
    let status = error.split("the console answered ").nth(1).and_then(|rest| rest.get(..3)?.parse().ok());
    status.is_some_and(is_meant)
}

/// Returns whether the status of the answer in this text is 429 Too Many Requests.
fn is_rate_limit(error: &str) -> bool {
    error.split(|character: char| !character.is_ascii_alphanumeric()).any(|word| word == "429")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_about_what_was_refused() {
        for (state, error, part) in [
            ("console_refused", "the console answered 404 Not Found; ask its operator", "ask the console's operator"),
            ("console_refused", "the console answered 302 Found; is it?", "own address"),
            ("console_refused", "the console answered 403 Forbidden: 404", "Check token, role and scope"),
            ("sink_failing", "cannot open x: another process or lane holds its lock; fuser -v x", "writes this file"),
            ("sink_failing", "503", "the way to it"),
        ] {
            let advice = advice(state, error);
            assert!(advice.contains(part) && advice.contains("token") == part.contains("token"), "{error}: {advice}");
        }
    }

    #[test]
    fn a_rate_limit_has_advice_of_its_own() {
        for (state, error) in [
            ("console_failing", "the console answered 429 Too Many Requests"),
            ("sink_failing", "429 Too Many Requests: slow down"),
        ] {
            let advice = advice(state, error);
            assert!(advice.contains("limits the rate") && !advice.contains("network"), "{advice}");
        }
        assert!(advice("console_failing", "cannot connect to host:4290").contains("check the network"));
        assert!(advice("console_refused", "429").contains("token"));
    }
}
