//! The checkpoint of a lane: its fields, and the layout in which a store keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use s1_forwarder_failure::Failure;
use s1_forwarder_record::{Identity, Timestamp};
use serde::{Deserialize, Serialize};

use super::change_log::ChangeLog;
use super::in_store::without_mark;
use super::pending_batch::PendingBatch;
use crate::checkpoint::journal::Journal;
use crate::checkpoint::ledger::{Accounting, FormerLedger, Ledger};
use crate::checkpoint::{Append, CheckpointBackend, CheckpointKey, StateError};
use crate::source::{Pass, PositionPart, PositionReader, RecordKey, Rhythm, SourcePosition};

/// The version of the layout, and the first field of a stored checkpoint. Each change of a struct in the checkpoint or
/// its journal needs a new version, and golden files (`tests/lanes/layouts.rs`). New fields come last, and have their
/// defaults if an older layout is read.
const VERSION: u64 = 10;
/// Number of segments that are read at a time, usually of about 1 MiB each. Reading several from a topic takes as long
/// as reading one.
const SEGMENTS_AT_ONCE: usize = 16;
/// The oldest layout that is read.
const OLDEST: u64 = 3;
/// How far in the future the time of a record's creation may be, whatever the console's clocks say. The ledger leaves
/// out records with a later time, since the sums of such hours would not expire.
const FUTURE: Duration = Duration::from_hours(24);

/// The state of a lane that is stored in one write: its position, the ledger, and the settings under which both were
/// made. Its stored form has these parts, one after the other:
///
/// | first layout | part |
/// | --- | --- |
/// | 3 | the version of the layout; the position; the fields from `host` to `ledger`, and the log |
/// | 4 | `sink_type` |
/// | 5 | `rhythm` |
/// | 6 | `former`, then `tenant` |
/// | 7 | the sums of what was delivered, of `ledger` and of `former` |
/// | 8 | `target` |
/// | 9 | `user` |
/// | 10 | `dead_letters` |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCheckpoint {
    /// The console that the position's keys belong to.
    pub host: Box<str>,
    /// The accounts, sites and groups of the requests, as text.
    pub scope: Box<str>,
    /// `since` as the pipeline file had it at the first start.
    pub since: Box<str>,
    /// `since` as it was resolved then. The lane delivers nothing older.
    pub since_resolved: Timestamp,
    /// The lane's position. If it is large, a decoded checkpoint has only the first pass and the last changes, until
    /// [`Self::load`] adds the parts in the journal.
    #[serde(skip)]
    pub position: SourcePosition,
    /// Number of events that the sink accepted or that became dead letters so far. Each counts once, also over
    /// restarts.
    pub settled: u64,
    /// The records that the lane has accounted for.
    pub ledger: Ledger,
    /// The type of the sink that the events went to. Empty in a checkpoint of an earlier release.
    #[serde(skip)]
    pub sink_type: Box<str>,
    /// The times at which the console showed records. Empty in a checkpoint of an earlier release.
    #[serde(skip)]
    pub rhythm: Rhythm,
    /// The sums of an earlier ledger of the lane, for 90 days; `None` if there is none.
    #[serde(skip)]
    pub former: Option<Box<FormerLedger>>,
    /// The directory or namespace of the lane's tenant. Empty for a lane of the operator, and in a checkpoint of an
    /// earlier release.
    #[serde(skip)]
    pub tenant: Box<str>,
    /// The destination of the events. Unknown in a checkpoint of an earlier release.
    #[serde(skip)]
    pub target: Target,
    /// `UserScope::ids` of the token's user, if the requests name no ids. Empty if the requests name ids, or if the
    /// scope is unknown.
    #[serde(skip)]
    pub user: Box<str>,
    /// The store of the lane's dead letters. Unknown in a checkpoint of an earlier release.
    #[serde(skip)]
    pub dead_letters: KeptDeadLetters,
    /// The position's part of the journal.
    log: ChangeLog,
    /// The last part of the position, until the parts in the journal are read. `None` if none are left to read.
    #[serde(skip)]
    last_part: Option<Box<PositionPart<'static>>>,
}

