//! Tests of the poll: literal answers, and a model console with random faults.

use http::StatusCode;
use s1_forwarder_record::{Clock, LaneId, Stream};
use s1_forwarder_telemetry::Telemetry;

use super::*;
use crate::console::scripted::ResponseQueue;
use crate::console::{Limiters, TruncatedBody};
use crate::source::position::MANY_FINDINGS;
use crate::source::{RecordKey, Rhythm};

mod ends;
mod plan;
mod sequences;
mod tail;

const OVERLAP: Duration = Duration::from_mins(5);
/// Time between the polls of a sequence.
const INTERVAL: Duration = Duration::from_mins(1);
/// Largest answer for which the driver of the poll reserves memory.
const MAX_BYTES: usize = 1500;
/// Records of a page, unless they exceed [`MAX_BYTES`].
const LIMIT: usize = 3;
/// The console shows every record this long after the first poll's start, and all of its time is closed.
const ALL_CLOSED: Duration = Duration::from_secs(800);
/// No poll of these tests needs as many requests.
const MAX_REQUESTS: usize = 5_000;

/// Returns the time at which the first poll starts.
fn begin() -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000)
}

fn meter(pull: &PullSettings) -> Meter {
    Meter::start(&Arc::new(Telemetry::new()), &LaneId::new("acme", pull.stream, "siem"), "test", Clock::System)
}

