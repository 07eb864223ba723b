//! Asks a destination which events it has: what `verify --destination` needs to know.
//!
//! An answer that is no proof, such as one of some shards alone, is an [`Unproven`] and changes no number.

mod sorted;

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use s1_forwarder_record::{Identity, Timestamp};

pub use sorted::{IdentitySorter, SortedIdentities};

/// What is known of the beginning of what a destination keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It has removed nothing because of its age.
    Everything,
    /// It has removed nothing that was sent after the target was made, which was then.
    Since(Timestamp),
    /// The target is an alias. It has removed nothing since then, and may have been the name of another index before.
    Alias(Timestamp),
    /// It may have removed what came before, for this reason.
    From(Timestamp, String),
    /// It may have removed what is older than the oldest event that it has.
    Unknown,
}

/// An event that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub identity: Identity,
    /// The event's own time.
    pub time: Timestamp,
    pub copies: u32,
}

/// The answer says nothing of an event that it does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Fewer identities may be asked for at a time.
    #[error("{0}")]
    TooLarge(String),
    /// The question may be answered later.
    #[error("{reason}")]
    Later { reason: String, after: Option<Duration> },
    /// It would be answered in the same way again.
    #[error("{0}")]
    NoProof(String),
}

/// Reads one lane's events back from their destination.
#[async_trait]
pub trait Lookup: Send + Sync + Debug {
    /// What is asked, for people: the target, where it is, and by what.
    fn target_text(&self) -> String;

    /// The most identities of one question.
    fn most(&self) -> usize;

    /// How long an acknowledged event may take to be found.
    fn visible_after(&self) -> Duration;

    /// The answers are of a copy that was made then, and the same later. `None` if each answer is of its own time.
    fn copied_at(&self) -> Option<Timestamp> {
        None
    }

    /// The answers are of a list that somebody else has asked for: nothing says that it is whole.
    fn is_given(&self) -> bool {
        false
    }

    /// Since when the destination has what it got. A copy that makes no progress for as long as `patience` is given up.
    ///
    /// # Errors
    /// If the answer proves nothing, or the destination may answer later.
    async fn kept(&self, _patience: Duration) -> Result<Kept, Unproven> {
        Ok(Kept::Unknown)
    }

    /// Takes another copy, where the answers are of one.
    ///
    /// # Errors
    /// If no copy can be read. The former copy stays then.
    async fn refresh(&self, _patience: Duration) -> Result<(), Unproven> {
        Ok(())
    }

    /// How often each of these identities is there, in their order. They are sorted.
    ///
    /// # Errors
    /// [`Unproven::TooLarge`] if fewer identities should be asked for, [`Unproven::Later`] if the destination may
    /// answer later, and [`Unproven::NoProof`] otherwise.
    async fn copies(&self, identities: &[Identity]) -> Result<Vec<u32>, Unproven>;

    /// The most events of one list; 0 if the destination does not list what it has by the event's own time.
    fn most_listed(&self) -> usize {
        0
    }

    /// All events of the lane whose own time is in `window`; others of the target may be among them.
    ///
    /// # Errors
    /// If the answer is not complete, or the destination may answer later.
    async fn list(&self, _window: Range<Timestamp>) -> Result<Vec<Listed>, Unproven> {
        Ok(Vec::new())
    }

    /// Where those identities are that are outside the target, as far as that can be seen.
    ///
    /// # Errors
    /// As [`Self::copies`].
    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        Ok(vec![None; identities.len()])
    }
}
