use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::baseline::Baseline;
use super::contents::Contents;
use super::findings::is_of_scope;
use super::recorder::{Noted, Recorder};
use super::{Pass, PassPosition, PollContext, RecordKey, Snapshot, Stage};
use crate::record::Timestamp;

/// After a sweep the first window begins so much earlier than the sweep.
const BEFORE_SWEEP: Duration = Duration::from_secs(24 * 3600);
/// Most findings of one window to remember; further ones are delivered twice if windows overlap.
pub(super) const MANY_FINDINGS: usize = 50_000;

/// Names the position of a stream's first pass in checkpoints.
pub const MAIN: &str = "main";
/// The same for snapshots.
pub(super) const SNAPSHOT: &str = "snapshot";

/// How far a lane has come: one position for each pass over its stream, in the order of the passes, and the contents of
/// records. A record enters it once, when it is settled. Clones share what neither of them changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// Records before this are out of scope.
    pub(super) since: Timestamp,
    pub(super) pass_positions: Vec<(CompactString, Arc<PassPosition>)>,
    pub(super) contents: Contents,
    pub(super) recorder: Recorder,
}

impl SourcePosition {
    /// For a new lane that begins at `since`.
    pub fn starting_at(since: Timestamp) -> Self {
        Self { since, ..Self::default() }
    }

    /// Puts the positions of `passes` first, in their order. A pass that comes back for known records gets its position
    /// with the next poll, see [`Self::enter`].
    pub fn align(&mut self, passes: &[Pass]) {
        let mut next = 0;
        self.pass_positions.reserve_exact(passes.len().saturating_sub(self.pass_positions.len()));
        for pass in passes {
            // Most have their places already, and there may be hundreds of scopes.
            match (next..self.pass_positions.len()).find(|place| self.pass_positions[*place].0 == pass.name) {
                Some(place) => self.pass_positions[next..=place].rotate_right(1),
                None if pass.comes_back() => continue,
                None => {
                    self.pass_positions.insert(next, (pass.name.clone(), self.beginning(pass, passes)));
                    self.recorder.replaced();
                }
            }
            next += 1;
        }
    }

    /// Where a pass begins that was never polled. A scope that was found continues what was read of all scopes.
    fn beginning(&self, pass: &Pass, passes: &[Pass]) -> Arc<PassPosition> {
        let all = passes.iter().find(|other| other.reads_all_findings() && pass.reads_findings());
        let read = all.and_then(|all| self.pass_positions.iter().find(|(name, _)| *name == all.name));
        read.map_or_else(|| Arc::new(PassPosition::starting_at(self.since)), |(_, pass_position)| pass_position.clone())
    }

    /// Forgets the positions of scopes, and of passes that come back, that the stream does not have now. Another mode
    /// of the stream goes on where it was.
    pub fn forget_others(&mut self, passes: &[Pass]) {
        let is_of_findings = passes.iter().any(Pass::reads_findings);
        let before = self.pass_positions.len();
        self.pass_positions.retain(|(name, _)| {
            let is_of_mode = !is_of_findings && [MAIN, SNAPSHOT].contains(&name.as_str());
            is_of_mode || passes.iter().any(|pass| pass.name == *name)
        });
        if self.pass_positions.len() < before {
            self.recorder.replaced();
        }
    }

    /// With the names of their passes.
    pub fn pass_positions(&self) -> impl Iterator<Item = (&str, &PassPosition)> {
        self.pass_positions.iter().map(|(name, pass_position)| (name.as_str(), &**pass_position))
    }

    pub fn of_pass(&self, pass: usize) -> Option<&PassPosition> {
        self.pass_positions.get(pass).map(|(_, pass_position)| &**pass_position)
    }

    /// Lower end of the first pass's next poll, included.
    pub fn bound(&self) -> Timestamp {
        self.of_pass(0).map_or(self.since, |pass_position| pass_position.bound)
    }

    /// Start of the first pass's last poll that reached its end with all records settled.
    pub fn complete(&self) -> Option<Timestamp> {
        self.of_pass(0)?.complete
    }

