//! The dead letters of a lane: they are not missing at its destination.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour};
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_engine::lane::{KeptDeadLetters, LaneCheckpoint};
use s1_forwarder_engine::sink::lookup::{IdentitySorter, SortedIdentities};
use s1_forwarder_record::{Identity, LaneId, Timestamp};
use s1_forwarder_state::dead_letters::{self, StoredDeadLetter};
use s1_forwarder_telemetry::usage::Usage;

use super::super::{VerifyError, replays_area};
use crate::{Options, usage_area};

pub const DAY: Duration = Duration::from_hours(24);

/// The identities of dead letters, sorted.
pub struct LaneDeadLetters {
    own: SortedIdentities,
    /// The dead letters of lanes without a checkpoint: the lane may have had such a name when they were stored.
    former: SortedIdentities,
    lanes: BTreeSet<String>,
    /// Why dead letters of the lane may look like missing events: it has stored some in another place, or more than
    /// were read or replayed.
    pub doubt: Option<String>,
}

impl LaneDeadLetters {
    /// Reads the store. `live` has the checkpoints of all lanes, `kept` is of that of the lane. The
    /// [`doubt`](Self::doubt) is of those that the lane has stored from `since` on. If `has_sums`, the ledger tells of
    /// each hour which records were not delivered, so that their number is no matter.
    pub async fn read(
        options: &Options,
        lane: &LaneId,
        kept: &KeptDeadLetters,
        live: &dyn Store,
        since: Timestamp,
        has_sums: bool,
    ) -> Result<Self, VerifyError> {
        let mut read = 0;
        let mut own = IdentitySorter::default();
        let mut former = IdentitySorter::default();
        let mut lanes = BTreeSet::new();
        let mut are_former: HashMap<LaneId, bool> = HashMap::new();
        let partitions = match &options.dead_letters() {
            Some(location) => dead_letters::partitions(location, &options.instance).await.map_err(unread)?,
            None => Vec::new(),
        };
        for mut partition in partitions {
            while let Some(stored) = partition.next().await {
                let (_, StoredDeadLetter { time, lane: of, identity, .. }) = stored.map_err(unread)?;
                if of == *lane {
                    read += u64::from(time >= since);
                    own.add(identity).map_err(unread)?;
                    continue;
                }
                let is_former = match are_former.get(&of) {
                    Some(is_former) => *is_former,
                    None => {
                        let is_former = of.stream == lane.stream && !has_checkpoint(live, &of).await?;
                        are_former.insert(of.clone(), is_former);
                        is_former
                    }
                };
                if is_former {
                    read += u64::from(time >= since);
                    former.add(identity).map_err(unread)?;
                    lanes.insert(of.to_string());
                }
            }
        }
        let own = own.finish().map_err(unread)?;
        let former = former.finish().map_err(unread)?;
        let mut dead_letters = Self { own, former, lanes, doubt: None };
        dead_letters.doubt = match dead_letters.doubt_of_place(options, lane, kept, since, has_sums).await? {
            Some(doubt) => Some(doubt),
            None if has_sums => None,
            None => doubt_of_counts(options, lane, live, since, read).await?,
        };
        Ok(dead_letters)
    }

    /// Returns how often each identity is a dead letter of the lane.
    pub fn occurrences(&mut self, identities: &[Identity]) -> Result<Vec<u32>, VerifyError> {
        self.own.occurrences(identities).map_err(unread)
    }

    /// Returns, for each identity, the text that it is a dead letter of a lane that may have been this one. `None` if
    /// it is no such dead letter.
    pub fn places(&mut self, identities: &[Identity]) -> Result<Vec<Option<String>>, VerifyError> {
        let copies = self.former.occurrences(identities).map_err(unread)?;
        let lanes: Vec<&str> = self.lanes.iter().map(String::as_str).collect();
        let place = format!("dead letters of {} (renamed?)", lanes.join(", "));
        Ok(copies.into_iter().map(|copies| (copies > 0).then(|| place.clone())).collect())
    }

