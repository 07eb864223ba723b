//! Makes the answers of the API about all lanes from the registry.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::lanes::{
    ClusterRow, EqualErrors, FileRow, LaneRow, PipelineRow, Rows, SourceProblem, Status, Summary, cause_of, of_several,
};
use super::query::{Facts, LaneQuery};
use crate::record::Timestamp;
use crate::telemetry::{LaneView, TelemetrySnapshot};
use crate::worker::CommandFlags;

/// Number of errors that are listed. The errors of the most lanes come first.
const MAX_ERRORS: usize = 20;
/// Number of pipelines that are named for each error.
const MAX_NAMES: usize = 5;

impl Status {
    pub(super) fn of(
        snapshot: &TelemetrySnapshot,
        flags: &CommandFlags,
        query: &LaneQuery,
        rows: Rows,
        now: Timestamp,
    ) -> Self {
        let cluster = snapshot.cluster.as_ref();
        let mut files = Vec::new();
        if !query.without_files {
            files.extend(snapshot.files.iter().map(|(file, status)| FileRow {
                file: file.display().to_string(),
                pipeline: status.pipeline.clone(),
                state: status.state.name().into(),
                shard: status.shard,
                worker: status.shard.and_then(|shard| Some(cluster?.holder(shard)?.to_owned())),
                problem: status.problem.clone(),
                warnings: status.warnings.clone(),
            }));
        }
        let mut matching: Vec<(Facts<'_>, &LaneView)> = Vec::new();
        let mut summary = Summary::default();
        for view in &snapshot.lanes {
            let facts = Facts::of_view(view, now);
            summary.add(&facts, view.pulled_per_second);
            if query.matches(&facts) {
                matching.push((facts, view));
            }
        }
        let mut lanes = Vec::new();
        let mut errors = Vec::new();
        let (count, pipelines) = match rows {
            Rows::Lanes => {
                matching.sort_by(|(one, _), (other, _)| query.order(one, other));
                let page = query.rows();
                lanes.extend(
                    matching
                        .iter()
                        .skip(page.start)
                        .take(page.len())
                        .map(|(_, view)| LaneRow::of(view, snapshot, flags, now)),
                );
                (matching.len(), Vec::new())
            }
            Rows::Pipelines => {
                errors = equal_errors(&matching);
                pipelines(&matching, query, snapshot, flags, now)
            }
        };
        let source_problems = snapshot
            .source_problems
            .iter()
            .map(|(place, problem)| SourceProblem { place: place.display().to_string(), problem: problem.clone() });
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            time: now.to_string(),
            source_problems: source_problems.collect(),
            cluster: cluster.map(|view| ClusterRow {
                worker: view.worker.clone(),
                shards: view.shards,
                workers: view.workers.clone(),
            }),
            summary,
            matching: count,
            workers: Vec::new(),
            files,
            errors,
            pipelines,
            lanes,
        }
    }
}

impl Summary {
    fn add(&mut self, lane: &Facts<'_>, pulled_per_second: f64) {
        self.lanes += 1;
        self.up += usize::from(lane.up);
        self.silent += usize::from(lane.silent);
        self.unpolled += usize::from(lane.unpolled);
        self.warned += usize::from(lane.warned);
        match self.states.get_mut(lane.state) {
            Some(count) => *count += 1,
            None => _ = self.states.insert(lane.state.to_owned().into(), 1),
        }
        self.pulled_per_second += pulled_per_second;
        self.delivered_per_second += lane.rate;
        if lane.lag >= 0.0 {
            self.lag_seconds = Some(self.lag_seconds.map_or(lane.lag, |lag| lag.max(lane.lag)));
        }
        self.dead_letters += lane.dead_letters;
    }
}

impl PipelineRow {
    fn of(facts: &Facts<'_>, worst: LaneRow, lanes: &[(Facts<'_>, &LaneView)], now: Timestamp) -> Self {
        let error = worst.error.clone();
        let recent: Vec<_> = lanes.iter().map(|(_, view)| view.metrics.usage.recent(now)).collect();
        let has_error = |view: &LaneView| view.metrics.read_error(|other| error.as_deref() == Some(other));
        Self {
            pipeline: worst.pipeline.clone(),
            worker: None,
            lanes: lanes.len(),
            up: lanes.iter().filter(|(lane, _)| lane.up).count(),
            silent: lanes.iter().filter(|(lane, _)| lane.silent).count(),
            warned: lanes.iter().filter(|(lane, _)| lane.warned).count(),
            newest_record: lanes
                .iter()
                .filter_map(|(_, view)| view.metrics.newest_record())
                .max()
                .map(|time| time.to_string()),
            equal_errors: lanes.iter().filter(|(_, view)| has_error(view) == Some(true)).count(),
            worst,
            lag_seconds: Some(facts.lag).filter(|lag| *lag >= 0.0),
            last_success: facts.last_success().map(|time| time.to_string()),
            events_today: sum_of_known(recent.iter().map(|recent| Some(recent.as_ref()?.today))),
            events_yesterday: sum_of_known(recent.iter().map(|recent| Some(recent.as_ref()?.yesterday))),
            today_has_gap: recent.iter().any(|recent| recent.as_ref().is_none_or(|recent| recent.has_gap_today)),
            yesterday_has_gap: recent
                .iter()
                .any(|recent| recent.as_ref().is_none_or(|recent| recent.has_gap_yesterday)),
            delivered: lanes.iter().map(|(_, view)| view.metrics.send.delivered.get()).sum(),
            dead_letters: facts.dead_letters,
            delivered_per_second: facts.rate,
        }
    }
}

