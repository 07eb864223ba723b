//! What a scrape sees (`design.md` section 6): the lanes' counters as Prometheus text, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Activity, DropReason, LaneMetrics, Telemetry};
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

impl Telemetry {
    /// The text of a scrape in pieces, one metric's lines at a time: for ten thousand lanes the whole is larger than all
    /// that they hold, and nobody needs it in one piece.
    pub fn exposition(self: Arc<Self>, now: Timestamp) -> impl Iterator<Item = String> + Send + 'static {
        let process = self.process().text();
        std::iter::once(process).chain(FAMILIES.iter().map(move |family| family.text(&self, now)))
    }
}

impl Family {
    fn text(&self, telemetry: &Telemetry, now: Timestamp) -> String {
        let kind = match self.samples {
            Samples::Counter(_) | Samples::Dropped | Samples::ConsoleRequests | Samples::SinkRequests => "counter",
            Samples::Gauge(_) | Samples::TokenExpiry | Samples::Pipelines => "gauge",
        };
        let mut lines = Lines { name: self.name, text: String::new() };
        self.samples.write(telemetry, now, &mut lines);
        if lines.text.is_empty() {
            return lines.text;
        }
        format!("# HELP {PREFIX}{0} {1}\n# TYPE {PREFIX}{0} {kind}\n{2}", self.name, self.help, lines.text)
    }
}

impl Samples {
    fn write(&self, telemetry: &Telemetry, now: Timestamp, lines: &mut Lines) {
        if let Self::Pipelines = self {
            return pipelines(telemetry, lines);
        }
        for (name, pipeline) in telemetry.pipelines().iter() {
            match self {
                Self::Counter(value) => pipeline.running().for_each(|lane| lines.lane(lane, &[], value(lane))),
                Self::Gauge(value) => {
                    let known = pipeline.running().filter_map(|lane| Some((lane, value(lane, now)?)));
                    known.for_each(|(lane, value)| lines.lane(lane, &[], value));
                }
                Self::Dropped => pipeline.running().for_each(|lane| {
                    for reason in DropReason::ALL {
                        lines.lane(lane, &[("reason", reason.label())], lane.dropped(reason));
                    }
                }),
                Self::ConsoleRequests => requests(
                    lines,
                    (name, "stream"),
                    pipeline.summed().map(|lane| (lane.stream.name(), lane.console_requests.snapshot())),
                ),
                Self::SinkRequests => requests(
                    lines,
                    (name, "sink"),
                    pipeline.summed().map(|lane| (lane.sink.as_str(), lane.sink_requests.snapshot())),
                ),
                Self::TokenExpiry => {
                    if let Some(expires) = pipeline.token_expires {
                        lines.sample(&[("pipeline", name)], seconds(expires));
                    }
                }
                Self::Pipelines => {}
            }
        }
    }
}

/// Sums over the lanes of one pipeline that share a stream or a sink.
fn requests<'a>(
    lines: &mut Lines,
    (pipeline, label): (&str, &str),
    lanes: impl Iterator<Item = (&'a str, BTreeMap<String, u64>)>,
) {
    let mut sums = BTreeMap::<(&str, String), u64>::new();
    for (word, counts) in lanes {
        for (status, count) in counts {
            *sums.entry((word, status)).or_default() += count;
        }
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
    name: &'static str,
    text: String,
}

impl Lines {
    fn lane(&mut self, lane: &LaneMetrics, more: &[(&str, &str)], value: impl Display) {
        let of_lane = [("pipeline", lane.pipeline.as_str()), ("stream", lane.stream.name()), ("sink", &lane.sink)];
        self.write(of_lane.iter().chain(more), value);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.write(labels.iter(), value);
    }

    fn write<'a>(&mut self, labels: impl Iterator<Item = &'a (&'a str, &'a str)>, value: impl Display) {
        self.text.push_str(PREFIX);
        self.text.push_str(self.name);
        for (index, (name, text)) in labels.enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(text);
            self.text.push('"');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "}} {value}");
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests;
