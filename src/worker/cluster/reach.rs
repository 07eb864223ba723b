use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::plan::{Call, Moment};

/// Whether the API server answers, as a worker should tell it. Of many calls under way some fail while others succeed, when
/// it or the machine is overloaded, and each change would be a line in the log: it counts as away when calls of one kind
/// (one alone may be forbidden) were not answered for a while, and as back when nothing has failed for a while.
#[derive(Debug)]
pub struct Reach {
    /// How long a change must last before it is told.
    lasting: Duration,
    kinds: HashMap<Discriminant<Call>, Kind>,
    /// When a call failed last.
    failed: Option<Moment>,
    /// What was told last.
    away_since: Option<Moment>,
    /// Calls that failed since it was told that the API server answers.
    failures: u64,
}

#[derive(Debug)]
struct Kind {
    /// When it was answered last, or else failed first.
    since: Moment,
    /// The last call failed, then.
    failing: Option<Moment>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing was answered for a while.
    Away,
    /// It answers again.
    Back {
        /// After so long without a reliable answer.
        after: Duration,
        /// So many calls had failed.
        failures: u64,
    },
}

impl Reach {
    /// Nothing was asked yet.
    pub fn new(lasting: Duration) -> Self {
        Self { lasting, kinds: HashMap::new(), failed: None, away_since: None, failures: 0 }
    }

    /// A call was answered.
    pub fn answered(&mut self, call: &Call, now: Moment) -> Option<Told> {
        self.kinds.insert(discriminant(call), Kind { since: now, failing: None });
        let is_past = |failed: Option<Moment>, time| failed.is_none_or(|failed| now.saturating_sub(failed) >= time);
        // What is called now and then is called once in this time, or not any more.
        let has_ended = self.kinds.values().all(|kind| is_past(kind.failing, 4 * self.lasting));
        if !has_ended || !is_past(self.failed, self.lasting) {
            return None;
        }
        let failures = std::mem::take(&mut self.failures);
        let since = self.away_since.take()?;
        Some(Told::Back { after: now.saturating_sub(since), failures })
    }

    /// A call was not answered, or in a way that says nothing.
    pub fn failed(&mut self, call: &Call, now: Moment) -> Option<Told> {
        self.failed = Some(now);
        self.failures += 1;
        let kind = self.kinds.entry(discriminant(call)).or_insert(Kind { since: now, failing: None });
        kind.failing = Some(now);
        if self.away_since.is_some() || now.saturating_sub(kind.since) < self.lasting {
            return None;
        }
        self.away_since = Some(kind.since);
        Some(Told::Away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTING: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let mut reach = Reach::new(LASTING);
        assert_eq!(reach.answered(&Call::List, at(1)), None);
        let told: Vec<_> = (2..=60).filter_map(|now| Some((now, reach.failed(&Call::List, at(now))?))).collect();
        assert_eq!(told, [(6, Told::Away)]);
        let told: Vec<_> = (61..=90).filter_map(|now| Some((now, reach.answered(&Call::List, at(now))?))).collect();
        assert_eq!(told, [(65, Told::Back { after: at(64), failures: 59 })]);
        assert_eq!(reach.failed(&Call::List, at(91)), None, "one call that fails says nothing");
    }

    /// Half of the calls come too late, for an hour.
    #[test]
    fn answers_that_come_and_go_are_told_as_nothing() {
        let mut reach = Reach::new(LASTING);
        let flapping = |reach: &mut Reach, now| match now % 2 {
            0 => reach.answered(&Call::List, at(now)),
            _ => reach.failed(&Call::List, at(now)),
        };
        assert!((0..3600).all(|now| flapping(&mut reach, now).is_none()));
        assert!((3600..3660).filter_map(|now| reach.failed(&Call::List, at(now))).eq([Told::Away]));
        // It comes back the same way: that is told when it is over.
        assert!((3660..7200).all(|now| flapping(&mut reach, now).is_none()));
        let told: Vec<_> = (7200..7300).filter_map(|now| reach.answered(&Call::List, at(now))).collect();
        assert!(matches!(told[..], [Told::Back { failures: 3630, .. }]), "{told:?}");
    }

    /// The rights of the service account lack a verb.
    #[test]
    fn one_kind_of_call_that_never_succeeds_is_told_once() {
        let mut reach = Reach::new(LASTING);
        let mut told = Vec::new();
        for now in 0..600 {
            told.extend(reach.answered(&Call::Beat(None), at(now)));
            if now % 5 == 0 {
                told.extend(reach.failed(&Call::List, at(now)));
            }
        }
        assert_eq!(told, [Told::Away]);
        assert_eq!(reach.answered(&Call::List, at(600)), Some(Told::Back { after: at(600), failures: 120 }));
    }
}