/// The destination of a lane's events. Events that were delivered before `since` may be in another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `SinkSettings::stored_destination_hash`; 0 if it is not known.
    pub hash: u64,
    /// The time at which the lane began to deliver to this target; 1970 if it has not delivered to another one.
    pub since: Timestamp,
}

impl Target {
    /// Sets the target of the present settings. `since` becomes `now` if the target has changed.
    pub fn set(&mut self, hash: u64, now: Timestamp) {
        if self.hash != 0 && self.hash != hash {
            self.since = now;
        }
        self.hash = hash;
    }
}

/// Where a lane keeps its dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDeadLetters {
    /// The flags with which a command finds the store, each after a blank. Empty if there is none, or it is not known.
    pub flags: Box<str>,
    /// The identity of the last dead letter in this store, and when it was settled. `None` if there is none.
    pub last: Option<(Identity, Timestamp)>,
    /// The last dead letter in the store before, or in the same store under another name.
    pub last_elsewhere: Option<(Identity, Timestamp)>,
}

impl KeptDeadLetters {
    /// Sets the store that the lane uses now.
    pub fn set_store(&mut self, flags: &str) {
        if *self.flags == *flags {
            return;
        }
        self.last_elsewhere = self.last.take().or(self.last_elsewhere);
        self.flags = flags.into();
    }
}

/// The bytes are not a checkpoint of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneCheckpointError {
    /// Truncated or altered.
    #[error(
        "the checkpoint is damaged; stop the worker and delete it: the lane then starts at `since`, and delivers again \
         what it delivered from then on: s1-forwarder state delete LANE"
    )]
    Damaged,
    /// Written before the layout changed.
    #[error(
        "the checkpoint has an older layout ({0}, this release reads {OLDEST} to {VERSION}); stop the worker and delete \
         it: the lane then starts at `since`, and delivers again what it delivered from then on: s1-forwarder state \
         delete LANE"
    )]
    Older(u64),
    /// Written by a newer release.
    #[error("the checkpoint was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
}

impl From<LaneCheckpointError> for Failure {
    fn from(error: LaneCheckpointError) -> Self {
        Self::misconfigured(error.to_string())
    }
}

impl From<postcard::Error> for LaneCheckpointError {
    fn from(_: postcard::Error) -> Self {
        Self::Damaged
    }
}

impl LaneCheckpoint {
    /// Returns the checkpoint of a new lane.
    pub fn begin(
        host: Box<str>,
        scope: Box<str>,
        since: Box<str>,
        since_resolved: Timestamp,
        position: SourcePosition,
        ledger: Ledger,
    ) -> Self {
        Self {
            host,
            scope,
            since,
            since_resolved,
            position,
            settled: 0,
            ledger,
            sink_type: Box::default(),
            rhythm: Rhythm::default(),
            former: None,
            tenant: Box::default(),
            target: Target::default(),
            user: Box::default(),
            dead_letters: KeptDeadLetters::default(),
            log: ChangeLog::default(),
            last_part: None,
        }
    }

    /// Adds the events at the indices `settled` of a batch, which were delivered or stored as dead letters.
    pub fn settle(&mut self, passes: &[Pass], pending: &PendingBatch, settled: &[usize], now: Timestamp) {
        let dead_lettered = pending.fates.dead_lettered();
        let last = dead_lettered.iter().rev().find(|index| settled.contains(index));
        if let Some((_, identity)) = last.and_then(|index| pending.record(*index)) {
            self.dead_letters.last = Some((identity, now));
        }
        let records = settled.iter().filter_map(|index| {
            let (record_key, identity) = pending.record(*index)?;
            Some((record_key, identity, dead_lettered.binary_search(index).is_err()))
        });
        self.account(passes, pending, records, now);
        self.settled += settled.len() as u64;
    }

    /// Adds the records of a batch that are not delivered.
    pub fn exclude(&mut self, passes: &[Pass], pending: &PendingBatch, now: Timestamp) {
        let excluded = pending.excluded.iter().map(|record| (&record.record_key, record.identity, false));
        self.account(passes, pending, excluded, now);
    }

