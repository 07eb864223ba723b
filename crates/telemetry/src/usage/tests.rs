use std::path::{Path, PathBuf};

use super::encoding::MAX_BYTES;
use super::*;

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn hours(hours: u32) -> Duration {
    Duration::from_hours(1) * hours
}

/// Returns the session of a process that began at `START`.
fn session(until: Timestamp, process: u64) -> CountedTime {
    CountedTime { from: START, until, is_over: false, write: (process, 0) }
}

fn one_event(now: Timestamp, seconds: u64) -> Delta {
    let mut delta = Delta::default();
    let counts = delta.at(now);
    counts.events = 1;
    counts.bytes = 700;
    counts.dead_letters = 2;
    counts.failing_minutes = 3;
    counts.silent_minutes = 4;
    counts.latency.add(Duration::from_secs(seconds));
    delta
}

fn golden(layout: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/data/usage-{layout}.bin"))
}

/// Returns a usage with something in each column.
fn sample() -> Usage {
    let mut usage = Usage::default();
    for hour in 0..100 {
        let now = START.plus(hours(hour));
        let mut delta = one_event(now, u64::from(hour) * 1_000);
        delta.verify(hour_of(now) - 1, u64::from(hour % 3), now);
        delta.verify(hour_of(START) - 100, 1, now);
        usage.add(&delta, session(now, 7));
    }
    let from = START.plus(hours(101));
    usage.add(&Delta::default(), CountedTime { from, until: from, is_over: true, write: (8, 9) });
    usage
}

#[test]
fn percentiles_are_bounds_of_buckets() {
    let mut latency = LatencyBuckets::default();
    assert_eq!(latency.percentile(500), None);
    (1..=100).for_each(|seconds| latency.add(Duration::from_millis(seconds * 1_000)));
    assert_eq!(latency.percentile(10), Some(LatencyBound::UpTo(1)));
    assert_eq!(latency.percentile(500), Some(LatencyBound::UpTo(60)));
    assert_eq!(latency.percentile(990), Some(LatencyBound::UpTo(120)));
    latency.add(Duration::from_secs(86_401));
    assert_eq!(latency.percentile(1_000), Some(LatencyBound::Over));
    assert_eq!(latency.measured(), 101);
}

#[test]
fn hours_become_days_and_days_are_forgotten() {
    let mut usage = Usage::default();
    let mut most = 0;
    let now = |hour: u32| START.plus(hours(hour));
    for hour in 0..410 * DAY {
        usage.add(&one_event(now(hour), 1), session(now(hour), 7));
        most = most.max(usage.hours.len());
        let all = usage.hours.values().chain(usage.days.values()).map(|counts| counts.events).sum::<u64>();
        assert!(hour >= 400 * DAY - 24 || all == u64::from(hour) + 1, "each counts once, {all} in hour {hour}");
    }
    assert_eq!((most, usage.days.len()), (72, 397));
    let end = now(410 * DAY);
    let of_days = |days: u32| usage.within(end.minus(hours(days * DAY)).aligned_to(hours(DAY)), end);
    for (days, with_latency) in [(1, true), (3, true), (30, true), (61, true), (300, false)] {
        let period = of_days(days);
        assert_eq!(period.counts.latency.measured() == period.counts.events, with_latency, "{days}: {period:?}");
        assert!(period.counts.events >= u64::from(days * DAY) && period.not_counted.is_empty(), "{days}: {period:?}");
        assert_eq!(period.counts.bytes, period.counts.events * 700);
    }
    assert!(usage.since().unwrap() >= end.minus(hours(400 * DAY)), "it does not claim to know what it has forgotten");
}

