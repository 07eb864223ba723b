//! The console's side: pages, ties, late records, refused cursors, answers that are none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use s1_forwarder::checkpoint::ledger::Hour;
use s1_forwarder::console::scripted::{ScriptedTransport, dated};
use s1_forwarder::console::{Client, Limiters, Response, TokenVerdict, Transport};
use s1_forwarder::emulator::{Fault, Faults, Kind, Quirks, Setup};
use s1_forwarder::lane::{Lane, LaneMapping};
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{Action, ConsoleHabits, Poll, PullSettings, RecordFilter, Since, SourcePosition};
use s1_forwarder::telemetry::{LaneStateKind, SkipReason};
#[cfg(feature = "remap")]
use s1_forwarder::transform::{RedactionKeys, Schema, Steps, TransformSettings};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;

use super::harness::{LaneHarness, START, assert_counts_balance};
use super::script::of_types;

async fn everything_arrives_once(kind: Kind, stream: Stream, faults: Faults) {
    let harness = LaneHarness::new(|setup| {
        setup.activities = 3_000;
        setup.threats = 1_500;
    });
    harness.console.set_faults(faults);
    let sink = MemorySink::accepting(harness.clock);
    harness.run_once(harness.lane(harness.pull(stream), "siem", sink.clone())).await;
    let owed = harness.owed(kind);
    assert!(owed.len() >= 1_500);
    let counts = sink.counts();
    assert_eq!(counts.keys().collect::<Vec<_>>(), owed.keys().collect::<Vec<_>>());
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn all_records_arrive_once_from_a_good_console() {
    everything_arrives_once(Kind::Activities, Stream::Activities, Faults::default()).await;
    everything_arrives_once(Kind::Threats, Stream::Threats, Faults::default()).await;
}

#[tokio::test(start_paused = true)]
async fn all_records_arrive_once_from_a_console_with_every_fault() {
    for name in Faults::PRESETS.iter().filter(|name| **name != "none") {
        let mut faults = Faults::preset(name).unwrap();
        // Faults that never end are the business of other tests.
        faults.forbidden.clear();
        faults.missing.clear();
        faults.rules.retain(|fault| {
            !matches!(
                fault.fault,
                Fault::LateArrival(_)
                    | Fault::ChangedWhilePaged
                    | Fault::Unauthorized
                    | Fault::Forbidden
                    | Fault::NotFound
                    | Fault::NotSupported
            )
        });
        println!("{name}");
        everything_arrives_once(Kind::Activities, Stream::Activities, faults).await;
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_appear_late_within_the_overlap_arrive_once() {
    let harness = LaneHarness::new(|setup| setup.activities = 50);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    for minute in 0..20 {
        sleep(Duration::from_mins(1)).await;
        let now = harness.clock.now();
        harness.console.generate(Kind::Activities, now.micros());
        harness.console.generate(Kind::Activities, now.minus(Duration::from_secs(10 * minute)).micros());
    }
    sleep(Duration::from_mins(2)).await;
    let metrics = running.drain().await;
    let counts = sink.counts();
    assert_eq!(counts.len(), harness.owed(Kind::Activities).len());
    assert!(counts.values().all(|count| *count == 1));
    assert!(metrics.skipped(SkipReason::Duplicate) > 0, "the overlap is read again");
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn each_change_of_a_threat_that_a_poll_can_see_arrives_once() {
    let harness = LaneHarness::new(|setup| setup.threats = 40);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Threats), "siem", sink.clone()));
    let threat = harness.console.ids(Kind::Threats)[7];
    for _ in 0..5 {
        sleep(Duration::from_secs(90)).await;
        harness.console.change_randomly(Kind::Threats, threat, harness.clock.now().micros());
    }
    sleep(Duration::from_secs(90)).await;
    let metrics = running.drain().await;
    let of_threat = sink.accepted().iter().filter(|(_, id, _)| *id == threat.to_string()).count();
    assert_eq!(of_threat, 6);
    assert_eq!(sink.total(), 45);
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_nothing_and_loses_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 500);
    let sink = MemorySink::accepting(harness.clock);
    for _ in 0..3 {
        let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
        sleep(Duration::from_secs(45)).await;
        running.drain().await;
        harness.console.generate(Kind::Activities, harness.clock.now().micros());
        sleep(Duration::from_hours(1)).await;
    }
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(45)).await;
    running.drain().await;
    assert_eq!(sink.total(), 503);
    assert_eq!(sink.counts().len(), 503);
}

