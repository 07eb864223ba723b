use std::collections::BTreeSet;

use s1_forwarder_record::{Level, Scope, Stream};

use super::*;
use crate::source::pass::BEFORE_SWEEP;
use crate::source::{AgentSettings, PositionReader, PullSettings, StreamOptions};

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_micros((12 * 60 + minute) * 60_000_000)
}

fn record_key(id: u64, time: Timestamp) -> RecordKey {
    RecordKey { id, version: id + 1000, content: None, time, created: Some(time) }
}

/// Returns the pull of findings of these sites, which a poll of all findings has found.
fn of_sites(ids: &[&str]) -> PullSettings {
    let scopes = ids.iter().map(|id| Arc::new(Scope { level: Level::Site, id: (*id).into(), name: None }));
    PullSettings::of(Stream::Vulnerabilities).with_found_scopes(scopes.collect())
}

fn position(pull: &PullSettings) -> (Vec<Pass>, SourcePosition) {
    let mut position = SourcePosition::starting_at(minute(-60));
    position.add_passes(&pull.passes());
    (pull.passes(), position)
}

fn context(pass: usize, start: Timestamp) -> PollContext {
    PollContext { pass, start, ..PollContext::default() }
}

#[test]
fn how_far_the_first_pass_is_is_how_far_a_lane_is() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Alerts));
    let times = |position: &SourcePosition| {
        [position.bound(), position.first().unwrap().watermark, position.complete_until(), position.newest()]
    };
    assert_eq!((times(&position), position.complete()), ([minute(-60); 4], None));
    position.advance(&passes, context(0, minute(0)), minute(-20));
    let bound = minute(-20).minus(Duration::from_secs(1));
    assert_eq!(times(&position), [bound, minute(-20), minute(-20), minute(-20)]);
    position.finish(&passes, context(0, minute(0)), false);
    assert_eq!(times(&position), [minute(-5), minute(0), minute(0), minute(0)]);
    position.finish(&passes, context(1, minute(30)), false);
    assert_eq!((times(&position)[0], position.complete()), (minute(-5), Some(minute(0))), "another pass");
    assert!(position.settle(&passes, context(0, minute(10))).remember(&record_key(1, minute(9))));
    assert_eq!(position.newest(), minute(9).plus(Duration::from_secs(1)), "a key may lie anywhere in its second");
}

/// A record that one pass delivers enters both positions, or the second pass returns it again.
#[test]
fn what_one_pass_delivers_the_others_know() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Alerts));
    assert!(position.settle(&passes, context(0, minute(0))).remember(&record_key(1, minute(-3))));
    assert!(
        !position.settle(&passes, context(1, minute(0))).remember(&record_key(1, minute(-3))),
        "it is accounted for once"
    );
    assert_eq!(position.key_count(), 2);
    position.forget_keys();
    assert_eq!((position.key_count(), position.bound()), (0, minute(-60)));
}

#[test]
fn contents_are_remembered_until_another_console_has_other_records() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Agents));
    let with = |content| RecordKey { content: Some(content), ..record_key(1, minute(-3)) };
    position.settle(&passes, context(0, minute(0))).remember(&with(5));
    assert!(position.contents.has(&with(5)) && !position.contents.has(&with(6)));
    assert!(!position.contents.has(&record_key(1, minute(-3))), "nothing is said of its content");
    position.settle(&passes, context(0, minute(0))).remember(&with(6));
    assert!(position.contents.has(&with(6)) && !position.contents.has(&with(5)));
    assert_eq!(position.content_count(), 1);
    position.forget_keys();
    assert_eq!(position.content_count(), 0);
}

#[test]
fn a_snapshot_is_read_said_to_be_complete_and_done_before_the_next() {
    let (passes, mut position) = position(&PullSettings {
        own: StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() }),
        interval: Duration::from_hours(1),
        ..PullSettings::of(Stream::Agents)
    });
    let is_marking = |position: &SourcePosition| position.first().is_some_and(PassPosition::is_marking);
    let now = minute(10);
    let time = minute(0);
    assert_eq!(position.next_snapshot(&passes[0], now), Some(time));
    let context = PollContext { snapshot: Some(time), ..context(0, now) };
    assert!(position.settle(&passes, context).remember(&record_key(1, minute(-3))));
    position.settle(&passes, context);
    assert_eq!(position.key_count(), 1, "the same snapshot goes on");
    assert_eq!((position.read_snapshot(), is_marking(&position)), (None, false));
    assert_eq!(position.next_snapshot(&passes[0], minute(70)), Some(time), "what was begun is finished first");
    position.finish(&passes, context, true);
    assert!(is_marking(&position));
    assert_eq!(position.read_snapshot().map(|snapshot| (snapshot.time, snapshot.settled)), Some((time, 1)));
    assert_eq!(position.next_snapshot(&passes[0], minute(70)), Some(time), "its last event is not delivered");
    position.finish(&passes, context, true);
    assert!(!is_marking(&position) && position.read_snapshot().is_some());
    assert_eq!(position.next_snapshot(&passes[0], minute(59)), None);
    assert_eq!(position.next_snapshot(&passes[0], minute(60)), Some(minute(60)));
    position.settle(&passes, PollContext { snapshot: Some(minute(60)), ..context });
    assert_eq!((position.read_snapshot(), position.bound()), (None, minute(-60)), "all is read again");
}

