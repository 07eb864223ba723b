//! Checkpoints, as opaque versioned bytes under the name of their lane.
//!
//! What the bytes mean is the business of [`crate::source`]; this room keeps them: a write is durable when it returns, a
//! file that is damaged or was written by a newer release is refused and never misread.

mod envelope;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lane_id;
pub mod ledger;
mod location;

use std::fmt::Debug;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

#[cfg(feature = "kafka")]
pub use crate::kafka::{KafkaLocation, KafkaLocationError};
pub use file::FileStore;
#[cfg(feature = "kafka")]
pub use kafka::KafkaStore;
#[cfg(feature = "kubernetes")]
pub use kubernetes::KubernetesStore;
pub use lane_id::{LaneId, LaneIdError};
pub use location::{Location, LocationError, process_identity};

/// Where checkpoints are kept.
pub trait Store: Send + Sync + Debug {
    /// The checkpoint of `lane`, if it has one.
    fn load<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>>;

    /// The same for whoever is going to write it: from now on, where several processes reach the store, no other can.
    fn claim<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        self.load(lane)
    }

    /// Replaces the checkpoint of `lane`; durable when it returns.
    fn save<'a>(&'a self, lane: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>>;

    /// Every lane that has a checkpoint, sorted.
    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>>;

    /// Moves a checkpoint to another lane's name, which must not have one.
    fn rename<'a>(&'a self, from: &'a LaneId, to: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>>;

    /// Removes a checkpoint, and the lane's journal: the lane begins at `since` again.
    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>>;

    /// Makes sure that it can be written to, where that takes more than writing.
    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the store can be reached, where it is not on this machine.
    fn reach(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    /// Gives up what this process holds in the store, when it ends.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Whether lanes' journals are kept beside their checkpoints: what their [`ledger`]s do not want written again with
    /// each checkpoint. Without them a ledger remembers no identities.
    fn keeps_journals(&self) -> bool {
        false
    }

    /// Puts bytes into a segment of the lane's journal at their offset, in the place of whatever lies there and behind;
    /// durable when it returns, or when the next checkpoint is saved. The offset is the segment's length so far as the last saved checkpoint knows it, or as the
    /// writes since then made it. A checkpoint that is saved afterwards refers to the bytes.
    fn write_journal<'a>(&'a self, _: &'a LaneId, _: &'a ledger::Append) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    /// The bytes of a segment of the lane's journal; it may be longer than the checkpoint says.
    fn read_journal<'a>(&'a self, _: &'a LaneId, _: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async { Ok(None) })
    }

    /// Removes segments that the checkpoint does not refer to any more; it is no error when they are gone.
    fn drop_journal<'a>(&'a self, _: &'a LaneId, _: &'a [u64]) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Where lanes' journals can be read.
pub trait Journals: Send + Sync {
    /// As [`Store::read_journal`].
    fn segment<'a>(&'a self, lane: &'a LaneId, segment: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>>;
}

impl<S: Store + ?Sized> Journals for S {
    fn segment<'a>(&'a self, lane: &'a LaneId, segment: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        self.read_journal(lane, segment)
    }
}

/// State that cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `create`, `read`, `write`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Another process has the lock.
    #[error("the state in {} is in use by another process; one process owns it at a time (stop the other one, or give this one another --state)", .0.display())]
    Locked(PathBuf),
    /// The file does not hold what was written.
    #[error(
        "the checkpoint in {place} is damaged ({reason}); move it away to start this lane at `since`, or restore it from a backup"
    )]
    Damaged {
        /// The checkpoint's file or object.
        place: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A newer release wrote it.
    #[error(
        "{place} was written by a newer release (format {version}, this one reads up to {}); use that release",
        envelope::VERSION
    )]
    Newer {
        /// The file or object.
        place: String,
        /// Its format.
        version: u16,
    },
    /// What a checkpoint refers to is not there.
    #[error("segment {segment} of the journal of lane {lane} is missing or too short: its ledger cannot be read")]
    Journal {
        /// The lane.
        lane: LaneId,
        /// The segment.
        segment: u64,
    },
    /// The sink that keeps the lane's checkpoint does not show it.
    #[error("the checkpoint of lane {lane} in its sink: {reason}")]
    Sink {
        /// The lane.
        lane: LaneId,
        /// Why.
        reason: String,
    },
    /// The lane has no checkpoint.
    #[error("lane {0} has no checkpoint")]
    Unknown(LaneId),
    /// The lane has one already.
    #[error("lane {0} already has a checkpoint; delete it first")]
    Exists(LaneId),
    /// Another process writes this checkpoint now.
    #[error("the checkpoint of {lane} belongs to {owner} now")]
    Conflict {
        /// The lane.
        lane: LaneId,
        /// Who wrote it last.
        owner: String,
    },
    /// The brokers do not do it.
    #[error("{place}: {reason}")]
    Kafka {
        /// The store.
        place: String,
        /// Why.
        reason: String,
    },
    /// The API server does not do it.
    #[cfg(feature = "kubernetes")]
    #[error("cannot {action} {place}: {source}")]
    Kubernetes {
        /// What was tried.
        action: &'static str,
        /// The checkpoint.
        place: String,
        /// Why.
        source: crate::settings::kubernetes::KubernetesError,
    },
    /// Neither a kubeconfig nor a service account.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Access(crate::settings::kubernetes::KubernetesError),
    /// This build leaves that store out.
    #[error("this build of s1-forwarder has no support for --state {0}")]
    NotBuilt(String),
}
