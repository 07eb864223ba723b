//! The mistakes that other connectors made (the numbers are those of the survey that this program was designed after),
//! each as a test that fails when it is made here.
//!
//! Elsewhere: B14 (pasted addresses) is in `src/console/url.rs`, B28 (a lag that stands still) in
//! `src/telemetry/exposition/tests.rs`. B12, B15, B16 and B17 (null blocks, lists of addresses, `""` as an address, values of
//! several types) belong to the mapping and are tested there. B22 (a fan-out's work list) and B24 (the GraphQL poller)
//! belong to streams that do not exist yet, as does the agents' part of B6 and the alerts' part of B7.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "lanes/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use s1_forwarder::console::Endpoint;
use s1_forwarder::emulator::{Faults, Kind, LastPage, Mishap, Quirks, RetryAfter, Setup, Token};
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::sink::Outcome;
use s1_forwarder::telemetry::LaneState;
use tokio::time::sleep;

use crate::world::{MemorySink, START, World, assert_books_balance};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const FIRST: u64 = 1_000_000_000_000_000_000;

fn taker(world: &World) -> Arc<MemorySink> {
    MemorySink::new(world.clock, |_, _| None)
}

/// An activity of this number and moment becomes visible.
fn activity(world: &World, number: u64, at: Timestamp) {
    let body = format!(r#"{{"id":"{}","activityType":5,"createdAt":"{at}"}}"#, FIRST + number);
    world.console.insert(Kind::Activities, body.as_bytes()).unwrap();
}

/// Lets a lane catch up once; what it showed on the way is in its metrics.
async fn once(world: &World, stream: Stream, sink: &Arc<MemorySink>) -> Arc<s1_forwarder::telemetry::LaneMetrics> {
    let mut lane = world.lane(world.pull(stream), "siem", sink.clone());
    lane.once = true;
    let running = world.start(lane);
    tokio::time::timeout(Duration::from_secs(7_200), running.task).await.unwrap().unwrap();
    running.metrics
}

fn assert_each_once(sink: &MemorySink, count: usize) {
    assert_eq!((sink.counts().len(), sink.total()), (count, count));
}

/// The time of threats is in `threatInfo`: read from the top level, the checkpoint never advanced.
#[tokio::test(start_paused = true)]
async fn b01_threats_advance_the_checkpoint_and_are_not_read_again_at_every_poll() {
    let world = World::new(|setup| setup.threats = 200);
    let sink = taker(&world);
    once(&world, Stream::Threats, &sink).await;
    let bound = world.checkpoint(Stream::Threats, "siem").unwrap().position.bound();
    assert!(bound >= START.minus(6 * MINUTE), "{bound}");
    let before = world.console.seen().len();
    let metrics = once(&world, Stream::Threats, &sink).await;
    assert_each_once(&sink, 200);
    assert!(metrics.pulled.load(Ordering::Relaxed) < 250, "the second poll reads the overlap only");
    assert!(world.console.seen().len() > before);
}

/// The keys must be in the store long before anything is shut down.
#[tokio::test(start_paused = true)]
async fn b02_seen_ids_survive_a_kill() {
    let world = World::new(|_| {});
    (0..60).for_each(|number| activity(&world, number, START.minus(MINUTE)));
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * SECOND).await;
    running.task.abort();
    let _ = running.task.await;
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 60);
}

#[tokio::test(start_paused = true)]
async fn b03_a_cursor_that_comes_back_repeats_nothing_and_ends_nothing() {
    let world = World::new(|setup| setup.activities = 3_000);
    world.console.set_faults(Faults::default().with(Mishap::RepeatedCursor, 0.3).with(Mishap::ShortPage, 0.5));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 3_000);
}

/// After an outage a poll begins with pages of known records. A cursor that comes back there is not the end of the list.
#[tokio::test(start_paused = true)]
async fn b03_a_cursor_that_comes_back_among_known_records_is_not_the_end() {
    let world = World::new(|_| {});
    (0..300).for_each(|number| activity(&world, number, START.minus(SECOND * (number as u32 % 250))));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    sleep(60 * MINUTE).await;
    (300..400).for_each(|number| activity(&world, number, START.plus(SECOND * number as u32)));
    world.console.set_faults(Faults::default().with(Mishap::ShortPage, 1.0).with(Mishap::RepeatedCursor, 0.5));
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 400);
}

#[tokio::test(start_paused = true)]
async fn b04_an_outage_of_days_costs_nothing() {
    let world = World::new(|setup| setup.activities = 20);
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    for number in 0..100 {
        sleep(60 * MINUTE).await;
        activity(&world, number, world.clock.now());
    }
    sleep(MINUTE).await;
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 120);
}

