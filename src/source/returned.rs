use std::collections::HashMap;

use super::MANY_FINDINGS;
use crate::record::Timestamp;

/// The version of each record that a poll returned, where it returns one version of each. It remembers no more than the
/// position of a window does, however many records the poll reads.
#[derive(Debug, Default)]
pub(super) struct ReturnedVersions {
    /// The version of each id, and the second of the record's time.
    versions: HashMap<u64, (u64, i64)>,
    /// The largest id of the list.
    largest: u64,
    /// `largest` when the list was begun again. Ids up to it were shown before, if the list is in the order of ids.
    shown_until: u64,
    is_unordered: bool,
}

/// What a poll knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    Never,
    /// This version of it.
    This,
    /// Another version of it.
    Other,
}

impl ReturnedVersions {
    pub fn get(&self, id: u64, version: u64) -> Returned {
        match self.versions.get(&id) {
            Some((returned, _)) if *returned == version => Returned::This,
            Some(_) => Returned::Other,
            // It was returned after there was no more room.
            None if self.is_full() && !self.is_unordered && id <= self.shown_until => Returned::This,
            None => Returned::Never,
        }
    }

    /// Remembers a finding. Findings are listed in the order of their ids, so that the largest one stands for those for
    /// which there is no room.
    pub fn add_finding(&mut self, id: u64, version: u64) {
        self.is_unordered |= id < self.largest;
        self.largest = self.largest.max(id);
        if !self.is_full() {
            self.versions.insert(id, (version, 0));
        }
    }

    /// Remembers a record of a list in the order of time.
    pub fn add(&mut self, id: u64, version: u64, time: Timestamp) {
        self.versions.insert(id, (version, time.seconds()));
    }

    /// Forgets the records before `second`: no pager can meet them again.
    pub fn forget_before(&mut self, second: i64) {
        self.versions.retain(|_, (_, at)| *at >= second);
    }

    /// Another list begins, of which the order of ids is the poll's next one.
    pub fn next_list(&mut self) {
        self.largest = 0;
    }

    /// The list is read from its beginning.
    pub fn begin_list(&mut self) {
        self.shown_until = self.largest;
    }

    pub fn len(&self) -> usize {
        self.versions.len()
    }

    fn is_full(&self) -> bool {
        self.versions.len() >= MANY_FINDINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest id of the list stands for those without room.
    #[test]
    fn a_list_that_begins_again_shows_nothing_new_up_to_where_it_was() {
        let mut returned = ReturnedVersions::default();
        let first = 1_000;
        let without_room = first + MANY_FINDINGS as u64;
        (first..=without_room).for_each(|id| returned.add_finding(id, 1));
        assert_eq!(returned.len(), MANY_FINDINGS);
        returned.begin_list();
        let found = [(first, 1), (first, 2), (without_room, 1), (without_room + 1, 1)];
        let expected = [Returned::This, Returned::Other, Returned::This, Returned::Never];
        assert_eq!(found.map(|(id, version)| returned.get(id, version)), expected);

        // A list of another scope, whose ids begin at the smallest again. One finding came twice.
        returned.next_list();
        returned.add_finding(7, 1);
        returned.add_finding(7, 1);
        returned.begin_list();
        assert_eq!([7, 8].map(|id| returned.get(id, 1)), [Returned::This, Returned::Never]);

        // In no order the largest id says nothing.
        returned.add_finding(6, 1);
        assert_eq!(returned.get(7, 1), Returned::Never);
    }

    #[test]
    fn records_of_earlier_seconds_are_forgotten() {
        let mut returned = ReturnedVersions::default();
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        returned.add(1, 5, at(10));
        returned.add(2, 5, at(11));
        returned.forget_before(11);
        assert_eq!([1, 2].map(|id| returned.get(id, 5)), [Returned::Never, Returned::This]);
    }
}
