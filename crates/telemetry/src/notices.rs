//! Events that a log has not reported yet: one line a minute for each kind, with their number and an example.

use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_record::Timestamp;

/// Time between two lines of one kind.
const PERIOD: Duration = Duration::from_mins(1);

/// Facts that the log of a lane reports of single events, in the order of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoticeKind {
    /// Events became dead letters.
    DeadLetters,
    /// Records could not be mapped.
    MapErrors,
    /// Records were no valid JSON and were repaired.
    Repairs,
    /// A program of the user failed on events.
    ProgramErrors,
    /// Records exceed a bound.
    Overflows,
    /// Not all that `include` names could be fetched for records.
    NotEnriched,
    /// Labels of events, from the console, have the value `other`.
    OtherLabels,
}

/// Events that the log has not reported yet, by kind. A lane without such events allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Vec<Pending>>);

#[derive(Debug)]
struct Pending {
    kind: NoticeKind,
    reported_at: Timestamp,
    unreported: Option<Notice>,
}

/// The content of one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub count: u64,
    /// The reason and the record of one of the events.
    pub reason: Box<str>,
    pub record_id: Box<str>,
}

impl Notices {
    /// Adds `count` events of a kind, and returns the notice to log now. The first event of a kind is reported at once,
    /// and the events of the following minute together.
    pub fn add(&self, kind: NoticeKind, now: Timestamp, count: u64, reason: &str, record_id: &str) -> Option<Notice> {
        let mut kinds = self.0.lock();
        let notice = || Notice { count, reason: reason.into(), record_id: record_id.into() };
        match kinds.binary_search_by_key(&kind, |pending| pending.kind) {
            Err(place) => {
                kinds.reserve_exact(1);
                kinds.insert(place, Pending { kind, reported_at: now, unreported: None });
                Some(notice())
            }
            Ok(place) => {
                let pending = kinds.get_mut(place)?;
                match &mut pending.unreported {
                    Some(unreported) => unreported.count = unreported.count.saturating_add(count),
                    None => pending.unreported = Some(notice()),
                }
                pending.take_due(now)
            }
        }
    }

    /// Returns whether there was an event of any kind.
    pub fn has_any(&self) -> bool {
        !self.0.lock().is_empty()
    }

    /// Removes and returns the notices that are due at `now`, or all at the end of the lane (`None`).
    pub fn take(&self, now: Option<Timestamp>) -> Vec<(NoticeKind, Notice)> {
        let mut kinds = self.0.lock();
        let take = |pending: &mut Pending| match now {
            Some(now) => pending.take_due(now),
            None => pending.unreported.take(),
        };
        kinds.iter_mut().filter_map(|pending| Some((pending.kind, take(pending)?))).collect()
    }
}

impl Pending {
    fn take_due(&mut self, now: Timestamp) -> Option<Notice> {
        if now.since(self.reported_at) < PERIOD {
            return None;
        }
        let unreported = self.unreported.take()?;
        self.reported_at = now;
        Some(unreported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_told_at_once_and_the_others_together_after_a_minute() {
        let start = Timestamp::from_micros(1_790_000_000_000_000);
        let at = |second| start.plus(Duration::from_secs(second));
        let reported = |count, id: &str| Some(Notice { count, reason: "no field".into(), record_id: id.into() });
        let all = Notices::default();
        let add = |now, count, reason: &str, id: &str| all.add(NoticeKind::MapErrors, now, count, reason, id);
        let take = |now| all.take(now).pop().map(|(_, notice)| notice);
        assert_eq!(take(None), None);
        assert_eq!(add(at(0), 3, "no field", "1"), reported(3, "1"));
        assert_eq!(add(at(1), 2, "no field", "4"), None);
        assert_eq!(add(at(59), 5, "another", "6"), None);
        assert_eq!(take(Some(at(59))), None);
        // The notice is also due without a further event.
        assert_eq!(take(Some(at(60))), reported(7, "4"));
        assert_eq!(take(Some(at(500))), None);
        assert_eq!(add(at(119), 1, "no field", "8"), None, "a minute after the last line");
        assert_eq!(add(at(120), 1, "no field", "9"), reported(2, "8"));
        assert_eq!(add(at(121), 1, "no field", "10"), None);
        assert_eq!(take(None), reported(1, "10"), "at the lane's end");
        assert_eq!(take(None), None);
    }
}
