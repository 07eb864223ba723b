use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::chain::BEFORE_SWEEP;
use super::{Known, Mark, Pass, Round, Snapshot, Stage, Track};
use crate::record::Timestamp;

/// Findings of one window that are remembered; more are delivered twice where windows overlap.
const MANY_FINDINGS: usize = 50_000;

/// The name of the track of a stream's first pass.
pub const MAIN: &str = "main";

/// How far a lane has come: a track for each pass over its stream, the first pass's first, and what is remembered of
/// records for good. Clones share what neither of them changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Where a pass begins that has no track yet.
    pub(super) since: Timestamp,
    pub(super) tracks: Vec<(CompactString, Arc<Track>)>,
    /// For each record the hash of the content that was delivered last.
    pub(super) contents: Arc<HashMap<u64, u64>>,
}

impl Position {
    /// The position of a lane that has taken nothing and begins at `since`.
    pub fn starting_at(since: Timestamp) -> Self {
        Self { since, tracks: Vec::new(), contents: Arc::default() }
    }

    /// Puts the tracks of `passes` first and in their order. Those of passes that the stream does not have (now) stay.
    pub fn align(&mut self, passes: &[Pass]) {
        for (index, pass) in passes.iter().enumerate() {
            match self.tracks.iter().position(|(name, _)| *name == pass.name) {
                Some(place) => self.tracks[index..=place].rotate_right(1),
                None => self.tracks.insert(index, (pass.name.clone(), Arc::new(Track::starting_at(self.since)))),
            }
        }
    }

    /// The tracks with the names of their passes.
    pub fn tracks(&self) -> impl Iterator<Item = (&str, &Track)> {
        self.tracks.iter().map(|(name, track)| (name.as_str(), &**track))
    }

    /// The track of a pass.
    pub fn track(&self, pass: usize) -> Option<&Track> {
        self.tracks.get(pass).map(|(_, track)| &**track)
    }

    /// Lower end of the first pass's next poll, included.
    pub fn bound(&self) -> Timestamp {
        self.track(0).map_or(self.since, Track::bound)
    }

    /// Everything visible up to here was taken by the first pass, records still to come late aside.
    pub fn watermark(&self) -> Timestamp {
        self.track(0).map_or(self.since, Track::watermark)
    }

    /// Start of the first pass's last poll that reached its end with everything delivered.
    pub fn complete(&self) -> Option<Timestamp> {
        self.track(0).and_then(Track::complete)
    }

    /// The time up to which the lane is complete: what `lag_seconds` is measured from.
    pub fn complete_until(&self) -> Timestamp {
        self.track(0).map_or(self.since, Track::complete_until)
    }

    /// The newest time of which the first pass took anything.
    pub fn newest(&self) -> Timestamp {
        let after = |second: i64| Timestamp::from_micros(second.saturating_add(1).saturating_mul(1_000_000));
        let after_keys =
            self.track(0).and_then(|track| track.seconds.last_key_value()).map(|(second, _)| after(*second));
        self.complete_until().max(after_keys.unwrap_or_default())
    }

    /// Number of keys remembered, over all passes.
    pub fn key_count(&self) -> usize {
        self.tracks().map(|(_, track)| track.key_count()).sum()
    }

    /// Number of records whose content is remembered.
    pub fn content_count(&self) -> usize {
        self.contents.len()
    }

    /// What is known of a record in a pass. One without a time of its own is looked for everywhere.
    pub fn knows(&self, pass: &Pass, round: Round, mark: &Mark, timed: bool) -> Known {
        let Some(track) = self.track(round.pass) else { return Known::New };
        let (key, version) = pass.key(mark);
        if timed { track.knows(pass.place(mark), key, version) } else { track.knows_anywhere(key, version) }
    }

    /// True when the content of the record is what was delivered last.
    pub fn has_content(&self, mark: &Mark) -> bool {
        mark.content.is_some_and(|content| self.contents.get(&mark.id) == Some(&content))
    }

