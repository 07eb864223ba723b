//! The rows of a report: what is known of each lane in a window.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::ledger::Accounting;
use crate::checkpoint::{CheckpointKey, Store, StoredPart, with_lane};
use crate::record::{LaneId, Timestamp};
use crate::usage::{Counts, LatencyBound, Usage, WindowUsage, hour_of, hour_start, whole_hours};
use crate::worker::UsageStoreError;

/// Longest time from the reading of `--to now` to the report.
const A_MOMENT: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Time at which the report is made.
    pub now: Timestamp,
}

impl Window {
    /// Returns the time up to which the window can be known.
    fn end(&self) -> Timestamp {
        self.to.min(self.now)
    }

    /// Returns the end of the hours that count. If the window ends now, all that has happened in the present hour
    /// counts.
    fn counted_until(&self) -> Timestamp {
        let hour = hour_of(self.end());
        let ends_now = self.to.plus(A_MOMENT) >= self.now;
        hour_start(if ends_now && hour_start(hour) < self.end() { hour + 1 } else { hour })
    }
}

/// The kinds of objects that the state has of a lane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stored {
    /// Whether there are objects of the worker's lane, or of commands next to it, other than those below.
    lane: bool,
    usage: bool,
    command_usage: bool,
    backfill: bool,
}

impl Stored {
    pub fn add(&mut self, part: StoredPart) {
        match part {
            StoredPart::BackfillUsage => self.backfill = true,
            StoredPart::Usage => self.usage = true,
            _ => self.lane = true,
        }
    }

    pub fn add_of_command(&mut self, part: StoredPart) {
        match part {
            StoredPart::Usage => self.command_usage = true,
            part => self.add(part),
        }
    }
}

/// A lane, or all backfills of a lane.
#[derive(Debug)]
pub struct Row {
    pub id: LaneId,
    pub is_backfill: bool,
    /// `None` if the state does not say what the lane did.
    pub period: Option<WindowUsage>,
    /// Whether the state has counts of some part of the window.
    has_counts: bool,
    /// Whether counts of the window were lost: there were at least as many events as are counted.
    pub has_gap: bool,
    /// The whole hours of the window that have begun.
    pub hours: u64,
    /// The time of which something is known, within the window.
    pub known: Option<(Timestamp, Timestamp)>,
    pub not_known: Vec<NotKnown>,
    /// Why the lane cannot be read.
    pub problem: Option<String>,
}

/// A part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKnown {
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotCounted,
    NotStored,
    Killed,
    PartOfDay,
    PartOfHour,
    /// Only the latencies of this time are unknown.
    NoLatency,
    Unreadable,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotCounted => "not_counted",
            Self::NotStored => "not_stored",
            Self::Killed => "killed",
            Self::PartOfDay => "part_of_day",
            Self::PartOfHour => "part_of_hour",
            Self::NoLatency => "no_latency",
            Self::Unreadable => "unreadable",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotCounted => "nothing was counted yet, or it is no longer kept",
            Self::NotStored => "not stored yet, or the lane did not run",
            Self::Killed => "a worker ended without storing what it had counted, or no worker ran the lane",
            Self::PartOfDay => "only whole days are kept this long ago",
            Self::PartOfHour => "only whole hours are counted",
            Self::NoLatency => "latencies, which are kept for 62 days or were not measured",
            Self::Unreadable => "the stored counts cannot be read",
        }
    }
}

impl fmt::Display for NotKnown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "from {} to {}: {}", self.from, self.to, self.reason.words())
    }
}

/// The completeness of the records that were created in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Records of this stream cannot be counted by their hour.
    NotVerifiable,
    /// The state does not say.
    Unknown,
    Verified {
        hours: u64,
        missing: u64,
    },
}

impl Row {
    /// Adds lane and flags to the command of a problem, which the store does not know.
    pub fn complete_command(&mut self, state_flags: &str) {
        self.problem = self.problem.take().map(|problem| with_lane(problem, &self.id, state_flags));
    }

    pub fn lane(&self) -> String {
        if self.is_backfill { format!("{} (backfills)", self.id) } else { self.id.to_string() }
    }

    pub fn counts(&self) -> Option<&Counts> {
        self.period.as_ref().filter(|_| self.has_counts).map(|period| &period.counts)
    }

    /// Returns the silent minutes. `None` also for a stream that is never judged.
    pub fn silent_minutes(&self) -> Option<u64> {
        self.counts().filter(|_| self.id.stream.description().has_own_time()).map(|counts| counts.silent_minutes)
    }

