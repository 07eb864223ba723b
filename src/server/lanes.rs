//! The answers of the API about lanes, and the rows that the pages show.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::arguments;
use crate::record::Timestamp;
use crate::telemetry::{
    HumanDuration, LaneMetrics, LaneState, LaneView, NewTokenProblem, RareCount, Silence, StateName, TelemetrySnapshot,
    describe_skipped,
};
use crate::worker::CommandFlags;

/// The response of `/api/v1/lanes` and `/api/v1/pipelines`, and the content of the status page. Times are RFC 3339 in
/// UTC; unknown values are null. Later releases may add fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// Time of the response.
    pub time: String,
    /// Set if several workers share the pipelines.
    pub cluster: Option<ClusterRow>,
    /// Over all lanes, whatever the request filters.
    #[serde(default)]
    pub summary: Summary,
    /// Number of lanes, or of pipelines, that the request asks for. `lanes`, or `pipelines`, has one page of them if
    /// the request has a `limit`.
    #[serde(default)]
    pub matching: usize,
    /// Set if the request asks for all workers: the answer of each other worker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerAnswer>,
    /// Problems outside of pipeline files: with the defaults, or with a place where files are looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_problems: Vec<SourceProblem>,
    /// Sorted by path.
    pub files: Vec<FileRow>,
    /// Only of `/api/v1/pipelines`: the errors that most lanes have, of those that the request asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<EqualErrors>,
    /// Only of `/api/v1/pipelines`, which has no `lanes`: those with a lane that the request asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<PipelineRow>,
    /// Only running lanes, sorted by pipeline, stream and sink unless the request says otherwise.
    pub lanes: Vec<LaneRow>,
}

/// The kind of the rows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Lanes,
    Pipelines,
}

/// See [`Status::source_problems`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProblem {
    /// A value of `--pipelines`, or the defaults file.
    pub place: String,
    pub problem: String,
}

/// Sums over all lanes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub lanes: usize,
    /// Lanes that do not fail.
    pub up: usize,
    /// Lanes whose console has fallen silent.
    #[serde(default)]
    pub silent: usize,
    /// See [`LaneRow::unpolled`].
    #[serde(default)]
    pub unpolled: usize,
    /// Lanes with [`LaneRow::warnings`].
    #[serde(default)]
    pub warned: usize,
    /// Number of lanes by state.
    pub states: BTreeMap<Cow<'static, str>, usize>,
    pub pulled_per_second: f64,
    pub delivered_per_second: f64,
    /// The largest lag.
    pub lag_seconds: Option<f64>,
    pub dead_letters: u64,
}

/// The answer of another worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerAnswer {
    pub worker: String,
    /// Address of its HTTP endpoints.
    pub address: Option<String>,
    /// Why there is no answer; its lanes are missing then.
    pub problem: Option<String>,
    pub summary: Option<Summary>,
}

/// The workers that share the pipelines, as this worker sees them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterRow {
    /// This worker's name.
    pub worker: String,
    /// Number of shards.
    pub shards: u32,
    /// The shards that each worker holds, by its name.
    pub workers: BTreeMap<String, BTreeSet<u32>>,
}

/// One pipeline file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileRow {
    pub file: String,
    pub pipeline: String,
    /// `running`, `paused`, `elsewhere` (another worker runs it), `not_started`, or `removed` (the file is gone).
    pub state: Cow<'static, str>,
    /// Set if several workers share the pipelines.
    #[serde(default)]
    pub shard: Option<u32>,
    /// The worker that holds the shard; null during a handover.
    #[serde(default)]
    pub worker: Option<String>,
    /// Why the current version of the file could not be started, or since when the file is gone.
    pub problem: Option<String>,
    /// The warnings of `check` about the current version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl FileRow {
    /// Returns whether nothing is delivered for the file's pipeline, because the file is invalid or gone.
    pub fn runs_nothing(&self) -> bool {
        matches!(&*self.state, "not_started" | "removed") && self.problem.is_some()
    }

    /// Returns the state in words, and what it means for the pipeline.
    pub fn consequence(&self) -> (&str, &'static str) {
        match (&*self.state, &self.problem) {
            ("running", Some(_)) => {
                ("invalid", " — The last good version keeps running; a restart would not start this pipeline.")
            }
            ("paused", Some(_)) => ("paused, invalid", " — A restart would not read this pipeline."),
            ("removed", Some(_)) => ("removed", ""),
            (_, Some(_)) => ("invalid", " — Not running; a restart would not start this pipeline."),
            ("paused", None) => ("paused", "Paused by its file; its checkpoints are kept."),
            (state, None) => (state, ""),
        }
    }
}

