//! A store that counts what lanes write.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use s1_forwarder::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError};

/// A store in memory that keeps journals and counts what is written.
#[derive(Debug, Default)]
pub struct CountingStore(pub Mutex<Counted>);

#[derive(Debug, Default)]
pub struct Counted {
    pub checkpoint: Option<Vec<u8>>,
    pub journal: BTreeMap<u64, Vec<u8>>,
    pub bytes: u64,
    pub writes: u64,
}

#[async_trait]
impl CheckpointBackend for CountingStore {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.lock().unwrap().checkpoint.clone())
    }

    async fn commit(&self, _: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let CheckpointUpdate { checkpoint, journal: JournalChange { appends, released } } = update;
        let mut counted = self.0.lock().unwrap();
        counted.writes += 1;
        counted.bytes += checkpoint.len() as u64;
        for Append { segment, offset, bytes } in appends {
            counted.bytes += bytes.len() as u64;
            let segment = counted.journal.entry(segment).or_default();
            segment.truncate(usize::try_from(offset).unwrap());
            segment.extend(bytes);
        }
        counted.journal.retain(|segment, _| !released.contains(segment));
        counted.checkpoint = Some(checkpoint);
        Ok(released)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, _: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.lock().unwrap().journal.get(&segment).cloned())
    }
}
