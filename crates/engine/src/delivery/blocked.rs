//! Finds the events that a sink cannot take, although it takes others.
//!
//! A sink that answers 500 to a request may be down, or an event of the request may be to blame. After an hour of such
//! answers each attempt is a smaller request, until one is accepted. An event is to blame from then on, and what fails
//! is halved until that event is alone. A lane remembers this over its sessions, and in memory only.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use http::StatusCode;
use s1_forwarder_record::Identity;
use tokio::time::Instant;

use crate::sink::AttemptStatus;

/// Time without an attempt after which a search ends: its records are gone from the console, or have changed.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// Time after the last attempt with the first event after which another event takes its place, if nothing was accepted
/// since. The first event has changed then, or is gone from the console: a lane that fails sends the same batch again
/// far sooner.
const MOVED: Duration = Duration::from_mins(15);

/// The subject of an answer by which a sink accepted nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerSubject {
    /// Each event: the sink is up.
    Events,
    /// The request as a whole: the sink may be down.
    Request,
}

impl AnswerSubject {
    /// Returns the subject of an answer with this status; `None` if the sink is unavailable or busy, which no event
    /// causes.
    pub fn of(status: &AttemptStatus) -> Option<Self> {
        match status {
            AttemptStatus::Http(status) if status.is_success() => Some(Self::Events),
            AttemptStatus::Http(StatusCode::INTERNAL_SERVER_ERROR) => Some(Self::Request),
            _ => None,
        }
    }
}

/// The events that a lane's sink does not take.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    /// The events that failed alone, while others were accepted.
    found: Vec<BlamedEvent>,
    search: Option<Box<Search>>,
}

#[derive(Debug)]
struct BlamedEvent {
    event: Identity,
    at: Instant,
    /// Whether the sink has accepted others in an attempt that began later: it is not down.
    is_proven: bool,
}

#[derive(Debug)]
struct Search {
    /// The time since which each request with a suspect has failed.
    since: Instant,
    tried_at: Instant,
    /// The first event of a request that failed. Once smaller requests are tried, all events of the smallest request
    /// that failed.
    suspects: Vec<Identity>,
    /// The part of the suspects that is tried next: 1 is all suspects, 2 and 3 are the halves, 4 to 7 the quarters, and
    /// so on. With 0, batches are sent as always.
    part: usize,
    failed: AnswerSubject,
    /// The time at which the last attempt began that accepted other events; `None` if there was none.
    accepted_at: Option<Instant>,
    /// How long requests may fail before smaller ones are tried.
    patience: Duration,
}

/// The events to send apart from the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Apart {
    pub suspects: HashSet<Identity>,
    /// Number of the part of the suspects that is tried next.
    pub part: usize,
    /// Events that are sent alone, one by one, after all others.
    pub found: HashSet<Identity>,
}