impl Status {
    /// Says how many pipelines get nothing because of their files. `None` if there are none.
    pub fn describe_files(&self) -> Option<String> {
        match self.files.iter().filter(|file| file.runs_nothing()).count() {
            0 => None,
            1 => Some("1 pipeline does not run, since its file is invalid or gone".to_owned()),
            files => Some(format!("{files} pipelines do not run, since their files are invalid or gone")),
        }
    }
}

/// The state of a lane that does not fail, and delivers nothing until an operator decides.
const RENAMED: &str = "renamed";

/// Flag of the command that an error may end with, before the lane's name.
pub(super) const ACCEPT_REFUSALS: &str = "--accept-refusals ";

/// Returns a lane's error as an error of several lanes: a command at its end names no lane.
pub fn of_several(error: &str) -> Cow<'_, str> {
    match error.rsplit_once(ACCEPT_REFUSALS) {
        Some((text, _)) => format!("{text}{ACCEPT_REFUSALS}PIPELINE/STREAM/SINK").into(),
        None => error.into(),
    }
}

/// Returns the part of an error that is equal in the errors of lanes with one cause. It has no numbers, such as the
/// number of refused events. Digits in a name stay.
pub fn cause_of(error: &str) -> String {
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    of_several(error).split(' ').filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ")
}

/// One lane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaneRow {
    pub pipeline: String,
    pub stream: Cow<'static, str>,
    pub sink: String,
    /// The worker that runs the lane; set if the request asks for all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// `starting`, `running`, `console_failing`, `console_refused`, `sink_failing`, `sink_refused`, `misconfigured`,
    /// `waiting_for_clock`, `stopped`, `renamed` or `done`.
    pub state: Cow<'static, str>,
    /// Whether the lane does not fail.
    pub up: bool,
    /// Since when the lane fails, as far as this process knows.
    #[serde(default)]
    pub failing_since: Option<String>,
    /// Set while the lane waits for its turn within the request limit.
    #[serde(default)]
    pub request_limit_wait: Option<RequestLimitWait>,
    /// The current error of a failing lane, or what a renamed one waits for.
    pub error: Option<String>,
    /// Probable problems of the lane although it does not fail. It is the duplicate of another lane, or its token does
    /// not see all of the scope. A clock is wrong, or the console refuses a new token. Records did not come, or a
    /// program failed on events.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The last error, which may be over.
    pub last_error: Option<LastError>,
    /// Time of the last poll or delivery without an error.
    pub last_success: Option<String>,
    /// When the lane polls next. Null while it polls or delivers.
    #[serde(default)]
    pub next_attempt: Option<String>,
    /// The command that makes a failing lane try now, if it waits long for its next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    /// Everything up to this time was pulled and delivered.
    pub complete_until: Option<String>,
    /// Seconds since `complete_until`.
    pub lag_seconds: Option<f64>,
    /// The time of the newest record that the console has shown in a complete poll.
    #[serde(default)]
    pub newest_record: Option<String>,
    /// Whether the console has shown nothing new for longer than the lane's `silent_after`, as of the last complete
    /// poll. Null before the first one since the start, and for lanes that are not judged.
    #[serde(default)]
    pub silent: Option<bool>,
    /// Whether no poll is complete since the lane began: whether its console is silent is not known then.
    #[serde(default)]
    pub unpolled: bool,
    /// Events that the sink acknowledged on this day and on the one before, in UTC, over restarts. Null until the state
    /// store has been read.
    #[serde(default)]
    pub events_today: Option<u64>,
    #[serde(default)]
    pub events_yesterday: Option<u64>,
    /// Whether part of this day is not counted. There were then at least as many events as shown: a process was killed,
    /// or the stored counts were removed or cannot be read.
    #[serde(default)]
    pub today_has_gap: bool,
    #[serde(default)]
    pub yesterday_has_gap: bool,
    /// When the pipeline's API token expires: a time, or `never`.
    pub token_expires: Option<String>,
    /// Result of the last comparison with the console's count.
    #[serde(default)]
    pub verified: Option<Verified>,
    /// Records pulled since the process started; so are the counts below.
    pub pulled: u64,
    pub delivered: u64,
    /// Records that needed no delivery, by reason.
    pub skipped: BTreeMap<Cow<'static, str>, u64>,
    /// Records that were pulled, not delivered, and will be pulled again.
    pub requeued: u64,
    pub dead_letters: u64,
    /// Dead letters that are stored now, including those of earlier processes. Null until the store has been read.
    #[serde(default)]
    pub dead_letters_stored: Option<u64>,
    /// Records that were forwarded as error events.
    pub map_errors: u64,
    /// Events on which a program of `remap` or `drop` failed.
    pub remap_errors: u64,
    /// The last failure of a program.
    pub last_remap_error: Option<LastError>,
    /// The command that maps events again that were forwarded as they were mapped, since a program failed on them.
    #[serde(default)]
    pub remap_repair: Option<String>,
    /// Batches that the sink accepted with a warning, by reason.
    #[serde(default)]
    pub sink_warnings: BTreeMap<Cow<'static, str>, u64>,
    #[serde(default)]
    pub last_sink_warning: Option<LastError>,
    pub delivered_bytes: u64,
    /// Mean duration of the requests to the sink in about the last minute, in seconds. Null if none has ended.
    #[serde(default)]
    pub sink_latency_seconds: Option<f64>,
    /// Average over about the last minute.
    pub pulled_per_second: f64,
    /// Average over about the last minute.
    pub delivered_per_second: f64,
}