    pub fn completeness(&self) -> Completeness {
        match &self.period {
            _ if Accounting::of(self.id.stream) == Accounting::Nothing => Completeness::NotVerifiable,
            Some(period) if !self.is_backfill => {
                Completeness::Verified { hours: period.verified_hours, missing: period.missing }
            }
            _ => Completeness::Unknown,
        }
    }

    /// Completeness in words.
    pub fn completeness_text(&self) -> String {
        match self.completeness() {
            Completeness::NotVerifiable => "not verifiable".to_owned(),
            Completeness::Unknown => "-".to_owned(),
            Completeness::Verified { hours: 0, .. } => "not compared".to_owned(),
            Completeness::Verified { hours, missing } => {
                format!("{hours} of {} h compared, {missing} missing", self.hours)
            }
        }
    }

    /// Returns the median, the 95th and the 99th percentile.
    pub fn percentiles(&self) -> [Option<LatencyBound>; 3] {
        [500, 950, 990].map(|thousandths| self.counts().and_then(|counts| counts.latency.percentile(thousandths)))
    }
}

/// Returns a number in words, marked if it may be larger since counts were lost. An unknown number stays as it is.
pub fn at_least(number: String, has_gap: bool) -> String {
    let is_known = number.starts_with(|first: char| first.is_ascii_digit());
    if has_gap && is_known { format!("≥ {number}") } else { number }
}

/// Returns a percentile in words, such as `≤ 30 s`.
pub fn bound_text(bound: Option<LatencyBound>) -> String {
    match bound {
        None => "-".to_owned(),
        Some(LatencyBound::Over) => "> 1 d".to_owned(),
        Some(LatencyBound::UpTo(seconds)) => match seconds {
            0..60 => format!("≤ {seconds} s"),
            60..3_600 => format!("≤ {} min", seconds / 60),
            3_600..86_400 => format!("≤ {} h", seconds / 3_600),
            _ => format!("≤ {} d", seconds / 86_400),
        },
    }
}

/// Reads the rows of a lane: its own, and one for its backfills if there were any.
pub async fn read(
    store: &Arc<dyn Store>,
    by_commands: &Arc<dyn Store>,
    id: LaneId,
    stored: Stored,
    window: Window,
) -> Vec<Row> {
    let mut rows = Vec::new();
    if stored.lane || stored.usage || stored.command_usage {
        rows.push(match lane(&**store, &**by_commands, &id, stored).await {
            Ok(usage) => of_lane(id.clone(), usage, window),
            Err(error) => unreadable(id.clone(), false, window, &error),
        });
    }
    if stored.backfill {
        let row = match load(&**by_commands, &id, StoredPart::BackfillUsage).await {
            Ok(usage) => of_backfills(id, usage, window),
            Err(error) => unreadable(id, true, window, &error),
        };
        // A backfill of another time says nothing.
        let is_empty = row.counts().is_none_or(|counts| *counts == Counts::default());
        if !is_empty || !row.not_known.is_empty() || row.problem.is_some() {
            rows.push(row);
        }
    }
    rows
}

/// Returns the counts of the worker's lane, with the counts of commands for the lane.
async fn lane(
    store: &dyn Store,
    by_commands: &dyn Store,
    id: &LaneId,
    stored: Stored,
) -> Result<Option<Usage>, UsageStoreError> {
    let mut usage = if stored.usage { load(store, id, StoredPart::Usage).await? } else { None };
    if stored.command_usage
        && let Some(of_commands) = load(by_commands, id, StoredPart::Usage).await?
    {
        usage.get_or_insert_default().add_counts(&of_commands);
    }
    Ok(usage)
}

async fn load(store: &dyn Store, id: &LaneId, part: StoredPart) -> Result<Option<Usage>, UsageStoreError> {
    let bytes = store.load(&CheckpointKey { lane: id.clone(), part }).await?;
    Ok(bytes.map(|bytes| Usage::decode(&bytes)).transpose()?)
}

fn unreadable(id: LaneId, is_backfill: bool, window: Window, error: &UsageStoreError) -> Row {
    let end = window.end();
    let all = NotKnown { from: window.from, to: end, reason: Reason::Unreadable };
    let not_known = if all.from < all.to { vec![all] } else { Vec::new() };
    Row { problem: Some(error.to_string()), is_backfill, not_known, ..of_lane(id, None, window) }
}