#[test]
fn a_part_of_a_day_is_not_guessed() {
    let mut usage = Usage::default();
    let day = START.aligned_to(hours(DAY));
    (0..30 * DAY).for_each(|hour| {
        let now = day.plus(hours(hour));
        usage.add(&one_event(now, 1), session(now, 7));
    });
    let events = |from: u32, to: u32| {
        let period = usage.within(day.plus(hours(from)), day.plus(hours(to)));
        (period.counts.events, period.not_counted)
    };
    assert_eq!(events(0, 48), (48, Vec::new()));
    assert_eq!(events(6, 48), (24, vec![(day.plus(hours(6)), day.plus(hours(24)))]));
    assert_eq!(events(0, 30), (24, vec![(day.plus(hours(24)), day.plus(hours(30)))]));
    assert_eq!(events(30 * 24 - 5, 30 * 24 - 2), (3, Vec::new()));
    assert_eq!(events(28 * 24, 30 * 24), (48, Vec::new()));
    assert_eq!(events(5, 5), (0, Vec::new()));
    // An hour belongs to a window if all of it is in it.
    let minutes = |minutes: u64| day.plus(hours(30 * 24 - 5)).plus(Duration::from_secs(minutes * 60));
    assert_eq!(usage.within(minutes(0), minutes(61)).counts.events, 1);
    assert_eq!(usage.within(minutes(1), minutes(120)).counts.events, 1);
    assert_eq!(usage.within(minutes(1), minutes(60)).counts.events, 0);
}

#[test]
fn what_is_encoded_is_decoded() {
    let usage = sample();
    let bytes = usage.encode();
    assert_eq!(Usage::decode(&bytes).as_ref(), Ok(&usage));
    for cut in 0..bytes.len() {
        assert_eq!(Usage::decode(&bytes[..cut]), Err(UsageError::Damaged), "cut at {cut}");
    }
    assert_eq!(Usage::decode(&[&[3], &bytes[1..]].concat()), Err(UsageError::Newer(3)));
    assert_eq!(Usage::decode(&[&[1], &bytes[1..]].concat()), Err(UsageError::Damaged));
    assert_eq!(Usage::decode(&[&[0], &bytes[1..]].concat()), Err(UsageError::Damaged));
}

/// A later release reads what this one writes. `UPDATE_GOLDEN=1` writes the file, which only a new layout may change.
#[test]
fn the_layout_is_that_of_the_golden_file() {
    let mut other = Usage::default();
    other.add(&one_event(START, 1), CountedTime { is_over: true, ..session(START, 5) });
    let mut usage = sample();
    usage.merge(&other);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden(2).exists() {
        std::fs::write(golden(2), usage.encode()).unwrap();
    }
    let stored = std::fs::read(golden(2)).unwrap();
    assert_eq!(Usage::decode(&stored).unwrap(), usage);
    let columns = zstd::bulk::decompress(&stored[1..], 1 << 20).unwrap();
    assert!(columns == usage.columns(), "another layout needs another number");
}

/// The first layout had no times of comparisons, but only whether they were late.
#[test]
fn the_first_layout_is_read() {
    let mut usage = sample();
    usage.verified.iter_mut().for_each(|(hour, at)| *at = if *at > hour + 26 { hour + 27 } else { *hour });
    assert!(usage.verified.iter().any(|(hour, at)| *at > *hour) && usage.verified.len() > 90);
    assert_eq!(Usage::decode(&std::fs::read(golden(1)).unwrap()).unwrap(), usage);
}

/// Returns the usage of a lane of a million events an hour that fails, is silent and lacks records all the time, for
/// 400 days. An operator compares an older day again once a month, or any hours each day.
fn full_usage(compares_any_hours: bool) -> Usage {
    let mut random = fastrand::Rng::with_seed(7);
    let mut usage = Usage::default();
    for hour in 0..401 * DAY {
        let now = START.plus(hours(hour));
        let mut delta = Delta::default();
        let counts = delta.at(now);
        counts.events = random.u64(500_000..1_000_000);
        counts.bytes = counts.events * random.u64(700..900) + random.u64(..1_000);
        counts.dead_letters = random.u64(..100);
        counts.failing_minutes = random.u64(..=60);
        counts.silent_minutes = random.u64(..=60);
        counts.latency.0.iter_mut().for_each(|bucket| *bucket = random.u64(..80_000));
        delta.verify(hour_of(now), random.u64(..4), now);
        if hour % (if compares_any_hours { DAY } else { 30 * DAY }) == 0 {
            let day = hour_of(now) / DAY - random.u32(1..30);
            (0..DAY).for_each(|hour| {
                let hour = if compares_any_hours { hour_of(now) - random.u32(..1_000) } else { day * DAY + hour };
                delta.verify(hour, random.u64(..4), now);
            });
        }
        let session = CountedTime { from: now, until: now, is_over: false, write: (random.u64(..), 0) };
        usage.add(&delta, CountedTime { from: if hour % 50 == 0 { now } else { START }, ..session });
    }
    usage
}

