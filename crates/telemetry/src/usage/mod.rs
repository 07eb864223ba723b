//! Counts of what a lane did, and when: delivered events and their latency, failures, and hours that were compared with
//! the console. Unlike a checkpoint, nothing depends on the counts: a lane runs without them.

mod encoding;
mod live;

use std::collections::BTreeMap;
use std::ops::{Range, RangeBounds};
use std::time::Duration;

use s1_forwarder_record::Timestamp;

pub use encoding::UsageError;
pub use live::{LaneUsage, Recent};

/// The upper bounds of the buckets of latency, in seconds.
pub const LATENCY_BOUNDS: [u64; 12] = [1, 2, 5, 10, 30, 60, 120, 300, 900, 3_600, 21_600, 86_400];
/// Number of buckets, with one for events that took longer than the last bound.
const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// Hours that are kept apart, the present one included. Older ones become part of their day.
const HOURS: u32 = 72;
/// Days with counts, and days of them with latencies.
const DAYS: u32 = 400;
const DAYS_WITH_LATENCY: u32 = 62;
/// Hours with missing records. Of more, the oldest count as not compared.
const MAX_MISSING: usize = 512;
/// Merges that are remembered, so that a repeated merge adds nothing.
const MAX_MERGED: usize = 16;
/// Gaps that are kept. Of more, the two oldest become one.
const MAX_GAPS: usize = 32;
/// Longest time after the last write that a kill may lose: lanes write every three hours, or 20 minutes after that.
const MAX_LOST: Duration = Duration::from_hours(4);
/// Clocks that differ by less are the same.
const CLOCKS_AGREE: Duration = Duration::from_hours(24);
/// Clocks that count the same lane differ by less, unless one is wrong.
const MIN_AHEAD: Duration = Duration::from_mins(5);
/// Longest usual time since the last write. If a lane was written longer ago, it did not run, or the clock is wrong.
const LONG_AWAY: Duration = Duration::from_hours(744);
const HOUR: i64 = 3_600_000_000;
const DAY: u32 = 24;

/// Returns the hour of UTC that a time is in, counted from 1970; 0 before.
pub fn hour_of(time: Timestamp) -> u32 {
    u32::try_from(time.micros().div_euclid(HOUR)).unwrap_or(0)
}

/// Returns the hours that are in a window as a whole.
pub fn whole_hours(from: Timestamp, to: Timestamp) -> Range<u32> {
    let first_hour = hour_of(from);
    let first = if hour_start(first_hour) < from { first_hour + 1 } else { first_hour };
    first..hour_of(to).max(first)
}

/// Returns the time at which an hour begins.
pub fn hour_start(hour: u32) -> Timestamp {
    Timestamp::from_micros(i64::from(hour) * HOUR)
}

/// The counts of an hour or of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that the sink has acknowledged.
    pub events: u64,
    /// Bytes of these events, as destinations count them (`delivered_event_bytes_total`).
    pub bytes: u64,
    pub dead_letters: u64,
    /// Minutes in which the lane failed, and in which its console was silent.
    pub failing_minutes: u64,
    pub silent_minutes: u64,
    pub latency: LatencyBuckets,
}

/// Numbers of events by how long they took: one for each of [`LATENCY_BOUNDS`], and one for longer times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LatencyBuckets([u64; BUCKETS]);

impl LatencyBuckets {
    pub fn add(&mut self, latency: Duration) {
        let bucket = LATENCY_BOUNDS.iter().position(|bound| latency <= Duration::from_secs(*bound));
        self.0[bucket.unwrap_or(BUCKETS - 1)] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, other)| *mine = mine.saturating_add(other));
    }

    /// Returns the number of events whose latency was measured.
    pub fn measured(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the bound of the bucket of a percentile, which is in thousandths: 950 for the 95th. `None` without
    /// events.
    pub fn percentile(&self, thousandths: u64) -> Option<LatencyBound> {
        let measured = u128::from(self.measured());
        let rank = (measured * u128::from(thousandths)).div_ceil(1_000).max(1);
        let mut below = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            below += u128::from(*count);
            if below >= rank {
                return Some(LATENCY_BOUNDS.get(bucket).map_or(LatencyBound::Over, |bound| LatencyBound::UpTo(*bound)));
            }
        }
        None
    }
}

/// The bound of a percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyBound {
    /// At most this number of seconds.
    UpTo(u64),
    /// More than the last bound.
    Over,
}

