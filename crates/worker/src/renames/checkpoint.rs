//! A checkpoint gets another name, with everything that belongs to its lane.

use std::path::PathBuf;

use s1_forwarder_engine::checkpoint::{
    Append, CheckpointKey, CheckpointUpdate, JournalChange, StateError, Store, StoredPart,
};
use s1_forwarder_engine::lane::{LaneCheckpoint, claim_copy};
use s1_forwarder_record::LaneId;
use s1_forwarder_state::Access;
use s1_forwarder_telemetry::usage::Usage;

use crate::options::Options;
use crate::usage::usage_area;
use crate::verify::{repairs_area, replays_area};

/// Renames a lane's checkpoint with its journal, the repairs and replays that complete its ledger, and the counts of
/// its work. The new name must have no checkpoint. After a crash the call can be repeated.
///
/// # Errors
/// If there is no such checkpoint, the new name has one, or another process writes one of them.
pub async fn rename_checkpoint(
    store: &dyn Store,
    options: &Options,
    from: &LaneId,
    to: &LaneId,
) -> Result<(), StateError> {
    let by_commands = options.state.open(&options.instance, Access::Read, Some(usage_area())).await?;
    let mut keys = by_commands.list_all().await?;
    keys.retain(|key| key.lane == *from);
    let areas: [fn(&str) -> PathBuf; 2] = [repairs_area, replays_area];
    let mut copied = Vec::new();
    for area in areas {
        copied.push((area, copy_area(options, area, from, to).await?));
    }
    let key = to.clone().into();
    match store.rename(&from.clone().into(), &key).await {
        // An earlier call has come so far.
        Err(StateError::Unknown(_)) if has_usage_alone(store, !keys.is_empty(), from, to).await? => {}
        renamed => renamed?,
    }
    // A copy would yield to the checkpoint that the sink has of a lane of the new name. A damaged copy is renamed as it
    // is.
    if let Some(bytes) = claim_copy(store, &key).await?
        && let Ok(copy) = LaneCheckpoint::decode(&bytes)
    {
        store.commit(&key, copy.encode().into()).await?;
    }
    for (area, keys) in copied.into_iter().filter(|(_, keys)| !keys.is_empty()) {
        let area = options.open_state(Some(&area(&from.pipeline))).await?;
        for key in keys {
            area.delete(&key).await?;
        }
        area.close().await;
    }
    move_usage(store, &usage_key(from, StoredPart::Usage), &usage_key(to, StoredPart::Usage)).await?;
    if !keys.is_empty() {
        let by_commands = options.open_state(Some(usage_area())).await?;
        for key in keys {
            move_usage(&*by_commands, &key, &usage_key(to, key.part)).await?;
        }
        by_commands.close().await;
    }
    Ok(())
}

fn usage_key(lane: &LaneId, part: StoredPart) -> CheckpointKey {
    CheckpointKey { lane: lane.clone(), part }
}

/// Returns whether the new name has the checkpoint while the old one still has counts of the lane, or of commands for
/// the lane.
async fn has_usage_alone(
    store: &dyn Store,
    is_of_commands: bool,
    from: &LaneId,
    to: &LaneId,
) -> Result<bool, StateError> {
    let has_usage = is_of_commands || store.load(&usage_key(from, StoredPart::Usage)).await?.is_some();
    Ok(has_usage && store.load(&to.clone().into()).await?.is_some())
}

/// Moves the counts of a lane, and adds them to the counts of an earlier lane of the new name.
async fn move_usage(store: &dyn Store, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
    let Some(old) = store.load(from).await? else { return Ok(()) };
    let new = store.claim(to).await?;
    let Ok(old) = Usage::decode(&old) else {
        // Unreadable counts are not added to others.
        return if new.is_none() { store.rename(from, to).await } else { Ok(()) };
    };
    let Ok(mut merged) = new.map_or_else(|| Ok(Usage::default()), |new| Usage::decode(&new)) else { return Ok(()) };
    // Otherwise an earlier call was interrupted before it removed the old one. A worker may have added to the new one
    // since.
    if !merged.has_merged(&old) {
        merged.merge(&old);
        store.commit(to, merged.encode().into()).await?;
    }
    store.delete(from).await
}

/// Copies the objects that an area has of a lane, and returns their keys.
async fn copy_area(
    options: &Options,
    area: fn(&str) -> PathBuf,
    from: &LaneId,
    to: &LaneId,
) -> Result<Vec<CheckpointKey>, StateError> {
    let old = options.state.open(&options.instance, Access::Read, Some(&area(&from.pipeline))).await?;
    let mut keys = old.list().await?;
    keys.retain(|key| key.lane == *from);
    if keys.is_empty() {
        return Ok(keys);
    }
    let new = options.open_state(Some(&area(&to.pipeline))).await?;
    for key in &keys {
        let Some(checkpoint) = old.load(key).await? else { continue };
        let mut appends = Vec::new();
        if let Ok(decoded) = LaneCheckpoint::decode(&checkpoint) {
            let journal = decoded.journal(&*old, key).await?.into_iter();
            appends.extend(journal.map(|(segment, bytes)| Append { segment, offset: 0, bytes }));
        }
        let journal = JournalChange { appends, released: Vec::new() };
        let renamed = CheckpointKey { lane: to.clone(), part: key.part };
        new.commit(&renamed, CheckpointUpdate { checkpoint, journal }).await?;
    }
    new.close().await;
    Ok(keys)
}
