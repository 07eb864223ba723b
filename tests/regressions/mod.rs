//! Mistakes that other connectors for the same console are known for, each as a test that fails when it is made here.
//!
//! Mistakes in the mapping of records have their tests in `crates/mapping/tests`, those in pasted addresses in
//! `crates/engine/src/console/url.rs`, and a lag that stops growing in
//! `crates/telemetry/src/exposition/tests.rs`.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::console::Endpoint;
use s1_forwarder::emulator::{Counts, Fault, Faults, Kind, LastPage, Quirks, RetryAfter, Setup, Token};
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::telemetry::{LaneStateKind, RareCount};
use tokio::time::sleep;

use crate::lanes::harness::{LaneHarness, START, assert_counts_balance};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const FIRST: u64 = 1_000_000_000_000_000_000;

fn taker(harness: &LaneHarness) -> Arc<MemorySink> {
    MemorySink::accepting(harness.clock)
}

/// An activity with this number and time becomes visible.
fn activity(harness: &LaneHarness, number: u64, at: Timestamp) {
    let body = format!(r#"{{"id":"{}","activityType":5,"createdAt":"{at}"}}"#, FIRST + number);
    harness.console.insert(Kind::Activities, body.as_bytes()).unwrap();
}

/// Lets a lane catch up once, and returns its metrics.
async fn once(
    harness: &LaneHarness,
    stream: Stream,
    sink: &Arc<MemorySink>,
) -> Arc<s1_forwarder::telemetry::LaneMetrics> {
    let mut lane = harness.lane(harness.pull(stream), "siem", sink.clone());
    lane.once = true;
    let running = harness.start(lane);
    tokio::time::timeout(Duration::from_hours(2), running.task).await.unwrap().unwrap();
    running.metrics
}

fn assert_each_once(sink: &MemorySink, count: usize) {
    assert_eq!((sink.counts().len(), sink.total()), (count, count));
}

/// The time of a threat is in `threatInfo`. A connector that read it from the top level never advanced its checkpoint.
#[tokio::test(start_paused = true)]
async fn threats_advance_the_checkpoint_and_are_not_read_again_at_every_poll() {
    let harness = LaneHarness::new(|setup| setup.threats = 200);
    let sink = taker(&harness);
    once(&harness, Stream::Threats, &sink).await;
    let bound = harness.checkpoint(Stream::Threats, "siem").unwrap().position.bound();
    assert!(bound >= START.minus(6 * MINUTE), "{bound}");
    let before = harness.console.request_log().len();
    let metrics = once(&harness, Stream::Threats, &sink).await;
    assert_each_once(&sink, 200);
    assert!(metrics.pull.records.get() < 250, "the second poll reads the overlap only");
    assert!(harness.console.request_log().len() > before);
}

/// The keys must be in the store long before anything is shut down.
#[tokio::test(start_paused = true)]
async fn seen_ids_survive_a_kill() {
    let harness = LaneHarness::new(|_| {});
    (0..60).for_each(|number| activity(&harness, number, START.minus(MINUTE)));
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * SECOND).await;
    running.task.abort();
    let _ = running.task.await;
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 60);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_comes_back_repeats_nothing_and_ends_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 3_000);
    harness.console.set_faults(Faults::default().with(Fault::RepeatedCursor, 0.3).with(Fault::ShortPage, 0.5));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 3_000);
}

/// Consoles say in several ways that a cursor has expired. One of them is the answer for a stream that does not exist.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_not_found_stops_no_stream() {
    for stream in [Stream::Activities, Stream::Threats, Stream::UnifiedAlerts] {
        let harness =
            LaneHarness::new(|setup| (setup.activities, setup.threats, setup.unified_alerts) = (3_000, 3_000, 3_000));
        harness.console.set_faults(Faults::default().with(Fault::LostCursor, 0.3));
        let sink = taker(&harness);
        let metrics = once(&harness, stream, &sink).await;
        assert_eq!(metrics.state().kind, LaneStateKind::Done);
        assert_each_once(&sink, 3_000);
    }
}

