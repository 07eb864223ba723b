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
    /// The same when the list was begun again: it shows once more what came before, if it is in the order of ids.
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
