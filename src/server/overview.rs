use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::lanes::Lane;
use super::query::{Facts, LaneQuery};
use crate::record::Timestamp;
use crate::telemetry::LaneView;

/// Errors that are listed, those of the most lanes first.
const MOST_ERRORS: usize = 20;
/// Pipelines that are named for each of them.
const MOST_NAMES: usize = 5;

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
    /// The newest record of any of them.
    #[serde(default)]
    pub newest_record: Option<String>,
    /// Lanes that fail with the error of the worst one.
    pub equal_errors: usize,
    /// The most urgent state, and of those the largest lag.
    pub worst: Lane,
    /// The largest.
    pub lag_seconds: Option<f64>,
    /// The earliest; null if one of the lanes had none.
    pub last_success: Option<String>,
    /// Sums over these lanes, in the sense of [`Lane::events_today`]; null if one of them is not known.
    #[serde(default)]
    pub events_today: Option<u64>,
    #[serde(default)]
    pub events_yesterday: Option<u64>,
    /// The value of [`Lane::today_has_gap`], of any of these lanes.
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
    /// The first of them by name.
    pub names: Vec<String>,
    /// Since when the first of these lanes fails.
    pub failing_since: Option<String>,
}

impl PipelineRow {
    fn of(facts: &Facts<'_>, worst: &LaneView, lanes: &[(Facts<'_>, &LaneView)], now: Timestamp) -> Self {
        let error = worst.metrics.state().error().map(str::to_owned);
        let recent: Vec<_> = lanes.iter().map(|(_, view)| view.metrics.usage.recent(now)).collect();
        let has_error = |view: &LaneView| view.metrics.read_error(|other| error.as_deref() == Some(other));
        Self {
            pipeline: worst.metrics.pipeline.clone(),
            worker: None,
            lanes: lanes.len(),
            up: lanes.iter().filter(|(lane, _)| lane.up).count(),
            silent: lanes.iter().filter(|(lane, _)| lane.silent).count(),
            newest_record: lanes
                .iter()
                .filter_map(|(_, view)| view.metrics.newest_record())
                .max()
                .map(|time| time.to_string()),
            equal_errors: lanes.iter().filter(|(_, view)| has_error(view) == Some(true)).count(),
            worst: Lane::of(worst, now),
            lag_seconds: Some(facts.lag).filter(|lag| *lag >= 0.0),
            last_success: facts.last_success().map(|time| time.to_string()),
            events_today: recent.iter().map(|recent| Some(recent.as_ref()?.today)).sum(),
            events_yesterday: recent.iter().map(|recent| Some(recent.as_ref()?.yesterday)).sum(),
            today_has_gap: recent.iter().flatten().any(|recent| recent.has_gap_today),
            yesterday_has_gap: recent.iter().flatten().any(|recent| recent.has_gap_yesterday),
            delivered: lanes.iter().map(|(_, view)| view.metrics.send.delivered.load(Relaxed)).sum(),
            dead_letters: facts.dead_letters,
            delivered_per_second: facts.rate,
        }
    }
}

/// The number of pipelines among these lanes, which are in the order of their names, and the pipelines on the page that
/// the query asks for.
pub(super) fn pipelines(
    lanes: &[(Facts<'_>, &LaneView)],
    query: &LaneQuery,
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
    (rows.len(), shown.map(|(facts, worst, lanes)| PipelineRow::of(facts, worst, lanes, now)).collect())
}

/// The errors of these lanes, which are in the order of their names.
pub(super) fn equal_errors(lanes: &[(Facts<'_>, &LaneView)]) -> Vec<EqualErrors> {
    struct Group<'a> {
        lanes: Vec<&'a LaneView>,
        pipelines: usize,
    }
    // By the hash of the text: ten thousand long errors are not copied.
    let hasher = RandomState::new();
    let mut groups: HashMap<u64, Group<'_>> = HashMap::new();
    for (_, view) in lanes.iter().filter(|(facts, _)| !facts.up) {
        let Some(hash) = view.metrics.read_error(|error| hasher.hash_one(error)) else { continue };
        let group = groups.entry(hash).or_insert_with(|| Group { lanes: Vec::new(), pipelines: 0 });
        let last = group.lanes.last().map(|last| &last.metrics.pipeline);
        group.pipelines += usize::from(last != Some(&view.metrics.pipeline));
        group.lanes.push(view);
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.lanes.len()));
    groups.truncate(MOST_ERRORS);
    let errors = groups.into_iter().filter_map(|Group { lanes, pipelines }| {
        let state = lanes.first()?.metrics.state();
        let mut names: Vec<String> = Vec::new();
        for view in &lanes {
            if names.len() < MOST_NAMES && names.last() != Some(&view.metrics.pipeline) {
                names.push(view.metrics.pipeline.clone());
            }
        }
        let failing_since = lanes.iter().filter_map(|view| view.metrics.failing_since()).min();
        Some(EqualErrors {
            // It may have recovered a moment ago.
            error: state.error()?.to_owned(),
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
        let Some(known) = errors.iter_mut().find(|known| known.error == other.error) else {
            errors.push(other);
            continue;
        };
        known.lanes += other.lanes;
        known.pipelines += other.pipelines;
        known.names.extend(other.names);
        known.names.sort();
        known.names.truncate(MOST_NAMES);
        // Times in this form are in the order of their texts.
        known.failing_since = match (known.failing_since.take(), other.failing_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    sort(errors);
    errors.truncate(MOST_ERRORS);
}

fn sort(errors: &mut [EqualErrors]) {
    errors.sort_by(|one, other| other.lanes.cmp(&one.lanes).then_with(|| one.error.cmp(&other.error)));
}
