//! Creates and changes records over time.
//!
//! Only the seed and n determine the time of the n-th event. The records at a given time therefore do not depend on
//! earlier requests.

use super::kind::Kind;
use super::random::Random;
use super::setup::Setup;
use super::time::SECOND;

/// A change of the records. Times are in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A record is created; its creation time is earlier than now if it arrives late.
    Created(Kind, i64),
    /// A random record changes.
    Changed(Kind, i64),
    /// Several records change at the same time.
    ChangedTogether(Kind, i64),
}

/// The schedule of live events.
#[derive(Debug)]
pub(super) struct LiveGenerator {
    random: Random,
    events: Vec<(u32, Event)>,
    /// The time of the next event.
    due: i64,
    rate: f64,
    /// Probability and maximum delay of late arrivals.
    late: (f64, i64),
}

const EVENTS: &[(u32, Event)] = &[
    (820, Event::Created(Kind::Activities, 0)),
    (12, Event::Created(Kind::Threats, 0)),
    (24, Event::Changed(Kind::Threats, 0)),
    (4, Event::ChangedTogether(Kind::Threats, 0)),
    (110, Event::Changed(Kind::Agents, 0)),
    (4, Event::ChangedTogether(Kind::Agents, 0)),
    (24, Event::Created(Kind::Alerts, 0)),
    (10, Event::Changed(Kind::Alerts, 0)),
    (3, Event::Created(Kind::Agents, 0)),
    (3, Event::Changed(Kind::Groups, 0)),
];

impl LiveGenerator {
    pub fn new(setup: &Setup) -> Self {
        let late = i64::try_from(setup.late.1.as_micros()).unwrap_or(i64::MAX);
        let mut events = EVENTS.to_vec();
        for (kind, _) in setup.licensed().filter(|(_, count)| *count > 0) {
            events.push((40, Event::Created(kind, 0)));
            if kind.description().change.is_some() {
                events.extend([(30, Event::Changed(kind, 0)), (4, Event::ChangedTogether(kind, 0))]);
            }
        }
        let random = Random::new(setup.seed, 2);
        let late = (setup.late.0, late);
        let mut live = Self { random, events, due: setup.now, rate: setup.rate, late };
        live.schedule();
        live
    }

    pub fn set_rate(&mut self, rate: f64, now: i64) {
        self.rate = rate;
        self.due = now;
        self.schedule();
    }

    /// Returns the next event that is due by `now`.
    pub fn next(&mut self, now: i64) -> Option<Event> {
        if self.rate <= 0.0 || self.due > now {
            return None;
        }
        let at = self.due;
        let late = if self.random.chance(self.late.0) { self.random.within(0..self.late.1.max(1)) } else { 0 };
        let event = match *self.random.choose_weighted(&self.events) {
            Event::Created(kind, _) => Event::Created(kind, at - late),
            Event::Changed(kind, _) => Event::Changed(kind, at - late),
            Event::ChangedTogether(kind, _) => Event::ChangedTogether(kind, at - late),
        };
        self.schedule();
        Some(event)
    }

    /// Returns a random number below `count`.
    pub fn random_index(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    /// Sets the time of the next event. The intervals between events are exponentially distributed.
    fn schedule(&mut self) {
        if self.rate > 0.0 {
            let interval = -(1.0 - self.random.unit()).ln() / self.rate * SECOND as f64;
            self.due = self.due.saturating_add((interval as i64).max(1));
        }
    }
}