    /// Adds records to position and ledger. `records` has key and identity of each, and whether the sink acknowledged
    /// it.
    pub(super) fn account<'a>(
        &mut self,
        passes: &[Pass],
        pending: &PendingBatch,
        records: impl Iterator<Item = (&'a RecordKey, Identity, bool)>,
        now: Timestamp,
    ) {
        let mut records = records.peekable();
        if records.peek().is_none() {
            // A batch that was not delivered begins neither passes nor a snapshot.
            return;
        }
        let Self { position, ledger, .. } = self;
        let mut settling = position.settle(passes, pending.context);
        let stream = pending.batch.stream();
        for (record_key, identity, is_delivered) in records {
            let is_new = settling.remember(record_key);
            let is_possible = |created: &Timestamp| *created <= now.plus(FUTURE);
            let Some(created) = record_key.created.filter(|created| is_new && is_possible(created)) else { continue };
            match Accounting::of(stream) {
                Accounting::Records => {
                    ledger.count(created, identity);
                    if is_delivered {
                        ledger.deliver(created, identity);
                    }
                    ledger.remember(created, record_key.id, now);
                }
                Accounting::Ids => ledger.remember(created, record_key.id, now),
                Accounting::Nothing => {}
            }
        }
    }

    /// Drops entries that are too old. Returns the bytes that have to be written to the journal before the checkpoint.
    pub fn take_appends(&mut self, now: Timestamp) -> Vec<Append> {
        let mut appends = self.ledger.take_appends(now);
        if let Some(former) = &mut self.former {
            appends.extend(former.take_appends(&mut self.ledger, now));
            if former.hours(now).is_empty() {
                self.forget_former();
            }
        }
        appends.extend(self.log.take_append(&mut self.position, &mut self.ledger));
        appends
    }

    /// Moves the lane to the time `to`. If `to` is earlier, the lane pulls records again; if it is later, the lane
    /// skips records. The position leaves the journal.
    pub fn restart(&mut self, to: Timestamp, now: Timestamp) {
        // The new ledger counts no record twice, and does not report the records before `to` as missing.
        self.restart_ledger(to, self.ledger.filter().to_owned(), self.ledger.has_journals(), now);
        // `since` moves too if the new time is earlier: a lane pulls nothing before `since`.
        self.since_resolved = self.since_resolved.min(to);
        self.position = SourcePosition::starting_at(to);
        self.rhythm = Rhythm::default();
        self.log.leave(&mut self.position, &mut self.ledger);
        self.last_part = None;
    }

    /// Starts the ledger again, for records created from `since` on. The sums up to the lane's position stay as the
    /// former ledger, unless the present former ledger has at least as many hours. So an operator who soon corrects a
    /// wrong setting does not lose the older sums.
    pub fn restart_ledger(&mut self, since: Timestamp, asked: String, journals: bool, now: Timestamp) {
        let position = &self.position;
        let until = position.closed_until().unwrap_or_else(|| position.complete_until()).min(since);
        let before = FormerLedger::new(self.host.clone(), until, self.ledger.restart(since, asked, journals));
        let hours = |former: &FormerLedger| {
            let hours = former.hours(now);
            hours.end.0 - hours.start.0
        };
        // A store without journals cannot read sums that are in the journal of the ledger before.
        let is_whole = journals || before.ledger().journals().all(Journal::is_empty);
        let is_longer = hours(&before) > self.former.as_deref().map_or(0, hours);
        if before.ledger().has_sums() && is_whole && is_longer {
            self.forget_former();
            self.former = Some(Box::new(before));
        } else {
            self.ledger.release(before.into_segments());
        }
    }

    fn forget_former(&mut self) {
        self.ledger.release(self.former.take().into_iter().flat_map(|former| former.into_segments()));
    }

