//! The dead letters of a lane: they are not missing at its destination.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour};
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_engine::lane::{KeptDeadLetters, LaneCheckpoint};
use s1_forwarder_engine::sink::lookup::{IdentitySorter, SortedIdentities};
use s1_forwarder_record::{Identity, LaneId, Timestamp};
use s1_forwarder_state::dead_letters::{self, DeadLetterPartition, StoredDeadLetter};
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
    /// Whether neither the lane's checkpoint nor a command knows of a dead letter of the lane. Those that were read are
    /// of an earlier checkpoint, so they explain no event that the lane has delivered since.
    pub are_stale: bool,
    /// Why dead letters of the lane may look like missing events: the lane has stored some in another place, or more
    /// were stored than read or replayed.
    pub doubt: Option<String>,
}

impl LaneDeadLetters {
    /// Reads the store. `live` has the checkpoints of all lanes; `kept` belongs to the store of this lane. The
    /// [`doubt`](Self::doubt) is about dead letters that were stored from `since` on. If `has_sums`, the ledger
    /// says for each hour which records were not delivered, so their number does not matter.
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
        for mut partition in partitions(options).await? {
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
                // The lane's counts may not have them, so they are not counted as read either.
                if is_former {
                    former.add(identity).map_err(unread)?;
                    lanes.insert(of.to_string());
                }
            }
        }
        let own = own.finish().map_err(unread)?;
        let former = former.finish().map_err(unread)?;
        let are_known = kept.last.or(kept.last_elsewhere).is_some();
        let are_stale = !are_known && stored_by_commands(options, lane, Timestamp::default()).await? == 0;
        let mut dead_letters = Self { own, former, lanes, are_stale, doubt: None };
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

/// Returns the identities of the lane's dead letters that were stored from then on.
pub async fn stored_since(
    options: &Options,
    lane: &LaneId,
    since: Timestamp,
) -> Result<HashSet<Identity>, VerifyError> {
    let mut identities = HashSet::new();
    for mut partition in partitions(options).await? {
        while let Some(stored) = partition.next().await {
            let (_, StoredDeadLetter { time, lane: of, identity, .. }) = stored.map_err(unread)?;
            if time >= since && of == *lane {
                identities.insert(identity);
            }
        }
    }
    Ok(identities)
}

async fn partitions(options: &Options) -> Result<Vec<DeadLetterPartition>, VerifyError> {
    match &options.dead_letters() {
        Some(location) => dead_letters::partitions(location, &options.instance).await.map_err(unread),
        None => Ok(Vec::new()),
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
            "the lane and commands have stored {dead_letters} dead letters since {since:.0}, {location} has {read} \
             under the lane's name, and replays are known to have sent {replayed} again: give the worker's \
             `--dead-letters`; those that were purged look like missing ones"
        )
    }))
}

/// Returns how many dead letters of the lane its worker and commands have stored since then.
async fn stored(options: &Options, lane: &LaneId, live: &dyn Store, since: Timestamp) -> Result<u64, VerifyError> {
    let by_worker = counted(options, lane, live, StoredPart::Usage, since).await?;
    Ok(by_worker + stored_by_commands(options, lane, since).await?)
}

/// Returns how many dead letters of the lane backfills, repairs and replays have stored since then.
async fn stored_by_commands(options: &Options, lane: &LaneId, since: Timestamp) -> Result<u64, VerifyError> {
    let commands = options.read_state(Some(usage_area())).await?;
    let mut dead_letters = 0;
    for part in [StoredPart::Usage, StoredPart::BackfillUsage] {
        dead_letters += counted(options, lane, &*commands, part, since).await?;
    }
    Ok(dead_letters)
}

/// Returns how many dead letters of the lane these counts have since then.
async fn counted(
    options: &Options,
    lane: &LaneId,
    store: &dyn Store,
    part: StoredPart,
    since: Timestamp,
) -> Result<u64, VerifyError> {
    let Some(bytes) = store.load(&CheckpointKey { lane: lane.clone(), part }).await? else { return Ok(0) };
    let until = options.clock.now().plus(Duration::from_hours(1));
    // Damaged counts may have had some.
    Ok(Usage::decode(&bytes).map_or(1, |usage| usage.within(since, until).counts.dead_letters))
}

