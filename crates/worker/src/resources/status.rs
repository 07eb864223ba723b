//! Makes the status of a `Pipeline` resource from the worker's reports about its file and its lanes.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_failure::FailureKind;
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::{
    FileStatus, LaneMetrics, LaneState, LaneStateKind, LaneWarnings, PipelineState, Silence, TokenProblem, TokenStatus,
};
use serde::Serialize;

use crate::pipeline::resource::{CHECKPOINTS, Condition, ResourceState};

/// The time that a comparison covers.
const DAY: Duration = Duration::from_hours(24);
/// A token that is valid for less is named in its condition.
const EXPIRES_SOON: Duration = Duration::from_hours(336);
/// Longest message of a condition.
const MAX_MESSAGE: usize = 1_000;

/// `status` of the resource; deploy/kubernetes/crd.yaml describes the fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    pub pipeline: String,
    pub worker: String,
    pub conditions: Vec<Condition>,
    pub lanes: Vec<LaneStatus>,
    #[serde(flatten)]
    pub progress: Progress,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LaneStatus {
    pub stream: &'static str,
    pub sink: String,
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub progress: Progress,
}

/// How far a lane is, or all lanes of a pipeline: as far as the last of them, and their sums.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    delivered: u64,
    dead_letters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters_stored: Option<u64>,
}

/// Status, reason and message of a condition.
type Judgement = (&'static str, &'static str, String);

impl Status {
    /// Returns the status of a pipeline. `before` are the conditions that the resource has now.
    pub fn of(
        file: &FileStatus,
        lanes: &[Arc<LaneMetrics>],
        token: TokenStatus,
        worker: &str,
        before: &[Condition],
        now: Timestamp,
    ) -> Self {
        let states: Vec<LaneState> = lanes.iter().map(|lane| lane.state()).collect();
        let view = View { file, lanes, states: &states, token: &token, now };
        let generation = file.generation.unwrap_or_default();
        let conditions = view.judgements().map(|(kind, (status, reason, mut message))| {
            let end = message.floor_char_boundary(MAX_MESSAGE);
            message.truncate(end);
            let known = before.iter().find(|known| known.kind == kind && known.status == status);
            let since = known.map_or_else(|| seconds(now), |known| known.last_transition_time.clone());
            Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message,
                observed_generation: generation,
                last_transition_time: since,
            }
        });
        Self {
            observed_generation: file.generation,
            pipeline: file.pipeline.clone(),
            worker: worker.to_owned(),
            conditions: conditions.into(),
            lanes: lanes.iter().zip(&states).map(|(lane, state)| LaneStatus::of(lane, state, now)).collect(),
            progress: Progress::of(lanes, now),
            token_expires: token
                .expires
                .map(|expires| if expires.is_never() { "never".to_owned() } else { seconds(expires) }),
        }
    }

    /// Returns whether something has changed that should be written at once: not times, counts and texts.
    pub fn differs_from(&self, other: &Self) -> bool {
        let words = |status: &Self| {
            let conditions = status.conditions.iter();
            let conditions = conditions.map(|condition| (condition.status.clone(), condition.reason.clone()));
            let lanes = status.lanes.iter().map(|lane| (lane.stream, lane.sink.clone(), lane.state));
            let first = (status.observed_generation, status.worker.clone(), status.token_expires.clone());
            (first, conditions.collect::<Vec<_>>(), lanes.collect::<Vec<_>>())
        };
        words(self) != words(other)
    }

    /// Adds to `Ready` that an annotation of the resource says nothing that is known.
    pub fn note_annotation(&mut self, resource: &ResourceState) {
        if let (Some(_), Some(ready)) = (resource.unknown_checkpoints(), self.conditions.first_mut()) {
            let note = format!("the annotation {CHECKPOINTS} is neither `remove` nor `keep`: the checkpoints stay");
            ready.message = if ready.message.is_empty() { note } else { format!("{}; {note}", ready.message) };
        }
    }

    pub fn ready(&self) -> Option<&Condition> {
        self.conditions.first()
    }
}

