//! The lanes' counters as Prometheus text, version 0.0.4.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Bound;
use std::sync::Arc;

use compact_str::CompactString;
use s1_forwarder_record::{Stream, Timestamp};
use smallvec::SmallVec;

use super::metrics::{self, METRIC_PREFIX, Metric, label};
use super::recent_latency::RequestTimes;
use super::registry::Pipeline;
use super::{FileStatus, LabelCount, LaneMetrics, PipelineState, RareCount, SkipReason, StatusCounts, Telemetry};

/// A metric whose samples come from the lanes or the pipeline files.
struct Family {
    metric: Metric,
    samples: Samples,
}

/// The way in which the samples of a family are computed.
enum Samples {
    /// One counter per lane.
    Counter(fn(&LaneMetrics) -> u64),
    /// One gauge per lane; no sample while the value is unknown.
    Gauge(fn(&LaneMetrics, Timestamp) -> Option<f64>),
    Skipped,
    /// One counter per lane and reason that occurred.
    SinkWarnings,
    /// One counter per lane and value of a label.
    Labels(fn(LabelCount) -> u64),
    /// The name of the lane's state is a label.
    State,
    ConsoleRequests,
    SinkRequests,
    SinkLatency,
    TokenExpiry,
    ClockDifference,
    Pipelines,
    PipelineWarnings,
    /// Unmapped fields by stream, over all lanes.
    UnmappedFields,
}

const FAMILIES: &[Family] = &[
    Family { metric: metrics::RECORDS_PULLED, samples: Samples::Counter(|lane| lane.pull.records.get()) },
    Family { metric: metrics::EVENTS_DELIVERED, samples: Samples::Counter(|lane| lane.send.delivered.get()) },
    Family { metric: metrics::RECORDS_SKIPPED, samples: Samples::Skipped },
    Family { metric: metrics::RECORDS_REQUEUED, samples: Samples::Counter(|lane| lane.pull.requeued.get()) },
    Family { metric: metrics::RECORDS_NOT_SHOWN, samples: Samples::Counter(|lane| lane.rare(RareCount::NotShown)) },
    Family { metric: metrics::DEAD_LETTERS, samples: Samples::Counter(|lane| lane.send.dead_letters.get()) },
    Family {
        metric: metrics::DEAD_LETTERS_STORED,
        samples: Samples::Gauge(|lane, _| lane.dead_letters_stored().map(|stored| stored as f64)),
    },
    Family { metric: metrics::MAP_ERRORS, samples: Samples::Counter(|lane| lane.map.errors.get()) },
    Family { metric: metrics::RECORDS_REPAIRED, samples: Samples::Counter(|lane| lane.map.repaired.get()) },
    Family { metric: metrics::OVERFLOWED_RECORDS, samples: Samples::Counter(|lane| lane.rare(RareCount::Overflowed)) },
    Family {
        metric: metrics::RECORDS_NOT_ENRICHED,
        samples: Samples::Counter(|lane| lane.rare(RareCount::NotEnriched)),
    },
    Family {
        metric: metrics::RECORDS_WITH_OTHER_LABELS,
        samples: Samples::Counter(|lane| lane.rare(RareCount::LabelledOther)),
    },
    Family { metric: metrics::TIMES_WITHOUT_ZONE, samples: Samples::Counter(|lane| lane.rare(RareCount::WithoutZone)) },
    Family { metric: metrics::REMAP_ERRORS, samples: Samples::Counter(|lane| lane.map.program_errors.get()) },
    Family { metric: metrics::REMAP_OVERRUNS, samples: Samples::Counter(|lane| lane.rare(RareCount::RemapOverruns)) },
    Family { metric: metrics::UNKNOWN_ACTIVITY_TYPES, samples: Samples::Counter(|lane| lane.map.unknown_types.get()) },
    Family { metric: metrics::UNMAPPED_FIELDS, samples: Samples::UnmappedFields },
    Family { metric: metrics::SINK_WARNINGS, samples: Samples::SinkWarnings },
    Family { metric: metrics::DELIVERED_BYTES, samples: Samples::Counter(|lane| lane.send.bytes.get()) },
    Family { metric: metrics::DELIVERED_EVENT_BYTES, samples: Samples::Counter(|lane| lane.send.event_bytes.get()) },
    Family { metric: metrics::LABEL_EVENTS, samples: Samples::Labels(|count| count.events) },
    Family { metric: metrics::LABEL_EVENT_BYTES, samples: Samples::Labels(|count| count.bytes) },
    Family { metric: metrics::LAG, samples: Samples::Gauge(|lane, now| lane.lag(now).map(|lag| lag.as_secs_f64())) },
    Family { metric: metrics::LAST_SUCCESS, samples: Samples::Gauge(|lane, _| lane.last_success().map(seconds)) },
    Family {
        metric: metrics::SNAPSHOT_TIME,
        samples: Samples::Gauge(|lane, _| lane.snapshot().map(|(time, _)| seconds(time))),
    },
    Family {
        metric: metrics::SNAPSHOT_RECORDS,
        samples: Samples::Gauge(|lane, _| lane.snapshot().map(|(_, records)| records as f64)),
    },
    Family {
        metric: metrics::VERIFIED_MISSING,
        samples: Samples::Gauge(|lane, _| lane.verification().map(|result| result.missing_records as f64)),
    },
    Family {
        metric: metrics::VERIFIED_UNTIL,
        samples: Samples::Gauge(|lane, _| lane.verification().map(|result| seconds(result.until))),
    },
    Family { metric: metrics::NEWEST_RECORD, samples: Samples::Gauge(|lane, _| lane.newest_record().map(seconds)) },
    Family {
        metric: metrics::LANE_SILENT,
        samples: Samples::Gauge(|lane, _| {
            lane.silence().is_known_silent().map(|silent| if silent { 1.0 } else { 0.0 })
        }),
    },
    Family {
        metric: metrics::LANE_UP,
        samples: Samples::Gauge(|lane, _| Some(if lane.state_name().is_up { 1.0 } else { 0.0 })),
    },
    Family { metric: metrics::LANE_STATE, samples: Samples::State },
    Family { metric: metrics::CONSOLE_REQUESTS, samples: Samples::ConsoleRequests },
    Family { metric: metrics::SINK_REQUESTS, samples: Samples::SinkRequests },
    Family { metric: metrics::SINK_LATENCY, samples: Samples::SinkLatency },
    Family { metric: metrics::TOKEN_EXPIRY, samples: Samples::TokenExpiry },
    Family { metric: metrics::CLOCK_DIFFERENCE, samples: Samples::ClockDifference },
    Family { metric: metrics::PIPELINES, samples: Samples::Pipelines },
    Family { metric: metrics::PIPELINE_WARNINGS, samples: Samples::PipelineWarnings },
];