impl Counts {
    pub fn merge(&mut self, other: &Self) {
        for (mine, other) in [
            (&mut self.events, other.events),
            (&mut self.bytes, other.bytes),
            (&mut self.dead_letters, other.dead_letters),
            (&mut self.failing_minutes, other.failing_minutes),
            (&mut self.silent_minutes, other.silent_minutes),
        ] {
            *mine = mine.saturating_add(other);
        }
        self.latency.merge(&other.latency);
    }
}

/// The counts of a process since its last write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Counts by hour. There are one or two while the store accepts writes. Later, a day that is over has its counts in
    /// its first hour.
    hours: Vec<(u32, Counts)>,
    /// Comparisons by hour of creation.
    verified: Vec<(u32, Comparison)>,
}

/// A comparison of an hour's records with the console's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Comparison {
    /// The hour in which they were compared.
    at: u32,
    /// Records that were missing.
    missing: u64,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty() && self.verified.is_empty()
    }

    /// Returns the counts of the hour of `now`.
    pub fn at(&mut self, now: Timestamp) -> &mut Counts {
        self.of_hour(hour_of(now))
    }

    fn of_hour(&mut self, hour: u32) -> &mut Counts {
        let place = self.hours.iter().rposition(|(known, _)| *known == hour).unwrap_or_else(|| {
            if self.hours.len() >= (HOURS + DAY) as usize {
                self.shorten(hour);
            }
            self.hours.push((hour, Counts::default()));
            self.hours.len() - 1
        });
        &mut self.hours[place].1
    }

    /// Sums up days that are stored without hours anyway.
    fn shorten(&mut self, now: u32) {
        let kept = now.saturating_sub(HOURS) / DAY * DAY;
        let mut shorter: BTreeMap<u32, Counts> = BTreeMap::new();
        for (hour, counts) in self.hours.drain(..) {
            let hour = if hour < kept { hour / DAY * DAY } else { hour };
            shorter.entry(hour).or_default().merge(&counts);
        }
        while shorter.len() > (DAYS + HOURS) as usize
            && let Some((_, counts)) = shorter.pop_first()
            && let Some(mut next) = shorter.first_entry()
        {
            next.get_mut().merge(&counts);
        }
        self.hours = shorter.into_iter().collect();
    }

    /// Notes that the records created in this hour were compared at `now`, and that `missing` of them were missing.
    pub fn verify(&mut self, hour: u32, missing: u64, now: Timestamp) {
        self.compare(hour, Comparison { at: hour_of(now), missing });
    }

    fn compare(&mut self, hour: u32, comparison: Comparison) {
        self.verified.retain(|(known, _)| *known != hour);
        self.verified.push((hour, comparison));
        if self.verified.len() > (DAYS * DAY) as usize {
            self.verified.remove(0);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        other.hours.iter().for_each(|(hour, counts)| self.of_hour(*hour).merge(counts));
        other.verified.iter().for_each(|(hour, comparison)| self.compare(*hour, *comparison));
    }

    /// Returns the number of events of some days.
    fn events_of_days(&self, days: impl RangeBounds<u32>) -> u64 {
        self.hours.iter().filter(|(hour, _)| days.contains(&(hour / DAY))).map(|(_, counts)| counts.events).sum()
    }
}

/// The time for which a process counts a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedTime {
    /// Time when the process began to count.
    pub from: Timestamp,
    /// Everything up to this time is counted.
    pub until: Timestamp,
    /// Whether the process counts no more: nothing is lost after `until`.
    pub is_over: bool,
    /// Names the process, and the write: a write whose answer was lost is recognised by it.
    pub write: (u64, u64),
}

/// The counts of a lane over 400 days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time when the counts begin. `until` is the time up to which they are known.
    since: Timestamp,
    until: Timestamp,
    /// Whether the process that wrote last counts on. If another process goes on, the counts of the former one after
    /// `until` are lost.
    is_open: bool,
    /// Times whose counts a kill may have lost, in order.
    gaps: Vec<(Timestamp, Timestamp)>,
    hours: BTreeMap<u32, Counts>,
    /// Hours before this one are part of their day.
    days_until: u32,
    days: BTreeMap<u32, Counts>,
    /// For each hour of creation, the hour in which it was compared with the console last.
    verified: BTreeMap<u32, u32>,
    /// Missing records by hour of creation, where there were any when it was compared last.
    missing: BTreeMap<u32, u64>,
    write: (u64, u64),
    /// The last writes of other usages that were merged into this one.
    merged: Vec<(u64, u64)>,
}