/// Where nothing comes, nothing but a poll's end moves the position.
#[tokio::test(start_paused = true)]
async fn a_poll_that_reached_its_end_moves_the_position_to_its_start() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", MemorySink::accepting(harness.clock));
    lane.once = true;
    lane.first_poll_after = Duration::from_hours(24);
    harness.start(lane).task.await.unwrap();
    let position = harness.checkpoint(Stream::Activities, "siem").unwrap().position;
    let age = harness.clock.now().since(position.complete().unwrap());
    assert!(age < Duration::from_mins(1), "{age:?}");
    assert_eq!(position.bound(), position.complete().unwrap().minus(Duration::from_mins(5)), "less the overlap");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_forbidden_waits_and_comes_back() {
    let harness = LaneHarness::new(|setup| {
        setup.activities = 20;
        setup.threats = 20;
    });
    harness.console.set_faults(Faults { forbidden: vec![Kind::Threats], ..Faults::default() });
    let threats = MemorySink::accepting(harness.clock);
    let activities = MemorySink::accepting(harness.clock);
    let forbidden = harness.start(harness.lane(harness.pull(Stream::Threats), "siem", threats.clone()));
    let allowed = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", activities.clone()));
    sleep(Duration::from_mins(30)).await;
    assert_eq!((threats.total(), activities.total()), (0, 20));
    assert!(!forbidden.metrics.state().is_up() && allowed.metrics.state().is_up());
    let asked = forbidden.metrics.pull.requests.snapshot();
    assert!(asked.values().sum::<u64>() <= 2, "no hot loop: {asked:?}");
    harness.console.set_faults(Faults::default());
    sleep(Duration::from_hours(1)).await;
    assert_eq!(threats.total(), 20);
    forbidden.drain().await;
    allowed.drain().await;
}

/// An idle lane of such a console would be reported as failing at each of its polls.
#[tokio::test(start_paused = true)]
async fn a_console_that_answers_null_for_nothing_is_no_failure_once_its_count_has_said_so() {
    let harness = LaneHarness::new(|_| {});
    harness.console.set_quirks(Quirks { empty_is_null: true, ..Quirks::default() });
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_mins(1)).await;
    let failed_at = running.metrics.last_error().unwrap().0;
    let asked = harness.console.request_log().len();
    sleep(Duration::from_mins(5)).await;
    let failed_last = running.metrics.last_error().unwrap().0;
    let asked = harness.console.request_log().len() - asked;
    assert!(running.metrics.state().is_up() && failed_last == failed_at);
    assert!((20..=22).contains(&asked), "a page and a count for each of ten polls: {asked}");
    // It is still asked for its count: null may also be a failure.
    harness.console.generate(Kind::Activities, harness.clock.now().micros());
    let always = Faults { max_consecutive: u32::MAX, ..Faults::default() };
    harness.console.set_faults(always.with(Fault::NullData, 1.0));
    sleep(Duration::from_mins(2)).await;
    assert!(!running.metrics.state().is_up());
    harness.console.set_faults(Faults::default());
    sleep(Duration::from_mins(2)).await;
    let metrics = running.drain().await;
    assert_eq!(sink.total(), 1);
    assert_counts_balance(&metrics);
}

/// Thousands of lanes may read their histories at once, and what they remember is in no budget.
#[tokio::test(start_paused = true)]
async fn a_long_history_is_not_remembered() {
    is_not_remembered(Kind::Activities, Stream::Activities).await;
    is_not_remembered(Kind::Alerts, Stream::Alerts).await;
}

async fn is_not_remembered(kind: Kind, stream: Stream) {
    let harness = LaneHarness::new(|setup| {
        setup.activities = 12_000;
        setup.alerts = 12_000;
        setup.span = Duration::from_hours(7_200);
    });
    let lane = harness.lane(harness.pull(stream), "siem", MemorySink::accepting(harness.clock));
    let client = lane.client.clone();
    let meter = lane.delivery.meter.clone();
    let position = SourcePosition::starting_at(Timestamp::default());
    let mut poll =
        Poll::new(&client, meter, lane.pull.clone(), &position, 0, harness.clock.now(), ConsoleHabits::default())
            .unwrap();
    let mut arrived = 0;
    let mut most = 0;
    loop {
        match poll.next_action() {
            Action::Ask(request) => {
                let answer = request.with_size(100, 64 << 20).send(&client, client.permit().await, None).await;
                poll.answered(answer, client.latest_time()).unwrap();
            }
            Action::Emit(page) => arrived += page.records.len(),
            Action::Done(..) => break,
        }
        most = most.max(poll.returned_count());
    }
    assert_eq!(arrived, harness.owed(kind).len());
    assert!((100..2_500).contains(&most), "{stream}: {most} keys");
}

