//! Decides what a poll reads, before the poll asks for anything.

use std::time::Duration;

use s1_forwarder_record::Timestamp;

use super::tail::Tail;
use crate::source::findings::FindingsScan;
use crate::source::position::Baseline;
use crate::source::{
    Pass, PassKeys, PassKind, PassPosition, PollContext, PullSettings, Snapshot, SnapshotStage, SourcePosition,
};

/// One poll of one pass, from its bound to its start S.
#[derive(Debug)]
pub(super) struct Plan {
    pub pass: Pass,
    /// S, the time of the snapshot, whether this is a sweep, and whether the bound stays where it is.
    pub context: PollContext,
    /// State that the lane had settled.
    pub baseline: Baseline,
    /// Lower end of what the poll reads, included. The upper end is S.
    pub from: Timestamp,
    pub reads: ReadPlan,
    /// Whether the console's counts can be compared with what the lane knows.
    pub is_counted: bool,
}

/// Parts of a stream that a poll asks the console for.
#[derive(Debug)]
pub(super) enum ReadPlan {
    /// Nothing: all records of this snapshot are settled, and the event that says so is left.
    Marker(Snapshot),
    /// All records, as one interval.
    Everything,
    /// New records, records whose time is to be closed, and records that came late. The poll finds late records by
    /// counts first.
    Intervals(Tail),
    /// Lists of findings, one after the other.
    Findings(FindingsScan),
}

/// Habits of a console that polls have learned, for the polls that follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConsoleHabits {
    /// Whether the console answers `data: null` where it counts nothing. It is asked for its count at once then.
    pub(super) is_null_usual: bool,
    /// Start of a poll for which the console counted records that it did not show. Polls ask for no counts until half
    /// of `overlap` later.
    pub(super) miscounted_at: Option<Timestamp>,
}

impl ConsoleHabits {
    /// Returns whether a poll at `start` of a pass that reaches `late_window` back asks for no counts.
    pub(super) fn has_miscounted(self, start: Timestamp, late_window: Duration) -> bool {
        self.miscounted_at.is_some_and(|at| at <= start && start.since(at) < late_window / 2)
    }
}

/// Reason why a poll has nothing to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDue {
    /// The snapshot of this time is complete.
    Complete,
    /// The poll starts before this time, up to which the lane has read.
    Before(Timestamp),
}

impl Plan {
    /// Plans the poll of the stream's `index`-th pass that starts at `start` by the console's clock and continues
    /// `position`.
    ///
    /// # Errors
    /// If nothing is due.
    pub fn of(
        pull: &PullSettings,
        position: &SourcePosition,
        index: usize,
        start: Timestamp,
        habits: ConsoleHabits,
    ) -> Result<Self, NotDue> {
        let passes = pull.passes();
        let pass = passes.get(index).ok_or(NotDue::Complete)?;
        let mut context = begin(pull, pass, position, PollContext { pass: index, start, ..PollContext::default() })?;
        let baseline = position.baseline(&passes, context).ok_or(NotDue::Complete)?;
        let from = baseline.pass_position.bound.whole_second();
        let reads = ReadPlan::of(pull, pass, context, &baseline.pass_position, habits);
        // The event that a snapshot is complete asks for nothing, so that no clock delays it.
        if context.start < from && !matches!(reads, ReadPlan::Marker(_)) {
            return Err(NotDue::Before(from));
        }
        context.leaves_open = matches!(&reads, ReadPlan::Intervals(tail) if tail.closing.is_none());
        Ok(Self { pass: pass.clone(), context, baseline, from, reads, is_counted: is_counted(pull, pass) })
    }
}

/// Returns whether a count of an interval tells how many records the lane has to know there. It does not for findings
/// and snapshots, if a record changes without a new time, or if versions are counted that are not sent.
fn is_counted(pull: &PullSettings, pass: &Pass) -> bool {
    let is_of_records = matches!(pass.kind, PassKind::New | PassKind::ByCreation) && pull.is_ordered();
    is_of_records && pass.keys == PassKeys::Versions && !pull.drops_unchanged()
}

/// Decides which snapshot a poll reads, or whether it is a sweep.
fn begin(
    pull: &PullSettings,
    pass: &Pass,
    position: &SourcePosition,
    context: PollContext,
) -> Result<PollContext, NotDue> {
    let start = context.start;
    match (&pass.kind, pull.findings()) {
        (PassKind::Snapshot, _) => {
            let time = position.next_snapshot(pass, start).ok_or_else(|| {
                let last = position.of_pass(pass).and_then(|pass_position| pass_position.snapshot);
                last.filter(|last| last.time > start).map_or(NotDue::Complete, |last| NotDue::Before(last.time))
            })?;
            // A snapshot that goes on is read up to its own time at least, whatever clock gives the time now.
            Ok(PollContext { snapshot: Some(time), start: start.max(time), ..context })
        }
        (PassKind::AllFindings | PassKind::FindingsOf(_), Some(findings)) => {
            Ok(PollContext { sweep: position.is_sweep_due(pass, start, findings.resync), ..context })
        }
        // A closed window of findings is pulled once: no keys of it are stored.
        _ => Ok(PollContext { sweep: !pull.is_ordered(), ..context }),
    }
}

impl ReadPlan {
    fn of(
        pull: &PullSettings,
        pass: &Pass,
        context: PollContext,
        pass_position: &PassPosition,
        habits: ConsoleHabits,
    ) -> Self {
        if let Some(findings) = pull.findings() {
            // A closed window is read in one poll, whatever the scopes.
            return Self::Findings(if pass.reads_findings() {
                FindingsScan::new(findings.clone(), pass.scope().cloned(), context.sweep)
            } else {
                FindingsScan::detected(findings.clone())
            });
        }
        if let Some(snapshot) = pass_position.snapshot
            && snapshot.stage == SnapshotStage::Marking
        {
            return Self::Marker(snapshot);
        }
        // A pass that looks for changes without a new time has to read all records again.
        let shows_change_by_time = pass.kind == PassKind::New && pass.keys == PassKeys::Versions;
        if !shows_change_by_time || pull.window.is_some() {
            return Self::Everything;
        }
        let Some(tail) = Tail::of(pass_position, pass, context.start) else { return Self::Everything };
        // If counts are known to be wrong, records that came late are read when their time is closed.
        let asks_counts = is_counted(pull, pass) && !habits.has_miscounted(context.start, pass.late_window);
        Self::Intervals(if asks_counts { tail } else { tail.without_counts() })
    }
}