/// Returns whether something was counted in a part of the window. If a time was counted, only its latencies can be
/// unknown.
fn has_counts(period: Option<&WindowUsage>, not_known: &[NotKnown], from: Timestamp, end: Timestamp) -> bool {
    let Some(period) = period else { return false };
    // The counts of commands next to a lane hold also if the lane's own counts are not known.
    let mut known = period.counts != Counts::default();
    let mut until = from;
    for part in not_known.iter().filter(|part| part.reason != Reason::NoLatency) {
        known |= until < part.from;
        until = until.max(part.to);
    }
    known || until < end
}

fn of_lane(id: LaneId, mut usage: Option<Usage>, window: Window) -> Row {
    let Window { from, now, .. } = window;
    let end = window.end();
    let range = whole_hours(from, window.counted_until());
    let counted = hour_start(range.start)..hour_start(range.end);
    let hours = u64::from(range.end - range.start);
    let is_ahead = usage.as_ref().is_some_and(|usage| usage.is_ahead(now, Duration::ZERO));
    let mut known = usage.as_ref().and_then(|usage| usage.since().zip(usage.until()));
    if let (true, Some(usage)) = (is_ahead, &mut usage) {
        usage.set_back(now);
        // The time of the last write is not known.
        known = known.map(|(since, _)| (since.min(now), hour_start(hour_of(now))));
    }
    let mut not_known = Vec::new();
    let mut add = |start: Timestamp, stop: Timestamp, reason| {
        if start < stop {
            not_known.push(NotKnown { from: start, to: stop, reason });
        }
    };
    let (since, until) = known.unwrap_or((end, end));
    add(from, since.min(end), Reason::NotCounted);
    add(until.max(from), end, Reason::NotStored);
    let period = usage.as_ref().map(|usage| usage.within(counted.start, counted.end));
    add(from.max(since), counted.start.min(until).min(end), Reason::PartOfHour);
    add(counted.end.max(from).max(since), end.min(until), Reason::PartOfHour);
    let has_gap = is_ahead || usage.as_ref().is_some_and(|usage| usage.gaps(from, end).next().is_some());
    // Removed counts are of times before `since`.
    for gap in usage.iter().flat_map(|usage| usage.gaps(from.max(since), end)) {
        add(gap.0, gap.1, Reason::Killed);
    }
    for part in period.iter().flat_map(|period| &period.not_counted) {
        add(part.0, part.1, Reason::PartOfDay);
    }
    for part in period.iter().flat_map(|period| &period.without_latency) {
        add(part.0, part.1, Reason::NoLatency);
    }
    not_known.sort_by_key(|part| (part.from, part.to));
    let known = known.map(|(since, until)| (since.max(from), until.min(end))).filter(|known| known.0 < known.1);
    let has_counts = has_counts(period.as_ref(), &not_known, from, end);
    Row { id, is_backfill: false, period, has_counts, has_gap, hours, known, not_known, problem: None }
}