/// The lanes of a pipeline that a request asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineRow {
    pub pipeline: String,
    /// The worker that runs the pipeline; set if the request asks for all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Number of these lanes.
    pub lanes: usize,
    /// Lanes that do not fail.
    pub up: usize,
    /// Lanes whose console has fallen silent.
    #[serde(default)]
    pub silent: usize,
    /// Lanes with [`LaneRow::warnings`].
    #[serde(default)]
    pub warned: usize,
    /// Time of the newest record of any of these lanes.
    #[serde(default)]
    pub newest_record: Option<String>,
    /// Lanes that fail with the error of the worst one.
    pub equal_errors: usize,
    /// The most urgent state, and of those the largest lag.
    pub worst: LaneRow,
    /// The largest.
    pub lag_seconds: Option<f64>,
    /// The earliest; null if one of the lanes had none.
    pub last_success: Option<String>,
    /// Sums over these lanes, in the sense of [`LaneRow::events_today`]; null if none of them is known.
    #[serde(default)]
    pub events_today: Option<u64>,
    #[serde(default)]
    pub events_yesterday: Option<u64>,
    /// Whether [`LaneRow::today_has_gap`] is set for one of these lanes, or the counts of one are not known.
    #[serde(default)]
    pub today_has_gap: bool,
    #[serde(default)]
    pub yesterday_has_gap: bool,
    /// Sums over these lanes.
    pub delivered: u64,
    pub dead_letters: u64,
    pub delivered_per_second: f64,
}

/// Lanes that fail with the same error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualErrors {
    pub error: String,
    pub state: Cow<'static, str>,
    pub lanes: usize,
    /// Number of the pipelines that have these lanes.
    pub pipelines: usize,
    /// The first pipelines by name.
    pub names: Vec<String>,
    /// Since when the first of these lanes fails.
    pub failing_since: Option<String>,
}

/// See [`LaneRow::request_limit_wait`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestLimitWait {
    pub since: String,
    /// Lanes that share the limit, since they have one console and one token.
    pub lanes: usize,
}