/// A console whose backend lags answers one page of several with an empty list, or with a part of it, and no cursor.
/// The list looks complete.
#[tokio::test(start_paused = true)]
async fn a_list_that_ends_too_early_is_read_to_its_end() {
    for (stream, kind) in [
        (Stream::Activities, Kind::Activities),
        (Stream::Threats, Kind::Threats),
        (Stream::Groups, Kind::Groups),
        (Stream::UnifiedAlerts, Kind::UnifiedAlerts),
    ] {
        for (faults, counts) in [
            (Faults::default(), Counts::Exact),
            (Faults::default().next_times(1, Fault::EarlyEnd), Counts::Exact),
            (Faults::default().with(Fault::EarlyEnd, 0.4), Counts::Exact),
            (Faults::default().with(Fault::EarlyEnd, 0.4), Counts::Refused),
        ] {
            let harness = LaneHarness::new(|setup| {
                (setup.activities, setup.threats, setup.unified_alerts) = (3_000, 3_000, 3_000);
            });
            (0..1_000).for_each(|number| {
                harness.console.generate(Kind::Groups, START.minus(number * SECOND).micros());
            });
            harness.console.set_quirks(Quirks { counts, ..Quirks::default() });
            let is_well = faults == Faults::default();
            harness.console.set_faults(faults);
            let sink = taker(&harness);
            let metrics = once(&harness, stream, &sink).await;
            let owed = harness.console.ids(kind).len();
            assert_eq!((sink.counts().len(), sink.total()), (owed, owed), "{stream}");
            assert_eq!(metrics.rare(RareCount::NotShown), 0);
            if is_well && stream != Stream::UnifiedAlerts {
                let log = harness.console.request_log();
                let pages = log.iter().filter(|request| request.query.contains("sortBy")).count();
                assert_eq!(log.len(), pages + 2, "{stream}: for the console's time, and for one count");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_stream_that_was_never_shown_is_to_be_removed() {
    let harness = LaneHarness::new(|setup| setup.activities = 3);
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    let missing = vec![Kind::Activities, Kind::Threats];
    harness.console.set_faults(Faults { missing, ..Faults::default() });
    for (stream, was_shown) in [(Stream::Activities, true), (Stream::Threats, false)] {
        let running = harness.start(harness.lane(harness.pull(stream), "siem", sink.clone()));
        sleep(10 * SECOND).await;
        let error = running.metrics.state().error().unwrap_or_default().to_owned();
        assert!(error.contains("404 Not Found"), "{error}");
        let advice = (error.contains("had this stream before"), error.contains("remove it"));
        assert_eq!(advice, (was_shown, !was_shown), "{error}");
    }
}

/// After an outage a poll begins with pages of known records. A cursor that comes back there is not the end of the
/// list.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_comes_back_among_known_records_is_not_the_end() {
    let harness = LaneHarness::new(|_| {});
    (0..300).for_each(|number| activity(&harness, number, START.minus(SECOND * (number as u32 % 250))));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    sleep(60 * MINUTE).await;
    (300..400).for_each(|number| activity(&harness, number, START.plus(SECOND * number as u32)));
    harness.console.set_faults(Faults::default().with(Fault::ShortPage, 1.0).with(Fault::RepeatedCursor, 0.5));
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 400);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_days_costs_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 20);
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    for number in 0..100 {
        sleep(60 * MINUTE).await;
        activity(&harness, number, harness.clock.now());
    }
    sleep(MINUTE).await;
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 120);
}

#[tokio::test(start_paused = true)]
async fn records_with_the_last_timestamp_that_come_later_arrive() {
    let harness = LaneHarness::new(|_| {});
    let at = START.minus(SECOND);
    let sink = taker(&harness);
    for number in 0..5 {
        activity(&harness, number, at);
        once(&harness, Stream::Activities, &sink).await;
        sleep(SECOND * 20).await;
    }
    assert_each_once(&sink, 5);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_known_records_still_advances() {
    let harness = LaneHarness::new(|_| {});
    (0..30).for_each(|number| activity(&harness, number, START.minus(SECOND)));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    // Their time is closed, and read once more.
    sleep(8 * MINUTE).await;
    let before = harness.checkpoint(Stream::Activities, "siem").unwrap().position.bound();
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(SECOND * 5).await;
    running.drain().await;
    assert!(harness.checkpoint(Stream::Activities, "siem").unwrap().position.bound() > before);
    assert_each_once(&sink, 30);
}

#[tokio::test(start_paused = true)]
async fn a_burst_within_the_overlap_is_remembered_whole() {
    let harness = LaneHarness::new(|_| {});
    (0..12_000).for_each(|number| activity(&harness, number, START.minus(MINUTE)));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 12_000);
}