/// Our clock, by which a lane is counted, compared with the console's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnClock {
    /// The console has not said its time yet.
    Unknown,
    /// Our clock differs from the console's by this time.
    DiffersBy(Duration),
}

/// Why counts are not written: our clock seems to be wrong. With it, stored counts would be forgotten as too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error("this machine's clock differs from the console's by {} h: what happens is not stored until they agree", .0.as_secs() / 3_600)]
    Differs(Duration),
    #[error(
        "what is stored is of {stored}, this machine's clock says {own}, and no console has confirmed that yet: what \
         happens is not stored until one has"
    )]
    Unconfirmed { stored: Timestamp, own: Timestamp },
}

/// The counts that [`Usage`] has of a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WindowUsage {
    pub counts: Counts,
    /// Parts of the window without counts. They are parts of days that are no longer kept by the hour, or are older
    /// than all that is kept.
    pub not_counted: Vec<(Timestamp, Timestamp)>,
    /// Days whose events have no latency. The latency is no longer kept, or was not measured.
    pub without_latency: Vec<(Timestamp, Timestamp)>,
    /// Hours of creation that were compared with the console.
    pub verified_hours: u64,
    /// Records that were missing in these hours.
    pub missing: u64,
}

impl Usage {
    /// Adds the counts of a process.
    pub fn add(&mut self, delta: &Delta, session: CountedTime) {
        let CountedTime { from, until, is_over, write } = session;
        let from = from.min(until);
        let is_new = self.until == Timestamp::default();
        if is_new {
            self.since = from;
        }
        self.begin(write.0, from);
        let now = hour_of(until);
        for (hour, counts) in &delta.hours {
            // Later hours were counted while the clock was ahead.
            let hour = *hour.min(&now);
            if hour < self.days_until {
                self.days.entry(hour / DAY).or_default().merge(counts);
            } else {
                self.hours.entry(hour).or_default().merge(counts);
            }
        }
        for (hour, Comparison { at, missing }) in delta.verified.iter().filter(|(hour, _)| *hour <= now) {
            self.compare(*hour, Comparison { at: now.min(*at), missing: *missing });
        }
        self.until = self.until.max(until);
        self.is_open = !is_over;
        self.write = write;
        self.forget(now);
    }

    /// Makes a usage whose counts until `now` are lost or were removed: the events of this day and the one before are
    /// not known.
    pub fn removed(now: Timestamp) -> Self {
        let yesterday = (hour_of(now) / DAY).saturating_sub(1);
        Self { since: now, until: now, gaps: vec![(hour_start(yesterday * DAY), now)], ..Self::default() }
    }

    /// Notes that a process counts from `from` on. If another process was killed before, the counts that it had not
    /// written are lost.
    pub fn begin(&mut self, process: u64, from: Timestamp) {
        // A process that writes again after its own write has lost nothing.
        if self.is_open && self.write.0 != process && self.until < from {
            self.gaps.push((self.until, from));
        }
    }

    /// Leaves out counts that may or may not be stored. The time up to `until` becomes a gap.
    pub fn lose(&mut self, delta: &Delta, until: Timestamp) {
        let first = delta.hours.iter().map(|(hour, _)| hour_start(*hour)).min();
        if let Some(from) = first.map(|from| from.max(self.since)).filter(|from| *from < until) {
            self.gaps.push((from, until));
            self.gaps.sort_unstable();
        }
    }

    /// Adds the counts of another lane of this name, and the times for which they are known. If the older one was
    /// killed, the time after it is a gap.
    pub fn merge(&mut self, other: &Self) {
        self.add_counts(other);
        if other.until == Timestamp::default() {
            return;
        }
        let is_new = self.until == Timestamp::default();
        self.gaps.extend(&other.gaps);
        if !is_new {
            let is_older = self.until < other.until;
            let older = if is_older { &*self } else { other };
            let newer = if is_older { other } else { &*self };
            let end = newer.since.max(older.until.plus(MAX_LOST)).min(newer.until);
            if older.is_open && older.until < end {
                let gap = (older.until, end);
                self.gaps.push(gap);
            }
        }
        self.since = if is_new { other.since } else { self.since.min(other.since) };
        if other.until > self.until {
            self.until = other.until;
            self.is_open = other.is_open;
        }
        self.merged.extend(&other.merged);
        self.merged.push(other.write);
        self.merged.drain(..self.merged.len().saturating_sub(MAX_MERGED));
        self.write = mark(other.write);
        self.gaps.sort_unstable();
        self.forget(hour_of(self.until));
    }

