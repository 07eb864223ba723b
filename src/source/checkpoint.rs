//! A lane's checkpoint as bytes: its position, and what it was made under.
//!
//! Layout, all numbers as LEB128 varints unless said otherwise (signed ones zigzag): version; console host and scope as
//! length and UTF-8; `since` as configured, likewise; since as resolved; bound; watermark; 0 or 1 and the start of the last
//! complete poll; number of seconds; per second: difference to the second before, number of keys, the first key, and the
//! differences between the keys. From layout 2 on, sections follow to the end, each as its number, its length and its bytes:
//! 1 is the number of records settled. A section that this release does not know was written by a newer one.

use std::collections::BTreeMap;

use crate::record::Timestamp;
use crate::record::varint::{Malformed, Reader, put, put_bytes, put_signed};

use super::Position;

const VERSION: u64 = 2;
/// Sections.
const SETTLED: u64 = 1;

/// What a lane stores after each acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Console that the keys belong to.
    pub host: String,
    /// Accounts, sites and groups that were asked for, as text.
    pub scope: String,
    /// `since` as the pipeline file had it at the first start.
    pub since: String,
    /// `since` as it was resolved then: the lane owes nothing before it.
    pub since_resolved: Timestamp,
    /// How far the lane has come.
    pub position: Position,
    /// Records that the sink has taken, or the dead letters, since the checkpoint was made; each counts once, over kills.
    pub settled: u64,
}

/// The bytes are no checkpoint that this release understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Cut or altered.
    #[error("the checkpoint is damaged; delete it to start this lane at `since` (s1-forwarder state delete)")]
    Damaged,
    /// Written by a newer release.
    #[error("the checkpoint was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
    /// Holds a part that a newer release added.
    #[error("the checkpoint was written by a newer release (part {0} is not known to this one); use that release")]
    Unknown(u64),
}

impl Checkpoint {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.position.key_count() * 9);
        put(&mut out, VERSION);
        for text in [&self.host, &self.scope, &self.since] {
            put_bytes(&mut out, text.as_bytes());
        }
        for time in [self.since_resolved, self.position.bound(), self.position.watermark()] {
            put_signed(&mut out, time.micros());
        }
        put(&mut out, u64::from(self.position.complete().is_some()));
        if let Some(complete) = self.position.complete() {
            put_signed(&mut out, complete.micros());
        }
        put(&mut out, self.position.keys().count() as u64);
        let mut previous_second = 0;
        for (second, keys) in self.position.keys() {
            put_signed(&mut out, second - previous_second);
            previous_second = second;
            put(&mut out, keys.len() as u64);
            let mut previous_key = 0;
            for key in keys {
                put(&mut out, key - previous_key);
                previous_key = *key;
            }
        }
        let mut settled = Vec::new();
        put(&mut settled, self.settled);
        put_section(&mut out, SETTLED, &settled);
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are cut, altered, or of a newer layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut reader = Reader(bytes);
        match reader.number()? {
            1..=VERSION => {}
            newer if newer > VERSION => return Err(CheckpointError::Newer(newer)),
            _ => return Err(CheckpointError::Damaged),
        }
        let (host, scope, since) = (reader.text()?, reader.text()?, reader.text()?);
        let (since_resolved, bound, watermark) = (time(&mut reader)?, time(&mut reader)?, time(&mut reader)?);
        let complete = if reader.number()? == 0 { None } else { Some(time(&mut reader)?) };
        let keys = keys(&mut reader)?;
        let mut settled = 0;
        while !reader.0.is_empty() {
            let (section, mut content) = (reader.number()?, Reader(reader.bytes()?));
            match section {
                SETTLED => settled = content.number()?,
                unknown => return Err(CheckpointError::Unknown(unknown)),
            }
        }
        Ok(Self {
            host,
            scope,
            since,
            since_resolved,
            position: Position::from_parts(bound, watermark, complete, keys),
            settled,
        })
    }
}

fn keys(reader: &mut Reader<'_>) -> Result<BTreeMap<i64, Vec<u64>>, Malformed> {
    let mut seconds = BTreeMap::new();
    let mut second = 0_i64;
    for _ in 0..reader.number()? {
        second = second.checked_add(reader.signed()?).ok_or(Malformed)?;
        let mut keys = Vec::new();
        let mut key = 0_u64;
        for _ in 0..reader.number()? {
            key = key.checked_add(reader.number()?).ok_or(Malformed)?;
            keys.push(key);
        }
        seconds.insert(second, keys);
    }
    Ok(seconds)
}

fn put_section(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put(out, number);
    put_bytes(out, content);
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    reader.signed().map(Timestamp::from_micros)
}

impl From<Malformed> for CheckpointError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn checkpoint(keys: &[(i64, u64)], complete: bool) -> Checkpoint {
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let mut position = Position::starting_at(start.minus(Duration::from_secs(86_400)));
        for (offset, key) in keys {
            position.take(start.plus(Duration::from_micros(offset.unsigned_abs())), *key);
        }
        if complete {
            position.finish(start, Duration::from_secs(300));
        }
        Checkpoint {
            host: "usea1-acme.sentinelone.net".to_owned(),
            scope: "accounts=225494730938493804".to_owned(),
            since: "30d".to_owned(),
            since_resolved: start.minus(Duration::from_secs(86_400)),
            position,
            settled: keys.len() as u64,
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            keys in prop::collection::vec((0..100_000_000_i64, any::<u64>()), 0..200),
            complete in any::<bool>(),
        ) {
            let checkpoint = checkpoint(&keys, complete);
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }

        #[test]
        fn cut_bytes_are_refused(cut in 0..100_usize) {
            let bytes = checkpoint(&[(1, 1), (2, u64::MAX)], true).encode();
            if cut < bytes.len() {
                prop_assert_eq!(Checkpoint::decode(&bytes[..cut]), Err(CheckpointError::Damaged));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Checkpoint::decode(&bytes);
        }
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let mut bytes = checkpoint(&[], false).encode();
        bytes[0] = 3;
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Newer(3)));
        bytes[0] = 2;
        put_section(&mut bytes, 77, b"news");
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Unknown(77)));
    }

    #[test]
    fn the_first_layout_is_read_still() {
        let now = Checkpoint { settled: 0, ..checkpoint(&[(1, 1), (2, u64::MAX)], true) };
        let mut bytes = now.encode();
        bytes[0] = 1;
        bytes.truncate(bytes.len() - 3);
        assert_eq!(Checkpoint::decode(&bytes), Ok(now));
    }
}