#[tokio::test(start_paused = true)]
async fn a_fast_stream_does_not_move_a_slow_one() {
    let harness = LaneHarness::new(|setup| {
        setup.activities = 300;
        setup.threats = 100;
    });
    harness.console.set_faults(Faults { forbidden: vec![Kind::Threats], ..Faults::default() });
    let activities = taker(&harness);
    let threats = taker(&harness);
    let slow = harness.start(harness.lane(harness.pull(Stream::Threats), "siem", threats.clone()));
    let fast = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", activities.clone()));
    sleep(20 * MINUTE).await;
    assert_eq!((activities.total(), threats.total()), (300, 0));
    harness.console.set_faults(Faults::default());
    sleep(90 * MINUTE).await;
    assert_each_once(&threats, 100);
    slow.drain().await;
    fast.drain().await;
}

#[tokio::test(start_paused = true)]
async fn later_changes_of_an_old_record_are_seen() {
    let harness = LaneHarness::new(|setup| setup.threats = 50);
    let sink = taker(&harness);
    once(&harness, Stream::Threats, &sink).await;
    sleep(60 * MINUTE).await;
    let oldest = harness.console.visible_versions(Kind::Threats, &s1_forwarder::emulator::Scope::Global);
    let oldest = oldest.iter().min_by_key(|version| version.created).unwrap().id;
    harness.console.change_randomly(Kind::Threats, oldest, harness.clock.now().minus(SECOND).micros());
    once(&harness, Stream::Threats, &sink).await;
    assert_each_once(&sink, 51);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_page_on_one_moment_arrives_in_one_poll() {
    let harness = LaneHarness::new(|_| {});
    (0..2_500).for_each(|number| activity(&harness, number, START.minus(MINUTE)));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 2_500);
}