    /// The time of the snapshot that a poll at `start` reads: the one that is not done, else that of `start`. None when that
    /// one is done.
    pub fn next_snapshot(&self, pass: usize, start: Timestamp, every: Duration) -> Option<Timestamp> {
        let due = start.aligned_to(every);
        match self.track(pass).and_then(Track::snapshot) {
            Some(snapshot) if snapshot.stage != Stage::Done => Some(snapshot.time),
            Some(snapshot) if snapshot.time >= due => None,
            _ => Some(due),
        }
    }

    /// A snapshot is read: where it is another one than before, its pass begins anew.
    pub fn enter(&mut self, round: Round) {
        let since = self.since;
        if let (Some(time), Some((_, track))) = (round.snapshot, self.tracks.get_mut(round.pass))
            && track.snapshot.is_none_or(|snapshot| snapshot.time != time)
        {
            Arc::make_mut(track).begin_snapshot(time, since);
        }
    }

    /// Where a lane begins that has taken nothing.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether a poll of findings at `start` is to read all of them: the first does where the lane owes everything, and
    /// later ones every `resync`, though not two in a row: where one takes longer than that, removals would never be read.
    pub(super) fn is_sweep_due(&self, pass: usize, start: Timestamp, resync: Duration) -> bool {
        match self.track(pass).map(|track| (track.swept, track.complete())) {
            Some((Some(swept), complete)) => start.since(swept) >= resync && complete > Some(swept),
            _ => self.since == Timestamp::default(),
        }
    }

    /// Remembers a record in every pass; false when the pass that brought it had taken it before.
    pub fn take(&mut self, passes: &[Pass], round: Round, mark: &Mark) -> bool {
        self.enter(round);
        if round.sweep {
            // Hundreds of thousands; and the next sweep is to state them again.
            return true;
        }
        let mut is_new = false;
        for (index, (pass, (_, track))) in passes.iter().zip(&mut self.tracks).enumerate() {
            let has_room = pass.chain.is_none() || track.key_count() < MANY_FINDINGS;
            // What another pass delivers is no part of a snapshot.
            if has_room && (!pass.snapshot || index == round.pass) {
                let (key, version) = pass.key(mark);
                let (track, place) = (Arc::make_mut(track), pass.place(mark));
                let taken = match pass.chain {
                    Some(_) => track.take_anywhere(place, key, version),
                    None => track.take(place, key, version),
                };
                is_new |= taken && index == round.pass;
            }
        }
        if let Some(content) = mark.content {
            Arc::make_mut(&mut self.contents).insert(mark.id, content);
        }
        is_new
    }

    /// A round has taken everything up to `watermark`, and has not reached its end.
    pub fn advance(&mut self, passes: &[Pass], round: Round, watermark: Timestamp) {
        if let (Some(pass), Some((_, track))) = (passes.get(round.pass), self.tracks.get_mut(round.pass))
            && pass.chain.is_none()
        {
            Arc::make_mut(track).advance(watermark, round.start, pass.reach);
        }
    }

    /// A round reached its end, and everything it showed was taken. `marker`: a snapshot is followed by an event that says so.
    pub fn finish(&mut self, passes: &[Pass], round: Round, marker: bool) {
        self.enter(round);
        let (Some(pass), Some((_, track))) = (passes.get(round.pass), self.tracks.get_mut(round.pass)) else { return };
        if round.snapshot.is_some() {
            Arc::make_mut(track).finish_snapshot(round.start, marker);
        } else if pass.chain.is_some() {
            let track = Arc::make_mut(track);
            if round.sweep || track.swept.is_none() {
                track.swept = Some(round.start);
            }
            track.finish(round.start, if round.sweep { pass.reach.max(BEFORE_SWEEP) } else { pass.reach });
        } else {
            Arc::make_mut(track).finish(round.start, pass.reach);
        }
    }