impl Blocked {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.search.is_none()
    }

    pub fn has_found(&self, event: Identity) -> bool {
        self.found.iter().any(|found| found.event == event)
    }

    /// Returns whether the event was found, and the sink has accepted other events since then.
    pub fn is_proven(&self, event: Identity) -> bool {
        self.found.iter().any(|found| found.event == event && found.is_proven)
    }

    /// Notes that the sink accepted none of these events in an attempt that began at `now`. With `has_accepted`, the
    /// sink accepted other events of the same batch. Returns the event to blame, if it is known now.
    pub fn attempt_failed(
        &mut self,
        events: &[Identity],
        failed: AnswerSubject,
        has_accepted: bool,
        now: Instant,
        patience: Duration,
    ) -> Option<Identity> {
        let first = *events.first()?;
        if self.has_found(first) {
            return None;
        }
        let accepted_at = has_accepted.then_some(now);
        let start =
            || Search { since: now, tried_at: now, suspects: vec![first], part: 0, failed, accepted_at, patience };
        let search = self.search.get_or_insert_with(|| Box::new(start()));
        if !events.iter().any(|event| search.suspects.contains(event)) {
            let unseen_for = now - search.tried_at;
            let has_passed = search.accepted_at.is_some_and(|at| at >= search.tried_at);
            if unseen_for >= FORGOTTEN {
                **search = start();
                return None;
            }
            if search.part > 0 || has_passed || unseen_for < MOVED {
                // The events belong to another batch, which is in flight too.
                return None;
            }
            search.suspects = vec![first];
        }
        search.failed(events, failed, now);
        let blamed = search.blamed()?;
        self.found.push(BlamedEvent { event: blamed, at: now, is_proven: false });
        self.search = None;
        Some(blamed)
    }

    /// Ends the search, since the sink is unavailable or busy.
    pub fn unavailable(&mut self) {
        self.search = None;
    }

    /// Forgets events that need not be sent again. An attempt that began at `accepted_at` has delivered them; if it is
    /// `None`, the sink has refused them.
    pub fn forget_settled(&mut self, events: &HashSet<Identity>, accepted_at: Option<Instant>) {
        self.found.retain(|found| !events.contains(&found.event));
        for found in &mut self.found {
            found.is_proven |= accepted_at.is_some_and(|at| at > found.at);
        }
        let Some(search) = &mut self.search else { return };
        let before = search.suspects.len();
        search.suspects.retain(|event| !events.contains(event));
        if search.suspects.is_empty() {
            self.search = None;
            return;
        }
        search.accepted_at = search.accepted_at.max(accepted_at);
        if search.suspects.len() < before {
            search.part = search.part.min(1);
        }
    }

    /// Returns the events to send apart; `None` if batches are sent as usual.
    pub fn apart(&self) -> Option<Apart> {
        let search = self.search.as_ref().filter(|search| search.sends_apart());
        if search.is_none() && self.found.is_empty() {
            return None;
        }
        Some(Apart {
            suspects: search.map(|search| search.suspects.iter().copied().collect()).unwrap_or_default(),
            part: search.map_or(1, |search| search.part),
            found: self.found.iter().map(|found| found.event).collect(),
        })
    }
}

impl Search {
    /// Returns whether an event is to blame, and not the sink. The sink must have accepted other events since the
    /// search began. If requests fail as a whole, it must have accepted them after `patience`, when smaller requests
    /// are tried.
    fn blames_an_event(&self) -> bool {
        let since = self.since + if self.failed == AnswerSubject::Events { Duration::ZERO } else { self.patience };
        self.accepted_at.is_some_and(|at| at >= since)
    }

    fn is_due(&self) -> bool {
        self.tried_at - self.since >= self.patience
    }

    fn sends_apart(&self) -> bool {
        self.part > 1 || (self.part == 1 && self.blames_an_event())
    }

    fn failed(&mut self, events: &[Identity], failed: AnswerSubject, now: Instant) {
        self.tried_at = now;
        self.failed = failed;
        if !self.is_due() {
            return;
        }
        let has_others = events.iter().any(|event| !self.suspects.contains(event));
        if self.part == 0 || has_others || self.blames_an_event() {
            self.suspects = events.to_vec();
            self.part = 1;
        }
        let last = 2 * self.suspects.len().next_power_of_two();
        let mut smaller = self.part + 1..last;
        self.part = smaller.find(|part| !part_of(self.suspects.len(), *part).is_empty()).unwrap_or(1);
    }

    fn blamed(&self) -> Option<Identity> {
        match self.suspects.as_slice() {
            [event] if self.is_due() && self.part > 0 && self.blames_an_event() => Some(*event),
            _ => None,
        }
    }
}