/// A connector stored the end of the window before the fetch, and ended the loop silently at a status other than 200.
#[tokio::test(start_paused = true)]
async fn an_error_inside_a_window_does_not_lose_the_rest_of_it() {
    for fault in [
        Fault::InternalError,
        Fault::Truncated,
        Fault::HtmlPage,
        Fault::ErrorsOnly,
        Fault::Dropped,
        Fault::SlowAnswer(Duration::from_secs(45)),
    ] {
        let mut harness = LaneHarness::new(|setup| setup.activities = 2_500);
        harness.console_delay = Duration::from_millis(100);
        let sink = taker(&harness);
        let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
        sleep(Duration::from_millis(350)).await;
        let mut faults = Faults::default().with(fault, 1.0);
        faults.max_consecutive = u32::MAX;
        harness.console.set_faults(faults);
        sleep(10 * MINUTE).await;
        let arrived = sink.total();
        assert!(arrived > 0 && arrived < 2_500, "{fault:?}: {arrived}");
        running.task.abort();
        let _ = running.task.await;
        let stored = harness.checkpoint(Stream::Activities, "siem").unwrap().position;
        assert!(stored.complete().is_none() && stored.bound() < START.minus(6 * MINUTE), "{fault:?}");
        harness.console.set_faults(Faults::default());
        once(&harness, Stream::Activities, &sink).await;
        assert_eq!(sink.counts().len(), 2_500, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_on_the_edges_of_windows_are_neither_lost_nor_repeated() {
    let harness = LaneHarness::new(|_| {});
    let sink = taker(&harness);
    let mut number = 0;
    for _ in 0..12 {
        // Around each whole second, the begin of the next window among them.
        for micros in [0, 1, 499_999, 500_000, 999_999] {
            activity(
                &harness,
                number,
                Timestamp::from_micros(harness.clock.now().whole_second().micros() - 2_000_000 + micros),
            );
            number += 1;
        }
        once(&harness, Stream::Activities, &sink).await;
        sleep(SECOND * 300).await;
    }
    assert_each_once(&sink, number as usize);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_does_not_end_the_lane_and_nothing_depends_on_system_info() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    harness.console.set_token(Token { revoked: true, ..Token::new(Setup::TOKEN) });
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * MINUTE).await;
    assert_eq!(running.metrics.state().kind, LaneStateKind::ConsoleRefused);
    harness.console.set_token(Token::new(Setup::TOKEN));
    sleep(10 * MINUTE).await;
    assert_each_once(&sink, 100);
    running.drain().await;
    assert!(harness.console.request_log().iter().all(|seen| !seen.path.contains("system/info")));
}

#[tokio::test(start_paused = true)]
async fn errors_inside_a_good_answer_are_errors() {
    let harness = LaneHarness::new(|setup| setup.activities = 500);
    harness.console.set_faults(Faults::default().with(Fault::ErrorsOnly, 0.6).with(Fault::ShortPage, 1.0));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 500);
}

/// The window must not grow while nothing happens, and late records must still arrive.
#[tokio::test(start_paused = true)]
async fn the_window_advances_in_quiet_times_and_late_records_arrive() {
    let harness = LaneHarness::new(|_| {});
    activity(&harness, 0, START.minus(SECOND));
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(120 * MINUTE).await;
    activity(&harness, 1, harness.clock.now().minus(4 * MINUTE));
    sleep(MINUTE).await;
    assert_each_once(&sink, 2);
    let last = harness.console.request_log().pop().unwrap().query;
    let from = query(&last, "createdAt__gte").unwrap();
    assert!(Timestamp::parse(&from).unwrap() > harness.clock.now().minus(7 * MINUTE), "{from}");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn comparison_at_ten_milliseconds_repeats_and_loses_nothing() {
    let harness = LaneHarness::new(|_| {});
    harness.console.set_quirks(Quirks { times_rounded_to_10_ms: true, ..Quirks::default() });
    let sink = taker(&harness);
    for round in 0..20_u64 {
        let now = harness.clock.now().micros();
        (0..20).for_each(|step| {
            activity(&harness, round * 20 + step, Timestamp::from_micros(now - 1_500_000 + 1_700 * step as i64))
        });
        once(&harness, Stream::Activities, &sink).await;
        sleep(Duration::from_millis(777)).await;
    }
    sleep(MINUTE).await;
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 400);
    let bounded = |seen: &s1_forwarder::emulator::LoggedRequest| {
        !seen.query.contains("sortBy") || seen.query.contains("createdAt__lte=")
    };
    assert!(harness.console.request_log().iter().all(bounded), "every window has an upper end");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_list_is_no_error_in_any_of_its_forms() {
    for last_page in [LastPage::Null, LastPage::Absent, LastPage::Empty, LastPage::NullText, LastPage::ExtraPage] {
        let harness = LaneHarness::new(|setup| setup.activities = 120);
        harness.console.set_quirks(Quirks { last_page, ..Quirks::default() });
        let sink = taker(&harness);
        let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
        sleep(5 * MINUTE).await;
        assert_eq!(running.metrics.state().kind, LaneStateKind::Running, "{last_page:?}");
        assert_eq!(running.metrics.last_error(), None, "{last_page:?}");
        assert_each_once(&sink, 120);
        running.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_record_does_not_return_at_every_poll() {
    let harness = LaneHarness::new(|_| {});
    activity(&harness, 0, START.minus(SECOND));
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(30 * MINUTE).await;
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    assert_each_once(&sink, 1);
}

#[tokio::test(start_paused = true)]
async fn empty_answers_are_fine() {
    let harness = LaneHarness::new(|_| {});
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * MINUTE).await;
    assert_eq!((running.metrics.state().kind, running.metrics.last_error()), (LaneStateKind::Running, None));
    activity(&harness, 0, harness.clock.now());
    sleep(2 * MINUTE).await;
    assert_each_once(&sink, 1);
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_console_lacks_is_reported_and_harms_no_other() {
    let harness = LaneHarness::new(|setup| setup.activities = 50);
    harness.console.set_faults(Faults { missing: vec![Kind::Threats], ..Faults::default() });
    let missing = taker(&harness);
    let present = taker(&harness);
    let without = harness.start(harness.lane(harness.pull(Stream::Threats), "siem", missing));
    let with = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", present.clone()));
    sleep(30 * MINUTE).await;
    assert_eq!(without.metrics.state().kind, LaneStateKind::ConsoleRefused);
    assert!(without.metrics.pull.requests.snapshot().values().sum::<u64>() <= 2, "no hot loop");
    assert_each_once(&present, 50);
    without.drain().await;
    with.drain().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_reported_as_expired() {
    let harness = LaneHarness::new(|setup| setup.activities = 50);
    let expires = START.plus(10 * MINUTE);
    harness.console.set_token(Token { expires: expires.micros(), ..Token::new(Setup::TOKEN) });
    let sink = taker(&harness);
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink));
    sleep(20 * MINUTE).await;
    let state = running.metrics.state();
    assert!(state.kind == LaneStateKind::ConsoleRefused && state.error().unwrap().contains("expired"), "{state:?}");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn no_request_exceeds_the_page_limit_of_its_endpoint() {
    for stream in Stream::ALL {
        let most = match stream {
            Stream::Groups => 300,
            Stream::UnifiedAlerts => 500,
            _ => 1000,
        };
        assert_eq!(Endpoint::of(stream).max_limit, most, "{stream}");
    }
    let harness = LaneHarness::new(|setup| setup.activities = 5_000);
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    let limits: Vec<usize> = limits(&harness);
    assert!(limits.iter().all(|limit| *limit <= 1000) && limits.contains(&1000), "{limits:?}");
}

/// The cursor goes back as it came: its own escapes survive one query encoding.
#[tokio::test(start_paused = true)]
async fn cursors_are_encoded_once() {
    let harness = LaneHarness::new(|setup| setup.activities = 200);
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 200);
    let seen = harness.console.request_log();
    let cursors: Vec<_> = seen.iter().filter_map(|seen| query(&seen.query, "cursor")).collect();
    assert!(!cursors.is_empty());
    assert!(cursors.iter().all(|cursor| !cursor.contains("%25") && !cursor.contains('=')), "{cursors:?}");
}

#[tokio::test(start_paused = true)]
async fn busy_consoles_are_retried_and_more_than_ten_records_come() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let faults = Faults::default()
        .next_times(2, Fault::TooManyRequests(RetryAfter::Seconds(7)))
        .next_times(2, Fault::Unavailable);
    harness.console.set_faults(faults);
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 300);
    assert!(limits(&harness).iter().any(|limit| *limit > 10), "the default is ten");
}

#[test]
fn times_of_every_precision_are_read() {
    for text in
        ["2018-02-27T04:49:26Z", "2018-02-27T04:49:26.2Z", "2018-02-27T04:49:26.25Z", "2018-02-27T04:49:26.257525Z"]
    {
        let record = format!(r#"{{"id":"1","createdAt":"{text}"}}"#);
        assert!(facts(Stream::Activities, record.as_bytes()).time.is_some(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_threats_do_not_return_at_each_start() {
    let harness = LaneHarness::new(|setup| setup.threats = 80);
    let sink = taker(&harness);
    for _ in 0..4 {
        once(&harness, Stream::Threats, &sink).await;
        sleep(10 * MINUTE).await;
    }
    assert_each_once(&sink, 80);
}

/// A record without the fields of every record is delivered once, and so are its neighbours.
#[tokio::test(start_paused = true)]
async fn an_odd_record_is_not_dropped() {
    let harness = LaneHarness::new(|_| {});
    activity(&harness, 0, START.minus(MINUTE));
    let odd =
        format!(r#"{{"id":"{}","createdAt":"{}","data":null,"activityType":null}}"#, FIRST + 1, START.minus(MINUTE));
    harness.console.insert(Kind::Activities, odd.as_bytes()).unwrap();
    activity(&harness, 2, START.minus(MINUTE));
    let sink = taker(&harness);
    once(&harness, Stream::Activities, &sink).await;
    once(&harness, Stream::Activities, &sink).await;
    assert_each_once(&sink, 3);
}

/// One stream's failure must not repeat the others, nor one sink's.
#[tokio::test(start_paused = true)]
async fn a_failing_lane_repeats_no_other() {
    let harness = LaneHarness::new(|setup| setup.activities = 100);
    let dead = MemorySink::new(harness.clock, |_, _| Some(Outcome::retry_later("dead")));
    let sink = taker(&harness);
    for _ in 0..3 {
        let failing = harness.start(harness.lane(harness.pull(Stream::Activities), "dead", dead.clone()));
        let working = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
        sleep(3 * MINUTE).await;
        failing.task.abort();
        working.drain().await;
    }
    assert_each_once(&sink, 100);
}

fn limits(harness: &LaneHarness) -> Vec<usize> {
    harness.console.request_log().iter().filter_map(|seen| query(&seen.query, "limit")?.parse().ok()).collect()
}

/// A parameter's value, decoded once.
fn query(text: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(text.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
