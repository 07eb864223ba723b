//! A test double: checkpoints in memory, lost with the process.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

use super::{CheckpointBackend, CheckpointKey, CheckpointUpdate, StateError, Store};

/// The segments of all journals, by checkpoint and number.
type Journals = BTreeMap<(CheckpointKey, u64), Vec<u8>>;

/// Keeps checkpoints in memory. Tests can make writes fail, or give the checkpoints to another owner.
#[derive(Debug, Default)]
pub struct MemoryStore {
    checkpoints: Mutex<BTreeMap<CheckpointKey, Vec<u8>>>,
    /// The journals; `None` if the store keeps none.
    journals: Option<Mutex<Journals>>,
    failures: AtomicUsize,
    is_read_only: AtomicBool,
    has_other_owner: AtomicBool,
    is_unlisted: AtomicBool,
}

impl MemoryStore {
    /// Returns a store that keeps journals, too.
    pub fn with_journals() -> Self {
        Self { journals: Some(Mutex::default()), ..Self::default() }
    }

    /// Returns the segments of all journals; `None` if the store keeps none.
    pub fn journals(&self) -> Option<MutexGuard<'_, Journals>> {
        self.journals.as_ref().map(Mutex::lock)
    }

    /// Returns every stored checkpoint, encoded.
    pub fn checkpoints(&self) -> MutexGuard<'_, BTreeMap<CheckpointKey, Vec<u8>>> {
        self.checkpoints.lock()
    }

    /// Makes the next `times` writes fail.
    pub fn fail_next(&self, times: usize) {
        self.failures.store(times, Ordering::Relaxed);
    }

    /// Refuses every later write.
    pub fn set_read_only(&self) {
        self.is_read_only.store(true, Ordering::Relaxed);
    }

    /// Sets whether lists are refused.
    pub fn set_unlisted(&self, refused: bool) {
        self.is_unlisted.store(refused, Ordering::Relaxed);
    }

    /// Makes every later write a conflict, as if another process had claimed the checkpoints.
    pub fn hand_over(&self) {
        self.has_other_owner.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
        if self.is_unlisted.load(Ordering::Relaxed) {
            let source = ErrorKind::PermissionDenied.into();
            return Err(StateError::Io { action: "list", path: "memory".into(), source });
        }
        Ok(self.checkpoints().keys().cloned().collect())
    }

    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
        let mut checkpoints = self.checkpoints();
        if checkpoints.contains_key(to) {
            return Err(StateError::Exists(to.clone()));
        }
        let checkpoint = checkpoints.remove(from).ok_or_else(|| StateError::Unknown(from.clone()))?;
        checkpoints.insert(to.clone(), checkpoint);
        Ok(())
    }

    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
        self.checkpoints().remove(key).map(drop).ok_or_else(|| StateError::Unknown(key.clone()))
    }
}

#[async_trait]
impl CheckpointBackend for MemoryStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.checkpoints().get(key).cloned())
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        if self.has_other_owner.load(Ordering::Relaxed) {
            return Err(StateError::Conflict { key: key.clone(), owner: "another process".to_owned() });
        }
        let failed = |source| Err(StateError::Io { action: "write", path: "memory".into(), source });
        if self.is_read_only.load(Ordering::Relaxed) {
            return failed(ErrorKind::ReadOnlyFilesystem.into());
        }
        let one_less = |times: usize| times.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return failed(ErrorKind::StorageFull.into());
        }
        if let Some(mut journals) = self.journals() {
            for append in update.journal.appends {
                let segment = journals.entry((key.clone(), append.segment)).or_default();
                segment.truncate(usize::try_from(append.offset).unwrap_or(usize::MAX));
                segment.extend(append.bytes);
            }
            update.journal.released.iter().for_each(|number| drop(journals.remove(&(key.clone(), *number))));
        }
        self.checkpoints().insert(key.clone(), update.checkpoint);
        Ok(update.journal.released)
    }

    fn keeps_journals(&self) -> bool {
        self.journals.is_some()
    }

    async fn read_journal(&self, key: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.journals().and_then(|journals| journals.get(&(key.clone(), segment)).cloned()))
    }
}
