//! What a scrape sees (`design.md` section 6): the lanes' counters as Prometheus text, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Activity, DropReason, LaneMetrics, StatusCounts, Telemetry};
use crate::record::Timestamp;

pub(super) const PREFIX: &str = "s1_forwarder_";

struct Family {
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

/// Where the samples of a family come from.
enum Samples {
    /// A counter of each lane.
    Counter(fn(&LaneMetrics) -> u64),
    /// A gauge of each lane; no sample where nothing is known.
    Gauge(fn(&LaneMetrics, Timestamp) -> Option<f64>),
    Dropped,
    ConsoleRequests,
    SinkRequests,
    TokenExpiry,
    Pipelines,
}

const FAMILIES: &[Family] = &[
    Family {
        name: "records_pulled_total",
        help: "Records that the console returned; one read again in the overlap counts again.",
        samples: Samples::Counter(|lane| lane.pulled.load(Relaxed)),
    },
    Family {
        name: "events_delivered_total",
        help: "Events that the sink acknowledged.",
        samples: Samples::Counter(|lane| lane.delivered.load(Relaxed)),
    },
    Family {
        name: "events_dropped_total",
        help: "Records and events that were dropped on purpose, by reason.",
        samples: Samples::Dropped,
    },
    Family {
        name: "dead_letters_total",
        help: "Events that the sink refused for good and that are kept as dead letters.",
        samples: Samples::Counter(|lane| lane.dead_letters.load(Relaxed)),
    },
    Family {
        name: "map_errors_total",
        help: "Records that could not be mapped and went on as error events.",
        samples: Samples::Counter(|lane| lane.map_errors.load(Relaxed)),
    },
    Family {
        name: "unknown_activities_total",
        help: "Activities of a type that the mapping's table does not know (see docs/mapping-ecs.md).",
        samples: Samples::Counter(|lane| lane.unknown_activities.load(Relaxed)),
    },
    Family {
        name: "delivered_bytes_total",
        help: "Bytes sent to the sink: request bodies after compression; for Kafka, keys and values.",
        samples: Samples::Counter(|lane| lane.delivered_bytes.load(Relaxed)),
    },
    Family {
        name: "lag_seconds",
        help: "Now minus the time up to which the lane is complete.",
        samples: Samples::Gauge(|lane, now| lane.lag(now).map(|lag| lag.as_secs_f64())),
    },
    Family {
        name: "last_success_timestamp_seconds",
        help: "Time of the last poll or delivery without error.",
        samples: Samples::Gauge(|lane, _| lane.last_success().map(seconds)),
    },
    Family {
        name: "snapshot_timestamp_seconds",
        help: "The time that names the last complete snapshot (agents, `mode: snapshot`).",
        samples: Samples::Gauge(|lane, _| lane.snapshot().map(|(time, _)| seconds(time))),
    },
    Family {
        name: "snapshot_records",
        help: "Records in the last complete snapshot.",
        samples: Samples::Gauge(|lane, _| lane.snapshot().map(|(_, records)| records as f64)),
    },
    Family {
        name: "ledger_missing_records",
        help: "Records created in the last day that was compared which the console has and the lane does not account for.",
        samples: Samples::Gauge(|lane, _| lane.missing().map(|missing| missing.records as f64)),
    },
    Family {
        name: "ledger_verified_timestamp_seconds",
        help: "Up to when records by their creation were compared with the console's count.",
        samples: Samples::Gauge(|lane, _| lane.missing().map(|missing| seconds(missing.until))),
    },
    Family {
        name: "lane_up",
        help: "1 while the lane runs, 0 while it fails.",
        samples: Samples::Gauge(|lane, _| Some(if lane.state().is_up() { 1.0 } else { 0.0 })),
    },
    Family {
        name: "console_requests_total",
        help: "Requests to the console, by status.",
        samples: Samples::ConsoleRequests,
    },
    Family { name: "sink_requests_total", help: "Requests to the sink, by status.", samples: Samples::SinkRequests },
    Family {
        name: "token_expiry_timestamp_seconds",
        help: "Time at which the pipeline's API token expires, where the console told.",
        samples: Samples::TokenExpiry,
    },
    Family {
        name: "pipelines",
        help: "Pipeline files by state; one that is invalid while its last good version runs counts in both.",
        samples: Samples::Pipelines,
    },
];

/// About so much of the text is written at a time: for ten thousand lanes the whole is larger than all that they hold, and
/// pieces of one size leave no holes in the allocator's memory.
const PIECE: usize = 32 * 1024;

impl Telemetry {
    /// The text of a scrape in pieces.
    pub fn exposition(self: Arc<Self>, now: Timestamp) -> impl Iterator<Item = String> + Send + 'static {
        let process = self.process().text();
        let pieces = Pieces { telemetry: self, now, families: FAMILIES.iter(), under_way: None };
        std::iter::once(process).chain(pieces)
    }
}

/// Writes family after family. Pipelines are locked for one piece at a time.
struct Pieces {
    telemetry: Arc<Telemetry>,
    now: Timestamp,
    families: std::slice::Iter<'static, Family>,
    under_way: Option<UnderWay>,
}

