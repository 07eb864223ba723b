//! State that a lane had settled when a poll began. The poll compares records with it.

use std::sync::Arc;

use s1_forwarder_record::Timestamp;

use super::contents::Contents;
use super::pass_position::PassPosition;
use super::seconds::KnownState;
use crate::source::{Pass, RecordKey};

/// State that a lane had settled when a poll began, as far as it concerns the pass of the poll. The poll only reads it.
/// Records that the poll returns are in `poll/returned.rs`, and enter the lane's position when they are settled.
#[derive(Debug)]
pub(in crate::source) struct Baseline {
    /// Records before this are out of scope.
    pub since: Timestamp,
    pub pass_position: Arc<PassPosition>,
    /// The position of the pass that reads records by their creation, if there is one.
    pub by_creation: Option<Arc<PassPosition>>,
    pub contents: Contents,
}

impl Baseline {
    /// Looks up a record. A record without a time of its own is looked up under every time.
    pub fn knows(&self, pass: &Pass, record_key: &RecordKey, has_time: bool) -> KnownState {
        self.pass_position.knows_record(pass, record_key, has_time)
    }

    /// Returns whether a record was settled, or is older than all records that are remembered by creation. The key of
    /// the record is the same for all its versions.
    pub fn has_settled(&self, record_key: &RecordKey) -> bool {
        let time = record_key.created.unwrap_or(record_key.time);
        self.by_creation.as_ref().is_some_and(|created| {
            time.seconds() < created.first_kept_second()
                || created.knows(time, record_key.version, None) == KnownState::Settled
        })
    }

    /// Releases the keys once all of them are of earlier seconds: no pager can meet their records again.
    pub fn forget_before(&mut self, second: i64) {
        if self.pass_position.last_second().is_some_and(|last| last < second) {
            self.pass_position = Arc::new(self.pass_position.without_keys());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn keys_are_released_once_all_of_them_are_earlier() {
        let mut pass_position = PassPosition::starting_at(second(1));
        pass_position.remember(second(10), 1, None);
        pass_position.remember(second(20), 2, None);
        let bound = pass_position.bound;
        let pass_position = Arc::new(pass_position);
        let mut baseline =
            Baseline { since: second(0), pass_position, by_creation: None, contents: Contents::default() };
        for (before, kept) in [(20, 2), (21, 0)] {
            baseline.forget_before(before);
            assert_eq!((baseline.pass_position.key_count(), baseline.pass_position.bound), (kept, bound), "{before}");
        }
    }
}