#[tokio::test(start_paused = true)]
async fn b04_records_with_the_last_timestamp_that_come_later_arrive() {
    let world = World::new(|_| {});
    let at = START.minus(SECOND);
    let sink = taker(&world);
    for number in 0..5 {
        activity(&world, number, at);
        once(&world, Stream::Activities, &sink).await;
        sleep(SECOND * 20).await;
    }
    assert_each_once(&sink, 5);
}

#[tokio::test(start_paused = true)]
async fn b04_a_page_of_known_records_still_advances() {
    let world = World::new(|_| {});
    (0..30).for_each(|number| activity(&world, number, START.minus(SECOND)));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    sleep(2 * MINUTE).await;
    let before = world.checkpoint(Stream::Activities, "siem").unwrap().position.bound();
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(SECOND * 5).await;
    running.drain().await;
    assert!(world.checkpoint(Stream::Activities, "siem").unwrap().position.bound() > before);
    assert_each_once(&sink, 30);
}

#[tokio::test(start_paused = true)]
async fn b04_a_burst_within_the_overlap_is_remembered_whole() {
    let world = World::new(|_| {});
    (0..12_000).for_each(|number| activity(&world, number, START.minus(MINUTE)));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 12_000);
}

#[tokio::test(start_paused = true)]
async fn b05_a_fast_stream_does_not_move_a_slow_one() {
    let world = World::new(|setup| {
        setup.activities = 300;
        setup.threats = 100;
    });
    world.console.set_faults(Faults { forbidden: vec![Kind::Threats], ..Faults::default() });
    let (activities, threats) = (taker(&world), taker(&world));
    let slow = world.start(world.lane(world.pull(Stream::Threats), "siem", threats.clone()));
    let fast = world.start(world.lane(world.pull(Stream::Activities), "siem", activities.clone()));
    sleep(20 * MINUTE).await;
    assert_eq!((activities.total(), threats.total()), (300, 0));
    world.console.set_faults(Faults::default());
    sleep(90 * MINUTE).await;
    assert_each_once(&threats, 100);
    slow.drain().await;
    fast.drain().await;
}

#[tokio::test(start_paused = true)]
async fn b06_later_changes_of_an_old_record_are_seen() {
    let world = World::new(|setup| setup.threats = 50);
    let sink = taker(&world);
    once(&world, Stream::Threats, &sink).await;
    sleep(60 * MINUTE).await;
    let oldest = world.console.truth(Kind::Threats, &s1_forwarder::emulator::Scope::Global);
    let oldest = oldest.iter().min_by_key(|version| version.created).unwrap().id;
    world.console.age(Kind::Threats, oldest, world.clock.now().minus(SECOND).micros());
    once(&world, Stream::Threats, &sink).await;
    assert_each_once(&sink, 51);
}

#[tokio::test(start_paused = true)]
async fn b07_more_than_a_page_on_one_moment_arrives_in_one_poll() {
    let world = World::new(|_| {});
    (0..2_500).for_each(|number| activity(&world, number, START.minus(MINUTE)));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 2_500);
}

/// The window's end was stored before the fetch, and a page that was not a 200 ended the loop in silence.
#[tokio::test(start_paused = true)]
async fn b08_an_error_inside_a_window_does_not_lose_the_rest_of_it() {
    for mishap in [
        Mishap::InternalError,
        Mishap::Truncated,
        Mishap::HtmlPage,
        Mishap::ErrorsInside,
        Mishap::Dropped,
        Mishap::SlowAnswer(Duration::from_secs(45)),
    ] {
        let mut world = World::new(|setup| setup.activities = 2_500);
        world.console_delay = Duration::from_millis(100);
        let sink = taker(&world);
        let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
        sleep(Duration::from_millis(350)).await;
        let mut faults = Faults::default().with(mishap, 1.0);
        faults.at_most_in_a_row = u32::MAX;
        world.console.set_faults(faults);
        sleep(10 * MINUTE).await;
        let arrived = sink.total();
        assert!(arrived > 0 && arrived < 2_500, "{mishap:?}: {arrived}");
        running.task.abort();
        let _ = running.task.await;
        let stored = world.checkpoint(Stream::Activities, "siem").unwrap().position;
        assert!(stored.complete().is_none() && stored.bound() < START.minus(6 * MINUTE), "{mishap:?}");
        world.console.set_faults(Faults::default());
        once(&world, Stream::Activities, &sink).await;
        assert_eq!(sink.counts().len(), 2_500, "{mishap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn b09_records_on_the_edges_of_windows_are_neither_lost_nor_repeated() {
    let world = World::new(|_| {});
    let sink = taker(&world);
    let mut number = 0;
    for _ in 0..12 {
        // Around each whole second, the begin of the next window among them.
        for micros in [0, 1, 499_999, 500_000, 999_999] {
            activity(
                &world,
                number,
                Timestamp::from_micros(world.clock.now().whole_second().micros() - 2_000_000 + micros),
            );
            number += 1;
        }
        once(&world, Stream::Activities, &sink).await;
        sleep(SECOND * 300).await;
    }
    assert_each_once(&sink, number as usize);
}

#[tokio::test(start_paused = true)]
async fn b10_a_refused_token_does_not_end_the_lane_and_nothing_depends_on_system_info() {
    let world = World::new(|setup| setup.activities = 100);
    world.console.set_token(Token { revoked: true, ..Token::new(Setup::TOKEN) });
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * MINUTE).await;
    assert!(matches!(running.metrics.state(), LaneState::ConsoleRefused(_)));
    world.console.set_token(Token::new(Setup::TOKEN));
    sleep(10 * MINUTE).await;
    assert_each_once(&sink, 100);
    running.drain().await;
    assert!(world.console.seen().iter().all(|seen| !seen.path.contains("system/info")));
}

#[tokio::test(start_paused = true)]
async fn b10_errors_inside_a_good_answer_are_errors() {
    let world = World::new(|setup| setup.activities = 500);
    world.console.set_faults(Faults::default().with(Mishap::ErrorsInside, 0.6).with(Mishap::ShortPage, 1.0));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 500);
}

