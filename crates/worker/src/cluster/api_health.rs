//! Decides when the API server of Kubernetes is reported as unavailable.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::plan::{Call, MonotonicTime};

/// Decides when to report that the API server is unavailable, and that it is available again.
///
/// An overloaded API server or machine answers some calls while others fail, and each change would be a line in the
/// log. So the API server counts as unavailable when calls of one kind were not on_success for a while. Each kind
/// counts alone, since one may be forbidden. The API server counts as available again when no call has failed for a
/// while.
#[derive(Debug)]
pub struct ApiHealth {
    /// How long a change must last before it is reported.
    delay: Duration,
    kinds: HashMap<Discriminant<Call>, CallKind>,
    last_failure: Option<MonotonicTime>,
    /// Set while the API server is reported as unavailable.
    unavailable_since: Option<MonotonicTime>,
    /// Failed calls since the API server was last reported as available.
    failures: u64,
}

#[derive(Debug)]
struct CallKind {
    /// Time of the last answer, or of the first failure if there was no answer.
    since: MonotonicTime,
    /// Time of the last call, if it failed.
    failed_at: Option<MonotonicTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthTransition {
    Unavailable,
    Available {
        /// How long the API server was unavailable.
        after: Duration,
        /// Number of failed calls.
        failures: u64,
    },
}

impl ApiHealth {
    pub fn new(delay: Duration) -> Self {
        Self { delay, kinds: HashMap::new(), last_failure: None, unavailable_since: None, failures: 0 }
    }

    /// Notes a call that succeeded. The caller reports each such call.
    pub fn on_success(&mut self, call: &Call, now: MonotonicTime) -> Option<HealthTransition> {
        self.kinds.insert(discriminant(call), CallKind { since: now, failed_at: None });
        let is_past = |failed: Option<_>, time| failed.is_none_or(|failed| now.saturating_sub(failed) >= time);
        // Every kind of call in use is sent at least once in this time.
        let has_ended = self.kinds.values().all(|kind| is_past(kind.failed_at, 4 * self.delay));
        if !has_ended || !is_past(self.last_failure, self.delay) {
            return None;
        }
        let failures = std::mem::take(&mut self.failures);
        let since = self.unavailable_since.take()?;
        Some(HealthTransition::Available { after: now.saturating_sub(since), failures })
    }

    /// Notes a call without a usable answer. The caller reports each such call.
    pub fn on_failure(&mut self, call: &Call, now: MonotonicTime) -> Option<HealthTransition> {
        self.last_failure = Some(now);
        self.failures += 1;
        let kind = self.kinds.entry(discriminant(call)).or_insert(CallKind { since: now, failed_at: None });
        kind.failed_at = Some(now);
        if self.unavailable_since.is_some() || now.saturating_sub(kind.since) < self.delay {
            return None;
        }
        self.unavailable_since = Some(kind.since);
        Some(HealthTransition::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> MonotonicTime {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_and_its_end_are_each_reported_once() {
        let mut health = ApiHealth::new(DELAY);
        assert_eq!(health.on_success(&Call::List, at(1)), None);
        let reported: Vec<_> =
            (2..=60).filter_map(|now| Some((now, health.on_failure(&Call::List, at(now))?))).collect();
        assert_eq!(reported, [(6, HealthTransition::Unavailable)]);
        let reported: Vec<_> =
            (61..=90).filter_map(|now| Some((now, health.on_success(&Call::List, at(now))?))).collect();
        assert_eq!(reported, [(65, HealthTransition::Available { after: at(64), failures: 59 })]);
        assert_eq!(health.on_failure(&Call::List, at(91)), None, "one failed call is not an outage");
    }

    /// Half of the answers come too late, for an hour.
    #[test]
    fn a_mix_of_answers_and_failures_is_not_reported() {
        let mut health = ApiHealth::new(DELAY);
        let flapping = |health: &mut ApiHealth, now| match now % 2 {
            0 => health.on_success(&Call::List, at(now)),
            _ => health.on_failure(&Call::List, at(now)),
        };
        assert!((0..3600).all(|now| flapping(&mut health, now).is_none()));
        assert!(
            (3600..3660).filter_map(|now| health.on_failure(&Call::List, at(now))).eq([HealthTransition::Unavailable])
        );
        // The recovery has such a mix too, and is reported at its end.
        assert!((3660..7200).all(|now| flapping(&mut health, now).is_none()));
        let reported: Vec<_> = (7200..7300).filter_map(|now| health.on_success(&Call::List, at(now))).collect();
        assert!(matches!(reported[..], [HealthTransition::Available { failures: 3630, .. }]), "{reported:?}");
    }

    /// The rights of the service account lack a verb.
    #[test]
    fn one_kind_of_call_that_never_succeeds_is_reported_once() {
        let mut health = ApiHealth::new(DELAY);
        let mut reported = Vec::new();
        for now in 0..600 {
            reported.extend(health.on_success(&Call::Heartbeat(None), at(now)));
            if now % 5 == 0 {
                reported.extend(health.on_failure(&Call::List, at(now)));
            }
        }
        assert_eq!(reported, [HealthTransition::Unavailable]);
        assert_eq!(
            health.on_success(&Call::List, at(600)),
            Some(HealthTransition::Available { after: at(600), failures: 120 })
        );
    }
}