    /// Returns the stored form. The bytes that [`Self::take_appends`] returned have to be stored before it.
    pub fn encode(&self) -> Vec<u8> {
        // No step can fail: a `Vec` accepts every byte, and all fields can be serialized.
        let mut out = postcard::to_allocvec(&VERSION).unwrap_or_default();
        out.append(&mut self.log.encode(&self.position));
        let out = postcard::to_extend(self, out).unwrap_or_default();
        let out = postcard::to_extend(&self.sink_type, out).unwrap_or_default();
        let out = postcard::to_extend(&self.rhythm, out).unwrap_or_default();
        let out = postcard::to_extend(&self.former, out).unwrap_or_default();
        let out = postcard::to_extend(&self.tenant, out).unwrap_or_default();
        let former = self.former.as_ref().and_then(|former| former.ledger().delivered());
        let out = postcard::to_extend(&(self.ledger.delivered(), former), out).unwrap_or_default();
        let out = postcard::to_extend(&self.target, out).unwrap_or_default();
        let out = postcard::to_extend(&self.user, out).unwrap_or_default();
        postcard::to_extend(&self.dead_letters, out).unwrap_or_default()
    }

    /// Returns the checkpoint for another backend, which does not have the journal. Its ledger starts at the position.
    #[must_use]
    pub(super) fn without_journal(&self) -> Self {
        let mut other = self.clone();
        let from = other.position.newest();
        let asked = other.ledger.filter().to_owned();
        other.ledger.restart(from, asked, false);
        other.former = None;
        other.log = ChangeLog::default();
        other
    }

    /// Decodes the stored bytes of a checkpoint, or of a copy. See [`Self::load`].
    ///
    /// # Errors
    /// If the bytes are truncated or altered, or have a layout that this release does not read.
    pub fn decode(bytes: &[u8]) -> Result<Self, LaneCheckpointError> {
        let (version, rest) = postcard::take_from_bytes(without_mark(bytes))?;
        match version {
            OLDEST..=VERSION => {}
            newer if newer > VERSION => return Err(LaneCheckpointError::Newer(newer)),
            0 => return Err(LaneCheckpointError::Damaged),
            older => return Err(LaneCheckpointError::Older(older)),
        }
        let (part, rest): (PositionPart<'static>, _) = postcard::take_from_bytes(rest)?;
        let (mut checkpoint, mut rest): (Self, _) = postcard::take_from_bytes(rest)?;
        if version >= 4 {
            (checkpoint.sink_type, rest) = postcard::take_from_bytes(rest)?;
        }
        if version >= 5 {
            (checkpoint.rhythm, rest) = postcard::take_from_bytes(rest)?;
        }
        if version >= 6 {
            (checkpoint.former, rest) = postcard::take_from_bytes(rest)?;
            (checkpoint.tenant, rest) = postcard::take_from_bytes(rest)?;
        }
        if version >= 7 {
            let (delivered, of_former);
            ((delivered, of_former), rest) = postcard::take_from_bytes(rest)?;
            checkpoint.ledger.set_delivered(delivered);
            if let Some(former) = &mut checkpoint.former {
                former.set_delivered(of_former);
            }
        }
        if version >= 8 {
            (checkpoint.target, rest) = postcard::take_from_bytes(rest)?;
        }
        if version >= 9 {
            (checkpoint.user, rest) = postcard::take_from_bytes(rest)?;
        }
        if version >= 10 {
            (checkpoint.dead_letters, rest) = postcard::take_from_bytes(rest)?;
        }
        if !rest.is_empty() {
            return Err(LaneCheckpointError::Damaged);
        }
        checkpoint.last_part = (!checkpoint.log.journal().is_empty()).then(|| Box::new(part.clone()));
        let mut reader = PositionReader::default();
        reader.apply(part);
        checkpoint.position = reader.finish();
        Ok(checkpoint)
    }

    /// Reads the parts of the position that are in the journal.
    ///
    /// # Errors
    /// If the journal cannot be read, or is not as it was written.
    pub async fn load(&mut self, backend: &dyn CheckpointBackend, key: &CheckpointKey) -> Result<(), StateError> {
        // All segments are read at once: reading a topic takes as long for one of them.
        let segments = self.log.journal().segments();
        let segments = segments.map(async |segment| Ok((segment.number, segment.read(backend, key).await?)));
        let segments = try_join_all(segments).await?.into_iter().collect();
        let first = || self.log.journal().segments().next().map(|segment| segment.number).unwrap_or_default();
        let damaged = StateError::Journal { key: key.clone(), segment: first() };
        self.read_position(&segments).then_some(()).ok_or(damaged)
    }

    /// Reads the position from the journal's segments. Returns false if a segment is missing or damaged.
    pub fn read_position(&mut self, segments: &BTreeMap<u64, Vec<u8>>) -> bool {
        let Some(last) = &self.last_part else { return true };
        let Some(position) = self.log.read(segments, (**last).clone()) else { return false };
        self.position = position;
        self.last_part = None;
        true
    }

    /// Returns all segments of the journal, each up to the length that the checkpoint refers to.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn journal(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
    ) -> Result<BTreeMap<u64, Vec<u8>>, StateError> {
        let segments = self.journals().flat_map(Journal::segments);
        let read = segments.map(async |segment| Ok((segment.number, segment.read(backend, key).await?)));
        Ok(try_join_all(read).await?.into_iter().collect())
    }

