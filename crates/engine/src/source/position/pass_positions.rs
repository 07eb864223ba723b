//! The positions of a lane's passes, and the log of what has changed since they were stored last.

use std::sync::Arc;

use compact_str::CompactString;

use super::changes::Changes;
use super::pass_position::{Head, PassPosition};
use crate::source::{Pass, RecordKey};

/// The positions of passes, by the names of the passes. The stream's first pass comes first: it says how far the lane
/// is.
///
/// The log names passes by their places, and has keys and contents. It ends when a place changes, or when keys change
/// that no record brought: then only the positions as a whole say what has changed. Times are not in the log: they are
/// compared when it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PassPositions {
    positions: Vec<(CompactString, Arc<PassPosition>)>,
    log: Option<Box<Changes>>,
}

impl PassPositions {
    pub fn iter(&self) -> impl Iterator<Item = (&CompactString, &Arc<PassPosition>)> {
        self.positions.iter().map(|(name, position)| (name, position))
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.positions.iter().position(|(other, _)| other == name)
    }

    pub fn at(&self, index: usize) -> Option<&Arc<PassPosition>> {
        self.positions.get(index).map(|(_, position)| position)
    }

    /// Returns the position, whose times the caller may change. A caller that changes its keys also has to end the log.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut PassPosition> {
        self.positions.get_mut(index).map(|(_, position)| Arc::make_mut(position))
    }

    /// Adds the position of a pass, and returns its place.
    pub fn begin(&mut self, name: CompactString, position: Arc<PassPosition>) -> usize {
        self.end_log();
        self.positions.push((name, position));
        self.positions.len() - 1
    }

    pub fn move_to_front(&mut self, index: usize) {
        if (1..self.positions.len()).contains(&index) {
            self.end_log();
            self.positions[..=index].rotate_right(1);
        }
    }

    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        let before = self.positions.len();
        self.positions.retain(|(name, _)| is_kept(name));
        if self.positions.len() < before {
            self.end_log();
        }
    }

    pub fn replace(&mut self, index: usize, with: PassPosition) {
        if let Some((_, position)) = self.positions.get_mut(index) {
            *position = Arc::new(with);
            self.end_log();
        }
    }

    /// Changes the times of the positions of the passes for which `is_one` holds.
    pub fn change_times(&mut self, is_one: impl Fn(&str) -> bool, change: impl Fn(&mut PassPosition)) {
        let changed = self.positions.iter_mut().filter(|(name, _)| is_one(name));
        changed.for_each(|(_, position)| change(Arc::make_mut(position)));
    }

    /// Changes all of each position, and ends the log.
    pub fn change_all(&mut self, change: impl Fn(&mut PassPosition)) {
        self.end_log();
        self.positions.iter_mut().for_each(|(_, position)| change(Arc::make_mut(position)));
    }

    /// Remembers a record as `pass` does. Returns false if its position knew this version before, or has no room for
    /// it.
    pub fn remember(&mut self, index: usize, pass: &Pass, record_key: &RecordKey) -> bool {
        let Some((_, position)) = self.positions.get_mut(index) else { return false };
        if !position.has_room(pass) || !Arc::make_mut(position).remember_record(pass, record_key) {
            return false;
        }
        let second = pass.order_time(record_key).seconds();
        if let Some(log) = &mut self.log
            && second >= position.first_kept_second()
        {
            let (key, version) = pass.key(record_key);
            log.push(index, pass.reads_findings(), second, key, version);
        }
        true
    }

    /// Logs the content of a record.
    pub fn log_content(&mut self, id: u64, content: u64) {
        if let Some(log) = &mut self.log {
            log.contents.insert(id, content);
        }
    }

    /// Begins a log of the changes from now on.
    pub fn begin_log(&mut self) {
        self.log = Some(Box::new(Changes::since(self.heads().collect())));
    }

    /// Goes on with a log that was stored.
    pub fn resume_log(&mut self, log: Changes) {
        self.log = Some(Box::new(log));
    }

    /// Returns a copy that logs nothing.
    pub fn without_log(&self) -> Self {
        Self { positions: self.positions.clone(), log: None }
    }

    pub fn end_log(&mut self) {
        self.log = None;
    }

    pub fn log(&self) -> Option<&Changes> {
        self.log.as_deref()
    }

    /// Removes overwritten and forgotten keys from the log.
    pub fn compact_log(&mut self) {
        let first_kept = self.first_kept_seconds();
        if let Some(log) = &mut self.log {
            log.compact(&first_kept);
        }
    }

    /// Compacts the log if it has grown much since the last compaction.
    pub fn compact_grown_log(&mut self) {
        if self.log.as_ref().is_some_and(|log| log.has_doubled()) {
            self.compact_log();
        }
    }

    pub fn names(&self) -> Vec<&CompactString> {
        self.positions.iter().map(|(name, _)| name).collect()
    }

    pub fn heads(&self) -> impl Iterator<Item = (CompactString, Head)> {
        self.positions.iter().map(|(name, position)| (name.clone(), position.head()))
    }

    /// Returns the first second of which each pass has keys.
    pub fn first_kept_seconds(&self) -> Vec<i64> {
        self.positions.iter().map(|(_, position)| position.first_kept_second()).collect()
    }
}