/// The window must not grow while nothing happens, and what comes late must still be caught.
#[tokio::test(start_paused = true)]
async fn b11_the_window_moves_on_in_quiet_times_and_late_records_arrive() {
    let world = World::new(|_| {});
    activity(&world, 0, START.minus(SECOND));
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(120 * MINUTE).await;
    activity(&world, 1, world.clock.now().minus(4 * MINUTE));
    sleep(MINUTE).await;
    assert_each_once(&sink, 2);
    let last = world.console.seen().pop().unwrap().query;
    let from = query(&last, "createdAt__gte").unwrap();
    assert!(Timestamp::parse(&from).unwrap() > world.clock.now().minus(7 * MINUTE), "{from}");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn b13_comparison_at_ten_milliseconds_repeats_and_loses_nothing() {
    let world = World::new(|_| {});
    world.console.set_quirks(Quirks { compares_at_10_ms: true, ..Quirks::default() });
    let sink = taker(&world);
    for round in 0..20_u64 {
        let now = world.clock.now().micros();
        (0..20).for_each(|step| {
            activity(&world, round * 20 + step, Timestamp::from_micros(now - 1_500_000 + 1_700 * step as i64))
        });
        once(&world, Stream::Activities, &sink).await;
        sleep(Duration::from_millis(777)).await;
    }
    sleep(MINUTE).await;
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 400);
    let bounded =
        |seen: &s1_forwarder::emulator::Seen| !seen.query.contains("sortBy") || seen.query.contains("createdAt__lte=");
    assert!(world.console.seen().iter().all(bounded), "every window has an upper end");
}

