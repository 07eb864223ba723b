//! Decides whether a console has gone silent, by a lane's own rhythm: the pauses that it used to make between two
//! records.

use std::time::Duration;

use s1_forwarder_record::{Frequency, Timestamp};
use s1_forwarder_telemetry::Silence;
use serde::{Deserialize, Serialize};

use super::{PassPosition, PullSettings, SilentAfter};

const DAY: Duration = Duration::from_hours(24);
const DAY_MICROS: i64 = 86_400_000_000;
/// Number of days whose pauses count, up to the day of the newest record.
const DAYS: u32 = 14;
/// Number of days on which a stream must have records, unless some of its records come daily by nature.
const MIN_DAYS: usize = 10;
/// Multiple of the longest pause after which a console is silent, but not sooner and not later than the limits below.
const MAX_PAUSES: u32 = 3;
const MIN_SILENCE: Duration = DAY;
const MAX_SILENCE: Duration = Duration::from_hours(168);
/// Delay with which a console may show a record after the record's own time.
const MAX_DELAY_OF_RECORDS: Duration = Duration::from_secs(30);

/// Times at which a lane's console showed records. They go with the lane's checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Starts of the first and of the last complete poll.
    first_poll: Option<Timestamp>,
    last_poll: Option<Timestamp>,
    newest: Option<Timestamp>,
    days: Days,
}

/// Times that one poll has shown. They enter the rhythm if the poll is complete.
#[derive(Debug, Clone)]
pub struct ObservedRecords {
    /// Newest time so far, including times of earlier polls.
    newest: Option<Timestamp>,
    /// The newest time of earlier polls, and the earliest one after it.
    newest_before: Option<Timestamp>,
    first_new: Option<Timestamp>,
    days: Days,
    /// Longest pause that counts. In longer pauses the lane was silent.
    longest: Duration,
    /// Whether records keep the time of their creation, so that the time between two of them is a pause. A time of a
    /// change is overwritten by the next one.
    is_append_only: bool,
}

/// The days that had records, as days since 1970, ascending; each with its longest pause in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Days(Vec<(u32, u32)>);

impl Days {
    fn add(&mut self, time: Timestamp, pause: Duration) {
        let day = day_of(time);
        let pause = u32::try_from(pause.as_secs()).unwrap_or(u32::MAX);
        match self.0.last_mut() {
            Some((last, longest)) if *last == day => *longest = pause.max(*longest),
            _ => self.insert(day, pause),
        }
    }

    fn insert(&mut self, day: u32, pause: u32) {
        match self.0.binary_search_by_key(&day, |(day, _)| *day) {
            Ok(index) => self.0[index].1 = pause.max(self.0[index].1),
            Err(index) => self.0.insert(index, (day, pause)),
        }
        if self.0.len() > DAYS as usize {
            self.0.remove(0);
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(self.0.iter().map(|(_, pause)| *pause).max().unwrap_or_default().into())
    }
}

fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.micros().div_euclid(DAY_MICROS)).unwrap_or_default()
}

impl Rhythm {
    /// Returns the time of the newest record that the console has shown.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Returns the time from which the delivery of records is measured: the start of the first complete poll. Returns
    /// `None` for streams that show old records again.
    pub fn latency_from(&self, pull: &PullSettings) -> Option<Timestamp> {
        if !pull.is_snapshot() && pull.stream.description().has_own_time() { self.first_poll } else { None }
    }

    /// Begins to observe the records of a poll.
    pub fn begin_poll(&self, pull: &PullSettings) -> ObservedRecords {
        let is_append_only = pull.stream.description().is_ordered_by_creation();
        // The records that are read first are history: no lane watched for silence then.
        let threshold = self.newest.and_then(|_| self.threshold(pull));
        let longest = threshold.unwrap_or(Duration::MAX);
        let newest = self.newest;
        ObservedRecords {
            newest,
            newest_before: newest,
            first_new: None,
            days: Days::default(),
            longest,
            is_append_only,
        }
    }