#[tokio::test(start_paused = true)]
async fn excluded_types_are_dropped_and_counted() {
    let harness = LaneHarness::new(|setup| setup.activities = 500);
    let sink = MemorySink::accepting(harness.clock);
    let mut pull = harness.pull(Stream::Activities);
    pull.own = of_types(Vec::new(), vec![27]);
    let mut lane = harness.lane(pull, "siem", sink.clone());
    lane.once = true;
    let running = harness.start(lane);
    running.task.await.unwrap();
    let filtered = running.metrics.skipped(SkipReason::Filtered);
    assert!(filtered > 0 && filtered < 500);
    assert_eq!(sink.total() as u64 + filtered, 500);
    assert_eq!(running.metrics.pull.records.get(), 500);
}

/// Otherwise a lane that delivers nothing of a long history remembers all of it, and reads it from the beginning again
/// after each restart.
#[cfg(feature = "remap")]
#[tokio::test(start_paused = true)]
async fn records_that_are_not_delivered_move_the_position_like_those_that_are() {
    let mut harness = LaneHarness::new(|setup| {
        setup.activities = 20_000;
        setup.span = Duration::from_hours(7_200);
    });
    harness.console_delay = Duration::from_secs(1);
    let all_types = harness.activity_types().into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let dropping: TransformSettings = serde_json::from_value(serde_json::json!({ "drop": ["true"] })).unwrap();
    let dropping = Steps::new(&dropping, Schema::Raw, None, RedactionKeys::OfTests).unwrap().map(Arc::new);
    for (name, exclude_types, steps) in [("excluded", all_types, None), ("dropped", Vec::new(), dropping)] {
        let sink = MemorySink::accepting(harness.clock);
        let pull = PullSettings { own: of_types(Vec::new(), exclude_types), ..harness.pull(Stream::Activities) };
        let lane = harness.lane(pull, name, sink.clone());
        let mapping = LaneMapping { steps, ..lane.mapping };
        let running = harness.start(Lane { mapping, ..lane });
        sleep(Duration::from_secs(12)).await;
        let metrics = running.drain().await;
        assert_eq!(sink.total(), 0);
        let pulled = metrics.pull.records.get() as usize;
        assert!((500..20_000).contains(&pulled), "{name}: {pulled} pulled, in the middle of the history");
        let position = harness.checkpoint(Stream::Activities, name).unwrap().position;
        assert!(position.bound() > Timestamp::default(), "{name}: it begins at `since` again");
        assert!(position.key_count() < pulled / 4, "{name}: {} keys of {pulled} records", position.key_count());
    }
}