impl LaneStatus {
    fn of(metrics: &Arc<LaneMetrics>, state: &LaneState, now: Timestamp) -> Self {
        Self {
            stream: metrics.id.stream.name(),
            sink: metrics.id.sink.clone(),
            state: state.name(),
            error: state.error().map(str::to_owned),
            progress: Progress::of(std::slice::from_ref(metrics), now),
        }
    }
}

impl Progress {
    fn of(lanes: &[Arc<LaneMetrics>], now: Timestamp) -> Self {
        // None is the smallest.
        let complete_until = lanes.iter().map(|lane| lane.lag_since()).min().flatten();
        Self {
            lag_seconds: complete_until.map(|until| now.since(until).as_secs()),
            complete_until: complete_until.map(seconds),
            last_success: lanes.iter().filter_map(|lane| lane.last_success()).max().map(seconds),
            delivered: lanes.iter().map(|lane| lane.send.delivered.get()).sum(),
            dead_letters: lanes.iter().map(|lane| lane.send.dead_letters.get()).sum(),
            // Unknown without lanes, as for a paused pipeline: its dead letters stay.
            dead_letters_stored: lanes
                .iter()
                .map(|lane| lane.dead_letters_stored())
                .reduce(|all, one| Some(all? + one?))
                .flatten(),
        }
    }
}

/// Times in Kubernetes have whole seconds.
fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// The facts that conditions are made of.
struct View<'a> {
    file: &'a FileStatus,
    lanes: &'a [Arc<LaneMetrics>],
    /// The state of each lane.
    states: &'a [LaneState],
    token: &'a TokenStatus,
    now: Timestamp,
}