/// Returns the sum of the known numbers. `None` if none is known.
fn sum_of_known(numbers: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    numbers.flatten().reduce(u64::saturating_add)
}

/// Returns the number of pipelines among these lanes, and the pipelines on the page that the query asks for. The lanes
/// are in the order of their names.
pub(super) fn pipelines(
    lanes: &[(Facts<'_>, &LaneView)],
    query: &LaneQuery,
    snapshot: &TelemetrySnapshot,
    flags: &CommandFlags,
    now: Timestamp,
) -> (usize, Vec<PipelineRow>) {
    let mut rows = Vec::new();
    for lanes in lanes.chunk_by(|(one, _), (other, _)| one.name.0 == other.name.0) {
        // The first of equally urgent lanes.
        let worst = lanes.iter().rev().max_by(|(one, _), (other, _)| one.by_urgency(other));
        if let Some((worst, view)) = worst {
            rows.push((Facts::of_lanes(worst, lanes.iter().map(|(facts, _)| facts)), *view, lanes));
        }
    }
    rows.sort_by(|(one, ..), (other, ..)| query.order(one, other));
    let page = query.rows();
    let shown = rows.iter().skip(page.start).take(page.len());
    let shown =
        shown.map(|(facts, worst, lanes)| PipelineRow::of(facts, LaneRow::of(worst, snapshot, flags, now), lanes, now));
    (rows.len(), shown.collect())
}

/// Returns the errors of these lanes: one for each cause.
pub(super) fn equal_errors(lanes: &[(Facts<'_>, &LaneView)]) -> Vec<EqualErrors> {
    // Lanes are grouped by the hash of the text: ten thousand long errors are not copied, and few differ.
    let hasher = RandomState::new();
    let mut by_text: HashMap<u64, Vec<&LaneView>> = HashMap::new();
    for (_, view) in lanes.iter().filter(|(facts, _)| !facts.up) {
        let Some(hash) = view.metrics.read_error(|error| hasher.hash_one(error)) else { continue };
        by_text.entry(hash).or_default().push(view);
    }
    let mut by_cause: HashMap<String, Vec<&LaneView>> = HashMap::new();
    for lanes in by_text.into_values() {
        if let Some(cause) = lanes.first().and_then(|view| view.metrics.read_error(cause_of)) {
            by_cause.entry(cause).or_default().extend(lanes);
        }
    }
    let mut groups: Vec<Vec<&LaneView>> = by_cause.into_values().collect();
    groups.sort_by_key(|lanes| Reverse(lanes.len()));
    groups.truncate(MAX_ERRORS);
    let errors = groups.into_iter().filter_map(|mut lanes| {
        lanes.sort_by(|one, other| one.metrics.id.pipeline.cmp(&other.metrics.id.pipeline));
        let state = lanes.first()?.metrics.state();
        let mut names: Vec<String> = lanes.iter().map(|view| view.metrics.id.pipeline.clone()).collect();
        names.dedup();
        let pipelines = names.len();
        names.truncate(MAX_NAMES);
        let failing_since = lanes.iter().filter_map(|view| view.metrics.failing_since()).min();
        // The lane may have recovered a moment ago.
        let error = state.error()?;
        Some(EqualErrors {
            error: if lanes.len() > 1 { of_several(error).into_owned() } else { error.to_owned() },
            state: state.name().into(),
            lanes: lanes.len(),
            pipelines,
            names,
            failing_since: failing_since.map(|time| time.to_string()),
        })
    });
    let mut errors: Vec<EqualErrors> = errors.collect();
    sort(&mut errors);
    errors
}

/// Adds the errors of another worker, which runs other pipelines.
pub(super) fn merge_errors(errors: &mut Vec<EqualErrors>, others: Vec<EqualErrors>) {
    for other in others {
        let Some(known) = errors.iter_mut().find(|known| cause_of(&known.error) == cause_of(&other.error)) else {
            errors.push(other);
            continue;
        };
        known.error = of_several(&known.error).into_owned();
        known.lanes += other.lanes;
        known.pipelines += other.pipelines;
        known.names.extend(other.names);
        known.names.sort();
        known.names.truncate(MAX_NAMES);
        // Times in this form are in the order of their texts.
        known.failing_since = match (known.failing_since.take(), other.failing_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    sort(errors);
    errors.truncate(MAX_ERRORS);
}

fn sort(errors: &mut [EqualErrors]) {
    errors.sort_by(|one, other| other.lanes.cmp(&one.lanes).then_with(|| one.error.cmp(&other.error)));
}