fn client() -> Client {
    let settings = serde_json::from_str(r#"{"url": "https://console.example", "token": "t"}"#).unwrap();
    let transport = Arc::new(ResponseQueue::default()).transport();
    Client::new(&settings, Arc::new(transport), Limiters::default().join_for(&settings), Clock::System)
}

fn poll(pull: &PullSettings, position: SourcePosition, start: Timestamp) -> Poll {
    poll_knowing(ConsoleHabits::default(), pull, position, start)
}

fn poll_knowing(habits: ConsoleHabits, pull: &PullSettings, position: SourcePosition, start: Timestamp) -> Poll {
    Poll::new(&client(), meter(pull), Arc::new(pull.clone()), &position, 0, start, habits).unwrap()
}

fn first_poll(pull: &PullSettings) -> Poll {
    poll(pull, SourcePosition::starting_at(begin().minus(OVERLAP)), begin())
}

fn asked(poll: &mut Poll) -> Request {
    match poll.next_action() {
        Action::Ask(request) => request,
        other => panic!("{other:?}"),
    }
}

/// Answers the poll's request, and returns the ids that it emits next.
fn emitted(poll: &mut Poll, answer: &str) -> Vec<String> {
    asked(poll);
    poll.answered(Ok(Bytes::copy_from_slice(answer.as_bytes())), begin()).unwrap();
    match poll.next_action() {
        Action::Emit(page) => page.records.iter().map(|record| record.id.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Answers the count that confirms the end of a list: there are `count` records before the last moments.
fn confirm(poll: &mut Poll, count: u64) {
    assert_eq!(asked(poll).parameter("countOnly"), Some("true"));
    poll.answered(Ok(format!(r#"{{"data":[],"pagination":{{"totalItems":{count}}}}}"#).into()), begin()).unwrap();
}

fn list(records: &[String], next: Option<&str>) -> String {
    let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    format!(r#"{{"data":[{}],"pagination":{{"nextCursor":{next}}}}}"#, records.join(","))
}

fn activity(id: u64, time: Timestamp, filler: usize) -> String {
    format!(r#"{{"id":"{id}","activityType":5,"createdAt":"{time}","filler":"{}"}}"#, "x".repeat(filler))
}

#[test]
fn a_request_is_repeated_until_it_is_answered_and_nothing_follows_the_end() {
    let mut poll = first_poll(&PullSettings::of(Stream::Activities));
    assert_eq!(asked(&mut poll), asked(&mut poll));
    assert_eq!(asked(&mut poll).parameter("cursor"), None);
    assert_eq!(emitted(&mut poll, &list(&[activity(1, begin(), 0)], Some("a"))), ["1"]);
    assert_eq!(asked(&mut poll).parameter("cursor"), Some("a"));
    assert!(poll.answered(Err(ConsoleError::transient("busy")), begin()).is_err());
    assert_eq!(asked(&mut poll).parameter("cursor"), Some("a"), "a failure does not change the request");
    assert_eq!(emitted(&mut poll, &list(&[activity(2, begin(), 0)], None)), ["2"]);
    confirm(&mut poll, 0);
    for _ in 0..2 {
        assert!(matches!(poll.next_action(), Action::Done(context, _) if context.start == begin()));
        poll.answered(Ok(Bytes::new()), begin()).unwrap();
    }
}

/// The lane's position never has cursors, or records outside of the window. They take memory while the poll lasts.
#[test]
fn cursors_and_records_that_nobody_asked_for_are_counted() {
    let mut poll = first_poll(&PullSettings::of(Stream::Activities));
    let ancient = begin().minus(100 * OVERLAP);
    let page = [activity(1, ancient, 0), activity(2, ancient, 0), activity(3, begin(), 0)];
    emitted(&mut poll, &list(&page, Some("a")));
    assert_eq!(poll.remembered_apart(), 2 + 1);
}

#[test]
fn who_listens_is_told_what_the_console_shows_and_an_interrupted_poll_has_shown() {
    let pull = PullSettings::of(Stream::Activities);
    let mut rhythm = Rhythm::default();
    let mut poll = first_poll(&pull);
    poll.observe(rhythm.begin_poll(&pull));
    emitted(&mut poll, &list(&[activity(1, begin(), 0)], None));
    rhythm.complete(&poll.take_observed().unwrap(), begin(), true);
    assert_eq!((rhythm.newest(), poll.take_observed().is_none()), (Some(begin()), true));

    let mut position = SourcePosition::starting_at(begin().minus(OVERLAP));
    position.add_passes(&pull.passes());
    position.finish(&pull.passes(), PollContext { start: begin(), ..PollContext::default() }, false);
    let (shown, start) = (begin().plus(Duration::from_secs(50)), begin().plus(Duration::from_secs(100)));
    position.advance(&pull.passes(), PollContext { start, ..PollContext::default() }, shown);
    let mut poll = poll_knowing(ConsoleHabits::default(), &pull, position, start);
    poll.observe(rhythm.begin_poll(&pull));
    rhythm.complete(&poll.take_observed().unwrap(), start, true);
    assert_eq!(rhythm.newest(), Some(shown));
}

/// Records older than the overlap are complete. Younger ones may still arrive late.
#[test]
fn a_refused_cursor_restarts_the_poll_at_the_end_of_the_complete_records() {
    let since = begin().minus(2 * OVERLAP);
    let mut poll = poll(&PullSettings::of(Stream::Activities), SourcePosition::starting_at(since), begin());
    for (age, from) in [(Duration::from_secs(500), 501), (Duration::from_secs(20), 300)] {
        let time = begin().minus(age);
        emitted(&mut poll, &list(&[activity(age.as_secs(), time, 0)], Some(&format!("{age:?}"))));
        let refused = ConsoleError::BadCursor("expired".to_owned());
        assert_eq!(poll.answered(Err(refused.clone()), begin()), Err(refused));
        let request = asked(&mut poll);
        let from = begin().minus(Duration::from_secs(from)).to_string();
        assert_eq!((request.parameter("cursor"), request.parameter("createdAt__gte")), (None, Some(&*from)));
    }
}

/// Cursors may lead to a page again, for example if many records have one time. Only pages that keep repeating are
/// unclear.
#[test]
fn a_page_that_repeats_under_new_cursors_is_as_unclear_as_an_empty_one() {
    let records: Vec<String> = (1..=3).map(|id| activity(id, begin(), 0)).collect();
    let mut poll = first_poll(&PullSettings::of(Stream::Activities));
    assert_eq!(emitted(&mut poll, &list(&records, Some("a"))), ["1", "2", "3"]);
    for (cursor, again) in [("b", &records[..]), ("c", &records[2..]), ("d", &[]), ("e", &records[..2])] {
        assert!(emitted(&mut poll, &list(again, Some(cursor))).is_empty());
        assert!(asked(&mut poll).parameter("cursor").is_some());
    }
    let overlapping = [records[2].clone(), activity(4, begin(), 0)];
    assert_eq!(emitted(&mut poll, &list(&overlapping, None)), ["4"]);
    confirm(&mut poll, 0);
    assert!(matches!(poll.next_action(), Action::Done(..)));

    for (count, is_end) in [(3, true), (250, false)] {
        let mut poll = first_poll(&PullSettings::of(Stream::Activities));
        // Another walk follows the first, which brought something.
        for walk in 0..2 {
            assert_eq!(asked(&mut poll).parameter("cursor"), None);
            for page in 0..=5 {
                let new = emitted(&mut poll, &list(&records, Some(&format!("{walk} {page}"))));
                assert_eq!(new.len(), if (walk, page) == (0, 0) { 3 } else { 0 });
            }
        }
        assert_eq!(asked(&mut poll).parameter("countOnly"), Some("true"));
        let counted = format!(r#"{{"data":[],"pagination":{{"totalItems":{count}}}}}"#);
        let answered = poll.answered(Ok(counted.into()), begin());
        if is_end {
            assert_eq!(answered, Ok(()));
            continue;
        }
        let reason = "pages repeat under new cursors: the console counts 250 records, but showed only 3";
        assert_eq!(answered, Err(ConsoleError::BadCursor(reason.to_owned())));
        assert_eq!(asked(&mut poll).parameter("cursor"), None, "it asks again");
    }
}

/// A cursor that expired while alerts are counted would be refused again and again.
#[test]
fn unified_alerts_are_counted_without_a_cursor() {
    let mut poll = first_poll(&PullSettings::of(Stream::UnifiedAlerts));
    let nothing = r#"{"data":{"alerts":{"pageInfo":{"hasNextPage":true,"endCursor":"a"},"edges":[]}}}"#;
    assert!(emitted(&mut poll, nothing).is_empty());
    assert!(asked(&mut poll).outline().0.contains(r#""after":"a""#));
    assert!(emitted(&mut poll, nothing).is_empty());
    let (counting, limit, _) = asked(&mut poll).outline();
    assert!(counting.starts_with("true ") && counting.contains(r#""after":null"#) && limit == 1, "{counting}");
}

/// Returns a poll whose token has several scopes, when the console has just asked for one of them.
fn asking_for_scopes() -> Poll {
    let mut poll = first_poll(&PullSettings::of(Stream::Vulnerabilities));
    let refusal = ConsoleError::BadRequest("choose a single scope".to_owned());
    assert_eq!(poll.answered(Err(refusal), begin()), Ok(()));
    assert_eq!(
        (asked(&mut poll).outline().0, asked(&mut poll).parameter("sortBy")),
        ("accounts".to_owned(), Some("id"))
    );
    poll
}

/// Answers with a page of scopes.
fn scopes(poll: &mut Poll, body: &'static str) -> Result<(), ConsoleError> {
    poll.answered(Ok(Bytes::from_static(body.as_bytes())), begin())
}

fn found(mut poll: Poll) -> Vec<String> {
    let Action::Done(_, PollEnd::Scopes(scopes)) = poll.next_action() else { panic!("it did not list scopes") };
    scopes.iter().map(|scope| format!("{}={}", scope.level.parameter(), scope.id)).collect()
}

#[test]
fn a_token_of_several_scopes_is_asked_for_its_sites_where_it_has_no_accounts() {
    for no_accounts in
        [Err(ConsoleError::Forbidden("no accounts".to_owned())), Ok(Bytes::from_static(br#"{"data":[]}"#))]
    {
        let mut poll = asking_for_scopes();
        let busy = ConsoleError::transient("busy");
        assert_eq!(poll.answered(Err(busy.clone()), begin()), Err(busy));
        assert_eq!(asked(&mut poll).outline().0, "accounts", "the same request again");
        assert_eq!(poll.answered(no_accounts, begin()), Ok(()));
        assert_eq!(asked(&mut poll).outline().0, "sites");
        scopes(&mut poll, r#"{"data":{"sites":[{"id":"8","name":"b"},{"id":"7"}]}}"#).unwrap();
        assert_eq!(found(poll), ["siteIds=7", "siteIds=8"]);
    }
}

#[test]
fn scopes_are_listed_to_the_last_page() {
    let mut poll = asking_for_scopes();
    scopes(&mut poll, r#"{"data":[{"id":"7"}],"pagination":{"nextCursor":"a"}}"#).unwrap();
    assert_eq!(asked(&mut poll).parameter("cursor"), Some("a"));
    assert_eq!(poll.answered(Err(ConsoleError::transient("busy")), begin()), Err(ConsoleError::transient("busy")));
    assert_eq!(asked(&mut poll).parameter("cursor"), Some("a"));
    // A refused cursor leads back to the first page.
    let refused = ConsoleError::BadCursor("expired".to_owned());
    assert_eq!(poll.answered(Err(refused.clone()), begin()), Err(refused));
    assert_eq!((asked(&mut poll).parameter("cursor"), asked(&mut poll).outline().0), (None, "accounts".to_owned()));
    scopes(&mut poll, r#"{"data":[{"id":"7"}],"pagination":{"nextCursor":"a","totalItems":2}}"#).unwrap();
    scopes(&mut poll, r#"{"data":[{"id":"9"}],"pagination":{"nextCursor":"a"}}"#).unwrap();
    assert_eq!(found(poll), ["accountIds=7", "accountIds=9"], "the cursor came again, and the count says the same");
}

/// An answer without scopes, read as an empty list, would end a window of which nothing was read.
#[test]
fn an_answer_without_scopes_is_a_failure() {
    for answer in [
        r#"{"data":null}"#,
        r#"{"data":[],"errors":[{"code":5000010,"title":"Internal server error"}]}"#,
        r#"{"data":{"sites":null}}"#,
        r#"{"data":[{"id":"7"},{"name":"without an id"}]}"#,
    ] {
        let mut poll = asking_for_scopes();
        assert!(matches!(scopes(&mut poll, answer), Err(ConsoleError::Transient { .. })), "{answer}");
        assert_eq!(asked(&mut poll).outline().0, "accounts");
    }
    // The cursor comes again, and the console counts more.
    let mut poll = asking_for_scopes();
    let page = r#"{"data":[{"id":"7"}],"pagination":{"nextCursor":"a","totalItems":2}}"#;
    scopes(&mut poll, page).unwrap();
    assert!(matches!(scopes(&mut poll, page), Err(ConsoleError::Transient { .. })));
    // Neither accounts nor sites: the console wants one of them.
    let mut poll = asking_for_scopes();
    scopes(&mut poll, r#"{"data":[]}"#).unwrap();
    let Err(ConsoleError::Forbidden(reason)) = scopes(&mut poll, r#"{"data":{"sites":[]}}"#) else { panic!("an end") };
    assert!(reason.contains("console.sites"), "{reason}");
}

/// A poll must not ask for a window whose end is before its beginning.
#[test]
fn a_poll_that_starts_before_its_bound_has_nothing_to_ask_for() {
    let pull = Arc::new(PullSettings::of(Stream::Activities));
    let client = client();
    let position = || SourcePosition::starting_at(begin());
    let begins = |start| {
        Poll::new(&client, meter(&pull), pull.clone(), &position(), 0, start, ConsoleHabits::default()).map(drop)
    };
    let earlier = begin().minus(Duration::from_secs(2));
    assert_eq!((begins(begin()), begins(earlier)), (Ok(()), Err(NotDue::Before(begin()))));
}

/// A record may change after the console has chosen it for the page. Its new time is not how far the poll has read.
#[test]
fn a_time_after_the_end_of_the_window_does_not_end_the_order() {
    let mut poll = first_poll(&PullSettings::of(Stream::Activities));
    let page = list(&[activity(1, begin().minus(OVERLAP), 0), activity(2, begin().plus(OVERLAP), 0)], Some("a"));
    asked(&mut poll);
    poll.answered(Ok(page.into()), begin()).unwrap();
    let Action::Emit(page) = poll.next_action() else { panic!("no page") };
    let orders: Vec<_> = page.records.iter().map(|record| record.order).collect();
    assert_eq!((orders, page.ordered), (vec![Some(begin().minus(OVERLAP)), None], true));
    asked(&mut poll);
    poll.answered(Ok(list(&[activity(3, begin(), 0)], None).into()), begin()).unwrap();
    assert!(matches!(poll.next_action(), Action::Emit(page) if page.ordered && page.records.len() == 1));
}

const PAGE: u64 = 1_000;

/// Returns a page of findings in the order of their ids.
fn findings(page: u64, next: Option<&str>) -> String {
    let finding = |id| format!(r#"{{"id":"{}","status":"Detected"}}"#, 10_000_000 + id);
    list(&(page * PAGE..(page + 1) * PAGE).map(finding).collect::<Vec<_>>(), next)
}

/// Returns a poll that has read this number of pages of all findings.
fn sweep(pages: u64) -> Poll {
    let mut poll =
        poll(&PullSettings::of(Stream::Vulnerabilities), SourcePosition::starting_at(Timestamp::default()), begin());
    for page in 0..pages {
        assert_eq!(emitted(&mut poll, &findings(page, Some(&format!("c{page}")))).len() as u64, PAGE, "page {page}");
    }
    poll
}

/// There are hundreds of thousands of findings, and they are in no budget. A walk that begins again returns none of
/// them twice.
#[test]
fn a_sweep_remembers_no_more_findings_than_a_window() {
    let pages = MANY_FINDINGS as u64 / PAGE + 10;
    let mut poll = sweep(pages);
    assert_eq!(poll.returned_count(), MANY_FINDINGS);
    let refused = ConsoleError::BadCursor("expired".to_owned());
    assert_eq!(poll.answered(Err(refused.clone()), begin()), Err(refused));
    for page in [0, MANY_FINDINGS as u64 / PAGE - 1, pages - 1] {
        assert!(emitted(&mut poll, &findings(page, Some(&format!("d{page}")))).is_empty(), "page {page} again");
    }
    assert_eq!(emitted(&mut poll, &findings(pages, None)).len() as u64, PAGE, "and goes on");
}

/// A finding without an id of digits gets a key that is larger than the ids of most.
#[test]
fn a_sweep_returns_what_comes_after_a_large_id() {
    let pages = MANY_FINDINGS as u64 / PAGE;
    let mut poll = sweep(pages);
    let other = format!(r#"{{"id":"{}","status":"Detected"}}"#, u64::MAX);
    assert_eq!(emitted(&mut poll, &list(&[other], Some("other"))).len(), 1);
    assert_eq!(emitted(&mut poll, &findings(pages, Some("last"))).len() as u64, PAGE);
    let refused = ConsoleError::BadCursor("expired".to_owned());
    assert_eq!(poll.answered(Err(refused.clone()), begin()), Err(refused));
    assert!(emitted(&mut poll, &findings(0, Some("again"))).is_empty(), "it is remembered");
    assert_eq!(emitted(&mut poll, &findings(pages + 1, None)).len() as u64, PAGE, "no order says that it was shown");
}