/// Approximate size of a chunk. For ten thousand lanes the whole text is larger than everything the lanes store, and
/// chunks of one size do not fragment the allocator's memory.
const CHUNK_BYTES: usize = 32 * 1024;

impl Telemetry {
    /// Returns the text of a scrape in chunks.
    pub fn exposition(self: Arc<Self>, now: Timestamp) -> impl Iterator<Item = String> + Send + 'static {
        let process = self.process().text();
        let lanes = self.pipelines().values().flat_map(Pipeline::running).cloned().collect();
        let chunks =
            Chunks { scrape: Scrape { telemetry: self, lanes, now }, families: FAMILIES.iter(), current: None };
        std::iter::once(process).chain(chunks)
    }
}

/// The data that a scrape writes.
struct Scrape {
    telemetry: Arc<Telemetry>,
    /// The lanes that run, in order. Most families walk along them, which is faster than along the pipelines.
    lanes: Vec<Arc<LaneMetrics>>,
    now: Timestamp,
}

/// Writes one family after another.
struct Chunks {
    scrape: Scrape,
    families: std::slice::Iter<'static, Family>,
    /// A family of which a part is still to be written.
    current: Option<UnfinishedFamily>,
}

struct UnfinishedFamily {
    samples: &'static Samples,
    written: Written,
    lines: Lines,
}

/// The written part of a family: this number of lanes, or the pipelines up to this one.
#[derive(Default)]
struct Written {
    lanes: usize,
    pipelines: Option<String>,
}

