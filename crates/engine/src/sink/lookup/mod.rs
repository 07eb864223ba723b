//! Asks a destination which events it has, for `verify --destination`.
//!
//! An answer that is no proof, such as one of some shards alone, is an [`Inconclusive`] and changes no number.

mod sorted;

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use s1_forwarder_record::{Identity, Timestamp};

pub use sorted::{IdentitySorter, SortedIdentities};

/// The beginning of the events that a destination keeps, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// The destination has removed nothing because of its age.
    Everything,
    /// The destination has removed nothing that was sent after this time, at which the target was made.
    Since(Timestamp),
    /// The target is an alias. The destination has removed nothing since this time. The alias may have been the name of
    /// another index before.
    Alias(Timestamp),
    /// The destination may have removed events that came before this time, for this reason.
    From(Timestamp, String),
    /// The destination may have removed events that are older than the oldest one that it has.
    Unknown,
}

/// An event that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub identity: Identity,
    /// The event's own time.
    pub time: Timestamp,
    pub occurrences: u32,
}

/// An answer that says nothing about an event that it does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconclusive {
    /// Fewer identities may be asked for at a time.
    #[error("{0}")]
    TooLarge(String),
    /// The question may be answered later.
    #[error("{reason}")]
    Later { reason: String, retry_after: Option<Duration> },
    /// The question would be answered in the same way again.
    #[error("{0}")]
    NoProof(String),
}

/// Reads one lane's events back from their destination.
#[async_trait]
pub trait Lookup: Send + Sync + Debug {
    /// Returns a text for the operator about the target: its name, its place, and the means by which it is asked.
    fn target_text(&self) -> String;

    /// Returns the maximum number of identities in one question.
    fn max_identities_per_query(&self) -> usize;

    /// Returns how long an acknowledged event may take to be found.
    fn visible_after(&self) -> Duration;

    /// Returns the time of the copy that the answers are from. Later answers are the same. Returns `None` if each
    /// answer is from the time at which it was asked for.
    fn as_of(&self) -> Option<Timestamp> {
        None
    }

    /// Returns whether the answers are from a list that the operator provides. Nothing shows whether such a list is
    /// complete.
    fn is_given(&self) -> bool {
        false
    }

    /// Returns the time since which the destination has kept the events that it received. Gives up a copy that makes no
    /// progress for `patience`.
    ///
    /// # Errors
    /// If the answer proves nothing, or the destination may answer later.
    async fn retention(&self, _patience: Duration) -> Result<Retention, Inconclusive> {
        Ok(Retention::Unknown)
    }

    /// Makes a new copy, if the answers are from a copy.
    ///
    /// # Errors
    /// If no copy can be read. The former copy stays then.
    async fn refresh(&self, _patience: Duration) -> Result<(), Inconclusive> {
        Ok(())
    }

    /// Returns how often the destination has each of `identities`, in their order. `identities` are sorted.
    ///
    /// # Errors
    /// [`Inconclusive::TooLarge`] if fewer identities should be asked for, [`Inconclusive::Later`] if the destination
    /// may answer later, and [`Inconclusive::NoProof`] otherwise.
    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive>;

    /// Returns the maximum number of events of one list; 0 if the destination cannot list events by their own time.
    fn max_listed(&self) -> usize {
        0
    }

    /// Returns all events of the lane whose own time is in `window`. Other events of the target may be among them.
    ///
    /// # Errors
    /// If the answer is not complete, or the destination may answer later.
    async fn list(&self, _window: Range<Timestamp>) -> Result<Vec<Listed>, Inconclusive> {
        Ok(Vec::new())
    }

    /// Checks that each event of the lane at the destination can be found by its identity.
    ///
    /// # Errors
    /// If the destination may have an event that no question finds, or may answer later.
    async fn check_findable(&self) -> Result<(), Inconclusive> {
        Ok(())
    }

    /// Returns the place of each of `identities` that is outside the target; `None` if no such place can be seen.
    ///
    /// # Errors
    /// As [`Self::occurrences`].
    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        Ok(vec![None; identities.len()])
    }
}
