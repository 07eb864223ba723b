//! Stores of checkpoints: files, objects in Kubernetes, a Kafka topic.
//!
//! Each write is durable when it returns. A checkpoint that is damaged, or that a newer release wrote, is refused.

mod envelope;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod location;
mod memory;

use futures_util::future::BoxFuture;

pub use crate::checkpoint::{CheckpointBackend, CheckpointKey, LaneId, LaneIdError, StateError};
#[cfg(feature = "kafka")]
pub use crate::kafka::{KafkaLocation, KafkaLocationError};
pub use file::FileStore;
#[cfg(feature = "kafka")]
pub use kafka::KafkaStore;
#[cfg(feature = "kubernetes")]
pub use kubernetes::KubernetesStore;
pub use location::{Location, LocationError, process_identity};
pub use memory::MemoryStore;

/// A store of many lanes' checkpoints.
pub trait Store: CheckpointBackend {
    /// The keys of all checkpoints, sorted.
    fn list(&self) -> BoxFuture<'_, Result<Vec<CheckpointKey>, StateError>>;

    /// Moves a checkpoint with its journal to another key, which must not have one.
    fn rename<'a>(&'a self, from: &'a CheckpointKey, to: &'a CheckpointKey) -> BoxFuture<'a, Result<(), StateError>>;

    /// Removes a checkpoint with its journal: the lane begins at `since` again.
    fn delete<'a>(&'a self, key: &'a CheckpointKey) -> BoxFuture<'a, Result<(), StateError>>;

    /// Makes sure that the store can be written, where that takes more than writing.
    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the store can be reached, where it is not on this machine.
    fn reach(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    /// Releases what this process holds in the store, at its end.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
