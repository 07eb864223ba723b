//! The copy of a checkpoint that the lane's sink stores, and which of the two counts.
//!
//! A transactional sink commits a lane's checkpoint with the events. The lane writes a copy to the state store, for the
//! case that the sink loses its checkpoint, as with new brokers. But the state store may also have a checkpoint of its
//! own, which no lane has moved into the sink yet. So the state store decides:
//!
//! | the state store has | the sink has a checkpoint | the sink has none |
//! | --- | --- | --- |
//! | nothing | the sink's counts | the lane is new |
//! | a copy | the sink's counts | the copy moves into the sink |
//! | a checkpoint | it moves into the sink | it moves into the sink |
//!
//! A lane that has no copy writes one before it begins. The copy has no event that the sink has not committed. A
//! checkpoint of the state store's own is from the time when the sink stored none, or a command has written it in place
//! of a copy: `state set`, `state delete` (one that begins at `since`) or `state rename`. When it has moved, a copy is
//! in its place, so that it moves once.

/// The first byte of a copy, before the version.
const COPY: u8 = 0;

/// The entry of a lane in the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InStore {
    Nothing,
    /// A copy of the checkpoint in the lane's sink.
    Copy,
    /// The lane's checkpoint itself.
    Checkpoint,
}

/// The checkpoint that a lane with a transactional sink goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoesOnFrom {
    /// The lane is new.
    Since,
    Sink,
    /// The checkpoint in the state store, which moves into the sink first.
    Store,
}

impl InStore {
    /// Classifies `stored`, the bytes under the lane's name.
    pub fn of(stored: Option<&[u8]>) -> Self {
        match stored.map(<[u8]>::first) {
            None => Self::Nothing,
            Some(Some(&COPY)) => Self::Copy,
            Some(_) => Self::Checkpoint,
        }
    }

    pub fn goes_on_from(self, sink_has_one: bool) -> GoesOnFrom {
        match (self, sink_has_one) {
            (Self::Checkpoint, _) | (Self::Copy, false) => GoesOnFrom::Store,
            (Self::Copy | Self::Nothing, true) => GoesOnFrom::Sink,
            (Self::Nothing, false) => GoesOnFrom::Since,
        }
    }

    /// Returns whether the lane may write a copy in place of the entry. A checkpoint that was not moved into the sink
    /// would be lost.
    pub fn accepts_copies(self) -> bool {
        self != Self::Checkpoint
    }

    /// Returns whether the lane writes a copy before it begins, and not only after its next events. A new lane resolves
    /// `since` only once, and the checkpoint of an earlier release may have no copy.
    pub fn lacks_copy(self) -> bool {
        self == Self::Nothing
    }

    /// Returns whether the lane goes on from the sink's checkpoint instead of this entry. A command that deletes or
    /// renames the entry writes a checkpoint of the state store's own instead. Otherwise the lane would go on from its
    /// sink.
    pub fn yields_to_sink(self) -> bool {
        self == Self::Copy
    }

    /// Returns whether the journal to which the checkpoint refers is in the state store too. A copy refers to none.
    pub fn has_journal(self) -> bool {
        self == Self::Checkpoint
    }
}

/// Returns the bytes of a copy of the checkpoint.
pub fn mark_as_copy(checkpoint: &[u8]) -> Vec<u8> {
    [&[COPY], checkpoint].concat()
}

/// Returns the bytes of a checkpoint, without the mark of a copy.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[COPY]).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [InStore; 3] = [InStore::Nothing, InStore::Copy, InStore::Checkpoint];

    #[test]
    fn the_first_byte_says_what_the_state_store_has() {
        let stored: [Option<&[u8]>; 5] = [None, Some(&[0, 5]), Some(&[5]), Some(&[99]), Some(&[])];
        let expected = [InStore::Nothing, InStore::Copy, InStore::Checkpoint, InStore::Checkpoint, InStore::Checkpoint];
        assert_eq!(stored.map(InStore::of), expected, "what is damaged is nobody's copy");
    }

    /// The state store has no copy after an update from a release that wrote none.
    #[test]
    fn a_lane_goes_on_from_its_sink_if_the_state_store_has_nothing() {
        let nothing = InStore::Nothing;
        assert_eq!([true, false].map(|sink| nothing.goes_on_from(sink)), [GoesOnFrom::Sink, GoesOnFrom::Since]);
    }

    /// The copy has no event that the sink has not committed.
    #[test]
    fn a_copy_counts_only_if_the_sink_has_lost_its_checkpoint() {
        let copy = InStore::Copy;
        assert_eq!([true, false].map(|sink| copy.goes_on_from(sink)), [GoesOnFrom::Sink, GoesOnFrom::Store]);
    }

    /// Such a checkpoint was written when the sink stored none, or by an operator who wants the lane to go on from
    /// there.
    #[test]
    fn a_checkpoint_of_the_state_store_s_own_counts_whatever_the_sink_has() {
        let checkpoint = InStore::Checkpoint;
        assert_eq!([true, false].map(|sink| checkpoint.goes_on_from(sink)), [GoesOnFrom::Store; 2]);
    }

    #[test]
    fn what_the_state_store_has_says_what_the_lane_may_do() {
        assert_eq!(ALL.map(InStore::lacks_copy), [true, false, false]);
        assert_eq!(ALL.map(InStore::accepts_copies), [true, true, false]);
        assert_eq!(ALL.map(InStore::yields_to_sink), [false, true, false]);
        assert_eq!(ALL.map(InStore::has_journal), [false, false, true]);
    }
}
