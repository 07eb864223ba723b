//! Tests of the time that a poll reads again after the poll before it.

use super::*;

pub(super) fn second(from_begin: i64) -> Timestamp {
    Timestamp::from_micros(begin().micros() + from_begin * 1_000_000)
}

pub(super) fn activities() -> PullSettings {
    PullSettings { overlap: OVERLAP, interval: Duration::from_secs(30), ..PullSettings::of(Stream::Activities) }
}

/// Returns a position with `each` records in each of `known`'s seconds. Its bound is the bound of a complete poll at
/// `closed`, and its last complete poll was 30 s before [`begin`].
pub(super) fn position(known: std::ops::Range<i64>, each: u64, closed: i64) -> SourcePosition {
    let passes = activities().passes();
    let mut position = SourcePosition::starting_at(second(-5_000));
    position.add_passes(&passes);
    for at in known {
        for place in 0..each {
            let id = 1_000_000 + (at + 5_000) as u64 * 10_000 + place;
            let key = RecordKey { id, version: id, content: None, time: second(at), created: Some(second(at)) };
            position.settle(&passes, PollContext::default()).remember(&key);
        }
    }
    position.finish(&passes, PollContext { start: second(closed), ..PollContext::default() }, false);
    let open = PollContext { start: second(-30), leaves_open: true, ..PollContext::default() };
    position.finish(&passes, open, false);
    position
}

/// Returns a position with one record a second, up to the last complete poll. No interval is due to be closed.
pub(super) fn steady() -> SourcePosition {
    position(-400..-30, 1, -30)
}

/// Returns the interval of the open time whose count the poll asks for; `None` once the poll reads.
fn question(poll: &mut Poll) -> Option<(i64, i64)> {
    let request = asked(poll);
    request.parameter("countOnly")?;
    let at = |name| Timestamp::parse(request.parameter(name).unwrap()).unwrap().seconds() - begin().seconds();
    Some((at("createdAt__gte"), at("createdAt__lt")))
}

