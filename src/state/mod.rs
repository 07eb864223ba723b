//! Stores of checkpoints: files, objects in Kubernetes, a Kafka topic.
//!
//! Each write is durable when it returns. A checkpoint that is damaged, or that a newer release wrote, is refused.

pub(crate) mod envelope;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod location;
#[cfg(any(test, feature = "testing"))]
mod memory;

use async_trait::async_trait;

pub use crate::checkpoint::{CheckpointBackend, CheckpointKey, LaneId, LaneIdError, StateError};
#[cfg(feature = "kafka")]
pub use crate::kafka::{KafkaLocation, KafkaLocationError};
pub use file::FileStore;
#[cfg(feature = "kafka")]
pub use kafka::KafkaStore;
#[cfg(feature = "kubernetes")]
pub use kubernetes::KubernetesStore;
pub use location::{Access, Location, LocationError, process_identity};
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryStore;

/// A store of many lanes' checkpoints.
#[async_trait]
pub trait Store: CheckpointBackend {
    /// The keys of everything that is stored, sorted.
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError>;

    /// The keys of all checkpoints, sorted: of everything but what lanes did.
    async fn list(&self) -> Result<Vec<CheckpointKey>, StateError> {
        let mut keys = self.list_all().await?;
        keys.retain(|key| !key.part.is_usage());
        Ok(keys)
    }

    /// Whether an object is read without the others. A topic is read as a whole, once for all that wait for it.
    fn reads_single_objects(&self) -> bool {
        true
    }

    /// Moves a checkpoint with its journal to another key, which must not have one.
    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError>;

    /// Removes a checkpoint with its journal: the lane begins at `since` again.
    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError>;

    /// Makes sure that the store can be written, where that takes more than writing.
    async fn prepare(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// Whether the store can be reached and written.
    async fn reach(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// Releases what this process holds in the store, at its end.
    async fn close(&self) {}
}
