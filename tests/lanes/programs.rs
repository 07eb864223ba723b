//! Programs that fail on some events, and what `on_error` makes of these.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::{Lane, LaneEnd, LaneMapping};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::telemetry::{Counter, LaneStateKind};
use s1_forwarder::transform::{OnError, RedactionKeys, Schema, Steps, TransformSettings};
use tokio::time::sleep;

use super::harness::{LaneHarness, START, assert_counts_balance};

const FIRST: u64 = 1_000_000_000_000_000_000;

/// A program that fails on the records with these ids, which are all if they are many.
fn failing(lane: Lane, on_error: OnError, ids: &[u64]) -> Lane {
    let is_one = |id: &u64| format!(".id == \"{id}\"");
    let fails = match ids.len() {
        // A program has no more levels.
        ..64 => ids.iter().map(is_one).collect::<Vec<_>>().join(" || "),
        _ => "exists(.id)".to_owned(),
    };
    let remap = Some(format!("if {fails} {{ .number = to_int!(\"x\" + to_string!(.id)) }}"));
    with_program(lane, &TransformSettings { on_error, remap, ..TransformSettings::default() })
}

fn with_program(lane: Lane, settings: &TransformSettings) -> Lane {
    let steps = Steps::new(settings, Schema::Raw, None, RedactionKeys::Configured).unwrap();
    let mapping = LaneMapping { steps: steps.map(Arc::new), ..lane.mapping };
    Lane { mapping, ..lane }
}