/// `verify` would miss it after a kill between two batches of its page.
#[tokio::test(start_paused = true)]
async fn an_excluded_record_is_accounted_for_before_the_watermark_passes_it() {
    let harness = LaneHarness::new(|setup| setup.activities = 1_000);
    let kinds = harness.activity_types();
    // Every page has some excluded records.
    let exclude_types: BTreeSet<u32> = kinds.iter().copied().filter(|kind| kind % 3 == 0).collect();
    let exclude_types = exclude_types.into_iter().collect();
    let pull = PullSettings { own: of_types(Vec::new(), exclude_types), ..harness.pull(Stream::Activities) };
    let excluded = kinds.iter().filter(|kind| **kind % 3 == 0).count();
    let mut sink = MemorySink::new(harness.clock, |attempt, _| (attempt > 3).then(|| Outcome::retry_later("down")));
    Arc::get_mut(&mut sink).unwrap().limits.events = 40;
    let running = harness.start(Lane { concurrency: 1, ..harness.lane(pull.clone(), "siem", sink.clone()) });
    sleep(Duration::from_secs(20)).await;
    running.task.abort();
    let before = sink.total();
    assert!((100..500).contains(&before), "{before} delivered before the kill");
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(pull, "siem", sink.clone());
    let key = lane.key.clone();
    harness.run_once(lane).await;
    assert_eq!(before + sink.total() + excluded, 1_000);
    let ledger = harness.checkpoint(Stream::Activities, "siem").unwrap().ledger;
    let books = ledger.totals(&*harness.store, &key, Hour(0)..Hour(u32::MAX)).await.unwrap();
    assert_eq!(books.sums.values().map(|sum| sum.count).sum::<u64>(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_a_ledger_holds_is_not_delivered_again_by_a_repair() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = MemorySink::accepting(harness.clock);
    let ids = harness.console.ids(Kind::Activities);
    let identity = |id: &u64| {
        let record = harness.console.record(Kind::Activities, *id).unwrap();
        facts(Stream::Activities, &record).identity("console.example", &record)
    };
    let wanted = Some(RecordFilter::AllBut(Arc::new(ids[3..].iter().copied().collect())));
    harness.run_once(Lane { wanted, ..harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()) }).await;
    let lacking: BTreeSet<String> = ids[..3].iter().map(|id| identity(id).to_string()).collect();
    assert_eq!((sink.total(), sink.counts().into_keys().collect::<BTreeSet<_>>()), (3, lacking));

    // Only these versions of what a destination has lost are wanted.
    let sink = MemorySink::accepting(harness.clock);
    let one = identity(&ids[5]);
    let wanted = Some(RecordFilter::Only(Arc::new([one].into())));
    harness.run_once(Lane { wanted, ..harness.lane(harness.pull(Stream::Activities), "other", sink.clone()) }).await;
    assert_eq!(sink.counts().into_keys().collect::<Vec<_>>(), [one.to_string()]);
}

/// What the console counts is not what the lane had to pull before.
#[tokio::test(start_paused = true)]
async fn a_ledger_starts_again_where_the_console_is_asked_for_something_else() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    for (types, generation) in [(vec![], 0), (vec![], 0), (vec![27], 1), (vec![27], 1)] {
        let pull = PullSettings { own: of_types(types, Vec::new()), ..harness.pull(Stream::Activities) };
        let asked = pull.narrowed_by();
        harness.run_once(harness.lane(pull, "siem", MemorySink::accepting(harness.clock))).await;
        let ledger = harness.checkpoint(Stream::Activities, "siem").unwrap().ledger;
        assert_eq!((ledger.filter(), ledger.generation()), (asked.as_str(), generation));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_clock_an_hour_ahead_loses_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 10);
    harness.console.set_faults(Faults::default().with(Fault::WrongDate(3600), 0.5));
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    for _ in 0..120 {
        sleep(Duration::from_secs(30)).await;
        harness.console.generate(Kind::Activities, harness.clock.now().minus(Duration::from_secs(100)).micros());
    }
    sleep(Duration::from_mins(2)).await;
    running.drain().await;
    assert_eq!(sink.counts().len(), 130);
    assert_eq!(sink.total(), 130);
}

/// While the console seems to be behind, there is nothing to ask for, and no answer would say that it was wrong.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_once_does_not_silence_a_lane() {
    let harness = LaneHarness::new(|setup| setup.activities = 10);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_mins(2)).await;
    harness.console.set_faults(Faults::default().with(Fault::WrongDate(-7200), 1.0));
    sleep(Duration::from_secs(90)).await;
    harness.console.set_faults(Faults::default());
    for _ in 0..10 {
        harness.console.generate(Kind::Activities, harness.clock.now().minus(Duration::from_secs(1)).micros());
    }
    sleep(Duration::from_mins(15)).await;
    running.drain().await;
    assert_eq!((sink.counts().len(), sink.total()), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn a_console_that_refuses_every_cursor_is_failing_and_not_hammered() {
    let harness = LaneHarness::new(|setup| setup.activities = 200);
    harness
        .console
        .set_faults(Faults { max_consecutive: u32::MAX, ..Faults::default() }.with(Fault::RefusedCursor, 1.0));
    for _ in 0..300 {
        harness.console.generate(Kind::Activities, harness.clock.now().minus(Duration::from_secs(30)).micros());
    }
    let mut sink = MemorySink::accepting(harness.clock);
    // The sink takes nothing, so that pages stay small and the overlap holds several.
    Arc::get_mut(&mut sink).unwrap().delay = Duration::from_hours(1);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink));
    sleep(Duration::from_mins(10)).await;
    let asked: u64 = running.metrics.pull.requests.snapshot().values().sum();
    assert!(asked < 100, "{asked} requests");
    running.task.abort();
}