    /// Returns why the lane's dead letters may be in another store than the one that was read. One store may have
    /// several names, as where it was moved: what was read has the last dead letter, whatever the name.
    async fn doubt_of_place(
        &mut self,
        options: &Options,
        lane: &LaneId,
        kept: &KeptDeadLetters,
        since: Timestamp,
        has_sums: bool,
    ) -> Result<Option<String>, VerifyError> {
        if let Some(last) = self.unread_since(kept.last_elsewhere, since)? {
            return Ok(Some(format!(
                "the lane kept its dead letters in another store until {last:.0}, or under another name, and they are \
                 not in this one: they look missing; `--from {:.0}` asks for later events",
                last.plus(DAY)
            )));
        }
        let Some(last) = self.unread_since(kept.last, since)? else { return Ok(None) };
        let read = options.dead_letters().map(|location| dead_letters::flags(&location, &options.instance));
        if read.is_none_or(|flags| *flags != *kept.flags) {
            return Ok(Some(format!("the worker keeps the lane's dead letters elsewhere: give{}", kept.flags)));
        }
        // A replay may have delivered it, so that the sums or the counts decide.
        if has_sums {
            return Ok(None);
        }
        let from = match Accounting::of(lane.stream) {
            Accounting::Records => Hour(0),
            Accounting::Ids | Accounting::Nothing => Hour::from(since),
        };
        Ok((replayed(options, lane, from).await? == 0).then(|| {
            format!(
                "the lane's dead letter of {last:.0} is not there, and no replay has delivered it: it was purged, or \
                 the worker keeps dead letters on another machine"
            )
        }))
    }

    /// Returns when a dead letter was settled that is not among those that were read. `None` before `since`.
    fn unread_since(
        &mut self,
        dead_letter: Option<(Identity, Timestamp)>,
        since: Timestamp,
    ) -> Result<Option<Timestamp>, VerifyError> {
        let Some((identity, settled)) = dead_letter.filter(|(_, settled)| *settled >= since) else { return Ok(None) };
        let copies = [&mut self.own, &mut self.former].map(|read| read.occurrences(&[identity]));
        for copies in copies {
            if copies.map_err(unread)?.iter().any(|copies| *copies > 0) {
                return Ok(None);
            }
        }
        Ok(Some(settled))
    }
}

/// Returns why more dead letters of the lane may exist than the `read` ones.
async fn doubt_of_counts(
    options: &Options,
    lane: &LaneId,
    live: &dyn Store,
    since: Timestamp,
    read: u64,
) -> Result<Option<String>, VerifyError> {
    let Some(location) = options.dead_letters() else { return Ok(None) };
    let dead_letters = stored(options, lane, live, since).await?;
    let replayed = replayed(options, lane, Hour::from(since)).await?;
    Ok((dead_letters > read + replayed).then(|| {
        format!(
            "the lane has stored {dead_letters} dead letters since {since:.0}, {location} has {read} of them, and \
             replays are known to have delivered {replayed}: give the worker's `--dead-letters`; those that were \
             purged look like missing ones"
        )
    }))
}

/// Returns how many dead letters the lane's worker and its backfills have stored since then.
async fn stored(options: &Options, lane: &LaneId, live: &dyn Store, since: Timestamp) -> Result<u64, VerifyError> {
    let commands = options.read_state(Some(usage_area())).await?;
    let until = options.clock.now().plus(Duration::from_hours(1));
    let mut dead_letters = 0;
    for (store, part) in [(live, StoredPart::Usage), (&*commands, StoredPart::BackfillUsage)] {
        let Some(bytes) = store.load(&CheckpointKey { lane: lane.clone(), part }).await? else { continue };
        // Damaged counts may have had some.
        dead_letters += Usage::decode(&bytes).map_or(1, |usage| usage.within(since, until).counts.dead_letters);
    }
    Ok(dead_letters)
}

/// Returns how many of the dead letters that were stored from this hour on are known to be replayed. The events of
/// other commands, such as repairs, were no dead letters. The hour is that of storing. For records that are counted it
/// is that of creation, which is no later, so that none of an earlier dead letter counts.
async fn replayed(options: &Options, lane: &LaneId, from: Hour) -> Result<u64, VerifyError> {
    let replays = options.read_state(Some(&replays_area(&lane.pipeline))).await?;
    let mut replayed = 0;
    for key in replays.list().await? {
        if key.lane != *lane || !matches!(key.part, StoredPart::Replays { .. }) {
            continue;
        }
        let Some(bytes) = replays.load(&key).await? else { continue };
        let ledger = LaneCheckpoint::decode(&bytes)?.ledger;
        let totals = ledger.sums(&*replays, &key, from..Hour(u32::MAX)).await?;
        replayed += totals.delivered.values().map(|sum| sum.count).sum::<u64>();
    }
    Ok(replayed)
}

async fn has_checkpoint(live: &dyn Store, lane: &LaneId) -> Result<bool, StateError> {
    match live.load(&lane.clone().into()).await {
        Ok(stored) => Ok(stored.is_some()),
        Err(StateError::Damaged { .. } | StateError::Newer { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

fn unread(error: io::Error) -> VerifyError {
    VerifyError::DeadLetters(error)
}