impl Iterator for Chunks {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        while text.len() < CHUNK_BYTES {
            let next = || {
                let Family { metric, samples } = self.families.next()?;
                Some(UnfinishedFamily { samples, written: Written::default(), lines: Lines::new(metric) })
            };
            let Some(mut current) = self.current.take().or_else(next) else { break };
            current.lines.text = text;
            let is_finished = current.samples.write(&self.scrape, &mut current.written, &mut current.lines);
            text = std::mem::take(&mut current.lines.text);
            self.current = (!is_finished).then_some(current);
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Samples {
    /// Writes the samples after those that are `written`, until the chunk is full. Returns true if none is left.
    fn write(&self, scrape: &Scrape, written: &mut Written, lines: &mut Lines) -> bool {
        let Scrape { telemetry, lanes, now } = scrape;
        match self {
            Self::Counter(value) => written.lanes(lanes, lines, |lane, lines| lines.lane(lane, &[], value(lane))),
            Self::Gauge(value) => written.lanes(lanes, lines, |lane, lines| {
                if let Some(value) = value(lane, *now) {
                    lines.lane(lane, &[], value);
                }
            }),
            Self::Skipped => written.lanes(lanes, lines, |lane, lines| {
                for reason in SkipReason::ALL {
                    lines.lane(lane, &[("reason", reason.label())], lane.skipped(reason));
                }
            }),
            Self::SinkWarnings => written.lanes(lanes, lines, |lane, lines| {
                for (reason, batches) in lane.sink_warnings() {
                    lines.lane(lane, &[("reason", reason)], batches);
                }
            }),
            Self::Labels(value) => written.lanes(lanes, lines, |lane, lines| {
                lane.for_each_label_count(|name, text, count| {
                    lines.lane(lane, &[("label", name), ("value", text)], value(count))
                });
            }),
            Self::State => {
                written.lanes(lanes, lines, |lane, lines| lines.lane(lane, &[("state", lane.state_name().name)], 1_u64))
            }
            Self::ConsoleRequests => written.pipelines(telemetry, lines, |name, pipeline, lines| {
                let lanes = pipeline.summed().map(|lane| (lane.id.stream.name(), &*lane.pull.requests));
                requests(lines, (name, "stream"), lanes);
            }),
            Self::SinkRequests => written.pipelines(telemetry, lines, |name, pipeline, lines| {
                let lanes = pipeline.summed().map(|lane| (lane.id.sink.as_str(), &lane.send.requests));
                requests(lines, (name, "sink"), lanes);
            }),
            Self::SinkLatency => written.pipelines(telemetry, lines, |name, pipeline, lines| {
                let mut sums = SmallVec::<[(&str, RequestTimes); 2]>::new();
                for lane in pipeline.running() {
                    let requests = lane.sink_latency.requests(*now);
                    match sums.iter_mut().find(|(sink, _)| *sink == lane.id.sink) {
                        Some((_, sum)) => *sum = sum.and(requests),
                        None => sums.push((&lane.id.sink, requests)),
                    }
                }
                for (sink, requests) in sums {
                    if let Some(mean) = requests.mean() {
                        lines.sample(&[("pipeline", name), ("sink", sink)], mean);
                    }
                }
            }),
            Self::TokenExpiry => written.pipelines(telemetry, lines, |name, pipeline, lines| {
                if let Some(expires) = pipeline.token.expires.filter(|expires| !expires.is_never()) {
                    lines.sample(&[("pipeline", name)], seconds(expires));
                }
            }),
            Self::ClockDifference => written.pipelines(telemetry, lines, |name, pipeline, lines| {
                if let Some(seconds) = pipeline.clock_difference {
                    lines.sample(&[("pipeline", name)], seconds as f64);
                }
            }),
            Self::UnmappedFields => {
                for stream in Stream::ALL {
                    lines.sample(&[("stream", stream.name())], telemetry.unmapped_fields().leaves(stream));
                }
                true
            }
            Self::Pipelines => {
                pipelines(telemetry, lines);
                true
            }
            Self::PipelineWarnings => {
                pipeline_warnings(telemetry, lines);
                true
            }
        }
    }
}

impl Written {
    fn lanes(
        &mut self,
        lanes: &[Arc<LaneMetrics>],
        lines: &mut Lines,
        write: impl Fn(&LaneMetrics, &mut Lines),
    ) -> bool {
        for lane in lanes.iter().skip(self.lanes) {
            write(lane, lines);
            self.lanes += 1;
            if lines.text.len() >= CHUNK_BYTES {
                break;
            }
        }
        self.lanes == lanes.len()
    }