    /// The first pass has read all records up to this time, late arrivals within `overlap` included. None for
    /// snapshots.
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.of_pass(0)
            .filter(|pass_position| pass_position.snapshot.is_none())
            .map(|pass_position| pass_position.bound)
    }

    /// The time up to which the lane is complete: what `lag_seconds` is measured from. A lane that reads scope by scope
    /// is as far as the last one of them.
    pub fn complete_until(&self) -> Timestamp {
        let scopes = self
            .pass_positions()
            .filter(|(name, _)| is_of_scope(name))
            .map(|(_, pass_position)| pass_position.complete_until());
        scopes.min().unwrap_or_else(|| self.of_pass(0).map_or(self.since, PassPosition::complete_until))
    }

    /// The newest time of which the first pass settled a record.
    pub fn newest(&self) -> Timestamp {
        let after = |second: i64| Timestamp::from_micros(second.saturating_add(1).saturating_mul(1_000_000));
        let after_keys = self
            .of_pass(0)
            .and_then(|pass_position| pass_position.seconds.last_key_value())
            .map(|(second, _)| after(*second));
        self.complete_until().max(after_keys.unwrap_or_default())
    }

    /// Number of keys over all passes.
    pub fn key_count(&self) -> usize {
        self.pass_positions().map(|(_, pass_position)| pass_position.key_count()).sum()
    }

    /// Number of records whose content is remembered.
    pub fn content_count(&self) -> usize {
        self.contents.len()
    }

    /// Number of keys and contents: what grows with the records that are remembered.
    pub fn size(&self) -> usize {
        self.key_count() + self.content_count()
    }

    /// What a poll of the pass begins with.
    pub(super) fn baseline(&self, pass: usize) -> Option<Baseline> {
        let (_, pass_position) = self.pass_positions.get(pass)?;
        let pass_position = pass_position.clone();
        Some(Baseline { since: self.since, pass_position, contents: self.contents.clone() })
    }

    /// The time of the snapshot that a poll at `start` reads: the unfinished one, else that of `start`. None when that
    /// one is done.
    pub fn next_snapshot(&self, pass: usize, start: Timestamp, every: Duration) -> Option<Timestamp> {
        let due = start.aligned_to(every);
        match self.of_pass(pass).and_then(|pass_position| pass_position.snapshot) {
            Some(snapshot) if snapshot.stage != Stage::Done => Some(snapshot.time),
            Some(snapshot) if snapshot.time >= due => None,
            _ => Some(due),
        }
    }

    /// Begins a poll: when it reads another snapshot than the last poll, its pass begins again. Passes that come back
    /// for known records begin with the lane's first poll, no further back than they reach. A pass in another order
    /// shows records that the first one never does, so it begins where the lane does.
    pub fn enter(&mut self, passes: &[Pass], context: PollContext) {
        let since = self.since;
        if self.pass_positions.len() < passes.len() {
            for (index, pass) in passes.iter().enumerate() {
                if self.pass_positions.get(index).is_none_or(|(name, _)| *name != pass.name) {
                    let shows_the_same = passes.first().is_some_and(|first| first.by == pass.by);
                    let reached = if shows_the_same { context.start.minus(pass.reach) } else { since };
                    let begin = since.max(reached);
                    self.pass_positions.insert(index, (pass.name.clone(), Arc::new(PassPosition::starting_at(begin))));
                    self.recorder.replaced();
                }
            }
        }
        if let (Some(time), Some((_, pass_position))) = (context.snapshot, self.pass_positions.get_mut(context.pass))
            && pass_position.snapshot.is_none_or(|snapshot| snapshot.time != time)
        {
            Arc::make_mut(pass_position).begin_snapshot(time, since);
            self.recorder.replaced();
        }
    }

    /// Whether a poll of findings at `start` reads all of them: the first one does if the lane owes everything, and
    /// later ones every `resync`, but not two in a row. If a sweep takes longer than `resync`, removals would never be
    /// read otherwise.
    pub(super) fn is_sweep_due(&self, pass: usize, start: Timestamp, resync: Duration) -> bool {
        match self.of_pass(pass).map(|pass_position| (pass_position.swept, pass_position.complete)) {
            Some((Some(swept), complete)) => start.since(swept) >= resync && complete > Some(swept),
            _ => self.since == Timestamp::default(),
        }
    }

    /// Remembers a record in every pass that may show it, except in a sweep and beyond `MANY_FINDINGS`. False if the
    /// pass that returned it knew it before, or has no room for it.
    pub fn take(&mut self, passes: &[Pass], context: PollContext, record_key: &RecordKey) -> bool {
        self.enter(passes, context);
        if context.sweep {
            // There are hundreds of thousands, and the next sweep returns them again.
            return true;
        }
        let mut is_new = false;
        let mut noted: SmallVec<[Noted; 1]> = SmallVec::new();
        for (index, (pass, (_, pass_position))) in passes.iter().zip(&mut self.pass_positions).enumerate() {
            if index != context.pass && !pass.shares_records() {
                continue;
            }
            let (key, version) = pass.key(record_key);
            let place = pass.place(record_key);
            let taken = if !pass.reads_findings() {
                Arc::make_mut(pass_position).take(place, key, version)
            } else if pass_position.key_count() < MANY_FINDINGS {
                Arc::make_mut(pass_position).take_anywhere(place, key, version)
            } else {
                false
            };
            is_new |= taken && index == context.pass;
            let second = place.seconds();
            if taken && self.recorder.0.is_some() && second >= pass_position.first_kept_second() {
                let is_same = |noted: &&mut Noted| (noted.second, noted.key, noted.version) == (second, key, version);
                match noted.iter_mut().find(is_same) {
                    Some(noted) => noted.passes.push(index),
                    None => {
                        let passes = [index].into_iter().collect();
                        let moves = pass.reads_findings();
                        noted.push(Noted { passes, moves, second, key, version });
                    }
                }
            }
        }
        noted.iter().for_each(|noted| self.recorder.note(&self.pass_positions, noted));
        if let Some(content) = record_key.content {
            self.recorder.note_content(record_key.id, content);
            self.contents.insert(record_key.id, content);
        }
        is_new
    }

    /// A poll that has not reached its end settled everything up to `watermark`.
    pub fn advance(&mut self, passes: &[Pass], context: PollContext, watermark: Timestamp) {
        if let (Some(pass), Some((_, pass_position))) =
            (passes.get(context.pass), self.pass_positions.get_mut(context.pass))
            && !pass.reads_findings()
        {
            let reach = (!context.leaves_open).then_some(pass.reach);
            Arc::make_mut(pass_position).advance(watermark, context.start, reach);
        }
    }

    /// A poll reached its end, and all its records are settled. With `marker` an event follows a complete snapshot.
    pub fn finish(&mut self, passes: &[Pass], context: PollContext, marker: bool) {
        self.enter(passes, context);
        if self.contents.age(context.start) {
            self.recorder.replaced();
        }
        let (Some(pass), Some((_, pass_position))) =
            (passes.get(context.pass), self.pass_positions.get_mut(context.pass))
        else {
            return;
        };
        if context.snapshot.is_some() {
            Arc::make_mut(pass_position).finish_snapshot(context.start, marker);
            self.recorder.replaced();
        } else if pass.reads_findings() {
            let pass_position = Arc::make_mut(pass_position);
            if context.sweep || pass_position.swept.is_none() {
                pass_position.swept = Some(context.start);
            }
            pass_position.finish(context.start, if context.sweep { pass.reach.max(BEFORE_SWEEP) } else { pass.reach });
        } else {
            let reach = (!context.leaves_open).then_some(pass.reach);
            Arc::make_mut(pass_position).finish(context.start, reach);
        }
    }

    /// A poll found that there is nothing to read for the time being: the bound stays.
    pub fn pass_over(&mut self, context: PollContext) {
        if let Some((_, pass_position)) = self.pass_positions.get_mut(context.pass) {
            Arc::make_mut(pass_position).finish(context.start, None);
        }
    }

    /// The last snapshot of a pass, once all its records are settled.
    pub fn read_snapshot(&self, pass: usize) -> Option<Snapshot> {
        self.of_pass(pass)?.snapshot.filter(|snapshot| snapshot.stage != Stage::Reading)
    }

    /// Whether a snapshot waits only for its marker event.
    pub fn is_marking(&self, pass: usize) -> bool {
        self.read_snapshot(pass).is_some_and(|snapshot| snapshot.stage == Stage::Marking)
    }

    /// Keeps the times and forgets the keys: another console's records have other identities.
    pub fn forget_keys(&mut self) {
        self.pass_positions.iter_mut().for_each(|(_, pass_position)| Arc::make_mut(pass_position).forget_keys());
        self.contents = Contents::default();
        self.recorder.replaced();
    }
}

#[cfg(test)]
mod tests;