/// Returns how many of the dead letters that were stored from this hour on are known to be replayed. The events of
/// other commands, such as repairs, were no dead letters. The hour is the hour of storing. For counted records it is
/// the hour of creation, which is no later, so no replay of an earlier dead letter counts.
/// For other records, a dead letter that was refused again counts too: it is stored once more under a new time.
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

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use s1_forwarder_engine::dead_letters::{DeadLetter, DeadLetters};
    use s1_forwarder_record::Stream;
    use s1_forwarder_state::StoreLocation;
    use s1_forwarder_telemetry::usage::{CountedTime, Delta};
    use tempfile::TempDir;

    use super::*;
    use crate::usage::CommandUsage;

    fn lane() -> LaneId {
        "acme/threats/siem".parse().unwrap()
    }

    fn identity(number: u64) -> Identity {
        Identity::of("console.example", Stream::Threats, &number.to_string(), "")
    }

    /// A state whose lane has no dead letters yet.
    struct Installation {
        _directory: TempDir,
        options: Options,
    }

    impl Installation {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let state = directory.path().join("state");
            std::fs::create_dir(&state).unwrap();
            let options = Options { state: StoreLocation::File(state), ..Options::default() };
            Self { _directory: directory, options }
        }

        /// Stores dead letters of a lane of this pipeline.
        async fn store(&self, pipeline: &str, numbers: Range<u64>) {
            let store = dead_letters::open(self.options.dead_letters().unwrap(), "", DeadLetters::DEFAULT_MAX);
            let lane = LaneId::new(pipeline, Stream::Threats, "siem");
            for number in numbers {
                let time = self.options.clock.now();
                let dead_letter = DeadLetter { time, identity: identity(number), ..DeadLetter::sample(&lane, b"{}") };
                store.keep(&[dead_letter]).await.unwrap();
            }
        }

        fn counts(&self, dead_letters: u64) -> Delta {
            let mut delta = Delta::default();
            delta.at(self.options.clock.now()).dead_letters = dead_letters;
            delta
        }

        async fn count_by_worker(&self, dead_letters: u64) {
            let now = self.options.clock.now();
            let mut usage = Usage::default();
            usage.add(&self.counts(dead_letters), CountedTime { from: now, until: now, is_over: true, write: (1, 1) });
            let live = self.options.open_state(None).await.unwrap();
            let key = CheckpointKey { lane: lane(), part: StoredPart::Usage };
            live.claim(&key).await.unwrap();
            live.commit(&key, usage.encode().into()).await.unwrap();
            live.close().await;
        }

        async fn count_by_command(&self, part: StoredPart, dead_letters: u64) {
            let usage = CommandUsage::new(&self.options);
            usage.add(lane(), part, &self.counts(dead_letters));
            usage.write().await;
        }

        async fn read(&self, kept: &KeptDeadLetters, has_sums: bool) -> LaneDeadLetters {
            let live = self.options.read_state(None).await.unwrap();
            let since = self.options.clock.now().minus(DAY);
            LaneDeadLetters::read(&self.options, &lane(), kept, &*live, since, has_sums).await.unwrap()
        }

        async fn doubt(&self) -> Option<String> {
            self.read(&KeptDeadLetters::default(), false).await.doubt
        }
    }

    /// Twelve dead letters of the worker were stored, and three of them were purged.
    #[tokio::test]
    async fn dead_letters_that_the_lane_has_not_counted_replace_none_that_were_purged() {
        let installation = Installation::new();
        installation.count_by_worker(12).await;
        installation.store("acme", 0..12).await;
        assert_eq!(installation.doubt().await, None);

        // A lane has them whose checkpoint is in another state, or that had another name.
        let installation = Installation::new();
        installation.count_by_worker(12).await;
        installation.store("acme", 3..12).await;
        installation.store("other", 20..35).await;
        let doubt = installation.doubt().await.unwrap();
        assert!(doubt.contains("have stored 12 ") && doubt.contains("has 9 under the lane's name"), "{doubt}");

        // A repair and a backfill have stored them.
        for part in [StoredPart::Usage, StoredPart::BackfillUsage] {
            let installation = Installation::new();
            installation.count_by_worker(12).await;
            installation.count_by_command(part, 15).await;
            installation.store("acme", 0..12).await;
            installation.store("acme", 20..35).await;
            assert_eq!(installation.doubt().await, None, "{part:?}");
            let installation = Installation::new();
            installation.count_by_worker(12).await;
            installation.count_by_command(part, 15).await;
            installation.store("acme", 3..12).await;
            installation.store("acme", 20..35).await;
            let doubt = installation.doubt().await.unwrap();
            assert!(doubt.contains("have stored 27 ") && doubt.contains("has 24 under the lane's name"), "{doubt}");
        }
    }

    #[tokio::test]
    async fn dead_letters_that_neither_checkpoint_nor_command_has_stored_are_stale() {
        let last = Some((identity(1), Timestamp::default()));
        let none = KeptDeadLetters::default();
        let kept = [
            (none.clone(), true),
            (KeptDeadLetters { last, ..none.clone() }, false),
            (KeptDeadLetters { last_elsewhere: last, ..none.clone() }, false),
        ];
        let installation = Installation::new();
        installation.store("acme", 0..3).await;
        // The counts of the worker stay when its checkpoint is deleted.
        installation.count_by_worker(3).await;
        for (kept, expected) in &kept {
            assert_eq!(installation.read(kept, true).await.are_stale, *expected, "{kept:?}");
        }
        for part in [StoredPart::Usage, StoredPart::BackfillUsage] {
            let installation = Installation::new();
            installation.store("acme", 0..3).await;
            installation.count_by_command(part, 1).await;
            assert!(!installation.read(&none, true).await.are_stale, "{part:?}");
        }
    }

    #[tokio::test]
    async fn only_the_dead_letters_of_a_lane_since_then_are_read() {
        let installation = Installation::new();
        installation.store("acme", 0..2).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let since = installation.options.clock.now();
        installation.store("acme", 2..4).await;
        installation.store("other", 4..6).await;
        let stored = stored_since(&installation.options, &lane(), since).await.unwrap();
        assert_eq!(stored, HashSet::from([identity(2), identity(3)]));
    }
}
