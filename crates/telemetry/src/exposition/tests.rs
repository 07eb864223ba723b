use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_failure::FailureKind;
use s1_forwarder_record::{LaneId, Stream};

use super::*;
use crate::Silence;
use crate::{
    CountedLabels, FileStatus, LaneState, LaneStateKind, LaneWarnings, METRICS, Misconfiguration, NewTokenProblem,
    Verification,
};

/// The metrics that users rely on: name, type, labels.
const CONTRACT: &[(&str, &str, &[&str])] = &[
    ("records_pulled_total", "counter", &["pipeline", "stream", "sink"]),
    ("events_delivered_total", "counter", &["pipeline", "stream", "sink"]),
    ("records_skipped_total", "counter", &["pipeline", "stream", "sink", "reason"]),
    ("records_requeued_total", "counter", &["pipeline", "stream", "sink"]),
    ("records_not_shown_total", "counter", &["pipeline", "stream", "sink"]),
    ("dead_letters_total", "counter", &["pipeline", "stream", "sink"]),
    ("dead_letters_stored", "gauge", &["pipeline", "stream", "sink"]),
    ("map_errors_total", "counter", &["pipeline", "stream", "sink"]),
    ("records_repaired_total", "counter", &["pipeline", "stream", "sink"]),
    ("overflowed_records_total", "counter", &["pipeline", "stream", "sink"]),
    ("records_not_enriched_total", "counter", &["pipeline", "stream", "sink"]),
    ("records_with_other_labels_total", "counter", &["pipeline", "stream", "sink"]),
    ("times_without_zone_total", "counter", &["pipeline", "stream", "sink"]),
    ("remap_errors_total", "counter", &["pipeline", "stream", "sink"]),
    ("remap_overruns_total", "counter", &["pipeline", "stream", "sink"]),
    ("unknown_activity_types_total", "counter", &["pipeline", "stream", "sink"]),
    ("unmapped_fields_total", "counter", &["stream"]),
    ("sink_warnings_total", "counter", &["pipeline", "stream", "sink", "reason"]),
    ("delivered_bytes_total", "counter", &["pipeline", "stream", "sink"]),
    ("delivered_event_bytes_total", "counter", &["pipeline", "stream", "sink"]),
    ("label_events_delivered_total", "counter", &["pipeline", "stream", "sink", "label", "value"]),
    ("label_delivered_event_bytes_total", "counter", &["pipeline", "stream", "sink", "label", "value"]),
    ("lag_seconds", "gauge", &["pipeline", "stream", "sink"]),
    ("last_success_timestamp_seconds", "gauge", &["pipeline", "stream", "sink"]),
    ("snapshot_timestamp_seconds", "gauge", &["pipeline", "stream", "sink"]),
    ("snapshot_records", "gauge", &["pipeline", "stream", "sink"]),
    ("verified_missing_records", "gauge", &["pipeline", "stream", "sink"]),
    ("verified_until_timestamp_seconds", "gauge", &["pipeline", "stream", "sink"]),
    ("newest_record_timestamp_seconds", "gauge", &["pipeline", "stream", "sink"]),
    ("lane_silent", "gauge", &["pipeline", "stream", "sink"]),
    ("lane_up", "gauge", &["pipeline", "stream", "sink"]),
    ("lane_state", "gauge", &["pipeline", "stream", "sink", "state"]),
    ("arrival_delay_seconds", "histogram", &["stream"]),
    ("console_requests_total", "counter", &["pipeline", "stream", "status"]),
    ("event_latency_seconds", "histogram", &["stream", "type"]),
    ("console_request_duration_seconds", "histogram", &["stream"]),
    ("sink_requests_total", "counter", &["pipeline", "sink", "status"]),
    ("sink_request_duration_seconds", "histogram", &["type"]),
    ("sink_latency_seconds", "gauge", &["pipeline", "sink"]),
    ("token_expiry_timestamp_seconds", "gauge", &["pipeline"]),
    ("console_clock_difference_seconds", "gauge", &["pipeline"]),
    ("in_flight_bytes", "gauge", &[]),
    ("memory_budget_bytes", "gauge", &[]),
    ("tasks", "gauge", &[]),
    ("kafka_clients", "gauge", &[]),
    ("duplicate_lanes", "gauge", &[]),
    ("unseen_scope_lanes", "gauge", &[]),
    ("unused_tokens", "gauge", &[]),
    ("orphaned_checkpoints", "gauge", &[]),
    ("dead_letter_bytes", "gauge", &["pipeline"]),
    ("dead_letter_max_bytes", "gauge", &["pipeline"]),
    ("config_last_reload_successful", "gauge", &[]),
    ("config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ("pipelines", "gauge", &["state"]),
    ("pipeline_warnings", "gauge", &["pipeline", "warning"]),
    ("build_info", "gauge", &["version", "revision"]),
    ("checkpoint_conflicts_total", "counter", &[]),
    ("shards_held", "gauge", &[]),
    ("shards", "gauge", &[]),
    ("usage_writes_total", "counter", &["result"]),
    ("lease_losses_total", "counter", &[]),
    ("lease_renewals_total", "counter", &["result"]),
    ("shard_handover_duration_seconds", "histogram", &["direction"]),
];

/// The metrics that every Prometheus client for Linux exposes, under the same names everywhere.
const PROCESS: &[(&str, &str)] = &[
    ("process_cpu_seconds_total", "counter"),
    ("process_max_fds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_threads", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
];

/// A scrape read back: the text format as Prometheus documents it.
#[derive(Default)]
struct Scrape {
    help: BTreeMap<String, String>,
    types: BTreeMap<String, String>,
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Scrape {
    fn of(telemetry: &Arc<Telemetry>, now: Timestamp) -> Self {
        let text: String = telemetry.clone().exposition(now).collect();
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(scrape.help.insert(name.to_owned(), help.to_owned()).is_none(), "HELP twice: {name}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "TYPE twice: {name}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = match series.split_once('{') {
                    Some((name, labels)) => (name, read_labels(labels.strip_suffix('}').unwrap())),
                    None => (series, BTreeMap::new()),
                };
                let value = value.parse().unwrap();
                let again = scrape.samples.insert((name.to_owned(), labels), value);
                assert!(again.is_none(), "sample twice: {line}");
            }
        }
        scrape
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(format!("{METRIC_PREFIX}{name}"), labels)).copied()
    }
}

fn read_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.chars();
        loop {
            match characters.next().unwrap() {
                '"' => break,
                '\\' => value.push(match characters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        rest = characters.as_str().trim_start_matches(',');
    }
    labels
}

/// A year such as 2999 would lead every list of tokens that expire next.
#[test]
fn a_token_that_never_expires_has_no_time() {
    let telemetry = Arc::new(Telemetry::new());
    let now = Timestamp::now();
    let has_sample = |expires: &str| {
        telemetry.set_token_expiry("acme", Some(Timestamp::parse(expires).unwrap()));
        Scrape::of(&telemetry, now).samples.keys().any(|(name, _)| name.contains("token_expiry"))
    };
    assert!(has_sample("2199-12-31T23:59:59Z"));
    assert!(!has_sample("2999-12-31T00:00:00Z"));
}

#[test]
fn each_warning_names_its_pipelines() {
    let telemetry = Arc::new(Telemetry::new());
    let names = ["copy", "good", "narrow", "token"];
    let lanes = names.map(|name| telemetry.start_lane(&LaneId::new(name, Stream::Threats, "bus")));
    lanes[0].set_warnings(LaneWarnings { duplicate_of: Some("good/threats/bus".into()), unseen: None });
    lanes[2].set_warnings(LaneWarnings { duplicate_of: None, unseen: Some("the token does not see 7".into()) });
    telemetry.set_new_token_problem("token", Some(NewTokenProblem::Refused));
    for (file, problem) in [("bad", Some("empty")), ("bad-copy", Some("empty")), ("good", None)] {
        let status = FileStatus::of_test(file.trim_end_matches("-copy"), PipelineState::Running, problem);
        telemetry.set_file(Path::new(&format!("{file}.yaml")), status);
    }
    telemetry.set_file(
        Path::new("gone.yaml"),
        FileStatus::of_test("gone", PipelineState::Removed, Some("its file is gone")),
    );
    let text: String = telemetry.exposition(Timestamp::now()).collect();
    let warnings: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("s1_forwarder_pipeline_warnings")).collect();
    assert_eq!(
        warnings,
        [("bad", "file"), ("copy", "duplicate"), ("narrow", "scope"), ("token", "token")]
            .map(|(pipeline, warning)| format!("{{pipeline=\"{pipeline}\",warning=\"{warning}\"}} 1"))
    );
}

#[test]
fn a_scrape_has_exactly_the_documented_metrics() {
    let telemetry = Arc::new(Telemetry::new());
    let now = Timestamp::now();
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    lane.set_complete_until(now);
    lane.succeeded(now);
    lane.set_dead_letters_stored(Some(0));
    lane.set_newest_record(Some(now));
    lane.set_silence(Silence::Speaking);
    lane.set_snapshot(now, 12);
    lane.set_verification(Verification { missing_records: 0, until: now });
    lane.pull.requests.count("200");
    lane.send.requests.count("ok");
    lane.sink_latency.add(Duration::from_millis(20), now);
    lane.sink_warned("noop", "dropped", now);
    lane.count_label(&CountedLabels::default(), "customer", "acme", LabelCount { events: 1, bytes: 2 });
    telemetry.process().observe_event_latency(Stream::Threats, "kafka", std::iter::once(Duration::from_secs(2)));
    telemetry.set_token_expiry("acme", Some(now));
    telemetry.set_clock_difference("acme", -7);
    telemetry.set_new_token_problem("acme", Some(NewTokenProblem::Refused));
    telemetry.set_file(Path::new("acme.yaml"), FileStatus::of_test("acme", PipelineState::Running, None));
    telemetry.process().observe_arrival_delay(Stream::Threats, Duration::from_secs(2));
    telemetry.process().observe_console_request(Stream::Threats, Duration::from_millis(20));
    telemetry.process().count_lease_renewal(true);
    telemetry.process().set_dead_letters(1_024, Some(4_096), &[("acme".to_owned(), 1_024, 2_048)]);
    telemetry.process().observe_shard_handover("release", Duration::from_secs(1));
    telemetry.process().observe_sink_request("kafka", Duration::from_millis(20));

    let mut scrape = Scrape::of(&telemetry, now);
    if cfg!(target_os = "linux") {
        for (name, kind) in PROCESS {
            assert_eq!(scrape.types.remove(*name).as_deref(), Some(*kind), "{name}");
            scrape.help.remove(*name).unwrap();
            assert!(scrape.samples.contains_key(&((*name).to_owned(), BTreeMap::new())), "{name}");
        }
    }
    let names = |names: &mut dyn Iterator<Item = String>| names.collect::<BTreeSet<_>>();
    let wanted = names(&mut CONTRACT.iter().map(|(name, ..)| format!("{METRIC_PREFIX}{name}")));
    assert_eq!(names(&mut scrape.types.keys().cloned()), wanted);
    assert_eq!(names(&mut scrape.help.keys().cloned()), wanted);
    assert_eq!(names(&mut METRICS.iter().map(|metric| metric.full_name())), wanted);
    for metric in METRICS {
        let contract = CONTRACT.iter().find(|(name, ..)| *name == metric.name).unwrap();
        assert_eq!((metric.kind.name(), metric.labels), (contract.1, contract.2), "{}", metric.name);
        assert_eq!(scrape.help[&metric.full_name()], metric.help);
    }
    for (name, kind, labels) in CONTRACT {
        let name = format!("{METRIC_PREFIX}{name}");
        assert_eq!(scrape.types[&name], *kind, "{name}");
        let suffix = if *kind == "histogram" { "_count" } else { "" };
        let mut samples = scrape.samples.keys().filter(|(sample, _)| *sample == format!("{name}{suffix}")).peekable();
        assert!(samples.peek().is_some(), "{name} has no sample");
        let wanted: BTreeSet<&str> = labels.iter().copied().collect();
        for (_, labels) in samples {
            assert_eq!(labels.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted, "{name}");
        }
    }
}

#[test]
fn requests_are_summed_over_the_lanes_of_a_stream_and_of_a_sink() {
    let telemetry = Arc::new(Telemetry::new());
    let bus = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    let siem = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "siem"));
    let activities = telemetry.start_lane(&LaneId::new("acme", Stream::Activities, "siem"));
    let other = telemetry.start_lane(&LaneId::new("other", Stream::Threats, "bus"));
    for (lane, console, sink) in [(&bus, 1, 2), (&siem, 4, 8), (&activities, 16, 32), (&other, 64, 128)] {
        (0..console).for_each(|_| lane.pull.requests.count("200"));
        (0..sink).for_each(|_| lane.send.requests.count("ok"));
    }
    let sums = |telemetry| {
        let scrape = Scrape::of(telemetry, Timestamp::now());
        let console = |pipeline, stream| {
            scrape.get("console_requests_total", &[("pipeline", pipeline), ("stream", stream), ("status", "200")])
        };
        let sink = |pipeline, sink| {
            scrape.get("sink_requests_total", &[("pipeline", pipeline), ("sink", sink), ("status", "ok")])
        };
        [
            console("acme", "threats"),
            console("acme", "activities"),
            console("other", "threats"),
            sink("acme", "bus"),
            sink("acme", "siem"),
            sink("other", "bus"),
        ]
    };
    let before = [Some(5.0), Some(16.0), Some(64.0), Some(2.0), Some(40.0), Some(128.0)];
    assert_eq!(sums(&telemetry), before);

    // After a sink is removed the sums stay. Prometheus would read a decrease as a restart and count everything twice.
    telemetry.end_lane(&bus);
    assert_eq!(sums(&telemetry), before);
    telemetry.end_lane(&other);
    assert_eq!(sums(&telemetry), [Some(5.0), Some(16.0), None, Some(2.0), Some(40.0), None]);
}

