//! Records that appear and change as time goes.
//!
//! The n-th event is due at a moment that only the seed and n decide, so the console's content at a moment does not
//! depend on how often it was asked before.

use super::kind::Kind;
use super::random::Random;
use super::setup::Setup;
use super::time::SECOND;

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A record of this kind appears, created at this moment (earlier than now when it is late).
    Appears(Kind, i64),
    /// Some record of this kind changes, at this moment by its own time.
    Changes(Kind, i64),
    /// Several records of this kind change at one moment.
    ChangesTogether(Kind, i64),
}

/// The schedule of live events.
#[derive(Debug)]
pub(super) struct Live {
    random: Random,
    events: Vec<(u32, Event)>,
    /// When the next event happens.
    due: i64,
    rate: f64,
    late: (f64, i64),
}

const EVENTS: &[(u32, Event)] = &[
    (820, Event::Appears(Kind::Activities, 0)),
    (12, Event::Appears(Kind::Threats, 0)),
    (24, Event::Changes(Kind::Threats, 0)),
    (4, Event::ChangesTogether(Kind::Threats, 0)),
    (110, Event::Changes(Kind::Agents, 0)),
    (4, Event::ChangesTogether(Kind::Agents, 0)),
    (24, Event::Appears(Kind::Alerts, 0)),
    (10, Event::Changes(Kind::Alerts, 0)),
    (3, Event::Appears(Kind::Agents, 0)),
    (3, Event::Changes(Kind::Groups, 0)),
];

impl Live {
    pub fn new(setup: &Setup) -> Self {
        let late = i64::try_from(setup.late.1.as_micros()).unwrap_or(i64::MAX);
        let mut events = EVENTS.to_vec();
        for (kind, count) in
            [(Kind::UnifiedAlerts, setup.unified_alerts), (Kind::Vulnerabilities, setup.vulnerabilities)]
        {
            if count > 0 {
                events.extend([
                    (40, Event::Appears(kind, 0)),
                    (30, Event::Changes(kind, 0)),
                    (4, Event::ChangesTogether(kind, 0)),
                ]);
            }
        }
        let (random, late) = (Random::new(setup.seed, 2), (setup.late.0, late));
        let mut live = Self { random, events, due: setup.now, rate: setup.rate, late };
        live.schedule();
        live
    }

    /// Another rate from `now` on.
    pub fn set_rate(&mut self, rate: f64, now: i64) {
        self.rate = rate;
        self.due = now;
        self.schedule();
    }

    /// The next event that is due by `now`.
    pub fn next(&mut self, now: i64) -> Option<Event> {
        if self.rate <= 0.0 || self.due > now {
            return None;
        }
        let at = self.due;
        let late = if self.random.chance(self.late.0) { self.random.within(0..self.late.1.max(1)) } else { 0 };
        let event = match *self.random.weigh(&self.events) {
            Event::Appears(kind, _) => Event::Appears(kind, at - late),
            Event::Changes(kind, _) => Event::Changes(kind, at - late),
            Event::ChangesTogether(kind, _) => Event::ChangesTogether(kind, at - late),
        };
        self.schedule();
        Some(event)
    }

    /// Which of so many records changes.
    pub fn pick(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    /// Events come at exponentially distributed distances, as independent ones do.
    fn schedule(&mut self) {
        if self.rate > 0.0 {
            let distance = -(1.0 - self.random.unit()).ln() / self.rate * SECOND as f64;
            self.due = self.due.saturating_add((distance as i64).max(1));
        }
    }
}
