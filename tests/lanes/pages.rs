//! What a poll makes of each answer of a console, one answer after the other.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::console::ConsoleError;
use s1_forwarder::console::scripted::ResponseQueue;
use s1_forwarder::record::{Identity, Level, Stream, Timestamp};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PollContext, PullSettings, RecordFilter, SourcePosition, TimeField, Window};
use s1_forwarder::telemetry::SkipReason;
use serde_json::json;

use super::harness::LaneHarness;
use super::script::{
    NULL, Talk, activities, activity, ago, alert, all, counted, finding, findings_of, ids, no_history, page,
    record_key, snapshots, unified,
};

#[tokio::test(start_paused = true)]
async fn what_is_accounted_for_is_left_out_whatever_its_version() {
    let mut talk = Talk::new(PullSettings::of(Stream::Alerts), no_history);
    let records: Vec<String> = (1..=3).map(|id| alert(id, ago(60), "A")).collect();
    talk.poll.set_filter(RecordFilter::AllBut(Arc::new([1, 2].into())));
    let page = talk.reads(&records, None).await;
    assert_eq!((ids(&page), page.shown, page.last), (vec!["3"], 3, true));
    assert_eq!(talk.meter.metrics.skipped(SkipReason::Duplicate), 2);
}

/// The console is asked for a little more than a window.
#[tokio::test(start_paused = true)]
async fn what_lies_outside_a_window_is_left_out() {
    let window = Window { from: ago(100), to: ago(10), time: TimeField::Order };
    let mut talk = Talk::new(activities().within(window), no_history);
    let records: Vec<String> = [101, 100, 50, 10, 9].map(|seconds| activity(seconds, ago(seconds))).into();
    assert_eq!(ids(&talk.reads(&records, None).await), ["100", "50"]);
    assert_eq!(talk.meter.metrics.skipped(SkipReason::Filtered), 3);
}