impl View<'_> {
    /// Returns the first lane in such a state, with its error, and how many more there are.
    fn failing(&self, is_such: impl Fn(&LaneMetrics, &LaneState) -> bool) -> Option<(&LaneState, String)> {
        let lanes = self.lanes.iter().map(|lane| &**lane).zip(self.states);
        let mut failing = lanes.filter(|(lane, state)| is_such(lane, state));
        let (lane, state) = failing.next()?;
        let mut message = format!("{}/{}: {}", lane.id.stream.name(), lane.id.sink, state.error().unwrap_or_default());
        let more = failing.count();
        if more > 0 {
            let what = if state.is_up() { "wait" } else { "fail" };
            message.push_str(&format!(" (lanes that {what}: {})", more + 1));
        }
        Some((state, message))
    }

    /// Returns the judgement of each type of condition.
    fn judgements(&self) -> [(&'static str, Judgement); 6] {
        let of_lanes = |judge: fn(&Self) -> Judgement| match self.idle() {
            Some(reason) => ("Unknown", reason, String::new()),
            None => judge(self),
        };
        [
            ("Ready", self.ready()),
            ("ConsoleReachable", of_lanes(Self::console_reachable)),
            ("TokenValid", of_lanes(Self::token_valid)),
            ("Delivering", of_lanes(Self::delivering)),
            ("Complete", of_lanes(Self::complete)),
            ("Receiving", of_lanes(Self::receiving)),
        ]
    }

    /// Returns the reason for the conditions about lanes if no lane runs.
    fn idle(&self) -> Option<&'static str> {
        match self.file.state {
            PipelineState::Running => None,
            PipelineState::Paused => Some("Paused"),
            PipelineState::Elsewhere | PipelineState::NotStarted | PipelineState::Removed => Some("NotRunning"),
        }
    }

    fn has_started(&self) -> bool {
        self.states.iter().any(|state| !matches!(state.kind, LaneStateKind::Starting | LaneStateKind::Renamed))
    }

    /// Returns whether some lane is in such a state, or has polled or delivered without an error.
    fn has_succeeded(&self, is_such: impl Fn(&LaneState) -> bool) -> bool {
        let mut lanes = self.lanes.iter().zip(self.states);
        lanes.any(|(lane, state)| lane.last_success().is_some() || is_such(state))
    }

    /// Returns the judgement of a condition about which nothing is known.
    fn unknown(&self) -> Judgement {
        let reason = if self.has_started() { "NoAnswer" } else { "Starting" };
        ("Unknown", reason, String::new())
    }

    fn ready(&self) -> Judgement {
        if let Some(problem) = &self.file.problem {
            let keeps = "the last valid version keeps running, and a restart would not start it: ";
            let message = match self.file.state {
                PipelineState::Running | PipelineState::Paused => format!("{keeps}{problem}"),
                PipelineState::Elsewhere | PipelineState::NotStarted | PipelineState::Removed => problem.clone(),
            };
            return ("False", "Invalid", message);
        }
        if self.file.state == PipelineState::Paused {
            return ("False", "Paused", "`enabled: false`; the checkpoints are kept".to_owned());
        }
        // A lane that waits must not hide one that fails.
        let is_waiting = |_: &LaneMetrics, state: &LaneState| state.kind == LaneStateKind::Renamed;
        let unready = self.failing(|_, state| !state.is_up()).or_else(|| self.failing(is_waiting));
        if let Some((state, message)) = unready {
            return ("False", self.reason(state), message);
        }
        let starting = self.states.iter().filter(|state| state.kind == LaneStateKind::Starting).count();
        if starting > 0 || self.states.is_empty() {
            return ("False", "Starting", format!("lanes that wait for their first poll: {starting}"));
        }
        ("True", "Running", format!("lanes that run: {}", self.states.len()))
    }

    fn reason(&self, state: &LaneState) -> &'static str {
        match state.kind {
            LaneStateKind::ConsoleFailing => "ConsoleFailing",
            LaneStateKind::ConsoleRefused => match self.lanes.iter().find_map(|lane| lane.token_problem()) {
                Some(TokenProblem::Refused) => "TokenRefused",
                _ => "ConsoleRefused",
            },
            LaneStateKind::SinkFailing => "SinkFailing",
            LaneStateKind::SinkRefused => "SinkRefused",
            LaneStateKind::Misconfigured(reason) => reason.name(),
            LaneStateKind::Stopped => "Stopped",
            LaneStateKind::WaitingForClock => "WaitingForClock",
            LaneStateKind::Renamed => "Renamed",
            LaneStateKind::Starting | LaneStateKind::Running | LaneStateKind::Done => "Running",
        }
    }

    fn console_reachable(&self) -> Judgement {
        match self.failing(|_, state| state.kind == LaneStateKind::ConsoleFailing) {
            Some((_, message)) => ("False", "ConsoleFailing", message),
            None if self.has_succeeded(has_answer) => ("True", "Answers", String::new()),
            None => self.unknown(),
        }
    }

    fn token_valid(&self) -> Judgement {
        let failing = |problem| self.failing(|lane, _| lane.token_problem() == Some(problem));
        if let Some((_, message)) = failing(TokenProblem::Refused) {
            return ("False", "Refused", message);
        }
        if let Some((_, message)) = failing(TokenProblem::Unreadable) {
            return ("False", FailureKind::SecretUnreadable.name(), message);
        }
        if let Some(problem) = &self.token.new_token {
            return ("False", problem.name(), problem.to_string());
        }
        match self.token.expires {
            Some(expires) if expires <= self.now => ("False", "Expired", format!("it expired at {expires}")),
            // Any answer but that to a refused token shows that the console takes it.
            _ if !self.has_succeeded(has_answer) => self.unknown(),
            Some(expires) if expires.since(self.now) <= EXPIRES_SOON => {
                ("True", "ExpiresSoon", format!("it expires at {expires}: replace it"))
            }
            _ => ("True", "Accepted", String::new()),
        }
    }

    fn delivering(&self) -> Judgement {
        let is_such = |lane: &LaneMetrics, state: &LaneState| match state.kind {
            LaneStateKind::SinkFailing | LaneStateKind::SinkRefused | LaneStateKind::Stopped => true,
            // Without the console's token nothing was tried at the sink.
            LaneStateKind::Misconfigured(_) => lane.token_problem().is_none(),
            _ => false,
        };
        match self.failing(is_such) {
            Some((state, message)) => ("False", self.reason(state), message),
            None if self.has_succeeded(|state| matches!(state.kind, LaneStateKind::Running | LaneStateKind::Done)) => {
                match self.warned(|warnings| warnings.duplicate_of) {
                    Some((lane, of, lanes)) => ("True", "Duplicate", format!("{lane}: duplicate of {of}{lanes}")),
                    None => ("True", "NoFailure", String::new()),
                }
            }
            None => self.unknown(),
        }
    }

    /// Compares nothing: the worker does so once a day.
    fn complete(&self) -> Judgement {
        let results = self.lanes.iter().filter_map(|lane| Some((lane, lane.verification()?)));
        let results: Vec<_> = results.collect();
        let missing: u64 = results.iter().map(|(_, result)| result.missing_records).sum();
        match results.iter().map(|(_, result)| result.until).max() {
            None => ("Unknown", "NotCompared", "the counts of a whole day were not compared yet".to_owned()),
            Some(until) if missing > 0 => {
                let namespace = self.file.pipeline.split('.').next().unwrap_or_default();
                let message = format!(
                    "{missing} records of the day until {until} are not accounted for; to deliver them, run in a \
                     worker's pod: s1-forwarder verify kubernetes-resources:{namespace} --pipeline {} --from {} --to \
                     {until} --repair",
                    self.file.pipeline,
                    until.minus(DAY),
                );
                ("False", "RecordsMissing", message)
            }
            Some(until) => ("True", "Compared", format!("nothing is missing until {until}")),
        }
    }
}

