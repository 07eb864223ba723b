//! A lane's checkpoint as bytes: its position, and what it was made under.
//!
//! Layout 2, all numbers as LEB128 varints unless said otherwise (signed ones zigzag): version; console host and scope as
//! length and UTF-8; `since` as configured, likewise; since as resolved; number of sections; the sections, each as its number,
//! its length and its bytes. A section that this release does not know was written by a newer one.
//!
//! | section | holds |
//! | --- | --- |
//! | 1 | number of records settled |
//! | 2 | where passes without a track begin; number of tracks; per track: its pass's name as length and UTF-8; bound; watermark; 0 or 1 and the start of the last complete poll; 0 or 1 and the snapshot's time, events taken and stage; the keys |
//! | 3 | contents: their number and, sorted by key, the difference to the key before and the hash in 8 bytes, little end first |
//!
//! Keys: number of seconds; per second: difference to the second before, number of keys, the first key, and the
//! differences between the keys; then 0, or 1 and a version beside each key in 8 bytes, little end first.
//!
//! Layout 1 had one track, `main`, instead of sections: bound; watermark; 0 or 1 and the start of the last complete poll;
//! the keys without versions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use compact_str::CompactString;

use super::position::MAIN;
use super::track::Second;
use super::{Position, Snapshot, Stage, Track};
use crate::record::Timestamp;
use crate::record::varint::{Malformed, Reader, put, put_bytes, put_signed};

const VERSION: u64 = 2;
/// Sections.
const SETTLED: u64 = 1;
const TRACKS: u64 = 2;
const CONTENTS: u64 = 3;
const SWEEPS: u64 = 4;

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
        let Position { since, tracks, contents } = &self.position;
        let mut out = Vec::with_capacity(256 + (self.position.key_count() + contents.len()) * 16);
        put(&mut out, VERSION);
        for text in [&self.host, &self.scope, &self.since] {
            put_bytes(&mut out, text.as_bytes());
        }
        put_time(&mut out, self.since_resolved);
        let sweeps: Vec<_> = (0..).zip(tracks).filter_map(|(index, (_, track))| Some((index, track.swept?))).collect();
        put(&mut out, 2 + u64::from(!contents.is_empty()) + u64::from(!sweeps.is_empty()));
        put_section(&mut out, SETTLED, |out| put(out, self.settled));
        put_section(&mut out, TRACKS, |out| {
            put_time(out, *since);
            put(out, tracks.len() as u64);
            for (name, track) in tracks {
                put_bytes(out, name.as_bytes());
                put_track(out, track);
            }
        });
        if !contents.is_empty() {
            put_section(&mut out, CONTENTS, |out| put_contents(out, contents));
        }
        if !sweeps.is_empty() {
            put_section(&mut out, SWEEPS, |out| {
                put(out, sweeps.len() as u64);
                for (index, swept) in sweeps {
                    put(out, index);
                    put_time(out, swept);
                }
            });
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are cut, altered, or of a newer layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut reader = Reader(bytes);
        let version = reader.number()?;
        match version {
            1 | VERSION => {}
            newer if newer > VERSION => return Err(CheckpointError::Newer(newer)),
            _ => return Err(CheckpointError::Damaged),
        }
        let (host, scope, since) = (reader.text()?, reader.text()?, reader.text()?);
        let since_resolved = time(&mut reader)?;
        let (mut position, mut settled) = (Position::starting_at(since_resolved), 0);
        if version == 1 {
            position.tracks.push((MAIN.into(), Arc::new(track(&mut reader, false)?)));
        }
        let sections = if version == 1 { 0 } else { reader.number()? };
        for _ in 0..sections {
            let (section, mut content) = (reader.number()?, Reader(reader.bytes()?));
            match section {
                SETTLED => settled = content.number()?,
                TRACKS => (position.since, position.tracks) = (time(&mut content)?, tracks(&mut content)?),
                CONTENTS => position.contents = Arc::new(contents(&mut content)?),
                SWEEPS => sweeps(&mut content, &mut position)?,
                unknown => return Err(CheckpointError::Unknown(unknown)),
            }
            end(&content)?;
        }
        end(&reader)?;
        Ok(Self { host, scope, since, since_resolved, position, settled })
    }
}

/// The start of the last sweep of each track that had one, by its place in the list of tracks.
fn sweeps(reader: &mut Reader<'_>, position: &mut Position) -> Result<(), CheckpointError> {
    for _ in 0..reader.number()? {
        let (index, swept) = (reader.number()?, time(reader)?);
        let index = usize::try_from(index).map_err(|_| CheckpointError::Damaged)?;
        let (_, track) = position.tracks.get_mut(index).ok_or(CheckpointError::Damaged)?;
        Arc::make_mut(track).swept = Some(swept);
    }
    Ok(())
}