    /// Holds the lock on the pipelines for this chunk.
    fn pipelines(
        &mut self,
        telemetry: &Telemetry,
        lines: &mut Lines,
        write: impl Fn(&str, &Pipeline, &mut Lines),
    ) -> bool {
        let pipelines = telemetry.pipelines();
        let from = self.pipelines.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for (name, pipeline) in pipelines.range::<str, _>((from, Bound::Unbounded)) {
            write(name, pipeline, lines);
            if lines.text.len() >= CHUNK_BYTES {
                self.pipelines = Some(name.clone());
                return false;
            }
        }
        true
    }
}

/// Sums over the lanes of one pipeline that share a stream or a sink.
fn requests<'a>(
    lines: &mut Lines,
    (pipeline, label): (&str, &str),
    lanes: impl Iterator<Item = (&'a str, &'a StatusCounts)>,
) {
    let mut sums = SmallVec::<[(&str, CompactString, u64); 4]>::new();
    for (value, counts) in lanes {
        counts.for_each(|status, count| match sums.iter_mut().find(|(known, of, _)| *known == value && of == status) {
            Some((.., sum)) => *sum += count,
            None => sums.push((value, status.into(), count)),
        });
    }
    sums.sort_unstable();
    for (value, status, count) in sums {
        lines.sample(&[("pipeline", pipeline), (label, value), ("status", &status)], count);
    }
}

fn pipelines(telemetry: &Telemetry, lines: &mut Lines) {
    let files = telemetry.files();
    let count = |state| files.values().filter(|file| file.state == state).count() as u64;
    lines.sample(&[("state", "running")], count(PipelineState::Running));
    lines.sample(&[("state", "paused")], count(PipelineState::Paused));
    if telemetry.shares_pipelines() {
        lines.sample(&[("state", "elsewhere")], count(PipelineState::Elsewhere));
    }
    let removed = count(PipelineState::Removed);
    let with_problem = files.values().filter(|file| file.problem.is_some()).count() as u64;
    lines.sample(&[("state", "invalid")], with_problem.saturating_sub(removed));
    lines.sample(&[("state", "removed")], removed);
}

/// Writes the warnings of pipelines. Few pipelines have one.
fn pipeline_warnings(telemetry: &Telemetry, lines: &mut Lines) {
    let mut line = |pipeline: &str, warning| lines.sample(&[("pipeline", pipeline), ("warning", warning)], 1_u64);
    let files = telemetry.files();
    // A pipeline whose file is gone has no series.
    let is_invalid = |file: &&FileStatus| file.problem.is_some() && file.state != PipelineState::Removed;
    let invalid: BTreeSet<&str> = files.values().filter(is_invalid).map(|file| &*file.pipeline).collect();
    invalid.into_iter().for_each(|pipeline| line(pipeline, "file"));
    for (name, pipeline) in telemetry.pipelines().iter() {
        let (mut duplicate, mut unseen, mut missed) = (false, false, false);
        for lane in pipeline.running() {
            let warnings = lane.warnings();
            duplicate |= warnings.duplicate_of.is_some();
            unseen |= warnings.unseen.is_some();
            missed |= !lane.repairs().is_empty();
        }
        let token = pipeline.token.new_token.is_some();
        for (warning, is_so) in [("duplicate", duplicate), ("scope", unseen), ("missed", missed), ("token", token)] {
            if is_so {
                line(name, warning);
            }
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.micros() as f64 / 1e6
}

/// The value of a sample. Most are counts: of ten thousand lanes a scrape has hundreds of thousands, and to format
/// them by `Display` takes several times as long.
enum Value {
    Count(u64),
    Gauge(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(gauge: f64) -> Self {
        Self::Gauge(gauge)
    }
}

/// Appends the lines of one family to `text`.
struct Lines {
    metric: &'static Metric,
    /// The beginning of each line: the name, and the bracket of the labels.
    line_prefix: String,
    has_header: bool,
    text: String,
}

impl Lines {
    fn new(metric: &'static Metric) -> Self {
        let line_prefix = format!("{METRIC_PREFIX}{}{{", metric.name);
        Self { metric, line_prefix, has_header: false, text: String::new() }
    }

    fn lane(&mut self, metrics: &LaneMetrics, more: &[(&str, &str)], value: impl Into<Value>) {
        self.begin();
        self.text.push_str(metrics.labels());
        more.iter().for_each(|(name, text)| label(&mut self.text, name, text));
        self.end(value);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.begin();
        labels.iter().for_each(|(name, text)| label(&mut self.text, name, text));
        self.end(value);
    }

    fn begin(&mut self) {
        let Metric { name, help, kind, .. } = self.metric;
        if !std::mem::replace(&mut self.has_header, true) {
            let kind = kind.name();
            // Writing to a String cannot fail.
            let _ = write!(self.text, "# HELP {METRIC_PREFIX}{name} {help}\n# TYPE {METRIC_PREFIX}{name} {kind}\n");
        }
        self.text.push_str(&self.line_prefix);
    }

    fn end(&mut self, value: impl Into<Value>) {
        // Removes the comma that follows the last label.
        self.text.pop();
        self.text.push_str("} ");
        match value.into() {
            Value::Count(count) => self.text.push_str(itoa::Buffer::new().format(count)),
            // Integers, which are formatted several times faster as such.
            Value::Gauge(gauge) if gauge.fract() == 0.0 && gauge.abs() < 1e15 => {
                self.text.push_str(itoa::Buffer::new().format(gauge as i64));
            }
            Value::Gauge(gauge) => _ = write!(self.text, "{gauge}"),
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests;
