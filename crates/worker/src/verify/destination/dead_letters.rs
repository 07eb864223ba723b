//! The dead letters of a lane: they are not missing at its destination.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::{CheckpointKey, LaneId, StateError, Store, StoredPart};
use s1_forwarder_engine::sink::lookup::{IdentitySorter, SortedIdentities};
use s1_forwarder_record::{Identity, Timestamp};
use s1_forwarder_state::StoreLocation;
use s1_forwarder_state::dead_letters::{self, StoredDeadLetter};
use s1_forwarder_telemetry::usage::Usage;

use super::super::VerifyError;
use crate::Options;

/// The identities of dead letters, sorted.
pub struct LaneDeadLetters {
    own: SortedIdentities,
    /// The dead letters of lanes without a checkpoint: the lane may have had such a name when they were stored.
    former: SortedIdentities,
    lanes: BTreeSet<String>,
}

impl LaneDeadLetters {
    /// Reads the store. `live` has the checkpoints of all lanes.
    pub async fn read(options: &Options, lane: &LaneId, live: &dyn Store) -> Result<Self, VerifyError> {
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
                let (_, StoredDeadLetter { pipeline, stream, sink, identity, .. }) = stored.map_err(unread)?;
                let of = LaneId { pipeline, stream, sink };
                if of == *lane {
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
                    former.add(identity).map_err(unread)?;
                    lanes.insert(of.to_string());
                }
            }
        }
        Ok(Self { own: own.finish().map_err(unread)?, former: former.finish().map_err(unread)?, lanes })
    }

    /// How often each of these is a dead letter of the lane.
    pub fn copies(&mut self, identities: &[Identity]) -> Result<Vec<u32>, VerifyError> {
        self.own.copies(identities).map_err(unread)
    }

    /// Which of these are dead letters of a lane that may have been this one.
    pub fn places(&mut self, identities: &[Identity]) -> Result<Vec<Option<String>>, VerifyError> {
        let copies = self.former.copies(identities).map_err(unread)?;
        let lanes: Vec<&str> = self.lanes.iter().map(String::as_str).collect();
        let place = format!("dead letters of {} (renamed?)", lanes.join(", "));
        Ok(copies.into_iter().map(|copies| (copies > 0).then(|| place.clone())).collect())
    }
}

/// Why a dead letter looks like a missing record: the lane has stored some since then, and none can be read.
pub async fn unreadable(
    options: &Options,
    lane: &LaneId,
    live: &dyn Store,
    since: Timestamp,
) -> Result<Option<String>, VerifyError> {
    let Some(StoreLocation::File(directory)) = options.dead_letters() else { return Ok(None) };
    if directory.is_dir() {
        return Ok(None);
    }
    let key = CheckpointKey { lane: lane.clone(), part: StoredPart::Usage };
    let stored = match live.load(&key).await? {
        Some(bytes) => {
            let until = options.clock.now().plus(Duration::from_secs(3_600));
            Usage::decode(&bytes).map_or(1, |usage| usage.within(since, until).counts.dead_letters)
        }
        None => 0,
    };
    Ok((stored > 0).then(|| {
        format!(
            "the lane has stored {stored} dead letters since {since}, and {} does not exist: give the worker's \
             `--dead-letters`, or make that directory if they were removed",
            directory.display()
        )
    }))
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