fn put_contents(out: &mut Vec<u8>, contents: &HashMap<u64, u64>) {
    let mut contents: Vec<_> = contents.iter().collect();
    contents.sort_unstable();
    put(out, contents.len() as u64);
    let mut previous = 0;
    for (key, content) in contents {
        put(out, key - previous);
        previous = *key;
        out.extend_from_slice(&content.to_le_bytes());
    }
}

fn put_track(out: &mut Vec<u8>, track: &Track) {
    put_time(out, track.bound);
    put_time(out, track.watermark);
    put(out, u64::from(track.complete.is_some()));
    if let Some(complete) = track.complete {
        put_time(out, complete);
    }
    put(out, u64::from(track.snapshot.is_some()));
    if let Some(Snapshot { time, taken, stage }) = track.snapshot {
        put_time(out, time);
        put(out, taken);
        put(out, stage as u64);
    }
    put(out, track.seconds.len() as u64);
    let mut previous_second = 0;
    for (second, Second { keys, versions }) in &track.seconds {
        put_signed(out, second - previous_second);
        previous_second = *second;
        put(out, keys.len() as u64);
        let mut previous_key = 0;
        for key in keys.iter() {
            put(out, key - previous_key);
            previous_key = *key;
        }
        put(out, u64::from(!versions.is_empty()));
        versions.iter().for_each(|version| out.extend_from_slice(&version.to_le_bytes()));
    }
}

fn put_section(out: &mut Vec<u8>, number: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    write(&mut content);
    put(out, number);
    put_bytes(out, &content);
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put_signed(out, time.micros());
}

fn end(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.0.is_empty() { Ok(()) } else { Err(Malformed) }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.number()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    reader.signed().map(Timestamp::from_micros)
}

fn hash(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    reader.array().map(|bytes| u64::from_le_bytes(*bytes))
}

fn tracks(reader: &mut Reader<'_>) -> Result<Vec<(CompactString, Arc<Track>)>, Malformed> {
    let mut tracks = Vec::new();
    for _ in 0..reader.number()? {
        let name = CompactString::from(reader.text()?);
        tracks.push((name, Arc::new(track(reader, true)?)));
    }
    Ok(tracks)
}

fn contents(reader: &mut Reader<'_>) -> Result<HashMap<u64, u64>, Malformed> {
    let mut contents = HashMap::new();
    let mut key = 0_u64;
    for _ in 0..reader.number()? {
        key = key.checked_add(reader.number()?).ok_or(Malformed)?;
        contents.insert(key, hash(reader)?);
    }
    Ok(contents)
}

/// Of layout 2, or of layout 1, which knew neither snapshots nor versions.
fn track(reader: &mut Reader<'_>, is_new: bool) -> Result<Track, Malformed> {
    let (bound, watermark) = (time(reader)?, time(reader)?);
    let complete = if flag(reader)? { Some(time(reader)?) } else { None };
    let snapshot = if is_new && flag(reader)? { Some(snapshot(reader)?) } else { None };
    Ok(Track { bound, watermark, complete, seconds: seconds(reader, is_new)?, snapshot, swept: None })
}

fn snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, Malformed> {
    let (time, taken) = (time(reader)?, reader.number()?);
    let stages = [Stage::Reading, Stage::Marking, Stage::Done];
    let stage = usize::try_from(reader.number()?).ok().and_then(|stage| stages.get(stage).copied());
    Ok(Snapshot { time, taken, stage: stage.ok_or(Malformed)? })
}