/// Records older than the pass reaches would be remembered, and read again, for nothing.
#[test]
fn a_pass_that_comes_back_begins_no_further_back_than_it_reaches() {
    let pull = PullSettings { own: StreamOptions::Alerts(Duration::from_hours(1)), ..PullSettings::of(Stream::Alerts) };
    let passes = pull.passes();
    let mut position = SourcePosition::starting_at(minute(-500_000));
    position.add_passes(&passes);
    for (id, at) in [(1, minute(-400_000)), (2, minute(-70)), (3, minute(-50))] {
        assert!(position.settle(&passes, context(0, minute(0))).remember(&record_key(id, at)));
    }
    let second = |position: &SourcePosition| {
        position.of_pass(&passes[1]).map(|pass_position| (pass_position.bound, pass_position.key_count()))
    };
    assert_eq!(second(&position), Some((minute(-60), 1)));
    position.finish(&passes, context(0, minute(30)), false);
    assert_eq!(second(&position), Some((minute(-60), 1)), "what it has not read is still to be read");

    // Switched off, and on again much later.
    let off = PullSettings { own: StreamOptions::Alerts(Duration::ZERO), ..pull }.passes();
    position.add_passes(&off);
    position.forget_others(&off);
    position.finish(&off, context(0, minute(10_000)), false);
    assert_eq!((second(&position), position.pass_positions().count()), (None, 1));
    position.add_passes(&passes);
    position.settle(&passes, context(0, minute(10_030)));
    assert_eq!(second(&position), Some((minute(9_970), 0)));
    // In a lane that owes less than the pass reaches, the pass begins where the lane does.
    let mut position = SourcePosition::starting_at(minute(-5));
    position.settle(&passes, context(0, minute(0)));
    assert_eq!(second(&position), Some((minute(-5), 0)));
}

/// Only the second pass of unified alerts shows those without an `updatedAt`.
#[test]
fn a_pass_in_another_order_begins_where_the_lane_does() {
    let pull = PullSettings::of(Stream::UnifiedAlerts);
    let passes = pull.passes();
    let mut position = SourcePosition::starting_at(minute(-500_000));
    position.settle(&passes, context(0, minute(0)));
    assert_eq!(position.of_pass(&passes[1]).map(|pass_position| pass_position.bound), Some(minute(-500_000)));
    position.finish(&passes, context(1, minute(0)), false);
    assert_eq!(position.of_pass(&passes[1]).map(|pass_position| pass_position.bound), Some(minute(-24 * 60)));
}

/// Machines that exist for a day would be remembered for years.
#[test]
fn the_content_of_a_record_that_is_not_shown_is_forgotten_in_time() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Agents));
    let with = |id| RecordKey { content: Some(5), ..record_key(id, minute(-3)) };
    let day = |day: i64| minute(day * 24 * 60);
    for id in [1, 2] {
        position.settle(&passes, context(0, day(0))).remember(&with(id));
    }
    for (at, is_old) in [(0, false), (44, false), (45, true)] {
        position.finish(&passes, context(0, day(at)), false);
        assert_eq!((position.contents.is_old(&with(1)), position.content_count()), (is_old, 2), "day {at}");
        assert!(position.contents.has(&with(1)) && position.contents.has(&with(2)), "day {at}");
    }
    assert!(position.settle(&passes, context(0, day(50))).remember(&with(1)), "it is shown again");
    assert!(!position.contents.is_old(&with(1)) && position.content_count() == 2);
    for at in [89, 90] {
        position.finish(&passes, context(0, day(at)), false);
        assert_eq!((position.contents.has(&with(1)), position.contents.has(&with(2))), (true, at < 90), "day {at}");
    }
    assert_eq!(position.content_count(), 1);
}