    /// The last snapshot of a pass, when all its records are settled.
    pub fn read_snapshot(&self, pass: usize) -> Option<Snapshot> {
        self.track(pass)?.snapshot().filter(|snapshot| snapshot.stage != Stage::Reading)
    }

    /// True while a snapshot waits for nothing but its last event.
    pub fn is_marking(&self, pass: usize) -> bool {
        let snapshot = self.track(pass).and_then(Track::snapshot);
        snapshot.is_some_and(|snapshot| snapshot.stage == Stage::Marking)
    }

    /// Keeps the times and forgets the keys: another console's records have other identities.
    pub fn forget_keys(&mut self) {
        self.tracks.iter_mut().for_each(|(_, track)| Arc::make_mut(track).forget_keys());
        self.contents = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;
    use crate::source::Pull;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_micros((12 * 60 + minute) * 60_000_000)
    }

    fn mark(id: u64, time: Timestamp) -> Mark {
        Mark { id, version: id + 1000, content: None, time, created: Some(time) }
    }

    fn position(pull: &Pull) -> (Vec<Pass>, Position) {
        let mut position = Position::starting_at(minute(-60));
        position.align(&pull.passes());
        (pull.passes(), position)
    }

    fn round(pass: usize, start: Timestamp) -> Round {
        Round { pass, start, ..Round::default() }
    }

    #[test]
    fn how_far_the_first_pass_is_is_how_far_a_lane_is() {
        let (passes, mut position) = position(&Pull::of(Stream::Alerts));
        let times = |position: &Position| {
            [position.bound(), position.watermark(), position.complete_until(), position.newest()]
        };
        assert_eq!((times(&position), position.complete()), ([minute(-60); 4], None));
        position.advance(&passes, round(0, minute(0)), minute(-20));
        let bound = minute(-20).minus(Duration::from_secs(1));
        assert_eq!(times(&position), [bound, minute(-20), minute(-20), minute(-20)]);
        position.finish(&passes, round(0, minute(0)), false);
        assert_eq!(times(&position), [minute(-5), minute(0), minute(0), minute(0)]);
        position.finish(&passes, round(1, minute(30)), false);
        assert_eq!((times(&position)[0], position.complete()), (minute(-5), Some(minute(0))), "another pass");
        assert!(position.take(&passes, round(0, minute(10)), &mark(1, minute(9))));
        assert_eq!(position.newest(), minute(9).plus(Duration::from_secs(1)), "a key may lie anywhere in its second");
    }

    /// What either pass delivers enters both, or the second shows it again.
    #[test]
    fn what_one_pass_delivers_the_others_know() {
        let (passes, mut position) = position(&Pull::of(Stream::Alerts));
        assert!(position.take(&passes, round(0, minute(0)), &mark(1, minute(-3))));
        assert!(!position.take(&passes, round(1, minute(0)), &mark(1, minute(-3))), "it is accounted for once");
        assert_eq!(position.key_count(), 2);
        position.forget_keys();
        assert_eq!((position.key_count(), position.bound()), (0, minute(-60)));
    }

    #[test]
    fn contents_are_remembered_until_another_console_has_other_records() {
        let (passes, mut position) = position(&Pull::of(Stream::Agents));
        let with = |content| Mark { content: Some(content), ..mark(1, minute(-3)) };
        position.take(&passes, round(0, minute(0)), &with(5));
        assert!(position.has_content(&with(5)) && !position.has_content(&with(6)));
        assert!(!position.has_content(&mark(1, minute(-3))), "nothing is said of its content");
        position.take(&passes, round(0, minute(0)), &with(6));
        assert!(position.has_content(&with(6)) && !position.has_content(&with(5)));
        assert_eq!(position.content_count(), 1);
        position.forget_keys();
        assert_eq!(position.content_count(), 0);
    }