fn stored(harness: &LaneHarness) -> String {
    let files = s1_forwarder::state::dead_letters::files(harness.dead_letters.path()).unwrap_or_default();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

/// What was before the event is delivered, the event and what follows it are not lost, and nothing is polled until
/// another file comes. The first record, one among others of its time, and the last one.
#[tokio::test(start_paused = true)]
async fn a_lane_that_stops_at_a_failure_goes_on_at_that_event_with_a_corrected_program() {
    for failing_at in [0, 150, 299] {
        let harness = LaneHarness::new(|_| {});
        let ids: Vec<u64> = (FIRST..FIRST + 300).collect();
        for (number, id) in (0..).zip(&ids) {
            // Ten have the same time.
            let at = START.minus(Duration::from_secs(3_600 - number / 10));
            let body = format!(r#"{{"id":"{id}","activityType":5,"createdAt":"{at}"}}"#);
            harness.console.insert(Kind::Activities, body.as_bytes()).unwrap();
        }
        let sink = MemorySink::accepting(harness.clock);
        let lane = || harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
        let running = harness.start(failing(lane(), OnError::Stop, &ids[failing_at..=failing_at]));
        sleep(Duration::from_mins(1)).await;
        let state = running.metrics.state();
        assert_eq!(state.reason(), Some("ProgramFailed"), "{state:?}");
        let error = state.error().unwrap();
        assert!(error.contains(&format!("failed on record {}, and", ids[failing_at])), "{error}");
        assert!(error.contains("remap: function call error for \"to_int\" at line 1"), "{error}");
        let requests = harness.console.request_log().len();
        sleep(Duration::from_hours(2)).await;
        assert_eq!(harness.console.request_log().len(), requests, "it does not even poll");
        let metrics = running.drain().await;
        assert_eq!(metrics.map.program_errors.get(), 1);
        assert_eq!((sink.total(), stored(&harness).len()), (failing_at, 0));
        assert_counts_balance(&metrics);

        assert_eq!(harness.run_once(lane()).await, LaneEnd::Complete);
        assert_eq!((sink.total(), sink.counts().len()), (300, 300));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_runs_once_ends_at_a_failure_that_stops_it() {
    let harness = LaneHarness::new(|setup| setup.activities = 30);
    let ids = harness.console.ids(Kind::Activities);
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    assert_eq!(harness.run_once(failing(lane, OnError::Stop, &ids[7..8])).await, LaneEnd::Refused);
    assert_eq!(sink.total(), 7);
}

#[tokio::test(start_paused = true)]
async fn events_that_a_program_fails_on_become_dead_letters_and_the_others_arrive_once() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let ids = harness.console.ids(Kind::Activities);
    let failing_ids: Vec<u64> = ids.iter().copied().step_by(7).collect();
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let lane = failing(lane, OnError::DeadLetter, &failing_ids);
    let running = harness.start(Lane { once: true, ..lane });
    assert_eq!(running.task.await.unwrap(), LaneEnd::Complete);
    let metrics = running.metrics;
    let counts = [&metrics.map.program_errors, &metrics.send.dead_letters, &metrics.send.delivered];
    let counts = counts.map(Counter::get);
    assert_eq!(counts, [43, 43, 257]);
    assert_eq!((sink.total(), sink.counts().len()), (257, 257));
    assert_counts_balance(&metrics);
    let stored = stored(&harness);
    assert_eq!(stored.lines().count(), 43);
    for id in failing_ids {
        let start = format!(r#""record_id":"{id}","status":"program","reason":"remap: "#);
        let line = stored.lines().find(|line| line.contains(&start)).unwrap_or_else(|| panic!("{id}: {stored}"));
        assert!(!line.contains(r#""error""#), "it was mapped: {line}");
    }
}

/// A wrong program must not turn a customer's history into dead letters.
#[tokio::test(start_paused = true)]
async fn ten_failures_in_a_row_stop_the_lane_and_make_no_dead_letters_of_a_batch() {
    for (failing_count, is_kept) in [(9, true), (10, false), (300, false)] {
        let harness = LaneHarness::new(|setup| setup.activities = failing_count);
        let ids = harness.console.ids(Kind::Activities);
        let sink = MemorySink::accepting(harness.clock);
        let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
        let running = harness.start(failing(lane, OnError::DeadLetter, &ids));
        sleep(Duration::from_mins(1)).await;
        let state = running.metrics.state();
        let metrics = running.drain().await;
        let kept = if is_kept { failing_count as u64 } else { 0 };
        assert_eq!((metrics.send.dead_letters.get(), sink.total()), (kept, 0), "{failing_count}");
        match (state.name(), state.reason(), state.error()) {
            ("running", ..) => assert!(is_kept),
            (_, Some("ProgramFailed"), Some(error)) => {
                assert!(!is_kept && error.contains("events in a row: remap: function call error"), "{error}");
                assert!(error.ends_with(" --accept-refusals acme/activities/siem"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_counts_balance(&metrics);
    }
}

/// Programs that drop rightly work, although no event arrives: every seventh event is one that they fail on, in one
/// batch and each in a poll of its own. Programs that have not all seen the dropped events show nothing.
#[tokio::test(start_paused = true)]
async fn events_that_the_programs_drop_end_a_row_of_failures() {
    let condition = || "to_int!(.n) == 12".to_owned();
    let abort = "if .n == 12 { abort }\n.m = to_int!(.n)";
    for (drop, remap, is_apart, is_stopped) in [
        (vec![condition()], None, false, false),
        (vec![condition()], None, true, false),
        (Vec::new(), Some(abort), false, false),
        (vec![condition()], Some(".m = 1"), false, true),
        (vec![".n == 12".to_owned(), condition()], None, false, true),
    ] {
        let harness = LaneHarness::new(|setup| setup.activities = 0);
        let sink = MemorySink::accepting(harness.clock);
        let settings = TransformSettings {
            drop: drop.clone(),
            remap: remap.map(str::to_owned),
            on_error: OnError::DeadLetter,
            ..TransformSettings::default()
        };
        let running =
            harness.start(with_program(harness.lane(harness.pull(Stream::Activities), "siem", sink), &settings));
        for number in 0..92 {
            let n = if number % 7 == 0 { "\"abc\"" } else { "12" };
            let (id, at) = (FIRST + number, harness.clock.now());
            let body = format!(r#"{{"id":"{id}","activityType":5,"createdAt":"{at}","n":{n}}}"#);
            harness.console.insert(Kind::Activities, body.as_bytes()).unwrap();
            if is_apart {
                sleep(Duration::from_secs(90)).await;
            }
        }
        sleep(Duration::from_secs(90)).await;
        let state = running.metrics.state();
        let metrics = running.drain().await;
        let kept = metrics.send.dead_letters.get();
        // The first batch may have fewer failures than stop a lane.
        let is_right = if is_stopped { kept < 10 } else { kept == 14 };
        assert!(is_right, "{drop:?} {remap:?} {is_apart}: {kept} {state:?}");
        assert_eq!(matches!(state.kind, LaneStateKind::Misconfigured(_)), is_stopped, "{drop:?} {remap:?} {state:?}");
        assert_counts_balance(&metrics);
    }
}

/// What the program and the sink refuse counts together, and one accepted event begins the count again.
#[tokio::test(start_paused = true)]
async fn failures_count_with_the_refusals_of_the_sink() {
    for (good, is_stopped) in [(false, true), (true, false)] {
        let harness = LaneHarness::new(|setup| setup.activities = 10);
        let ids = harness.console.ids(Kind::Activities);
        let accepted = good.then(|| ids[9].to_string());
        let sink = MemorySink::new(harness.clock, move |_, batch| {
            let is_bad = batch.events().any(|event| Some(event.record_id) != accepted.as_deref());
            is_bad.then(|| Outcome::Refused("bad field".to_owned()))
        });
        let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
        let running = harness.start(failing(lane, OnError::DeadLetter, &ids[..6]));
        sleep(Duration::from_mins(1)).await;
        let state = running.metrics.state();
        let metrics = running.drain().await;
        let kept = if is_stopped { 0 } else { 9 };
        assert_eq!(metrics.send.dead_letters.get(), kept, "{state:?}");
        assert_eq!(matches!(state.kind, LaneStateKind::Misconfigured(_)), is_stopped, "{state:?}");
    }
}