#[tokio::test(start_paused = true)]
async fn b18_the_end_of_a_list_is_no_error_however_it_is_told() {
    for last_page in [LastPage::Null, LastPage::Absent, LastPage::Empty, LastPage::NullText, LastPage::OneMore] {
        let world = World::new(|setup| setup.activities = 120);
        world.console.set_quirks(Quirks { last_page, ..Quirks::default() });
        let sink = taker(&world);
        let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
        sleep(5 * MINUTE).await;
        assert_eq!(running.metrics.state(), LaneState::Running, "{last_page:?}");
        assert_eq!(running.metrics.last_error(), None, "{last_page:?}");
        assert_each_once(&sink, 120);
        running.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn b19_the_last_record_does_not_return_at_every_poll() {
    let world = World::new(|_| {});
    activity(&world, 0, START.minus(SECOND));
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(30 * MINUTE).await;
    let metrics = running.drain().await;
    assert_books_balance(&metrics);
    assert_each_once(&sink, 1);
}

#[tokio::test(start_paused = true)]
async fn b20_empty_answers_are_fine() {
    let world = World::new(|_| {});
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(10 * MINUTE).await;
    assert_eq!((running.metrics.state(), running.metrics.last_error()), (LaneState::Running, None));
    activity(&world, 0, world.clock.now());
    sleep(2 * MINUTE).await;
    assert_each_once(&sink, 1);
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn b21_a_stream_that_the_console_does_not_have_is_told_and_harms_no_other() {
    let world = World::new(|setup| setup.activities = 50);
    world.console.set_faults(Faults { missing: vec![Kind::Threats], ..Faults::default() });
    let (missing, present) = (taker(&world), taker(&world));
    let without = world.start(world.lane(world.pull(Stream::Threats), "siem", missing));
    let with = world.start(world.lane(world.pull(Stream::Activities), "siem", present.clone()));
    sleep(30 * MINUTE).await;
    assert!(matches!(without.metrics.state(), LaneState::ConsoleRefused(_)));
    assert!(without.metrics.console_requests.snapshot().values().sum::<u64>() <= 2, "no hot loop");
    assert_each_once(&present, 50);
    without.drain().await;
    with.drain().await;
}

#[tokio::test(start_paused = true)]
async fn b23_an_expired_token_is_told_as_such() {
    let world = World::new(|setup| setup.activities = 50);
    let expires = START.plus(10 * MINUTE);
    world.console.set_token(Token { expires: expires.micros(), ..Token::new(Setup::TOKEN) });
    let sink = taker(&world);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink));
    sleep(20 * MINUTE).await;
    let state = running.metrics.state();
    assert!(matches!(&state, LaneState::ConsoleRefused(reason) if reason.contains("expired")), "{state:?}");
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn b25_no_request_asks_for_more_than_its_endpoint_gives() {
    assert_eq!(Stream::ALL.map(|stream| Endpoint::of(stream).max_limit), [1000, 1000, 1000, 1000, 300, 500, 1000]);
    let world = World::new(|setup| setup.activities = 5_000);
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    let limits: Vec<usize> = limits(&world);
    assert!(limits.iter().all(|limit| *limit <= 1000) && limits.contains(&1000), "{limits:?}");
}

/// The cursor goes back as it came: its own escapes survive one query encoding.
#[tokio::test(start_paused = true)]
async fn b26_cursors_are_encoded_once() {
    let world = World::new(|setup| setup.activities = 200);
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 200);
    let seen = world.console.seen();
    let cursors: Vec<_> = seen.iter().filter_map(|seen| query(&seen.query, "cursor")).collect();
    assert!(!cursors.is_empty());
    assert!(cursors.iter().all(|cursor| !cursor.contains("%25") && !cursor.contains('=')), "{cursors:?}");
}

#[tokio::test(start_paused = true)]
async fn b27_busy_consoles_are_asked_again_and_more_than_ten_records_come() {
    let world = World::new(|setup| setup.activities = 300);
    let faults = Faults::default()
        .next_times(2, Mishap::TooManyRequests(RetryAfter::Seconds(7)))
        .next_times(2, Mishap::Unavailable);
    world.console.set_faults(faults);
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 300);
    assert!(limits(&world).iter().any(|limit| *limit > 10), "the default is ten");
}

#[test]
fn b27_times_of_every_precision_are_read() {
    for text in
        ["2018-02-27T04:49:26Z", "2018-02-27T04:49:26.2Z", "2018-02-27T04:49:26.25Z", "2018-02-27T04:49:26.257525Z"]
    {
        let record = format!(r#"{{"id":"1","createdAt":"{text}"}}"#);
        assert!(facts(Stream::Activities, record.as_bytes()).time.is_some(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn b27_old_threats_do_not_return_at_each_start() {
    let world = World::new(|setup| setup.threats = 80);
    let sink = taker(&world);
    for _ in 0..4 {
        once(&world, Stream::Threats, &sink).await;
        sleep(10 * MINUTE).await;
    }
    assert_each_once(&sink, 80);
}

/// A record that lacks what every record has is delivered all the same, once, and its neighbours too.
#[tokio::test(start_paused = true)]
async fn b29_an_odd_record_is_not_dropped() {
    let world = World::new(|_| {});
    activity(&world, 0, START.minus(MINUTE));
    let odd =
        format!(r#"{{"id":"{}","createdAt":"{}","data":null,"activityType":null}}"#, FIRST + 1, START.minus(MINUTE));
    world.console.insert(Kind::Activities, odd.as_bytes()).unwrap();
    activity(&world, 2, START.minus(MINUTE));
    let sink = taker(&world);
    once(&world, Stream::Activities, &sink).await;
    once(&world, Stream::Activities, &sink).await;
    assert_each_once(&sink, 3);
}

/// One stream's failure must not repeat the others, nor one sink's.
#[tokio::test(start_paused = true)]
async fn b29_a_failing_lane_repeats_no_other() {
    let world = World::new(|setup| setup.activities = 100);
    let dead =
        MemorySink::new(world.clock, |_, _| Some(Outcome::RetryLater { reason: "dead".to_owned(), after: None }));
    let sink = taker(&world);
    for _ in 0..3 {
        let failing = world.start(world.lane(world.pull(Stream::Activities), "dead", dead.clone()));
        let working = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
        sleep(3 * MINUTE).await;
        failing.task.abort();
        working.drain().await;
    }
    assert_each_once(&sink, 100);
}

fn limits(world: &World) -> Vec<usize> {
    world.console.seen().iter().filter_map(|seen| query(&seen.query, "limit")?.parse().ok()).collect()
}

/// A parameter's value, decoded once.
fn query(text: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(text.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
