use serde::{Deserialize, Serialize};

use super::pending_batch::PendingBatch;
use crate::checkpoint::ledger::{Accounting, Ledger};
use crate::record::{Identity, Timestamp};
use crate::source::{Pass, RecordKey, SourcePosition};

/// Comes first in a stored checkpoint. Each change of the structs that it is made of needs another one.
const VERSION: u64 = 2;
/// Comes before the version in a copy.
const COPY: u8 = 0;

/// What a lane stores in one write: its position, what it has accounted for, and the settings that both were made
/// under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCheckpoint {
    /// The console that the position's keys belong to.
    pub host: String,
    /// The accounts, sites and groups of the requests, as text.
    pub scope: String,
    /// `since` as the pipeline file had it at the first start.
    pub since: String,
    /// `since` as it was resolved then. The lane delivers nothing older.
    pub since_resolved: Timestamp,
    /// How far the lane has come.
    pub position: SourcePosition,
    /// Records that the sink or the dead letters accepted so far. Each counts once, over restarts too.
    pub settled: u64,
    /// What the lane has accounted for.
    pub ledger: Ledger,
}

/// The bytes are not a checkpoint of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneCheckpointError {
    /// Truncated or altered.
    #[error("the checkpoint is damaged; delete it to start this lane at `since` (s1-forwarder state delete)")]
    Damaged,
    /// Written before the layout changed.
    #[error(
        "the checkpoint has an older layout ({0}, this release reads {VERSION}); delete it to start this lane at \
         `since` (s1-forwarder state delete)"
    )]
    Older(u64),
    /// Written by a newer release.
    #[error("the checkpoint was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
}

impl From<postcard::Error> for LaneCheckpointError {
    fn from(_: postcard::Error) -> Self {
        Self::Damaged
    }
}

impl LaneCheckpoint {
    /// Adds records of a batch that were delivered, excluded or kept as dead letters: key, identity and id of each.
    pub fn settle<'a>(
        &mut self,
        passes: &[Pass],
        pending: &PendingBatch,
        records: impl Iterator<Item = (&'a RecordKey, Identity, &'a str)>,
        now: Timestamp,
    ) {
        let Self { position, ledger, host, .. } = self;
        let stream = pending.batch.stream();
        for (record_key, identity, id) in records {
            let is_new = position.take(passes, pending.context, record_key);
            let Some(created) = record_key.created.filter(|_| is_new) else { continue };
            match Accounting::of(stream) {
                Accounting::Records => {
                    ledger.count(created, identity);
                    ledger.remember(created, identity, now);
                }
                Accounting::Ids if ledger.remembers(created, now) => {
                    ledger.remember(created, Identity::of(host, stream, id, ""), now);
                }
                Accounting::Ids | Accounting::Nothing => {}
            }
        }
    }

    /// The stored form: the version, and the struct as `postcard` writes it.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_after(Vec::new())
    }

    /// The stored form of a copy; another backend has the checkpoint itself. Since the journal is there too, the copy's
    /// ledger starts at the copy's position.
    pub fn copy(&self) -> Vec<u8> {
        let mut copy = self.clone();
        let (from, asked) = (copy.position.newest(), copy.ledger.asked().to_owned());
        copy.ledger.restart(from, asked, false);
        copy.encode_after(vec![COPY])
    }

    fn encode_after(&self, mut out: Vec<u8>) -> Vec<u8> {
        let numbers = self.position.key_count() + self.position.content_count();
        out.reserve(256 + numbers * 16 + self.ledger.encoded_size());
        // A `Vec` accepts every byte, and all of it can be serialized.
        postcard::to_extend(&(VERSION, self), out).unwrap_or_default()
    }

    /// True for the bytes of a copy.
    pub fn is_copy(bytes: &[u8]) -> bool {
        bytes.first() == Some(&COPY)
    }

    /// From stored bytes, those of a copy included.
    ///
    /// # Errors
    /// When they are truncated or altered, or when a newer release wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, LaneCheckpointError> {
        let bytes = bytes.strip_prefix(&[COPY]).unwrap_or(bytes);
        match postcard::take_from_bytes(bytes)? {
            (VERSION, rest) => match postcard::take_from_bytes(rest)? {
                (checkpoint, []) => Ok(checkpoint),
                _ => Err(LaneCheckpointError::Damaged),
            },
            (newer, _) if newer > VERSION => Err(LaneCheckpointError::Newer(newer)),
            (0, _) => Err(LaneCheckpointError::Damaged),
            (older, _) => Err(LaneCheckpointError::Older(older)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;

    fn checkpoint(ledger: impl FnOnce(Timestamp) -> Ledger) -> LaneCheckpoint {
        let since = Timestamp::from_micros(1_700_000_000_000_000);
        LaneCheckpoint {
            host: "console.example".to_owned(),
            scope: String::new(),
            since: "1d".to_owned(),
            since_resolved: since,
            position: SourcePosition::starting_at(since),
            settled: 7,
            ledger: ledger(since),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let checkpoint = checkpoint(|since| Ledger::begin(since, "activityTypes=27".to_owned(), true));
        let bytes = checkpoint.encode();
        assert_eq!(LaneCheckpoint::decode(&bytes).as_ref(), Ok(&checkpoint));
        for cut in 0..bytes.len() {
            assert_eq!(LaneCheckpoint::decode(&bytes[..cut]), Err(LaneCheckpointError::Damaged));
        }
        assert_eq!(LaneCheckpoint::decode(&[&*bytes, &[0]].concat()), Err(LaneCheckpointError::Damaged));
        assert_eq!(LaneCheckpoint::decode(&[&[3], &bytes[1..]].concat()), Err(LaneCheckpointError::Newer(3)));
        assert_eq!(LaneCheckpoint::decode(&[&[1], &bytes[1..]].concat()), Err(LaneCheckpointError::Older(1)));
        assert_eq!(LaneCheckpoint::decode(&[77]), Err(LaneCheckpointError::Newer(77)), "whatever follows");
    }

    /// The journal stays with the original, so a lane that continues from the copy does not find it.
    #[test]
    fn the_ledger_of_a_copy_begins_where_the_copy_ends() {
        let checkpoint = checkpoint(|since| {
            let mut ledger = Ledger::begin(Timestamp::default(), "activityTypes=27".to_owned(), true);
            let identity = |id: u64| Identity::of("host", Stream::Activities, &id.to_string(), "");
            (0..300_u64).for_each(|id| ledger.remember(since, identity(id), since));
            assert!(!ledger.spill(since).is_empty());
            ledger
        });
        let now = checkpoint.position.newest();
        let copy = checkpoint.copy();
        assert!(LaneCheckpoint::is_copy(&copy) && !LaneCheckpoint::is_copy(&checkpoint.encode()));
        let copy = LaneCheckpoint::decode(&copy).unwrap();
        assert_eq!((&copy.position, copy.settled), (&checkpoint.position, checkpoint.settled));
        assert!(!copy.ledger.has_journals() && copy.ledger.is_complete_with(&Default::default()));
        assert_eq!((copy.ledger.since(), copy.ledger.asked()), (now, checkpoint.ledger.asked()));
        assert!(
            copy.ledger.generation() > checkpoint.ledger.generation(),
            "the original's repairs do not complete the copy's ledger"
        );
    }
}