    /// Returns whether [`Self::merge`] has added `other`, and nothing was added to `other` since.
    pub fn has_merged(&self, other: &Self) -> bool {
        self.merged.contains(&other.write)
    }

    /// Checks whether a process may add counts at `now`.
    ///
    /// # Errors
    /// If the process's clock seems to be wrong.
    pub fn accept(&self, now: Timestamp, clock: OwnClock) -> Result<(), ClockError> {
        let stored = self.until;
        match clock {
            OwnClock::DiffersBy(difference) if difference > CLOCKS_AGREE => Err(ClockError::Differs(difference)),
            OwnClock::Unknown
                if stored != Timestamp::default()
                    && (now.since(stored) > LONG_AWAY || stored.since(now) > CLOCKS_AGREE) =>
            {
                Err(ClockError::Unconfirmed { stored, own: now })
            }
            OwnClock::Unknown | OwnClock::DiffersBy(_) => Ok(()),
        }
    }

    /// Returns whether the clock of the process that wrote this was ahead by more than `tolerance`, if the present time
    /// is `now`.
    pub fn is_ahead(&self, now: Timestamp, tolerance: Duration) -> bool {
        self.until.since(now) > tolerance.max(MIN_AHEAD)
    }

    /// Moves counts of the future to `now`, which is known to be the present time. A process whose clock was ahead has
    /// written them, and they happened until then.
    pub fn set_back(&mut self, now: Timestamp) {
        let hour = hour_of(now);
        self.days_until = self.days_until.min(hour.saturating_sub(HOURS - 1));
        let first_day = self.days_until.div_ceil(DAY);
        let later_days = self.days.split_off(&first_day).into_iter().map(|(day, counts)| (day * DAY, counts));
        let later_hours = self.hours.split_off(&self.days_until);
        for (at, counts) in later_days.chain(later_hours) {
            self.hours.entry(at.min(hour)).or_default().merge(&counts);
        }
        self.verified.retain(|of, _| *of <= hour);
        self.verified.values_mut().for_each(|at| *at = hour.min(*at));
        self.missing.retain(|of, _| *of <= hour);
        self.gaps.iter_mut().for_each(|gap| gap.1 = gap.1.min(now));
        self.gaps.retain(|gap| gap.0 < gap.1);
        self.since = self.since.min(now);
        self.until = now;
    }

    /// Adds the counts of commands next to the worker that counts this lane. The known times stay. If both have
    /// compared an hour, the later comparison counts; of two comparisons in one hour, the comparison of `other`.
    pub fn add_counts(&mut self, other: &Self) {
        let days_until = self.days_until.max(other.days_until);
        self.fold(days_until);
        let mut other = other.clone();
        other.fold(days_until);
        other.hours.iter().for_each(|(hour, counts)| self.hours.entry(*hour).or_default().merge(counts));
        other.days.iter().for_each(|(day, counts)| self.days.entry(*day).or_default().merge(counts));
        for (hour, at) in &other.verified {
            let missing = other.missing.get(hour).copied().unwrap_or_default();
            self.compare(*hour, Comparison { at: *at, missing });
        }
    }

    /// Names the write that stored it: the process, and a number.
    pub fn write(&self) -> (u64, u64) {
        self.write
    }

    /// Returns when counting began. `None` before that.
    pub fn since(&self) -> Option<Timestamp> {
        (self.until != Timestamp::default()).then_some(self.since)
    }

    /// Returns the time up to which everything is counted, apart from [`Self::gaps`].
    pub fn until(&self) -> Option<Timestamp> {
        (self.until != Timestamp::default()).then_some(self.until)
    }

    /// Returns the parts of a window whose counts a kill may have lost, or an operator removed.
    pub fn gaps(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.gaps.iter().map(move |gap| (gap.0.max(from), gap.1.min(to))).filter(|gap| gap.0 < gap.1)
    }

