use crate::record::varint::{Malformed, Reader, put, put_bytes};
use crate::record::{Identity, Timestamp};
use crate::source::{Checkpoint, CheckpointError, Mark, Pass, Round};
use crate::state::LaneId;
use crate::state::ledger::{Accounting, Ledger, LedgerError};

/// The newest layout of a checkpoint that was stored without a ledger; it begins with its number.
const LAST_BARE: u64 = 2;
const VERSION: u64 = 3;
/// Where the version would stand in a copy.
const COPY: u8 = 0;

/// What a lane stores in one write: how far it has come, and what it has accounted for on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How far it has come.
    pub checkpoint: Checkpoint,
    /// What it has accounted for.
    pub ledger: Ledger,
}

/// Where and when records are settled.
#[derive(Debug, Clone, Copy)]
pub struct Settling<'a> {
    /// The lane.
    pub lane: &'a LaneId,
    /// The passes over its stream.
    pub passes: &'a [Pass],
    /// The poll that brought the records.
    pub round: Round,
    /// The time of day.
    pub now: Timestamp,
}

/// The bytes are nothing that this release understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandingError {
    /// Written by a newer release.
    #[error("the checkpoint was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
    /// The checkpoint is damaged or of a newer release.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The ledger is.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<Malformed> for StandingError {
    fn from(_: Malformed) -> Self {
        Self::Checkpoint(CheckpointError::Damaged)
    }
}

impl Standing {
    /// Takes note of a record that was delivered, filtered, dropped or dead-lettered. `record_id` as the event has it.
    pub fn settle(&mut self, settling: &Settling<'_>, mark: &Mark, identity: Identity, record_id: &str) {
        let Self { checkpoint, ledger } = self;
        let Settling { lane, passes, round, now } = *settling;
        let new = checkpoint.position.take(passes, round, mark);
        let Some(created) = mark.created.filter(|_| new) else { return };
        match Accounting::of(lane.stream) {
            Accounting::Records => {
                ledger.count(created, identity);
                ledger.remember(created, identity, now);
            }
            Accounting::Ids if ledger.remembers(created, now) => {
                ledger.remember(created, Identity::of(&checkpoint.host, lane.stream, record_id, ""), now);
            }
            Accounting::Ids | Accounting::Nothing => {}
        }
    }

    /// As bytes: version; length and bytes of the checkpoint; the ledger.
    pub fn encode(&self) -> Vec<u8> {
        let (checkpoint, ledger) = (self.checkpoint.encode(), self.ledger.encode());
        let mut out = Vec::with_capacity(checkpoint.len() + ledger.len() + 8);
        put(&mut out, VERSION);
        put_bytes(&mut out, &checkpoint);
        out.extend_from_slice(&ledger);
        out
    }

    /// As bytes, marked as a copy of what is kept elsewhere. Its ledger begins where it ends: the journal is elsewhere, too.
    pub fn copy(&self) -> Vec<u8> {
        let mut copy = self.clone();
        let (from, asked) = (copy.checkpoint.position.newest(), copy.ledger.asked().to_owned());
        copy.ledger.begin_anew(from, asked, false);
        [&[COPY], &*copy.encode()].concat()
    }

    /// True when the bytes are a copy.
    pub fn is_copy(bytes: &[u8]) -> bool {
        bytes.first() == Some(&COPY)
    }

    /// From bytes, those of a copy included. A checkpoint that an earlier release wrote without a ledger gets one that begins where it ends.
    ///
    /// # Errors
    /// When they are cut, altered, or of a newer layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, StandingError> {
        let bytes = bytes.strip_prefix(&[COPY]).unwrap_or(bytes);
        let mut reader = Reader(bytes);
        match reader.number()? {
            1..=LAST_BARE => {
                let checkpoint = Checkpoint::decode(bytes)?;
                let ledger = Ledger::begin(checkpoint.position.newest(), String::new(), false);
                Ok(Self { checkpoint, ledger })
            }
            VERSION => {
                let checkpoint = Checkpoint::decode(reader.bytes()?)?;
                Ok(Self { checkpoint, ledger: Ledger::decode(reader.0)? })
            }
            newer if newer > VERSION => Err(StandingError::Newer(newer)),
            _ => Err(CheckpointError::Damaged.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;
    use crate::source::Position;

    fn checkpoint() -> Checkpoint {
        let since = Timestamp::from_micros(1_700_000_000_000_000);
        Checkpoint {
            host: "console.example".to_owned(),
            scope: String::new(),
            since: "1d".to_owned(),
            since_resolved: since,
            position: Position::starting_at(since),
            settled: 0,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let checkpoint = checkpoint();
        let ledger = Ledger::begin(checkpoint.since_resolved, "activityTypes=27".to_owned(), true);
        let standing = Standing { checkpoint, ledger };
        let bytes = standing.encode();
        assert_eq!(Standing::decode(&bytes).as_ref(), Ok(&standing));
        for cut in 0..bytes.len() {
            Standing::decode(&bytes[..cut]).unwrap_err();
        }
        assert_eq!(Standing::decode(&[&[4], &bytes[1..]].concat()), Err(StandingError::Newer(4)));
    }

    /// The journal of what it is a copy of is where that is: whoever goes on from the copy does not find it.
    #[test]
    fn the_ledger_of_a_copy_begins_where_the_copy_ends() {
        let checkpoint = checkpoint();
        let now = checkpoint.position.newest();
        let mut ledger = Ledger::begin(Timestamp::default(), "activityTypes=27".to_owned(), true);
        (0..300_u64)
            .for_each(|id| ledger.remember(now, Identity::of("host", Stream::Activities, &id.to_string(), ""), now));
        assert!(!ledger.spill(now).is_empty());
        let standing = Standing { checkpoint, ledger };
        let copy = standing.copy();
        assert!(Standing::is_copy(&copy) && !Standing::is_copy(&standing.encode()));
        let copy = Standing::decode(&copy).unwrap();
        assert_eq!(copy.checkpoint, standing.checkpoint);
        assert!(!copy.ledger.has_journals() && copy.ledger.is_complete_with(&Default::default()));
        assert_eq!((copy.ledger.since(), copy.ledger.asked()), (now, standing.ledger.asked()));
        assert!(
            copy.ledger.generation() > standing.ledger.generation(),
            "repairs of the other say nothing of this one"
        );
    }

    #[test]
    fn a_checkpoint_without_a_ledger_is_read() {
        let bare = checkpoint();
        let standing = Standing::decode(&bare.encode()).unwrap();
        assert_eq!(standing.ledger.since(), bare.since_resolved);
        assert_eq!(standing.checkpoint, bare);
    }

    #[test]
    fn a_release_without_ledgers_refuses_a_checkpoint_with_one() {
        let checkpoint = checkpoint();
        let ledger = Ledger::begin(checkpoint.since_resolved, String::new(), true);
        let bytes = Standing { checkpoint, ledger }.encode();
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Newer(VERSION)));
    }
}