/// The first page is good and its cursor is refused, again and again: asked again at once, but only once.
#[tokio::test(start_paused = true)]
async fn a_console_that_refuses_every_cursor_is_not_asked_in_a_hot_loop() {
    let harness = LaneHarness::new(|setup| setup.activities = 2_500);
    let mut faults = Faults::default().with(Fault::RefusedCursor, 1.0);
    faults.max_consecutive = u32::MAX;
    harness.console.set_faults(faults);
    let sink = MemorySink::accepting(harness.clock);
    let mut pull = harness.pull(Stream::Activities);
    // So long that no pass begins later than the one before it.
    pull.overlap = Duration::from_hours(48);
    let running = harness.start(harness.lane(pull, "siem", sink.clone()));
    sleep(Duration::from_secs(20)).await;
    let asked = harness.console.request_log().len();
    assert!(asked < 60, "{asked} requests in twenty seconds");
    harness.console.set_faults(Faults::default());
    sleep(Duration::from_mins(2)).await;
    running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (2_500, 2_500));
}

/// Neither pass of the lane has anything to ask for before it begins, and neither keeps the other from waiting.
#[tokio::test(start_paused = true)]
async fn a_lane_that_begins_in_the_future_waits_and_then_reads() {
    let harness = LaneHarness::new(|setup| setup.activities = 0);
    let since = START.plus(Duration::from_mins(10));
    let sink = MemorySink::accepting(harness.clock);
    let mut lane = harness.lane(harness.pull(Stream::Alerts), "siem", sink.clone());
    lane.pull = Arc::new(PullSettings { since: Since::At(since), ..harness.pull(Stream::Alerts) });
    let running = harness.start(lane);
    sleep(Duration::from_secs(500)).await;
    let asked_before = harness.console.request_log().len();
    sleep(Duration::from_secs(500)).await;
    harness.console.generate(Kind::Alerts, harness.clock.now().micros());
    sleep(Duration::from_mins(10)).await;
    // One request for the console's time.
    assert_eq!((asked_before, sink.total()), (1, 1));
    running.drain().await;
}

/// A role may lack what the next token's has: the lane does not wait for its next attempt, which may be an hour away.
#[tokio::test(start_paused = true)]
async fn what_the_console_refuses_is_tried_again_when_requests_use_another_token() {
    for status in [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED] {
        let harness = LaneHarness::new(|setup| setup.activities = 30);
        let console = Arc::new(harness.transport());
        let clock = harness.clock;
        let transport = ScriptedTransport::new(move |request| {
            let console = console.clone();
            async move {
                let is_poor = request.token.expose_secret() == "poor";
                if is_poor || request.url.path().ends_with("api-token-details") {
                    let status = if is_poor { status } else { StatusCode::OK };
                    return Ok(Response { status, headers: dated(clock.now()), body: "{\"data\":{}}".into() });
                }
                console.send(request).await
            }
        });
        let settings = serde_json::json!({ "url": "https://console.example", "token": "poor" });
        let settings = serde_json::from_value(settings).unwrap();
        let limiter = Limiters::default().join_for(&settings);
        let client = Arc::new(Client::new(&settings, Arc::new(transport), limiter, clock));
        let sink = MemorySink::accepting(clock);
        let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
        let running = harness.start(Lane { client: client.clone(), ..lane });
        // The first attempts of a 401 are a minute apart.
        sleep(Duration::from_mins(15)).await;
        assert_eq!(running.metrics.state().kind, LaneStateKind::ConsoleRefused, "{:?}", running.metrics.state());
        let next = running.metrics.next_attempt().unwrap();
        assert!(next.since(clock.now()) > Duration::from_secs(10), "{status}: {next}");
        assert_eq!(client.try_token(&SecretString::from(Setup::TOKEN)).await, TokenVerdict::Accepted);
        sleep(Duration::from_secs(9)).await;
        assert_eq!((running.metrics.state().kind, sink.total()), (LaneStateKind::Running, 30), "{status}");
        running.drain().await;
    }
}
