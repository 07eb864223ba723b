//! A checkpoint gets another name, with everything that belongs to its lane.

use crate::checkpoint::{Append, CheckpointKey, CheckpointUpdate, JournalChange};
use crate::lane::LaneCheckpoint;
use crate::state::{Access, LaneId, StateError, Store};
use crate::worker::{Options, repairs_area};

/// Renames a lane's checkpoint with its journal, and the repairs that complete its ledger. The new name must have no
/// checkpoint. After a crash the call can be repeated.
///
/// # Errors
/// If there is no such checkpoint, the new name has one, or another process writes one of them.
pub async fn rename_checkpoint(
    store: &dyn Store,
    options: &Options,
    from: &LaneId,
    to: &LaneId,
) -> Result<(), StateError> {
    let repairs = copy_repairs(options, from, to).await?;
    let key = to.clone().into();
    store.rename(&from.clone().into(), &key).await?;
    // A copy would yield to what the sink has of a lane of the new name. A damaged one is renamed as it is.
    if store.load(&key).await?.is_some_and(|bytes| LaneCheckpoint::is_copy(&bytes))
        && let Some(bytes) = store.claim(&key).await?
        && let Ok(copy) = LaneCheckpoint::decode(&bytes)
    {
        store.commit(&key, copy.encode().into()).await?;
    }
    if !repairs.is_empty() {
        let area = options.open_state(Some(&repairs_area(&from.pipeline))).await?;
        for repair in repairs {
            area.delete(&repair).await?;
        }
        area.close().await;
    }
    Ok(())
}

/// Copies the repairs of a lane, and returns their keys.
async fn copy_repairs(options: &Options, from: &LaneId, to: &LaneId) -> Result<Vec<CheckpointKey>, StateError> {
    let old = options.state.open(&options.instance, Access::Read, Some(&repairs_area(&from.pipeline))).await?;
    let mut keys = old.list().await?;
    keys.retain(|key| key.lane == *from);
    if keys.is_empty() {
        return Ok(keys);
    }
    let new = options.open_state(Some(&repairs_area(&to.pipeline))).await?;
    for key in &keys {
        let Some(checkpoint) = old.load(key).await? else { continue };
        let mut appends = Vec::new();
        if let Ok(decoded) = LaneCheckpoint::decode(&checkpoint) {
            let journal = decoded.journal(&*old, key).await?.into_iter();
            appends.extend(journal.map(|(segment, bytes)| Append { segment, offset: 0, bytes }));
        }
        let journal = JournalChange { appends, dropped: Vec::new() };
        let renamed = CheckpointKey { lane: to.clone(), part: key.part };
        new.commit(&renamed, CheckpointUpdate { checkpoint, journal }).await?;
    }
    new.close().await;
    Ok(keys)
}