fn counted(poll: &mut Poll, count: i64) {
    poll.answered(Ok(format!(r#"{{"data":[],"pagination":{{"totalItems":{count}}}}}"#).into()), begin()).unwrap();
}

/// Answers with empty pages to the end. Returns the times that were read, both ends included, and how the poll ended.
fn walks(poll: &mut Poll) -> (Vec<(i64, i64)>, PollContext) {
    let mut walks = Vec::new();
    loop {
        match poll.next_action() {
            Action::Ask(request) => {
                let at = |name| Timestamp::parse(request.parameter(name).unwrap()).unwrap().seconds();
                walks.push((at("createdAt__gte"), at("createdAt__lte")));
                poll.answered(Ok(list(&[], None).into()), begin()).unwrap();
            }
            Action::Emit(_) => {}
            Action::Done(context, _) => {
                let from_begin = |time: i64| time - begin().seconds();
                return (walks.into_iter().map(|(from, to)| (from_begin(from), from_begin(to))).collect(), context);
            }
        }
    }
}

#[test]
fn a_poll_reads_what_is_new_and_asks_by_count_for_the_rest() {
    for count in [300, 299, 0] {
        let mut poll = poll(&activities(), steady(), begin());
        assert_eq!(question(&mut poll), Some((-330, -30)));
        assert_eq!(question(&mut poll), Some((-330, -30)), "until it is answered");
        counted(&mut poll, count);
        let (walks, context) = walks(&mut poll);
        assert_eq!((walks, context.leaves_open), (vec![(-30, 0)], true), "a count of {count} is no late record");
        assert!(poll.habits().miscounted_at.is_none());
    }
}

#[test]
fn a_poll_that_leaves_the_time_open_moves_no_bound() {
    let passes = activities().passes();
    let mut position = steady();
    let before = position.clone();
    let context = PollContext { start: begin(), leaves_open: true, ..PollContext::default() };
    position.advance(&passes, context, second(-5));
    assert_eq!(
        (position.bound(), position.first().unwrap().watermark, position.complete()),
        (before.bound(), second(-5), Some(second(-30)))
    );
    position.finish(&passes, context, false);
    assert_eq!(
        (position.bound(), position.complete_until(), position.key_count()),
        (before.bound(), begin(), before.key_count())
    );
    assert_eq!(position.closed_until(), Some(second(-330)));
}

/// Most late records come seconds late. The poll reads the time that it read last again, together with what is new:
/// that costs no request.
#[test]
fn what_comes_a_little_late_is_read_with_what_is_new() {
    let mut poll = poll(&activities(), steady(), begin());
    question(&mut poll);
    counted(&mut poll, 301);
    assert_eq!(question(&mut poll), Some((-330, -33)));
    counted(&mut poll, 297);
    assert_eq!(walks(&mut poll).0, [(-33, 0)]);
    assert!(poll.habits().miscounted_at.is_some(), "nothing came late there");
}

/// The poll reads the second of a late record, wherever the second is, and little else.
#[test]
fn a_late_record_is_found_by_a_few_counts() {
    for late in -330..-30 {
        let mut poll = poll(&activities(), steady(), begin());
        let mut counts = 0;
        while let Some((from, to)) = question(&mut poll) {
            counts += 1;
            counted(&mut poll, to - from + i64::from((from..to).contains(&late)));
        }
        let (walks, context) = walks(&mut poll);
        assert!(walks.iter().any(|(from, to)| (*from..=*to).contains(&late)), "{late}: {walks:?}");
        let again: i64 = walks.iter().map(|(from, to)| to - from).sum::<i64>() - 30;
        assert!(counts <= 8 && again <= 45 && context.leaves_open, "{late}: {counts} counts, {again} s read again");
    }
}

/// Counts are a convenience. Without them, or with wrong ones, the poll reads what is new.
#[test]
fn a_count_that_cannot_be_read_keeps_no_poll_from_reading() {
    let timed_out = ConsoleError::Transient { reason: "slow".to_owned(), retry_after: None, timed_out: true };
    for failure in [
        Err(ConsoleError::BadRequest("countOnly".to_owned())),
        Err(ConsoleError::Forbidden("no counts".to_owned())),
        Err(timed_out),
        Ok(Bytes::from_static(br#"{"data":[],"pagination":{}}"#)),
        Ok(Bytes::from_static(b"<html>")),
    ] {
        let mut poll = poll(&activities(), steady(), begin());
        question(&mut poll);
        assert_eq!(poll.answered(failure.clone(), begin()), Ok(()), "{failure:?}");
        assert_eq!(walks(&mut poll).0, [(-30, 0)], "{failure:?}");
    }
    let mut refused = poll(&activities(), steady(), begin());
    let expired = ConsoleError::Unauthorized("expired".to_owned());
    assert_eq!(refused.answered(Err(expired.clone()), begin()), Err(expired));
    assert_eq!(question(&mut refused), Some((-330, -30)), "it is asked again with another token");
    // Half of an interval that has more records was not counted.
    let mut half = poll(&activities(), steady(), begin());
    counted(&mut half, 301);
    counted(&mut half, 298);
    assert_eq!(question(&mut half), Some((-330, -182)));
    assert_eq!(half.answered(Err(ConsoleError::transient("busy")), begin()), Ok(()));
    assert_eq!(walks(&mut half).0, [(-330, 0)], "both halves are read");
}

/// The time is read once more, whatever the counts have said.
#[test]
fn what_is_older_than_the_overlap_is_read_once_more_before_the_bound_moves() {
    let mut due = poll(&activities(), position(-700..-30, 1, -180), begin());
    assert_eq!(question(&mut due), Some((-299, -30)));
    counted(&mut due, 269);
    let (read, context) = walks(&mut due);
    assert_eq!((read, context.leaves_open), (vec![(-480, -299), (-30, 0)], false));
    // Half of `overlap` at a time.
    let mut not_due = poll(&activities(), position(-700..-30, 1, -149), begin());
    assert_eq!(question(&mut not_due), Some((-449, -30)));
}

/// The console is not asked even if records come late all the same. It is not asked either if the lane is so busy that
/// the bound moves at each poll.
#[test]
fn a_console_that_counts_too_many_is_not_asked_again_for_half_of_the_overlap() {
    for (count, is_right) in [(301, true), (303, false)] {
        let mut poll = poll(&activities(), steady(), begin());
        counted(&mut poll, count);
        counted(&mut poll, 297);
        let late = list(&[activity(77, second(-31), 0)], None);
        assert_eq!(emitted(&mut poll, &late), ["77"]);
        walks(&mut poll);
        assert_eq!(poll.habits().miscounted_at, (!is_right).then(begin), "a count of {count}");
    }
    let knowing = |at, position| {
        poll_knowing(
            ConsoleHabits { miscounted_at: Some(at), ..ConsoleHabits::default() },
            &activities(),
            position,
            begin(),
        )
    };
    for at in [-1, -30, -149] {
        let mut quiet = knowing(second(at), position(-700..-30, 1, -149));
        let (read, context) = walks(&mut quiet);
        assert_eq!((read, context.leaves_open), (vec![(-30, 0)], true));
        assert_eq!(quiet.habits().miscounted_at, Some(second(at)));
        let mut busy = knowing(second(at), position(-330..-30, 1_200, -30));
        assert_eq!(walks(&mut busy).0, [(-330, -299), (-30, 0)]);
    }
    for at in [-150, 3_600] {
        assert!(question(&mut knowing(second(at), steady())).is_some(), "{at}");
    }
}

#[test]
fn what_holds_no_known_record_is_read_without_a_count() {
    // Nothing known at all; known records only in what is closed; a lane that was away for longer than `overlap`.
    let away = second(400);
    for (position, start, walk) in [
        (position(-600..-400, 1, -30), begin(), (-330, 0)),
        (position(-600..-310, 1, -180), begin(), (-480, 0)),
        (steady(), away, (-330, 400)),
    ] {
        let mut poll = poll(&activities(), position, start);
        if question(&mut poll).is_some() {
            counted(&mut poll, 0);
        }
        let (walks, context) = walks(&mut poll);
        assert_eq!((walks, context.leaves_open), (vec![walk], false));
    }
    let mut set_back = poll(&activities(), steady(), second(-40));
    assert_eq!(walks(&mut set_back).0, [(-330, -40)], "the console's clock was set back");
}

/// Consoles cap their counts, and a busy lane must not spend its requests on counts.
#[test]
fn a_busy_lane_counts_its_newest_records_in_parts() {
    let mut poll = poll(&activities(), position(-330..-30, 1_200, -30), begin());
    let mut questions = Vec::new();
    while let Some(interval) = question(&mut poll) {
        questions.push(interval);
        counted(&mut poll, (interval.1 - interval.0) * 1_200);
    }
    assert_eq!(questions, [(-38, -30), (-46, -38), (-54, -46), (-62, -54)]);
    let (walks, context) = walks(&mut poll);
    assert_eq!((walks, context.leaves_open), (vec![(-330, -299), (-30, 0)], false), "a full page is closed at once");
}

/// Alerts change without a new time, and agents are counted that are not sent.
#[test]
fn streams_that_no_count_describes_are_not_counted() {
    for (stream, walk) in [(Stream::Alerts, (-330, 0)), (Stream::Agents, (-30, 0))] {
        let pull = PullSettings { overlap: OVERLAP, interval: Duration::from_secs(30), ..PullSettings::of(stream) };
        let passes = pull.passes();
        let mut position = SourcePosition::starting_at(second(-5_000));
        position.add_passes(&passes);
        let key = RecordKey { id: 7, version: 7, content: Some(7), time: second(-100), created: Some(second(-100)) };
        position.settle(&passes, PollContext { start: second(-30), ..PollContext::default() }).remember(&key);
        position.finish(&passes, PollContext { start: second(-30), ..PollContext::default() }, false);
        let mut poll = poll(&pull, position, begin());
        let request = asked(&mut poll);
        let filter = passes[0].time_filter;
        let at = |end: &str| Timestamp::parse(request.parameter(&format!("{filter}__{end}")).unwrap()).unwrap();
        assert_eq!((at("gte"), at("lte")), (second(walk.0), second(walk.1)), "{stream:?}");
    }
}