    /// Reads all segments of the journal, and keeps none.
    ///
    /// # Errors
    /// As [`Self::load`], with the first segment that is missing or damaged.
    pub async fn check_journal(&self, backend: &dyn CheckpointBackend, key: &CheckpointKey) -> Result<(), StateError> {
        let segments: Vec<_> = self.journals().flat_map(Journal::segments).collect();
        for few in segments.chunks(SEGMENTS_AT_ONCE) {
            try_join_all(few.iter().map(|segment| segment.read(backend, key))).await?;
        }
        Ok(())
    }

    /// Returns whether `journal` has everything that the checkpoint refers to.
    pub fn is_complete_with(&self, journal: &BTreeMap<u64, Vec<u8>>) -> bool {
        self.journals().all(|part| part.is_complete_with(journal))
    }

    /// Moves position and sums from the journal back into the checkpoint, for a store without journals. Forgets the
    /// identities, and the sums of delivered records.
    ///
    /// # Errors
    /// If the journal is damaged.
    pub fn leave_journal(&mut self, journal: &BTreeMap<u64, Vec<u8>>) -> Result<(), LaneCheckpointError> {
        if !self.read_position(journal) {
            return Err(LaneCheckpointError::Damaged);
        }
        self.log.leave(&mut self.position, &mut self.ledger);
        self.ledger.leave_journal(journal);
        if let Some(former) = &mut self.former {
            former.leave_journal(journal);
        }
        Ok(())
    }