#[test]
fn a_restarted_lane_continues_its_counts_and_an_ended_lane_is_hidden() {
    let telemetry = Arc::new(Telemetry::new());
    let labels = [("pipeline", "acme"), ("stream", "threats"), ("sink", "bus")];
    let pulled = |telemetry| Scrape::of(telemetry, Timestamp::now()).get("records_pulled_total", &labels);

    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    lane.pull.records.add(7);
    lane.set_state(Timestamp::now(), LaneStateKind::Done.into());
    assert_eq!(pulled(&telemetry), Some(7.0));
    telemetry.end_lane(&lane);
    assert_eq!(pulled(&telemetry), None);
    assert!(telemetry.snapshot().lanes.is_empty());

    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    assert_eq!(lane.state().kind, LaneStateKind::Starting);
    lane.pull.records.add(1);
    assert_eq!(pulled(&telemetry), Some(8.0));
}

#[test]
fn a_lane_has_one_series_with_its_present_state() {
    let telemetry = Arc::new(Telemetry::new());
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    let unreadable = LaneStateKind::Misconfigured(Misconfiguration::Failed(FailureKind::SecretUnreadable));
    for state in [LaneStateKind::Running, LaneStateKind::SinkFailing, unreadable].map(LaneState::from) {
        lane.set_state(Timestamp::now(), state.clone());
        let samples = Scrape::of(&telemetry, Timestamp::now()).samples;
        let of_lane = samples.iter().filter(|((name, _), _)| name == "s1_forwarder_lane_state");
        let found: Vec<_> = of_lane.map(|((_, labels), value)| (labels["state"].as_str(), *value)).collect();
        assert_eq!(found, [(state.name(), 1.0)]);
    }
}

