//! Moves a lane's checkpoint into its sink, and writes the copies in the state store ([`InStore`]).

use s1_forwarder_failure::Failure;
use tracing::{info, warn};

use super::in_store::{GoesOnFrom, InStore, mark_as_copy};
use super::lane_checkpoint::LaneCheckpoint;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError};

/// The stored form of a copy.
pub fn copy_of(checkpoint: &LaneCheckpoint) -> Vec<u8> {
    mark_as_copy(&checkpoint.without_journal().encode())
}

/// Claims what the state store has of a lane if that is a copy, and returns its bytes. A command does that before it
/// writes a checkpoint in its place: the lane would go on from its sink.
///
/// # Errors
/// When the state store cannot be read, or another process keeps writing the copy.
pub async fn claim_copy(store: &dyn CheckpointBackend, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
    if InStore::of(store.load(key).await?.as_deref()).yields_to_sink() { store.claim(key).await } else { Ok(None) }
}

/// What the lane continues from.
#[derive(Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The bytes of the checkpoint; none for a new lane.
    pub checkpoint: Option<Vec<u8>>,
    /// [`InStore::lacks_copy`]; false where the lane has no copies.
    pub lacks_copy: bool,
}

/// Claims the checkpoint that the lane continues from: no other process can write it from now on. `store` has the copy
/// of a checkpoint whose `main` backend is a transactional sink.
///
/// # Errors
/// When that is not possible, and why.
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

/// Moves what the state store has into the sink, and leaves a copy in its place.
async fn move_into_sink(
    sink: &dyn CheckpointBackend,
    store: &dyn CheckpointBackend,
    key: &CheckpointKey,
    stored: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut checkpoint = LaneCheckpoint::decode(stored)?;
    // It leaves the journal of the state store, and keeps the sums in it.
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
    // Before anything is delivered: from now on the sink's checkpoint counts.
    let journal = JournalChange { appends: Vec::new(), released: left_behind.clone() };
    let update = CheckpointUpdate { checkpoint: copy_of(&checkpoint), journal };
    let removed = store.commit(key, update).await?;
    if removed.len() < left_behind.len() {
        warn!("the lane's journal in the state store could not be removed");
    }
    Ok(bytes)
}

/// Writes a copy. The store may believe that the lane belongs to another process, which has only read it: the sink
/// decides who owns the lane.
///
/// # Errors
/// [`StateError::Conflict`] where a command has written a checkpoint.
pub async fn write_copy(
    store: &dyn CheckpointBackend,
    key: &CheckpointKey,
    copy: Vec<u8>,
) -> Result<Vec<u64>, StateError> {
    let written = store.commit(key, copy.clone().into()).await;
    if !matches!(written, Err(StateError::Conflict { .. })) {
        return written;
    }
    // A claim takes the checkpoint from the process that wrote it: only where a copy is.
    if !InStore::of(store.load(key).await?.as_deref()).takes_copies() {
        return written;
    }
    // A command may have written one since.
    if !InStore::of(store.claim(key).await?.as_deref()).takes_copies() {
        return written;
    }
    store.commit(key, copy.into()).await
}
