//! Position of a lane: its form in memory, the part that a poll reads of it, and its stored form.

mod baseline;
mod changes;
mod contents;
mod encoding;
mod pass_position;
mod pass_positions;
mod seconds;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use smallvec::SmallVec;

use self::contents::Contents;
use self::pass_positions::PassPositions;
use super::findings::is_of_scope;
use super::{Pass, PollContext, RecordKey, TimeField};

pub(super) use self::baseline::Baseline;
pub(super) use self::pass_position::{MANY_FINDINGS, bound_behind, first_kept_second};
pub use self::pass_position::{PassPosition, Snapshot, SnapshotStage};
pub(super) use self::seconds::KeysBySecond;
pub use self::seconds::KnownState;
pub use self::stored::{PositionPart, PositionReader};

/// Names the position of a stream's first pass in checkpoints.
pub const MAIN_PASS: &str = "main";
/// Names the position of snapshots in checkpoints.
pub(super) const SNAPSHOT: &str = "snapshot";

/// How far a lane has come: one position for each pass over its stream, and the contents of records. A record enters
/// it once, when it is settled. Clones share what neither of them changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// Records before this are out of scope.
    since: Timestamp,
    passes: PassPositions,
    contents: Contents,
}

/// Adds records that one poll has returned to the position.
#[derive(Debug)]
pub struct Settling<'a> {
    position: &'a mut SourcePosition,
    context: PollContext,
    /// The passes that remember the records, and the places of their positions.
    passes: SmallVec<[(&'a Pass, usize); 2]>,
    /// The place of the position of the pass that returned them.
    returned_by: Option<usize>,
}

impl SourcePosition {
    /// Returns the position of a new lane that begins at `since`.
    pub fn starting_at(since: Timestamp) -> Self {
        Self { since, ..Self::default() }
    }

    /// Adds positions for the stream's new passes. A pass that comes back for known records begins with the next poll
    /// (`beginning`).
    pub fn add_passes(&mut self, passes: &[Pass]) {
        for pass in passes.iter().filter(|pass| !pass.comes_back()) {
            self.index_or_begin(pass, passes, self.since);
        }
        if let Some(first) = passes.first().and_then(|pass| self.index(pass)) {
            self.passes.move_to_front(first);
        }
    }

    /// Returns the position at which a pass begins that was never polled, for a poll that starts at `start`. A scope of
    /// findings that was found continues what was read of all scopes. A pass that comes back begins no further back
    /// than it reaches. A pass in another order shows records that the first pass never does, so it begins where the
    /// lane does.
    fn beginning(&self, pass: &Pass, passes: &[Pass], start: Timestamp) -> Arc<PassPosition> {
        if let Some(all) = passes.iter().find(|other| other.reads_all_findings())
            && let Some(read) = self.shared(all)
        {
            return read.clone();
        }
        let shows_the_same = passes.first().is_some_and(|first| first.by == pass.by);
        let reached = if pass.comes_back() && shows_the_same { start.minus(pass.late_window) } else { self.since };
        Arc::new(PassPosition::starting_at(self.since.max(reached)))
    }

    fn index(&self, pass: &Pass) -> Option<usize> {
        self.passes.index(&pass.name)
    }

    fn shared(&self, pass: &Pass) -> Option<&Arc<PassPosition>> {
        self.passes.at(self.index(pass)?)
    }

    fn index_or_begin(&mut self, pass: &Pass, passes: &[Pass], start: Timestamp) -> usize {
        self.index(pass).unwrap_or_else(|| {
            let beginning = self.beginning(pass, passes, start);
            self.passes.begin(pass.name.clone(), beginning)
        })
    }

    /// Forgets positions of scopes, and of passes that come back, that the stream does not have now. Another mode of
    /// the stream goes on where it was.
    pub(crate) fn forget_others(&mut self, passes: &[Pass]) {
        let is_by_scope = passes.iter().any(Pass::reads_findings);
        self.passes.retain(|name| {
            let is_of_mode = !is_by_scope && [MAIN_PASS, SNAPSHOT].contains(&name);
            is_of_mode || passes.iter().any(|pass| pass.name == name)
        });
    }

    /// Ends the log: the position is stored as a whole from now on.
    pub(crate) fn store_whole(&mut self) {
        self.passes.end_log();
    }

    /// Returns the positions with the names of their passes.
    pub fn pass_positions(&self) -> impl Iterator<Item = (&str, &PassPosition)> {
        self.passes.iter().map(|(name, pass_position)| (name.as_str(), &**pass_position))
    }

    pub fn of_pass(&self, pass: &Pass) -> Option<&PassPosition> {
        self.shared(pass).map(|pass_position| &**pass_position)
    }

    /// Returns the position of the stream's first pass.
    pub fn first(&self) -> Option<&PassPosition> {
        self.passes.at(0).map(|pass_position| &**pass_position)
    }

    /// Returns the lower end of the first pass's next poll, included.
    pub fn bound(&self) -> Timestamp {
        self.first().map_or(self.since, |first| first.bound)
    }

    /// Returns the start of the first pass's last poll that reached its end with all records settled.
    pub fn complete(&self) -> Option<Timestamp> {
        self.first()?.complete
    }

    /// Returns the time up to which the first pass has read all records, late arrivals within `overlap` included;
    /// `None` for snapshots.
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.first().filter(|first| first.snapshot.is_none()).map(|first| first.bound)
    }

    /// Returns the time up to which the lane is complete: `lag_seconds` is measured from it. A lane that reads scope by
    /// scope is only as far as the scope that is furthest behind.
    pub fn complete_until(&self) -> Timestamp {
        let scopes = self
            .pass_positions()
            .filter(|(name, _)| is_of_scope(name))
            .map(|(_, pass_position)| pass_position.complete_until());
        scopes.min().unwrap_or_else(|| self.first().map_or(self.since, PassPosition::complete_until))
    }

    /// Returns the end of the last second of which the first pass has a key, or [`Self::complete_until`] if it is
    /// later.
    pub(crate) fn newest(&self) -> Timestamp {
        let last = self.first().and_then(PassPosition::last_second);
        let after = last.map(|second| Timestamp::from_micros(second.saturating_add(1).saturating_mul(1_000_000)));
        self.complete_until().max(after.unwrap_or_default())
    }

    /// Returns whether a poll of any pass was complete, or has shown a record.
    pub(crate) fn was_read(&self) -> bool {
        self.pass_positions()
            .any(|(_, pass_position)| pass_position.complete.is_some() || pass_position.key_count() > 0)
    }

    /// Returns the number of keys over all passes.
    pub fn key_count(&self) -> usize {
        self.pass_positions().map(|(_, pass_position)| pass_position.key_count()).sum()
    }

    /// Returns the number of records whose content is remembered.
    pub fn content_count(&self) -> usize {
        self.contents.len()
    }

    /// Returns the number of keys and contents, which grows with the records that are remembered.
    pub fn size(&self) -> usize {
        self.key_count() + self.content_count()
    }

    /// Returns the state with which a poll of the pass begins; `None` if the stream has no such pass.
    pub(super) fn baseline(&self, passes: &[Pass], context: PollContext) -> Option<Baseline> {
        let pass = passes.get(context.pass)?;
        let known = self.shared(pass).cloned();
        let mut pass_position = known.unwrap_or_else(|| self.beginning(pass, passes, context.start));
        if let Some(first) = pass_position.beginning_snapshot(context.snapshot, self.since) {
            pass_position = Arc::new(first);
        }
        let by_creation = passes.iter().find(|pass| pass.by == TimeField::Creation);
        let by_creation = by_creation
            .map(|pass| self.shared(pass).cloned().unwrap_or_else(|| self.beginning(pass, passes, context.start)));
        Some(Baseline { since: self.since, pass_position, by_creation, contents: self.contents.clone() })
    }

    /// Returns the time of the snapshot that a poll at `start` reads: the unfinished snapshot, or else the snapshot due
    /// at `start`. Returns `None` if that snapshot is done.
    pub(super) fn next_snapshot(&self, pass: &Pass, start: Timestamp) -> Option<Timestamp> {
        let due = start.aligned_to(pass.every);
        match self.of_pass(pass).and_then(|pass_position| pass_position.snapshot) {
            Some(snapshot) if snapshot.stage != SnapshotStage::Done => Some(snapshot.time),
            Some(snapshot) if snapshot.time >= due => None,
            _ => Some(due),
        }
    }

    /// Returns whether a poll of findings at `start` is a sweep, which reads all findings. The first poll is a sweep if
    /// the lane owes everything. Later sweeps come every `resync`, but not two in a row. Otherwise, if a sweep took
    /// longer than `resync`, removals would never be read.
    pub(super) fn is_sweep_due(&self, pass: &Pass, start: Timestamp, resync: Duration) -> bool {
        match self.of_pass(pass).map(|pass_position| (pass_position.swept, pass_position.complete)) {
            Some((Some(swept), complete)) => start.since(swept) >= resync && complete > Some(swept),
            _ => self.since == Timestamp::default(),
        }
    }

    /// Begins to add records that a poll has returned. The passes that remember these records begin if they were never
    /// polled. The snapshot that the poll reads begins if the last poll read another snapshot.
    pub fn settle<'a>(&'a mut self, passes: &'a [Pass], context: PollContext) -> Settling<'a> {
        let mut remembering = SmallVec::new();
        let mut returned_by = None;
        for (number, pass) in passes.iter().enumerate() {
            if number != context.pass && !pass.shares_records() {
                continue;
            }
            let index = self.index_or_begin(pass, passes, context.start);
            remembering.push((pass, index));
            if number == context.pass {
                returned_by = Some(index);
            }
        }
        if let Some(index) = returned_by
            && let Some(pass_position) = self.passes.at(index)
            && let Some(first) = pass_position.beginning_snapshot(context.snapshot, self.since)
        {
            self.passes.replace(index, first);
        }
        Settling { position: self, context, passes: remembering, returned_by }
    }

    /// Notes that a poll has settled everything up to `watermark`, but has not reached its end.
    pub fn advance(&mut self, passes: &[Pass], context: PollContext, watermark: Timestamp) {
        let Some(pass) = passes.get(context.pass) else { return };
        if !pass.reads_findings()
            && let Some(index) = self.index(pass)
            && let Some(pass_position) = self.passes.at_mut(index)
        {
            pass_position.advance(watermark, context.start, pass.bound_distance(context));
        }
    }

    /// Notes that a poll reached its end, and that all its records are settled. With `marker`, an event follows a
    /// complete snapshot.
    pub fn finish(&mut self, passes: &[Pass], context: PollContext, marker: bool) {
        if self.contents.age(context.start) {
            self.store_whole();
        }
        let index = self.settle(passes, context).returned_by;
        let (Some(pass), Some(index)) = (passes.get(context.pass), index) else { return };
        let Some(pass_position) = self.passes.at_mut(index) else { return };
        if context.snapshot.is_some() {
            pass_position.finish_snapshot(context.start, marker);
            self.store_whole();
            return;
        }
        let is_first = pass_position.swept.is_none();
        let is_sweep = pass.reads_findings() && context.sweep;
        let distance = if is_sweep { pass.bound_distance_of_sweep(is_first) } else { pass.bound_distance(context) };
        if is_sweep || pass.reads_findings() && is_first {
            pass_position.swept = Some(context.start);
        }
        pass_position.finish(context.start, distance);
    }

    /// Notes that a poll found nothing to read for the time being: the bounds stay. Bounds of scopes that only a poll
    /// of all findings can find stay too.
    pub(crate) fn pass_over(&mut self, passes: &[Pass], context: PollContext) {
        let Some(pass) = passes.get(context.pass) else { return };
        let is_passed_over = |name: &str| {
            let waits_for_it = pass.reads_all_findings() && is_of_scope(name);
            pass.name == name || waits_for_it && passes.iter().all(|pass| pass.name != name)
        };
        self.passes.change_times(is_passed_over, |pass_position| pass_position.finish(context.start, None));
    }

    /// Returns the last snapshot, once all its records are settled.
    pub fn read_snapshot(&self) -> Option<Snapshot> {
        self.first()?.snapshot.filter(|snapshot| snapshot.stage != SnapshotStage::Reading)
    }

    /// Keeps the times and forgets the keys: another console's records have other identities.
    pub(crate) fn forget_keys(&mut self) {
        self.passes.change_all(PassPosition::forget_keys);
        self.contents = Contents::default();
    }
}

impl Settling<'_> {
    /// Remembers a record in each pass that may show it, except in a sweep. Returns false if the pass that returned the
    /// record knew it before, or has no room for it.
    pub fn remember(&mut self, record_key: &RecordKey) -> bool {
        if self.context.sweep {
            // A sweep reads hundreds of thousands of records, and the next sweep returns them again.
            return true;
        }
        let SourcePosition { passes, contents, .. } = &mut *self.position;
        let mut is_new = false;
        for (pass, index) in &self.passes {
            let is_taken = passes.remember(*index, pass, record_key);
            is_new |= is_taken && self.returned_by == Some(*index);
        }
        if let Some(content) = record_key.content {
            contents.insert(record_key.id, content);
            passes.log_content(record_key.id, content);
        }
        passes.compact_grown_log();
        is_new
    }
}

#[cfg(test)]
mod tests;
