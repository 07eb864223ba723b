//! Moves a lane's checkpoint into its sink, and writes the copies in the state store ([`InStore`]).

use s1_forwarder_failure::Failure;
use tracing::{info, warn};

use super::in_store::{GoesOnFrom, InStore, mark_as_copy};
use super::lane_checkpoint::LaneCheckpoint;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError};

/// Returns the stored form of a copy of `checkpoint`.
pub fn copy_of(checkpoint: &LaneCheckpoint) -> Vec<u8> {
    mark_as_copy(&checkpoint.without_journal().encode())
}

/// Claims the entry of a lane in the state store if it is a copy, and returns its bytes; `None` if it is not a copy. A
/// command does this before it writes a checkpoint in place of the copy. If the copy stayed, the lane would go on from
/// its sink.
///
/// # Errors
/// If the state store cannot be read, or another process keeps writing the copy.
pub async fn claim_copy(store: &dyn CheckpointBackend, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
    if InStore::of(store.load(key).await?.as_deref()).yields_to_sink() { store.claim(key).await } else { Ok(None) }
}

/// The checkpoint that the lane continues from.
#[derive(Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The bytes of the checkpoint; `None` if the lane is new.
    pub checkpoint: Option<Vec<u8>>,
    /// Whether the copy is missing, as [`InStore::lacks_copy`] says; false if the lane has no copies.
    pub lacks_copy: bool,
}

/// Claims the checkpoint that the lane continues from: no other process can write it from now on. `store` is the state
/// store with the copy, if the `main` backend is a transactional sink.
///
/// # Errors
/// If the checkpoint cannot be claimed or moved, with the reason.
pub async fn claim(
    main: &dyn CheckpointBackend,
    store: Option<&dyn CheckpointBackend>,
    key: &CheckpointKey,
) -> Result<Claimed, Failure> {
    let Some(store) = store else {
        return Ok(Claimed { checkpoint: main.claim(key).await?, lacks_copy: false });
    };
    let stored = store.claim(key).await?;
    let own = main.claim(key).await?;
    let in_store = InStore::of(stored.as_deref());
    let checkpoint = match (in_store.goes_on_from(own.is_some()), stored) {
        (GoesOnFrom::Store, Some(stored)) => Some(move_into_sink(main, store, key, &stored).await?),
        _ => own,
    };
    Ok(Claimed { checkpoint, lacks_copy: in_store.lacks_copy() })
}

/// Moves the checkpoint, or the copy, from the state store into the sink, and leaves a copy in its place.
async fn move_into_sink(
    sink: &dyn CheckpointBackend,
    store: &dyn CheckpointBackend,
    key: &CheckpointKey,
    stored: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut checkpoint = LaneCheckpoint::decode(stored)?;
    // The checkpoint leaves the journal of the state store, and takes the sums in it along.
    let mut left_behind = Vec::new();
    if checkpoint.ledger.has_journals() {
        let journal = checkpoint.journal(store, key).await?;
        checkpoint.leave_journal(&journal)?;
        left_behind.extend(journal.into_keys());
    }
    let from =
        if InStore::of(Some(stored)) == InStore::Copy { "the copy in the state store" } else { "the state store" };
    info!(from, "moving the lane's checkpoint into its sink");
    let bytes = checkpoint.encode();
    sink.commit(key, bytes.clone().into()).await?;
    // The copy is written before anything is delivered: from now on the sink's checkpoint counts.
    let journal = JournalChange { appends: Vec::new(), released: left_behind.clone() };
    let update = CheckpointUpdate { checkpoint: copy_of(&checkpoint), journal };
    let removed = store.commit(key, update).await?;
    if removed.len() < left_behind.len() {
        warn!("the lane's journal in the state store could not be removed");
    }
    Ok(bytes)
}

/// Writes a copy. The store may name another process as the owner of the lane, although that process has only claimed
/// the entry. The sink decides which process owns the lane.
///
/// # Errors
/// [`StateError::Conflict`] if a command has written a checkpoint, and others if the store failed.
pub async fn write_copy(
    store: &dyn CheckpointBackend,
    key: &CheckpointKey,
    copy: Vec<u8>,
) -> Result<Vec<u64>, StateError> {
    let written = store.commit(key, copy.clone().into()).await;
    if !matches!(written, Err(StateError::Conflict { .. })) {
        return written;
    }
    // A claim takes the entry from the process that wrote it. So the lane claims the entry only if it may write a copy.
    if !InStore::of(store.load(key).await?.as_deref()).accepts_copies() {
        return written;
    }
    // A command may have written a checkpoint since.
    if !InStore::of(store.claim(key).await?.as_deref()).accepts_copies() {
        return written;
    }
    store.commit(key, copy.into()).await
}
