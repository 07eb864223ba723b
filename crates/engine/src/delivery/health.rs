//! The health of a sink: whether it accepts anything, counted over deliveries. The health decides when refused events
//! become dead letters.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use s1_forwarder_record::Identity;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::blocked::Blocked;
use crate::sink::{Batch, WarningReason};

/// Shortest time between two log lines of a warning of the sink that stays the same.
const WARN_EVERY: Duration = Duration::from_hours(1);

/// The answers of a lane's sink at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkAnswers {
    /// The time since when the sink has accepted nothing; `None` if it does not refuse.
    pub refusing_since: Option<Instant>,
    /// Number of attempts that the sink has not answered.
    unanswered: usize,
    /// The time at which the first of the unanswered attempts began, or at which the sink last answered one. `None` if
    /// no attempt is unanswered.
    pub unanswered_since: Option<Instant>,
}

impl SinkAnswers {
    fn begin(&mut self) {
        self.unanswered += 1;
        self.unanswered_since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered_since = (self.unanswered > 0).then(Instant::now);
    }
}

/// An attempt that the sink has not answered.
#[derive(Debug)]
pub(super) struct AttemptGuard<'a>(&'a SinkHealth);

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        self.0.change(SinkAnswers::end);
    }
}

/// Numbers of events in a row of which none arrived.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RefusalRun {
    /// Number of events that the sink refused.
    pub refused: usize,
    /// Number of events on which a program failed.
    pub failed: usize,
}

impl RefusalRun {
    pub fn len(self) -> usize {
        self.refused + self.failed
    }
}

/// Tracks whether a lane's sink accepts anything.
#[derive(Debug, Default)]
pub struct SinkHealth {
    answers: Mutex<SinkAnswers>,
    /// Wakes the one session that waits for a change.
    changed: Notify,
    in_a_row: Mutex<RefusalRun>,
    /// Number of refusals that [`Self::count_refused`] has counted, whatever was accepted meanwhile.
    refused: AtomicUsize,
    /// The time at which a warning of the sink with this reason was last logged.
    warned_at: Mutex<BTreeMap<WarningReason, Instant>>,
    /// Whether refusals of any number become dead letters.
    accepts_refusals: bool,
    /// Whether errors name no flag with which refusals are accepted.
    has_no_flag: bool,
    /// The events that the sink does not take, over all sessions of the lane.
    blocked: Mutex<Blocked>,
    /// Refused events that could not be stored while the sink accepted others. They do not count as refusals in a run.
    unstored: Mutex<HashSet<Identity>>,
}

impl SinkHealth {
    /// Creates the health of a sink. With `accepts_refusals`, any number of refusals in a row become dead letters, and
    /// none ends the lane.
    pub fn new(accepts_refusals: bool) -> Self {
        Self { accepts_refusals, ..Self::default() }
    }

    /// Makes errors name no flag with which refusals are accepted: the command has none.
    #[must_use]
    pub fn without_flag(self) -> Self {
        Self { has_no_flag: true, ..self }
    }

    /// Returns how the sink answers at the moment.
    pub fn answers(&self) -> SinkAnswers {
        *self.answers.lock()
    }

    /// Waits until [`Self::answers`] has changed since the last call. One task at a time may wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut SinkAnswers)) {
        let mut answers = self.answers.lock();
        let before = *answers;
        change(&mut answers);
        if *answers != before {
            self.changed.notify_one();
        }
    }

    /// Notes that the sink refuses for now, as shown by an attempt that began at `started_at`.
    pub(super) fn set_refusing(&self, started_at: Instant) {
        self.change(|answers| _ = answers.refusing_since.get_or_insert(started_at));
    }

    /// Begins an attempt, which ends when the guard is dropped.
    pub(super) fn attempt(&self) -> AttemptGuard<'_> {
        self.change(SinkAnswers::begin);
        AttemptGuard(self)
    }

    /// Notes that the sink does not refuse everything: it has settled something, or a new session knows nothing about
    /// it.
    pub fn clear_refusing(&self) {
        self.change(|answers| answers.refusing_since = None);
    }

    /// Notes that the sink has accepted an event.
    pub(super) fn accepted(&self) {
        *self.in_a_row.lock() = RefusalRun::default();
        self.clear_refusing();
    }

    /// Returns whether a warning of the sink is worth a log line: a new text, or one that has not been logged for an
    /// hour.
    pub(super) fn logs_warning(&self, reason: WarningReason, is_new: bool, now: Instant) -> bool {
        let mut warned_at = self.warned_at.lock();
        let is_due = warned_at.get(&reason).is_none_or(|at| now.saturating_duration_since(*at) >= WARN_EVERY);
        if is_new || is_due {
            warned_at.insert(reason, now);
        }
        is_new || is_due
    }

    pub(super) fn accepts_refusals(&self) -> bool {
        self.accepts_refusals
    }

    pub(super) fn has_no_flag(&self) -> bool {
        self.has_no_flag
    }

    pub(super) fn blocked(&self) -> MutexGuard<'_, Blocked> {
        self.blocked.lock()
    }

    /// Notes that the user's programs have dropped an event: they do not fail on all events.
    pub fn programs_worked(&self) {
        self.in_a_row.lock().failed = 0;
    }

    /// Adds `run` to the events that did not arrive since the last one that did. Returns the number of all of them.
    pub(super) fn count_refused(&self, run: RefusalRun) -> usize {
        self.refused.fetch_add(run.len(), Ordering::Relaxed);
        let mut in_a_row = self.in_a_row.lock();
        in_a_row.refused += run.refused;
        in_a_row.failed += run.failed;
        in_a_row.len()
    }

    /// Returns the refused events that could not be stored while the sink accepted others.
    pub(super) fn unstored(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.unstored.lock()
    }

    /// Forgets that the sink did not accept these events of `batch`, or that they were not stored: they need not be
    /// sent again.
    pub(super) fn unblock(&self, batch: &Batch, events: impl Iterator<Item = usize>, accepted_at: Option<Instant>) {
        let mut blocked = self.blocked();
        let mut unstored = self.unstored();
        if blocked.is_empty() && unstored.is_empty() {
            return;
        }
        let events: HashSet<Identity> = events.filter_map(|index| batch.identity(index)).collect();
        unstored.retain(|event| !events.contains(event));
        blocked.forget_settled(&events, accepted_at);
    }

    /// Returns the number of events refused so far, in batches of which the sink accepted no event.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Removes `run` from the count, since its events will be sent again.
    pub(super) fn uncount(&self, run: RefusalRun) {
        let mut in_a_row = self.in_a_row.lock();
        in_a_row.refused = in_a_row.refused.saturating_sub(run.refused);
        in_a_row.failed = in_a_row.failed.saturating_sub(run.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_logged_again_when_it_changes_and_every_hour() {
        let health = SinkHealth::default();
        let start = Instant::now();
        let logs = |is_new, minutes: u64| {
            health.logs_warning(WarningReason::Noop, is_new, start + Duration::from_secs(60 * minutes))
        };
        let logged = [(true, 0), (false, 59), (false, 60), (false, 119), (true, 119), (false, 178), (false, 179)];
        assert_eq!(logged.map(|(is_new, at)| logs(is_new, at)), [true, false, true, false, true, false, true]);
    }
}