/// Makes the row of a lane's backfills. If a kill ended a backfill, it is not known when it was running, so no time is
/// named.
fn of_backfills(id: LaneId, usage: Option<Usage>, window: Window) -> Row {
    let mut row = of_lane(id, usage, window);
    let is_of_backfills = |reason| matches!(reason, Reason::PartOfDay | Reason::PartOfHour | Reason::NoLatency);
    row.not_known.retain(|part| is_of_backfills(part.reason));
    let has_counts = has_counts(row.period.as_ref(), &row.not_known, window.from, window.end());
    Row { is_backfill: true, known: None, has_counts, has_gap: false, ..row }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{CountedTime, Delta};

    const DAY: Duration = Duration::from_hours(24);
    /// Midnight.
    const NOW: Timestamp = Timestamp::from_micros(1_790_035_200_000_000);

    fn id() -> LaneId {
        "acme/threats/siem".parse().unwrap()
    }

    fn days_ago(days: u32) -> Timestamp {
        NOW.minus(DAY * days)
    }

    fn window(from: u32, to: u32) -> Window {
        Window { from: days_ago(from), to: days_ago(to), now: NOW }
    }

    /// Returns the usage of a lane with one event each hour between these days, with a latency of a second.
    fn usage(from: u32, to: u32) -> Usage {
        let mut usage = Usage::default();
        for hour in (to * 24..from * 24).rev() {
            let until = NOW.minus(Duration::from_hours(1) * (hour + 1));
            let mut delta = Delta::default();
            delta.at(until).events = 1;
            delta.at(until).latency.add(Duration::from_secs(1));
            usage.add(&delta, CountedTime { from: until, until, is_over: true, write: (1, 1) });
        }
        usage
    }

    fn reasons(row: &Row) -> Vec<(Timestamp, Timestamp, &'static str)> {
        row.not_known.iter().map(|part| (part.from, part.to, part.reason.name())).collect()
    }

    #[test]
    fn a_window_of_which_nothing_is_known_has_no_counts() {
        let usage = usage(20, 10);
        let events = |from, to| {
            let row = of_lane(id(), Some(usage.clone()), window(from, to));
            (row.counts().map(|counts| counts.events), reasons(&row).iter().map(|part| part.2).collect::<Vec<_>>())
        };
        assert_eq!(events(18, 16), (Some(48), vec![]));
        assert_eq!(events(40, 30), (None, vec!["not_counted"]), "it did not exist");
        assert_eq!(events(5, 2), (None, vec!["not_stored"]), "it was over");
        assert_eq!(events(22, 18), (Some(48), vec!["not_counted"]));
        let within_a_day = Window { from: days_ago(18), to: days_ago(18).plus(DAY / 2), now: NOW };
        let row = of_lane(id(), Some(usage.clone()), within_a_day);
        assert!(row.counts().is_none(), "{row:?}");
        let row = of_backfills(id(), Some(usage.clone()), within_a_day);
        assert!(row.counts().is_none() && row.not_known[0].reason == Reason::PartOfDay, "{row:?}");
    }

    #[test]
    fn an_hour_counts_as_a_whole_or_not_at_all() {
        const MINUTE: Duration = Duration::from_mins(1);
        let usage = usage(5, 0);
        let day = days_ago(2);
        let row =
            of_lane(id(), Some(usage.clone()), Window { from: day.plus(MINUTE), to: day.plus(MINUTE * 150), now: NOW });
        assert_eq!((row.counts().map(|counts| counts.events), row.hours), (Some(1), 1));
        let parts = [(day.plus(MINUTE), day.plus(MINUTE * 60)), (day.plus(MINUTE * 120), day.plus(MINUTE * 150))];
        assert_eq!(reasons(&row), parts.map(|part| (part.0, part.1, "part_of_hour")));
        // Within an hour.
        let row =
            of_lane(id(), Some(usage.clone()), Window { from: day.plus(MINUTE), to: day.plus(MINUTE * 50), now: NOW });
        assert_eq!((row.counts(), row.hours), (None, 0));
        // The hour that runs counts in a window that ends now.
        let now = NOW.minus(MINUTE * 30);
        let to = now.minus(Duration::from_millis(5));
        let row = of_lane(id(), Some(usage), Window { from: NOW.minus(MINUTE * 180), to, now });
        assert_eq!((row.counts().map(|counts| counts.events), row.hours), (Some(3), 3));
        assert_eq!(reasons(&row), [(NOW.minus(MINUTE * 60), to, "not_stored")]);
    }

    /// The worker's clock was three hours ahead, and it has ended.
    #[test]
    fn what_was_written_by_a_clock_that_was_ahead_happened_until_now() {
        let ahead = NOW.plus(Duration::from_hours(3));
        let mut usage = usage(5, 0);
        let mut delta = Delta::default();
        delta.at(ahead).events = 10;
        usage.add(&delta, CountedTime { from: ahead, until: ahead, is_over: true, write: (1, 2) });
        let now = NOW.plus(Duration::from_mins(1));
        let row = of_lane(id(), Some(usage), Window { from: days_ago(1), to: now, now });
        assert_eq!((row.counts().map(|counts| counts.events), row.has_gap), (Some(24 + 10), true));
        assert_eq!((row.known.map(|known| known.1), reasons(&row)), (Some(NOW), vec![(NOW, now, "not_stored")]));
    }

    #[test]
    fn latencies_that_are_no_longer_kept_are_not_known() {
        let row = of_lane(id(), Some(usage(100, 0)), window(90, 0));
        let counts = row.counts().unwrap();
        assert_eq!((counts.events, counts.latency.measured()), (90 * 24, 62 * 24));
        assert_eq!(reasons(&row)[0], (days_ago(90), days_ago(62), "no_latency"));
        let row = of_lane(id(), Some(usage(100, 0)), window(60, 0));
        assert!(reasons(&row).iter().all(|part| part.2 != "no_latency"), "{row:?}");
    }

    #[test]
    fn one_that_cannot_be_read_says_so() {
        let error = UsageStoreError::Usage(crate::usage::UsageError::Newer(9));
        for is_backfill in [false, true] {
            let row = unreadable(id(), is_backfill, window(2, 1), &error);
            assert_eq!(reasons(&row), [(days_ago(2), days_ago(1), "unreadable")]);
            assert!(row.counts().is_none() && row.problem.is_some());
        }
    }
}