    #[test]
    fn a_snapshot_is_read_said_to_be_complete_and_done_before_the_next() {
        let (passes, mut position) = position(&Pull { snapshot: true, ..Pull::of(Stream::Agents) });
        let hour = Duration::from_secs(3600);
        let (now, time) = (minute(10), minute(0));
        assert_eq!(position.next_snapshot(0, now, hour), Some(time));
        let round = Round { snapshot: Some(time), ..round(0, now) };
        assert!(position.take(&passes, round, &mark(1, minute(-3))));
        position.enter(round);
        assert_eq!(position.key_count(), 1, "the same snapshot goes on");
        assert_eq!((position.read_snapshot(0), position.is_marking(0)), (None, false));
        assert_eq!(position.next_snapshot(0, minute(70), hour), Some(time), "what was begun is finished first");
        position.finish(&passes, round, true);
        assert!(position.is_marking(0));
        assert_eq!(position.read_snapshot(0).map(|snapshot| (snapshot.time, snapshot.taken)), Some((time, 1)));
        assert_eq!(position.next_snapshot(0, minute(70), hour), Some(time), "its last event is not delivered");
        position.finish(&passes, round, true);
        assert!(!position.is_marking(0) && position.read_snapshot(0).is_some());
        assert_eq!(position.next_snapshot(0, minute(59), hour), None);
        assert_eq!(position.next_snapshot(0, minute(60), hour), Some(minute(60)));
        position.enter(Round { snapshot: Some(minute(60)), ..round });
        assert_eq!((position.read_snapshot(0), position.bound()), (None, minute(-60)), "all is read again");
    }

    /// Days of findings are read again by a sweep, and a window keeps some keys of each record.
    #[test]
    fn a_sweep_comes_first_where_everything_is_owed_and_then_every_resync() {
        let week = Duration::from_secs(7 * 86_400);
        let pull = Pull::of(Stream::Vulnerabilities);
        let (passes, mut position) = position(&pull);
        assert!(!position.is_sweep_due(0, minute(0), week), "it begins later than with everything");
        let mut all = Position::starting_at(Timestamp::default());
        all.align(&passes);
        assert!(all.is_sweep_due(0, minute(0), week));
        let start = minute(100_000);
        let sweep = Round { sweep: true, ..round(0, start) };
        assert!(all.take(&passes, sweep, &mark(1, minute(-3))) && all.key_count() == 0);
        all.finish(&passes, sweep, false);
        assert_eq!(all.bound(), start.minus(passes[0].reach.max(BEFORE_SWEEP)));
        assert!(!all.is_sweep_due(0, start.plus(week), week), "a window comes between two");
        all.finish(&passes, round(0, start.plus(Duration::from_secs(300))), false);
        assert!(!all.is_sweep_due(0, start.plus(week - Duration::from_secs(1)), week));
        assert!(all.is_sweep_due(0, start.plus(week), week), "a window is no sweep");

        assert!(position.take(&passes, round(0, minute(0)), &mark(1, minute(-3))));
        assert_eq!(position.key_count(), passes.len());
        position.advance(&passes, round(0, minute(0)), minute(-2));
        assert_eq!(position.watermark(), minute(-60), "findings come in no order");
        position.finish(&passes, round(0, minute(0)), false);
        position.finish(&passes, round(0, minute(5)), false);
        let due = |after| position.is_sweep_due(0, minute(0).plus(after), week);
        assert!(!due(week - Duration::from_secs(1)) && due(week));
        assert_eq!(position.bound(), minute(-60).max(minute(5).minus(passes[0].reach)));
    }

    /// More are delivered twice where windows overlap, rather than fill the memory.
    #[test]
    fn so_many_findings_are_remembered_and_no_more() {
        let (passes, mut position) = position(&Pull::of(Stream::Vulnerabilities));
        assert_eq!(position.since(), minute(-60));
        (0..MANY_FINDINGS as u64 + 2).for_each(|id| {
            position.take(&passes, round(0, minute(0)), &mark(id, minute(0)));
        });
        assert_eq!(position.tracks().map(|(_, track)| track.key_count()).max(), Some(MANY_FINDINGS));
    }
}
