//! Checkpoints as opaque bytes: their names, the backends that store them, and the ledger that goes with each.
//!
//! `state` implements the backends that are stores of their own (files, Kubernetes, a Kafka topic). A transactional
//! sink implements the same trait: it stores the checkpoint with the events. `lane` knows what the bytes mean.

pub mod encoding;
mod error;
pub mod journal;
mod key;
pub mod ledger;
#[cfg(any(test, feature = "testing"))]
mod memory;

use std::fmt::Debug;

use async_trait::async_trait;

pub use error::{NEWEST_ENVELOPE, StateError, with_lane};
pub use key::{CheckpointKey, StoredPart};
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryStore;

/// A place where lanes' checkpoints are stored.
#[async_trait]
pub trait CheckpointBackend: Send + Sync + Debug {
    /// Reads a checkpoint without claiming it.
    ///
    /// # Errors
    /// [`StateError::Damaged`] or [`StateError::Newer`] if the stored bytes cannot be read, and others if the store
    /// cannot be reached.
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError>;

    /// Reads a checkpoint that this process is going to write. From now on no other process can write it.
    ///
    /// # Errors
    /// As [`Self::load`], and [`StateError::Conflict`] if another process owns the checkpoint.
    async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.load(key).await
    }

    /// Replaces a checkpoint and changes its journal; durable when it returns. Returns the journal segments that were
    /// removed: the backend may leave some for the next commit.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if another process has written the checkpoint since it was claimed: this process must
    /// not write it any more. Others if the store failed. It is unknown then whether the update was stored.
    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError>;

    /// Returns whether the backend stores journals: the parts of positions and [`ledger`]s that would make each
    /// checkpoint too large. Without a journal a ledger keeps no identities.
    fn keeps_journals(&self) -> bool {
        false
    }

    /// Returns the bytes of a journal segment. They may be more than the checkpoint refers to.
    ///
    /// # Errors
    /// If the store cannot be read. A missing segment is no error, but `None`.
    async fn read_journal(&self, _: &CheckpointKey, _: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }
}

/// A store of many lanes' checkpoints.
#[async_trait]
pub trait Store: CheckpointBackend {
    /// Returns the keys of everything that is stored, sorted.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError>;

    /// Returns the keys of all checkpoints, sorted. Keys of usage and of locks are left out.
    ///
    /// # Errors
    /// As [`Self::list_all`].
    async fn list(&self) -> Result<Vec<CheckpointKey>, StateError> {
        let mut keys = self.list_all().await?;
        keys.retain(|key| !key.part.is_usage() && key.part != StoredPart::Lock);
        Ok(keys)
    }

    /// Returns whether the store reads an object without the others. A topic is read as a whole, once for all tasks
    /// that wait for it.
    fn reads_single_objects(&self) -> bool {
        true
    }

    /// Moves a checkpoint with its journal to another key, which must not have one.
    ///
    /// # Errors
    /// [`StateError::Exists`] if `to` has a checkpoint, [`StateError::Unknown`] if `from` has none, and others if the
    /// store failed.
    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError>;

    /// Removes a checkpoint with its journal: the lane begins at `since` again.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no checkpoint, and others if the store failed.
    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError>;

    /// Creates what the store needs before the first write; does nothing if it needs nothing.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn prepare(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// Checks whether the store can be reached and written.
    ///
    /// # Errors
    /// If the store does not answer, or refuses.
    async fn check_access(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// Releases what this process holds in the store, at its end.
    async fn close(&self) {}
}

/// A checkpoint, and what changes in its journal with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointUpdate {
    /// The checkpoint's bytes.
    pub checkpoint: Vec<u8>,
    /// The change of the journal. A backend without journals ignores it.
    pub journal: JournalChange,
}

impl From<Vec<u8>> for CheckpointUpdate {
    fn from(checkpoint: Vec<u8>) -> Self {
        Self { checkpoint, journal: JournalChange::default() }
    }
}

/// A change of a checkpoint's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalChange {
    /// Bytes for segments, stored no later than the checkpoint that refers to them.
    pub appends: Vec<Append>,
    /// Segments that the checkpoint no longer refers to.
    pub released: Vec<u64>,
}

/// Bytes for a journal segment. They replace everything from `offset` on: a crash may have left bytes there that no
/// checkpoint refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The segment's number.
    pub segment: u64,
    /// The segment's length so far.
    pub offset: u64,
    /// The bytes to write at `offset`.
    pub bytes: Vec<u8>,
}