/// The time that the console was asked by is the one that counts.
#[tokio::test(start_paused = true)]
async fn a_window_holds_unified_alerts_by_their_detection_and_groups_by_their_change() {
    for (stream, by) in [(Stream::UnifiedAlerts, TimeField::Order), (Stream::Groups, TimeField::Creation)] {
        let window = Window { from: ago(100), to: ago(10), time: by };
        let mut talk = Talk::new(PullSettings::of(stream).within(window), no_history);
        let answer = match stream {
            Stream::Groups => {
                page(&[format!(r#"{{"id":"1","createdAt":"{}","updatedAt":"{}"}}"#, ago(500), ago(60))], None)
            }
            _ => unified("1", "", None).replacen(&ago(60).to_string(), &ago(5).to_string(), 2),
        };
        let page = talk.hears(answer).await.unwrap();
        assert_eq!(ids(&page), ["1"], "{stream}");
    }
}

/// A watermark of the one time, in a list that is sorted by the other, would pass over what was not read.
#[tokio::test(start_paused = true)]
async fn each_pass_over_unified_alerts_goes_by_the_time_that_it_is_sorted_by() {
    for (pass, order) in [(0, ago(5)), (1, ago(60))] {
        let mut talk = Talk::of_pass(all(Stream::UnifiedAlerts), pass, no_history);
        let changed = unified("1", "", None).replacen(&ago(60).to_string(), &ago(5).to_string(), 2);
        let page = talk.hears(changed).await.unwrap();
        assert_eq!(page.records[0].order, Some(order), "{pass}");
    }
}

/// A snapshot that is pulled in parts is one, under the time of the last before its end.
#[tokio::test(start_paused = true)]
async fn the_parts_of_a_snapshot_are_named_by_the_end_of_the_whole() {
    let hour = Duration::from_hours(1);
    let pull = PullSettings { own: snapshots(false), interval: hour, ..PullSettings::of(Stream::Agents) };
    let whole = Window { from: ago(7_200), to: ago(10), time: TimeField::Creation };
    let version = whole.to.aligned_to(hour).seconds().to_string();
    for part in [Window { to: ago(3_600), ..whole }, Window { from: ago(3_600), ..whole }] {
        let created = part.from;
        let record = format!(r#"{{"id":"1","createdAt":"{created}","updatedAt":"{}"}}"#, ago(5));
        let page = Talk::new(pull.part(part, whole), no_history).reads(&[record], None).await;
        let identities: Vec<_> = page.records.iter().map(|record| record.identity).collect();
        assert_eq!(identities, [Identity::of("console.example", Stream::Agents, "1", &version)]);
    }
}

/// `data: null` is no end: it is asked for again three times, and then the console counts.
#[tokio::test(start_paused = true)]
async fn null_is_an_end_only_where_the_console_counts_nothing() {
    let mut talk = Talk::new(activities(), no_history);
    for _ in 0..4 {
        assert!(talk.hears(NULL.to_owned()).await.is_err());
        assert!(!talk.asked_for_a_count());
    }
    let error = talk.hears(counted(2)).await.unwrap_err();
    assert!(talk.asked_for_a_count() && error.to_string().contains("counts 2 records"), "{error}");
    // From the beginning: asked again as often.
    for _ in 0..4 {
        assert!(talk.hears(NULL.to_owned()).await.is_err());
        assert!(!talk.asked_for_a_count());
    }
    assert!(talk.hears(counted(0)).await.unwrap().last);
}

/// Three nulls before an answer and three after it are not six.
#[tokio::test(start_paused = true)]
async fn nulls_are_counted_in_a_row() {
    let mut talk = Talk::new(activities(), no_history);
    for cursor in ["a", "b", "c"] {
        for _ in 0..3 {
            assert!(talk.hears(NULL.to_owned()).await.is_err());
        }
        assert!(!talk.reads(&[], Some(cursor)).await.last);
        assert!(!talk.asked_for_a_count());
    }
}

/// A console that cannot count is taken at its word only where it showed nothing.
#[tokio::test(start_paused = true)]
async fn null_for_a_count_is_nothing_only_where_nothing_was_shown() {
    let mut talk = Talk::new(activities(), no_history);
    for _ in 0..4 {
        assert!(talk.hears(NULL.to_owned()).await.is_err());
    }
    assert!(talk.hears(NULL.to_owned()).await.unwrap().last);

    let mut talk = Talk::new(activities(), |position, pull| {
        let context = PollContext { start: ago(60), ..PollContext::default() };
        position.settle(&pull.passes(), context).remember(&record_key(1, ago(90)));
    });
    let known = [activity(1, ago(90))];
    assert_eq!(talk.reads(&known, Some("a")).await.records.len(), 0);
    assert_eq!(talk.reads(&known, Some("a")).await.records.len(), 0);
    for _ in 0..3 {
        assert!(talk.hears(NULL.to_owned()).await.is_err(), "one is shown");
        assert!(talk.asked_for_a_count());
    }
    assert!(talk.hears(counted(1)).await.unwrap().last);

    let null = r#"{"data":{"alerts":null}}"#;
    let mut talk = Talk::new(all(Stream::UnifiedAlerts), no_history);
    for _ in 0..9 {
        assert!(talk.hears(null.to_owned()).await.is_err(), "an empty list of unified alerts is not null");
    }
}

/// A page ends with a cursor that came before. More records may follow, until a whole pass shows nothing new.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_comes_again_ends_the_walk_and_the_next_that_finds_nothing_has_the_records_counted() {
    let mut talk = Talk::new(activities(), no_history);
    let records = [activity(1, ago(90)), activity(2, ago(60))];
    assert_eq!(ids(&talk.reads(&records, Some("a")).await), ["1", "2"]);
    assert!(talk.reads(&records, Some("a")).await.records.is_empty());
    // It began again.
    assert!(!talk.reads(&records[1..], Some("a")).await.last);
    assert!(!talk.asked_last().contains("cursor="), "{}", talk.asked_last());
    assert!(!talk.reads(&records[1..], Some("a")).await.last);
    assert!(talk.asked_last().contains("cursor=a"), "{}", talk.asked_last());
    // The one that it showed twice is one.
    assert!(talk.hears(counted(2)).await.is_err());
    assert!(talk.asked_for_a_count());
    assert_eq!(ids(&talk.reads(&[activity(2, ago(60)), activity(3, ago(50))], Some("a")).await), ["3"]);
    for _ in 0..3 {
        assert!(!talk.reads(&[activity(3, ago(50))], Some("a")).await.last);
        assert!(!talk.asked_for_a_count());
    }
    assert!(talk.hears(counted(1)).await.unwrap().last);
}

#[tokio::test(start_paused = true)]
async fn five_empty_pages_in_a_row_have_the_records_counted() {
    let mut talk = Talk::new(activities(), no_history);
    for cursor in ["a", "b", "c", "d"] {
        assert!(!talk.reads(&[], Some(cursor)).await.last);
        assert!(talk.pause().is_zero(), "only lists of findings are asked for slowly");
    }
    talk.reads(&[activity(1, ago(60))], Some("e")).await;
    for cursor in ["f", "g", "h", "i", "j"] {
        assert!(talk.asked_last().contains("limit=100"));
        assert!(!talk.reads(&[], Some(cursor)).await.last);
    }
    // There was news: a walk from there.
    for cursor in ["k", "l", "m", "n", "o"] {
        assert!(!talk.reads(&[], Some(cursor)).await.last);
        assert!(!talk.asked_for_a_count());
    }
    assert!(talk.hears(counted(0)).await.unwrap().last);
    assert!(talk.asked_for_a_count());
}

/// Only where pages are in order does reading a record mean that all before it were read: one page that is not, and
/// nothing read in this poll says so any more.
#[tokio::test(start_paused = true)]
async fn an_order_that_broke_once_is_not_relied_on_in_this_poll() {
    let mut talk = Talk::new(activities(), no_history);
    let page = talk.reads(&[activity(1, ago(60)), activity(2, ago(61)), activity(3, ago(50))], Some("a")).await;
    assert!(page.ordered, "the console sorts at about 10 ms, and a second is let pass");
    let page = talk.reads(&[activity(4, ago(50)), activity(5, ago(52))], Some("b")).await;
    assert!(!page.ordered);
    assert!(!talk.reads(&[activity(6, ago(40)), activity(7, ago(30))], None).await.ordered);
}

/// One that became visible behind a poll that was complete to its time; a change seen again by another pass is none.
#[tokio::test(start_paused = true)]
async fn what_arrives_late_is_what_is_new_and_older_than_the_last_complete_poll() {
    let complete = |position: &mut SourcePosition, pull: &PullSettings| {
        let context = PollContext { start: ago(600), ..PollContext::default() };
        position.settle(&pull.passes(), context).remember(&record_key(7, ago(650)));
        position.finish(&pull.passes(), context, false);
    };
    for (pass, record, late) in [
        (0, alert(1, ago(700), "A"), true),
        (0, alert(1, ago(600), "A"), true),
        (0, alert(1, ago(590), "A"), false),
        (0, alert(7, ago(650), "B"), false),
        (1, alert(1, ago(700), "A"), false),
    ] {
        let mut talk = Talk::of_pass(PullSettings::of(Stream::Alerts), pass, complete);
        assert_eq!(talk.reads(std::slice::from_ref(&record), None).await.records.len(), 1);
        assert_eq!(talk.late(), late, "{pass} {record}");
    }
    let mut talk = Talk::new(PullSettings::of(Stream::Alerts), no_history);
    talk.reads(&[alert(1, ago(700), "A")], None).await;
    assert!(!talk.late(), "no poll was complete before");
}

/// Pages of findings tell whose they are and come after one another slowly; the same version twice is once.
#[tokio::test(start_paused = true)]
async fn a_page_of_findings_is_of_its_scope_and_the_next_one_waits() {
    let mut talk = Talk::new(findings_of(&["100000000000000007"]), no_history);
    assert!(talk.pause().is_zero());
    let page = talk.reads(&[finding(1), finding(2), finding(1)], Some("a")).await;
    let scope = page.scope.clone().unwrap();
    assert_eq!((scope.level, scope.id.as_str()), (Level::Site, "100000000000000007"));
    assert_eq!((ids(&page), page.shown, page.ordered), (vec!["1", "2"], 3, false));
    assert_eq!(talk.meter.metrics.skipped(SkipReason::Duplicate), 1);
    assert_eq!(talk.pause(), Duration::from_secs(1));
    assert!(talk.reads(&[finding(3)], None).await.last);
}

/// What a record does not say of its owner is that of the one account, site or group that the pipeline names.
#[tokio::test(start_paused = true)]
async fn a_page_is_of_the_one_scope_that_it_was_asked_for_by() {
    let [one, two] = ["100000000000000007", "100000000000000008"];
    let cases = [
        (json!({}), None),
        (json!({ "accounts": [one] }), Some((Level::Account, one))),
        (json!({ "accounts": [two], "sites": [one] }), Some((Level::Site, one))),
        (json!({ "groups": [one], "sites": [two] }), Some((Level::Group, one))),
        (json!({ "sites": [one, two] }), None),
        // Records of either group have no one owner that is named by the lowest level.
        (json!({ "sites": [one], "groups": [two, "100000000000000009"] }), None),
    ];
    for (names, expected) in cases {
        let mut settings = json!({ "url": "https://console.example", "token": "t" });
        settings.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
        let pull = PullSettings::of(Stream::Groups).with_scopes(&serde_json::from_value(settings).unwrap());
        let window = Window { from: ago(86_400), to: ago(0), time: TimeField::Order };
        for pull in [pull.within(window), pull] {
            let mut talk = Talk::new(pull, no_history);
            let group = format!(r#"{{"id":"1","createdAt":"{0}","updatedAt":"{0}"}}"#, ago(60));
            let page = talk.reads(&[group], None).await;
            let scope = page.scope.as_deref().map(|scope| (scope.level, scope.id.as_str()));
            assert_eq!((scope, page.records.len()), (expected, 1), "{names}");
        }
    }
}

/// Its records are all settled by then: what comes with it could pass for them.
#[tokio::test(start_paused = true)]
async fn the_event_that_a_snapshot_is_complete_is_a_page_of_its_own_for_which_nothing_is_asked() {
    let pull = PullSettings { own: snapshots(true), ..PullSettings::of(Stream::Agents) };
    let talk = &mut Talk::new(pull, |position, pull| {
        let context = PollContext { start: ago(60), snapshot: Some(ago(600)), ..PollContext::default() };
        position.settle(&pull.passes(), context).remember(&record_key(1, ago(6000)));
        position.finish(&pull.passes(), context, true);
    });
    let page = talk.emits().await.unwrap().unwrap();
    assert_eq!((page.marker.unwrap().time, page.marker.unwrap().settled), (ago(600), 1));
    assert_eq!((ids(&page), page.shown, page.last, page.ordered), (vec!["snapshot"], 1, true, false));
    assert!(talk.script.requests().is_empty());
}

/// A field that the console cannot read may be in the next response; when it is not, the alerts are worth more than the
/// field.
#[tokio::test(start_paused = true)]
async fn a_page_with_an_error_next_to_its_alerts_is_asked_for_three_times_more() {
    let partial = |id: &str, next| {
        let whole = unified(id, "", next);
        format!(r#"{},"errors":[{{"message":"no such scope"}}]}}"#, &whole[..whole.len() - 1])
    };
    let mut talk = Talk::new(all(Stream::UnifiedAlerts), no_history);
    for (id, next) in [("alert-1", Some("a")), ("alert-2", None)] {
        for _ in 0..3 {
            assert!(talk.hears(partial(id, next)).await.is_err());
        }
        let page = talk.hears(partial(id, next)).await.unwrap();
        assert_eq!(ids(&page), [id]);
    }
}

/// A console that lists the newest first, whatever it is asked for: its first page is read, and a kill comes before the
/// rest.
#[tokio::test(start_paused = true)]
async fn what_is_not_in_order_moves_no_position_before_the_end_of_the_poll() {
    let harness = LaneHarness::new(|_| {});
    let script = Arc::new(ResponseQueue::default());
    let newest_first = page(&[activity(3, ago(60)), activity(2, ago(6_000))], Some("a"));
    // First the lane asks for the time; and the second page is null again and again.
    for response in [&newest_first, &newest_first, NULL, NULL] {
        script.push(response.to_owned());
    }
    let sink = MemorySink::accepting(harness.clock);
    let mut lane = harness.lane(activities(), "siem", sink.clone());
    lane.client = Arc::new(harness.client(Arc::new(script.dated_transport(harness.clock)), "other"));
    let running = harness.start(lane);
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.task.abort();
    let _ = running.task.await;
    assert_eq!(sink.total(), 2);
    let checkpoint = harness.checkpoint(Stream::Activities, "siem").unwrap();
    assert_eq!((checkpoint.settled, checkpoint.position.bound()), (2, Timestamp::default()));
}

/// A resolver behind the console's gateway is down: the fields that it serves are null.
#[tokio::test(start_paused = true)]
async fn a_list_of_unified_alerts_that_failed_is_never_taken_for_its_end() {
    for alerts in [
        r#"{"totalCount":null,"edges":null,"pageInfo":null}"#,
        r#"{"totalCount":9,"edges":null,"pageInfo":{"hasNextPage":false,"endCursor":null}}"#,
        r#"{"totalCount":9,"edges":[{"node":{"id":"alert-1"}}],"pageInfo":null}"#,
    ] {
        let failed =
            format!(r#"{{"data":{{"alerts":{alerts}}},"errors":[{{"message":"UNKNOWN: a resolver is down"}}]}}"#);
        let mut talk = Talk::new(all(Stream::UnifiedAlerts), no_history);
        for _ in 0..10 {
            let error = talk.hears(failed.clone()).await.unwrap_err();
            assert!(matches!(error, ConsoleError::Transient { .. }), "the lane tries again soon: {error:?}");
        }
        let page = talk.hears(unified("alert-1", "", None)).await.unwrap();
        assert_eq!((ids(&page), page.last), (vec!["alert-1"], true));
    }
}