/// A family that is not written to its end.
struct UnderWay {
    family: &'static Family,
    /// The last pipeline that is in the text.
    after: Option<String>,
    /// What the family is was said.
    headed: bool,
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::with_capacity(PIECE + PIECE / 8);
        while text.len() < PIECE {
            let next = || self.families.next().map(|family| UnderWay { family, after: None, headed: false });
            let Some(mut under_way) = self.under_way.take().or_else(next) else { break };
            let mut lines = Lines { family: under_way.family, headed: under_way.headed, text };
            let last =
                under_way.family.samples.write(&self.telemetry, self.now, under_way.after.as_deref(), &mut lines);
            (text, under_way.headed) = (lines.text, lines.headed);
            if last.is_some() {
                under_way.after = last;
                self.under_way = Some(under_way);
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Samples {
    /// Writes the samples of the pipelines after this one. Where the piece is full before the last, gives the pipeline that
    /// it ends with.
    fn write(&self, telemetry: &Telemetry, now: Timestamp, after: Option<&str>, lines: &mut Lines) -> Option<String> {
        if let Self::Pipelines = self {
            pipelines(telemetry, lines);
            return None;
        }
        let pipelines = telemetry.pipelines();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, pipeline) in pipelines.range::<str, _>((from, Bound::Unbounded)) {
            match self {
                Self::Counter(value) => pipeline.running().for_each(|lane| lines.lane(lane, None, value(lane))),
                Self::Gauge(value) => {
                    let known = pipeline.running().filter_map(|lane| Some((lane, value(lane, now)?)));
                    known.for_each(|(lane, value)| lines.lane(lane, None, value));
                }
                Self::Dropped => pipeline.running().for_each(|lane| {
                    for reason in DropReason::ALL {
                        lines.lane(lane, Some(("reason", reason.label())), lane.dropped(reason));
                    }
                }),
                Self::ConsoleRequests => requests(
                    lines,
                    (name, "stream"),
                    pipeline.summed().map(|lane| (lane.stream.name(), &*lane.console_requests)),
                ),
                Self::SinkRequests => requests(
                    lines,
                    (name, "sink"),
                    pipeline.summed().map(|lane| (lane.sink.as_str(), &lane.sink_requests)),
                ),
                Self::TokenExpiry => {
                    if let Some(expires) = pipeline.token_expires {
                        lines.sample(&[("pipeline", name)], seconds(expires));
                    }
                }
                Self::Pipelines => {}
            }
            if lines.text.len() >= PIECE {
                return Some(name.clone());
            }
        }
        None
    }

    /// The word for it behind `# TYPE`.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Dropped | Self::ConsoleRequests | Self::SinkRequests => "counter",
            Self::Gauge(_) | Self::TokenExpiry | Self::Pipelines => "gauge",
        }
    }
}

/// Sums over the lanes of one pipeline that share a stream or a sink.
fn requests<'a>(
    lines: &mut Lines,
    (pipeline, label): (&str, &str),
    lanes: impl Iterator<Item = (&'a str, &'a StatusCounts)>,
) {
    let mut sums = BTreeMap::<(&str, String), u64>::new();
    for (word, counts) in lanes {
        counts.for_each(|status, count| *sums.entry((word, status.to_owned())).or_default() += count);
    }
    for ((word, status), count) in sums {
        lines.sample(&[("pipeline", pipeline), (label, word), ("status", &status)], count);
    }
}

fn pipelines(telemetry: &Telemetry, lines: &mut Lines) {
    let files = telemetry.files();
    let doing = |activity| files.values().filter(|file| file.activity == activity).count();
    lines.sample(&[("state", "running")], doing(Activity::Running));
    lines.sample(&[("state", "paused")], doing(Activity::Paused));
    if telemetry.shares_pipelines() {
        lines.sample(&[("state", "elsewhere")], doing(Activity::Elsewhere));
    }
    lines.sample(&[("state", "invalid")], files.values().filter(|file| file.problem.is_some()).count());
}

fn seconds(time: Timestamp) -> f64 {
    time.micros() as f64 / 1e6
}

struct Lines {
    family: &'static Family,
    /// What the family is was said.
    headed: bool,
    text: String,
}

impl Lines {
    fn lane(&mut self, lane: &LaneMetrics, more: Option<(&str, &str)>, value: impl Display) {
        self.begin();
        self.text.push_str(lane.labels());
        if let Some((name, word)) = more {
            label(&mut self.text, name, word);
        }
        self.end(value);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.begin();
        labels.iter().for_each(|(name, text)| label(&mut self.text, name, text));
        self.end(value);
    }

    fn begin(&mut self) {
        let Family { name, help, samples } = self.family;
        if !std::mem::replace(&mut self.headed, true) {
            // Writing to a String cannot fail.
            let _ = write!(self.text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {}\n", samples.kind());
        }
        self.text.push_str(PREFIX);
        self.text.push_str(name);
        self.text.push('{');
    }

    fn end(&mut self, value: impl Display) {
        // Each label has a comma behind it.
        self.text.pop();
        let _ = writeln!(self.text, "}} {value}");
    }
}

/// Appends a label and a comma.
pub(super) fn label(out: &mut String, name: &str, text: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push_str("\",");
}

#[cfg(test)]
mod tests;