    fn journals(&self) -> impl Iterator<Item = &Journal> {
        let former = self.former.iter().flat_map(|former| former.ledger().journals());
        self.ledger.journals().chain(former).chain([self.log.journal()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{InStore, copy_of};
    use crate::source::{AgentSettings, PollContext, PullSettings, StreamOptions};
    use s1_forwarder_record::Stream;

    fn checkpoint(ledger: impl FnOnce(Timestamp) -> Ledger) -> LaneCheckpoint {
        let since = Timestamp::from_micros(1_700_000_000_000_000);
        let host = "console.example".into();
        let position = SourcePosition::starting_at(since);
        let first = LaneCheckpoint::begin(host, "".into(), "1d".into(), since, position, ledger(since));
        let target = Target { hash: 77, since };
        let mut checkpoint = LaneCheckpoint { settled: 7, sink_type: "http".into(), target, ..first };
        observe(&mut checkpoint, since);
        checkpoint
    }

    /// Adds a complete poll at `time`, which has shown a record with this time.
    fn observe(checkpoint: &mut LaneCheckpoint, time: Timestamp) {
        let mut observed = checkpoint.rhythm.begin_poll(&PullSettings::of(Stream::Activities));
        observed.add(time, time);
        checkpoint.rhythm.complete(&observed, time, true);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut checkpoint = checkpoint(|since| Ledger::begin(since, "activityTypes=27".to_owned(), false));
        checkpoint.tenant = "acme".into();
        checkpoint.user = "account 7".into();
        let identity = Identity::of("console.example", Stream::Activities, "1", "");
        checkpoint.dead_letters.last_elsewhere = Some((identity, checkpoint.since_resolved));
        count_hourly(&mut checkpoint, 5);
        let now = checkpoint.position.complete_until();
        checkpoint.restart_ledger(now, "siteIds=1".to_owned(), false, now);
        assert!(checkpoint.former.is_some());
        let bytes = checkpoint.encode();
        assert_eq!(LaneCheckpoint::decode(&bytes).as_ref(), Ok(&checkpoint));
        for cut in 0..bytes.len() {
            assert_eq!(LaneCheckpoint::decode(&bytes[..cut]), Err(LaneCheckpointError::Damaged));
        }
        assert_eq!(LaneCheckpoint::decode(&[&*bytes, &[0]].concat()), Err(LaneCheckpointError::Damaged));
        assert_eq!(LaneCheckpoint::decode(&[&[11], &bytes[1..]].concat()), Err(LaneCheckpointError::Newer(11)));
        assert_eq!(LaneCheckpoint::decode(&[&[2], &bytes[1..]].concat()), Err(LaneCheckpointError::Older(2)));
        assert_eq!(LaneCheckpoint::decode(&[77]), Err(LaneCheckpointError::Newer(77)), "whatever follows");
    }

    #[test]
    fn checkpoints_of_earlier_releases_are_read_without_what_they_do_not_have() {
        let checkpoint = checkpoint(|since| Ledger::begin(since, String::new(), true));
        let bytes = checkpoint.encode();
        let mut checkpoint = checkpoint;
        // A text without bytes, and two times that are not known.
        let without_dead_letters = bytes.len() - 3;
        let older = [&[9], &bytes[1..without_dead_letters]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&checkpoint));
        let without_user = without_dead_letters - 1;
        let older = [&[8], &bytes[1..without_user]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&checkpoint));
        let without_target = without_user - postcard::to_allocvec(&checkpoint.target).unwrap().len();
        checkpoint.target = Target::default();
        let older = [&[7], &bytes[1..without_target]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&checkpoint));
        // There is no former ledger, so nothing of it was delivered.
        let delivered = postcard::to_allocvec(&checkpoint.ledger.delivered()).unwrap().len() + 1;
        let without_delivered = without_target - delivered;
        checkpoint.ledger.set_delivered(None);
        let older = [&[6], &bytes[1..without_delivered]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&checkpoint));
        // No former ledger and no tenant.
        let without_former = without_delivered - 2;
        let older = [&[5], &bytes[1..without_former]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&checkpoint));
        let without_rhythm = without_former - postcard::to_allocvec(&checkpoint.rhythm).unwrap().len();
        let expected = LaneCheckpoint { rhythm: Rhythm::default(), ..checkpoint };
        let older = [&[4], &bytes[1..without_rhythm]].concat();
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&expected));
        let older = [&[3], &bytes[1..without_rhythm - 1 - "http".len()]].concat();
        let expected = LaneCheckpoint { sink_type: "".into(), ..expected };
        assert_eq!(LaneCheckpoint::decode(&older).as_ref(), Ok(&expected));
    }

    const HOUR: Duration = Duration::from_hours(1);

    /// Counts a record in each of the next `hours`, and moves the position to their end.
    fn count_hourly(checkpoint: &mut LaneCheckpoint, hours: u32) {
        let begin = checkpoint.position.complete_until();
        for hour in 0..hours {
            let identity = Identity::of("console.example", Stream::Activities, &hour.to_string(), "");
            checkpoint.ledger.count(begin.plus(HOUR * hour), identity);
        }
        checkpoint.position = SourcePosition::starting_at(begin.plus(HOUR * hours));
    }

    /// Returns the number of hours of the former ledger, and its filter.
    fn former(checkpoint: &LaneCheckpoint, now: Timestamp) -> Option<(u32, String)> {
        let former = checkpoint.former.as_ref()?;
        let hours = former.hours(now);
        Some((hours.end.0 - hours.start.0, former.ledger().filter().to_owned()))
    }

    #[test]
    fn of_two_ledgers_that_ended_the_one_with_more_hours_stays_for_ninety_days() {
        for journals in [true, false] {
            let mut lane = checkpoint(|since| Ledger::begin(since, "a".to_owned(), journals));
            let restart = |lane: &mut LaneCheckpoint, asked: &str| {
                let now = lane.position.complete_until();
                lane.restart_ledger(now, asked.to_owned(), journals, now);
                former(lane, now)
            };
            assert_eq!(restart(&mut lane, "b"), None, "nothing was counted");
            lane.ledger.restart(lane.since_resolved, "a".to_owned(), journals);
            count_hourly(&mut lane, 100);
            // A setting is wrong for a moment, and then corrected.
            assert_eq!(restart(&mut lane, "wrong"), Some((99, "a".to_owned())));
            assert_eq!(restart(&mut lane, "a"), Some((99, "a".to_owned())));
            let now = lane.position.complete_until();
            let before = lane.encode().len();
            let appends = lane.take_appends(now);
            assert_eq!(appends.len(), usize::from(journals), "all sums go to the journal");
            assert!(lane.encode().len() < before);
            assert_eq!(lane.journals().map(Journal::len).sum::<usize>(), usize::from(journals));

            count_hourly(&mut lane, 50);
            assert_eq!(restart(&mut lane, "c"), Some((99, "a".to_owned())));
            count_hourly(&mut lane, 200);
            assert_eq!(restart(&mut lane, "d"), Some((199, "c".to_owned())));
            assert_eq!(lane.ledger.released(), if journals { &[0][..] } else { &[] });
            let end = lane.position.complete_until();
            for (hours, stay) in [(89 * 24 - 200, 199), (90 * 24 - 10, 10)] {
                lane.take_appends(end.plus(HOUR * hours));
                let now = end.plus(HOUR * hours);
                assert_eq!(former(&lane, now).map(|(hours, _)| hours), Some(stay), "{hours}");
            }
            lane.take_appends(end.plus(HOUR * 90 * 24));
            assert_eq!(lane.former, None);
            assert_eq!(lane.ledger.released(), if journals { &[0, 1][..] } else { &[] });
        }
    }

    /// The new ledger counts the records that are read again.
    #[test]
    fn a_lane_that_is_set_back_has_a_former_ledger_up_to_there() {
        let mut lane = checkpoint(|since| Ledger::begin(since, "a".to_owned(), true));
        count_hourly(&mut lane, 100);
        let now = lane.position.complete_until();
        lane.restart(now.minus(HOUR * 60), now);
        assert_eq!(former(&lane, now), Some((39, "a".to_owned())));
        let mut skipping = checkpoint(|since| Ledger::begin(since, "a".to_owned(), true));
        count_hourly(&mut skipping, 100);
        skipping.restart(now.plus(HOUR * 60), now.plus(HOUR * 60));
        assert_eq!(former(&skipping, now.plus(HOUR * 60)), Some((99, "a".to_owned())));
    }

    /// The journal stays with the original, so a lane that continues from the copy does not find it.
    #[test]
    fn the_ledger_of_a_copy_begins_where_the_copy_ends() {
        let checkpoint = checkpoint(|since| {
            let mut ledger = Ledger::begin(Timestamp::default(), "activityTypes=27".to_owned(), true);
            (0..300).for_each(|id| ledger.remember(since, id, since));
            assert!(!ledger.take_appends(since).is_empty());
            ledger
        });
        let now = checkpoint.position.newest();
        let copy = copy_of(&checkpoint);
        let in_store = |bytes: &[u8]| InStore::of(Some(bytes));
        assert_eq!((in_store(&copy), in_store(&checkpoint.encode())), (InStore::Copy, InStore::Checkpoint));
        let copy = LaneCheckpoint::decode(&copy).unwrap();
        assert_eq!((&copy.position, copy.settled), (&checkpoint.position, checkpoint.settled));
        assert!(!copy.ledger.has_journals() && copy.is_complete_with(&Default::default()));
        assert!(!checkpoint.is_complete_with(&Default::default()), "its identities are in the journal");
        assert_eq!((copy.ledger.since(), copy.ledger.filter()), (now, checkpoint.ledger.filter()));
        assert!(
            copy.ledger.generation() > checkpoint.ledger.generation(),
            "the original's repairs do not complete the copy's ledger"
        );
    }

    #[test]
    fn a_lane_that_begins_again_begins_where_it_is_told_to() {
        let mut checkpoint = checkpoint(|since| Ledger::begin(since, "".to_owned(), true));
        let to = Timestamp::from_micros(1_600_000_000_000_000);
        let earlier = SourcePosition::starting_at(to);
        checkpoint.restart(to, to);
        assert_eq!((checkpoint.since_resolved, checkpoint.ledger.since()), (to, to));
        assert_eq!(checkpoint.position, earlier);
        assert_eq!(checkpoint.rhythm, Rhythm::default());
        assert_eq!(LaneCheckpoint::decode(&checkpoint.encode()).unwrap().position, earlier);
    }

    /// A snapshot has the time at which its first record was settled, however long the sink was down before.
    #[test]
    fn a_batch_that_was_not_delivered_begins_no_snapshot() {
        let passes = PullSettings {
            own: StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() }),
            ..PullSettings::of(Stream::Agents)
        }
        .passes();
        let mut lane = checkpoint(|since| Ledger::begin(since, String::new(), true));
        lane.position.add_passes(&passes);
        let now = lane.since_resolved.plus(Duration::from_hours(24));
        let context = PollContext { start: now, snapshot: Some(now), ..PollContext::default() };
        let pending = PendingBatch { context, ..PendingBatch::new(Stream::Agents) };
        let before = lane.clone();
        lane.settle(&passes, &pending, &[], now);
        lane.exclude(&passes, &pending, now);
        assert_eq!(lane, before);
    }

    /// A console may send any time of creation. The sums of future hours do not expire.
    #[test]
    fn records_of_the_future_do_not_make_a_checkpoint_grow() {
        let passes = PullSettings::of(Stream::Activities).passes();
        for journals in [false, true] {
            let mut lane = checkpoint(|since| Ledger::begin(since, String::new(), journals));
            lane.position.add_passes(&passes);
            let now = lane.since_resolved;
            let pending = PendingBatch::new(Stream::Activities);
            for hours in 0..2_000_u32 {
                let created = Some(now.plus(Duration::from_hours(1) * hours));
                let id = u64::from(hours);
                let record_key = RecordKey { id, version: id, content: None, time: now, created };
                let identity = Identity::of("console.example", Stream::Activities, &hours.to_string(), "");
                lane.account(&passes, &pending, [(&record_key, identity, true)].into_iter(), now);
            }
            lane.position.forget_keys();
            assert!(lane.take_appends(now).iter().map(|append| append.bytes.len()).sum::<usize>() < 1_000);
            assert!(lane.encode().len() < 1_200, "{} bytes, journals: {journals}", lane.encode().len());
        }
    }

    /// If the store keeps no journals, as in Kubernetes, each write has the whole checkpoint.
    #[test]
    fn after_ninety_days_a_checkpoint_of_activities_holds_six_kilobytes() {
        const MINUTE: Duration = Duration::from_mins(1);
        let passes = PullSettings::of(Stream::Activities).passes();
        for journals in [false, true] {
            let mut most = 0;
            let mut lane = checkpoint(|since| Ledger::begin(since, String::new(), journals));
            lane.position.add_passes(&passes);
            for minutes in 1..=95 * 24 * 60 {
                let start = lane.since_resolved.plus(MINUTE * minutes);
                let context = PollContext { start, ..PollContext::default() };
                let pending = PendingBatch { context, ..PendingBatch::new(Stream::Activities) };
                let (id, time) = (u64::from(minutes) << 22 | 0x1234, start.minus(MINUTE / 2));
                let record_key = RecordKey { id, version: id, content: None, time, created: Some(time) };
                let identity = Identity::of("console.example", Stream::Activities, &id.to_string(), "");
                lane.account(&passes, &pending, [(&record_key, identity, true)].into_iter(), start);
                lane.position.finish(&passes, context, false);
                observe(&mut lane, start);
                if minutes % 10 == 0 {
                    lane.take_appends(start);
                    let bytes = lane.encode().len();
                    most = most.max(bytes);
                    assert!(bytes <= 6_000, "{bytes} bytes after {} hours, journals: {journals}", minutes / 60);
                }
            }
            println!("| bytes of a checkpoint in 95 days, with journals: {journals} | ≤ 6000 | {most} |");
            assert_eq!(
                lane.position.closed_until(),
                Some(lane.position.complete().unwrap().minus(passes[0].late_window))
            );
        }
    }
}