/// A stored lag would keep its last value while the lane is stalled.
#[test]
fn lag_grows_while_a_lane_is_stalled_and_is_absent_before_the_first_checkpoint() {
    let telemetry = Arc::new(Telemetry::new());
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    let labels = [("pipeline", "acme"), ("stream", "threats"), ("sink", "bus")];
    let start = Timestamp::now();
    let lag = |seconds| Scrape::of(&telemetry, start.plus(Duration::from_secs(seconds))).get("lag_seconds", &labels);
    assert_eq!(lag(0), None);
    lane.set_complete_until(start);
    assert_eq!([lag(0), lag(30), lag(90)], [Some(0.0), Some(30.0), Some(90.0)]);
    // The console's clock may be ahead of ours.
    lane.set_complete_until(start.plus(Duration::from_secs(5)));
    assert_eq!(lag(0), Some(0.0));
}

#[test]
fn files_count_by_state_and_an_invalid_edit_of_a_running_pipeline_counts_twice() {
    let telemetry = Arc::new(Telemetry::new());
    telemetry.set_file(Path::new("a.yaml"), FileStatus::of_test("a", PipelineState::Running, None));
    telemetry.set_file(
        Path::new("b.yaml"),
        FileStatus::of_test("b", PipelineState::Running, Some("line 3: unknown key `stream`")),
    );
    telemetry.set_file(Path::new("c.yaml"), FileStatus::of_test("c", PipelineState::Paused, None));
    telemetry.set_file(Path::new("d.yaml"), FileStatus::of_test("d", PipelineState::NotStarted, Some("empty file")));
    let count = |state| Scrape::of(&telemetry, Timestamp::now()).get("pipelines", &[("state", state)]);
    assert_eq!([count("running"), count("paused"), count("invalid")], [Some(2.0), Some(1.0), Some(2.0)]);
    telemetry.remove_file(Path::new("d.yaml"));
    assert_eq!(count("invalid"), Some(1.0));
    telemetry.set_file(Path::new("e.yaml"), FileStatus::of_test("e", PipelineState::Removed, Some("its file is gone")));
    telemetry.retain_removed_files(|pipeline| pipeline == "e");
    assert_eq!([count("invalid"), count("removed")], [Some(1.0), Some(1.0)]);
    telemetry.retain_removed_files(|_| false);
    assert_eq!([count("running"), count("removed")], [Some(2.0), Some(0.0)]);
}

