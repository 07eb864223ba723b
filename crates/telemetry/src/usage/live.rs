//! The counts of a running lane, in memory.

use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_record::Timestamp;

use super::{Counts, DAY, Delta, Usage, hour_of};

/// Time after which counts are written. The worker looks once a minute, so that a kill loses less than 20 minutes.
const CHANGED_AFTER: Duration = Duration::from_mins(18);
/// Interval at which a lane that counts nothing is written. A report then knows up to when that holds.
const UNCHANGED_AFTER: Duration = Duration::from_hours(3);
/// Part of these times by which lanes differ, so that lanes that start together do not write together.
const SPREAD: f64 = 0.5;
/// Time after which a failed write is tried again. It doubles up to the second constant, or up to the third one if the
/// stored counts cannot be read.
const RETRY_AFTER: Duration = Duration::from_mins(1);
const RETRY_MOST: Duration = Duration::from_mins(8);
const RETRY_UNREADABLE_MOST: Duration = Duration::from_mins(64);

/// The counts of one lane of this process since the last write. They take about a hundred bytes, and 150 more for each
/// hour that is not written yet.
#[derive(Debug, Default)]
pub struct LaneUsage(Mutex<Live>);

#[derive(Debug, Default)]
struct Live {
    /// Counts that are not written yet. Boxed: most lanes have none most of the time.
    pending: Option<Box<Delta>>,
    /// Whether a write has taken the pending counts, and has not succeeded.
    is_in_doubt: bool,
    running: Option<Running>,
    recent: Option<Recent>,
}

/// The state while a worker counts the lane.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Timestamp,
    /// Time of the last write, or of its failure. Before the first write, an earlier time.
    written: Timestamp,
    /// Writes that have failed since.
    failures: u8,
    /// Whether the store knows that this process counts. If this process is killed, the next one knows that counts may
    /// be lost.
    is_stored: bool,
    /// Whether the stored counts cannot be read.
    is_unreadable: bool,
    shard: u32,
}

impl Running {
    fn retry_after(&self) -> Duration {
        let most = if self.is_unreadable { RETRY_UNREADABLE_MOST } else { RETRY_MOST };
        let doubled = 1_u32.checked_shl(u32::from(self.failures) - 1).unwrap_or(u32::MAX);
        RETRY_AFTER.saturating_mul(doubled).min(most)
    }
}

/// The events of the present day and of the one before, in UTC, over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    day: u32,
    pub today: u64,
    pub yesterday: u64,
    /// Whether counts of the day may have been lost: a process was killed, or the stored counts were removed or cannot
    /// be read.
    pub has_gap_today: bool,
    pub has_gap_yesterday: bool,
}

impl Recent {
    pub fn of(usage: &Usage, now: Timestamp) -> Self {
        let day = hour_of(now) / DAY;
        Self {
            day,
            today: usage.events_of_day(now, 0),
            yesterday: usage.events_of_day(now, 1),
            has_gap_today: usage.has_gap_on_day(now, 0),
            has_gap_yesterday: usage.has_gap_on_day(now, 1),
        }
    }

    /// Returns these counts at a later time. `None` at an earlier one: the clock was ahead.
    fn at(self, now: Timestamp) -> Option<Self> {
        let day = hour_of(now) / DAY;
        Some(match day.checked_sub(self.day)? {
            0 => self,
            1 => Self {
                day,
                today: 0,
                yesterday: self.today,
                has_gap_today: false,
                has_gap_yesterday: self.has_gap_today,
            },
            _ => Self { day, today: 0, yesterday: 0, has_gap_today: false, has_gap_yesterday: false },
        })
    }
}

impl Live {
    /// See [`LaneUsage::set_stored`].
    fn set_stored(&mut self, stored: &Usage, now: Timestamp) {
        let mut recent = Recent::of(stored, now);
        if let Some(pending) = &self.pending {
            // Events that were counted while the clock was ahead happened until now.
            recent.today += pending.events_of_days(recent.day..);
            let yesterday = recent.day.saturating_sub(1);
            recent.yesterday += pending.events_of_days(yesterday..recent.day);
        }
        self.recent = Some(recent);
    }
}

impl LaneUsage {
    /// Adds to the counts of the hour of `now`.
    pub fn count(&self, now: Timestamp, counts: &Counts) {
        let mut live = self.0.lock();
        live.pending.get_or_insert_default().at(now).merge(counts);
        live.recent = live.recent.and_then(|recent| recent.at(now));
        if let Some(recent) = &mut live.recent {
            recent.today += counts.events;
        }
    }