#[test]
fn the_fullest_object_has_at_most_twelve_kilobytes() {
    let usage = full_usage(false);
    assert_eq!((usage.hours.len(), usage.days.len(), usage.missing.len()), (72, 397, MAX_MISSING));
    let bytes = usage.encode();
    println!("| bytes of the fullest usage | ≤ {MAX_BYTES} | {} |", bytes.len());
    assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    let decoded = Usage::decode(&bytes).unwrap();
    let all = |usage: &Usage| usage.within(Timestamp::default(), START.plus(hours(500 * DAY))).counts;
    assert_eq!(
        Counts { latency: LatencyBuckets::default(), ..all(&decoded) },
        Counts { latency: LatencyBuckets::default(), ..all(&usage) }
    );
    let day = decoded.days.values().next_back().unwrap();
    assert!(day.latency.measured() > 0, "the newest days keep their latencies");
    let with_latency = decoded.days.values().filter(|counts| counts.latency.measured() > 0).count();
    assert!(with_latency >= 28, "those of four weeks are kept: {with_latency}");

    let usage = full_usage(true);
    let bytes = usage.encode();
    assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    let decoded = Usage::decode(&bytes).unwrap();
    assert!(decoded.verified.keys().eq(usage.verified.keys()) && decoded.missing == usage.missing);
    assert!(decoded.verified.iter().all(|(hour, at)| *at >= usage.verified[hour]));
}

#[test]
fn what_a_kill_may_have_lost_is_said() {
    let at = |hour| START.plus(hours(hour));
    let gaps = |usage: &Usage| usage.gaps(Timestamp::default(), at(99)).collect::<Vec<_>>();
    let mut usage = Usage::default();
    let write =
        |from, until, is_over, process| CountedTime { from: at(from), until: at(until), is_over, write: (process, 0) };
    usage.add(&Delta::default(), write(0, 1, false, 1));
    usage.add(&Delta::default(), write(0, 2, true, 1));
    usage.add(&Delta::default(), write(4, 5, false, 2));
    usage.add(&Delta::default(), write(4, 6, false, 2));
    assert_eq!(gaps(&usage), [], "process 1 ended cleanly");
    usage.add(&Delta::default(), write(8, 9, true, 3));
    assert_eq!(gaps(&usage), [(at(6), at(8))], "process 2 was killed");
    assert_eq!(usage.gaps(at(7), at(9)).collect::<Vec<_>>(), [(at(7), at(8))]);
    assert!(usage.has_gap_on_day(at(7), 0) && usage.has_gap_on_day(at(31), 1) && !usage.has_gap_on_day(at(31), 0));
    assert_eq!((usage.since(), usage.until()), (Some(at(0)), Some(at(9))));
    (10..60).for_each(|hour| usage.add(&Delta::default(), write(hour + 1, hour + 1, false, u64::from(hour))));
    assert_eq!((usage.gaps.len(), usage.gaps[0].0), (MAX_GAPS, at(6)));
}