#[test]
fn label_values_are_escaped() {
    let telemetry = Arc::new(Telemetry::new());
    telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus")).send.requests.count("a \"b\" \\ c\nd, e=\"f\"");
    let status = "a \"b\" \\ c\nd, e=\"f\"";
    let scrape = Scrape::of(&telemetry, Timestamp::now());
    assert_eq!(
        scrape.get("sink_requests_total", &[("pipeline", "acme"), ("sink", "bus"), ("status", status)]),
        Some(1.0)
    );
}

/// Ten thousand idle lanes may cost a few tens of megabytes, so the metrics of one must stay far below a kilobyte.
#[test]
fn an_idle_lane_is_small() {
    assert!(size_of::<LaneMetrics>() <= 600, "{} bytes", size_of::<LaneMetrics>());
}

#[test]
fn rates_follow_the_counters() {
    let telemetry = Telemetry::new();
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    let mut now = Timestamp::now();
    telemetry.sample_rates(now);
    let mut rates_after = |intervals, pulled, delivered| {
        for _ in 0..intervals {
            lane.pull.records.add(pulled);
            lane.send.delivered.add(delivered);
            now = now.plus(Duration::from_secs(5));
            telemetry.sample_rates(now);
        }
        let view = telemetry.snapshot().lanes.remove(0);
        (view.pulled_per_second.round(), view.delivered_per_second.round())
    };
    assert_eq!(rates_after(1, 500, 100), (100.0, 20.0), "from the first interval on");
    assert_eq!(rates_after(60, 500, 100), (100.0, 20.0));
    let (pulled, delivered) = rates_after(12, 0, 100);
    assert!((30.0..45.0).contains(&pulled) && delivered == 20.0, "a minute later: {pulled}");
}