impl View<'_> {
    /// Returns the first lane with such a warning, the warning, and how many lanes have one.
    fn warned(&self, warning: impl Fn(LaneWarnings) -> Option<Arc<str>>) -> Option<(String, Arc<str>, String)> {
        let mut warned = self.lanes.iter().filter_map(|lane| Some((lane, warning(lane.warnings())?)));
        let (lane, text) = warned.next()?;
        let lanes = match warned.count() {
            0 => String::new(),
            more => format!(" (lanes: {})", more + 1),
        };
        Some((format!("{}/{}", lane.id.stream.name(), lane.id.sink), text, lanes))
    }

    /// Judges whether the console shows new records. It may have none, or the token may not see them any more.
    fn receiving(&self) -> Judgement {
        if let Some((_, text, _)) = self.warned(|warnings| warnings.unseen) {
            return ("False", "ScopeNotSeen", text.to_string());
        }
        let silent = || self.lanes.iter().filter(|lane| lane.silence().is_silent());
        if let Some(first) = silent().next() {
            let what = match first.newest_record() {
                Some(newest) => format!("the console has shown nothing new since {newest}"),
                None => "the console has never shown a record".to_owned(),
            };
            let mut message = format!("{}/{}: {what}", first.id.stream.name(), first.id.sink);
            let more = silent().count() - 1;
            if more > 0 {
                message.push_str(&format!(" (silent lanes: {})", more + 1));
            }
            return ("False", "Silent", message);
        }
        if self.lanes.iter().any(|lane| lane.silence() == Silence::Speaking) {
            return ("True", "RecordsShown", String::new());
        }
        // Before the first complete poll, and where no lane is judged.
        let reason = if self.lanes.iter().any(|lane| lane.last_success().is_some()) { "NotJudged" } else { "Starting" };
        ("Unknown", reason, String::new())
    }
}