/// See [`LaneRow::last_error`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastError {
    /// Time when the lane had the error last.
    pub time: String,
    pub text: String,
}

/// See [`LaneRow::verified`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// Records that the console counts and the lane does not account for, created in the last compared day.
    pub missing_records: u64,
    /// End of that day.
    pub until: String,
}

impl Summary {
    /// Lanes that are up, and wait for `state rename`.
    pub fn renamed(&self) -> usize {
        self.states.get(RENAMED).copied().unwrap_or_default()
    }

    /// Adds the sums of another worker.
    pub(super) fn merge(&mut self, other: &Self) {
        self.lanes += other.lanes;
        self.up += other.up;
        self.silent += other.silent;
        self.unpolled += other.unpolled;
        self.warned += other.warned;
        for (state, count) in &other.states {
            *self.states.entry(state.clone()).or_default() += count;
        }
        self.pulled_per_second += other.pulled_per_second;
        self.delivered_per_second += other.delivered_per_second;
        self.lag_seconds = match (self.lag_seconds, other.lag_seconds) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        self.dead_letters = self.dead_letters.saturating_add(other.dead_letters);
    }
}

/// See [`LaneRow::needs_attention`].
pub(super) fn needs_attention(state: StateName<'_>) -> bool {
    !state.is_up || state.name == RENAMED
}

/// The more urgent is the greater.
pub type Urgency = (usize, bool, bool, usize);

/// Returns the urgency. Lanes that need an operator come first, by state, then silent ones, then those with a warning,
/// then the others.
pub(super) fn urgency(state: StateName<'_>, is_silent: bool, is_warned: bool) -> Urgency {
    let names = LaneState::NAMES;
    let place = names.iter().position(|name| *name == state.name).map_or(0, |place| names.len() - place);
    if needs_attention(state) { (place, false, false, 0) } else { (0, is_silent, is_warned, place) }
}

/// See [`LaneRow::warnings`].
pub(super) fn warnings(view: &LaneView) -> Vec<String> {
    let metrics = &view.metrics;
    let mut warnings = metrics.warnings().texts();
    // A lane that waits for a clock says so as its error.
    warnings.extend(metrics.clocks.warning().filter(|_| metrics.state().is_up()));
    let others = metrics.rare(RareCount::LabelledOther);
    warnings.extend((others > 0).then(|| {
        format!("{others} records have the label `other`: the console names more different labels than a lane keeps")
    }));
    // If the former token does not work either, the lane's error says so, but does not say which scope the new token
    // has.
    let new_token = view.token.new_token.as_ref();
    let new_token = new_token
        .filter(|problem| metrics.token_problem().is_none() || matches!(problem, NewTokenProblem::OtherScope { .. }));
    warnings.extend(new_token.map(ToString::to_string));
    warnings.extend(metrics.repairs().iter().map(ToString::to_string));
    warnings
}

/// Returns whether the lane does not fail, and one of its programs did. While the lane fails, the program's message
/// about events is outdated.
pub(super) fn has_remap_problem(metrics: &LaneMetrics) -> bool {
    metrics.map.program_errors.get() > 0 && metrics.state_name().is_up
}

/// Describes a failure of the programs of a lane: events are forwarded as they were mapped. `None` if there is none.
fn remap_problem(metrics: &LaneMetrics, repair: Option<&str>) -> Option<String> {
    let (time, text) = metrics.last_remap_error().filter(|_| has_remap_problem(metrics))?;
    let count = metrics.map.program_errors.get();
    let events = if count == 1 { "event" } else { "events" };
    // The console has only the newest state of a record that changes.
    let changed =
        if metrics.id.stream.description().is_ordered_by_creation() { "" } else { " (a record's newest state alone)" };
    let repair = repair.map(|repair| format!("; after its correction{changed}: {repair}")).unwrap_or_default();
    Some(format!("a program failed on {count} {events}, last at {time}: {text}{repair}"))
}