#[test]
fn gauges_are_plain_numbers() {
    let line = |gauge: f64| {
        let mut lines = Lines::new(&metrics::LAG);
        lines.has_header = true;
        lines.sample(&[("pipeline", "acme")], gauge);
        lines.text.split(' ').next_back().unwrap().trim_end().to_owned()
    };
    for (gauge, text) in [(0.0, "0"), (-3.0, "-3"), (0.25, "0.25"), (1_700_000_000.123456, "1700000000.123456")] {
        assert_eq!(line(gauge), text);
    }
    assert_eq!(line(1e15), "1000000000000000");
}

/// For thousands of lanes the text is split between two lines into chunks of one size.
#[test]
fn a_large_scrape_comes_in_small_chunks_and_is_complete() {
    let telemetry = Arc::new(Telemetry::new());
    for number in 0..1_500 {
        for sink in ["a", "b"] {
            telemetry
                .start_lane(&LaneId::new(format!("p{number:04}"), Stream::Threats, sink))
                .pull
                .requests
                .count("200");
        }
    }
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let chunks: Vec<String> = telemetry.clone().exposition(now).collect();
    assert!(chunks.len() > 50 && chunks.iter().all(|chunk| chunk.len() < CHUNK_BYTES * 5 / 4), "{}", chunks.len());
    let scrape = Scrape::of(&telemetry, now);
    let count = |name: &str| scrape.samples.keys().filter(|(of, _)| *of == format!("{METRIC_PREFIX}{name}")).count();
    assert_eq!(count("records_pulled_total"), 3_000);
    assert_eq!(count("records_skipped_total"), 3_000 * SkipReason::ALL.len());
    assert_eq!(count("console_requests_total"), 1_500);
    assert_eq!(
        scrape.get("console_requests_total", &[("pipeline", "p0777"), ("stream", "threats"), ("status", "200")]),
        Some(2.0)
    );
}

#[test]
fn skipped_records_are_described_with_their_reasons() {
    let describe = |counts: &[(&'static str, u64)]| crate::describe_skipped(counts.iter().copied());
    assert_eq!(describe(&[("filtered", 0), ("duplicate", 0)]), "0");
    assert_eq!(describe(&[("filtered", 0), ("duplicate", 57)]), "57 (already delivered)");
    assert_eq!(describe(&[("filtered", 7), ("duplicate", 50)]), "57 (7 filtered, 50 already delivered)");
    assert_eq!(describe(&[("of_a_newer_release", 1)]), "1 (of_a_newer_release)");
}

#[test]
fn records_in_flight_are_requeued_once() {
    let lane = LaneMetrics::new(&LaneId::new("acme", Stream::Threats, "bus"));
    lane.pull.records.add(20);
    lane.send.delivered.add(5);
    lane.send.dead_letters.add(1);
    lane.skip_records(SkipReason::Duplicate, 4);
    lane.requeue_in_flight();
    lane.requeue_in_flight();
    assert_eq!((lane.pull.requeued.get(), lane.skipped_total()), (10, 4));
}