    /// Returns the number of events of the day that is `days_ago` days before the day of `now`.
    pub fn events_of_day(&self, now: Timestamp, days_ago: u32) -> u64 {
        let day = (hour_of(now) / DAY).saturating_sub(days_ago);
        let hours = self.hours.range(day * DAY..(day + 1) * DAY).map(|(_, counts)| counts.events);
        let of_day = self.days.get(&day).map(|counts| counts.events);
        hours.chain(of_day).fold(0, u64::saturating_add)
    }

    /// Returns whether part of a day is not counted.
    pub fn has_gap_on_day(&self, now: Timestamp, days_ago: u32) -> bool {
        let day = i64::from((hour_of(now) / DAY).saturating_sub(days_ago));
        let start = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
        self.gaps(start(day), start(day + 1)).next().is_some()
    }

    /// Returns what is known of the whole hours of a window.
    pub fn within(&self, from: Timestamp, to: Timestamp) -> WindowUsage {
        let mut period = WindowUsage::default();
        let hours = whole_hours(from, to);
        if hours.start >= hours.end {
            return period;
        }
        self.hours.range(hours.clone()).for_each(|(_, counts)| period.counts.merge(counts));
        for (day, counts) in self.days.range(hours.start / DAY..=(hours.end - 1) / DAY) {
            // The part of the day that is no longer kept by the hour.
            let summed = day * DAY..((day + 1) * DAY).min(self.days_until);
            if hours.start <= summed.start && summed.end <= hours.end {
                period.counts.merge(counts);
                if counts.events > 0 && counts.latency.measured() == 0 {
                    let from = hour_start(summed.start);
                    let to = hour_start(summed.end);
                    match period.without_latency.last_mut() {
                        Some(last) if last.1 == from => last.1 = to,
                        _ => period.without_latency.push((from, to)),
                    }
                }
            } else if hours.start < summed.end {
                let part = hour_start(summed.start.max(hours.start))..hour_start(summed.end.min(hours.end));
                period.not_counted.push((part.start, part.end));
            }
        }
        period.verified_hours = self.verified.range(hours.clone()).count() as u64;
        period.missing = self.missing.range(hours).fold(0, |sum, (_, missing)| sum.saturating_add(*missing));
        period
    }

    /// Adds a comparison. It changes nothing if it is earlier than the known comparison.
    fn compare(&mut self, hour: u32, comparison: Comparison) {
        let Comparison { at, missing } = comparison;
        if self.verified.get(&hour).is_some_and(|known| *known > at) {
            return;
        }
        self.verified.insert(hour, at);
        match missing {
            0 => self.missing.remove(&hour),
            missing => self.missing.insert(hour, missing),
        };
        while self.missing.len() > MAX_MISSING
            && let Some((hour, _)) = self.missing.pop_first()
        {
            self.verified.remove(&hour);
        }
    }

    /// Makes hours before this one part of their day.
    fn fold(&mut self, days_until: u32) {
        if days_until <= self.days_until {
            return;
        }
        self.days_until = days_until;
        let kept = self.hours.split_off(&days_until);
        for (hour, counts) in std::mem::replace(&mut self.hours, kept) {
            self.days.entry(hour / DAY).or_default().merge(&counts);
        }
    }

    /// Drops the counts that are too old in this hour.
    fn forget(&mut self, now: u32) {
        self.fold(now.saturating_sub(HOURS - 1));
        let today = now / DAY;
        let first = today.saturating_sub(DAYS - 1);
        self.days = self.days.split_off(&first);
        self.verified = self.verified.split_off(&(first * DAY));
        self.missing = self.missing.split_off(&(first * DAY));
        let with_latency = today.saturating_sub(DAYS_WITH_LATENCY - 1);
        self.days.range_mut(..with_latency).for_each(|(_, counts)| counts.latency = LatencyBuckets::default());
        self.since = self.since.max(hour_start(first * DAY));
        let since = self.since;
        self.gaps.retain(|(_, end)| *end >= since);
        while self.gaps.len() > MAX_GAPS {
            let (start, end) = self.gaps.remove(0);
            self.gaps[0] = (start, self.gaps[0].1.max(end));
        }
    }
}

/// Names the merge of what this write has stored. The merge of a merge has another name.
fn mark(write: (u64, u64)) -> (u64, u64) {
    (write.0.wrapping_add(0x9E37_79B9_7F4A_7C15), write.1)
}

#[cfg(test)]
mod tests;