/// Returns whether the lane's console must have answered.
fn has_answer(state: &LaneState) -> bool {
    match state.kind {
        LaneStateKind::Running
        | LaneStateKind::Done
        | LaneStateKind::WaitingForClock
        | LaneStateKind::ConsoleRefused
        | LaneStateKind::SinkFailing
        | LaneStateKind::SinkRefused => true,
        LaneStateKind::Starting
        | LaneStateKind::ConsoleFailing
        | LaneStateKind::Misconfigured(_)
        | LaneStateKind::Stopped
        | LaneStateKind::Renamed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_record::{LaneId, Stream};
    use s1_forwarder_telemetry::{Misconfiguration, NewTokenProblem, Verification};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_500_000);

    fn file(state: PipelineState, problem: Option<&str>) -> FileStatus {
        FileStatus { generation: Some(7), ..FileStatus::of_test("acme.console", state, problem) }
    }

    fn lane(stream: Stream, state: impl Into<LaneState>) -> Arc<LaneMetrics> {
        let lane = LaneMetrics::new(&LaneId::new("acme.console", stream, "siem"));
        lane.show(NOW, state.into());
        Arc::new(lane)
    }

    /// Returns `STATUS REASON` of each condition.
    fn judged(status: &Status) -> Vec<String> {
        status.conditions.iter().map(|condition| format!("{} {}", condition.status, condition.reason)).collect()
    }

    fn status(file: &FileStatus, lanes: &[Arc<LaneMetrics>]) -> Status {
        Status::of(file, lanes, TokenStatus::default(), "worker-1", &[], NOW)
    }

    #[test]
    fn conditions_name_duplicates_and_what_the_token_does_not_see() {
        let lanes = [Stream::Threats, Stream::Agents].map(|stream| lane(stream, LaneStateKind::Running));
        lanes.iter().for_each(|lane| lane.set_silence(Silence::Speaking));
        let conditions = |duplicate_of: Option<&str>, unseen: Option<&str>| {
            let warnings = LaneWarnings { duplicate_of: duplicate_of.map(Into::into), unseen: unseen.map(Into::into) };
            lanes.iter().for_each(|lane| lane.set_warnings(warnings.clone()));
            let status = status(&file(PipelineState::Running, None), &lanes);
            let [_, _, _, delivering, _, receiving] = status.conditions.try_into().unwrap();
            [delivering, receiving].map(|found| format!("{} {} {}", found.status, found.reason, found.message))
        };
        let fine = ["True NoFailure ", "True RecordsShown "];
        assert_eq!(conditions(None, None), fine);
        let of = "acme.copy/threats/siem";
        let duplicate = "True Duplicate threats/siem: duplicate of acme.copy/threats/siem (lanes: 2)";
        assert_eq!(conditions(Some(of), None), [duplicate, fine[1]]);
        assert_eq!(conditions(None, Some("not seen: 1")), [fine[0], "False ScopeNotSeen not seen: 1"]);
        assert_eq!(conditions(None, None), fine);
    }

    #[test]
    fn conditions_say_which_part_fails() {
        let running = file(PipelineState::Running, None);
        let fine = || lane(Stream::Threats, LaneStateKind::Running);
        let cases = [
            (LaneStateKind::Running.into(), ["True Running", "True Answers", "True Accepted", "True NoFailure"]),
            (LaneStateKind::Starting.into(), ["False Starting", "True Answers", "True Accepted", "True NoFailure"]),
            (
                LaneState::new(LaneStateKind::ConsoleFailing, "no route"),
                ["False ConsoleFailing", "False ConsoleFailing", "True Accepted", "True NoFailure"],
            ),
            (
                LaneState::new(LaneStateKind::ConsoleRefused, "403"),
                ["False ConsoleRefused", "True Answers", "True Accepted", "True NoFailure"],
            ),
            (
                LaneState::new(LaneStateKind::SinkFailing, "503"),
                ["False SinkFailing", "True Answers", "True Accepted", "False SinkFailing"],
            ),
            (
                LaneState::new(LaneStateKind::SinkRefused, "401"),
                ["False SinkRefused", "True Answers", "True Accepted", "False SinkRefused"],
            ),
            (
                LaneState::new(
                    LaneStateKind::Misconfigured(Misconfiguration::Failed(FailureKind::SecretUnreadable)),
                    "no file",
                ),
                ["False SecretUnreadable", "True Answers", "True Accepted", "False SecretUnreadable"],
            ),
            (
                LaneState::new(LaneStateKind::Stopped, "full"),
                ["False Stopped", "True Answers", "True Accepted", "False Stopped"],
            ),
        ];
        for (state, expected) in cases {
            let found = judged(&status(&running, &[fine(), lane(Stream::Agents, state.clone())]));
            assert_eq!(
                (&found[..4], found[4].as_str()),
                (&expected.map(str::to_owned)[..], "Unknown NotCompared"),
                "{state:?}"
            );
        }
        let starting = status(&running, &[lane(Stream::Threats, LaneStateKind::Starting)]);
        assert_eq!(
            judged(&starting)[..4],
            ["False Starting", "Unknown Starting", "Unknown Starting", "Unknown Starting"]
        );
        let away = lane(Stream::Threats, LaneState::new(LaneStateKind::ConsoleFailing, "no route"));
        let no_answer = ["False ConsoleFailing", "False ConsoleFailing", "Unknown NoAnswer", "Unknown NoAnswer"];
        assert_eq!(judged(&status(&running, std::slice::from_ref(&away)))[..4], no_answer, "it never answered");
        away.succeeded(NOW);
        assert_eq!(judged(&status(&running, &[away]))[2..4], ["True Accepted", "True NoFailure"], "it did");
        let refused = lane(Stream::Threats, LaneState::new(LaneStateKind::ConsoleRefused, "401 Unauthorized"));
        refused.set_token_problem(Some(TokenProblem::Refused));
        let refused = status(&running, &[refused.clone(), refused]);
        let words = ["False TokenRefused", "True Answers", "False Refused", "Unknown NoAnswer"];
        assert_eq!(judged(&refused)[..4], words);
        assert_eq!(refused.conditions[0].message, "threats/siem: 401 Unauthorized (lanes that fail: 2)");
        let unread = lane(
            Stream::Threats,
            LaneState::new(
                LaneStateKind::Misconfigured(Misconfiguration::Failed(FailureKind::SecretUnreadable)),
                "there is no such Secret",
            ),
        );
        unread.set_token_problem(Some(TokenProblem::Unreadable));
        let words = ["False SecretUnreadable", "Unknown NoAnswer", "False SecretUnreadable", "Unknown NoAnswer"];
        assert_eq!(judged(&status(&running, &[unread]))[..4], words, "the console was not asked");
        let renamed = lane(Stream::Agents, LaneState::new(LaneStateKind::Renamed, "it was probably acme"));
        let words = ["False Renamed", "Unknown Starting", "Unknown Starting", "Unknown Starting"];
        let waiting = status(&running, &[renamed.clone(), renamed.clone()]);
        assert_eq!(judged(&waiting)[..4], words, "nobody asked the console");
        assert_eq!(waiting.conditions[0].message, "agents/siem: it was probably acme (lanes that wait: 2)");
        let failing = lane(Stream::Threats, LaneState::new(LaneStateKind::SinkFailing, "503"));
        assert_eq!(judged(&status(&running, &[renamed, failing]))[0], "False SinkFailing", "it is not hidden");
    }

    #[test]
    fn a_file_that_does_not_run_says_why() {
        let invalid = status(&file(PipelineState::NotStarted, Some("streams.threat: unknown key")), &[]);
        assert_eq!(judged(&invalid)[..2], ["False Invalid", "Unknown NotRunning"]);
        assert_eq!(invalid.conditions[0].message, "streams.threat: unknown key");
        let before =
            status(&file(PipelineState::Running, Some("wrong")), &[lane(Stream::Threats, LaneStateKind::Running)]);
        assert_eq!(judged(&before)[..2], ["False Invalid", "True Answers"]);
        assert!(before.conditions[0].message.starts_with("the last valid version keeps running"));
        let paused = status(&file(PipelineState::Paused, None), &[]);
        assert_eq!(judged(&paused)[..2], ["False Paused", "Unknown Paused"]);
    }

    #[test]
    fn tokens_expire_and_days_are_compared() {
        let running = file(PipelineState::Running, None);
        let lanes = [lane(Stream::Threats, LaneStateKind::Running)];
        let token = |expires| TokenStatus { expires: Some(expires), ..TokenStatus::default() };
        let valid = |expires| judged(&Status::of(&running, &lanes, token(expires), "w", &[], NOW))[2].clone();
        let day = Duration::from_hours(24);
        assert_eq!(valid(NOW.minus(day)), "False Expired");
        assert_eq!(valid(NOW.plus(day)), "True ExpiresSoon");
        assert_eq!(valid(NOW.plus(day * 30)), "True Accepted");
        for problem in [NewTokenProblem::Refused, NewTokenProblem::Unusable("it is empty".into())] {
            let expected = format!("False {}", problem.name());
            let token = TokenStatus { new_token: Some(problem), ..token(NOW.plus(day * 30)) };
            assert_eq!(judged(&Status::of(&running, &lanes, token, "w", &[], NOW))[2], expected);
        }
        let shown = |expires| Status::of(&running, &lanes, token(expires), "w", &[], NOW).token_expires;
        assert_eq!(shown(NOW.plus(day)).as_deref(), Some("2027-01-16T08:00:00Z"));
        assert_eq!(shown(Timestamp::parse("2999-12-31T00:00:00Z").unwrap()).as_deref(), Some("never"));
        assert_eq!(status(&running, &lanes).token_expires, None, "the console does not say it");
        for (missing_records, expected) in [(0, "True Compared"), (3, "False RecordsMissing")] {
            lanes[0].set_verification(Verification { missing_records, until: NOW });
            assert_eq!(judged(&status(&running, &lanes))[4], expected);
        }
        let message = &status(&running, &lanes).conditions[4].message;
        assert!(message.contains("verify kubernetes-resources:acme --pipeline acme.console --from 2"), "{message}");
    }

    #[test]
    fn a_silent_lane_is_named_with_its_newest_record() {
        let running = file(PipelineState::Running, None);
        let lanes = [lane(Stream::Threats, LaneStateKind::Running), lane(Stream::Activities, LaneStateKind::Running)];
        let receiving = || {
            let conditions = status(&running, &lanes).conditions;
            let condition = conditions.into_iter().find(|condition| condition.kind == "Receiving").unwrap();
            format!("{} {}", condition.status, condition.reason)
        };
        assert_eq!(receiving(), "Unknown Starting");
        lanes[0].succeeded(NOW);
        assert_eq!(receiving(), "Unknown NotJudged", "threats are rare");
        lanes[1].set_silence(Silence::Speaking);
        assert_eq!(receiving(), "True RecordsShown");
        lanes[1].set_silence(Silence::Silent);
        lanes[1].set_newest_record(Some(NOW));
        let silent = status(&running, &lanes);
        assert_eq!((judged(&silent)[0].as_str(), receiving().as_str()), ("True Running", "False Silent"));
        let message = "activities/siem: the console has shown nothing new since 2027-01-15T08:00:00.500000Z";
        assert_eq!(silent.conditions[5].message, message);
        lanes[0].set_silence(Silence::Silent);
        assert!(status(&running, &lanes).conditions[5].message.ends_with("has never shown a record (silent lanes: 2)"));
    }

    #[test]
    fn a_transition_is_dated_and_only_words_are_changes() {
        let running = file(PipelineState::Running, None);
        let lanes = [lane(Stream::Threats, LaneStateKind::Running)];
        let first = status(&running, &lanes);
        assert_eq!(first.conditions[0].last_transition_time, "2027-01-15T08:00:00Z");
        let later = NOW.plus(Duration::from_mins(1));
        lanes[0].send.delivered.add(5);
        lanes[0].set_complete_until(NOW);
        let second = Status::of(&running, &lanes, TokenStatus::default(), "worker-1", &first.conditions, later);
        assert_eq!(second.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
        assert!(!second.differs_from(&first) && second != first);
        assert_eq!((second.progress.lag_seconds, second.progress.delivered), (Some(60), 5));
        assert_eq!(second.progress.complete_until.as_deref(), Some("2027-01-15T08:00:00Z"));
        lanes[0].show(later, LaneState::new(LaneStateKind::SinkFailing, "503"));
        let third = Status::of(&running, &lanes, TokenStatus::default(), "worker-1", &second.conditions, later);
        assert!(third.differs_from(&second));
        assert_eq!(third.conditions[0].last_transition_time, "2027-01-15T08:01:00Z");
        assert!(
            Status::of(&running, &lanes, TokenStatus::default(), "worker-2", &[], later).differs_from(&third),
            "another worker"
        );
    }
}