/// Days of findings are read again by a sweep, and a window keeps some keys of each record.
#[test]
fn a_sweep_comes_first_where_everything_is_owed_and_then_every_resync() {
    let week = Duration::from_hours(168);
    let pull = PullSettings::of(Stream::Vulnerabilities);
    let (passes, mut position) = position(&pull);
    assert!(!position.is_sweep_due(&passes[0], minute(0), week), "it begins later than with everything");
    let mut all = SourcePosition::starting_at(Timestamp::default());
    all.add_passes(&passes);
    assert!(all.is_sweep_due(&passes[0], minute(0), week));
    let start = minute(100_000);
    let sweep = PollContext { sweep: true, ..context(0, start) };
    assert!(all.settle(&passes, sweep).remember(&record_key(1, minute(-3))) && all.key_count() == 0);
    all.finish(&passes, sweep, false);
    assert_eq!(all.bound(), start.minus(passes[0].late_window.max(BEFORE_SWEEP)));
    assert!(!all.is_sweep_due(&passes[0], start.plus(week), week), "a window comes between two");
    all.finish(&passes, context(0, start.plus(Duration::from_mins(5))), false);
    assert!(!all.is_sweep_due(&passes[0], start.plus(week - Duration::from_secs(1)), week));
    assert!(all.is_sweep_due(&passes[0], start.plus(week), week), "a window is no sweep");
    let before = all.bound();
    all.finish(&passes, PollContext { sweep: true, ..context(0, start.plus(week)) }, false);
    assert_eq!(all.bound(), before, "a sweep shows no removals, and nobody has asked for those of this week");

    assert!(position.settle(&passes, context(0, minute(0))).remember(&record_key(1, minute(-3))));
    assert_eq!(position.key_count(), passes.len());
    position.advance(&passes, context(0, minute(0)), minute(-2));
    assert_eq!(position.first().unwrap().watermark, minute(-60), "findings come in no order");
    position.finish(&passes, context(0, minute(0)), false);
    position.finish(&passes, context(0, minute(5)), false);
    let due = |after| position.is_sweep_due(&passes[0], minute(0).plus(after), week);
    assert!(!due(week - Duration::from_secs(1)) && due(week));
    assert_eq!(position.bound(), minute(-60).max(minute(5).minus(passes[0].late_window)));
}

/// Further findings are delivered twice if windows overlap, rather than fill the memory.
#[test]
fn so_many_findings_are_remembered_and_no_more() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Vulnerabilities));
    assert_eq!(position.since, minute(-60));
    (0..MANY_FINDINGS as u64 + 2).for_each(|id| {
        position.settle(&passes, context(0, minute(0))).remember(&record_key(id, minute(0)));
    });
    assert_eq!(
        position.pass_positions().map(|(_, pass_position)| pass_position.key_count()).max(),
        Some(MANY_FINDINGS)
    );
}

#[test]
fn each_mode_of_agents_keeps_its_position() {
    let changes = PullSettings::of(Stream::Agents);
    let (passes, mut position) = position(&changes);
    position.finish(&passes, context(0, minute(0)), false);
    let snapshots = PullSettings {
        own: StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() }),
        ..changes
    }
    .passes();
    position.add_passes(&snapshots);
    position.forget_others(&snapshots);
    position.add_passes(&passes);
    position.forget_others(&passes);
    assert_eq!(position.complete(), Some(minute(0)), "it continues where it was");
}

/// Without these contents an agent that did not change would be sent again after a restart.
#[test]
fn contents_that_are_about_to_be_forgotten_are_stored() {
    let (passes, mut position) = position(&PullSettings::of(Stream::Agents));
    let agent = RecordKey { content: Some(5), ..record_key(1, minute(-3)) };
    position.settle(&passes, context(0, minute(0))).remember(&agent);
    let days = |days: u64| minute(0).plus(Duration::from_secs(days * 86_400));
    [0, 50].iter().for_each(|at| position.finish(&passes, context(0, days(*at)), false));
    assert!(position.contents.is_old(&agent));
    let whole = position.whole();
    let mut reader = PositionReader::default();
    reader.apply(postcard::from_bytes(&whole).unwrap());
    let read = reader.finish();
    assert!(read.contents.is_old(&agent) && read.contents.has(&agent));
}

/// The first pass's times are the lane's.
#[test]
fn the_first_pass_is_the_first_however_late_it_was_added() {
    let (_, mut position) = position(&of_sites(&["1"]));
    let passes = of_sites(&["2", "1"]).passes();
    position.add_passes(&passes);
    assert_eq!(position.pass_positions().next().map(|(name, _)| name), Some(passes[0].name.as_str()));
}

/// A scope that has a pass of its own is passed over by that pass alone.
#[test]
fn what_is_passed_over_is_what_the_poll_would_have_read() {
    let (before, position) = position(&of_sites(&["1", "2"]));
    let passes = of_sites(&["1"]).passes();
    assert!(passes[1].reads_all_findings());
    for (index, expected) in [(0, &before[..1]), (1, &before[1..])] {
        let mut position = position.clone();
        position.pass_over(&passes, context(index, minute(30)));
        let moved = position.pass_positions().filter(|(_, of_pass)| of_pass.complete == Some(minute(30)));
        let moved: BTreeSet<&str> = moved.map(|(name, _)| name).collect();
        assert_eq!(moved, expected.iter().map(|pass| pass.name.as_str()).collect());
    }
}