/// See [`LaneRow::remap_repair`]. A window ends before its last second.
fn remap_repair(metrics: &LaneMetrics, snapshot: &TelemetrySnapshot, flags: &CommandFlags) -> Option<String> {
    let (first, last) = metrics.unchanged_records()?;
    let (file, _) = snapshot.files.iter().find(|(_, status)| status.pipeline == metrics.id.pipeline)?;
    let CommandFlags { files, state, dead_letters } = flags;
    let (from, to) = (first, last.plus(Duration::from_secs(1)));
    let (file, stream, sink) = (arguments(file), metrics.id.stream, &metrics.id.sink);
    Some(format!(
        "s1-forwarder backfill {file}{files} --stream {stream} --sink {sink} --from {from:.0} --to {to:.0}{state}{dead_letters}"
    ))
}

fn expiry(time: Timestamp) -> String {
    if time.is_never() { "never".to_owned() } else { time.to_string() }
}

/// Returns the number of dead letters that the pages show and sort by: stored ones, or this process's if the store's
/// number is unknown. [`LaneRow::shown_dead_letters`] does the same for an answer.
pub(super) fn shown_dead_letters(metrics: &LaneMetrics) -> u64 {
    metrics.dead_letters_stored().unwrap_or_else(|| metrics.send.dead_letters.get())
}

/// Returns a number of events, marked if it may be larger since counts were lost.
pub(super) fn at_least((events, has_gap): (Option<u64>, bool)) -> String {
    let least = if has_gap { "≥ " } else { "" };
    events.map_or("–".to_owned(), |events| format!("{least}{events}"))
}

impl LaneRow {
    pub fn shown_dead_letters(&self) -> u64 {
        self.dead_letters_stored.unwrap_or(self.dead_letters)
    }

    /// Returns the numbers of events of today and yesterday for table cells.
    pub fn describe_days(&self) -> [String; 2] {
        [(self.events_today, self.today_has_gap), (self.events_yesterday, self.yesterday_has_gap)].map(at_least)
    }

    /// Returns the command that makes the lane try now, or all `count` lanes of its pipeline that fail alike.
    pub fn retry_of(&self, count: usize) -> Option<String> {
        let command = self.retry.as_ref()?;
        Some(if count > 1 { command.replacen(&self.name(), &self.pipeline, 1) } else { command.clone() })
    }