    /// Adds the records that a complete poll, started at `start`, has shown. `is_main` is set for a poll of the pass
    /// that reads new records.
    pub fn complete(&mut self, observed: &ObservedRecords, start: Timestamp, is_main: bool) {
        let ObservedRecords { newest, days, longest, is_append_only, .. } = observed;
        days.0.iter().for_each(|(day, pause)| self.days.insert(*day, *pause));
        if *newest > self.newest {
            // The last poll is the last time that the console was asked and had nothing newer to show.
            if let (Some(before), Some(last_poll), Some(newest)) = (self.newest, self.last_poll, *newest)
                && !is_append_only
                && last_poll.since(before) <= *longest
            {
                self.days.add(newest, last_poll.since(before));
            }
            self.newest = *newest;
        }
        if is_main {
            self.first_poll.get_or_insert(start);
            self.last_poll = Some(start);
        }
        // The days up to the newest record are kept: silence must not remove the days by which it is judged.
        let last = day_of(self.newest.unwrap_or(start));
        self.days.0.retain(|(day, _)| day.saturating_add(DAYS) > last);
    }

    /// Returns the time for which the console showed no records before, although it has some. A poll after a silence
    /// can show that: its first new record is older than the last poll. A younger record may just be late. So, if the
    /// lane was not known to be silent (`was_silent`), the record must be nearly as old as this poll can show. The time
    /// begins at the newest earlier record, and ends `overlap` before the last poll, where this poll began to read.
    pub fn missed(
        &self,
        observed: &ObservedRecords,
        overlap: Duration,
        was_silent: bool,
    ) -> Option<(Timestamp, Timestamp)> {
        let (newest, first_new, last_poll) = (self.newest?, observed.first_new?, self.last_poll?);
        let was_there = first_new < last_poll.minus(MAX_DELAY_OF_RECORDS.min(overlap / 4));
        let read_from = last_poll.minus(overlap);
        let is_oldest = first_new < read_from.plus(overlap / 4);
        (was_there && (was_silent || is_oldest) && newest < read_from).then_some((newest, read_from))
    }

    /// Returns the time without new records after which the lane is silent; `None` if the lane is not judged.
    pub fn threshold(&self, pull: &PullSettings) -> Option<Duration> {
        if pull.window.is_some() || !pull.stream.description().has_own_time() {
            return None;
        }
        let is_judged = match pull.silent_after {
            SilentAfter::Off => false,
            SilentAfter::Period(period) => return Some(period.0),
            SilentAfter::Auto if pull.is_snapshot() => false,
            SilentAfter::Auto => {
                pull.stream.description().frequency == Frequency::Daily || self.days.0.len() >= MIN_DAYS
            }
        };
        is_judged.then(|| (self.days.longest() * MAX_PAUSES).clamp(MIN_SILENCE, MAX_SILENCE))
    }

    /// Returns the time for which the console had shown nothing new when the last complete poll started; `None` before
    /// the first one.
    pub fn pause(&self) -> Option<Duration> {
        Some(self.last_poll?.since(self.newest.or(self.first_poll)?))
    }

    /// Returns whether the console was silent when the last complete poll started.
    pub fn silence(&self, pull: &PullSettings) -> Silence {
        match (self.pause(), self.threshold(pull)) {
            (Some(pause), Some(threshold)) if pause >= threshold => Silence::Silent,
            (Some(_), Some(_)) => Silence::Speaking,
            _ => Silence::NotJudged,
        }
    }
}

impl ObservedRecords {
    /// Notes that the poll goes on from `position`. An earlier poll may have been interrupted after it showed records
    /// up to there. The rhythm lacks these records: the time up to there was no pause.
    pub fn resume(&mut self, position: &PassPosition) {
        let is_resumed = position.complete.is_some_and(|complete| complete < position.watermark);
        if is_resumed && self.is_append_only && self.newest.is_some() {
            self.newest = self.newest.max(Some(position.watermark));
        }
    }

