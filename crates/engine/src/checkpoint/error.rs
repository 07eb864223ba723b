//! The error of a checkpoint or its store, and the failure that it means for a lane.

use std::path::PathBuf;

use s1_forwarder_failure::{Failure, FailureKind};
use s1_forwarder_record::LaneId;

use super::CheckpointKey;

/// The newest format of the envelope around a stored checkpoint.
pub const NEWEST_ENVELOPE: u16 = 1;

/// A checkpoint, or a store of checkpoints, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `create`, `read`, `write`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process has the lock.
    #[error("the state in {} is in use by another process; one process owns it at a time (stop the other one, or give this one another --state)", .0.display())]
    Locked(PathBuf),
    /// Another process has the lock of an area of the state.
    #[error(
        "{} of the state is in use by another process, {owner}; one process owns it at a time (wait until that one has \
         ended)",
        area.display()
    )]
    InUse {
        /// The area's path in the state.
        area: PathBuf,
        /// The process that has the lock.
        owner: String,
    },
    /// This process had the lock of an area of the state, and another process has it now.
    #[error(
        "{} of the state was taken over by another process, {owner}, while this one could not reach it: this one has \
         stopped (run it again when the other one has ended)",
        area.display()
    )]
    TakenOver {
        /// The area's path in the state.
        area: PathBuf,
        /// The process that has the lock.
        owner: String,
    },
    /// The stored bytes differ from the written ones.
    #[error(
        "the checkpoint in {place} is damaged ({reason}); restore it from a backup, or stop the worker and remove it with \
         the worker's --state: the lane then starts at `since`, and delivers again what it delivered from then on: \
         s1-forwarder state delete LANE"
    )]
    Damaged {
        /// The checkpoint's file or object.
        place: String,
        /// The kind of damage.
        reason: &'static str,
    },
    /// A newer release wrote the checkpoint.
    #[error(
        "{place} was written by a newer release (format {version}, this one reads up to {NEWEST_ENVELOPE}); use that release"
    )]
    Newer {
        /// The file or object.
        place: String,
        /// The format of its envelope.
        version: u16,
    },
    /// A journal is not as its checkpoint says.
    #[error(
        "segment {segment} of the journal of lane {key} is missing or damaged; restore checkpoint and journal from a \
         backup, or stop the worker and remove both with the worker's --state: the lane then starts at `since`, and \
         delivers again what it delivered from then on: s1-forwarder state delete LANE"
    )]
    Journal {
        /// The lane's checkpoint.
        key: CheckpointKey,
        /// The segment's number.
        segment: u64,
    },
    /// The lane has no checkpoint.
    #[error("lane {0} has no checkpoint")]
    Unknown(CheckpointKey),
    /// The lane has a checkpoint already.
    #[error("lane {0} already has a checkpoint; delete it first")]
    Exists(CheckpointKey),
    /// Another process writes this checkpoint now.
    #[error("the checkpoint of {key} belongs to {owner} now")]
    Conflict {
        /// The lane's checkpoint.
        key: CheckpointKey,
        /// The process that wrote it last.
        owner: String,
    },
    /// The store, or the sink that stores the lane's checkpoint, does not answer or refuses.
    #[error("{what}: {failure}")]
    Failed {
        /// The store or the call.
        what: String,
        failure: Failure,
    },
    /// This build has no such store.
    #[error("this build of s1-forwarder has no support for --state {0}")]
    NotBuilt(String),
}

impl StateError {
    pub fn failed(what: impl Into<String>, failure: impl Into<Failure>) -> Self {
        Self::Failed { what: what.into(), failure: failure.into() }
    }

    /// Returns whether this process must stop writing the checkpoint, or must claim it again before the next write.
    pub fn is_superseded(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::TakenOver { .. }
                | Self::Failed { failure: Failure { kind: FailureKind::Superseded, .. }, .. }
        )
    }
}

/// Replaces `LANE` at the end of a failure's text with lane and flags. A store knows neither of them, and leaves this
/// placeholder in the command that corrects the failure. Other texts stay as they are.
pub fn with_lane(text: String, lane: &LaneId, state_flags: &str) -> String {
    text.strip_suffix("LANE").map(|text| format!("{text}{lane}{state_flags}")).unwrap_or(text)
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let reason = error.to_string();
        match error {
            StateError::Failed { failure, .. } => failure.map_reason(|_| reason),
            StateError::Conflict { .. } | StateError::TakenOver { .. } => Self::superseded(reason),
            StateError::Io { source, .. } => Self::of_io(&source, reason),
            StateError::Locked(_) | StateError::InUse { .. } => Self::transient(reason),
            StateError::Damaged { .. }
            | StateError::Newer { .. }
            | StateError::Journal { .. }
            | StateError::Unknown(_)
            | StateError::Exists(_)
            | StateError::NotBuilt(_) => Self::misconfigured(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_says_whether_another_attempt_can_help() {
        let key = || CheckpointKey::from("acme/activities/bus".parse::<LaneId>().unwrap());
        let io = |kind: std::io::ErrorKind| StateError::Io { action: "read", path: "x".into(), source: kind.into() };
        let failed = |failure| StateError::Failed { what: "topic".to_owned(), failure };
        for (error, class) in [
            (io(std::io::ErrorKind::StaleNetworkFileHandle), "transient"),
            (io(std::io::ErrorKind::PermissionDenied), "refusal"),
            (StateError::Locked("x".into()), "transient"),
            (StateError::InUse { area: "x".into(), owner: "b".to_owned() }, "transient"),
            (StateError::TakenOver { area: "x".into(), owner: "b".to_owned() }, "superseded"),
            (StateError::Damaged { place: "x".to_owned(), reason: "cut" }, "refusal"),
            (StateError::Newer { place: "x".to_owned(), version: 9 }, "refusal"),
            (StateError::Journal { key: key(), segment: 1 }, "refusal"),
            (StateError::Conflict { key: key(), owner: "b".to_owned() }, "superseded"),
            (failed(Failure::unauthorized("no")), "refusal"),
            (failed(Failure::secret_unreadable("no file")), "refusal"),
            (failed(Failure::superseded("b")), "superseded"),
            (failed(Failure::transient("no broker")), "transient"),
        ] {
            let text = error.to_string();
            let superseded = error.is_superseded();
            let failure = Failure::from(error);
            let found = match failure.kind {
                FailureKind::Transient => "transient",
                FailureKind::Superseded => "superseded",
                _ => "refusal",
            };
            assert_eq!((found, failure.to_string()), (class, text));
            assert_eq!(failure.is_refusal(), class == "refusal");
            assert_eq!(superseded, class == "superseded");
        }
    }
}
