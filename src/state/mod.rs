//! Checkpoints, as opaque versioned bytes under the name of their lane.
//!
//! What the bytes mean is the business of [`crate::source`]; this room keeps them: a write is durable when it returns, a
//! file that is damaged or was written by a newer release is refused and never misread.

mod envelope;
mod file;
mod lane_id;
pub mod ledger;

use std::fmt::Debug;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

pub use file::FileStore;
pub use lane_id::{LaneId, LaneIdError};

/// Where checkpoints are kept.
pub trait Store: Send + Sync + Debug {
    /// The checkpoint of `lane`, if it has one.
    fn load<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>>;

    /// Replaces the checkpoint of `lane`; durable when it returns.
    fn save<'a>(&'a self, lane: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>>;

    /// Every lane that has a checkpoint, sorted.
    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>>;

    /// Moves a checkpoint to another lane's name, which must not have one.
    fn rename<'a>(&'a self, from: &'a LaneId, to: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>>;

    /// Removes a checkpoint, and the lane's journal: the lane begins at `since` again.
    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>>;

    /// Whether lanes' journals are kept beside their checkpoints: what their [`ledger`]s do not want written again with
    /// each checkpoint. Without them a ledger remembers no identities.
    fn keeps_journals(&self) -> bool {
        false
    }

    /// Puts bytes into a segment of the lane's journal at their offset, in the place of whatever lies there and behind;
    /// durable when it returns. The offset is the segment's length so far as the last saved checkpoint knows it, or as the
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
        "the checkpoint in {} is damaged ({reason}); move the file away to start this lane at `since`, or restore it from a backup",
        path.display()
    )]
    Damaged {
        /// The checkpoint's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A newer release wrote it.
    #[error("{} was written by a newer release (format {version}, this one reads up to {}); use that release", path.display(), envelope::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
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
    /// The lane has no checkpoint.
    #[error("lane {0} has no checkpoint")]
    Unknown(LaneId),
    /// The lane has one already.
    #[error("lane {0} already has a checkpoint; delete it first")]
    Exists(LaneId),
}