    /// Notes that a poll that started at `start` shows a record of this time, new or not.
    pub fn add(&mut self, time: Timestamp, start: Timestamp) {
        // A time in the future would be the newest one until it has come.
        let time = time.min(start);
        let pause = match self.newest {
            Some(newest) if time <= newest => Duration::ZERO,
            Some(newest) if self.is_append_only => time.since(newest),
            _ => Duration::ZERO,
        };
        let pause = if pause > self.longest { Duration::ZERO } else { pause };
        self.days.add(time, pause);
        if self.newest_before.is_none_or(|before| time > before) {
            self.first_new = Some(self.first_new.map_or(time, |first| first.min(time)));
        }
        self.newest = self.newest.max(Some(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{AgentSettings, StreamOptions, TimeField, Window};
    use s1_forwarder_record::Stream;
    use s1_forwarder_settings::Period;

    const HOUR: Duration = Duration::from_hours(1);
    /// Midnight.
    const START: Timestamp = Timestamp::from_micros(1_790_035_200_000_000);

    /// A lane that polls, by hours since `START`.
    struct Case {
        pull: PullSettings,
        rhythm: Rhythm,
    }

    impl Case {
        fn of(stream: Stream) -> Self {
            Self { pull: PullSettings::of(stream), rhythm: Rhythm::default() }
        }

        fn after(stream: Stream, silent_after: SilentAfter) -> Self {
            Self { pull: PullSettings { silent_after, ..PullSettings::of(stream) }, rhythm: Rhythm::default() }
        }

        /// Makes a complete poll that shows records of these hours.
        fn poll(&mut self, at: u32, shown: &[u32]) {
            let start = START.plus(HOUR * at);
            let mut observed = self.rhythm.begin_poll(&self.pull);
            shown.iter().for_each(|hour| observed.add(START.plus(HOUR * *hour), start));
            self.rhythm.complete(&observed, start, true);
        }

        /// Makes a poll each hour up to `to`, with a record in each hour for which `has_record`.
        fn poll_hourly(&mut self, from: u32, to: u32, has_record: impl Fn(u32) -> bool) {
            for hour in from..to {
                let shown = if has_record(hour) { vec![hour] } else { vec![] };
                self.poll(hour, &shown);
            }
        }

        /// Returns the first hour from `from` on in which the lane is silent, if the console shows nothing more.
        fn silent_from(&mut self, from: u32) -> Option<u32> {
            (from..from + 24 * 15).find(|hour| {
                self.poll(*hour, &[]);
                self.rhythm.silence(&self.pull).is_silent()
            })
        }

        fn threshold_hours(&self) -> Option<u64> {
            self.rhythm.threshold(&self.pull).map(|threshold| threshold.as_secs() / 3_600)
        }
    }

    #[test]
    fn records_that_were_not_shown_are_told_from_those_that_came_after_a_silence() {
        let hour = |hour: u32| START.plus(HOUR * hour);
        let missed = Some((hour(1), hour(25)));
        // Hours of the records, and what a lane misses that was silent, or was not silent.
        for (shown, by_silent, by_other) in [
            // The record was made after the last poll.
            (vec![30], None, None),
            // The first record is older than the last poll, and so may be others that `overlap` does not reach.
            (vec![25, 29], missed, missed),
            // It may just be late.
            (vec![27, 29], missed, None),
            (vec![], None, None),
        ] {
            let mut case = Case::after(Stream::Activities, SilentAfter::Period(Period(HOUR * 4)));
            case.poll_hourly(0, 30, |hour| hour <= 1);
            let mut observed = case.rhythm.begin_poll(&case.pull);
            shown.iter().for_each(|shown| observed.add(hour(*shown), hour(30)));
            for (was_silent, expected) in [(true, by_silent), (false, by_other)] {
                let missed = |overlap| case.rhythm.missed(&observed, overlap, was_silent);
                assert_eq!(missed(HOUR * 4), expected, "{shown:?} {was_silent}");
                // All records that are newer than the last one were read.
                assert_eq!(missed(HOUR * 29), None, "{shown:?}");
            }
        }
    }

    #[test]
    fn a_lane_that_never_had_a_record_counts_from_its_first_poll() {
        for (stream, expected) in [
            (Stream::Activities, Some(5 + 24)),
            (Stream::Agents, Some(5 + 24)),
            (Stream::Threats, None),
            (Stream::Alerts, None),
            (Stream::UnifiedAlerts, None),
            (Stream::Groups, None),
            (Stream::Vulnerabilities, None),
        ] {
            assert_eq!(Case::of(stream).silent_from(5), expected, "{stream}");
        }
        let by_hand = SilentAfter::Period(Period(2 * HOUR));
        assert_eq!(
            Case::after(Stream::Threats, by_hand).silent_from(5),
            Some(7),
            "a period holds for other streams too"
        );
        assert_eq!(Case::after(Stream::Activities, SilentAfter::Off).silent_from(5), None);
    }

    #[test]
    fn before_the_first_complete_poll_nothing_is_known() {
        let case = Case::of(Stream::Activities);
        assert_eq!((case.rhythm.silence(&case.pull), case.rhythm.newest()), (Silence::NotJudged, None));
    }

    #[test]
    fn the_threshold_is_three_times_the_longest_pause_within_a_day_and_a_week() {
        for (every, expected) in [(1, 24), (8, 24), (9, 27), (20, 60)] {
            let mut case = Case::of(Stream::Activities);
            case.poll_hourly(0, 24 * 10, |hour| hour % every == 0);
            assert_eq!(case.threshold_hours(), Some(expected), "a record every {every} h");
        }
        let mut rare = Case::of(Stream::Activities);
        // Nights of 20 hours raise the threshold, so that longer pauses count, and so on.
        rare.poll(0, &[0]);
        for (hour, pause) in [(20, 20), (70, 50), (170, 100)] {
            rare.poll(hour - 1, &[]);
            rare.poll(hour, &[hour]);
            assert_eq!(rare.threshold_hours(), Some((3 * pause).min(7 * 24)), "after {pause} h");
        }
    }

    #[test]
    fn a_pause_counts_for_fourteen_days() {
        let mut case = Case::of(Stream::Activities);
        case.poll_hourly(0, 24, |hour| hour != 10 && !(11..21).contains(&hour));
        assert_eq!(case.threshold_hours(), Some(3 * 12));
        case.poll_hourly(24, 24 * 14, |_| true);
        assert_eq!(case.threshold_hours(), Some(3 * 12), "on the fourteenth day");
        case.poll_hourly(24 * 14, 24 * 14 + 1, |_| true);
        assert_eq!(case.threshold_hours(), Some(24), "on the fifteenth day");
    }

    #[test]
    fn a_pause_in_which_the_lane_was_silent_does_not_count() {
        for stream in [Stream::Activities, Stream::Agents] {
            let mut case = Case::of(stream);
            case.poll_hourly(0, 48, |_| true);
            // Five days without a record; then the console speaks, and falls silent again.
            assert_eq!(case.silent_from(48), Some(47 + 24), "{stream}");
            case.poll_hourly(47 + 25, 7 * 24, |_| false);
            case.poll_hourly(7 * 24, 8 * 24, |_| true);
            assert_eq!(case.rhythm.silence(&case.pull), Silence::Speaking, "{stream}");
            assert_eq!(case.silent_from(8 * 24), Some(8 * 24 - 1 + 24), "{stream}: the next outage is seen in time");
        }
    }

    /// The console did not answer, or sink or worker were unavailable: no poll was complete in five days.
    #[test]
    fn an_outage_in_which_nobody_could_ask_does_not_raise_the_threshold() {
        for stream in [Stream::Activities, Stream::Agents] {
            let mut case = Case::of(stream);
            case.poll_hourly(0, 48, |_| true);
            case.poll_hourly(7 * 24, 8 * 24, |_| true);
            assert_eq!(case.threshold_hours(), Some(24), "{stream}");
        }
    }

    /// The worker was down for 20 hours, and its first poll was interrupted: it has delivered the records that it had
    /// read.
    #[test]
    fn a_poll_that_was_interrupted_leaves_no_pause() {
        let at = |hour: u32| START.plus(HOUR * hour);
        for (resumes, expected) in [(true, 24), (false, 3 * 19)] {
            let mut case = Case::of(Stream::Activities);
            case.poll_hourly(0, 48, |_| true);
            let mut position = PassPosition::starting_at(START);
            position.finish(at(47), Some(HOUR));
            if resumes {
                position.advance(at(65), at(68), Some(HOUR));
            }
            let mut observed = case.rhythm.begin_poll(&case.pull);
            observed.resume(&position);
            // An hour that was read twice is no pause either.
            (65..68).filter(|hour| resumes || *hour > 65).for_each(|hour| observed.add(at(hour), at(68)));
            case.rhythm.complete(&observed, at(68), true);
            assert_eq!((case.threshold_hours(), case.rhythm.newest()), (Some(expected), Some(at(67))));
        }
    }

    #[test]
    fn a_worker_that_was_away_for_three_days_reports_no_silence_at_its_start() {
        let mut activities = Case::of(Stream::Activities);
        activities.poll_hourly(0, 48, |_| true);
        let missed: Vec<u32> = (48..120).collect();
        activities.poll(120, &missed);
        assert_eq!(activities.rhythm.silence(&activities.pull), Silence::Speaking);
        assert_eq!(activities.threshold_hours(), Some(24));
        // The console shows only the last change of an agent.
        let mut agents = Case::of(Stream::Agents);
        agents.poll_hourly(0, 48, |_| true);
        agents.poll(120, &[119]);
        assert_eq!(agents.rhythm.silence(&agents.pull), Silence::Speaking);
        assert_eq!(agents.threshold_hours(), Some(24), "the time between two versions is no pause");
    }

    #[test]
    fn a_poll_that_fails_moves_nothing() {
        let mut case = Case::of(Stream::Activities);
        case.poll_hourly(0, 48, |_| true);
        let before = case.rhythm.clone();
        let mut failed = case.rhythm.begin_poll(&case.pull);
        failed.add(START.plus(HOUR * 99), START.plus(HOUR * 100));
        drop(failed);
        assert_eq!(case.rhythm, before);
    }

    /// A poll that looks for changes alone says that the console answers, not that it has nothing new.
    #[test]
    fn a_poll_that_looks_for_changes_alone_makes_no_lane_silent() {
        let mut case = Case::after(Stream::Alerts, SilentAfter::Period(Period(HOUR)));
        case.poll(0, &[0]);
        let observed = case.rhythm.begin_poll(&case.pull);
        case.rhythm.complete(&observed, START.plus(HOUR * 9), false);
        assert_eq!(case.rhythm.silence(&case.pull), Silence::Speaking);
    }

    #[test]
    fn other_streams_need_records_on_ten_of_fourteen_days() {
        for stream in [Stream::Threats, Stream::Alerts, Stream::UnifiedAlerts] {
            let mut case = Case::of(stream);
            for day in 0..10 {
                assert_eq!(case.threshold_hours(), None, "{stream}, day {day}");
                case.poll(day * 24 + 12, &[day * 24 + 12]);
            }
            assert!(case.threshold_hours().is_some(), "{stream}");
            // A silence does not change by which days it is judged.
            assert!(case.silent_from(11 * 24).is_some(), "{stream}");
            case.poll(30 * 24, &[]);
            assert_eq!(case.rhythm.silence(&case.pull), Silence::Silent, "{stream}");
            // Records of another fortnight count for themselves.
            case.poll(40 * 24, &[40 * 24]);
            assert_eq!(case.threshold_hours(), None, "{stream}");
        }
        // The history that a first poll reads is enough.
        let mut case = Case::of(Stream::Threats);
        let history: Vec<u32> = (0..30).map(|day| day * 24).collect();
        case.poll(30 * 24, &history);
        assert!(case.threshold_hours().is_some());
    }

    #[test]
    fn inventories_and_lists_of_settings_are_never_judged() {
        let daily: Vec<u32> = (0..14).map(|day| day * 24).collect();
        for stream in [Stream::Groups, Stream::Vulnerabilities] {
            let mut case = Case::of(stream);
            case.poll(13 * 24, &daily);
            assert_eq!((case.silent_from(14 * 24), case.rhythm.newest()), (None, Some(START.plus(HOUR * 13 * 24))));
        }
        let mut snapshots = Case::of(Stream::Agents);
        snapshots.pull.own = StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() });
        snapshots.poll(13 * 24, &daily);
        assert_eq!(snapshots.silent_from(14 * 24), None);
        snapshots.pull.silent_after = SilentAfter::Period(Period(DAY));
        assert_eq!(snapshots.rhythm.silence(&snapshots.pull), Silence::Silent, "unless a period is given by hand");
    }

    #[test]
    fn closed_windows_are_not_judged() {
        let mut case = Case::of(Stream::Activities);
        case.pull.window = Some(Window { from: START, to: START.plus(DAY), time: TimeField::Order });
        case.poll(0, &[0]);
        assert_eq!(case.silent_from(1), None);
    }

    #[test]
    fn a_record_of_the_future_is_news_only_once() {
        let mut case = Case::of(Stream::Activities);
        case.poll(1, &[24 * 365]);
        assert_eq!(case.rhythm.newest(), Some(START.plus(HOUR)));
        assert_eq!(case.silent_from(2), Some(1 + 24));
    }
}