#[test]
fn two_of_one_lane_are_added() {
    let mut one = Usage::default();
    let mut other = Usage::default();
    let at = |hour| START.plus(hours(hour));
    one.add(&one_event(at(0), 1), session(at(0), 1));
    other.add(&one_event(at(0), 1), session(at(0), 2));
    other.add(&one_event(at(100), 1), CountedTime { is_over: true, ..session(at(100), 2) });
    let expected = one.within(at(0).aligned_to(hours(DAY)), at(200)).counts.events
        + other.within(at(0).aligned_to(hours(DAY)), at(200)).counts.events;
    one.merge(&other);
    assert_eq!(one.within(at(0).aligned_to(hours(DAY)), at(200)).counts.events, expected);
    assert_eq!((one.until(), one.days_until), (Some(at(100)), hour_of(at(100)) - 71));
    // `one` was killed, or counts on.
    assert_eq!(one.gaps, [(at(0), at(4))]);
    assert!(one.has_merged(&other) && !other.has_merged(&one) && !one.has_merged(&one));
    let before = one.clone();
    one.merge(&Usage::default());
    assert_eq!(one, before);
    // A merge stays known after later writes, in the stored form and after other merges. The list of merges has an end.
    for merge in 0..MAX_MERGED - 1 {
        let mut third = Usage::default();
        third.add(&one_event(at(100), 1), session(at(100), 100 + merge as u64));
        one.merge(&third);
        one.add(&one_event(at(101), 1), session(at(101), 3));
        one = Usage::decode(&one.encode()).unwrap();
        assert!(one.has_merged(&other) && one.has_merged(&third), "{merge}");
    }
    one.merge(&before);
    assert_eq!(one.merged.len(), MAX_MERGED);
    // The events that were added to `other` since then are not merged yet.
    other.add(&one_event(at(101), 1), CountedTime { write: (2, 1), ..session(at(101), 2) });
    assert!(!one.has_merged(&other));
}

/// A worker compares the last day again and again; `verify` compares when an operator asks.
#[test]
fn the_later_comparison_of_an_hour_counts() {
    let hour = hour_of(START);
    let compared = |after: u32, missing| {
        let now = START.plus(hours(after));
        let mut delta = Delta::default();
        delta.verify(hour, missing, now);
        let mut usage = Usage::default();
        usage.add(&delta, session(now, 1));
        usage
    };
    let day = START.aligned_to(hours(DAY));
    for (worker, command, missing) in [
        (compared(2, 3), compared(200, 0), 0),
        (compared(2, 0), compared(200, 3), 3),
        (compared(20, 0), compared(2, 3), 0),
        (compared(2, 3), compared(20, 0), 0),
        // The lane was away for days: its worker compares old hours too.
        (compared(300, 0), compared(200, 3), 0),
        (compared(300, 3), compared(200, 0), 3),
        (Usage::default(), compared(2, 3), 3),
        (compared(2, 3), Usage::default(), 3),
    ] {
        let mut both = worker;
        both.merge(&command);
        let period = both.within(day, day.plus(hours(DAY)));
        assert_eq!((period.verified_hours, period.missing), (1, missing));
    }
}

/// While the store is unavailable, or the stored counts are damaged.
#[test]
fn what_cannot_be_written_for_years_needs_bounded_memory_and_counts_once() {
    let day = START.aligned_to(hours(DAY));
    let mut delta = Delta::default();
    let mut expected = 0;
    for hour in 0..1_000 * DAY {
        let now = day.plus(hours(hour));
        delta.merge(&one_event(now, 1));
        delta.verify(hour_of(now), 0, now);
        expected += 1;
    }
    assert!(delta.hours.len() <= (DAYS + HOURS + DAY + HOURS) as usize, "{}", delta.hours.len());
    assert_eq!(delta.verified.len(), (DAYS * DAY) as usize);
    assert_eq!(delta.hours.iter().map(|(_, counts)| counts.events).sum::<u64>(), expected);
    // The last days are whole, whether something is stored already or not.
    let end = day.plus(hours(1_000 * DAY - 1));
    let mut older = Usage::default();
    older.add(&Delta::default(), session(day, 1));
    for mut usage in [Usage::default(), older] {
        usage.add(&delta, session(end, 1));
        let until = day.plus(hours(1_000 * DAY));
        for days in [1, 3, 10, 100] {
            let period = usage.within(until.minus(hours(days * DAY)), until);
            assert_eq!((period.counts.events, period.not_counted.len()), (u64::from(days * DAY), 0), "{days}");
        }
        assert_eq!(usage.within(end.minus(hours(70)), until).counts.events, 71);
    }
}