fn seconds(reader: &mut Reader<'_>, is_new: bool) -> Result<BTreeMap<i64, Second>, Malformed> {
    let mut seconds = BTreeMap::new();
    let mut second = 0_i64;
    for _ in 0..reader.number()? {
        second = second.checked_add(reader.signed()?).ok_or(Malformed)?;
        let mut records = Second::default();
        let mut key = 0_u64;
        for _ in 0..reader.number()? {
            key = key.checked_add(reader.number()?).ok_or(Malformed)?;
            records.keys.push(key);
        }
        if is_new && flag(reader)? {
            for _ in 0..records.keys.len() {
                records.versions.push(hash(reader)?);
            }
        }
        seconds.insert(second, records);
    }
    Ok(seconds)
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

    use super::super::{By, Keys, Mark, Pass, Round};
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    /// Two passes: the first remembers versions, the second the last version of each record.
    fn checkpoint(keys: &[(i64, u64)], complete: bool) -> Checkpoint {
        let pass = |name: &str, keys| Pass {
            name: name.into(),
            sort_by: "",
            time_filter: "",
            by: By::Order,
            every: Duration::from_secs(60),
            reach: Duration::from_secs(86_400),
            keys,
            snapshot: false,
            chain: None,
        };
        let (last, versions) = (Keys::Latest, Keys::Versions);
        let mut passes = [pass(MAIN, versions), pass("again", last), pass("all", versions), pass("chain", last)];
        passes[2].snapshot = true;
        passes[3].chain = Some(None);
        let since = start().minus(Duration::from_secs(86_400));
        let mut position = Position::starting_at(since);
        position.align(&passes);
        for (offset, key) in keys {
            let time = start().plus(Duration::from_micros(offset.unsigned_abs()));
            let (id, version, content) = (*key, key.rotate_left(7), Some(key ^ 77));
            let mark = Mark { id, version, content, time, created: Some(time) };
            position.take(&passes, Round { start: start(), ..Round::default() }, &mark);
        }
        if complete {
            position.finish(&passes, Round { start: start(), ..Round::default() }, false);
            position.finish(&passes, Round { pass: 2, start: start(), snapshot: Some(start()), sweep: false }, true);
            position.finish(&passes, Round { pass: 3, start: start(), snapshot: None, sweep: true }, false);
        }
        Checkpoint {
            host: "usea1-acme.sentinelone.net".to_owned(),
            scope: "accounts=225494730938493804".to_owned(),
            since: "30d".to_owned(),
            since_resolved: since,
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
        fn cut_bytes_are_refused(cut in 0..200_usize) {
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
    fn bytes_behind_the_end_are_refused() {
        let bytes = [checkpoint(&[(1, 1)], true).encode(), vec![0]].concat();
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Damaged));
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let mut bytes = vec![2, 0, 0, 0, 0, 1];
        put_section(&mut bytes, 77, |out| out.extend_from_slice(b"news"));
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Unknown(77)));
        bytes[0] = 3;
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Newer(3)));
        bytes[0] = 0;
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Damaged), "there never was a layout 0");
    }

    /// What release 0.1 wrote: one track without a name. Worked out by hand from the layout.
    #[test]
    fn checkpoints_of_layout_1_are_read() {
        let mut bytes = vec![1];
        for text in ["h", "", "1d"] {
            put_bytes(&mut bytes, text.as_bytes());
        }
        let (bound, complete) = (start().plus(Duration::from_secs(5)), start().plus(Duration::from_secs(305)));
        for time in [start(), bound, complete] {
            put_time(&mut bytes, time);
        }
        put(&mut bytes, 1);
        put_time(&mut bytes, complete);
        put(&mut bytes, 1);
        put_signed(&mut bytes, 1_700_000_010);
        for number in [2, 40, 2] {
            put(&mut bytes, number);
        }
        let read = Checkpoint::decode(&bytes).unwrap();
        let Position { since, tracks, contents } = &read.position;
        assert_eq!((*since, tracks.len(), contents.len()), (start(), 1, 0));
        assert_eq!((tracks[0].0.as_str(), tracks[0].1.bound(), tracks[0].1.complete()), (MAIN, bound, Some(complete)));
        assert_eq!(tracks[0].1.keys().collect::<Vec<_>>(), [(1_700_000_010, &[40, 42][..])]);
        assert_eq!(Checkpoint::decode(&read.encode()), Ok(read));
    }

    /// What docs/streams.md tells of the cost of agents and alerts.
    #[test]
    fn a_checkpoint_holds_about_as_many_bytes_as_documented() {
        // Ids are numbers of 60 bits that rise with time; one in ten seconds.
        let records: Vec<_> =
            (0..10_000).map(|place| (place * 10_000_000, (1 << 60) + place as u64 * 8_388_593)).collect();
        let all = checkpoint(&records, false);
        let bytes_each = |tracks, contents| {
            let position = Position { tracks, contents, ..all.position.clone() };
            (Checkpoint { position, ..all.clone() }.encode().len() - 100) as f64 / 10_000.0
        };
        let per_agent = bytes_each(Vec::new(), all.position.contents.clone());
        let per_alert = bytes_each(vec![all.position.tracks[1].clone()], Arc::default());
        assert!((11.0..16.0).contains(&per_agent) && (18.0..24.0).contains(&per_alert), "{per_agent} {per_alert}");
    }
}