    /// Notes that the records created in this hour were compared with the console at `now`, and that `missing` of them
    /// were missing.
    pub fn verify(&self, hour: u32, missing: u64, now: Timestamp) {
        self.0.lock().pending.get_or_insert_default().verify(hour, missing, now);
    }

    /// Notes that a worker begins to count the lane, whose pipeline is of this shard. `spread` is between 0 and 1.
    /// Returns false if the worker counts the lane already.
    pub fn begin(&self, now: Timestamp, shard: u32, spread: f64) -> bool {
        let written = now.minus(CHANGED_AFTER.mul_f64(SPREAD * spread));
        let mut live = self.0.lock();
        if live.running.is_some() {
            return false;
        }
        live.running =
            Some(Running { since: now, written, failures: 0, is_stored: false, is_unreadable: false, shard });
        live.recent = None;
        true
    }

    /// Notes that the worker counts no more. Returns its session, if it had begun.
    pub fn end(&self) -> Option<(Timestamp, u32)> {
        self.0.lock().running.take().map(|running| (running.since, running.shard))
    }

    /// Returns when the running session began, and its shard, if the lane is to be written at `now`. A lane without
    /// changes is written only if it `has_polled`.
    pub fn due(&self, now: Timestamp, has_polled: bool) -> Option<(Timestamp, u32)> {
        let live = self.0.lock();
        let running = live.running?;
        let is_changed = live.pending.is_some() || live.is_in_doubt;
        let after = if running.failures > 0 {
            running.retry_after()
        } else if !is_changed {
            UNCHANGED_AFTER
        } else if running.is_stored {
            CHANGED_AFTER
        } else {
            Duration::ZERO
        };
        // The clock may have been set back.
        let has_come = now < running.written || now.since(running.written) >= after;
        let is_due = (is_changed || has_polled) && has_come;
        is_due.then_some((running.since, running.shard))
    }

    /// Returns when the running session began, and its shard, if the process has to read the stored counts. It has not
    /// read them, or has read them by a clock that was ahead.
    pub fn is_unread(&self, now: Timestamp) -> Option<(Timestamp, u32)> {
        let live = self.0.lock();
        let is_known = live.recent.is_some_and(|recent| recent.at(now).is_some());
        let is_unread = |running: &Running| !is_known && !running.is_unreadable;
        live.running.filter(is_unread).map(|running| (running.since, running.shard))
    }

    /// Notes that the stored counts cannot be read, now or later. Today and yesterday then have at least the events
    /// that this process counts.
    pub fn set_unreadable(&self, now: Timestamp) {
        let mut live = self.0.lock();
        if let Some(running) = &mut live.running {
            running.is_unreadable = true;
        }
        if live.recent.is_none() {
            live.set_stored(&Usage::removed(now), now);
        }
    }

    /// Returns whether a worker counts the lane.
    pub fn is_running(&self) -> bool {
        self.0.lock().running.is_some()
    }

    pub fn has_pending(&self) -> bool {
        self.0.lock().pending.is_some()
    }

    /// Removes and returns the counts that are not written yet. The caller writes them, and the lane is due until
    /// [`Self::written`].
    pub fn take(&self) -> Delta {
        let mut live = self.0.lock();
        live.is_in_doubt = true;
        live.pending.take().map(|delta| *delta).unwrap_or_default()
    }

    /// Notes that the counts were written at `now`.
    pub fn written(&self, now: Timestamp) {
        let mut live = self.0.lock();
        live.is_in_doubt = false;
        if let Some(running) = &mut live.running {
            running.written = now;
            running.failures = 0;
            running.is_stored = true;
            running.is_unreadable = false;
        }
    }

    /// Notes that the counts could not be written at `now`.
    pub fn failed(&self, now: Timestamp) {
        if let Some(running) = &mut self.0.lock().running {
            running.written = now;
            running.failures = running.failures.saturating_add(1);
        }
    }

    /// Sets the stored counts, for the events of the present and the last day.
    pub fn set_stored(&self, stored: &Usage, now: Timestamp) {
        self.0.lock().set_stored(stored, now);
    }

    /// Returns the events of today and yesterday. `None` until the store has been read.
    pub fn recent(&self, now: Timestamp) -> Option<Recent> {
        self.0.lock().recent.and_then(|recent| recent.at(now))
    }
}