#[test]
fn a_clock_that_is_years_ahead_forgets_nothing() {
    let years = hours(3 * 365 * DAY);
    let day = hours(DAY);
    let mut usage = sample();
    let until = usage.until().unwrap();
    for (now, clock, is_accepted) in [
        (until, OwnClock::Unknown, true),
        (until.plus(day * 30), OwnClock::Unknown, true),
        (until.plus(years), OwnClock::Unknown, false),
        (until.minus(day * 2), OwnClock::Unknown, false),
        (until.plus(years), OwnClock::DiffersBy(years), false),
        (until.minus(years), OwnClock::DiffersBy(years), false),
        // The lane was away for years.
        (until.plus(years), OwnClock::DiffersBy(hours(1)), true),
        (until.minus(years), OwnClock::DiffersBy(hours(1)), true),
    ] {
        assert_eq!(usage.accept(now, clock).is_ok(), is_accepted, "{now} {clock:?}");
    }
    assert!(Usage::default().accept(until, OwnClock::Unknown).is_ok());

    // Events that were written by such a clock happened before now.
    let all = |usage: &Usage, now: Timestamp| usage.within(Timestamp::default(), now.plus(hours(1))).counts.events;
    let ahead = until.plus(day * 10);
    let mut delta = one_event(ahead, 1);
    delta.merge(&one_event(ahead.minus(day * 5), 1));
    delta.verify(hour_of(ahead), 3, ahead);
    usage.add(&delta, CountedTime { from: ahead, until: ahead, is_over: false, write: (9, 1) });
    let now = until.plus(hours(1));
    assert!(usage.is_ahead(now, hours(2)) && !usage.is_ahead(now, day * 10) && !usage.is_ahead(ahead, hours(0)));
    usage.set_back(now);
    assert_eq!((usage.until(), all(&usage, now)), (Some(now), 102));
    assert_eq!(usage.gaps(Timestamp::default(), ahead).count(), 1, "that of the sample");
    assert!(usage.verified.iter().all(|(hour, at)| *hour <= hour_of(now) && *at <= hour_of(now)));
    // Hours are kept as hours again, and the process goes on.
    let later = now.plus(hours(1));
    usage.add(&one_event(later, 1), CountedTime { from: ahead, until: later, is_over: false, write: (9, 2) });
    assert_eq!((all(&usage, later), usage.within(now.minus(hours(1)), later.plus(hours(1))).counts.events), (103, 3));
    assert_eq!(Usage::decode(&usage.encode()).as_ref(), Ok(&usage));

    // Events that were counted while the clock was ahead are written when it is right.
    let mut usage = sample();
    usage.add(&one_event(ahead, 1), CountedTime { from: ahead, until, is_over: false, write: (9, 1) });
    assert_eq!((usage.until(), all(&usage, until)), (Some(until), 101));
    // The clock is set back: the lane is due nevertheless.
    let lane = LaneUsage::default();
    lane.begin(ahead, 0, 0.0);
    assert_eq!(lane.due(until, true), Some((ahead, 0)));
}

/// The clock was ahead by days for a minute: what is stored is read again, and what was counted meanwhile is of today.
#[test]
fn events_of_today_are_right_after_the_clock_was() {
    let lane = LaneUsage::default();
    let (now, ahead) = (START, START.plus(hours(2 * DAY)));
    let count = |at, events| lane.count(at, &Counts { events, ..Counts::default() });
    let mut stored = Usage::default();
    stored.add(&one_event(now, 1), session(now, 1));
    lane.begin(now, 0, 0.0);
    lane.set_stored(&stored, now);
    count(now, 5);
    assert_eq!((lane.recent(now).map(|recent| recent.today), lane.is_unread(now)), (Some(6), None));
    count(ahead, 7);
    assert_eq!((lane.recent(now), lane.is_unread(now)), (None, Some((now, 0))));
    count(now, 1);
    lane.set_stored(&stored, now);
    assert_eq!(lane.recent(now).map(|recent| recent.today), Some(14));
}