    /// Returns `PIPELINE/STREAM/SINK`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.pipeline, self.stream, self.sink)
    }

    /// Returns whether this is the name of the lane, or of its pipeline.
    pub fn is_called(&self, name: &str) -> bool {
        self.pipeline == name || self.name() == name
    }

    /// Returns the skipped records for a table cell.
    pub fn describe_skipped(&self) -> String {
        describe_skipped(self.skipped.iter().map(|(reason, count)| (&**reason, *count)))
    }

    /// Says what a lane that does not fail waits for. `None` if it does not wait for its turn within the request limit.
    pub fn describe_wait(&self) -> Option<String> {
        if !self.up {
            return None;
        }
        Some(match self.request_limit_wait.as_ref()?.lanes {
            0 | 1 => "waits for the request limit".to_owned(),
            lanes => format!("waits for the request limit ({lanes} lanes share it)"),
        })
    }

    /// Returns the urgency. The more urgent lane has the greater one: failing, silent, with a warning, well.
    pub fn urgency(&self) -> Urgency {
        urgency(self.state_name(), self.silent == Some(true), !self.warnings.is_empty())
    }

    /// Returns whether the lane needs an operator: it fails, or waits for `state rename`.
    pub fn needs_attention(&self) -> bool {
        needs_attention(self.state_name())
    }

    fn state_name(&self) -> StateName<'_> {
        StateName { name: &self.state, is_up: self.up }
    }

    /// Says since when a lane is silent. `None` if it is not.
    pub fn describe_silence(&self, now: Timestamp) -> Option<String> {
        if self.silent != Some(true) {
            return None;
        }
        let newest = self.newest_record.as_deref().and_then(|text| Timestamp::parse(text).ok());
        Some(match newest {
            // A console that fails says nothing: the silence was seen before.
            Some(newest) if !self.up => format!("silent before: newest record at {}", newest.whole_second()),
            Some(newest) => format!("silent for {}", HumanDuration(now.since(newest))),
            None => "silent: no record yet".to_owned(),
        })
    }

    /// Describes the sink's warnings about events that it accepts. `None` if there are none.
    fn sink_problem(&self) -> Option<String> {
        let LastError { time, text } = self.last_sink_warning.as_ref()?;
        let batches: Vec<_> =
            self.sink_warnings.iter().map(|(reason, batches)| format!("{batches} {reason}")).collect();
        Some(format!("the sink accepted batches with a warning ({}), last at {time}: {text}", batches.join(", ")))
    }

    /// Returns the problems of the lane besides its error.
    pub fn problems(&self) -> Vec<String> {
        // While the lane fails, the sink's warning about events is outdated.
        let of_events = if self.error.is_none() { self.sink_problem() } else { None };
        of_events.into_iter().chain(self.warnings.iter().cloned()).collect()
    }

    pub(super) fn of(view: &LaneView, snapshot: &TelemetrySnapshot, flags: &CommandFlags, now: Timestamp) -> Self {
        let metrics = &view.metrics;
        let state = metrics.state();
        let recent = metrics.usage.recent(now);
        let sink_warnings = metrics.sink_warnings();
        let remap_repair = remap_repair(metrics, snapshot, flags);
        let mut warnings = warnings(view);
        warnings.extend(remap_problem(metrics, remap_repair.as_deref()));
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            pipeline: metrics.id.pipeline.clone(),
            stream: metrics.id.stream.name().into(),
            sink: metrics.id.sink.clone(),
            worker: None,
            state: state.name().into(),
            up: state.is_up(),
            failing_since: time(metrics.failing_since()),
            request_limit_wait: metrics
                .limit_wait(now)
                .map(|(since, lanes)| RequestLimitWait { since: since.to_string(), lanes }),
            error: state.error().map(str::to_owned),
            warnings,
            last_error: metrics.last_error().map(|(time, text)| LastError { time: time.to_string(), text }),
            last_success: time(metrics.last_success()),
            next_attempt: time(metrics.next_attempt()),
            retry: metrics.retry_command_while_waiting(now),
            complete_until: time(metrics.complete_until()),
            lag_seconds: metrics.lag(now).map(|lag| lag.as_secs_f64()),
            newest_record: time(metrics.newest_record()),
            silent: metrics.silence().is_known_silent(),
            unpolled: metrics.silence() == Silence::Unpolled,
            events_today: recent.map(|recent| recent.today),
            events_yesterday: recent.map(|recent| recent.yesterday),
            today_has_gap: recent.is_some_and(|recent| recent.has_gap_today),
            yesterday_has_gap: recent.is_some_and(|recent| recent.has_gap_yesterday),
            token_expires: view.token.expires.map(expiry),
            verified: metrics.verification().map(|verification| Verified {
                missing_records: verification.missing_records,
                until: verification.until.to_string(),
            }),
            pulled: metrics.pull.records.get(),
            delivered: metrics.send.delivered.get(),
            skipped: metrics.skipped_by_reason().map(|(reason, count)| (reason.into(), count)).collect(),
            requeued: metrics.pull.requeued.get(),
            dead_letters: metrics.send.dead_letters.get(),
            dead_letters_stored: metrics.dead_letters_stored(),
            map_errors: metrics.map.errors.get(),
            remap_errors: metrics.map.program_errors.get(),
            last_remap_error: metrics.last_remap_error().map(|(time, text)| LastError { time: time.to_string(), text }),
            remap_repair,
            sink_warnings: sink_warnings.into_iter().map(|(reason, batches)| (reason.into(), batches)).collect(),
            last_sink_warning: metrics
                .last_sink_warning()
                .map(|(time, text)| LastError { time: time.to_string(), text }),
            delivered_bytes: metrics.send.bytes.get(),
            sink_latency_seconds: metrics.sink_latency(now),
            pulled_per_second: view.pulled_per_second,
            delivered_per_second: view.delivered_per_second,
        }
    }
}