/// Returns the indices of a [`Search::part`] among `events` suspects.
pub(super) fn part_of(events: usize, part: usize) -> Range<usize> {
    let parts = 1 << part.max(1).ilog2();
    let number = part.max(1) - parts;
    events * number / parts..events * (number + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_record::Stream;

    const HOUR: Duration = Duration::from_hours(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn events(numbers: Range<usize>) -> Vec<Identity> {
        numbers.map(|number| Identity::of("host", Stream::Threats, &number.to_string(), "")).collect()
    }

    #[test]
    fn the_parts_of_each_level_are_all_events() {
        for count in 0..20 {
            for level in 0..6 {
                let parts = (1 << level..2 << level).flat_map(|part| part_of(count, part));
                assert_eq!(parts.collect::<Vec<_>>(), (0..count).collect::<Vec<_>>(), "{count} {level}");
            }
        }
        assert_eq!([1, 2, 3, 4, 7].map(|part| part_of(50, part)), [0..50, 0..25, 25..50, 0..12, 37..50]);
    }

    #[test]
    fn only_a_500_and_a_success_may_be_the_fault_of_an_event() {
        let of = |status| AnswerSubject::of(&AttemptStatus::of_label(status));
        for status in ["200", "207"] {
            assert_eq!(of(status), Some(AnswerSubject::Events), "{status}");
        }
        assert_eq!(of("500"), Some(AnswerSubject::Request));
        for status in ["408", "425", "429", "501", "502", "503", "504", "507", "520", "timeout", "connect", "NoError"] {
            assert_eq!(of(status), None, "{status}");
        }
    }

    /// Each row has the answers at some minutes, and the part that is tried after them.
    #[test]
    fn smaller_requests_are_tried_after_an_hour_of_nothing_else() {
        enum Then {
            Fails(Range<usize>),
            Accepts(Range<usize>),
            IsUnavailable,
        }
        use Then::{Accepts, Fails, IsUnavailable};
        type Row<'a> = (&'a [(u32, Then)], Option<usize>);
        let rows: [Row<'_>; 14] = [
            (&[(0, Fails(0..8)), (59, Fails(0..8))], None),
            (&[(0, Fails(0..8)), (60, Fails(0..8))], Some(2)),
            (&[(0, Fails(0..8)), (30, IsUnavailable), (60, Fails(0..8))], None),
            (&[(0, Fails(0..8)), (30, Accepts(0..8)), (60, Fails(0..8))], None),
            (&[(0, Fails(0..8)), (60, Fails(0..8)), (61, Fails(0..4)), (62, Fails(4..8))], Some(4)),
            // Events that the sink accepted before the hour was over do not show that it is up now.
            (&[(0, Fails(0..8)), (1, Accepts(20..30)), (60, Fails(0..8)), (61, Fails(0..4))], Some(3)),
            // The first event has changed, and comes last now.
            (&[(0, Fails(0..8)), (20, Fails(1..9)), (40, Fails(1..9)), (60, Fails(1..9))], Some(2)),
            (&[(0, Fails(0..8)), (10, Fails(1..9)), (59, Fails(0..8)), (60, Fails(1..9))], None),
            // The first event is gone, and the sink has accepted others since: an hour is measured for the events that
            // fail now.
            (&[(0, Fails(0..8)), (10, Accepts(20..30)), (200, Fails(30..38))], None),
            (&[(0, Fails(0..8)), (20, Accepts(20..30)), (40, Fails(30..38)), (61, Fails(30..38))], None),
            // Another batch in flight says nothing of this one.
            (&[(0, Fails(0..8)), (60, Fails(0..8)), (61, Fails(8..16))], Some(2)),
            (&[(0, Fails(0..8)), (60, Fails(0..8)), (61, Fails(0..4)), (62, Accepts(4..8))], Some(1)),
            // The sink was down.
            (&[(0, Fails(0..8)), (60, Fails(0..8)), (61, Accepts(0..4)), (62, Accepts(4..8))], None),
            // The suspects are gone, and an hour is measured for the next ones.
            (&[(0, Fails(0..8)), (60, Fails(0..8)), (120, Fails(9..17)), (179, Fails(9..17))], None),
        ];
        for (number, (row, expected)) in rows.into_iter().enumerate() {
            let start = Instant::now();
            let mut blocked = Blocked::default();
            for (minute, then) in row {
                let now = start + *minute * MINUTE;
                match then {
                    Fails(range) => {
                        let events = events(range.clone());
                        assert_eq!(blocked.attempt_failed(&events, AnswerSubject::Request, false, now, HOUR), None);
                    }
                    Accepts(range) => blocked.forget_settled(&events(range.clone()).into_iter().collect(), Some(now)),
                    IsUnavailable => blocked.unavailable(),
                }
            }
            assert_eq!(blocked.apart().map(|apart| apart.part), expected, "row {number}");
        }
    }
}