#[test]
fn a_write_that_fails_is_tried_again_more_and_more_seldom() {
    let lane = LaneUsage::default();
    let after = |minutes: u64| START.plus(Duration::from_secs(minutes * 60));
    lane.begin(START, 0, 0.0);
    lane.count(START, &Counts { events: 1, ..Counts::default() });
    let retries = |minutes: std::ops::Range<u64>| {
        let is_due = |minute: &u64| lane.due(after(*minute), false).is_some();
        minutes.filter(is_due).inspect(|minute| lane.failed(after(*minute))).collect::<Vec<_>>()
    };
    assert_eq!(retries(0..40), [0, 1, 3, 7, 15, 23, 31, 39]);
    lane.written(after(40));
    lane.count(after(40), &Counts { events: 1, ..Counts::default() });
    assert_eq!(lane.due(after(57), false), None);
    // The stored counts are damaged, and then removed.
    lane.set_unreadable(after(57));
    let recent = lane.recent(after(57)).unwrap();
    assert_eq!((recent.today, recent.has_gap_today, recent.has_gap_yesterday), (2, true, true), "of this process");
    assert_eq!(retries(57..400), [58, 59, 61, 65, 73, 89, 121, 185, 249, 313, 377]);
    lane.set_stored(&Usage::default(), after(400));
    lane.written(after(400));
    assert!(!lane.recent(after(400)).unwrap().has_gap_today);
}

#[test]
fn events_of_a_day_whose_counts_were_removed_are_not_all() {
    let day = START.aligned_to(hours(DAY)).plus(hours(DAY));
    let now = day.plus(hours(9));
    let mut usage = Usage::decode(&Usage::removed(now).encode()).unwrap();
    usage.begin(1, now.plus(hours(1)));
    usage.add(&one_event(now.plus(hours(1)), 1), session(now.plus(hours(1)), 1));
    let of_day = |days_ago| (usage.events_of_day(now, days_ago), usage.has_gap_on_day(now, days_ago));
    assert_eq!([of_day(0), of_day(1), of_day(2)], [(1, true), (0, true), (0, false)]);
    assert_eq!(usage.since(), Some(now), "what was before is not counted");
    let tomorrow = now.plus(hours(DAY));
    assert!(!usage.has_gap_on_day(tomorrow, 0) && usage.has_gap_on_day(tomorrow, 1));
}

#[test]
fn today_becomes_yesterday() {
    let lane = LaneUsage::default();
    let day = START.aligned_to(hours(DAY));
    let recent = |hour| lane.recent(day.plus(hours(hour))).map(|recent| (recent.today, recent.yesterday));
    let count = |hour, events| lane.count(day.plus(hours(hour)), &Counts { events, ..Counts::default() });
    count(1, 5);
    assert_eq!(recent(1), None, "what earlier processes counted is not known");
    let mut stored = Usage::default();
    stored.add(&one_event(day.minus(hours(1)), 1), session(day, 1));
    stored.add(&one_event(day, 1), session(day, 1));
    lane.set_stored(&stored, day.plus(hours(1)));
    assert_eq!(recent(1), Some((6, 1)));
    count(2, 10);
    assert_eq!((recent(2), recent(25), recent(49)), (Some((16, 1)), Some((0, 16)), Some((0, 0))));
}

#[test]
fn an_idle_lane_writes_seldom_and_one_without_a_poll_never() {
    let lane = LaneUsage::default();
    let after = |minutes: u64| START.plus(Duration::from_secs(minutes * 60));
    assert_eq!(lane.due(after(500), true), None, "nobody runs it");
    assert!(lane.begin(START, 3, 0.0) && !lane.begin(after(1), 4, 0.0));
    assert_eq!((lane.due(after(179), true), lane.due(after(180), true)), (None, Some((START, 3))));
    assert_eq!(lane.due(after(500), false), None);
    lane.count(after(1), &Counts { events: 1, ..Counts::default() });
    // The first time at once: otherwise the store would not know of a process that is killed soon.
    assert_eq!(lane.due(after(1), false), Some((START, 3)));
    lane.written(after(18));
    assert_eq!((lane.due(after(35), true), lane.due(after(36), true)), (None, Some((START, 3))));
    assert!(!lane.take().is_empty() && lane.take().is_empty());
    assert_eq!(lane.due(after(36), true), Some((START, 3)), "the write has not succeeded");
    lane.written(after(36));
    assert_eq!((lane.due(after(55), true), lane.end(), lane.end()), (None, Some((START, 3)), None));
    assert!(std::mem::size_of::<LaneUsage>() <= 96, "there are tens of thousands of lanes");
}
